//! The thread of a file source: what the system reports, and the time, as reads and scans.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind, RemoveKind, RenameMode};
use setpoint_core::Time;
use setpoint_core::key::Name;

use super::event::SourceEvent;
use super::ledger::{Ledger, Outcome};
use super::scan;
use super::watch::SourceOptions;
use super::watches::Watches;

/// A file that is being written is read when it was left alone for so long, unless the system says
/// earlier that it was closed. The same again before errors in it are believed.
const QUIET: Time = 50;
/// But a file that is written all the time is read as often as this.
const QUIET_LONGEST: Time = 1_000;
/// Between scans after the system lost events: doubled each time, so that a scan that is itself
/// the cause cannot run for ever.
const OVERFLOW_FIRST: Time = 100;
const OVERFLOW_LONGEST: Time = 5_000;
/// Scans take at most one part in so many of the time, and leave at least so much between them.
const SCAN_SHARE: Time = 5;
const SCAN_PAUSE: Time = 5;
/// Events that are looked at together.
const BATCH: usize = 4_096;

/// What the thread takes in.
pub(super) enum Input {
    File(notify::Result<notify::Event>),
    Rescan,
    Reclassify(u64),
    Confirm,
    Stop,
}

/// A file to be read later.
struct Pending {
    due: Time,
    since: Time,
    /// It was read and had errors; the next time they are believed.
    tried: bool,
}

/// What a batch of inputs asks for.
#[derive(Default)]
struct Batch {
    /// Files to look at now; whether one was seen going away.
    files: BTreeMap<Name, bool>,
    directories_removed: BTreeSet<Name>,
    scan: bool,
    read_all: bool,
    overflow: bool,
    reclassify: Option<u64>,
    confirm: bool,
    stop: bool,
}

pub(super) struct Worker {
    ledger: Ledger,
    watches: Watches,
    inputs: Receiver<Input>,
    origin: Instant,
    rescan: Time,
    poll: Time,
    created: bool,
    /// Directories that are watched, without symlinks, and their paths below the root.
    directories: HashMap<PathBuf, Vec<Name>>,
    outside: BTreeSet<PathBuf>,
    pending: BTreeMap<Name, Pending>,
    scan_wanted: Option<Time>,
    read_all: bool,
    next_periodic: Time,
    not_before: Time,
    overflow_pause: Time,
    initial_done: bool,
    polling: Option<String>,
    /// Unclaimed documents were looked at anew, and it was not told yet.
    reclassified: Option<u64>,
}

impl Worker {
    pub(super) fn new(
        root: PathBuf,
        options: SourceOptions,
        input: Sender<Input>,
        inputs: Receiver<Input>,
        sink: Box<dyn FnMut(SourceEvent) + Send>,
        created: bool,
    ) -> Self {
        let milliseconds = |duration: Duration| Time::try_from(duration.as_millis()).unwrap_or(Time::MAX).max(1);
        Self {
            watches: Watches::new(input, options.force_polling),
            rescan: milliseconds(options.rescan),
            poll: milliseconds(options.poll),
            ledger: Ledger::new(options.cluster, root, options.kinds, options.known, options.identity, sink),
            inputs,
            origin: Instant::now(),
            created,
            directories: HashMap::new(),
            outside: BTreeSet::new(),
            pending: BTreeMap::new(),
            scan_wanted: Some(0),
            read_all: false,
            next_periodic: 0,
            not_before: 0,
            overflow_pause: OVERFLOW_FIRST,
            initial_done: false,
            polling: None,
            reclassified: None,
        }
    }

    pub(super) fn run(mut self) {
        if self.created {
            self.ledger.tell(SourceEvent::RootCreated);
        }
        loop {
            self.due();
            self.ledger.flush();
            // A file that is to be tried once more may hold what was asked for.
            if let Some(ticket) = self.reclassified.take_if(|_| !self.pending.values().any(|pending| pending.tried)) {
                self.ledger.tell(SourceEvent::Reclassified { ticket });
            }
            if self.initial_scan_ended() {
                self.initial_done = true;
                self.ledger.tell(SourceEvent::InitialScanDone);
            }
            let wait = self.deadline().saturating_sub(self.now());
            match self.inputs.recv_timeout(Duration::from_millis(wait)) {
                Ok(input) => {
                    if self.take(input) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn initial_scan_ended(&self) -> bool {
        !self.initial_done && self.ledger.proof().root_is_there() && self.scan_wanted.is_none()
    }

    fn now(&self) -> Time {
        Time::try_from(self.origin.elapsed().as_millis()).unwrap_or(Time::MAX)
    }

    fn scan_due(&self) -> Time {
        let asked = self.scan_wanted.into_iter().chain(self.ledger.proof().next_scan());
        asked.chain([self.next_periodic]).min().unwrap_or(self.next_periodic).max(self.not_before)
    }

    fn deadline(&self) -> Time {
        let pending = self.pending.values().map(|pending| pending.due);
        pending.chain(self.ledger.proof().next_tick()).chain([self.scan_due()]).min().unwrap_or(Time::MAX)
    }

    /// Does what its time has come for.
    fn due(&mut self) {
        let now = self.now();
        let due: Vec<Name> =
            self.pending.iter().filter(|(_, pending)| pending.due <= now).map(|(file, _)| file.clone()).collect();
        for file in due {
            let tried = self.pending.remove(&file).is_some_and(|pending| pending.tried);
            self.read(&file, !tried);
        }
        if self.ledger.proof().next_tick().is_some_and(|due| due <= now) {
            self.ledger.tick(now);
        }
        if self.scan_due() <= self.now() {
            self.scan();
        }
    }

    /// Takes an input and all that wait behind it. True for the end.
    fn take(&mut self, input: Input) -> bool {
        let mut batch = Batch::default();
        self.sort(input, &mut batch);
        for _ in 0..BATCH {
            match self.inputs.try_recv() {
                Ok(input) => self.sort(input, &mut batch),
                Err(_) => break,
            }
        }
        if batch.stop {
            return true;
        }
        self.perform(batch);
        false
    }

    fn sort(&mut self, input: Input, batch: &mut Batch) {
        match input {
            Input::Stop => batch.stop = true,
            Input::Confirm => batch.confirm = true,
            Input::Reclassify(ticket) => batch.reclassify = batch.reclassify.max(Some(ticket)),
            Input::Rescan => {
                batch.scan = true;
                batch.read_all = true;
            }
            // An error of the watch itself: what it missed is not known.
            Input::File(Err(_)) => batch.overflow = true,
            Input::File(Ok(event)) if event.need_rescan() => batch.overflow = true,
            Input::File(Ok(event)) => {
                for (index, path) in event.paths.iter().enumerate() {
                    self.sort_path(&event.kind, index, path, batch);
                }
            }
        }
    }

    fn sort_path(&mut self, kind: &EventKind, index: usize, path: &Path, batch: &mut Batch) {
        let removal = is_removal(kind, index);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return;
        };
        if let Some(relatives) = self.directories.get(path) {
            if removal {
                let below_root = relatives.iter().filter(|relative| !relative.is_empty());
                batch.directories_removed.extend(below_root.cloned());
            }
            if !matches!(kind, EventKind::Access(_)) {
                self.watches.forget(path);
                batch.scan = true;
            }
        } else if let Some(relatives) = self.directories.get(parent) {
            if scan::is_definition(name) {
                let files: Vec<Name> = relatives.iter().map(|relative| scan::join(relative, name)).collect();
                for file in files {
                    self.sort_file(kind, removal, file, batch);
                }
            } else if name.starts_with("..") {
                // The hidden part of a mounted ConfigMap: what the visible links lead to.
                batch.scan = true;
            } else if !scan::is_hidden(name) && may_be_directory(kind) && (removal || path.is_dir()) {
                batch.scan = true;
            }
        } else if self.outside.contains(parent) || self.ledger.root().file_name() == Some(OsStr::new(name)) {
            // A file that links lead to, or the root itself in the directory above it.
            batch.scan |= !matches!(kind, EventKind::Access(access) if !is_written(access));
        }
    }

    fn sort_file(&mut self, kind: &EventKind, removal: bool, file: Name, batch: &mut Batch) {
        match kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
                let now = self.now();
                let pending = self.pending.entry(file).or_insert(Pending { due: 0, since: now, tried: false });
                pending.due = (now + QUIET).min(pending.since + QUIET_LONGEST);
            }
            EventKind::Access(access) if !is_written(access) => {}
            _ => *batch.files.entry(file).or_default() |= removal,
        }
    }

    fn perform(&mut self, batch: Batch) {
        if batch.overflow {
            let at = self.now() + self.overflow_pause;
            self.scan_wanted = Some(self.scan_wanted.map_or(at, |wanted| wanted.min(at)));
            self.overflow_pause = (self.overflow_pause * 2).min(OVERFLOW_LONGEST);
        }
        self.read_all |= batch.read_all;
        if batch.scan {
            self.scan_wanted = Some(0);
        }
        // What went away first, so that what it became is where it moved to.
        for directory in &batch.directories_removed {
            if self.ledger.root().join(&**directory).symlink_metadata().is_err() {
                let now = self.now();
                self.ledger.removed(now, directory);
            }
        }
        let root = self.ledger.root();
        let (gone, there): (Vec<_>, Vec<_>) = batch
            .files
            .into_iter()
            .partition(|(file, removal)| *removal && root.join(&**file).symlink_metadata().is_err());
        for (file, _) in gone {
            self.pending.remove(&file);
            let now = self.now();
            self.ledger.removed(now, &file);
        }
        for (file, _) in there {
            let tried = self.pending.remove(&file).is_some_and(|pending| pending.tried);
            self.read(&file, !tried);
        }
        if let Some(ticket) = batch.reclassify {
            self.reclassified = self.reclassified.max(Some(ticket));
            for file in self.ledger.unclaimed_files() {
                self.read(&file, true);
            }
        }
        if batch.confirm {
            self.ledger.confirm();
        }
    }

    fn read(&mut self, file: &Name, patient: bool) {
        let now = self.now();
        match self.ledger.read(now, file, patient) {
            Outcome::Taken => {}
            Outcome::Torn => {
                self.pending.insert(file.clone(), Pending { due: now + QUIET, since: now, tried: true });
            }
            // Not seen going, or not a file: the scan says what it is.
            Outcome::Gone if !self.ledger.knows(file) => {}
            Outcome::Gone | Outcome::Directory => self.scan_wanted = Some(0),
        }
    }

    fn scan(&mut self) {
        let started = self.now();
        let periodic = self.next_periodic <= started;
        if periodic && self.scan_wanted.is_none() {
            self.overflow_pause = OVERFLOW_FIRST;
        }
        self.scan_wanted = None;
        let read_all = std::mem::take(&mut self.read_all);
        self.ledger.scan_started();
        self.watches.begin();
        self.watch_above();
        let watches = &mut self.watches;
        let found = scan::scan(self.ledger.root(), &mut |path, identity| watches.place(path, identity));
        if found.complete || found.identity.is_none() {
            self.watches.end();
        }
        self.directories.clear();
        for directory in &found.directories {
            self.directories.entry(directory.resolved.clone()).or_default().push(directory.relative.clone());
        }
        self.outside.clone_from(&found.outside);
        for (file, state) in &found.files {
            if read_all || self.ledger.has_changed(file, state) {
                let tried = self.pending.remove(file).is_some_and(|pending| pending.tried);
                // At the start nothing is known yet that patience could save.
                self.read(file, self.initial_done && !tried);
            }
        }
        if found.identity.is_some() && !found.complete {
            self.scan_wanted = Some(self.now() + QUIET);
        }
        let now = self.now();
        let there = found.identity.is_some();
        self.ledger.scan_completed(started, now, found);

        let took = now - started;
        self.not_before = now + (took * (SCAN_SHARE - 1)).clamp(SCAN_PAUSE, OVERFLOW_LONGEST);
        let failure = self.watches.failure().map(str::to_owned);
        let pause = if failure.is_some() || !there { self.poll } else { self.rescan };
        if periodic || pause < self.rescan {
            self.next_periodic = now + pause;
        }
        if self.polling != failure {
            let event = failure.clone().map_or(SourceEvent::Watching, |reason| SourceEvent::Polling { reason });
            self.polling = failure;
            self.ledger.tell(event);
        }
    }

    /// The directory above the root, for a root that is replaced or comes back.
    fn watch_above(&mut self) {
        let Some(above) = self.ledger.root().parent() else {
            return;
        };
        if let Ok(above) = above.canonicalize()
            && let Ok(metadata) = above.metadata()
        {
            self.watches.place(&above, scan::identity_of(&metadata));
        }
    }
}

/// Whether an event says that what the path led to is not there any more. An unmount is none: what
/// was there still is, elsewhere.
fn is_removal(kind: &EventKind, index: usize) -> bool {
    match kind {
        EventKind::Remove(kind) => !matches!(kind, RemoveKind::Other),
        EventKind::Modify(ModifyKind::Name(mode)) => match mode {
            RenameMode::From | RenameMode::Any => true,
            RenameMode::Both => index == 0,
            RenameMode::To | RenameMode::Other => false,
        },
        _ => false,
    }
}

fn is_written(access: &AccessKind) -> bool {
    matches!(access, AccessKind::Close(AccessMode::Write))
}

fn may_be_directory(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}
