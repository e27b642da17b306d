//! HTTP with server-sent events, as in protocol version 2024-11-05: one stream for all answers, and an address for
//! requests that is told on it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use serde_json::Value;

use crate::http::{Connection, Request};
use crate::server::{Out, Server, lock};

static STREAMS: LazyLock<Mutex<HashMap<String, Out>>> = LazyLock::new(Mutex::default);

pub(crate) fn answer(server: &Arc<Server>, request: &Request, connection: &mut Connection) -> io::Result<()> {
    match (request.method.as_str(), request.path.split_once("?session=")) {
        ("GET", None) if request.path == "/sse" => stream(server, connection),
        ("POST", Some(("/messages", session))) => {
            let Some(out) = lock(&STREAMS).get(session).cloned() else {
                return connection.send(404, &[], "there is no such session");
            };
            let Ok(message) = serde_json::from_str::<Value>(&request.body) else {
                return connection.send(400, &[], "that is no JSON");
            };
            let server = server.clone();
            thread::spawn(move || {
                if let Some(answer) = server.handle(&message, &out) {
                    out(&answer);
                }
            });
            connection.send(202, &[], "Accepted")
        }
        ("POST", _) => connection.send(405, &[], ""),
        _ => connection.send(404, &[], ""),
    }
}

fn stream(server: &Arc<Server>, connection: &mut Connection) -> io::Result<()> {
    connection.begin_events(&[])?;
    let session = server.number().to_string();
    connection.event("endpoint", &format!("/messages?session={session}"))?;
    let hand = Mutex::new(connection.again()?);
    let out: Out = Arc::new(move |message| {
        let _ = lock(&hand).event("message", &message.to_string());
    });
    let number = server.listen(out.clone());
    lock(&STREAMS).insert(session.clone(), out);
    connection.until_gone();
    server.leave(number);
    lock(&STREAMS).remove(&session);
    Ok(())
}
