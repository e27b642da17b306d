//! JSON bodies of requests: of the right type, not too large, and without fields that nobody knows. A
//! mistyped filter would select everything.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::codes::Code;
use super::error::ApiError;
use super::params::FILTERS;
use crate::config::nearest;
use crate::views::{PlanRequest, ReleaseRequest};

/// No body is longer, in bytes.
pub(super) const MOST: usize = 1 << 20;

/// The fields of a body.
pub(super) trait Fields {
    /// The names of all of them.
    fn names() -> Vec<&'static str>;
}

impl Fields for PlanRequest {
    fn names() -> Vec<&'static str> {
        FILTERS.to_vec()
    }
}

impl Fields for ReleaseRequest {
    fn names() -> Vec<&'static str> {
        FILTERS.into_iter().chain(["delete_children"]).collect()
    }
}

/// The body of a request.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Fields, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        check_type(request.headers())?;
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let text = rejection.body_text();
            match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(Code::BodyTooLarge, format!("the body has more than {MOST} bytes"))
                }
                _ => ApiError::bad_request(format!("the body could not be read: {text}")),
            }
        })?;
        parse(&bytes).map(Self)
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = match essence {
        "" => "the request does not say what its body is".to_owned(),
        other => format!("the body is {other:?}, and JSON is expected"),
    };
    Err(ApiError::new(Code::NotJson, message).hint("send the header `Content-Type: application/json`"))
}

fn parse<T: DeserializeOwned + Fields>(bytes: &[u8]) -> Result<T, ApiError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
    let Value::Object(map) = &value else {
        return Err(ApiError::new(Code::BadJson, "the body is no JSON object"));
    };
    let known = T::names();
    if let Some(name) = map.keys().find(|name| !known.contains(&name.as_str())) {
        let hint = match nearest(name, &known) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("known are {}", known.join(", ")),
        };
        return Err(ApiError::new(Code::BadJson, format!("the body has an unknown field {name:?}")).hint(hint));
    }
    serde_json::from_slice(bytes).map_err(|error| wrong(&error))
}

fn wrong(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    // It ends with the place, which stands in front here as it does everywhere.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    ApiError::new(Code::BadJson, format!("the body, {}:{}: {text}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Option<String> {
        parse::<ReleaseRequest>(body.as_bytes()).err().and_then(|error| serde_json::to_string(&error).ok())
    }

    #[test]
    fn a_body_is_taken_field_by_field() {
        let parsed = parse::<ReleaseRequest>(br#"{"kind": "cm", "delete_children": true}"#);
        assert!(parsed.is_ok_and(|request| request.filter.kind.as_deref() == Some("cm") && request.delete_children));
    }

    #[test]
    fn a_mistyped_field_is_an_error_with_the_word_that_was_meant() {
        let text = refused(r#"{"kind": "cm", "nmae": "a"}"#).unwrap_or_default();
        assert!(text.contains("unknown field") && text.contains(r#"did you mean \"name\"?"#), "{text}");
        assert!(parse::<PlanRequest>(br#"{"delete_children": true}"#).is_err());
    }

    #[test]
    fn what_is_no_json_is_told_with_line_and_column() {
        let text = refused("{\"kind\":\n  nothing}").unwrap_or_default();
        assert!(text.contains("the body, 2:") && text.contains("bad_json") && !text.contains("at line"), "{text}");
        let text = refused(r#"{"kind": "cm", "delete_children": 7}"#).unwrap_or_default();
        assert!(text.contains("the body, 1:") && text.contains("boolean"), "{text}");
        assert!(refused("[]").is_some() && refused("").is_some());
    }

    #[test]
    fn only_json_is_read_as_json() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static(value));
            check_type(&headers)
        };
        assert!(with("application/json").is_ok() && with("Application/JSON; charset=utf-8").is_ok());
        assert!(with("text/plain").is_err() && with("application/x-www-form-urlencoded").is_err());
        assert!(check_type(&HeaderMap::new()).is_err());
    }
}
