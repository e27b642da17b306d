//! The main Kubernetes cluster: how it is connected, whose turn it is to act on it, and what has to be done before
//! this host does (rules A11, B14, D8).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use serde_json::Value;
use setpoint_cluster::local::Local;
use setpoint_core::effects::OWNER_KEY;
use setpoint_core::engine::Told;
use setpoint_core::key::{HUB, Key, LOCAL, Name};
use setpoint_core::lease::Terms;
use setpoint_core::op::{Answer, Op};
use setpoint_kubernetes::health::Check;
use setpoint_kubernetes::{
    Access, ConnectError, ConnectOptions, Fence, InstallError, Installed, KubernetesCluster, Leadership, LeaseChange,
    LeaseOptions, Limits, WatchHealth,
};
use setpoint_schema::Crd;
use tokio::sync::Notify;

use crate::driver::{Driver, OP_TIMEOUT};
use crate::metrics::ClusterMetrics;
use crate::views::LeaseRow;

/// Where a pod finds its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace of what this host keeps in a cluster, unless it runs in a pod.
const NAMESPACE: &str = "setpoint-system";
/// The name of the lease unless it is told otherwise.
const LEASE: &str = "setpoint";
/// Live reads at a time after a take-over.
const READS: usize = 16;
/// Between tries of one of them.
const READ_AGAIN: Duration = Duration::from_millis(300);
/// Between tries to bring a definition to the cluster.
const INSTALL_AGAIN: Duration = Duration::from_secs(1);
/// A lease is given back within so long, or left to expire.
const RELEASE: Duration = Duration::from_secs(3);

/// How the lease of the hub is held, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Whether one of several hosts acts at a time. Default: in a pod.
    pub enabled: Option<bool>,
    /// Namespace of the Lease. Default: the pod's, else `setpoint-system`.
    pub namespace: Option<String>,
    /// Its name. Default: `setpoint`.
    pub name: Option<String>,
    /// How long it lasts, in milliseconds. Default: 15 s.
    pub duration: Option<u64>,
    /// How long its holder acts after its last renewal. Default: 10 s.
    pub renew_deadline: Option<u64>,
    /// How often it is renewed or looked at. Default: 2 s.
    pub retry: Option<u64>,
}

impl LeaseConfig {
    /// Whether one of several hosts acts at a time.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_else(in_pod)
    }

    /// The namespace of the Lease, and of all else that this host keeps in a cluster.
    pub fn namespace(&self) -> String {
        self.namespace.clone().or_else(pod_namespace).unwrap_or_else(|| NAMESPACE.to_owned())
    }

    /// The terms that it says.
    ///
    /// # Errors
    /// They make no sense together.
    pub fn terms(&self) -> Result<Terms, String> {
        let usual = Terms::default();
        Terms::new(
            self.duration.unwrap_or(usual.duration()),
            self.renew_deadline.unwrap_or(usual.renew_deadline()),
            self.retry.unwrap_or(usual.retry()),
        )
        .map_err(|error| error.to_string())
    }
}

/// Whether definitions of the plugins' kinds are brought to the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InstallCrds {
    /// Not at all.
    Off,
    /// Where nothing that is valid now would be invalid then.
    Safe,
    /// Whatever is there.
    Force,
}

impl InstallCrds {
    /// The words for it, in flags and configuration.
    pub const WORDS: [(&'static str, Self); 3] = [("off", Self::Off), ("safe", Self::Safe), ("force", Self::Force)];
}

/// The namespace of the pod that this host runs in.
pub(crate) fn pod_namespace() -> Option<String> {
    let given = std::env::var("POD_NAMESPACE").ok();
    let text = given.or_else(|| std::fs::read_to_string(POD_NAMESPACE).ok())?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether this is a pod.
pub(crate) fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
}

/// What this host is called among others: the pod's name, or the machine's.
fn instance() -> String {
    let said = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).ok();
    let name = said.or_else(|| std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok());
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    name.unwrap_or("setpoint").to_owned()
}

/// Connects to the hub. Nothing is watched before somebody wants it.
///
/// # Errors
/// What was tried, and what to do.
pub(crate) async fn connect(
    access: Access,
    namespaces: Vec<Name>,
    limits: Limits,
    sink: Arc<dyn setpoint_cluster::Sink>,
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

/// Attempts that perform effects at a time where they go to an API server: as many as half of the requests that it is sent
/// at a time, since each makes one after the other. What would wait for its turn uses up the time in which it has to be
/// answered: a thousand attempts at a server that is slow have operations that are given up before they are sent, and
/// are tried again. The other half is for reads, events and lists.
pub(crate) fn effects_at_a_time(limits: &Limits) -> u32 {
    u32::try_from(limits.in_flight / 2).unwrap_or(u32::MAX).max(1)
}

/// The hub of a running host.
pub(crate) struct Hub {
    name: Name,
    cluster: Arc<KubernetesCluster>,
    driver: Arc<Driver>,
    local: Arc<Local>,
    /// The lease; none: this host acts always.
    lease: Option<(Arc<Leadership>, LeaseOptions)>,
    install: InstallCrds,
    /// Definitions that are to be brought to the cluster, by name.
    definitions: Mutex<BTreeMap<String, Value>>,
    brought: Notify,
}

impl Hub {
    /// Lets the hub take part. With a lease this host acts only while it holds it.
    ///
    /// # Errors
    /// The terms of the lease make no sense.
    pub(crate) fn engage(
        cluster: Arc<KubernetesCluster>,
        driver: Arc<Driver>,
        local: Arc<Local>,
        lease: &LeaseConfig,
        install: InstallCrds,
    ) -> Result<Arc<Self>, String> {
        let name: Name = HUB.into();
        let terms = lease.terms()?;
        driver.add_cluster(cluster.clone());
        let lease = lease.is_enabled().then(|| {
            let options = LeaseOptions {
                namespace: lease.namespace(),
                name: lease.name.clone().unwrap_or_else(|| LEASE.to_owned()),
                identity: format!("{}_{}", instance(), uuid::Uuid::new_v4()),
                terms,
            };
            let leadership = Leadership::start(&cluster, options.clone());
            cluster.set_fence(Some(leadership.clone()));
            let fence = leadership.clone();
            driver.fence(&name, Box::new(move || fence.may_write()));
            (leadership, options)
        });
        Ok(Arc::new(Self {
            name,
            cluster,
            driver,
            local,
            lease,
            install,
            definitions: Mutex::default(),
            brought: Notify::new(),
        }))
    }

    /// Stops acting when the lease is lost and begins when it is got, until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some((leadership, _)) = &self.lease else { return };
        let mut changes = leadership.changes();
        loop {
            let change = *changes.borrow_and_update();
            // A change that was missed in between ends what runs as well.
            self.driver.set_acting(&self.name, false);
            match change {
                LeaseChange::Lost => self.drop_local_children().await,
                LeaseChange::Acquired => {
                    tokio::select! {
                        () = self.take_over() => {}
                        changed = changes.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                    }
                    tracing::info!(cluster = %self.name, "this host acts from now on");
                    self.driver.set_acting(&self.name, true);
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A plugin brings these kinds.
    pub(crate) fn bring(&self, crds: &[Arc<Crd>]) {
        if self.install == InstallCrds::Off {
            return;
        }
        let mut definitions = self.definitions();
        for crd in crds {
            let definition = crd.manifest();
            let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            definitions.insert(name, definition);
        }
        self.brought.notify_one();
    }

    fn definitions(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings definitions to the cluster as plugins come, until the task is dropped.
    pub(crate) async fn install(self: Arc<Self>) {
        loop {
            let brought = self.brought.notified();
            let waiting: Vec<(String, Value)> =
                self.definitions().iter().map(|(name, definition)| (name.clone(), definition.clone())).collect();
            if waiting.is_empty() {
                brought.await;
                continue;
            }
            if self.is_standby() {
                tokio::time::sleep(INSTALL_AGAIN).await;
                continue;
            }
            for (name, definition) in waiting {
                let installed = self.cluster.install(&definition, self.install == InstallCrds::Force).await;
                match &installed {
                    Ok(Installed::Created) => tracing::info!("the definition {name} was made"),
                    Ok(Installed::Changed) => tracing::info!("the definition {name} was renewed"),
                    Ok(Installed::Unchanged) => {}
                    Err(error) => tracing::warn!("{error}"),
                }
                if matches!(installed, Err(InstallError::Failed(_))) {
                    tokio::time::sleep(INSTALL_AGAIN).await;
                } else {
                    let mut definitions = self.definitions();
                    if definitions.get(&name) == Some(&definition) {
                        definitions.remove(&name);
                    }
                }
            }
        }
    }

    /// What is known of the cluster is checked against the server, before the first attempt begins (rule A11).
    async fn take_over(&self) {
        let asked = self.driver.clock.now();
        for Check { source, scope, result } in self.cluster.check().await {
            match result {
                Ok((version, listed)) => {
                    let differ = self
                        .driver
                        .with(|engine, now| engine.checked(now, &source, &scope, (asked, &version), &listed));
                    iter(differ).for_each_concurrent(READS, |key| self.read_live(key)).await;
                }
                Err(reason) => {
                    // Nothing is certain of it before it was listed anew.
                    let reason = format!("{source} could not be listed after this host got its lease: {reason}");
                    self.driver.with(|engine, now| engine.told(now, &source, &scope, Told::Unknown { reason }));
                    self.cluster.list_anew(&source.kind, &scope);
                }
            }
        }
    }

    async fn read_live(&self, key: Key) {
        loop {
            let answer = self.driver.perform(Op::Get(key.clone()), tokio::time::Instant::now() + OP_TIMEOUT).await;
            let object = match answer {
                Answer::Found(object) => Some(object),
                Answer::Absent => None,
                _ => {
                    tokio::time::sleep(READ_AGAIN).await;
                    continue;
                }
            };
            return self.driver.with(|engine, now| engine.read_back(now, &key, object));
        }
    }

    /// What this host runs for owners in the cluster belongs to whoever acts there (rule B14).
    async fn drop_local_children(&self) {
        let is_remote = |object: &setpoint_core::object::Object| {
            let owner = object.mark(OWNER_KEY).and_then(Key::parse);
            owner.is_some_and(|owner| &*owner.cluster != LOCAL)
        };
        let children = self.local.all().into_iter().filter(|(_, object)| is_remote(object));
        for (key, _) in children.collect::<Vec<_>>() {
            if let Answer::Refused(refusal) = self.local.delete(&key).await {
                tracing::warn!(%key, %refusal, "it could not be dropped when this host stopped acting");
            }
        }
    }

    /// Whether this host waits for another one to end.
    pub(crate) fn is_standby(&self) -> bool {
        self.lease.is_some() && !self.driver.look(|engine| engine.is_acting(&self.name))
    }

    /// Whether the cluster is known well enough to work on, and what is to be said of it (rule C6). A kind that is
    /// not served yet is waited for, and holds up nobody else.
    pub(crate) fn readiness(&self) -> (bool, Vec<String>) {
        if !self.driver.has_wanted() {
            return (false, vec!["the cluster is not looked at yet".to_owned()]);
        }
        let health = self.cluster.health();
        let ready = health.watches.iter().all(|watch| watch.missing || (watch.known && !watch.stalled));
        let mut reasons = health.reasons();
        if self.is_standby() {
            let holder = self.lease.as_ref().and_then(|(leadership, _)| leadership.holder());
            let holder = holder.unwrap_or_else(|| "nobody yet, as far as is known".to_owned());
            reasons.push(format!("Standby: the lease is held by {holder}"));
        }
        (ready, reasons)
    }

    /// Address of the server.
    pub(crate) fn server(&self) -> String {
        self.cluster.server()
    }

    /// Numbers of this moment.
    pub(crate) fn metrics(&self) -> ClusterMetrics {
        let health = self.cluster.health();
        let count = |of: &dyn Fn(&WatchHealth) -> bool| health.watches.iter().filter(|watch| of(watch)).count();
        let server = health.server.trim_end_matches('/');
        ClusterMetrics {
            name: self.name.to_string(),
            host: server.split_once("://").map_or(server, |(_, rest)| rest).to_owned(),
            watches: [
                ("known", count(&|watch| watch.known && !watch.stalled)),
                ("unknown", count(&|watch| !watch.known)),
                ("stalled", count(&|watch| watch.known && watch.stalled)),
            ],
            relists: health.watches.iter().map(|watch| watch.relists).sum(),
            lease: self.lease().map(|lease| (lease.name, lease.holds)),
            answers: health.answers,
        }
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

    /// Stops acting, gives the lease back, and lets go of the cluster. Nothing may be under way any more.
    pub(crate) async fn close(&self) {
        if let Some((leadership, _)) = &self.lease {
            self.driver.set_acting(&self.name, false);
            if !leadership.release(RELEASE).await {
                tracing::warn!("the lease could not be given back in time; another host takes it when it has expired");
            }
        }
        self.cluster.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_effects_are_under_way_than_requests_may_be() {
        let limits = |in_flight| Limits { in_flight, ..Limits::default() };
        assert_eq!(effects_at_a_time(&Limits::default()), 32);
        assert_eq!([0, 1, 2, 7].map(|in_flight| effects_at_a_time(&limits(in_flight))), [1, 1, 1, 3]);
    }
}
