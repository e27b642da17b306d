//! What is known of an endpoint: the result of an attempt, and `status` of a Probe.

use serde::{Deserialize, Serialize};

use crate::sanitize::sanitize;

/// How an endpoint is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum ProbeState {
    /// No attempt has ended since the endpoint is the one that it is.
    #[default]
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It answers, and wants to know who asks. No failure.
    AuthRequired,
    /// It does not answer as it should, or cannot be asked.
    Unhealthy,
}

/// Why an endpoint is as it is, in one word that does not change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ProbeReason {
    /// It answered as expected.
    Reachable,
    /// It answered 401.
    AuthRequired,
    /// The host's name has no address.
    NameNotResolved,
    /// Nobody listens at the port.
    ConnectionRefused,
    /// No connection, or it broke.
    ConnectionFailed,
    /// Not within the timeout.
    Timeout,
    /// No agreement on TLS, or a certificate that is not trusted.
    TLSError,
    /// Another HTTP status than was expected.
    HTTPStatus,
    /// It answers something that is not MCP.
    NotMCP,
    /// It speaks MCP, and wrongly, or answers with an error.
    ProtocolError,
    /// The Process that it is an endpoint of does not run.
    ProcessNotReady,
    /// A Secret or a key that a header refers to is not there, or may not be read.
    SecretNotFound,
    /// The owning plugin may not have this endpoint looked at.
    NotGranted,
    /// The spec cannot be followed.
    Invalid,
}

impl ProbeReason {
    /// The word as the status has it.
    pub fn word(self) -> &'static str {
        match self {
            ProbeReason::Reachable => "Reachable",
            ProbeReason::AuthRequired => "AuthRequired",
            ProbeReason::NameNotResolved => "NameNotResolved",
            ProbeReason::ConnectionRefused => "ConnectionRefused",
            ProbeReason::ConnectionFailed => "ConnectionFailed",
            ProbeReason::Timeout => "Timeout",
            ProbeReason::TLSError => "TLSError",
            ProbeReason::HTTPStatus => "HTTPStatus",
            ProbeReason::NotMCP => "NotMCP",
            ProbeReason::ProtocolError => "ProtocolError",
            ProbeReason::ProcessNotReady => "ProcessNotReady",
            ProbeReason::SecretNotFound => "SecretNotFound",
            ProbeReason::NotGranted => "NotGranted",
            ProbeReason::Invalid => "Invalid",
        }
    }
}

/// Who answered `initialize`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The server's name for itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol version that was agreed on.
    pub protocol_version: String,
}

/// What came of one attempt. Its texts can be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    state: ProbeState,
    reason: ProbeReason,
    message: String,
    http_status: Option<u16>,
    server: Option<Server>,
    tools: Option<Vec<String>>,
}

impl Report {
    /// The endpoint answered as it should.
    pub fn healthy(message: &str) -> Self {
        Self::new(ProbeState::Healthy, ProbeReason::Reachable, message)
    }

    /// The endpoint answered, and wants to know who asks.
    pub fn auth_required(message: &str) -> Self {
        Self::new(ProbeState::AuthRequired, ProbeReason::AuthRequired, message)
    }

    /// The endpoint did not answer as it should.
    pub fn failure(reason: ProbeReason, message: &str) -> Self {
        Self::new(ProbeState::Unhealthy, reason, message)
    }

    fn new(state: ProbeState, reason: ProbeReason, message: &str) -> Self {
        let (message, http_status, server, tools) = (one_line(message), None, None, None);
        Self { state, reason, message, http_status, server, tools }
    }

    /// With the HTTP status that was answered.
    #[must_use]
    pub fn with_http_status(mut self, status: Option<u16>) -> Self {
        self.http_status = status;
        self
    }

    /// With who answered, and the tools that it offers in any order.
    #[must_use]
    pub fn with_server(mut self, server: Server, tools: Vec<String>) -> Self {
        self.server = Some(Server {
            name: one_line(&server.name),
            version: one_line(&server.version),
            protocol_version: one_line(&server.protocol_version),
        });
        self.tools = Some(sorted(tools));
        self
    }

    /// How the endpoint was found. Never [`ProbeState::Unknown`].
    pub fn state(&self) -> ProbeState {
        self.state
    }

    /// Why.
    pub fn reason(&self) -> ProbeReason {
        self.reason
    }

    /// One sentence, without credentials, times and counters.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status of the answer, where there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// Who answered.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// Names of the tools, sorted; none where the endpoint is no MCP server.
    pub fn tools(&self) -> Option<&[String]> {
        self.tools.as_deref()
    }
}

/// `status` of a Probe, but `observedGeneration` and `conditions`, which are the host's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// How the endpoint is.
    #[serde(default)]
    pub state: ProbeState,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ProbeReason>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Who answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The tools that it offers, sorted; only while it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_count: Option<u32>,
    /// When it last became healthy, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    /// Failures in a row.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// When the last attempt ended, RFC 3339; only while it is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<String>,
    /// When the next attempt is due, RFC 3339; only while it is unhealthy and there will be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
}

/// One line that can be shown.
pub(super) fn one_line(text: &str) -> String {
    sanitize(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Names in order, each once.
pub(super) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_report_says_can_be_shown() {
        let report = Report::failure(ProbeReason::HTTPStatus, "GET http://me:hunter2@x/\n answered\t500 token=hunter2");
        assert_eq!(report.message(), "GET http://[REDACTED]@x/ answered 500 token=[REDACTED]");
        let server = Server { name: "a\nb".into(), ..Server::default() };
        let report = report.with_server(server, vec!["b".into(), "a".into(), "b".into()]);
        assert_eq!(report.server().map(|server| server.name.as_str()), Some("a b"));
        assert_eq!(report.tools(), Some(["a".to_owned(), "b".to_owned()].as_slice()));
    }

    #[test]
    fn the_words_of_reasons_are_those_of_the_json() {
        for reason in [
            ProbeReason::Reachable,
            ProbeReason::AuthRequired,
            ProbeReason::NameNotResolved,
            ProbeReason::ConnectionRefused,
            ProbeReason::ConnectionFailed,
            ProbeReason::Timeout,
            ProbeReason::TLSError,
            ProbeReason::HTTPStatus,
            ProbeReason::NotMCP,
            ProbeReason::ProtocolError,
            ProbeReason::ProcessNotReady,
            ProbeReason::SecretNotFound,
            ProbeReason::NotGranted,
            ProbeReason::Invalid,
        ] {
            assert_eq!(serde_json::to_value(reason).expect("a word"), json!(reason.word()));
        }
    }

    #[test]
    fn a_status_without_anything_is_unknown() {
        let status: ProbeStatus = serde_json::from_value(json!({})).expect("all fields have defaults");
        assert_eq!(status, ProbeStatus::default());
        let kept = json!({ "state": "Healthy", "observedGeneration": 4, "conditions": [{ "type": "Ready" }] });
        let status: ProbeStatus = serde_json::from_value(kept).expect("the host's fields are left alone");
        assert_eq!(status.state, ProbeState::Healthy);
    }
}
