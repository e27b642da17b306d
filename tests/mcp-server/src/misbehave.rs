//! Misbehaviour that begins with the process and needs no message.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::options::Options;
use crate::stdio::in_turn;

/// Does what the options ask for before anything is served.
pub(crate) fn at_start(options: &Options) {
    if let Some(seconds) = options.fork {
        fork(seconds);
    }
    if let Some(code) = options.exit {
        std::process::exit(code);
    }
    if let Some(after) = options.exit_after {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            std::process::exit(0);
        });
    }
    if options.flood_stderr {
        thread::spawn(|| {
            let lines = "a line on stderr that says nothing, again and again\n".repeat(64);
            while std::io::stderr().write_all(lines.as_bytes()).is_ok() {}
        });
    }
    if options.flood_stdout {
        thread::spawn(|| {
            let lines = "a line on stdout that is no JSON, again and again\n".repeat(64);
            while in_turn(|| std::io::stdout().write_all(lines.as_bytes())).is_ok() {}
        });
    }
}

/// A grandchild in the same process group, on the same pipes.
fn fork(seconds: u64) {
    let program = std::env::current_exe().unwrap_or_else(|_| "setpoint-test-mcp-server".into());
    let child = Command::new(program).args(["--sleep", &seconds.to_string()]).stdin(Stdio::null()).spawn();
    match child {
        Ok(child) => eprintln!("grandchild {}", child.id()),
        Err(error) => eprintln!("no grandchild: {error}"),
    }
}
