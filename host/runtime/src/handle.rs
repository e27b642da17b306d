//! What can be asked of a running host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use setpoint_core::effects::PAUSED;
use setpoint_core::engine::{Engine, FIRST_PASS, FirstPass, Held, NotHeld, Phase};
use setpoint_core::key::{GroupKind, Key, LOCAL, Name, Source};
use setpoint_core::op::Answer;
use setpoint_fleet::Fleet;
use setpoint_mcp::gateway::Gateway;
use setpoint_schema::Crd;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinError;

use crate::clock::rfc3339;
use crate::clusters::rows::FleetView;
use crate::clusters::{Clusters, ForgetError};
use crate::driver::{Driver, unix_now};
use crate::file_clusters::{FileCluster, FileClusters};
use crate::installation::Installation;
use crate::kinds::Kinds;
use crate::metrics::MetricsSnapshot;
use crate::native::{self, Native};
use crate::passed::Passed;
use crate::plan;
use crate::plugins::Plugins;
use crate::views::{FileRow, KindRow, Overview, PluginRow, Readiness, StatusSummary, StreamItem};

/// What is said to those whose request the end of the host cuts off.
const STOPPING: &str = "the host is stopping";

pub(crate) struct Inner {
    pub(crate) driver: Arc<Driver>,
    pub(crate) files: Arc<FileClusters>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) passed: Arc<Passed>,
    pub(crate) native: Arc<Native>,
    /// The Kubernetes clusters.
    pub(crate) clusters: Arc<Clusters>,
    /// What hosts have in common.
    pub(crate) installation: Arc<Installation>,
    /// The cluster that is meant where none is named.
    pub(crate) home: Name,
    /// How processes that speak MCP answer clients; none: they do not.
    pub(crate) mcp: Option<Gateway>,
    pub(crate) started: Instant,
}

/// A running host, for those who look and ask. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Arc<Inner>,
    stopping: Arc<AtomicBool>,
    /// Turns of calls that are made for plans.
    pub(crate) plans: Arc<Semaphore>,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), stopping: Arc::default(), plans: Arc::new(Semaphore::new(plan::AT_A_TIME)) }
    }

    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The host in one view.
    pub fn overview(&self) -> Overview {
        let (summary, queue_length, disabled) = self.inner.driver.look(|engine| {
            let disabled: Vec<String> = engine.disabled().map(ToString::to_string).collect();
            (engine.summary(), engine.queue_length(), disabled)
        });
        let mut counts = StatusSummary::default();
        for (phase, count) in summary {
            counts.total += count;
            match phase {
                Phase::Pending => counts.pending = count,
                Phase::Reconciling => counts.reconciling = count,
                Phase::Synced => counts.synced = count,
                Phase::Error => counts.error = count,
                Phase::Failed => counts.failed = count,
            }
        }
        let enabled = self.kinds().into_iter().filter(|kind| kind.plugin.is_some() && !kind.disabled);
        Overview {
            running: !self.stopping.load(Ordering::Acquire),
            mode: if self.inner.clusters.hub().is_some() { "kubernetes" } else { "files" }.into(),
            cluster: self.inner.home.to_string(),
            api_server: self.inner.clusters.hub().map(|hub| hub.server()),
            lease: self.inner.clusters.lease(),
            shards: self.inner.clusters.sharing(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: rfc3339(unix_now().saturating_sub(self.inner.started.elapsed().as_millis() as u64)),
            queue_length,
            enabled_resource_types: enabled.map(|kind| GroupKind::new(&kind.group, &kind.kind).to_string()).collect(),
            disabled_resource_types: disabled,
            status_summary: counts,
            ready: self.readiness(),
        }
    }

    /// Whether the host can do its job here (rule C6).
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        let mut ready = true;
        if self.stopping.load(Ordering::Acquire) {
            ready = false;
            reasons.push(STOPPING.to_owned());
        }
        let problems = self.inner.files.local().problems();
        if !problems.is_empty() {
            ready = false;
            reasons.extend(problems);
        }
        // Before all required clusters take part it is not known what the first pass is of.
        let (clusters_ready, there, why) = self.inner.clusters.readiness();
        let looked = |engine: &mut Engine, now| {
            let first_pass = there.then(|| engine.first_pass(now));
            (engine.unsynced(), first_pass, quarantines(engine))
        };
        let (unsynced, first_pass, quarantined) = self.inner.driver.with(looked);
        // What the hub has to show is asked of its connection, which knows more of it.
        let mut unsynced: Vec<String> =
            unsynced.into_iter().filter(|(source, _)| &*source.cluster == LOCAL).map(|(_, why)| why).collect();
        unsynced.dedup();
        if !unsynced.is_empty() {
            ready = false;
            reasons.extend(unsynced);
        }
        ready &= clusters_ready;
        reasons.extend(why);
        if let Some((first_pass, reason)) = first_pass.and_then(|pass| Some((pass, first_attempts(pass)?))) {
            ready &= matches!(first_pass, FirstPass::Incomplete(_));
            reasons.push(reason);
        }
        // The others are reconciled all the same.
        reasons.extend(quarantined);
        Readiness { ready, reasons }
    }

    /// The plugin that reconciles a kind now.
    pub(crate) fn plugin_of(&self, kind: &GroupKind) -> Option<String> {
        self.place_of(kind).1
    }

    /// The cluster that is meant where an object of a kind is named without one.
    pub(crate) fn cluster_of(&self, kind: &GroupKind) -> Name {
        self.place_of(kind).0
    }

    /// Where a kind is reconciled, and by whom.
    fn place_of(&self, kind: &GroupKind) -> (Name, Option<String>) {
        if native::owns(&kind.group, &kind.kind) {
            return (LOCAL.into(), Some(native::HOST.to_owned()));
        }
        let home = &self.inner.home;
        self.inner.driver.look(|engine| {
            let by = |cluster: &Name| {
                let source = Source { cluster: cluster.clone(), kind: kind.clone() };
                engine.plugin_for(&source).map(|info| info.name.to_string())
            };
            let local = LOCAL.into();
            match (by(home), by(&local)) {
                (None, Some(plugin)) => (local, Some(plugin)),
                (plugin, _) => (home.clone(), plugin),
            }
        })
    }

    /// All kinds that are served.
    pub fn kinds(&self) -> Vec<KindRow> {
        let disabled: Vec<GroupKind> = self.inner.driver.look(|engine| engine.disabled().cloned().collect());
        let row = |crd: Arc<Crd>| {
            let kind = GroupKind::new(&crd.group, &crd.kind);
            let (cluster, plugin) = self.place_of(&kind);
            KindRow { cluster: cluster.to_string(), ..KindRow::of(&crd, plugin, disabled.contains(&kind)) }
        };
        self.inner.kinds.all().into_iter().map(row).collect()
    }

    /// Whether a word of a person means a kind.
    pub fn knows_kind(&self, word: &str) -> bool {
        !self.inner.kinds.named(word).is_empty()
    }

    /// Whether a kind is served in `local`, or is one that a plugin speaks.
    pub(crate) fn knows(&self, kind: &GroupKind) -> bool {
        self.inner.kinds.get(kind).is_some()
            || self.inner.driver.look(|engine| {
                let heard = |cluster: &Name| {
                    engine.cache().has_heard_of(&Source { cluster: cluster.clone(), kind: kind.clone() })
                };
                heard(&self.inner.home)
            })
    }

    /// The plugins directory.
    pub fn plugins(&self) -> Vec<PluginRow> {
        self.inner.plugins.rows()
    }

    /// The clusters that take part, and those that are to.
    pub fn clusters(&self) -> FleetView {
        self.inner.clusters.view()
    }

    /// The fleet itself, for who wants connections of their own to its clusters, or to hear of changes.
    pub fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.inner.clusters.fleet()
    }

    /// Gives a cluster up that will never come back; durable when it returns (rule B13). Answers how many objects may
    /// have had children there.
    ///
    /// # Errors
    /// It takes part, nobody has heard of it, or the store cannot keep it.
    pub async fn forget_cluster(&self, name: &str) -> Result<usize, ForgetError> {
        // Not to be cut off between the two when the person who asks does not wait.
        let (clusters, name) = (self.inner.clusters.clone(), name.to_owned());
        let stopped = ForgetError::Store(STOPPING.to_owned());
        finished(tokio::spawn(async move { clusters.forget(&name).await }).await, stopped)
    }

    /// Documents that are no objects, and what is wrong with files.
    pub fn files(&self) -> Vec<FileRow> {
        self.inner.files.all().iter().flat_map(|cluster| cluster.rows()).collect()
    }

    /// Somebody asks for an attempt now. False if nothing reconciles such an object.
    pub fn trigger(&self, key: &Key) -> bool {
        self.inner.native.trigger(key) || self.inner.driver.with(|engine, now| engine.trigger(now, key))
    }

    /// Enables or disables a kind: kept first, then in force, both when it returns (rule C9).
    ///
    /// # Errors
    /// The kind is not known, or the state could not be written: then all is as before.
    pub async fn set_enabled(&self, kind: &GroupKind, enabled: bool) -> Result<(), String> {
        if self.inner.kinds.get(kind).is_none() {
            return Err(format!("the kind {kind} is not known"));
        }
        // Not to be cut off between the two when the person who asks does not wait.
        let (installation, kind) = (self.inner.installation.clone(), kind.clone());
        finished(tokio::spawn(async move { installation.switch(&kind, enabled).await }).await, STOPPING.to_owned())
    }

    /// Goes back to the component of a plugin that ran before; durable when it returns.
    ///
    /// # Errors
    /// There is no such plugin, it has no previous component, or that one is refused.
    pub async fn rollback(&self, plugin: &str) -> Result<(), String> {
        let (plugins, plugin) = (self.inner.plugins.clone(), plugin.to_owned());
        finished(tokio::spawn(async move { plugins.rollback(&plugin).await }).await, STOPPING.to_owned())
    }

    /// Pauses or resumes one object; durable when it returns.
    ///
    /// # Errors
    /// There is no such object, or it could not be written.
    pub async fn set_paused(&self, key: &Key, paused: bool) -> Result<(), String> {
        let keeper = self.keeper(key, || match paused {
            true => format!("kubectl annotate {} {PAUSED}=true", kubectl_name(key)),
            false => format!("kubectl annotate {} {PAUSED}-", kubectl_name(key)),
        })?;
        said(keeper.local().annotate(key, PAUSED, paused.then_some("true")).await, key)
    }

    /// Deletes an object that no file defines.
    ///
    /// # Errors
    /// There is no such object, a file defines it, or it could not be written.
    pub async fn delete(&self, key: &Key) -> Result<(), String> {
        let keeper = self.keeper(key, || format!("kubectl delete {}", kubectl_name(key)))?;
        said(keeper.local().delete(key).await, key)
    }

    /// The cluster of an object that this host keeps itself.
    ///
    /// # Errors
    /// A Kubernetes cluster has it: this is how it is done there.
    fn keeper(&self, key: &Key, elsewhere: impl FnOnce() -> String) -> Result<Arc<FileCluster>, String> {
        self.inner.files.of(&key.cluster).ok_or_else(|| {
            format!("{key} is not in this host but in a cluster; there it is done with: {}", elsewhere())
        })
    }

    /// The MCP endpoint of the processes; none if it is switched off.
    pub(crate) fn mcp_endpoint(&self) -> Option<axum::Router> {
        self.inner.mcp.as_ref().map(Gateway::router)
    }

    /// Every event that is recorded and every row that changes.
    pub fn subscribe(&self) -> broadcast::Receiver<StreamItem> {
        self.inner.driver.subscribe()
    }

    /// A person says that the files of a cluster that are gone are gone for good (rule D1).
    ///
    /// # Errors
    /// Nothing waits for that, or the directory is not there: what it holds cannot be looked at.
    pub async fn confirm_resources(&self, cluster: &str) -> Result<(), String> {
        let cluster = self.inner.files.of(cluster);
        cluster.ok_or_else(|| "it is no cluster of files: there is nothing to confirm".to_owned())?.confirm()
    }

    /// Deletions that wait for a person, by plugin (rule B3).
    pub fn held(&self) -> Vec<Held> {
        self.inner.driver.look(Engine::held)
    }

    /// Lets the held deletions of a plugin happen; durable when it returns.
    ///
    /// # Errors
    /// There are none, it is not known yet which, or the store cannot keep it: they stay held.
    pub async fn confirm(&self, plugin: &str) -> Result<(), ConfirmError> {
        // Not to be cut off between the two when the person who asks does not wait.
        let (this, plugin) = (self.clone(), plugin.to_owned());
        let stopped = ConfirmError::Store(STOPPING.to_owned());
        finished(tokio::spawn(async move { this.confirm_held(&plugin).await }).await, stopped)
    }

    async fn confirm_held(&self, plugin: &str) -> Result<(), ConfirmError> {
        let driver = &self.inner.driver;
        let (version, passed) = driver.look(|engine| engine.confirmable(plugin))?;
        self.inner.passed.confirm(plugin, passed).await.map_err(ConfirmError::Store)?;
        driver.with(|engine, now| match engine.confirmable(plugin)? {
            (still, _) if still == version => Ok(engine.confirm(now, plugin)?),
            // What another version would delete is not what the person has seen.
            _ => Err(ConfirmError::NotHeld(NotHeld::Nothing)),
        })
    }

    /// Numbers of this moment.
    pub fn metrics(&self) -> MetricsSnapshot {
        let store = self.inner.files.local().local().metrics();
        let of_engine = self.inner.driver.look(|engine| MetricsSnapshot::of(engine, store));
        MetricsSnapshot {
            latencies: self.inner.native.latencies(),
            clusters: self.inner.clusters.metrics(),
            fleet: self.inner.clusters.states(),
            ..of_engine
        }
    }

    /// What is counted.
    pub fn counters(&self) -> &crate::metrics::Metrics {
        &self.inner.driver.metrics
    }
}

/// As kubectl takes it.
fn kubectl_name(key: &Key) -> String {
    let group = if key.group.is_empty() { String::new() } else { format!(".{}", key.group) };
    let namespace = key.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("{}{group}/{}{namespace}", key.kind.to_lowercase(), key.name)
}

/// Why deletions are not confirmed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfirmError {
    /// None are held, or it is not known yet which.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// The store cannot keep it.
    #[error("{0}")]
    Store(String),
}

fn said(answer: Answer, key: &Key) -> Result<(), String> {
    match answer {
        Answer::Refused(refusal) => Err(format!("{key}: {refusal}")),
        Answer::Absent | Answer::Applied { .. } | Answer::Done | Answer::Found(_) | Answer::Listed(_) => Ok(()),
    }
}

/// What is said of first attempts that have not ended (rule C6).
fn first_attempts(first_pass: FirstPass) -> Option<String> {
    let (left, since) = match first_pass {
        FirstPass::Over => return None,
        FirstPass::Running(left) => (left, String::new()),
        FirstPass::Incomplete(left) => (left, format!(" {} min after the start", FIRST_PASS / 60_000)),
    };
    let objects = if left == 1 { "object" } else { "objects" };
    Some(format!("FirstPassIncomplete: the first attempts of {left} {objects} have not ended{since}"))
}

/// Plugins that are not called at present: said, and no reason to be unready (rule C6).
fn quarantines(engine: &Engine) -> Vec<String> {
    let text = |plugin: &str, reason: &str| format!("PluginQuarantined: {plugin} is not called for a while: {reason}");
    engine.quarantined().iter().map(|quarantined| text(&quarantined.plugin, &quarantined.reason)).collect()
}

/// What a task came to that goes on whether somebody waits for it or not. `stopped`: the host has cut
/// it off.
pub(crate) fn finished<T, E>(task: Result<Result<T, E>, JoinError>, stopped: E) -> Result<T, E> {
    match task.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => Err(stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_first_attempts_have_not_ended() {
        assert_eq!(first_attempts(FirstPass::Over), None);
        let said = [FirstPass::Running(1), FirstPass::Incomplete(2)].map(first_attempts);
        let expected = [
            "FirstPassIncomplete: the first attempts of 1 object have not ended",
            "FirstPassIncomplete: the first attempts of 2 objects have not ended 5 min after the start",
        ];
        assert_eq!(said, expected.map(|text| Some(text.to_owned())));
    }
}
