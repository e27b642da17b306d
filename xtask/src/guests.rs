//! The plugins as components.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::paths;
use crate::step::{self, Failure, cargo};

const TARGET: &str = "wasm32-wasip2";

/// Adds the target of plugins if it is missing.
pub(crate) fn set_up() -> Result<(), Failure> {
    if target_is_there()? {
        return Ok(());
    }
    let remedy = format!("the target {TARGET} is missing; add it: rustup target add {TARGET}");
    let added = step::run(
        &format!("rustup target add {TARGET}"),
        Command::new("rustup").args(["target", "add", TARGET]).current_dir(paths::root()),
    );
    if added.is_err() || !target_is_there()? {
        return Err(remedy);
    }
    Ok(())
}

fn target_is_there() -> Result<bool, Failure> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = command
        .args(["--print", "sysroot"])
        .current_dir(paths::root())
        .output()
        .map_err(|error| step::cannot_start(&command, &error))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// Builds all of them, and the next version of the test double, into one directory.
pub(crate) fn build() -> Result<(), Failure> {
    let usual = paths::plugins().join("target");
    step::run(
        "build the plugins",
        cargo()
            .args(["build", "--release", "--target", TARGET])
            .arg("--target-dir")
            .arg(&usual)
            .current_dir(paths::plugins()),
    )?;
    // A directory of its own: cargo names a cdylib without its features, so that one would be taken
    // for the other.
    let next = usual.join("v2");
    step::run(
        "build the next version of the test double",
        cargo()
            .args(["build", "--release", "--target", TARGET, "--package", "hostile", "--features", "v2"])
            .arg("--target-dir")
            .arg(&next)
            .current_dir(paths::plugins()),
    )?;
    fs::create_dir_all(paths::guests()).map_err(|error| format!("{}: {error}", paths::guests().display()))?;
    let built = |target: &Path| target.join(TARGET).join("release");
    for name in ["workflow", "mcp_server", "mcp_backend", "config_bundle", "fanout", "hostile"] {
        collect(&built(&usual).join(format!("{name}.wasm")), name)?;
    }
    collect(&built(&next).join("hostile.wasm"), "hostile_v2")
}

fn collect(from: &Path, name: &str) -> Result<(), Failure> {
    let to = paths::guests().join(format!("{name}.wasm"));
    let size = fs::copy(from, &to).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))?;
    println!("   {} KiB {}", size / 1024, to.display());
    Ok(())
}
