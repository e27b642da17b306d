//! One client, on standard input and output.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::options::Options;
use crate::server::{Out, Server};

/// Serves until the end of standard input.
pub(crate) fn serve(options: Options) -> io::Result<()> {
    if options.deaf {
        loop {
            thread::park();
        }
    }
    let server = Server::new(options);
    let out: Out = Arc::new(print);
    server.listen(out.clone());
    let mut garbage = server.options.garbage;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if server.options.garbage > 0 {
            for n in 0..garbage.max(1) {
                say(&format!("[{n}] a line that is no JSON; token=abc123secret"));
            }
            garbage = 1;
        }
        let message: Value = match serde_json::from_str(&line) {
            Ok(message) => message,
            Err(error) => {
                let error = json!({ "code": -32700, "message": error.to_string() });
                print(&json!({ "jsonrpc": "2.0", "id": null, "error": error }));
                continue;
            }
        };
        if message["method"] == "tools/call" {
            // Calls may last, and others need not wait for them.
            let (server, out) = (server.clone(), out.clone());
            thread::spawn(move || answer(&server, &message, &out));
        } else {
            answer(&server, &message, &out);
        }
        if server.options.flood_notifications && line.contains("notifications/initialized") {
            let server = server.clone();
            thread::spawn(move || {
                loop {
                    server.notify("notifications/tools/list_changed", json!({}));
                }
            });
        }
    }
    Ok(())
}

fn answer(server: &Arc<Server>, message: &Value, out: &Out) {
    if let Some(answer) = server.handle(message, out) {
        out(&answer);
    }
}

fn print(message: &Value) {
    say(&message.to_string());
}

fn say(line: &str) {
    if in_turn(|| say_to(&mut io::stdout().lock(), line)).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

fn say_to(out: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(out, "{line}")?;
    out.flush()
}

/// Writes to standard output when it is this thread's turn. The lock of standard output knows no turns: a thread that
/// floods takes it again before who waits for it is awake, and an answer may wait for minutes.
pub(crate) fn in_turn<T>(write: impl FnOnce() -> T) -> T {
    static TURNS: Mutex<Turns> = Mutex::new(Turns { drawn: 0, called: 0 });
    static NEXT: Condvar = Condvar::new();
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = turns.drawn;
    turns.drawn += 1;
    drop(NEXT.wait_while(turns, |turns| turns.called != mine).unwrap_or_else(PoisonError::into_inner));
    let written = write();
    TURNS.lock().unwrap_or_else(PoisonError::into_inner).called += 1;
    NEXT.notify_all();
    written
}

struct Turns {
    drawn: u64,
    called: u64,
}
