//! The first pass after a change of a plugin: what it would delete is counted before anything is, and
//! waits for a person if it is too much (rule B3). What a trial in the shadow has foreseen counts from
//! the beginning (rule D11). After the store was rebuilt the first pass deletes nothing at all (rule D10).
//!
//! A key's part of it is over when an outcome has said which of its children shall go. One that cannot say so
//! for the time being is late: it holds up nobody, and what it deletes once it can counts with the rest.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Engine;
use super::attempt::Attempt;
use super::finish::Ending;
use super::schedule::Touch;
use super::state::{Class, Phase};
use crate::Time;
use crate::cache::SourceState;
use crate::contract::Cause;
use crate::effects::Report;
use crate::key::{Key, KeyId, Source};
use crate::queue::{Lane, PluginId};

mod held;

pub use held::{Held, NotHeld};

/// What a new version of a plugin answered to recent requests, without effects (rule D11).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trial {
    /// Children that it no longer returns: owner and child.
    pub deletions: Vec<(Key, Key)>,
}

/// What an attempt says of the children that shall go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// Which these are.
    Made,
    /// Nothing, and it is made again at once.
    Again,
    /// Nothing.
    None,
}

/// A key that is tried again within so many milliseconds is waited for: at a start much fails once.
const SOON: u64 = 60_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Not too many so far.
    Counting,
    /// Too many so far; judged anew with each attempt until the pass is over.
    TooMany,
    /// Too many, until a person confirms.
    Held,
}

/// What is known when a first pass begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// The objects: the host has run with another version.
    Known,
    /// Nothing: the host has just started, and another version ran before it stopped.
    Restored,
    /// Nothing, and the store was rebuilt (rule D10).
    Rebuilt,
}

#[derive(Debug)]
pub(super) struct Pass {
    /// Keys that everybody waits for.
    remaining: FxHashSet<KeyId>,
    /// Keys that cannot decide for the time being: they failed, wait or are held back by a person.
    late: FxHashSet<KeyId>,
    /// The same, as written down before the last stop, that were not seen since.
    awaited: FxHashSet<Key>,
    /// Only those that are late are guarded.
    over: bool,
    /// Children that were let go without a person.
    gone: usize,
    /// Owners with children that should go, and their number.
    owners: FxHashMap<KeyId, usize>,
    /// What a trial has foreseen of owners that are in `remaining`.
    foreseen: FxHashMap<KeyId, Vec<Key>>,
    /// Children in `owners` and `foreseen`.
    expected: usize,
    /// Children of the plugin when the pass began.
    children: usize,
    /// Unless all objects were known, those that come meanwhile belong to it.
    start: Start,
    /// Owners that are gone or terminating, and wait until anything may be deleted at all.
    leaving: FxHashSet<KeyId>,
    verdict: Verdict,
    cause: Cause,
}

impl Pass {
    fn new(start: Start, cause: Cause, remaining: FxHashSet<KeyId>, children: usize) -> Self {
        Self {
            remaining,
            late: FxHashSet::default(),
            awaited: FxHashSet::default(),
            over: false,
            gone: 0,
            owners: FxHashMap::default(),
            foreseen: FxHashMap::default(),
            expected: 0,
            children,
            start,
            leaving: FxHashSet::default(),
            verdict: Verdict::Counting,
            cause,
        }
    }

    fn rebuilt(&self) -> bool {
        self.start == Start::Rebuilt
    }

    /// Whether it keeps a key from deleting.
    fn guards(&self, id: KeyId) -> bool {
        !self.over || self.late.contains(&id) || self.owners.contains_key(&id)
    }

    /// The keys that a restart has to be as careful with, now or once a person has `confirmed`.
    pub(super) fn undecided(&self, confirmed: bool) -> impl Iterator<Item = KeyId> {
        let held = self.owners.keys().filter(move |_| !confirmed);
        self.late.iter().chain(held).copied()
    }

    pub(super) fn awaited(&self) -> &FxHashSet<Key> {
        &self.awaited
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn gone(&self) -> usize {
        self.gone
    }

    /// How many keys are to be looked at before a person can confirm.
    fn left(&self) -> usize {
        // The last one may just have gone.
        if self.verdict == Verdict::Held { 0 } else { self.remaining.len().max(1) }
    }

    fn joins(&self) -> bool {
        self.start != Start::Known
    }

    /// What is known of the deletions of an owner now, in place of what was foreseen.
    fn expect(&mut self, owner: KeyId, deletions: usize) {
        let foreseen = self.foreseen.remove(&owner).map_or(0, |children| children.len());
        self.expected -= foreseen + self.owners.remove(&owner).unwrap_or(0);
        if deletions > 0 {
            self.owners.insert(owner, deletions);
            self.expected += deletions;
        }
    }
}

impl Engine {
    /// Begins the first pass of a plugin over these keys.
    pub(super) fn begin_pass(
        &mut self,
        now: Time,
        plugin: PluginId,
        keys: FxHashSet<KeyId>,
        cause: Cause,
        trial: &Trial,
        start: Start,
    ) {
        let mut remaining = keys;
        let mut gone: Vec<KeyId> = Vec::new();
        if start == Start::Rebuilt {
            // Those that are gone and have left children have waited for this, too.
            let all = (0..self.states.len() as u32).map(KeyId);
            let its = all.filter(|id| self.state(*id).is_some_and(|state| state.plugin == plugin));
            gone.extend(its.filter(|id| !remaining.contains(id)));
            remaining.extend(&gone);
        }
        let (remaining, elsewhere): (FxHashSet<KeyId>, _) =
            remaining.into_iter().partition(|id| !self.is_elsewhere(*id));
        let mut pass = Pass::new(start, cause, remaining, self.children_of(plugin));
        pass.late = elsewhere;
        for (owner, child) in &trial.deletions {
            let keys = self.cache.keys();
            let (Some(id), Some(child_id)) = (keys.find(owner), keys.find(child)) else { continue };
            // The world may have moved on since the requests that the trial answered.
            let still_its = self.inventory.of(self.identity(owner).mark()).any(|its| its == child_id);
            if pass.remaining.contains(&id) && still_its {
                pass.foreseen.entry(id).or_default().push(child.clone());
                pass.expected += 1;
            }
        }
        self.plugins[plugin.0 as usize].pass = Some(pass);
        // Until it is over, a restart has to begin as carefully.
        self.passes += 1;
        for id in gone {
            let because = Cause::Deleted.into();
            self.touch(now, id, Touch { class: Class::Hard, lane: Lane::User, because, debounce: false, read: true });
        }
        self.pass_maybe_over(now, plugin);
    }

    /// More objects are to come that are part of the first pass. One that is under way goes on with them, as does
    /// one that is over but for some keys. False: there is none.
    pub(super) fn extend_pass(&mut self, plugin: PluginId) -> bool {
        let Some(pass) = self.pass_mut(plugin) else { return false };
        if pass.start == Start::Known {
            pass.start = Start::Restored;
        }
        pass.over = false;
        self.passes += 1;
        true
    }

    /// Goes on with a pass that was over before the last stop but for these keys. `gone`: see [`Pass::gone`].
    pub(super) fn resume_pass(&mut self, plugin: PluginId, cause: Cause, undecided: Vec<Key>, gone: usize) {
        let mut pass = Pass::new(Start::Restored, cause, FxHashSet::default(), 0);
        (pass.over, pass.gone) = (true, gone);
        for key in undecided {
            let id = self.cache.keys().find(&key);
            match id.filter(|id| self.state(*id).is_some_and(|state| state.plugin == plugin)) {
                Some(id) => drop(pass.late.insert(id)),
                None => drop(pass.awaited.insert(key)),
            }
        }
        self.plugins[plugin.0 as usize].pass = Some(pass);
        self.passes += 1;
    }

    pub(super) fn may_prune(&self, plugin: PluginId, id: KeyId) -> bool {
        self.pass_of(plugin).is_none_or(|pass| !pass.guards(id))
    }

    /// Whether nothing at all may be deleted at present (rule D10).
    pub(super) fn is_frozen(&self, plugin: PluginId) -> bool {
        self.pass_of(plugin).is_some_and(|pass| pass.rebuilt() && !pass.over)
    }

    /// Nothing at all is deleted before the pass of a plugin is over: what it reads in a cluster was rebuilt.
    pub(super) fn freeze(&mut self, plugin: PluginId) {
        if let Some(pass) = self.pass_mut(plugin) {
            pass.start = Start::Rebuilt;
        }
    }

    fn pass_of(&self, plugin: PluginId) -> Option<&Pass> {
        self.plugins.get(plugin.0 as usize)?.pass.as_ref()
    }

    fn pass_mut(&mut self, plugin: PluginId) -> Option<&mut Pass> {
        self.plugins.get_mut(plugin.0 as usize)?.pass.as_mut()
    }

    /// A key comes while the objects are being seen for the first time: it is part of the first pass.
    pub(super) fn joins_pass(&mut self, id: KeyId, plugin: PluginId) {
        let key = self.cache.keys().key(id).clone();
        let elsewhere = self.is_elsewhere(id);
        let Some(pass) = self.pass_mut(plugin) else { return };
        if pass.over {
            if pass.awaited.remove(&*key) {
                pass.late.insert(id);
            }
        } else if pass.joins() {
            // What waits for a person is what the person is shown.
            let late = elsewhere || pass.verdict == Verdict::Held;
            let keys = if late { &mut pass.late } else { &mut pass.remaining };
            keys.insert(id);
        }
    }

    /// An owner that is gone or terminating: its children wait with it until the pass is over.
    pub(super) fn leaves_later(&mut self, id: KeyId, plugin: PluginId) {
        let identity = self.identity(self.cache.keys().key(id));
        let keys = self.cache.keys();
        let children: Vec<Key> = self.inventory.of(identity.mark()).map(|child| (**keys.key(child)).clone()).collect();
        let count = children.len();
        if let Some(state) = self.state_mut(id) {
            state.deferred = children;
            state.waiting = Some("nothing is deleted before all objects were looked at: the store was rebuilt".into());
        }
        if let Some(pass) = self.pass_mut(plugin) {
            pass.remaining.remove(&id);
            pass.expect(id, count);
            pass.leaving.insert(id);
        }
    }

    /// What an attempt of the present version says of the children that shall go.
    pub(super) fn decision_of(&self, attempt: &Attempt, ending: &Ending, report: &Report) -> Decision {
        match ending {
            _ if report.dropped => Decision::Again,
            Ending::Dropped => Decision::Again,
            Ending::Deletion => Decision::Made,
            Ending::Success { .. } if report.judged && attempt.guarded.is_some() => Decision::Made,
            _ => Decision::None,
        }
    }

    /// What was decided of a key stays so while nothing else is.
    pub(super) fn keeps_decision(&self, id: KeyId, plugin: PluginId, decision: Decision) -> bool {
        decision != Decision::Made && self.pass_of(plugin).is_some_and(|pass| pass.owners.contains_key(&id))
    }

    /// An attempt of a key has ended: if it was one of the present version and has decided, its part of the
    /// first pass is over.
    pub(super) fn pass_attempted(&mut self, now: Time, attempt: &Attempt, decision: Decision) {
        let (id, plugin) = (attempt.id, attempt.plugin);
        let current = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref());
        if current.is_none_or(|info| info.version() != attempt.version) {
            return;
        }
        match decision {
            Decision::Made => self.pass_decided(now, attempt),
            Decision::Again => {}
            Decision::None if self.is_tried_soon(now, id) => {}
            Decision::None => self.pass_late(id, plugin),
        }
        self.pass_maybe_over(now, plugin);
    }

    fn pass_decided(&mut self, now: Time, attempt: &Attempt) {
        let (id, plugin) = (attempt.id, attempt.plugin);
        let deferred = self.state(id).map_or(0, |state| state.deferred.len());
        if self.may_prune(plugin, id) {
            // The pass has ended meanwhile, and has told those whose attempts had ended by then.
            if let Some(cause) = attempt.guarded.clone().filter(|_| deferred > 0) {
                self.touch_guarded(now, id, cause);
            }
            return;
        }
        let Some(pass) = self.pass_mut(plugin) else { return };
        pass.remaining.remove(&id);
        pass.expect(id, deferred);
        let noted = pass.late.remove(&id) && pass.over;
        self.passes += u64::from(noted);
    }

    /// Whether a failure is made good soon, if it is.
    fn is_tried_soon(&self, now: Time, id: KeyId) -> bool {
        self.state(id).is_some_and(|state| state.phase == Phase::Error)
            && self.in_backoff(id)
            && self.timers.get(id).is_some_and(|due| due <= now + SOON)
    }

    /// A key cannot decide for the time being: the others do not wait for it.
    pub(super) fn pass_late(&mut self, id: KeyId, plugin: PluginId) {
        if let Some(pass) = self.pass_mut(plugin).filter(|pass| pass.remaining.contains(&id)) {
            pass.remaining.remove(&id);
            // What was foreseen of it is counted when it decides.
            pass.expect(id, 0);
            pass.late.insert(id);
        }
    }

    /// A key deletes nothing more in this pass.
    pub(super) fn pass_done(&mut self, id: KeyId, plugin: PluginId) {
        if let Some(pass) = self.pass_mut(plugin) {
            pass.remaining.remove(&id);
            pass.leaving.remove(&id);
            let noted = (pass.late.remove(&id) | pass.owners.contains_key(&id)) && pass.over;
            pass.expect(id, 0);
            self.passes += u64::from(noted);
        }
    }

    /// Ends the first passes whose last key went without an attempt. Answers whether there were any.
    pub(super) fn end_passes(&mut self, now: Time) -> bool {
        let before = self.passes;
        for at in 0..self.plugins.len() {
            self.pass_maybe_over(now, PluginId(at as u32));
        }
        self.passes != before
    }

    fn pass_maybe_over(&mut self, now: Time, plugin: PluginId) {
        let Some(pass) = self.pass_of(plugin) else { return };
        if pass.verdict == Verdict::Held {
            if pass.expected == 0 {
                // All that was held is wanted again.
                self.let_go(now, plugin, false);
            }
            return;
        }
        if !pass.over && !self.is_counted(plugin, pass) {
            let too_many = !pass.joins() && self.too_many(pass.expected, pass.children);
            if let Some(pass) = self.pass_mut(plugin) {
                pass.verdict = if too_many { Verdict::TooMany } else { Verdict::Counting };
            }
        } else if pass.expected > 0 && self.too_many(pass.gone + pass.expected, self.measure(plugin, pass)) {
            if let Some(pass) = self.pass_mut(plugin) {
                pass.verdict = Verdict::Held;
            }
        } else if !pass.over || pass.expected > 0 {
            self.let_go(now, plugin, false);
        } else if pass.late.is_empty() && self.is_counted(plugin, pass) {
            // What is awaited and did not come is gone.
            self.plugins[plugin.0 as usize].pass = None;
            self.passes += 1;
        }
    }

    /// Whether there is no key left that everybody waits for.
    fn is_counted(&self, plugin: PluginId, pass: &Pass) -> bool {
        pass.remaining.is_empty() && (!pass.joins() || self.owned_sources_are_known(plugin))
    }

    /// The children that deletions are measured against. What the new version has made meanwhile is no
    /// measure, where it can be told apart.
    fn measure(&self, plugin: PluginId, pass: &Pass) -> usize {
        if pass.joins() { self.children_of(plugin) + pass.gone } else { pass.children }
    }

    /// Whether so many deletions of so many children are for a person to decide.
    fn too_many(&self, deletions: usize, children: usize) -> bool {
        deletions > self.options.hold_above
            && deletions * 100 > self.options.hold_percent * children
            && self.options.hold_percent < 100
    }

    fn children_of(&self, plugin: PluginId) -> usize {
        (0..self.states.len() as u32)
            .map(KeyId)
            .filter(|id| self.state(*id).is_some_and(|state| state.plugin == plugin))
            .map(|id| self.inventory.of(self.identity(self.cache.keys().key(id)).mark()).count())
            .sum()
    }

    /// Whether all objects of the plugin's kinds are known: of each kind somewhere, and wherever it is
    /// known to be served. A cluster of a fleet that cannot say is not waited for: there may always be one.
    fn owned_sources_are_known(&self, plugin: PluginId) -> bool {
        let Some(info) = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref()) else { return false };
        info.description.kinds.iter().all(|owned| {
            let state = |source: Source| {
                let required = self.is_required(&source.cluster);
                match self.cache.has_heard_of(&source) {
                    true => Some((required, self.cache.state(&source))),
                    // What is wanted of it has not been told to it yet.
                    false => required.then_some((true, SourceState::Syncing)),
                }
            };
            let heard_of: Vec<(bool, SourceState)> = self
                .clusters
                .keys()
                .map(|cluster| Source { cluster: cluster.clone(), kind: owned.kind.group_kind() })
                .filter(|source| self.kinds.get(source) == Some(&plugin))
                .filter_map(state)
                .collect();
            let known = |(required, state): &(bool, SourceState)| match state {
                SourceState::Synced => true,
                SourceState::Syncing => false,
                SourceState::Unknown(_) => !required,
            };
            heard_of.iter().any(|(_, state)| *state == SourceState::Synced) && heard_of.iter().all(known)
        })
    }

    /// What was decided may go; those that are late stay guarded. What a person has confirmed is counted no more.
    fn let_go(&mut self, now: Time, plugin: PluginId, confirmed: bool) {
        let entry = &mut self.plugins[plugin.0 as usize];
        let Some(mut pass) = entry.pass.take() else { return };
        entry.passed_rebuilt |= pass.rebuilt();
        self.passes += 1;
        let deletions = pass.expected;
        if confirmed {
            pass.gone = 0;
            pass.children = pass.children.saturating_sub(deletions);
        } else {
            pass.gone += deletions;
        }
        let cause = pass.cause.clone();
        let mut ids: FxHashSet<KeyId> = pass.owners.drain().map(|(id, _)| id).collect();
        ids.extend(pass.leaving.drain());
        (pass.over, pass.verdict, pass.expected) = (true, Verdict::Counting, 0);
        pass.foreseen.clear();
        if !pass.late.is_empty() || !pass.awaited.is_empty() {
            entry.pass = Some(pass);
        }
        let mut ids: Vec<KeyId> = ids.into_iter().collect();
        ids.sort_unstable();
        for id in ids {
            self.touch_guarded(now, id, cause.clone());
        }
    }

    /// What an owner was kept from deleting may go.
    fn touch_guarded(&mut self, now: Time, id: KeyId, cause: Cause) {
        let because = cause.into();
        let touch = Touch { class: Class::Hard, lane: Lane::Dependency, because, debounce: false, read: true };
        self.touch(now, id, touch);
    }

    /// Why an attempt of a key may not delete children that its outcome no longer has, if that is so.
    pub(super) fn guard_of(&self, plugin: PluginId, id: KeyId) -> Option<Cause> {
        Some(self.pass_of(plugin).filter(|pass| pass.guards(id))?.cause.clone())
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
