//! A host of the tests' own. `keeper` is what the tests' keepers are started with; `host SPEC…` is a host
//! with a keeper of its own and one process for each spec, given as JSON. It writes the keeper's process
//! id, then each status as a line, and ends when its standard input does: by closing everything if the
//! last line was `close`, and just so otherwise.

#![forbid(unsafe_code)]

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use setpoint_core::process::{Environment, ProcessSpec};
use setpoint_process::{Keeper, Permission, Supervised, keeper_main};

fn main() -> ExitCode {
    if let Some(ended) = keeper_main() {
        return ended;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((word, specs)) if word == "host" => match host(specs) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("this is for tests: host SPEC…");
            ExitCode::from(2)
        }
    }
}

fn host(specs: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let keeper = Keeper::start(&std::env::current_exe()?, ["keeper"])?;
    say(&format!("keeper {}", keeper.pid().unwrap_or_default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let close = runtime.block_on(async {
        let mut processes = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            let spec: ProcessSpec = serde_json::from_str(spec)?;
            let environment = Environment::resolve(&spec.env, |_| Ok(None)).map_err(|reason| reason.message)?;
            let process = Supervised::new(&keeper, &format!("test/{at}"));
            process.set(Arc::new(spec), 1, Permission::Run(environment));
            let mut changes = process.changes();
            tokio::spawn(async move {
                while let Some(status) = changes.next().await {
                    say(&format!("{at} {}", serde_json::to_string(&*status).unwrap_or_default()));
                }
            });
            processes.push(process);
        }
        let lines = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().map_while(Result::ok).last());
        let close = lines.await?.is_some_and(|line| line == "close");
        if close {
            let closing = processes.into_iter().map(|process| tokio::spawn(process.close(Duration::from_secs(10))));
            for closed in closing.collect::<Vec<_>>() {
                say(if closed.await? { "closed" } else { "left" });
            }
        } else {
            // As a host that is in a hurry: nothing is asked to end.
            std::mem::forget(processes);
        }
        Ok::<bool, Box<dyn std::error::Error>>(close)
    })?;
    if close {
        say(if keeper.close(Duration::from_secs(5)) { "keeper closed" } else { "keeper left" });
    } else {
        std::process::exit(0);
    }
    Ok(())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may listen any more.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
