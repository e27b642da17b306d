//! Steps: commands that say what they are and how long they took.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::counts::Counts;
use crate::paths;

/// Why a command of this program failed, as it is shown.
pub(crate) type Failure = String;

/// Cargo, in the clone, without what the cargo that started this program told it.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        // Some build scripts track these, and would run again each time.
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_PRIMARY_PACKAGE" {
            command.env_remove(name);
        }
    }
    command
}

/// The tests and the demonstration find what was built by these.
pub(crate) fn with_built<'c>(command: &'c mut Command, profile: &str) -> &'c mut Command {
    command.env("SETPOINT_BIN", paths::binary(profile, "setpoint")).env("SETPOINT_TEST_GUESTS", paths::guests())
}

/// Runs a command to its end.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<(), Failure> {
    let began = begin(what);
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if !status.success() {
        return Err(format!("{what}: {status}"));
    }
    end(what, began);
    Ok(())
}

/// Runs tests: shows what they print, without what the passed ones printed, and counts them.
pub(crate) fn run_tests(what: &str, command: &mut Command) -> Result<Counts, Failure> {
    let began = begin(what);
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot_start(command, &error))?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| format!("{what}: its output cannot be read: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            if counts.take(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait().map_err(|error| format!("{what}: {error}"))?;
    // Something that does not compile fails without a failed test.
    counts.broken = !status.success() && counts.failed == 0;
    end(what, began);
    Ok(counts)
}

pub(crate) fn begin(what: &str) -> Instant {
    println!("== {what}");
    Instant::now()
}

pub(crate) fn end(what: &str, began: Instant) {
    println!("== {what}: {:.1} s", began.elapsed().as_secs_f64());
}

pub(crate) fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    format!("{} cannot be started: {error}", command.get_program().to_string_lossy())
}
