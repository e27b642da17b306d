//! How fast a server may talk without being asked.

use std::time::Duration;

use tokio::time::Instant;

/// Lines that may come at once, and within a second.
const LINES: u32 = 1_000;
/// How long is waited when more come.
const PAUSE: Duration = Duration::from_millis(100);

/// Slows down the reading of lines that answer nothing, so that a server that floods costs a part of a core at most: its
/// pipe fills, and it waits.
#[derive(Debug)]
pub(super) struct Throttle {
    left: u32,
    filled: Instant,
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { left: LINES, filled: Instant::now() }
    }

    /// One more line that answers nothing. Answers until when nothing is to be read.
    pub(super) fn unasked(&mut self) -> Option<Instant> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        let now = Instant::now();
        let since = now - self.filled;
        self.filled = now;
        if since >= Duration::from_secs(1) {
            self.left = LINES;
            return None;
        }
        self.left = LINES / 10;
        Some(now + PAUSE)
    }
}
