//! `cargo xtask COMMAND`: what developers, the justfile and CI run. It needs nothing but cargo.
//!
//! The demonstration, the tests and CI share the one profile `ci` and always build for the whole
//! workspace, so that features are the same in each and nothing is compiled twice.

#![forbid(unsafe_code)]

mod bench;
mod cache;
mod commands;
mod counts;
mod docs;
mod fuzz;
mod guests;
mod kube;
mod machine;
mod mcp;
mod page;
mod paths;
mod peers;
mod soak;
mod step;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo          set up, build, and show Setpoint at work step by step;
                on a terminal the host then stays up until Ctrl-C
  test          set up, build, run every test, and the demonstration
  lint          formatting, clippy; the book and cargo deny where their tools are installed

  bench [--write] [PART]...
                measure the budgets of the design in a release build; with --write into docs/benchmarks.md;
                parts: core, plugin, host, start, neighbours, servers, idle; on a real API server, which takes Go:
                kube, beside kube-rs and controller-runtime, or of it kube.job, kube.controllers, kube.large;
                fleet, many clusters, or of it fleet.engage, fleet.rest, fleet.handover
  fuzz [TARGET] [SECONDS]
                one fuzz target, or each, guided by coverage: 60 s unless told; needs cargo-fuzz and nightly
  soak [SEEDS] [--minutes N]
                all at full size: 100000 seeds, 300 kills, fuzz targets, an idle hour; or what fits into
                about N minutes; the result goes into docs/soak.md
  docs [--check]
                write the reference pages of the book, or say which are not what the code says

  kube up [--clusters N]
                a real API server by hand, with a kubeconfig, until Ctrl-C; or some on one etcd
  kube assets   the directory with kube-apiserver, etcd and kubectl: KUBEBUILDER_ASSETS, or built once with Go

  setup         add the target wasm32-wasip2 if it is missing, and install the MCP servers of npm and PyPI
                that tests run, outside the clone
  guests        build the plugins into target/guests
  build         build the host: target/ci/setpoint
";

/// The profile of the demonstration, the tests and CI.
const PROFILE: &str = "ci";

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
        ["bench", "--write", parts @ ..] => bench::bench(parts, true),
        ["bench", parts @ ..] => bench::bench(parts, false),
        ["fuzz"] => fuzz::fuzz(None, fuzz::SECONDS),
        ["fuzz", target] => match target.parse() {
            Ok(seconds) => fuzz::fuzz(None, seconds),
            Err(_) => fuzz::fuzz(Some(*target), fuzz::SECONDS),
        },
        ["fuzz", target, seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::fuzz(Some(*target), seconds),
            Err(_) => return usage(&format!("{seconds:?} is no number of seconds")),
        },
        ["soak", rest @ ..] => match soak_size(rest) {
            Ok((seeds, minutes)) => soak::soak(seeds, minutes),
            Err(error) => return usage(&error),
        },
        ["docs"] => docs::docs(false),
        ["docs", "--check"] => docs::docs(true),
        ["kube", "assets"] => kube::assets(),
        ["kube", "up", rest @ ..] => kube::up(rest),
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

/// `[SEEDS] [--minutes N]`
fn soak_size(args: &[&str]) -> Result<(u64, Option<u64>), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    Ok(match args {
        [] => (soak::SEEDS, None),
        ["--minutes", minutes] => (soak::SEEDS, Some(number(minutes)?)),
        [seeds] => (number(seeds)?, None),
        [seeds, "--minutes", minutes] => (number(seeds)?, Some(number(minutes)?)),
        _ => return Err("soak takes a number of seeds and `--minutes N`".into()),
    })
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {error}\n\n{USAGE}");
    ExitCode::from(2)
}
