//! Servers to test against, and what tests say to them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_mcp::check::{Attempt, Checker};
use setpoint_mcp::hub::{Client, DeliveryKind, Hub, HubOptions, HubState};
use setpoint_mcp::{Access, SecretHeaders};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_setpoint-test-mcp-server")
}

/// A server on standard input and output, with a hub. It dies with this.
pub struct OnPipes {
    pub process: tokio::process::Child,
    pub hub: Hub,
}

pub fn stdio(arguments: &[&str]) -> OnPipes {
    stdio_with(arguments, HubOptions::default())
}

pub fn stdio_with(arguments: &[&str], options: HubOptions) -> OnPipes {
    let mut process = tokio::process::Command::new(program())
        .arg("--stdio")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the server starts");
    let (output, input) = (process.stdout.take().expect("its output"), process.stdin.take().expect("its input"));
    OnPipes { process, hub: Hub::start(output, input, options) }
}

/// A server at a port. It dies with this.
pub struct AtPort {
    process: Child,
    pub url: String,
}

impl AtPort {
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://").split('/').next().expect("a host")
    }

    pub fn port(&self) -> u16 {
        self.host().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for AtPort {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `--http` or `--sse`.
pub fn at_port(kind: &str, arguments: &[&str]) -> AtPort {
    let mut process = Command::new(program())
        .args([kind, "0"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let output = process.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("it says where it is");
    let url = line.trim().strip_prefix("listening on ").expect("a URL").to_owned();
    AtPort { process, url }
}

/// An attempt that may connect everywhere.
pub fn attempt() -> Attempt {
    Attempt { headers: SecretHeaders::default(), access: Access::all(), timeout: PATIENCE, hub: None }
}

pub fn checker() -> Checker {
    Checker::new(None).expect("a checker")
}

/// Waits until the server is known with its tools.
pub async fn ready(hub: &Hub) -> Vec<String> {
    let mut watch = hub.watch();
    let mut state = hub.state();
    loop {
        if let HubState::Ready(session) = &state
            && let Some(Ok(tools)) = &session.tools
        {
            return tools.to_vec();
        }
        state = soon(watch.changed()).await.expect("the hub goes on");
    }
}

/// In time, or the test fails.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// Waits for something to become true.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client of a hub as a program would write it that knows nothing but JSON.
pub struct Plain {
    client: Client,
    last: u64,
    /// What came beside answers.
    pub heard: Vec<Value>,
}

impl Plain {
    /// One that has been welcomed.
    pub async fn new(hub: &Hub, capabilities: Value) -> Self {
        let client = hub.connect().await.expect("room for a client");
        let mut plain = Self { client, last: 0, heard: Vec::new() };
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": capabilities,
            "clientInfo": { "name": "plain", "version": "1" },
        });
        let answer = plain.ask("initialize", params).await;
        assert_eq!(answer["result"]["serverInfo"]["name"], "setpoint-test", "{answer}");
        plain.say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        plain
    }

    pub async fn say(&self, message: Value) {
        self.client.sender().send(message.to_string()).await.expect("the hub goes on");
    }

    /// Sends a request, and answers its id.
    pub async fn request(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        self.say(json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params })).await;
        self.last
    }

    /// The next message, whatever it is.
    pub async fn next(&mut self) -> Option<(DeliveryKind, Value)> {
        let delivery = soon(self.client.next()).await?;
        Some((delivery.kind, serde_json::from_str(&delivery.text).unwrap_or(Value::Null)))
    }

    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            let (kind, message) = self.next().await.expect("an answer comes before the end");
            match kind {
                DeliveryKind::Response(to) if to.json() == id.to_string() => return message,
                _ => self.heard.push(message),
            }
        }
    }

    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params).await;
        self.answer(id).await
    }

    /// Calls a tool, and answers its text.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await;
        match answer["result"]["content"][0]["text"].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("{answer}"),
        }
    }
}
