//! What a cluster does for the host: the operations that rules ask for, and their answers. The
//! seam between the rules and the clusters; a fake cluster in the simulation answers the same.

use std::sync::Arc;

use serde_json::Value;

use crate::contract::Event;
use crate::key::{GroupKind, Key, LOCAL, Name};
use crate::object::Object;

/// Version of an object that a write is decided upon. The write fails if the object is another
/// (`uid`) or has moved on (`resource_version`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Precondition {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`; none: any version of this uid.
    pub resource_version: Option<Box<str>>,
}

impl Precondition {
    /// The version of this object.
    pub fn version_of(object: &Object) -> Self {
        Self { uid: object.uid().into(), resource_version: Some(object.resource_version().into()) }
    }
}

/// One operation on one cluster.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// A live read, not from a cache. Answers `Found` or `Absent`.
    Get(Key),
    /// All objects of a kind that carry this owner mark, live and complete. Answers `Listed`.
    ListOwned {
        /// The cluster.
        cluster: Name,
        /// The kind.
        kind: GroupKind,
        /// Value of the label `setpoint.dev/owner`.
        owner: Box<str>,
    },
    /// Apply with field-manager semantics (server-side apply). Answers `Applied`.
    Apply {
        /// The object.
        key: Key,
        /// The fields that the manager wants, with `apiVersion`, `kind` and `metadata.name`.
        object: Arc<Value>,
        /// The field manager.
        manager: Box<str>,
        /// Take fields over from other managers.
        force: bool,
        /// None: the object is meant to be created.
        precondition: Option<Precondition>,
    },
    /// Apply to the status subresource, forced. Answers `Applied`.
    ApplyStatus {
        /// The object.
        key: Key,
        /// The whole `status` that the manager wants.
        status: Arc<Value>,
        /// The field manager.
        manager: Box<str>,
        /// The version decided upon.
        precondition: Precondition,
    },
    /// Sets or removes the host's finalizer. Answers `Applied`, or `Absent` if that removed it.
    SetFinalizer {
        /// The object.
        key: Key,
        /// Whether it shall be there.
        present: bool,
        /// All finalizers that the object has then, in order.
        finalizers: Vec<Box<str>>,
        /// The version decided upon.
        precondition: Precondition,
    },
    /// Deletes. Answers `Applied` (terminating now) or `Absent` (gone).
    Delete {
        /// The object.
        key: Key,
        /// The version decided upon.
        precondition: Precondition,
    },
    /// Remembers where an owner's children may be, before the first one is made there (rule B2).
    /// An empty list forgets the owner. Answers `Done`, or, where it is kept at the owner, `Applied`.
    SavePlaces {
        /// The owner.
        owner: Key,
        /// Clusters and kinds.
        places: Vec<(Name, GroupKind)>,
        /// All finalizers that the owner shall have from then on, in the same write (rule B11); none: as they are.
        finalizers: Option<Vec<Box<str>>>,
        /// The version of the owner decided upon; none: it is gone.
        precondition: Option<Precondition>,
    },
    /// Records events, best effort (rule B16). Answers `Done`.
    RecordEvents {
        /// What they are about unless they say so themselves.
        about: Key,
        /// The events.
        events: Vec<Event>,
    },
}

impl Op {
    /// The cluster that performs it.
    pub fn cluster(&self) -> &Name {
        match self {
            Op::ListOwned { cluster, .. } => cluster,
            Op::Get(key)
            | Op::Apply { key, .. }
            | Op::ApplyStatus { key, .. }
            | Op::SetFinalizer { key, .. }
            | Op::Delete { key, .. }
            | Op::SavePlaces { owner: key, .. }
            | Op::RecordEvents { about: key, .. } => &key.cluster,
        }
    }

    /// The object that it changes, if it changes one. Where the children of owners in `local` may be is kept beside
    /// them.
    pub fn writes(&self) -> Option<&Key> {
        match self {
            Op::Apply { key, .. }
            | Op::ApplyStatus { key, .. }
            | Op::SetFinalizer { key, .. }
            | Op::Delete { key, .. } => Some(key),
            Op::SavePlaces { owner, precondition: Some(_), .. } if &*owner.cluster != LOCAL => Some(owner),
            Op::Get(_) | Op::ListOwned { .. } | Op::SavePlaces { .. } | Op::RecordEvents { .. } => None,
        }
    }

    /// The one object that it is about: what it writes, or reads live.
    pub fn target(&self) -> Option<&Key> {
        match self {
            Op::Get(key) => Some(key),
            op => op.writes(),
        }
    }

    /// The verb for logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Op::Get(_) => "get",
            Op::ListOwned { .. } => "list",
            Op::Apply { .. } => "apply",
            Op::ApplyStatus { .. } => "apply_status",
            Op::SetFinalizer { .. } => "set_finalizer",
            Op::Delete { .. } => "delete",
            Op::SavePlaces { .. } => "save_places",
            Op::RecordEvents { .. } => "record_events",
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The object as it is.
    Found(Arc<Object>),
    /// Proven not to be there (any more).
    Absent,
    /// A complete list.
    Listed(Vec<(Key, Arc<Object>)>),
    /// The write is done and will not be lost.
    Applied {
        /// The object after it.
        object: Arc<Object>,
        /// Whether it made the object.
        created: bool,
    },
    /// Done, with nothing to tell.
    Done,
    /// It was not done.
    Refused(Refusal),
}

/// Why an operation was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The precondition does not hold: the object moved on, is another, or is gone.
    #[error("the object has changed: {0}")]
    VersionConflict(String),
    /// Other managers own fields that the apply would change.
    #[error("fields are owned by {}", managers.join(", "))]
    ManagerConflict {
        /// The other managers.
        managers: Vec<String>,
        /// The fields.
        fields: Vec<String>,
    },
    /// The schema or a rule refuses the object.
    #[error("{0}")]
    Invalid(String),
    /// A field that is in it cannot be changed.
    #[error("{0}")]
    Immutable(String),
    /// No right to do it.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The kind has no status subresource.
    #[error("the kind has no status subresource")]
    NoStatus,
    /// The kind is not served.
    #[error("the kind {0} is not served")]
    UnknownKind(String),
    /// Nothing is known of the cluster at present. The operation may or may not have been done.
    #[error("unknown: {0}")]
    Unknown(String),
    /// It may work later. The operation may or may not have been done.
    #[error("{0}")]
    Transient(String),
}
