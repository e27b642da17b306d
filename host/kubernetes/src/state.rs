//! What all hosts of an installation have to know, in a ConfigMap beside their lease (rules B2, C9): a pod that takes
//! over has a store of its own, or an empty one.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use setpoint_core::key::{GroupVersionKind, Key};

use crate::KubernetesCluster;
use crate::failure::Failure;
use crate::resource::{Resource, segment};
use crate::rights::Asked;
use crate::transport::{Call, JSON, MERGE_PATCH, Transport};

/// Its name, in the namespace of the lease.
pub const NAME: &str = "setpoint-state";
/// How often a change is made anew that another host was faster with.
const TRIES: u32 = 5;

/// The ConfigMap `setpoint-state` of a namespace.
pub struct SharedState {
    transport: Arc<Transport>,
    namespace: String,
}

/// Why it could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the ConfigMap {namespace}/{NAME} could not be {what}: {reason}")]
pub struct SharedStateError {
    namespace: String,
    what: &'static str,
    reason: String,
    forbidden: bool,
}

impl SharedStateError {
    /// Whether this host may not do it.
    pub fn is_forbidden(&self) -> bool {
        self.forbidden
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    metadata: Metadata,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl SharedState {
    /// That of a namespace of a cluster.
    pub fn of(cluster: &KubernetesCluster, namespace: &str) -> Self {
        Self { transport: cluster.shared.transport.clone(), namespace: namespace.to_owned() }
    }

    /// All that is in it, by key; nothing if it is not there yet.
    ///
    /// # Errors
    /// Nobody knows what is in it.
    pub async fn read(&self) -> Result<BTreeMap<String, String>, SharedStateError> {
        let content = self.get().await.map_err(|failure| self.error("read", &failure, &["get"]))?;
        Ok(content.map(|content| content.data).unwrap_or_default())
    }

    /// Makes something else of the value of a key; none: it has none. What another host writes meanwhile is not lost.
    ///
    /// # Errors
    /// It is as it was, or nobody knows.
    pub async fn change(
        &self,
        key: &str,
        mut make: impl FnMut(Option<&str>) -> Option<String>,
    ) -> Result<(), SharedStateError> {
        for _ in 0..TRIES {
            let found = self.get().await.map_err(|failure| self.error("read", &failure, &["get"]))?;
            let before = found.as_ref().and_then(|content| content.data.get(key)).map(String::as_str);
            let after = make(before);
            if after.as_deref() == before {
                return Ok(());
            }
            let (verbs, written): (&'static [&'static str], _) = match &found {
                None => (&["create"], self.create(key, after).await),
                Some(content) => (&["patch"], self.patch(&content.metadata.resource_version, key, after).await),
            };
            match written {
                Ok(_) => return Ok(()),
                // Another host was faster.
                Err(failure) if failure.is_code(409) || failure.is_code(404) && found.is_some() => {}
                Err(failure) => return Err(self.error("written", &failure, verbs)),
            }
        }
        let reason = format!("others have changed it {TRIES} times meanwhile");
        Err(SharedStateError { namespace: self.namespace.clone(), what: "written", reason, forbidden: false })
    }

    async fn create(&self, key: &str, value: Option<String>) -> Result<(), Failure> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": self.namespace, "name": NAME}, "data": {key: value.unwrap_or_default()},
        });
        self.write(Method::POST, self.collection(), JSON, &object).await
    }

    async fn patch(&self, version: &str, key: &str, value: Option<String>) -> Result<(), Failure> {
        let patch = json!({"metadata": {"resourceVersion": version}, "data": {key: value}});
        self.write(Method::PATCH, self.object(), MERGE_PATCH, &patch).await
    }

    async fn write(
        &self,
        method: Method,
        path: String,
        kind: &'static str,
        body: &serde_json::Value,
    ) -> Result<(), Failure> {
        // What a person asks of a standby is written as well: the resource version is fence enough.
        let call =
            Call { fenced: false, urgent: true, ..Call::write(method, path, kind, body.to_string().into_bytes()) };
        self.transport.send(call).await.map(drop)
    }

    async fn get(&self) -> Result<Option<Content>, Failure> {
        let call = Call { urgent: true, ..Call::get(self.object()) };
        match self.transport.send(call).await {
            Ok(reply) => match serde_json::from_slice(&reply.body) {
                Ok(content) => Ok(Some(content)),
                Err(error) => Err(Failure::Garbled(error.to_string())),
            },
            Err(failure) if failure.is_code(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", segment(&self.namespace))
    }

    fn object(&self) -> String {
        format!("{}/{NAME}", self.collection())
    }

    fn error(&self, what: &'static str, failure: &Failure, verbs: &'static [&'static str]) -> SharedStateError {
        let maps = Resource {
            kind: GroupVersionKind::new("", "v1", "ConfigMap"),
            plural: "configmaps".into(),
            namespaced: true,
            status: false,
        };
        let key = Key::new("", "", "ConfigMap", Some(&self.namespace), NAME);
        let reason = Asked::of(&maps, &key, verbs).refused(failure);
        SharedStateError { namespace: self.namespace.clone(), what, reason, forbidden: failure.is_missing_right() }
    }
}
