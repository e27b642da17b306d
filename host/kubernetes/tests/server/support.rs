//! A server with a kind of the test's own, and a host in small: an engine over a connection.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_cluster::{Cluster, Sink};
use setpoint_core::cache::SourceState;
use setpoint_core::coverage::Scope;
use setpoint_core::effects::Shapes;
use setpoint_core::engine::{ClusterFacts, Engine, Options, Told, Want};
use setpoint_core::key::{GroupKind, GroupVersionKind, Key, Source};
use setpoint_core::mask::Mask;
use setpoint_core::object::Object;
use setpoint_kubernetes::{Access, ConnectOptions, KubernetesCluster};
use setpoint_test_kube::Kube;

/// Nothing takes longer than this, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A group that no other test has.
pub(crate) fn group() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}.setpoint.dev", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The kind of bundles in a group.
pub(crate) fn bundle(group: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, "v1", "Bundle")
}

/// The definition of bundles.
pub(crate) fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("bundles.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": "Bundle", "plural": "bundles", "singular": "bundle", "listKind": "BundleList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "data": {"type": "object", "additionalProperties": {"type": "string"}},
                        "size": {"type": "integer", "minimum": 0},
                        "list": {"type": "array", "items": {"type": "string"}},
                        "fixed": {"type": "string", "x-kubernetes-validations": [
                            {"rule": "self == oldSelf", "message": "fixed is immutable"}]}}},
                    "status": {"type": "object", "properties": {
                        "observedGeneration": {"type": "integer"}, "seen": {"type": "string"},
                        "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                            "items": {"type": "object", "required": ["type"], "properties": {
                                "type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"},
                                "message": {"type": "string"}, "lastTransitionTime": {"type": "string"},
                                "observedGeneration": {"type": "integer"}}}}}}}}}}]},
    })
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Serves bundles of a group, and waits until they are served.
pub(crate) fn serve(kube: &Kube, group: &str) {
    serve_as(kube, group, &definition(group));
}

/// The same by another definition.
pub(crate) fn serve_as(kube: &Kube, group: &str, definition: &Value) {
    kube.api().post(CRDS, definition).with(201);
    eventually("bundles are served", || kube.api().get(&format!("/apis/{group}/v1/bundles")).status == 200);
}

pub(crate) fn withdraw(kube: &Kube, group: &str) {
    kube.api().delete(&format!("{CRDS}/bundles.{group}")).ok();
    eventually("bundles are not served", || kube.api().get(&format!("/apis/{group}/v1/bundles")).status == 404);
}

/// The collection of bundles in a namespace.
pub(crate) fn bundles(group: &str, namespace: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/bundles")
}

pub(crate) fn make_bundle(kube: &Kube, group: &str, namespace: &str, name: &str, data: &Value) -> Value {
    let object = json!({"apiVersion": format!("{group}/v1"), "kind": "Bundle", "metadata": {"name": name}, "spec": {"data": data}});
    kube.api().post(&bundles(group, namespace), &object).with(201)
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn options(kubeconfig: PathBuf) -> ConnectOptions {
    ConnectOptions {
        access: Access::Kubeconfig { path: Some(kubeconfig), context: None },
        patience: Duration::from_secs(20),
        ..ConnectOptions::default()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(crate) struct Late {
    engine: OnceLock<Arc<Mutex<Engine>>>,
    pub(crate) told: Mutex<Vec<(Source, Scope, Told)>>,
}

impl Sink for Late {
    fn observed(&self, _: &Key, _: Option<Arc<Object>>) {}
    fn source_known(&self, _: &Source) {}
    fn source_unknown(&self, _: &Source, _: &str) {}

    fn told(&self, source: &Source, scope: &Scope, told: Told) {
        locked(&self.told).push((source.clone(), scope.clone(), told.clone()));
        if let Some(engine) = self.engine.get() {
            locked(engine).told(clock(), source, scope, told);
        }
    }
}

/// Milliseconds, as the engine counts them.
pub(crate) fn clock() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1_000
}

#[derive(Default)]
struct ClusterShapes(OnceLock<Arc<KubernetesCluster>>);

impl Shapes for ClusterShapes {
    fn namespaced(&self, _: &str, kind: &GroupKind) -> Option<bool> {
        self.0.get()?.namespaced(kind)
    }

    fn prune(&self, _: &str, kind: &GroupKind, object: &mut Value) {
        if let Some(cluster) = self.0.get() {
            cluster.prune(kind, object);
        }
    }
}

/// An engine that hears of a cluster.
pub(crate) struct Host {
    pub(crate) cluster: Arc<KubernetesCluster>,
    pub(crate) engine: Arc<Mutex<Engine>>,
    pub(crate) sink: Arc<Late>,
}

impl Host {
    pub(crate) async fn connect(options: ConnectOptions) -> Self {
        let sink = Arc::new(Late::default());
        let cluster = KubernetesCluster::connect(options, sink.clone()).await.expect("a connection");
        let shapes = Arc::new(ClusterShapes::default());
        let _ = shapes.0.set(cluster.clone());
        let engine = Engine::new(Options { installation: "test".into(), ..Options::default() }, shapes);
        let engine = Arc::new(Mutex::new(engine));
        let _ = sink.engine.set(engine.clone());
        locked(&engine).add_cluster(0, &"hub".into(), ClusterFacts::of(cluster.identity()));
        Self { cluster, engine, sink }
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        locked(&self.engine)
    }

    /// Waits until something holds that this host does; says how the host is doing if it does not.
    pub(crate) fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() >= until {
                let engine = self.engine();
                let rows: Vec<_> = engine
                    .rows()
                    .into_iter()
                    .map(|row| (row.key, row.phase, row.waiting, row.last_error, row.causes))
                    .collect();
                let sources: Vec<_> = engine.cache().sources().collect();
                panic!("{what}: not in time; {rows:#?} {sources:#?} {:#?}", self.cluster.health());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Watches parts of kinds as they are.
    pub(crate) fn want(&self, wants: &[(&GroupVersionKind, Scope)]) {
        let want = |(kind, scope): &(&GroupVersionKind, Scope)| Want {
            kind: (*kind).clone(),
            scope: scope.clone(),
            mask: Mask::all(),
        };
        self.cluster.want(wants.iter().map(want).collect());
    }

    pub(crate) fn state(&self, kind: &GroupVersionKind) -> SourceState {
        self.engine().cache().state(&Source { cluster: "hub".into(), kind: kind.group_kind() })
    }

    pub(crate) fn is_synced(&self, kind: &GroupVersionKind) -> bool {
        self.state(kind) == SourceState::Synced
    }

    pub(crate) fn synced(&self, kind: &GroupVersionKind) {
        eventually(&format!("{} is synced", kind.kind), || self.is_synced(kind));
    }

    /// Waits until nothing is known of a kind, and answers why.
    pub(crate) fn unknown(&self, kind: &GroupVersionKind) -> String {
        let mut why = String::new();
        eventually(&format!("{} is unknown", kind.kind), || match self.state(kind) {
            // Nothing has been told yet.
            SourceState::Unknown(reason) if reason.ends_with("is not installed") => false,
            SourceState::Unknown(reason) => {
                why = reason;
                true
            }
            _ => false,
        });
        why
    }

    /// What is seen of a kind in a namespace: names and versions.
    pub(crate) fn seen(&self, kind: &GroupVersionKind, namespace: &str) -> Vec<(String, String)> {
        let engine = self.engine();
        let source = Source { cluster: "hub".into(), kind: kind.group_kind() };
        let namespace = namespace.into();
        let listed = engine.cache().list_namespace(&source, &namespace);
        listed.map(|(_, object)| (object.name().to_owned(), object.resource_version().to_owned())).collect()
    }

    pub(crate) fn names(&self, kind: &GroupVersionKind, namespace: &str) -> Vec<String> {
        self.seen(kind, namespace).into_iter().map(|(name, _)| name).collect()
    }

    /// How often something like this was told.
    pub(crate) fn told(&self, kind: &GroupVersionKind, like: impl Fn(&Told) -> bool) -> usize {
        let told = locked(&self.sink.told);
        told.iter().filter(|(source, _, told)| source.kind == kind.group_kind() && like(told)).count()
    }
}
