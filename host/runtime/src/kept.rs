//! What is kept of each plugin in the store, so that it survives a restart: one row of bookkeeping that
//! holds a value per plugin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use setpoint_cluster::local::{Durable, Local};

/// A value per plugin, by its name.
pub(crate) struct Kept<T> {
    local: Arc<Local>,
    row: &'static str,
    known: Mutex<BTreeMap<String, T>>,
}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Kept<T> {
    /// As recorded before the last stop; `without` says what is lost if that cannot be read.
    pub(crate) fn open(local: Arc<Local>, row: &'static str, without: &str) -> Self {
        let known = match local.bookkeeping_get(row).map(|bytes| serde_json::from_slice(&bytes)) {
            None => BTreeMap::new(),
            Some(Ok(known)) => known,
            Some(Err(error)) => {
                tracing::warn!(%error, "the record {row} cannot be read: {without}");
                BTreeMap::new()
            }
        };
        Self { local, row, known: Mutex::new(known) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a plugin.
    pub(crate) fn of(&self, plugin: &str) -> Option<T> {
        self.lock().get(plugin).cloned()
    }

    /// What is known of all of them.
    pub(crate) fn all(&self) -> BTreeMap<String, T> {
        self.lock().clone()
    }

    /// Changes it, best effort: failures of the store show in every later write.
    pub(crate) fn update(&self, change: impl FnOnce(&mut BTreeMap<String, T>)) {
        let mut known = self.lock();
        let before = known.clone();
        change(&mut known);
        if *known != before {
            drop(self.record(&known));
        }
    }

    /// What holds of a plugin from now on; durable when it returns.
    ///
    /// # Errors
    /// The store cannot keep it: what was recorded stays.
    pub(crate) async fn set(&self, plugin: &str, value: T) -> Result<(), String> {
        let (durable, before) = {
            let mut known = self.lock();
            let before = known.insert(plugin.to_owned(), value);
            (self.record(&known), before)
        };
        durable.await.map_err(|error| {
            let mut known = self.lock();
            match before {
                Some(before) => known.insert(plugin.to_owned(), before),
                None => known.remove(plugin),
            };
            error.to_string()
        })
    }

    /// The lock is held, so that rows are written in the order of the changes.
    fn record(&self, known: &BTreeMap<String, T>) -> Durable {
        // Texts and numbers under texts: it cannot fail.
        let text = serde_json::to_vec(known).unwrap_or_default();
        self.local.bookkeeping_put(self.row, Some(&text))
    }
}
