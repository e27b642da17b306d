//! What a process writes costs a bounded amount of memory. Alone in its process, so that it is its memory.

#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use setpoint_process::{KEPT, LINE_COST};
use support::*;

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is a /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
async fn floods_of_output_cost_bounded_memory_and_block_nobody_for_long() {
    let keeper = keeper();
    let quiet = supervised(&keeper, &shell("while :; do date +%s%N; sleep 0.05; done"));
    until_line(&quiet, |line| !line.is_empty()).await;
    let before = resident();
    // Short lines, long lines, and one line without an end, on both streams.
    let long = "x".repeat(20_000);
    let floods = [
        shell("exec yes short >&2"),
        shell(&format!("exec yes {long}")),
        shell("exec tr '\\0' y < /dev/zero"),
        shell("while :; do echo $$ tick; echo $$ tock >&2; done"),
    ]
    .map(|spec| supervised(&keeper, &spec));
    let until = Instant::now() + Duration::from_secs(4);
    let mut most = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(resident());
        let answered = Instant::now();
        for process in &floods {
            let lines = process.output();
            let cost: usize = lines.iter().map(|line| line.text.len() + LINE_COST).sum();
            // Both streams, and an unfinished line of each.
            assert!(cost <= 2 * KEPT + 2 * (setpoint_process::LONGEST_LINE + LINE_COST), "{cost}");
        }
        assert!(answered.elapsed() < Duration::from_secs(1), "whoever asks is answered");
    }
    assert!(most.saturating_sub(before) < 16 << 20, "{} KiB more than before", most.saturating_sub(before) >> 10);
    // It went on writing, far beyond what a pipe and a ring hold; and the quiet one was not held up.
    let ticks = quiet.output().len();
    assert!(ticks > 20, "{ticks} lines of the one beside them");
    for process in floods {
        assert!(!process.output().is_empty());
        assert!(process.close(Duration::from_secs(10)).await);
    }
}
