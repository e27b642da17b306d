//! The commands.

use std::process::Command;

use crate::PROFILE;
use crate::counts::Counts;
use crate::guests as components;
use crate::step::{Failure, begin, cargo, end, run, run_tests, with_built};
use crate::{kube, mcp, paths};

/// `cargo xtask setup`
pub(crate) fn setup() -> Result<(), Failure> {
    guests_set_up()?;
    mcp::set_up().map(drop)
}

/// What it takes to build everything; tests need more.
fn guests_set_up() -> Result<(), Failure> {
    let began = begin("set up");
    components::set_up()?;
    end("set up", began);
    Ok(())
}

/// `cargo xtask guests`
pub(crate) fn guests() -> Result<(), Failure> {
    guests_set_up()?;
    components::build()
}

/// `cargo xtask build`
pub(crate) fn build() -> Result<(), Failure> {
    run("build the host", bins(&["setpoint", "setpoint-demo", "setpoint-test-mcp-server"]).args(["--profile", PROFILE]))
}

/// Of the whole workspace, so that features are what the tests have too.
pub(crate) fn bins(names: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["build", "--workspace"]);
    for name in names {
        command.args(["--bin", name]);
    }
    command
}

/// `cargo xtask demo`
pub(crate) fn demo() -> Result<(), Failure> {
    guests()?;
    build()?;
    let mut demo = demonstration();
    // In the place of this program, so that Ctrl-C reaches what is shown, and nothing else.
    #[cfg(unix)]
    let failed = std::os::unix::process::CommandExt::exec(&mut demo).to_string();
    #[cfg(not(unix))]
    let failed = match demo.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(format!("the demonstration: {failed}"))
}

fn demonstration() -> Command {
    let mut demo = Command::new(paths::binary(PROFILE, "setpoint-demo"));
    with_built(&mut demo, PROFILE);
    demo
}

/// `cargo xtask test`
pub(crate) fn test() -> Result<(), Failure> {
    let began = begin("test");
    guests()?;
    let servers = mcp::set_up()?;
    build()?;
    let mut host = cargo();
    kube::for_tests(&mut host);
    host.args(["test", "--workspace", "--no-fail-fast", "--profile", PROFILE, "--", "--show-output"]);
    let host = mcp::with_servers(with_built(&mut host, PROFILE), servers.as_deref());
    let host = run_tests("test the host", host)?;
    let mut plugins = cargo();
    plugins.args(["test", "--no-fail-fast", "--", "--show-output"]).current_dir(paths::plugins());
    let plugins = run_tests("test the plugins", &mut plugins)?;
    // Not on the terminal, where it would stay.
    let shown = run("the demonstration", demonstration().stdin(std::process::Stdio::null()));
    end("test", began);
    verdict(host.and(plugins), &shown)
}

/// The last line is the plain one that people and programs look for.
fn verdict(counts: Counts, shown: &Result<(), Failure>) -> Result<(), Failure> {
    let Counts { passed, failed, skipped, broken, .. } = counts;
    if skipped > 0 {
        println!("{skipped} could not be run here: see the lines that begin with SKIPPED");
    }
    if let Err(error) = shown {
        println!("{error}");
    }
    if broken {
        println!("tests did not compile, or ended before they were done");
    }
    let failed = failed + u64::from(shown.is_err()) + u64::from(broken);
    println!("{} passed, {failed} failed", passed + u64::from(shown.is_ok()));
    if failed > 0 { Err("not all is well".into()) } else { Ok(()) }
}

/// `cargo xtask lint`
pub(crate) fn lint() -> Result<(), Failure> {
    for (what, dir) in [("the host", paths::root()), ("the plugins", paths::plugins())] {
        run(&format!("formatting of {what}"), cargo().args(["fmt", "--all", "--check"]).current_dir(dir))?;
    }
    // The host with the profile of its tests: what is compiled for one is there for the other.
    let all = ["clippy", "--workspace", "--all-targets"];
    run("clippy, the host", cargo().args(all).args(["--profile", PROFILE, "--", "-D", "warnings"]))?;
    run("clippy, the plugins", cargo().args(all).args(["--", "-D", "warnings"]).current_dir(paths::plugins()))?;
    book()?;
    let installed = cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        println!(
            "== cargo deny is not installed, so licences and advisories are not checked: cargo install cargo-deny"
        );
        return Ok(());
    }
    // Everything but advisories works without a network; those need the database.
    let offline = ["bans", "licenses", "sources"];
    let fetched = cargo().args(["deny", "fetch", "db"]).output().is_ok_and(|output| output.status.success());
    if !fetched {
        println!("== advisories are not checked: their database cannot be fetched; try again with a network");
    }
    let what = if fetched { [&offline[..], &["advisories"]].concat() } else { offline.to_vec() };
    run("cargo deny, the host", cargo().args(["deny", "check"]).args(&what))?;
    run(
        "cargo deny, the plugins",
        cargo()
            .args(["deny", "--manifest-path", "plugins/Cargo.toml", "--config", "deny.toml", "check"])
            .args(&what)
            .current_dir(paths::root()),
    )
}

/// The book, where it can be built.
fn book() -> Result<(), Failure> {
    let dir = paths::root().join("docs/book");
    if !dir.join("book.toml").is_file() {
        return Ok(());
    }
    let mdbook = || Command::new("mdbook");
    if !mdbook().arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("== mdbook is not installed, so the book is not built: cargo install mdbook");
        return Ok(());
    }
    run("build the book", mdbook().arg("build").arg(&dir).arg("--dest-dir").arg(paths::target().join("book")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_of_any_sort_fails_the_whole() {
        let good = Counts { passed: 3, ..Counts::default() };
        assert!(verdict(good, &Ok(())).is_ok());
        assert!(verdict(good, &Err("no".into())).is_err());
        assert!(verdict(Counts { failed: 1, ..good }, &Ok(())).is_err());
        assert!(verdict(Counts { broken: true, ..good }, &Ok(())).is_err());
    }
}
