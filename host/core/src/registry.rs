//! What the objects of a kind amount to, for those who only look: their content in a stable order, with numbers that
//! move when content does and at no other time.
//!
//! An object that is written without a difference, or of which only the version, the field managers, the finalizers
//! or the host's own marks differ, is the same to whoever looks: nothing moves. So a number that was seen once and is
//! seen again says that there is nothing to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use crate::cache::SourceState;
use crate::key::{Key, Name, Source};
use crate::object::{MARK_PREFIX, Object};

/// One object of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The object.
    pub key: Arc<Key>,
    /// Its content as compact JSON, as [`content`] has it.
    pub content: Arc<str>,
    /// The version of the registry with which it came or its content changed last. Of an object that goes and comes
    /// again it is higher than it ever was.
    pub generation: u64,
}

/// The objects of one kind in one cluster.
#[derive(Clone, Default, Debug)]
pub struct Registry {
    /// By namespace and name: the order in which they are shown.
    items: BTreeMap<(Option<Name>, Name), Item>,
    version: u64,
    /// The version with which each namespace changed last, those that are empty by now among them.
    namespaces: BTreeMap<Option<Name>, u64>,
}

impl Registry {
    /// A registry of what is known now: version 1, or 0 if that is nothing.
    pub fn of<'a>(objects: impl IntoIterator<Item = (&'a Arc<Key>, &'a Arc<Object>)>) -> Self {
        let mut registry = Self::default();
        for (key, object) in objects {
            registry.version = 1;
            registry.put(key, content(object));
        }
        registry
    }

    /// A version of an object is known, or it is gone. Answers whether that is a change of content: then the version
    /// is one higher.
    pub fn changed(&mut self, key: &Arc<Key>, object: Option<&Object>) -> bool {
        let place = (key.namespace.clone(), key.name.clone());
        let known = self.items.get(&place);
        match object {
            None if known.is_none() => return false,
            None => {
                self.items.remove(&place);
                self.version += 1;
                self.namespaces.insert(key.namespace.clone(), self.version);
            }
            Some(object) => {
                let content = content(object);
                if known.is_some_and(|known| known.content == content) {
                    return false;
                }
                self.version += 1;
                self.put(key, content);
            }
        }
        true
    }

    fn put(&mut self, key: &Arc<Key>, content: Arc<str>) {
        let item = Item { key: key.clone(), content, generation: self.version };
        self.items.insert((key.namespace.clone(), key.name.clone()), item);
        self.namespaces.insert(key.namespace.clone(), self.version);
    }

    /// Moves with each change of content, of the whole or of one namespace, and never back.
    pub fn version(&self, namespace: Option<&Name>) -> u64 {
        match namespace {
            None => self.version,
            Some(namespace) => self.namespaces.get(&Some(namespace.clone())).copied().unwrap_or_default(),
        }
    }

    /// The items in order of namespace and name, of the whole or of one namespace.
    pub fn items<'a>(&'a self, namespace: Option<&'a Name>) -> impl Iterator<Item = &'a Item> + use<'a> {
        let from = (namespace.cloned(), Name::from(""));
        let items = self.items.range(from..);
        items
            .map(|(_, item)| item)
            .take_while(move |item| namespace.is_none() || item.key.namespace.as_ref() == namespace)
    }
}

/// What there is of an object for those who look: all of it, but for what the API server and the host keep in its
/// metadata for themselves (finalizers, owner references, labels and annotations of the host's prefix).
pub fn content(object: &Object) -> Arc<str> {
    let marked = || object.labels().iter().any(|(label, _)| label.starts_with(MARK_PREFIX));
    if object.finalizers().is_empty() && object.owners().is_empty() && !object.has_marks() && !marked() {
        return object.json().clone();
    }
    let mut value = object.value();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("finalizers");
        metadata.remove("ownerReferences");
        for part in ["labels", "annotations"] {
            let Some(map) = metadata.get_mut(part).and_then(Value::as_object_mut) else { continue };
            map.retain(|key, _| !key.starts_with(MARK_PREFIX));
            if map.is_empty() {
                metadata.remove(part);
            }
        }
    }
    serde_json::to_string(&value).unwrap_or_default().into()
}

/// The registries that somebody looks at, and which of them have moved.
#[derive(Default, Debug)]
pub(crate) struct Registries {
    open: FxHashMap<Source, Registry>,
    moved: FxHashSet<Source>,
}

impl Registries {
    /// Somebody looks at a kind from now on.
    pub(crate) fn open(&mut self, source: &Source, registry: impl FnOnce() -> Registry) {
        if !self.open.contains_key(source) {
            self.open.insert(source.clone(), registry());
        }
    }

    pub(crate) fn get(&self, source: &Source) -> Option<&Registry> {
        self.open.get(source)
    }

    /// Whether nobody looks at anything: what follows costs nothing then.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// An object has changed.
    pub(crate) fn changed(&mut self, key: &Arc<Key>, object: Option<&Object>) {
        let source = key.source();
        let Some(registry) = self.open.get_mut(&source) else { return };
        if registry.changed(key, object) {
            self.moved.insert(source);
        }
    }

    /// Something else is known of a source as a whole.
    pub(crate) fn source_changed(&mut self, source: &Source) {
        if self.open.contains_key(source) {
            self.moved.insert(source.clone());
        }
    }

    /// Those that have moved since this was asked last.
    pub(crate) fn take_moved(&mut self) -> Vec<Source> {
        if self.moved.is_empty() { Vec::new() } else { self.moved.drain().collect() }
    }
}

/// How a registry stands: what is in it, and what is known of what is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// See [`Registry::version`].
    pub version: u64,
    /// Only of what is [`SourceState::Synced`] an object that is not there is known not to be there.
    pub state: SourceState,
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
