//! The kind Probe as the embedded cluster admits it, and as the host reads it.

use serde_json::{Value, json};
use setpoint_core::probe::{CRD, ProbeReason, ProbeSpec, ProbeStatus, Timing};
use setpoint_schema::{Crd, Part};

fn crd() -> Crd {
    let definition: Value = serde_json::from_str(CRD).expect("the definition is JSON");
    Crd::parse(&definition, "v1alpha1").expect("the definition is one that an API server takes")
}

fn probe(spec: Value) -> Value {
    json!({
        "apiVersion": "host.setpoint.dev/v1alpha1", "kind": "Probe",
        "metadata": { "name": "p", "namespace": "n" }, "spec": spec,
    })
}

fn errors(spec: Value) -> Vec<String> {
    let admitted = crd().admit(probe(spec), None, Part::Spec);
    admitted.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_admitted_can_be_read() {
    let secret =
        json!({ "name": "X-Key", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k", "optional": true } } });
    for spec in [
        json!({ "tcp": { "host": "localhost", "port": 5432 } }),
        json!({ "http": { "url": "https://example.com/healthz", "headers": [secret], "expectedStatus": [204] } }),
        json!({ "mcp": { "transport": "stdio", "process": "time" }, "intervalSeconds": 5, "backoff": {} }),
        json!({ "mcp": { "transport": "streamable-http", "url": "http://x/mcp", "headers": [secret] } }),
        json!({ "mcp": { "transport": "sse", "url": "http://x/sse" }, "triggeredAt": "now" }),
    ] {
        let admitted = crd().admit(probe(spec.clone()), None, Part::Spec);
        assert!(admitted.errors.is_empty(), "{spec}: {:?}", admitted.errors);
        let read: Result<ProbeSpec, _> = serde_json::from_value(admitted.object["spec"].clone());
        assert!(read.is_ok(), "{spec}: {read:?}");
    }
}

#[test]
fn the_defaults_of_the_kind_are_those_of_the_host() {
    let admitted = crd().admit(probe(json!({ "tcp": { "host": "a", "port": 1 } })), None, Part::Spec);
    let spec = &admitted.object["spec"];
    assert_eq!(
        (&spec["intervalSeconds"], &spec["timeoutSeconds"], &spec["backoff"]["maxSeconds"]),
        (&json!(30), &json!(30), &json!(120))
    );
    let read: ProbeSpec = serde_json::from_value(spec.clone()).expect("it can be read");
    assert_eq!(read.timing, Timing::default());
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for (spec, part) in [
        (json!({}), "exactly one of tcp, http and mcp"),
        (json!({ "tcp": { "host": "a", "port": 1 }, "http": { "url": "http://a" } }), "exactly one of"),
        (json!({ "tcp": { "host": "a", "port": 0 } }), "port"),
        (json!({ "http": { "url": "ftp://a" } }), "url"),
        (json!({ "http": { "url": "http://a", "headers": [{ "name": "X" }] } }), "value and valueFrom"),
        (json!({ "http": { "url": "http://a", "headers": [{ "name": "a b", "value": "" }] } }), "name"),
        (json!({ "mcp": { "transport": "stdio" } }), "process is needed"),
        (json!({ "mcp": { "transport": "stdio", "process": "p", "url": "http://a" } }), "url is needed"),
        (json!({ "mcp": { "transport": "sse", "process": "p" } }), "process is needed"),
        (json!({ "mcp": { "transport": "pigeon" } }), "transport"),
        (json!({ "tcp": { "host": "a", "port": 1 }, "intervalSeconds": 0 }), "intervalSeconds"),
        (json!({ "tcp": { "host": "a", "port": 1 }, "timeoutSeconds": 301 }), "timeoutSeconds"),
    ] {
        let errors = errors(spec.clone());
        assert!(errors.iter().any(|error| error.contains(part)), "{spec}: {errors:?}");
    }
}

#[test]
fn every_status_that_the_host_writes_is_one_of_the_kind() {
    let status = ProbeStatus {
        reason: Some(ProbeReason::Reachable),
        message: Some("the server answers".into()),
        http_status: Some(200),
        server: Some(setpoint_core::probe::Server::default()),
        tools: Some(vec!["a".into()]),
        tool_count: Some(1),
        last_connected: Some("2026-01-01T00:00:00Z".into()),
        last_attempt: Some("2026-01-01T00:00:00Z".into()),
        next_attempt: Some("2026-01-01T00:00:30Z".into()),
        ..ProbeStatus::default()
    };
    let mut object = probe(json!({ "tcp": { "host": "a", "port": 1 } }));
    object["status"] = serde_json::to_value(&status).expect("a status is JSON");
    let old = crd().admit(probe(json!({ "tcp": { "host": "a", "port": 1 } })), None, Part::Spec).object;
    let admitted = crd().admit(object.clone(), Some(&old), Part::Status);
    assert!(admitted.errors.is_empty(), "{:?}", admitted.errors);
    assert_eq!(admitted.object["status"], object["status"], "nothing of it is pruned");
}
