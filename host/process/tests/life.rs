//! Processes that start, end, are changed and stopped (rule D13).

mod support;

use std::time::{Duration, Instant};

use setpoint_core::contract::Reason;
use setpoint_core::process::{Environment, RestartPolicy, State, Stdin, StopSignal};
use setpoint_process::{Keeper, Permission, Supervised};
use support::*;

#[tokio::test]
async fn a_process_runs_is_asked_to_end_and_is_forgotten() {
    let (keeper, token) = (keeper(), Token::new());
    let mut process = supervised(&keeper, &sleep(&token));
    let running = until_state(&process, State::Running).await;
    assert_eq!(Some(token.alive()), running.pid.map(|pid| vec![pid]));
    assert!(running.ready && running.started_at.is_some() && running.observed_generation == 1);
    process.delete();
    process.gone().await;
    assert!(token.alive().is_empty());
    let last = process.status().last_exit.clone().expect("it ended");
    assert_eq!((last.code, last.signal.as_deref()), (None, Some("SIGTERM")));
}

#[tokio::test]
async fn the_signal_of_the_spec_is_what_asks_it_to_end() {
    let keeper = keeper();
    let mut spec = shell("trap 'echo asked; exit 7' INT; echo up; while :; do sleep 0.05; done");
    spec.stop.signal = StopSignal::Int;
    let mut process = supervised(&keeper, &spec);
    until_line(&process, |line| line == "up").await;
    process.delete();
    process.gone().await;
    assert_eq!(process.status().last_exit.as_ref().and_then(|last| last.code), Some(7));
    until_line(&process, |line| line == "asked").await;
}

#[tokio::test]
async fn one_that_ignores_the_signal_is_killed_when_the_grace_has_passed() {
    let (keeper, token) = (keeper(), Token::new());
    // What it starts ignores it as well.
    let mut spec = shell(&format!("trap '' TERM; sleep {} & echo up; while :; do sleep 0.05; done", token.0));
    spec.stop.grace_seconds = 1;
    let mut process = supervised(&keeper, &spec);
    until_line(&process, |line| line == "up").await;
    let asked = Instant::now();
    process.delete();
    process.gone().await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(6), "{took:?}");
    assert_eq!(process.status().last_exit.as_ref().and_then(|last| last.signal.clone()), Some("SIGKILL".into()));
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn all_that_it_forked_ends_with_it() {
    let (keeper, token) = (keeper(), Token::new());
    let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do (trap '' TERM; sleep {}) & done; wait", token.0);
    let mut spec = shell(&script);
    spec.stop.grace_seconds = 1;
    let mut process = supervised(&keeper, &spec);
    token.wait_for(10).await;
    process.delete();
    process.gone().await;
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn the_rest_of_its_group_may_use_the_grace_to_end_well() {
    let keeper = keeper();
    // As npx does: what was started ends at once, what it started takes its time.
    let script = "sh -c 'trap \"sleep 0.5; echo saved; exit 0\" TERM; echo up; while :; do sleep 0.05; done' & wait";
    let mut process = supervised(&keeper, &shell(script));
    until_line(&process, |line| line == "up").await;
    process.delete();
    process.gone().await;
    until_line(&process, |line| line == "saved").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_escaped_into_a_session_of_its_own_is_gone_before_the_process_is() {
    let (keeper, token) = (keeper(), Token::new());
    let escapes = [
        // Its parent lives until the stop.
        format!("setsid sleep {} & wait", token.0),
        // Its parent is gone long before.
        format!("(setsid sleep {} &); sleep 1000", token.0),
        // Nothing in its environment says whose it is.
        format!("env -i setsid sleep {} & wait", token.0),
        // The same, and it ignores what asks it to end: its parent is gone before it is killed.
        format!("trap '' TERM; env -i setsid sleep {} & trap - TERM; wait", token.0),
        // It ignores what asks it to end.
        format!("(trap '' TERM; setsid sleep {} &); sleep 1000", token.0),
    ];
    let mut processes = Vec::new();
    for script in &escapes {
        let mut spec = shell(script);
        spec.stop.grace_seconds = 1;
        processes.push(supervised(&keeper, &spec));
    }
    token.wait_for(escapes.len()).await;
    for (left, process) in processes.iter_mut().enumerate().rev() {
        process.delete();
        process.gone().await;
        assert_eq!(token.alive().len(), left, "after {}", escapes[left]);
    }
}

#[tokio::test]
async fn what_is_left_behind_by_one_that_ended_is_killed_before_it_is_started_again() {
    let (keeper, token) = (keeper(), Token::new());
    let spec = shell(&format!("(setsid sleep {0} &); sleep {0} & exit 3", token.0));
    let process = supervised(&keeper, &spec);
    let status = until_state(&process, State::Backoff).await;
    assert_eq!((status.message.as_str(), status.consecutive_failures), ("exited with code 3", 1));
    wait("nothing left", || token.alive().is_empty().then_some(())).await;
    until(&process, "another start", |status| status.restarts == 1).await;
}

#[tokio::test]
async fn a_changed_spec_starts_it_anew_when_the_old_one_is_gone() {
    let keeper = keeper();
    let directory = tempfile::tempdir().expect("a directory");
    let lock = directory.path().join("lock");
    // The directory is there as long as one of them is: two at once would fail.
    let script = "mkdir \"$LOCK\" || exit 99; trap 'sleep 0.3; rmdir \"$LOCK\"; exit 0' TERM; echo up $V; \
        while :; do sleep 0.05; done";
    let mut spec = shell(script);
    spec.env = vec![variable("LOCK", lock.to_str().expect("it is text")), variable("V", "0")];
    let process = supervised(&keeper, &spec);
    let mut pids = Vec::new();
    for round in 0..5 {
        spec.env[1] = variable("V", &round.to_string());
        set(&process, &spec);
        until_line(&process, |line| line == format!("up {round}")).await;
        let status = until(&process, "it runs", |status| status.restarts == round && status.pid.is_some()).await;
        pids.push(status.pid.expect("it runs"));
        assert_eq!(status.consecutive_failures, 0);
        if round > 0 {
            assert_eq!(status.last_exit.as_ref().and_then(|last| last.code), Some(0), "the old one ended by itself");
        }
    }
    pids.dedup();
    assert_eq!(pids.len(), 5);
    assert!(process.close(PATIENCE).await);
    assert!(!lock.exists());
}

#[tokio::test]
async fn of_many_changes_at_once_the_last_is_started() {
    let keeper = keeper();
    let mut spec = shell("echo up $V; exec sleep 1000");
    let process = Supervised::new(&keeper, "test");
    for at in 0..200 {
        spec.env = vec![variable("V", &at.to_string())];
        set(&process, &spec);
        if at % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    until_line(&process, |line| line == "up 199").await;
    assert!(process.status().restarts <= 5, "{:?}", process.status());
}

#[tokio::test]
async fn one_that_ends_at_once_is_backed_off_and_becomes_a_crash_loop() {
    let keeper = keeper();
    let mut spec = shell("echo no >&2; exit 1");
    (spec.crash_loop_threshold, spec.backoff.max_seconds) = (3, 1);
    let process = supervised(&keeper, &spec);
    let first = until_state(&process, State::Backoff).await;
    assert!(first.next_restart_at.is_some() && !first.ready && first.pid.is_none());
    let began = Instant::now();
    let status = until_state(&process, State::CrashLoop).await;
    assert!(began.elapsed() >= Duration::from_millis(900), "two waits of at least half a second each");
    assert_eq!((status.reason.as_str(), status.consecutive_failures, status.restarts), ("Error", 3, 2));
    until(&process, "it is tried again", |status| status.restarts == 3).await;
    assert!(process.output().iter().all(|line| line.text == "no"));
}

#[tokio::test]
async fn one_that_need_not_be_started_again_is_not() {
    let keeper = keeper();
    let mut spec = shell("exit 0");
    spec.restart_policy = RestartPolicy::OnFailure;
    let process = supervised(&keeper, &spec);
    let status = until_state(&process, State::Exited).await;
    assert_eq!((status.reason.as_str(), status.next_restart_at.is_none()), ("Completed", true));
    // Asked for, it is.
    spec.restarted_at = Some("now".into());
    set(&process, &spec);
    until(&process, "it ran again", |status| status.state == State::Exited && status.restarts == 1).await;
}

#[tokio::test]
async fn one_that_is_killed_by_somebody_else_says_so_and_comes_back() {
    let (keeper, token) = (keeper(), Token::new());
    let process = supervised(&keeper, &sleep(&token));
    let pid = until_state(&process, State::Running).await.pid.expect("it runs");
    let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill is there");
    assert!(kill.success());
    let status = until_state(&process, State::Backoff).await;
    assert_eq!(status.message, "was ended by SIGKILL");
    let again = until(&process, "it runs", |status| status.restarts == 1).await;
    assert_ne!(again.pid, Some(pid));
}

#[tokio::test]
async fn one_that_may_not_run_any_more_is_stopped_and_one_that_waits_goes_on() {
    let (keeper, token) = (keeper(), Token::new());
    let spec = std::sync::Arc::new(sleep(&token));
    let process = supervised(&keeper, &spec);
    until_state(&process, State::Running).await;
    let reason = || Reason::new("SecretNotFound", "a Secret is missing");
    process.set(spec.clone(), 2, Permission::Wait(reason()));
    let status = until(&process, "it was looked at", |status| status.observed_generation == 2).await;
    assert_eq!(status.state, State::Running);
    process.set(spec.clone(), 3, Permission::Stop(Reason::new("NotGranted", "it is not granted")));
    until_state(&process, State::Failed).await;
    assert!(token.alive().is_empty());
    process.set(spec, 4, Permission::Run(Environment::default()));
    until_state(&process, State::Running).await;
}

#[tokio::test]
async fn closing_stops_within_its_bound_whatever_the_process_does() {
    let (keeper, token) = (keeper(), Token::new());
    let mut spec =
        shell(&format!("trap '' TERM; (trap '' TERM; setsid sleep {} &); while :; do sleep 0.05; done", token.0));
    spec.stop.grace_seconds = 300;
    let process = supervised(&keeper, &spec);
    token.wait_for(1).await;
    let began = Instant::now();
    assert!(process.close(Duration::from_millis(300)).await);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn one_that_is_dropped_or_whose_keeper_is_closed_is_killed() {
    let (keeper, dropped, kept) = (keeper(), Token::new(), Token::new());
    let first = supervised(&keeper, &sleep(&dropped));
    let second = supervised(&keeper, &sleep(&kept));
    dropped.wait_for(1).await;
    kept.wait_for(1).await;
    drop(first);
    dropped.wait_for(0).await;
    assert_eq!(kept.alive().len(), 1);
    assert!(keeper.close(Duration::from_secs(10)));
    assert!(kept.alive().is_empty(), "the keeper ends after what it keeps");
    until(&second, "it is known", |status| status.state != State::Running).await;
}

#[tokio::test]
async fn standard_input_has_an_end_or_none_as_the_spec_says() {
    let keeper = keeper();
    let mut spec = shell("cat; echo end");
    spec.restart_policy = RestartPolicy::Never;
    let ends = supervised(&keeper, &spec);
    until_state(&ends, State::Exited).await;
    until_line(&ends, |line| line == "end").await;
    spec.stdin = Stdin::Open;
    let stays = supervised(&keeper, &spec);
    until_state(&stays, State::Running).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((stays.status().state, stays.output().len()), (State::Running, 0));
}

/// What the next test starts: a program whose tests need a keeper can be it, with a test like this.
#[test]
fn is_a_keeper_when_asked_to_be() {
    if setpoint_process::keeper_main().is_some() {
        std::process::exit(0);
    }
}

#[tokio::test]
async fn a_program_of_tests_can_be_its_own_keeper() {
    let program = std::env::current_exe().expect("it is there");
    let keeper = Keeper::start(&program, ["--exact", "is_a_keeper_when_asked_to_be", "--nocapture"]);
    let keeper = keeper.expect("it starts");
    let process = supervised(&keeper, &shell("echo only this; exec sleep 1000"));
    until_line(&process, |line| line == "only this").await;
    assert_eq!(process.output().len(), 1, "what a program of tests says first is not said by the process");
    assert!(process.close(PATIENCE).await);
    assert!(keeper.close(PATIENCE));
}
