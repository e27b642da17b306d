//! A Kubernetes cluster that hosts reconcile: a namespace of its own on the shared server, so that tests do not see
//! each other.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{Answer, Kube, shared};
use setpoint_test_support::place::{granted, kubectl, looks_at};
use setpoint_test_support::{Host, Setup};

/// Nothing takes longer than this, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace of a server.
pub struct Hub {
    /// The server.
    pub kube: Kube,
    /// The namespace.
    pub namespace: String,
}

impl Hub {
    /// A namespace of the shared server. None where no server can run; that is said.
    pub fn new() -> Option<Self> {
        Some(Self::on(shared()?))
    }

    /// A namespace of a server.
    pub fn on(kube: &Kube) -> Self {
        Self { kube: kube.clone(), namespace: kube.namespace() }
    }

    /// A host that reconciles what is in the namespace, with everything granted there that plugins ask for.
    pub fn host(&self) -> Setup {
        self.host_of(&self.kube.kubeconfig())
    }

    /// The same by the kubeconfig of somebody.
    pub fn host_of(&self, kubeconfig: &Path) -> Setup {
        self.host_by(kubeconfig).arg("--install-crds").args(granted(&self.namespace))
    }

    /// A host that reaches the server by a kubeconfig, and is granted nothing.
    pub fn host_by(&self, kubeconfig: &Path) -> Setup {
        Host::setup().args(looks_at(kubeconfig, &self.namespace))
    }

    /// The path of the objects of a kind in the namespace; `GROUP/VERSION/PLURAL`, the core group without a group.
    pub fn path(&self, kind: &str) -> String {
        let namespace = &self.namespace;
        match kind.split('/').collect::<Vec<_>>().as_slice() {
            [version, plural] => format!("/api/{version}/namespaces/{namespace}/{plural}"),
            [group, version, plural] => format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}"),
            _ => panic!("{kind} is no GROUP/VERSION/PLURAL"),
        }
    }

    /// Makes an object.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn make(&self, kind: &str, object: &Value) -> Value {
        self.kube.api().post(&self.path(kind), object).with(201)
    }

    /// Changes an object.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn change(&self, kind: &str, name: &str, patch: &Value) -> Value {
        self.kube.api().merge(&self.at(kind, name), patch).ok()
    }

    /// Deletes an object.
    pub fn delete(&self, kind: &str, name: &str) -> Answer {
        self.kube.api().delete(&self.at(kind, name))
    }

    /// An object; none if it is not there.
    ///
    /// # Panics
    /// The server says neither.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let answer = self.kube.api().get(&self.at(kind, name));
        match answer.status {
            404 => None,
            _ => Some(answer.ok()),
        }
    }

    /// The path of one object.
    pub fn at(&self, kind: &str, name: &str) -> String {
        format!("{}/{name}", self.path(kind))
    }

    /// Waits until the server serves a kind.
    ///
    /// # Panics
    /// It does not.
    pub fn serves(&self, kind: &str) {
        self.wait_for(&format!("{kind} are served"), || {
            (self.kube.api().get(&self.path(kind)).status == 200).then_some(())
        });
    }

    /// Looks until there is something, and returns it.
    ///
    /// # Panics
    /// Nothing in time.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < until, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `kubectl ARGS` prints, in the namespace.
    ///
    /// # Panics
    /// It fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&self.kube, &[&["-n", &self.namespace], args].concat(), "")
    }
}

/// ConfigBundles.
pub const BUNDLES: &str = "examples.setpoint.dev/v1alpha1/configbundles";
/// ConfigMaps.
pub const MAPS: &str = "v1/configmaps";
/// Workflows.
pub const WORKFLOWS: &str = "muster.giantswarm.io/v1alpha1/workflows";
/// MCPServers.
pub const SERVERS: &str = "muster.giantswarm.io/v1alpha1/mcpservers";
/// Leases.
pub const LEASES: &str = "coordination.k8s.io/v1/leases";

/// A ConfigBundle that merges the ConfigMaps with label `bundle: NAME`.
pub fn bundle(name: &str) -> Value {
    json!({"apiVersion": "examples.setpoint.dev/v1alpha1", "kind": "ConfigBundle", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"bundle": name}}}})
}

/// A ConfigMap of a bundle.
pub fn part(name: &str, of: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"bundle": of}}, "data": data})
}

/// A condition of an object: its status, empty if it is not there.
pub fn condition(object: &Value, name: &str) -> String {
    let status = &crate::condition(&object["status"], name)["status"];
    status.as_str().unwrap_or_default().to_owned()
}
