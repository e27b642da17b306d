//! Namespaces of one cluster, each as a cluster of its own.

use std::sync::Arc;

use setpoint_core::key::GroupVersionKind;
use setpoint_core::object::Object;

use super::watched::{Found, Hub, Watched, labels, want};
use crate::{BoxFuture, Offers, Provider, Reach, cluster_name};

/// Namespaces that carry a label, each as a cluster that is called as the namespace is.
pub struct Namespaces {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// The cluster that has the namespaces.
    pub hub: Hub,
    /// The label, key and value; none: all namespaces but those of Kubernetes itself, `kube-*`.
    pub label: Option<(String, String)>,
}

impl Namespaces {
    fn takes(&self, namespace: &Object, name: &str) -> bool {
        let chosen = match &self.label {
            Some((label, value)) => namespace.label(label) == Some(value),
            None => !name.starts_with("kube-"),
        };
        chosen && !namespace.terminating()
    }
}

impl Provider for Namespaces {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let kind = GroupVersionKind::new("", "v1", "Namespace");
            let watched = Watched::connect(&self.hub, &offers).await;
            watched.want(vec![want(&kind, None, &["metadata.labels", "metadata.deletionTimestamp"])]);
            loop {
                let namespaces = watched.objects(&kind.group_kind());
                let taken = namespaces.iter().filter(|(key, object)| self.takes(object, &key.name));
                let found = taken.map(|(key, object)| {
                    let reach = Reach {
                        // A namespace that was made anew is another one.
                        instance: object.uid().to_owned(),
                        namespaces: vec![key.name.clone()],
                        scoped: true,
                        labels: labels(object),
                        ..Reach::of(self.hub.access.clone())
                    };
                    Found { name: cluster_name(&key.name), reach, trouble: None }
                });
                let gone = "the namespace is gone, or does not carry the label any more";
                watched.offer(&offers, &kind, "its namespaces", found.collect(), gone);
                watched.changed().await;
            }
        })
    }
}
