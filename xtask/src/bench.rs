//! `cargo xtask bench`

use std::process::{Command, Stdio};

use crate::commands::{bins, guests};
use crate::step::{Failure, begin, cannot_start, end, run, with_built};
use crate::{kube, machine, page, paths, peers};

/// What takes an API server, each with a table of its own.
const WITH_SERVER: [&str; 2] = [BESIDE_PEERS, "fleet"];
/// This one takes programs to compare with, too.
const BESIDE_PEERS: &str = "kube";

/// Builds for release and measures these parts, all of them if there are none. With `write` the figures go
/// into the docs as well.
pub(crate) fn bench(parts: &[&str], write: bool) -> Result<(), Failure> {
    build()?;
    let table_of = |part: &str| WITH_SERVER.into_iter().find(|table| part.split('.').next() == Some(*table));
    let of = |table: Option<&str>| parts.iter().copied().filter(|part| table_of(part) == table).collect::<Vec<_>>();
    let mut result = Ok(());
    let alone = of(None);
    if parts.is_empty() || !alone.is_empty() {
        result = show(page::FIGURES, write, || measure(&alone, None));
    }
    for table in WITH_SERVER {
        let mut of_it = of(Some(table));
        if parts.is_empty() {
            of_it.push(table);
        }
        if !of_it.is_empty() {
            result = result.and(show(table, write, || measure_with_server(table, &of_it)));
        }
    }
    result
}

/// Shows what was measured, under which conditions, and writes it into its part of the docs.
fn show(
    part: &str,
    write: bool,
    measure: impl FnOnce() -> Result<(String, Result<(), Failure>), Failure>,
) -> Result<(), Failure> {
    let conditions = machine::conditions("release");
    let (table, result) = measure()?;
    println!("{conditions}\n\n{table}");
    if write {
        page::write(&paths::root().join("docs/benchmarks.md"), part, &format!("{conditions}\n\n{table}"))?;
    }
    result
}

/// Everything that a measurement needs.
pub(crate) fn build() -> Result<(), Failure> {
    guests()?;
    run(
        "build the host for release",
        bins(&["setpoint", "setpoint-bench", "setpoint-test-mcp-server"]).arg("--release"),
    )
}

/// The table of these parts, and whether all of it could be measured.
pub(crate) fn measure(parts: &[&str], idle_seconds: Option<u64>) -> Result<(String, Result<(), Failure>), Failure> {
    let mut bench = command(parts);
    if let Some(seconds) = idle_seconds {
        bench.env("SETPOINT_IDLE_SECONDS", seconds.to_string());
    }
    output(bench)
}

/// The same of what takes an API server.
fn measure_with_server(table: &str, parts: &[&str]) -> Result<(String, Result<(), Failure>), Failure> {
    let mut bench = command(parts);
    kube::for_tests(&mut bench);
    if table == BESIDE_PEERS {
        peers::with_peers(&mut bench)?;
    }
    output(bench)
}

fn command(parts: &[&str]) -> Command {
    let mut bench = Command::new(paths::binary("release", "setpoint-bench"));
    with_built(bench.current_dir(paths::root()), "release").args(parts).stderr(Stdio::inherit());
    bench
}

fn output(mut bench: Command) -> Result<(String, Result<(), Failure>), Failure> {
    let began = begin("measure");
    let output = bench.output().map_err(|error| cannot_start(&bench, &error))?;
    end("measure", began);
    let result = if output.status.success() { Ok(()) } else { Err(format!("measure: {}", output.status)) };
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), result))
}
