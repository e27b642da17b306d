//! Recorded calls: what was asked, what was read, what came of it, in the one form that the shadow
//! (rule D11), `setpoint record`, `replay` and `plugin test` share. A recording is a text of JSON
//! lines: a [`Header`], then one [`RecordedCall`] per line.
//!
//! What a recording shows of Secrets is decided here as well (rule B17).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::contract::{
    Cause, Child, Condition, ConditionStatus, Event, EventType, Failure, ListQuery, Outcome, ReadError, Readiness,
    Reason, Request, Update,
};
use crate::key::{GroupKind, Key};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first line of a recording.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Always `recording`.
    pub setpoint: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the host that recorded.
    pub host: String,
    /// Values of Secrets are in it as they are; else as hashes (rule B17).
    #[serde(default)]
    pub with_secrets: bool,
}

impl Header {
    /// The header of a new recording.
    pub fn new(host: &str, with_secrets: bool) -> Self {
        Self { setpoint: "recording".into(), version: VERSION, host: host.into(), with_secrets }
    }
}

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

/// What is wrong with a recording.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordingError {
    /// It does not begin with a [`Header`].
    #[error("line 1: this is no recording of setpoint; `setpoint record` makes one")]
    NoHeader,
    /// Another version of the format.
    #[error("line 1: version {0} of the format is not known; this program reads version {VERSION}")]
    Version(u32),
    /// A line does not parse.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// Reads a recording.
///
/// # Errors
/// What is wrong, with the line.
pub fn parse(text: &str) -> Result<(Header, Vec<RecordedCall>), RecordingError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let first = lines.next().map(|(_, line)| line).ok_or(RecordingError::NoHeader)?;
    let header: Header = serde_json::from_str(first).map_err(|_| RecordingError::NoHeader)?;
    if header.setpoint != "recording" {
        return Err(RecordingError::NoHeader);
    }
    if header.version != VERSION {
        return Err(RecordingError::Version(header.version));
    }
    let call = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| RecordingError::Line { line: at + 1, reason: format!("it is no recorded call: {error}") })
    };
    Ok((header, lines.map(call).collect::<Result<_, _>>()?))
}

/// One line of a recording, without its end.
pub fn line(value: &impl Serialize) -> String {
    // Maps with string keys and finite numbers only: it cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// What is sent of a value that [`json`] made: a text that was no JSON is that text again.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

impl RecordedRequest {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        Self {
            key: request.key.to_string(),
            object: json(&request.object),
            deleting: request.deleting,
            attempt: request.attempt,
            last_error: request.last_error.as_deref().map(str::to_owned),
            causes: request.causes.iter().map(ToString::to_string).collect(),
            config: json(&request.config),
        }
    }

    /// The request again; none if the key is none.
    pub fn request(&self) -> Option<Request> {
        Some(Request {
            key: Arc::new(Key::parse(&self.key)?),
            object: self.object.to_string().into(),
            deleting: self.deleting,
            attempt: self.attempt,
            last_error: self.last_error.as_deref().map(Into::into),
            causes: self.causes.iter().filter_map(|word| cause(word)).collect(),
            config: if self.config.is_null() { "{}".into() } else { self.config.to_string().into() },
        })
    }
}

fn cause(word: &str) -> Option<Cause> {
    Some(match word {
        "created" => Cause::Created,
        "changed" => Cause::Changed,
        "deleted" => Cause::Deleted,
        "retry" => Cause::Retry,
        "requeue" => Cause::Requeue,
        "resync" => Cause::Resync,
        "manual" => Cause::Manual,
        "upgraded" => Cause::Upgraded,
        "configured" => Cause::Configured,
        other => Cause::Dependency(Arc::new(Key::parse(other.strip_prefix("dependency ")?)?)),
    })
}

impl Question {
    /// Of a get.
    pub fn get(key: &Key) -> Self {
        Question::Get(key.to_string())
    }

    /// Of a list.
    pub fn list(query: &ListQuery) -> Self {
        Question::List(RecordedQuery {
            cluster: query.cluster.to_string(),
            group: query.kind.group.to_string(),
            kind: query.kind.kind.to_string(),
            namespace: query.namespace.as_deref().map(str::to_owned),
            labels: query.labels.clone(),
            index: query.index.clone(),
        })
    }
}

impl RecordedQuery {
    /// The query again.
    pub fn query(&self) -> ListQuery {
        ListQuery {
            cluster: self.cluster.as_str().into(),
            kind: GroupKind::new(&self.group, &self.kind),
            namespace: self.namespace.as_deref().map(Into::into),
            labels: self.labels.clone(),
            index: self.index.clone(),
        }
    }
}

impl RecordedAnswer {
    /// Of the answer to a get.
    pub fn of_get(answer: &Result<Option<Arc<str>>, ReadError>) -> Self {
        match answer {
            Ok(Some(object)) => RecordedAnswer::Object(json(object)),
            Ok(None) => RecordedAnswer::Absent,
            Err(error) => RecordedAnswer::Error(error.into()),
        }
    }

    /// Of the answer to a list.
    pub fn of_list(answer: &Result<Arc<[Arc<str>]>, ReadError>) -> Self {
        match answer {
            Ok(items) => RecordedAnswer::Items(items.iter().map(|item| json(item)).collect()),
            Err(error) => RecordedAnswer::Error(error.into()),
        }
    }

    /// The answer to a get again.
    ///
    /// # Errors
    /// The recorded one.
    pub fn get(&self) -> Result<Option<Arc<str>>, ReadError> {
        match self {
            RecordedAnswer::Object(object) => Ok(Some(object.to_string().into())),
            RecordedAnswer::Absent => Ok(None),
            RecordedAnswer::Items(_) => Err(ReadError::Unavailable("the recording has a list here".into())),
            RecordedAnswer::Error(error) => Err(error.into()),
        }
    }

    /// The answer to a list again.
    ///
    /// # Errors
    /// The recorded one.
    pub fn list(&self) -> Result<Arc<[Arc<str>]>, ReadError> {
        match self {
            RecordedAnswer::Items(items) => Ok(items.iter().map(|item| item.to_string().into()).collect()),
            RecordedAnswer::Error(error) => Err(error.into()),
            RecordedAnswer::Object(_) | RecordedAnswer::Absent => {
                Err(ReadError::Unavailable("the recording has one object here".into()))
            }
        }
    }
}

impl From<&ReadError> for RecordedError {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NotDescribed(text) => Self::NotDescribed(text.clone()),
            ReadError::NotGranted(text) => Self::NotGranted(text.clone()),
            ReadError::Unavailable(text) => Self::Unavailable(text.clone()),
            ReadError::Invalid(text) => Self::Invalid(text.clone()),
            ReadError::LimitExceeded(text) => Self::LimitExceeded(text.clone()),
        }
    }
}

impl From<&RecordedError> for ReadError {
    fn from(error: &RecordedError) -> Self {
        match error {
            RecordedError::NotDescribed(text) => Self::NotDescribed(text.clone()),
            RecordedError::NotGranted(text) => Self::NotGranted(text.clone()),
            RecordedError::Unavailable(text) => Self::Unavailable(text.clone()),
            RecordedError::Invalid(text) => Self::Invalid(text.clone()),
            RecordedError::LimitExceeded(text) => Self::LimitExceeded(text.clone()),
        }
    }
}

impl RecordedResult {
    /// Of what a plugin answered.
    pub fn of(result: &Result<Outcome, Failure>) -> Self {
        match result {
            Ok(outcome) => RecordedResult::Outcome(Box::new(outcome.into())),
            Err(failure) => RecordedResult::Failure(failure.into()),
        }
    }
}

impl From<&Failure> for RecordedFailure {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Retry(text) => Self::Retry(text.clone()),
            Failure::RetryAfter(text, after) => Self::RetryAfter(text.clone(), *after),
            Failure::Permanent(text) => Self::Permanent(text.clone()),
        }
    }
}

impl From<&Outcome> for RecordedOutcome {
    fn from(outcome: &Outcome) -> Self {
        let child = |child: &Child| RecordedChild {
            cluster: child.cluster.clone(),
            object: json(&child.object),
            recreate: child.update == Update::Recreate,
        };
        let condition = |condition: &Condition| RecordedCondition {
            kind: condition.kind.clone(),
            status: condition.status.as_str().into(),
            reason: condition.reason.code.clone(),
            message: condition.reason.message.clone(),
        };
        let event = |event: &Event| RecordedEvent {
            kind: event.kind.as_str().into(),
            reason: event.reason.code.clone(),
            message: event.reason.message.clone(),
            regarding: event.regarding.as_ref().map(ToString::to_string),
        };
        Self {
            status: outcome.status.as_deref().map(json),
            readiness: match &outcome.readiness {
                Readiness::Ready => RecordedReadiness::Ready,
                Readiness::Progressing(why) => RecordedReadiness::Progressing(why.code.clone(), why.message.clone()),
                Readiness::Stalled(why) => RecordedReadiness::Stalled(why.code.clone(), why.message.clone()),
            },
            conditions: outcome.conditions.iter().map(condition).collect(),
            children: outcome.children.as_ref().map(|children| children.iter().map(child).collect()),
            events: outcome.events.iter().map(event).collect(),
            requeue_after: outcome.requeue_after,
            finalized: outcome.finalized,
        }
    }
}

impl RecordedOutcome {
    /// The outcome again. Words that are none are read as the mildest there is.
    pub fn outcome(&self) -> Outcome {
        let reason = |code: &str, message: &str| Reason::new(code, message);
        Outcome {
            status: self.status.as_ref().map(text),
            readiness: match &self.readiness {
                RecordedReadiness::Ready => Readiness::Ready,
                RecordedReadiness::Progressing(code, message) => Readiness::Progressing(reason(code, message)),
                RecordedReadiness::Stalled(code, message) => Readiness::Stalled(reason(code, message)),
            },
            conditions: self
                .conditions
                .iter()
                .map(|condition| Condition {
                    kind: condition.kind.clone(),
                    status: match &*condition.status {
                        "True" => ConditionStatus::True,
                        "False" => ConditionStatus::False,
                        _ => ConditionStatus::Unknown,
                    },
                    reason: reason(&condition.reason, &condition.message),
                })
                .collect(),
            children: self.children.as_ref().map(|children| {
                children
                    .iter()
                    .map(|child| Child {
                        cluster: child.cluster.clone(),
                        object: text(&child.object),
                        update: if child.recreate { Update::Recreate } else { Update::InPlace },
                    })
                    .collect()
            }),
            events: self
                .events
                .iter()
                .map(|event| Event {
                    kind: if event.kind == "Warning" { EventType::Warning } else { EventType::Normal },
                    reason: reason(&event.reason, &event.message),
                    regarding: event.regarding.as_deref().and_then(Key::parse),
                })
                .collect(),
            requeue_after: self.requeue_after,
            finalized: self.finalized,
        }
    }
}

/// What hides the values of Secrets: a hash that depends on a key which is nowhere written, so that
/// equal values are seen to be equal and nothing can be guessed (rule B17).
#[derive(Clone, Debug)]
pub struct Hider {
    key: [u8; 32],
}

impl Hider {
    /// With a random key, which the caller brings and forgets.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Replaces the values of Secrets in everything that was asked and answered, and in children.
    pub fn hide(&self, call: &mut RecordedCall) {
        self.object(&mut call.request.object);
        for read in &mut call.reads {
            match &mut read.answer {
                RecordedAnswer::Object(object) => self.object(object),
                RecordedAnswer::Items(items) => items.iter_mut().for_each(|item| self.object(item)),
                RecordedAnswer::Absent | RecordedAnswer::Error(_) => {}
            }
        }
        if let RecordedResult::Outcome(outcome) = &mut call.result {
            for child in outcome.children.iter_mut().flatten() {
                self.object(&mut child.object);
            }
        }
    }

    /// Replaces the values of one object, if it is a Secret.
    pub fn object(&self, object: &mut Value) {
        let secret = object.get("kind").and_then(Value::as_str) == Some("Secret")
            && object.get("apiVersion").and_then(Value::as_str) == Some("v1");
        if !secret {
            return;
        }
        for part in ["data", "stringData"] {
            if let Some(values) = object.get_mut(part).and_then(Value::as_object_mut) {
                for value in values.values_mut() {
                    *value = Value::String(self.hash(&value.to_string()));
                }
            }
        }
    }

    /// Keyed, from both sides: SHA-256 alone can be extended.
    fn hash(&self, value: &str) -> String {
        let inner = Sha256::new().chain_update(self.key).chain_update(value.as_bytes()).finalize();
        let outer = Sha256::new().chain_update(self.key).chain_update(inner).finalize();
        let hex: String = outer.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("hidden:{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> RecordedCall {
        let outcome = Outcome {
            status: Some("{\"a\":1}".into()),
            readiness: Readiness::Progressing(Reason::new("Waiting", "for it")),
            conditions: vec![Condition {
                kind: "Valid".into(),
                status: ConditionStatus::False,
                reason: Reason::new("No", "not"),
            }],
            children: Some(vec![Child {
                cluster: None,
                object: "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"stringData\":{\"p\":\"hunter2\"}}".into(),
                update: Update::Recreate,
            }]),
            events: vec![Event {
                kind: EventType::Warning,
                reason: Reason::new("Odd", "is odd"),
                regarding: Some(Key::new("local", "g", "K", Some("n"), "x")),
            }],
            requeue_after: Some(5),
            finalized: false,
        };
        let key = Key::new("local", "g", "K", Some("default"), "a");
        let request = Request {
            key: Arc::new(key.clone()),
            object: "{\"kind\":\"K\"}".into(),
            deleting: false,
            attempt: 2,
            last_error: Some("no".into()),
            causes: vec![Cause::Retry, Cause::Dependency(Arc::new(key.clone()))],
            config: "{}".into(),
        };
        let secret: Arc<str> = "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"p\":\"aHVudGVy\"}}".into();
        let query = ListQuery {
            cluster: "local".into(),
            kind: GroupKind::new("", "Secret"),
            namespace: None,
            labels: Some("a=b".into()),
            index: Some(("i".into(), "v".into())),
        };
        RecordedCall {
            plugin: "p".into(),
            digest: "d".into(),
            at: "2026-01-01T00:00:00Z".into(),
            request: RecordedRequest::of(&request),
            reads: vec![
                RecordedRead { question: Question::get(&key), answer: RecordedAnswer::of_get(&Ok(None)) },
                RecordedRead {
                    question: Question::list(&query),
                    answer: RecordedAnswer::of_list(&Ok([secret].into_iter().collect())),
                },
                RecordedRead {
                    question: Question::get(&key),
                    answer: RecordedAnswer::of_get(&Err(ReadError::Unavailable("away".into()))),
                },
            ],
            impure: true,
            result: RecordedResult::of(&Ok(outcome)),
        }
    }

    #[test]
    fn a_recording_survives_its_own_text() -> Result<(), RecordingError> {
        let call = call();
        let text = format!("{}\n{}\n", line(&Header::new("0.1.0", false)), line(&call));
        let (header, calls) = parse(&text)?;
        assert_eq!((header, &calls[..]), (Header::new("0.1.0", false), &[call.clone()][..]));
        let RecordedResult::Outcome(outcome) = &calls[0].result else { panic!("an outcome") };
        assert_eq!(RecordedOutcome::from(&outcome.outcome()), **outcome);
        assert_eq!(calls[0].request.request().map(|request| RecordedRequest::of(&request)), Some(call.request));
        let Question::List(query) = &calls[0].reads[1].question else { panic!("a list") };
        assert_eq!(Question::list(&query.query()), calls[0].reads[1].question);
        Ok(())
    }

    #[test]
    fn what_is_no_recording_is_told_with_its_line() {
        assert_eq!(parse(""), Err(RecordingError::NoHeader));
        assert_eq!(parse("{\"a\":1}"), Err(RecordingError::NoHeader));
        let header = line(&Header { version: 9, ..Header::new("0.1.0", false) });
        assert_eq!(parse(&header), Err(RecordingError::Version(9)));
        let text = format!("{}\n\n{{}}\n", line(&Header::new("0.1.0", false)));
        assert!(matches!(parse(&text), Err(RecordingError::Line { line: 3, .. })));
    }

    #[test]
    fn values_of_secrets_are_hashes_that_depend_on_the_key() {
        let (mut one, mut same, mut other) = (call(), call(), call());
        Hider::new([1; 32]).hide(&mut one);
        Hider::new([1; 32]).hide(&mut same);
        Hider::new([2; 32]).hide(&mut other);
        assert_eq!(one, same);
        assert_ne!(one, other);
        let text = line(&one);
        assert!(text.contains("hidden:") && !text.contains("aHVudGVy") && !text.contains("hunter2"), "{text}");
    }
}
