//! The kinds and clusters of the simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};
use setpoint_cluster::local::Model;
use setpoint_core::effects::Shapes;
use setpoint_core::key::{DEFAULT_NAMESPACE, GroupKind, Key, LOCAL, Name, Source};
use setpoint_core::native;
use setpoint_schema::Crd;

/// The group of the kinds that plugins own.
pub const GROUP: &str = "sim.setpoint.dev";
/// A second cluster, which knows the built-in kinds only and may be cut off.
pub const FAR: &str = "far";
/// The kinds that plugins own.
pub const OWNED: [&str; 13] =
    ["Note", "Box", "Bundle", "Fleet", "Vault", "Peer", "Shaky", "Claim", "Flap", "Chain", "Link", "Clock", "Remote"];

/// The kind that has processes and probes as children, in worlds that have them.
pub const SERVER: &str = "Server";

/// The key of an owned kind in the embedded cluster.
pub fn owned(kind: &str, name: &str) -> Key {
    Key::new(LOCAL, GROUP, kind, Some(DEFAULT_NAMESPACE), name)
}

/// The key of a ConfigMap in the embedded cluster.
pub fn config_map(name: &str) -> Key {
    Key::new(LOCAL, "", "ConfigMap", Some(DEFAULT_NAMESPACE), name)
}

/// The key of a ConfigMap in the other cluster.
pub fn far_map(name: &str) -> Key {
    Key::new(FAR, "", "ConfigMap", Some(DEFAULT_NAMESPACE), name)
}

/// The key of an object of the host's own kinds.
pub fn native_key(kind: &str, name: &str) -> Key {
    Key::new(LOCAL, native::GROUP, kind, Some(DEFAULT_NAMESPACE), name)
}

/// The version of all kinds of a group.
pub fn version_of(group: &str) -> &'static str {
    if group == native::GROUP { "v1alpha1" } else { "v1" }
}

/// A document with the identity that a key gives it.
pub fn document(key: &Key, mut given: Value) -> Value {
    let version = version_of(&key.group);
    let version = if key.group.is_empty() { version.to_owned() } else { format!("{}/{version}", key.group) };
    given["apiVersion"] = json!(version);
    given["kind"] = json!(&*key.kind);
    given["metadata"]["name"] = json!(&*key.name);
    given["metadata"]["namespace"] = json!(key.namespace.as_deref());
    given
}

/// The definition of an owned kind. The status of a `Note` has no `observedGeneration`: the server
/// drops it, and nobody may write it for ever (rule B1).
pub fn definition(kind: &str) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let conditions = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {"type": "object", "required": ["type"], "x-kubernetes-preserve-unknown-fields": true,
                  "properties": {"type": {"type": "string"}}}});
    let mut status = open.clone();
    status["properties"] = json!({ "conditions": conditions });
    if kind == "Note" {
        status = json!({"type": "object", "properties": {"text": {"type": "string"}, "conditions": conditions}});
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}s.{GROUP}", kind.to_lowercase())},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"kind": kind, "plural": format!("{}s", kind.to_lowercase())},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": status}}}}]
        }
    })
}

/// The embedded cluster with these kinds, and the other one with the built-in ones.
fn fresh(owned: &[&str]) -> Mutex<BTreeMap<Name, Model>> {
    let mut local = Model::with_seed(1);
    for kind in owned {
        match Crd::parse(&definition(kind), "v1") {
            Ok(crd) => drop(local.install_kind(crd)),
            Err(error) => panic!("the definition of {kind} does not parse: {error}"),
        }
    }
    Mutex::new(BTreeMap::from([(LOCAL.into(), local), (FAR.into(), Model::with_seed(2))]))
}

/// Fresh clusters: the embedded one serves all kinds, the other the built-in ones.
pub fn clusters() -> BTreeMap<Name, Model> {
    static FRESH: LazyLock<Mutex<BTreeMap<Name, Model>>> = LazyLock::new(|| fresh(&OWNED));
    FRESH.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The same, with the kind [`SERVER`].
pub fn clusters_with_servers() -> BTreeMap<Name, Model> {
    static FRESH: LazyLock<Mutex<BTreeMap<Name, Model>>> =
        LazyLock::new(|| fresh(&[OWNED.as_slice(), &[SERVER]].concat()));
    FRESH.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Every kind of every cluster, events aside: nothing here makes those. The host's own kinds are there in worlds
/// that have processes.
pub fn sources(clusters: &BTreeMap<Name, Model>, natives: bool) -> Vec<Source> {
    let mut sources = Vec::new();
    for (cluster, model) in clusters {
        let shown =
            |crd: &Arc<Crd>| crd.kind != "Event" && (natives && &**cluster == LOCAL || crd.group != native::GROUP);
        for crd in model.kinds().iter().filter(|crd| shown(crd)) {
            sources.push(Source::new(cluster, &crd.group, &crd.kind));
        }
    }
    sources
}

/// What the engine is told of the served kinds.
pub struct Served {
    kinds: BTreeMap<(Name, GroupKind), Arc<Crd>>,
}

impl Served {
    /// The kinds of these clusters.
    pub fn of(clusters: &BTreeMap<Name, Model>) -> Self {
        let mut kinds = BTreeMap::new();
        for (cluster, model) in clusters {
            for crd in model.kinds() {
                kinds.insert((cluster.clone(), GroupKind::new(&crd.group, &crd.kind)), crd);
            }
        }
        Self { kinds }
    }

    fn find(&self, cluster: &str, kind: &GroupKind) -> Option<&Arc<Crd>> {
        self.kinds.get(&(cluster.into(), kind.clone()))
    }
}

impl Shapes for Served {
    fn namespaced(&self, cluster: &str, kind: &GroupKind) -> Option<bool> {
        Some(self.find(cluster, kind)?.namespaced)
    }

    fn prune(&self, cluster: &str, kind: &GroupKind, object: &mut Value) {
        if let Some(crd) = self.find(cluster, kind) {
            crd.prune_partial(object);
        }
    }
}
