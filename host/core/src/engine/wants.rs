//! What each cluster has to show: the kinds that plugins reconcile, read and write, as far as they were granted
//! (rules A8, B2, D6).

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use crate::cache::SourceState;
use crate::contract::{ReadError, ReadScope};
use crate::coverage::Scope;
use crate::grants::Reach;
use crate::key::{GroupKind, GroupVersionKind, Key, KeyId, LOCAL, Name};
use crate::mask::Mask;

/// Objects of one cluster that a plugin may read by name (rule A8).
const SINGLE: usize = 500;

/// What the host itself reads of Secrets.
const OF_SECRETS: [&str; 1] = [".data"];

/// A part of a kind that somebody needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// The kind, in the version that is spoken. Where plugins speak several, the first by name decides.
    pub kind: GroupVersionKind,
    /// Which objects.
    pub scope: Scope,
    /// What anybody sees of them.
    pub mask: Mask,
}

#[derive(Default)]
struct Wants {
    /// By kind: the version, and the mask of each scope.
    kinds: BTreeMap<GroupKind, (Name, BTreeMap<Scope, Mask>)>,
}

impl Wants {
    fn add(&mut self, kind: &GroupVersionKind, scope: Scope, mask: &Mask) {
        let (_, scopes) =
            self.kinds.entry(kind.group_kind()).or_insert_with(|| (kind.version.clone(), BTreeMap::new()));
        let union = scopes.get(&scope).map_or_else(|| mask.clone(), |known| known.union(mask));
        scopes.insert(scope, union);
    }

    /// The same, unless a reflector of all objects, or of all of the namespace, shows it anyway.
    fn add_single(&mut self, kind: &GroupVersionKind, scope: Scope, mask: &Mask) {
        let Scope::Object(namespace, _) = &scope else { return };
        let wider = |known: &Scope| match known {
            Scope::All => true,
            Scope::Namespace(shown) => Some(shown) == namespace.as_ref(),
            Scope::Object(..) | Scope::Owned(_) => false,
        };
        let known = self.kinds.get(&kind.group_kind());
        let shown = known.and_then(|(_, scopes)| scopes.keys().find(|known| wider(known)).cloned());
        self.add(kind, shown.unwrap_or(scope), mask);
    }

    /// One reflector shows what several want, if one of them wants it all. An object is seen alike by whatever
    /// shows it: the mask is that of the kind.
    fn settled(self) -> Vec<Want> {
        let mut wants = Vec::new();
        for (kind, (version, scopes)) in self.kinds {
            let mask = scopes.values().cloned().reduce(|a, b| a.union(&b)).unwrap_or_default();
            let whole = scopes.contains_key(&Scope::All);
            let scopes = scopes.into_keys().filter(|scope| !whole || *scope == Scope::All);
            let kind = GroupVersionKind { group: kind.group, version, kind: kind.kind };
            wants.extend(scopes.map(|scope| Want { kind: kind.clone(), scope, mask: mask.clone() }));
        }
        wants
    }
}

impl Engine {
    /// What a cluster has to show for the plugins that are loaded: of kinds that they reconcile, all; of those that
    /// they read, what they were granted, or the single objects that were asked for; of those that they write, what
    /// carries an owner mark.
    pub fn wants(&self, cluster: &Name) -> Vec<Want> {
        let Some(facts) = self.clusters.get(cluster) else { return Vec::new() };
        let mut plugins: Vec<_> = self.plugins().collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        let mut wants = Wants::default();
        let only = facts.namespaces.as_deref();
        for info in plugins {
            let grants = &info.grants;
            let there = |kind: &GroupVersionKind| &**cluster == LOCAL || !info.is_local(&kind.group_kind());
            for owned in info.kinds_in(cluster) {
                for scope in within(Scope::All, only) {
                    wants.add(&owned.kind, scope, &Mask::all());
                }
            }
            for read in info.description.reads.iter().filter(|read| read.scope == ReadScope::All && there(&read.kind)) {
                let kind = read.kind.group_kind();
                let granted = scopes(grants.reads(&kind, cluster));
                for scope in granted.into_iter().flat_map(|scope| within(scope, only)) {
                    wants.add(&read.kind, scope, info.mask(&kind));
                }
            }
            for write in info.description.writes.iter().filter(|kind| there(kind)) {
                if grants.writes(&write.group_kind(), cluster) != Reach::Nowhere {
                    for scope in within(Scope::Owned(None), only) {
                        wants.add(write, scope, &Mask::all());
                    }
                }
            }
        }
        for (kind, key, mask) in self.single(cluster) {
            wants.add(&kind, Scope::Object(key.namespace.clone(), key.name.clone()), &mask);
        }
        let mask = Mask::parse(&OF_SECRETS).unwrap_or_default();
        for key in self.secrets.iter().filter(|key| key.cluster == *cluster).take(SINGLE) {
            let kind = GroupVersionKind::new("", "v1", &key.kind);
            for scope in within(Scope::Object(key.namespace.clone(), key.name.clone()), only) {
                wants.add_single(&kind, scope, &mask);
            }
        }
        wants.settled()
    }

    /// The host itself has values of these Secrets, for processes and probes of owners in other clusters than the
    /// embedded one: changes of them are told, of the first [`SINGLE`] of a cluster.
    pub fn watch_secrets(&mut self, secrets: BTreeSet<Key>) {
        if self.secrets != secrets {
            self.secrets = secrets;
            self.wanted += 1;
        }
    }

    /// Counts what may have changed [`Engine::wants`].
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Single objects that somebody depends on and that no reflector of more than one object shows.
    fn single(&self, cluster: &Name) -> Vec<(GroupVersionKind, Key, Mask)> {
        let mut single = Vec::new();
        for id in &self.singles {
            let key = self.cache.keys().key(*id);
            let readers = self.deps.readers_of(*id);
            let Some((reader, _)) = readers.first().filter(|_| key.cluster == *cluster) else { continue };
            let Some(kind) = self.version_of(*reader, &key.group_kind()) else { continue };
            let masks = readers.iter().map(|(_, mask)| self.deps.mask(*mask).clone());
            single.push((kind, (**key).clone(), masks.reduce(|a, b| a.union(&b)).unwrap_or_default()));
        }
        single
    }

    /// The version of a kind that the plugin of a key speaks.
    fn version_of(&self, reader: KeyId, kind: &GroupKind) -> Option<GroupVersionKind> {
        let info = self.plugins.get(self.state(reader)?.plugin.0 as usize)?.info.as_ref()?;
        let reads = info.description.reads.iter().map(|read| &read.kind);
        reads.chain(&info.description.writes).find(|known| known.group_kind() == *kind).cloned()
    }

    /// A key depends on an object: if no reflector shows it, one of its own is wanted for it. What is in `local`
    /// is told anyway.
    ///
    /// # Errors
    /// There are too many of them for one plugin (rule A8).
    pub(super) fn needs_single(&mut self, reader: KeyId, target: KeyId) -> Result<(), ReadError> {
        let key = self.cache.keys().key(target).clone();
        // What is watched for the host may not be watched any longer than the host needs it.
        let covered = self.cache.is_covered(&key) && !self.secrets.contains(&*key);
        let there = self.clusters.contains_key(&key.cluster);
        if &*key.cluster == LOCAL || !there || self.singles.contains(&target) || covered {
            return Ok(());
        }
        let plugin = self.state(reader).map(|state| state.plugin);
        let its = |id: &&KeyId| {
            self.cache.keys().key(**id).cluster == key.cluster
                && self.deps.readers_of(**id).iter().any(|(k, _)| self.state(*k).map(|state| state.plugin) == plugin)
        };
        if self.singles.iter().filter(its).count() >= SINGLE {
            let text = format!(
                "{key}: a plugin may read {SINGLE} objects of a cluster by name; describe the kind with scope `all`"
            );
            return Err(ReadError::LimitExceeded(text));
        }
        self.singles.insert(target);
        self.wanted += 1;
        let scope = Scope::Object(key.namespace.clone(), key.name.clone());
        if !self.cache.is_watched(&key.source(), &scope) {
            self.cache.set_scope_state(&key.source(), &scope, SourceState::Syncing);
        }
        Ok(())
    }

    /// Nobody may depend on an object any more.
    pub(super) fn maybe_not_single(&mut self, target: KeyId) {
        if self.singles.contains(&target) && !self.deps.is_read(target) {
            self.singles.remove(&target);
            self.wanted += 1;
        }
    }
}

/// The scopes that make up what was granted.
fn scopes(reach: Reach) -> Vec<Scope> {
    match reach {
        Reach::Nowhere => Vec::new(),
        Reach::Everywhere => vec![Scope::All],
        Reach::Namespaces(namespaces) => {
            namespaces.into_iter().map(|namespace| Scope::Namespace(namespace.as_str().into())).collect()
        }
    }
}

/// What of a scope is in the namespaces that are looked at; none: all of it.
pub(super) fn within(scope: Scope, only: Option<&[Name]>) -> Vec<Scope> {
    let Some(only) = only else { return vec![scope] };
    match scope {
        Scope::All => only.iter().cloned().map(Scope::Namespace).collect(),
        Scope::Owned(None) => only.iter().cloned().map(Some).map(Scope::Owned).collect(),
        Scope::Namespace(namespace) | Scope::Object(Some(namespace), _) | Scope::Owned(Some(namespace))
            if !only.contains(&namespace) =>
        {
            Vec::new()
        }
        scope => vec![scope],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_namespaces_is_looked_at() {
        let only: [Name; 2] = ["a".into(), "b".into()];
        let of = |scope| within(scope, Some(&only));
        assert_eq!(of(Scope::All), [Scope::Namespace("a".into()), Scope::Namespace("b".into())]);
        assert_eq!(of(Scope::Owned(None)), [Scope::Owned(Some("a".into())), Scope::Owned(Some("b".into()))]);
        assert_eq!(of(Scope::Namespace("b".into())), [Scope::Namespace("b".into())]);
        assert!(
            of(Scope::Namespace("c".into())).is_empty() && of(Scope::Object(Some("c".into()), "x".into())).is_empty()
        );
        assert_eq!(within(Scope::All, None), [Scope::All]);
    }
}
