//! The proof against a disk that is a map, with every interleaving that proptest finds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const HOME: RootIdentity = RootIdentity { dev: 1, ino: 10 };
const OTHER: RootIdentity = RootIdentity { dev: 2, ino: 20 };

fn name(file: &str) -> Name {
    file.into()
}

/// A root on a disk, and the caller that the machine expects: it tells events, scans when asked to.
struct Disk {
    now: Time,
    identity: Option<RootIdentity>,
    files: BTreeMap<Name, BTreeSet<u8>>,
    unreadable: BTreeSet<Name>,
    /// Since when each key that was ever known is defined nowhere.
    gone_since: BTreeMap<u8, Time>,
    ever: BTreeSet<u8>,
    /// Whether every change was told when it happened.
    watched: bool,
    proof: FileProof<u8>,
    deleted: Vec<u8>,
}

impl Disk {
    fn new(recorded: Option<RootIdentity>, known: &[(u8, &str)]) -> Self {
        Self {
            now: 5_000,
            identity: Some(HOME),
            files: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            gone_since: known.iter().map(|(key, _)| (*key, 0)).collect(),
            ever: known.iter().map(|(key, _)| *key).collect(),
            watched: false,
            proof: FileProof::new(recorded, known.iter().map(|(key, file)| (*key, name(file)))),
            deleted: Vec::new(),
        }
    }

    /// A root that was scanned once with these files.
    fn with(files: &[(&str, &[u8])]) -> Self {
        let mut disk = Self::new(None, &[]);
        files.iter().for_each(|(file, keys)| disk.put(file, keys));
        disk.scan();
        disk
    }

    fn on_disk(&self) -> BTreeSet<u8> {
        let readable = self.files.iter().filter(|(file, _)| !self.unreadable.contains(*file));
        readable.flat_map(|(_, keys)| keys.iter().copied()).collect()
    }

    fn note(&mut self) {
        let there: BTreeSet<u8> = self.files.values().flatten().copied().collect();
        self.ever.extend(there.iter().copied());
        for key in &self.ever {
            if there.contains(key) {
                self.gone_since.remove(key);
            } else {
                self.gone_since.entry(*key).or_insert(self.now);
            }
        }
    }

    fn take(&mut self, decisions: Vec<Decision<u8>>) {
        for decision in decisions {
            match decision {
                Decision::Present { key, file } => {
                    let defined = self.files.get(&file).is_some_and(|keys| keys.contains(&key));
                    assert!(defined || !self.watched, "{key} is not in {file}");
                }
                Decision::Absent { key, .. } => {
                    let since = self.gone_since.get(&key);
                    assert!(
                        since.is_some_and(|since| !self.watched || self.now >= since + SETTLE),
                        "{key} deleted at {} although gone since {since:?}",
                        self.now
                    );
                    self.deleted.push(key);
                }
            }
        }
    }

    /// Changes the disk and says nothing.
    fn put(&mut self, file: &str, keys: &[u8]) {
        self.files.insert(name(file), keys.iter().copied().collect());
        self.note();
    }

    fn unlink(&mut self, file: &str) {
        self.files.remove(file);
        self.note();
    }

    /// Changes the disk under a live watch.
    fn write(&mut self, file: &str, keys: &[u8]) {
        self.put(file, keys);
        let decisions = self.proof.event_changed(self.now, &name(file), keys.iter().copied(), true);
        self.take(decisions);
    }

    fn remove(&mut self, file: &str) {
        if self.files.contains_key(file) {
            self.unlink(file);
            let decisions = self.proof.event_removed(self.now, &name(file));
            self.take(decisions);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(keys) = self.files.get(from).cloned() {
            let keys: Vec<u8> = keys.into_iter().collect();
            if from != to {
                self.files.remove(from);
                self.put(to, &keys);
                let decisions = self.proof.event_removed(self.now, &name(from));
                self.take(decisions);
                let decisions = self.proof.event_changed(self.now, &name(to), keys, true);
                self.take(decisions);
            }
        }
    }

    fn scan(&mut self) {
        self.proof.scan_started();
        if self.identity.is_some() {
            for (file, keys) in self.files.clone() {
                let broken = self.unreadable.contains(&file);
                let keys = if broken { BTreeSet::new() } else { keys };
                let decisions = self.proof.event_changed(self.now, &file, keys, !broken);
                self.take(decisions);
            }
        }
        let result = ScanResult {
            started: self.now,
            identity: self.identity,
            complete: true,
            files: self.files.keys().cloned().collect(),
            unreadable: Vec::new(),
        };
        let decisions = self.proof.scan_completed(self.now, result);
        self.take(decisions);
    }

    /// Lets time pass as the caller does: scans and ticks when they are asked for.
    fn wait(&mut self, time: Time) {
        let end = self.now + time;
        loop {
            let scan = self.proof.next_scan();
            let tick = self.proof.next_tick();
            match scan.into_iter().chain(tick).min() {
                Some(due) if due <= end => {
                    self.now = self.now.max(due);
                    if scan.is_some_and(|at| at <= self.now) {
                        self.scan();
                    }
                    if tick.is_some_and(|at| at <= self.now) {
                        let decisions = self.proof.tick(self.now);
                        self.take(decisions);
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn presence(&self, key: u8) -> Presence {
        self.proof.presence(&key)
    }
}

#[test]
fn a_file_seen_being_deleted_deletes_its_objects_after_two_scans() {
    let mut disk = Disk::with(&[("a.yaml", &[1])]);
    disk.remove("a.yaml");
    disk.wait(SETTLE - 1);
    assert_eq!((disk.presence(1), disk.deleted.len()), (Presence::Unknown, 0));
    disk.wait(200);
    assert_eq!((disk.presence(1), disk.deleted.as_slice()), (Presence::Absent, &[1][..]));
    assert_eq!(disk.proof.suspicion(), None);
}

#[test]
fn a_file_deleted_while_the_host_was_down_is_proven_by_what_is_still_there() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml")]);
    disk.put("b.yaml", &[2]);
    disk.scan();
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1]);
    assert_eq!(disk.presence(2), Presence::Present);
}

#[test]
fn a_directory_emptied_while_the_host_was_down_deletes_nothing_until_confirmed() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml")]);
    disk.scan();
    disk.wait(10_000);
    assert!(disk.deleted.is_empty());
    assert_eq!(disk.proof.suspicion(), Some(&Suspicion::Emptied { known: 2, there: 0 }));
    let decisions = disk.proof.confirm();
    disk.take(decisions);
    assert_eq!(disk.deleted, [1, 2]);
    assert_eq!(disk.proof.suspicion(), None);
}

#[test]
fn a_confirmation_before_the_second_scan_waits_for_it() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml")]);
    disk.scan();
    assert_eq!(disk.proof.confirm(), []);
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1]);
}

#[test]
fn a_new_file_in_an_emptied_directory_is_no_witness_against_the_old_ones() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml"), (3, "c.yaml")]);
    disk.scan();
    disk.write("new.yaml", &[9]);
    disk.wait(5_000);
    assert!(disk.deleted.is_empty());
    disk.remove("new.yaml");
    disk.wait(5_000);
    assert_eq!(disk.deleted, [9], "what was learnt in this root and seen going is deleted all the same");
}

#[test]
fn in_an_emptied_directory_new_files_are_judged_by_new_files_only() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml"), (3, "c.yaml")]);
    disk.scan();
    disk.put("8.yaml", &[8]);
    disk.put("9.yaml", &[9]);
    disk.scan();
    disk.unlink("8.yaml");
    disk.scan();
    disk.wait(5_000);
    assert_eq!(disk.deleted, [8], "9 was there before 8 went");
    disk.unlink("9.yaml");
    disk.put("10.yaml", &[10]);
    disk.scan();
    disk.wait(5_000);
    assert_eq!(disk.deleted, [8], "10 was not there before 9 went");
}

#[test]
fn a_confirmation_does_not_outlive_the_directory_that_it_was_given_for() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml")]);
    disk.scan();
    assert_eq!(disk.proof.confirm(), []);
    disk.identity = Some(OTHER);
    disk.scan();
    disk.wait(5_000);
    assert!(disk.deleted.is_empty());
    assert_eq!(disk.proof.suspicion(), Some(&Suspicion::Replaced { known: 2, there: 0 }));
}

#[test]
fn files_that_return_one_by_one_end_the_suspicion_without_a_loss() {
    let mut disk = Disk::new(Some(HOME), &[(1, "a.yaml"), (2, "b.yaml"), (3, "c.yaml")]);
    disk.scan();
    disk.wait(3_000);
    assert!(disk.proof.suspicion().is_some());
    for (file, key) in [("a.yaml", 1), ("b.yaml", 2), ("c.yaml", 3)] {
        disk.write(file, &[key]);
        disk.scan();
        disk.wait(900);
    }
    assert!(disk.deleted.is_empty(), "each that returns gives the others another window");
    assert_eq!((disk.deleted.len(), disk.proof.suspicion()), (0, None));
    disk.remove("a.yaml");
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1], "and all is as before");
}

#[test]
fn a_root_that_is_away_and_comes_back_loses_nothing() {
    let mut disk = Disk::with(&[("a.yaml", &[1]), ("b.yaml", &[2])]);
    disk.identity = None;
    disk.scan();
    assert_eq!(disk.presence(1), Presence::Unknown);
    disk.wait(5_000);
    assert_eq!(disk.proof.suspicion(), Some(&Suspicion::RootGone));
    disk.identity = Some(HOME);
    disk.scan();
    assert_eq!((disk.presence(1), disk.proof.suspicion()), (Presence::Present, None));
    disk.wait(5_000);
    assert!(disk.deleted.is_empty());
}

#[test]
fn deletions_seen_before_the_root_went_away_are_no_evidence_in_the_next_one() {
    let mut disk = Disk::with(&[("a.yaml", &[1]), ("b.yaml", &[2])]);
    disk.remove("a.yaml");
    disk.remove("b.yaml");
    disk.identity = None;
    disk.scan();
    disk.identity = Some(OTHER);
    disk.scan();
    disk.wait(10_000);
    assert!(disk.deleted.is_empty());
    assert_eq!(disk.proof.suspicion(), Some(&Suspicion::Replaced { known: 2, there: 0 }));
    assert_eq!(disk.proof.identity(), Some(HOME), "the strange directory is not accepted");
}

#[test]
fn an_unreadable_file_makes_only_its_own_keys_unknown() {
    let mut disk = Disk::with(&[("a.yaml", &[1]), ("b.yaml", &[2]), ("c.yaml", &[3])]);
    disk.unreadable.insert(name("a.yaml"));
    disk.unlink("b.yaml");
    disk.scan();
    disk.wait(5_000);
    assert_eq!(disk.deleted, [2]);
    assert_eq!(disk.presence(1), Presence::Unknown);
    assert_eq!(disk.proof.held(&name("a.yaml")), [1]);
    disk.unreadable.clear();
    disk.scan();
    assert_eq!(disk.presence(1), Presence::Present);
}

#[test]
fn an_unreadable_directory_makes_the_keys_below_it_unknown() {
    let mut disk = Disk::with(&[("d/a.yaml", &[1]), ("d.yaml", &[2])]);
    let result = ScanResult {
        started: disk.now,
        identity: Some(HOME),
        complete: true,
        files: vec![name("d.yaml")],
        unreadable: vec![name("d")],
    };
    disk.proof.scan_started();
    assert_eq!(disk.proof.scan_completed(disk.now, result), []);
    assert_eq!((disk.presence(1), disk.presence(2)), (Presence::Unknown, Presence::Present));
    assert_eq!(disk.proof.next_scan(), None, "nothing is to be proven");
}

#[test]
fn the_document_that_was_cut_from_the_only_file_is_deleted() {
    let mut disk = Disk::with(&[("a.yaml", &[1, 2])]);
    disk.write("a.yaml", &[2, 3]);
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1]);
    disk.write("a.yaml", &[7]);
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1, 2, 3], "a new name in the only file as well");
}

#[test]
fn an_emptied_only_file_deletes_nothing() {
    let mut disk = Disk::with(&[("a.yaml", &[1, 2])]);
    disk.write("a.yaml", &[]);
    disk.wait(5_000);
    assert!(disk.deleted.is_empty());
    assert!(disk.proof.suspicion().is_some());
    disk.write("a.yaml", &[1, 2]);
    disk.scan();
    assert_eq!((disk.presence(1), disk.proof.suspicion()), (Presence::Present, None));
}

#[test]
fn of_two_files_with_one_key_the_recorded_one_keeps_it_and_the_other_takes_over() {
    let mut disk = Disk::new(Some(HOME), &[(1, "z.yaml")]);
    disk.put("a.yaml", &[1]);
    disk.put("z.yaml", &[1]);
    disk.scan();
    assert_eq!(disk.proof.file_of(&1), Some(&name("z.yaml")));
    assert_eq!(disk.proof.definers(&1).count(), 2);
    disk.remove("z.yaml");
    assert_eq!(disk.proof.file_of(&1), Some(&name("z.yaml")), "it may come back");
    disk.wait(SETTLE);
    assert_eq!(disk.proof.file_of(&1), Some(&name("a.yaml")));
    disk.wait(5_000);
    assert!(disk.deleted.is_empty());
}

#[test]
fn of_two_files_with_one_new_key_the_first_in_byte_order_has_it() {
    let mut disk = Disk::with(&[("b.yaml", &[1]), ("a/c.yaml", &[1])]);
    assert_eq!(disk.proof.file_of(&1), Some(&name("a/c.yaml")));
    disk.remove("a/c.yaml");
    disk.write("0.yaml", &[1]);
    assert_eq!(disk.proof.file_of(&1), Some(&name("0.yaml")), "where it moved to has it at once");
}

#[test]
fn a_directory_seen_being_moved_out_takes_the_files_below_with_it() {
    let mut disk = Disk::with(&[("d/a.yaml", &[1]), ("d/e/b.yaml", &[2]), ("d.yaml", &[3])]);
    disk.unlink("d/a.yaml");
    disk.unlink("d/e/b.yaml");
    let decisions = disk.proof.event_removed(disk.now, &name("d"));
    disk.take(decisions);
    assert_eq!(disk.presence(3), Presence::Present);
    disk.wait(2_000);
    assert_eq!(disk.deleted, [1, 2]);
}

#[test]
fn a_scan_that_was_broken_off_proves_nothing() {
    let mut disk = Disk::with(&[("a.yaml", &[1]), ("b.yaml", &[2])]);
    for _ in 0..5 {
        disk.now += 2_000;
        let result = ScanResult {
            started: disk.now,
            identity: Some(HOME),
            complete: false,
            files: vec![name("a.yaml")],
            unreadable: Vec::new(),
        };
        disk.proof.scan_started();
        assert_eq!(disk.proof.scan_completed(disk.now, result), []);
    }
    assert_eq!(disk.presence(2), Presence::Present);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Remove(usize),
    Rename(usize, usize),
    Wait(Time),
    Scan,
}

const FILES: [&str; 4] = ["a.yaml", "b.yaml", "d/a.yaml", "d/b.yaml"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4usize, prop::collection::vec(0..5u8, 1..4)).prop_map(|(file, keys)| Step::Write(file, keys)),
        3 => (0..4usize).prop_map(Step::Remove),
        3 => (0..4usize, 0..4usize).prop_map(|(from, to)| Step::Rename(from, to)),
        4 => (0..1_500u64).prop_map(Step::Wait),
        1 => Just(Step::Scan),
    ]
}

fn subset() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..12)
}

proptest! {
    #[test]
    fn under_a_live_watch_the_last_state_on_disk_wins(steps in prop::collection::vec(step(), 0..40)) {
        let mut disk = Disk::new(None, &[]);
        disk.watched = true;
        disk.scan();
        for step in steps {
            match step {
                Step::Write(file, keys) => disk.write(FILES[file], &keys),
                Step::Remove(file) => disk.remove(FILES[file]),
                Step::Rename(from, to) => disk.rename(FILES[from], FILES[to]),
                Step::Wait(time) => disk.wait(time),
                Step::Scan => disk.scan(),
            }
        }
        disk.wait(5_000);
        let there = disk.on_disk();
        for key in 0..5 {
            let wanted = if there.contains(&key) { Presence::Present } else { Presence::Absent };
            prop_assert_eq!(disk.presence(key), wanted, "key {}", key);
            if let Some(file) = disk.proof.file_of(&key) {
                prop_assert!(disk.files[file].contains(&key));
            }
        }
        prop_assert_eq!(disk.proof.suspicion(), None);
        prop_assert_eq!((disk.proof.next_scan(), disk.proof.next_tick()), (None, None), "and then it is quiet");
    }

    /// Nothing is seen but by scans; an object that stays all the time is the witness.
    #[test]
    fn without_a_watch_the_last_state_on_disk_wins_too(steps in prop::collection::vec(step(), 0..40)) {
        let mut disk = Disk::with(&[("witness.yaml", &[100])]);
        for step in steps {
            match step {
                Step::Write(file, keys) => disk.put(FILES[file], &keys),
                Step::Remove(file) => disk.unlink(FILES[file]),
                Step::Rename(from, to) => {
                    if let Some(keys) = disk.files.remove(FILES[from]) {
                        disk.files.insert(name(FILES[to]), keys);
                    }
                    disk.note();
                }
                Step::Wait(time) => disk.wait(time),
                Step::Scan => disk.scan(),
            }
        }
        disk.scan();
        disk.wait(5_000);
        let there = disk.on_disk();
        for key in 0..5 {
            let wanted = if there.contains(&key) { Presence::Present } else { Presence::Absent };
            prop_assert_eq!(disk.presence(key), wanted, "key {}", key);
        }
    }

    #[test]
    fn a_root_that_is_emptied_or_unmounted_unseen_deletes_nothing(
        keys in 1..12u8,
        unmounted in any::<bool>(),
        down in any::<bool>(),
        rounds in prop::collection::vec(1..4_000u64, 1..6),
    ) {
        let known: Vec<(u8, String)> = (0..keys).map(|key| (key, format!("{key}.yaml"))).collect();
        let borrowed: Vec<(u8, &str)> = known.iter().map(|(key, file)| (*key, file.as_str())).collect();
        let mut disk = Disk::new(Some(HOME), &borrowed);
        if !down {
            borrowed.iter().for_each(|(key, file)| disk.put(file, &[*key]));
            disk.scan();
        }
        let kept = std::mem::take(&mut disk.files);
        disk.note();
        disk.identity = Some(if unmounted { OTHER } else { HOME });
        for time in rounds {
            disk.scan();
            disk.wait(time);
        }
        disk.wait(3_000);
        prop_assert!(disk.deleted.is_empty());
        prop_assert!(disk.proof.suspicion().is_some());
        if !down {
            disk.files = kept;
            disk.note();
            disk.identity = Some(HOME);
            disk.scan();
            disk.wait(3_000);
            prop_assert!(disk.deleted.is_empty());
            prop_assert_eq!(disk.proof.suspicion(), None);
        }
    }

    #[test]
    fn a_switched_root_deletes_just_what_is_gone_if_half_is_there(stays in subset()) {
        let known: Vec<(u8, String)> = (0..stays.len() as u8).map(|key| (key, format!("{key}.yaml"))).collect();
        let borrowed: Vec<(u8, &str)> = known.iter().map(|(key, file)| (*key, file.as_str())).collect();
        let mut disk = Disk::new(Some(HOME), &borrowed);
        disk.identity = Some(OTHER);
        for ((key, file), stays) in known.iter().zip(&stays) {
            if *stays {
                disk.put(file, &[*key]);
            }
        }
        disk.put("new.yaml", &[200]);
        disk.scan();
        disk.wait(5_000);
        let there = stays.iter().filter(|stays| **stays).count();
        let gone: Vec<u8> = (0..stays.len() as u8).filter(|key| !stays[usize::from(*key)]).collect();
        if there * 2 >= stays.len() {
            prop_assert_eq!(&disk.deleted, &gone);
            prop_assert_eq!(disk.proof.identity(), Some(OTHER));
            prop_assert_eq!(disk.proof.suspicion(), None);
        } else {
            prop_assert!(disk.deleted.is_empty());
            prop_assert_eq!(disk.proof.identity(), Some(HOME));
            prop_assert!(disk.proof.suspicion().is_some());
        }
    }
}
