//! What a change of the model leaves to be done: rows to keep and watch events to tell.

use std::sync::Arc;

use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::object::Object;

use super::record::Record;

/// A table of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// Objects, by key.
    Records,
    /// Where an owner's children may be, by owner (rule B2).
    Places,
    /// Events, by number.
    Events,
    /// Values of the host, by name.
    Bookkeeping,
    /// The store's own: its version, the last resourceVersion.
    Meta,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 5] = [Table::Records, Table::Places, Table::Events, Table::Bookkeeping, Table::Meta];

    /// The table's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Table::Records => "records",
            Table::Places => "places",
            Table::Events => "events",
            Table::Bookkeeping => "bookkeeping",
            Table::Meta => "meta",
        }
    }
}

/// A row of the store: table, key, bytes.
pub type Row = (Table, String, Vec<u8>);

/// A change of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Sets a row.
    Put {
        /// The table.
        table: Table,
        /// The row's key.
        key: String,
        /// The row's value.
        bytes: Vec<u8>,
    },
    /// Removes a row.
    Remove {
        /// The table.
        table: Table,
        /// The row's key.
        key: String,
    },
}

/// What a change of the model leaves to be done.
#[derive(Clone, Default, Debug)]
pub struct Effects {
    /// To be kept, in order; later ones win.
    pub mutations: Vec<Mutation>,
    /// Watch events, in order; none: the object is gone.
    pub events: Vec<(Arc<Key>, Option<Arc<Object>>)>,
    /// What there was before, in order: for a change that cannot be kept.
    pub(crate) undo: Vec<Undo>,
}

/// A part of the model as it was before a change.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Record(Arc<Key>, Option<Arc<Record>>),
    Places(Key, Option<Vec<(Name, GroupKind)>>),
    Bookkeeping(String, Option<Vec<u8>>),
}

impl Effects {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty() && self.events.is_empty()
    }

    pub(crate) fn put(&mut self, table: Table, key: String, bytes: Vec<u8>) {
        self.mutations.push(Mutation::Put { table, key, bytes });
    }

    pub(crate) fn remove(&mut self, table: Table, key: String) {
        self.mutations.push(Mutation::Remove { table, key });
    }

    /// These, and then others.
    pub(crate) fn join(&mut self, other: Effects) {
        self.mutations.extend(other.mutations);
        self.events.extend(other.events);
        self.undo.extend(other.undo);
    }
}
