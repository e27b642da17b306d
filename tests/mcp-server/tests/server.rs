//! The server itself: small, and as misbehaved as it is told to be.

mod common;

use std::process::{Command, Stdio};

use common::{ready, stdio};

#[tokio::test]
async fn two_hundred_of_it_are_no_burden() {
    let server = stdio(&[]);
    ready(&server.hub).await;
    let id = server.process.id().expect("it runs");
    let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else {
        println!("SKIPPED: this system does not tell how much memory a process has");
        return;
    };
    let kilobytes = |field: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
    };
    assert!(kilobytes("VmRSS:") < 3 << 10, "{status}");
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
