//! What people see of the engine: one row per object, counters, and what they may ask for
//! (trigger, enable, disable; rules C6, C9).

use std::sync::Arc;

use super::Engine;
use super::history::{Run, RunRecord};
use super::schedule::Touch;
use super::state::{Class, Hold, KeyState, Phase};
use crate::Time;
use crate::cache::SourceState;
use crate::contract::{Cause, Readiness};
use crate::key::{GroupKind, Key, KeyId, Name, Source};
use crate::queue::Lane;

/// Counters since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Changes of views.
    pub changes: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Calls made.
    pub calls: u64,
    /// Resyncs that needed no call (rule A6).
    pub memo_hits: u64,
    /// Attempts put off by the hot-loop bucket (rule C4).
    pub damped: u64,
    /// Writes that were answered as done.
    pub writes: u64,
    /// Children deleted.
    pub deletes: u64,
}

/// What the engine knows of one reconciled object.
#[derive(Clone, Debug)]
pub struct Row {
    /// The object.
    pub key: Arc<Key>,
    /// Its state.
    pub phase: Phase,
    /// Failures in a row.
    pub failures: u32,
    /// The last error, until success.
    pub last_error: Option<Arc<str>>,
    /// What it waits for.
    pub waiting: Option<Arc<str>>,
    /// The readiness that was shown last.
    pub readiness: Option<Readiness>,
    /// When the last attempt ended.
    pub last_run: Option<Time>,
    /// When the next attempt is due, if it is known: a delay, else the resync.
    pub next_run: Option<Time>,
    /// Why it will run, or ran last.
    pub causes: Vec<Cause>,
    /// The plugin.
    pub plugin: Name,
    /// The hot-loop bucket holds it back.
    pub damped: bool,
    /// A person holds it back.
    pub stopped: bool,
    /// Number of reads of the last attempt.
    pub reads: usize,
    /// Children of the last outcome.
    pub children: Vec<Arc<Key>>,
    /// The last runs, oldest first.
    pub runs: Vec<RunRecord>,
}

impl Engine {
    /// Counters since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Keys that wait in the queue.
    pub fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Keys that wait in one lane of the queue.
    pub fn queue_length_of(&self, lane: Lane) -> usize {
        self.queue.len_of(lane)
    }

    /// Attempts that are running.
    pub fn running(&self) -> usize {
        self.queue.running()
    }

    /// Dependency edges.
    pub fn edges(&self) -> usize {
        self.deps.edges()
    }

    /// All rows, in order of keys.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = (0..self.states.len() as u32).filter_map(|id| self.row_of(KeyId(id))).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// The row of one object, if a plugin reconciles its kind.
    pub fn row(&self, key: &Key) -> Option<Row> {
        self.row_of(self.cache.keys().find(key)?)
    }

    fn row_of(&self, id: KeyId) -> Option<Row> {
        let state = self.state(id)?;
        let causes = match (state.causes.is_empty(), state.runs.back()) {
            (true, Some(last)) => last.causes(),
            _ => state.causes.iter().map(|trace| trace.cause.clone()).collect(),
        };
        Some(Row {
            key: self.cache.keys().key(id).clone(),
            phase: state.phase,
            failures: state.failures,
            last_error: state.last_error.clone(),
            waiting: self
                .held_elsewhere(id)
                .or_else(|| self.quarantine_holds(id, state))
                .or_else(|| state.waiting.clone()),
            readiness: state.readiness.clone(),
            last_run: state.last_run,
            next_run: self.timers.get(id).or_else(|| match state.hold {
                Hold::None => self.resyncs.get(id),
                _ => None,
            }),
            causes,
            plugin: self.plugins[state.plugin.0 as usize].name.clone(),
            damped: state.damped,
            stopped: self.is_stopped(id),
            reads: state.reads.len(),
            children: state.children.iter().map(|child| self.cache.keys().key(*child).clone()).collect(),
            runs: state.runs.iter().map(Run::record).collect(),
        })
    }

    /// What an object waits for that others share the work on.
    fn held_elsewhere(&self, id: KeyId) -> Option<Arc<str>> {
        self.is_elsewhere(id).then(|| "another host acts on it".into())
    }

    /// What a key waits for that would run if its plugin were not quarantined (rule C8).
    fn quarantine_holds(&self, id: KeyId, state: &KeyState) -> Option<Arc<str>> {
        let wants_to_run = state.dirty || self.queue.is_queued(id) || matches!(state.hold, Hold::Backoff { .. });
        if state.running || !wants_to_run {
            return None;
        }
        self.quarantine_of(state.plugin).map(Into::into)
    }

    /// Number of reconciled objects per state.
    pub fn summary(&self) -> [(Phase, usize); 5] {
        let mut summary =
            [Phase::Pending, Phase::Reconciling, Phase::Synced, Phase::Error, Phase::Failed].map(|p| (p, 0));
        for state in self.states.iter().flatten() {
            if let Some((_, count)) = summary.iter_mut().find(|(phase, _)| *phase == state.phase) {
                *count += 1;
            }
        }
        summary
    }

    /// Sources that a loaded plugin reconciles and that are not synced, with the reason.
    pub fn unsynced(&self) -> Vec<(Source, String)> {
        let why = |source: &Source| match self.cache.state(source) {
            SourceState::Synced => None,
            SourceState::Syncing => Some(format!("{source} is not synced yet")),
            SourceState::Unknown(why) => Some(why),
        };
        let mut unsynced: Vec<(Source, String)> =
            self.kinds.keys().filter_map(|source| Some((source.clone(), why(source)?))).collect();
        unsynced.sort();
        unsynced
    }

    /// Somebody asks for an attempt now. Answers whether there is such a key.
    pub fn trigger(&mut self, now: Time, key: &Key) -> bool {
        let Some(id) = self.cache.keys().find(key).filter(|id| self.state(*id).is_some()) else { return false };
        let because = Cause::Manual.into();
        self.touch(now, id, Touch { class: Class::Hard, lane: Lane::User, because, debounce: false, read: true });
        true
    }

    /// No new attempts of a kind; changes are kept until it is enabled (rule C9).
    pub fn disable(&mut self, kind: &GroupKind) -> bool {
        self.disabled.insert(kind.clone())
    }

    /// Attempts of a kind again: what changed meanwhile runs.
    pub fn enable(&mut self, now: Time, kind: &GroupKind) -> bool {
        let was = self.disabled.remove(kind);
        self.run_what_waits(now, |key| key.group_kind() == *kind);
        was
    }

    /// Kinds that are disabled.
    pub fn disabled(&self) -> impl Iterator<Item = &GroupKind> {
        self.disabled.iter()
    }
}
