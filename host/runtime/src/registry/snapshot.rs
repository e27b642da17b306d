//! A registry at one moment.

use std::sync::Arc;

use serde::Serialize;
use setpoint_core::cache::SourceState;
use setpoint_core::key::Key;

/// One object of a registry.
#[derive(Debug)]
pub struct Item<T> {
    /// The object.
    pub key: Arc<Key>,
    /// The version with which it came or its content changed last. What has a higher one than the version that was
    /// looked at last is new or changed.
    pub generation: u64,
    /// What it says.
    pub value: Arc<T>,
}

// Not derived: `T` need not be `Clone`.
impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), generation: self.generation, value: self.value.clone() }
    }
}

/// An object that is there and is not what the reader takes it for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The object.
    pub key: Arc<Key>,
    /// As [`Item::generation`].
    pub generation: u64,
    /// Why it could not be read.
    pub error: String,
}

/// What is known of what is not in a registry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", content = "reason")]
pub enum RegistryState {
    /// It is complete: what is not in it does not exist.
    Live,
    /// The first complete list has not come yet.
    Filling,
    /// The host cannot know at present, and why. What is in it is what was known last.
    Unknown(String),
}

impl From<SourceState> for RegistryState {
    fn from(state: SourceState) -> Self {
        match state {
            SourceState::Synced => Self::Live,
            SourceState::Syncing => Self::Filling,
            SourceState::Unknown(reason) => Self::Unknown(reason),
        }
    }
}

/// A registry as it was at one moment. It does not change.
#[derive(Debug)]
pub struct Snapshot<T> {
    pub(super) version: u64,
    pub(super) state: RegistryState,
    /// In order of namespace and name.
    pub(super) items: Vec<Item<T>>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl<T> Snapshot<T> {
    pub(super) fn empty(state: RegistryState) -> Self {
        Self { version: 0, state, items: Vec::new(), unreadable: Vec::new() }
    }

    /// Moves when the content of an object changes, or one comes or goes, and at no other time. It never goes back, and
    /// begins anew with the host.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether what is not there is known not to exist.
    pub fn state(&self) -> &RegistryState {
        &self.state
    }

    /// Whether it is complete.
    pub fn is_live(&self) -> bool {
        self.state == RegistryState::Live
    }

    /// The items in order of namespace and name.
    pub fn list(&self) -> &[Item<T>] {
        &self.items
    }

    /// The item of this name; `namespace` is none for a kind without namespaces.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<&Item<T>> {
        let at = self.items.binary_search_by(|item| {
            let key = &item.key;
            (key.namespace.as_deref(), &*key.name).cmp(&(namespace, name))
        });
        at.ok().map(|at| &self.items[at])
    }

    /// Number of items.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Objects that are there and could not be read as `T`, in order. They are no items.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_by_namespace_and_name() {
        let item = |namespace: Option<&str>, name: &str| Item {
            key: Arc::new(Key::new("local", "g", "K", namespace, name)),
            generation: 1,
            value: Arc::new(format!("{namespace:?}/{name}")),
        };
        let items = vec![item(None, "z"), item(Some("a"), "b"), item(Some("a"), "c"), item(Some("aa"), "a")];
        let snapshot = Snapshot { items, ..Snapshot::empty(RegistryState::Live) };
        for (namespace, name) in [(None, "z"), (Some("a"), "c"), (Some("aa"), "a")] {
            assert_eq!(*snapshot.get(namespace, name).expect("it is there").value, format!("{namespace:?}/{name}"));
        }
        assert!(snapshot.get(Some("a"), "z").is_none() && snapshot.get(None, "b").is_none());
    }
}
