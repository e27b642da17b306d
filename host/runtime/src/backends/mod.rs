//! The MCP servers of one ToolHive group, as something that clients can be sent to, in one call.
//!
//! ```no_run
//! use setpoint_runtime::backends::{BackendOptions, State, backend_registry};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let options = BackendOptions::from_directory("plugins");
//! let registry = backend_registry("toolhive", "engineering", options).await?;
//! registry.readiness().ready_within(std::time::Duration::from_secs(30)).await?;
//! let mut changes = registry.backends().changes();
//! while let Some(snapshot) = changes.next().await {
//!     for item in snapshot.list().iter().filter(|item| item.value.state == State::Open) {
//!         println!("{} {:?}", item.value.id, item.value.url);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Behind it is a host with the plugin `mcp-backend`, which reads ToolHive's objects in one namespace and writes none
//! of them. What a backend's states mean, and how each field is resolved, is in the book, "Backends of ToolHive".
//!
//! | question | module |
//! |---|---|
//! | what is known of a backend | `backend` |
//! | whether the registry can be relied upon | `readiness` |
//! | where the plugin, the cluster and the state are | `options` |

mod backend;
mod options;
mod readiness;

use std::path::PathBuf;

use serde_json::json;
use setpoint_core::key::{HUB, LOCAL};

pub use backend::{Auth, Backend, CaBundle, Header, Health, SecretKeyRef, SourceKind, State, Transport};
pub use options::BackendOptions;
pub use readiness::{NotReady, ReadinessHandle};

use crate::embed::EmbeddedHost;
use crate::handle::Handle;
use crate::host::{Host, StartError};
use crate::registry::{RegistryError, RegistryView};

/// The plugin.
const PLUGIN: &str = "mcp-backend";
/// The group of its kinds.
const GROUP: &str = "vmcp.setpoint.dev";
/// What it may read of the namespace, and nothing else.
const READS: [&str; 7] = [
    "toolhive.stacklok.dev/MCPServer",
    "toolhive.stacklok.dev/MCPRemoteProxy",
    "toolhive.stacklok.dev/MCPServerEntry",
    "toolhive.stacklok.dev/MCPGroup",
    "toolhive.stacklok.dev/MCPExternalAuthConfig",
    "core/Secret",
    "core/ConfigMap",
];

/// Why there is no registry.
#[derive(Debug, thiserror::Error)]
pub enum BackendRegistryError {
    /// A name is empty, or nothing can have it.
    #[error(
        "the {what} {given:?} is no name: lower-case letters, digits and -, beginning and ending with one of the former"
    )]
    Name {
        /// `namespace` or `group`.
        what: &'static str,
        /// What was given.
        given: String,
    },
    /// The plugin cannot be read.
    #[error("the component {}: {source}", path.display())]
    Component {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The component is another plugin.
    #[error("the component is {0}, and {PLUGIN} is expected")]
    OtherComponent(String),
    /// The state cannot be written.
    #[error("the state {}: {source}", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The host behind it does not start: the cluster cannot be reached, the plugin is refused, …
    #[error(transparent)]
    Start(#[from] StartError),
    /// What the host keeps cannot be looked at.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A registry of backends that runs until this is dropped.
#[derive(Debug)]
pub struct BackendRegistry {
    backends: RegistryView<Backend>,
    readiness: ReadinessHandle,
    host: EmbeddedHost,
}

/// Keeps the MCP servers of a ToolHive group resolved: those in this namespace of the cluster whose `spec.groupRef.name`
/// is `group`.
///
/// It returns when the cluster is connected and the plugin runs. Whether the registry is filled, and its watches live, is
/// said by [`BackendRegistry::readiness`]. Backends stay as they were while something cannot be known; one whose
/// credentials are not there is [`State::Closed`] at once; one that has left is [`State::Draining`] for a while.
///
/// # Errors
/// Everything that can be known at the start: a name that is none, a component that is not there or not the plugin, a
/// cluster that cannot be reached, a state that cannot be written. Definitions of ToolHive that are not installed are
/// waited for, and named by the readiness.
pub async fn backend_registry(
    namespace: &str,
    group: &str,
    options: BackendOptions,
) -> Result<BackendRegistry, BackendRegistryError> {
    for (what, given, dots) in [("namespace", namespace, false), ("group", group, true)] {
        if !is_name(given, dots) {
            return Err(BackendRegistryError::Name { what, given: given.to_owned() });
        }
    }
    let bytes = options.component()?;
    let state = options.open_state(namespace, group)?;
    // The registry is an object of `local`, and a file is how a host is told of those.
    let object = json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "BackendRegistry",
        "metadata": {"name": group, "namespace": namespace},
        "spec": {"group": group, "cluster": HUB, "drainSeconds": options.drain.as_secs()}});
    let files = state.dir().join("resources");
    let file = files.join("registry.json");
    std::fs::create_dir_all(&files)
        .and_then(|()| std::fs::write(&file, object.to_string()))
        .map_err(|source| BackendRegistryError::State { path: file, source })?;

    let mut builder = Host::builder().files(&files).state(state.dir().join("state")).namespace(namespace);
    builder = match (&options.kubeconfig, &options.context) {
        (None, None) => builder.in_cluster(),
        (kubeconfig, context) => {
            let builder = kubeconfig.iter().fold(builder, |builder, file| builder.kubeconfig(file));
            context.iter().fold(builder, |builder, context| builder.context(context))
        }
    };
    let reads = READS.iter().map(|kind| format!("read:{kind}@{HUB}/{namespace}"));
    builder = reads.fold(builder, |builder, grant| builder.grant(PLUGIN, &grant));
    if let Some(shutdown) = &options.shutdown {
        builder = builder.shutdown(shutdown);
    }
    let host = builder.plugin(PLUGIN, bytes).keeping(state).start().await?;
    if let Some(other) = host.handle().plugins().into_iter().find(|row| row.name != PLUGIN) {
        host.stop().await;
        return Err(BackendRegistryError::OtherComponent(other.name));
    }
    let backends = host.handle().registry(LOCAL, GROUP, "Backend", Some(namespace))?;
    let readiness = ReadinessHandle::new(host.handle().clone(), backends.clone(), namespace, group)?;
    Ok(BackendRegistry { backends, readiness, host })
}

impl BackendRegistry {
    /// The backends, live: those that no client can use as well, each with its state and reason.
    pub fn backends(&self) -> &RegistryView<Backend> {
        &self.backends
    }

    /// Whether the registry is filled and the watches live. It may be cloned, such as for an endpoint.
    pub fn readiness(&self) -> &ReadinessHandle {
        &self.readiness
    }

    /// What else can be asked of the host behind it.
    pub fn handle(&self) -> &Handle {
        self.host.handle()
    }

    /// Stops everything, and returns when it has. Dropping it does the same in the background.
    pub async fn stop(self) {
        self.host.stop().await;
    }
}

/// Whether an object can have this name; `dots`: of several labels.
fn is_name(name: &str, dots: bool) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        label.len() <= 63
            && label.bytes().all(|byte| word(byte) || byte == b'-')
            && label.bytes().next().is_some_and(word)
            && label.bytes().next_back().is_some_and(word)
    };
    if dots { name.len() <= 253 && name.split('.').all(label) } else { label(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_is_told_before_anything_is_started() {
        let call = |namespace: &'static str, group: &'static str, options: BackendOptions| async move {
            backend_registry(namespace, group, options).await.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let options = || BackendOptions::from_bytes(*b"none");
        for (namespace, group, what) in
            [("", "g", "namespace"), ("n", "", "group"), ("n/a", "g", "namespace"), ("n", "../g", "group")]
        {
            let error = call(namespace, group, options()).await;
            assert!(error.starts_with(&format!("the {what} ")), "{error}");
        }
        let error = call("n", "g", BackendOptions::from_directory("/nowhere")).await;
        assert!(error.starts_with("the component /nowhere/mcp-backend.wasm: "), "{error}");
    }
}
