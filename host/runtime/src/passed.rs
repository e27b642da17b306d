//! Which version of each plugin has looked at all of its objects: what a start with another one is
//! measured against (rule B3). Deletions that are held stay held over a restart, and what a person
//! confirmed stays confirmed.

use std::sync::Arc;

use setpoint_cluster::local::Local;
use setpoint_core::engine::PluginVersion;
use setpoint_core::key::Name;

use crate::kept::Kept;

/// The record of them.
pub(crate) struct Passed(Kept<PluginVersion>);

impl Passed {
    /// As recorded before the last stop.
    pub(crate) fn open(local: Arc<Local>) -> Arc<Self> {
        Arc::new(Self(Kept::open(local, "plugins-passed", "no plugin is taken for an upgrade")))
    }

    /// For the engine, at a start.
    pub(crate) fn versions(&self) -> Vec<(Name, PluginVersion)> {
        self.0.all().into_iter().map(|(name, version)| (name.into(), version)).collect()
    }

    /// First passes have begun or ended. Lost by a kill, it costs that they are made again.
    pub(crate) fn note(&self, versions: Vec<(Name, PluginVersion)>) {
        self.0.update(|known| known.extend(versions.into_iter().map(|(name, version)| (name.to_string(), version))));
    }

    /// A person lets what a version would delete go; durable when it returns.
    ///
    /// # Errors
    /// The store cannot keep it: nothing is recorded.
    pub(crate) async fn confirm(&self, plugin: &str, version: PluginVersion) -> Result<(), String> {
        self.0.set(plugin, version).await
    }
}
