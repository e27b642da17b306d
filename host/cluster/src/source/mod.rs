//! The file source of an embedded cluster: a directory of YAML and JSON files as desired state.
//!
//! | question | module |
//! |---|---|
//! | what does a text say, and where | [`yaml`] |
//! | which object is a document | [`identity`] |
//! | which files are there | [`scan`], [`read`] |
//! | what do they say, without a running source | [`once`] |
//! | when did something change | [`watch`] |
//! | what became of it | [`event`] |
//!
//! Whether something is really deleted is decided by [`setpoint_core::file_proof`] (rules D1, D2).

mod document;
pub mod event;
pub mod identity;
mod ledger;
pub mod once;
pub mod read;
pub mod scan;
pub mod watch;
mod watches;
mod worker;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use event::{Desired, FileReport, SourceEvent, UnclaimedDocument};
pub use identity::{Identified, Notice, Scope};
pub use watch::{FileSource, KindLookup, SourceOptions, StartError};
pub use yaml::{Document, Position, SourceError, Spans};
