//! Which version of each plugin has looked at all of its objects: what a start with another one is
//! measured against (rule B3). Deletions that are held stay held over a restart, and what a person
//! confirmed stays confirmed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use setpoint_cluster::local::{Durable, Local};
use setpoint_core::engine::PluginVersion;
use setpoint_core::key::Name;

/// Bookkeeping: the versions by plugin.
const PASSED: &str = "plugins-passed";

/// The record of them.
pub(crate) struct Passed {
    local: Arc<Local>,
    known: Mutex<BTreeMap<String, PluginVersion>>,
}

impl Passed {
    /// As recorded before the last stop.
    pub(crate) fn open(local: Arc<Local>) -> Arc<Self> {
        let known = match local.bookkeeping_get(PASSED).map(|bytes| serde_json::from_slice(&bytes)) {
            None => BTreeMap::new(),
            Some(Ok(known)) => known,
            Some(Err(error)) => {
                tracing::warn!(%error, "which versions of plugins ran before cannot be read: none is taken for an upgrade");
                BTreeMap::new()
            }
        };
        Arc::new(Self { local, known: Mutex::new(known) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PluginVersion>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the engine, at a start.
    pub(crate) fn versions(&self) -> Vec<(Name, PluginVersion)> {
        self.lock().iter().map(|(name, version)| (name.as_str().into(), version.clone())).collect()
    }

    /// First passes have ended. Lost by a kill, it costs that they are made again.
    pub(crate) fn note(&self, passed: Vec<(Name, PluginVersion)>) {
        let mut known = self.lock();
        let before = known.clone();
        known.extend(passed.into_iter().map(|(name, version)| (name.to_string(), version)));
        if *known != before {
            drop(self.record(&known));
        }
    }

    /// A person lets what a version would delete go; durable when it returns.
    ///
    /// # Errors
    /// The store cannot keep it: nothing is recorded.
    pub(crate) async fn confirm(&self, plugin: &str, version: PluginVersion) -> Result<(), String> {
        let (durable, before) = {
            let mut known = self.lock();
            let before = known.insert(plugin.to_owned(), version);
            (self.record(&known), before)
        };
        durable.await.map_err(|error| {
            let mut known = self.lock();
            match before {
                Some(before) => known.insert(plugin.to_owned(), before),
                None => known.remove(plugin),
            };
            error.to_string()
        })
    }

    fn record(&self, known: &BTreeMap<String, PluginVersion>) -> Durable {
        // Texts and numbers: it cannot fail.
        let text = serde_json::to_vec(known).unwrap_or_default();
        self.local.bookkeeping_put(PASSED, Some(&text))
    }
}
