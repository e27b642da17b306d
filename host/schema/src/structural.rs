//! Making schemas structural: what generators like schemars write (JSON Schema 2020-12 or OpenAPI
//! 3.0) turned into what a CustomResourceDefinition may hold.
//!
//! | given | made |
//! |---|---|
//! | `$ref` into `$defs`, `definitions`, `components` | the definition, put in; a recursive one is refused |
//! | `type: ["string", "null"]`, `anyOf: [X, {type: null}]` | `nullable: true` |
//! | `format: uint32` and its like | dropped; the range of numbers stays |
//! | `const`, `oneOf` of constants | `enum` |
//! | `oneOf`, `anyOf` of objects | their properties together, the alternatives kept as conditions ([`crate::hoist`]) |
//! | integer or string | `x-kubernetes-int-or-string` |
//! | `true`, `additionalProperties: true` | `x-kubernetes-preserve-unknown-fields` |
//! | named fields and any others of one type | the others are preserved, their type is not checked |
//! | `uniqueItems` | a list of type set |
//! | `exclusiveMinimum: 3` | `minimum: 3`, `exclusiveMinimum: true` |
//! | titles, examples, `default: null` and other notes | dropped |
//!
//! A schema that is structural already comes out as it is, but for the notes.

use serde_json::{Map, Value, json};

use crate::error::CrdError;
use crate::hoist;
use crate::keywords::{
    NOTES, anything, is_condition, is_null, make_set, normalise_numbers, set_type, set_values, settle_fields,
};
use crate::path::At;

/// Nested deeper, a schema is refused. A reference counts as a level: chains of them are walked too.
const DEEPEST: usize = 64;
/// With all references put in, a schema may have this many nodes.
const MOST_NODES: usize = 50_000;

/// Keywords that are taken over as they are.
const KEPT: [&str; 18] = [
    "description",
    "enum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "nullable",
    "pattern",
    "required",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "format",
    "default",
];

pub(crate) type Node = Map<String, Value>;

/// The structural form of the schema of a whole object.
pub(crate) fn root(raw: &Value, at: &At<'_>) -> Result<Value, CrdError> {
    let mut node = Maker::default().node(raw, at)?;
    match node.get("type").and_then(Value::as_str) {
        None => {
            node.insert("type".into(), json!("object"));
        }
        Some("object") => {}
        Some(other) => {
            let message = format!("the schema of an object must have the type object, not {other}");
            return Err(CrdError::schema(at.key("type").path(), message));
        }
    }
    for key in ["default", "nullable", "x-kubernetes-embedded-resource"] {
        node.remove(key);
    }
    let properties = node.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        for name in ["apiVersion", "kind"] {
            properties.insert(name.into(), json!({"type": "string"}));
        }
        // A server allows no other conditions on metadata than those on its names.
        let mut metadata = json!({"type": "object"});
        if let Some(Value::Object(named)) = properties.get("metadata").and_then(|m| m.get("properties")) {
            let mut names = named.clone();
            names.retain(|name, _| matches!(name.as_str(), "name" | "generateName"));
            if !names.is_empty() {
                metadata = json!({"type": "object", "properties": names});
            }
        }
        properties.insert("metadata".into(), metadata);
    }
    Ok(Value::Object(node))
}

/// The walk over a raw schema.
#[derive(Default)]
struct Maker<'a> {
    /// Where references are looked up: the schemas around that bring definitions, outermost first.
    roots: Vec<&'a Value>,
    /// The definitions that are being put in right now, with their names.
    open: Vec<(&'a Value, &'a str)>,
    depth: usize,
    nodes: usize,
}

impl<'a> Maker<'a> {
    /// The structural form of one schema.
    fn node(&mut self, raw: &'a Value, at: &At<'_>) -> Result<Node, CrdError> {
        self.nodes += 1;
        if self.depth >= DEEPEST {
            return Err(CrdError::schema(at.path(), format!("schemas nested more than {DEEPEST} deep")));
        }
        if self.nodes > MOST_NODES {
            let message = format!("with all references put in, the schema has more than {MOST_NODES} nodes");
            return Err(CrdError::schema(at.path(), message));
        }
        let raw_node = match raw {
            Value::Object(node) => node,
            Value::Bool(true) => return Ok(anything()),
            Value::Bool(false) => {
                return Err(CrdError::schema(at.path(), "a field that admits no value at all"));
            }
            _ => return Err(CrdError::schema(at.path(), "a schema must be an object")),
        };
        let brings_definitions =
            ["$defs", "definitions", "components", "$schema"].iter().any(|key| raw_node.contains_key(*key));
        if brings_definitions || self.roots.is_empty() {
            self.roots.push(raw);
        }
        self.depth += 1;
        let made = self.keywords(raw_node, at);
        self.depth -= 1;
        if self.roots.last().is_some_and(|last| std::ptr::eq(*last, raw)) {
            self.roots.pop();
        }
        made
    }

    fn keywords(&mut self, raw: &'a Node, at: &At<'_>) -> Result<Node, CrdError> {
        let mut node = Node::new();
        for (key, value) in raw {
            let here = at.key(key);
            match key.as_str() {
                "$ref" | "type" | "const" | "oneOf" | "anyOf" | "allOf" => {}
                "readOnly" | "writeOnly" | "unevaluatedProperties" | "unevaluatedItems" | "additionalItems" => {}
                key if NOTES.contains(&key) => {}
                "default" if value.is_null() => {}
                "properties" => {
                    let properties = self.properties(value, &here)?;
                    node.insert("properties".into(), properties);
                }
                // Behind a tuple: nothing more.
                "items" if value == &Value::Bool(false) && raw.contains_key("prefixItems") => {}
                "items" => {
                    let items = self.node(value, &here)?;
                    node.insert("items".into(), Value::Object(items));
                }
                "prefixItems" => self.tuple(value, &mut node, &here)?,
                "not" => {
                    node.insert("not".into(), self.condition(value, &here)?);
                }
                "additionalProperties" => self.additional(value, &mut node, &here)?,
                "patternProperties" => self.pattern_properties(value, &mut node, &here)?,
                "uniqueItems" => {
                    if value == &Value::Bool(true) {
                        node.insert("uniqueItems".into(), value.clone());
                    }
                }
                key if KEPT.contains(&key) || key.starts_with("x-kubernetes-") => {
                    node.insert(key.into(), value.clone());
                }
                key if key.starts_with("x-") => {}
                other => {
                    return Err(CrdError::schema(here.path(), format!("the keyword {other} has no structural form")));
                }
            }
        }
        set_type(raw, &mut node, at)?;
        set_values(raw, &mut node);
        settle_fields(&mut node);
        normalise_numbers(&mut node, at)?;
        make_set(&mut node);
        self.reference(raw, &mut node, at)?;
        for (keyword, value) in ["allOf", "oneOf", "anyOf"].iter().filter_map(|k| Some((*k, raw.get(*k)?))) {
            let here = at.key(keyword);
            let Value::Array(branches) = value else {
                return Err(CrdError::schema(here.path(), "must be a list of schemas"));
            };
            self.alternatives(keyword, branches, &mut node, &here)?;
        }
        if node.keys().all(|key| key == "description" || key == "default" || key == "nullable") {
            for (key, value) in anything() {
                node.entry(key).or_insert(value);
            }
        }
        Ok(node)
    }

    fn properties(&mut self, raw: &'a Value, at: &At<'_>) -> Result<Value, CrdError> {
        let Value::Object(raw) = raw else {
            return Err(CrdError::schema(at.path(), "must be an object"));
        };
        let mut properties = Node::new();
        for (name, property) in raw {
            properties.insert(name.clone(), Value::Object(self.node(property, &at.key(name))?));
        }
        Ok(Value::Object(properties))
    }

    /// Tuples have a structural form if all their items are alike.
    fn tuple(&mut self, raw: &'a Value, node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
        let mut made = Vec::new();
        for (index, item) in raw.as_array().into_iter().flatten().enumerate() {
            made.push(self.node(item, &at.index(index))?);
        }
        let Some(first) = made.first().cloned() else {
            return Ok(());
        };
        if made.iter().any(|item| *item != first) {
            return Err(CrdError::schema(
                at.path(),
                "a tuple of different types has no structural form; use an object",
            ));
        }
        node.insert("items".into(), Value::Object(first));
        Ok(())
    }

    fn additional(&mut self, raw: &'a Value, node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
        match raw {
            // What is not named is pruned anyway.
            Value::Bool(false) => {}
            Value::Bool(true) => {
                node.insert("x-kubernetes-preserve-unknown-fields".into(), Value::Bool(true));
            }
            Value::Object(empty) if empty.is_empty() => {
                node.insert("x-kubernetes-preserve-unknown-fields".into(), Value::Bool(true));
            }
            values => {
                let values = self.node(values, at)?;
                node.insert("additionalProperties".into(), Value::Object(values));
            }
        }
        Ok(())
    }

    /// A map with restricted keys, as generators write it for maps with keys that are no strings.
    fn pattern_properties(&mut self, raw: &'a Value, node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
        let mut patterns = raw.as_object().into_iter().flatten();
        match (patterns.next(), patterns.next()) {
            (Some((pattern, values)), None) => {
                let values = self.node(values, &at.key(pattern))?;
                node.insert("additionalProperties".into(), Value::Object(values));
                Ok(())
            }
            _ => Err(CrdError::schema(at.path(), "maps with several patterns of keys have no structural form")),
        }
    }

    fn reference(&mut self, raw: &'a Node, node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
        let Some(reference) = raw.get("$ref") else {
            return Ok(());
        };
        let Some(name) = reference.as_str() else {
            return Err(CrdError::schema(at.key("$ref").path(), "must be a string"));
        };
        let pointer = name.strip_prefix('#').unwrap_or(name);
        let Some(target) = self.roots.iter().rev().find_map(|root| root.pointer(pointer)) else {
            return Err(CrdError::schema(at.key("$ref").path(), format!("{name} refers to nothing")));
        };
        let of_definition = |name: &'a str| name.rsplit('/').next().unwrap_or(name);
        if let Some(first) = self.open.iter().position(|(open, _)| std::ptr::eq(*open, target)) {
            let mut way: Vec<&str> = self.open[first..].iter().map(|(_, name)| of_definition(name)).collect();
            way.push(of_definition(name));
            let message = format!(
                "the type is recursive ({}), which no CustomResourceDefinition can describe; use a field of any value for the inner one",
                way.join(" -> ")
            );
            return Err(CrdError::schema(at.path(), message));
        }
        self.open.push((target, name));
        let made = self.node(target, at);
        self.open.pop();
        let mut made = made?;
        // What stands beside the reference is said about this place and wins.
        for key in ["description", "default"] {
            if let Some(value) = node.remove(key) {
                made.insert(key.into(), value);
            }
        }
        *node = hoist::both(std::mem::take(node), made, at)?;
        Ok(())
    }

    /// Brings `oneOf`, `anyOf` or `allOf` into a node whose other keywords are made already.
    fn alternatives(&mut self, keyword: &str, raw: &'a [Value], node: &mut Node, at: &At<'_>) -> Result<(), CrdError> {
        let mut branches: Vec<(usize, &'a Value)> = raw.iter().enumerate().collect();
        if keyword != "allOf" {
            branches.retain(|(_, branch)| !is_null(branch));
            if branches.len() < raw.len() {
                node.insert("nullable".into(), Value::Bool(true));
            }
        }
        if branches.iter().all(|(_, branch)| is_condition(branch)) {
            let mut conditions = Vec::new();
            for (index, branch) in branches {
                conditions.push(self.condition(branch, &at.index(index))?);
            }
            node.insert(keyword.into(), Value::Array(conditions));
            return Ok(());
        }
        if node.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            // The one place where a server allows types in alternatives, and they say nothing new.
            branches.retain(|(_, branch)| keyword == "allOf" && is_condition(branch));
            let kept: Vec<Value> = branches.into_iter().map(|(_, branch)| branch.clone()).collect();
            if !kept.is_empty() {
                node.insert(keyword.into(), Value::Array(kept));
            }
            return Ok(());
        }
        let mut made = Vec::new();
        for (index, branch) in branches {
            made.push(self.node(branch, &at.index(index))?);
        }
        let own = std::mem::take(node);
        *node = if keyword == "allOf" || made.len() == 1 {
            made.into_iter().try_fold(own, |all, branch| hoist::both(all, branch, at))?
        } else {
            let together = hoist::any(keyword, made, at)?;
            hoist::both(own, together, at)?
        };
        Ok(())
    }

    /// A schema that only restricts values, as alternatives and `not` hold it.
    fn condition(&mut self, raw: &'a Value, at: &At<'_>) -> Result<Value, CrdError> {
        if is_condition(raw) {
            let mut kept = raw.clone();
            if let Value::Object(node) = &mut kept {
                normalise_numbers(node, at)?;
            }
            return Ok(kept);
        }
        let made = self.node(raw, at)?;
        Ok(Value::Object(hoist::condition(&made, None)))
    }
}
