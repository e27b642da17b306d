//! What an attempt's effects have to do, and what they came to.

use std::sync::Arc;

use serde_json::Value;

use super::DesiredChild;
use super::child::ChildResult;
use crate::contract::{Condition, Event, Readiness};
use crate::key::{Key, Source};

/// What a run has to do.
#[derive(Debug)]
pub enum Work {
    /// An outcome: bring the world there.
    Outcome {
        /// The plugin's status.
        status: Option<Value>,
        /// Its own conditions.
        conditions: Vec<Condition>,
        /// Its readiness.
        readiness: Readiness,
        /// All children that shall exist; none leaves them.
        children: Option<Vec<DesiredChild>>,
        /// Events.
        events: Vec<Event>,
        /// The plugin's clean-up is complete.
        finalized: bool,
        /// Whether children may be deleted now (rules A4, B3).
        may_prune: bool,
    },
    /// No outcome: only the status tells it.
    Failure {
        /// What to show.
        readiness: Readiness,
    },
    /// The object is being deleted and the plugin has no part in it: delete the children, then
    /// take the finalizer off.
    Finalize,
    /// The object is gone: delete the children it left.
    CleanUp,
}

/// What became of one child.
#[derive(Clone, Debug)]
pub struct ChildReport {
    /// Its key, if it had one.
    pub key: Option<Key>,
    /// The document that was applied or compared.
    pub document: Option<Arc<Value>>,
    /// What happened.
    pub result: ChildResult,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Each child of the outcome; none if the outcome left the children.
    pub children: Option<Vec<ChildReport>>,
    /// Which children shall go is known: each that shall exist is as it shall be.
    pub judged: bool,
    /// Children that should go and whose deletion was not allowed now (rule B3).
    pub deferred: Vec<Key>,
    /// Children that were deleted.
    pub deleted: Vec<Key>,
    /// Children that are still there though they should go.
    pub remaining: Vec<Key>,
    /// Those of them that only a live list has shown.
    pub unseen: Vec<Key>,
    /// Something that may work later, sanitised: the attempt has failed.
    pub failed: Option<String>,
    /// Something that is refused until it changes, sanitised.
    pub refused: Option<String>,
    /// It is refused by a right, a quota or a policy of the cluster, whose end no change tells.
    pub forbidden: bool,
    /// Something that is waited for, sanitised.
    pub waiting: Option<String>,
    /// Fields were taken back from other managers (rule B6).
    pub overruled: Vec<String>,
    /// The readiness that was shown.
    pub readiness: Option<Readiness>,
    /// The object is gone, or its finalizer was taken off.
    pub finished: bool,
    /// The object is another one or gone, contrary to what the run began with: nothing more was done.
    pub dropped: bool,
    /// Writes that changed something.
    pub writes: u32,
    /// Places of which nothing is known, though something was to be done there: the attempt is made
    /// again when they are known.
    pub unknown: Vec<Source>,
    /// Places were recorded.
    pub places_saved: bool,
    /// Places may not have been recorded.
    pub places_unsaved: bool,
    /// A write had no answer: the objects that it may have changed.
    pub unsure: Vec<Key>,
}
