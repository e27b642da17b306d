//! The trait that a plugin implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Context, Describe, Error, Outcome};

/// Reconciles one kind.
///
/// Never instantiated: both functions are free of state, as every call may run in a fresh instance
/// (rule A13).
pub trait Reconciler: Sized + 'static {
    /// `spec` of the object. An absent spec is read as `{}`. One that does not fit is a permanent
    /// failure: it waits for a change of the object.
    type Spec: DeserializeOwned;

    /// `status` of the object, without `conditions` and `observedGeneration`, which the host writes.
    type Status: Serialize + DeserializeOwned;

    /// The operator's configuration of this plugin, or [`NoConfig`]. Its schema becomes part of the
    /// description, so that mistakes are found when the configuration is loaded.
    type Config: DeserializeOwned + JsonSchema + 'static;

    /// What this reconciler is and needs. Has to be the same at each call.
    fn describe() -> Describe<Self>;

    /// Looks at one object and says what should be.
    ///
    /// # Errors
    /// `?` on any standard error means "try again with backoff"; see [`Error`] for the others.
    fn reconcile(cx: &Context<Self>) -> Result<Outcome<Self::Status>, Error>;
}

/// The configuration of a plugin that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NoConfig {}
