//! What the API says when it does not do what was asked.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use setpoint_core::selector::SelectorError;

use super::codes::Code;
use crate::plan::PlanError;
use crate::release::ReleaseError;

/// An answer that is no success: `{"error": {"code", "message", "hint"}}` with the status of the code.
/// [`error_codes`](super::error_codes) lists all codes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ApiError {
    /// One word for programs.
    code: Code,
    /// What is wrong, one sentence.
    message: String,
    /// What to do; none if there is nothing to say.
    hint: Option<String>,
}

impl ApiError {
    /// An error of a code.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The request makes no sense.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// The same with what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::new(Code::BadSelector, error.to_string())
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let text = error.to_string();
        match error {
            PlanError::Selector(error) => error.into(),
            PlanError::NoKind => Self::bad_request(text).hint("give it as `kind`"),
            PlanError::UnknownKind(_) => Self::new(Code::KindUnknown, text),
            PlanError::NotReconciled(_) => Self::new(Code::NotReconciled, text).hint(PLUGINS),
            PlanError::TooMany(_) => Self::new(Code::TooMany, text).hint("give a name, a namespace or labels"),
        }
    }
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        let text = error.to_string();
        match error {
            ReleaseError::Selector(error) => error.into(),
            ReleaseError::NoKind => Self::bad_request(text).hint("give it as `kind`"),
            ReleaseError::UnknownKind(_) => Self::new(Code::KindUnknown, text),
            ReleaseError::Ambiguous { .. } => Self::new(Code::KindAmbiguous, text).hint("give the group as well"),
            ReleaseError::Reconciled { kind, .. } => {
                Self::new(Code::StillReconciled, text).hint(format!("`setpoint disable {kind}` disables the kind"))
            }
            ReleaseError::Running(_) => Self::new(Code::StillRunning, text),
            ReleaseError::NotFound { .. } => Self::new(Code::NotFound, text),
            ReleaseError::Incomplete { .. } => Self::new(Code::ReleaseIncomplete, text),
            ReleaseError::Stopping => Self::new(Code::Stopping, text),
        }
    }
}

/// The hint where a plugin is missing.
pub(super) const PLUGINS: &str = "`setpoint plugins` shows the plugins that run and why others do not";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut response = (status, Json(json!({ "error": &self }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
