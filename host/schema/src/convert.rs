//! Values as rules see them.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::common::ast::{CallExpr, Expr};
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{IdedExpr, Value as Cel};
use serde_json::{Number, Value};

use crate::expr::FUNCTIONS;
use crate::format::Format;
use crate::schema::{Additional, Schema, Type};

/// Words of CEL that a field may be called as well.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name by which a rule selects a field; `None` for a field that cannot be selected.
///
/// As an API server does it: reserved words become `__word__`; `.`, `-`, `/` and double `_` become
/// words between double underscores; a single `_` stays what it is.
pub(crate) fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '_' if chars.peek() == Some(&'_') => {
                chars.next();
                out.push_str("__underscores__");
            }
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            '_' => out.push('_'),
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

/// A value with its types: times and durations as such, numbers as the schema has them, fields
/// under the names by which rules select them. Below a node without a schema everything is taken as
/// it is.
pub(crate) fn to_cel(schema: Option<&Schema>, value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(n) => number(schema, n),
        Value::String(text) => self::text(schema, text),
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            Cel::List(Arc::new(list.iter().map(|item| to_cel(items, item)).collect()))
        }
        Value::Object(object) => {
            let mut map = HashMap::with_capacity(object.len());
            for (name, value) in object {
                if let Some((key, value)) = entry(schema, name, value) {
                    map.insert(Key::String(Arc::new(key)), value);
                }
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn entry(schema: Option<&Schema>, name: &str, value: &Value) -> Option<(String, Cel)> {
    let Some(schema) = schema else {
        return Some((name.to_owned(), to_cel(None, value)));
    };
    if let Some(property) = schema.properties.get(name) {
        // A null in a field is as good as no field: `has()` says so too.
        return (!value.is_null()).then_some(()).and_then(|()| Some((escape(name)?, to_cel(Some(property), value))));
    }
    match &schema.additional {
        // Keys of maps are data, not names.
        Additional::Schema(values) => Some((name.to_owned(), to_cel(Some(values), value))),
        Additional::Any => Some((name.to_owned(), to_cel(None, value))),
        Additional::None => schema.preserve.then(|| (name.to_owned(), to_cel(None, value))),
    }
}

fn number(schema: Option<&Schema>, number: &Number) -> Cel {
    let float = || Cel::Float(number.as_f64().unwrap_or(f64::NAN));
    match schema.and_then(|schema| schema.kind) {
        Some(Type::Number) => float(),
        _ => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => Cel::Int(int),
            // `1.0` in a field of type integer is 1.
            (None, Some(n)) if schema.is_some() && number.is_f64() && n.fract() == 0.0 && n.abs() < 9e18 => {
                Cel::Int(n as i64)
            }
            _ => number.as_u64().map_or_else(float, Cel::UInt),
        },
    }
}

fn text(schema: Option<&Schema>, text: &str) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    let made = match schema.and_then(|schema| schema.format) {
        Some(Format::DateTime) => make("timestamp", text),
        Some(Format::Date) => make("timestamp", &format!("{text}T00:00:00Z")),
        Some(Format::Duration) => make("duration", text),
        Some(Format::Byte) => make("base64.decode", text),
        _ => None,
    };
    made.unwrap_or_else(plain)
}

/// Lets the library make a value of a text by one of its own functions.
fn make(function: &str, text: &str) -> Option<Cel> {
    let ident = |name: &str| IdedExpr { id: 0, expr: Expr::Ident(name.to_owned()) };
    let call = IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args: vec![ident("text")] }),
    };
    let mut context = FUNCTIONS.new_inner_scope();
    context.add_variable_from_value("text", text);
    Cel::resolve(&call, &context).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_an_api_server_escapes_them() {
        for (name, escaped) in [
            ("foo_bar", Some("foo_bar")),
            ("_x", Some("_x")),
            ("a__b", Some("a__underscores__b")),
            ("a.b-c/d", Some("a__dot__b__dash__c__slash__d")),
            ("namespace", Some("__namespace__")),
            ("plain", Some("plain")),
            ("1st", None),
            ("ä", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
        }
    }
}
