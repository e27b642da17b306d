//! Giving an object the shape that an API server would store: defaults put in, nulls and unknown
//! fields taken out.

use serde_json::{Map, Value};

use crate::path::{At, FieldPath};
use crate::schema::{Additional, Schema};

/// The fields of `metadata`. A server drops every other.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Which fields of an object a pass is about: answers for the name of a field.
pub(crate) type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// Puts defaults in, as Kubernetes does: a field that is missing, and a null where none is
/// allowed, get a copy of the default; then what was put in is looked at like the rest. A null that
/// is not allowed and has no default is taken out of objects; in a list it stays, to be an error.
pub(crate) fn default_fields(schema: &Schema, object: &mut Map<String, Value>, wanted: Wanted<'_>) {
    for (name, property) in &schema.properties {
        let Some(default) = property.default.as_ref().filter(|_| wanted(name)) else {
            continue;
        };
        if object.get(name).is_none_or(|value| value.is_null() && !property.nullable) {
            object.insert(name.clone(), default.clone());
        }
    }
    object.retain(|name, value| {
        let Some(child) = schema.child(name).filter(|_| wanted(name)) else {
            return true;
        };
        if value.is_null() && !child.nullable {
            let Some(default) = &child.default else {
                return false;
            };
            *value = default.clone();
        }
        default_value(child, value);
        true
    });
}

/// [`default_fields`] for a value of any type.
pub(crate) fn default_value(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(object) => default_fields(schema, object, &|_| true),
        Value::Array(list) => {
            let Some(items) = schema.items.as_deref() else {
                return;
            };
            for item in list {
                if item.is_null()
                    && !items.nullable
                    && let Some(default) = &items.default
                {
                    *item = default.clone();
                }
                default_value(items, item);
            }
        }
        _ => {}
    }
}

/// Takes out nulls where none are allowed, and puts nothing in. For documents that are given in
/// part, where a field that is missing is not meant to be anything.
pub(crate) fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(object) => object.retain(|name, value| {
            let Some(child) = schema.child(name) else {
                return true;
            };
            if value.is_null() && !child.nullable {
                return false;
            }
            drop_nulls(child, value);
            true
        }),
        Value::Array(list) => {
            if let Some(items) = schema.items.as_deref() {
                list.iter_mut().for_each(|item| drop_nulls(items, item));
            }
        }
        _ => {}
    }
}

/// Takes out the fields that the schema does not know, and says which.
pub(crate) fn prune_fields(
    schema: &Schema,
    object: &mut Map<String, Value>,
    wanted: Wanted<'_>,
    at: &At<'_>,
    unknown: &mut Vec<FieldPath>,
) {
    object.retain(|name, value| {
        if !wanted(name) {
            return true;
        }
        let here = at.key(name);
        if schema.resource && name == "metadata" {
            prune_metadata(value, &here, unknown);
            return true;
        }
        if let Some(child) = schema.child(name) {
            prune_value(child, value, &here, unknown);
            return true;
        }
        let known = schema.preserve || matches!(schema.additional, Additional::Any);
        if !known {
            unknown.push(here.path());
        }
        known
    });
}

/// [`prune_fields`] for a value of any type.
pub(crate) fn prune_value(schema: &Schema, value: &mut Value, at: &At<'_>, unknown: &mut Vec<FieldPath>) {
    match value {
        Value::Object(object) => prune_fields(schema, object, &|_| true, at, unknown),
        Value::Array(list) => {
            if let Some(items) = schema.items.as_deref() {
                for (index, item) in list.iter_mut().enumerate() {
                    prune_value(items, item, &at.index(index), unknown);
                }
            }
        }
        _ => {}
    }
}

fn prune_metadata(metadata: &mut Value, at: &At<'_>, unknown: &mut Vec<FieldPath>) {
    if let Value::Object(metadata) = metadata {
        metadata.retain(|name, _| {
            let known = METADATA.contains(&name.as_str());
            if !known {
                unknown.push(at.key(name).path());
            }
            known
        });
    }
}
