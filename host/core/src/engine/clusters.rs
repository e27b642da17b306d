//! Which clusters take part: one comes, goes, and comes back (rules A4, B13).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::Engine;
use super::pass::{Start, Trial};
use super::plugins::{PluginInfo, PluginVersion};
use super::reflect::Told;
use super::schedule::Touch;
use super::state::Class;
use super::wants::within;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::Cause;
use crate::coverage::Scope;
use crate::effects::Identity;
use crate::grants::Grants;
use crate::key::{GroupKind, Key, KeyId, Name, Source};
use crate::queue::{ClusterId, Lane, PluginId};
use crate::shards::Division;

/// What a cluster is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterFacts {
    /// What owner marks and field managers are made of: never a display name.
    pub identity: String,
    /// Only these namespaces are looked at: what is in others is not reconciled, nor read. None: all.
    pub namespaces: Option<Vec<Name>>,
    /// Attempts on its objects at a time, calls and effects; none: no limit. One cluster that is slow does not take the
    /// turns of all others.
    pub at_a_time: Option<u32>,
    /// How its keys are divided among hosts that share work.
    pub division: Division,
    /// Its store was rebuilt, and no first pass has ended since (rule D10).
    pub rebuilt: bool,
    /// What grants choose it by.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// The host cannot do its job without it, as it cannot without the hub and `local` (rule C6).
    pub required: bool,
}

impl ClusterFacts {
    /// A cluster that is looked at as a whole, without a limit.
    pub fn of(identity: impl Into<String>) -> Self {
        let division = Division::Whole;
        Self {
            identity: identity.into(),
            namespaces: None,
            at_a_time: None,
            division,
            rebuilt: false,
            labels: Vec::new(),
            required: false,
        }
    }
}

/// Why a cluster is not forgotten.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the cluster {0} takes part; take it away from its provider first")]
pub struct StillThere(Name);

fn granted_in(granted: &Grants, clusters: &BTreeMap<Name, ClusterFacts>) -> Grants {
    match granted.is_by_label() {
        true => granted.in_fleet(clusters.iter().map(|(name, facts)| (name, facts.labels.as_slice()))),
        false => granted.clone(),
    }
}

impl Engine {
    /// A cluster takes part from now on: plugins that are loaded reconcile their kinds there, too. Its sources are
    /// unknown until they are synced. One that takes part already goes on as it is.
    pub fn add_cluster(&mut self, now: Time, name: &Name, facts: ClusterFacts) {
        if self.clusters.contains_key(name) {
            return;
        }
        let (at_a_time, rebuilt) = (facts.at_a_time, facts.rebuilt);
        self.clusters.insert(name.clone(), facts);
        // Who waits for it sees it with what is granted there.
        self.grant_by_labels();
        let next = ClusterId(self.cluster_ids.len() as u32);
        let id = *self.cluster_ids.entry(name.clone()).or_insert(next);
        self.queue.limit_cluster(id, at_a_time);
        self.wanted += 1;
        self.cache.cluster_is_there(name);
        let mut taken = Vec::new();
        for (at, plugin) in self.plugins.iter().enumerate() {
            let kinds = plugin.info.iter().flat_map(|info| info.kinds_in(name).map(|kind| (kind, info.version())));
            taken.extend(kinds.map(|(owned, version)| {
                (Source { cluster: name.clone(), kind: owned.kind.group_kind() }, PluginId(at as u32), version)
            }));
        }
        let only = self.clusters.get(name).and_then(|facts| facts.namespaces.clone());
        let mut changed = FxHashSet::default();
        for (source, plugin, version) in taken {
            let left = self.left.remove(&source);
            self.kinds.insert(source.clone(), plugin);
            if rebuilt || left.is_some_and(|left| left != (plugin, version)) {
                changed.insert(plugin);
                for scope in within(Scope::All, only.as_deref()) {
                    self.cache.set_scope_state(&source, &scope, SourceState::Syncing);
                }
            }
        }
        // For the objects of the cluster this is the first pass after an upgrade, though for those of others it
        // may be over (rule B3).
        for plugin in changed {
            if !self.extend_pass(plugin) {
                let (none, trial) = (FxHashSet::default(), Trial::default());
                self.begin_pass(now, plugin, none, Cause::Upgraded, &trial, Start::Restored);
            }
            if rebuilt {
                self.freeze(plugin);
            }
        }
        let waiting: Vec<Source> = self.deps.awaited_sources().filter(|s| s.cluster == *name).cloned().collect();
        for source in waiting {
            self.source_changed(now, &source);
        }
    }

    /// The labels of a cluster that takes part. Where that changes what a plugin was granted, its objects are called again,
    /// guarded as after any change of grants (rule B3).
    pub fn label_cluster(&mut self, now: Time, name: &Name, labels: Vec<(Box<str>, Box<str>)>) {
        let Some(facts) = self.clusters.get_mut(name) else { return };
        if facts.labels == labels {
            return;
        }
        facts.labels = labels;
        for plugin in self.grant_by_labels() {
            self.wanted += 1;
            self.call_all_again(now, plugin);
        }
    }

    /// What is granted by labels is what it is for the clusters that take part. Answers for whom it is something else now.
    fn grant_by_labels(&mut self) -> Vec<PluginId> {
        let mut changed = Vec::new();
        for (at, plugin) in self.plugins.iter_mut().enumerate() {
            let Some(info) = plugin.info.as_ref().filter(|info| info.granted().is_by_label()) else { continue };
            let grants = granted_in(info.granted(), &self.clusters);
            if grants != info.grants {
                let mut other = (**info).clone();
                other.grants = grants;
                plugin.info = Some(Arc::new(other));
                changed.push(PluginId(at as u32));
            }
        }
        changed
    }

    fn call_all_again(&mut self, now: Time, plugin: PluginId) {
        let mut sources: Vec<Source> =
            self.kinds.iter().filter(|(_, of)| **of == plugin).map(|(source, _)| source.clone()).collect();
        sources.sort_unstable();
        let mut keys = FxHashSet::default();
        for source in sources {
            keys.extend(self.cache.list(&source).map(|(id, _)| id).filter(|id| self.state(*id).is_some()));
        }
        let mut ordered: Vec<KeyId> = keys.iter().copied().collect();
        ordered.sort_unstable();
        for id in ordered {
            let because = Cause::Configured.into();
            self.touch(now, id, Touch { class: Class::Hard, lane: Lane::Resync, because, debounce: false, read: true });
        }
        self.begin_pass(now, plugin, keys, Cause::Configured, &Trial::default(), Start::Known);
    }

    /// A plugin that does not run here, with what it is granted in the clusters that take part.
    pub fn resolve(&self, info: &mut PluginInfo) {
        info.grants = granted_in(info.granted(), &self.clusters);
    }

    /// A cluster does not take part any more. Its queued work goes, attempts on its objects that run are the
    /// driver's to give up, and what was known of it is forgotten: from now on its objects are unknown, and who depends on
    /// them is told. Nothing is deleted because of it, neither there nor elsewhere.
    pub fn remove_cluster(&mut self, now: Time, name: &Name, reason: &str) {
        if self.clusters.remove(name).is_none() {
            return;
        }
        self.wanted += 1;
        self.acting.remove(name);
        self.cache.cluster_is_away(name, reason);
        let mut kinds: Vec<Source> = self.kinds.keys().filter(|source| source.cluster == *name).cloned().collect();
        kinds.sort_unstable();
        for source in kinds {
            if let Some(plugin) = self.kinds.remove(&source) {
                let version = self.plugins[plugin.0 as usize].info.as_ref().map(|info| info.version());
                self.left.insert(source.clone(), (plugin, version.unwrap_or_else(PluginVersion::none)));
            }
            self.given_up.remove(&source);
            self.drop_states_of(&source);
        }
        // Its owners say themselves where their children are, when they are seen again.
        self.places.retain(|owner, _| owner.cluster != *name);
        self.unsaved.retain(|owner| owner.cluster != *name);
        let keys = self.cache.keys();
        self.singles.retain(|id| keys.key(*id).cluster != *name);
        self.unconfirmed.retain(|key| key.cluster != *name);
        self.early.retain(|source, _| source.cluster != *name);
        for (source, scope) in self.cache.watched_in(name) {
            self.told(now, &source, &scope, Told::Ended);
        }
        // What nobody watches and this host has written itself.
        for id in self.cache.known_in(name) {
            match self.cache.forgotten(id) {
                Some(change) => self.apply(now, change, None),
                None => self.forget_if_unused(id),
            }
        }
        self.cache.drop_sources_of(name);
    }

    /// A person says that a cluster will never come back: what owners have left there counts as gone, and they are not
    /// held up by it any more (rule B13). Answers these owners. Until it takes part again all the same, that stays so.
    ///
    /// # Errors
    /// It takes part.
    pub fn forget_cluster(&mut self, now: Time, name: &Name) -> Result<Vec<Key>, StillThere> {
        if self.clusters.contains_key(name) {
            return Err(StillThere(name.clone()));
        }
        self.cache.cluster_is_forgotten(name);
        let owners = self.owners_with_children_in(name);
        for owner in &owners {
            if let Some(id) = self.cache.keys().find(owner) {
                let because = Cause::Manual.into();
                let touch = Touch { class: Class::Hard, lane: Lane::User, because, debounce: false, read: true };
                self.touch(now, id, touch);
            }
        }
        Ok(owners)
    }

    /// The owners of which children may be in a cluster, in order.
    pub fn owners_with_children_in(&self, cluster: &Name) -> Vec<Key> {
        let there = |places: &[(Name, GroupKind)]| places.iter().any(|(at, _)| at == cluster);
        let mut owners: Vec<Key> =
            self.places.iter().filter(|(_, places)| there(places)).map(|(owner, _)| owner.clone()).collect();
        owners.sort_unstable();
        owners
    }

    /// Clusters that were forgotten before the last stop.
    pub fn restore_forgotten(&mut self, clusters: impl IntoIterator<Item = Name>) {
        for name in clusters {
            if !self.clusters.contains_key(&name) {
                self.cache.cluster_is_forgotten(&name);
            }
        }
    }

    /// The clusters that take part, in order.
    pub fn clusters(&self) -> impl Iterator<Item = &Name> {
        self.clusters.keys()
    }

    pub(super) fn identity(&self, owner: &Key) -> Identity {
        let cluster = self.clusters.get(&owner.cluster).map_or(&*owner.cluster, |facts| &facts.identity);
        Identity::new(&self.options.installation, cluster, owner)
    }

    pub(super) fn cluster_id(&self, name: &Name) -> ClusterId {
        self.cluster_ids.get(name).copied().unwrap_or(ClusterId(0))
    }
}

#[cfg(test)]
#[path = "clusters_tests.rs"]
mod tests;
