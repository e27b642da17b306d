//! The semantics of an API server, in memory: pure, synchronous and deterministic. Time and the seed
//! of uids come in; rows to keep and watch events go out. [`Local`](super::Local) puts a store and a
//! clock around it; the simulation uses it as its fake cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::object::Object;
use setpoint_core::op::Refusal;
use setpoint_schema::{Crd, FieldError, Part};

use super::builtin;
use super::effects::{Effects, Table, Undo};
use super::events::{EventFilter, EventLog, RecordedEvent};
use super::marks::{OWNER_LABEL, Uids};
use super::places;
use super::record::{Problem, Record, Stored, detach, materialise, raw, tree, whole};

/// The row of [`Table::Meta`] with the last resourceVersion.
pub(super) const VERSION_ROW: &str = "resource-version";

/// All objects of the embedded cluster, its kinds and its bookkeeping. A clone is a snapshot that
/// shares the objects.
#[derive(Clone)]
pub struct Model {
    kinds: BTreeMap<GroupKind, Arc<Crd>>,
    records: BTreeMap<GroupKind, BTreeMap<Arc<Key>, Arc<Record>>>,
    /// By kind and value of the owner label: exactly the readable objects that carry it.
    owned: BTreeMap<GroupKind, BTreeMap<Box<str>, BTreeSet<Arc<Key>>>>,
    pub(super) places: BTreeMap<Key, Vec<(Name, GroupKind)>>,
    pub(super) bookkeeping: BTreeMap<String, Vec<u8>>,
    /// Why the newest content of a file was not taken. Not kept: files are read anew after a start.
    pub(super) refused: BTreeMap<Key, Vec<Problem>>,
    pub(super) events: EventLog,
    pub(super) version: u64,
    pub(super) uids: Uids,
    /// Unknown fields in files are errors, not left out.
    pub(super) strict: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// An empty cluster that knows the built-in kinds only (rule D5), with a fixed seed of uids.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// The same with a seed of its own. Two models that live on the same store need different ones.
    pub fn with_seed(seed: u128) -> Self {
        let mut model = Self {
            kinds: BTreeMap::new(),
            records: BTreeMap::new(),
            owned: BTreeMap::new(),
            places: BTreeMap::new(),
            bookkeeping: BTreeMap::new(),
            refused: BTreeMap::new(),
            events: EventLog::default(),
            version: 0,
            uids: Uids::new(seed),
            strict: false,
        };
        for crd in builtin::kinds() {
            model.install_kind(crd);
        }
        model
    }

    /// Serves a kind, or serves it with another schema. Its objects are made anew from what was
    /// written: content that differs is a change without a move of the generation; content that does
    /// not fit the schema stays as it was and shows why (rule D6).
    pub fn install_kind(&mut self, crd: Crd) -> Effects {
        let mut effects = Effects::default();
        let kind = GroupKind::new(&crd.group, &crd.kind);
        let crd = Arc::new(crd);
        self.kinds.insert(kind.clone(), crd.clone());
        let records: Vec<(Arc<Key>, Arc<Record>)> =
            self.records.get(&kind).into_iter().flatten().map(|(key, record)| (key.clone(), record.clone())).collect();
        for (key, record) in records {
            self.renew(&crd, &key, &record, &mut effects);
        }
        effects
    }

    fn renew(&mut self, crd: &Crd, key: &Arc<Key>, record: &Record, effects: &mut Effects) {
        let mut stored = record.stored.clone();
        let document = tree(&stored.document);
        let misfit: Vec<Problem> = self
            .errors(crd, whole(crd, key, document.clone()), None)
            .iter()
            .map(|error| Problem::of(error, stored.file.as_ref()))
            .collect();
        if misfit.is_empty() {
            stored.kept = None;
        } else if stored.kept.is_none() {
            stored.kept = Some(match &record.object {
                Some(object) => {
                    let mut content = object.value();
                    for field in ["apiVersion", "kind", "metadata", "status"] {
                        detach(&mut content, field);
                    }
                    raw(&content)
                }
                None => stored.document.clone(),
            });
        }
        let kept_changed =
            stored.kept.as_deref().map(|raw| raw.get()) != record.stored.kept.as_deref().map(|raw| raw.get());
        let object = Arc::new(materialise(crd, key, &stored, document));
        match &record.object {
            Some(before) if before.same_content(&object) => {
                let record = Record { stored, object: Some(before.clone()), misfit };
                if kept_changed {
                    effects.put(Table::Records, key.to_string(), bytes(&record.stored));
                }
                self.replace(key, record, effects);
            }
            Some(_) => {
                self.store(crd, key, stored, misfit, effects);
            }
            // First seen since the start: whoever watches has not seen another version.
            None => {
                if kept_changed {
                    effects.put(Table::Records, key.to_string(), bytes(&stored));
                }
                effects.events.push((key.clone(), Some(object.clone())));
                self.replace(key, Record { stored, object: Some(object), misfit }, effects);
            }
        }
    }

    /// Serves a kind no longer. Its objects stay in the store and are not readable; nothing is
    /// deleted, and nobody is told that they are gone (rule D7).
    pub fn remove_kind(&mut self, kind: &GroupKind) {
        self.kinds.remove(kind);
        self.owned.remove(kind);
        for record in self.records.get_mut(kind).into_iter().flatten().map(|(_, record)| record) {
            let hidden = Record { stored: record.stored.clone(), object: None, misfit: Vec::new() };
            *record = Arc::new(hidden);
        }
    }

    /// The kinds that are served.
    pub fn kinds(&self) -> Vec<Arc<Crd>> {
        self.kinds.values().cloned().collect()
    }

    /// A kind that is served.
    pub fn crd(&self, kind: &GroupKind) -> Option<&Arc<Crd>> {
        self.kinds.get(kind)
    }

    /// An object; none if there is none, or its kind is not served.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.record(key)?.object.clone()
    }

    /// All readable objects of a kind with their keys, in order.
    pub(super) fn of_kind(&self, kind: &GroupKind) -> Vec<(Arc<Key>, Arc<Object>)> {
        let records = self.records.get(kind).into_iter().flatten();
        records.filter_map(|(key, record)| Some((key.clone(), record.object.clone()?))).collect()
    }

    /// Whether there is an object of a kind, readable or not.
    pub(super) fn has_any(&self, kind: &GroupKind) -> bool {
        self.records.get(kind).is_some_and(|records| !records.is_empty())
    }

    /// All objects of a kind in order of their keys.
    pub fn objects(&self, kind: &GroupKind) -> Vec<Arc<Object>> {
        self.records.get(kind).into_iter().flatten().filter_map(|(_, record)| record.object.clone()).collect()
    }

    /// All readable objects with their keys, in order.
    pub fn all(&self) -> Vec<(Arc<Key>, Arc<Object>)> {
        let records = self.records.values().flatten();
        records.filter_map(|(key, record)| Some((key.clone(), record.object.clone()?))).collect()
    }

    /// The objects of a kind with this owner mark.
    pub(super) fn owned(&self, kind: &GroupKind, owner: &str) -> Vec<(Key, Arc<Object>)> {
        let keys = self.owned.get(kind).and_then(|owners| owners.get(owner)).into_iter().flatten();
        keys.filter_map(|key| Some(((**key).clone(), self.get(key)?))).collect()
    }

    /// The file that defines an object, or whose content waits for it to go (rule D3).
    pub fn file_of(&self, key: &Key) -> Option<Name> {
        let stored = &self.record(key)?.stored;
        stored.parked.as_ref().map(|parked| parked.file.clone()).or_else(|| stored.file.clone())
    }

    /// The file whose content waits until the terminating object is gone (rule D3).
    pub fn parked(&self, key: &Key) -> Option<Name> {
        self.record(key)?.stored.parked.as_ref().map(|parked| parked.file.clone())
    }

    /// Every object that a file defines, with the file, whether its kind is served or not: what the
    /// proof of absence starts from (rule D1).
    pub fn files(&self) -> Vec<(Key, Name)> {
        let keys = self.records.values().flat_map(BTreeMap::keys);
        keys.filter_map(|key| Some(((**key).clone(), self.file_of(key)?))).collect()
    }

    /// What is wrong with an object or its file.
    pub fn problems(&self, key: &Key) -> Vec<Problem> {
        let refused = self.refused.get(key).into_iter().flatten();
        let misfit = self.record(key).into_iter().flat_map(|record| &record.misfit);
        refused.chain(misfit).cloned().collect()
    }

    /// Everything that has problems, objects that do not exist because of them included.
    pub fn troubled(&self) -> Vec<(Key, Vec<Problem>)> {
        let misfits = self.records.values().flatten().filter(|(_, record)| !record.misfit.is_empty());
        let keys: BTreeSet<&Key> = self.refused.keys().chain(misfits.map(|(key, _)| &**key)).collect();
        keys.into_iter().map(|key| (key.clone(), self.problems(key))).collect()
    }

    /// Says that the newest content of the file of an object cannot be taken. The object keeps its
    /// last good content. Without problems it can be taken again.
    pub fn invalid(&mut self, key: &Key, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.refused.remove(key);
        } else {
            self.refused.insert(key.clone(), problems);
        }
    }

    /// Whether unknown fields in files are errors. Default: they are left out, and named.
    pub fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Where the children of each owner may be (rule B2).
    pub fn places(&self) -> Vec<(Key, Vec<(Name, GroupKind)>)> {
        self.places.iter().map(|(owner, places)| (owner.clone(), places.clone())).collect()
    }

    pub(super) fn save_places(&mut self, owner: &Key, places: &[(Name, GroupKind)], effects: &mut Effects) {
        if places.is_empty() {
            if let Some(before) = self.places.remove(owner) {
                effects.undo.push(Undo::Places(owner.clone(), Some(before)));
                effects.remove(Table::Places, owner.to_string());
            }
        } else if self.places.get(owner).map(Vec::as_slice) != Some(places) {
            let before = self.places.insert(owner.clone(), places.to_vec());
            effects.undo.push(Undo::Places(owner.clone(), before));
            effects.put(Table::Places, owner.to_string(), places::encode(places));
        }
    }

    /// Events that are kept, oldest first (rule B16). `now` in unix milliseconds.
    pub fn events(&self, now: u64, filter: &EventFilter) -> Vec<RecordedEvent> {
        self.events.list(now, filter)
    }

    /// A value of the host's own, such as the kinds that are disabled.
    pub fn bookkeeping_get(&self, name: &str) -> Option<&[u8]> {
        self.bookkeeping.get(name).map(Vec::as_slice)
    }

    /// Sets a value of the host's own, or removes it.
    pub fn bookkeeping_put(&mut self, name: &str, value: Option<&[u8]>) -> Effects {
        let mut effects = Effects::default();
        match value {
            Some(value) if self.bookkeeping_get(name) != Some(value) => {
                let before = self.bookkeeping.insert(name.to_owned(), value.to_vec());
                effects.undo.push(Undo::Bookkeeping(name.to_owned(), before));
                effects.put(Table::Bookkeeping, name.to_owned(), value.to_vec());
            }
            Some(_) => {}
            None => {
                if let Some(before) = self.bookkeeping.remove(name) {
                    effects.undo.push(Undo::Bookkeeping(name.to_owned(), Some(before)));
                    effects.remove(Table::Bookkeeping, name.to_owned());
                }
            }
        }
        effects
    }

    /// Makes the newest change that was not undone yet undone. What was counted stays counted: a
    /// resourceVersion is never given twice.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Record(key, Some(before)) => drop(self.insert(&key, before)),
            Undo::Record(key, None) => drop(self.take_out(&key)),
            Undo::Places(owner, Some(before)) => drop(self.places.insert(owner, before)),
            Undo::Places(owner, None) => drop(self.places.remove(&owner)),
            Undo::Bookkeeping(name, Some(before)) => drop(self.bookkeeping.insert(name, before)),
            Undo::Bookkeeping(name, None) => drop(self.bookkeeping.remove(&name)),
        }
    }

    pub(super) fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        // The kind comes first in the map, so that a kind can be walked alone.
        self.records.get(&key.group_kind())?.get(key)
    }

    /// The kind of a key, if it is served and the key has its scope.
    pub(super) fn served(&self, key: &Key) -> Result<Arc<Crd>, Refusal> {
        let kind = key.group_kind();
        let Some(crd) = self.kinds.get(&kind) else {
            return Err(Refusal::UnknownKind(kind.to_string()));
        };
        match (&key.namespace, crd.namespaced) {
            (None, true) => Err(Refusal::Invalid(format!("{kind} {}: a namespace is required", key.name))),
            (Some(_), false) => Err(Refusal::Invalid(format!("{kind} {}: the kind has no namespaces", key.name))),
            _ => Ok(crd.clone()),
        }
    }

    /// What is wrong with a whole object. `old` for transition rules and ratcheting.
    pub(super) fn errors(&self, crd: &Crd, object: Value, old: Option<&Object>) -> Vec<FieldError> {
        let mut errors = builtin::validate(crd, &object);
        let old = old.map(Object::value);
        errors.extend(crd.admit(object, old.as_ref(), given_part(crd)).errors);
        errors
    }

    /// Keeps a new version of an object, its document being the same, and tells of it.
    pub(super) fn store(
        &mut self,
        crd: &Crd,
        key: &Arc<Key>,
        stored: Stored,
        misfit: Vec<Problem>,
        effects: &mut Effects,
    ) -> Arc<Object> {
        let stored = self.numbered(stored);
        let object = materialise(crd, key, &stored, tree(&stored.document));
        self.store_object(key, stored, object, misfit, effects)
    }

    /// Gives a record the next resourceVersion.
    pub(super) fn numbered(&mut self, mut stored: Stored) -> Stored {
        self.version += 1;
        stored.version = self.version;
        stored
    }

    /// Keeps a numbered record and tells of the object that was made of it.
    pub(super) fn store_object(
        &mut self,
        key: &Arc<Key>,
        stored: Stored,
        object: Object,
        misfit: Vec<Problem>,
        effects: &mut Effects,
    ) -> Arc<Object> {
        effects.put(Table::Records, key.to_string(), bytes(&stored));
        let object = Arc::new(object);
        effects.events.push((key.clone(), Some(object.clone())));
        let made = Some(object.clone());
        self.replace(key, Record { stored, object: made, misfit }, effects);
        object
    }

    /// Keeps what is no content: nobody is told.
    pub(super) fn store_quietly(&mut self, key: &Arc<Key>, record: Record, effects: &mut Effects) {
        effects.put(Table::Records, key.to_string(), bytes(&record.stored));
        self.replace(key, record, effects);
    }

    /// Forgets an object and tells of it. The counter of versions never goes back.
    pub(super) fn forget(&mut self, key: &Key, effects: &mut Effects) -> Option<Arc<Record>> {
        let (key, record) = self.take_out(key)?;
        effects.undo.push(Undo::Record(key.clone(), Some(record.clone())));
        effects.remove(Table::Records, key.to_string());
        effects.put(Table::Meta, VERSION_ROW.to_owned(), self.version.to_string().into_bytes());
        effects.events.push((key, None));
        Some(record)
    }

    fn replace(&mut self, key: &Arc<Key>, record: Record, effects: &mut Effects) {
        let before = self.insert(key, Arc::new(record));
        effects.undo.push(Undo::Record(key.clone(), before));
    }

    fn take_out(&mut self, key: &Key) -> Option<(Arc<Key>, Arc<Record>)> {
        let (key, record) = self.records.get_mut(&key.group_kind())?.remove_entry(key)?;
        self.unmark(&key, &record);
        Some((key, record))
    }

    pub(super) fn insert(&mut self, key: &Arc<Key>, record: Arc<Record>) -> Option<Arc<Record>> {
        let kind = key.group_kind();
        let owner = record.object.as_ref().and_then(|object| object.label(OWNER_LABEL)).map(Box::<str>::from);
        let before = self.records.entry(kind.clone()).or_default().insert(key.clone(), record);
        if let Some(before) = &before {
            self.unmark(key, before);
        }
        if let Some(owner) = owner {
            self.owned.entry(kind).or_default().entry(owner).or_default().insert(key.clone());
        }
        before
    }

    fn unmark(&mut self, key: &Arc<Key>, record: &Record) {
        let Some(owner) = record.object.as_ref().and_then(|object| object.label(OWNER_LABEL)) else {
            return;
        };
        let Some(owners) = self.owned.get_mut(&key.group_kind()) else {
            return;
        };
        let empty = owners.get_mut(owner).is_some_and(|keys| {
            keys.remove(key);
            keys.is_empty()
        });
        if empty {
            owners.remove(owner);
        }
    }
}

/// The part of an object that its managers give: all of it, or all but the status subresource.
pub(super) fn given_part(crd: &Crd) -> Part {
    if crd.has_status { Part::Spec } else { Part::Whole }
}

fn bytes(stored: &Stored) -> Vec<u8> {
    serde_json::to_vec(stored).unwrap_or_default()
}
