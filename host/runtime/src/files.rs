//! From files to the embedded cluster: what the file source decides is written there, and what is
//! wrong is kept for people with file:line:column.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use setpoint_cluster::local::{FileRefusal, Local, Problem};
use setpoint_cluster::source::{Desired, FileReport, Position, SourceEvent};
use setpoint_core::contract::{Event, EventType, Reason};
use setpoint_core::file_proof::RootIdentity;
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::sanitize::sanitize;

use crate::driver::Driver;
use crate::file_rows;
use crate::lock::lock;
use crate::views::FileRow;

/// Bookkeeping: the identity of the resources directory (rule D1).
pub const ROOT_IDENTITY: &str = "root-identity";

/// What the files of one root say, beside their objects.
pub struct Files {
    local: Arc<Local>,
    driver: Arc<Driver>,
    reports: Mutex<BTreeMap<String, FileReport>>,
    invalid: Mutex<BTreeMap<Key, Vec<FileRow>>>,
    /// Fields that were left out, by object.
    pruned: Mutex<BTreeMap<Key, Vec<FileRow>>>,
    suspicion: Mutex<Option<String>>,
    scanned: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// Kinds whose documents are not all looked at yet: absence is not proven for them.
#[derive(Default)]
struct Waiting {
    /// Each with the ticket of the look that comes after it was served; 0 for the first scan.
    kinds: Vec<(GroupKind, u64)>,
    last: u64,
    reached: u64,
}

impl Files {
    /// Nothing was read yet.
    pub fn new(local: Arc<Local>, driver: Arc<Driver>) -> Arc<Self> {
        Arc::new(Self {
            local,
            driver,
            reports: Mutex::default(),
            invalid: Mutex::default(),
            pruned: Mutex::default(),
            suspicion: Mutex::default(),
            scanned: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// The recorded identity of the root.
    pub fn recorded_identity(local: &Local) -> Option<RootIdentity> {
        let bytes = local.bookkeeping_get(ROOT_IDENTITY)?;
        let (dev, ino) = serde_json::from_slice(&bytes).ok()?;
        Some(RootIdentity { dev, ino })
    }

    /// A kind is served from the start: the first scan looks at its files.
    pub fn kind_served_from_start(&self, kind: &GroupKind) {
        lock(&self.waiting).kinds.push((kind.clone(), 0));
    }

    /// A kind is served from now on. Its absent objects are proven absent once its files have been
    /// looked at, with the ticket that this answers.
    pub fn kind_served(&self, kind: &GroupKind) -> u64 {
        let mut waiting = lock(&self.waiting);
        waiting.last += 1;
        let ticket = waiting.last;
        waiting.kinds.push((kind.clone(), ticket));
        ticket
    }

    /// The ticket of the last kind that came.
    pub fn last_ticket(&self) -> u64 {
        lock(&self.waiting).last
    }

    /// Takes what the source tells.
    pub fn take(&self, event: SourceEvent) {
        match event {
            SourceEvent::Desired(desired) => self.desired(*desired),
            SourceEvent::Deleted { key, file } => {
                lock(&self.invalid).remove(&key);
                lock(&self.pruned).remove(&key);
                tracing::info!(%key, %file, "the file is gone: the object is deleted");
                drop(self.local.undesired(&key));
            }
            SourceEvent::Report(report) => self.report(report),
            SourceEvent::Identity(identity) => {
                let text = serde_json::json!([identity.dev, identity.ino]).to_string();
                drop(self.local.bookkeeping_put(ROOT_IDENTITY, Some(text.as_bytes())));
            }
            SourceEvent::Suspicious(suspicion) => {
                let text = suspicion.to_string();
                tracing::warn!("{text}");
                *lock(&self.suspicion) = Some(text);
            }
            SourceEvent::Trusted => {
                tracing::info!("the resources are there again");
                *lock(&self.suspicion) = None;
            }
            SourceEvent::RootCreated => tracing::info!("the resources directory was missing and was made"),
            SourceEvent::Polling { reason } => {
                tracing::warn!(reason, "changes of files are not reported by the system; polling");
            }
            SourceEvent::Watching => tracing::info!("changes of files are reported by the system again"),
            SourceEvent::InitialScanDone => {
                self.scanned.store(true, Ordering::Release);
                self.announce();
                self.forget_kinds();
            }
            SourceEvent::Reclassified { ticket } => {
                lock(&self.waiting).reached = ticket;
                self.announce();
            }
        }
    }

    /// Definitions that neither an object nor a plugin needs are not kept for ever.
    fn forget_kinds(&self) {
        let owned: BTreeSet<GroupKind> = self.driver.look(|engine| {
            let kinds = engine.plugins().flat_map(|plugin| &plugin.description.kinds);
            kinds.map(|owned| owned.kind.group_kind()).collect()
        });
        // Best effort: what is not forgotten now is forgotten after the next start.
        drop(self.local.forget_kinds(|kind| owned.contains(kind)));
    }

    fn announce(&self) {
        if !self.scanned.load(Ordering::Acquire) {
            return;
        }
        let kinds: Vec<GroupKind> = {
            let mut waiting = lock(&self.waiting);
            let reached = waiting.reached;
            let (looked_at, left) =
                std::mem::take(&mut waiting.kinds).into_iter().partition(|(_, ticket)| *ticket <= reached);
            waiting.kinds = left;
            let looked_at: Vec<(GroupKind, u64)> = looked_at;
            looked_at.into_iter().map(|(kind, _)| kind).collect()
        };
        self.local.announce(&kinds);
    }

    fn desired(&self, desired: Desired) {
        let Desired { object, file, line, spans } = desired;
        let key = object.key.clone();
        match self.local.desired(&key, object.value, &file) {
            Ok((unknown, durable)) => {
                // The file itself is the record of its content: it is read again after a crash.
                drop(durable);
                lock(&self.invalid).remove(&key);
                self.local.invalid(&key, Vec::new());
                let rows = file_rows::unknown(&file, &spans, &unknown);
                for row in &rows {
                    tracing::warn!("{file}:{}:{}: {}", row.line, row.column, row.message);
                }
                let mut pruned = lock(&self.pruned);
                if rows.is_empty() {
                    pruned.remove(&key);
                } else {
                    pruned.insert(key, rows);
                }
            }
            Err(FileRefusal::Invalid(errors)) => {
                let rows = file_rows::mistakes(&file, &spans, &errors);
                let mut problems = Vec::new();
                for (error, row) in errors.into_iter().zip(&rows) {
                    tracing::warn!(%key, "{file}:{}:{}: {}", row.line, row.column, row.message);
                    problems.push(Problem {
                        file: Some(format!("{file}:{}:{}", row.line, row.column).into()),
                        field: error.path.to_string(),
                        message: sanitize(&error.message),
                    });
                }
                self.tell_invalid(&key, &rows);
                self.local.invalid(&key, problems);
                lock(&self.pruned).remove(&key);
                lock(&self.invalid).insert(key, rows);
            }
            Err(refusal) => {
                tracing::error!(%key, "{file}: {refusal}");
                let start = Position { line, column: 1 };
                let rows = vec![file_rows::row(&file, start, file_rows::INVALID, refusal.to_string())];
                lock(&self.pruned).remove(&key);
                lock(&self.invalid).insert(key, rows);
            }
        }
    }

    /// The mistakes of a file as an event of the object that keeps its last good content.
    fn tell_invalid(&self, key: &Key, rows: &[FileRow]) {
        let Some(first) = rows.first() else { return };
        let reason =
            Reason::new("InvalidFile", format!("{}:{}:{}: {}", first.file, first.line, first.column, first.message));
        let event = Event { kind: EventType::Warning, reason, regarding: None };
        self.driver.tell(key, std::slice::from_ref(&event));
        self.local.record_events(key.clone(), vec![event]);
    }

    fn report(&self, report: FileReport) {
        for error in &report.errors {
            tracing::warn!("{}:{}:{}: {}", report.file, error.position.line, error.position.column, error.message);
        }
        for notice in &report.notices {
            tracing::info!("{}:{}:{}: {}", report.file, notice.position.line, notice.position.column, notice.message);
        }
        let mut mistakes = file_rows::of_report(&report);
        mistakes.retain(|row| row.state == file_rows::INVALID);
        for key in &report.held {
            let problems = report
                .errors
                .iter()
                .map(|error| Problem {
                    file: Some(format!("{}:{}:{}", report.file, error.position.line, error.position.column).into()),
                    field: String::new(),
                    message: sanitize(&error.message),
                })
                .collect();
            self.tell_invalid(key, &mistakes);
            self.local.invalid(key, problems);
        }
        let mut reports = lock(&self.reports);
        let before = reports.remove(&*report.file);
        for key in before.iter().flat_map(|before| &before.held) {
            if !report.held.contains(key) && !lock(&self.invalid).contains_key(key) {
                self.local.invalid(key, Vec::new());
            }
        }
        if !report.is_empty() {
            reports.insert(report.file.to_string(), report);
        }
    }

    /// Why the source cannot be trusted at present, if it cannot (rule D1).
    pub fn suspicion(&self) -> Option<String> {
        lock(&self.suspicion).clone()
    }

    /// Whether every file was read once.
    pub fn scanned(&self) -> bool {
        self.scanned.load(Ordering::Acquire)
    }

    /// Everything that is wrong or worth knowing, in order of files.
    pub fn rows(&self) -> Vec<FileRow> {
        let mut rows: Vec<FileRow> = lock(&self.invalid).values().flatten().cloned().collect();
        rows.extend(lock(&self.pruned).values().flatten().cloned());
        rows.extend(lock(&self.reports).values().flat_map(file_rows::of_report));
        rows.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        rows
    }
}
