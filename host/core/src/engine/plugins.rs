//! Plugins that start, are swapped and stop (rules A6, D11), and the guard against mass deletion
//! after such a change (rule B3).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Engine;
use super::schedule::Touch;
use super::state::Class;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::{Cause, Description, OwnedKind};
use crate::delay::Backoff;
use crate::grants::Grants;
use crate::key::{GroupKind, Key, KeyId, Name, Source};
use crate::mask::{Mask, Path, PathError};
use crate::queue::{Lane, PluginId};

/// One version of a plugin with its configuration and grants: what a memo depends on (rule A6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginVersion {
    /// Digest of the component.
    pub digest: Name,
    pub(super) config: u64,
    pub(super) grants: u64,
}

/// What the engine has to know of a plugin. Times in milliseconds.
#[derive(Debug)]
pub struct PluginInfo {
    /// The identity across versions.
    pub name: Name,
    /// Digest of the component.
    pub digest: Name,
    /// What it said of itself.
    pub description: Arc<Description>,
    /// The operator's configuration as JSON.
    pub config: Arc<str>,
    /// What it was granted.
    pub grants: Grants,
    /// Its backoff.
    pub backoff: Backoff,
    /// Its resync period; 0 for none.
    pub resync: u64,
    /// Call at each resync even if nothing changed.
    pub resync_always: bool,
    /// Calls of it at a time.
    pub concurrency: u32,
    masks: FxHashMap<GroupKind, Mask>,
    indexes: FxHashMap<(GroupKind, String), Path>,
}

/// Calls of one plugin at a time.
const CONCURRENCY: u32 = 4;
/// Resync period: 10 min.
const RESYNC: u64 = 600_000;

impl PluginInfo {
    /// A plugin with the defaults of its own tuning, else the host's.
    ///
    /// # Errors
    /// A field mask or an index path that does not parse.
    pub fn new(
        digest: &str,
        description: Arc<Description>,
        config: Arc<str>,
        grants: Grants,
    ) -> Result<Self, PathError> {
        let tuning = &description.tuning;
        let usual = Backoff::default();
        let mut masks = FxHashMap::default();
        let mut indexes = FxHashMap::default();
        for read in &description.reads {
            masks.insert(read.kind.group_kind(), Mask::parse(&read.fields)?);
            for (name, path) in &read.indexes {
                indexes.insert((read.kind.group_kind(), name.clone()), Path::parse(path)?);
            }
        }
        Ok(Self {
            name: description.name.clone(),
            digest: digest.into(),
            config,
            grants,
            backoff: Backoff {
                first: tuning.first_backoff.unwrap_or(usual.first).max(1),
                longest: tuning.longest_backoff.unwrap_or(usual.longest).max(1),
                fast_retries: usual.fast_retries,
            },
            resync: tuning.resync.unwrap_or(RESYNC),
            resync_always: tuning.resync_always,
            concurrency: tuning.concurrency.unwrap_or(CONCURRENCY).max(1),
            masks,
            indexes,
            description,
        })
    }

    /// What a memo of this version depends on.
    pub fn version(&self) -> PluginVersion {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        PluginVersion {
            digest: self.digest.clone(),
            config: hash(&|h| self.config.hash(h)),
            grants: hash(&|h| self.grants.hash(h)),
        }
    }

    /// How it owns a kind, if it does.
    pub fn owns(&self, kind: &GroupKind) -> Option<&OwnedKind> {
        self.description.kinds.iter().find(|owned| owned.kind.group_kind() == *kind)
    }

    pub(super) fn mask(&self, kind: &GroupKind) -> &Mask {
        static ALL: std::sync::LazyLock<Mask> = std::sync::LazyLock::new(Mask::all);
        self.masks.get(kind).unwrap_or(&ALL)
    }

    pub(super) fn index(&self, kind: &GroupKind, name: &str) -> Option<&Path> {
        self.indexes.get(&(kind.clone(), name.to_owned()))
    }
}

/// The first pass after a change of a plugin: deletions are counted before any is made.
#[derive(Debug)]
struct Pass {
    remaining: FxHashSet<KeyId>,
    owners: FxHashSet<KeyId>,
    held: bool,
    cause: Cause,
}

#[derive(Debug)]
pub(super) struct PluginState {
    pub(super) name: Name,
    /// None while no version of it is loaded.
    pub(super) info: Option<Arc<PluginInfo>>,
    /// The version that was loaded last, be it gone by now.
    last: Option<PluginVersion>,
    /// It was taken away before its first pass was over.
    interrupted: bool,
    pass: Option<Pass>,
}

/// Deletions that wait for a person (rule B3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The plugin that would delete.
    pub plugin: Name,
    /// The children, with their owners.
    pub children: Vec<(Arc<Key>, Key)>,
}

impl Engine {
    /// A plugin starts, or another version, configuration or grants of it take over. Calls that
    /// run finish on the old version; its objects are requeued.
    pub fn plugin_started(&mut self, now: Time, info: PluginInfo) {
        let info = Arc::new(info);
        let id = match self.plugins.iter().position(|plugin| plugin.name == info.name) {
            Some(at) => PluginId(at as u32),
            None => {
                self.plugins.push(PluginState {
                    name: info.name.clone(),
                    info: None,
                    last: None,
                    interrupted: false,
                    pass: None,
                });
                PluginId(self.plugins.len() as u32 - 1)
            }
        };
        self.queue.limit_plugin(id, Some(info.concurrency));
        let before = self.plugins[id.0 as usize].info.replace(info.clone());
        if before.as_ref().is_some_and(|before| before.version() == info.version()) {
            return;
        }
        // A version that comes after a removal is an upgrade as well (rule B3).
        let last = self.plugins[id.0 as usize].last.replace(info.version());
        let cause = match &last {
            Some(last) if last.digest == info.digest => Cause::Configured,
            Some(_) => Cause::Upgraded,
            None => Cause::Created,
        };
        let mut sources = FxHashSet::default();
        for owned in &info.description.kinds {
            for cluster in &self.clusters {
                sources.insert(Source { cluster: cluster.clone(), kind: owned.kind.group_kind() });
            }
        }
        let lost: Vec<Source> =
            self.kinds.iter().filter(|(s, p)| **p == id && !sources.contains(s)).map(|(s, _)| s.clone()).collect();
        for source in lost {
            self.stop_kind(&source);
        }
        let mut pass = FxHashSet::default();
        for source in sources {
            if self.kinds.insert(source.clone(), id).is_some_and(|other| other != id) {
                self.drop_states_of(&source);
            }
            for key in self.cache.list(&source).map(|(id, _)| id).collect::<Vec<_>>() {
                let known = self.state(key).is_some();
                if !known {
                    self.new_state(now, key, id);
                }
                let (lane, cause) = if known { (Lane::Resync, cause.clone()) } else { (Lane::First, Cause::Created) };
                self.touch(now, key, Touch { class: Class::Hard, lane, cause, debounce: false, read: true });
                pass.insert(key);
            }
            if self.cache.state(&source) == SourceState::Synced {
                // Owners that went while nobody reconciled their kind.
                self.clean_up_orphans(now, &source);
            }
        }
        let interrupted = std::mem::take(&mut self.plugins[id.0 as usize].interrupted);
        if interrupted || last.is_some_and(|last| last != info.version()) {
            self.plugins[id.0 as usize].pass =
                Some(Pass { remaining: pass, owners: FxHashSet::default(), held: false, cause });
            self.pass_maybe_over(now, id);
        }
    }

    /// A plugin is taken away: its kinds stop. Nothing that it made is deleted.
    pub fn plugin_stopped(&mut self, name: &str) {
        let Some(at) = self.plugins.iter().position(|plugin| &*plugin.name == name) else { return };
        let id = PluginId(at as u32);
        let sources: Vec<Source> = self.kinds.iter().filter(|(_, p)| **p == id).map(|(s, _)| s.clone()).collect();
        for source in sources {
            self.stop_kind(&source);
        }
        self.plugins[at].info = None;
        self.plugins[at].interrupted |= self.plugins[at].pass.take().is_some();
    }

    fn stop_kind(&mut self, source: &Source) {
        self.kinds.remove(source);
        self.drop_states_of(source);
    }

    /// Forgets the keys of a kind; running ones are forgotten when their attempts end.
    fn drop_states_of(&mut self, source: &Source) {
        let ids: Vec<KeyId> = (0..self.states.len() as u32)
            .map(KeyId)
            .filter(|id| self.state(*id).is_some() && self.cache.keys().key(*id).source() == *source)
            .collect();
        for id in ids {
            if !self.state(id).is_some_and(|state| state.running) {
                self.drop_state(id);
            }
        }
    }

    /// The plugin that reconciles a kind.
    pub fn plugin_for(&self, source: &Source) -> Option<&Arc<PluginInfo>> {
        self.plugins.get(self.plugin_of(source)?.0 as usize)?.info.as_ref()
    }

    /// The loaded plugins.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<PluginInfo>> {
        self.plugins.iter().filter_map(|plugin| plugin.info.as_ref())
    }

    pub(super) fn may_prune(&self, plugin: PluginId) -> bool {
        self.plugins.get(plugin.0 as usize).is_some_and(|plugin| plugin.pass.is_none())
    }

    /// An attempt of a key has ended: if it was one of the present version, its part of the first
    /// pass is over.
    pub(super) fn pass_attempted(&mut self, now: Time, id: KeyId, plugin: PluginId, version: &PluginVersion) {
        let current = self.plugins.get(plugin.0 as usize).and_then(|p| p.info.as_ref());
        if current.is_none_or(|info| info.version() != *version) {
            return;
        }
        let deferred = self.state(id).is_some_and(|state| !state.deferred.is_empty());
        if let Some(pass) = self.plugins.get_mut(plugin.0 as usize).and_then(|p| p.pass.as_mut()) {
            pass.remaining.remove(&id);
            if deferred {
                pass.owners.insert(id);
            } else {
                pass.owners.remove(&id);
            }
        }
        self.pass_maybe_over(now, plugin);
    }

    /// A key will not be attempted in this pass.
    pub(super) fn pass_done(&mut self, id: KeyId, plugin: PluginId) {
        if let Some(pass) = self.plugins.get_mut(plugin.0 as usize).and_then(|p| p.pass.as_mut()) {
            pass.remaining.remove(&id);
            pass.owners.remove(&id);
        }
    }

    /// Ends the first passes whose last key went without an attempt.
    pub(super) fn end_passes(&mut self, now: Time) {
        for at in 0..self.plugins.len() {
            if self.plugins[at].pass.is_some() {
                self.pass_maybe_over(now, PluginId(at as u32));
            }
        }
    }

    fn pass_maybe_over(&mut self, now: Time, plugin: PluginId) {
        let Some(pass) = self.plugins.get(plugin.0 as usize).and_then(|p| p.pass.as_ref()) else { return };
        if !pass.remaining.is_empty() || pass.held {
            return;
        }
        let owners: Vec<KeyId> = pass.owners.iter().copied().collect();
        let deletions: usize = owners.iter().filter_map(|id| self.state(*id)).map(|state| state.deferred.len()).sum();
        let all: usize = (0..self.states.len() as u32)
            .map(KeyId)
            .filter(|id| self.state(*id).is_some_and(|state| state.plugin == plugin))
            .map(|id| self.inventory.of(self.identity(self.cache.keys().key(id)).mark()).count())
            .sum();
        let too_many = deletions > self.options.hold_above
            && deletions * 100 > self.options.hold_percent * all
            && self.options.hold_percent < 100;
        if too_many {
            if let Some(pass) = &mut self.plugins[plugin.0 as usize].pass {
                pass.held = true;
            }
            return;
        }
        self.release_pass(now, plugin);
    }

    fn release_pass(&mut self, now: Time, plugin: PluginId) {
        let Some(pass) = self.plugins[plugin.0 as usize].pass.take() else { return };
        for id in pass.owners {
            let cause = pass.cause.clone();
            let touch = Touch { class: Class::Hard, lane: Lane::Dependency, cause, debounce: false, read: true };
            self.touch(now, id, touch);
        }
    }

    /// Deletions that wait for a person.
    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for plugin in &self.plugins {
            let Some(pass) = plugin.pass.as_ref().filter(|pass| pass.held) else { continue };
            let mut owners: Vec<KeyId> = pass.owners.iter().copied().collect();
            owners.sort_unstable();
            let children = owners
                .into_iter()
                .filter_map(|id| Some((self.cache.keys().key(id).clone(), self.state(id)?)))
                .flat_map(|(owner, state)| state.deferred.iter().map(move |child| (owner.clone(), child.clone())))
                .collect();
            held.push(Held { plugin: plugin.name.clone(), children });
        }
        held
    }

    /// A person confirms the deletions of a plugin. Answers whether there were any.
    pub fn confirm(&mut self, now: Time, plugin: &str) -> bool {
        let found = self.plugins.iter().position(|p| &*p.name == plugin && p.pass.as_ref().is_some_and(|p| p.held));
        if let Some(at) = found {
            self.release_pass(now, PluginId(at as u32));
        }
        found.is_some()
    }
}
