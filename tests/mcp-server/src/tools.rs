//! What the server's tools do.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Out, Server};

/// The tools that are always there.
pub(crate) const NAMES: [&str; 14] =
    ["echo", "add", "grow", "slow", "exit", "huge", "env", "progress", "ask", "log", "touch", "counts", "storm", "pid"];

type Called = Result<Value, (i64, String)>;

/// Calls one. None: it was cancelled, and is not answered.
pub(crate) fn call(server: &Server, id: &Value, params: &Value, related: &Out) -> Option<Called> {
    let given = &params["arguments"];
    let number = |name: &str, default: u64| given[name].as_u64().unwrap_or(default);
    let word = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
    let said = match params["name"].as_str().unwrap_or_default() {
        "echo" => word("text"),
        "add" => (given["a"].as_f64().unwrap_or(0.0) + given["b"].as_f64().unwrap_or(0.0)).to_string(),
        "grow" => {
            server.grow(&word("name"));
            "grown".into()
        }
        "slow" => {
            let end = Instant::now() + Duration::from_millis(number("ms", 1_000));
            while Instant::now() < end {
                if server.is_cancelled(id) {
                    return None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            "at last".into()
        }
        "exit" => std::process::exit(i32::try_from(number("code", 0)).unwrap_or(1)),
        "huge" => "x".repeat(usize::try_from(number("bytes", 1 << 20)).unwrap_or_default()),
        "env" => std::env::var(word("name")).unwrap_or_default(),
        "progress" => {
            let token = &params["_meta"]["progressToken"];
            let steps = number("steps", 3);
            for step in 1..=steps {
                let params = json!({ "progressToken": token, "progress": step, "total": steps });
                related(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
                thread::sleep(Duration::from_millis(number("ms", 1)));
            }
            "done".into()
        }
        "ask" => {
            let asked = given.get("params").cloned().unwrap_or(json!({}));
            server.ask(related, &word("method"), asked).to_string()
        }
        "log" => {
            server.notify("notifications/message", json!({ "level": given["level"], "data": given["data"] }));
            "logged".into()
        }
        "touch" => {
            server.notify("notifications/resources/updated", json!({ "uri": given["uri"] }));
            "touched".into()
        }
        "counts" => server.counts().to_string(),
        "storm" => {
            let data = "x".repeat(usize::try_from(number("bytes", 10)).unwrap_or_default());
            for _ in 0..number("count", 1_000) {
                server.notify("notifications/message", json!({ "level": "info", "data": data }));
            }
            "over".into()
        }
        "pid" => std::process::id().to_string(),
        other => match other.strip_prefix("tool-") {
            Some(_) => "nothing".into(),
            None => return Some(Err((-32602, format!("there is no tool {other:?}")))),
        },
    };
    Some(Ok(json!({ "content": [{ "type": "text", "text": said }], "isError": false })))
}
