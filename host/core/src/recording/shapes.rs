//! What a recording is made of, as it is written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of a plugin.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordedCall {
    /// Name of the plugin.
    pub plugin: String,
    /// Digest of the component that answered.
    pub digest: String,
    /// When, in RFC 3339.
    pub at: String,
    /// What was asked.
    pub request: RecordedRequest,
    /// What it read, in the order of the first of each question.
    pub reads: Vec<RecordedRead>,
    /// It may answer differently next time (rule A7).
    #[serde(default)]
    pub impure: bool,
    /// What came of it.
    pub result: RecordedResult,
}

/// The request of a call; see [`Request`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// `cluster/group/kind/namespace/name`
    pub key: String,
    /// The object.
    pub object: Value,
    /// The object is being deleted.
    #[serde(default)]
    pub deleting: bool,
    /// 1 for the first attempt since the last success.
    pub attempt: u32,
    /// Why the previous attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Words of the causes; a dependency with its key: `dependency KEY`.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The operator's configuration.
    #[serde(default)]
    pub config: Value,
}

/// A question and its answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordedRead {
    /// What was asked.
    #[serde(flatten)]
    pub question: Question,
    /// What was answered.
    pub answer: RecordedAnswer,
}

/// What a plugin reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// One object: `cluster/group/kind/namespace/name`.
    Get(String),
    /// A whole list.
    List(RecordedQuery),
}

/// A list, without paging; see [`ListQuery`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedQuery {
    /// The cluster.
    pub cluster: String,
    /// API group, empty for core.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// None: all that were granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Label selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Name of an index and the value to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<(String, String)>,
}

/// The answer to a read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedAnswer {
    /// The object.
    Object(Value),
    /// There is no such object.
    Absent,
    /// All objects of the list.
    Items(Vec<Value>),
    /// No answer.
    Error(RecordedError),
}

/// Why a read had no answer; see [`ReadError`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedError {
    /// The kind, field or index is not in the description.
    NotDescribed(String),
    /// The operator did not grant it.
    NotGranted(String),
    /// The host could not know.
    Unavailable(String),
    /// The question was wrong.
    Invalid(String),
    /// Beyond a limit.
    LimitExceeded(String),
}

/// What came of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedResult {
    /// The plugin's outcome.
    Outcome(Box<RecordedOutcome>),
    /// The plugin's own failure.
    Failure(RecordedFailure),
    /// A trap, a timeout, a limit or an answer that makes no sense.
    Trap(String),
}

/// See [`Failure`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedFailure {
    /// May go away.
    Retry(String),
    /// May go away, after so many milliseconds.
    RetryAfter(String, u64),
    /// Until something changes.
    Permanent(String),
}

/// See [`Outcome`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RecordedOutcome {
    /// The status that the plugin owns; none leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
    /// Whether it is ready.
    pub readiness: RecordedReadiness,
    /// Conditions of the plugin's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RecordedCondition>,
    /// Children; none leaves them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<RecordedChild>>,
    /// Events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RecordedEvent>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeue_after: Option<u64>,
    /// The clean-up is complete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finalized: bool,
}

/// See [`Readiness`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedReadiness {
    /// Done.
    #[default]
    Ready,
    /// Not yet: code and message.
    Progressing(String, String),
    /// Will not get better by itself: code and message.
    Stalled(String, String),
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// A child.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecordedChild {
    /// None: the owner's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The fields that the plugin cares for; a text if they are no JSON.
    pub object: Value,
    /// `recreate` instead of in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recreate: bool,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// What it is about; none for the reconciled object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regarding: Option<String>,
}
