//! Many first attempts do not begin at once, and a single one does.

use crate::Time;

/// From one first attempt to the next, in milliseconds.
const STEP: Time = 10;

/// So many may begin together after quiet.
const BURST: Time = 8;

/// Gives each new probe the time of its first attempt: now, as long as few are new; with two hundred, spread over
/// two seconds. One for all probes of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// When the last one that was given a time would have begun without a burst.
    taken: Time,
}

impl Pace {
    /// The time for one more, `now` or later.
    pub fn slot(&mut self, now: Time) -> Time {
        self.taken = self.taken.max(now.saturating_sub(BURST * STEP)) + STEP;
        self.taken.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_probe_begins_at_once_and_two_hundred_do_not() {
        let mut pace = Pace::default();
        let slots: Vec<Time> = (0..200).map(|_| pace.slot(5_000)).collect();
        assert_eq!(slots.iter().filter(|at| **at == 5_000).count() as Time, BURST);
        assert!(slots.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(slots.last(), Some(&(5_000 + (200 - BURST) * STEP)));
        assert_eq!(pace.slot(60_000), 60_000);
    }

    #[test]
    fn time_that_begins_at_nothing_is_no_matter() {
        let mut pace = Pace::default();
        assert!((0..20).all(|_| pace.slot(0) <= 20 * STEP));
    }
}
