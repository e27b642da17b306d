//! A model from the rows that its effects left behind.

use std::sync::Arc;

use setpoint_core::key::Key;

use super::builtin;
use super::effects::{Row, Table};
use super::model::{Model, VERSION_ROW};
use super::places;
use super::record::{Record, Stored};

/// A row that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("row `{key}` of table {table}: {reason}")]
pub struct LoadError {
    /// The table's name.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Model {
    /// A cluster from the rows that earlier effects left behind. Objects become readable when their
    /// kind is installed.
    ///
    /// # Errors
    /// The first row that cannot be read.
    pub fn load(seed: u128, rows: impl IntoIterator<Item = Row>) -> Result<Self, LoadError> {
        let mut model = Self::with_seed(seed);
        for (table, key, bytes) in rows {
            model.load_row(table, &key, bytes).map_err(|reason| LoadError { table: table.name(), key, reason })?;
        }
        for crd in builtin::kinds() {
            model.install_kind(crd);
        }
        Ok(model)
    }

    pub(super) fn load_row(&mut self, table: Table, key: &str, bytes: Vec<u8>) -> Result<(), String> {
        let parse = |key: &str| Key::parse(key).ok_or_else(|| "it is no object's key".to_owned());
        match table {
            Table::Records => {
                let key = Arc::new(parse(key)?);
                let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
                self.version = self.version.max(stored.version);
                self.insert(&key, Arc::new(Record { stored, object: None, misfit: Vec::new() }));
            }
            Table::Places => {
                self.places.insert(parse(key)?, places::decode(&bytes)?);
            }
            Table::Events => self.events.load(key, &bytes)?,
            Table::Bookkeeping => {
                self.bookkeeping.insert(key.to_owned(), bytes);
            }
            Table::Meta if key == VERSION_ROW => {
                let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
                let version: u64 = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
                self.version = self.version.max(version);
            }
            Table::Meta => {}
        }
        Ok(())
    }
}
