//! Times of the machine as times of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use setpoint_core::Time;

/// What each time that is shown is on the wall clock. Found out once, when it is first shown, since the
/// one clock is set and the other stands still while a machine sleeps: what happened then must not be
/// shown at another time later.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    known: Vec<(Time, String)>,
    used: Vec<Time>,
}

impl Stamps {
    /// What `time` is, given that it is `now`.
    pub(crate) fn wall(&mut self, time: Time, now: Time) -> String {
        self.used.push(time);
        if let Some((_, text)) = self.known.iter().find(|(known, _)| *known == time) {
            return text.clone();
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let text = rfc3339(wall + time as i64 - now as i64);
        self.known.push((time, text.clone()));
        text
    }

    /// Forgets what was not shown since the last time this was called.
    pub(crate) fn sweep(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.known.retain(|(time, _)| used.contains(time));
    }
}

/// Unix milliseconds as RFC 3339 in UTC, to the second.
fn rfc3339(millis: i64) -> String {
    let seconds = millis.div_euclid(1_000);
    format!("{:.0}", jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_shown_stays_whatever_the_clocks_do() {
        let mut stamps = Stamps::default();
        let first = stamps.wall(5_000, 5_000);
        // An hour passed on the one clock and not on the other.
        assert_eq!(stamps.wall(5_000, 3_605_000), first);
        stamps.sweep();
        assert_eq!(stamps.wall(5_000, 3_605_000), first);
        stamps.sweep();
        stamps.sweep();
        assert_ne!(stamps.wall(5_000, 3_605_000), first, "what is not shown any more is forgotten");
    }

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        assert_eq!(rfc3339(1_767_225_600_999), "2026-01-01T00:00:00Z");
    }
}
