//! When custom resources come, change and go (rules D6, D7): their definitions are watched, as far as that is
//! allowed, without their content. Where it is not, a kind that is missing is looked for from time to time.

use std::sync::{Arc, Weak};

use setpoint_cluster::Sink;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Told;
use setpoint_core::key::{GroupVersionKind, Key, Source};
use setpoint_core::mask::Mask;
use setpoint_core::object::Object;

use super::wanted::Wanted;

/// Hears of definitions.
pub(crate) struct Definitions(Weak<Wanted>);

impl Definitions {
    pub(crate) fn new(wanted: &Arc<Wanted>) -> Self {
        Self(Arc::downgrade(wanted))
    }

    pub(crate) fn kind() -> GroupVersionKind {
        GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    }

    /// Nothing but that they are there, and at which version.
    pub(crate) fn mask() -> Mask {
        Mask::parse(&[".metadata.name"]).unwrap_or_default()
    }
}

impl Sink for Definitions {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        let Some((plural, group)) = key.name.split_once('.') else { return };
        if let Some(wanted) = self.0.upgrade() {
            wanted.definition(group, plural, object.as_ref().map(|object| object.resource_version()));
        }
    }

    fn source_known(&self, _: &Source) {}

    fn source_unknown(&self, _: &Source, _: &str) {}

    fn told(&self, _: &Source, _: &Scope, told: Told) {
        match told {
            Told::Object(key, object) => self.observed(&key, object),
            Told::Unknown { reason } => {
                tracing::info!("definitions are not watched, kinds that are missing are looked for instead: {reason}");
            }
            _ => {}
        }
    }
}
