//! Namespaces of one cluster, each as a cluster of its own.

use std::sync::Arc;

use setpoint_core::key::GroupVersionKind;
use setpoint_core::object::Object;

use super::watched::{Hub, Watched, labels, want};
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
                let mut there = Vec::new();
                for (key, object) in watched.objects(&kind.group_kind()) {
                    if !self.takes(&object, &key.name) {
                        continue;
                    }
                    let name = cluster_name(&key.name);
                    let reach = Reach {
                        // A namespace that was made anew is another one.
                        instance: object.uid().to_owned(),
                        namespaces: vec![key.name.clone()],
                        scoped: true,
                        labels: labels(&object),
                        ..Reach::of(self.hub.access.clone())
                    };
                    let refused = offers.engage(&name, reach).err().map(|refused| refused.to_string());
                    offers.trouble(&name, refused.as_deref());
                    there.push(name);
                }
                let known = watched.known(&kind.group_kind());
                offers.trouble("its namespaces", known.as_ref().err().map(String::as_str));
                if known.is_ok() {
                    let reason = "the namespace is gone, or does not carry the label any more";
                    offers.all(there.iter().map(String::as_str), reason);
                }
                watched.changed().await;
            }
        })
    }
}
