//! Brings definitions of the plugins' kinds to a cluster, as plugins come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use setpoint_kubernetes::{InstallError, Installed, KubernetesCluster};
use setpoint_schema::Crd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Between tries.
const AGAIN: Duration = Duration::from_secs(1);

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

/// Definitions by their names.
pub(super) type Definitions = BTreeMap<String, Value>;

/// The definitions of kinds.
pub(super) fn definitions(crds: &[Arc<Crd>]) -> Definitions {
    let named = |crd: &Arc<Crd>| {
        let definition = crd.manifest();
        let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        (name, definition)
    };
    crds.iter().map(named).collect()
}

/// Brings definitions to one cluster, if that was asked for.
pub(super) struct Installer(Option<(Arc<Pending>, AbortHandle)>);

#[derive(Default)]
struct Pending {
    definitions: Mutex<Definitions>,
    brought: Notify,
}

impl Pending {
    fn locked(&self) -> MutexGuard<'_, Definitions> {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Installer {
    /// Begins. `standby`: whether another host acts at present, which does it then.
    pub(super) fn start(
        cluster: Arc<KubernetesCluster>,
        install: InstallCrds,
        standby: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    ) -> Self {
        if install == InstallCrds::Off {
            return Self(None);
        }
        let pending = Arc::new(Pending::default());
        let task = tokio::spawn(bring_all(cluster, install == InstallCrds::Force, standby, pending.clone()));
        Self(Some((pending, task.abort_handle())))
    }

    /// These are to be there.
    pub(super) fn bring(&self, definitions: Definitions) {
        if let Some((pending, _)) = &self.0 {
            pending.locked().extend(definitions);
            pending.brought.notify_one();
        }
    }

    /// Brings nothing any more.
    pub(super) fn stop(&self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}

async fn bring_all(
    cluster: Arc<KubernetesCluster>,
    force: bool,
    standby: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    pending: Arc<Pending>,
) {
    loop {
        let brought = pending.brought.notified();
        let waiting: Vec<(String, Value)> =
            pending.locked().iter().map(|(name, definition)| (name.clone(), definition.clone())).collect();
        if waiting.is_empty() {
            brought.await;
            continue;
        }
        if standby.as_ref().is_some_and(|standby| standby()) {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        for (name, definition) in waiting {
            let installed = cluster.install(&definition, force).await;
            let at = setpoint_cluster::Cluster::name(&*cluster);
            match &installed {
                Ok(Installed::Created) => tracing::info!(cluster = %at, "the definition {name} was made"),
                Ok(Installed::Changed) => tracing::info!(cluster = %at, "the definition {name} was renewed"),
                Ok(Installed::Unchanged) => {}
                Err(error) => tracing::warn!(cluster = %at, "{error}"),
            }
            if matches!(installed, Err(InstallError::Failed(_))) {
                tokio::time::sleep(AGAIN).await;
            } else {
                let mut definitions = pending.locked();
                if definitions.get(&name) == Some(&definition) {
                    definitions.remove(&name);
                }
            }
        }
    }
}
