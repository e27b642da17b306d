//! What is done for one bundle, and which bundles a ConfigMap concerns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::bundle::{ConfigBundle, ConfigBundleStatus, OnConflict};

const MANAGER: &str = "peer-kube-rs";
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Context {
    client: Client,
    maps: Store<ConfigMap>,
    /// Whether the ConfigMaps are known. The store wakes only the last of those that wait for it: one does for all.
    known: OnceCell<()>,
}

impl Context {
    pub(crate) fn new(client: Client, maps: Store<ConfigMap>) -> Self {
        Self { client, maps, known: OnceCell::new() }
    }

    /// What is not known yet is not empty.
    async fn known_maps(&self) -> Result<&Store<ConfigMap>, Error> {
        self.known.get_or_try_init(|| self.maps.wait_until_ready()).await.map_err(|_| Error::Stopped)?;
        Ok(&self.maps)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the ConfigMaps are not watched any more")]
    Stopped,
    #[error("{0} is not of this bundle")]
    Foreign(String),
}

pub(crate) fn again(_: Arc<ConfigBundle>, _: &Error, _: Arc<Context>) -> Action {
    Action::requeue(AGAIN)
}

fn is_made(map: &ConfigMap) -> bool {
    map.owner_references().iter().any(|owner| owner.kind == "ConfigBundle")
}

fn has_all(map: &ConfigMap, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| map.labels().get(name) == Some(value))
}

/// The owner of a child, or the bundles that select a source.
pub(crate) fn concerned(bundles: &Store<ConfigBundle>, map: &ConfigMap) -> Vec<ObjectRef<ConfigBundle>> {
    let namespace = map.namespace().unwrap_or_default();
    if is_made(map) {
        let group = ConfigBundle::api_version(&());
        let ours = |owner: &&OwnerReference| owner.kind == "ConfigBundle" && owner.api_version == group;
        let owners = map.owner_references().iter().filter(ours);
        return owners.map(|owner| ObjectRef::new(&owner.name).within(&namespace)).collect();
    }
    if map.labels().is_empty() {
        return Vec::new();
    }
    let selecting = bundles.state_filter(|bundle| {
        bundle.metadata.namespace.as_deref() == Some(&namespace) && has_all(map, &bundle.spec.selector.match_labels)
    });
    selecting.iter().map(|bundle| ObjectRef::from_obj(&**bundle)).collect()
}

pub(crate) async fn reconcile(bundle: Arc<ConfigBundle>, context: Arc<Context>) -> Result<Action, Error> {
    if bundle.metadata.deletion_timestamp.is_some() {
        // Its child is the garbage collector's.
        return Ok(Action::await_change());
    }
    let told = bundle.status.clone().unwrap_or_default();
    let spec = &bundle.spec;
    if spec.selector.match_labels.is_empty() {
        tell(&bundle, &context, told, "Stalled", "EmptySelector", "spec.selector.matchLabels needs a label").await?;
        return Ok(Action::await_change());
    }
    let sources = sources(&bundle, context.known_maps().await?);
    let mut merged: BTreeMap<String, String> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (key, value) in sources.iter().flat_map(|map| map.data.iter().flatten()) {
        let differs = merged.get(key).map(|there| there != value);
        if differs == Some(true) && !conflicts.contains(key) {
            conflicts.push(key.clone());
        }
        if differs.is_none() || spec.on_conflict == OnConflict::Last {
            merged.insert(key.clone(), value.clone());
        }
    }
    let hash = Sha256::digest(serde_json::to_vec(&merged)?).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let status = ConfigBundleStatus {
        sources: sources.iter().map(|map| map.name_any()).collect(),
        keys: merged.len(),
        conflicts,
        hash,
        ..told
    };
    if spec.on_conflict == OnConflict::Error && !status.conflicts.is_empty() {
        let message = format!("Sources differ in {}", status.conflicts.join(", "));
        tell(&bundle, &context, status, "Stalled", "Conflict", &message).await?;
        return Ok(Action::await_change());
    }
    child(&bundle, &context, merged).await?;
    if sources.is_empty() {
        let message = "No ConfigMap has the labels of spec.selector";
        tell(&bundle, &context, status, "Reconciling", "NoSources", message).await?;
    } else {
        tell(&bundle, &context, status, "Ready", "Ready", "").await?;
    }
    Ok(Action::await_change())
}

fn target(bundle: &ConfigBundle) -> String {
    bundle.spec.target.clone().unwrap_or_else(|| bundle.name_any())
}

/// The ConfigMaps to merge, in their order.
fn sources(bundle: &ConfigBundle, maps: &Store<ConfigMap>) -> Vec<Arc<ConfigMap>> {
    let target = target(bundle);
    let mut sources = maps.state_filter(|map| {
        map.metadata.namespace == bundle.metadata.namespace
            && has_all(map, &bundle.spec.selector.match_labels)
            && !is_made(map)
            && map.metadata.name.as_deref() != Some(&target)
    });
    let first = |name: &str| bundle.spec.order.iter().position(|wanted| wanted == name).unwrap_or(usize::MAX);
    sources.sort_by_cached_key(|map| (first(&map.name_any()), map.name_any()));
    sources
}

/// Makes the merged ConfigMap what it shall be; if it is, nothing is asked of the server.
async fn child(bundle: &ConfigBundle, context: &Context, merged: BTreeMap<String, String>) -> Result<(), Error> {
    let (name, namespace) = (target(bundle), bundle.namespace().unwrap_or_default());
    if let Some(there) = context.maps.get(&ObjectRef::new(&name).within(&namespace)) {
        let ours = there.owner_references().iter().any(|owner| Some(&owner.uid) == bundle.metadata.uid.as_ref());
        if !ours {
            return Err(Error::Foreign(name));
        }
        if there.data.as_ref().map_or(merged.is_empty(), |data| *data == merged) {
            return Ok(());
        }
    }
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [bundle.controller_owner_ref(&())]},
        "data": merged,
    });
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(child)).await?;
    Ok(())
}

/// Applies the status; if it is there already, nothing is asked of the server.
async fn tell(
    bundle: &ConfigBundle,
    context: &Context,
    mut status: ConfigBundleStatus,
    what: &str,
    reason: &str,
    message: &str,
) -> Result<(), Error> {
    let generation = bundle.metadata.generation.unwrap_or_default();
    let before = std::mem::take(&mut status.conditions);
    status.observed_generation = generation;
    for kind in ["Ready", "Reconciling", "Stalled"] {
        let value = if kind == what { "True" } else { "False" };
        let since = before.iter().find(|condition| condition.type_ == kind && condition.status == value);
        status.conditions.push(Condition {
            type_: kind.into(),
            status: value.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: Some(generation),
            last_transition_time: since.map_or_else(|| Time(now()), |condition| condition.last_transition_time.clone()),
        });
    }
    if bundle.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let applied = json!({
        "apiVersion": ConfigBundle::api_version(&()), "kind": ConfigBundle::kind(&()), "status": status,
    });
    let api: Api<ConfigBundle> = Api::namespaced(context.client.clone(), &bundle.namespace().unwrap_or_default());
    api.patch_status(&bundle.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(applied)).await?;
    Ok(())
}

/// In whole seconds, as the server keeps it.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
