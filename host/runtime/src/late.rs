//! What is there before those whom it serves: the sink of clusters that are opened before there is an engine.

use std::sync::{Arc, OnceLock};

use setpoint_cluster::Sink;
use setpoint_core::coverage;
use setpoint_core::engine::Told;
use setpoint_core::key::{Key, Source};
use setpoint_core::object::Object;

use crate::driver::EngineSink;
use crate::native::Native;

/// The sink of the embedded cluster, which is opened before there is an engine: its store's id goes
/// into the engine's marks. Nothing is told before [`Local::snapshot`].
#[derive(Default)]
pub(crate) struct LateSink {
    engine: OnceLock<Arc<EngineSink>>,
    native: OnceLock<Arc<Native>>,
}

impl LateSink {
    // Each is set once, right after the engine was made.

    pub(crate) fn set(&self, sink: Arc<EngineSink>) {
        let _ = self.engine.set(sink);
    }

    pub(crate) fn set_native(&self, native: Arc<Native>) {
        let _ = self.native.set(native);
    }
}

impl Sink for LateSink {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        if let Some(sink) = self.engine.get() {
            sink.observed(key, object);
        }
        if let Some(native) = self.native.get() {
            native.observed(key);
        }
    }

    fn told(&self, source: &Source, scope: &coverage::Scope, told: Told) {
        let key = if let Told::Object(key, _) = &told { Some(key.clone()) } else { None };
        if let Some(sink) = self.engine.get() {
            sink.told(source, scope, told);
        }
        if let (Some(native), Some(key)) = (self.native.get(), key) {
            native.observed(&key);
        }
    }

    fn source_known(&self, source: &Source) {
        if let Some(sink) = self.engine.get() {
            sink.source_known(source);
        }
    }

    fn source_unknown(&self, source: &Source, reason: &str) {
        if let Some(sink) = self.engine.get() {
            sink.source_unknown(source, reason);
        }
    }
}
