//! Under which conditions something was measured.

use std::fs;
use std::process::Command;

use crate::paths;

/// Today in UTC, as `2026-01-31`.
pub(crate) fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "at an unknown date".to_owned() } else { text }
}

/// Date, machine, load and version in one sentence. The load is that of this moment: ask before measuring.
pub(crate) fn conditions(profile: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores, {}, kernel {}, load before {}, {profile} build, version {}.",
        today(),
        model(&read("/proc/cpuinfo")),
        or_unknown(read("/proc/sys/kernel/osrelease").trim()),
        or_unknown(load.split(' ').next().unwrap_or_default()),
        version(),
    )
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    or_unknown(line.unwrap_or_default().trim_start_matches([' ', '\t', ':'])).to_owned()
}

/// The version and, in a clone, the commit.
fn version() -> String {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short", "HEAD"]).current_dir(paths::root());
    let commit = git.output().ok().filter(|output| output.status.success());
    match commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_stands_behind_its_name() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU @ 2GHz\n"), "A CPU @ 2GHz");
        assert_eq!(model(""), "unknown");
    }
}
