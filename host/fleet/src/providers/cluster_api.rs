//! Clusters that Cluster API has made.

use std::sync::Arc;

use serde_json::Value;
use setpoint_core::key::{GroupVersionKind, Key, Name};
use setpoint_core::object::Object;

use super::secrets::{Kept, data_of};
use super::watched::{Hub, Watched, labels, want, want_object};
use crate::{BoxFuture, Offers, Provider, cluster_name};

/// Group of Cluster API.
const GROUP: &str = "cluster.x-k8s.io";
/// Its version unless another one is given.
const VERSION: &str = "v1beta2";
/// Where Cluster API keeps the kubeconfig of a cluster: in the Secret of this ending, under this key.
const SECRET: &str = "-kubeconfig";
const KEY: &str = "value";

/// `Cluster` objects of Cluster API whose control plane is initialized, each reached with the kubeconfig in its Secret. A
/// cluster is called `NAMESPACE.NAME`.
pub struct ClusterApi {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// The management cluster.
    pub hub: Hub,
    /// Only this namespace is looked at; none: all.
    pub namespace: Option<Name>,
    /// Version of Cluster API. Default: `v1beta2`.
    pub version: Option<String>,
}

impl Provider for ClusterApi {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let clusters = GroupVersionKind::new(GROUP, self.version.as_deref().unwrap_or(VERSION), "Cluster");
            let secrets = GroupVersionKind::new("", "v1", "Secret");
            let data = format!("data.{KEY}");
            let fields = ["metadata.labels", "metadata.deletionTimestamp", "status"];
            let all = want(&clusters, self.namespace.as_ref(), &fields);
            let watched = Watched::connect(&self.hub, &offers).await;
            watched.want(vec![all.clone()]);
            let mut kept = Kept::default();
            let mut watching = Vec::new();
            loop {
                let found = watched.objects(&clusters.group_kind());
                let ready: Vec<&(Key, Arc<Object>)> = found.iter().filter(|(_, object)| is_ready(object)).collect();
                // Each Secret is watched for itself: what else is in these namespaces is nobody's concern here.
                let wanted: Vec<(Name, String)> =
                    ready.iter().map(|(key, _)| (namespace_of(key), format!("{}{SECRET}", key.name))).collect();
                if wanted != watching {
                    let single =
                        wanted.iter().map(|(ns, name)| want_object(&secrets, ns, name, &["metadata.labels", &data]));
                    watched.want([all.clone()].into_iter().chain(single).collect());
                    watching = wanted;
                }
                let texts = watched.objects(&secrets.group_kind());
                let found = ready.into_iter().map(|(key, object)| {
                    let namespace = namespace_of(key);
                    let name = cluster_name(&format!("{namespace}.{}", key.name));
                    let secret = format!("{}{SECRET}", key.name);
                    let place = format!("the Secret {namespace}/{secret}, key {KEY}");
                    let of = |at: &Key| at.namespace.as_ref() == Some(&namespace) && *at.name == *secret;
                    let text = match texts.iter().find(|(at, _)| of(at)) {
                        Some((_, secret)) => data_of(secret, KEY),
                        None => Err("it is not there yet".into()),
                    };
                    kept.found(name, &place, text, labels(object))
                });
                let (found, gone) = (found.collect(), "its Cluster is gone, is being deleted, or is not initialized");
                if let Some(there) = watched.offer(&offers, &clusters, "its Clusters", found, gone) {
                    kept.retain(&there, &offers);
                }
                watched.changed().await;
            }
        })
    }
}

fn namespace_of(key: &Key) -> Name {
    key.namespace.clone().unwrap_or_else(|| "".into())
}

/// Whether the control plane of a cluster answers, in the words of `v1beta2` or of `v1beta1`.
fn is_ready(cluster: &Object) -> bool {
    let value = cluster.value();
    let says = |pointer: &str| value.pointer(pointer).and_then(Value::as_bool) == Some(true);
    !cluster.terminating()
        && (says("/status/initialization/controlPlaneInitialized") || says("/status/controlPlaneReady"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_counts_when_its_control_plane_is_initialized() {
        let cluster = |status: Value| Object::new(json!({"metadata": {"name": "a"}, "status": status}), None);
        assert!(is_ready(&cluster(json!({"initialization": {"controlPlaneInitialized": true}}))));
        assert!(is_ready(&cluster(json!({"controlPlaneReady": true}))));
        assert!(!is_ready(&cluster(json!({"initialization": {}}))));
        let going = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"controlPlaneReady": true}});
        assert!(!is_ready(&Object::new(going, None)));
    }
}
