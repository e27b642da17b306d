//! Objects of one cluster that providers look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use setpoint_cluster::{Cluster, Sink};
use setpoint_core::coverage::Scope;
use setpoint_core::engine::{Told, Want};
use setpoint_core::key::{GroupKind, GroupVersionKind, Key, Name, Source};
use setpoint_core::mask::Mask;
use setpoint_core::object::Object;
use setpoint_kubernetes::{Access, ConnectOptions, KubernetesCluster, Limits};
use tokio::sync::Notify;

use crate::{Offers, Reach};

/// Between two tries to reach the cluster.
const AGAIN: Duration = Duration::from_secs(5);
/// What changes at once is looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// The cluster whose objects say which clusters there are.
#[derive(Clone)]
pub struct Hub {
    /// How it is reached.
    pub access: Access,
    /// What it is asked at most.
    pub limits: Limits,
}

/// What reflectors of one provider show.
#[derive(Default)]
struct Shown {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Arc<Object>>,
    /// What the list that is on its way has shown, of each reflector.
    listing: BTreeMap<(Source, Scope), BTreeSet<Key>>,
    /// The reflectors that have shown all there is; why others have not.
    known: BTreeMap<(Source, Scope), Result<(), String>>,
}

impl Shown {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shown {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        self.told(&key.source(), &Scope::All, Told::Object(key.clone(), object));
    }

    fn source_known(&self, source: &Source) {
        self.told(source, &Scope::All, Told::Known);
    }

    fn source_unknown(&self, source: &Source, reason: &str) {
        self.told(source, &Scope::All, Told::Unknown { reason: reason.to_owned() });
    }

    fn told(&self, source: &Source, scope: &Scope, told: Told) {
        let at = (source.clone(), scope.clone());
        let mut state = self.state();
        match told {
            Told::Object(key, object) => {
                if let Some(listing) = state.listing.get_mut(&at) {
                    listing.insert(key.clone());
                }
                match object {
                    Some(object) => drop(state.objects.insert(key, object)),
                    None => drop(state.objects.remove(&key)),
                }
            }
            Told::Unreadable(key) => {
                if let Some(listing) = state.listing.get_mut(&at) {
                    listing.insert(key);
                }
            }
            Told::ListBegins => drop(state.listing.insert(at, BTreeSet::new())),
            Told::ListEnds { .. } => {
                let listed = state.listing.remove(&at).unwrap_or_default();
                state.objects.retain(|key, object| {
                    key.source() != *source || !scope.shows(key, Some(object)) || listed.contains(key)
                });
                state.known.insert(at, Ok(()));
            }
            Told::Known => drop(state.known.insert(at, Ok(()))),
            Told::Unknown { reason } => drop(state.known.insert(at, Err(reason))),
            Told::Syncing => {
                state.known.insert(at, Err("it is being listed".into()));
            }
            Told::Ended => {
                state.known.remove(&at);
                state.objects.retain(|key, object| key.source() != *source || !scope.shows(key, Some(object)));
            }
            Told::Bookmark { .. } => return,
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// A cluster that was found.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) reach: Reach,
    /// What is in its way, though it may take part.
    pub(crate) trouble: Option<String>,
}

/// A connection of one provider.
pub(crate) struct Watched {
    cluster: Arc<KubernetesCluster>,
    shown: Arc<Shown>,
}

impl Watched {
    /// Connects, however long it takes.
    pub(crate) async fn connect(hub: &Hub, offers: &Offers) -> Self {
        let shown = Arc::new(Shown::default());
        loop {
            let options = ConnectOptions {
                access: hub.access.clone(),
                limits: hub.limits,
                patience: Duration::ZERO,
                ..ConnectOptions::default()
            };
            match KubernetesCluster::connect(options, shown.clone()).await {
                Ok(cluster) => {
                    offers.trouble("its cluster", None);
                    return Self { cluster, shown };
                }
                Err(error) => offers.trouble("its cluster", Some(&error.to_string())),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// What is to be shown from now on.
    pub(crate) fn want(&self, wants: Vec<Want>) {
        self.cluster.want(wants);
    }

    /// The objects of a kind, in order.
    pub(crate) fn objects(&self, kind: &GroupKind) -> Vec<(Key, Arc<Object>)> {
        let state = self.shown.state();
        let its = state.objects.iter().filter(|(key, _)| key.group_kind() == *kind);
        its.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Whether all objects of a kind that are wanted are known.
    ///
    /// # Errors
    /// Why not.
    fn known(&self, kind: &GroupKind) -> Result<(), String> {
        let state = self.shown.state();
        let mut its = state.known.iter().filter(|((source, _), _)| source.kind == *kind).peekable();
        if its.peek().is_none() {
            return Err("it is not looked at yet".into());
        }
        its.try_for_each(|(_, known)| known.clone())
    }

    /// Offers the clusters that were found, and, if all objects of the kind are known, nothing else: then answers their
    /// names. `what`: these objects, for people; `gone`: why a cluster is none any more.
    pub(crate) fn offer(
        &self,
        offers: &Offers,
        kind: &GroupVersionKind,
        what: &str,
        found: Vec<Found>,
        gone: &str,
    ) -> Option<Vec<String>> {
        let mut there = Vec::new();
        for Found { name, reach, trouble } in found {
            offers.show(&name, reach, trouble);
            there.push(name);
        }
        let known = self.known(&kind.group_kind());
        offers.trouble(what, known.as_ref().err().map(String::as_str));
        known.ok()?;
        offers.all(there.iter().map(String::as_str), gone);
        Some(there)
    }

    /// Something has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.shown.changed.notified().await;
        tokio::time::sleep(GATHER).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.cluster.shutdown();
    }
}

/// A want of a kind in one namespace, or in all.
pub(crate) fn want(kind: &GroupVersionKind, namespace: Option<&Name>, fields: &[&str]) -> Want {
    let scope = namespace.map_or(Scope::All, |namespace| Scope::Namespace(namespace.clone()));
    Want { kind: kind.clone(), scope, mask: mask(fields) }
}

/// A want of one object.
pub(crate) fn want_object(kind: &GroupVersionKind, namespace: &Name, name: &str, fields: &[&str]) -> Want {
    let scope = Scope::Object(Some(namespace.clone()), name.into());
    Want { kind: kind.clone(), scope, mask: mask(fields) }
}

fn mask(fields: &[&str]) -> Mask {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    // They are written in this crate, and its tests read them all.
    Mask::parse(&fields).unwrap_or_else(|_| Mask::all())
}

/// Labels that are a cluster's own: what tools keep there is left out.
pub(crate) fn labels(object: &Object) -> BTreeMap<String, String> {
    let value = object.value();
    let labels = value.pointer("/metadata/labels").and_then(serde_json::Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
