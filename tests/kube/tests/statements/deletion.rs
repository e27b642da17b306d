//! Deletion, preconditions, finalizers.

use serde_json::{Value, json};
use setpoint_test_kube::shared;

use crate::widgets::{SOON, Widgets, uid, version, version_number};

const FINALIZER: &str = "setpoint.dev/finalizer";

fn with_finalizer(widgets: &Widgets, name: &str) -> Value {
    let mut widget = widgets.coloured(name, "red");
    widget["metadata"]["finalizers"] = json!([FINALIZER]);
    widgets.api.apply(&widgets.path(name), "maker", &widget).with(201)
}

#[test]
fn a_deletion_holds_only_for_the_uid_and_the_version_that_it_names() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let first = widgets.made("a", "red");
    let second = widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "blue")).with(200);
    let other = json!({"preconditions": {"uid": "11111111-1111-1111-1111-111111111111"}});
    let older = json!({"preconditions": {"uid": uid(&first), "resourceVersion": version(&first)}});
    for wrong in [other, older] {
        let answer = widgets.api.delete_with(&widgets.path("a"), &wrong);
        assert!(answer.causes().is_empty(), "{}", answer.body);
        assert_eq!(answer.with(409)["reason"], "Conflict");
    }
    let right = json!({"preconditions": {"uid": uid(&second), "resourceVersion": version(&second)}});
    widgets.api.delete_with(&widgets.path("a"), &right).with(200);
    widgets.api.get(&widgets.path("a")).with(404);
}

#[test]
fn a_deletion_and_an_update_of_the_same_version_exclude_each_other() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let (mut deleted, mut updated) = (0, 0);
    for round in 0..20 {
        let made = widgets.made("a", "red");
        let right = json!({"preconditions": {"uid": uid(&made), "resourceVersion": version(&made)}});
        let mut apply = widgets.coloured("a", "blue");
        apply["metadata"]["uid"] = json!(uid(&made));
        apply["metadata"]["resourceVersion"] = json!(version(&made));
        let (delete, update) = std::thread::scope(|scope| {
            let delete = scope.spawn(|| widgets.api.delete_with(&widgets.path("a"), &right).status);
            let update = scope.spawn(|| widgets.api.apply(&widgets.path("a"), "maker", &apply).status);
            (delete.join().expect("it is answered"), update.join().expect("it is answered"))
        });
        match (delete, update) {
            (200, 409) => deleted += 1,
            (409, 200) => {
                updated += 1;
                widgets.api.delete(&widgets.path("a")).ok();
            }
            both => panic!("round {round}: {both:?}"),
        }
    }
    println!("{deleted} times the deletion came first, {updated} times the update");
}

#[test]
fn what_nothing_holds_is_gone_at_once_and_the_answer_has_the_uid_but_no_version() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let answer = widgets.api.delete(&widgets.path("a")).with(200);
    assert_eq!((&answer["kind"], &answer["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(answer["details"]["uid"], uid(&made));
    assert_eq!(answer["metadata"].get("resourceVersion"), None);
    widgets.api.delete(&widgets.path("a")).with(404);
}

#[test]
fn what_a_finalizer_holds_is_answered_as_it_terminates_and_its_generation_moves() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = with_finalizer(&widgets, "a");
    let terminating = widgets.api.delete(&widgets.path("a")).with(200);
    assert_eq!(terminating["kind"], "Widget");
    assert!(terminating["metadata"]["deletionTimestamp"].is_string());
    assert!(version_number(&terminating) > version_number(&made));
    assert_eq!((&made["metadata"]["generation"], &terminating["metadata"]["generation"]), (&json!(1), &json!(2)));
    // A second one changes nothing.
    assert_eq!(version(&widgets.api.delete(&widgets.path("a")).with(200)), version(&terminating));
}

#[test]
fn taking_the_last_finalizer_away_answers_the_object_of_before_in_a_version_that_is_not_new() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    with_finalizer(&widgets, "a");
    let terminating = widgets.api.delete(&widgets.path("a")).with(200);
    let patch = json!({"metadata": {
        "uid": uid(&terminating), "resourceVersion": version(&terminating), "finalizers": null,
    }});
    let last = widgets.api.merge(&widgets.path("a"), &patch).with(200);
    assert!(last["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(last["metadata"].get("finalizers"), None);
    assert_eq!(version(&last), version(&terminating), "only a watch tells the version of the deletion");
    widgets.api.get(&widgets.path("a")).with(404);
}

#[test]
fn a_watch_tells_a_deletion_in_a_version_of_its_own() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&format!("{}?watch=true&resourceVersion={}", widgets.list(), version(&made)));
    widgets.api.delete(&widgets.path("a")).ok();
    let event = watch.until("it is told", SOON, |event| event["type"] == "DELETED");
    assert_eq!(uid(&event["object"]), uid(&made));
    assert!(version_number(&event["object"]) > version_number(&made));
}

#[test]
fn a_patch_of_finalizers_holds_only_for_the_version_that_it_names() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = with_finalizer(&widgets, "a");
    widgets.api.merge(&widgets.path("a"), &json!({"spec": {"colour": "blue"}})).ok();
    let stale = json!({"metadata": {"resourceVersion": version(&made), "finalizers": null}});
    assert_eq!(widgets.api.merge(&widgets.path("a"), &stale).with(409)["reason"], "Conflict");
    let other = json!({"metadata": {"uid": "11111111-1111-1111-1111-111111111111", "finalizers": null}});
    let refused = widgets.api.merge(&widgets.path("a"), &other).with(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.uid");
}

#[test]
fn a_merge_patch_replaces_all_finalizers_so_that_those_of_others_are_sent_along() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let others = json!({"metadata": {"finalizers": ["example.com/other"]}});
    widgets.api.merge(&widgets.path("a"), &others).ok();
    let own = widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"finalizers": [FINALIZER]}})).ok();
    assert_eq!(own["metadata"]["finalizers"], json!([FINALIZER]));
}

#[test]
fn what_terminates_takes_no_more_finalizers() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    with_finalizer(&widgets, "a");
    widgets.api.delete(&widgets.path("a")).ok();
    let more = json!({"metadata": {"finalizers": [FINALIZER, "example.com/more"]}});
    let refused = widgets.api.merge(&widgets.path("a"), &more).with(422);
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueForbidden");
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.finalizers");
}

#[test]
fn what_terminates_is_still_applied_to() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    with_finalizer(&widgets, "a");
    widgets.api.delete(&widgets.path("a")).ok();
    let mut apply = widgets.coloured("a", "blue");
    apply["metadata"]["finalizers"] = json!([FINALIZER]);
    let applied = widgets.api.apply(&widgets.path("a"), "maker", &apply).with(200);
    assert!(applied["metadata"]["deletionTimestamp"].is_string(), "the server does not keep anybody from it");
}

#[test]
fn an_apply_without_the_finalizers_that_it_had_applied_ends_what_terminates() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    with_finalizer(&widgets, "a");
    widgets.api.delete(&widgets.path("a")).ok();
    widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "red")).with(200);
    widgets.api.get(&widgets.path("a")).with(404);
}
