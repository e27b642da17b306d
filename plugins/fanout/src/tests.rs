use serde_json::{Value, json};
use setpoint_sdk::testing::{TestKit, scenarios};

use super::*;

/// Three clusters, of which two are picked.
fn fleet() -> TestKit<Fanout> {
    TestKit::new()
        .object(json!({"metadata": {"name": "motd"}, "spec": {"selector": "env=prod", "data": {"text": "hello"}}}))
        .with(json!([cluster("east", "prod"), cluster("west", "prod"), cluster("lab", "test")]))
}

fn cluster(name: &str, env: &str) -> Value {
    json!({"apiVersion": "host.setpoint.dev/v1alpha1", "kind": "Cluster",
           "metadata": {"name": name, "namespace": "", "labels": {"env": env}}})
}

fn map(text: &str) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": "motd"}, "data": {"text": text}})
}

#[test]
fn the_payload_is_in_every_cluster_that_is_picked() {
    let run = fleet().run("motd");
    run.expect_progressing("Spreading");
    let children = run.outcome().children.as_deref().unwrap_or_default();
    let places: Vec<_> = children.iter().map(|child| child.cluster.as_deref()).collect();
    assert_eq!(places, [Some("east"), Some("west")]);
    assert!(run.children().iter().all(|child| child["data"]["text"] == "hello"));
    assert_eq!(run.status_json()["clusters"], json!({"east": "Pending", "west": "Pending"}));
}

#[test]
fn the_status_says_how_far_each_cluster_is() {
    let kit = fleet().with_in("east", map("hello")).with_in("west", map("old"));
    let run = kit.run("motd");
    assert_eq!(
        run.expect_progressing("Spreading").status_json(),
        json!({"total": 2, "synced": 1, "clusters": {"east": "Synced", "west": "Pending"}})
    );
    kit.with_in("west", map("hello")).run("motd").expect_ready();
}

#[test]
fn a_cluster_that_is_away_is_unknown_and_keeps_its_payload() {
    let run = fleet().unavailable("ConfigMap").run("motd");
    assert_eq!(run.status_json()["clusters"], json!({"east": "Unknown", "west": "Unknown"}));
    assert_eq!(run.children().len(), 2, "it stays wanted there");
    fleet().unavailable("Cluster").run("motd").expect_retry();
}

#[test]
fn a_cluster_that_may_not_be_read_waits_for_a_grant() {
    assert!(fleet().not_granted("ConfigMap").run("motd").expect_permanent().contains("grant it with"));
}

#[test]
fn a_cluster_that_is_no_longer_picked_has_no_child() {
    let run = fleet().with(cluster("west", "test")).run("motd");
    assert_eq!(run.children().len(), 1);
    let none = fleet().with(json!([cluster("west", "test"), cluster("east", "test")])).run("motd");
    assert!(none.expect_ready().children().is_empty());
}

#[test]
fn the_golden_scenarios_hold() {
    assert_eq!(scenarios::<(Fanout,)>("scenarios"), 2);
}
