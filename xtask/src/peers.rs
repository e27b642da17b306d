//! The programs that Setpoint is measured against: each a project of its own below `tests/peers`, built only for that.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::paths;
use crate::step::{self, Failure, cargo, run};

/// Tells the benchmark where they are.
const KUBE_RS: &str = "SETPOINT_PEER_KUBE_RS";
const CONTROLLER_RUNTIME: &str = "SETPOINT_PEER_CONTROLLER_RUNTIME";

/// Builds both, and says to a command where they are.
pub(crate) fn with_peers(command: &mut Command) -> Result<(), Failure> {
    command.env(KUBE_RS, kube_rs()?).env(CONTROLLER_RUNTIME, controller_runtime()?);
    Ok(())
}

fn kube_rs() -> Result<PathBuf, Failure> {
    let target = paths::target().join("peers");
    let mut build = cargo();
    build
        .current_dir(paths::peers().join("kube-rs"))
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target);
    run("build the peer with kube-rs", &mut build)?;
    Ok(target.join("release/setpoint-peer-kube-rs"))
}

/// Named by all that it is made of, and so built once for all clones.
fn controller_runtime() -> Result<PathBuf, Failure> {
    const PROGRAM: &str = "peer-controller-runtime";
    let dir = paths::peers().join("controller-runtime");
    let version = go(&dir).arg("version").output();
    let version = version.map_err(|_| "Go is not installed; the peer with controller-runtime needs it".to_owned())?;
    let mut parts = vec![version.stdout];
    for file in sources(&dir)? {
        parts.push(fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let built = cache::dir("peers", &parts, |into| {
        let mut build = go(&dir);
        build.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
        let status = build.arg(into.join(PROGRAM)).arg(".").status();
        match status.map_err(|error| step::cannot_start(&build, &error))? {
            status if status.success() => Ok(()),
            status => Err(format!("the peer with controller-runtime could not be built: {status}; see above")),
        }
    });
    Ok(built?.join(PROGRAM))
}

/// Go in this directory. No other toolchain than the installed one is fetched.
fn go(dir: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    command
}

/// All files that the Go module is made of, in one order.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if ["go", "mod", "sum"].iter().any(|extension| path.extension() == Some(OsStr::new(extension))) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_this_clone_has_its_versions_pinned() -> Result<(), Failure> {
        let files = sources(&paths::peers().join("controller-runtime"))?;
        for name in ["go.mod", "go.sum", "main.go"] {
            assert!(files.iter().any(|file| file.ends_with(name)), "{name} is not among {files:?}");
        }
        Ok(())
    }
}
