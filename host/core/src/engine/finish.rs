//! The end of an attempt: the read set, the children's documents, and the one delay (rules A5, C2, C8).

use super::Engine;
use super::attempt::{Attempt, Slot};
use super::change::content_of;
use super::history::{Change, Trace};
use super::schedule::Touch;
use super::state::{Class, Hold, Memo, Phase};
use crate::Time;
use crate::cache::{Seen, SourceState};
use crate::contract::{Cause, Failure, Readiness};
use crate::deps::{MaskId, ReadSet};
use crate::effects::{ChildReport, ChildResult, OWNER_LABEL, Report, Settled};
use crate::fields::{Outline, covers};
use crate::key::{GroupKind, Key, KeyId, Name};
use crate::queue::{Lane, PluginId};

/// What a cluster forbids is tried again after this at most: that a right was given is no change of anything that is
/// watched.
const FORBIDDEN_AGAIN: u64 = 60_000;

/// How an attempt ended, before its effects are looked at.
#[derive(Debug)]
pub(super) enum Ending {
    /// The plugin answered.
    Success { requeue_after: Option<u64> },
    /// A read had no answer, and the plugin gave up because of it: no failure (rule A4).
    Unavailable(String),
    /// It failed.
    Failed(Failure),
    /// The object is no longer the one that the attempt was for; it runs again.
    Dropped,
    /// Children of a deleted object were to go.
    Deletion,
    /// Nothing was called: the status tells that a child is stuck (rule B9).
    Told,
}

impl Engine {
    pub(super) fn finish(
        &mut self,
        now: Time,
        attempt: &mut Attempt,
        ending: Ending,
        effects: Option<(Report, Vec<(Name, GroupKind)>)>,
    ) {
        let pinned = std::mem::take(&mut attempt.pinned);
        self.conclude(now, attempt, ending, effects);
        for id in pinned {
            match self.pins.get_mut(&id) {
                Some(pins) if *pins > 1 => *pins -= 1,
                _ => {
                    self.pins.remove(&id);
                    if self.cache.view(id).is_none() {
                        self.forget_if_unused(id);
                    }
                }
            }
        }
    }

    fn conclude(
        &mut self,
        now: Time,
        attempt: &mut Attempt,
        ending: Ending,
        effects: Option<(Report, Vec<(Name, GroupKind)>)>,
    ) {
        let id = attempt.id;
        self.attempt_ended(attempt);
        self.queue.done(id);
        match attempt.slot {
            Slot::Call => self.calls -= 1,
            Slot::Effects => self.effects -= 1,
        }
        let (mut report, places) = match effects {
            Some((report, places)) => (report, Some(places)),
            None => (Report::default(), None),
        };
        if let Some(places) = places {
            if report.places_unsaved {
                self.unsaved.insert((*attempt.key).clone());
            } else if report.places_saved {
                self.unsaved.remove(&*attempt.key);
            }
            if places.is_empty() {
                self.places.remove(&*attempt.key);
            } else {
                self.places.insert((*attempt.key).clone(), places);
            }
        }
        let reconciled_by = self.plugin_of(&attempt.key.source());
        if reconciled_by != Some(attempt.plugin) && self.state(id).is_some() {
            return self.handed_over(now, attempt, reconciled_by);
        }
        if self.state(id).is_none() {
            return self.forget_if_unused(id);
        }
        if matches!(ending, Ending::Told) {
            self.record_run(now, attempt, &ending, &report);
            return self.told_stuck(now, id, report);
        }
        // What was unknown for a moment and is known again tells nobody: it is tried again. At once if
        // it is known since (as at a start), as a failure if only the cluster's answer says otherwise.
        let mut known_since = false;
        if let Some(source) = report.unknown.iter().find(|s| self.cache.state(s) == SourceState::Synced) {
            known_since = self.syncs > attempt.syncs;
            if !known_since {
                report.failed.get_or_insert(format!("{source} could not be reached"));
            }
        }
        let unseen = |key: &&Key| match self.cache.keys().find(key) {
            Some(id) => matches!(self.cache.seen(id), Seen::Absent),
            None => self.cache.state(&key.source()) == SourceState::Synced,
        };
        if let Some(key) = report.unseen.iter().find(unseen) {
            report.failed.get_or_insert(format!("{key} is there and not known yet, or has just gone"));
        }
        attempt.reads = self.state(id).and_then(|s| s.new_reads.as_ref()).map_or(0, ReadSet::len);
        self.settle_reads(id, attempt, &report);
        self.settle_children(id, &report);
        self.catch_up(now, attempt, &report);
        self.note_stuck(now, attempt, &ending, &report);
        self.record_run(now, attempt, &ending, &report);
        self.counts.deletes += report.deleted.len() as u64;
        let finished = report.finished && report.failed.is_none();
        if finished && (self.cache.view(id).is_none() || matches!(ending, Ending::Deletion)) {
            if let Some(state) = self.state_mut(id) {
                state.running = false;
                state.vanished = None;
            }
            if self.cache.view(id).is_none() {
                return self.drop_state(id);
            }
        }
        let decision = self.decision_of(attempt, &ending, &report);
        if self.keeps_decision(id, attempt.plugin, decision)
            && let Some(state) = self.state_mut(id)
        {
            report.deferred = std::mem::take(&mut state.deferred);
        }
        self.settle_state(now, id, attempt, ending, report);
        if known_since {
            let because = Cause::Changed.into();
            let touch = Touch { class: Class::Foreign, lane: Lane::Dependency, because, debounce: false, read: true };
            self.touch(now, id, touch);
        }
        self.pass_attempted(now, attempt, decision);
    }

    /// The kind went to another plugin, or to none, while the attempt was running: what there is of the key
    /// is the other one's to begin anew.
    fn handed_over(&mut self, now: Time, attempt: &Attempt, to: Option<PluginId>) {
        let (id, source) = (attempt.id, attempt.key.source());
        if let Some(state) = self.state_mut(id) {
            state.running = false;
        }
        let there = self.cache.view(id).is_some();
        if let Some(plugin) = to.filter(|_| !there) {
            self.pass_done(id, plugin);
        }
        self.drop_state(id);
        let Some(plugin) = to else { return };
        if there {
            self.new_state(now, id, plugin);
            let because = Cause::Created.into();
            let touch = Touch { class: Class::Hard, lane: Lane::First, because, debounce: false, read: true };
            self.touch(now, id, touch);
        } else if self.cache.state(&source) == SourceState::Synced {
            self.clean_up_orphans(now, &source);
        }
    }

    /// The read set is that of the latest attempt; a trap or a timeout keeps that of the one before
    /// as well (rule A5).
    fn settle_reads(&mut self, id: KeyId, attempt: &Attempt, report: &Report) {
        let Some(state) = self.state_mut(id) else { return };
        let old = std::mem::take(&mut state.reads);
        let mut new = state.new_reads.take().unwrap_or_default();
        new.gets.sort_unstable();
        new.lists.sort_unstable();
        if attempt.trapped || !attempt.answered {
            let mut both = new.clone();
            both.gets.extend(old.gets.iter().filter(|e| new.gets.binary_search(e).is_err()));
            both.lists.extend(old.lists.iter().filter(|e| new.lists.binary_search(e).is_err()));
            both.sources.extend(old.sources.iter().filter(|s| !new.sources.contains(s)).cloned());
            both.gets.sort_unstable();
            both.lists.sort_unstable();
            new = both;
        }
        // A child that is refused or waited for is read by its owner: its change runs the owner again.
        let blocked = report.children.iter().flatten().filter(|child| {
            matches!(child.result, ChildResult::Refused(_) | ChildResult::Waiting(_) | ChildResult::Failed(_))
        });
        let blocked: Vec<_> = blocked.filter_map(|child| child.key.clone()).chain(report.remaining.clone()).collect();
        for key in blocked {
            let target = self.cache.intern(&key);
            let edge = (target, MaskId::ALL);
            if let Err(at) = new.gets.binary_search(&edge) {
                if old.gets.binary_search(&edge).is_err() {
                    self.deps.add_get(id, target, MaskId::ALL);
                }
                new.gets.insert(at, edge);
            }
            // One that is somebody else's shows nowhere yet. Beyond the limit it is looked at once a minute, as
            // what a watch never shows is (rule A10).
            if self.cache.view(target).is_some() && !self.cache.is_shown_as_owned(target) {
                let _ = self.needs_single(id, target);
            }
        }
        // What only the cluster's answer has shown may be gone when the host sees for itself.
        let unseen = report.unseen.iter().map(Key::source);
        for source in report.unknown.iter().cloned().chain(unseen) {
            if self.cache.state(&source) != SourceState::Synced && !new.sources.contains(&source) {
                self.deps.add_source(id, &source);
                new.sources.push(source);
            }
        }
        self.deps.replace(id, &old, &new);
        if let Some(state) = self.state_mut(id) {
            state.reads = new;
        }
        self.forget_targets(&old);
    }

    fn settle_children(&mut self, id: KeyId, report: &Report) {
        let Some(children) = &report.children else { return };
        let mut now_owned = Vec::new();
        let mark = self.identity(self.cache.keys().key(id)).mark().to_owned();
        for ChildReport { key, document, result } in children {
            let (Some(key), Some(document)) = (key, document) else { continue };
            let child = self.cache.intern(key);
            // It went before this attempt ended, and another owner has made it: it is that one's.
            let lost = self.cache.view(child).is_some_and(|object| object.label(OWNER_LABEL) != Some(&mark));
            match result {
                ChildResult::Applied { .. } | ChildResult::Unchanged if lost => {}
                ChildResult::Applied { settled, .. } => {
                    self.keep_document(id, child, document);
                    now_owned.push(child);
                    match settled {
                        Some(settled) => self.settled.insert(child, *settled),
                        None => self.settled.remove(&child),
                    };
                }
                ChildResult::Unchanged => {
                    self.keep_document(id, child, document);
                    now_owned.push(child);
                }
                ChildResult::Waiting(_) | ChildResult::Failed(_) => {
                    if self.documents.get(&child).is_some_and(|(owner, _)| *owner == id) {
                        now_owned.push(child);
                    }
                }
                ChildResult::Refused(_) => {}
            }
        }
        let Some(state) = self.state_mut(id) else { return };
        let before = std::mem::replace(&mut state.children, now_owned.clone());
        for child in before {
            if !now_owned.contains(&child) {
                self.forget_document(id, child);
            }
        }
    }

    /// A child is this owner's, and nobody else's any more.
    fn keep_document(&mut self, owner: KeyId, child: KeyId, document: &serde_json::Value) {
        let before = self.documents.insert(child, (owner, Outline::of(document)));
        if let Some((before, _)) = before.filter(|(before, _)| *before != owner)
            && let Some(state) = self.state_mut(before)
        {
            state.children.retain(|other| *other != child);
        }
    }

    /// What came between the decision upon a child and the end of the attempt told nobody, for only
    /// now it is known what the owner waits for: it is looked at once.
    fn catch_up(&mut self, now: Time, attempt: &Attempt, report: &Report) {
        let id = attempt.id;
        let mut again = Vec::new();
        for ChildReport { key, document, result } in report.children.iter().flatten() {
            let Some(child) = key.as_ref().and_then(|key| self.cache.keys().find(key)) else { continue };
            let moved = self.moved_since(child, attempt);
            let view = self.cache.view(child);
            let due = match result {
                ChildResult::Applied { .. } | ChildResult::Unchanged => {
                    let as_applied = match (document, view) {
                        (Some(document), Some(view)) if moved && !view.terminating() => {
                            let observed = view.value();
                            covers(&observed, document)
                                || self.settled.get(&child) == Some(&Settled::of(document, &observed))
                        }
                        (_, view) => view.is_some_and(|view| !view.terminating()),
                    };
                    moved && !as_applied
                }
                ChildResult::Refused(_) | ChildResult::Failed(_) => moved,
                ChildResult::Waiting(_) => moved || matches!(self.cache.seen(child), Seen::Absent),
            };
            if due {
                again.push(child);
            }
        }
        for key in &report.remaining {
            again.extend(self.cache.keys().find(key).filter(|child| self.moved_since(*child, attempt)));
        }
        for child in again {
            let view = self.cache.view(child).cloned();
            let own = self.owner_of(child, None, view.as_deref()).is_none_or(|owner| owner == id);
            let Some(state) = self.state_mut(id) else { return };
            let fresh = state.is_fresh(content_of(view.as_deref()));
            let class = if own { Class::Own { fresh } } else { Class::Foreign };
            let because = self.trace_of(child);
            self.touch(now, id, Touch { class, lane: Lane::Dependency, because, debounce: !own, read: true });
        }
    }

    fn moved_since(&self, child: KeyId, attempt: &Attempt) -> bool {
        let last = self.moves.get(child.index());
        last.is_some_and(|(number, by)| {
            *number > attempt.effects_from && by.as_ref().is_none_or(|(author, _)| *author != attempt.key)
        })
    }

    /// The last change of an object, as a cause.
    fn trace_of(&self, id: KeyId) -> Trace {
        let key = self.cache.keys().key(id).clone();
        let by = self.moves.get(id.index()).and_then(|(_, by)| by.clone());
        Trace::of(Cause::Dependency(key.clone()), &Change { key, by })
    }

    fn settle_state(&mut self, now: Time, id: KeyId, attempt: &Attempt, ending: Ending, report: Report) {
        let version = attempt.version.clone();
        let backoff = self.plugins[attempt.plugin.0 as usize].info.as_ref().map(|i| i.backoff).unwrap_or_default();
        let Some(state) = self.state_mut(id) else { return };
        state.running = false;
        state.attempted = true;
        state.last_run = Some(now);
        state.impure = attempt.impure;
        state.deferred = report.deferred;
        state.waiting = None;
        if report.readiness.is_some() {
            state.readiness = report.readiness;
        }
        for key in report.unsure {
            if !state.unsure.contains(&key) {
                state.unsure.push(key);
            }
        }
        if !report.overruled.is_empty() {
            state.bucket.charge(now);
        }
        let ending = match (ending, report.dropped, report.failed) {
            (Ending::Success { .. } | Ending::Deletion, true, _) => Ending::Dropped,
            // A failure that could not be shown is no permanent one yet.
            (Ending::Success { .. } | Ending::Deletion | Ending::Failed(Failure::Permanent(_)), _, Some(text)) => {
                Ending::Failed(Failure::Retry(text))
            }
            (ending, ..) => ending,
        };
        // What ended drops all older delays; its result sets the one delay (rule C2).
        let mut delay = None;
        match ending {
            Ending::Success { requeue_after } => {
                delay = requeue_after;
                state.hold = Hold::None;
                state.failures = 0;
                if let Some(text) = report.refused {
                    state.phase = Phase::Error;
                    state.last_error = Some(text.into());
                    state.hold = Hold::Permanent;
                    state.last_own = Some(now);
                    if report.forbidden {
                        let again = self.rng.between(FORBIDDEN_AGAIN / 2, FORBIDDEN_AGAIN);
                        delay = Some(delay.map_or(again, |asked| asked.min(again)));
                    }
                } else if let Some(text) = report.waiting {
                    state.phase = Phase::Pending;
                    state.last_error = None;
                    state.waiting = Some(text.into());
                } else {
                    state.phase = Phase::Synced;
                    state.last_error = None;
                    state.memo = Some(Memo { version });
                }
            }
            Ending::Deletion => {
                state.hold = Hold::None;
                state.failures = 0;
                state.phase = Phase::Pending;
                state.waiting = Some(report.waiting.unwrap_or_else(|| "is being deleted".into()).into());
            }
            Ending::Unavailable(why) => {
                state.hold = Hold::None;
                state.phase = Phase::Pending;
                state.waiting = Some(why.into());
                if let Some(Readiness::Ready) = state.readiness {
                    state.readiness = None;
                }
            }
            Ending::Failed(failure) => {
                state.failures += 1;
                state.last_error = Some(match &report.refused {
                    // It could not be told where people look first.
                    Some(why) => format!("{}; {why}", failure.message()).into(),
                    None => failure.message().into(),
                });
                let failed = backoff.is_failed(state.failures);
                state.phase = if failed { Phase::Failed } else { Phase::Error };
                match failure {
                    Failure::Permanent(_) => state.hold = Hold::Permanent,
                    Failure::RetryAfter(_, after) => {
                        state.hold = Hold::Backoff { shortened: false };
                        delay = Some(after.max(backoff.first));
                    }
                    Failure::Retry(_) => {
                        state.hold = Hold::Backoff { shortened: false };
                        let failures = state.failures;
                        delay = Some(backoff.delay(failures, &mut self.rng));
                    }
                }
            }
            Ending::Told => state.phase = Phase::Pending,
            Ending::Dropped => {
                state.phase = Phase::Pending;
                // Whatever delay there was has passed: it ran.
                state.hold = Hold::None;
                let because = Cause::Changed.into();
                let touch = Touch { class: Class::Foreign, lane: Lane::User, because, debounce: false, read: true };
                self.set_due(id, None);
                self.touch(now, id, touch);
            }
        }
        if let Some(delay) = delay {
            self.set_due(id, Some(now + delay.max(1)));
        }
        let Some(state) = self.state_mut(id) else { return };
        let marks = std::mem::take(&mut state.marks);
        if !marks.is_empty() {
            state.memo = None;
        }
        for mark in marks {
            self.schedule(now, id, mark);
        }
        if self.resyncs.get(id).is_none() {
            self.set_resync(now, id);
        }
    }
}
