//! What the host and a reconciler say to each other, as plain data: the Rust side of
//! `wit/reconciler.wit`, and what a native reconciler uses as well.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::key::{GroupKind, GroupVersionKind, Key, LOCAL, Name};
use crate::native;

/// One reason why a call happens. For logs; a plugin must not decide by it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// First call for this object since the host started or took it over.
    Created,
    /// The object's content changed.
    Changed,
    /// The object is being deleted.
    Deleted,
    /// An object that an earlier call read, or a child, changed, came or went.
    Dependency(Arc<Key>),
    /// The previous attempt failed.
    Retry,
    /// `requeue-after` has passed.
    Requeue,
    /// Periodic pass.
    Resync,
    /// Somebody asked for it.
    Manual,
    /// Another version of the plugin took over.
    Upgraded,
    /// The plugin's configuration or its grants changed.
    Configured,
}

impl Cause {
    /// The word for it in logs and the API.
    pub fn word(&self) -> &'static str {
        match self {
            Cause::Created => "created",
            Cause::Changed => "changed",
            Cause::Deleted => "deleted",
            Cause::Dependency(_) => "dependency",
            Cause::Retry => "retry",
            Cause::Requeue => "requeue",
            Cause::Resync => "resync",
            Cause::Manual => "manual",
            Cause::Upgraded => "upgraded",
            Cause::Configured => "configured",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Dependency(key) => write!(f, "dependency {key}"),
            other => f.write_str(other.word()),
        }
    }
}

/// At most this many causes go with a call.
pub const MAX_CAUSES: usize = 16;

/// One call.
#[derive(Clone, Debug)]
pub struct Request {
    /// The object's key.
    pub key: Arc<Key>,
    /// The object's content as JSON.
    pub object: Arc<str>,
    /// The object is being deleted and the finalizer is still there.
    pub deleting: bool,
    /// 1 for the first attempt since the last success.
    pub attempt: u32,
    /// Why the previous attempt failed, sanitised.
    pub last_error: Option<Arc<str>>,
    /// At most [`MAX_CAUSES`], oldest first.
    pub causes: Vec<Cause>,
    /// The operator's configuration as JSON, `{}` if there is none.
    pub config: Arc<str>,
}

/// A machine-readable reason with a sentence for people.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reason {
    /// CamelCase, at most 128 characters.
    pub code: String,
    /// One sentence.
    pub message: String,
}

impl Reason {
    /// A reason from its parts.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// Whether the object is what its spec asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Done: nothing is missing.
    Ready,
    /// Not yet: something outside has to happen first.
    Progressing(Reason),
    /// Will not get better by itself.
    Stalled(Reason),
}

/// The status of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionStatus {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl ConditionStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

/// A condition of the plugin's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// CamelCase, unique within an outcome.
    pub kind: String,
    /// Its status.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
}

/// Whether an event is good or bad news.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventType {
    /// `Normal`
    Normal,
    /// `Warning`
    Warning,
}

impl EventType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// Something worth telling.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Normal or warning.
    pub kind: EventType,
    /// What happened.
    pub reason: Reason,
    /// What it is about; none for the reconciled object.
    pub regarding: Option<Key>,
}

/// How a child is brought from what it is to what it should be (rule B10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// Apply the changed fields.
    InPlace,
    /// Delete and create again when the server refuses a change of an immutable field.
    Recreate,
}

/// An object that shall exist because of the reconciled object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Child {
    /// None: the owner's cluster.
    pub cluster: Option<String>,
    /// The fields that the plugin cares for, as JSON.
    pub object: String,
    /// How it is changed.
    pub update: Update,
}

/// What a successful call wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The whole status that this plugin owns as JSON; none leaves it.
    pub status: Option<String>,
    /// Whether the object is what its spec asks for.
    pub readiness: Readiness,
    /// All conditions of the plugin's own.
    pub conditions: Vec<Condition>,
    /// All children that shall exist; none leaves them as they are.
    pub children: Option<Vec<Child>>,
    /// Events to record.
    pub events: Vec<Event>,
    /// Call again after so many milliseconds even if nothing changes.
    pub requeue_after: Option<u64>,
    /// Only when deleting: the plugin's clean-up is complete.
    pub finalized: bool,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            status: None,
            readiness: Readiness::Ready,
            conditions: Vec::new(),
            children: None,
            events: Vec::new(),
            requeue_after: None,
            finalized: false,
        }
    }
}

/// Why a call has no outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// May go away: try again with backoff. Traps, timeouts and invalid answers count as this.
    Retry(String),
    /// May go away, and the plugin knows when: milliseconds.
    RetryAfter(String, u64),
    /// Will not go away until the object, its configuration or something it read changes.
    Permanent(String),
}

impl Failure {
    /// The text of it.
    pub fn message(&self) -> &str {
        match self {
            Failure::Retry(message) | Failure::RetryAfter(message, _) | Failure::Permanent(message) => message,
        }
    }
}

/// Why a read has no answer. Never stands for "does not exist" (rule A4).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// The kind, field or index is not in the description.
    #[error("not described: {0}")]
    NotDescribed(String),
    /// The operator did not grant it.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// The host cannot know at present.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The question itself is wrong.
    #[error("invalid: {0}")]
    Invalid(String),
    /// More calls or bytes than one call may have.
    #[error("limit exceeded: {0}")]
    LimitExceeded(String),
}

/// Which objects a list asks for, without paging.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ListQuery {
    /// The cluster.
    pub cluster: Name,
    /// The kind.
    pub kind: GroupKind,
    /// None: all namespaces that were granted.
    pub namespace: Option<Name>,
    /// Label selector as kubectl writes it.
    pub labels: Option<String>,
    /// Name of an index of the plugin's own, and the value to match.
    pub index: Option<(String, String)>,
}

/// A kind that the plugin reconciles.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnedKind {
    /// The CustomResourceDefinition as JSON.
    pub crd: String,
    /// Group, version and kind, read from `crd` and the version the plugin names.
    pub kind: GroupVersionKind,
    /// Call `reconcile` with `deleting` before an object goes.
    pub finalizer: bool,
}

/// Annotation of a definition: `local` for a kind that is in the embedded cluster alone, whatever clusters there are.
pub const ONLY_IN: &str = "setpoint.dev/only-in";

/// Whether objects of a kind are in the embedded cluster alone, as its definition says.
pub fn is_only_local(definition: &Value) -> bool {
    definition["metadata"]["annotations"][ONLY_IN] == *LOCAL
}

impl OwnedKind {
    /// Whether objects of it are in the embedded cluster alone, as its definition says.
    pub fn is_local(&self) -> bool {
        is_only_local(&serde_json::from_str(&self.crd).unwrap_or_default())
    }
}

impl Description {
    /// Whether objects of a kind are in the embedded cluster alone: those of the host, and of the plugin's own those
    /// whose definition says so.
    pub fn is_local(&self, kind: &GroupKind) -> bool {
        let owned = || self.kinds.iter().find(|owned| owned.kind.group_kind() == *kind);
        *kind.group == *native::GROUP || owned().is_some_and(OwnedKind::is_local)
    }
}

/// How much of a kind the host has to know (rule A8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadScope {
    /// `get` only.
    Named,
    /// `get` and `list`.
    All,
}

/// A kind that the plugin reads.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadKind {
    /// The kind in the version the plugin speaks.
    pub kind: GroupVersionKind,
    /// How much of it.
    pub scope: ReadScope,
    /// Field mask; empty for all fields.
    pub fields: Vec<String>,
    /// Indexes: name and path.
    pub indexes: Vec<(String, String)>,
}

/// What a plugin asks for beyond objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Children of kind `host.setpoint.dev/Process`.
    Process,
    /// Network to this host.
    Http(String),
}

/// Defaults of a plugin that the operator may override. Times in milliseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tuning {
    /// Resync period.
    pub resync: Option<u64>,
    /// Call at each resync even if nothing changed.
    pub resync_always: bool,
    /// Calls of this plugin at a time.
    pub concurrency: Option<u32>,
    /// Wall clock of a call.
    pub timeout: Option<u64>,
    /// First backoff.
    pub first_backoff: Option<u64>,
    /// Longest backoff.
    pub longest_backoff: Option<u64>,
    /// Memory of a call in bytes.
    pub memory_bytes: Option<u64>,
    /// Reuse an instance for at most so many calls.
    pub warm_calls: Option<u32>,
}

/// What a plugin is.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// DNS label: the identity across versions.
    pub name: Name,
    /// Semantic version.
    pub version: String,
    /// What it reconciles.
    pub kinds: Vec<OwnedKind>,
    /// What it reads.
    pub reads: Vec<ReadKind>,
    /// Kinds of children.
    pub writes: Vec<GroupVersionKind>,
    /// What it asks for beyond objects.
    pub capabilities: Vec<Capability>,
    /// JSON schema of its configuration.
    pub config_schema: Option<String>,
    /// Its defaults.
    pub tuning: Tuning,
}
