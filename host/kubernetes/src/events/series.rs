//! Which events are written, and which are only counted (rule B16): the same thing said about the same object
//! within five minutes is one event with a count.

use std::collections::HashMap;
use std::hash::Hash;

/// The same event within so many milliseconds since the last counts as one series.
const SERIES: u64 = 300_000;
/// Counts of a series are written at most so often.
const TELL: u64 = 30_000;
/// Series at a time; beyond it the one that has been silent for the longest time is forgotten.
const MOST: usize = 4_096;

/// What to do about an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// It is written anew.
    Create,
    /// Its count is written.
    Count(u64),
    /// Its count is written later.
    Later,
}

#[derive(Debug)]
struct Entry<N> {
    /// What the event is called, once it was written.
    name: Option<N>,
    count: u64,
    told: u64,
    told_at: u64,
    last: u64,
}

/// The series of what is said at present. Times in milliseconds.
#[derive(Debug)]
pub(super) struct Series<K, N> {
    entries: HashMap<K, Entry<N>>,
}

impl<K: Hash + Eq + Clone, N: Clone> Series<K, N> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// Something is said.
    pub(super) fn said(&mut self, now: u64, what: &K) -> Act {
        self.forget(now);
        match self.entries.get_mut(what) {
            Some(entry) if entry.name.is_some() => {
                entry.count += 1;
                entry.last = now;
                if now.saturating_sub(entry.told_at) < TELL {
                    return Act::Later;
                }
                entry.told = entry.count;
                entry.told_at = now;
                Act::Count(entry.count)
            }
            _ => {
                self.entries.insert(what.clone(), Entry { name: None, count: 1, told: 1, told_at: now, last: now });
                Act::Create
            }
        }
    }

    /// It was written under this name.
    pub(super) fn written(&mut self, what: &K, name: N) {
        if let Some(entry) = self.entries.get_mut(what) {
            entry.name = Some(name);
        }
    }

    /// It is not there any more, or was never written: the next time it is written anew.
    pub(super) fn lost(&mut self, what: &K) {
        self.entries.remove(what);
    }

    /// The name of a series that was written.
    pub(super) fn name(&self, what: &K) -> Option<N> {
        self.entries.get(what)?.name.clone()
    }

    /// When counts have to be written that were put off; none if there are none.
    pub(super) fn due_at(&self) -> Option<u64> {
        self.entries.values().filter(|entry| entry.count > entry.told).map(|entry| entry.told_at + TELL).min()
    }

    /// Those whose time has come, with their counts.
    pub(super) fn due(&mut self, now: u64) -> Vec<(K, u64)> {
        let mut due = Vec::new();
        for (what, entry) in &mut self.entries {
            if entry.count > entry.told && entry.told_at + TELL <= now {
                entry.told = entry.count;
                entry.told_at = now;
                due.push((what.clone(), entry.count));
            }
        }
        due
    }

    fn forget(&mut self, now: u64) {
        self.entries.retain(|_, entry| entry.count > entry.told || now.saturating_sub(entry.last) <= SERIES);
        if self.entries.len() >= MOST
            && let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.last).map(|(what, _)| what.clone())
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_within_five_minutes_is_one_event_with_a_count() {
        let mut series = Series::new();
        assert_eq!(series.said(0, &"a"), Act::Create);
        series.written(&"a", "a.1");
        assert_eq!(series.said(5_000, &"a"), Act::Later);
        assert_eq!(series.due_at(), Some(TELL));
        assert_eq!(series.said(31_000, &"a"), Act::Count(3));
        assert_eq!(series.due_at(), None);
        assert_eq!(series.said(31_000 + SERIES + 1, &"a"), Act::Create, "a series ends by silence");
    }

    #[test]
    fn counts_that_were_put_off_are_written_in_the_end() {
        let mut series = Series::new();
        series.said(0, &"a");
        series.written(&"a", "a.1");
        series.said(10, &"a");
        series.said(20, &"a");
        assert!(series.due(TELL - 1).is_empty());
        assert_eq!(series.due(TELL), [("a", 3)]);
        assert!(series.due(TELL * 2).is_empty() && series.due_at().is_none());
    }

    #[test]
    fn an_event_that_was_not_written_is_written_the_next_time() {
        let mut series: Series<&str, &str> = Series::new();
        assert_eq!(series.said(0, &"a"), Act::Create);
        series.lost(&"a");
        assert_eq!(series.said(1, &"a"), Act::Create);
        assert_eq!(series.said(2, &"a"), Act::Create, "nobody knows its name yet");
    }

    #[test]
    fn there_are_never_more_series_than_so_many() {
        let mut series: Series<usize, ()> = Series::new();
        for what in 0..MOST * 2 {
            series.said(what as u64, &what);
        }
        assert!(series.entries.len() <= MOST);
        assert!(series.entries.contains_key(&(MOST * 2 - 1)));
    }
}
