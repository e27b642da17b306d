//! From a change to a place in the queue: what it may shorten, and what it waits for (rules C1 to C4).

use super::Engine;
use super::history::Trace;
use super::state::{Class, Hold, Mark, Phase};
use crate::Time;
use crate::contract::Cause;
use crate::delay::DEBOUNCE;
use crate::key::KeyId;
use crate::queue::Lane;

/// Own changes let a permanent failure run at most once per this many milliseconds.
const PERMANENT_OWN: u64 = 10_000;

/// A reason to run a key.
pub(super) struct Touch {
    pub(super) class: Class,
    pub(super) lane: Lane,
    pub(super) because: Trace,
    /// Goes through the debounce.
    pub(super) debounce: bool,
    /// The last attempt had read what changed.
    pub(super) read: bool,
}

impl Engine {
    /// A key has a reason to run.
    pub(super) fn touch(&mut self, now: Time, id: KeyId, touch: Touch) {
        let Some(state) = self.state_mut(id) else { return };
        state.dirty = true;
        state.memo = None;
        state.add_cause(touch.because);
        match touch.class {
            Class::Own { fresh } => state.any_stale |= !fresh,
            Class::Foreign | Class::Hard => state.any_foreign = true,
        }
        let due = if touch.debounce { state.debounce.change(now) } else { now };
        let mark = Mark { class: touch.class, lane: touch.lane, due, debounce: touch.debounce, read: touch.read };
        if state.running {
            state.marks.push(mark);
            merge_marks(&mut state.marks);
        } else {
            self.schedule(now, id, mark);
        }
    }

    /// Decides when an idle key runs because of a mark.
    pub(super) fn schedule(&mut self, now: Time, id: KeyId, mark: Mark) {
        let current = self.timers.get(id);
        let Some(state) = self.state_mut(id) else { return };
        let mut debounce = mark.debounce;
        let due = match (state.hold, mark.class) {
            (_, Class::Hard) => {
                state.hold = Hold::None;
                state.failures = 0;
                mark.due
            }
            (Hold::None, _) => mark.due,
            (Hold::Backoff { .. }, Class::Own { .. }) | (Hold::Backoff { shortened: true }, Class::Foreign) => return,
            (Hold::Backoff { shortened: false }, Class::Foreign) => {
                state.hold = Hold::Backoff { shortened: true };
                debounce = false;
                let due = now + DEBOUNCE;
                current.map_or(due, |current| current.min(due))
            }
            (Hold::Permanent, Class::Foreign) => mark.due,
            (Hold::Permanent, Class::Own { .. }) if !mark.read => return,
            (Hold::Permanent, Class::Own { .. }) => {
                // A run that is planned already is not put off by the next change.
                let due = match state.last_own {
                    Some(last) if last > now => last,
                    last => last.map_or(mark.due, |last| mark.due.max(last + PERMANENT_OWN)),
                };
                state.last_own = Some(due);
                due
            }
        };
        state.lane = state.lane.min(mark.lane);
        self.run_at(now, id, due, debounce);
    }

    /// Runs an idle key at a time; an earlier time that is set already wins, but changes that wait for
    /// quiet wait for that of the last of them (rule C3).
    fn run_at(&mut self, now: Time, id: KeyId, due: Time, debounce: bool) {
        if self.queue.is_queued(id) || due <= now {
            self.set_due(id, None);
            self.enqueue(now, id);
            return;
        }
        let Some(state) = self.state_mut(id) else { return };
        if debounce {
            state.quiet_at = Some(due);
        } else {
            state.due = Some(state.due.map_or(due, |current| current.min(due)));
        }
        let first = [state.quiet_at, state.due].into_iter().flatten().min();
        self.timers.set(id, first);
    }

    /// Sets the one delay of a key; all others are dropped (rule C2).
    pub(super) fn set_due(&mut self, id: KeyId, due: Option<Time>) {
        if let Some(state) = self.state_mut(id) {
            state.quiet_at = None;
            state.due = due;
        }
        self.timers.set(id, due);
    }

    pub(super) fn enqueue(&mut self, now: Time, id: KeyId) {
        let Some(state) = self.state(id) else { return };
        let (plugin, lane) = (state.plugin, state.lane);
        let cluster = self.cluster_id(&self.cache.keys().key(id).cluster);
        self.queue.add(id, plugin, cluster, lane, now);
    }

    /// Moves what is due into the queue, and expands one step of fan-outs.
    pub(super) fn pump(&mut self, now: Time) {
        self.expand_fan_outs(now);
        self.end_passes(now);
        self.end_quarantines(now);
        self.look_for_stuck(now);
        self.look_for_stale(now);
        while let Some(id) = self.timers.due(now) {
            let Some(state) = self.state_mut(id) else { continue };
            if state.running {
                continue;
            }
            match state.hold {
                Hold::Backoff { .. } => {
                    state.add_cause(Cause::Retry);
                    state.any_foreign = true;
                    state.lane = state.lane.min(Lane::Retry);
                }
                Hold::None | Hold::Permanent if state.causes.is_empty() => {
                    state.add_cause(Cause::Requeue);
                    state.any_foreign = true;
                    state.lane = state.lane.min(Lane::Retry);
                }
                Hold::None | Hold::Permanent => {}
            }
            self.enqueue(now, id);
        }
        while let Some(id) = self.resyncs.due(now) {
            self.resync_due(now, id);
        }
    }

    fn resync_due(&mut self, now: Time, id: KeyId) {
        self.set_resync(now, id);
        let Some(state) = self.state_mut(id) else { return };
        let held = !matches!(state.hold, Hold::None);
        if held || state.running || state.dirty || state.phase == Phase::Pending {
            return;
        }
        state.add_cause(Cause::Resync);
        state.any_foreign = true;
        state.lane = state.lane.min(Lane::Resync);
        self.enqueue(now, id);
    }

    /// Sets the next resync of a key, spread by jitter.
    pub(super) fn set_resync(&mut self, now: Time, id: KeyId) {
        let Some(state) = self.state(id) else { return };
        let Some(info) = self.plugins.get(state.plugin.0 as usize).and_then(|p| p.info.as_ref()) else { return };
        let period = info.resync;
        if period == 0 {
            return;
        }
        let at = now + self.rng.between(period - period / 10, period + period / 10);
        self.resyncs.set(id, Some(at));
    }
}

/// Marks of a running key are folded: per class the earliest time, of those that wait for quiet the
/// last, and the highest lane.
fn merge_marks(marks: &mut Vec<Mark>) {
    let Some(last) = marks.pop() else { return };
    let same = |a: &Mark| {
        a.debounce == last.debounce && std::mem::discriminant(&a.class) == std::mem::discriminant(&last.class)
    };
    match marks.iter_mut().find(|mark| same(mark)) {
        Some(mark) => {
            mark.due = if last.debounce { last.due } else { mark.due.min(last.due) };
            mark.lane = mark.lane.min(last.lane);
            mark.read |= last.read;
        }
        None => marks.push(last),
    }
}
