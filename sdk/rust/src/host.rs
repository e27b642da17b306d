//! What a call may ask of the host, as a trait: the component's imports in a guest, the test kit natively.

use std::fmt;

use crate::Level;
use crate::bindings::setpoint::reconciler::types::Key;

pub use crate::bindings::setpoint::reconciler::objects::{IndexMatch, Page as RawPage, Query as RawQuery};

/// Why a read has no answer. It never stands for "does not exist" (rule A4).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The kind, field or index is not in the plugin's description.
    #[error("not described: {0}")]
    NotDescribed(String),
    /// The operator did not grant it.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// The host cannot know at present. Pass it on: the call is repeated once it is known.
    #[error("not known at present: {0}")]
    Unavailable(String),
    /// The question itself is wrong.
    #[error("invalid read: {0}")]
    Invalid(String),
    /// More calls or bytes than one call may have.
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
    /// The object does not fit the type that it was to be read as.
    #[error("cannot be read: {0}")]
    Malformed(String),
}

/// The host, as a call sees it.
pub trait Host {
    /// One object as JSON; `None` is proven absence.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn get(&self, key: &Key) -> Result<Option<String>, ReadError>;

    /// One page of a list.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn list(&self, query: &RawQuery) -> Result<RawPage, ReadError>;

    /// One line of log. Never fails.
    fn log(&self, level: Level, message: &str, fields: &[(String, String)]);
}

/// A group and a kind in messages: `ConfigMap` or `Workflow.muster.giantswarm.io`.
pub(crate) struct GroupKindText<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl fmt::Display for GroupKindText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)?;
        if self.0.is_empty() { Ok(()) } else { write!(f, ".{}", self.0) }
    }
}

/// The name of an object in messages: `default/a`, or `a` if it has no namespace.
pub(crate) fn place_text(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}
