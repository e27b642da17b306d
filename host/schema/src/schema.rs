//! A structural schema, compiled once: one tree drives defaulting, pruning, validation, list types
//! and rules.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::error::CrdError;
use crate::format::Format;
use crate::path::At;
use crate::rule::Rule;
use crate::{shape, validate};

/// How a list is merged, and what makes its items the same (`x-kubernetes-list-type`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ListType {
    /// Replaced as a whole. What lists are when the schema says nothing.
    #[default]
    Atomic,
    /// Every item is there once.
    Set,
    /// Items are objects, told apart by the values of these fields.
    Map(Vec<String>),
}

/// The `type` of a schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// What `additionalProperties` says.
#[derive(Clone, Debug, Default)]
pub(crate) enum Additional {
    /// Nothing: other keys are unknown.
    #[default]
    None,
    /// `true`: any key with any value.
    Any,
    /// Any key, with values of this schema.
    Schema(Box<Schema>),
}

/// A limit of a number.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) value: serde_json::Number,
    pub(crate) exclusive: bool,
}

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) format: Option<Format>,
    pub(crate) allowed: Option<Vec<Value>>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<serde_json::Number>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) required: Vec<String>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
    pub(crate) preserve: bool,
    pub(crate) int_or_string: bool,
    /// The root of an object: of this one, or of one embedded in it.
    pub(crate) resource: bool,
    pub(crate) list_type: ListType,
    /// `x-kubernetes-map-type: atomic`: its fields are not followed from an old object to a new one.
    pub(crate) atomic: bool,
    pub(crate) rules: Vec<Rule>,
    /// Whether there is a rule here or anywhere below.
    pub(crate) rules_below: bool,
}

/// Whether rules are compiled, or left to the server that serves the definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    Compiled,
    LeftToServer,
}

/// What holds for a node by where it stands.
#[derive(Clone, Copy)]
struct Mode {
    rules: Rules,
    /// Whether a server has accepted the definition: what it says of itself is not doubted then.
    served: bool,
    /// Whether the value before can be found again: it cannot be below an atomic or set list, and
    /// below an atomic map.
    follows_old: bool,
}

impl Schema {
    /// A root of which nothing is known: everything is kept.
    pub(crate) fn anything() -> Self {
        let mut schema = Schema { kind: Some(Type::Object), preserve: true, ..Schema::default() };
        schema.make_resource();
        schema
    }

    /// Compiles the structural schema of a whole object.
    pub(crate) fn root(json: &Value, at: &At<'_>, rules: Rules) -> Result<Self, CrdError> {
        let mut with_meta = json.clone();
        if let Some(node) = with_meta.as_object_mut() {
            node.insert("x-kubernetes-embedded-resource".into(), Value::Bool(true));
        }
        let mode = Mode { rules, served: rules == Rules::LeftToServer, follows_old: true };
        Self::compile(&with_meta, at, mode)
    }

    /// Compiles a structural schema, and checks what an API server checks when it accepts one:
    /// patterns, defaults, keys of map lists, rules.
    fn compile(json: &Value, at: &At<'_>, mode: Mode) -> Result<Self, CrdError> {
        let node = Node { json: object(json, at)?, at };
        let mut schema = Schema {
            kind: node.kind()?,
            nullable: node.flag("nullable")?,
            default: node.get("default").filter(|value| !value.is_null()).cloned(),
            format: node.text("format")?.and_then(Format::of),
            allowed: node.list("enum")?.map(<[Value]>::to_vec),
            minimum: node.bound("minimum", "exclusiveMinimum")?,
            maximum: node.bound("maximum", "exclusiveMaximum")?,
            multiple_of: node.multiple_of()?,
            min_length: node.count("minLength")?,
            max_length: node.count("maxLength")?,
            pattern: node.pattern(mode.served)?,
            min_items: node.count("minItems")?,
            max_items: node.count("maxItems")?,
            unique_items: node.flag("uniqueItems")?,
            required: node.names("required")?,
            min_properties: node.count("minProperties")?,
            max_properties: node.count("maxProperties")?,
            preserve: node.flag("x-kubernetes-preserve-unknown-fields")?,
            int_or_string: node.flag("x-kubernetes-int-or-string")?,
            resource: node.flag("x-kubernetes-embedded-resource")?,
            atomic: node.text("x-kubernetes-map-type")? == Some("atomic"),
            ..Schema::default()
        };
        schema.compile_below(&node, mode)?;
        schema.list_type = schema.compile_list_type(&node)?;
        if schema.resource {
            schema.make_resource();
        }
        if !mode.served {
            schema.check_default(at)?;
        }
        if mode.rules == Rules::Compiled {
            schema.compile_rules(&node, mode.follows_old)?;
        }
        schema.rules_below = !schema.rules.is_empty() || schema.children().any(|child| child.rules_below);
        Ok(schema)
    }

    fn compile_below(&mut self, node: &Node<'_>, mode: Mode) -> Result<(), CrdError> {
        let at = node.at;
        let fields = Mode { follows_old: mode.follows_old && !self.atomic, ..mode };
        let here = at.key("properties");
        if let Some(properties) = node.get("properties") {
            for (name, property) in object(properties, &here)? {
                let property = Self::compile(property, &here.key(name), fields)?;
                self.properties.insert(name.clone(), property);
            }
        }
        if let Some(items) = node.get("items") {
            let is_map = node.text("x-kubernetes-list-type")? == Some("map");
            let mode = Mode { follows_old: mode.follows_old && is_map, ..mode };
            self.items = Some(Box::new(Self::compile(items, &at.key("items"), mode)?));
        }
        self.additional = match node.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::None,
            Some(Value::Bool(true)) => Additional::Any,
            Some(values) => {
                let here = at.key("additionalProperties");
                Additional::Schema(Box::new(Self::compile(values, &here, fields)?))
            }
        };
        // Rules are not allowed within alternatives, so none are looked for.
        let mode = Mode { rules: Rules::LeftToServer, ..mode };
        for (keyword, branches) in
            [("oneOf", &mut self.one_of), ("anyOf", &mut self.any_of), ("allOf", &mut self.all_of)]
        {
            let here = at.key(keyword);
            for (index, branch) in node.list(keyword)?.unwrap_or_default().iter().enumerate() {
                branches.push(Self::compile(branch, &here.index(index), mode)?);
            }
        }
        if let Some(not) = node.get("not") {
            self.not = Some(Box::new(Self::compile(not, &at.key("not"), mode)?));
        }
        Ok(())
    }

    fn compile_list_type(&self, node: &Node<'_>) -> Result<ListType, CrdError> {
        let keys = node.names("x-kubernetes-list-map-keys")?;
        match node.text("x-kubernetes-list-type")? {
            None | Some("atomic") => Ok(ListType::Atomic),
            Some("set") => Ok(ListType::Set),
            Some("map") if keys.is_empty() => {
                Err(node.wrong("x-kubernetes-list-map-keys", "a list of type map needs at least one key"))
            }
            Some("map") => {
                let items = self.items.as_deref();
                for key in &keys {
                    let known = items.and_then(|items| items.properties.get(key));
                    let sure = items.is_some_and(|items| items.required.contains(key))
                        || known.is_some_and(|property| property.default.is_some());
                    if known.is_none() || !sure {
                        let message =
                            format!("the key {key} must be a property of the items, required or with a default");
                        return Err(node.wrong("x-kubernetes-list-map-keys", &message));
                    }
                }
                Ok(ListType::Map(keys))
            }
            Some(other) => Err(node.wrong("x-kubernetes-list-type", &format!("unknown list type {other}"))),
        }
    }

    /// Every object has these fields, and no schema needs to name them.
    fn make_resource(&mut self) {
        self.resource = true;
        let text = || Schema { kind: Some(Type::String), ..Schema::default() };
        for name in ["apiVersion", "kind"] {
            self.properties.entry(name.to_owned()).or_insert_with(text);
        }
        let metadata = self.properties.entry("metadata".to_owned()).or_default();
        metadata.kind = Some(Type::Object);
        // Only these two can be asked for by rules; the others are checked as metadata.
        metadata.properties.retain(|name, _| matches!(name.as_str(), "name" | "generateName"));
        for name in ["name", "generateName"] {
            metadata.properties.entry(name.to_owned()).or_insert_with(text);
        }
    }

    /// A default must itself be a value that the schema lets through.
    fn check_default(&self, at: &At<'_>) -> Result<(), CrdError> {
        let Some(default) = &self.default else {
            return Ok(());
        };
        let mut value = default.clone();
        shape::default_value(self, &mut value);
        let mut unknown = Vec::new();
        shape::prune_value(self, &mut value, &At::Root, &mut unknown);
        let mut errors = Vec::new();
        validate::check(self, &value, None, &At::Root, &mut errors);
        let message = match (unknown.first(), errors.first()) {
            (Some(path), _) => format!("the default has the unknown field {path}"),
            (None, Some(error)) => format!("the default does not fit: {error}"),
            (None, None) => return Ok(()),
        };
        Err(CrdError::schema(at.key("default").path(), message))
    }

    fn compile_rules(&mut self, node: &Node<'_>, follows_old: bool) -> Result<(), CrdError> {
        let here = node.at.key("x-kubernetes-validations");
        let mut rules = Vec::new();
        for (index, rule) in node.list("x-kubernetes-validations")?.unwrap_or_default().iter().enumerate() {
            rules.push(Rule::compile(rule, self, follows_old, &here.index(index))?);
        }
        self.rules = rules;
        Ok(())
    }

    fn children(&self) -> impl Iterator<Item = &Schema> {
        let additional = match &self.additional {
            Additional::Schema(schema) => Some(schema.as_ref()),
            Additional::None | Additional::Any => None,
        };
        self.properties.values().chain(self.items.as_deref()).chain(additional)
    }

    /// The schema of the values of keys that are not named.
    pub(crate) fn values(&self) -> Option<&Schema> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::None | Additional::Any => None,
        }
    }

    /// The schema of the value under a key of an object.
    pub(crate) fn child(&self, key: &str) -> Option<&Schema> {
        self.properties.get(key).or_else(|| self.values())
    }
}

fn object<'a>(json: &'a Value, at: &At<'_>) -> Result<&'a Map<String, Value>, CrdError> {
    json.as_object().ok_or_else(|| CrdError::schema(at.path(), "must be an object"))
}

/// A schema node as JSON, with where it is.
struct Node<'a> {
    json: &'a Map<String, Value>,
    at: &'a At<'a>,
}

impl<'a> Node<'a> {
    fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.json.get(keyword)
    }

    fn wrong(&self, keyword: &str, message: &str) -> CrdError {
        CrdError::schema(self.at.key(keyword).path(), message)
    }

    fn kind(&self) -> Result<Option<Type>, CrdError> {
        match self.text("type")? {
            None => Ok(None),
            Some(name) => match Type::of(name) {
                Some(kind) => Ok(Some(kind)),
                None => Err(self.wrong("type", &format!("unknown type {name}"))),
            },
        }
    }

    fn text(&self, keyword: &str) -> Result<Option<&'a str>, CrdError> {
        match self.get(keyword) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(keyword, "must be a string")),
        }
    }

    fn flag(&self, keyword: &str) -> Result<bool, CrdError> {
        match self.get(keyword) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(keyword, "must be true or false")),
        }
    }

    fn count(&self, keyword: &str) -> Result<Option<u64>, CrdError> {
        match self.get(keyword) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.wrong(keyword, "must be a count, 0 or more")),
            },
        }
    }

    fn number(&self, keyword: &str) -> Result<Option<serde_json::Number>, CrdError> {
        match self.get(keyword) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number.clone())),
            Some(_) => Err(self.wrong(keyword, "must be a number")),
        }
    }

    fn multiple_of(&self) -> Result<Option<serde_json::Number>, CrdError> {
        match self.number("multipleOf")? {
            Some(number) if number.as_f64().is_none_or(|n| n <= 0.0) => {
                Err(self.wrong("multipleOf", "must be above 0"))
            }
            other => Ok(other),
        }
    }

    fn bound(&self, limit: &str, exclusive: &str) -> Result<Option<Bound>, CrdError> {
        let exclusive = self.flag(exclusive)?;
        Ok(self.number(limit)?.map(|value| Bound { value, exclusive }))
    }

    fn list(&self, keyword: &str) -> Result<Option<&'a [Value]>, CrdError> {
        match self.get(keyword) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(keyword, "must be a list")),
        }
    }

    fn names(&self, keyword: &str) -> Result<Vec<String>, CrdError> {
        let list = self.list(keyword)?.unwrap_or_default();
        list.iter()
            .map(|name| match name {
                Value::String(name) => Ok(name.clone()),
                _ => Err(self.wrong(keyword, "must be a list of names")),
            })
            .collect()
    }

    fn pattern(&self, served: bool) -> Result<Option<Regex>, CrdError> {
        match self.text("pattern")? {
            None => Ok(None),
            Some(pattern) => match Regex::new(pattern) {
                Ok(regex) => Ok(Some(regex)),
                // The server's own expressions know a few classes more; it will check the value.
                Err(_) if served => Ok(None),
                Err(error) => Err(self.wrong("pattern", &error.to_string())),
            },
        }
    }
}
