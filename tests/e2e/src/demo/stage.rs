//! What the person who looks sees: titles, commands with their output, results.

use std::thread;
use std::time::{Duration, Instant};

use setpoint_test_support::Host;

/// Counts the steps.
#[derive(Default)]
pub(crate) struct Stage {
    steps: usize,
}

impl Stage {
    /// Steps that were begun.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    pub(crate) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n── {}. {title}", self.steps);
    }

    /// Something that a person would type, done by this program.
    pub(crate) fn types(&self, command: &str) {
        println!("   $ {command}");
    }

    /// A command of the command line: run for real, with what it really prints.
    pub(crate) fn setpoint(&self, host: &Host, args: &[&str]) -> String {
        self.types(&format!("setpoint {}", args.join(" ")));
        let output = host.cli(args).ok();
        for line in output.lines() {
            println!("     {line}");
        }
        output
    }

    pub(crate) fn says(&self, text: &str) {
        println!("   ✓ {text}");
    }
}

/// How long it takes, looked at each millisecond, until something is so.
pub(crate) fn timed(host: &Host, what: &str, mut look: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}\n{}", host.log_tail());
        thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

/// `12.3 ms`
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
