//! One attempt, from its beginning to its end: what has to be done before the call, the call, and its
//! effects. The driver performs the steps; the engine never has two attempts of one key at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Engine;
use super::finish::Ending;
use super::history::{Trace, WRITTEN, verb_of};
use super::quarantine::Ticket;
use super::state::Hold;
use crate::Time;
use crate::contract::{Cause, Failure, Outcome, Readiness, Reason, Request};
use crate::effects::{EffectRun, Places, Work, World};
use crate::key::{Key, KeyId, Name};
use crate::object::Object;
use crate::op::{Answer, Op};
use crate::queue::{Lane, PluginId};
use crate::sanitize::sanitize;

/// What a call came to.
#[derive(Clone, Debug)]
pub struct CallResult {
    /// The plugin's answer. A trap, a timeout or an invalid answer is a `Retry`.
    pub result: Result<Outcome, Failure>,
    /// The call ended without an answer: its reads are kept beside those before (rule A5).
    pub trapped: bool,
    /// It may answer differently next time (rule A7).
    pub impure: bool,
}

/// The next step of an attempt.
#[derive(Debug)]
pub enum Step {
    /// Perform this, then [`Engine::answered`].
    Perform(Op),
    /// Call the plugin, then [`Engine::called`].
    Call(Request),
    /// The attempt has ended.
    Done,
}

/// Which of the engine's limits an attempt counts against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Call,
    Effects,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Live reads and the finalizer, before the call.
    Before(VecDeque<Op>),
    Calling,
    Effects(Box<EffectRun>, Ending),
    Done,
}

/// An attempt. It is the driver's until it is done; dropping it earlier is what a crash does.
#[derive(Debug)]
pub struct Attempt {
    pub(super) id: KeyId,
    pub(super) key: Arc<Key>,
    pub(super) number: u64,
    pub(super) plugin: PluginId,
    pub(super) plugin_name: Name,
    pub(super) version: super::plugins::PluginVersion,
    pub(super) lane: Lane,
    pub(super) since: Time,
    pub(super) started: Time,
    pub(super) causes: Vec<Cause>,
    /// The same, with the changes behind them.
    pub(super) because: Vec<Trace>,
    pub(super) object: Arc<Object>,
    pub(super) deleting: bool,
    pub(super) last_op: Option<Op>,
    pub(super) trapped: bool,
    pub(super) impure: bool,
    /// The call was made and its result is here.
    pub(super) answered: bool,
    pub(super) slot: Slot,
    /// In which state of its component it began (rule C8).
    pub(super) ticket: Ticket,
    /// When the call was made, and how long it took.
    pub(super) called_at: Option<Time>,
    pub(super) call: Option<u64>,
    /// Entries of the read set that the call made.
    pub(super) reads: usize,
    /// The first writes, by verb and object.
    pub(super) written: Vec<(&'static str, Arc<Key>)>,
    /// The number of the last change before its effects began.
    pub(super) effects_from: u64,
    /// The sources that had become synced before it began.
    pub(super) syncs: u64,
    /// Ids that are kept until it ends.
    pub(super) pinned: Vec<KeyId>,
    /// Its effects tell that a child has been terminating for too long (rule B9).
    pub(super) overdue: bool,
    /// Its outcome was judged while the first pass of its plugin kept it from deleting, and the cause of that
    /// pass (rule B3).
    pub(super) guarded: Option<Cause>,
    pub(super) stage: Stage,
}

impl Attempt {
    /// The key.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Its interned id, for reads.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// A number that no other attempt of this engine has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Name of the plugin that is called.
    pub fn plugin(&self) -> &Name {
        &self.plugin_name
    }

    /// Digest of the plugin's version that is called.
    pub fn digest(&self) -> &Name {
        &self.version.digest
    }

    /// The lane it was taken from.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// How long it waited in the queue, in milliseconds.
    pub fn waited(&self) -> u64 {
        self.started.saturating_sub(self.since)
    }

    /// Why it runs.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
}

impl Engine {
    /// The effects of some work for an owner, as it is seen.
    pub(super) fn run_for(&self, key: &Key, object: Arc<Object>, work: Work) -> EffectRun {
        let known = Places {
            own: self.places.get(key).cloned().unwrap_or_default(),
            of_kind: self.places_of_kind(key),
            saved: !self.unsaved.contains(key),
        };
        EffectRun::new(key.clone(), object, self.identity(key), work, known)
    }

    /// What a run of effects sees. `wall` is the time in RFC 3339.
    pub(super) fn world<'a>(&'a self, wall: &'a str) -> World<'a> {
        World { cache: &self.cache, inventory: &self.inventory, settled: &self.settled, shapes: &*self.shapes, wall }
    }

    /// The next step of an attempt. `wall` is the time in RFC 3339, for transition times.
    pub fn step(&mut self, now: Time, wall: &str, attempt: &mut Attempt) -> Step {
        loop {
            match &mut attempt.stage {
                Stage::Before(ops) => match ops.pop_front() {
                    Some(op) => return self.perform(attempt, op),
                    None => match self.request(attempt) {
                        Some(request) => {
                            attempt.stage = Stage::Calling;
                            attempt.called_at = Some(now);
                            return Step::Call(request);
                        }
                        None => self.end(now, attempt, Ending::Dropped),
                    },
                },
                Stage::Calling => return Step::Done,
                Stage::Effects(run, _) => {
                    let op = run.step(&self.world(wall));
                    match op {
                        Some(op) => return self.perform(attempt, op),
                        None => {
                            let Stage::Effects(run, ending) = std::mem::replace(&mut attempt.stage, Stage::Done) else {
                                return Step::Done;
                            };
                            let places = run.places().to_vec();
                            self.finish(now, attempt, ending, Some((run.into_report(), places)));
                        }
                    }
                }
                Stage::Done => return Step::Done,
            }
        }
    }

    fn perform(&mut self, attempt: &mut Attempt, op: Op) -> Step {
        self.write_begins(&op);
        attempt.last_op = Some(op.clone());
        Step::Perform(op)
    }

    /// The answer to the operation that [`Engine::step`] gave last.
    pub fn answered(&mut self, now: Time, attempt: &mut Attempt, answer: Answer) {
        let Some(op) = attempt.last_op.take() else { return };
        self.write_ends(now, attempt, &op, &answer);
        if let (Some(key), Some(verb), Answer::Applied { .. } | Answer::Absent) = (op.writes(), verb_of(&op), &answer) {
            self.counts.writes += 1;
            if attempt.written.len() < WRITTEN {
                let keys = self.cache.keys();
                let key = keys.find(key).map_or_else(|| Arc::new(key.clone()), |id| keys.key(id).clone());
                attempt.written.push((verb, key));
            }
        }
        match &mut attempt.stage {
            Stage::Effects(run, _) => run.answered(&op, answer),
            Stage::Before(left) => match (&op, &answer) {
                (Op::SetFinalizer { .. }, Answer::Applied { .. }) | (Op::Get(_), Answer::Found(_) | Answer::Absent) => {
                }
                (Op::SetFinalizer { .. }, Answer::Refused(crate::op::Refusal::VersionConflict(_))) => {
                    // The object has moved on; the change that says so runs the key again.
                    if let Some(state) = self.state_mut(attempt.id) {
                        state.unsure.push((*attempt.key).clone());
                    }
                    self.end(now, attempt, Ending::Dropped);
                }
                (_, answer) => {
                    // What was not read live now is so before the next attempt (rule A10).
                    let left = std::mem::take(left);
                    self.still_unread(attempt.id, std::iter::once(op.clone()).chain(left));
                    let text = match answer {
                        Answer::Refused(refusal) => refusal.to_string(),
                        _ => "unexpected answer".to_owned(),
                    };
                    let text = format!("before the call: {} failed: {text}", op.verb());
                    self.end(now, attempt, Ending::Failed(Failure::Retry(sanitize(&text))));
                }
            },
            Stage::Calling | Stage::Done => {}
        }
    }

    /// What was not read live is so before the next attempt (rule A10).
    pub(super) fn still_unread(&mut self, id: KeyId, ops: impl IntoIterator<Item = Op>) {
        let unread = ops.into_iter().filter_map(|op| if let Op::Get(key) = op { Some(key) } else { None });
        if let Some(state) = self.state_mut(id) {
            state.unsure.extend(unread);
        }
    }

    fn end(&mut self, now: Time, attempt: &mut Attempt, ending: Ending) {
        attempt.stage = Stage::Done;
        self.finish(now, attempt, ending, None);
    }

    /// The request of a call, with the object as it is now; none if there is nothing to call for.
    fn request(&mut self, attempt: &mut Attempt) -> Option<Request> {
        let request = self.request_of(attempt.id, attempt.plugin, attempt.causes.clone())?;
        attempt.object = self.cache.view(attempt.id)?.clone();
        attempt.deleting = request.deleting;
        Some(request)
    }

    /// The request that a call for a key makes.
    pub(super) fn request_of(&self, id: KeyId, plugin: PluginId, causes: Vec<Cause>) -> Option<Request> {
        let object = self.cache.view(id)?;
        let info = self.plugins.get(plugin.0 as usize)?.info.as_ref()?;
        let state = self.state(id)?;
        Some(Request {
            key: self.cache.keys().key(id).clone(),
            object: object.json().clone(),
            deleting: object.terminating(),
            attempt: state.failures + 1,
            last_error: state.last_error.clone(),
            causes,
            config: info.config.clone(),
        })
    }

    /// The call has ended. Its effects follow, unless the object is no longer the one it was made
    /// for (rule B7).
    pub fn called(&mut self, now: Time, attempt: &mut Attempt, call: CallResult) {
        self.queue.free_slot(attempt.id);
        self.calls -= 1;
        self.effects += 1;
        attempt.slot = Slot::Effects;
        attempt.effects_from = self.counts.changes;
        attempt.answered = true;
        attempt.call = attempt.called_at.map(|at| now.saturating_sub(at));
        self.judge(now, attempt, &call);
        attempt.trapped = call.trapped;
        attempt.impure = call.impure;
        self.counts.calls += 1;
        let same = self
            .cache
            .view(attempt.id)
            .is_some_and(|object| object.uid() == attempt.object.uid() && (attempt.deleting || !object.terminating()));
        if !same || self.plugin_of(&attempt.key.source()) != Some(attempt.plugin) {
            return self.end(now, attempt, Ending::Dropped);
        }
        let unavailable = self.state(attempt.id).and_then(|state| state.unavailable.clone());
        let work = match call.result {
            Err(_) if unavailable.is_some() && !call.trapped => {
                let why = sanitize(&unavailable.unwrap_or_default());
                return self.end(now, attempt, Ending::Unavailable(why));
            }
            Err(failure) => return self.failed(now, attempt, failure),
            Ok(outcome) => self.work_of(attempt.id, attempt.plugin, attempt.deleting, outcome, unavailable.is_some()),
        };
        match work {
            Ok((work, requeue_after)) => {
                attempt.guarded = self.guard_of(attempt.plugin, attempt.id).filter(|_| unavailable.is_none());
                let overdue = self.overdue(now, attempt.id);
                attempt.overdue = overdue.is_some();
                let run = self.run_for(&attempt.key, attempt.object.clone(), work).overdue(overdue);
                for child in run.children() {
                    let id = self.cache.intern(child);
                    *self.pins.entry(id).or_default() += 1;
                    attempt.pinned.push(id);
                }
                attempt.stage = Stage::Effects(Box::new(run), Ending::Success { requeue_after });
            }
            Err(invalid) => {
                attempt.trapped = true;
                self.failed(now, attempt, Failure::Retry(invalid.to_string()));
            }
        }
    }

    /// What an outcome asks for, and when the next call is wanted. `unavailable`: a read had no answer.
    pub(super) fn work_of(
        &self,
        id: KeyId,
        plugin: PluginId,
        deleting: bool,
        outcome: Outcome,
        unavailable: bool,
    ) -> Result<(Work, Option<u64>), crate::effects::InvalidOutcome> {
        let Some(info) = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref()) else {
            return Err(crate::effects::InvalidOutcome("the plugin is gone".into()));
        };
        let (status, children) = crate::effects::validate(
            self.cache.keys().key(id),
            deleting,
            &outcome,
            &info.description,
            &info.grants,
            &*self.shapes,
        )?;
        let work = Work::Outcome {
            status,
            conditions: outcome.conditions,
            readiness: outcome.readiness,
            children,
            events: outcome.events,
            finalized: outcome.finalized && !unavailable,
            may_prune: !unavailable && self.may_prune(plugin, id),
        };
        Ok((work, outcome.requeue_after))
    }

    /// A call without an outcome: the status tells it, then the delay follows.
    fn failed(&mut self, now: Time, attempt: &mut Attempt, failure: Failure) {
        let text = sanitize(failure.message());
        let failure = match failure {
            Failure::Retry(_) => Failure::Retry(text.clone()),
            Failure::RetryAfter(_, after) => Failure::RetryAfter(text.clone(), after),
            Failure::Permanent(_) => Failure::Permanent(text.clone()),
        };
        let failures = self.state(attempt.id).map_or(0, |state| state.failures) + 1;
        let last = self
            .plugins
            .get(attempt.plugin.0 as usize)
            .and_then(|p| p.info.as_ref())
            .is_some_and(|info| info.backoff.is_failed(failures));
        let readiness = match &failure {
            Failure::Permanent(_) => Readiness::Stalled(Reason::new("PermanentFailure", text)),
            _ if last => Readiness::Stalled(Reason::new("ReconcileFailed", text)),
            _ => Readiness::Progressing(Reason::new("ReconcileFailed", text)),
        };
        if attempt.deleting && self.cache.view(attempt.id).is_none() {
            return self.end(now, attempt, Ending::Failed(failure));
        }
        let run = self.run_for(&attempt.key, attempt.object.clone(), Work::Failure { readiness });
        attempt.stage = Stage::Effects(Box::new(run), Ending::Failed(failure));
    }

    /// Whether a key's hold is a backoff, for tests and rows.
    pub(super) fn in_backoff(&self, id: KeyId) -> bool {
        self.state(id).is_some_and(|state| matches!(state.hold, Hold::Backoff { .. }))
    }
}
