//! `cargo xtask fuzz`: the targets of `tests/fuzz`, guided by coverage.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::step::{Failure, run, with_built};
use crate::{PROFILE, commands, paths};

/// For each target, unless told.
pub(crate) const SECONDS: u64 = 60;
const NEEDS: &str = "coverage-guided fuzzing needs cargo-fuzz and a nightly compiler: \
                     rustup toolchain install nightly && cargo install cargo-fuzz";

/// Fuzzes one target, or each of them, for so many seconds.
pub(crate) fn fuzz(target: Option<&str>, seconds: u64) -> Result<(), Failure> {
    if !is_there() {
        return Err(NEEDS.to_owned());
    }
    let known = targets()?;
    let wanted: Vec<&str> = match target {
        None => known.iter().map(String::as_str).collect(),
        Some(target) if known.iter().any(|name| name == target) => vec![target],
        Some(other) => return Err(format!("there is no target {other:?}; known are {}", known.join(", "))),
    };
    commands::guests()?;
    let broken: Vec<Failure> = wanted.into_iter().filter_map(|target| guided(target, seconds).err()).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Whether what it needs is installed.
pub(crate) fn is_there() -> bool {
    let mut version = nightly();
    let output = version.args(["cargo", "fuzz", "--version"]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// `cargo +nightly` would be the cargo that started this program.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).current_dir(paths::root()).env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// The names of all targets: each has a directory of examples.
pub(crate) fn targets() -> Result<Vec<String>, Failure> {
    let dir = paths::root().join("tests/fuzz/corpus");
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn guided(target: &str, seconds: u64) -> Result<(), Failure> {
    // What is found goes beside what is built; what is kept for good is put into tests/fuzz by a person.
    let (found, broken) = (made("corpus", target)?, made("broken", target)?);
    let kept = paths::root().join("tests/fuzz");
    let mut command = nightly();
    command
        // Nothing here is unsafe code but the one place in the plugin host, so that no sanitizer is needed.
        .args(["cargo", "fuzz", "run", "--sanitizer", "none", "guided"])
        .arg(&found)
        .arg(kept.join("corpus").join(target));
    let regressions = kept.join("regressions").join(target);
    if regressions.is_dir() {
        command.arg(regressions);
    }
    command
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .env("SETPOINT_FUZZ_TARGET", target);
    let what = format!("fuzz {target} for {seconds} s");
    run(&what, with_built(&mut command, PROFILE)).map_err(|error| {
        format!("{error}; the input is in {}: keep it in tests/fuzz/regressions/{target}", broken.display())
    })
}

fn made(part: &str, target: &str) -> Result<PathBuf, Failure> {
    let dir = paths::target().join("fuzz").join(part).join(target);
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_of_examples_is_a_target() -> Result<(), Failure> {
        let lib = fs::read_to_string(paths::root().join("tests/fuzz/src/lib.rs")).map_err(|error| error.to_string())?;
        for target in targets()? {
            assert!(lib.contains(&format!("targets::{target}::TARGET")), "{target}");
        }
        Ok(())
    }
}
