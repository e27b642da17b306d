//! What is stored of what was sent.

use serde_json::json;
use setpoint_test_kube::shared;

use crate::widgets::{Widgets, version};

#[test]
fn an_apply_with_a_field_that_the_schema_lacks_is_refused_with_status_500() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut unknown = widgets.coloured("a", "red");
    unknown["spec"]["shape"] = json!("round");
    // Not pruned, whatever the validation of fields is: it never gets that far.
    for validation in ["Ignore", "Warn", "Strict"] {
        let path = format!("{}?fieldValidation={validation}", widgets.path("a"));
        let refused = widgets.api.apply(&path, "one", &unknown).with(500);
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("failed to create typed patch object ("), "{message}");
        assert!(message.ends_with(": .spec.shape: field not declared in schema"), "{message}");
        assert_eq!(refused.get("reason"), None);
    }
    widgets.api.get(&widgets.path("a")).with(404);
}

#[test]
fn an_apply_with_a_value_of_another_type_is_refused_with_status_500() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut wrong = widgets.bare("a");
    wrong["spec"] = json!({"size": "big"});
    let refused = widgets.api.apply(&widgets.path("a"), "one", &wrong).with(500);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("failed to create typed patch object ("), "{message}");
}

#[test]
fn other_writes_prune_what_the_schema_lacks() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut unknown = widgets.coloured("a", "red");
    unknown["spec"]["shape"] = json!("round");
    let made = widgets.api.post(&widgets.list(), &unknown).with(201);
    assert_eq!(made["spec"], json!({"colour": "red", "size": 1}));
    let patched = widgets.api.merge(&widgets.path("a"), &json!({"spec": {"shape": "round"}})).with(200);
    assert_eq!(version(&patched), version(&made));
}

#[test]
fn defaults_are_stored_and_belong_to_nobody() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    assert_eq!(made["spec"]["size"], 1);
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:colour": {}}}));
}

#[test]
fn quantities_are_normalised_and_applying_them_as_before_changes_nothing() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas/a");
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "a"}, "spec": {"hard": {"cpu": "1000m"}},
    });
    let made = kube.api().apply(&path, "one", &quota).with(201);
    assert_eq!(made["spec"]["hard"]["cpu"], "1");
    let again = kube.api().apply(&path, "one", &quota).with(200);
    assert_eq!(version(&again), version(&made));
}

#[test]
fn an_object_may_have_ten_thousand_labels_but_not_more_than_256_kib_of_annotations() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let mut many = widgets.bare("a");
    let labels: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("l{n}"), json!("v"))).collect();
    many["metadata"]["labels"] = labels.into();
    widgets.api.apply(&widgets.path("a"), "one", &many).with(201);
    let mut long = widgets.bare("b");
    long["metadata"]["annotations"] = json!({"a": "x".repeat(256 << 10)});
    let refused = widgets.api.apply(&widgets.path("b"), "one", &long).with(422);
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueTooLong");
}

#[test]
fn an_object_that_is_too_large_is_refused_in_three_ways() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let sized = |bytes: usize| {
        let mut widget = widgets.bare("a");
        widget["spec"] = json!({"text": "x".repeat(bytes)});
        widgets.api.apply(&widgets.path("a"), "one", &widget)
    };
    // etcd's limit is 1.5 MiB for the request, that of its client 2 MiB, that of the API server 3 MiB.
    sized(1_500_000).with(201);
    let by_etcd = sized(1_600_000).with(500);
    assert_eq!(by_etcd["message"], "etcdserver: request is too large");
    assert_eq!(by_etcd.get("reason"), None);
    let by_client = sized(2_200_000).with(500);
    let message = by_client["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("rpc error: code = ResourceExhausted desc = trying to send message larger"),
        "{message}"
    );
    assert_eq!(sized(3_200_000).with(413)["reason"], "RequestEntityTooLarge");
}
