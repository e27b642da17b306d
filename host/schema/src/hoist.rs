//! Alternatives with types of their own, made structural: the outer schema gets the fields of all,
//! and what tells the alternatives apart stays as conditions.

use serde_json::{Map, Value, json};

use crate::error::CrdError;
use crate::path::At;
use crate::structural::Node;

/// Keywords of conditions that stand for themselves.
const LIMITS: [&str; 16] = [
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "pattern",
    "required",
];

/// One schema for several that are alternatives (`oneOf`, `anyOf`), each structural by itself.
pub(crate) fn any(keyword: &str, branches: Vec<Node>, at: &At<'_>) -> Result<Node, CrdError> {
    if let Some(merged) = constants(&branches) {
        return Ok(merged);
    }
    if let Some(merged) = int_or_string(&branches) {
        return Ok(merged);
    }
    let mut outer: Option<Node> = None;
    for branch in &branches {
        outer = Some(match outer {
            None => branch.clone(),
            Some(outer) => either(keyword, outer, branch, at)?,
        });
    }
    let mut outer = outer.ok_or_else(|| CrdError::schema(at.path(), "needs at least one schema"))?;
    outer.remove("description");
    sole_defaults(&mut outer, &branches);
    borrow_descriptions(&mut outer, &branches);
    let conditions: Vec<Value> = branches.iter().map(|branch| Value::Object(condition(branch, Some(&outer)))).collect();
    // Where one alternative asks for nothing, "at least one" asks for nothing.
    let says_nothing = keyword == "anyOf" && conditions.iter().any(|c| c.as_object().is_some_and(Map::is_empty));
    if !says_nothing {
        outer.insert(keyword.into(), Value::Array(conditions));
    }
    Ok(outer)
}

/// Alternatives that are constants of one type are one enumeration. What is said about each goes
/// to the description.
fn constants(branches: &[Node]) -> Option<Node> {
    let kind = branches.first()?.get("type")?;
    let mut values = Vec::new();
    let mut notes = Vec::new();
    for branch in branches {
        let only_constants =
            branch.keys().all(|key| matches!(key.as_str(), "type" | "enum" | "description" | "nullable"));
        if !only_constants || branch.get("type")? != kind {
            return None;
        }
        let own = branch.get("enum")?.as_array()?;
        if let Some(Value::String(description)) = branch.get("description") {
            let names: Vec<String> = own.iter().map(ToString::to_string).collect();
            notes.push(format!("- {}: {description}", names.join(", ")));
        }
        for value in own {
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
    }
    let mut node = Node::new();
    node.insert("type".into(), kind.clone());
    node.insert("enum".into(), Value::Array(values));
    if branches.iter().any(|branch| branch.get("nullable") == Some(&Value::Bool(true))) {
        node.insert("nullable".into(), Value::Bool(true));
    }
    if !notes.is_empty() {
        node.insert("description".into(), json!(notes.join("\n")));
    }
    Some(node)
}

/// An integer or a string. Limits of the one say nothing about the other, so they can stand
/// together, but for enumerations.
fn int_or_string(branches: &[Node]) -> Option<Node> {
    let [a, b] = branches else {
        return None;
    };
    let mut kinds = [a.get("type")?.as_str()?, b.get("type")?.as_str()?];
    kinds.sort_unstable();
    let enumerated = a.contains_key("enum") || b.contains_key("enum");
    if kinds != ["integer", "string"] || enumerated {
        return None;
    }
    let mut node = condition(a, None);
    node.extend(condition(b, None));
    // A format is of one of the two, and could be taken for the other's.
    node.remove("format");
    node.insert("x-kubernetes-int-or-string".into(), Value::Bool(true));
    Some(node)
}

/// What is known of a value if it fits one of two schemas.
fn either(keyword: &str, a: Node, b: &Node, at: &At<'_>) -> Result<Node, CrdError> {
    if a == *b {
        return Ok(a);
    }
    if a.get("x-kubernetes-validations") != b.get("x-kubernetes-validations") {
        let message = "a rule of one alternative only has no structural form; put it on the schema around, and let it ask which alternative it is";
        return Err(CrdError::schema(at.path(), message));
    }
    let mut made = Node::new();
    let kind = match (name(&a, "type"), name(b, "type")) {
        (Some(a), Some(b)) if a == b => Some(a.to_owned()),
        (Some("integer"), Some("number")) | (Some("number"), Some("integer")) if keyword == "anyOf" => {
            Some("number".to_owned())
        }
        (None, None) => None,
        (one, other) => {
            let message = format!(
                "alternatives of different types ({} and {}) have no structural form; give all of them one type (for enums in Rust: `#[serde(tag = \"type\")]`)",
                one.unwrap_or("any"),
                other.unwrap_or("any")
            );
            return Err(CrdError::schema(at.path(), message));
        }
    };
    if let Some(kind) = kind {
        made.insert("type".into(), json!(kind));
    }
    for key in ["nullable", "x-kubernetes-preserve-unknown-fields"] {
        if [&a, b].iter().any(|node| node.get(key) == Some(&Value::Bool(true))) {
            made.insert(key.into(), Value::Bool(true));
        }
    }
    // What both say holds in any case.
    for (key, value) in &a {
        if b.get(key) == Some(value) && !made.contains_key(key) {
            made.insert(key.clone(), value.clone());
        }
    }
    if let (Some(Value::Array(ours)), Some(Value::Array(theirs))) = (a.get("enum"), b.get("enum")) {
        let mut all = ours.clone();
        all.extend(theirs.iter().filter(|value| !ours.contains(value)).cloned());
        made.insert("enum".into(), Value::Array(all));
    }
    if let (Some(Value::Array(ours)), Some(Value::Array(theirs))) = (a.get("required"), b.get("required")) {
        let common: Vec<Value> = ours.iter().filter(|name| theirs.contains(name)).cloned().collect();
        made.remove("required");
        if !common.is_empty() {
            made.insert("required".into(), Value::Array(common));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = either_of(keyword, a.get(key), b.get(key), &at.key(key))? {
            made.insert(key.into(), value);
        }
    }
    let properties = fields(a.get("properties"), b.get("properties"), |name, ours, theirs| {
        either_of(keyword, ours, theirs, &at.key("properties").key(name))
    })?;
    if let Some(properties) = properties {
        made.insert("properties".into(), properties);
    }
    Ok(made)
}

fn either_of(keyword: &str, a: Option<&Value>, b: Option<&Value>, at: &At<'_>) -> Result<Option<Value>, CrdError> {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => Ok(Some(Value::Object(either(keyword, a.clone(), b, at)?))),
        (one, other) => Ok(one.or(other).cloned()),
    }
}

/// What is known of a value if it fits two schemas at once. Of notes and defaults the first wins.
pub(crate) fn both(a: Node, b: Node, at: &At<'_>) -> Result<Node, CrdError> {
    if a.is_empty() || a == b {
        return Ok(b);
    }
    if b.is_empty() {
        return Ok(a);
    }
    if let (Some(ours), Some(theirs)) = (name(&a, "type"), name(&b, "type"))
        && ours != theirs
    {
        return Err(CrdError::schema(at.path(), format!("no value is of type {ours} and {theirs} at once")));
    }
    let mut made = a.clone();
    let mut conflict = Node::new();
    for (key, value) in &b {
        match key.as_str() {
            "properties" => {
                let all = fields(a.get(key), Some(value), |name, ours, theirs| match (ours, theirs) {
                    (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
                        let merged = both(ours.clone(), theirs.clone(), &at.key("properties").key(name))?;
                        Ok(Some(Value::Object(merged)))
                    }
                    (one, other) => Ok(one.or(other).cloned()),
                })?;
                if let Some(all) = all {
                    made.insert(key.clone(), all);
                }
            }
            "items" | "additionalProperties" => {
                if let (Some(Value::Object(ours)), Value::Object(theirs)) = (a.get(key), value) {
                    let merged = both(ours.clone(), theirs.clone(), &at.key(key))?;
                    made.insert(key.clone(), Value::Object(merged));
                } else {
                    made.insert(key.clone(), value.clone());
                }
            }
            "required" | "x-kubernetes-validations" | "allOf" => {
                let ours = a.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                let theirs = value.as_array().cloned().unwrap_or_default();
                let mut all = ours.clone();
                all.extend(theirs.into_iter().filter(|one| !ours.contains(one)));
                made.insert(key.clone(), Value::Array(all));
            }
            key if !a.contains_key(key) => {
                made.insert(key.to_owned(), value.clone());
            }
            key if a.get(key) != Some(value) && (LIMITS.contains(&key) || matches!(key, "oneOf" | "anyOf")) => {
                conflict.insert(key.to_owned(), value.clone());
            }
            _ => {}
        }
    }
    // A null must be allowed by both, where both say anything about values.
    let typed = |node: &Node| node.contains_key("type") || node.contains_key("properties");
    if typed(&a) && typed(&b) && a.get("nullable") != b.get("nullable") {
        made.remove("nullable");
    }
    if !conflict.is_empty() {
        let all = made.entry("allOf").or_insert_with(|| json!([]));
        if let Value::Array(all) = all {
            all.push(Value::Object(conflict));
        }
    }
    Ok(made)
}

/// Merges two maps of properties, name by name.
fn fields(
    a: Option<&Value>,
    b: Option<&Value>,
    merge: impl Fn(&str, Option<&Value>, Option<&Value>) -> Result<Option<Value>, CrdError>,
) -> Result<Option<Value>, CrdError> {
    let map = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let (ours, theirs) = match (map(a), map(b)) {
        (None, None) => return Ok(None),
        (ours, theirs) => (ours.unwrap_or_default(), theirs.unwrap_or_default()),
    };
    let mut made = Map::new();
    for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
        if let Some(value) = merge(name, ours.get(name), theirs.get(name))? {
            made.insert(name.clone(), value);
        }
    }
    Ok(Some(Value::Object(made)))
}

/// What a schema asks of values beyond types, and beyond what `known` asks already.
pub(crate) fn condition(node: &Node, known: Option<&Node>) -> Node {
    let mut made = Node::new();
    let known_of = |key: &str| known.and_then(|known| known.get(key));
    for (key, value) in node {
        let here = known_of(key);
        if here == Some(value) {
            continue;
        }
        match key.as_str() {
            "properties" => {
                let mut properties = Map::new();
                for (name, property) in value.as_object().into_iter().flatten() {
                    let known = here.and_then(|known| known.get(name)).and_then(Value::as_object);
                    let asked = property.as_object().map(|p| condition(p, known)).unwrap_or_default();
                    if !asked.is_empty() {
                        properties.insert(name.clone(), Value::Object(asked));
                    }
                }
                if !properties.is_empty() {
                    made.insert(key.clone(), Value::Object(properties));
                }
            }
            "items" => {
                let known = here.and_then(Value::as_object);
                let asked = value.as_object().map(|items| condition(items, known)).unwrap_or_default();
                if !asked.is_empty() {
                    made.insert(key.clone(), Value::Object(asked));
                }
            }
            "oneOf" | "anyOf" | "allOf" => {
                made.insert(key.clone(), value.clone());
            }
            key if LIMITS.contains(&key) => {
                made.insert(key.to_owned(), value.clone());
            }
            _ => {}
        }
    }
    // The flag of a limit means nothing without the limit, nor the limit without its flag.
    for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        for (one, other) in [(flag, limit), (limit, flag)] {
            if made.contains_key(one)
                && let Some(value) = node.get(other)
            {
                made.insert(other.into(), value.clone());
            }
        }
    }
    made
}

/// A default of a field that not all alternatives have would be put into objects of the others.
fn sole_defaults(outer: &mut Node, branches: &[Node]) {
    if let Some(Value::Object(properties)) = outer.get_mut("properties") {
        for (name, property) in properties {
            let everywhere = branches.iter().all(|branch| branch.get("properties").and_then(|p| p.get(name)).is_some());
            if let (false, Value::Object(property)) = (everywhere, property) {
                property.remove("default");
            }
        }
    }
}

/// What is said about an alternative with one field is said about the field.
fn borrow_descriptions(outer: &mut Node, branches: &[Node]) {
    let Some(Value::Object(properties)) = outer.get_mut("properties") else {
        return;
    };
    for branch in branches {
        let own = branch.get("properties").and_then(Value::as_object);
        if let (Some(description), Some(own)) = (branch.get("description"), own)
            && let (1, Some(name)) = (own.len(), own.keys().next())
            && let Some(Value::Object(property)) = properties.get_mut(name)
        {
            property.entry("description").or_insert_with(|| description.clone());
        }
    }
}

fn name<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key)?.as_str()
}
