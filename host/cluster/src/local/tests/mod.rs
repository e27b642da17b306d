//! The promises of the embedded cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apply;
mod builtin;
mod deletion;
mod disk;
mod faults;
mod files;
mod host;
mod kinds;
mod properties;
mod repair;
mod schema;
mod storage;

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition, Refusal};
use setpoint_schema::Crd;

use super::{Effects, Model};

pub(super) const A: &str = "setpoint/a";
pub(super) const B: &str = "setpoint/b";
pub(super) const STATUS: &str = "setpoint/x/status";

/// `Redis`: with a status, a default, an enumeration, a list merged by `id`, one that is not.
pub(super) fn redis() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "redises.examples.setpoint.dev"},
        "spec": {
            "group": "examples.setpoint.dev", "scope": "Namespaced",
            "names": {"kind": "Redis", "plural": "redises"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "mode": {"type": "string", "default": "single", "enum": ["single", "sentinel"]},
                        "args": {"type": "array", "items": {"type": "string"}},
                        "extra": {"type": "object", "additionalProperties": {"type": "string"}},
                        "steps": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                            "items": {"type": "object", "required": ["id"], "properties": {
                                "id": {"type": "string"}, "run": {"type": "string"}, "note": {"type": "string"}}}}
                    }},
                    "status": {"type": "object", "properties": {
                        "phase": {"type": "string"}, "count": {"type": "integer"},
                        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                            "items": {"type": "object", "required": ["type"], "properties": {
                                "type": {"type": "string"}, "status": {"type": "string"}}}}
                    }}
                }}}
            }]
        }
    })
}

pub(super) fn crd(definition: &Value) -> Crd {
    Crd::parse(definition, "v1").expect("the test's definition is valid")
}

pub(super) fn kind() -> GroupKind {
    GroupKind::new("examples.setpoint.dev", "Redis")
}

pub(super) fn key(name: &str) -> Key {
    Key::new("local", "examples.setpoint.dev", "Redis", Some("default"), name)
}

pub(super) fn config_map(name: &str) -> Key {
    Key::new("local", "", "ConfigMap", Some("default"), name)
}

pub(super) fn model() -> Model {
    let mut model = Model::new();
    model.install_kind(crd(&redis()));
    model
}

/// A document of an object: what is given besides its identity.
pub(super) fn document(key: &Key, mut given: Value) -> Value {
    let version = if key.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", key.group) };
    given["apiVersion"] = json!(version);
    given["kind"] = json!(&*key.kind);
    given["metadata"]["name"] = json!(&*key.name);
    given
}

pub(super) fn apply_op(key: &Key, manager: &str, force: bool, given: Value) -> Op {
    let object = Arc::new(document(key, given));
    Op::Apply { key: key.clone(), object, manager: manager.into(), force, precondition: None }
}

/// Applies, and answers what came of it with the number of watch events.
pub(super) fn apply(model: &mut Model, key: &Key, manager: &str, given: Value) -> Result<(Arc<Object>, bool), Refusal> {
    done(model.perform(1000, &apply_op(key, manager, false, given)))
}

pub(super) fn force(model: &mut Model, key: &Key, manager: &str, given: Value) -> Result<(Arc<Object>, bool), Refusal> {
    done(model.perform(1000, &apply_op(key, manager, true, given)))
}

pub(super) fn done((answer, effects): (Answer, Effects)) -> Result<(Arc<Object>, bool), Refusal> {
    match answer {
        Answer::Applied { object, created } => Ok((object, created)),
        Answer::Refused(refusal) => {
            assert!(effects.is_empty(), "a refused write has effects: {effects:?}");
            Err(refusal)
        }
        other => panic!("no answer to an apply: {other:?}"),
    }
}

pub(super) fn status_op(object: &Object, key: &Key, manager: &str, status: Value) -> Op {
    Op::ApplyStatus {
        key: key.clone(),
        status: Arc::new(status),
        manager: manager.into(),
        precondition: Precondition::version_of(object),
    }
}

pub(super) fn finalizer_op(object: &Object, key: &Key, present: bool) -> Op {
    Op::SetFinalizer {
        key: key.clone(),
        present,
        finalizers: Vec::new(),
        precondition: Precondition::version_of(object),
    }
}

pub(super) fn delete_op(object: &Object, key: &Key) -> Op {
    Op::Delete { key: key.clone(), precondition: Precondition::version_of(object) }
}

pub(super) fn spec(object: &Object) -> Value {
    object.value()["spec"].clone()
}
