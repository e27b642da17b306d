//! Clusters whose kubeconfigs are in Secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use setpoint_core::key::{GroupVersionKind, Name};
use setpoint_core::object::Object;
use setpoint_kubernetes::{Access, SharedKubeconfig};

use super::watched::{Found, Hub, Watched, labels, want};
use crate::{BoxFuture, Offers, Provider, Reach, cluster_name};

/// Label of such Secrets unless another one is given; multicluster-runtime's, so that what is there works.
const LABEL: (&str, &str) = ("sigs.k8s.io/multicluster-runtime-kubeconfig", "true");
/// Key of the kubeconfig in them unless another one is given.
const KEY: &str = "kubeconfig";

/// Secrets of one namespace that carry a label, each with a kubeconfig. A cluster is called as its Secret is.
pub struct Secrets {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// The cluster that has the Secrets.
    pub hub: Hub,
    /// Their namespace.
    pub namespace: Name,
    /// The label, key and value. Default: `sigs.k8s.io/multicluster-runtime-kubeconfig` and `true`.
    pub label: Option<(String, String)>,
    /// The key of the kubeconfig. Default: `kubeconfig`.
    pub key: Option<String>,
}

impl Provider for Secrets {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let kind = GroupVersionKind::new("", "v1", "Secret");
            let watched = Watched::connect(&self.hub, &offers).await;
            let (label, value) = match &self.label {
                Some((label, value)) => (label.as_str(), value.as_str()),
                None => LABEL,
            };
            let key = self.key.as_deref().unwrap_or(KEY);
            let data = format!("data.{key}");
            watched.want(vec![want(
                &kind,
                Some(&self.namespace),
                &["metadata.labels", "metadata.deletionTimestamp", &data],
            )]);
            let mut kept = Kept::default();
            loop {
                let secrets = watched.objects(&kind.group_kind());
                let wanted = |object: &Object| object.label(label) == Some(value) && !object.terminating();
                let found = secrets.iter().filter(|(_, object)| wanted(object)).map(|(secret, object)| {
                    let name = cluster_name(&secret.name);
                    let place = format!("the Secret {}/{}, key {key}", self.namespace, secret.name);
                    kept.found(name, &place, data_of(object, key), labels(object))
                });
                let (found, gone) = (found.collect(), "its Secret is gone, or does not carry the label any more");
                if let Some(there) = watched.offer(&offers, &kind, "its Secrets", found, gone) {
                    kept.retain(&there, &offers);
                }
                watched.changed().await;
            }
        })
    }
}

/// The text under a key of a Secret.
pub(crate) fn data_of(secret: &Object, key: &str) -> Result<String, String> {
    let value = secret.value();
    let data = value.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let data = data.filter(|data| !data.is_empty()).ok_or("it is empty, or not there")?;
    let bytes = STANDARD.decode(data).map_err(|_| "it is no base64".to_owned())?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

/// Kubeconfigs of clusters, over their renewals.
#[derive(Default)]
pub(crate) struct Kept {
    known: BTreeMap<String, SharedKubeconfig>,
    troubles: BTreeMap<String, String>,
}

impl Kept {
    /// How a cluster is reached, whose kubeconfig is this now. One that is no good keeps the last good one.
    fn reach(&mut self, name: &str, place: &str, text: Result<String, String>) -> Reach {
        let text = text.map_err(|problem| format!("{place}: {problem}"));
        let renewed = text.and_then(|text| match self.known.get(name) {
            Some(known) => known.replace(&text).map(|_| ()),
            None => SharedKubeconfig::new(place, &text).map(|made| drop(self.known.insert(name.to_owned(), made))),
        });
        match renewed {
            Ok(()) => drop(self.troubles.remove(name)),
            Err(problem) => drop(self.troubles.insert(name.to_owned(), problem)),
        }
        match self.known.get(name) {
            Some(known) => Reach { instance: known.server(), ..Reach::of(Access::Shared(known.clone())) },
            None => Reach::unusable(self.troubles.get(name).cloned().unwrap_or_default()),
        }
    }

    /// The same as it is offered, with what is wrong with the kubeconfig that is there now.
    pub(crate) fn found(
        &mut self,
        name: String,
        place: &str,
        text: Result<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Found {
        let reach = Reach { labels, ..self.reach(&name, place, text) };
        Found { trouble: self.troubles.get(&name).cloned(), name, reach }
    }

    /// Forgets all but these.
    pub(crate) fn retain(&mut self, names: &[String], offers: &Offers) {
        self.known.retain(|name, _| names.contains(name));
        for name in self.troubles.keys().filter(|name| !names.contains(name)) {
            offers.trouble(name, None);
        }
        self.troubles.retain(|name, _| names.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kubeconfig(server: &str, token: &str) -> String {
        json!({"clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u",
            "user": {"token": token}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]})
        .to_string()
    }

    #[test]
    fn renewed_credentials_are_no_other_instance_and_another_server_is() {
        let mut kept = Kept::default();
        let first = kept.reach("a", "the Secret", Ok(kubeconfig("https://a", "1")));
        let renewed = kept.reach("a", "the Secret", Ok(kubeconfig("https://a", "2")));
        assert_eq!(first, renewed, "the connection sees the new token by itself");
        let moved = kept.reach("a", "the Secret", Ok(kubeconfig("https://b", "2")));
        assert_ne!(first.instance, moved.instance);
    }

    #[test]
    fn a_kubeconfig_that_is_no_good_keeps_the_last_good_one_and_shows_why() {
        let mut kept = Kept::default();
        let bad = kept.reach("a", "the Secret", Err("it is empty".into()));
        assert_eq!(bad.way, Err("the Secret: it is empty".into()));
        let good = kept.reach("a", "the Secret", Ok(kubeconfig("https://a", "1")));
        assert!(good.way.is_ok() && !kept.troubles.contains_key("a"));
        let again = kept.reach("a", "the Secret", Ok("clusters: [".into()));
        assert_eq!(again, good);
        assert!(kept.troubles["a"].contains("no kubeconfig"));
    }

    #[test]
    fn the_data_of_a_secret_is_text_in_base64() {
        let secret =
            |data: Value| Object::new(json!({"kind": "Secret", "metadata": {"name": "a"}, "data": data}), None);
        assert_eq!(data_of(&secret(json!({"k": "aGk="})), "k"), Ok("hi".into()));
        assert!(data_of(&secret(json!({"k": ""})), "k").is_err());
        assert!(data_of(&secret(json!({"k": "%"})), "k").is_err());
        assert!(data_of(&secret(json!({})), "k").is_err());
    }
}
