//! The protocol, whatever carries it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::options::Options;
use crate::tools;

/// The newest protocol version that is spoken.
const NEWEST: &str = "2025-11-25";
const KNOWN: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", NEWEST];

/// Takes a message to one client.
pub(crate) type Out = Arc<dyn Fn(&Value) + Send + Sync>;

/// One server, for all its clients.
pub(crate) struct Server {
    pub(crate) options: Options,
    /// Names of tools that were added.
    grown: Mutex<Vec<String>>,
    /// How often each method was received.
    counts: Mutex<BTreeMap<String, u64>>,
    cancelled: Mutex<HashSet<String>>,
    /// Where notifications that belong to no request go.
    listeners: Mutex<Vec<(u64, Out)>>,
    /// Requests to clients that are not answered yet.
    asked: Mutex<HashMap<u64, Sender<Value>>>,
    numbers: AtomicU64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            options,
            grown: Mutex::default(),
            counts: Mutex::default(),
            cancelled: Mutex::default(),
            listeners: Mutex::default(),
            asked: Mutex::default(),
            numbers: AtomicU64::new(1),
        })
    }

    /// A number that was not given before.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on notifications go there as well. Answers the number to leave with.
    pub(crate) fn listen(&self, out: Out) -> u64 {
        let number = self.number();
        lock(&self.listeners).push((number, out));
        number
    }

    /// Notifications do not go there any more.
    pub(crate) fn leave(&self, number: u64) {
        lock(&self.listeners).retain(|(listener, _)| *listener != number);
    }

    /// Tells all clients.
    pub(crate) fn notify(&self, method: &str, params: Value) {
        let listeners: Vec<Out> = lock(&self.listeners).iter().map(|(_, out)| out.clone()).collect();
        for out in listeners {
            out(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
        }
    }

    /// Asks a client, and waits for its answer.
    pub(crate) fn ask(&self, out: &Out, method: &str, params: Value) -> Value {
        let number = self.number();
        let (sender, receiver): (Sender<Value>, Receiver<Value>) = channel();
        lock(&self.asked).insert(number, sender);
        out(&json!({ "jsonrpc": "2.0", "id": number, "method": method, "params": params }));
        let answer = receiver.recv_timeout(Duration::from_secs(10));
        lock(&self.asked).remove(&number);
        answer.unwrap_or_else(|_| json!("no answer"))
    }

    /// How often each method was received.
    pub(crate) fn counts(&self) -> Value {
        json!(*lock(&self.counts))
    }

    /// Adds a tool, and says so.
    pub(crate) fn grow(&self, name: &str) {
        lock(&self.grown).push(name.to_owned());
        self.notify("notifications/tools/list_changed", json!({}));
    }

    /// Whether a request was taken back.
    pub(crate) fn is_cancelled(&self, id: &Value) -> bool {
        lock(&self.cancelled).contains(&id.to_string())
    }

    /// Handles one message. `related` takes what belongs to it to its client. None: there is nothing to answer.
    pub(crate) fn handle(&self, message: &Value, related: &Out) -> Option<Value> {
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            self.answered(message);
            return None;
        };
        *lock(&self.counts).entry(method.to_owned()).or_default() += 1;
        let params = message.get("params").cloned().unwrap_or(Value::Null);
        let Some(id) = message.get("id") else {
            if method == "notifications/cancelled" {
                lock(&self.cancelled).insert(params["requestId"].to_string());
            }
            return None;
        };
        let result = match method {
            "initialize" => self.initialize(&params)?,
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => Ok(json!({})),
            "tools/list" => self.list(&params),
            "tools/call" => tools::call(self, id, &params, related)?,
            "resources/list" => Ok(json!({ "resources": [{ "uri": "test://one", "name": "one" }] })),
            _ => Err((-32601, format!("{method} is not known"))),
        };
        Some(match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
        })
    }

    /// A client answered a request of the server.
    fn answered(&self, message: &Value) {
        let sender = message["id"].as_u64().and_then(|id| lock(&self.asked).remove(&id));
        if let Some(sender) = sender {
            let answer = message.get("result").or(message.get("error")).cloned().unwrap_or(Value::Null);
            let _ = sender.send(answer);
        }
    }

    fn initialize(&self, params: &Value) -> Option<Result<Value, (i64, String)>> {
        if self.options.mute {
            return None;
        }
        thread::sleep(Duration::from_millis(self.options.delay_initialize));
        if self.options.refuse {
            return Some(Err((-32000, "not today; password=hunter2".into())));
        }
        let asked = params["protocolVersion"].as_str().unwrap_or(NEWEST);
        let agreed = if KNOWN.contains(&asked) { asked } else { NEWEST };
        let version = self.options.protocol.as_deref().unwrap_or(agreed);
        Some(Ok(json!({
            "protocolVersion": version,
            "capabilities": {
                "tools": { "listChanged": true },
                "resources": { "subscribe": true, "listChanged": true },
                "logging": {},
            },
            "serverInfo": { "name": self.options.name, "version": self.options.version },
            "instructions": "For tests only.",
        })))
    }

    fn list(&self, params: &Value) -> Result<Value, (i64, String)> {
        if lock(&self.counts).get("tools/list").is_some_and(|count| *count <= self.options.fail_lists) {
            return Err((-32000, "not yet".into()));
        }
        let more = (1..=self.options.tools).map(|n| format!("tool-{n:04}"));
        let names = tools::NAMES.iter().map(|name| (*name).to_owned()).chain(more);
        let names: Vec<String> = names.chain(lock(&self.grown).iter().cloned()).collect();
        let start: usize = match &params["cursor"] {
            Value::Null => 0,
            cursor => cursor.as_str().and_then(|text| text.parse().ok()).ok_or((-32602, "no such page".to_owned()))?,
        };
        let end = start.saturating_add(self.options.page).min(names.len());
        let page = names.get(start..end).unwrap_or_default();
        let tools: Vec<Value> = page
            .iter()
            .map(|name| json!({ "name": name, "description": name, "inputSchema": { "type": "object" } }))
            .collect();
        let mut result = json!({ "tools": tools });
        if end < names.len() {
            result["nextCursor"] = json!(end.to_string());
        }
        Ok(result)
    }
}
