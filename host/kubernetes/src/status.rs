//! What an API server says when it does not do what was asked: its `Status`, read as far as anything is
//! decided by it.

use serde::Deserialize;
use setpoint_core::sanitize::sanitize;

/// The answer of an API server to a request that it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiStatus {
    pub(crate) code: u16,
    /// CamelCase, such as `Conflict`; empty if the answer was no `Status`.
    pub(crate) reason: String,
    /// For people, without credentials.
    pub(crate) message: String,
    pub(crate) details: Details,
    /// How long to wait before the next request, in seconds.
    pub(crate) retry_after: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Details {
    pub(crate) name: String,
    pub(crate) group: String,
    /// The resource, such as `configmaps`, whatever the field is called.
    pub(crate) kind: String,
    pub(crate) causes: Vec<StatusCause>,
    pub(crate) retry_after_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct StatusCause {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    kind: String,
    code: u16,
    reason: String,
    message: String,
    details: Option<Details>,
}

impl ApiStatus {
    /// Reads the body of an answer that is no success.
    pub(crate) fn read(code: u16, retry_after: Option<u64>, body: &[u8]) -> Self {
        let raw = serde_json::from_slice::<Raw>(body).ok().filter(|raw| raw.kind == "Status");
        let Some(raw) = raw else {
            // Not an API server, or something in front of it. Its text is for people at most.
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            return Self { code, message: sanitize(&text), retry_after, ..Self::default() };
        };
        let details = raw.details.unwrap_or_default();
        Self {
            code: if code == 200 { raw.code } else { code },
            reason: raw.reason,
            message: sanitize(&raw.message),
            retry_after: retry_after.or(details.retry_after_seconds.filter(|after| *after > 0)),
            details,
        }
    }

    /// A sentence for people.
    pub(crate) fn text(&self) -> String {
        match (self.message.as_str(), self.reason.as_str()) {
            ("", "") => format!("the server answered {}", self.code),
            ("", reason) => format!("the server answered {} {reason}", self.code),
            (message, _) => message.to_owned(),
        }
    }

    /// Whether the version that was asked for is not there any more, or never was.
    pub(crate) fn is_expired(&self) -> bool {
        // A server whose store was restored from a backup has not come so far yet.
        let from_the_future = || self.details.causes.iter().any(|cause| cause.reason == "ResourceVersionTooLarge");
        self.code == 410 || matches!(self.reason.as_str(), "Expired" | "Gone") || from_the_future()
    }

    /// Whether the server is too busy, or not ready, and did nothing.
    pub(crate) fn is_busy(&self) -> bool {
        self.code == 429 || self.code == 503 && self.retry_after.is_some()
    }

    /// Whether a right of this kind was missing: not every 403 is one.
    pub(crate) fn is_missing_right(&self) -> bool {
        self.code == 403 && self.message.contains(" cannot ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_what_is_none_is_cut_short() {
        let status = ApiStatus::read(
            409,
            None,
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Apply failed","reason":"Conflict",
                "details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\"","field":".data.a"}]},"code":409}"#,
        );
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
        assert_eq!(status.details.causes[0].field, ".data.a");
        let other = ApiStatus::read(502, Some(3), b"<html>\n  Bad Gateway Authorization: Bearer abcdefghijkl</html>");
        assert_eq!(other.retry_after, Some(3));
        assert!(other.text().contains("Bad Gateway") && !other.text().contains("abcdefghijkl"), "{}", other.text());
        assert_eq!(ApiStatus::read(500, None, b"").text(), "the server answered 500");
    }

    #[test]
    fn versions_of_the_past_and_of_the_future_are_not_to_be_had() {
        let old = br#"{"kind":"Status","message":"too old resource version","reason":"Expired","code":410}"#;
        assert!(ApiStatus::read(200, None, old).is_expired(), "as an event of a watch");
        let new = br#"{"kind":"Status","message":"Too large resource version: 9, current: 5","reason":"Timeout",
            "details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"m"}],"retryAfterSeconds":1},"code":504}"#;
        assert!(ApiStatus::read(504, None, new).is_expired());
    }

    #[test]
    fn seconds_to_wait_are_read_from_header_or_details() {
        let body = br#"{"kind":"Status","message":"m","reason":"TooManyRequests","details":{"retryAfterSeconds":4},"code":429}"#;
        assert_eq!(ApiStatus::read(429, None, body).retry_after, Some(4));
        assert_eq!(ApiStatus::read(429, Some(9), body).retry_after, Some(9));
        assert!(ApiStatus::read(429, None, body).is_busy());
    }
}
