//! Processes that cannot be started, and those that misbehave.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use setpoint_core::process::{ProcessSpec, State, Stdin};
use support::*;

/// The state, reason and message of one that cannot be started. It is tried again, and no process is left.
async fn failure(spec: &ProcessSpec) -> (String, String) {
    let process = supervised(&keeper(), spec);
    let status = until_state(&process, State::Failed).await;
    assert!(status.next_restart_at.is_some() && status.pid.is_none() && !status.ready, "{status:?}");
    assert_eq!((status.consecutive_failures, status.restarts, status.last_exit.is_none()), (1, 0, true));
    let again = until(&process, "another try", |status| status.consecutive_failures >= 2).await;
    assert_eq!(again.reason, status.reason);
    (status.reason.clone(), status.message.clone())
}

#[tokio::test]
async fn what_cannot_be_started_says_why_within_moments() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
        path.to_str().expect("it is text").to_owned()
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let strange = file("strange", "#!/nowhere/interpreter\n", 0o755);
    let folder = directory.path().to_str().expect("it is text").to_owned();
    let (mut nowhere, mut in_file, mut zero, mut long) =
        (shell("exit 0"), shell("exit 0"), shell("exit 0"), shell("exit 0"));
    nowhere.working_directory = Some(format!("{folder}/nowhere"));
    in_file.working_directory = Some(plain.clone());
    zero.args.push("a\0b".into());
    long.args.push("x".repeat(200_000));
    let new = ProcessSpec::new;
    let cases = [
        (
            new("no-such-command-anywhere"),
            "CommandNotFound",
            "the command no-such-command-anywhere is not found in PATH",
        ),
        (new(&format!("{folder}/none")), "CommandNotFound", "the program [path]/none is not there"),
        (new(&plain), "NotExecutable", "[path]/plain is not executable"),
        (new(&folder), "NotExecutable", "is a directory"),
        (new(&strange), "CommandNotFound", "which its first line names"),
        (nowhere, "BadWorkingDirectory", "[path]/nowhere cannot be used: no such file or directory"),
        (in_file, "BadWorkingDirectory", "not a directory"),
        (zero, "Invalid", "a zero byte"),
        (long, "Invalid", "too long"),
    ];
    let began = Instant::now();
    let asked = cases.map(|(spec, reason, words)| {
        tokio::spawn(async move {
            let (code, message) = failure(&spec).await;
            assert!(code == reason && message.contains(words), "{}: {code}: {message}", spec.command);
        })
    });
    for asked in asked {
        asked.await.expect("it is as it should be");
    }
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn one_that_can_be_started_after_all_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("late");
    let process = supervised(&keeper(), &ProcessSpec::new(program.to_str().expect("it is text")));
    until_state(&process, State::Failed).await;
    std::fs::write(directory.path().join("new"), "#!/bin/sh\nexec sleep 1000\n").expect("it is written");
    std::fs::set_permissions(directory.path().join("new"), PermissionsExt::from_mode(0o755)).expect("it is ours");
    std::fs::rename(directory.path().join("new"), program).expect("it is ours");
    until_state(&process, State::Running).await;
}

#[tokio::test]
async fn one_that_fills_a_pipe_that_nobody_reads_is_stopped_all_the_same() {
    let (keeper, token) = (keeper(), Token::new());
    let mut spec = shell(&format!("sleep {} & exec yes", token.0));
    spec.stdin = Stdin::Mcp;
    let mut process = supervised(&keeper, &spec);
    token.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(process.status().state, State::Running);
    process.delete();
    process.gone().await;
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn one_that_hands_its_output_to_others_holds_nobody_up() {
    let (keeper, token) = (keeper(), Token::new());
    // What escapes keeps the pipes open, and says nothing.
    let process = supervised(&keeper, &shell(&format!("(setsid sleep {} &); echo bye; exit 4", token.0)));
    let status = until_state(&process, State::Backoff).await;
    assert_eq!(status.message, "exited with code 4");
    until(&process, "another start", |status| status.restarts >= 1).await;
    assert!(process.close(PATIENCE).await);
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn a_program_that_is_not_text_in_what_it_writes_is_shown_as_far_as_it_is() {
    let process = supervised(&keeper(), &shell("printf 'a\\377b\\0c\\n'; sleep 1000"));
    until_line(&process, |line| line == "a\u{fffd}b\0c").await;
}
