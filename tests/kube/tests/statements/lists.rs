//! Lists, pages, and views that have fallen behind.

use std::time::Duration;

use serde_json::Value;
use setpoint_test_kube::{Kube, Relay, available, shared};

use crate::widgets::{Widgets, eventually, get, version, version_number};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array();
    items.into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

fn next_page(widgets: &Widgets, page: &Value) -> String {
    format!("{}?limit=2&continue={}", widgets.list(), page["metadata"]["continue"].as_str().unwrap_or_default())
}

#[test]
fn pages_are_of_one_moment() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    for name in ["a", "b", "c"] {
        widgets.made(name, "red");
    }
    let first = widgets.api.get(&format!("{}?limit=2", widgets.list())).ok();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    widgets.made("d", "red");
    widgets.api.delete(&widgets.path("c")).ok();
    let second = widgets.api.get(&next_page(&widgets, &first)).ok();
    assert_eq!(names(&second), ["c"]);
    assert_eq!(version(&second), version(&first));
    assert_eq!(second["metadata"].get("continue").and_then(Value::as_str).unwrap_or_default(), "");
}

#[test]
fn a_list_and_its_items_have_kind_and_version() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    widgets.made("a", "red");
    let custom = widgets.api.get(&widgets.list()).ok();
    assert_eq!((&custom["kind"], &custom["items"][0]["kind"]), (&"WidgetList".into(), &"Widget".into()));
    // Those of built-in kinds have none.
    let namespaces = widgets.api.get("/api/v1/namespaces").ok();
    assert_eq!((&namespaces["kind"], namespaces["items"][0].get("kind")), (&"NamespaceList".into(), None));
}

#[test]
fn a_list_of_metadata_only_has_no_spec() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let only = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = widgets.api.call(get(widgets.list()).accept(only)).ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0].get("spec"), None);
    assert_eq!(version(&list["items"][0]), version(&made));
}

#[test]
fn the_version_of_a_quiet_collection_runs_ahead_of_its_last_event() {
    let Some(kube) = shared() else { return };
    let (quiet, busy) = (Widgets::on(kube), Widgets::on(kube));
    let made = quiet.made("a", "red");
    let before = quiet.api.get(&quiet.list()).ok();
    busy.made("b", "red");
    let after = quiet.api.get(&quiet.list()).ok();
    assert!(version_number(&before) >= version_number(&made));
    assert!(version_number(&after) > version_number(&before));
    assert_eq!(version(&after["items"][0]), version(&made));
}

#[test]
fn a_page_whose_moment_is_forgotten_is_410_and_brings_a_token_for_an_inconsistent_rest() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let widgets = Widgets::on(&kube);
    for name in ["a", "b", "c"] {
        widgets.made(name, "red");
    }
    let first = widgets.api.get(&format!("{}?limit=2", widgets.list())).ok();
    widgets.made("d", "red");
    kube.etcd().compact();
    // The server itself remembers some moments; one that has just started does not.
    kube.start_again();
    let gone = widgets.api.get(&next_page(&widgets, &first)).with(410);
    assert_eq!(gone["reason"], "Expired");
    let rest = widgets.api.get(&next_page(&widgets, &gone)).ok();
    assert_eq!(names(&rest), ["c", "d"]);
    assert!(version_number(&rest) > version_number(&first));
}

#[test]
fn a_server_that_has_fallen_behind_answers_what_it_knows_only_when_asked_for_any_version() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let relay = Relay::to(kube.etcd().port());
    let other = Kube::setup().beside(&kube).etcd_at(relay.port()).start();
    let widgets = Widgets::on(&kube);
    let made = widgets.made("a", "red");
    let any = format!("{}?resourceVersion=0", widgets.list());
    eventually("the other server knows it", || {
        other.api().get(&any).status == 200 && names(&other.api().get(&any).body) == ["a"]
    });

    relay.silence();
    widgets.made("b", "red");
    let changed = widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "blue")).with(200);
    let stale = other.api().get(&any).ok();
    assert_eq!(names(&stale), ["a"]);
    assert_eq!(version(&stale["items"][0]), version(&made));
    let single = other.api().get(&format!("{}?resourceVersion=0", widgets.path("a"))).ok();
    assert_eq!(version(&single), version(&made));
    // A read of now is not answered from what it knows.
    let patience = Duration::from_secs(3);
    for path in [widgets.list(), widgets.path("a")] {
        let now = other.api().send(get(path).within(patience));
        assert!(now.as_ref().map_or(true, |answer| answer.status >= 500), "{now:?}");
    }
    // Nor is one of a version that it has not seen.
    let newer = format!("{}?resourceVersion={}&timeoutSeconds=2", widgets.list(), version(&changed));
    let newer = other.api().send(get(newer).within(Duration::from_secs(10)));
    assert!(newer.as_ref().map_or(true, |answer| answer.status >= 500), "{newer:?}");

    relay.speak();
    eventually("the other server has caught up", || {
        let now = other.api().send(get(widgets.list()).within(patience));
        now.is_ok_and(|answer| answer.status == 200 && names(&answer.body) == ["a", "b"])
    });
}
