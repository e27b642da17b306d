//! CustomResourceDefinitions that are made of types.
//!
//! The schemas are JSON schemas as schemars makes them. The host turns them into structural ones when it
//! reads the description, so that guests stay small and other languages need no such code.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Column, DescribeError, Kind};

/// The schemas of a derived CRD.
pub(crate) struct Schemas {
    spec: Value,
    status: Value,
}

/// The schemas of a spec and a status.
pub(crate) fn schemas<Spec: JsonSchema, Status: JsonSchema>() -> Result<Schemas, DescribeError> {
    Ok(Schemas { spec: read_schema::<Spec>("Spec")?, status: schema::<Status>(settings().for_serialize(), "Status")? })
}

/// The schema of what a type reads. `name` is the type's part in the plugin.
pub(crate) fn read_schema<T: JsonSchema>(name: &'static str) -> Result<Value, DescribeError> {
    schema::<T>(settings(), name)
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    })
}

fn schema<T: JsonSchema>(settings: SchemaSettings, name: &'static str) -> Result<Value, DescribeError> {
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // Everything is inlined, so a reference left over is a type within itself.
    if refers(&schema) {
        return Err(DescribeError::Recursive(name));
    }
    match schema.as_object_mut() {
        Some(schema) => {
            schema.remove("title");
        }
        // The schema of a `Value` is `true`: anything.
        None => schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    }
    Ok(schema)
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.get("$ref").is_some_and(Value::is_string) || fields.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

/// The CRD of a kind with these schemas, as JSON text.
///
/// Put together as text, as building it from values would be a tenth of a small guest's code.
pub(crate) fn derived(kind: &Kind, Schemas { spec, status }: Schemas) -> String {
    // A spec with a required field is required itself, or leaving it out would be the way around.
    let required = spec.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty());
    let required = if required { r#","required":["spec"]"# } else { "" };
    let status = completed(status);
    let Kind { group, version, kind: name, plural, .. } = kind;
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let names = format!(
        r#"{{"kind":{},"listKind":{},"plural":{},"singular":{},"shortNames":[{}]}}"#,
        quoted(name),
        quoted(&format!("{name}List")),
        quoted(plural),
        quoted(&name.to_lowercase()),
        list(kind.short_names.iter().map(|name| quoted(name))),
    );
    let schema = format!(
        r#"{{"type":"object","properties":{{"apiVersion":{{"type":"string"}},"kind":{{"type":"string"}},"metadata":{{"type":"object"}},"spec":{spec},"status":{status}}}{required}}}"#
    );
    let version = format!(
        r#"{{"name":{},"served":true,"storage":true,"schema":{{"openAPIV3Schema":{schema}}},"subresources":{{"status":{{}}}},"additionalPrinterColumns":[{}]}}"#,
        quoted(version),
        columns(kind),
    );
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":{}}},"spec":{{"group":{},"scope":"{scope}","names":{names},"versions":[{version}]}}}}"#,
        quoted(&format!("{plural}.{group}")),
        quoted(group),
    )
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// The age is among them in any case: a kind with columns of its own would lose it, a kind without
/// any would show it.
fn columns(kind: &Kind) -> String {
    let column = |column: &Column| {
        let Column { name, column_type, path } = column;
        format!(r#"{{"name":{},"type":{},"jsonPath":{}}}"#, quoted(name), quoted(column_type), quoted(path))
    };
    let age = Column { name: "Age".into(), column_type: "date".into(), path: ".metadata.creationTimestamp".into() };
    let age = (!kind.columns.iter().any(|column| column.name == age.name)).then_some(&age);
    list(kind.columns.iter().chain(age).map(column))
}

/// What the host writes into each status: the generation that was looked at, and the standard
/// conditions, a list that is merged by type, so that several parties can write theirs.
const HOSTS_FIELDS: &str = r#""observedGeneration":{"type":"integer","format":"int64"},"conditions":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["type"],"items":{"type":"object","required":["type","status","lastTransitionTime","reason","message"],"properties":{"type":{"type":"string","maxLength":316},"status":{"type":"string","enum":["True","False","Unknown"]},"observedGeneration":{"type":"integer","format":"int64","minimum":0},"lastTransitionTime":{"type":"string","format":"date-time"},"reason":{"type":"string","minLength":1,"maxLength":1024},"message":{"type":"string","maxLength":32768}}}}"#;

/// A status schema with the host's fields, as JSON text. Nothing is required: what went wrong before the reconciler
/// could say anything is told in conditions alone.
fn completed(status: Value) -> String {
    let Value::Object(mut status) = status else {
        return format!(r#"{{"properties":{{{HOSTS_FIELDS}}}}}"#);
    };
    status.remove("required");
    let own = match status.remove("properties") {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    };
    let hosts = ["observedGeneration", "conditions"];
    let own = own.iter().filter(|(name, _)| !hosts.contains(&name.as_str()));
    let properties = list(own.map(field).chain([HOSTS_FIELDS.to_owned()]));
    let rest = status.iter().map(field).chain([format!(r#""properties":{{{properties}}}"#)]);
    format!("{{{}}}", list(rest))
}

fn field((name, value): (&String, &Value)) -> String {
    format!("{}:{value}", quoted(name))
}

#[derive(Deserialize)]
struct Head {
    spec: HeadSpec,
}

#[derive(Deserialize)]
struct HeadSpec {
    group: String,
    names: HeadNames,
}

#[derive(Deserialize)]
struct HeadNames {
    kind: String,
}

/// Group and kind of a hand-written CRD.
pub(crate) fn group_kind(crd: &str) -> Result<(String, String), DescribeError> {
    let Head { spec } = serde_json::from_str(crd).map_err(|error| DescribeError::Crd(error.to_string()))?;
    Ok((spec.group, spec.names.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Tree {
        branches: Vec<Tree>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Flat {
        size: u32,
    }

    #[test]
    fn a_type_within_itself_is_refused_instead_of_giving_a_schema_that_no_server_takes() {
        assert_eq!(read_schema::<Tree>("Spec"), Err(DescribeError::Recursive("Spec")));
        assert!(read_schema::<Flat>("Spec").is_ok_and(|schema| schema["properties"]["size"].is_object()));
    }

    #[test]
    fn texts_of_the_author_cannot_break_the_crd() -> Result<(), serde_json::Error> {
        let kind = Kind::namespaced("g", "v1", "K").column("\"", "string", ".spec['a\\\"']");
        let schemas =
            Schemas { spec: json!({}), status: json!({"required": ["a"], "properties": {"a": {}, "conditions": 1}}) };
        let crd: Value = derived(&kind, schemas).parse()?;
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["additionalPrinterColumns"][0]["jsonPath"], ".spec['a\\\"']");
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(status["properties"]["a"], json!({}));
        assert_eq!(status.get("required"), None, "a failure has conditions and nothing else");
        assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-type"], "map");
        Ok(())
    }
}
