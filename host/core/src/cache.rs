//! What the host knows of the world: one view per object, which is the reflector's version or, where
//! the host has written something newer, the answer to that write (rules A4, A10; [`overlay`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::Time;
use crate::coverage::{Coverage, Listing, Scope};
use crate::key::{Key, KeyId, Keys, Name, Source};
use crate::object::{Object, version_reached};

mod overlay;

pub use overlay::OVERLAY_MAX_AGE;

use overlay::Overlay;

/// What is known of a kind in a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SourceState {
    /// The first complete list has not come yet.
    #[default]
    Syncing,
    /// Complete: what is not there is absent.
    Synced,
    /// The host cannot know at present, and why.
    Unknown(String),
}

/// A difference in the view of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object.
    pub key: KeyId,
    /// As it was; none: it was not there.
    pub old: Option<Arc<Object>>,
    /// As it is; none: it is gone.
    pub new: Option<Arc<Object>>,
}

/// What a read finds.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The object.
    Present(Arc<Object>),
    /// Proven not to be there.
    Absent,
    /// Not known, and why.
    Unknown(String),
}

type Place = (Option<Name>, Name);

#[derive(Debug, Default)]
struct SourceCache {
    coverage: Coverage,
    objects: BTreeMap<Place, KeyId>,
}

/// What a cluster has to do with this host.
#[derive(Debug)]
enum Part {
    /// It takes part.
    There,
    /// It does not any more, and why.
    Away(Box<str>),
    /// It never will again: a person has said so (rule B13).
    Forgotten,
}

/// The cache of all clusters.
#[derive(Debug, Default)]
pub struct Cache {
    keys: Keys,
    views: Vec<Option<Arc<Object>>>,
    /// The last list that has shown each key.
    stamps: Vec<u32>,
    /// Lists that have begun so far.
    listings: u32,
    sources: FxHashMap<Source, SourceCache>,
    overlays: FxHashMap<KeyId, Overlay>,
    /// When overlays were made, oldest first; entries whose overlay is gone or newer do not count.
    ages: VecDeque<(Time, KeyId)>,
    clusters: FxHashMap<Name, Part>,
}

impl Cache {
    /// The interned keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The id of a key, made if it has none.
    pub fn intern(&mut self, key: &Key) -> KeyId {
        let id = self.keys.intern(key);
        if self.views.len() <= id.index() {
            self.views.resize(id.index() + 1, None);
            self.stamps.resize(id.index() + 1, 0);
        }
        id
    }

    /// Gives a key's id back. The caller promises that nothing refers to it; a key with an object
    /// or an overlay keeps it.
    pub fn release(&mut self, id: KeyId) -> bool {
        let unused = self.views[id.index()].is_none() && !self.overlays.contains_key(&id);
        if unused {
            self.stamps[id.index()] = 0;
            self.keys.release(id);
        }
        unused
    }

    /// The view of an object, whether or not its source is complete.
    pub fn view(&self, id: KeyId) -> Option<&Arc<Object>> {
        self.views.get(id.index())?.as_ref()
    }

    /// What is known of this key as far as effects go (rule A4): of an object that would be shown only with an
    /// owner mark, absence says that it is nobody's child.
    pub fn seen(&self, id: KeyId) -> Seen {
        self.look(self.keys.key(id), self.view(id), true)
    }

    /// The same of a key that need not have an id.
    pub fn seen_by_key(&self, key: &Key) -> Seen {
        self.look(key, self.keys.find(key).and_then(|id| self.view(id)), true)
    }

    /// What a plugin's read of this key finds (rule A4): absence is proven.
    pub fn read(&self, id: KeyId) -> Seen {
        self.look(self.keys.key(id), self.view(id), false)
    }

    /// The same of a key that need not have an id.
    pub fn read_by_key(&self, key: &Key) -> Seen {
        self.look(key, self.keys.find(key).and_then(|id| self.view(id)), false)
    }

    fn look(&self, key: &Key, view: Option<&Arc<Object>>, claims: bool) -> Seen {
        match (self.state_of(key, claims), view) {
            (SourceState::Unknown(why), _) => Seen::Unknown(why),
            (_, Some(object)) => Seen::Present(object.clone()),
            (SourceState::Synced, None) => Seen::Absent,
            (SourceState::Syncing, None) => Seen::Unknown(format!("{} is not synced yet", key.source())),
        }
    }

    /// The state of what would show this object; `claims` as in [`Cache::seen`], else as in [`Cache::read`].
    pub(crate) fn state_of(&self, key: &Key, claims: bool) -> SourceState {
        let source = key.source();
        let Some(cache) = self.shown(&source) else { return self.not_shown(&source) };
        match cache.coverage.of_object(key.namespace.as_ref(), &key.name, claims) {
            Some(state) => state.clone(),
            None => uncovered(&cache.coverage, &source),
        }
    }

    /// Whether a reflector shows this object whatever its labels are.
    pub fn is_covered(&self, key: &Key) -> bool {
        let cache = self.sources.get(&key.source());
        cache.is_some_and(|cache| cache.coverage.of_object(key.namespace.as_ref(), &key.name, false).is_some())
    }

    /// Whether a reflector of marked objects shows this one.
    pub(crate) fn is_shown_as_owned(&self, id: KeyId) -> bool {
        let key = self.keys.key(id);
        let cache = self.sources.get(&key.source());
        cache.is_some_and(|cache| cache.coverage.shown_as_owned(key, self.view(id).map(|view| &**view)))
    }

    /// The state of all objects of a kind, or of one namespace of it, to a reader of the list.
    pub fn list_state(&self, source: &Source, namespace: Option<&Name>) -> SourceState {
        let Some(cache) = self.shown(source) else { return self.not_shown(source) };
        match cache.coverage.of_list(namespace) {
            Some(state) => state.clone(),
            None => uncovered(&cache.coverage, source),
        }
    }

    /// The state of a source as a whole; a source that was never heard of is unknown.
    pub fn state(&self, source: &Source) -> SourceState {
        match self.shown(source) {
            Some(cache) => cache.coverage.state().clone(),
            None => self.not_shown(source),
        }
    }

    /// A source of a cluster that is not away. What was written there last may still be answered when it is.
    fn shown(&self, source: &Source) -> Option<&SourceCache> {
        let away = matches!(self.clusters.get(&source.cluster), Some(Part::Away(_) | Part::Forgotten));
        self.sources.get(source).filter(|_| !away)
    }

    /// Nothing shows a source.
    fn not_shown(&self, source: &Source) -> SourceState {
        SourceState::Unknown(match self.clusters.get(&source.cluster) {
            Some(Part::Away(reason)) => format!("the cluster {} does not take part: {reason}", source.cluster),
            Some(Part::Forgotten) => format!("the cluster {} was forgotten", source.cluster),
            Some(Part::There) => format!("the kind {source} is not installed"),
            None => format!("no cluster {} takes part", source.cluster),
        })
    }

    /// A cluster takes part.
    pub(crate) fn cluster_is_there(&mut self, name: &Name) {
        self.clusters.insert(name.clone(), Part::There);
    }

    /// A cluster does not take part any more.
    pub(crate) fn cluster_is_away(&mut self, name: &Name, reason: &str) {
        self.clusters.insert(name.clone(), Part::Away(reason.into()));
    }

    /// A cluster will never take part again: what was there counts as gone (rule B13).
    pub(crate) fn cluster_is_forgotten(&mut self, name: &Name) {
        self.clusters.insert(name.clone(), Part::Forgotten);
    }

    /// Whether a person has said that a cluster will never come back.
    pub fn is_forgotten(&self, cluster: &Name) -> bool {
        matches!(self.clusters.get(cluster), Some(Part::Forgotten))
    }

    /// All that is watched in a cluster, in order.
    pub fn watched_in(&self, cluster: &Name) -> Vec<(Source, Scope)> {
        let its = self.sources.iter().filter(|(source, _)| source.cluster == *cluster);
        let mut watched: Vec<_> = its
            .flat_map(|(source, cache)| cache.coverage.scopes().map(|scope| (source.clone(), scope.clone())))
            .collect();
        watched.sort_unstable();
        watched
    }

    /// All objects of a cluster, by their ids: those that are known, and those with overlays.
    pub(crate) fn known_in(&self, cluster: &Name) -> Vec<KeyId> {
        let its = self.sources.iter().filter(|(source, _)| source.cluster == *cluster);
        let shown = its.flat_map(|(_, cache)| cache.objects.values());
        let covered = self.overlays.keys().filter(|id| self.keys.key(**id).cluster == *cluster);
        let known: BTreeSet<KeyId> = shown.chain(covered).copied().collect();
        known.into_iter().collect()
    }

    /// Nothing is said of a cluster's sources any more. None of their objects may be known.
    pub(crate) fn drop_sources_of(&mut self, cluster: &Name) {
        self.sources.retain(|source, _| source.cluster != *cluster);
    }

    /// Whether a source was ever shown or said to be there. The state of one that was not is unknown.
    pub fn has_heard_of(&self, source: &Source) -> bool {
        self.sources.contains_key(source)
    }

    /// Sets the state of a source that is shown as a whole. Answers whether it differs from before.
    pub fn set_state(&mut self, source: &Source, state: SourceState) -> bool {
        self.set_scope_state(source, &Scope::All, state)
    }

    /// Sets the state of what one reflector shows of a source. Answers whether it differs from before.
    pub fn set_scope_state(&mut self, source: &Source, scope: &Scope, state: SourceState) -> bool {
        let known = self.sources.get(source).is_some_and(|cache| cache.coverage.get(scope).is_some());
        let watched = self.sources.entry(source.clone()).or_default().coverage.entry(scope);
        let differs = !known || watched.state != state;
        watched.state = state;
        differs
    }

    /// Whether a scope of a source is watched.
    pub fn is_watched(&self, source: &Source, scope: &Scope) -> bool {
        self.sources.get(source).is_some_and(|cache| cache.coverage.get(scope).is_some())
    }

    /// Whether a scope of a source is known at present.
    pub(crate) fn is_synced(&self, source: &Source, scope: &Scope) -> bool {
        let watched = self.sources.get(source).and_then(|cache| cache.coverage.get(scope));
        watched.is_some_and(|watched| watched.state == SourceState::Synced)
    }

    /// All sources with their state and number of objects.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &SourceState, usize)> {
        self.sources.iter().map(|(source, cache)| (source, cache.coverage.state(), cache.objects.len()))
    }

    /// The objects of a source in order of namespace and name.
    pub fn list(&self, source: &Source) -> impl Iterator<Item = (KeyId, &Arc<Object>)> {
        self.sources
            .get(source)
            .into_iter()
            .flat_map(|cache| cache.objects.values())
            .filter_map(|id| Some((*id, self.view(*id)?)))
    }

    /// The objects of a source in one namespace, in order of name.
    pub fn list_namespace<'a>(
        &'a self,
        source: &Source,
        namespace: &Name,
    ) -> impl Iterator<Item = (KeyId, &'a Arc<Object>)> {
        let from = (Some(namespace.clone()), Name::from(""));
        let namespace = namespace.clone();
        self.sources
            .get(source)
            .into_iter()
            .flat_map(move |cache| cache.objects.range(from.clone()..))
            .take_while(move |((ns, _), _)| ns.as_ref() == Some(&namespace))
            .filter_map(|(_, id)| Some((*id, self.view(*id)?)))
    }

    /// All objects that are known, by source.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<Key>, &Arc<Object>)> {
        let ids = self.sources.values().flat_map(|cache| cache.objects.values());
        ids.filter_map(|id| Some((self.keys.key(*id), self.view(*id)?)))
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.sources.values().map(|cache| cache.objects.len()).sum()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reflector of a whole source shows a version of an object, or that it is gone.
    pub fn observed(&mut self, key: &Key, object: Option<Arc<Object>>) -> Option<Change> {
        self.observed_in(&Scope::All, key, object)
    }

    /// The reflector of a scope shows a version of an object, or that it is gone from there.
    pub fn observed_in(&mut self, scope: &Scope, key: &Key, object: Option<Arc<Object>>) -> Option<Change> {
        let id = self.intern(key);
        let cache = self.sources.entry(key.source()).or_default();
        if object.is_none() && cache.coverage.shown_elsewhere(key, scope) {
            // Left the filter, or gone: the one that shows it whatever its labels are says which.
            return None;
        }
        let mut asked = None;
        if let Some(object) = &object {
            // Before anything is said of a kind, it is being shown for the first time.
            let watched = cache.coverage.entry(scope);
            if version_reached(object.resource_version(), &watched.version) != Some(false) {
                watched.version = object.resource_version().into();
            }
            if let Some(Listing { number, asked: at }) = watched.listing {
                asked = Some(at);
                let stamp = &mut self.stamps[id.index()];
                *stamp = number.max(*stamp);
            }
        }
        if let Some(overlay) = self.overlays.get_mut(&id) {
            // What was written before the list was asked for is in it, whatever the versions say.
            if asked.is_none_or(|asked| overlay.since >= asked) && !overlay.is_caught_up(object.as_deref()) {
                overlay.reflected = object;
                return None;
            }
            self.overlays.remove(&id);
        }
        self.set_view(id, object)
    }

    /// Counts an object as shown by the list that is on its way, if there is one, whatever is made of it.
    pub(crate) fn stamp(&mut self, scope: &Scope, id: KeyId) {
        let source = self.keys.key(id).source();
        let listing = self.sources.get(&source).and_then(|cache| cache.coverage.get(scope)?.listing);
        if let Some(Listing { number, .. }) = listing {
            let stamp = &mut self.stamps[id.index()];
            *stamp = number.max(*stamp);
        }
    }

    /// A bookmark: the reflector of a scope has seen everything of it up to this version. Answers the objects whose
    /// overlays are not newer: [`Cache::reached`] tells each of them.
    pub fn bookmark(&mut self, source: &Source, scope: &Scope, version: &str) -> Vec<KeyId> {
        let Some(cache) = self.sources.get_mut(source) else { return Vec::new() };
        let watched = cache.coverage.entry(scope);
        if version_reached(version, &watched.version) == Some(false) {
            return Vec::new();
        }
        watched.version = version.into();
        let mut behind: Vec<KeyId> = self.overlays.keys().copied().collect();
        behind.retain(|id| self.keys.key(*id).source() == *source && self.is_behind(*id, scope, version));
        behind.sort_unstable();
        behind
    }

    /// A complete list of a scope was asked for: what is shown of it from now on counts as shown, until
    /// [`Cache::list_ends`].
    pub fn list_begins(&mut self, source: &Source, scope: &Scope, now: Time) {
        self.listings += 1;
        let listing = Listing { number: self.listings, asked: now };
        self.sources.entry(source.clone()).or_default().coverage.entry(scope).listing = Some(listing);
    }

    /// Whether the list of a scope that is on its way has shown an object.
    pub(crate) fn is_listed(&self, scope: &Scope, id: KeyId) -> bool {
        let watched = self.sources.get(&self.keys.key(id).source()).and_then(|cache| cache.coverage.get(scope));
        let listing = watched.and_then(|watched| watched.listing.as_ref());
        listing.is_some_and(|listing| self.stamps[id.index()] >= listing.number)
    }

    /// The list is complete. Answers the objects of the scope that it has not shown: they are gone, but for
    /// those that were written after it was asked for. [`Cache::forgotten`] takes them out one by one.
    pub fn list_ends(&mut self, source: &Source, scope: &Scope) -> Vec<KeyId> {
        let Some(cache) = self.sources.get_mut(source) else { return Vec::new() };
        let watched = cache.coverage.entry(scope);
        let Some(Listing { number, asked }) = watched.listing.take() else { return Vec::new() };
        // A store that was restored from a backup goes back in time: what counts now is the list's version.
        watched.version = "".into();
        let mut gone = Vec::new();
        for id in cache.objects.values() {
            let key = self.keys.key(*id);
            if self.stamps[id.index()] >= number || !scope.shows(key, self.views[id.index()].as_deref()) {
                continue;
            }
            match self.overlays.get_mut(id) {
                Some(overlay) if overlay.since >= asked => overlay.reflected = None,
                _ if cache.coverage.shown_elsewhere(key, scope) => {}
                _ => gone.push(*id),
            }
        }
        gone
    }

    /// The objects of a scope that a complete list does not have which was asked for at `asked` and is as of
    /// `version`, but for those that are newer.
    pub(crate) fn missing(
        &self,
        source: &Source,
        scope: &Scope,
        asked: Time,
        version: &str,
        listed: &FxHashSet<&Key>,
    ) -> Vec<KeyId> {
        let Some(cache) = self.sources.get(source) else { return Vec::new() };
        let missing = |id: &KeyId| {
            let (key, view) = (self.keys.key(*id), self.views[id.index()].as_deref());
            let newer = view.is_some_and(|view| version_reached(version, view.resource_version()) == Some(false));
            let wrote = self.overlays.get(id).is_some_and(|overlay| overlay.since >= asked);
            scope.shows(key, view) && !newer && !wrote && !listed.contains(&**key)
        };
        cache.objects.values().filter(|id| missing(id)).copied().collect()
    }

    /// Whether the reflector of a scope has seen everything up to this version: then nothing is to be compared
    /// (rule A11).
    pub fn has_reached(&self, source: &Source, scope: &Scope, version: &str) -> bool {
        let watched = self.sources.get(source).and_then(|cache| cache.coverage.get(scope));
        watched.is_some_and(|watched| version_reached(&watched.version, version) == Some(true))
    }

    /// A complete list has not shown an object: it is gone.
    pub fn forgotten(&mut self, id: KeyId) -> Option<Change> {
        self.overlays.remove(&id);
        self.set_view(id, None)
    }

    /// A scope is not watched any more: what only it has shown is not known any more.
    pub fn unwatched(&mut self, source: &Source, scope: &Scope) -> Vec<Change> {
        let Some(cache) = self.sources.get_mut(source) else { return Vec::new() };
        if !cache.coverage.remove(scope) {
            return Vec::new();
        }
        let coverage = &cache.coverage;
        let shown = |id: &KeyId| {
            let key = self.keys.key(*id);
            let view = self.views[id.index()].as_deref();
            let marked = coverage.shown_as_owned(key, view);
            !scope.shows(key, view) || marked || coverage.of_object(key.namespace.as_ref(), &key.name, false).is_some()
        };
        let lost: Vec<KeyId> = cache.objects.values().filter(|id| !shown(id)).copied().collect();
        lost.into_iter().filter_map(|id| self.forgotten(id)).collect()
    }

    /// A complete list: what is not in it is gone. Overlays written before it was asked for are
    /// caught up by it, those written later stay.
    pub fn listed(&mut self, source: &Source, asked: Time, objects: Vec<(Key, Arc<Object>)>) -> Vec<Change> {
        self.list_begins(source, &Scope::All, asked);
        let mut changes = Vec::new();
        for (key, object) in objects {
            changes.extend(self.observed(&key, Some(object)));
        }
        for id in self.list_ends(source, &Scope::All) {
            changes.extend(self.forgotten(id));
        }
        changes
    }

    fn set_view(&mut self, id: KeyId, new: Option<Arc<Object>>) -> Option<Change> {
        let old = self.views[id.index()].clone();
        let key = self.keys.key(id).clone();
        let cache = self.sources.entry(key.source()).or_default();
        match (&old, &new) {
            (None, Some(_)) => {
                cache.objects.insert((key.namespace.clone(), key.name.clone()), id);
            }
            (Some(_), None) => {
                cache.objects.remove(&(key.namespace.clone(), key.name.clone()));
            }
            _ => {}
        }
        self.views[id.index()] = new.clone();
        let same = match (&old, &new) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.uid() == b.uid() && a.same_content(b),
            _ => false,
        };
        (!same).then_some(Change { key: id, old, new })
    }
}

/// What is not watched: before anything is watched of a kind, it may still come.
fn uncovered(coverage: &Coverage, source: &Source) -> SourceState {
    if coverage.is_empty() {
        return SourceState::Syncing;
    }
    SourceState::Unknown(format!("this part of {source} is not watched"))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
