//! What is there before those whom it serves: the sink of clusters that are opened before there is an engine, and the
//! file source that stops before they do.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use setpoint_cluster::Sink;
use setpoint_cluster::local::Local;
use setpoint_cluster::source::{FileSource, Scope, SourceOptions};
use setpoint_core::coverage;
use setpoint_core::engine::Told;
use setpoint_core::key::{GroupKind, Key, Source};
use setpoint_core::object::Object;

use crate::driver::EngineSink;
use crate::files::Files;
use crate::host::StartError;
use crate::kinds::Kinds;
use crate::native::Native;

/// The file source, until the host stops.
#[derive(Clone, Default)]
pub(crate) struct SharedSource(Arc<Mutex<Option<FileSource>>>);

impl SharedSource {
    /// Reads and watches a directory.
    pub(crate) fn start(
        &self,
        resources: &Path,
        kinds: &Arc<Kinds>,
        local: &Arc<Local>,
        files: &Arc<Files>,
    ) -> Result<(), StartError> {
        let (lookup, take) = (kinds.clone(), files.clone());
        let options = SourceOptions {
            known: local.read(|model| model.files()),
            identity: Files::recorded_identity(local),
            ..SourceOptions::new(
                resources,
                Arc::new(move |group: &str, kind: &str| {
                    lookup.get(&GroupKind::new(group, kind)).map(|crd| Scope { namespaced: crd.namespaced })
                }),
            )
        };
        let started = options.start(move |event| take.take(event));
        let source = started.map_err(|source| StartError::Resources { path: resources.to_owned(), source })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        Ok(())
    }

    pub(crate) fn with(&self, work: impl FnOnce(&FileSource)) {
        if let Some(source) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            work(source);
        }
    }

    pub(crate) fn take(&self) -> Option<FileSource> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

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
