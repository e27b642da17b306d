//! What single keywords of a raw schema become in a structural one.

use serde_json::{Map, Value, json};

use crate::error::CrdError;
use crate::path::At;
use crate::structural::Node;

/// Keywords that say nothing about values.
pub(crate) const NOTES: [&str; 19] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "$vocabulary",
    "components",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "definitions",
    "deprecated",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "id",
    "title",
    "xml",
];
/// Any value, null included.
pub(crate) fn anything() -> Node {
    let mut node = Node::new();
    node.insert("x-kubernetes-preserve-unknown-fields".into(), Value::Bool(true));
    node.insert("nullable".into(), Value::Bool(true));
    node
}

/// Whether a schema admits null and nothing else.
pub(crate) fn is_null(raw: &Value) -> bool {
    raw.get("type") == Some(&json!("null"))
        || (raw.get("const") == Some(&Value::Null))
        || raw.get("enum") == Some(&json!([null]))
}

/// Whether a schema is no more than a condition on a value whose type is given elsewhere. Such
/// alternatives are structural already.
pub(crate) fn is_condition(raw: &Value) -> bool {
    let Value::Object(node) = raw else {
        return false;
    };
    let all = |value: Option<&Value>| match value {
        None => true,
        Some(Value::Object(map)) => map.values().all(is_condition),
        Some(Value::Array(list)) => list.iter().all(is_condition),
        Some(_) => false,
    };
    let one = |value: Option<&Value>| value.is_none_or(is_condition);
    let has_more = node.keys().any(|key| {
        matches!(
            key.as_str(),
            "type"
                | "$ref"
                | "const"
                | "default"
                | "nullable"
                | "description"
                | "additionalProperties"
                | "patternProperties"
                | "prefixItems"
                | "uniqueItems"
        ) || NOTES.contains(&key.as_str())
            || key.starts_with("x-")
    });
    !has_more
        && all(node.get("properties"))
        && one(node.get("items"))
        && one(node.get("not"))
        && ["oneOf", "anyOf", "allOf"].iter().all(|key| all(node.get(*key)))
}

/// Sets `type`, `nullable` and `x-kubernetes-int-or-string` from `type`.
pub(crate) fn set_type(raw: &Node, node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
    let mut names: Vec<&str> = match raw.get("type") {
        None => return Ok(()),
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(_) => Vec::new(),
    };
    let count = names.len();
    names.retain(|name| *name != "null");
    if names.len() < count {
        node.insert("nullable".into(), Value::Bool(true));
    }
    names.sort_unstable();
    match names.as_slice() {
        [name] => {
            node.insert("type".into(), json!(name));
        }
        ["integer", "number"] => {
            node.insert("type".into(), json!("number"));
        }
        ["integer", "string"] => {
            node.insert("x-kubernetes-int-or-string".into(), Value::Bool(true));
        }
        [] => {
            return Err(CrdError::schema(at.key("type").path(), "null alone is no type; leave the field out"));
        }
        several => {
            let message = format!("several types ({}) have no structural form", several.join(", "));
            return Err(CrdError::schema(at.key("type").path(), message));
        }
    }
    Ok(())
}

/// What a server asks of objects and lists: named fields or fields of one type, not both; and a
/// schema for items.
pub(crate) fn settle_fields(node: &mut Node) {
    if node.contains_key("additionalProperties") {
        match node.get("properties").and_then(Value::as_object).map(Map::is_empty) {
            Some(true) => {
                node.remove("properties");
            }
            Some(false) => {
                node.remove("additionalProperties");
                node.insert("x-kubernetes-preserve-unknown-fields".into(), Value::Bool(true));
            }
            None => {}
        }
    }
    if node.get("type") == Some(&json!("array")) {
        node.entry("items").or_insert_with(|| Value::Object(anything()));
    }
}

/// Sets `enum` from `const`, and takes null out of it.
pub(crate) fn set_values(raw: &Node, node: &mut Node) {
    if let Some(value) = raw.get("const") {
        node.insert("enum".into(), json!([value]));
    }
    let mut nullable = false;
    let mut kind = None;
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        let count = values.len();
        values.retain(|value| !value.is_null());
        nullable = values.len() < count;
        kind = match values.first() {
            Some(Value::String(_)) => Some("string"),
            Some(Value::Bool(_)) => Some("boolean"),
            Some(Value::Number(number)) if number.is_f64() => Some("number"),
            Some(Value::Number(_)) => Some("integer"),
            _ => None,
        };
    }
    if nullable {
        node.insert("nullable".into(), Value::Bool(true));
    }
    if let Some(kind) = kind
        && !node.contains_key("type")
        && !node.contains_key("x-kubernetes-int-or-string")
    {
        node.insert("type".into(), json!(kind));
    }
}

/// Turns limits of their own (`exclusiveMinimum: 3`) into limits with a flag, and formats of
/// unsigned and small numbers into ranges.
pub(crate) fn normalise_numbers(node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
    for (exclusive, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(Value::Number(value)) = node.get(exclusive).cloned() else {
            continue;
        };
        if node.contains_key(limit) {
            let message = format!("give either {limit} or {exclusive}");
            return Err(CrdError::schema(at.key(exclusive).path(), message));
        }
        node.insert(limit.into(), Value::Number(value));
        node.insert(exclusive.into(), Value::Bool(true));
    }
    let range: (Option<i64>, Option<i64>) = match node.get("format").and_then(Value::as_str) {
        Some("uint8") => (Some(0), Some(i64::from(u8::MAX))),
        Some("uint16") => (Some(0), Some(i64::from(u16::MAX))),
        Some("uint32") => (Some(0), Some(i64::from(u32::MAX))),
        Some("uint" | "uint64" | "uint128") => (Some(0), None),
        Some("int8") => (Some(i64::from(i8::MIN)), Some(i64::from(i8::MAX))),
        Some("int16") => (Some(i64::from(i16::MIN)), Some(i64::from(i16::MAX))),
        Some("int" | "int128") => (None, None),
        _ => return Ok(()),
    };
    node.remove("format");
    for (key, limit) in [("minimum", range.0), ("maximum", range.1)] {
        if let Some(limit) = limit {
            node.entry(key).or_insert_with(|| json!(limit));
        }
    }
    Ok(())
}

/// A server refuses `uniqueItems` and has sets for it. Items of a set that are objects or lists
/// must be atomic.
pub(crate) fn make_set(node: &mut Node) {
    if node.remove("uniqueItems").is_none() || node.get("x-kubernetes-list-type") == Some(&json!("map")) {
        return;
    }
    node.insert("x-kubernetes-list-type".into(), json!("set"));
    if let Some(Value::Object(items)) = node.get_mut("items") {
        match items.get("type").and_then(Value::as_str) {
            Some("object") => {
                items.insert("x-kubernetes-map-type".into(), json!("atomic"));
            }
            Some("array") => {
                items.entry("x-kubernetes-list-type").or_insert_with(|| json!("atomic"));
            }
            _ => {}
        }
    }
}
