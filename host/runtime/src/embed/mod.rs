//! Setpoint inside your own program: a host that is built, not configured.
//!
//! ```no_run
//! use setpoint_runtime::Host;
//! use setpoint_runtime::embed::Shutdown;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::new();
//! let host = Host::builder()
//!     .files("resources")
//!     .state("state")
//!     .plugins("plugins")
//!     .grant("config-bundle", "described@local")
//!     .shutdown(&shutdown)
//!     .start()
//!     .await?;
//! println!("{:?}", host.handle().readiness());
//! shutdown.request();
//! host.stopped().await;
//! # Ok(()) }
//! ```
//!
//! A host that is built looks at nothing that was not named: no directory of the working directory, no configuration
//! of a home directory, no pod around it, no address. What is not there is an error of [`HostBuilder::start`].
//!
//! A reconciler may be a component, or a Rust type beside them: see [`Reconciler`]. Both are called by the same
//! engine, with the same requests, tracked reads, outcomes, grants and limits.
//!
//! | question | module |
//! |---|---|
//! | what is a host made of | `builder` |
//! | what is a reconciler in Rust | `reconciler`, and what it says of itself `describe` |
//! | how is it called, and what if it panics or hangs | `call` |
//! | how is a host told to stop | `shutdown` |

mod builder;
mod call;
mod describe;
mod reconciler;
mod shutdown;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use builder::{EmbeddedHost, HostBuilder};
pub(crate) use call::Native;
pub use describe::Describe;
pub use reconciler::{Reconciler, TrackedReads};
pub use setpoint_core::contract::{
    Capability, Cause, Child, Condition, ConditionStatus, Event, EventType, Failure, ListQuery, Outcome, ReadError,
    Readiness, Reason, Request, Tuning, Update,
};
pub use setpoint_core::key::{GroupKind, Key};
pub use setpoint_fleet::{BoxFuture, Offers, Provider, Reach, Way};
pub use setpoint_kubernetes::Access;
pub use shutdown::Shutdown;

/// A reconciler that is handed over, beside the files of a plugins directory.
#[derive(Clone)]
pub(crate) enum Given {
    /// The bytes of a component.
    Component(Arc<[u8]>),
    /// A type of the program.
    Native(Arc<Native>),
}

/// What a host has of the program that it is part of.
#[derive(Clone, Default)]
pub struct Embedded {
    /// By the name that is shown in the place of a file. None is the name of a file.
    pub(crate) given: BTreeMap<String, Given>,
    /// Providers of clusters.
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    /// Providers without whose clusters the host is not ready.
    pub(crate) required: BTreeSet<String>,
    /// Nothing is looked at that was not named.
    pub(crate) only_named: bool,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.given.keys().collect::<Vec<_>>();
        let providers = self.providers.iter().map(|provider| provider.name()).collect::<Vec<_>>();
        let mut shown = f.debug_struct("Embedded");
        shown.field("given", &given).field("providers", &providers).field("only_named", &self.only_named).finish()
    }
}
