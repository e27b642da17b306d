//! From what is asked, read and answered to what is written of it, and back.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Question, RecordedAnswer, RecordedChild, RecordedCondition, RecordedError, RecordedEvent, RecordedFailure,
    RecordedOutcome, RecordedQuery, RecordedReadiness, RecordedRequest, RecordedResult,
};
use crate::contract::{
    Cause, Child, Condition, ConditionStatus, Event, EventType, Failure, ListQuery, Outcome, ReadError, Readiness,
    Reason, Request, Update,
};
use crate::key::{GroupKind, Key};

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
