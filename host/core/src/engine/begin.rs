//! From the queue to an attempt: which key is next, whether it has to be called at all, and what keeps it
//! from it (rules A6, B12, C4, C8, C9, D10).

use std::collections::VecDeque;
use std::sync::Arc;

use super::Engine;
use super::attempt::{Attempt, Slot, Stage};
use super::finish::Ending;
use super::history::Trace;
use super::plugins::PluginInfo;
use super::state::Phase;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::Cause;
use crate::deps::ReadSet;
use crate::effects::{FINALIZER, PAUSED, Work, finalizers_with};
use crate::key::KeyId;
use crate::object::Object;
use crate::op::{Op, Precondition};
use crate::queue::{Lane, Picked, PluginId};

/// What is said of an object that another installation reconciles.
const OWNED_ELSEWHERE: &str = "OwnedElsewhere";
/// So long after its last write such an object is left alone.
const LEFT_ALONE: Time = 600_000;

impl Engine {
    /// The next attempt to carry through; none if nothing may start now.
    pub fn next(&mut self, now: Time) -> Option<Attempt> {
        self.pump(now);
        while self.calls < self.options.workers && self.effects < self.options.effects_at_a_time {
            let Some(picked) = self.pick_probe().or_else(|| self.queue.pop()) else {
                // Keys that went without an attempt may have been the last of a first pass.
                if self.end_passes(now) {
                    continue;
                }
                return None;
            };
            match self.begin(now, picked) {
                Some(attempt) => {
                    self.calls += 1;
                    self.counts.attempts += 1;
                    return Some(attempt);
                }
                None => {
                    self.queue.done(picked.key);
                    if self.state(picked.key).is_none() {
                        self.forget_if_unused(picked.key);
                    }
                }
            }
        }
        None
    }

    /// Whether attempts of this key are held back by a person.
    pub(super) fn is_stopped(&self, id: KeyId) -> bool {
        let key = self.cache.keys().key(id);
        self.disabled.contains(&key.group_kind())
            || self.cache.view(id).is_some_and(|object| object.mark(PAUSED) == Some("true"))
    }

    /// Until when an object is left alone because another installation has written its status lately, and its manager
    /// (rule D9).
    fn left_alone_until(&self, now: Time, object: Option<&Object>) -> Option<(Time, Box<str>)> {
        let elsewhere = object?.elsewhere().filter(|_| !self.options.take_over)?;
        let until = (elsewhere.at + LEFT_ALONE).saturating_sub(self.options.epoch?);
        // By the server's clock, which may be ahead of this one.
        (until > now).then(|| (until.min(now + LEFT_ALONE), elsewhere.manager.clone()))
    }

    fn begin(&mut self, now: Time, picked: Picked) -> Option<Attempt> {
        let id = picked.key;
        let key = self.cache.keys().key(id).clone();
        let view = self.cache.view(id).cloned();
        let plugin = self.state(id)?.plugin;
        if self.is_stopped(id) || !self.acts_on(&key) {
            // Until it is enabled, resumed, or this host's to act on.
            self.put_aside(id);
            return None;
        }
        if let Some((until, manager)) = self.left_alone_until(now, view.as_deref()) {
            self.put_aside(id);
            self.set_due(id, Some(until));
            if let Some(state) = self.state_mut(id) {
                state.phase = Phase::Pending;
                state.waiting =
                    Some(format!("{OWNED_ELSEWHERE}: {manager}, another installation, reconciles it").into());
            }
            return None;
        }
        let info = self.plugins.get(plugin.0 as usize)?.info.clone()?;
        if let Some(source) = self.first_list_of(&info, &key) {
            self.wait_for_list(id, source);
            return None;
        }
        // It was gone once; whether it still is, or another host has made children for a successor, is not known (rule A4).
        let may_be_back = view.is_none() && self.cache.state_of(&key, false) != SourceState::Synced;
        if may_be_back || self.is_outdated(id) {
            self.wait_for_list(id, key.source());
            return None;
        }
        let version = info.version();
        let frozen = self.is_frozen(plugin);
        let finalizer = info.owns(&key.group_kind()).is_some_and(|kind| kind.finalizer);
        let state = self.state_mut(id)?;
        if std::mem::take(&mut state.tell) && state.causes.is_empty() {
            return self.tell_stuck(now, picked, &info);
        }
        if matches!(state.causes.as_slice(), [only] if only.cause == Cause::Resync) {
            let memo = state.memo.as_ref().is_some_and(|memo| memo.version == version);
            if memo && !state.impure && !info.resync_always && state.vanished.is_none() {
                state.causes.clear();
                state.any_foreign = false;
                self.counts.memo_hits += 1;
                return None;
            }
        }
        let all_own = !state.any_foreign;
        if all_own {
            let ready = state.bucket.ready_at(now);
            if ready > now {
                state.damped = true;
                self.counts.damped += 1;
                self.set_due(id, Some(ready));
                return None;
            }
            if state.any_stale {
                state.bucket.charge(now);
            }
        }
        state.damped = false;
        let (object, ghost) = match (&view, &state.vanished) {
            (Some(object), _) => (object.clone(), false),
            (None, Some(last)) => (last.clone(), true),
            (None, None) => {
                self.drop_state(id);
                return None;
            }
        };
        let ours = object.has_finalizer(FINALIZER);
        if !ghost && object.terminating() && !ours {
            // Somebody else's finalizers hold it; there is nothing for us to do.
            state.causes.clear();
            state.dirty = false;
            self.pass_done(id, plugin);
            return None;
        }
        if frozen && (ghost || object.terminating()) {
            // It stays dirty, with its causes, until the first pass is over (rule D10).
            self.leaves_later(id, plugin);
            return None;
        }
        let deleting = !ghost && object.terminating();
        let calls = !ghost && (!deleting || finalizer);
        // Without a call nothing is decided by what is read: deletions look for themselves.
        let mut before: VecDeque<Op> =
            if calls { state.unsure.drain(..).map(Op::Get).collect() } else { VecDeque::new() };
        if finalizer && !ours && !deleting && !ghost {
            before.push_back(Op::SetFinalizer {
                key: (*key).clone(),
                present: true,
                finalizers: finalizers_with(&object, true),
                precondition: Precondition::version_of(&object),
            });
        }
        state.running = true;
        state.phase = Phase::Reconciling;
        state.dirty = false;
        state.any_foreign = false;
        state.any_stale = false;
        state.marks.clear();
        state.debounce.ran();
        state.lane = Lane::Resync;
        state.new_reads = Some(ReadSet::default());
        state.unavailable = None;
        let because = std::mem::take(&mut state.causes);
        self.set_due(id, None);
        let mut attempt = self.attempt_of(now, picked, &info, object, because);
        attempt.deleting = deleting;
        attempt.stage = Stage::Before(before);
        if !calls {
            let work = if ghost { Work::CleanUp } else { Work::Finalize };
            let overdue = self.overdue(now, id);
            attempt.overdue = overdue.is_some();
            let run = self.run_for(&attempt.key, attempt.object.clone(), work).overdue(overdue);
            attempt.stage = Stage::Effects(Box::new(run), Ending::Deletion);
        }
        Some(attempt)
    }

    /// An attempt with nothing to do yet.
    pub(super) fn attempt_of(
        &mut self,
        now: Time,
        picked: Picked,
        info: &PluginInfo,
        object: Arc<Object>,
        because: Vec<Trace>,
    ) -> Attempt {
        self.attempts += 1;
        let number = self.attempts;
        let version = info.version();
        let key = self.cache.keys().key(picked.key).clone();
        let plugin = self.state(picked.key).map_or(PluginId(0), |state| state.plugin);
        let ticket = self.attempt_begins(plugin, &version.digest, number);
        Attempt {
            id: picked.key,
            key,
            number,
            plugin,
            plugin_name: info.name.clone(),
            version,
            lane: picked.lane,
            since: picked.since,
            started: now,
            causes: because.iter().map(|trace| trace.cause.clone()).collect(),
            because,
            object,
            deleting: false,
            last_op: None,
            trapped: false,
            impure: false,
            answered: false,
            slot: Slot::Call,
            ticket,
            called_at: None,
            call: None,
            reads: 0,
            written: Vec::new(),
            effects_from: self.counts.changes,
            syncs: self.syncs,
            pinned: Vec::new(),
            overdue: false,
            guarded: None,
            stage: Stage::Done,
        }
    }
}
