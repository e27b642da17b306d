//! The first pass after a change of a plugin: what it would delete is counted before anything is, and
//! waits for a person if it is too much (rule B3). What a trial in the shadow has foreseen counts from
//! the beginning (rule D11). After the store was rebuilt the first pass deletes nothing at all (rule D10).

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Engine;
use super::attempt::Attempt;
use super::schedule::Touch;
use super::state::Class;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::Cause;
use crate::key::{Key, KeyId, Name, Source};
use crate::queue::{Lane, PluginId};

/// What a new version of a plugin answered to recent requests, without effects (rule D11).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trial {
    /// Children that it no longer returns: owner and child.
    pub deletions: Vec<(Key, Key)>,
}

/// Deletions that wait for a person (rule B3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The plugin that would delete.
    pub plugin: Name,
    /// The children, with their owners in front: those that outcomes no longer have, and, of owners whose
    /// turn has not come yet, those that a trial has foreseen.
    pub children: Vec<(Arc<Key>, Key)>,
}

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
    /// Keys whose attempt is to end yet.
    remaining: FxHashSet<KeyId>,
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
    fn rebuilt(&self) -> bool {
        self.start == Start::Rebuilt
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
        let mut pass = Pass {
            remaining,
            owners: FxHashMap::default(),
            foreseen: FxHashMap::default(),
            expected: 0,
            children: self.children_of(plugin),
            start,
            leaving: FxHashSet::default(),
            verdict: Verdict::Counting,
            cause,
        };
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

    pub(super) fn may_prune(&self, plugin: PluginId) -> bool {
        self.pass_of(plugin).is_none()
    }

    /// Whether nothing at all may be deleted at present (rule D10).
    pub(super) fn is_frozen(&self, plugin: PluginId) -> bool {
        self.pass_of(plugin).is_some_and(Pass::rebuilt)
    }

    fn pass_of(&self, plugin: PluginId) -> Option<&Pass> {
        self.plugins.get(plugin.0 as usize)?.pass.as_ref()
    }

    fn pass_mut(&mut self, plugin: PluginId) -> Option<&mut Pass> {
        self.plugins.get_mut(plugin.0 as usize)?.pass.as_mut()
    }

    /// A key comes while the objects are being seen for the first time: it is part of the first pass.
    pub(super) fn joins_pass(&mut self, id: KeyId, plugin: PluginId) {
        if let Some(pass) = self.pass_mut(plugin).filter(|pass| pass.joins() && pass.verdict != Verdict::Held) {
            pass.remaining.insert(id);
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

    /// An attempt of a key has ended: if it was one of the present version, its part of the first
    /// pass is over.
    pub(super) fn pass_attempted(&mut self, now: Time, attempt: &Attempt) {
        let (id, plugin) = (attempt.id, attempt.plugin);
        let current = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref());
        if current.is_none_or(|info| info.version() != attempt.version) {
            return;
        }
        let deferred = self.state(id).map_or(0, |state| state.deferred.len());
        if let Some(cause) = attempt.guarded.clone().filter(|_| deferred > 0 && self.may_prune(plugin)) {
            // The pass has ended meanwhile, and has told those whose attempts had ended by then.
            self.touch_guarded(now, id, cause);
        }
        if let Some(pass) = self.pass_mut(plugin) {
            pass.remaining.remove(&id);
            pass.expect(id, deferred);
        }
        self.pass_maybe_over(now, plugin);
    }

    /// A key will not be attempted in this pass.
    pub(super) fn pass_done(&mut self, id: KeyId, plugin: PluginId) {
        if let Some(pass) = self.pass_mut(plugin) {
            pass.remaining.remove(&id);
            pass.leaving.remove(&id);
            pass.expect(id, 0);
        }
    }

    /// Ends the first passes whose last key went without an attempt. Answers whether there were any.
    pub(super) fn end_passes(&mut self, now: Time) -> bool {
        let mut ended = false;
        for at in 0..self.plugins.len() {
            if self.plugins[at].pass.is_some() {
                self.pass_maybe_over(now, PluginId(at as u32));
                ended |= self.plugins[at].pass.is_none();
            }
        }
        ended
    }

    fn pass_maybe_over(&mut self, now: Time, plugin: PluginId) {
        let Some(pass) = self.pass_of(plugin) else { return };
        if pass.verdict == Verdict::Held {
            return;
        }
        let over = pass.remaining.is_empty() && (!pass.joins() || self.owned_sources_are_known(plugin));
        let verdict = if over {
            let deferred = |id: &KeyId| self.state(*id).map_or(0, |state| state.deferred.len());
            let deletions: usize = pass.owners.keys().map(deferred).sum();
            // What the new version has made meanwhile is no measure.
            let children = if pass.joins() { self.children_of(plugin) } else { pass.children };
            if !self.too_many(deletions, children) {
                return self.release_pass(now, plugin);
            }
            Verdict::Held
        } else if !pass.joins() && self.too_many(pass.expected, pass.children) {
            Verdict::TooMany
        } else {
            Verdict::Counting
        };
        if let Some(pass) = self.pass_mut(plugin) {
            pass.verdict = verdict;
        }
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
    /// known to be served.
    fn owned_sources_are_known(&self, plugin: PluginId) -> bool {
        let Some(info) = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref()) else { return false };
        info.description.kinds.iter().all(|owned| {
            let heard_of: Vec<SourceState> = self
                .clusters
                .iter()
                .map(|cluster| Source { cluster: cluster.clone(), kind: owned.kind.group_kind() })
                .filter(|source| self.cache.has_heard_of(source))
                .map(|source| self.cache.state(&source))
                .collect();
            !heard_of.is_empty() && heard_of.iter().all(|state| *state == SourceState::Synced)
        })
    }

    fn release_pass(&mut self, now: Time, plugin: PluginId) {
        let entry = &mut self.plugins[plugin.0 as usize];
        let Some(pass) = entry.pass.take() else { return };
        entry.passed_rebuilt |= pass.rebuilt();
        self.passes += 1;
        let leaving = pass.leaving.iter().filter(|id| !pass.owners.contains_key(*id)).copied();
        let ids: Vec<KeyId> = pass.owners.keys().copied().chain(leaving).collect();
        for id in ids {
            self.touch_guarded(now, id, pass.cause.clone());
        }
    }

    /// What an owner was kept from deleting may go.
    fn touch_guarded(&mut self, now: Time, id: KeyId, cause: Cause) {
        let because = cause.into();
        let touch = Touch { class: Class::Hard, lane: Lane::Dependency, because, debounce: false, read: true };
        self.touch(now, id, touch);
    }

    /// Why an attempt of a plugin may not delete children that its outcome no longer has, if that is so.
    pub(super) fn guard_of(&self, plugin: PluginId) -> Option<Cause> {
        Some(self.pass_of(plugin)?.cause.clone())
    }

    /// Deletions that wait for a person, or will unless what a trial has foreseen proves wrong.
    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for plugin in &self.plugins {
            let Some(pass) = plugin.pass.as_ref().filter(|pass| pass.verdict != Verdict::Counting) else { continue };
            let mut owners: Vec<KeyId> = pass.owners.keys().chain(pass.foreseen.keys()).copied().collect();
            owners.sort_unstable();
            let mut children = Vec::with_capacity(pass.expected);
            for id in owners {
                let owner = self.cache.keys().key(id);
                let deferred = match pass.foreseen.get(&id) {
                    Some(foreseen) => foreseen.as_slice(),
                    None => self.state(id).map(|state| state.deferred.as_slice()).unwrap_or_default(),
                };
                children.extend(deferred.iter().map(|child| (owner.clone(), child.clone())));
            }
            held.push(Held { plugin: plugin.name.clone(), children });
        }
        held
    }

    /// A person confirms the deletions of a plugin. Answers whether there were any.
    pub fn confirm(&mut self, now: Time, plugin: &str) -> bool {
        let waits = |pass: &Pass| pass.verdict != Verdict::Counting;
        let found = self.plugins.iter().position(|p| &*p.name == plugin && p.pass.as_ref().is_some_and(waits));
        if let Some(at) = found {
            self.release_pass(now, PluginId(at as u32));
        }
        found.is_some()
    }
}
