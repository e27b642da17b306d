//! Is an object that no file defines any more really deleted? (rules D1, D2 and the half of D4
//! about two files with one key.)
//!
//! An unmounted directory is a readable empty directory, so "I looked and it was not there" proves
//! nothing. This machine remembers what a root gave, and calls a key absent only if
//!
//! 1. a complete scan, and a second one that began [`SETTLE`] later, found it defined nowhere, and
//! 2. its file was *seen* going away (or dropping it) in the root that it came from, or something
//!    older than the loss is still there in that root, or the root was exchanged and at least half
//!    is there again.
//!
//! Everything else is unknown: nothing is deleted, and [`FileProof::suspicion`] says why.
//!
//! The caller reads files and directories; it tells what each file defines
//! ([`FileProof::event_changed`]), what it saw going away ([`FileProof::event_removed`]) and what a
//! scan found ([`FileProof::scan_started`], [`FileProof::scan_completed`]). It asks when to look
//! again ([`FileProof::next_scan`], [`FileProof::next_tick`]). Times are milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::Time;
use crate::key::Name;

mod judge;
mod types;

pub use types::{Decision, Presence, RootIdentity, ScanResult, Suspicion};

/// How long a key may be defined nowhere and still come back as an update, in milliseconds (rule D2).
pub const SETTLE: Time = 1_000;

/// From a loss to the first scan that confirms it, so that a burst of losses shares one scan.
const GATHER: Time = 50;

#[derive(Clone, Debug)]
struct Lost {
    since: Time,
    /// The input in which it was lost. What was learnt in the same input or later is no witness.
    input: u64,
    removal_seen: bool,
    /// End of the first scan that found it nowhere.
    first: Option<Time>,
    /// A second scan, begun `SETTLE` after the first, agreed.
    twice: bool,
    confirmed: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The file that gives the key; it keeps it as long as it defines it (rule D4).
    file: Name,
    /// Every file that defines it, and the input in which it began to.
    definers: BTreeMap<Name, u64>,
    /// The input in which the key became known; 0 for what the store knew.
    known: u64,
    lost: Option<Lost>,
    announced: bool,
}

impl Entry {
    fn present(&self) -> bool {
        self.definers.contains_key(&self.file)
    }

    fn gone(&self) -> Option<&Lost> {
        if self.definers.is_empty() { self.lost.as_ref() } else { None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Root {
    Unseen,
    Gone { since: Time },
    There(RootIdentity),
}

/// The state machine of one root. `K` is the key of an object.
#[derive(Clone, Debug)]
pub struct FileProof<K> {
    entries: FxHashMap<K, Entry>,
    /// What each file defines.
    defined: BTreeMap<Name, BTreeSet<K>>,
    /// Which keys each file gives, or gave last.
    given: BTreeMap<Name, BTreeSet<K>>,
    /// Keys whose file does not define them any more.
    lost: BTreeSet<K>,
    /// Files of which a part could not be understood.
    broken_files: BTreeSet<Name>,
    /// What the last scan could not look into.
    unreadable: BTreeSet<Name>,
    recorded: Option<RootIdentity>,
    root: Root,
    /// Set while it is not certain that the root is the one its objects came from: the input of
    /// the break. Keys learnt before it fall under condition (3).
    broken: Option<u64>,
    /// A key came back while the continuity was broken: the others get a new window.
    returned: bool,
    input: u64,
    scanning: bool,
    /// A complete scan of the present root was seen; before, a file that was not read yet is no loss.
    synced: bool,
    suspicion: Option<Suspicion>,
}

impl<K: Clone + Ord + Hash> FileProof<K> {
    /// A root with what the store remembers of it: its identity and which file gave which object.
    pub fn new(recorded: Option<RootIdentity>, known: impl IntoIterator<Item = (K, Name)>) -> Self {
        let mut proof = Self {
            entries: FxHashMap::default(),
            defined: BTreeMap::new(),
            given: BTreeMap::new(),
            lost: BTreeSet::new(),
            broken_files: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            recorded,
            root: Root::Unseen,
            broken: None,
            returned: false,
            input: 0,
            scanning: false,
            synced: false,
            suspicion: None,
        };
        for (key, file) in known {
            proof.learn(key, &file);
        }
        proof
    }

    /// The identity that the store has to remember: moves only when the proof allows it.
    pub fn identity(&self) -> Option<RootIdentity> {
        self.recorded
    }

    /// Whether the root was there in the last scan.
    pub fn root_is_there(&self) -> bool {
        matches!(self.root, Root::There(_))
    }

    /// Why objects that are not there are kept nevertheless; none in good times.
    pub fn suspicion(&self) -> Option<&Suspicion> {
        self.suspicion.as_ref()
    }

    /// What is known of a key.
    pub fn presence(&self, key: &K) -> Presence {
        match self.entries.get(key) {
            _ if !self.synced => Presence::Unknown,
            Some(entry) if entry.present() => Presence::Present,
            Some(_) => Presence::Unknown,
            None => Presence::Absent,
        }
    }

    /// The file that gives a key, or gave it last.
    pub fn file_of(&self, key: &K) -> Option<&Name> {
        self.entries.get(key).map(|entry| &entry.file)
    }

    /// All files that define a key, in byte order. More than one is a mistake of the user's.
    pub fn definers(&self, key: &K) -> impl Iterator<Item = &Name> {
        self.entries.get(key).into_iter().flat_map(|entry| entry.definers.keys())
    }

    /// The keys that a file, or the files of a directory, gave last and that are unknown because it
    /// cannot be understood.
    pub fn held(&self, path: &Name) -> Vec<K> {
        let files = at_or_below(&self.given, path).into_iter().filter(|file| self.uncertain(file));
        let keys = files.filter_map(|file| self.given.get(&file)).flatten();
        keys.filter(|key| self.entries.get(*key).is_some_and(|entry| !entry.present())).cloned().collect()
    }

    /// When to scan next, if a proof waits for it.
    pub fn next_scan(&self) -> Option<Time> {
        if let Root::Gone { since } = self.root {
            return self.suspicion.is_none().then_some(since + SETTLE);
        }
        let gone: Vec<&Lost> = self.lost.iter().filter_map(|key| self.entries.get(key)?.gone()).collect();
        if gone.is_empty() && self.suspicion.is_some() {
            // All is back, as the events say; a scan makes it certain.
            return Some(0);
        }
        gone.into_iter()
            .filter(|lost| !lost.twice)
            .map(|lost| lost.first.map_or(lost.since + GATHER, |first| first + SETTLE))
            .min()
    }

    /// When to call [`FileProof::tick`] next.
    pub fn next_tick(&self) -> Option<Time> {
        let taken_over = self.lost.iter().filter_map(|key| self.entries.get(key)).filter(|e| !e.definers.is_empty());
        taken_over.filter_map(|entry| entry.lost.as_ref()).map(|lost| lost.since + SETTLE).min()
    }

    /// A scan begins: what is told until it is completed was found by it, all at once.
    pub fn scan_started(&mut self) {
        self.input += 1;
        self.scanning = true;
    }

    /// A file was read and defines just these keys. `whole` is false if a part of it could not be
    /// understood: what it gave before and does not define now is then unknown, not lost.
    pub fn event_changed(
        &mut self,
        now: Time,
        file: &Name,
        keys: impl IntoIterator<Item = K>,
        whole: bool,
    ) -> Vec<Decision<K>> {
        self.begin();
        if whole {
            self.broken_files.remove(file);
            self.unreadable.remove(file);
        } else {
            self.broken_files.insert(file.clone());
        }
        let defines: BTreeSet<K> = keys.into_iter().collect();
        let mut touched = self.forget_file(file, &defines);
        for key in &defines {
            if !self.entries.contains_key(key) {
                self.learn(key.clone(), file);
            }
            if let Some(entry) = self.entries.get_mut(key) {
                entry.definers.entry(file.clone()).or_insert(self.input);
            }
        }
        touched.extend(defines.iter().cloned());
        // Seen live, and the file still says something: as good as seeing the file go. An empty
        // file says nothing, it may be a write that failed.
        let seen = !self.scanning && whole && !defines.is_empty();
        if !defines.is_empty() {
            self.defined.insert(file.clone(), defines);
        }
        let decisions = self.review(now, touched);
        if seen {
            let input = self.input;
            self.mark_seen(file, |lost| lost.input == input);
        }
        decisions
    }

    /// A file or directory was seen being deleted or moved away, on a live watch, and is not there
    /// now: the evidence of condition (1) for everything at or below the path.
    pub fn event_removed(&mut self, now: Time, path: &Name) -> Vec<Decision<K>> {
        self.begin();
        let mut touched = BTreeSet::new();
        for file in at_or_below(&self.defined, path) {
            touched.extend(self.forget_file(&file, &BTreeSet::new()));
        }
        let given: Vec<Name> = at_or_below(&self.given, path);
        touched.extend(given.iter().filter_map(|file| self.given.get(file)).flatten().cloned());
        self.broken_files.retain(|file| !is_at_or_below(file, path));
        self.unreadable.retain(|file| !is_at_or_below(file, path));
        let decisions = self.review(now, touched);
        for file in &given {
            self.mark_seen(file, |_| true);
        }
        decisions
    }

    /// A scan has ended at `now`.
    pub fn scan_completed(&mut self, now: Time, scan: ScanResult) -> Vec<Decision<K>> {
        self.begin();
        self.scanning = false;
        let Some(identity) = scan.identity else {
            self.root_is_gone(now);
            return Vec::new();
        };
        if !scan.complete {
            return Vec::new();
        }
        let there: BTreeSet<Name> = scan.files.into_iter().collect();
        let left: Vec<Name> = self.defined.keys().filter(|file| !there.contains(*file)).cloned().collect();
        for file in left {
            self.forget_file(&file, &BTreeSet::new());
        }
        self.broken_files.retain(|file| there.contains(file));
        self.unreadable = scan.unreadable.into_iter().collect();
        self.observe(identity);
        self.synced = true;
        let all: BTreeSet<K> = self.entries.keys().cloned().collect();
        let mut decisions = self.review(now, all);
        self.judge(now, scan.started, identity, &mut decisions);
        decisions
    }

    /// Lets time pass: another file takes over a key whose own file has dropped it for [`SETTLE`].
    pub fn tick(&mut self, now: Time) -> Vec<Decision<K>> {
        self.begin();
        let lost = self.lost.clone();
        self.review(now, lost)
    }

    /// A person says that what is gone now is gone for good. Takes effect with the second scan,
    /// at once if that has been. Nothing is proven while the root itself is not there.
    pub fn confirm(&mut self) -> Vec<Decision<K>> {
        let Root::There(identity) = self.root else {
            return Vec::new();
        };
        let mut decisions = Vec::new();
        for key in self.lost.clone() {
            let Some(lost) = self.entries.get_mut(&key).and_then(|entry| entry.lost.as_mut()) else {
                continue;
            };
            lost.confirmed = true;
            if lost.twice {
                self.forget_key(&key, &mut decisions);
            }
        }
        if !self.lost.iter().any(|key| self.is_gone(key)) {
            self.recorded = Some(identity);
            self.broken = None;
            self.suspicion = None;
        }
        decisions
    }

    fn begin(&mut self) {
        if !self.scanning {
            self.input += 1;
        }
    }

    fn learn(&mut self, key: K, file: &Name) {
        self.given.entry(file.clone()).or_default().insert(key.clone());
        let entry =
            Entry { file: file.clone(), definers: BTreeMap::new(), known: self.input, lost: None, announced: false };
        self.entries.insert(key, entry);
    }

    /// Takes back what a file defines, but for `keep`. Returns the keys to review.
    fn forget_file(&mut self, file: &Name, keep: &BTreeSet<K>) -> BTreeSet<K> {
        let mut touched = self.defined.remove(file).unwrap_or_default();
        for key in touched.difference(keep) {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.definers.remove(file);
            }
        }
        touched.extend(self.given.get(file).into_iter().flatten().cloned());
        touched
    }

    fn forget_key(&mut self, key: &K, decisions: &mut Vec<Decision<K>>) {
        self.lost.remove(key);
        if let Some(entry) = self.entries.remove(key) {
            self.take_from_file(key, &entry.file);
            decisions.push(Decision::Absent { key: key.clone(), file: entry.file });
        }
    }

    fn take_from_file(&mut self, key: &K, file: &Name) {
        if let Some(keys) = self.given.get_mut(file) {
            keys.remove(key);
            if keys.is_empty() {
                self.given.remove(file);
            }
        }
    }

    fn uncertain(&self, file: &str) -> bool {
        let above = file.match_indices('/').map(|(at, _)| &file[..at]);
        self.broken_files.contains(file)
            || self.unreadable.contains(file)
            || above.into_iter().any(|directory| self.unreadable.contains(directory))
    }

    fn is_gone(&self, key: &K) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.gone().is_some())
    }

    fn review(&mut self, now: Time, keys: BTreeSet<K>) -> Vec<Decision<K>> {
        let mut decisions = Vec::new();
        for key in keys {
            self.review_key(now, key, &mut decisions);
        }
        if std::mem::take(&mut self.returned) && self.broken.is_some() {
            self.reopen_windows(false);
        }
        decisions
    }

    fn review_key(&mut self, now: Time, key: K, decisions: &mut Vec<Decision<K>>) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        let (present, uncertain) = (entry.present(), self.uncertain(&entry.file));
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if present {
            let came_back = entry.lost.take().is_some();
            self.returned |= came_back;
            if came_back || !entry.announced {
                entry.announced = true;
                decisions.push(Decision::Present { key: key.clone(), file: entry.file.clone() });
            }
            self.lost.remove(&key);
            return;
        }
        if uncertain || !self.synced {
            entry.lost = None;
            self.lost.remove(&key);
            return;
        }
        let lost = entry.lost.get_or_insert(Lost {
            since: now,
            input: self.input,
            removal_seen: false,
            first: None,
            twice: false,
            confirmed: false,
        });
        // Who begins to define a key after its file dropped it is where it moved to; who did so
        // before is a second definition, which waits whether the file comes back.
        let moved = entry.definers.values().any(|since| *since >= lost.input);
        let settled = now >= lost.since + SETTLE;
        match entry.definers.keys().next().cloned() {
            Some(heir) if moved || settled => {
                let former = std::mem::replace(&mut entry.file, heir.clone());
                entry.lost = None;
                entry.announced = true;
                self.returned = true;
                self.lost.remove(&key);
                self.take_from_file(&key, &former);
                self.given.entry(heir.clone()).or_default().insert(key.clone());
                decisions.push(Decision::Present { key, file: heir });
            }
            _ => {
                self.lost.insert(key);
            }
        }
    }

    fn mark_seen(&mut self, file: &Name, which: impl Fn(&Lost) -> bool) {
        for key in self.given.get(file).into_iter().flatten() {
            if let Some(lost) = self.entries.get_mut(key).and_then(|entry| entry.lost.as_mut())
                && which(lost)
            {
                lost.removal_seen = true;
            }
        }
    }

    /// The next two scans count anew; with `evidence`, what was seen before counts no more either.
    fn reopen_windows(&mut self, evidence: bool) {
        for key in &self.lost {
            if let Some(lost) = self.entries.get_mut(key).and_then(|entry| entry.lost.as_mut()) {
                lost.first = None;
                lost.twice = false;
                if evidence {
                    lost.removal_seen = false;
                    lost.confirmed = false;
                }
            }
        }
    }
}

fn is_at_or_below(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn at_or_below<V>(files: &BTreeMap<Name, V>, path: &Name) -> Vec<Name> {
    let from =
        files.range::<str, _>((std::ops::Bound::Included(&**path), std::ops::Bound::Unbounded)).map(|(file, _)| file);
    from.take_while(|file| file.starts_with(&**path)).filter(|file| is_at_or_below(file, path)).cloned().collect()
}

#[cfg(test)]
mod tests;
