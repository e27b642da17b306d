//! What is called for an object: a component, or a type of the program that the host is part of.

use std::sync::Arc;

use setpoint_core::contract::{Description, Request};
use setpoint_plugin::{Call, Digest, Limits, Logs, Plugin, Reads};

use crate::embed::Native;

/// A reconciler that can be called.
#[derive(Clone)]
pub struct Code(Kind);

#[derive(Clone)]
enum Kind {
    Component(Arc<Plugin>),
    Native(Arc<Native>),
}

impl From<Arc<Plugin>> for Code {
    fn from(plugin: Arc<Plugin>) -> Self {
        Self(Kind::Component(plugin))
    }
}

impl From<Arc<Native>> for Code {
    fn from(native: Arc<Native>) -> Self {
        Self(Kind::Native(native))
    }
}

impl Code {
    /// What it said of itself.
    pub fn description(&self) -> &Arc<Description> {
        match &self.0 {
            Kind::Component(plugin) => plugin.description(),
            Kind::Native(native) => native.description(),
        }
    }

    /// Which version it is.
    pub fn digest(&self) -> &Digest {
        match &self.0 {
            Kind::Component(plugin) => plugin.digest(),
            Kind::Native(native) => native.digest(),
        }
    }

    /// Whether it has bytes that can be kept and loaded again.
    pub(crate) fn is_component(&self) -> bool {
        matches!(self.0, Kind::Component(_))
    }

    /// Calls it for one object. What a reconciler of the program logs is its own affair.
    pub(crate) async fn reconcile(
        &self,
        request: &Request,
        reads: Arc<dyn Reads>,
        limits: &Limits,
        logs: Arc<dyn Logs>,
    ) -> Call {
        match &self.0 {
            Kind::Component(plugin) => plugin.reconcile(request, reads, limits, logs).await,
            Kind::Native(native) => native.reconcile(request, reads, limits).await,
        }
    }
}
