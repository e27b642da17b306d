//! The part of an object that no schema describes: `metadata`.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::path::{At, FieldPath};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Keys and values of all annotations together, in bytes.
const MOST_ANNOTATIONS: usize = 256 * 1024;

/// Checks `object.metadata` as an API server does: `name` is a DNS-1123 subdomain, `namespace` a
/// DNS-1123 label, label keys and finalizers are qualified names, label values have their syntax,
/// annotations their size, and owner references say whom they mean.
///
/// A missing namespace is no mistake (the host fills the default one in, rule D4); one that is set
/// for a kind that is not `namespaced` is. `generateName` stands in for a missing name.
///
/// ```
/// let object = serde_json::json!({"metadata": {"name": "Not_A_Name"}});
/// let errors = setpoint_schema::validate_metadata(&object, true);
/// assert_eq!(errors[0].path.to_string(), "metadata.name");
/// ```
pub fn validate_metadata(object: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = At::Root.key("metadata").path();
    match object.get("metadata") {
        Some(Value::Object(metadata)) => check(metadata, &at, namespaced, &mut errors),
        Some(other) if !other.is_null() => errors.push(FieldError::type_invalid(at, other, "of type object")),
        _ => errors.push(FieldError::required(at.key("name"), "name or generateName is required")),
    }
    errors
}

/// Checks what every embedded resource must have.
pub(crate) fn embedded(object: &Map<String, Value>, at: &At<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["apiVersion", "kind"] {
        match object.get(name) {
            None => errors.push(FieldError::required(at.key(name).path(), "must be set")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::required(at.key(name).path(), "must not be empty"));
            }
            // A value that is no string is an error of the schema.
            Some(_) => {}
        }
    }
    if let Some(Value::Object(metadata)) = object.get("metadata") {
        let at = at.key("metadata").path();
        check_name(metadata, &at, &mut errors);
        check_maps(metadata, &at, &mut errors);
    }
    errors
}

fn check(metadata: &Map<String, Value>, at: &FieldPath, namespaced: bool, errors: &mut Vec<FieldError>) {
    let named = ["name", "generateName"]
        .iter()
        .any(|key| metadata.get(*key).is_some_and(|value| !value.is_null() && value != ""));
    if !named {
        errors.push(FieldError::required(at.clone().key("name"), "name or generateName is required"));
    }
    check_name(metadata, at, errors);
    let here = at.clone().key("namespace");
    if let Some(namespace) = text(metadata, "namespace", at, errors).filter(|namespace| !namespace.is_empty()) {
        if !namespaced {
            errors.push(FieldError::forbidden(here, "not allowed on this type"));
        } else if namespace.len() > 63 || !is_dns_label(namespace) {
            errors.push(FieldError::invalid(here, &Value::from(namespace), LABEL));
        }
    }
    check_maps(metadata, at, errors);
    check_finalizers(metadata, at, errors);
    check_owners(metadata, at, errors);
}

fn check_name(metadata: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    for key in ["name", "generateName"] {
        if let Some(name) = text(metadata, key, at, errors).filter(|name| !name.is_empty()) {
            // What is generated goes on where a prefix ends.
            let whole = if key == "generateName" { format!("{name}a") } else { name.to_owned() };
            if whole.len() > 253 || !whole.split('.').all(is_dns_label) {
                errors.push(FieldError::invalid(at.clone().key(key), &Value::from(name), SUBDOMAIN));
            }
        }
    }
}

fn check_maps(metadata: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let labels = at.clone().key("labels");
    for (key, value) in entries(metadata, "labels", at, errors) {
        check_qualified(key, &labels, errors);
        match value {
            Value::String(text) if text.is_empty() || (text.len() <= 63 && is_qualified_part(text)) => {}
            Value::String(_) => errors.push(FieldError::invalid(labels.clone().key(key), value, LABEL_VALUE)),
            _ => errors.push(FieldError::type_invalid(labels.clone().key(key), value, "of type string")),
        }
    }
    let annotations = at.clone().key("annotations");
    let mut bytes = 0;
    for (key, value) in entries(metadata, "annotations", at, errors) {
        check_qualified(&key.to_lowercase(), &annotations, errors);
        match value {
            Value::String(text) => bytes += key.len() + text.len(),
            _ => errors.push(FieldError::type_invalid(annotations.clone().key(key), value, "of type string")),
        }
    }
    if bytes > MOST_ANNOTATIONS {
        let detail = format!("annotations may not have more than {MOST_ANNOTATIONS} bytes together");
        errors.push(FieldError::invalid(annotations, &Value::from(bytes), &detail));
    }
}

fn check_finalizers(metadata: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let here = at.clone().key("finalizers");
    for (index, finalizer) in items(metadata, "finalizers", at, errors).iter().enumerate() {
        match finalizer {
            Value::String(name) => check_qualified(name, &here.clone().index(index), errors),
            other => errors.push(FieldError::type_invalid(here.clone().index(index), other, "of type string")),
        }
    }
}

fn check_owners(metadata: &Map<String, Value>, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let here = at.clone().key("ownerReferences");
    for (index, owner) in items(metadata, "ownerReferences", at, errors).iter().enumerate() {
        let here = here.clone().index(index);
        let Value::Object(owner) = owner else {
            errors.push(FieldError::type_invalid(here, owner, "of type object"));
            continue;
        };
        for key in ["apiVersion", "kind", "name", "uid"] {
            match owner.get(key) {
                Some(Value::String(text)) if !text.is_empty() => {}
                None | Some(Value::Null | Value::String(_)) => {
                    errors.push(FieldError::required(here.clone().key(key), "must not be empty"));
                }
                Some(other) => errors.push(FieldError::type_invalid(here.clone().key(key), other, "of type string")),
            }
        }
    }
}

fn check_qualified(name: &str, at: &FieldPath, errors: &mut Vec<FieldError>) {
    let (prefix, part) = match name.split_once('/') {
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, name),
    };
    if let Some(prefix) = prefix
        && (prefix.is_empty() || prefix.len() > 253 || !prefix.split('.').all(is_dns_label))
    {
        errors.push(FieldError::invalid(at.clone(), &Value::from(name), &format!("prefix part {SUBDOMAIN}")));
    }
    if part.len() > 63 || !is_qualified_part(part) {
        errors.push(FieldError::invalid(at.clone(), &Value::from(name), QUALIFIED));
    }
}

/// Letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; not empty.
fn is_qualified_part(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Lower case letters, digits and `-`, with a letter or digit at both ends; not empty.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// The text under a key. Null is as good as missing; another type is an error.
fn text<'a>(map: &'a Map<String, Value>, key: &str, at: &FieldPath, errors: &mut Vec<FieldError>) -> Option<&'a str> {
    match map.get(key)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => {
            errors.push(FieldError::type_invalid(at.clone().key(key), other, "of type string"));
            None
        }
    }
}

fn entries<'a>(
    map: &'a Map<String, Value>,
    key: &str,
    at: &FieldPath,
    errors: &mut Vec<FieldError>,
) -> Vec<(&'a String, &'a Value)> {
    match map.get(key) {
        Some(Value::Object(entries)) => entries.iter().collect(),
        None | Some(Value::Null) => Vec::new(),
        Some(other) => {
            errors.push(FieldError::type_invalid(at.clone().key(key), other, "of type object"));
            Vec::new()
        }
    }
}

fn items<'a>(map: &'a Map<String, Value>, key: &str, at: &FieldPath, errors: &mut Vec<FieldError>) -> &'a [Value] {
    match map.get(key) {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => &[],
        Some(other) => {
            errors.push(FieldError::type_invalid(at.clone().key(key), other, "of type array"));
            &[]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(metadata: &Value, namespaced: bool) -> Vec<String> {
        validate_metadata(&json!({ "metadata": metadata }), namespaced)
            .iter()
            .map(|error| error.path.to_string())
            .collect()
    }

    #[test]
    fn right_metadata_has_no_errors() {
        let metadata = json!({
            "name": "a.b-c.0", "namespace": "team-a",
            "labels": {"app": "x", "app.kubernetes.io/name": "", "A_b.c": "1.2_3"},
            "annotations": {"Anything.example.com/Goes": "{\"here\": true}"},
            "finalizers": ["setpoint.dev/finalizer"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "u"}],
            "creationTimestamp": null,
        });
        assert_eq!(paths(&metadata, true), Vec::<String>::new());
        assert_eq!(paths(&json!({"generateName": "run-"}), true), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_named_with_its_field() {
        let metadata = json!({
            "name": "Upper", "namespace": "a.b",
            "labels": {"-x": "ok", "y": "no spaces", "z": 1},
            "annotations": {"a b": "x", "n": true},
            "finalizers": ["", 3],
            "ownerReferences": [{"apiVersion": "v1"}, "x"],
        });
        let mut expected = vec![
            "metadata.name",
            "metadata.namespace",
            "metadata.labels",
            "metadata.labels.y",
            "metadata.labels.z",
            "metadata.annotations",
            "metadata.annotations.n",
            "metadata.finalizers[0]",
            "metadata.finalizers[1]",
            "metadata.ownerReferences[0].kind",
            "metadata.ownerReferences[0].name",
            "metadata.ownerReferences[0].uid",
            "metadata.ownerReferences[1]",
        ];
        let mut found = paths(&metadata, true);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_is_needed_and_a_namespace_only_where_there_are_namespaces() {
        assert_eq!(paths(&json!({}), true), ["metadata.name"]);
        assert_eq!(paths(&json!({"name": ""}), true), ["metadata.name"]);
        assert_eq!(paths(&json!({"name": "a", "namespace": "b"}), false), ["metadata.namespace"]);
        assert_eq!(paths(&json!("text"), true), ["metadata"]);
        assert_eq!(validate_metadata(&json!(null), true).len(), 1);
        assert_eq!(paths(&json!({"name": "a".repeat(254)}), true), ["metadata.name"]);
    }
}
