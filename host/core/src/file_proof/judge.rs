//! What a scan proves: the root that it saw, and the conditions of rule D1.

use std::hash::Hash;

use super::{Decision, FileProof, Lost, Root, RootIdentity, SETTLE, Suspicion};
use crate::Time;

impl<K: Clone + Ord + Hash> FileProof<K> {
    pub(super) fn root_is_gone(&mut self, now: Time) {
        match self.root {
            Root::Gone { since } if now >= since + SETTLE => self.suspicion = Some(Suspicion::RootGone),
            Root::Gone { .. } => {}
            Root::Unseen | Root::There(_) => {
                self.root = Root::Gone { since: now };
                self.broken = Some(self.input);
                self.synced = false;
                self.defined.clear();
                self.lost.clear();
                self.broken_files.clear();
                self.unreadable.clear();
                for entry in self.entries.values_mut() {
                    entry.definers.clear();
                    entry.lost = None;
                }
            }
        }
    }

    pub(super) fn observe(&mut self, identity: RootIdentity) {
        let before = std::mem::replace(&mut self.root, Root::There(identity));
        let same = match before {
            Root::Unseen => self.recorded == Some(identity) || self.entries.values().all(|entry| entry.known > 0),
            Root::Gone { .. } => false,
            Root::There(before) => before == identity,
        };
        if !same {
            self.broken = Some(self.input);
            self.reopen_windows(true);
        }
    }

    /// The conditions of rule D1, after a complete scan.
    pub(super) fn judge(&mut self, now: Time, started: Time, identity: RootIdentity, decisions: &mut Vec<Decision<K>>) {
        let present = |from: u64| {
            let there = self.entries.values().filter(move |entry| entry.known >= from && entry.present());
            there.map(|entry| entry.known).min().unwrap_or(u64::MAX)
        };
        // A loss has a witness iff something known before it is there.
        let oldest = present(0);
        if self.broken.is_none() {
            let gone = self.lost.iter().filter_map(|key| self.entries.get(key)?.gone());
            let unwitnessed = gone.filter(|lost| !lost.removal_seen && !lost.confirmed && lost.input <= oldest);
            self.broken = unwitnessed.map(|lost| lost.input).min();
        }
        let broken = self.broken.unwrap_or(0);
        let oldest_since_break = present(broken);
        let (known, there) = self.count(broken);
        let changed = self.recorded != Some(identity);

        for key in self.lost.clone() {
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.gone().is_some()) else {
                continue;
            };
            // Learnt in the very directory that is there now, so the break does not concern it.
            let of_this_root = entry.known >= broken;
            let Some(lost) = entry.lost.as_mut() else {
                continue;
            };
            match lost.first {
                None => lost.first = Some(now),
                Some(first) => lost.twice |= started >= first + SETTLE,
            }
            let seen = lost.removal_seen && (!changed || of_this_root);
            let witnessed =
                if of_this_root { oldest_since_break < lost.input } else { known > 0 && there * 2 >= known };
            if lost.twice && (lost.confirmed || seen || witnessed) {
                self.forget_key(&key, decisions);
            }
        }

        let (known, there) = self.count(broken);
        let open: Vec<&Lost> = self.lost.iter().filter_map(|key| self.entries.get(key)?.gone()).collect();
        if open.is_empty() {
            self.suspicion = None;
            if there * 2 >= known {
                self.recorded = Some(identity);
                self.broken = None;
            }
        } else if open.iter().any(|lost| lost.twice) {
            self.suspicion =
                Some(if changed { Suspicion::Replaced { known, there } } else { Suspicion::Emptied { known, there } });
        } else if self.suspicion == Some(Suspicion::RootGone) {
            self.suspicion = None;
        }
    }

    /// How many keys were known before an input, and how many of them are there.
    fn count(&self, before: u64) -> (usize, usize) {
        let known = self.entries.values().filter(|entry| entry.known < before);
        known.fold((0, 0), |(known, there), entry| (known + 1, there + usize::from(entry.present())))
    }
}
