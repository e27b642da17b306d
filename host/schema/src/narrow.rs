//! Whether a schema lets fewer objects in than another one did: what was valid may be no more.

use std::fmt;

use serde_json::{Map, Value};

/// Bounds from above: a smaller one is narrower, and so is one where there was none.
const UPPER: [&str; 5] = ["maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"];
/// Bounds from below.
const LOWER: [&str; 5] = ["minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"];
/// What narrows by being there, or by being another one.
const SAME: [&str; 6] = ["pattern", "format", "multipleOf", "uniqueItems", "not", "x-kubernetes-list-map-keys"];
/// What is a list of which all or some have to hold: compared as a whole.
const LOGIC: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// What is narrower, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Narrowing {
    /// Such as `.spec.size`; empty for the whole object.
    pub path: String,
    /// Such as `is required now`.
    pub what: String,
}

impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "." } else { &self.path };
        write!(f, "{path} {}", self.what)
    }
}

/// What the `openAPIV3Schema` `new` does not let in that `old` did, as far as that shows in keywords. In doubt it
/// is named.
pub fn narrowings(old: &Value, new: &Value) -> Vec<Narrowing> {
    let mut found = Vec::new();
    compare(old, new, "", &mut found);
    found
}

fn compare(old: &Value, new: &Value, path: &str, found: &mut Vec<Narrowing>) {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut say = |what: String| found.push(Narrowing { path: path.to_owned(), what });
    let is = |schema: &Map<String, Value>, name: &str| schema.get(name) == Some(&Value::Bool(true));
    let text = |schema: &Map<String, Value>| schema.get("type").and_then(Value::as_str).map(str::to_owned);
    match (text(old), text(new)) {
        (Some(old), Some(new)) if old != new && !(old == "integer" && new == "number") => {
            say(format!("is of type {new} now, and was of type {old}"));
        }
        (None, Some(new)) if !is(old, "x-kubernetes-int-or-string") => say(format!("has to be of type {new} now")),
        _ => {}
    }
    for flag in ["nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"] {
        if is(old, flag) && !is(new, flag) {
            say(format!("loses {flag}"));
        }
    }
    let number = |schema: &Map<String, Value>, name: &str| schema.get(name).and_then(Value::as_f64);
    for (names, upper) in [(UPPER, true), (LOWER, false)] {
        for name in names {
            let (before, now) = (number(old, name), number(new, name));
            let narrower = match (before, now) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(before), Some(now)) => {
                    if upper {
                        now < before
                    } else {
                        now > before
                    }
                }
            };
            if narrower {
                say(format!("has {name} {} now", now.unwrap_or_default()));
            }
        }
    }
    for name in SAME {
        if let Some(now) = new.get(name).filter(|now| old.get(name) != Some(*now) && **now != Value::Bool(false)) {
            say(format!("has {name} {now} now"));
        }
    }
    for name in LOGIC {
        if new.get(name).is_some() && new.get(name) != old.get(name) {
            say(format!("has another {name}"));
        }
    }
    if let Some(now) = new.get("enum").and_then(Value::as_array) {
        match old.get("enum").and_then(Value::as_array) {
            None => say("allows only some values now".into()),
            Some(before) => {
                let gone: Vec<String> =
                    before.iter().filter(|value| !now.contains(value)).map(ToString::to_string).collect();
                if !gone.is_empty() {
                    say(format!("does not allow {} any more", gone.join(", ")));
                }
            }
        }
    }
    let rules = |schema: &Map<String, Value>| -> Vec<String> {
        let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
        let rule = |rule: &Value| rule.get("rule").and_then(Value::as_str).map(str::to_owned);
        rules.into_iter().flatten().filter_map(rule).collect()
    };
    let before = rules(old);
    for rule in rules(new).iter().filter(|rule| !before.contains(rule)) {
        say(format!("has the rule {rule:?} now"));
    }
    let names = |schema: &Map<String, Value>| -> Vec<String> {
        let names = schema.get("required").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let properties = |schema: &Map<String, Value>| schema.get("properties").and_then(Value::as_object).cloned();
    let (before, now) = (properties(old).unwrap_or_default(), properties(new).unwrap_or_default());
    let required = names(old);
    for name in names(new).iter().filter(|name| !required.contains(name)) {
        if now.get(name).and_then(|schema| schema.get("default")).is_none() {
            found.push(Narrowing { path: format!("{path}.{name}"), what: "is required now".into() });
        }
    }
    let others = new.get("additionalProperties").filter(|others| **others != Value::Bool(false));
    let open = is(new, "x-kubernetes-preserve-unknown-fields");
    for (name, schema) in &before {
        let path = format!("{path}.{name}");
        match now.get(name).or(others) {
            Some(now) => compare(schema, now, &path, found),
            None if open => {}
            None => found.push(Narrowing { path, what: "is not there any more".into() }),
        }
    }
    match (old.get("additionalProperties").filter(|others| **others != Value::Bool(false)), others) {
        (Some(old), Some(new)) => compare(old, new, &format!("{path}[*]"), found),
        (Some(_), None) if !open => {
            found.push(Narrowing { path: path.to_owned(), what: "does not take other fields any more".into() });
        }
        _ => {}
    }
    if let Some(items) = old.get("items") {
        compare(items, new.get("items").unwrap_or(&Value::Null), &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(old: Value, new: Value) -> Vec<String> {
        let schema = |spec| json!({"type": "object", "properties": {"spec": spec}});
        narrowings(&schema(old), &schema(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_lets_more_in_is_no_narrowing() {
        for (old, new) in [
            (json!({"type": "string"}), json!({"type": "string"})),
            (json!({"type": "integer"}), json!({"type": "number"})),
            (json!({"type": "string", "maxLength": 3}), json!({"type": "string", "maxLength": 4})),
            (json!({"type": "string", "enum": ["a"]}), json!({"type": "string", "enum": ["a", "b"]})),
            (json!({"type": "string", "enum": ["a"], "pattern": "x"}), json!({"type": "string"})),
            (json!({"type": "object", "required": ["a"]}), json!({"type": "object"})),
            (json!({"type": "object"}), json!({"type": "object", "properties": {"a": {"type": "string"}}})),
            (
                json!({"type": "object"}),
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "default": "x"}}}),
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}}}),
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
            ),
        ] {
            assert_eq!(of(old.clone(), new.clone()), Vec::<String>::new(), "{old} {new}");
        }
    }

    #[test]
    fn what_lets_less_in_is_named_with_its_place() {
        let field = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
        let text = json!({"type": "string"});
        for (old, new, said) in [
            (text.clone(), json!({"type": "integer"}), ".spec is of type integer now, and was of type string"),
            (text.clone(), json!({"type": "string", "maxLength": 3}), ".spec has maxLength 3 now"),
            (json!({"minimum": 1}), json!({"minimum": 2}), ".spec has minimum 2 now"),
            (text.clone(), json!({"type": "string", "pattern": "x"}), ".spec has pattern \"x\" now"),
            (text.clone(), json!({"type": "string", "enum": ["a"]}), ".spec allows only some values now"),
            (json!({"enum": ["a", "b"]}), json!({"enum": ["a"]}), ".spec does not allow \"b\" any more"),
            (field(text.clone()), json!({"type": "object"}), ".spec.a is not there any more"),
            (
                field(text.clone()),
                json!({"type": "object", "required": ["a"], "properties": {"a": text}}),
                ".spec.a is required now",
            ),
            (json!({"nullable": true}), json!({}), ".spec loses nullable"),
            (
                json!({"items": {"type": "string"}}),
                json!({"items": {"type": "integer"}}),
                ".spec[] is of type integer now, and was of type string",
            ),
            (
                json!({"additionalProperties": {"type": "string"}}),
                json!({}),
                ".spec does not take other fields any more",
            ),
            (
                json!({}),
                json!({"x-kubernetes-validations": [{"rule": "self > 1"}]}),
                ".spec has the rule \"self > 1\" now",
            ),
        ] {
            assert_eq!(of(old.clone(), new.clone()), [said], "{old} {new}");
        }
    }
}
