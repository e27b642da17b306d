//! What a connection survives, and what it never does meanwhile: forget what it has not seen go.

use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_cluster::Cluster;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Told;
use setpoint_core::key::{GroupVersionKind, Key};
use setpoint_core::op::{Answer, Op, Refusal};
use setpoint_kubernetes::{ConnectOptions, Limits};
use setpoint_test_kube::{Kube, shared};

use crate::support::{Host, bundle, bundles, clock, eventually, group, make_bundle, options, serve};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_take_over_what_is_known_is_checked_against_the_server() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    for name in ["a", "b", "c"] {
        make_bundle(kube, &group, &namespace, name, &json!({}));
    }
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    // Its watch has fallen behind: nothing of this is told.
    let late = proxy.when(|asked| asked.is_watch() && asked.path.ends_with("/bundles")).is_held();
    proxy.relay().cut();
    let path = bundles(&group, &namespace);
    kube.api().merge(&format!("{path}/a"), &json!({"spec": {"data": {"x": "2"}}})).ok();
    kube.api().delete(&format!("{path}/b")).ok();
    make_bundle(kube, &group, &namespace, "d", &json!({}));
    assert_eq!(host.names(&kind, &namespace), ["a", "b", "c"]);

    let asked = clock();
    let mut live = Vec::new();
    for check in host.cluster.check().await {
        let (version, listed) = check.result.expect("a list");
        let keys = host.engine().checked(clock(), &check.source, &check.scope, (asked, &version), &listed);
        live.extend(keys);
    }
    live.retain(|key| key.namespace.as_deref() == Some(&namespace));
    live.sort();
    let names: Vec<&str> = live.iter().map(|key| &*key.name).collect();
    assert_eq!(names, ["a", "d"], "what has changed or come is read live");
    assert_eq!(host.names(&kind, &namespace), ["a", "c"], "what went is gone");
    for key in live {
        let read = host.engine().live_read(&key);
        let object = match host.cluster.perform(Op::Get(key.clone())).await {
            Answer::Found(object) => Some(object),
            answer => panic!("{answer:?}"),
        };
        assert!(host.engine().read_back(clock(), &read, object));
    }
    assert_eq!(host.names(&kind, &namespace), ["a", "c", "d"]);
    late.let_go();
    eventually("the watch comes after", || host.told(&kind, gone) == 1);
    assert_eq!(host.names(&kind, &namespace), ["a", "c", "d"]);
}

fn gone(told: &Told) -> bool {
    matches!(told, Told::Object(_, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_cut_goes_on_and_misses_nothing() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    make_bundle(kube, &group, &namespace, "before", &json!({}));
    eventually("it works", || host.names(&kind, &namespace).len() == 1);
    for round in 0..3 {
        proxy.relay().refuse();
        let name = format!("r{round}");
        make_bundle(kube, &group, &namespace, &name, &json!({}));
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.relay().accept();
        eventually("what came meanwhile is seen", || host.names(&kind, &namespace).contains(&name));
    }
    kube.api().delete(&format!("{}/before", bundles(&group, &namespace))).ok();
    eventually("what goes is seen", || host.names(&kind, &namespace).len() == 3);
    assert_eq!(host.told(&kind, |told| matches!(told, Told::ListBegins)), 1, "nothing was listed anew");
    assert_eq!(host.told(&kind, |told| matches!(told, Told::Unknown { .. })), 0, "a moment is no reason for doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_makes_everything_unknown_and_nothing_gone() {
    if !setpoint_test_kube::available() {
        return;
    }
    let kube = Kube::setup().start();
    let (group, namespace) = (group(), kube.namespace());
    serve(&kube, &group);
    let kind = bundle(&group);
    make_bundle(&kube, &group, &namespace, "a", &json!({}));
    let host = Host::connect(options(kube.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    kube.kill();
    let began = Instant::now();
    host.unknown(&kind);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let key = Key::new("hub", &group, "Bundle", Some(&namespace), "a");
    let answer = host.cluster.perform(Op::Get(key)).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Unknown(_))), "{answer:?}");
    assert!(!host.cluster.health().reasons().is_empty());
    assert_eq!(host.names(&kind, &namespace), ["a"], "what was seen stays");

    kube.start_again();
    host.synced(&kind);
    make_bundle(&kube, &group, &namespace, "b", &json!({}));
    eventually("it goes on", || host.names(&kind, &namespace) == ["a", "b"]);
    assert_eq!(host.told(&kind, gone), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_server_has_forgotten_is_listed_anew_without_forgetting() {
    if !setpoint_test_kube::available() {
        return;
    }
    let kube = Kube::setup().start();
    let (group, namespace) = (group(), kube.namespace());
    serve(&kube, &group);
    let kind = bundle(&group);
    for name in ["a", "b"] {
        make_bundle(&kube, &group, &namespace, name, &json!({}));
    }
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    proxy.relay().refuse();
    kube.kill();
    kube.start_again();
    let path = bundles(&group, &namespace);
    kube.api().delete(&format!("{path}/a")).ok();
    for n in 0..20 {
        make_bundle(&kube, &group, &namespace, &format!("n{n}"), &json!({}));
    }
    // A server that starts on a compacted etcd has no past to go on from.
    kube.kill();
    kube.etcd().compact();
    kube.start_again();
    proxy.relay().accept();
    eventually("what is there now is seen", || host.names(&kind, &namespace).len() == 21);
    host.synced(&kind);
    assert!(!host.names(&kind, &namespace).contains(&"a".to_owned()));
    assert!(host.told(&kind, |told| matches!(told, Told::ListEnds { .. })) >= 2, "it was listed anew");
    assert_eq!(host.told(&kind, gone), 0, "what went was told by the complete list alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_breaks_off_is_no_list() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    for n in 0..6 {
        make_bundle(kube, &group, &namespace, &format!("b{n}"), &json!({"x": "y".repeat(2_000)}));
    }
    let proxy = kube.proxy();
    let _paged = proxy.when(|asked| asked.query.contains("sendInitialEvents")).refused(422, "Invalid", "no");
    let broken = proxy
        .when(|asked| asked.query.contains("continue=") && asked.path.ends_with("/bundles"))
        .times(2)
        .breaks_after(1_000);
    let limits = Limits { page: 2, ..Limits::default() };
    let host = Host::connect(ConnectOptions { limits, ..options(proxy.kubeconfig()) }).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace).len(), 6);
    assert_eq!(broken.count(), 2);
    assert_eq!(host.told(&kind, |told| matches!(told, Told::ListEnds { .. })), 1);
    assert_eq!(host.told(&kind, gone), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_to_wait_is_obeyed() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    let key = Key::new("hub", "", "ConfigMap", Some(&namespace), "a");
    let is_it = |asked: &setpoint_test_kube::proxy::Asked| asked.path.contains("/configmaps/");
    let busy = proxy.when(is_it).once().refused_for(429, "TooManyRequests", Duration::from_secs(1));
    let began = Instant::now();
    let answer = host.cluster.perform(Op::Get(key.clone())).await;
    assert!(matches!(answer, Answer::Absent), "{answer:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((busy.count(), proxy.count(is_it)), (1, 2));

    // For longer than a request may take nothing is asked at all.
    let away = proxy.when(is_it).once().refused_for(429, "TooManyRequests", Duration::from_secs(60));
    for _ in 0..3 {
        let answer = host.cluster.perform(Op::Get(key.clone())).await;
        assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    }
    assert_eq!((away.count(), proxy.count(is_it)), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_not_made_twice_and_not_called_done() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let proxy = kube.proxy();
    let limits = Limits { request: Duration::from_secs(3), ..Limits::default() };
    let host = Host::connect(ConnectOptions { limits, ..options(proxy.kubeconfig()) }).await;
    let key = Key::new("hub", "", "ConfigMap", Some(&namespace), "a");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}, "data": {"x": "1"}});
    let apply = || Op::Apply {
        key: key.clone(),
        object: std::sync::Arc::new(object.clone()),
        manager: "setpoint/a".into(),
        force: false,
        precondition: None,
    };
    let lost = proxy.when(|asked| asked.method == "PATCH").once().loses_its_answer();
    let answer = host.cluster.perform(apply()).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    assert_eq!((lost.count(), proxy.count(|asked| asked.method == "PATCH")), (1, 1));
    assert!(matches!(host.cluster.perform(Op::Get(key.clone())).await, Answer::Found(_)), "it was done");
    for (status, reason) in [(500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")] {
        let failing = proxy.when(|asked| asked.method == "PATCH").once().refused(status, reason, "for now");
        let answer = host.cluster.perform(apply()).await;
        assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{status}: {answer:?}");
        assert_eq!(failing.count(), 1);
    }
    assert!(matches!(host.cluster.perform(apply()).await, Answer::Applied { created: false, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_noticed() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    let proxy = kube.proxy();
    let limits = Limits { request: Duration::from_secs(2), ..Limits::default() };
    let host = Host::connect(ConnectOptions { limits, ..options(proxy.kubeconfig()) }).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    proxy.relay().silence();
    let key = Key::new("hub", &group, "Bundle", Some(&namespace), "a");
    let began = Instant::now();
    let answer = host.cluster.perform(Op::Get(key)).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    host.unknown(&kind);
    proxy.relay().speak();
    host.synced(&kind);
    make_bundle(kube, &group, &namespace, "a", &json!({}));
    eventually("it goes on", || host.names(&kind, &namespace) == ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_does_not_take_is_refused_with_the_reason() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let host = Host::connect(options(kube.kubeconfig())).await;
    let apply = |name: &str, namespace: &str, data: serde_json::Value| {
        let key = Key::new("hub", "", "ConfigMap", Some(namespace), name);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data});
        Op::Apply {
            key,
            object: std::sync::Arc::new(object),
            manager: "setpoint/a".into(),
            force: false,
            precondition: None,
        }
    };
    let answer = host.cluster.perform(apply("large", &namespace, json!({"a": "x".repeat(2 << 20)}))).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))), "{answer:?}");
    let answer = host.cluster.perform(apply("Not_a_name", &namespace, json!({}))).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))), "{answer:?}");
    let answer = host.cluster.perform(apply("a", "nowhere", json!({}))).await;
    assert!(matches!(&answer, Answer::Refused(Refusal::Transient(text)) if text.contains("nowhere")), "{answer:?}");
    let answer = host.cluster.perform(apply("typo", &namespace, json!({"a": 5}))).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))), "{answer:?}");
    let deployment = GroupVersionKind::new("apps", "v1", "Deployment");
    let key = Key::new("hub", "apps", "Deployment", Some(&namespace), "d");
    let object = json!({"apiVersion": deployment.api_version(), "kind": "Deployment",
        "metadata": {"name": "d", "namespace": namespace}, "spec": {"typo": 1}});
    let op = Op::Apply {
        key,
        object: std::sync::Arc::new(object),
        manager: "setpoint/a".into(),
        force: false,
        precondition: None,
    };
    let answer = host.cluster.perform(op).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_renewed_is_taken_up_when_the_old_one_is_refused() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let rule = json!({"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["get", "list", "watch"]});
    let user = |name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let _rights = [kube.allow(&user("old"), None, &rule), kube.allow(&user("new"), None, &rule)];
    let (old, new) = (kube.service_account(&namespace, "old"), kube.service_account(&namespace, "new"));
    let (first, second) = (kube.kubeconfig_with_token("first", &old), kube.kubeconfig_with_token("second", &new));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    std::fs::copy(first, &path).expect("a copy");
    let host = Host::connect(options(path.clone())).await;
    let key = Key::new("hub", "", "ConfigMap", Some(&namespace), "a");
    assert!(matches!(host.cluster.perform(Op::Get(key.clone())).await, Answer::Absent));

    kube.api().delete(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/old")).ok();
    eventually("the old token is refused", || kube.api_with_token(&old).get("/api/v1/namespaces").status == 401);
    let answer = host.cluster.perform(Op::Get(key.clone())).await;
    assert!(matches!(&answer, Answer::Refused(Refusal::Unknown(text)) if text.contains("credentials")), "{answer:?}");
    std::fs::copy(second, &path).expect("a copy");
    let until = Instant::now() + Duration::from_secs(30);
    while !matches!(host.cluster.perform(Op::Get(key.clone())).await, Answer::Absent) {
        assert!(Instant::now() < until, "the new token is taken up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(host.cluster.health().renewals >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_set_back_is_followed() {
    if !setpoint_test_kube::available() {
        return;
    }
    let kube = Kube::setup().start();
    let (group, namespace) = (group(), kube.namespace());
    serve(&kube, &group);
    let kind = bundle(&group);
    make_bundle(&kube, &group, &namespace, "before", &json!({}));
    let backup = kube.etcd().back_up();
    for n in 0..10 {
        make_bundle(&kube, &group, &namespace, &format!("after{n}"), &json!({}));
    }
    let host = Host::connect(options(kube.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace).len(), 11);
    kube.kill();
    kube.etcd().restore(&backup);
    kube.start_again();
    eventually("what was never there is not there", || host.names(&kind, &namespace) == ["before"]);
    host.synced(&kind);
    make_bundle(&kube, &group, &namespace, "new", &json!({}));
    eventually("it goes on from there", || host.names(&kind, &namespace) == ["before", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_changed_definition_makes_of_objects_is_seen_without_an_event() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    make_bundle(kube, &group, &namespace, "a", &json!({"x": "1"}));
    let host = Host::connect(options(kube.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    let key = Key::new("hub", &group, "Bundle", Some(&namespace), "a");
    let size = || {
        let engine = host.engine();
        let id = engine.cache().keys().find(&key)?;
        engine.cache().view(id)?.value().pointer("/spec/size").cloned()
    };
    assert_eq!(size(), None);
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/bundles.{group}");
    let mut definition = kube.api().get(&path).ok();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["default"] =
        json!(7);
    kube.api().put(&path, &definition).ok();
    eventually("the default is seen", || size() == Some(json!(7)));
    assert!(host.is_synced(&kind));
}
