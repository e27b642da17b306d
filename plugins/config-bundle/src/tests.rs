use serde_json::{Value, json};
use setpoint_sdk::testing::{TestKit, scenarios};

use super::*;

fn bundle(extra: Value) -> TestKit<ConfigBundle> {
    let mut spec = json!({"selector": {"matchLabels": {"app": "a"}}});
    for (field, value) in extra.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    TestKit::new().object(json!({"metadata": {"name": "all"}, "spec": spec}))
}

fn map(name: &str, data: Value) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "a"}}, "data": data})
}

#[test]
fn selected_config_maps_become_one() {
    let other = json!({"kind": "ConfigMap", "metadata": {"name": "z", "labels": {"app": "b"}}, "data": {"no": "1"}});
    let elsewhere = json!({"kind": "ConfigMap", "metadata": {"name": "y", "namespace": "other", "labels": {"app": "a"}}, "data": {"no": "1"}});
    let run = bundle(json!({}))
        .with(json!([map("b", json!({"y": "2"})), map("a", json!({"x": "1"})), other, elsewhere]))
        .run("all");
    run.expect_ready();
    assert_eq!(run.child("ConfigMap", "all")["data"], json!({"x": "1", "y": "2"}));
    let status = run.status();
    assert_eq!((status.sources, status.keys, status.conflicts), (vec!["a".into(), "b".into()], 2, vec![]));
    assert_eq!(run.reads()[0].to_string(), "list ConfigMap default app=a");
}

#[test]
fn order_and_policy_decide_conflicts() {
    let maps = json!([map("a", json!({"k": "a", "same": "1"})), map("b", json!({"k": "b", "same": "1"}))]);
    let data = |extra: Value| {
        let run = bundle(extra).with(maps.clone()).run("all");
        assert_eq!(run.status().conflicts, ["k"]);
        run.child("ConfigMap", "all")["data"]["k"].clone()
    };
    assert_eq!(data(json!({})), "b");
    assert_eq!(data(json!({"onConflict": "first"})), "a");
    assert_eq!(data(json!({"order": ["b"]})), "a");
    assert_eq!(data(json!({"order": ["b"], "onConflict": "first"})), "b");
}

#[test]
fn a_conflict_that_is_an_error_leaves_the_last_good_child() {
    let maps = json!([map("a", json!({"k": "a"})), map("b", json!({"k": "b"}))]);
    let run = bundle(json!({"onConflict": "error"})).with(maps).run("all");
    assert!(run.expect_stalled("Conflict").leaves_children());
}

#[test]
fn a_bundle_never_feeds_on_what_bundles_make() {
    let mut own = map("old-target", json!({"k": "stale"}));
    own["metadata"]["ownerReferences"] = json!([{"kind": "ConfigBundle", "name": "all", "uid": "u"}]);
    let run = bundle(json!({"target": "new"}))
        .with(json!([own, map("new", json!({"k": "stale"})), map("a", json!({"k": "1"}))]))
        .run("all");
    assert_eq!(run.status().sources, ["a"]);
    // The renamed target is the only child: the host deletes the old one once this one is there.
    assert_eq!(run.children().len(), 1);
    assert_eq!(run.child("ConfigMap", "new")["data"], json!({"k": "1"}));
}

#[test]
fn nothing_to_merge_is_not_the_same_as_not_knowing() {
    let run = bundle(json!({})).run("all");
    assert_eq!(run.expect_progressing("NoSources").child("ConfigMap", "all").get("data"), None);
    bundle(json!({})).unavailable("ConfigMap").run("all").expect_retry();
}

#[test]
fn a_bundle_without_labels_picks_nothing() {
    let run = bundle(json!({"selector": {"matchLabels": {}}})).with(map("a", json!({}))).run("all");
    assert!(run.expect_stalled("EmptySelector").leaves_children());
    assert!(run.reads().is_empty());
}

#[test]
fn the_hash_follows_the_content_only() {
    let hash =
        |name: &str, value: &str| bundle(json!({})).with(map(name, json!({"k": value}))).run("all").status().hash;
    assert_eq!(hash("a", "1"), hash("b", "1"));
    assert_ne!(hash("a", "1"), hash("a", "2"));
}

#[test]
fn a_label_that_is_none_is_a_mistake_and_no_other_question() {
    let kit = bundle(json!({"selector": {"matchLabels": {"app": "a,b in (c)"}}}));
    assert!(kit.run("all").expect_permanent().contains("is no label"));
}

#[test]
fn the_golden_scenarios_hold() {
    assert_eq!(scenarios::<(ConfigBundle,)>("scenarios"), 8);
}
