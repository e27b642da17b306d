//! Children that have been terminating for too long: told in the owner's status, without a call (rule B9).

use super::Engine;
use super::attempt::{Attempt, Stage};
use super::finish::Ending;
use super::plugins::PluginInfo;
use super::state::{Hold, Phase};
use crate::Time;
use crate::contract::Readiness;
use crate::deps::ReadSet;
use crate::effects::{CHILD_TERMINATING, ChildResult, Report, Work, terminating};
use crate::key::{Key, KeyId};
use crate::queue::Picked;

/// A child that has been terminating for so many milliseconds is stuck.
const STUCK_AFTER: u64 = 300_000;
/// A status that could not be written is written after so many milliseconds.
const AGAIN: u64 = 10_000;

/// A child that an owner waits for because it terminates.
#[derive(Debug)]
pub(super) struct Stuck {
    child: Key,
    since: Time,
    /// The owner's status says so.
    told: bool,
}

impl Engine {
    /// The child that an owner has waited for for too long, if there is one.
    pub(super) fn overdue(&self, now: Time, id: KeyId) -> Option<Key> {
        let stuck = self.state(id)?.stuck.as_ref()?;
        (now >= stuck.since + STUCK_AFTER).then(|| stuck.child.clone())
    }

    /// An attempt has ended: which child its owner waits for from now on, and since when.
    pub(super) fn note_stuck(&mut self, now: Time, attempt: &Attempt, ending: &Ending, report: &Report) {
        if !matches!(ending, Ending::Success { .. } | Ending::Deletion) {
            return;
        }
        let children = report.children.iter().flatten().filter_map(|child| match &child.result {
            ChildResult::Waiting(reason) if reason.code == CHILD_TERMINATING => child.key.as_ref(),
            _ => None,
        });
        let leaving = report.remaining.iter().filter(|_| report.waiting.is_some());
        let is_terminating = |key: &&Key| {
            let view = self.cache.keys().find(key).and_then(|id| self.cache.view(id));
            view.is_some_and(|object| object.terminating())
        };
        let waited: Vec<&Key> = children.chain(leaving).filter(is_terminating).collect();
        let Some(state) = self.state_mut(attempt.id) else { return };
        let known = state.stuck.take().filter(|stuck| waited.contains(&&stuck.child));
        state.stuck = match (known, waited.first()) {
            (Some(mut stuck), _) => {
                stuck.told |= attempt.overdue;
                Some(stuck)
            }
            (None, Some(child)) => Some(Box::new(Stuck { child: (*child).clone(), since: now, told: false })),
            (None, None) => None,
        };
        let due = state.stuck.as_ref().filter(|stuck| !stuck.told).map(|stuck| stuck.since + STUCK_AFTER);
        self.stuck.set(attempt.id, due);
    }

    /// Tells the owners whose children have been terminating for too long. One that runs, or will, tells it
    /// with its own status.
    pub(super) fn look_for_stuck(&mut self, now: Time) {
        while let Some(id) = self.stuck.due(now) {
            let Some(state) = self.state_mut(id) else { continue };
            if !state.running && !state.dirty && state.hold == Hold::None && state.phase == Phase::Pending {
                state.tell = true;
                self.enqueue(now, id);
            }
        }
    }

    /// An attempt that makes no call and only tells it; none if there is nothing to tell any more.
    pub(super) fn tell_stuck(&mut self, now: Time, picked: Picked, info: &PluginInfo) -> Option<Attempt> {
        let id = picked.key;
        let object = self.cache.view(id)?.clone();
        let child = &self.state(id)?.stuck.as_ref()?.child;
        let there = self.cache.view(self.cache.keys().find(child)?).filter(|object| object.terminating())?;
        let readiness = Readiness::Stalled(terminating(child, there));
        let state = self.state_mut(id)?;
        state.running = true;
        state.phase = Phase::Reconciling;
        state.new_reads = Some(ReadSet::default());
        let mut attempt = self.attempt_of(now, picked, info, object.clone(), Vec::new());
        let run = self.run_for(&attempt.key, object, Work::Failure { readiness });
        attempt.stage = Stage::Effects(Box::new(run), Ending::Told);
        Some(attempt)
    }

    /// Such an attempt has ended: all else is as it was.
    pub(super) fn told_stuck(&mut self, now: Time, id: KeyId, report: Report) {
        let Some(state) = self.state_mut(id) else { return };
        state.running = false;
        state.phase = Phase::Pending;
        state.new_reads = None;
        if report.readiness.is_some() {
            state.readiness = report.readiness;
        }
        for key in report.unsure {
            if !state.unsure.contains(&key) {
                state.unsure.push(key);
            }
        }
        if let Some(stuck) = &mut state.stuck {
            stuck.told = report.failed.is_none();
        }
        let marks = std::mem::take(&mut state.marks);
        if report.failed.is_some() {
            self.stuck.set(id, Some(now + AGAIN));
        }
        // What became due meanwhile was passed over because the key was running.
        let due = self.state(id).and_then(|state| [state.quiet_at, state.due].into_iter().flatten().min());
        if due.is_some() {
            self.timers.set(id, due);
        }
        for mark in marks {
            self.schedule(now, id, mark);
        }
    }
}
