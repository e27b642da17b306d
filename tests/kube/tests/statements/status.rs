//! Status, conditions, generations.

use serde_json::{Value, json};
use setpoint_test_kube::shared;

use crate::widgets::{Widgets, decided_upon, managers, uid, version};

const MANAGER: &str = "setpoint/x/status";

fn with_status(widgets: &Widgets, status: Value) -> Value {
    let mut widget = widgets.bare("a");
    widget["status"] = status;
    widget
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status})
}

#[test]
fn a_status_is_applied_alone_and_moves_no_generation() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    let mut apply = with_status(&widgets, json!({"phase": "up"}));
    apply["spec"] = json!({"colour": "blue"});
    let after = widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(200);
    assert_eq!(after["status"]["phase"], "up");
    assert_eq!(after["spec"], before["spec"], "the rest is no business of /status");
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    let entries = after["metadata"]["managedFields"].as_array().expect("there are managers");
    let own = entries.iter().find(|entry| entry["manager"] == MANAGER).expect("it has its entry");
    assert_eq!(own["subresource"], "status");
    assert_eq!(own["fieldsV1"], json!({"f:status": {"f:phase": {}}}));
}

#[test]
fn an_apply_to_the_object_leaves_the_status_alone() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut made = widgets.coloured("a", "red");
    made["status"] = json!({"phase": "up"});
    let made = widgets.api.apply(&widgets.path("a"), "one", &made).with(201);
    assert_eq!(made.get("status"), None);
}

#[test]
fn a_status_with_the_version_of_another_moment_is_a_conflict_by_force_too() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"labels": {"x": "y"}}})).ok();
    let apply = with_status(&widgets, json!({"phase": "up"}));
    let stale = decided_upon(apply.clone(), uid(&before), Some(version(&before)));
    let answer = widgets.api.force(&widgets.status("a"), MANAGER, &stale);
    assert!(answer.causes().is_empty(), "{}", answer.body);
    answer.with(409);
    let now = widgets.get("a");
    let fresh = decided_upon(apply, uid(&now), Some(version(&now)));
    widgets.api.force(&widgets.status("a"), MANAGER, &fresh).with(200);
}

#[test]
fn a_status_of_an_absent_object_creates_nothing() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let apply = with_status(&widgets, json!({"phase": "up"}));
    widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(404);
    // With the uid it had, too.
    let apply = decided_upon(apply, "11111111-1111-1111-1111-111111111111", None);
    widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(404);
}

#[test]
fn the_same_status_again_keeps_the_version() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let apply = with_status(&widgets, json!({"phase": "up", "conditions": [condition("Ready", "True")]}));
    let first = widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(200);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let again = widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(200);
    assert_eq!(version(&again), version(&first));
}

#[test]
fn a_status_field_that_the_schema_lacks_refuses_the_whole_status_with_500() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let apply = with_status(&widgets, json!({"phase": "up", "observedGeneration": 1}));
    let refused = widgets.api.force(&widgets.status("a"), MANAGER, &apply).with(500);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.ends_with(": .status.observedGeneration: field not declared in schema"), "{message}");
    assert_eq!(widgets.get("a").get("status"), None);
}

#[test]
fn conditions_merge_by_type_and_those_of_others_are_kept() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let foreign = with_status(&widgets, json!({"conditions": [condition("Seen", "True")]}));
    widgets.api.force(&widgets.status("a"), "other", &foreign).with(200);
    let own = json!({"conditions": [condition("Ready", "True"), condition("Stalled", "False")]});
    let both = widgets.api.force(&widgets.status("a"), MANAGER, &with_status(&widgets, own)).with(200);
    assert_eq!(both["status"]["conditions"].as_array().map(Vec::len), Some(3));
    // One that is applied no more goes, and only that.
    let fewer = json!({"conditions": [condition("Ready", "False")]});
    let after = widgets.api.force(&widgets.status("a"), MANAGER, &with_status(&widgets, fewer)).with(200);
    assert_eq!(after["status"]["conditions"], json!([condition("Seen", "True"), condition("Ready", "False")]));
}

#[test]
fn conditions_that_are_one_value_are_replaced_with_those_of_others_in_them() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::with_atomic_conditions(kube);
    widgets.made("a", "red");
    let foreign = with_status(&widgets, json!({"conditions": [condition("Seen", "True")]}));
    widgets.api.force(&widgets.status("a"), "other", &foreign).with(200);
    let own = with_status(&widgets, json!({"conditions": [condition("Ready", "True")]}));
    let after = widgets.api.force(&widgets.status("a"), MANAGER, &own).with(200);
    assert_eq!(after["status"]["conditions"], json!([condition("Ready", "True")]));
    assert!(!managers(&after).contains(&"other"), "{after}");
}

#[test]
fn two_conditions_of_one_type_are_refused_with_500() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let twice = with_status(&widgets, json!({"conditions": [condition("Ready", "True"), condition("Ready", "False")]}));
    let refused = widgets.api.force(&widgets.status("a"), MANAGER, &twice).with(500);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.contains("duplicate entries for key [type=\"Ready\"]"), "{message}");
}

#[test]
fn that_a_kind_has_no_status_is_told_by_discovery_only() {
    let Some(kube) = shared() else { return };
    let (with, without) = (Widgets::on(kube), Widgets::without_status(kube));
    without.made("a", "red");
    let apply = with_status(&without, json!({"phase": "up"}));
    // The object is there, and the answer says that it is not.
    let refused = without.api.force(&without.status("a"), MANAGER, &apply).with(404);
    assert_eq!(refused["message"], format!("widgets.{} \"a\" not found", without.group));
    let resources = |widgets: &Widgets| {
        let list = widgets.api.get(&format!("/apis/{}/v1", widgets.group)).ok();
        let names = list["resources"].as_array().cloned().unwrap_or_default();
        names.iter().map(|resource| resource["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(resources(&with), ["widgets", "widgets/status"]);
    assert_eq!(resources(&without), ["widgets"]);
}

#[test]
fn a_generation_moves_with_the_spec_and_not_with_metadata() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    assert_eq!(widgets.made("a", "red")["metadata"]["generation"], 1);
    let labelled = widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"labels": {"x": "y"}}})).ok();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let moved = widgets.api.merge(&widgets.path("a"), &json!({"spec": {"colour": "blue"}})).ok();
    assert_eq!(moved["metadata"]["generation"], 2);
}
