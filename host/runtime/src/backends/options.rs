//! Where the plugin, the cluster and the state are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{BackendRegistryError, PLUGIN};
use crate::embed::Shutdown;

/// How long a backend that clients may be using stays after its source has left.
const DRAIN: Duration = Duration::from_secs(30);

/// What [`super::backend_registry`] is made of, beside its names.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    component: Source,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
    state: Option<PathBuf>,
    pub(super) drain: Duration,
    pub(super) shutdown: Option<Shutdown>,
}

#[derive(Clone, Debug)]
enum Source {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl BackendOptions {
    /// With the plugin `mcp-backend` from memory, such as by `include_bytes!`.
    pub fn from_bytes(component: impl Into<Arc<[u8]>>) -> Self {
        Self::new(Source::Bytes(component.into()))
    }

    /// With the plugin that is `mcp-backend.wasm` in a directory of plugins.
    pub fn from_directory(plugins: impl AsRef<Path>) -> Self {
        Self::new(Source::File(plugins.as_ref().join(format!("{PLUGIN}.wasm"))))
    }

    fn new(component: Source) -> Self {
        Self { component, kubeconfig: None, context: None, state: None, drain: DRAIN, shutdown: None }
    }

    /// The cluster that a kubeconfig names. Without it and a context: the one that this program runs in.
    #[must_use]
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(file.into());
        self
    }

    /// Of the kubeconfig not the current context but this one.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// A directory in which what is known is kept over restarts: backends are there, as they were known last, as soon as
    /// the registry is. Two programs never share one. Default: a directory for the life of the registry.
    #[must_use]
    pub fn state(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state = Some(dir.into());
        self
    }

    /// How long a backend that clients may be using stays after its source has left, in whole seconds. Default 30 s; 0:
    /// it goes at once.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Everything stops when this is asked to, as it does when the registry is dropped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.shutdown = Some(shutdown.clone());
        self
    }

    /// The bytes of the plugin.
    pub(super) fn component(&self) -> Result<Arc<[u8]>, BackendRegistryError> {
        match &self.component {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => {
                let read = fs::read(path).map(Arc::from);
                read.map_err(|source| BackendRegistryError::Component { path: path.clone(), source })
            }
        }
    }

    /// The directory of one registry. What is kept of one group says nothing of another.
    pub(super) fn open_state(&self, namespace: &str, group: &str) -> Result<StateDir, BackendRegistryError> {
        let (dir, passing) = match &self.state {
            Some(dir) => (dir.join(namespace).join(group), false),
            None => (std::env::temp_dir().join(format!("setpoint-{}", uuid::Uuid::new_v4())), true),
        };
        let made = fs::DirBuilder::new();
        match private(made).create(&dir) {
            Ok(()) => Ok(StateDir { dir, passing }),
            Err(source) => Err(BackendRegistryError::State { path: dir, source }),
        }
    }
}

/// Nobody else reads it.
fn private(mut builder: fs::DirBuilder) -> fs::DirBuilder {
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// A directory that goes with the registry, if nobody asked for it to stay.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
    passing: bool,
}

impl StateDir {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.passing
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(%error, "the directory {} could not be removed", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_nobody_asked_for_goes_with_the_registry() {
        let options = BackendOptions::from_bytes(*b"");
        let state = options.open_state("n", "g").expect("it is made");
        let dir = state.dir().to_owned();
        assert!(dir.is_dir());
        drop(state);
        assert!(!dir.exists());

        let kept = tempfile::tempdir().expect("a directory");
        let options = options.state(kept.path());
        let dir = options.open_state("n", "g").expect("it is made").dir().to_owned();
        assert!(dir.is_dir() && dir.starts_with(kept.path()));
    }
}
