//! The audit log: what was asked, by whom, what came of it, and in which order.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

/// What is written down.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Level {
    /// Nothing: for measurements.
    Nothing,
    /// Who asked what, and the status of the answer.
    Requests,
    /// The same, and for writes what was sent and the object that came of it.
    #[default]
    Writes,
}

/// The server's own requests, and looks at its health, are nobody's business.
const REQUESTS: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: None
  users: ['system:apiserver']
- level: None
  nonResourceURLs: ['/readyz*', '/livez*', '/healthz*']
- level: Metadata
";
const WRITES: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: None
  users: ['system:apiserver']
- level: None
  nonResourceURLs: ['/readyz*', '/livez*', '/healthz*']
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
";

impl Level {
    pub(crate) fn policy(self) -> Option<&'static str> {
        match self {
            Level::Nothing => None,
            Level::Requests => Some(REQUESTS),
            Level::Writes => Some(WRITES),
        }
    }
}

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Audited(Value);

impl Audited {
    /// The user.
    pub fn user(&self) -> &str {
        self.text("/user/username")
    }

    /// What the client called itself.
    pub fn user_agent(&self) -> &str {
        self.text("/userAgent")
    }

    /// Such as `get`, `list`, `watch`, `patch`.
    pub fn verb(&self) -> &str {
        self.text("/verb")
    }

    /// Path and query.
    pub fn uri(&self) -> &str {
        self.text("/requestURI")
    }

    /// In the plural, such as `configmaps`.
    pub fn resource(&self) -> &str {
        self.text("/objectRef/resource")
    }

    /// Such as `status`; empty for the object itself.
    pub fn subresource(&self) -> &str {
        self.text("/objectRef/subresource")
    }

    /// Empty where there is none.
    pub fn namespace(&self) -> &str {
        self.text("/objectRef/namespace")
    }

    /// Empty where there is none, as for lists.
    pub fn name(&self) -> &str {
        self.text("/objectRef/name")
    }

    /// The status of the answer.
    pub fn code(&self) -> u16 {
        self.0
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .and_then(|code| code.try_into().ok())
            .unwrap_or(0)
    }

    /// Whether it was to change something.
    pub fn is_write(&self) -> bool {
        matches!(self.verb(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// When it came in, as RFC 3339 in UTC with microseconds: comparable as text.
    pub fn received(&self) -> &str {
        self.text("/requestReceivedTimestamp")
    }

    /// When it was answered, in the same form.
    pub fn answered(&self) -> &str {
        self.text("/stageTimestamp")
    }

    /// The version of the object that came of it: the order of writes, in one resource and beyond.
    pub fn version(&self) -> Option<u64> {
        self.object()["metadata"]["resourceVersion"].as_str()?.parse().ok()
    }

    /// The object that came of it, or the refusal, with [`Level::Writes`].
    pub fn object(&self) -> &Value {
        &self.0["responseObject"]
    }

    /// What was sent, with [`Level::Writes`].
    pub fn sent(&self) -> &Value {
        &self.0["requestObject"]
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Complete lines only: the server may be writing the next.
pub(crate) fn read(file: &Path) -> Vec<Audited> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.filter_map(|line| serde_json::from_str(line).ok()).map(Audited).collect()
}

/// What one user has asked, of a log that may be too large to be read as a whole.
pub(crate) fn read_of(file: &Path, user: &str) -> Vec<Audited> {
    let Ok(file) = File::open(file) else { return Vec::new() };
    // Most lines are of others, and need not be understood for that.
    let name = format!("\"username\":{}", Value::from(user));
    let lines = BufReader::new(file).lines().map_while(Result::ok).filter(|line| line.contains(&name));
    let read = lines.filter_map(|line| serde_json::from_str(&line).ok()).map(Audited);
    read.filter(|audited| audited.user() == user).collect()
}
