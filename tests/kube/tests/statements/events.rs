//! Events of `events.k8s.io`.

use serde_json::{Value, json};
use setpoint_test_kube::shared;

use crate::widgets::{Widgets, uid};

fn event(widgets: &Widgets, about: &Value) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "a.1", "namespace": widgets.namespace},
        "eventTime": "2026-01-02T03:04:05.000000Z", "type": "Warning", "reason": "Failed", "action": "Reconcile",
        "note": "it did not work", "reportingController": "setpoint.dev/host", "reportingInstance": "host-1",
        "regarding": {
            "apiVersion": format!("{}/v1", widgets.group), "kind": "Widget", "name": "a",
            "namespace": widgets.namespace, "uid": uid(about),
        },
    })
}

#[test]
fn an_event_becomes_a_series_by_a_patch_and_is_seen_in_the_old_group_as_well() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let list = format!("/apis/events.k8s.io/v1/namespaces/{}/events", widgets.namespace);
    kube.api().post(&list, &event(&widgets, &made)).with(201);
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000000Z"}});
    let patched = kube.api().merge(&format!("{list}/a.1"), &series).with(200);
    assert_eq!(patched["series"]["count"], 2);
    let old = kube.api().get(&format!("/api/v1/namespaces/{}/events/a.1", widgets.namespace)).ok();
    assert_eq!((&old["message"], &old["series"]["count"]), (&json!("it did not work"), &json!(2)));
    assert_eq!(old["involvedObject"]["uid"], made["metadata"]["uid"]);
}

#[test]
fn an_event_lacks_nothing_and_has_no_more_than_1024_bytes_of_note() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let list = format!("/apis/events.k8s.io/v1/namespaces/{}/events", widgets.namespace);
    for field in ["eventTime", "type", "reason", "action", "reportingController", "reportingInstance"] {
        let mut lacking = event(&widgets, &made);
        lacking[field] = Value::Null;
        let refused = kube.api().post(&list, &lacking).with(422);
        assert_eq!(refused["reason"], "Invalid", "without {field}");
    }
    let mut long = event(&widgets, &made);
    long["note"] = "x".repeat(1_025).into();
    kube.api().post(&list, &long).with(422);
}

#[test]
fn an_event_about_an_object_without_a_namespace_is_in_the_namespace_default() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let mut about = event(&widgets, &made);
    about["regarding"] = json!({"apiVersion": "v1", "kind": "Namespace", "name": widgets.namespace});
    about["metadata"] = json!({"generateName": "a", "namespace": widgets.namespace});
    let list = |namespace: &str| format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let refused = kube.api().post(&list(&widgets.namespace), &about).with(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "involvedObject.namespace");
    about["metadata"]["namespace"] = "default".into();
    kube.api().post(&list("default"), &about).with(201);
}
