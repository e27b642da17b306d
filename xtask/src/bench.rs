//! `cargo xtask bench`

use std::process::{Command, Stdio};

use crate::commands::{bins, guests};
use crate::step::{Failure, begin, cannot_start, end, run, with_built};
use crate::{machine, page, paths};

/// Builds for release and measures these parts, all of them if there are none. With `write` the figures go
/// into the docs as well.
pub(crate) fn bench(parts: &[&str], write: bool) -> Result<(), Failure> {
    build()?;
    let conditions = machine::conditions("release");
    let (table, result) = measure(parts, None)?;
    println!("{conditions}\n\n{table}");
    if write {
        page::write(&paths::root().join("docs/benchmarks.md"), &format!("{conditions}\n\n{table}"))?;
    }
    result
}

/// Everything that a measurement needs.
pub(crate) fn build() -> Result<(), Failure> {
    guests()?;
    run("build the host for release", bins(&["setpoint", "setpoint-bench"]).arg("--release"))
}

/// The table of these parts, and whether all of it could be measured.
pub(crate) fn measure(parts: &[&str], idle_seconds: Option<u64>) -> Result<(String, Result<(), Failure>), Failure> {
    let began = begin("measure");
    let mut bench = Command::new(paths::binary("release", "setpoint-bench"));
    with_built(bench.current_dir(paths::root()), "release").args(parts).stderr(Stdio::inherit());
    if let Some(seconds) = idle_seconds {
        bench.env("SETPOINT_IDLE_SECONDS", seconds.to_string());
    }
    let output = bench.output().map_err(|error| cannot_start(&bench, &error))?;
    end("measure", began);
    let result = if output.status.success() { Ok(()) } else { Err(format!("measure: {}", output.status)) };
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), result))
}
