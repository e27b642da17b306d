//! Each row of the table of what a source amounts to (§2.3).

use super::*;
use crate::resolve::is_http;

fn status_of(source: &Value) -> Value {
    backend_for(source).status_json()
}

#[test]
fn the_id_is_the_name_of_the_source() {
    let mut world = World::new(&[server("github")]);
    world.settle();
    assert_eq!(world.backends[0]["spec"]["id"], "github");
}

#[test]
fn a_server_is_where_its_operator_says_and_nowhere_before() {
    assert_eq!(status_of(&server("a"))["url"], "http://mcp-a-proxy.default.svc.cluster.local:8080/mcp");
    for source in [server("a"), proxy("a")] {
        let run = backend_for(&with(source, "status.url", Value::Null));
        assert_eq!(state(&run), "Pending NoUrl");
        assert_eq!(run.expect_progressing("NoUrl").status_json()["url"], Value::Null, "never at a guess");
    }
}

#[test]
fn a_proxy_is_where_its_operator_says_and_not_where_it_leads_to() {
    let status = status_of(&proxy("a"));
    assert_eq!(status["url"], "http://mcp-a-remote-proxy.default.svc.cluster.local:8080");
    assert_eq!(status["metadata"]["remote_url"], "https://a.example/mcp");
}

#[test]
fn an_entry_is_where_its_spec_says_once_it_was_found_valid() {
    assert_eq!(status_of(&entry("a"))["url"], "https://a.example/mcp");
    for (phase, expected) in [(json!("Pending"), "Pending EntryPending"), (Value::Null, "Pending EntryPending")] {
        let run = backend_for(&with(entry("a"), "status.phase", phase));
        assert_eq!(state(&run), expected);
        assert_eq!(run.status_json()["url"], Value::Null);
    }
    let failed = toolhive(
        "MCPServerEntry",
        "a",
        json!({"remoteUrl": "https://a.example/mcp", "transport": "sse"}),
        json!({"phase": "Failed", "conditions": [
            {"type": "Valid", "status": "False", "reason": "ConfigInvalid"},
            {"type": "RemoteURLValidated", "status": "False", "reason": "RemoteURLInvalid"},
            {"type": "GroupRefValidated", "status": "True", "reason": "GroupRefIsValid"},
        ]}),
    );
    let run = backend_for(&failed);
    assert_eq!(state(run.expect_stalled("EntryFailed")), "Closed EntryFailed");
    assert_eq!(run.status_json()["message"], "ToolHive found MCPServerEntry a invalid: RemoteURLInvalid");
}

#[test]
fn what_is_no_url_of_http_is_nobodys_address() {
    for url in ["ftp://a", "a.example", "http://", "https:///mcp", "http://a b", "http://:80/", "http://u@/x", "\n"] {
        assert!(!is_http(url), "{url:?}");
        let source = with(server("a"), "status.url", url.into());
        assert_eq!(state(&backend_for(&source)), "Closed UrlInvalid", "{url:?}");
        let source = with(entry("a"), "spec.remoteUrl", url.into());
        assert_eq!(state(&backend_for(&source)), "Closed UrlInvalid", "{url:?}");
    }
    assert_eq!(state(&backend_for(&with(entry("a"), "spec.remoteUrl", Value::Null))), "Closed UrlInvalid");
    for url in ["http://a", "https://a.example:8443/mcp?x=1#y", "http://[::1]:8080/sse", "http://10.0.0.1"] {
        assert!(is_http(url), "{url}");
    }
}

#[test]
fn the_transport_of_a_server_is_the_mode_of_its_proxy_or_its_own() {
    for (transport, mode, expected) in [
        (json!("stdio"), Value::Null, "streamable-http"),
        (json!("stdio"), json!("streamable-http"), "streamable-http"),
        (json!("stdio"), json!("sse"), "sse"),
        (json!("STDIO"), json!("sse"), "sse"),
        (json!("stdio"), json!("carrier-pigeon"), "unknown"),
        // Without one it is stdio, as the definition of the kind says.
        (Value::Null, Value::Null, "streamable-http"),
        (Value::Null, json!("sse"), "sse"),
        // The mode is of no account for a server that speaks HTTP itself.
        (json!("sse"), json!("streamable-http"), "sse"),
        (json!("SSE"), Value::Null, "sse"),
        (json!("streamable-http"), json!("sse"), "streamable-http"),
        (json!("STREAMABLE-HTTP"), json!("sse"), "streamable-http"),
        (json!("inspector"), Value::Null, "unknown"),
        (json!("smoke-signals"), json!("sse"), "streamable-http"),
        (json!(""), Value::Null, "streamable-http"),
    ] {
        let source = with(with(server("a"), "spec.transport", transport.clone()), "spec.proxyMode", mode.clone());
        assert_eq!(status_of(&source)["transport"], expected, "{transport} {mode}");
    }
}

#[test]
fn the_transport_of_a_proxy_or_an_entry_is_its_own() {
    for make in [proxy, entry] {
        for (transport, expected) in [
            (json!("sse"), "sse"),
            (json!("streamable-http"), "streamable-http"),
            (Value::Null, "streamable-http"),
            (json!("smoke-signals"), "streamable-http"),
            (json!("stdio"), "unknown"),
        ] {
            let source = with(make("a"), "spec.transport", transport.clone());
            assert_eq!(status_of(&source)["transport"], expected, "{transport}");
        }
    }
}

#[test]
fn health_is_what_the_phase_says() {
    for make in [server, proxy] {
        for (phase, expected) in [
            (json!("Ready"), "Healthy"),
            (json!("Failed"), "Unhealthy"),
            (json!("Terminating"), "Unhealthy"),
            (json!("Stopped"), "Unhealthy"),
            (json!("Pending"), "Unknown"),
            (json!("Valid"), "Unknown"),
            (json!("SomethingNew"), "Unknown"),
            (Value::Null, "Unknown"),
        ] {
            let run = backend_for(&with(make("a"), "status.phase", phase.clone()));
            assert_eq!(run.status_json()["health"], expected, "{phase}");
            assert_eq!(state(&run), "Open Resolved", "an address stays one: {phase}");
        }
    }
    for (phase, expected) in [
        (json!("Valid"), "Healthy"),
        (json!("Failed"), "Unhealthy"),
        (json!("Pending"), "Unknown"),
        (json!("Ready"), "Unknown"),
        (Value::Null, "Unknown"),
    ] {
        let source = with(entry("a"), "status.phase", phase.clone());
        assert_eq!(status_of(&source)["health"], expected, "{phase}");
    }
}

#[test]
fn metadata_are_what_users_say_and_before_it_what_the_system_knows() {
    let annotations = json!({
        "team": "a", "tool_type": "mine", "namespace": "elsewhere",
        "kubectl.kubernetes.io/restartedAt": "x", "kubernetes.io/x": "x", "k8s.io/x": "x",
        "deployment.kubernetes.io/revision": "1", "setpoint.dev/paused": "true", "toolhive.example/x": "kept",
    });
    for (source, expected) in [
        (server("a"), json!({"workload_type": "mcp_server", "workload_status": "Ready"})),
        (
            proxy("a"),
            json!({"workload_type": "remote_proxy", "workload_status": "Ready", "remote_url": "https://a.example/mcp"}),
        ),
        (
            entry("a"),
            json!({"workload_type": "server_entry", "workload_status": "Valid", "remote_url": "https://a.example/mcp"}),
        ),
    ] {
        let mut all = json!({"team": "a", "toolhive.example/x": "kept", "tool_type": "mcp", "namespace": "default"});
        for (key, value) in expected.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        assert_eq!(status_of(&with(source, "metadata.annotations", annotations.clone()))["metadata"], all);
    }
}
