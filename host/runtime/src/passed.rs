//! Which version of each plugin has looked at all of its objects, and which kinds it had: what a start with
//! another one is measured against (rule B3). Deletions that are held stay held over a restart, and what a
//! person confirmed stays confirmed.

use std::sync::Arc;

use setpoint_cluster::local::Local;
use setpoint_core::engine;
use setpoint_core::key::Name;

use crate::kept::Kept;

/// The record of them.
pub(crate) struct Passed(Kept<engine::Passed>);

impl Passed {
    /// As recorded before the last stop.
    pub(crate) fn open(local: Arc<Local>) -> Arc<Self> {
        Arc::new(Self(Kept::open(local, "plugins-passed", "no plugin is taken for an upgrade")))
    }

    /// For the engine, at a start.
    pub(crate) fn all(&self) -> Vec<(Name, engine::Passed)> {
        self.0.all().into_iter().map(|(name, passed)| (name.into(), passed)).collect()
    }

    /// First passes have begun or ended. Lost by a kill, it costs that they are made again.
    pub(crate) fn note(&self, passed: Vec<(Name, engine::Passed)>) {
        self.0.update(|known| known.extend(passed.into_iter().map(|(name, passed)| (name.to_string(), passed))));
    }

    /// A person lets what a plugin would delete go; durable when it returns.
    ///
    /// # Errors
    /// The store cannot keep it: nothing is recorded.
    pub(crate) async fn confirm(&self, plugin: &str, passed: engine::Passed) -> Result<(), String> {
        self.0.set(plugin, passed).await
    }
}

#[cfg(test)]
mod tests {
    use setpoint_cluster::local::LocalOptions;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_an_older_host_has_written_down_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let local = Local::open(LocalOptions::new(dir.path()), Arc::new(())).expect("a state");
        let old = br#"{"app":{"digest":"sha256:a","config":1,"grants":18446744073709551615}}"#;
        local.bookkeeping_put("plugins-passed", Some(old)).await.expect("it is kept");
        let all = Passed::open(local.clone()).all();
        assert_eq!(
            all.iter().map(|(name, passed)| (&**name, &*passed.version.digest)).collect::<Vec<_>>(),
            [("app", "sha256:a")]
        );
        tokio::task::spawn_blocking(move || local.close()).await.expect("closed");
    }
}
