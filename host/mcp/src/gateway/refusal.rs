//! Answers of the gateway itself: an HTTP status for machines on the way, a JSON-RPC error for the client.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::message::{self, INVALID_REQUEST, Id, PARSE_ERROR, UNAVAILABLE};

/// Why a request is not passed on.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: i64,
    why: String,
    id: Option<Id>,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, code: i64, why: impl Into<String>) -> Self {
        Self { status, code, why: why.into(), id: None, retry_after: None }
    }

    /// The client got the protocol wrong.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, why)
    }

    /// The client got HTTP wrong.
    pub(super) fn with_status(status: StatusCode, why: impl Into<String>) -> Self {
        Self::new(status, INVALID_REQUEST, why)
    }

    /// The body is no message.
    pub(super) fn no_message() -> Self {
        let why = "the body is no JSON-RPC message, and no batch of a few";
        Self::new(StatusCode::BAD_REQUEST, PARSE_ERROR, why)
    }

    /// There is no such server.
    pub(super) fn unknown(namespace: &str, name: &str) -> Self {
        let why = format!("there is no MCP server {namespace}/{name}; `setpoint get processes` lists what runs");
        Self::new(StatusCode::NOT_FOUND, UNAVAILABLE, why)
    }

    /// The session is gone, which a client answers by a new one.
    pub(super) fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, UNAVAILABLE, "this session has ended; initialize a new one")
    }

    /// The server is known, and cannot be asked now.
    pub(super) fn down(why: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let retry_after = Some(retry_after.unwrap_or(Duration::from_secs(1)));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, why) }
    }

    /// As the answer to this request.
    pub(super) fn to(mut self, id: Option<&Id>) -> Self {
        self.id = id.cloned();
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, message::error(self.id.as_ref(), self.code, &self.why));
        if let Some(after) = self.retry_after {
            // Whole seconds, never too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}
