//! The Kubernetes clusters that take part: the hub, which is there from the beginning to the end, and those of the
//! fleet, which come and go.
//!
//! | question | module |
//! |---|---|
//! | what does this host act on, and what is to be done before and after | [`acting`] |
//! | which leases does that take | [`grip`] |
//! | who shares the work | [`membership`] |
//! | what is there to know of one cluster | [`member`] |
//! | how do definitions get there | [`installer`] |
//! | what does the operator say of the lease | [`lease`] |
//! | how do clusters become objects | [`shown`] |
//! | which were given up | [`forgotten`] |
//! | what does the operator say of the fleet | [`fleet`] |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use setpoint_cluster::Sink;
use setpoint_core::engine::ClusterFacts;
use setpoint_core::fleet::State;
use setpoint_core::grants::glob;
use setpoint_core::key::{HUB, Name};
use setpoint_core::shards::{Division, Shard, Shards, Ticket, cluster_id};
use setpoint_fleet::{Aware, ClusterRow, Connection, Directory, Engaged, Fleet};
use setpoint_kubernetes::{Access, ConnectError, ConnectOptions, KubernetesCluster, LeaseOptions, Limits};
use setpoint_schema::Crd;
use tokio::sync::Semaphore;

use crate::driver::Driver;
use crate::file_clusters::FileClusters;
use crate::installation::Installation;
use crate::kinds::Kinds;
use crate::lock::lock;
use crate::metrics::ClusterMetrics;
use crate::views::{LeaseRow, ShardsRow};

mod acting;
pub(crate) mod fleet;
mod forgotten;
mod grip;
mod installer;
pub(crate) mod lease;
mod member;
mod membership;
pub(crate) mod rows;
mod shown;

pub use fleet::{ClustersConfig, ProviderConfig};
pub use forgotten::ForgetError;
pub use installer::InstallCrds;
pub use lease::{LeaseConfig, ShardingConfig};

use grip::{AnyOf, Grip, Leases};
use installer::Installer;
use lease::instance;
use member::Member;
use membership::Membership;

/// The name of the lease unless it is told otherwise.
const LEASE: &str = "setpoint";
/// Clusters that are checked at a time.
const CHECKS: usize = 32;
/// A cluster that cannot be known completely is acted on all the same, so long after it has come.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// Connects to the hub. Nothing is watched before somebody wants it.
///
/// # Errors
/// What was tried, and what to do.
pub(crate) async fn connect(
    access: Access,
    namespaces: Vec<Name>,
    limits: Limits,
    status_manager: Name,
    sink: Arc<dyn Sink>,
) -> Result<Arc<KubernetesCluster>, ConnectError> {
    let options = ConnectOptions {
        name: HUB.into(),
        access,
        namespaces,
        limits,
        instance: instance(),
        status_manager,
        ..ConnectOptions::default()
    };
    KubernetesCluster::connect(options, sink).await
}

/// Attempts on the objects of a cluster at a time: as many as half of the requests that its server is sent at a time,
/// since each makes one after the other. What would wait for its turn uses up the time in which it has to be answered: a
/// thousand attempts at a server that is slow have operations that are given up before they are sent, and are tried
/// again. The other half is for reads, events and lists.
fn attempts_at_a_time(limits: &Limits) -> u32 {
    u32::try_from(limits.in_flight / 2).unwrap_or(u32::MAX).max(1)
}

/// What is needed of the host.
pub(crate) struct Parts {
    pub(crate) driver: Arc<Driver>,
    pub(crate) files: Arc<FileClusters>,
    pub(crate) kinds: Arc<Kinds>,
    /// The hub, with the namespaces that are looked at.
    pub(crate) hub: Option<(Arc<KubernetesCluster>, Option<Vec<Name>>)>,
    pub(crate) lease: LeaseConfig,
    /// What has to be known before this host acts.
    pub(crate) installation: Arc<Installation>,
    pub(crate) sharding: ShardingConfig,
    /// What each API server is asked at most.
    pub(crate) limits: Limits,
    /// Whether definitions are brought to the hub …
    pub(crate) install: InstallCrds,
    /// … and to those of which provider.
    pub(crate) install_elsewhere: BTreeMap<Name, InstallCrds>,
    /// Providers without whose clusters the host is not ready.
    pub(crate) required: BTreeSet<Name>,
}

/// The Kubernetes clusters of a running host.
pub(crate) struct Clusters {
    driver: Arc<Driver>,
    files: Arc<FileClusters>,
    kinds: Arc<Kinds>,
    hub: Option<Arc<Member>>,
    /// The leases of the hub; none: this host acts always.
    leases: Option<Arc<Leases>>,
    /// Those that share work with this host.
    membership: Option<Membership>,
    /// Clusters of which ranges of keys are shared.
    divided: Vec<String>,
    shards: Mutex<Shards>,
    grips: Mutex<BTreeMap<Shard, Arc<Grip>>>,
    /// Shards that wait for their cluster to be checked.
    unchecked: Mutex<HashMap<Name, Vec<(Shard, Ticket)>>>,
    checks: Semaphore,
    installation: Arc<Installation>,
    limits: Limits,
    install_elsewhere: BTreeMap<Name, InstallCrds>,
    required: BTreeSet<Name>,
    members: Mutex<Members>,
    fleet: OnceLock<Arc<Fleet>>,
}

/// The clusters that take part, by name.
#[derive(Default)]
struct Members {
    all: BTreeMap<Name, Arc<Member>>,
    /// Definitions of the kinds of plugins, by name.
    definitions: BTreeMap<String, serde_json::Value>,
}

impl Clusters {
    /// Lets the hub take part, if there is one. With a lease this host acts only while it holds it, or its part of the work.
    ///
    /// # Errors
    /// What is said of leases makes no sense.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, String> {
        let Parts { driver, files, kinds, hub, lease, sharding, installation, limits, .. } = parts;
        let Parts { install, install_elsewhere, required, .. } = parts;
        let terms = lease.terms()?;
        sharding.fits(&lease)?;
        let leases = hub.as_ref().filter(|_| lease.is_enabled()).map(|(cluster, _)| {
            let options = LeaseOptions {
                namespace: lease.namespace(),
                name: lease.name.clone().unwrap_or_else(|| LEASE.to_owned()),
                identity: format!("{}_{}", instance(), uuid::Uuid::new_v4()),
                terms,
                ..LeaseOptions::default()
            };
            Arc::new(Leases::start(cluster, options, sharding.enabled))
        });
        let shared = leases.as_ref().filter(|leases| leases.shared);
        let weight = sharding.weight.unwrap_or(1);
        let shards = match shared {
            Some(leases) => Shards::shared(leases.identity(), weight),
            None => Shards::one_for_all(),
        };
        let mut this = Self {
            driver,
            files,
            kinds,
            hub: None,
            membership: shared.map(|leases| Membership::start(leases, weight)),
            divided: if shared.is_some() { sharding.large } else { Vec::new() },
            shards: Mutex::new(shards),
            leases,
            grips: Mutex::default(),
            unchecked: Mutex::default(),
            checks: Semaphore::new(CHECKS),
            installation,
            limits,
            install_elsewhere,
            required,
            members: Mutex::default(),
            fleet: OnceLock::new(),
        };
        if let Some((cluster, namespaces)) = hub {
            let facts = ClusterFacts { namespaces, ..ClusterFacts::of(cluster.identity()) };
            this.hub = Some(this.take_in(cluster, facts, install));
        }
        Ok(Arc::new(this))
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other clusters than the hub. Set once.
    pub(crate) fn set_fleet(&self, fleet: Arc<Fleet>) {
        let _ = self.fleet.set(fleet);
    }

    /// The fleet; none before it is set.
    pub(crate) fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.fleet.get()
    }

    /// A cluster takes part from now on.
    fn take_in(&self, cluster: Arc<KubernetesCluster>, facts: ClusterFacts, install: InstallCrds) -> Arc<Member> {
        let name = setpoint_cluster::Cluster::name(&*cluster).clone();
        let divided = self.divided.iter().any(|pattern| glob(pattern, &name));
        let division = if divided { Division::Ranges } else { Division::Whole };
        let facts = ClusterFacts { at_a_time: Some(attempts_at_a_time(&self.limits)), division, ..facts };
        let id = cluster_id(&facts.identity, facts.namespaces.as_deref().unwrap_or_default());
        self.kinds.engage(&name, cluster.clone());
        self.remember(&name);
        let shards = division.shards(&name);
        let grips = self.leases.as_ref().map(|leases| self.grips_of(leases, &shards, &id));
        // What it shows is asked of its server later than this; where work is shared another host may act in between.
        let came = self.leases.as_ref().filter(|leases| !leases.shared).and_then(|leases| leases.all.term());
        let mut members = self.members();
        match &grips {
            Some(grips) => {
                cluster.set_fence(Some(Arc::new(AnyOf(grips.values().cloned().collect()))));
                self.driver.add_cluster(cluster.clone(), facts, Some(&|shard| grips[shard].permit()));
            }
            None => self.driver.add_cluster(cluster.clone(), facts, None),
        }
        let driver = self.driver.clone();
        let standby = self.leases.is_some().then(|| {
            let name = name.clone();
            Box::new(move || !driver.look(|engine| engine.is_acting(&name))) as Box<dyn Fn() -> bool + Send + Sync>
        });
        let installer = Installer::start(cluster.clone(), install, standby);
        installer.bring(members.definitions.clone());
        let member = Arc::new(Member {
            name: name.clone(),
            cluster,
            driver: self.driver.clone(),
            installer,
            shards,
            id: drawn_for(&id, division),
            came,
            since: Instant::now(),
            offered: AtomicBool::new(false),
        });
        members.all.insert(name, member.clone());
        if self.membership.is_none() {
            self.offer(&member);
        }
        member
    }

    /// What it takes to act on the shards of a cluster. One that has gone and comes back finds what is still held.
    fn grips_of(&self, leases: &Arc<Leases>, shards: &[Shard], id: &str) -> BTreeMap<Shard, Arc<Grip>> {
        let mut all = lock(&self.grips);
        let still = |shard: &Shard| Some((shard.clone(), all.get(shard)?.clone()));
        let still: BTreeMap<Shard, Arc<Grip>> = shards.iter().filter_map(still).collect();
        if still.len() == shards.len() && still.values().all(|grip| grip.is_of(id)) {
            return still;
        }
        let grips = leases.grips(shards, id);
        all.extend(grips.iter().map(|(shard, grip)| (shard.clone(), grip.clone())));
        grips
    }

    /// A shard was let go of. If its cluster has gone, so is what it took.
    fn let_go_if_it_has_gone(&self, shard: &Shard) {
        let members = self.members();
        if !members.all.contains_key(&shard.cluster) {
            lock(&self.grips).remove(shard);
        }
    }

    /// This host could act on a cluster.
    fn offer(&self, member: &Member) {
        if member.offered.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut shards = lock(&self.shards);
        member.shards.iter().for_each(|shard| shards.offer(shard, &member.id));
        drop(shards);
        if let Some(leases) = &self.leases {
            leases.hear.notify_one();
        }
    }

    /// This host could act on clusters that it knows: work is handed over to who is warm.
    fn offer_what_is_ready(&self) {
        let members = self.members();
        for member in members.all.values().filter(|member| !member.offered.load(Ordering::Relaxed)) {
            if member.since.elapsed() >= LONG_ENOUGH || member.readiness().0 {
                self.offer(member);
            }
        }
    }

    /// A plugin brings these kinds.
    pub(crate) fn bring(&self, crds: &[Arc<Crd>]) {
        let definitions = installer::definitions(crds);
        let mut members = self.members();
        members.definitions.extend(definitions.clone());
        for member in members.all.values() {
            member.installer.bring(definitions.clone());
        }
    }

    /// The hub.
    pub(crate) fn hub(&self) -> Option<&Arc<Member>> {
        self.hub.as_ref()
    }

    /// Whether this host waits for another one to end.
    pub(crate) fn is_standby(&self) -> bool {
        let waits = |hub: &Arc<Member>| !self.driver.look(|engine| engine.is_acting(&hub.name));
        match &self.leases {
            Some(leases) if leases.shared => !leases.all.holds(),
            Some(_) => self.hub.as_ref().is_some_and(waits),
            None => false,
        }
    }

    /// Why required clusters do not take part.
    fn missing(&self, fleet: &Fleet, rows: &[ClusterRow]) -> Vec<String> {
        let awaited = self.required.iter().filter(|provider| fleet.is_awaited(provider));
        let mut missing: Vec<String> =
            awaited.map(|provider| format!("clusters.{provider} has not said yet which clusters there are")).collect();
        let troubles = fleet.troubles().into_iter().filter(|(provider, ..)| self.required.contains(provider));
        missing.extend(troubles.map(|(provider, about, why)| format!("clusters.{provider}: {about}: {why}")));
        for row in rows.iter().filter(|row| row.connection.is_none()) {
            let why = row.reason.as_deref().unwrap_or("it is being reached");
            missing.push(format!("the cluster {} is required and not engaged: {why}", row.name));
        }
        missing
    }

    /// Whether the clusters without which there is nothing to do are known well enough to work on, and what is to be
    /// said of them (rule C6). Answers as well whether all of them take part.
    pub(crate) fn readiness(&self) -> (bool, bool, Vec<String>) {
        let (mut ready, mut reasons) = self.hub_readiness();
        let Some(fleet) = self.fleet.get().filter(|_| !self.required.is_empty()) else { return (ready, true, reasons) };
        let mut rows = fleet.list();
        rows.retain(|row| self.required.contains(&row.provider));
        let missing = self.missing(fleet, &rows);
        let there = missing.is_empty();
        ready &= there;
        reasons.extend(missing);
        for row in &rows {
            let member = self.members().all.get(&row.name).cloned();
            let (known, why) = match (member, self.files.of(&row.name)) {
                (Some(member), _) => member.readiness(),
                (None, Some(files)) => (files.problems().is_empty(), files.problems()),
                (None, None) => continue,
            };
            ready &= known;
            reasons.extend(why.iter().map(|why| format!("{}: {why}", row.name)));
        }
        (ready, there, reasons)
    }

    fn hub_readiness(&self) -> (bool, Vec<String>) {
        let Some(hub) = &self.hub else { return (true, Vec::new()) };
        let (ready, mut reasons) = hub.readiness();
        if self.is_standby() {
            let holder = self.leases.as_ref().and_then(|leases| leases.all.holder());
            let holder = holder.unwrap_or_else(|| "nobody yet, as far as is known".to_owned());
            reasons.push(format!("Standby: the lease is held by {holder}"));
        }
        reasons.extend(self.membership.as_ref().and_then(Membership::trouble));
        (ready, reasons)
    }

    /// Numbers of this moment, of each cluster that takes part.
    pub(crate) fn metrics(&self) -> Vec<ClusterMetrics> {
        let members: Vec<Arc<Member>> = self.members().all.values().cloned().collect();
        let of = |member: &Arc<Member>| ClusterMetrics { leases: self.leases_of(member), ..member.metrics() };
        members.iter().map(of).collect()
    }

    /// The leases by which hosts act on a cluster, and whether this one holds them. That of all stands for all clusters.
    fn leases_of(&self, member: &Member) -> Vec<(String, bool)> {
        let Some(leases) = &self.leases else { return Vec::new() };
        if leases.shared {
            let grips = lock(&self.grips);
            return member.shards.iter().filter_map(|shard| Some(grips.get(shard)?.shown())).collect();
        }
        let all = self.lease().filter(|_| *member.name == *HUB);
        all.map(|lease| (lease.name, lease.holds)).into_iter().collect()
    }

    /// Of the shards of a cluster, of how many this host acts, and how many there are; none: work is not shared.
    pub(crate) fn share_of(&self, cluster: &str) -> Option<(usize, usize)> {
        self.membership.as_ref()?;
        let all = self.members().all.get(cluster)?.shards.len();
        let held = lock(&self.shards).all().filter(|(shard, acting)| *acting && *shard.cluster == *cluster).count();
        Some((held, all))
    }

    /// How the work is shared, for people and metrics; none if it is not.
    pub(crate) fn sharing(&self) -> Option<ShardsRow> {
        let (leases, membership) = (self.leases.as_ref()?, self.membership.as_ref()?);
        let total = self.members().all.values().map(|member| member.shards.len()).sum();
        let held = lock(&self.shards).all().filter(|(_, acting)| *acting).map(|(shard, _)| shard.to_string()).collect();
        let mut members: Vec<String> = membership.others().into_iter().map(|other| other.identity).collect();
        members.push(leases.identity().to_owned());
        members.sort();
        Some(ShardsRow { weight: membership.weight, held, total, members })
    }

    /// How many clusters are in which state.
    pub(crate) fn states(&self) -> [(&'static str, usize); 4] {
        let rows = self.fleet.get().map(|fleet| fleet.list()).unwrap_or_default();
        State::ALL.map(|state| (state.word(), rows.iter().filter(|row| row.state == state).count()))
    }

    /// The lease of all, for people and metrics.
    pub(crate) fn lease(&self) -> Option<LeaseRow> {
        let leases = self.leases.as_ref()?;
        let LeaseOptions { namespace, name, identity, .. } = leases.options();
        Some(LeaseRow {
            name: format!("{namespace}/{name}"),
            identity: identity.clone(),
            holder: leases.all.holder(),
            holds: leases.all.holds(),
            transitions: leases.all.transitions(),
        })
    }
}

/// Labels as the engine compares them.
type Labels = Vec<(Box<str>, Box<str>)>;

fn labels(of: &BTreeMap<String, String>) -> Labels {
    of.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// What a cluster is called in the draw for its shards: those who divide it in another way could not act on them.
fn drawn_for(cluster: &str, division: Division) -> String {
    match division {
        Division::Whole => cluster.to_owned(),
        Division::Ranges => format!("{cluster}.ranges"),
    }
}

impl Clusters {
    /// A directory takes part: this host's own, whoever holds which lease.
    fn take_in_directory(&self, name: &Name, directory: &Directory, labels: Labels, required: bool) {
        if self.files.of(name).is_some_and(|cluster| Arc::ptr_eq(cluster.local(), directory.local())) {
            return;
        }
        self.kinds.engage_directory(name);
        self.remember(name);
        let rebuilt = directory.local().rebuilt();
        let facts = ClusterFacts { rebuilt, labels, required, ..ClusterFacts::of(directory.identity()) };
        self.driver.add_cluster(directory.local().clone(), facts, None);
        self.files.engage(directory);
    }
}

impl Aware for Clusters {
    fn engage(&self, engaged: &Engaged) {
        let (labels, required) = (labels(&engaged.labels), self.required.contains(&engaged.provider));
        let cluster = match &engaged.connection {
            Connection::Server(cluster) => cluster,
            Connection::Directory(directory) => {
                return self.take_in_directory(&engaged.name, directory, labels, required);
            }
        };
        let known = self.members().all.get(&engaged.name).cloned();
        if known.is_some_and(|member| Arc::ptr_eq(&member.cluster, cluster)) {
            return;
        }
        let namespaces = Some(engaged.namespaces.clone()).filter(|namespaces| !namespaces.is_empty());
        let facts = ClusterFacts { namespaces, labels, required, ..ClusterFacts::of(&engaged.identity) };
        let install = self.install_elsewhere.get(&engaged.provider).copied().unwrap_or(InstallCrds::Off);
        self.take_in(cluster.clone(), facts, install);
    }

    fn disengage(&self, name: &Name, reason: &str) {
        {
            let mut members = self.members();
            if let Some(member) = members.all.remove(name) {
                member.installer.stop();
            }
            lock(&self.shards).withdraw(name);
        }
        match &self.leases {
            Some(leases) if leases.shared => leases.hear.notify_one(),
            _ => lock(&self.grips).retain(|shard, _| shard.cluster != *name),
        }
        self.files.disengage(name);
        self.driver.remove_cluster(name, reason);
        self.kinds.disengage(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_attempts_are_under_way_than_requests_may_be() {
        let limits = |in_flight| Limits { in_flight, ..Limits::default() };
        assert_eq!(attempts_at_a_time(&Limits::default()), 32);
        assert_eq!([0, 1, 2, 7].map(|in_flight| attempts_at_a_time(&limits(in_flight))), [1, 1, 1, 3]);
    }
}
