//! Watches, bookmarks, versions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{Kube, available, shared};

use crate::widgets::{SOON, Widgets, eventually, get, version, version_number};

fn since(widgets: &Widgets, version: &str) -> String {
    format!("{}?watch=true&allowWatchBookmarks=true&resourceVersion={version}", widgets.list())
}

fn named<'e>(event: &'e Value, kind: &str) -> Option<&'e str> {
    (event["type"] == kind).then(|| event["object"]["metadata"]["name"].as_str())?
}

#[test]
fn versions_of_one_resource_are_numbers_that_only_grow_and_an_event_has_that_of_its_write() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let list = widgets.api.get(&widgets.list()).ok();
    let watch = widgets.api.watch(&since(&widgets, version(&list)));
    let mut last = version_number(&list);
    for (round, colour) in ["red", "green", "blue"].into_iter().enumerate() {
        let written = widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", colour));
        assert_eq!(written.status, if round == 0 { 201 } else { 200 });
        let event = watch.until("its event", SOON, |event| event["object"]["spec"]["colour"] == colour);
        assert_eq!(version(&event["object"]), version(&written.body));
        assert!(version_number(&written.body) > last);
        last = version_number(&written.body);
    }
}

#[test]
fn a_write_that_changes_nothing_has_no_event() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&since(&widgets, version(&made)));
    widgets.made_again("a", "red");
    widgets.made("b", "red");
    let first = watch.until("an event", SOON, |event| event["type"] != "BOOKMARK");
    assert_eq!(named(&first, "ADDED"), Some("b"), "{first}");
}

#[test]
fn what_leaves_a_filter_is_told_as_deleted_and_what_enters_as_added() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&format!("{}&labelSelector=in%3Dyes", since(&widgets, version(&made))));
    let label = |value: Value| json!({"metadata": {"labels": {"in": value}}});
    widgets.api.merge(&widgets.path("a"), &label("yes".into())).ok();
    let entered = watch.until("an event", SOON, |event| event["type"] != "BOOKMARK");
    assert_eq!(named(&entered, "ADDED"), Some("a"));
    let left = widgets.api.merge(&widgets.path("a"), &label(Value::Null)).ok();
    let event = watch.until("an event", SOON, |event| event["type"] != "BOOKMARK");
    assert_eq!(named(&event, "DELETED"), Some("a"));
    assert_eq!(version(&event["object"]), version(&left), "in the version of the write");
    assert_eq!(event["object"]["metadata"]["labels"]["in"], "yes", "as it was before");
    widgets.get("a");
}

#[test]
fn a_streaming_list_begins_with_all_objects_and_marks_their_end() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let last = widgets.made("b", "red");
    let watch = widgets.api.watch(&format!(
        "{}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        widgets.list()
    ));
    let mut began = [watch.next(SOON), watch.next(SOON)].map(|event| event.expect("there are two objects"));
    began.sort_by_key(|event| named(event, "ADDED").map(str::to_owned));
    assert_eq!(began.each_ref().map(|event| named(event, "ADDED")), [Some("a"), Some("b")]);
    let end = watch.next(SOON).expect("there is an end");
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(version_number(&end["object"]) >= version_number(&last));
    widgets.made("c", "red");
    let next = watch.until("an event", SOON, |event| event["type"] != "BOOKMARK");
    assert_eq!(named(&next, "ADDED"), Some("c"));
}

/// On a collection without events since the server started there may be none, and else one in a minute or two.
#[test]
fn a_watch_with_an_event_in_it_has_a_bookmark_before_it_ends_when_it_was_asked_to() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let began = Instant::now();
    let watch = widgets.api.watch(&format!("{}&timeoutSeconds=6", since(&widgets, version(&made))));
    let last = widgets.made("b", "red");
    let bookmark = watch.until("a bookmark", SOON, |event| event["type"] == "BOOKMARK");
    assert!(version_number(&bookmark["object"]) >= version_number(&last));
    assert!(watch.ends(SOON));
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_watch_from_a_version_that_is_forgotten_is_told_410_as_an_event_or_as_the_answer() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let answer = widgets.api.get(&format!("{}?watch=true&resourceVersion=1&timeoutSeconds=5", widgets.list()));
    // This server answers 200 and says it in the stream.
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["type"], "ERROR");
    assert_eq!((&answer.body["object"]["code"], &answer.body["object"]["reason"]), (&json!(410), &json!("Expired")));
}

#[test]
fn a_server_that_was_started_again_continues_no_watch_over_a_change_that_it_has_not_seen() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let widgets = Widgets::on(&kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&since(&widgets, version(&made)));
    widgets.made("b", "red");
    kube.kill();
    assert!(watch.ends(SOON));
    kube.start_again();
    widgets.wait_until_served();
    let again = format!("{}&timeoutSeconds=2", since(&widgets, version(&made)));
    eventually("it says 410", || {
        let answer = widgets.api.call(get(again.clone()).within(Duration::from_secs(10)));
        answer.body["object"]["code"] == 410
    });
}

#[test]
fn a_watch_may_be_of_one_object_by_its_name() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let watch = widgets.api.watch(&format!("{}&fieldSelector=metadata.name%3Db", since(&widgets, version(&made))));
    widgets.made("c", "red");
    widgets.made("b", "red");
    let first = watch.until("an event", SOON, |event| event["type"] != "BOOKMARK");
    assert_eq!(named(&first, "ADDED"), Some("b"));
}
