//! An MCP server of the tests' own: it speaks the protocol over stdio, streamable HTTP or the legacy HTTP with
//! server-sent events, and misbehaves when it is told to. Tests start many of it at once, so it needs nothing but the
//! standard library and JSON.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod http;
mod legacy;
mod misbehave;
mod options;
mod server;
mod stdio;
mod streamable;
mod tools;

use std::process::ExitCode;

use crate::options::{Mode, Options, USAGE};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    misbehave::at_start(&options);
    let done = match options.mode {
        Mode::Stdio => stdio::serve(options),
        Mode::Http(port) => http::serve(options, port, streamable::answer),
        Mode::Sse(port) => http::serve(options, port, legacy::answer),
        Mode::Sleep(seconds) => {
            std::thread::sleep(std::time::Duration::from_secs(seconds));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
