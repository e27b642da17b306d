//! What came of a call, and assertions about it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use super::check;
use crate::bindings::setpoint::reconciler::types::{Condition, Description, Event, Failure, Outcome, Readiness};
use crate::host::{GroupKindText, place_text};
use crate::{Key, Level, RawQuery, Reconciler};

/// A read that was made, whether it was answered or not. Pages of one list are one read.
///
/// Its text is `get ConfigMap default/a`, or `list ConfigMap default app=a` (namespace `*` for all),
/// with ` index=value` if an index was asked.
#[derive(Clone, PartialEq, Debug)]
pub enum ReadMade {
    /// One object.
    Get(Key),
    /// A list.
    List(RawQuery),
}

/// A line that was logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

impl fmt::Display for ReadMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(key) => {
                let kind = GroupKindText(&key.group, &key.kind);
                write!(f, "get {kind} {}", place_text(key.namespace.as_deref(), &key.name))
            }
            Self::List(query) => {
                let kind = GroupKindText(&query.kind.group, &query.kind.kind);
                write!(f, "list {kind} {}", query.namespace.as_deref().unwrap_or("*"))?;
                if let Some(labels) = &query.labels {
                    write!(f, " {labels}")?;
                }
                match &query.index {
                    Some(index) => write!(f, " {}={}", index.index, index.value),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What came of one call.
pub struct Run<R> {
    result: Result<Outcome, Failure>,
    children: Vec<Value>,
    problems: Vec<String>,
    reads: Vec<ReadMade>,
    logs: Vec<LogLine>,
    reconciler: PhantomData<fn() -> R>,
}

impl<R: Reconciler> Run<R> {
    pub(super) fn new(
        result: Result<Outcome, Failure>,
        description: &Description,
        owner: &Key,
        deleting: bool,
        reads: Vec<ReadMade>,
        logs: Vec<LogLine>,
    ) -> Self {
        let (mut children, mut problems) = (Vec::new(), Vec::new());
        if let Ok(outcome) = &result {
            for child in outcome.children.iter().flatten() {
                // The SDK wrote this text a moment ago; null only to keep the places of the others.
                children.push(child.object.parse().unwrap_or(Value::Null));
            }
            problems = check::problems(outcome, &children, description, owner, deleting);
        }
        Self { result, children, problems, reads, logs, reconciler: PhantomData }
    }

    /// What the plugin answered, be it valid or not.
    ///
    /// # Errors
    /// The failure that it answered.
    pub fn result(&self) -> Result<&Outcome, &Failure> {
        self.result.as_ref()
    }

    /// What the host would refuse in the outcome, such as a child of a kind that is not described.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The outcome.
    ///
    /// # Panics
    /// If the call failed, or if the host would refuse the outcome.
    pub fn outcome(&self) -> &Outcome {
        match &self.result {
            Ok(outcome) if self.problems.is_empty() => outcome,
            Ok(_) => panic!("the host would refuse the outcome: {}", self.problems.join("; ")),
            Err(failure) => panic!("the call failed: {failure:?}"),
        }
    }

    /// Asserts that the object is ready.
    ///
    /// # Panics
    /// If it is not.
    pub fn expect_ready(&self) -> &Self {
        let readiness = &self.outcome().readiness;
        assert!(matches!(readiness, Readiness::Ready), "expected ready, got {readiness:?}");
        self
    }

    /// Asserts that something outside has to happen first, for this reason.
    ///
    /// # Panics
    /// If not.
    pub fn expect_progressing(&self, code: &str) -> &Self {
        match &self.outcome().readiness {
            Readiness::Progressing(reason) if reason.code == code => self,
            other => panic!("expected progressing ({code}), got {other:?}"),
        }
    }

    /// Asserts that somebody has to act, for this reason.
    ///
    /// # Panics
    /// If not.
    pub fn expect_stalled(&self, code: &str) -> &Self {
        match &self.outcome().readiness {
            Readiness::Stalled(reason) if reason.code == code => self,
            other => panic!("expected stalled ({code}), got {other:?}"),
        }
    }

    /// Asserts that the call failed and is tried again; returns its message.
    ///
    /// # Panics
    /// If not.
    pub fn expect_retry(&self) -> &str {
        match &self.result {
            Err(Failure::Retry(message)) => message,
            other => panic!("expected a retry, got {other:?}"),
        }
    }

    /// Asserts that the call failed and is tried again after a time of its own; returns message and time.
    ///
    /// # Panics
    /// If not.
    pub fn expect_retry_after(&self) -> (&str, Duration) {
        match &self.result {
            Err(Failure::RetryAfter((message, after))) => (message, Duration::from_millis(*after)),
            other => panic!("expected a retry after a time, got {other:?}"),
        }
    }

    /// Asserts that the call failed and waits for a change; returns its message.
    ///
    /// # Panics
    /// If not.
    pub fn expect_permanent(&self) -> &str {
        match &self.result {
            Err(Failure::Permanent(message)) => message,
            other => panic!("expected a permanent failure, got {other:?}"),
        }
    }

    /// The status as the reconciler's type.
    ///
    /// # Panics
    /// If there is no outcome, or it leaves the status as it is, or the status cannot be read back.
    pub fn status(&self) -> R::Status {
        match serde_json::from_value(self.status_json()) {
            Ok(status) => status,
            Err(error) => panic!("the status cannot be read back: {error}"),
        }
    }

    /// The status as it would be written.
    ///
    /// # Panics
    /// If there is no outcome, or it leaves the status as it is.
    pub fn status_json(&self) -> Value {
        match self.outcome().status.as_ref().map(|status| status.parse()) {
            Some(Ok(status)) => status,
            Some(Err(error)) => panic!("the status is no JSON: {error}"),
            None => panic!("the outcome leaves the status as it is"),
        }
    }

    /// All children, in the order returned.
    ///
    /// # Panics
    /// If there is no outcome, or it leaves the children as they are.
    pub fn children(&self) -> &[Value] {
        assert!(self.outcome().children.is_some(), "the outcome leaves the children as they are");
        &self.children
    }

    /// Whether the outcome leaves the children as they are.
    ///
    /// # Panics
    /// If there is no outcome.
    pub fn leaves_children(&self) -> bool {
        self.outcome().children.is_none()
    }

    /// The child of this kind and name.
    ///
    /// # Panics
    /// If there is none.
    pub fn child(&self, kind: &str, name: &str) -> &Value {
        let found = self.children().iter().find(|child| child["kind"] == kind && child["metadata"]["name"] == name);
        found.unwrap_or_else(|| {
            let names: Vec<String> =
                self.children.iter().map(|child| format!("{} {}", child["kind"], child["metadata"]["name"])).collect();
            panic!("there is no child {kind} {name}; there are {names:?}")
        })
    }

    /// The condition of this type.
    ///
    /// # Panics
    /// If there is none.
    pub fn condition(&self, name: &str) -> &Condition {
        let found = self.outcome().conditions.iter().find(|condition| condition.type_ == name);
        found.unwrap_or_else(|| panic!("there is no condition {name}"))
    }

    /// The events.
    ///
    /// # Panics
    /// If there is no outcome.
    pub fn events(&self) -> &[Event] {
        &self.outcome().events
    }

    /// After which time the object is called again, if at all.
    ///
    /// # Panics
    /// If there is no outcome.
    pub fn requeue_after(&self) -> Option<Duration> {
        self.outcome().requeue_after.map(Duration::from_millis)
    }

    /// Whether the clean-up is complete.
    ///
    /// # Panics
    /// If there is no outcome.
    pub fn finalized(&self) -> bool {
        self.outcome().finalized
    }

    /// The reads that were made, in order.
    pub fn reads(&self) -> &[ReadMade] {
        &self.reads
    }

    /// The lines that were logged, in order.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }
}

impl<R> fmt::Debug for Run<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("result", &self.result)
            .field("problems", &self.problems)
            .field("reads", &self.reads)
            .field("logs", &self.logs)
            .finish()
    }
}
