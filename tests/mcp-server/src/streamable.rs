//! Streamable HTTP, as since protocol version 2025-03-26.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;

use crate::http::{Connection, Request};
use crate::server::{Out, Server, lock};

/// Sessions, and how many requests each has sent.
static SESSIONS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn answer(server: &Arc<Server>, request: &Request, connection: &mut Connection) -> io::Result<()> {
    let message: Value = serde_json::from_str(&request.body).unwrap_or(Value::Null);
    let begins = message["method"] == "initialize";
    let session = match request.header("mcp-session-id") {
        _ if server.options.stateless => None,
        None if begins => {
            let id = format!("session-{}", server.number());
            lock(&SESSIONS).insert(id.clone(), 0);
            Some(id)
        }
        None => return connection.send(400, &[], "a session id is needed"),
        Some(id) => match lock(&SESSIONS).get_mut(id) {
            Some(requests) if !server.options.expire || *requests < 2 => {
                *requests += 1;
                Some(id.to_owned())
            }
            _ => return connection.send(404, &[], "there is no such session"),
        },
    };
    let named: Vec<(&str, &str)> = session.iter().map(|id| ("mcp-session-id", id.as_str())).collect();
    match request.method.as_str() {
        "POST" if message.is_null() => connection.send(400, &[], "that is no JSON"),
        "POST" => post(server, &message, &named, connection),
        "GET" => listen(server, &named, connection),
        "DELETE" => {
            if let Some(id) = &session {
                lock(&SESSIONS).remove(id);
            }
            connection.send(204, &[], "")
        }
        _ => connection.send(405, &[], ""),
    }
}

fn post(server: &Arc<Server>, message: &Value, named: &[(&str, &str)], connection: &mut Connection) -> io::Result<()> {
    if message.get("id").is_none() || message.get("method").is_none() {
        server.handle(message, &silent());
        return connection.send(202, named, "");
    }
    if server.options.sse_answers {
        connection.begin_events(named)?;
        let hand = Mutex::new(connection.again()?);
        let out: Out = Arc::new(move |message| {
            let _ = lock(&hand).event("message", &message.to_string());
        });
        if let Some(answer) = server.handle(message, &out) {
            out(&answer);
        }
        return Ok(());
    }
    match server.handle(message, &silent()) {
        Some(answer) => {
            let mut headers = vec![JSON];
            headers.extend(named);
            connection.send(200, &headers, &answer.to_string())
        }
        None => {
            connection.until_gone();
            Ok(())
        }
    }
}

/// The stream of notifications that belong to no request.
fn listen(server: &Arc<Server>, named: &[(&str, &str)], connection: &mut Connection) -> io::Result<()> {
    connection.begin_events(named)?;
    let hand = Mutex::new(connection.again()?);
    let number = server.listen(Arc::new(move |message| {
        let _ = lock(&hand).event("message", &message.to_string());
    }));
    connection.until_gone();
    server.leave(number);
    Ok(())
}

fn silent() -> Out {
    Arc::new(|_| {})
}
