//! Which kinds a server serves, where, and in which shape (rules A8, B1, D6, D7).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use setpoint_core::key::{GroupKind, GroupVersionKind, Name};
use setpoint_core::op::Refusal;
use setpoint_schema::{Crd, CrdError};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::reflect::watcher::locked;
use crate::resource::{Resource, segment};
use crate::transport::{Call, Transport};

/// A kind as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: Resource,
    /// Its definition, where it is a custom resource whose definition may be read.
    pub(crate) schema: Option<Arc<Crd>>,
    /// `metadata.resourceVersion` of the definition.
    definition: String,
}

/// Why a kind was not found.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// The server does not serve it, in this version.
    NotServed(String),
    /// The server could not be asked.
    Failed(Failure),
}

impl NotFound {
    /// As the refusal of an operation.
    pub(crate) fn refusal(&self, kind: &GroupKind) -> Refusal {
        match self {
            NotFound::NotServed(_) => Refusal::UnknownKind(kind.to_string()),
            NotFound::Failed(failure) => match failure {
                Failure::Status(_) | Failure::Throttled(_) | Failure::NoAnswer(_) => {
                    Refusal::Transient(format!("{kind} cannot be looked up: {failure}"))
                }
                _ => Refusal::Unknown(failure.to_string()),
            },
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResourceList {
    resources: Vec<ApiResource>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiResource {
    name: String,
    kind: String,
    namespaced: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ApiGroup {
    preferred_version: ApiVersion,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ApiVersion {
    version: String,
}

/// Where the definitions of custom resources are.
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// What was not served is not asked for again for so long, however many want it.
const MISSING: Duration = Duration::from_millis(500);

/// Definitions by what they say and by version. Most clusters of a fleet serve the same: each is held once.
static SERVED: Mutex<BTreeMap<(String, String), Weak<Crd>>> = Mutex::new(BTreeMap::new());

/// A definition as its server enforces it.
fn served(definition: &Value, version: &str) -> Result<Arc<Crd>, CrdError> {
    let content = (definition["spec"].to_string(), version.to_owned());
    if let Some(crd) = locked(&SERVED).get(&content).and_then(Weak::upgrade) {
        return Ok(crd);
    }
    let crd = Arc::new(Crd::parse_served(definition, version)?);
    let mut all = locked(&SERVED);
    all.retain(|_, crd| crd.strong_count() > 0);
    all.insert(content, Arc::downgrade(&crd));
    Ok(crd)
}

/// The kinds of one server, as far as anybody has asked.
pub(crate) struct Kinds {
    transport: Arc<Transport>,
    known: RwLock<BTreeMap<GroupKind, Arc<Kind>>>,
    /// What was not served when it was looked for last. Held while something is looked for: the others wait for
    /// what comes of it.
    missing: tokio::sync::Mutex<BTreeMap<GroupKind, (Instant, String)>>,
    /// The version that each kind is wanted in.
    wanted: RwLock<BTreeMap<GroupKind, Name>>,
}

impl Kinds {
    pub(crate) fn new(transport: Arc<Transport>) -> Self {
        Self { transport, known: RwLock::default(), missing: tokio::sync::Mutex::default(), wanted: RwLock::default() }
    }

    /// The versions that are spoken of kinds from now on; what is known of others is forgotten.
    pub(crate) fn want(&self, wanted: BTreeMap<GroupKind, Name>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|kind, found| wanted.get(kind).is_none_or(|version| *version == found.resource.kind.version));
        *self.wanted.write().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// A kind, if it was found before.
    pub(crate) fn known(&self, kind: &GroupKind) -> Option<Arc<Kind>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// Looks a kind up the next time that it is asked for.
    pub(crate) fn forget(&self, kind: &GroupKind) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(kind);
    }

    /// A kind in the version that is wanted of it, else in the one that the server prefers.
    pub(crate) async fn find(&self, kind: &GroupKind) -> Result<Arc<Kind>, NotFound> {
        if let Some(known) = self.known(kind) {
            return Ok(known);
        }
        let mut missing = self.missing.lock().await;
        if let Some(known) = self.known(kind) {
            return Ok(known);
        }
        if let Some((_, why)) = missing.get(kind).filter(|(when, _)| when.elapsed() < MISSING) {
            return Err(NotFound::NotServed(why.clone()));
        }
        let found = self.look_for(kind).await;
        match &found {
            Ok(_) => missing.remove(kind),
            Err(NotFound::NotServed(why)) => missing.insert(kind.clone(), (Instant::now(), why.clone())),
            Err(NotFound::Failed(_)) => None,
        };
        found
    }

    async fn look_for(&self, kind: &GroupKind) -> Result<Arc<Kind>, NotFound> {
        let wanted = self.wanted.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned();
        let version = match wanted {
            Some(version) => version,
            None => self.preferred(kind).await?,
        };
        let wanted = GroupVersionKind { group: kind.group.clone(), version, kind: kind.kind.clone() };
        let found = Arc::new(self.look(&wanted).await?);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(kind.clone(), found.clone());
        Ok(found)
    }

    async fn preferred(&self, kind: &GroupKind) -> Result<Name, NotFound> {
        if kind.group.is_empty() {
            return Ok("v1".into());
        }
        let path = format!("/apis/{}", segment(&kind.group));
        let group: ApiGroup = self.read(&path, || format!("the group {} is not served", kind.group)).await?;
        match group.preferred_version.version.as_str() {
            "" => Err(NotFound::NotServed(format!("the group {} has no version", kind.group))),
            version => Ok(version.into()),
        }
    }

    async fn look(&self, kind: &GroupVersionKind) -> Result<Kind, NotFound> {
        let path = match &*kind.group {
            "" => format!("/api/{}", segment(&kind.version)),
            group => format!("/apis/{}/{}", segment(group), segment(&kind.version)),
        };
        let version = kind.api_version();
        let list: ResourceList =
            self.read(&path, || format!("the API server does not serve {} in {version}", kind.kind)).await?;
        let main = list.resources.iter().find(|resource| resource.kind == *kind.kind && !resource.name.contains('/'));
        let Some(main) = main else {
            return Err(NotFound::NotServed(format!("the API server does not serve {} in {version}", kind.kind)));
        };
        let status = format!("{}/status", main.name);
        let resource = Resource {
            kind: kind.clone(),
            plural: main.name.clone(),
            namespaced: main.namespaced,
            status: list.resources.iter().any(|resource| resource.name == status),
        };
        let (schema, definition) = self.schema(&resource).await;
        Ok(Kind { resource, schema, definition })
    }

    async fn read<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        missing: impl Fn() -> String,
    ) -> Result<T, NotFound> {
        match self.transport.send(Call::get(path)).await {
            Ok(reply) => serde_json::from_slice(&reply.body)
                .map_err(|error| NotFound::Failed(Failure::Garbled(format!("{path}: {error}")))),
            Err(failure) if failure.is_code(404) => Err(NotFound::NotServed(missing())),
            Err(failure) => Err(NotFound::Failed(failure)),
        }
    }

    /// The schema of a custom resource. Without the right to read definitions there is none: then nothing is
    /// pruned before it is applied, and the server says what it makes of it.
    async fn schema(&self, resource: &Resource) -> (Option<Arc<Crd>>, String) {
        if resource.kind.group.is_empty() || !resource.kind.group.contains('.') {
            return (None, String::new());
        }
        let path = format!("{DEFINITIONS}/{}", segment(&resource.definition()));
        let reply = match self.transport.send(Call::get(path)).await {
            Ok(reply) => reply,
            Err(failure) => {
                if !failure.is_code(404) {
                    tracing::debug!(kind = %resource.kind.kind, "the definition cannot be read: {failure}");
                }
                return (None, String::new());
            }
        };
        let Ok(definition) = serde_json::from_slice::<Value>(&reply.body) else { return (None, String::new()) };
        let version = definition.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        match served(&definition, &resource.kind.version) {
            Ok(crd) => (Some(crd), version.to_owned()),
            Err(error) => {
                tracing::debug!(kind = %resource.kind.kind, "the definition cannot be used for pruning: {error}");
                (None, version.to_owned())
            }
        }
    }

    /// The definition of a kind is at this version by now: it is looked up anew if it was another one.
    pub(crate) fn definition_moved(&self, group: &str, plural: &str, version: Option<&str>) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|kind, found| {
            &*kind.group != group || found.resource.plural != plural || Some(found.definition.as_str()) == version
        });
        known.len() != before
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_that_are_alike_are_held_once_and_what_only_servers_understand_is_left_to_them() {
        let definition = |uid: &str, kind: &str| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "boxes.x.example.com", "uid": uid},
            "spec": {"group": "x.example.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": "boxes"},
                "conversion": {"strategy": "Webhook"},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}},
                            "x-kubernetes-validations": [{"rule": "authorizer.group('x').check('y').allowed()"}]}}}}},
                    {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                ]}})
        };
        let read = |uid: &str, kind: &str, version: &str| served(&definition(uid, kind), version).expect("it is read");
        let one = read("1", "Box", "v1");
        assert!(Arc::ptr_eq(&one, &read("2", "Box", "v1")), "another cluster serves the same");
        assert!(!Arc::ptr_eq(&one, &read("1", "Box", "v2")) && !Arc::ptr_eq(&one, &read("1", "Case", "v1")));
        let mut object = json!({"apiVersion": "x.example.com/v1", "kind": "Box", "metadata": {"name": "a"},
            "spec": {"a": "b", "unknown": 1}});
        one.prune_partial(&mut object);
        assert_eq!(object["spec"], json!({"a": "b"}));
        drop(one);
        let held = locked(&SERVED).iter().any(|((spec, _), crd)| spec.contains("boxes") && crd.strong_count() > 0);
        assert!(!held, "what no cluster serves any more is not held");
    }
}
