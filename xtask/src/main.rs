//! `cargo xtask COMMAND`: what developers, the justfile and CI run. It needs nothing but cargo.
//!
//! The demonstration, the tests and CI share the one profile `ci` and always build for the whole
//! workspace, so that features are the same in each and nothing is compiled twice.

#![forbid(unsafe_code)]

mod commands;
mod counts;
mod guests;
mod paths;
mod step;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo          set up, build, and show Setpoint at work step by step;
                on a terminal the host then stays up until Ctrl-C
  test          set up, build, run every test, and the demonstration
  lint          formatting, clippy, and cargo deny where it is installed
  bench         measure the budgets of the design, in a release build
  soak [SEEDS]  the simulation at full size: 20000 seeds unless told

  setup         add the target wasm32-wasip2 if it is missing
  guests        build the plugins into target/guests
  build         build the host: target/ci/setpoint
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["setup"] => commands::setup(),
        ["guests"] => commands::guests(),
        ["build"] => commands::build(),
        ["demo"] => commands::demo(),
        ["test"] => commands::test(),
        ["lint"] => commands::lint(),
        ["bench"] => commands::bench(),
        ["soak"] => commands::soak(20_000),
        ["soak", seeds] => match seeds.parse() {
            Ok(seeds) => commands::soak(seeds),
            Err(_) => return usage(&format!("{seeds:?} is no number of seeds")),
        },
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [] => return usage("a command is missing"),
        [other, ..] => return usage(&format!("there is no command {other:?}, or not with these arguments")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {error}\n\n{USAGE}");
    ExitCode::from(2)
}
