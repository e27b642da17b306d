//! Many processes, and what they cost while they just run. Alone in its process, so that its threads are
//! those that are measured.

#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use setpoint_core::process::State;
use support::*;

const COUNT: usize = 200;

/// How often the threads of a process were woken.
fn wakeups(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is there").flatten();
    let of = |status: String| -> u64 {
        let lines = status.lines().filter(|line| line.starts_with("voluntary_ctxt_switches:"));
        lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_processes_start_cost_nothing_while_they_run_and_stop() {
    let (keeper, token) = (keeper(), Token::new());
    let began = Instant::now();
    let processes: Vec<_> = (0..COUNT).map(|_| supervised(&keeper, &sleep(&token))).collect();
    for process in &processes {
        until_state(process, State::Running).await;
    }
    let started = began.elapsed();
    token.wait_for(COUNT).await;
    let statuses: Vec<_> = processes.iter().map(|process| process.status()).collect();
    let keeper_pid = keeper.pid().expect("there is one");
    // What was just started settles.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = (wakeups(std::process::id()), wakeups(keeper_pid));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let host = wakeups(std::process::id()) - before.0;
    let kept = wakeups(keeper_pid) - before.1;
    // The one that wakes is this test.
    assert!(host <= 12, "{host} wake-ups of the host in three quiet seconds");
    assert_eq!(kept, 0, "wake-ups of the keeper in three quiet seconds");
    assert!(processes.iter().map(|process| process.status()).eq(statuses), "no status changed");
    let began = Instant::now();
    let closing: Vec<_> = processes.into_iter().map(|process| tokio::spawn(process.close(PATIENCE))).collect();
    for closed in closing {
        assert!(closed.await.expect("it does not panic"));
    }
    let stopped = began.elapsed();
    assert!(token.alive().is_empty());
    println!("{COUNT} processes: started in {started:?}, stopped in {stopped:?}, {host} and {kept} wake-ups in 3 s");
    assert!(started < Duration::from_secs(60) && stopped < Duration::from_secs(30));
}
