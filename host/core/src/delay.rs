//! Delays: backoff with jitter, debounce, the hot-loop bucket, and the timers of all keys
//! (rules C1 to C4). One delay per key.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Time;
use crate::key::KeyId;

/// A small deterministic generator (splitmix64). Its seed comes from the caller, so that a run
/// can be repeated.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.next_u64() % (high - low + 1) }
    }
}

/// Exponential backoff with jitter. Times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Step after the first failure. Default 1 s.
    pub first: u64,
    /// The step does not grow beyond this. Default 5 min.
    pub longest: u64,
    /// After so many failures the key is `Failed` and retried at the cap. Default 5.
    pub fast_retries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: 1_000, longest: 300_000, fast_retries: 5 }
    }
}

impl Backoff {
    /// The delay after the `failures`th failure in a row (1 is the first): drawn from [½, 1] of a
    /// step that doubles; once failed for good, the longest backoff × [1.0, 1.1].
    pub fn delay(&self, failures: u32, rng: &mut Rng) -> u64 {
        if self.is_failed(failures) {
            return rng.between(self.longest, self.longest + self.longest / 10);
        }
        let doubled = self.first.saturating_mul(1u64 << failures.saturating_sub(1).min(40));
        let step = doubled.min(self.longest).max(1);
        rng.between(step.div_ceil(2), step)
    }

    /// Whether so many failures in a row make the state `Failed`.
    pub fn is_failed(&self, failures: u32) -> bool {
        failures > self.fast_retries
    }
}

/// The debounce of changes (rule C3): the first at once, later ones on quiet, with a longest wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debounce {
    last: Option<Time>,
    first_waiting: Option<Time>,
}

/// Quiet that ends a burst of changes.
pub const DEBOUNCE: u64 = 500;
/// The longest that a change waits for quiet.
pub const LONGEST_DEBOUNCE: u64 = 5_000;

impl Debounce {
    /// A change came; answers when it may run: now for the first, later for one that follows
    /// another within [`DEBOUNCE`].
    pub fn change(&mut self, now: Time) -> Time {
        let in_burst = self.last.is_some_and(|last| now < last + DEBOUNCE);
        self.last = Some(now);
        if !in_burst {
            self.first_waiting = None;
            return now;
        }
        let first = *self.first_waiting.get_or_insert(now);
        (now + DEBOUNCE).min(first + LONGEST_DEBOUNCE).max(now)
    }

    /// The key runs: no change waits any more. The quiet still counts from the last change.
    pub fn ran(&mut self) {
        self.first_waiting = None;
    }
}

/// The hot-loop bucket of a key (rule C4).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u32,
    refilled: Time,
}

/// Attempts that may be loops before a key is damped.
pub const BUCKET: u32 = 20;
/// One attempt comes back after so many milliseconds.
pub const REFILL: u64 = 15_000;

impl Bucket {
    /// A full bucket.
    pub fn new(now: Time) -> Self {
        Self { tokens: BUCKET, refilled: now }
    }

    fn refill(&mut self, now: Time) {
        let back = now.saturating_sub(self.refilled) / REFILL;
        if self.tokens as u64 + back >= BUCKET as u64 {
            self.tokens = BUCKET;
            self.refilled = now;
        } else {
            self.tokens += back as u32;
            self.refilled += back * REFILL;
        }
    }

    /// Takes one attempt out, if there is one.
    pub fn charge(&mut self, now: Time) {
        self.refill(now);
        self.tokens = self.tokens.saturating_sub(1);
    }

    /// When an attempt that may be a loop may start: now, or when one is back.
    pub fn ready_at(&mut self, now: Time) -> Time {
        self.refill(now);
        if self.tokens > 0 { now } else { self.refilled + REFILL }
    }

    /// Whether it is empty: the key is damped.
    pub fn empty(&self) -> bool {
        self.tokens == 0
    }
}

/// The timers of all keys: at most one time per (key, slot) counts, the last one set.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, u32, u32)>>,
    stamps: Vec<(u32, Option<Time>)>,
}

impl Timers {
    /// Sets the one time of a slot, or takes it away.
    pub fn set(&mut self, slot: KeyId, at: Option<Time>) {
        if self.stamps.len() <= slot.index() {
            self.stamps.resize(slot.index() + 1, (0, None));
        }
        let (stamp, current) = &mut self.stamps[slot.index()];
        if *current == at {
            return;
        }
        *stamp = stamp.wrapping_add(1);
        *current = at;
        if let Some(at) = at {
            self.heap.push(Reverse((at, slot.0, *stamp)));
        }
    }

    /// The time of a slot.
    pub fn get(&self, slot: KeyId) -> Option<Time> {
        self.stamps.get(slot.index())?.1
    }

    /// Takes the next slot that is due.
    pub fn due(&mut self, now: Time) -> Option<KeyId> {
        loop {
            let Reverse((at, slot, stamp)) = *self.heap.peek()?;
            if self.stamps[slot as usize].0 != stamp {
                self.heap.pop();
                continue;
            }
            if at > now {
                return None;
            }
            self.heap.pop();
            self.stamps[slot as usize].1 = None;
            return Some(KeyId(slot));
        }
    }

    /// When the next slot is due.
    pub fn next_due(&mut self) -> Option<Time> {
        loop {
            let Reverse((at, slot, stamp)) = *self.heap.peek()?;
            if self.stamps[slot as usize].0 == stamp {
                return Some(at);
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_change_runs_at_once_and_a_burst_waits_for_quiet() {
        let mut debounce = Debounce::default();
        assert_eq!(debounce.change(1_000), 1_000);
        debounce.ran();
        assert_eq!(debounce.change(1_100), 1_600);
        assert_eq!(debounce.change(1_400), 1_900);
        debounce.ran();
        assert_eq!(debounce.change(5_000), 5_000);
    }

    #[test]
    fn a_burst_that_never_ends_waits_at_most_five_seconds() {
        let mut debounce = Debounce::default();
        debounce.change(0);
        let due: Vec<_> = (1..200).map(|i| debounce.change(i * 100)).collect();
        assert!(due.iter().enumerate().all(|(i, due)| *due <= (100 + LONGEST_DEBOUNCE).max((i as u64 + 1) * 100)));
    }

    #[test]
    fn an_empty_bucket_gives_one_attempt_back_per_fifteen_seconds() {
        let mut bucket = Bucket::new(0);
        (0..BUCKET).for_each(|_| bucket.charge(0));
        assert!(bucket.empty());
        assert_eq!(bucket.ready_at(1), REFILL);
        assert_eq!(bucket.ready_at(REFILL), REFILL);
        bucket.charge(REFILL);
        assert_eq!(bucket.ready_at(REFILL), 2 * REFILL);
    }

    proptest! {
        #[test]
        fn a_backoff_is_within_half_and_whole_of_its_step(failures in 1u32..60, seed: u64, first in 1u64..5_000, longest in 5_000u64..500_000) {
            let backoff = Backoff { first, longest, fast_retries: 5 };
            let delay = backoff.delay(failures, &mut super::Rng::new(seed));
            if failures > 5 {
                prop_assert!(delay >= longest && delay <= longest + longest / 10);
            } else {
                let step = (first << (failures - 1)).min(longest);
                prop_assert!(delay >= step.div_ceil(2) && delay <= step);
            }
        }

        #[test]
        fn timers_fire_in_order_and_only_the_last_time_set_counts(
            steps in proptest::collection::vec((0u32..8, proptest::option::of(0u64..100)), 1..60),
        ) {
            let mut timers = Timers::default();
            let mut model = [None; 8];
            for (slot, at) in steps {
                timers.set(KeyId(slot), at);
                model[slot as usize] = at;
            }
            prop_assert_eq!(timers.next_due(), model.iter().flatten().copied().min());
            for now in 0..100 {
                let mut fired: Vec<_> = std::iter::from_fn(|| timers.due(now)).map(|k| k.0).collect();
                fired.sort_unstable();
                let expected: Vec<_> = (0..8u32).filter(|s| model[*s as usize] == Some(now)).collect();
                prop_assert_eq!(fired, expected);
            }
        }
    }
}
