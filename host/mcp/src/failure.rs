//! Why something did not come to be: a class that a caller can act on, and a sentence that can be shown.

use setpoint_core::probe::{ProbeReason, Report};
use setpoint_core::sanitize::sanitize;

/// A failure, in the words of a Probe's status. Its message carries no credentials.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    reason: ProbeReason,
    message: String,
    http_status: Option<u16>,
}

impl Failure {
    /// A failure of this class. The message is sanitised.
    pub fn new(reason: ProbeReason, message: impl AsRef<str>) -> Self {
        Self { reason, message: sanitize(message.as_ref()), http_status: None }
    }

    /// With the status that an HTTP server answered.
    #[must_use]
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// Its class.
    pub fn reason(&self) -> ProbeReason {
        self.reason
    }

    /// What happened, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status that an HTTP server answered, where one did.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// The result of an attempt that failed so. A server that wants to know who asks has not failed.
    pub fn report(&self) -> Report {
        let report = match self.reason {
            ProbeReason::AuthRequired => Report::auth_required(&self.message),
            reason => Report::failure(reason, &self.message),
        };
        report.with_http_status(self.http_status)
    }
}

/// An error with all its causes, in one line. A cause that only repeats the sentence before it is left out.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
