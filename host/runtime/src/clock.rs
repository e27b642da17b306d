//! Two clocks: milliseconds since the start for the rules, and the wall clock for people.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use setpoint_core::Time;

/// The clocks of a host.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Unix milliseconds at the origin.
    wall: u64,
}

/// So that a time before the origin (a burst that began earlier) is never below zero.
const HEAD: u64 = 1_000;

impl Default for Clock {
    fn default() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self { origin: Instant::now(), wall }
    }
}

impl Clock {
    /// The time of the rules.
    pub fn now(&self) -> Time {
        self.origin.elapsed().as_millis() as u64 + HEAD
    }

    /// The wall clock, RFC 3339 in UTC, to the second.
    pub fn wall(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        rfc3339(now)
    }

    /// A time of the rules as wall clock, to the millisecond.
    pub fn wall_of(&self, time: Time) -> String {
        rfc3339_millis((self.wall + time).saturating_sub(HEAD))
    }

    /// A time of the rules as wall clock, to the second.
    pub fn wall_second_of(&self, time: Time) -> String {
        rfc3339((self.wall + time).saturating_sub(HEAD))
    }

    /// The wall clock at the time 0 of the rules, in Unix milliseconds.
    pub fn epoch(&self) -> u64 {
        self.wall.saturating_sub(HEAD)
    }

    /// How long until a time of the rules.
    pub fn until(&self, time: Time) -> std::time::Duration {
        std::time::Duration::from_millis(time.saturating_sub(self.now()))
    }
}

fn timestamp(unix_millis: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(i64::try_from(unix_millis).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX)
}

/// Unix milliseconds as RFC 3339 in UTC, to the second.
pub fn rfc3339(unix_millis: u64) -> String {
    format!("{:.0}", timestamp(unix_millis / 1_000 * 1_000))
}

/// Unix milliseconds as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339_millis(unix_millis: u64) -> String {
    format!("{:.3}", timestamp(unix_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        assert_eq!(rfc3339(1_767_225_600_999), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339_millis(1_767_225_600_999), "2026-01-01T00:00:00.999Z");
    }
}
