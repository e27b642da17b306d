//! The leases by which this host acts on shards (rule D8).
//!
//! | lease | who holds it |
//! |---|---|
//! | of all | the one host that does all of the work; or, under one name, all hosts that share it |
//! | of a cluster | the host that acts on it; or, under one name, all hosts that act on ranges of it |
//! | of a range | the host that acts on it |
//! | of a member | the member itself, as long as it lives |
//!
//! Who acts on a part holds what it is a part of together with the others who act on parts. So hosts that are told to
//! divide work in different ways, as those of two versions of a configuration are, never act on the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use setpoint_cluster::Permit;
use setpoint_core::Time;
use setpoint_core::lease::Record;
use setpoint_core::shards::Shard;
use setpoint_kubernetes::{Fence, KubernetesCluster, Leadership, LeaseOptions, Listed};
use tokio::sync::Notify;

use crate::lock::lock;

/// What leases of one installation are found by; its value is the name of the lease of all.
const LABEL: &str = "setpoint.dev/lease";
/// What people know a shard by.
const SHARD: &str = "setpoint.dev/shard";
/// Who holds the lease of all where work is shared.
const TOGETHER: &str = "shards";
/// Who holds the lease of a cluster of which ranges are acted on.
const BY_RANGES: &str = "ranges";
/// A lease is given back within so long, or left to expire.
const RELEASE: Duration = Duration::from_secs(3);

/// The leases of this host, in the hub.
pub(super) struct Leases {
    hub: Arc<KubernetesCluster>,
    /// Of the lease of all, with what this host is called.
    options: LeaseOptions,
    /// The lease of all.
    pub(super) all: Arc<Leadership>,
    pub(super) shared: bool,
    /// Told whenever a lease is got or lost.
    pub(super) hear: Arc<Notify>,
}

impl Leases {
    /// Contends for the lease of all; where work is shared, together with those who share it.
    pub(super) fn start(hub: &Arc<KubernetesCluster>, options: LeaseOptions, shared: bool) -> Self {
        let hear: Arc<Notify> = Arc::default();
        let of_all = if shared { held_as(&options, TOGETHER) } else { options.clone() };
        let all = Leadership::start(hub, of_all, None, hear.clone());
        Self { hub: hub.clone(), options, all, shared, hear }
    }

    /// What this host is called in leases.
    pub(super) fn identity(&self) -> &str {
        &self.options.identity
    }

    pub(super) fn options(&self) -> &LeaseOptions {
        &self.options
    }

    /// How the names of the leases of members begin.
    pub(super) fn members(&self) -> String {
        format!("{}-member-", self.options.name)
    }

    /// Contends for a lease beside that of all.
    pub(super) fn contend(
        &self,
        name: String,
        identity: &str,
        annotations: BTreeMap<String, String>,
        seen: Option<(Record, Time)>,
    ) -> Arc<Leadership> {
        let labels = [(LABEL.to_owned(), self.options.name.clone())].into();
        let options = LeaseOptions { name, labels, annotations, ..held_as(&self.options, identity) };
        Leadership::start(&self.hub, options, seen, self.hear.clone())
    }

    /// All leases beside that of all, and when they were seen.
    pub(super) async fn list(&self) -> Result<(Time, Vec<Listed>), String> {
        self.hub.leases(&self.options.namespace, (LABEL, &self.options.name)).await
    }

    /// Deletes one that nobody will touch any more.
    pub(super) async fn delete(&self, lease: &Listed) -> Result<(), String> {
        self.hub.delete_lease(&self.options.namespace, &lease.name, &lease.record.version).await
    }

    /// Gives the lease of all back, where one host does all of the work.
    pub(super) async fn release_all(&self) {
        if !self.all.release(RELEASE).await {
            tracing::warn!("the lease could not be given back in time; another host takes it when it has expired");
        }
    }

    /// What this host needs to act on these shards of a cluster.
    pub(super) fn grips(self: &Arc<Self>, shards: &[Shard], cluster: &str) -> BTreeMap<Shard, Arc<Grip>> {
        let name = format!("{}-shard-{cluster}", self.options.name);
        let divided = shards.iter().any(|shard| shard.range.is_some());
        let whole = (self.shared && divided).then(|| {
            let shown = shards.first().map(|shard| shard.cluster.to_string()).unwrap_or_default();
            self.contend(name.clone(), BY_RANGES, [(SHARD.to_owned(), shown)].into(), None)
        });
        let grip = |shard: &Shard| {
            let name = shard.range.map_or_else(|| name.clone(), |range| format!("{name}-{range}"));
            let (leases, whole, own) = (self.clone(), whole.clone(), Mutex::default());
            (shard.clone(), Arc::new(Grip { leases, whole, name, own }))
        };
        shards.iter().map(grip).collect()
    }
}

fn held_as(options: &LeaseOptions, identity: &str) -> LeaseOptions {
    LeaseOptions { identity: identity.to_owned(), ..options.clone() }
}

/// What this host needs to hold to act on a shard.
pub(super) struct Grip {
    leases: Arc<Leases>,
    /// The lease of its cluster, if it is a part of one.
    whole: Option<Arc<Leadership>>,
    /// The name of its own lease.
    name: String,
    /// Its own lease, while this host contends for it. Where work is not shared the lease of all is all there is.
    own: Mutex<Option<Arc<Leadership>>>,
}

impl Grip {
    fn own(&self) -> Option<Arc<Leadership>> {
        lock(&self.own).clone()
    }

    /// All of the leases; none while this host does not contend for them.
    fn parts(&self) -> Option<impl Iterator<Item = Arc<Leadership>>> {
        let own = if self.leases.shared { Some(self.own()?) } else { None };
        Some([Some(self.leases.all.clone()), self.whole.clone(), own].into_iter().flatten())
    }

    /// Whether this host may act now.
    pub(super) fn holds(&self) -> bool {
        self.parts().is_some_and(|mut parts| parts.all(|lease| lease.holds()))
    }

    /// In which term.
    pub(super) fn term(&self) -> Option<u64> {
        self.parts()?.map(|lease| lease.term()).sum()
    }

    /// Asked immediately before something is done.
    pub(super) fn permit(self: &Arc<Self>) -> Permit {
        let grip = self.clone();
        Permit::new(move || grip.holds())
    }

    /// Name and, if it holds it, `true`: for metrics.
    pub(super) fn shown(&self) -> (String, bool) {
        let LeaseOptions { namespace, .. } = &self.leases.options;
        (format!("{namespace}/{}", self.name), self.holds())
    }

    /// The name of its own lease.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is of a cluster of this id.
    pub(super) fn is_of(&self, cluster: &str) -> bool {
        self.name.contains(cluster)
    }

    /// Contends for its own lease. `seen`: what was seen of it before.
    pub(super) fn contend(&self, shard: &Shard, seen: Option<(Record, Time)>) {
        if self.leases.shared {
            let annotations = [(SHARD.to_owned(), shard.to_string())].into();
            let identity = self.leases.identity();
            *lock(&self.own) = Some(self.leases.contend(self.name.clone(), identity, annotations, seen));
        }
    }

    /// Gives its own lease back. Nothing may be under way any more.
    pub(super) async fn release(&self) {
        let Some(own) = self.own() else { return };
        if !own.release(RELEASE).await {
            tracing::warn!("the lease {} could not be given back in time; it is left to expire", self.name);
        }
        *lock(&self.own) = None;
    }
}

/// Where nothing says for whom it is done: any shard of the cluster.
pub(super) struct AnyOf(pub(super) Vec<Arc<Grip>>);

impl Fence for AnyOf {
    fn may_write(&self) -> bool {
        self.0.iter().any(|grip| grip.holds())
    }

    fn write_timeout(&self) -> Duration {
        let timeout = self.0.first().map(|grip| grip.leases.options.terms.write_timeout());
        timeout.map_or(Duration::MAX, Duration::from_millis)
    }
}
