//! From what clusters see to the engine.

use std::sync::{Arc, Weak};

use setpoint_cluster::Sink;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Told;
use setpoint_core::key::{Key, Source};
use setpoint_core::object::Object;

use super::Driver;

/// Hands what a cluster sees to the engine. It refers to the driver weakly: clusters outlive it only
/// while the host stops.
pub struct EngineSink(Weak<Driver>);

impl EngineSink {
    /// A sink of this driver.
    pub fn new(driver: &Arc<Driver>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(driver)))
    }
}

impl Sink for EngineSink {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        if let Some(driver) = self.0.upgrade() {
            driver.with(|engine, now| engine.observed(now, key, object));
        }
    }

    fn source_known(&self, source: &Source) {
        if let Some(driver) = self.0.upgrade() {
            driver.with(|engine, now| engine.source_synced(now, source));
            driver.synced.notify_waiters();
        }
    }

    fn source_unknown(&self, source: &Source, reason: &str) {
        if let Some(driver) = self.0.upgrade() {
            driver.with(|engine, now| engine.source_unknown(now, source, reason));
            driver.synced.notify_waiters();
        }
    }

    fn told(&self, source: &Source, scope: &Scope, told: Told) {
        let Some(driver) = self.0.upgrade() else { return };
        let known = matches!(told, Told::ListEnds { .. } | Told::Known | Told::Unknown { .. } | Told::Ended);
        driver.with(|engine, now| engine.told(now, source, scope, told));
        if known {
            driver.synced.notify_waiters();
        }
    }
}
