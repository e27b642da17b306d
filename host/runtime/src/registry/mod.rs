//! What the objects of a kind amount to, live, for whoever holds a [`Handle`]: read-only, typed, and numbered by
//! content.
//!
//! ```no_run
//! # use setpoint_runtime::{Handle, RegistryError};
//! #[derive(serde::Deserialize)]
//! struct Backend {
//!     status: Status,
//! }
//! #[derive(serde::Deserialize)]
//! struct Status {
//!     url: Option<String>,
//! }
//!
//! # async fn example(handle: Handle) -> Result<(), RegistryError> {
//! let backends = handle.registry::<Backend>("local", "vmcp.setpoint.dev", "Backend", Some("tools"))?;
//! println!("{} at version {}", backends.count(), backends.version());
//! let mut changes = backends.changes();
//! while let Some(snapshot) = changes.next().await {
//!     for item in snapshot.list() {
//!         println!("{} {:?}", item.key.name, item.value.status.url);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! | question | module |
//! |---|---|
//! | what is shown, and what is a change of it | `setpoint_core::registry` |
//! | what does a reader hold | `view`, and of one moment `snapshot` |
//! | who is told that something moved | `waiting` |

mod snapshot;
mod view;
mod waiting;

use serde::de::DeserializeOwned;
use setpoint_core::key::{Name, Source};

pub use snapshot::{Item, RegistryState, Snapshot, Unreadable};
pub use view::{Changes, RegistryView};
pub(crate) use waiting::Waiting;

use crate::handle::Handle;
use crate::objects::is_secret;

/// Why there is no registry of a kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The host has no such cluster.
    #[error("there is no cluster {name:?}; there are {}", known.join(", "))]
    ClusterNotFound {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The values of Secrets are shown to nobody.
    #[error("Secrets are not shown as a registry: their values are shown to nobody")]
    Secret,
}

impl Handle {
    /// What the objects of a kind in a cluster amount to, of all namespaces or of one. The core group is the empty
    /// string. A kind that is not known yet is an empty registry that is not [`RegistryState::Live`].
    ///
    /// In `local` everything can be seen. In a Kubernetes cluster it is what the host watches there: the kinds that
    /// its plugins reconcile, read or write, with the fields and in the namespaces that they do. Nothing more is
    /// watched for a view.
    ///
    /// # Errors
    /// There is no such cluster, or the kind is Secret.
    pub fn registry<T: DeserializeOwned>(
        &self,
        cluster: &str,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<RegistryView<T>, RegistryError> {
        let source = Source::new(cluster, group, kind);
        if is_secret(&source.kind) {
            return Err(RegistryError::Secret);
        }
        let driver = &self.inner.driver;
        let known = driver.cluster_names();
        if !known.contains(&source.cluster) {
            let known = known.iter().map(ToString::to_string).collect();
            return Err(RegistryError::ClusterNotFound { name: cluster.to_owned(), known });
        }
        Ok(RegistryView::open(driver, source, namespace.map(Name::from)))
    }
}
