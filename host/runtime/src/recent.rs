//! The last events of objects of clusters that keep them elsewhere, for people who ask this host.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use setpoint_core::key::Key;

use crate::views::EventRow;

/// Events that are kept in all.
const MOST: usize = 2_000;
/// An event is kept for so long, in milliseconds.
const LONGEST: u64 = 3_600_000;

struct Entry {
    about: Key,
    /// Unix milliseconds of the last time.
    at: u64,
    row: EventRow,
}

/// The events, in order of their last time.
#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<Entry>>);

impl Recent {
    /// An event was recorded for an object; one like it before counts once more.
    pub(crate) fn record(&self, now: u64, about: &Key, row: &EventRow) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.len() >= MOST || entries.front().is_some_and(|entry| entry.at + LONGEST < now) {
            entries.pop_front();
        }
        let like = |entry: &Entry| {
            let (a, b) = (&entry.row, row);
            entry.about == *about && (&a.kind, &a.reason, &a.message) == (&b.kind, &b.reason, &b.message)
        };
        let before = entries.iter().rposition(like).and_then(|at| entries.remove(at));
        let mut row = row.clone();
        if let Some(Entry { row: before, .. }) = before {
            row.first = before.first;
            row.count += before.count;
        }
        entries.push_back(Entry { about: about.clone(), at: now, row });
    }

    /// Those of the objects that are wanted, oldest first.
    pub(crate) fn of(&self, wanted: impl Fn(&Key) -> bool) -> Vec<EventRow> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| wanted(&entry.about)).map(|entry| entry.row.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(message: &str, at: &str) -> EventRow {
        EventRow {
            kind: "Warning".into(),
            reason: "R".into(),
            message: message.into(),
            regarding: String::new(),
            first: at.into(),
            last: at.into(),
            count: 1,
        }
    }

    #[test]
    fn what_happens_again_is_counted_and_what_is_old_goes() {
        let recent = Recent::default();
        let key = |name: &str| Key::new("hub", "g", "K", None, name);
        recent.record(0, &key("a"), &row("x", "1"));
        recent.record(1, &key("a"), &row("y", "2"));
        recent.record(2, &key("b"), &row("x", "3"));
        recent.record(3, &key("a"), &row("x", "4"));
        let shown: Vec<_> = recent.of(|about| *about == key("a"));
        let shown: Vec<_> = shown.iter().map(|row| (row.message.as_str(), row.first.as_str(), row.count)).collect();
        assert_eq!(shown, [("y", "2", 1), ("x", "1", 2)]);
        recent.record(LONGEST + 3, &key("c"), &row("z", "5"));
        assert_eq!(recent.of(|_| true).len(), 2);
        for number in 0..2 * MOST as u64 {
            recent.record(LONGEST + 4, &key(&number.to_string()), &row("z", "6"));
        }
        assert_eq!(recent.of(|_| true).len(), MOST);
    }
}
