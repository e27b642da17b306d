//! The Kubernetes clusters that take part: the hub, which is there from the beginning to the end, and those of the
//! fleet, which come and go.
//!
//! | question | module |
//! |---|---|
//! | whose turn is it to act, and what is to be done before this host does | [`acting`] |
//! | what is there to know of one cluster | [`member`] |
//! | how do definitions get there | [`installer`] |
//! | what does the operator say of the lease | [`lease`] |
//! | how do clusters become objects | [`shown`] |
//! | which were given up | [`forgotten`] |
//! | what does the operator say of the fleet | [`fleet`] |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use setpoint_cluster::Sink;
use setpoint_cluster::local::Local;
use setpoint_core::engine::ClusterFacts;
use setpoint_core::fleet::State;
use setpoint_core::key::{HUB, Name};
use setpoint_fleet::{Aware, Engaged, Fleet};
use setpoint_kubernetes::{
    Access, ConnectError, ConnectOptions, Fence, KubernetesCluster, Leadership, LeaseOptions, Limits,
};
use setpoint_schema::Crd;

use crate::driver::{Driver, MayAct};
use crate::installation::Installation;
use crate::kinds::Kinds;
use crate::metrics::ClusterMetrics;
use crate::views::LeaseRow;

mod acting;
pub(crate) mod fleet;
mod forgotten;
mod installer;
pub(crate) mod lease;
mod member;
pub(crate) mod rows;
mod shown;

pub use fleet::{ClustersConfig, ProviderConfig};
pub use forgotten::ForgetError;
pub use installer::InstallCrds;
pub use lease::LeaseConfig;

use installer::Installer;
use lease::instance;
use member::Member;

/// The name of the lease unless it is told otherwise.
const LEASE: &str = "setpoint";

/// Connects to the hub. Nothing is watched before somebody wants it.
///
/// # Errors
/// What was tried, and what to do.
pub(crate) async fn connect(
    access: Access,
    namespaces: Vec<Name>,
    limits: Limits,
    sink: Arc<dyn Sink>,
) -> Result<Arc<KubernetesCluster>, ConnectError> {
    let options = ConnectOptions {
        name: HUB.into(),
        access,
        namespaces,
        limits,
        instance: instance(),
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
    pub(crate) local: Arc<Local>,
    pub(crate) kinds: Arc<Kinds>,
    /// The hub, with the namespaces that are looked at.
    pub(crate) hub: Option<(Arc<KubernetesCluster>, Option<Vec<Name>>)>,
    pub(crate) lease: LeaseConfig,
    /// What has to be known before this host acts.
    pub(crate) installation: Arc<Installation>,
    /// What each API server is asked at most.
    pub(crate) limits: Limits,
    /// Whether definitions are brought to the hub …
    pub(crate) install: InstallCrds,
    /// … and to those of which provider.
    pub(crate) install_elsewhere: BTreeMap<Name, InstallCrds>,
}

/// The Kubernetes clusters of a running host.
pub(crate) struct Clusters {
    driver: Arc<Driver>,
    local: Arc<Local>,
    kinds: Arc<Kinds>,
    hub: Option<Arc<Member>>,
    /// The lease of the hub, for all clusters; none: this host acts always.
    lease: Option<(Arc<Leadership>, LeaseOptions)>,
    installation: Arc<Installation>,
    limits: Limits,
    install_elsewhere: BTreeMap<Name, InstallCrds>,
    members: Mutex<Members>,
    fleet: OnceLock<Arc<Fleet>>,
}

/// The clusters that take part, by name.
#[derive(Default)]
struct Members {
    all: BTreeMap<Name, Arc<Member>>,
    /// Whether this host holds the lease, if there is one.
    leading: bool,
    /// Definitions of the kinds of plugins, by name.
    definitions: BTreeMap<String, serde_json::Value>,
}

impl Clusters {
    /// Lets the hub take part, if there is one. With a lease this host acts only while it holds it.
    ///
    /// # Errors
    /// The terms of the lease make no sense.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, String> {
        let Parts { driver, local, kinds, hub, lease, installation, limits, install, install_elsewhere } = parts;
        let terms = lease.terms()?;
        let leadership = hub.as_ref().filter(|_| lease.is_enabled()).map(|(cluster, _)| {
            let options = LeaseOptions {
                namespace: lease.namespace(),
                name: lease.name.clone().unwrap_or_else(|| LEASE.to_owned()),
                identity: format!("{}_{}", instance(), uuid::Uuid::new_v4()),
                terms,
            };
            (Leadership::start(cluster, options.clone()), options)
        });
        let mut this = Self {
            driver,
            local,
            kinds,
            hub: None,
            lease: leadership,
            installation,
            limits,
            install_elsewhere,
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
        let facts = ClusterFacts { at_a_time: Some(attempts_at_a_time(&self.limits)), ..facts };
        self.kinds.engage(&name, cluster.clone());
        self.remember(&name);
        let may_act: Option<MayAct> = self.lease.as_ref().map(|(leadership, _)| {
            cluster.set_fence(Some(leadership.clone()));
            let fence = leadership.clone();
            Box::new(move || fence.may_write()) as MayAct
        });
        // Nobody takes over, or stops acting, between the two.
        let mut members = self.members();
        self.driver.add_cluster(cluster.clone(), facts, may_act);
        if members.leading {
            // What it shows was asked of its server after this host got the lease.
            self.driver.set_acting(&name, true);
        }
        let driver = self.driver.clone();
        let standby = self.lease.is_some().then(|| {
            let name = name.clone();
            Box::new(move || !driver.look(|engine| engine.is_acting(&name))) as Box<dyn Fn() -> bool + Send + Sync>
        });
        let installer = Installer::start(cluster.clone(), install, standby);
        installer.bring(members.definitions.clone());
        let member = Arc::new(Member { name: name.clone(), cluster, driver: self.driver.clone(), installer });
        members.all.insert(name, member.clone());
        member
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
        self.lease.is_some() && self.hub.as_ref().is_some_and(waits)
    }

    /// Whether the clusters without which there is nothing to do are known well enough to work on, and what is to be
    /// said of them (rule C6).
    pub(crate) fn readiness(&self) -> (bool, Vec<String>) {
        let Some(hub) = &self.hub else { return (true, Vec::new()) };
        let (ready, mut reasons) = hub.readiness();
        if self.is_standby() {
            let holder = self.lease.as_ref().and_then(|(leadership, _)| leadership.holder());
            let holder = holder.unwrap_or_else(|| "nobody yet, as far as is known".to_owned());
            reasons.push(format!("Standby: the lease is held by {holder}"));
        }
        (ready, reasons)
    }

    /// Numbers of this moment, of each cluster that takes part.
    pub(crate) fn metrics(&self) -> Vec<ClusterMetrics> {
        let members: Vec<Arc<Member>> = self.members().all.values().cloned().collect();
        let lease = self.lease().map(|lease| (lease.name, lease.holds));
        let of = |member: &Arc<Member>| {
            let lease = lease.clone().filter(|_| *member.name == *HUB);
            ClusterMetrics { lease, ..member.metrics() }
        };
        members.iter().map(of).collect()
    }

    /// How many clusters are in which state.
    pub(crate) fn states(&self) -> [(&'static str, usize); 4] {
        let rows = self.fleet.get().map(|fleet| fleet.list()).unwrap_or_default();
        State::ALL.map(|state| (state.word(), rows.iter().filter(|row| row.state == state).count()))
    }

    /// The lease, for people and metrics.
    pub(crate) fn lease(&self) -> Option<LeaseRow> {
        let (leadership, options) = self.lease.as_ref()?;
        Some(LeaseRow {
            name: format!("{}/{}", options.namespace, options.name),
            identity: options.identity.clone(),
            holder: leadership.holder(),
            holds: leadership.holds(),
            transitions: leadership.transitions(),
        })
    }
}

impl Aware for Clusters {
    fn engage(&self, engaged: &Engaged) {
        let known = self.members().all.get(&engaged.name).cloned();
        if known.is_some_and(|member| Arc::ptr_eq(&member.cluster, &engaged.cluster)) {
            return;
        }
        let namespaces = Some(engaged.namespaces.clone()).filter(|namespaces| !namespaces.is_empty());
        let facts = ClusterFacts { namespaces, ..ClusterFacts::of(&engaged.identity) };
        let install = self.install_elsewhere.get(&engaged.provider).copied().unwrap_or(InstallCrds::Off);
        self.take_in(engaged.cluster.clone(), facts, install);
    }

    fn disengage(&self, name: &Name, reason: &str) {
        let member = self.members().all.remove(name);
        if let Some(member) = member {
            member.installer.stop();
        }
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
