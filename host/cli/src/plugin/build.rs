//! `setpoint plugin build`: the crate in this directory becomes a plugin in the plugins directory.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::rerun::plugin_host;
use super::{TARGET, load, sdk, size};
use crate::args::BuildArgs;
use crate::failure::Failure;
use crate::output::print;

/// Builds the crate in this directory.
pub(super) fn build(args: &BuildArgs) -> Result<(), Failure> {
    is_crate(Path::new("."))?;
    ensure_target(args.setup)?;
    build_in(Path::new("."), &args.plugins, &mut |_| {})
}

/// Whether there is a crate.
///
/// # Errors
/// There is none: what to do.
pub(super) fn is_crate(dir: &Path) -> Result<(), Failure> {
    if dir.join("Cargo.toml").exists() {
        return Ok(());
    }
    let place = if dir == Path::new(".") { "this directory".to_owned() } else { dir.display().to_string() };
    Err(Failure::new(format!("there is no Cargo.toml in {place}"))
        .hint("go to the plugin's directory, or make one with `setpoint plugin new NAME`"))
}

/// Builds a crate, checks that a host would take what it makes, and puts that into the plugins directory in one step.
/// `started` is told the process that compiles.
///
/// # Errors
/// What is wrong with it; the plugins directory is as it was.
pub(super) fn build_in(dir: &Path, plugins: &Path, started: &mut dyn FnMut(u32)) -> Result<(), Failure> {
    let files = compile(dir, started)?;
    if files.is_empty() {
        return Err(Failure::new("the build made no component")
            .hint("Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`"));
    }
    let host = plugin_host()?;
    for file in files {
        let plugin = load(&host, &file)?;
        let description = plugin.description();
        let target = plugins.join(format!("{}.wasm", description.name));
        let bytes = std::fs::read(&file).map_err(|error| Failure::io(&file, &error))?;
        sdk::write(&target, &bytes).map_err(|error| Failure::io(&target, &error))?;
        let kinds: Vec<String> =
            description.kinds.iter().map(|owned| format!("{}.{}", owned.kind.kind, owned.kind.api_version())).collect();
        print(&format!("{}: {}, reconciles {}\n", target.display(), size(plugin.size()), kinds.join(", ")))?;
    }
    Ok(())
}

/// Whether rustc can build for the target; installs it if asked to.
///
/// # Errors
/// It cannot, and what to do.
pub(super) fn ensure_target(setup: bool) -> Result<(), Failure> {
    let libraries = run("rustc", &["--print", "target-libdir", "--target", TARGET])?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    if !setup {
        return Err(missing_target());
    }
    let status = Command::new("rustup")
        .args(["target", "add", TARGET])
        .status()
        .map_err(|error| not_started("rustup", &error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`rustup target add {TARGET}` failed: {status}"))) }
}

fn missing_target() -> Failure {
    Failure::new(format!("the target {TARGET} is not installed"))
        .hint(format!("rustup target add {TARGET}    (or: setpoint plugin build --setup)"))
}

fn not_started(program: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("{program} cannot be started: {error}"))
        .hint("install Rust with rustup, see https://rustup.rs")
}

/// What a program prints.
fn run(program: &str, args: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(args).output().map_err(|error| not_started(program, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{program} {}: {}", args.join(" "), said.lines().next().unwrap_or_default())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the crate; cargo tells which components it made, wherever its target directory is.
fn compile(dir: &Path, started: &mut dyn FnMut(u32)) -> Result<Vec<PathBuf>, Failure> {
    let mut cargo = Command::new("cargo")
        .current_dir(dir)
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| not_started("cargo", &error))?;
    started(cargo.id());
    let mut files = Vec::new();
    if let Some(stdout) = cargo.stdout.take() {
        // A line that cannot be read is none of those that we look for.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            files.extend(components(&line));
        }
    }
    let status = cargo.wait().map_err(|error| Failure::new(format!("cargo: {error}")))?;
    if status.success() { Ok(files) } else { Err(Failure::new("the build failed; cargo says why above")) }
}

/// The components of one message of cargo.
fn components(line: &str) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let library = list(&message["target"]["kind"]).iter().any(|kind| kind == "cdylib");
    if message["reason"] != "compiler-artifact" || !library {
        return Vec::new();
    }
    list(&message["filenames"])
        .into_iter()
        .map(PathBuf::from)
        .filter(|file| file.extension().is_some_and(|e| e == "wasm"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_found_in_what_cargo_says() {
        let artifact = r#"{"reason":"compiler-artifact","target":{"kind":["cdylib"],"name":"a"},"filenames":["/t/wasm32-wasip2/release/a.wasm"]}"#;
        assert_eq!(components(artifact), [PathBuf::from("/t/wasm32-wasip2/release/a.wasm")]);
        for other in [
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"]},"filenames":["/t/liba.rlib"]}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"filenames":["/t/b.wasm"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "warning: something else",
        ] {
            assert!(components(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_missing_target_is_named_with_the_one_command_that_adds_it() {
        assert_eq!(
            missing_target().to_string(),
            "error: the target wasm32-wasip2 is not installed\nhint: rustup target add wasm32-wasip2    (or: setpoint plugin build --setup)"
        );
    }
}
