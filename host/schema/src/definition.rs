//! Reading a CustomResourceDefinition outside of its schemas.

use serde_json::{Value, json};

use crate::crd::Column;
use crate::error::CrdError;
use crate::path::{At, FieldPath, Segment};
use crate::schema::{Rules, Schema};
use crate::structural;

/// A part of the definition, with where it is.
pub(crate) struct Source<'a> {
    pub(crate) json: &'a Value,
    pub(crate) path: FieldPath,
}

impl<'a> Source<'a> {
    pub(crate) fn wrong(&self, key: &str, message: &str) -> CrdError {
        CrdError::definition(self.path.clone().key(key), message)
    }

    pub(crate) fn field(&self, key: &str) -> Result<Source<'a>, CrdError> {
        match self.json.get(key) {
            Some(json @ Value::Object(_)) => Ok(Source { json, path: self.path.clone().key(key) }),
            _ => Err(self.wrong(key, "is required and must be an object")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&'a str, CrdError> {
        self.optional(key)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(key, "is required and must be a string"))
    }

    pub(crate) fn optional(&self, key: &str) -> Option<&'a str> {
        self.json.get(key).and_then(Value::as_str)
    }

    pub(crate) fn strings(&self, key: &str) -> Vec<String> {
        let list = self.json.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }
}

/// One entry of `spec.versions`.
pub(crate) struct Version<'a> {
    pub(crate) name: &'a str,
    pub(crate) served: bool,
    pub(crate) source: Source<'a>,
    /// The schema, structural.
    pub(crate) schema: Value,
}

impl<'a> Version<'a> {
    pub(crate) fn all(spec: &Source<'a>) -> Result<Vec<Version<'a>>, CrdError> {
        let Some(list) = spec.json.get("versions").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
            return Err(spec.wrong("versions", "at least one version is required"));
        };
        let mut versions = Vec::new();
        for (index, json) in list.iter().enumerate() {
            let source = Source { json, path: spec.path.clone().key("versions").index(index) };
            let raw = source.field("schema")?.field("openAPIV3Schema")?;
            versions.push(Version {
                name: source.text("name")?,
                served: json.get("served") != Some(&Value::Bool(false)),
                schema: at_schema(index, |at| structural::root(raw.json, at))?,
                source,
            });
        }
        Ok(versions)
    }

    pub(crate) fn compile(&self, rules: Rules) -> Result<Schema, CrdError> {
        let index = match self.source.path.segments().last() {
            Some(Segment::Index(index)) => *index,
            _ => 0,
        };
        at_schema(index, |at| Schema::root(&self.schema, at, rules))
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, CrdError> {
        let list = self.source.json.get("additionalPrinterColumns").and_then(Value::as_array);
        let mut columns = Vec::new();
        for (index, json) in list.into_iter().flatten().enumerate() {
            let column = Source { json, path: self.source.path.clone().key("additionalPrinterColumns").index(index) };
            columns.push(Column {
                name: column.text("name")?.to_owned(),
                json_path: column.text("jsonPath")?.to_owned(),
                kind: column.text("type")?.to_owned(),
                priority: json.get("priority").and_then(Value::as_i64).unwrap_or(0),
                format: column.optional("format").map(str::to_owned),
            });
        }
        Ok(columns)
    }
}

/// Calls with the path of the schema of a version.
pub(crate) fn at_schema<T>(index: usize, call: impl FnOnce(&At<'_>) -> T) -> T {
    let root = At::Root;
    let spec = root.key("spec");
    let versions = spec.key("versions");
    let version = versions.index(index);
    let schema = version.key("schema");
    call(&schema.key("openAPIV3Schema"))
}

/// The definition with structural schemas, and with what may be left out of it filled in.
pub(crate) fn manifest(crd: &Value, versions: &[Version<'_>], singular: &str, name: &str) -> Value {
    let mut made = crd.clone();
    if let Some(fields) = made.as_object_mut() {
        fields.remove("status");
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("name".into(), json!(name));
        }
    }
    if let Some(Value::Object(names)) = made.pointer_mut("/spec/names") {
        names.entry("singular").or_insert_with(|| json!(singular));
        if let Some(kind) = names.get("kind").and_then(Value::as_str).map(|kind| format!("{kind}List")) {
            names.entry("listKind").or_insert_with(|| json!(kind));
        }
    }
    let entries = made.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for (entry, version) in entries.into_iter().flatten().zip(versions) {
        if let Value::Object(entry) = entry {
            entry.entry("served").or_insert(Value::Bool(true));
            if versions.len() == 1 {
                entry.entry("storage").or_insert(Value::Bool(true));
            }
            entry.insert("schema".into(), json!({"openAPIV3Schema": version.schema}));
        }
    }
    made
}
