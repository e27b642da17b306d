//! Whose a field is, and whose an object is.

use serde_json::{Value, json};
use setpoint_test_kube::{Answer, shared};

use crate::widgets::{Widgets, decided_upon, managers, uid, version};

const MARK: &str = "setpoint.dev/owner";

/// What an owner applies: its mark and a colour.
fn marked(widgets: &Widgets, owner: &str) -> Value {
    let mut widget = widgets.coloured("a", "red");
    widget["metadata"]["labels"] = json!({MARK: owner});
    widget
}

fn is_of_managers(answer: &Answer) -> bool {
    let causes = answer.causes();
    answer.status == 409 && !causes.is_empty() && causes.iter().all(|cause| *cause == "FieldManagerConflict")
}

#[test]
fn a_field_of_another_manager_is_a_conflict_that_names_field_and_manager() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let answer = widgets.api.apply(&widgets.path("a"), "other", &widgets.coloured("a", "blue"));
    assert!(is_of_managers(&answer), "{}", answer.body);
    assert_eq!(answer.body["reason"], "Conflict");
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!(cause["field"], ".spec.colour");
    assert_eq!(cause["message"], "conflict with \"maker\"");
}

#[test]
fn a_field_that_was_edited_is_a_conflict_that_names_how_and_when() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let edit = json!({"spec": {"colour": "green"}});
    widgets.api.merge(&format!("{}?fieldManager=kubectl-edit", widgets.path("a")), &edit).ok();
    let answer = widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "red"));
    assert!(is_of_managers(&answer), "{}", answer.body);
    let message = answer.body["details"]["causes"][0]["message"].as_str().unwrap_or_default().to_owned();
    // The name is what stands in the first quotation marks.
    assert!(message.starts_with("conflict with \"kubectl-edit\" using "), "{message}");
}

#[test]
fn the_same_value_from_two_managers_is_no_conflict() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let both = widgets.api.apply(&widgets.path("a"), "other", &widgets.coloured("a", "red")).with(200);
    assert_eq!(managers(&both), ["maker", "other"]);
}

#[test]
fn an_apply_with_another_owners_mark_is_refused() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.api.apply(&widgets.path("a"), "setpoint/one", &marked(&widgets, "one")).with(201);
    let answer = widgets.api.apply(&widgets.path("a"), "setpoint/two", &marked(&widgets, "two"));
    assert!(is_of_managers(&answer), "{}", answer.body);
    let cause = &answer.body["details"]["causes"][0];
    assert_eq!(cause["field"], format!(".metadata.labels.{MARK}"));
    assert_eq!(cause["message"], "conflict with \"setpoint/one\"");
    // The claim is of one piece with the rest: nothing of it was applied.
    assert_eq!(managers(&widgets.get("a")), ["setpoint/one"]);
}

#[test]
fn of_two_owners_at_the_same_time_one_creates_and_the_other_is_refused() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    for _ in 0..10 {
        let (one, two) = std::thread::scope(|scope| {
            let apply = |owner: &'static str| {
                let widgets = &widgets;
                scope.spawn(move || {
                    widgets.api.apply(&widgets.path("a"), &format!("setpoint/{owner}"), &marked(widgets, owner))
                })
            };
            let (one, two) = (apply("one"), apply("two"));
            (one.join().expect("it is answered"), two.join().expect("it is answered"))
        });
        let (winner, loser) = if one.status == 201 { (one, two) } else { (two, one) };
        assert_eq!(winner.status, 201, "{}", winner.body);
        assert!(is_of_managers(&loser), "{}: {}", loser.status, loser.body);
        widgets.api.delete(&widgets.path("a")).ok();
    }
}

#[test]
fn an_unmarked_object_is_merged_into_and_only_the_status_of_the_answer_says_so() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.api.post(&widgets.list(), &widgets.coloured("a", "red")).with(201);
    let merged = widgets.api.apply(&widgets.path("a"), "setpoint/one", &marked(&widgets, "one")).with(200);
    assert_eq!(merged["metadata"]["labels"][MARK], "one");
}

#[test]
fn applying_the_bare_name_takes_back_all_that_the_manager_alone_had_applied() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.api.post(&widgets.list(), &widgets.coloured("a", "red")).with(201);
    let mut apply = marked(&widgets, "one");
    apply["spec"]["text"] = json!("more");
    apply["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-o", "controller": true}]);
    widgets.api.apply(&widgets.path("a"), "setpoint/one", &apply).with(200);
    let after = widgets.api.apply(&widgets.path("a"), "setpoint/one", &widgets.bare("a")).with(200);
    assert_eq!(after["spec"], before["spec"]);
    assert!(!managers(&after).contains(&"setpoint/one"), "{after}");
    for part in ["labels", "ownerReferences", "generateName"] {
        assert_eq!(after["metadata"].get(part), before["metadata"].get(part), "{part}");
    }
}

#[test]
fn a_field_that_is_applied_no_more_goes_unless_another_manager_wants_it() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut apply = widgets.coloured("a", "red");
    apply["spec"]["tags"] = json!({"mine": "x", "shared": "x"});
    widgets.api.apply(&widgets.path("a"), "one", &apply).with(201);
    let mut other = widgets.bare("a");
    other["spec"] = json!({"tags": {"shared": "x"}});
    widgets.api.apply(&widgets.path("a"), "two", &other).with(200);
    let after = widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", "red")).with(200);
    assert_eq!(after["spec"]["tags"], json!({"shared": "x"}));
}

#[test]
fn a_forced_apply_takes_the_field_and_the_other_manager_loses_it() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let taken = widgets.api.force(&widgets.path("a"), "other", &widgets.coloured("a", "blue")).with(200);
    assert_eq!(managers(&taken), ["other"], "the manager that owns nothing any more is gone");
}

#[test]
fn a_conflict_of_managers_comes_before_a_conflict_of_versions() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    widgets.api.merge(&widgets.path("a"), &json!({"metadata": {"labels": {"x": "y"}}})).ok();
    let apply = decided_upon(widgets.coloured("a", "blue"), uid(&before), Some(version(&before)));
    let answer = widgets.api.apply(&widgets.path("a"), "other", &apply);
    assert_eq!(
        (answer.status, is_of_managers(&answer)),
        (409, true),
        "the managers are looked at first: {}",
        answer.body
    );
}

#[test]
fn a_second_controller_is_refused_by_force_too() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let owned = |name: &str| {
        let mut widget = widgets.coloured("a", "red");
        widget["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": format!("u-{name}"), "controller": true},
        ]);
        widget
    };
    widgets.api.apply(&widgets.path("a"), "one", &owned("p")).with(201);
    for answer in [
        widgets.api.apply(&widgets.path("a"), "two", &owned("q")),
        widgets.api.force(&widgets.path("a"), "two", &owned("q")),
    ] {
        let refused = answer.with(422);
        assert_eq!(refused["reason"], "Invalid");
        assert_eq!(refused["details"]["causes"][0]["field"], "metadata.ownerReferences");
    }
}
