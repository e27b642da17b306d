//! Kinds that `local` knows without a plugin (rule D5), and what an API server does to them beyond
//! schemas.

use std::sync::LazyLock;

use serde_json::{Map, Value};
use setpoint_schema::{Crd, FieldError, FieldErrorKind, FieldPath};

use super::marks::{base64, is_base64};

/// The kinds of the host itself, which no plugin brings: definition and version.
const HOST_KINDS: [(&str, &str); 4] = [
    (include_str!("builtin/process.json"), "v1alpha1"),
    (setpoint_core::probe::CRD, "v1alpha1"),
    (include_str!("builtin/cluster.json"), "v1alpha1"),
    (include_str!("builtin/plugin.json"), "v1alpha1"),
];

static HOST: LazyLock<Vec<Crd>> = LazyLock::new(|| HOST_KINDS.map(|(text, version)| compiled(text, version)).into());

fn compiled(text: &str, version: &str) -> Crd {
    let crd = serde_json::from_str(text).map_err(|error| error.to_string());
    match crd.and_then(|crd| Crd::parse(&crd, version).map_err(|error| error.to_string())) {
        Ok(crd) => crd,
        Err(error) => panic!("a definition that is part of the program: {error}"),
    }
}

/// The kinds: ConfigMap, Secret and Event of the core group, and those of the host itself.
pub(crate) fn kinds() -> Vec<Crd> {
    let core = [("ConfigMap", "configmaps", Some("cm")), ("Secret", "secrets", None), ("Event", "events", Some("ev"))];
    let core = core.map(|(kind, plural, short)| {
        let mut crd = Crd::builtin("", "v1", kind, plural, true);
        crd.short_names.extend(short.map(str::to_owned));
        crd
    });
    core.into_iter().chain(HOST.iter().cloned()).collect()
}

/// Brings a document into the form that is kept: a Secret's `stringData` becomes part of `data`.
pub(crate) fn normalise(crd: &Crd, document: &mut Value) {
    if !is(crd, "Secret") {
        return;
    }
    let Some(document) = document.as_object_mut() else {
        return;
    };
    let Some(Value::Object(plain)) = document.remove("stringData") else {
        return;
    };
    let data = document.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    if let Some(data) = data.as_object_mut() {
        for (name, value) in plain {
            let coded = match value {
                Value::String(text) => Value::String(base64(text.as_bytes())),
                // Left as it is, so that validation names it.
                other => other,
            };
            data.insert(name, coded);
        }
    }
}

/// What is wrong with the data of a ConfigMap or Secret.
pub(crate) fn validate(crd: &Crd, document: &Value) -> Vec<FieldError> {
    let (strings, coded): (&[&str], &[&str]) = match (is(crd, "ConfigMap"), is(crd, "Secret")) {
        (true, _) => (&["data"], &["binaryData"]),
        (_, true) => (&[], &["data"]),
        _ => return Vec::new(),
    };
    let mut errors = Vec::new();
    for field in strings.iter().chain(coded) {
        let path = FieldPath::of(&[field]);
        let map = match document.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(map)) => map,
            Some(_) => {
                errors.push(wrong(path, "must be an object of strings"));
                continue;
            }
        };
        for (name, value) in map {
            match value.as_str() {
                None => errors.push(wrong(path.clone().key(name), "must be a string (quote numbers and booleans)")),
                Some(text) if coded.contains(field) && !is_base64(text) => {
                    errors.push(wrong(path.clone().key(name), "must be base64; plain text belongs in stringData"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

/// The field that a write would change although it cannot be changed, with the reason.
pub(crate) fn immutable(crd: &Crd, old: &Value, new: &Value) -> Option<String> {
    let changed = |fields: &[&str]| fields.iter().any(|field| old.get(field) != new.get(field));
    let frozen = old.get("immutable") == Some(&Value::Bool(true));
    if is(crd, "Secret") && changed(&["type"]) {
        return Some("type: Invalid value: field is immutable".into());
    }
    if (is(crd, "ConfigMap") || is(crd, "Secret")) && frozen && changed(&["data", "binaryData", "immutable"]) {
        return Some("data: Forbidden: field is immutable when `immutable` is set".into());
    }
    None
}

fn is(crd: &Crd, kind: &str) -> bool {
    crd.group.is_empty() && crd.kind == kind
}

fn wrong(path: FieldPath, message: &str) -> FieldError {
    FieldError { path, message: format!("Invalid value: {message}"), kind: FieldErrorKind::TypeInvalid }
}
