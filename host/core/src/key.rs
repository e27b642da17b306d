//! The one name of one object.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// A shared, immutable name.
pub type Name = Arc<str>;

/// The name of the embedded cluster.
pub const LOCAL: &str = "local";
/// The name of the main Kubernetes cluster.
pub const HUB: &str = "hub";
/// What the core group, whose name is empty, is called in paths.
const CORE: &str = "core";
/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A group as paths and people write it: the core group is `core`.
pub fn group_word(group: &str) -> &str {
    if group.is_empty() { CORE } else { group }
}

/// The group that [`group_word`] writes.
pub fn group_of_word(word: &str) -> &str {
    if word == CORE { "" } else { word }
}

/// A kind, whatever its version. The core group is the empty string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupKind {
    /// API group, empty for the core group.
    pub group: Name,
    /// Kind in CamelCase.
    pub kind: Name,
}

impl GroupKind {
    /// A kind of a group.
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    /// `GROUP/KIND`, the core group written `core`.
    pub fn path(&self) -> String {
        format!("{}/{}", group_word(&self.group), self.kind)
    }

    /// Parses what [`GroupKind::path`] writes.
    pub fn parse_path(text: &str) -> Option<Self> {
        let (group, kind) = text.split_once('/')?;
        let group = group_of_word(group);
        (!kind.is_empty() && !kind.contains('/')).then(|| Self::new(group, kind))
    }

    /// Whether it is this kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        *self.group == *group && *self.kind == *kind
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

/// A kind in one version.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupVersionKind {
    /// API group, empty for the core group.
    pub group: Name,
    /// Version such as `v1alpha1`.
    pub version: Name,
    /// Kind in CamelCase.
    pub kind: Name,
}

impl GroupVersionKind {
    /// A kind of a group in a version.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// The same without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Group and version of an `apiVersion`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The canonical key of an object. Exactly one per object, whatever the source: the default
/// namespace is filled in before a key is built, and the version is no part of it (rule D6).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    /// `local`, `hub`, or the name of a cluster of the fleet.
    pub cluster: Name,
    /// API group, empty for the core group.
    pub group: Name,
    /// Kind in CamelCase.
    pub kind: Name,
    /// None for cluster-scoped kinds, always set for namespaced ones.
    pub namespace: Option<Name>,
    /// Object name.
    pub name: Name,
}

impl Key {
    /// A key from its parts.
    pub fn new(cluster: &str, group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            cluster: cluster.into(),
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    /// The kind of this key.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }

    /// The kind of this key in its cluster.
    pub fn source(&self) -> Source {
        Source { cluster: self.cluster.clone(), kind: self.group_kind() }
    }

    /// Parses what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (cluster, group, kind, namespace, name) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || cluster.is_empty() || kind.is_empty() || name.is_empty() {
            return None;
        }
        let group = group_of_word(group);
        let namespace = if namespace == "-" { None } else { Some(namespace) };
        Some(Self::new(cluster, group, kind, namespace, name))
    }
}

/// `cluster/group/kind/namespace/name` as in the paths of the HTTP API: the core group is written
/// `core`, no namespace `-`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = group_word(&self.group);
        let namespace = self.namespace.as_deref().unwrap_or("-");
        write!(f, "{}/{}/{}/{}/{}", self.cluster, group, self.kind, namespace, self.name)
    }
}

/// A kind in a cluster: what one reflector watches.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Source {
    /// The cluster.
    pub cluster: Name,
    /// The kind.
    pub kind: GroupKind,
}

impl Source {
    /// A kind in a cluster.
    pub fn new(cluster: &str, group: &str, kind: &str) -> Self {
        Self { cluster: cluster.into(), kind: GroupKind::new(group, kind) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.kind, self.cluster)
    }
}

/// An interned key: dense, so that per-key tables are vectors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct KeyId(pub u32);

impl KeyId {
    /// As index into a table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The interner of keys. An id is given back with [`Keys::release`] and then used again.
#[derive(Default, Debug)]
pub struct Keys {
    ids: FxHashMap<Arc<Key>, KeyId>,
    keys: Vec<Option<Arc<Key>>>,
    free: Vec<KeyId>,
}

impl Keys {
    /// The id of a key, made if it has none.
    pub fn intern(&mut self, key: &Key) -> KeyId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let key = Arc::new(key.clone());
        let id = match self.free.pop() {
            Some(id) => {
                self.keys[id.index()] = Some(key.clone());
                id
            }
            None => {
                self.keys.push(Some(key.clone()));
                KeyId((self.keys.len() - 1) as u32)
            }
        };
        self.ids.insert(key, id);
        id
    }

    /// The id of a key, if it has one.
    pub fn find(&self, key: &Key) -> Option<KeyId> {
        self.ids.get(key).copied()
    }

    /// The key of an id that is in use.
    ///
    /// # Panics
    /// If the id was released.
    pub fn key(&self, id: KeyId) -> &Arc<Key> {
        match &self.keys[id.index()] {
            Some(key) => key,
            None => panic!("key id {} is not in use", id.0),
        }
    }

    /// Gives an id back. The caller promises that nothing refers to it.
    pub fn release(&mut self, id: KeyId) {
        if let Some(key) = self.keys[id.index()].take() {
            self.ids.remove(&key);
            self.free.push(id);
        }
    }

    /// Number of keys in use.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no key is in use.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// One more than the highest id ever given.
    pub fn bound(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_own_text() {
        for key in [
            Key::new("local", "", "ConfigMap", Some("default"), "a"),
            Key::new("hub", "examples.setpoint.dev", "ConfigBundle", None, "b.c"),
        ] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        assert_eq!(Key::parse("local/core/ConfigMap/default"), None);
        assert_eq!(Key::parse("local/core/ConfigMap/default/a/b"), None);
    }

    #[test]
    fn a_released_id_is_given_to_the_next_key() {
        let mut keys = Keys::default();
        let a = keys.intern(&Key::new("local", "", "A", None, "a"));
        let b = keys.intern(&Key::new("local", "", "A", None, "b"));
        assert_ne!(a, b);
        assert_eq!(keys.intern(&Key::new("local", "", "A", None, "a")), a);
        keys.release(a);
        assert_eq!(keys.find(&Key::new("local", "", "A", None, "a")), None);
        assert_eq!(keys.intern(&Key::new("local", "", "A", None, "c")), a);
        assert_eq!(keys.len(), 2);
    }
}
