//! Definitions and objects for the tests.
#![allow(dead_code, clippy::unwrap_used)]

use serde_json::{Value, json};
use setpoint_schema::{Admission, Crd, CrdError, Part};

/// A definition of `Thing` in group `test.dev` with this schema.
pub(crate) fn definition(schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.test.dev"},
        "spec": {
            "group": "test.dev",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

/// The definition of `Thing` whose `spec` has this schema.
pub(crate) fn with_spec(spec: Value) -> Result<Crd, CrdError> {
    Crd::parse(&definition(json!({"type": "object", "properties": {"spec": spec}})), "v1")
}

pub(crate) fn crd(spec: Value) -> Crd {
    with_spec(spec).unwrap()
}

/// The structural form of the schema of `spec`.
pub(crate) fn structural(spec: Value) -> Value {
    crd(spec).manifest().pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

pub(crate) fn thing(spec: Value) -> Value {
    json!({"apiVersion": "test.dev/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "default"}, "spec": spec})
}

pub(crate) fn admit(crd: &Crd, spec: Value) -> Admission {
    crd.admit(thing(spec), None, Part::Whole)
}

/// The errors of a new object with this spec, as text.
pub(crate) fn errors(crd: &Crd, spec: Value) -> Vec<String> {
    texts(&admit(crd, spec))
}

/// The errors of a change from one spec to another.
pub(crate) fn errors_of_change(crd: &Crd, old: Value, new: Value) -> Vec<String> {
    texts(&crd.admit(thing(new), Some(&thing(old)), Part::Whole))
}

pub(crate) fn texts(admission: &Admission) -> Vec<String> {
    admission.errors.iter().map(ToString::to_string).collect()
}

pub(crate) const NONE: Vec<String> = Vec::new();
