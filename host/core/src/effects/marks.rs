//! Owner marks: label and annotations that say whose child an object is (rules B2, B4, B5).

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::key::{GroupKind, Key, LOCAL, Name};
use crate::object::Object;

/// Label: hash of installation and owner.
pub const OWNER_LABEL: &str = "setpoint.dev/owner";
/// Annotation: the owner's key, for people and for adoption.
pub const OWNER_KEY: &str = "setpoint.dev/owner-key";
/// Annotation: the owner's uid.
pub const OWNER_UID: &str = "setpoint.dev/owner-uid";
/// Annotation that a person sets on an unmarked object: `Kind/namespace/name` of its owner to be.
pub const ADOPT: &str = "setpoint.dev/adopt";
/// Annotation on an owner: no new attempts while it is `true` (rule C9).
pub const PAUSED: &str = "setpoint.dev/paused";
/// Annotation on an owner, where nothing else keeps it: where its children may be (rule B2).
pub const CHILD_PLACES: &str = "setpoint.dev/child-places";
/// The one finalizer of owned objects; it belongs to whoever reconciles the kind now (rule B12).
pub const FINALIZER: &str = "setpoint.dev/finalizer";

/// Who writes: the installation and, per owner, its mark and field manager. A cluster enters by its
/// identity, never by its display name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    installation: String,
    mark: Box<str>,
    owner: Key,
}

/// 128 bits of the SHA-256 of these parts, in hexadecimal.
pub(crate) fn digest(parts: &[&str]) -> Box<str> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl Identity {
    /// The identity for an owner. `cluster_identity` is the uid of the cluster's kube-system
    /// namespace, or the store's id for `local`.
    pub fn new(installation: &str, cluster_identity: &str, owner: &Key) -> Self {
        let namespace = owner.namespace.as_deref().unwrap_or("");
        let mark = digest(&[installation, cluster_identity, &owner.group, &owner.kind, namespace, &owner.name]);
        Self { installation: installation.to_owned(), mark, owner: owner.clone() }
    }

    /// Value of [`OWNER_LABEL`] on this owner's children.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Field manager of this owner's children.
    pub fn manager(&self) -> Box<str> {
        format!("setpoint/{}", self.mark).into()
    }

    /// Field manager of statuses of this installation.
    pub fn status_manager(&self) -> Box<str> {
        status_manager(&self.installation)
    }

    /// `Kind/namespace/name`, as [`ADOPT`] names an owner.
    pub fn adopt_name(&self) -> String {
        format!("{}/{}/{}", self.owner.kind, self.owner.namespace.as_deref().unwrap_or("-"), self.owner.name)
    }

    /// Puts the mark on a child's document, and an owner reference where Kubernetes can follow it:
    /// never across namespaces or clusters (rule B11).
    pub fn put_on(&self, child: &mut Value, key: &Key, owner: &Object) {
        let Some(metadata) = child.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let mut set = |part: &str, name: &str, value: &str| {
            let map = metadata.entry(part).or_insert_with(|| json!({}));
            if !map.is_object() {
                *map = json!({});
            }
            map[name] = json!(value);
        };
        set("labels", OWNER_LABEL, &self.mark);
        set("annotations", OWNER_KEY, &self.owner.to_string());
        set("annotations", OWNER_UID, owner.uid());
        if is_collectable(&self.owner, key) {
            metadata.insert(
                "ownerReferences".into(),
                json!([{"apiVersion": owner.api_version(), "kind": owner.kind(), "name": owner.name(),
                        "uid": owner.uid(), "controller": true, "blockOwnerDeletion": true}]),
            );
        }
    }
}

/// The value of [`CHILD_PLACES`]: kinds as `group/Kind`, with `cluster:` before them in another cluster than the
/// owner's, the core group written `core`. A cluster's display name may differ between hosts; its own has none.
pub fn places_text(owner: &Key, places: &[(Name, GroupKind)]) -> String {
    let text = |(cluster, kind): &(Name, GroupKind)| {
        if *cluster == owner.cluster { kind.path() } else { format!("{cluster}:{}", kind.path()) }
    };
    places.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Reads what [`places_text`] writes; what makes no sense is left out.
pub fn parse_places(owner: &Key, text: &str) -> Vec<(Name, GroupKind)> {
    let place = |text: &str| {
        let (cluster, kind) = match text.trim().split_once(':') {
            Some((cluster, kind)) => (cluster.into(), kind),
            None => (owner.cluster.clone(), text.trim()),
        };
        Some((cluster, GroupKind::parse_path(kind)?))
    };
    text.split(',').filter_map(place).collect()
}

/// Field manager of the statuses of an installation.
pub fn status_manager(installation: &str) -> Box<str> {
    format!("setpoint/{}/status", &digest(&[installation])[..16]).into()
}

/// Whether an owner has to be kept until the host has deleted this child: in Kubernetes nobody else would (rule
/// B11). What `local` has is the host's own to collect.
pub(super) fn holds_owner(owner: &Key, child: &Key) -> bool {
    &*owner.cluster != LOCAL && &*child.cluster != LOCAL && !is_collectable(owner, child)
}

/// Whether an owner reference from a child to its owner is legal, so that Kubernetes' garbage
/// collector can follow it.
pub(super) fn is_collectable(owner: &Key, child: &Key) -> bool {
    owner.cluster == child.cluster && (owner.namespace.is_none() || owner.namespace == child.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ_between_owners_installations_and_clusters() {
        let owner = Key::new("local", "g", "K", Some("d"), "a");
        let other = Key::new("local", "g", "K", Some("d"), "b");
        let marks = [
            Identity::new("i", "c", &owner),
            Identity::new("i", "c", &other),
            Identity::new("j", "c", &owner),
            Identity::new("i", "d", &owner),
        ];
        for (at, mark) in marks.iter().enumerate() {
            assert_eq!(mark.mark().len(), 32);
            assert!(marks[..at].iter().all(|m| m.mark() != mark.mark()));
        }
        let renamed = Key::new("elsewhere", "g", "K", Some("d"), "a");
        assert_eq!(Identity::new("i", "c", &renamed).mark(), marks[0].mark(), "the display name is not hashed");
    }

    #[test]
    fn places_survive_their_own_text() {
        let owner = Key::new("hub", "g", "K", Some("d"), "a");
        let places = vec![
            (Name::from("hub"), GroupKind::new("", "ConfigMap")),
            (Name::from("prod.eu"), GroupKind::new("apps", "Deployment")),
            (Name::from("local"), GroupKind::new("host.setpoint.dev", "Process")),
        ];
        let text = places_text(&owner, &places);
        assert_eq!(text, "core/ConfigMap,prod.eu:apps/Deployment,local:host.setpoint.dev/Process");
        assert_eq!(parse_places(&owner, &text), places);
        let elsewhere = Key { cluster: "main".into(), ..owner.clone() };
        assert_eq!(&*parse_places(&elsewhere, "core/ConfigMap")[0].0, "main", "whatever the cluster is called here");
        assert!(parse_places(&owner, "").is_empty() && parse_places(&owner, "x,/,a/b/c,:").is_empty());
    }

    #[test]
    fn an_owner_is_held_for_children_that_nobody_else_would_delete() {
        let owner = Key::new("hub", "g", "K", Some("d"), "a");
        assert!(!holds_owner(&owner, &Key::new("hub", "", "ConfigMap", Some("d"), "x")));
        assert!(holds_owner(&owner, &Key::new("hub", "", "ConfigMap", Some("e"), "x")));
        assert!(holds_owner(&owner, &Key::new("hub", "", "Namespace", None, "x")));
        assert!(holds_owner(&owner, &Key::new("prod", "", "ConfigMap", Some("d"), "x")));
        assert!(!holds_owner(&owner, &Key::new("local", "host.setpoint.dev", "Process", Some("d"), "x")));
        let file = Key::new("local", "g", "K", Some("d"), "a");
        assert!(!holds_owner(&file, &Key::new("hub", "", "ConfigMap", Some("e"), "x")));
    }

    #[test]
    fn an_owner_reference_never_crosses_a_boundary() {
        let owner = Key::new("local", "g", "K", Some("d"), "a");
        assert!(is_collectable(&owner, &Key::new("local", "", "ConfigMap", Some("d"), "x")));
        assert!(!is_collectable(&owner, &Key::new("local", "", "ConfigMap", Some("e"), "x")));
        assert!(!is_collectable(&owner, &Key::new("hub", "", "ConfigMap", Some("d"), "x")));
        assert!(!is_collectable(&owner, &Key::new("local", "", "Namespace", None, "x")));
    }
}
