//! Whether an outcome makes sense, before anything of it is done (rules B10, B12, design §6).

use rustc_hash::FxHashSet;
use serde_json::{Value, json};

use super::Shapes;
use crate::contract::{Child, Description, Outcome, Reason, Update};
use crate::grants::Grants;
use crate::key::{DEFAULT_NAMESPACE, GroupKind, Key, LOCAL, split_api_version};
use crate::native;

/// Why an outcome is no answer at all. It counts as a failed attempt.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the plugin's answer is invalid: {0}")]
pub struct InvalidOutcome(pub String);

/// A child as it shall be, or why it is refused.
#[derive(Clone, PartialEq, Debug)]
pub struct DesiredChild {
    /// Its key, if that much could be read of it.
    pub key: Option<Key>,
    /// The document without marks, or the reason for which nothing of it is written.
    pub object: Result<Value, Reason>,
    /// How it is changed.
    pub update: Update,
}

/// Checks the parts of an outcome that make it invalid as a whole, and each child by itself.
///
/// # Errors
/// `finalized` while not deleting, a status that is no object, conditions of the host's own or
/// twice, two children with one key.
pub fn validate(
    owner: &Key,
    deleting: bool,
    outcome: &Outcome,
    description: &Description,
    grants: &Grants,
    shapes: &dyn Shapes,
) -> Result<(Option<Value>, Option<Vec<DesiredChild>>), InvalidOutcome> {
    let invalid = |text: String| Err(InvalidOutcome(text));
    if outcome.finalized && !deleting {
        return invalid("`finalized` while the object is not being deleted".into());
    }
    let mut types = FxHashSet::default();
    for condition in &outcome.conditions {
        if crate::status::HOST_CONDITIONS.contains(&condition.kind.as_str()) {
            return invalid(format!("the condition {} is the host's; use `readiness`", condition.kind));
        }
        if condition.kind.is_empty() || !types.insert(&condition.kind) {
            return invalid(format!("the condition {:?} is there twice or has no type", condition.kind));
        }
    }
    let status = match &outcome.status {
        None => None,
        Some(text) => match serde_json::from_str::<Value>(text) {
            Ok(mut value @ Value::Object(_)) => {
                if let Some(map) = value.as_object_mut() {
                    map.remove("conditions");
                    map.remove("observedGeneration");
                }
                Some(value)
            }
            Ok(_) => return invalid("the status is not a JSON object".into()),
            Err(error) => return invalid(format!("the status is not JSON: {error}")),
        },
    };
    let Some(children) = &outcome.children else { return Ok((status, None)) };
    let mut keys = FxHashSet::default();
    let mut desired = Vec::with_capacity(children.len());
    for child in children {
        let child = desired_child(owner, child, description, grants, shapes);
        if let Some(key) = &child.key
            && !keys.insert(key.clone())
        {
            return invalid(format!("the child {key} is returned twice"));
        }
        desired.push(child);
    }
    Ok((status, Some(desired)))
}

fn desired_child(
    owner: &Key,
    child: &Child,
    description: &Description,
    grants: &Grants,
    shapes: &dyn Shapes,
) -> DesiredChild {
    let refused = |key: Option<Key>, code: &str, message: String| DesiredChild {
        key,
        object: Err(Reason::new(code, message)),
        update: child.update,
    };
    let mut object = match serde_json::from_str::<Value>(&child.object) {
        Ok(object @ Value::Object(_)) => object,
        Ok(_) => return refused(None, "ChildInvalid", "a child is not a JSON object".into()),
        Err(error) => return refused(None, "ChildInvalid", format!("a child is not JSON: {error}")),
    };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        return refused(None, "ChildInvalid", "a child has no apiVersion or no kind".into());
    };
    let (group, _) = split_api_version(api_version);
    let Some(name) = text("/metadata/name") else {
        let hint = if text("/metadata/generateName").is_some() { " (generateName is not supported)" } else { "" };
        let message = format!("a child of kind {kind} has no metadata.name{hint}; derive a stable name from the owner");
        return refused(None, "ChildInvalid", message);
    };
    let cluster = match group {
        native::GROUP => LOCAL,
        _ => child.cluster.as_deref().unwrap_or(&owner.cluster),
    };
    let group_kind = GroupKind::new(group, kind);
    let namespaced = shapes.namespaced(cluster, &group_kind);
    let namespace = match namespaced {
        Some(false) => None,
        _ => Some(text("/metadata/namespace").or(owner.namespace.as_deref()).unwrap_or(DEFAULT_NAMESPACE)),
    };
    let key = Key::new(cluster, group, kind, namespace, name);
    if native::is_shown(group, kind) {
        let message = format!("{key}: a {kind} says what the host knows, and is written by it alone");
        return refused(Some(key), "ChildInvalid", message);
    }
    let described = description.writes.iter().find(|w| w.group_kind() == group_kind);
    let Some(described) = described else {
        let message = format!("{key}: the plugin does not describe that it writes {group_kind}");
        return refused(Some(key), "ChildNotDescribed", message);
    };
    if described.api_version() != api_version {
        let message = format!("{key}: the plugin describes {}, not {api_version}", described.api_version());
        return refused(Some(key), "ChildNotDescribed", message);
    }
    if let Err(grant) = grants.may_write(&key, &object) {
        let message = format!("{key}: not granted; grant it with {grant}");
        return refused(Some(key), "ChildNotGranted", message);
    }
    if object.get("status").is_some() {
        let message = format!("{key}: a child may not carry a status");
        return refused(Some(key), "ChildInvalid", message);
    }
    for field in ["ownerReferences", "finalizers", "uid", "resourceVersion", "generateName", "managedFields"] {
        if object["metadata"].get(field).is_some() {
            let message = format!("{key}: a child may not carry metadata.{field}");
            return refused(Some(key), "ChildInvalid", message);
        }
    }
    match &key.namespace {
        Some(namespace) => object["metadata"]["namespace"] = json!(&**namespace),
        None => {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
    }
    shapes.prune(cluster, &group_kind, &mut object);
    DesiredChild { key: Some(key), object: Ok(object), update: child.update }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Tuning;
    use crate::grants::{Grant, Scope};
    use crate::key::GroupVersionKind;

    #[test]
    fn what_the_host_says_of_itself_is_no_child_whatever_is_described_and_granted() {
        let clusters = GroupVersionKind::new(native::GROUP, "v1alpha1", native::CLUSTER);
        let description = Description {
            name: "p".into(),
            version: "1".into(),
            kinds: Vec::new(),
            reads: Vec::new(),
            writes: vec![clusters],
            capabilities: Vec::new(),
            config_schema: None,
            tuning: Tuning::default(),
        };
        let grants = Grants::new(vec![Grant::Described(Scope::everywhere())]);
        let object = json!({"apiVersion": "host.setpoint.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "mine"},
            "spec": {"provider": "me"}});
        let child = Child { cluster: None, object: object.to_string(), update: Update::InPlace };
        let owner = Key::new(LOCAL, "g.x", "Thing", Some("d"), "a");
        let refused = desired_child(&owner, &child, &description, &grants, &()).object.map_err(|reason| reason.code);
        assert_eq!(refused, Err("ChildInvalid".into()));
    }
}
