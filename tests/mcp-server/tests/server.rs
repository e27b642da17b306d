//! The server itself: small, and as misbehaved as it is told to be.

mod common;

use std::process::{Command, Stdio};

use common::{ready, stdio};

/// Kilobytes of memory that a process has resident; none where the system does not tell.
fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn two_hundred_of_it_are_no_burden_and_neither_are_their_hubs() {
    let before = resident("self");
    let servers: Vec<_> = (0..200).map(|_| stdio(&[])).collect();
    for server in &servers {
        assert_eq!(ready(&server.hub).await.len(), 14);
    }
    let (Some(before), Some(after)) = (before, resident("self")) else {
        println!("SKIPPED: this system does not tell how much memory a process has");
        return;
    };
    assert!(after < before + (16 << 10), "200 hubs take {} KiB", after - before);
    for server in &servers {
        let id = server.process.id().expect("it runs").to_string();
        let size = resident(&id).expect("as before");
        assert!(size < 3 << 10, "{size} KiB");
    }
}

#[test]
fn a_wrong_flag_is_explained() {
    for (arguments, part) in [
        (&["--stdio", "--nonsense"] as &[&str], "--nonsense is not known"),
        (&["--http"], "--http needs a value"),
        (&["--http", "x"], "no number that fits"),
        (&[], "one of --stdio"),
    ] {
        let output = Command::new(common::program()).args(arguments).stdin(Stdio::null()).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(part) && text.contains("usage:"), "{text}");
    }
}

#[test]
fn it_exits_as_it_is_told_and_leaves_a_grandchild_when_it_is_told_to() {
    let exit = Command::new(common::program()).args(["--stdio", "--exit", "7"]).output().expect("it starts");
    assert_eq!(exit.status.code(), Some(7));
    let later = Command::new(common::program()).args(["--stdio", "--exit-after", "50"]).stdin(Stdio::piped()).spawn();
    let status = later.and_then(|mut child| child.wait()).expect("it ends by itself");
    assert_eq!(status.code(), Some(0));
    let forked =
        Command::new(common::program()).args(["--stdio", "--fork", "1", "--exit", "0"]).output().expect("it starts");
    let text = String::from_utf8_lossy(&forked.stderr);
    assert!(text.starts_with("grandchild "), "{text}");
}
