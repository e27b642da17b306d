//! What each file says and what was told of it: between the disk and the proof (rules D1, D2) on
//! one side, and the events on the other.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use setpoint_core::file_proof::{Decision, FileProof, RootIdentity, ScanResult, Suspicion};
use setpoint_core::key::Name;
use setpoint_core::{Key, Time};

use super::document::{FileObject, ParsedFile, title};
use super::event::{Desired, FileReport, SourceEvent, UnclaimedDocument};
use super::identity::Notice;
use super::read::{self, ReadError};
use super::scan::{FileState, Scan};
use super::watch::KindLookup;
use super::yaml::{Position, SourceError};

/// A file that was changed less than this before it was read may change again without showing it
/// in its times: the clock of a file system ticks slowly.
const RACY_NANOSECONDS: i128 = 50_000_000;

/// What became of reading a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It was taken, with its errors if it has any.
    Taken,
    /// There is no such file.
    Gone,
    /// It is a directory.
    Directory,
    /// It has errors that may be those of a write in progress; nothing was taken.
    Torn,
}

struct Record {
    /// None if it has to be read again in any case.
    state: Option<FileState>,
    lines: BTreeMap<Key, u32>,
    unclaimed: Vec<UnclaimedDocument>,
    errors: Vec<SourceError>,
    notices: Vec<Notice>,
}

struct Told {
    digest: u64,
    file: Name,
}

pub(super) struct Ledger {
    cluster: Name,
    root: PathBuf,
    kinds: KindLookup,
    sink: Box<dyn FnMut(SourceEvent) + Send>,
    digests: RandomState,
    proof: FileProof<Key>,
    files: BTreeMap<Name, Record>,
    /// What could not be looked into in the last scan.
    refused: BTreeMap<Name, SourceError>,
    told: FxHashMap<Key, Told>,
    reports: BTreeMap<Name, FileReport>,
    stale_reports: BTreeSet<Name>,
    identity: Option<RootIdentity>,
    suspicion: Option<Suspicion>,
}

impl Ledger {
    pub(super) fn new(
        cluster: Name,
        root: PathBuf,
        kinds: KindLookup,
        known: Vec<(Key, Name)>,
        identity: Option<RootIdentity>,
        sink: Box<dyn FnMut(SourceEvent) + Send>,
    ) -> Self {
        Self {
            cluster,
            root,
            kinds,
            sink,
            digests: RandomState::new(),
            proof: FileProof::new(identity, known),
            files: BTreeMap::new(),
            refused: BTreeMap::new(),
            told: FxHashMap::default(),
            reports: BTreeMap::new(),
            stale_reports: BTreeSet::new(),
            identity,
            suspicion: None,
        }
    }

    pub(super) fn tell(&mut self, event: SourceEvent) {
        (self.sink)(event);
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn proof(&self) -> &FileProof<Key> {
        &self.proof
    }

    /// Reads a file and takes what it says. With `patient`, errors are not believed yet.
    pub(super) fn read(&mut self, now: Time, file: &Name, patient: bool) -> Outcome {
        let path = self.root.join(&**file);
        if path.is_dir() {
            return Outcome::Directory;
        }
        let (parsed, state) = match read::read_text(&path) {
            Ok((text, metadata)) => {
                let state = FileState::of(&metadata);
                (self.parse(file, &text), (!is_racy(&state)).then_some(state))
            }
            Err(ReadError::Refused(error)) => (ParsedFile::unreadable(error), None),
            Err(ReadError::Gone) if path.is_symlink() => {
                let error = SourceError::new(Position { line: 1, column: 1 }, "a symlink that leads nowhere");
                (ParsedFile::unreadable(error), None)
            }
            Err(ReadError::Gone) => return Outcome::Gone,
        };
        if patient && !parsed.errors.is_empty() {
            return Outcome::Torn;
        }
        self.take(now, file, parsed, state);
        Outcome::Taken
    }

    fn parse(&self, file: &str, text: &str) -> ParsedFile {
        ParsedFile::parse(&self.cluster, file, text, |group, kind| (self.kinds)(group, kind), &self.digests)
    }

    fn take(&mut self, now: Time, file: &Name, parsed: ParsedFile, state: Option<FileState>) {
        let mut keys: BTreeSet<Key> = parsed.objects.iter().map(|object| object.object.key.clone()).collect();
        // An object whose kind is not claimed any more is not gone: its document is there.
        let kept = parsed.unclaimed.iter().flat_map(|unclaimed| unclaimed.document.possible_keys());
        keys.extend(kept.filter(|key| self.proof.file_of(key).is_some()));
        let whole = parsed.errors.is_empty();
        let record = Record {
            state,
            lines: parsed.objects.iter().map(|object| (object.object.key.clone(), object.line)).collect(),
            unclaimed: parsed.unclaimed,
            errors: parsed.errors,
            notices: parsed.notices,
        };
        self.files.insert(file.clone(), record);
        // What the last scan made of it is older than this.
        self.refused.remove(file);
        self.stale_reports.insert(file.clone());
        let decisions = self.proof.event_changed(now, file, keys, whole);
        for object in parsed.objects {
            self.tell_object(file, object);
        }
        self.obey(decisions, Some(file));
    }

    /// Tells an object if this file gives it and it was not told just so.
    fn tell_object(&mut self, file: &Name, object: FileObject) {
        let key = &object.object.key;
        if self.proof.file_of(key) != Some(file) {
            return;
        }
        if self.told.get(key).is_some_and(|told| told.digest == object.digest && told.file == *file) {
            return;
        }
        self.told.insert(key.clone(), Told { digest: object.digest, file: file.clone() });
        let FileObject { object, line, spans, .. } = object;
        self.tell(SourceEvent::Desired(Box::new(Desired { object, file: file.clone(), line, spans })));
    }

    /// Carries out decisions. What the file that was just read gives was told already.
    fn obey(&mut self, decisions: Vec<Decision<Key>>, just_read: Option<&Name>) {
        for decision in decisions {
            match decision {
                Decision::Present { key, file } => {
                    self.stale_reports.extend(self.proof.definers(&key).cloned());
                    if just_read != Some(&file) {
                        self.tell_from(&file, &key);
                    }
                }
                Decision::Absent { key, file } => {
                    self.told.remove(&key);
                    self.stale_reports.insert(file.clone());
                    self.tell(SourceEvent::Deleted { key, file });
                }
            }
        }
    }

    /// Another file gives a key now: its content was not kept, so it is read again. If it cannot
    /// be, its own event is under way.
    fn tell_from(&mut self, file: &Name, key: &Key) {
        let Ok((text, _)) = read::read_text(&self.root.join(&**file)) else {
            return;
        };
        let objects = self.parse(file, &text).objects;
        if let Some(object) = objects.into_iter().find(|object| object.object.key == *key) {
            self.tell_object(file, object);
        }
    }

    /// A file or directory was seen going away and is not there.
    pub(super) fn removed(&mut self, now: Time, path: &Name) {
        let below = format!("{path}/");
        let gone = |file: &str| file == &**path || file.starts_with(&below);
        self.stale_reports.extend(self.files.keys().filter(|file| gone(file)).cloned());
        self.files.retain(|file, _| !gone(file));
        let refused = self.refused.keys().filter(|file| gone(file));
        self.stale_reports.extend(refused.cloned());
        self.refused.retain(|file, _| !gone(file));
        let decisions = self.proof.event_removed(now, path);
        self.obey(decisions, None);
    }

    pub(super) fn scan_started(&mut self) {
        self.proof.scan_started();
    }

    /// Whether a file was read and is not known to be gone.
    pub(super) fn knows(&self, file: &Name) -> bool {
        self.files.contains_key(file)
    }

    /// Whether a file has to be read, going by its state.
    pub(super) fn has_changed(&self, file: &Name, state: &FileState) -> bool {
        self.files.get(file).is_none_or(|record| record.state.as_ref() != Some(state))
    }

    /// A scan has ended, and its changed files were read.
    pub(super) fn scan_completed(&mut self, started: Time, now: Time, scan: Scan) {
        if scan.identity.is_none() || scan.complete {
            let left: Vec<Name> = self.files.keys().filter(|file| !scan.files.contains_key(*file)).cloned().collect();
            for file in left {
                self.files.remove(&file);
                self.stale_reports.insert(file);
            }
            self.stale_reports.extend(self.refused.keys().chain(scan.errors.keys()).cloned());
            self.refused = scan.errors;
        }
        let result = ScanResult {
            started,
            identity: scan.identity,
            complete: scan.complete,
            files: scan.files.into_keys().collect(),
            unreadable: self.refused.keys().cloned().collect(),
        };
        let decisions = self.proof.scan_completed(now, result);
        self.obey(decisions, None);
    }

    /// Lets time pass for the proof.
    pub(super) fn tick(&mut self, now: Time) {
        let decisions = self.proof.tick(now);
        self.obey(decisions, None);
    }

    /// A person confirms what is gone.
    pub(super) fn confirm(&mut self) {
        let decisions = self.proof.confirm();
        self.obey(decisions, None);
    }

    /// Files with documents that nobody claimed.
    pub(super) fn unclaimed_files(&self) -> Vec<Name> {
        let files = self.files.iter().filter(|(_, record)| !record.unclaimed.is_empty());
        files.map(|(file, _)| file.clone()).collect()
    }

    /// Tells what has changed about files and the root as a whole.
    pub(super) fn flush(&mut self) {
        for file in std::mem::take(&mut self.stale_reports) {
            let report = self.report(&file);
            let last = self.reports.get(&file);
            if report.is_empty() && last.is_none() || last == Some(&report) {
                continue;
            }
            if report.is_empty() {
                self.reports.remove(&file);
            } else {
                self.reports.insert(file, report.clone());
            }
            self.tell(SourceEvent::Report(report));
        }
        if let Some(identity) = self.proof.identity()
            && self.identity != Some(identity)
        {
            self.identity = Some(identity);
            self.tell(SourceEvent::Identity(identity));
        }
        if self.suspicion.as_ref() != self.proof.suspicion() {
            self.suspicion = self.proof.suspicion().cloned();
            let event = self.suspicion.clone().map_or(SourceEvent::Trusted, SourceEvent::Suspicious);
            self.tell(event);
        }
    }

    fn report(&self, file: &Name) -> FileReport {
        let mut report = FileReport {
            file: file.clone(),
            errors: Vec::new(),
            held: Vec::new(),
            unclaimed: Vec::new(),
            notices: Vec::new(),
        };
        if let Some(record) = self.files.get(file) {
            report.errors.clone_from(&record.errors);
            report.unclaimed.clone_from(&record.unclaimed);
            report.notices.clone_from(&record.notices);
            report.notices.extend(record.lines.iter().filter_map(|(key, line)| self.shadowed(file, key, *line)));
            report.notices.sort_by_key(|notice| notice.position);
        }
        report.errors.extend(self.refused.get(file).cloned());
        if !report.errors.is_empty() {
            report.held = self.proof.held(file);
        }
        report
    }

    /// Of two files with one key only one counts (rule D4).
    fn shadowed(&self, file: &Name, key: &Key, line: u32) -> Option<Notice> {
        let giver = self.proof.file_of(key)?;
        if giver == file || !self.proof.definers(key).any(|definer| definer == giver) {
            return None;
        }
        let message =
            format!("{} is defined in {giver} as well, which keeps it; this document is not used", title(key));
        Some(Notice { position: Position { line, column: 1 }, message })
    }
}

fn is_racy(state: &FileState) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let nanoseconds = |(seconds, rest): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let changed = nanoseconds(state.modified).max(nanoseconds(state.changed));
    changed + RACY_NANOSECONDS > i128::try_from(now).unwrap_or(i128::MAX)
}
