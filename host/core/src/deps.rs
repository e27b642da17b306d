//! Who has to be called again when an object changes (rules A1, A2, A8, A9).
//!
//! An edge is (reader, what it read, through which mask). Objects that were read by key are found
//! by key; lists are grouped by kind, namespace and index value, so that a change looks only at
//! lists that it may belong to.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::contract::ListQuery;
use crate::key::{KeyId, Name, Source};
use crate::mask::{Mask, Path};
use crate::object::Object;
use crate::selector::Selector;

/// A mask, interned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MaskId(u32);

impl MaskId {
    /// The mask that shows everything.
    pub const ALL: MaskId = MaskId(0);
}

/// A list that somebody reads, interned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ListId(u32);

/// A list as it is matched: selector and index path are parsed, the mask is known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct List {
    /// Kind and cluster.
    pub source: Source,
    /// None: all namespaces.
    pub namespace: Option<Name>,
    /// Labels.
    pub selector: Selector,
    /// Path of an index, and the value to match.
    pub index: Option<(Path, String)>,
    /// What the reader sees of each object.
    pub mask: MaskId,
}

impl List {
    /// Whether an object belongs to the list, its kind being right.
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object.namespace() == Some(namespace))
            && self.selector.matches(object.labels())
            && self.index.as_ref().is_none_or(|(path, wanted)| path.values(&object.value()).contains(wanted))
    }

    /// A list from a plugin's question. Index names are resolved by the caller.
    ///
    /// # Errors
    /// The selector's error.
    pub fn of(
        query: &ListQuery,
        index: Option<(Path, String)>,
        mask: MaskId,
    ) -> Result<Self, crate::selector::SelectorError> {
        Ok(Self {
            source: Source { cluster: query.cluster.clone(), kind: query.kind.clone() },
            namespace: query.namespace.clone(),
            selector: query.labels.as_deref().map_or_else(|| Ok(Selector::default()), Selector::parse)?,
            index,
            mask,
        })
    }
}

/// Readers of one thing, shared with fan-outs that are still being expanded.
pub type Readers = Arc<Vec<(KeyId, MaskId)>>;

/// What a key read: sorted, without duplicates.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadSet {
    /// Objects read by key, absent ones included.
    pub gets: Vec<(KeyId, MaskId)>,
    /// Lists.
    pub lists: Vec<ListId>,
    /// Sources whose state mattered: a read found them unknown.
    pub sources: Vec<Source>,
}

impl ReadSet {
    /// Number of entries; a list counts as one.
    pub fn len(&self) -> usize {
        self.gets.len() + self.lists.len() + self.sources.len()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

type Group = (Option<Name>, Option<(Path, String)>);

#[derive(Debug, Default)]
struct SourceLists {
    groups: FxHashMap<Group, Vec<ListId>>,
    /// Index paths in use, with the number of lists that use them.
    paths: Vec<(Path, usize)>,
}

#[derive(Debug)]
struct Interned {
    list: Arc<List>,
    readers: Readers,
}

/// The dependency index.
#[derive(Debug)]
pub struct Deps {
    masks: Vec<Mask>,
    mask_ids: FxHashMap<Mask, MaskId>,
    by_key: FxHashMap<KeyId, Readers>,
    lists: Vec<Option<Interned>>,
    list_ids: FxHashMap<Arc<List>, ListId>,
    free: Vec<ListId>,
    by_source: FxHashMap<Source, SourceLists>,
    waiting: FxHashMap<Source, Vec<KeyId>>,
}

impl Default for Deps {
    fn default() -> Self {
        Self {
            masks: vec![Mask::all()],
            mask_ids: FxHashMap::from_iter([(Mask::all(), MaskId::ALL)]),
            by_key: FxHashMap::default(),
            lists: Vec::new(),
            list_ids: FxHashMap::default(),
            free: Vec::new(),
            by_source: FxHashMap::default(),
            waiting: FxHashMap::default(),
        }
    }
}

/// Readers that a change concerns, and the masks through which they see it.
#[derive(Debug)]
pub struct Concerned {
    /// The readers; those whose mask is not in `masks` see no difference.
    pub readers: Readers,
    /// Masks that show a difference; none: all readers are concerned.
    pub masks: Option<Vec<MaskId>>,
}

impl Deps {
    /// The id of a mask.
    pub fn intern_mask(&mut self, mask: &Mask) -> MaskId {
        if let Some(id) = self.mask_ids.get(mask) {
            return *id;
        }
        let id = MaskId(self.masks.len() as u32);
        self.masks.push(mask.clone());
        self.mask_ids.insert(mask.clone(), id);
        id
    }

    /// The mask of an id.
    pub fn mask(&self, id: MaskId) -> &Mask {
        &self.masks[id.0 as usize]
    }

    /// The list of an id.
    pub fn list(&self, id: ListId) -> Option<&Arc<List>> {
        Some(&self.lists.get(id.0 as usize)?.as_ref()?.list)
    }

    /// `reader` reads an object by key. The caller adds an edge once: looking for it here would
    /// make a target with many readers quadratic.
    pub fn add_get(&mut self, reader: KeyId, target: KeyId, mask: MaskId) {
        Arc::make_mut(self.by_key.entry(target).or_default()).push((reader, mask));
    }

    /// The id of a list.
    pub fn find_list(&self, list: &List) -> Option<ListId> {
        self.list_ids.get(list).copied()
    }

    /// `reader` reads a list. The caller adds an edge once.
    pub fn add_list(&mut self, reader: KeyId, list: List) -> ListId {
        let id = match self.list_ids.get(&list) {
            Some(id) => *id,
            None => self.intern_list(list),
        };
        if let Some(Some(interned)) = self.lists.get_mut(id.0 as usize) {
            Arc::make_mut(&mut interned.readers).push((reader, interned.list.mask));
        }
        id
    }

    fn intern_list(&mut self, list: List) -> ListId {
        let list = Arc::new(list);
        let interned = Some(Interned { list: list.clone(), readers: Readers::default() });
        let id = match self.free.pop() {
            Some(id) => {
                self.lists[id.0 as usize] = interned;
                id
            }
            None => {
                self.lists.push(interned);
                ListId(self.lists.len() as u32 - 1)
            }
        };
        self.list_ids.insert(list.clone(), id);
        let lists = self.by_source.entry(list.source.clone()).or_default();
        lists.groups.entry((list.namespace.clone(), list.index.clone())).or_default().push(id);
        if let Some((path, _)) = &list.index {
            match lists.paths.iter_mut().find(|(known, _)| known == path) {
                Some((_, count)) => *count += 1,
                None => lists.paths.push((path.clone(), 1)),
            }
        }
        id
    }

    /// `reader` waits for a source to become known.
    pub fn add_source(&mut self, reader: KeyId, source: &Source) {
        let waiting = self.waiting.entry(source.clone()).or_default();
        if !waiting.contains(&reader) {
            waiting.push(reader);
        }
    }

    /// Takes out the edges of `old` that are not in `new`.
    pub fn replace(&mut self, reader: KeyId, old: &ReadSet, new: &ReadSet) {
        for (target, mask) in &old.gets {
            if new.gets.binary_search(&(*target, *mask)).is_ok() {
                continue;
            }
            if let Some(readers) = self.by_key.get_mut(target) {
                Arc::make_mut(readers).retain(|edge| *edge != (reader, *mask));
                if readers.is_empty() {
                    self.by_key.remove(target);
                }
            }
        }
        for id in &old.lists {
            if new.lists.binary_search(id).is_err() {
                self.remove_list(reader, *id);
            }
        }
        for source in &old.sources {
            if new.sources.contains(source) {
                continue;
            }
            if let Some(waiting) = self.waiting.get_mut(source) {
                waiting.retain(|key| *key != reader);
                if waiting.is_empty() {
                    self.waiting.remove(source);
                }
            }
        }
    }

    fn remove_list(&mut self, reader: KeyId, id: ListId) {
        let Some(Some(interned)) = self.lists.get_mut(id.0 as usize) else { return };
        Arc::make_mut(&mut interned.readers).retain(|(key, _)| *key != reader);
        if !interned.readers.is_empty() {
            return;
        }
        let list = interned.list.clone();
        self.lists[id.0 as usize] = None;
        self.list_ids.remove(&list);
        self.free.push(id);
        let Some(lists) = self.by_source.get_mut(&list.source) else { return };
        let group = (list.namespace.clone(), list.index.clone());
        if let Some(ids) = lists.groups.get_mut(&group) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                lists.groups.remove(&group);
            }
        }
        if let Some((path, _)) = &list.index {
            if let Some((_, count)) = lists.paths.iter_mut().find(|(known, _)| known == path) {
                *count -= 1;
            }
            lists.paths.retain(|(_, count)| *count > 0);
        }
        if lists.groups.is_empty() {
            self.by_source.remove(&list.source);
        }
    }

    /// Who reads this object by key, and through which mask.
    pub fn readers_of(&self, target: KeyId) -> &[(KeyId, MaskId)] {
        self.by_key.get(&target).map_or(&[], |readers| readers.as_slice())
    }

    /// Whether anybody reads this object by key.
    pub fn is_read(&self, target: KeyId) -> bool {
        self.by_key.contains_key(&target)
    }

    /// Who waits for a source.
    pub fn waiting_for(&self, source: &Source) -> &[KeyId] {
        self.waiting.get(source).map_or(&[], Vec::as_slice)
    }

    /// The sources that somebody waits for, in order.
    pub fn awaited_sources(&self) -> impl Iterator<Item = &Source> {
        let mut sources: Vec<_> = self.waiting.keys().collect();
        sources.sort_unstable();
        sources.into_iter()
    }

    /// Who is concerned by a change of an object: readers by key whose mask shows a difference, and
    /// readers of lists that it entered, left, or changed in visibly. Old *and* new content count.
    pub fn concerned(
        &self,
        target: KeyId,
        source: &Source,
        old: Option<&Object>,
        new: Option<&Object>,
    ) -> Vec<Concerned> {
        let mut concerned = Vec::new();
        if let Some(readers) = self.by_key.get(&target) {
            let masks = match (old, new) {
                (Some(old), Some(new)) if old.uid() == new.uid() => {
                    let mut masks: Vec<MaskId> = readers.iter().map(|(_, mask)| *mask).collect();
                    masks.sort_unstable();
                    masks.dedup();
                    masks.retain(|mask| self.mask(*mask).differs(old, new));
                    Some(masks)
                }
                _ => None,
            };
            if masks.as_ref().is_none_or(|masks| !masks.is_empty()) {
                concerned.push(Concerned { readers: readers.clone(), masks });
            }
        }
        for id in self.candidates(source, old, new) {
            let Some(Some(Interned { list, readers })) = self.lists.get(id.0 as usize) else { continue };
            let was = old.filter(|object| list.matches(object));
            let is = new.filter(|object| list.matches(object));
            let visible = match (was, is) {
                (None, None) => false,
                (Some(was), Some(is)) => was.uid() != is.uid() || self.mask(list.mask).differs(was, is),
                _ => true,
            };
            if visible {
                concerned.push(Concerned { readers: readers.clone(), masks: None });
            }
        }
        concerned
    }

    fn candidates(&self, source: &Source, old: Option<&Object>, new: Option<&Object>) -> Vec<ListId> {
        let Some(lists) = self.by_source.get(source) else { return Vec::new() };
        let mut found = Vec::new();
        let mut look = |group: Group| found.extend(lists.groups.get(&group).into_iter().flatten().copied());
        let mut namespaces: Vec<Option<Name>> = vec![None];
        for object in [old, new].into_iter().flatten() {
            let namespace = object.namespace().map(Name::from);
            if !namespaces.contains(&namespace) {
                namespaces.push(namespace);
            }
        }
        let values: Vec<Value> = if lists.paths.is_empty() {
            Vec::new()
        } else {
            [old, new].into_iter().flatten().map(Object::value).collect()
        };
        for namespace in namespaces {
            look((namespace.clone(), None));
            for (path, _) in &lists.paths {
                let mut matched: Vec<String> = values.iter().flat_map(|value| path.values(value)).collect();
                matched.sort_unstable();
                matched.dedup();
                for value in matched {
                    look((namespace.clone(), Some((path.clone(), value))));
                }
            }
        }
        found
    }

    /// Number of edges, for metrics.
    pub fn edges(&self) -> usize {
        self.by_key.values().map(|r| r.len()).sum::<usize>()
            + self.lists.iter().flatten().map(|l| l.readers.len()).sum::<usize>()
    }
}

#[cfg(test)]
#[path = "deps_tests.rs"]
mod tests;
