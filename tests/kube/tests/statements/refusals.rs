//! Telling refusals apart by what is in the answer.

use serde_json::{Value, json};
use setpoint_test_kube::{Call, shared};

use crate::widgets::{Widgets, eventually};

fn message(body: &Value) -> &str {
    body["message"].as_str().unwrap_or_default()
}

#[test]
fn what_is_missing_is_told_apart_object_namespace_and_kind() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let object = widgets.api.get(&widgets.path("a")).with(404);
    assert_eq!(object["details"]["kind"], "widgets");
    assert_eq!(object["details"]["name"], "a");
    let elsewhere = format!("/apis/{}/v1/namespaces/nowhere/widgets/a", widgets.group);
    // Reading, a namespace that is missing is only empty.
    assert_eq!(widgets.api.get(&elsewhere).with(404)["details"]["kind"], "widgets");
    let namespace = widgets.api.apply(&elsewhere, "one", &widgets.coloured("a", "red")).with(404);
    assert_eq!(namespace["details"], json!({"name": "nowhere", "kind": "namespaces"}));
    for (group, version, plural) in [
        (widgets.group.as_str(), "v1", "gadgets"),
        (widgets.group.as_str(), "v2", "widgets"),
        ("nothing.example.com", "v1", "widgets"),
    ] {
        let path = format!("/apis/{group}/{version}/namespaces/{}/{plural}/a", widgets.namespace);
        assert_eq!(widgets.api.get(&path).with(404), json!("404 page not found\n"), "no Status at all");
    }
}

#[test]
fn a_right_that_is_missing_is_named_with_user_verb_resource_and_namespace() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let refused = kube.api_as("alice").apply(&widgets.path("a"), "one", &widgets.coloured("a", "red")).with(403);
    assert_eq!(refused["reason"], "Forbidden");
    let expected = format!(
        "widgets.{group} \"a\" is forbidden: User \"alice\" cannot patch resource \"widgets\" in API group \"{group}\" \
         in the namespace \"{namespace}\"",
        group = widgets.group,
        namespace = widgets.namespace,
    );
    assert_eq!(message(&refused), expected);
    let status = kube.api_as("alice").apply(&widgets.status("a"), "one", &widgets.bare("a")).with(403);
    assert!(message(&status).contains("cannot patch resource \"widgets/status\""), "{status}");
    let everywhere = kube.api_as("alice").get(&format!("/apis/{}/v1/widgets", widgets.group)).with(403);
    assert!(message(&everywhere).ends_with("at the cluster scope"), "{everywhere}");
}

#[test]
fn an_apply_that_creates_needs_create_besides_patch() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let rule = |verb: &str| json!({"apiGroups": [widgets.group], "resources": ["widgets"], "verbs": [verb]});
    let (alice, namespace) = (kube.api_as("alice"), Some(widgets.namespace.as_str()));
    kube.allow("alice", namespace, &rule("patch"));
    let refused = alice.apply(&widgets.path("a"), "one", &widgets.coloured("a", "red")).with(403);
    assert!(message(&refused).contains("cannot create resource"), "{refused}");
    kube.allow("alice", namespace, &rule("create"));
    alice.apply(&widgets.path("a"), "one", &widgets.coloured("a", "red")).with(201);
}

#[test]
fn a_token_that_is_no_good_is_401() {
    let Some(kube) = shared() else { return };
    assert_eq!(kube.api_with_token("nonsense").get("/api/v1/namespaces").with(401)["reason"], "Unauthorized");
}

#[test]
fn what_the_schema_refuses_is_422_with_field_and_reason() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/a");
    let wrong = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a b": "c"}});
    let refused = kube.api().apply(&path, "one", &wrong).with(422);
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(refused["details"]["causes"][0]["field"], "data[a b]");
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueInvalid");
}

#[test]
fn a_field_that_cannot_change_says_so_in_its_message_only() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let apply = |plural: &str, object: Value| {
        kube.api().force(&format!("/api/v1/namespaces/{namespace}/{plural}/a"), "one", &object)
    };
    let secret = |kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "type": kind});
    apply("secrets", secret("Opaque")).with(201);
    let refused = apply("secrets", secret("example.com/other")).with(422);
    let cause = &refused["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueInvalid"), &json!("type")));
    assert!(message(cause).ends_with(": field is immutable"), "{cause}");

    let config = |value: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "immutable": true, "data": {"a": value},
        })
    };
    apply("configmaps", config("b")).with(201);
    let refused = apply("configmaps", config("c")).with(422);
    let cause = &refused["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueForbidden"), &json!("data")));
    assert_eq!(message(cause), "Forbidden: field is immutable when `immutable` is set");
}

#[test]
fn a_rule_of_a_definition_against_a_change_looks_like_any_other_refusal() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let fixed = |value: &str| {
        let mut widget = widgets.bare("a");
        widget["spec"] = json!({"fixed": value});
        widget
    };
    widgets.api.apply(&widgets.path("a"), "one", &fixed("here")).with(201);
    let refused = widgets.api.apply(&widgets.path("a"), "one", &fixed("there")).with(422);
    let cause = &refused["details"]["causes"][0];
    assert_eq!((&cause["reason"], &cause["field"]), (&json!("FieldValueInvalid"), &json!("spec.fixed")));
    assert!(message(cause).ends_with(": fixed is fixed"), "{cause}");
}

#[test]
fn a_namespace_that_ends_refuses_what_is_new_with_a_cause_of_its_own() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let made = widgets.made("a", "red");
    let ended = widgets.api.delete(&format!("/api/v1/namespaces/{}", widgets.namespace)).ok();
    assert_eq!(ended["status"]["phase"], "Terminating");
    eventually("what is new is refused", || {
        widgets.api.apply(&widgets.path("b"), "one", &widgets.coloured("b", "red")).status == 403
    });
    let answer = widgets.api.apply(&widgets.path("b"), "one", &widgets.coloured("b", "red"));
    assert_eq!(answer.causes(), ["NamespaceTerminating"]);
    assert_eq!(answer.with(403)["reason"], "Forbidden");
    // What is there may change.
    let changed = widgets.api.apply(&widgets.path("a"), "maker", &widgets.coloured("a", "blue")).with(200);
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[test]
fn an_admission_webhook_that_refuses_is_named_in_the_message() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let proxy = kube.proxy();
    let refusing = proxy.when(|asked| asked.path == "/review").answers(|asked| {
        let review: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": review["request"]["uid"], "allowed": false, "status": {"message": "not today", "code": 403}},
        })
    });
    let webhook = proxy.webhook("/review", &widgets.group, "widgets");
    widgets.wait_until_reviewed(|| refusing.count());
    let answer = widgets.api.apply(&widgets.path("a"), "one", &widgets.coloured("a", "red"));
    let refused = answer.with(403);
    assert_eq!(message(&refused), format!("admission webhook \"{}\" denied the request: not today", webhook.name()));
}

#[test]
fn to_act_as_another_needs_a_right_of_its_own() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let call = Call::new("GET".parse().unwrap_or_default(), widgets.list()).header("impersonate-user", "bob");
    let as_bob = widgets.api.call(call.clone()).with(403);
    assert!(message(&as_bob).contains("User \"bob\" cannot list"), "{as_bob}");
    let refused = kube.api_as("carol").call(call).with(403);
    assert!(message(&refused).contains("User \"carol\" cannot impersonate resource \"users\""), "{refused}");
}
