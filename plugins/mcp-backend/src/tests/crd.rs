//! The definitions of the kinds, and the description of the plugin.

use setpoint_sdk::bindings::setpoint::reconciler::types::ReadScope;
use setpoint_sdk::testing;

use super::*;
use crate::status::{Auth, BackendStatus, CaBundle, Header, Health, State, Transport};

fn schema(crd: &Value, part: &str) -> Value {
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part].clone()
}

#[test]
fn each_field_of_a_backend_is_in_the_schema() {
    let crd = testing::crd::<(Backend,)>();
    assert_eq!(crd["metadata"]["name"], "backends.vmcp.setpoint.dev");
    let text = String::new;
    let reference = crate::source::SecretKeyRef { name: text(), key: text() };
    let full = BackendStatus {
        state: State::Open,
        health: Health::Healthy,
        reason: text(),
        message: text(),
        url: Some(text()),
        transport: Some(Transport::Sse),
        auth: Some(Auth { config: text(), auth_type: text(), config_hash: text(), secrets: vec![reference.clone()] }),
        ca_bundle: Some(CaBundle { config_map: text(), key: text(), pem: text() }),
        headers: vec![Header { name: text(), value: Some(text()), secret_key_ref: Some(reference) }],
        metadata: [(text(), text())].into(),
    };
    covers(&schema(&crd, "status"), &serde_json::to_value(full).unwrap(), "status");
    let spec = json!({"registry": "r", "group": "g", "id": "i", "shadowedBy": "MCPServer", "draining": {"since": ""},
                      "source": {"cluster": "c", "kind": "MCPServerEntry", "name": "n"}});
    let read: crate::backend::BackendSpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), spec);
    covers(&schema(&crd, "spec"), &spec, "spec");
}

/// Every field of a value is described, and every description is one of a field.
fn covers(schema: &Value, value: &Value, at: &str) {
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            let hosts = |field: &str| ["observedGeneration", "conditions"].contains(&field);
            for (field, value) in fields {
                covers(&schema["properties"][field], value, &format!("{at}.{field}"));
            }
            for (field, described) in schema["properties"].as_object().into_iter().flatten() {
                assert!(fields.contains_key(field) || hosts(field), "{at}.{field} is only in the schema");
                assert!(
                    described["description"].is_string() || hosts(field) || described["type"] == "object",
                    "{at}.{field}"
                );
            }
        }
        Value::Array(items) => items.iter().for_each(|item| covers(&schema["items"], item, at)),
        Value::Object(_) => assert!(schema["additionalProperties"].is_object(), "{at}"),
        _ => assert!(schema["type"].is_string(), "{at} is not in the schema"),
    }
}

#[test]
fn the_words_of_the_schema_are_those_of_the_types() {
    let crd = testing::crd::<(Backend,)>();
    let words = |pointer: &str| schema(&crd, "status").pointer(pointer).and_then(Value::as_array).cloned().unwrap();
    let all = |count: usize, known: usize| assert_eq!(count, known);
    all(words("/properties/state/enum").iter().filter(|w| read::<State>(w)).count(), 4);
    all(words("/properties/health/enum").iter().filter(|w| read::<Health>(w)).count(), 3);
    all(words("/properties/transport/enum").iter().filter(|w| read::<Transport>(w)).count(), 3);
}

fn read<T: serde::de::DeserializeOwned + serde::Serialize>(word: &Value) -> bool {
    let read: Option<T> = serde_json::from_value(word.clone()).ok();
    read.and_then(|read| serde_json::to_value(read).ok()).as_ref() == Some(word)
}

#[test]
fn each_field_of_a_registry_is_in_the_schema() {
    let crd = testing::crd::<(BackendRegistry,)>();
    assert_eq!(crd["metadata"]["name"], "backendregistries.vmcp.setpoint.dev");
    let run = World::new(&[server("s")]).settle();
    covers(&schema(&crd, "status"), &run.status_json(), "status");
    covers(&schema(&crd, "spec"), &json!({"group": "g", "cluster": "c", "drainSeconds": 1}), "spec");
    assert_eq!(schema(&crd, "spec")["properties"]["drainSeconds"]["default"], 30);
}

#[test]
fn columns_show_fields_that_there_are() {
    for crd in [testing::crd::<(Backend,)>(), testing::crd::<(BackendRegistry,)>()] {
        for column in crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().into_iter().flatten() {
            let path = column["jsonPath"].as_str().unwrap();
            let pointer = path.trim_start_matches('.').replace('.', "/properties/");
            let all = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            assert!(path.starts_with(".metadata.") || all.pointer(&format!("/{pointer}")).is_some(), "{path}");
        }
    }
}

#[test]
fn the_plugin_asks_for_what_it_needs() {
    let description = testing::describe::<(BackendRegistry, Backend)>();
    assert_eq!(description.name, "mcp-backend");
    assert_eq!(description.kinds.len(), 2);
    assert!(description.capabilities.is_empty(), "nothing is run or dialled");
    assert!(description.kinds.iter().all(|kind| !kind.finalizer), "children go with their owner");
    let writes: Vec<&str> = description.writes.iter().map(|write| write.kind.as_str()).collect();
    assert_eq!(writes, ["Backend"], "what is ToolHive's stays so");
    // Each of them is read in part: what is not looked at calls nobody.
    assert!(description.reads.iter().all(|read| !read.fields.is_empty()));
    for (kind, scope) in [
        ("MCPServer", ReadScope::All),
        ("MCPRemoteProxy", ReadScope::All),
        ("MCPServerEntry", ReadScope::All),
        ("MCPGroup", ReadScope::Named),
        ("MCPExternalAuthConfig", ReadScope::Named),
        ("Secret", ReadScope::Named),
        ("ConfigMap", ReadScope::Named),
    ] {
        let read = description.reads.iter().find(|read| read.kind.kind == kind).unwrap();
        let toolhive = kind.starts_with("MCP");
        assert_eq!(
            (read.scope, read.kind.version.as_str()),
            (scope, if toolhive { "v1beta1" } else { "v1" }),
            "{kind}"
        );
    }
    assert!(description.config_schema.is_some_and(|schema| schema.contains("additionalProperties")));
}
