//! What a cluster tells, until it does not take part any more.

use std::sync::{Arc, PoisonError, RwLock};

use setpoint_cluster::Sink;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Told;
use setpoint_core::key::{Key, Source};
use setpoint_core::object::Object;

/// Passes on what is told while it is open. Once it is closed nothing comes through any more, not even what was being
/// told at that moment: another connection of the same name may tell by then.
pub(crate) struct Gate {
    open: RwLock<bool>,
    to: Arc<dyn Sink>,
}

impl Gate {
    pub(crate) fn new(to: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self { open: RwLock::new(true), to })
    }

    /// Returns when what is being told is through.
    pub(crate) fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn while_open(&self, tell: impl FnOnce(&dyn Sink)) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if *open {
            tell(&*self.to);
        }
    }
}

impl Sink for Gate {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        self.while_open(|to| to.observed(key, object));
    }

    fn source_known(&self, source: &Source) {
        self.while_open(|to| to.source_known(source));
    }

    fn source_unknown(&self, source: &Source, reason: &str) {
        self.while_open(|to| to.source_unknown(source, reason));
    }

    fn told(&self, source: &Source, scope: &Scope, told: Told) {
        self.while_open(|to| to.told(source, scope, told));
    }
}
