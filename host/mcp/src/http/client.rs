//! Requests over HTTP: headers that are secret, redirects that are bounded, failures that have a class.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use setpoint_core::probe::ProbeReason;

use super::connect::{Access, Connector, Step, Trail};
use super::tls::Tls;
use super::url::{self, Origin};
use crate::failure::Failure;

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Shorter values are in other texts by chance.
const SHORTEST_SECRET: usize = 6;

/// Headers of which the values are secret: they show in no message, and `Debug` does not show them.
#[derive(Clone, Default)]
pub struct SecretHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecretHeaders {
    /// Headers with these names and values.
    ///
    /// # Errors
    /// A name or a value that no header has, or one that the protocol sets by itself; the message shows no value.
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Failure> {
        let invalid = |why: String| Failure::new(ProbeReason::Invalid, why);
        let mut list = Vec::new();
        for (name, value) in headers {
            let known: HeaderName =
                name.parse().map_err(|_| invalid(format!("{name:?} cannot be the name of a header")))?;
            if RESERVED.contains(&known.as_str()) {
                return Err(invalid(format!("header {name:?} is set by the host itself")));
            }
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| invalid(format!("the value of header {name:?} has characters that no header has")))?;
            value.set_sensitive(true);
            list.push((known, value));
        }
        Ok(Self(list))
    }

    /// The text without values of these headers, should a server have repeated them.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (_, value) in &self.0 {
            let Ok(value) = value.to_str() else {
                continue;
            };
            for secret in [value, value.rsplit(' ').next().unwrap_or_default()] {
                if secret.len() >= SHORTEST_SECRET {
                    text = text.replace(secret, "[REDACTED]");
                }
            }
        }
        text
    }
}

/// Headers that connections and the protocol need as they are.
const RESERVED: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl fmt::Debug for SecretHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name.as_str())).finish()
    }
}

/// An HTTP client for one endpoint. Its connections are kept for its next request, and closed with it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client<Connector, Full<Bytes>>,
    headers: SecretHeaders,
    trail: Trail,
    garbage: ProbeReason,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Statuses that are wanted as they are: such a redirect is not followed.
    pub(crate) wanted: Vec<u16>,
}

impl Ask {
    pub(crate) fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: HeaderMap::new(), body: Bytes::new(), wanted: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        // What a server has sent as a header can be sent back; anything else is ours.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// The head of an answer, with its body to come.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What was asked last, after redirects.
    pub(crate) what: String,
    pub(crate) response: Response<Incoming>,
}

impl Http {
    /// `garbage`: the class of a failure when what answers does not speak HTTP.
    pub(crate) fn new(
        tls: Arc<Tls>,
        access: Access,
        headers: SecretHeaders,
        trail: Trail,
        garbage: ProbeReason,
    ) -> Self {
        let connector = Connector { tls, access, trail: trail.clone() };
        // Without a timer for idle connections nothing wakes up: they go when this client goes.
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(None).pool_max_idle_per_host(4).build(connector);
        Self { inner: Arc::new(Inner { client, headers, trail, garbage }) }
    }

    /// Sends a request, and follows redirects: a few, only to hosts that may be reached, never from HTTPS to HTTP, and
    /// with the secret headers only as long as the origin stays.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, Failure> {
        let home = Origin::of(&ask.uri);
        let (mut uri, mut method, mut body) = (ask.uri.clone(), ask.method.clone(), ask.body.clone());
        for _ in 0..=REDIRECTS {
            let answer = self.once(ask, &uri, &method, &body, &home).await?;
            let status = answer.response.status();
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirects || ask.wanted.contains(&status.as_u16()) {
                return Ok(answer);
            }
            let Some(location) = answer.response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Ok(answer);
            };
            let failed = |why: &str| {
                let why = format!("{} redirects {why}", answer.what);
                Failure::new(ProbeReason::HTTPStatus, why).with_status(status.as_u16())
            };
            let Some(next) = url::join(&uri, location) else {
                return Err(failed("to what is no URL to ask for"));
            };
            if Origin::of(&uri).is_weaker(&Origin::of(&next)) {
                return Err(failed("from HTTPS to HTTP, which is not followed"));
            }
            if status == StatusCode::SEE_OTHER && method != Method::HEAD {
                (method, body) = (Method::GET, Bytes::new());
            }
            uri = next;
        }
        let why = format!("{} {} redirects more than {REDIRECTS} times", ask.method, ask.uri);
        Err(Failure::new(ProbeReason::HTTPStatus, why))
    }

    async fn once(
        &self,
        ask: &Ask,
        uri: &Uri,
        method: &Method,
        body: &Bytes,
        home: &Origin,
    ) -> Result<Answer, Failure> {
        let what = format!("{method} {uri}");
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("setpoint/", env!("CARGO_PKG_VERSION"))));
        if home.trusts(&Origin::of(uri)) {
            for (name, value) in &self.inner.headers.0 {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in &ask.headers {
            headers.insert(name, value.clone());
        }
        if body.is_empty() {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_LENGTH);
        }
        match self.inner.client.request(request).await {
            Ok(response) => {
                self.inner.trail.is_at(Step::Waiting);
                Ok(Answer { what, response })
            }
            Err(error) => Err(classify(&what, &error, self.inner.garbage)),
        }
    }
}

/// The failure that a connector found, or that the connection broke. `garbage`: the class of what is no HTTP.
fn classify(what: &str, error: &(dyn Error + 'static), garbage: ProbeReason) -> Failure {
    let (mut deepest, mut is_http) = (error, true);
    loop {
        if let Some(failure) = deepest.downcast_ref::<Failure>() {
            return failure.clone();
        }
        is_http &= !deepest.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        match deepest.source() {
            Some(source) => deepest = source,
            None => break,
        }
    }
    if is_http {
        Failure::new(ProbeReason::ConnectionFailed, format!("{what}: the connection broke: {deepest}"))
    } else {
        Failure::new(garbage, format!("{what}: the answer is no HTTP: {deepest}"))
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The media type of the body, in lower case.
    pub(crate) fn media_type(&self) -> Option<String> {
        Some(self.header("content-type")?.split(';').next()?.trim().to_ascii_lowercase())
    }

    /// The failure that this status is: 401 asks who is there.
    pub(crate) fn refused(&self) -> Failure {
        let status = self.response.status();
        let text = match status.canonical_reason() {
            Some(reason) => format!("{} answered {} {reason}", self.what, status.as_u16()),
            None => format!("{} answered {}", self.what, status.as_u16()),
        };
        let reason = match status {
            StatusCode::UNAUTHORIZED => ProbeReason::AuthRequired,
            _ => ProbeReason::HTTPStatus,
        };
        Failure::new(reason, text).with_status(status.as_u16())
    }

    /// The whole body, if it is no longer than that.
    pub(crate) async fn whole(self, longest: usize) -> Result<Bytes, Failure> {
        let status = self.status();
        match Limited::new(self.response.into_body(), longest).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let why = format!("{}: the answer is longer than {longest} bytes", self.what);
                Err(Failure::new(ProbeReason::ProtocolError, why).with_status(status))
            }
            Err(error) => {
                let why = format!("{}: the connection broke within the answer: {error}", self.what);
                Err(Failure::new(ProbeReason::ConnectionFailed, why).with_status(status))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_headers_show_nowhere() {
        let headers = SecretHeaders::new([("Authorization", "Bearer hunter22"), ("X-Key", "longsecret")]);
        let headers = headers.expect("two headers");
        assert_eq!(format!("{headers:?}"), r#"{"authorization", "x-key"}"#);
        assert_eq!(headers.scrub("bad token hunter22, or longsecret!"), "bad token [REDACTED], or [REDACTED]!");
        for (name, value) in [("a b", "hunter22"), ("X", "hunter22\n"), ("Host", "hunter22")] {
            let refused = SecretHeaders::new([(name, value)]);
            assert!(refused.is_err_and(|failure| !failure.message().contains("hunter22")));
        }
    }
}
