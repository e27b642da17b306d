//! What is to be looked at, how, and how often: `spec` of a Probe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::native::SecretKeyRef;

/// What a Probe looks at, and when. Reads and writes exactly the JSON of the kind's `spec`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ProbeSpec {
    /// The endpoint.
    pub target: Target,
    /// When, and how often before the state changes.
    pub timing: Timing,
    /// Any change of it asks for an attempt at once.
    pub triggered_at: Option<String>,
}

/// One endpoint, and what has to be spoken there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A connection can be made.
    Tcp(TcpTarget),
    /// A request is answered with a status that was expected.
    Http(HttpTarget),
    /// A server of the Model Context Protocol answers `initialize` and names its tools.
    Mcp(McpTarget),
}

/// A host and a port to connect to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpTarget {
    /// Name or address.
    pub host: String,
    /// Port, from 1.
    pub port: u16,
}

/// A URL to ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpTarget {
    /// `http://` or `https://`.
    pub url: String,
    /// Default GET.
    #[serde(default)]
    pub method: Method,
    /// Sent with the request, and with those that follow a redirect to the same origin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// Statuses that are fine; empty: 200 to 399.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_status: Vec<u16>,
}

impl HttpTarget {
    /// Whether an answer with this status is the expected one.
    pub fn expects(&self, status: u16) -> bool {
        if self.expected_status.is_empty() {
            (200..400).contains(&status)
        } else {
            self.expected_status.contains(&status)
        }
    }
}

/// How a URL is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Method {
    /// The whole answer.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// Only its head.
    #[serde(rename = "HEAD")]
    Head,
}

/// A server of the Model Context Protocol.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "kebab-case")]
pub enum McpTarget {
    /// On the standard input and output of a Process of the same namespace.
    Stdio {
        /// The Process' name.
        process: String,
    },
    /// At a URL, streamable HTTP.
    StreamableHttp {
        /// `http://` or `https://`.
        url: String,
        /// Sent with each request.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<Header>,
    },
    /// At a URL, HTTP with server-sent events, as before protocol version 2025-03-26.
    Sse {
        /// `http://` or `https://`, of the event stream.
        url: String,
        /// Sent with each request.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<Header>,
    },
}

impl Target {
    /// The headers that have to be resolved before an attempt.
    pub fn headers(&self) -> &[Header] {
        match self {
            Target::Http(HttpTarget { headers, .. })
            | Target::Mcp(McpTarget::StreamableHttp { headers, .. } | McpTarget::Sse { headers, .. }) => headers,
            Target::Tcp(_) | Target::Mcp(McpTarget::Stdio { .. }) => &[],
        }
    }

    /// The Process on whose standard input and output the target speaks.
    pub fn process(&self) -> Option<&str> {
        match self {
            Target::Mcp(McpTarget::Stdio { process }) => Some(process),
            _ => None,
        }
    }
}

/// A header of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "WrittenHeader", into = "WrittenHeader")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Where its value is.
    pub value: HeaderValue,
}

/// Where the value of a header is. `Debug` does not show a value.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// Here.
    Plain(String),
    /// In a Secret of the Probe's namespace.
    Secret(SecretKeyRef),
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderValue::Plain(_) => f.write_str("Plain(…)"),
            HeaderValue::Secret(key) => f.debug_tuple("Secret").field(key).finish(),
        }
    }
}

/// When an endpoint is looked at, in milliseconds, and how often before the state changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From the end of an attempt to the next one. Default 30 s, at least 1 s.
    pub interval: Time,
    /// The longest that an attempt takes. Default 30 s, 1 s to 300 s.
    pub timeout: Time,
    /// Answers in a row until an unhealthy endpoint is none any more. Default 1.
    pub success_threshold: u32,
    /// Failures in a row until an endpoint that answered is unhealthy. Default 1. One that never answered
    /// is unhealthy with the first.
    pub failure_threshold: u32,
    /// The delay after the first failure that counts; doubles with each. Default 30 s.
    pub first_backoff: Time,
    /// The delay does not grow beyond this. Default 120 s.
    pub longest_backoff: Time,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: 30_000,
            timeout: 30_000,
            success_threshold: 1,
            failure_threshold: 1,
            first_backoff: 30_000,
            longest_backoff: 120_000,
        }
    }
}

impl Timing {
    /// The delay after the `failures`th failure (1 is the first) since the endpoint is unhealthy.
    pub fn backoff(&self, failures: u32) -> Time {
        let doubled = self.first_backoff.saturating_mul(1u64 << failures.saturating_sub(1).min(40));
        doubled.min(self.longest_backoff.max(self.first_backoff))
    }
}

/// What is wrong with a `spec` that the schema lets through, or that came without it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeSpecError {
    /// None or several of the three targets.
    #[error("spec: exactly one of tcp, http and mcp is needed, {0} are given")]
    Targets(usize),
    /// A number out of its range.
    #[error("spec.{field}: must be from {least} to {most}, is {value}")]
    Range {
        /// Path below `spec`.
        field: &'static str,
        /// What was given.
        value: i64,
        /// The smallest that is allowed.
        least: i64,
        /// The largest that is allowed.
        most: i64,
    },
    /// A header without a value, or with two.
    #[error("header {0:?}: exactly one of value and valueFrom is needed")]
    HeaderValue(String),
}

/// The longest of all times, in seconds: a year.
const LONGEST: i64 = 31_536_000;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcp: Option<McpTarget>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    success_threshold: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_threshold: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<WrittenBackoff>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    triggered_at: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenBackoff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_seconds: Option<i64>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenHeader {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_from: Option<WrittenSource>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSource {
    secret_key_ref: SecretKeyRef,
}

impl TryFrom<WrittenHeader> for Header {
    type Error = ProbeSpecError;

    fn try_from(written: WrittenHeader) -> Result<Self, Self::Error> {
        let value = match (written.value, written.value_from) {
            (Some(value), None) => HeaderValue::Plain(value),
            (None, Some(source)) => HeaderValue::Secret(source.secret_key_ref),
            _ => return Err(ProbeSpecError::HeaderValue(written.name)),
        };
        Ok(Header { name: written.name, value })
    }
}

impl From<Header> for WrittenHeader {
    fn from(header: Header) -> Self {
        let (value, value_from) = match header.value {
            HeaderValue::Plain(value) => (Some(value), None),
            HeaderValue::Secret(secret_key_ref) => (None, Some(WrittenSource { secret_key_ref })),
        };
        WrittenHeader { name: header.name, value, value_from }
    }
}

/// A number within its range, or what is wrong with it.
fn within(field: &'static str, value: Option<i64>, default: i64, range: (i64, i64)) -> Result<u64, ProbeSpecError> {
    let (least, most) = range;
    let value = value.unwrap_or(default);
    match u64::try_from(value) {
        Ok(number) if (least..=most).contains(&value) => Ok(number),
        _ => Err(ProbeSpecError::Range { field, value, least, most }),
    }
}

impl TryFrom<Written> for ProbeSpec {
    type Error = ProbeSpecError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let targets = [written.tcp.map(Target::Tcp), written.http.map(Target::Http), written.mcp.map(Target::Mcp)];
        let count = targets.iter().flatten().count();
        let target = targets.into_iter().flatten().next().filter(|_| count == 1);
        let target = target.ok_or(ProbeSpecError::Targets(count))?;
        if let Target::Tcp(tcp) = &target {
            within("tcp.port", Some(tcp.port.into()), 0, (1, 65_535))?;
        }
        let threshold = |field, value| within(field, value, 1, (1, i32::MAX.into())).map(|n| n as u32);
        let backoff = written.backoff.unwrap_or_default();
        let timing = Timing {
            interval: 1_000 * within("intervalSeconds", written.interval_seconds, 30, (1, LONGEST))?,
            timeout: 1_000 * within("timeoutSeconds", written.timeout_seconds, 30, (1, 300))?,
            success_threshold: threshold("successThreshold", written.success_threshold)?,
            failure_threshold: threshold("failureThreshold", written.failure_threshold)?,
            first_backoff: 1_000 * within("backoff.initialSeconds", backoff.initial_seconds, 30, (1, LONGEST))?,
            longest_backoff: 1_000 * within("backoff.maxSeconds", backoff.max_seconds, 120, (1, LONGEST))?,
        };
        Ok(ProbeSpec { target, timing, triggered_at: written.triggered_at })
    }
}

impl From<ProbeSpec> for Written {
    fn from(spec: ProbeSpec) -> Self {
        let seconds = |time: Time| Some((time / 1_000) as i64);
        let (mut tcp, mut http, mut mcp) = (None, None, None);
        match spec.target {
            Target::Tcp(target) => tcp = Some(target),
            Target::Http(target) => http = Some(target),
            Target::Mcp(target) => mcp = Some(target),
        }
        Written {
            tcp,
            http,
            mcp,
            interval_seconds: seconds(spec.timing.interval),
            timeout_seconds: seconds(spec.timing.timeout),
            success_threshold: Some(spec.timing.success_threshold.into()),
            failure_threshold: Some(spec.timing.failure_threshold.into()),
            backoff: Some(WrittenBackoff {
                initial_seconds: seconds(spec.timing.first_backoff),
                max_seconds: seconds(spec.timing.longest_backoff),
            }),
            triggered_at: spec.triggered_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Result<ProbeSpec, String> {
        serde_json::from_value(spec).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let spec = read(json!({ "tcp": { "host": "localhost", "port": 80 } })).expect("a small spec");
        assert_eq!(spec.timing, Timing::default());
        assert_eq!(spec.triggered_at, None);
        let http = read(json!({ "http": { "url": "http://localhost/" } })).expect("a small spec");
        let Target::Http(http) = http.target else { panic!("{http:?}") };
        assert_eq!(http.method, Method::Get);
        assert!(http.expects(200) && http.expects(399) && !http.expects(400) && !http.expects(199));
    }

    #[test]
    fn a_spec_reads_what_it_writes() {
        let secret = json!({ "name": "X-Key", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } });
        let plain = json!({ "name": "Accept", "value": "text/plain" });
        for target in [
            json!({ "tcp": { "host": "localhost", "port": 80 } }),
            json!({ "http": { "url": "http://x/", "method": "HEAD", "headers": [secret, plain], "expectedStatus": [204] } }),
            json!({ "mcp": { "transport": "stdio", "process": "p" } }),
            json!({ "mcp": { "transport": "streamable-http", "url": "https://x/mcp", "headers": [secret] } }),
            json!({ "mcp": { "transport": "sse", "url": "https://x/sse" } }),
        ] {
            let mut written = json!({
                "intervalSeconds": 5, "timeoutSeconds": 2, "successThreshold": 2, "failureThreshold": 3,
                "backoff": { "initialSeconds": 1, "maxSeconds": 9 }, "triggeredAt": "2026-01-01T00:00:00Z",
            });
            for (key, value) in target.as_object().expect("an object") {
                written[key] = value.clone();
            }
            let spec = read(written.clone()).expect("a full spec");
            assert_eq!(serde_json::to_value(&spec).expect("a spec is JSON"), written);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        for (spec, part) in [
            (json!({}), "exactly one of tcp, http and mcp is needed, 0 are given"),
            (json!({ "tcp": { "host": "a", "port": 1 }, "http": { "url": "http://a" } }), "2 are given"),
            (json!({ "tcp": { "host": "a", "port": 0 } }), "spec.tcp.port: must be from 1 to 65535, is 0"),
            (
                json!({ "tcp": { "host": "a", "port": 1 }, "intervalSeconds": 0 }),
                "spec.intervalSeconds: must be from 1",
            ),
            (json!({ "tcp": { "host": "a", "port": 1 }, "timeoutSeconds": 301 }), "from 1 to 300, is 301"),
            (json!({ "tcp": { "host": "a", "port": 1 }, "backoff": { "maxSeconds": -1 } }), "spec.backoff.maxSeconds"),
            (json!({ "http": { "url": "http://a", "headers": [{ "name": "X" }] } }), "header \"X\": exactly one of"),
            (json!({ "mcp": { "transport": "pigeon", "url": "http://a" } }), "pigeon"),
        ] {
            let refused = read(spec.clone());
            assert!(refused.as_ref().is_err_and(|text| text.contains(part)), "{spec}: {refused:?}");
        }
    }

    #[test]
    fn debug_shows_no_value_of_a_header() {
        let spec = read(json!({ "http": { "url": "http://a", "headers": [{ "name": "X", "value": "hunter2" }] } }));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn the_backoff_doubles_up_to_its_longest() {
        let timing = Timing::default();
        let delays: Vec<Time> = (1..=5).map(|failures| timing.backoff(failures) / 1_000).collect();
        assert_eq!(delays, [30, 60, 120, 120, 120]);
        assert_eq!(timing.backoff(u32::MAX), 120_000);
        let odd = Timing { first_backoff: 9_000, longest_backoff: 1_000, ..timing };
        assert_eq!(odd.backoff(3), 9_000, "never shorter than the first");
    }
}
