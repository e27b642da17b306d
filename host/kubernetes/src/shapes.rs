//! What the rules ask of the kinds of a Kubernetes cluster.

use serde_json::Value;
use setpoint_core::effects::Shapes;
use setpoint_core::key::GroupKind;

use crate::KubernetesCluster;

impl KubernetesCluster {
    /// Whether a kind is namespaced; none if it is not known to be served.
    pub fn namespaced(&self, kind: &GroupKind) -> Option<bool> {
        self.kinds().known(kind).map(|kind| kind.resource.namespaced)
    }

    /// Takes fields out of a partial document that the served schema does not know (rule B1). What is no custom
    /// resource, or whose definition may not be read, stays as it is: the server says what it thinks of it.
    pub fn prune(&self, kind: &GroupKind, object: &mut Value) {
        if let Some(schema) = self.kinds().known(kind).and_then(|kind| kind.schema.clone()) {
            schema.prune_partial(object);
        }
    }
}

/// For a host that asks every cluster alike; the name of the cluster is not looked at.
impl Shapes for KubernetesCluster {
    fn namespaced(&self, _: &str, kind: &GroupKind) -> Option<bool> {
        KubernetesCluster::namespaced(self, kind)
    }

    fn prune(&self, _: &str, kind: &GroupKind, object: &mut Value) {
        KubernetesCluster::prune(self, kind, object);
    }
}
