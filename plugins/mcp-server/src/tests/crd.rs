//! The definition of the kind, and the description of the plugin.

use setpoint_sdk::bindings::setpoint::reconciler::types::{Capability, ReadScope};

use super::*;

#[test]
fn the_crd_serves_what_the_plugin_speaks() {
    let crd = testing::crd::<(MCPServer,)>();
    assert_eq!(crd["metadata"]["name"], "mcpservers.muster.giantswarm.io");
    let version = &crd["spec"]["versions"][0];
    let columns: Vec<(&Value, &Value)> = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| (&column["name"], &column["jsonPath"]))
        .collect();
    let expected = [
        ("Type", ".spec.type"),
        ("URL", ".spec.url"),
        ("AutoStart", ".spec.autoStart"),
        ("Status", ".status.state"),
        ("Tools", ".status.toolCount"),
        ("Restarts", ".status.restartCount"),
        ("Age", ".metadata.creationTimestamp"),
    ];
    assert_eq!(columns, expected.map(|(name, path)| (json!(name), json!(path))).each_ref().map(|(n, p)| (n, p)));
}

#[test]
fn each_field_of_the_status_is_in_the_schema() {
    let crd = testing::crd::<(MCPServer,)>();
    let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    let text = || Some(String::new());
    let full = MCPServerStatus {
        state: Some(status::State::Failed),
        last_error: text(),
        last_connected: text(),
        restart_count: Some(1),
        consecutive_failures: 1,
        last_attempt: text(),
        next_retry_after: text(),
        last_restarted_at: text(),
        tools: Some(Vec::new()),
        tool_count: Some(0),
        observed_generation: None,
    };
    let full = serde_json::to_value(full).unwrap_or_default();
    assert_eq!(full.as_object().map(|fields| fields.len()), Some(10));
    for field in full.as_object().into_iter().flat_map(|fields| fields.keys()) {
        assert!(properties[field].is_object(), "{field}");
    }
    for state in properties["state"]["enum"].as_array().into_iter().flatten() {
        let read: Result<status::State, _> = serde_json::from_value(state.clone());
        assert_eq!(read.ok().and_then(|state| serde_json::to_value(state).ok()).as_ref(), Some(state));
    }
}

#[test]
fn the_plugin_asks_for_what_it_needs_and_sees_no_secret() {
    let description = testing::describe::<(MCPServer,)>();
    assert_eq!(description.name, "mcp-server");
    assert!(description.capabilities.contains(&Capability::Process));
    assert!(description.capabilities.contains(&Capability::Http("*".into())));
    let writes: Vec<&str> = description.writes.iter().map(|write| write.kind.as_str()).collect();
    assert_eq!(writes, ["Process", "Probe"]);
    let secret =
        description.reads.iter().find(|read| read.kind.kind == "Secret").map(|read| (read.scope, &read.fields));
    assert_eq!(secret, Some((ReadScope::Named, &vec![".type".to_owned()])));
    // Each of the others is read in part: what is not looked at calls nobody.
    assert!(description.reads.iter().all(|read| !read.fields.is_empty()));
    assert!(description.kinds.iter().all(|kind| !kind.finalizer), "children go with their owner");
}
