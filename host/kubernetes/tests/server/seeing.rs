//! What a connection sees: everything once, then each change, in whatever part was asked for.

use serde_json::json;
use setpoint_cluster::Cluster;
use setpoint_core::cache::SourceState;
use setpoint_core::coverage::Scope;
use setpoint_core::effects::OWNER_LABEL;
use setpoint_core::engine::{Told, Want};
use setpoint_core::key::{GroupVersionKind, Key, Source};
use setpoint_core::mask::Mask;
use setpoint_kubernetes::{ConnectOptions, Limits};
use setpoint_test_kube::shared;

use crate::support::{Host, bundle, bundles, eventually, group, make_bundle, options, serve, withdraw};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_once_and_then_each_change() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    for name in ["a", "b", "c"] {
        make_bundle(kube, &group, &namespace, name, &json!({"n": name}));
    }
    let host = Host::connect(options(kube.kubeconfig())).await;
    assert!(matches!(host.state(&kind), SourceState::Unknown(_)), "nobody has asked");
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace), ["a", "b", "c"]);
    assert_eq!(host.told(&kind, |told| matches!(told, Told::Object(..))), 3);
    assert_eq!(host.told(&kind, |told| matches!(told, Told::ListBegins)), 1);

    let path = bundles(&group, &namespace);
    make_bundle(kube, &group, &namespace, "d", &json!({}));
    let changed = kube.api().merge(&format!("{path}/a"), &json!({"spec": {"data": {"n": "2"}}})).ok();
    kube.api().delete(&format!("{path}/b")).ok();
    eventually("the changes are seen", || host.names(&kind, &namespace) == ["a", "c", "d"]);
    let version = changed["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    eventually("the new version is seen", || host.seen(&kind, &namespace)[0].1 == version);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_cannot_stream_a_list_it_is_read_in_pages() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    for name in 0..5 {
        make_bundle(kube, &group, &namespace, &format!("b{name}"), &json!({}));
    }
    let proxy = kube.proxy();
    let streams = proxy
        .when(|asked| asked.query.contains("sendInitialEvents") && asked.path.ends_with("/bundles"))
        .refused(422, "Invalid", "sendInitialEvents is forbidden unless the WatchList feature gate is enabled");
    let limits = Limits { page: 2, ..Limits::default() };
    let host = Host::connect(ConnectOptions { limits, ..options(proxy.kubeconfig()) }).await;
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace).len(), 5);
    assert_eq!(proxy.count(|asked| asked.path.ends_with("/bundles") && asked.query.contains("continue=")), 2);
    make_bundle(kube, &group, &namespace, "late", &json!({}));
    eventually("what comes later is seen", || host.names(&kind, &namespace).len() == 6);
    let other = GroupVersionKind::new("", "v1", "ConfigMap");
    host.want(&[(&kind, Scope::All), (&other, Scope::Owned(None))]);
    host.synced(&other);
    assert_eq!(streams.count(), 1, "it is not asked for again");
    assert_eq!(proxy.count(|asked| asked.path.ends_with("/configmaps") && asked.query.contains("sendInitial")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_carries_an_owner_mark_is_watched_of_a_kind_of_children() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let kind = GroupVersionKind::new("", "v1", "ConfigMap");
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let map = |name: &str, mark: Option<&str>| json!({"metadata": {"name": name, "labels": mark.map(|mark| json!({OWNER_LABEL: mark}))}, "data": {"a": "1"}});
    kube.api().post(&path, &map("marked", Some("m"))).with(201);
    kube.api().post(&path, &map("plain", None)).with(201);
    let host = Host::connect(options(kube.kubeconfig())).await;
    host.want(&[(&kind, Scope::Owned(None))]);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace), ["marked"]);
    let plain = Key::new("hub", "", "ConfigMap", Some(&namespace), "plain");
    let unread = host.engine().cache().read_by_key(&plain);
    assert!(matches!(unread, setpoint_core::cache::Seen::Unknown(_)), "it proves nothing of others: {unread:?}");

    kube.api().merge(&format!("{path}/plain"), &json!({"metadata": {"labels": {OWNER_LABEL: "n"}}})).ok();
    kube.api().merge(&format!("{path}/marked"), &json!({"metadata": {"labels": {OWNER_LABEL: null}}})).ok();
    eventually("marks are followed", || host.names(&kind, &namespace) == ["plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_object_is_watched_by_its_name_whether_it_is_there_or_not() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let kind = GroupVersionKind::new("", "v1", "Secret");
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let host = Host::connect(options(kube.kubeconfig())).await;
    let scope = |name: &str| Scope::Object(Some(namespace.as_str().into()), name.into());
    host.want(&[(&kind, scope("a")), (&kind, scope("b"))]);
    kube.api().post(&path, &json!({"metadata": {"name": "b"}})).with(201);
    kube.api().post(&path, &json!({"metadata": {"name": "other"}})).with(201);
    host.synced(&kind);
    let read = |name: &str| host.engine().cache().read_by_key(&Key::new("hub", "", "Secret", Some(&namespace), name));
    use setpoint_core::cache::Seen;
    eventually("one is seen", || matches!(read("b"), Seen::Present(_)));
    assert!(matches!(read("a"), Seen::Absent) && matches!(read("other"), Seen::Unknown(_)));
    kube.api().post(&path, &json!({"metadata": {"name": "a"}})).with(201);
    eventually("the other one comes", || matches!(read("a"), Seen::Present(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_kind_that_is_read_in_part_only_that_part_is_kept() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    make_bundle(kube, &group, &namespace, "a", &json!({"big": "x".repeat(1_000)}));
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    let key = Key::new("hub", &group, "Bundle", Some(&namespace), "a");
    let json_of = || {
        let engine = host.engine();
        let id = engine.cache().keys().find(&key);
        id.and_then(|id| engine.cache().view(id)).map(|object| object.json().to_string()).unwrap_or_default()
    };
    let want = |mask: Mask| host.cluster.want(vec![Want { kind: kind.clone(), scope: Scope::All, mask }]);
    want(Mask::parse(&[".metadata.annotations"]).expect("a mask"));
    host.synced(&kind);
    assert!(!json_of().contains("spec") && json_of().contains(r#""name":"a""#), "{}", json_of());
    let metadata_only = |asked: &setpoint_test_kube::proxy::Asked| {
        let accept = asked.headers.get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        asked.path.ends_with("/bundles") && accept.contains("PartialObjectMetadata")
    };
    assert!(proxy.count(metadata_only) >= 1, "the content is not even sent");
    want(Mask::all());
    eventually("more is wanted, and listed anew", || json_of().contains("xxxx"));
    assert!(host.is_synced(&kind));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_comes_goes_and_comes_back_is_picked_up_each_time() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    let kind = bundle(&group);
    let host = Host::connect(options(kube.kubeconfig())).await;
    host.want(&[(&kind, Scope::All)]);
    let why = host.unknown(&kind);
    assert_eq!(why, format!("the API server does not serve Bundle in {group}/v1"));
    assert_eq!(host.cluster.namespaced(&kind.group_kind()), None);

    serve(kube, &group);
    make_bundle(kube, &group, &namespace, "a", &json!({}));
    host.synced(&kind);
    eventually("its objects are seen", || host.names(&kind, &namespace) == ["a"]);
    assert_eq!(host.cluster.namespaced(&kind.group_kind()), Some(true));
    let mut document = json!({"apiVersion": format!("{group}/v1"), "kind": "Bundle", "spec": {"size": 1, "typo": 2}});
    host.cluster.prune(&kind.group_kind(), &mut document);
    assert_eq!(document["spec"], json!({"size": 1}), "the served schema is known");

    withdraw(kube, &group);
    host.unknown(&kind);
    serve(kube, &group);
    host.synced(&kind);
    assert!(host.names(&kind, &namespace).is_empty(), "the server has deleted them with their kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_and_taken_up_when_it_is_given() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let kind = bundle(&group);
    make_bundle(kube, &group, &namespace, "a", &json!({}));
    let whoami = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]});
    let _known = kube.allow("carol", None, &whoami);
    let host = Host::connect(options(kube.kubeconfig_of("carol"))).await;
    host.want(&[(&kind, Scope::All)]);
    let why = host.unknown(&kind);
    assert_eq!(
        why,
        format!(
            "the host may not list and watch bundles.{group} in all namespaces; grant it with a ClusterRole that has the \
             rule {{\"apiGroups\":[\"{group}\"],\"resources\":[\"bundles\"],\"verbs\":[\"list\",\"watch\"]}}"
        )
    );
    assert!(host.cluster.health().reasons()[0].contains("may not list and watch"));

    let rule = json!({"apiGroups": [group], "resources": ["bundles"], "verbs": ["list", "watch"]});
    let allowed = kube.allow("carol", None, &rule);
    host.synced(&kind);
    assert_eq!(host.names(&kind, &namespace), ["a"]);
    assert!(host.cluster.health().reasons().is_empty());
    allowed.revoke();
    assert!(host.is_synced(&kind), "a watch that runs is not ended by the server");
    let source = Source { cluster: "hub".into(), kind: kind.group_kind() };
    assert!(host.engine().cache().has_heard_of(&source));
}
