//! Definitions and rights that come and go.

use serde_json::json;
use setpoint_test_kube::shared;

use crate::widgets::{SOON, Widgets, eventually, uid, version};

#[test]
fn a_definition_that_is_deleted_takes_its_objects_along_and_watches_are_told() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&format!("{}?watch=true&resourceVersion={}", widgets.list(), version(&made)));
    widgets.api.delete(&widgets.definition()).ok();
    let event = watch.until("the object is deleted", SOON, |event| event["type"] == "DELETED");
    assert_eq!(uid(&event["object"]), uid(&made));
    assert!(watch.ends(SOON));
    eventually("the collection is gone", || widgets.api.get(&widgets.list()).status == 404);
}

#[test]
fn a_definition_that_waits_for_its_objects_refuses_new_ones_and_is_served_until_they_are_gone() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut held = widgets.coloured("a", "red");
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    widgets.api.apply(&widgets.path("a"), "maker", &held).with(201);
    widgets.api.delete(&widgets.definition()).ok();
    eventually("its object terminates", || widgets.get("a")["metadata"]["deletionTimestamp"].is_string());
    // With the status of a missing right, though none is missing.
    eventually("new ones are refused", || {
        let answer = widgets.api.apply(&widgets.path("b"), "maker", &widgets.coloured("b", "red"));
        answer.status == 403
            && answer.causes().is_empty()
            && answer.body["message"].as_str().is_some_and(|message| {
                message.ends_with("create not allowed while custom resource definition is terminating")
            })
    });
    widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"finalizers": null}})).ok();
    eventually("the collection is gone", || widgets.api.get(&widgets.list()).status == 404);
}

#[test]
fn a_version_that_is_served_no_more_is_404_while_the_definition_stays() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let served = |served: bool| json!([{"op": "replace", "path": "/spec/versions/0/served", "value": served}]);
    let patch = |value| {
        let call = setpoint_test_kube::Call::new("PATCH".parse().unwrap_or_default(), widgets.definition());
        widgets.api.call(call.body("application/json-patch+json", &value)).ok()
    };
    patch(served(false));
    eventually("it is served no more", || widgets.api.get(&widgets.list()).status == 404);
    patch(served(true));
    widgets.wait_until_served();
    assert_eq!(uid(&widgets.get("a")), uid(&made), "nothing was deleted");
}

#[test]
fn a_schema_that_changes_is_taken_by_writes_and_ends_watches() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&format!("{}?watch=true&resourceVersion={}", widgets.list(), version(&made)));
    let more = json!([{
        "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape",
        "value": {"type": "string", "default": "round"},
    }]);
    let call = setpoint_test_kube::Call::new("PATCH".parse().unwrap_or_default(), widgets.definition());
    widgets.api.call(call.body("application/json-patch+json", &more)).ok();
    assert!(watch.ends(SOON));
    eventually("the default is there on reading", || widgets.get("a")["spec"]["shape"] == "round");
    assert_eq!(version(&widgets.get("a")), version(&made), "without a new version, and so without an event");
}

#[test]
fn a_right_that_is_taken_away_ends_no_watch_but_refuses_the_next() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let rule = json!({"apiGroups": [widgets.group], "resources": ["widgets"], "verbs": ["watch", "list"]});
    let allowed = kube.allow("bob", Some(&widgets.namespace), &rule);
    let bob = kube.api_as("bob");
    let list = bob.get(&widgets.list()).ok();
    let path = format!("{}?watch=true&resourceVersion={}", widgets.list(), version(&list));
    let watch = bob.watch(&path);
    allowed.revoke();
    bob.get(&format!("{path}&timeoutSeconds=1")).with(403);
    widgets.made("a", "red");
    watch.until("the watch of before goes on", SOON, |event| event["type"] == "ADDED");
}
