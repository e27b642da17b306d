//! Objects as the cache holds them: compact JSON content, immutable and shared, plus the few
//! parsed metadata fields that the host needs (design §3, rule A2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::fields::FieldSet;
use crate::key::{Key, Name, split_api_version};
use crate::mask::Mask;

/// Annotation that kubectl leaves behind; no content (rule A2).
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An owner reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnerReference {
    /// Kind of the owner.
    pub kind: Box<str>,
    /// Name of the owner.
    pub name: Box<str>,
    /// Uid of the owner.
    pub uid: Box<str>,
    /// Whether it is the controlling owner.
    pub controller: bool,
}

/// Field sets by manager: which fields each of this host's own managers applied (rule B1).
pub type Applied = BTreeMap<Box<str>, Arc<FieldSet>>;

/// The last write of a status by a host of another installation (rule D9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elsewhere {
    /// The manager of its statuses.
    pub manager: Box<str>,
    /// When, in Unix milliseconds by the server's clock.
    pub at: u64,
}

/// One version of one object. Two versions differ only if their [`Object::json`] differs.
#[derive(Debug)]
pub struct Object {
    json: Arc<str>,
    api_version: Name,
    kind: Name,
    namespace: Option<Box<str>>,
    name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
    generation: i64,
    labels: Box<[(Box<str>, Box<str>)]>,
    marks: Box<[(Box<str>, Box<str>)]>,
    owners: Box<[OwnerReference]>,
    finalizers: Box<[Box<str>]>,
    deletion_timestamp: Option<Box<str>>,
    applied: Option<Arc<Applied>>,
    elsewhere: Option<Box<Elsewhere>>,
}

/// Prefix of labels and annotations of the host's own.
pub const MARK_PREFIX: &str = "setpoint.dev/";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn pairs(value: Option<&Value>, keep: impl Fn(&str) -> bool) -> Box<[(Box<str>, Box<str>)]> {
    let mut pairs: Vec<(Box<str>, Box<str>)> = value
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .filter(|(key, _)| keep(key))
                .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
                .collect()
        })
        .unwrap_or_default();
    pairs.sort();
    pairs.into()
}

impl Object {
    /// Takes an object apart. `resourceVersion`, `managedFields` and last-applied annotations are
    /// no content and leave the JSON; the version stays readable beside it.
    pub fn new(mut value: Value, applied: Option<Arc<Applied>>) -> Self {
        let mut resource_version = String::new();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            if let Some(Value::String(version)) = metadata.remove("resourceVersion") {
                resource_version = version;
            }
            metadata.remove("managedFields");
            let mut empty = false;
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                empty = annotations.remove(LAST_APPLIED).is_some() && annotations.is_empty();
            }
            if empty {
                metadata.remove("annotations");
            }
        }
        let none = Value::Null;
        let metadata = value.get("metadata").unwrap_or(&none);
        let list = |key: &str| metadata.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let owners = list("ownerReferences")
            .iter()
            .map(|owner| OwnerReference {
                kind: text(owner, "kind").into(),
                name: text(owner, "name").into(),
                uid: text(owner, "uid").into(),
                controller: owner.get("controller").and_then(Value::as_bool).unwrap_or(false),
            })
            .collect();
        let finalizers = list("finalizers").iter().filter_map(|f| Some(f.as_str()?.into())).collect();
        Self {
            api_version: text(&value, "apiVersion").into(),
            kind: text(&value, "kind").into(),
            namespace: metadata.get("namespace").and_then(Value::as_str).map(Into::into),
            name: text(metadata, "name").into(),
            uid: text(metadata, "uid").into(),
            resource_version: resource_version.into(),
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or(0),
            labels: pairs(metadata.get("labels"), |_| true),
            marks: pairs(metadata.get("annotations"), |key| key.starts_with(MARK_PREFIX)),
            owners,
            finalizers,
            deletion_timestamp: metadata.get("deletionTimestamp").and_then(Value::as_str).map(Into::into),
            json: serde_json::to_string(&value).unwrap_or_default().into(),
            applied,
            elsewhere: None,
        }
    }

    /// The same, of whose status a host of another installation has written something.
    #[must_use]
    pub fn written_elsewhere(self, elsewhere: Option<Elsewhere>) -> Self {
        Self { elsewhere: elsewhere.map(Box::new), ..self }
    }

    /// The same with only the content that a mask shows. What the host itself reads of its metadata stays.
    pub fn masked(self, mask: &Mask) -> Self {
        Self { json: mask.view(&self), ..self }
    }

    /// The content as compact JSON.
    pub fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// The content as a tree.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or(Value::Null)
    }

    /// Whether two versions are the same to a reader that sees everything (rule A2).
    pub fn same_content(&self, other: &Object) -> bool {
        Arc::ptr_eq(&self.json, &other.json) || self.json == other.json
    }

    /// The canonical key of this object in a cluster.
    pub fn key(&self, cluster: &Name) -> Key {
        let (group, _) = split_api_version(&self.api_version);
        Key {
            cluster: cluster.clone(),
            group: group.into(),
            kind: self.kind.clone(),
            namespace: self.namespace.as_deref().map(Into::into),
            name: (&*self.name).into(),
        }
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// `metadata.resourceVersion`, which plugins never see.
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// `metadata.generation`, 0 if there is none.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Labels in order of their keys.
    pub fn labels(&self) -> &[(Box<str>, Box<str>)] {
        &self.labels
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(&self.labels, key)
    }

    /// The value of an annotation of the host's own (prefix [`MARK_PREFIX`]).
    pub fn mark(&self, key: &str) -> Option<&str> {
        find(&self.marks, key)
    }

    /// Whether there are annotations of the host's own.
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Owner references.
    pub fn owners(&self) -> &[OwnerReference] {
        &self.owners
    }

    /// Finalizers in order.
    pub fn finalizers(&self) -> &[Box<str>] {
        &self.finalizers
    }

    /// Whether a finalizer is there.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| &**f == name)
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// What this host's own managers applied, where it is known.
    pub fn applied(&self) -> Option<&Arc<Applied>> {
        self.applied.as_ref()
    }

    /// The last write of the status by a host of another installation.
    pub fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_deref()
    }

    /// The fields that one manager applied.
    pub fn applied_by(&self, manager: &str) -> Option<&FieldSet> {
        self.applied.as_ref()?.get(manager).map(|set| &**set)
    }
}

fn find<'a>(pairs: &'a [(Box<str>, Box<str>)], key: &str) -> Option<&'a str> {
    pairs.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*pairs[at].1)
}

/// Whether a version is newer than or the same as another, compared as decimal integers of one
/// resource; `None` if either is not a well-formed integer (rule A10).
pub fn version_reached(seen: &str, wanted: &str) -> Option<bool> {
    let number = |text: &str| -> Option<u128> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
    };
    Some(number(seen)? >= number(wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_and_bookkeeping_are_no_content() {
        let base = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}});
        let mut noisy = base.clone();
        noisy["metadata"]["resourceVersion"] = json!("7");
        noisy["metadata"]["managedFields"] = json!([{}]);
        noisy["metadata"]["annotations"] = json!({LAST_APPLIED: "{}"});
        let (base, noisy) = (Object::new(base, None), Object::new(noisy, None));
        assert!(base.same_content(&noisy));
        assert_eq!(noisy.resource_version(), "7");
    }

    #[test]
    fn metadata_is_read_once() {
        let object = Object::new(
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {
                "name": "a", "uid": "u", "generation": 3, "labels": {"b": "2", "a": "1"},
                "annotations": {"setpoint.dev/paused": "true", "other": "x"},
                "finalizers": ["f"], "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"kind": "O", "name": "o", "uid": "ou", "controller": true}]}}),
            None,
        );
        assert_eq!(object.label("b"), Some("2"));
        assert_eq!(object.mark("setpoint.dev/paused"), Some("true"));
        assert_eq!(object.mark("other"), None);
        assert!(object.has_finalizer("f") && object.terminating() && object.owners()[0].controller);
        assert_eq!(object.key(&"local".into()), Key::new("local", "g", "K", None, "a"));
    }

    #[test]
    fn versions_compare_as_integers_or_not_at_all() {
        assert_eq!(version_reached("10", "9"), Some(true));
        assert_eq!(version_reached("9", "10"), Some(false));
        assert_eq!(version_reached("9a", "10"), None);
        assert_eq!(version_reached("", "1"), None);
    }
}
