//! Creating, updating, and not raising from the dead.

use serde_json::json;
use setpoint_test_kube::shared;

use crate::widgets::{Widgets, decided_upon, uid, version};

const NOBODY: &str = "11111111-1111-1111-1111-111111111111";

#[test]
fn an_apply_answers_201_when_it_creates_and_200_when_it_does_not() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let created = widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", "red")).with(201);
    let again = widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", "blue")).with(200);
    assert_eq!(uid(&created), uid(&again));
    // Also where nothing was there to change.
    widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", "blue")).with(200);
}

#[test]
fn an_apply_with_a_uid_fails_as_a_conflict_when_the_object_is_absent() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let apply = decided_upon(widgets.coloured("a", "red"), NOBODY, None);
    let answer = widgets.api.apply(&widgets.path("a"), "one", &apply);
    assert!(answer.causes().is_empty(), "it is no conflict of managers: {}", answer.body);
    assert_eq!(answer.with(409)["reason"], "Conflict");
    widgets.api.get(&widgets.path("a")).with(404);
}

#[test]
fn an_apply_with_another_uid_is_refused_as_a_change_of_the_uid() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    let apply = decided_upon(widgets.coloured("a", "blue"), NOBODY, None);
    let refused = widgets.api.apply(&widgets.path("a"), "maker", &apply).with(422);
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.uid");
    assert_eq!(version(&widgets.get("a")), version(&before));
}

#[test]
fn an_apply_with_another_uid_and_an_old_version_is_a_conflict() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.delete(&widgets.path("a")).ok();
    widgets.made("a", "red");
    let apply = decided_upon(widgets.coloured("a", "blue"), uid(&before), Some(version(&before)));
    assert_eq!(widgets.api.apply(&widgets.path("a"), "maker", &apply).with(409)["reason"], "Conflict");
}

#[test]
fn an_apply_with_an_old_version_is_a_conflict_without_causes_even_if_it_would_change_nothing() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"labels": {"x": "y"}}})).ok();
    for colour in ["red", "blue"] {
        let apply = decided_upon(widgets.coloured("a", colour), uid(&before), Some(version(&before)));
        // By force, too: it is no matter of managers.
        let answer = widgets.api.force(&widgets.path("a"), "maker", &apply);
        assert!(answer.causes().is_empty(), "{}", answer.body);
        assert_eq!(answer.with(409)["reason"], "Conflict");
    }
}

#[test]
fn an_apply_with_uid_and_version_does_not_raise_from_the_dead() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.delete(&widgets.path("a")).ok();
    let apply = decided_upon(widgets.coloured("a", "blue"), uid(&before), Some(version(&before)));
    widgets.api.apply(&widgets.path("a"), "maker", &apply).with(409);
    widgets.api.get(&widgets.path("a")).with(404);
}

#[test]
fn a_version_alone_does_raise_from_the_dead() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.delete(&widgets.path("a")).ok();
    let mut apply = widgets.coloured("a", "blue");
    apply["metadata"]["resourceVersion"] = json!(version(&before));
    let raised = widgets.api.apply(&widgets.path("a"), "maker", &apply).with(201);
    assert_ne!(uid(&raised), uid(&before));
}

#[test]
fn an_apply_names_what_its_path_names_and_no_name_is_generated() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("b", "red")).with(400);
    let mut generated = widgets.coloured("a", "red");
    generated["metadata"] = json!({"generateName": "a-"});
    widgets.api.apply(&widgets.path("a"), "one", &generated).with(400);
    widgets.api.apply(&widgets.list(), "one", &generated).with(400);
}

#[test]
fn an_apply_that_changes_nothing_keeps_the_version() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    // Managers' entries carry times in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    for _ in 0..3 {
        let after = widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "red")).with(200);
        assert_eq!(version(&after), version(&before));
    }
    let forced = widgets.api.force(&widgets.path("a"), "maker", &widgets.coloured("a", "red")).with(200);
    assert_eq!(version(&forced), version(&before));
}

#[test]
fn a_name_of_a_manager_may_have_128_bytes() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let widget = widgets.coloured("a", "red");
    widgets.api.apply(&widgets.path("a"), &format!("setpoint/{}", "a".repeat(119)), &widget).with(201);
    widgets.api.apply(&widgets.path("a"), &format!("setpoint/{}", "a".repeat(120)), &widget).with(422);
}
