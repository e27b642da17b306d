use serde_json::json;
use setpoint_sdk::Component;
use setpoint_sdk::bindings::exports::setpoint::reconciler::guest::Guest;
use setpoint_sdk::bindings::setpoint::reconciler::types;
use setpoint_sdk::testing::{self, Run, TestKit};

use super::*;
use crate::component::Tampered;

fn run(spec: Value) -> Run<Hostile> {
    TestKit::new().object(json!({"metadata": {"name": "h"}, "spec": spec})).run("h")
}

#[test]
fn both_kinds_are_one_plugin() {
    let description = testing::describe::<(Hostile, HostileFinal)>();
    assert_eq!(description.name, "hostile");
    assert_eq!(description.kinds.iter().map(|kind| kind.finalizer).collect::<Vec<_>>(), [false, true]);
    assert_eq!((description.reads.len(), description.writes.len()), (2, 1));
    assert!(<(Hostile, HostileFinal)>::description().is_ok());
}

#[test]
fn ok_echoes_the_value_and_the_version() {
    let run = run(json!({"behaviour": "ok", "value": {"a": [1]}}));
    assert_eq!(run.expect_ready().status_json(), json!({"value": {"a": [1]}, "version": VERSION}));
    assert!(run.leaves_children());
}

#[test]
fn each_kind_of_failure_can_be_asked_for() {
    assert!(run(json!({"behaviour": "retry"})).expect_retry().contains("as asked"));
    assert!(run(json!({"behaviour": "permanent"})).expect_permanent().contains("for good"));
    let after = run(json!({"behaviour": "retry-after", "millis": 250}));
    assert_eq!(after.expect_retry_after().1, std::time::Duration::from_millis(250));
    assert!(run(json!({"behaviour": "dance"})).expect_permanent().contains("dance"));
    assert!(std::panic::catch_unwind(|| run(json!({"behaviour": "panic"}))).is_err());
}

#[test]
fn children_are_returned_as_they_are() {
    let raw = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}});
    let run =
        run(json!({"behaviour": "children", "children": [{"name": "c", "data": {"k": "v"}}], "rawChildren": [raw]}));
    assert!(run.problems().iter().any(|problem| problem.contains("Service")), "{:?}", run.problems());
    let children = run.result().map(|outcome| outcome.children.as_ref().map_or(0, Vec::len));
    assert_eq!(children, Ok(2));
    assert_eq!(self::run(json!({"behaviour": "no-children"})).children().len(), 0);
}

#[test]
fn reads_show_what_is_there() {
    let kit = TestKit::<Hostile>::new()
        .with(json!({"kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "b"}}, "data": {"k": "v"}}))
        .object(json!({"metadata": {"name": "get"}, "spec": {"behaviour": "get", "value": "m"}}))
        .object(json!({"metadata": {"name": "list"}, "spec": {"behaviour": "list", "value": "a=b"}}));
    assert_eq!(kit.run("get").status_json()["value"], json!({"k": "v"}));
    assert_eq!(kit.run("list").status_json()["value"], json!(["m"]));
}

#[test]
fn floods_are_as_large_as_asked() {
    assert_eq!(run(json!({"behaviour": "log-flood", "count": 7})).logs().len(), 7);
    let huge = run(json!({"behaviour": "huge-outcome", "count": 5000}));
    assert_eq!(huge.status_json()["value"].as_str().map(str::len), Some(5000));
    let calls = run(json!({"behaviour": "many-host-calls"}));
    assert!(calls.expect_permanent().contains("limit exceeded"));
    assert_eq!(calls.reads().len(), 10_001);
}

#[test]
fn what_an_instance_keeps_is_seen_in_its_later_calls() {
    // Natively all tests are one instance: only what changes from call to call can be said.
    let count = || run(json!({"behaviour": "leak-count"})).status_json()["value"].as_u64();
    assert!(count() < count());
    assert!(run(json!({"behaviour": "leak-failure"})).expect_retry().contains("of an instance"));
    let counted = run(json!({"behaviour": "count-calls", "value": 7}));
    assert_eq!((counted.status_json()["value"].clone(), counted.logs().len()), (json!(7), 1));
}

fn call(behaviour: &str) -> Result<types::Outcome, types::Failure> {
    let object = json!({"metadata": {"name": "h"}, "spec": {"behaviour": behaviour}});
    Tampered::reconcile(types::Request {
        key: types::Key {
            cluster: "local".into(),
            group: GROUP.into(),
            kind: "Hostile".into(),
            namespace: Some("default".into()),
            name: "h".into(),
        },
        object: object.to_string(),
        deleting: false,
        attempt: 1,
        last_error: None,
        causes: vec![],
        config: "{}".into(),
        extra: vec![],
    })
}

#[test]
fn only_the_status_that_was_asked_to_be_broken_is() {
    let parses = |behaviour: &str| call(behaviour).map(|o| o.status.is_some_and(|s| s.parse::<Value>().is_ok()));
    assert_eq!(parses("ok"), Ok(true));
    assert_eq!(parses("invalid-json-status"), Ok(false));
    assert_eq!(Tampered::describe().kinds.len(), 2);
}

#[test]
fn each_behaviour_that_ends_is_known() {
    let endless = ["panic", "panic-without", "abort", "spin", "recurse", "allocate"];
    for (name, _) in BEHAVIOURS.iter().filter(|(name, _)| !endless.contains(name)) {
        let run = run(json!({"behaviour": name, "millis": 1, "count": 1}));
        let unknown = run.result().is_err_and(|failure| format!("{failure:?}").contains("unknown behaviour"));
        assert!(!unknown, "{name}");
    }
}

#[test]
fn a_deleted_hostile_final_waits_for_its_release() {
    let kit = TestKit::<HostileFinal>::new().object(json!({"metadata": {"name": "f"}, "spec": {}}));
    assert!(!kit.run("f").finalized());
    let kit = kit.deleting("f");
    let waiting = kit.run("f");
    assert!(!waiting.expect_progressing("WaitingForRelease").finalized());
    assert_eq!(waiting.reads()[0].to_string(), "get ConfigMap default/f-release");
    let released = kit.with(json!({"kind": "ConfigMap", "metadata": {"name": "f-release"}}));
    assert!(released.run("f").finalized());
}
