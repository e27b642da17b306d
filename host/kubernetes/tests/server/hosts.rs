//! A host in small over a real server: an engine, a connection, and a plugin that is a function. One bundle makes
//! one ConfigMap, as the example plugin does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_cluster::Cluster;
use setpoint_core::contract::{
    Child, Description, Outcome, OwnedKind, ReadKind, ReadScope, Readiness, Request, Tuning, Update,
};
use setpoint_core::engine::{CallResult, PluginInfo, Step};
use setpoint_core::grants::{Grant, Grants};
use setpoint_core::key::GroupVersionKind;
use setpoint_test_kube::{Kube, shared};

use crate::support::{Host, bundle, bundles, clock, definition, group, locked, make_bundle, options, serve};

const WALL: &str = "2026-01-01T00:00:00Z";

/// Which namespace the children go to, if not that of their owner.
type Elsewhere = Option<String>;

/// Carries attempts through, one after the other, until it is dropped.
pub(crate) struct Running {
    task: tokio::task::JoinHandle<()>,
    pub(crate) calls: Arc<AtomicU64>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn description(group: &str) -> Description {
    Description {
        name: "bundler".into(),
        version: "1.0.0".into(),
        kinds: vec![OwnedKind { crd: definition(group).to_string(), kind: bundle(group), finalizer: false }],
        reads: vec![ReadKind {
            kind: GroupVersionKind::new("", "v1", "Secret"),
            scope: ReadScope::Named,
            fields: Vec::new(),
            indexes: Vec::new(),
        }],
        writes: vec![GroupVersionKind::new("", "v1", "ConfigMap")],
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    }
}

/// Loads the plugin into a host and runs it.
pub(crate) fn run(host: &Host, group: &str, namespace: &str, elsewhere: Elsewhere) -> Running {
    let grants = Grants::new(vec![Grant::parse("described").expect("a grant")]);
    let info = PluginInfo::new("digest", Arc::new(description(group)), "{}".into(), grants).expect("a plugin");
    host.engine().plugin_started(clock(), info);
    let calls = Arc::new(AtomicU64::new(0));
    let (engine, cluster, counted) = (host.engine.clone(), host.cluster.clone(), calls.clone());
    let namespace = namespace.to_owned();
    let task = tokio::spawn(async move {
        let mut wanted = None;
        loop {
            let wants = {
                let engine = locked(&engine);
                (wanted != Some(engine.wanted())).then(|| {
                    wanted = Some(engine.wanted());
                    engine.wants(&"hub".into())
                })
            };
            if let Some(wants) = wants {
                cluster.want(wants);
            }
            let next = locked(&engine).next(clock());
            let Some(mut attempt) = next else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            loop {
                let step = locked(&engine).step(clock(), WALL, &mut attempt);
                match step {
                    Step::Done => break,
                    Step::Perform(op) => {
                        let answer = cluster.perform(op).await;
                        locked(&engine).answered(clock(), &mut attempt, answer);
                    }
                    Step::Call(request) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let outcome = reconcile(&request, &namespace, elsewhere.as_deref());
                        let result = CallResult { result: Ok(outcome), trapped: false, impure: false };
                        locked(&engine).called(clock(), &mut attempt, result);
                    }
                }
            }
        }
    });
    Running { task, calls }
}

fn reconcile(request: &Request, namespace: &str, elsewhere: Option<&str>) -> Outcome {
    let object: Value = serde_json::from_str(&request.object).expect("an object");
    // Tests share a server: bundles of other tests are none of this host's business.
    let mine = request.key.namespace.as_deref() == Some(namespace);
    let child = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": &*request.key.name, "namespace": elsewhere.unwrap_or(namespace)},
        "data": object["spec"]["data"]});
    let child = Child { cluster: None, object: child.to_string(), update: Update::InPlace };
    Outcome {
        status: Some(json!({"seen": object["spec"]["data"].to_string()}).to_string()),
        readiness: Readiness::Ready,
        conditions: Vec::new(),
        children: Some(if mine && object["spec"]["data"].is_object() { vec![child] } else { Vec::new() }),
        events: Vec::new(),
        requeue_after: None,
        finalized: false,
    }
}

fn map(kube: &Kube, namespace: &str, name: &str) -> Option<Value> {
    let answer = kube.api().get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}"));
    (answer.status == 200).then_some(answer.body)
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("absent")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_becomes_a_config_map_and_then_nothing_is_asked_of_the_server() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    let running = run(&host, &group, &namespace, None);
    host.synced(&bundle(&group));
    make_bundle(kube, &group, &namespace, "a", &json!({"x": "1"}));
    let path = format!("{}/a", bundles(&group, &namespace));
    host.eventually("it is ready", || condition(&kube.api().get(&path).body, "Ready") == "True");
    let owner = kube.api().get(&path).ok();
    assert_eq!(owner["status"]["observedGeneration"], 1);
    assert_eq!(owner["metadata"]["annotations"]["setpoint.dev/child-places"], "core/ConfigMap");
    assert!(owner["metadata"].get("finalizers").is_none(), "the server collects this child by itself");
    let child = map(kube, &namespace, "a").expect("a child");
    assert_eq!(child["data"], json!({"x": "1"}));
    assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], owner["metadata"]["uid"]);

    let writes = proxy.count(|asked| asked.is_write());
    assert_eq!(writes, 3, "places, child, status: {:?}", proxy.seen());
    let (asked, calls) = (proxy.seen().len(), running.calls.load(Ordering::Relaxed));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(proxy.seen().len(), asked, "it is quiet");
    assert_eq!(running.calls.load(Ordering::Relaxed), calls);

    // An edit costs one apply and one status.
    kube.api().merge(&path, &json!({"spec": {"data": {"x": null, "y": "2"}}})).ok();
    host.eventually("the edit is through", || kube.api().get(&path).body["status"]["observedGeneration"] == 2);
    assert_eq!(map(kube, &namespace, "a").map(|child| child["data"].clone()), Some(json!({"y": "2"})));
    assert_eq!(proxy.count(|asked| asked.is_write()), 5);

    // Drift is undone, and what is no longer returned goes.
    let child = format!("/api/v1/namespaces/{namespace}/configmaps/a");
    kube.api().merge(&child, &json!({"data": {"y": "drift"}})).ok();
    host.eventually("drift is undone", || map(kube, &namespace, "a").is_some_and(|child| child["data"]["y"] == "2"));
    kube.api().delete(&child).ok();
    host.eventually("it comes back", || map(kube, &namespace, "a").is_some());
    kube.api().merge(&path, &json!({"spec": {"data": null}})).ok();
    host.eventually("it goes", || map(kube, &namespace, "a").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_left_alone_and_told_with_an_event() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let foreign = json!({"metadata": {"name": "a"}, "data": {"mine": "1"}});
    kube.api().post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &foreign).with(201);
    let host = Host::connect(options(kube.kubeconfig())).await;
    let _running = run(&host, &group, &namespace, None);
    let owner = make_bundle(kube, &group, &namespace, "a", &json!({"x": "1"}));
    let path = format!("{}/a", bundles(&group, &namespace));
    host.eventually("it is stalled", || condition(&kube.api().get(&path).body, "Stalled") == "True");
    let child = map(kube, &namespace, "a").expect("it is there");
    assert_eq!(child["data"], json!({"mine": "1"}));
    assert!(!child["metadata"]["managedFields"].to_string().contains("setpoint/"), "nothing was merged into it");
    let events = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let told = || {
        let body = kube.api().get(&events).ok();
        let events = body["items"].as_array().cloned().unwrap_or_default();
        events.into_iter().find(|event| event["reason"] == "ChildConflict")
    };
    host.eventually("an event tells it", || told().is_some());
    let event = told().unwrap_or_default();
    assert_eq!(event["regarding"]["uid"], owner["metadata"]["uid"], "kubectl describe looks for it");
    assert_eq!((event["type"].as_str(), event["regarding"]["name"].as_str()), (Some("Warning"), Some("a")));

    // When the other one goes, the place is free.
    kube.api().delete(&format!("/api/v1/namespaces/{namespace}/configmaps/a")).ok();
    host.eventually("it is made", || map(kube, &namespace, "a").is_some_and(|child| child["data"]["x"] == "1"));
    host.eventually("and ready", || condition(&kube.api().get(&path).body, "Ready") == "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_the_server_would_not_collect_holds_its_owner_until_it_is_gone() {
    let Some(kube) = shared() else { return };
    let (group, namespace, other) = (group(), kube.namespace(), kube.namespace());
    serve(kube, &group);
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    let running = run(&host, &group, &namespace, Some(other.clone()));
    host.synced(&bundle(&group));
    make_bundle(kube, &group, &namespace, "a", &json!({"x": "1"}));
    let path = format!("{}/a", bundles(&group, &namespace));
    host.eventually("it is ready", || condition(&kube.api().get(&path).body, "Ready") == "True");
    let owner = kube.api().get(&path).ok();
    assert_eq!(owner["metadata"]["finalizers"], json!(["setpoint.dev/finalizer"]));
    assert_eq!(
        proxy.count(|asked| asked.method == "PATCH" && !asked.path.ends_with("/status")),
        2,
        "one metadata patch"
    );
    assert!(map(kube, &other, "a").is_some_and(|child| child["metadata"].get("ownerReferences").is_none()));

    // Another host takes over that has never seen the owner, and finds its child.
    drop(running);
    drop(host);
    let host = Host::connect(options(kube.kubeconfig())).await;
    kube.api().delete(&path).ok();
    let _running = run(&host, &group, &namespace, Some(other.clone()));
    host.eventually("the child goes", || map(kube, &other, "a").is_none());
    host.eventually("then the owner", || kube.api().get(&path).status == 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_writes_nothing() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    serve(kube, &group);
    let first = Host::connect(options(kube.kubeconfig())).await;
    let running = run(&first, &group, &namespace, None);
    for name in ["a", "b", "c"] {
        make_bundle(kube, &group, &namespace, name, &json!({"n": name}));
    }
    let ready = |name: &str| {
        condition(&kube.api().get(&format!("{}/{name}", bundles(&group, &namespace))).body, "Ready") == "True"
    };
    first.eventually("all are ready", || ["a", "b", "c"].iter().all(|name| ready(name)));
    drop(running);
    drop(first);
    let proxy = kube.proxy();
    let second = Host::connect(options(proxy.kubeconfig())).await;
    let running = run(&second, &group, &namespace, None);
    second.eventually("all were called", || running.calls.load(Ordering::Relaxed) >= 3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(proxy.count(|asked| asked.is_write()), 0, "{:?}", proxy.seen());
    assert_eq!(running.calls.load(Ordering::Relaxed), 3);
}
