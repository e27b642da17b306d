//! What the engine knows of one reconciled key.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Time;
use crate::contract::{MAX_CAUSES, Readiness};
use crate::delay::{Bucket, Debounce};
use crate::deps::ReadSet;
use crate::key::{Key, KeyId};
use crate::queue::{Lane, PluginId};

use super::history::{Run, Trace};
use super::stuck::Stuck;

/// The state of a key as people see it (design §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Waits for its first attempt, or for something that is not known yet.
    Pending,
    /// An attempt is running.
    Reconciling,
    /// The last attempt succeeded.
    Synced,
    /// The last attempt failed, or something was refused.
    Error,
    /// Failed more often than the fast retries: retried at the longest backoff.
    Failed,
}

impl Phase {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Reconciling => "Reconciling",
            Phase::Synced => "Synced",
            Phase::Error => "Error",
            Phase::Failed => "Failed",
        }
    }
}

/// What keeps a key from running at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// Nothing.
    None,
    /// A failure: until its delay has passed. `shortened`: a foreign change has replaced it already.
    Backoff { shortened: bool },
    /// A permanent failure or a refusal: until something changes.
    Permanent,
}

/// How urgent a change is (rule C1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    /// Made by this key's effects or in its children. `fresh`: its content was not seen lately.
    Own { fresh: bool },
    /// Made by anybody else.
    Foreign,
    /// Skips every delay: a moved generation, deletion, manual, upgraded, configured.
    Hard,
}

/// What became due while an attempt was running.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) class: Class,
    pub(super) lane: Lane,
    pub(super) due: Time,
    /// It waits for quiet: a later one of its kind takes its place.
    pub(super) debounce: bool,
    /// Whether the last attempt had read what changed.
    pub(super) read: bool,
}

/// When the memo of a success holds: nothing in the read set has changed since, and these are the
/// same (rule A6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Memo {
    pub(super) version: super::plugins::PluginVersion,
}

/// Contents of own changes seen lately (rule C4).
const SEEN: usize = 20;

#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) plugin: PluginId,
    pub(super) phase: Phase,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<Arc<str>>,
    /// Why it is pending though it was tried.
    pub(super) waiting: Option<Arc<str>>,
    pub(super) readiness: Option<Readiness>,
    pub(super) hold: Hold,
    /// When an own change lets, or let, a permanent failure run.
    pub(super) last_own: Option<Time>,
    /// Something changed since the last attempt began.
    pub(super) dirty: bool,
    pub(super) causes: Vec<Trace>,
    pub(super) lane: Lane,
    pub(super) debounce: Debounce,
    /// When changes that wait for quiet run.
    pub(super) quiet_at: Option<Time>,
    /// The one delay, or an earlier reason.
    pub(super) due: Option<Time>,
    pub(super) marks: Vec<Mark>,
    pub(super) running: bool,
    pub(super) reads: ReadSet,
    /// Edges added by the running attempt, before it ends.
    pub(super) new_reads: Option<ReadSet>,
    pub(super) memo: Option<Memo>,
    pub(super) impure: bool,
    pub(super) bucket: Bucket,
    pub(super) seen: VecDeque<u64>,
    /// Of the changes since the last attempt: whether one was not own, and whether an own one was not fresh.
    pub(super) any_foreign: bool,
    pub(super) any_stale: bool,
    pub(super) damped: bool,
    /// The object is gone and its children may not be.
    pub(super) vanished: Option<Arc<crate::object::Object>>,
    /// Objects that a write without an answer may have changed: read live before the next attempt.
    pub(super) unsure: Vec<Key>,
    /// The first attempt since the start has ended.
    pub(super) attempted: bool,
    pub(super) last_run: Option<Time>,
    pub(super) runs: VecDeque<Run>,
    /// Children that should go and are held back.
    pub(super) deferred: Vec<Key>,
    /// Children whose documents were applied last.
    pub(super) children: Vec<KeyId>,
    /// A read of the running attempt had no answer, and why.
    pub(super) unavailable: Option<String>,
    /// A child that is waited for because it terminates, and whether the next attempt only tells it.
    pub(super) stuck: Option<Box<Stuck>>,
    pub(super) tell: bool,
}

impl KeyState {
    pub(super) fn new(plugin: PluginId, now: Time) -> Self {
        Self {
            plugin,
            phase: Phase::Pending,
            failures: 0,
            last_error: None,
            waiting: None,
            readiness: None,
            hold: Hold::None,
            last_own: None,
            dirty: false,
            causes: Vec::new(),
            lane: Lane::Resync,
            debounce: Debounce::default(),
            quiet_at: None,
            due: None,
            marks: Vec::new(),
            running: false,
            reads: ReadSet::default(),
            new_reads: None,
            memo: None,
            impure: false,
            bucket: Bucket::new(now),
            seen: VecDeque::new(),
            any_foreign: false,
            any_stale: false,
            damped: false,
            vanished: None,
            unsure: Vec::new(),
            attempted: false,
            last_run: None,
            runs: VecDeque::new(),
            deferred: Vec::new(),
            children: Vec::new(),
            unavailable: None,
            stuck: None,
            tell: false,
        }
    }

    /// Adds a cause; equal ones are folded, and of more than [`MAX_CAUSES`] the oldest stay.
    pub(super) fn add_cause(&mut self, cause: impl Into<Trace>) {
        let trace = cause.into();
        if self.causes.len() < MAX_CAUSES && self.causes.iter().all(|known| known.cause != trace.cause) {
            self.causes.push(trace);
        }
    }

    /// Whether this content was not seen among the last own changes; remembers it.
    pub(super) fn is_fresh(&mut self, content: u64) -> bool {
        let fresh = !self.seen.contains(&content);
        if fresh {
            if self.seen.len() == SEEN {
                self.seen.pop_front();
            }
            self.seen.push_back(content);
        }
        fresh
    }
}
