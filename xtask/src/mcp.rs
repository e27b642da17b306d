//! MCP servers that nobody here wrote, of npm and PyPI, for the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failure, run};
use crate::{cache, paths};

/// Where the tests look for them.
pub(crate) const VARIABLE: &str = "SETPOINT_TEST_MCP_SERVERS";

/// Installs them: `node_modules` and `venv` in one directory. None if there is nothing to install them
/// with; then it was said what is missing, and the tests that need them say that they are skipped.
pub(crate) fn set_up() -> Result<Option<PathBuf>, Failure> {
    let versions = (version("node", "20", &["--version"]), version("python3", "3.11", &["--version"]));
    let (Some(node), Some(python)) = versions else { return Ok(None) };
    let read = |name: &str| {
        let path = paths::root().join("xtask/mcp-servers").join(name);
        std::fs::read(&path).map(|bytes| (path.clone(), bytes)).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (package, package_text) = read("package.json")?;
    let (lock, lock_text) = read("package-lock.json")?;
    let (requirements, requirements_text) = read("requirements.txt")?;
    let parts = [&*package_text, &lock_text, &requirements_text, node.as_bytes(), python.as_bytes()];
    let dir = cache::dir("mcp-servers", &parts, |dir| {
        for file in [&package, &lock] {
            let to = dir.join(file.file_name().unwrap_or_default());
            std::fs::copy(file, &to).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        let mut npm = Command::new("npm");
        run(
            "npm: MCP servers for the tests",
            npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(dir),
        )?;
        let venv = dir.join("venv");
        run("python3: a virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        let pip = pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
        run("pip: MCP servers for the tests", pip)
    })?;
    Ok(Some(dir))
}

/// The version of a program, if it is there and not too old; otherwise what to do is said.
fn version(program: &str, least: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let fits = text.as_deref().is_some_and(|text| numbers(text) >= numbers(least));
    if !fits {
        let found = text.as_deref().unwrap_or("none");
        println!("== {program} {least} or newer is missing (found: {found}): tests with real MCP servers are skipped");
    }
    text.filter(|_| fits)
}

fn numbers(text: &str) -> Vec<u32> {
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    text[start..].split('.').map_while(|part| part.parse().ok()).collect()
}

/// Tells tests where they are.
pub(crate) fn with_servers<'c>(command: &'c mut Command, dir: Option<&Path>) -> &'c mut Command {
    match dir {
        Some(dir) => command.env(VARIABLE, dir),
        None => command.env_remove(VARIABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("v20.20.2") >= numbers("20"));
        assert!(numbers("Python 3.9.1") < numbers("3.11"));
        assert!(numbers("Python 3.11.7") >= numbers("3.11"));
        assert!(numbers("none") < numbers("20"));
    }
}
