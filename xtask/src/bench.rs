//! `cargo xtask bench`

use std::process::{Command, Stdio};

use crate::commands::{bins, guests};
use crate::step::{Failure, begin, cannot_start, end, run, with_built};
use crate::{kube, machine, page, paths, peers};

/// What takes an API server has a table of its own, and programs to compare with.
const WITH_SERVER: &str = "kube";

/// Builds for release and measures these parts, all of them if there are none. With `write` the figures go
/// into the docs as well.
pub(crate) fn bench(parts: &[&str], write: bool) -> Result<(), Failure> {
    build()?;
    let takes_server = |part: &&str| part.split('.').next() == Some(WITH_SERVER);
    let (with_server, alone): (Vec<&str>, Vec<&str>) = parts.iter().partition(|part| takes_server(part));
    let mut result = Ok(());
    if parts.is_empty() || !alone.is_empty() {
        result = show(page::FIGURES, write, || measure(&alone, None));
    }
    if parts.is_empty() || !with_server.is_empty() {
        let parts = if with_server.is_empty() { vec![WITH_SERVER] } else { with_server };
        result = result.and(show(WITH_SERVER, write, || measure_with_server(&parts)));
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
fn measure_with_server(parts: &[&str]) -> Result<(String, Result<(), Failure>), Failure> {
    let mut bench = command(parts);
    kube::for_tests(&mut bench);
    peers::with_peers(&mut bench)?;
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
