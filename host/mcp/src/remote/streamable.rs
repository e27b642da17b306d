//! Streamable HTTP: the SDK's transport over our requests.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method};
use futures_util::stream::BoxStream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::NeverRetry;
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use setpoint_core::probe::ProbeReason;
use sse_stream::Sse;

use super::{FirstFailure, LONGEST};
use crate::failure::Failure;
use crate::http::{Answer, Ask, Http, events, parse_url};
use crate::message;

type Failed = StreamableHttpError<Failure>;

/// Sends the SDK's messages.
#[derive(Clone, Debug)]
pub struct Streamable {
    http: Http,
    first: FirstFailure,
    listens: bool,
}

/// The SDK's transport over our requests.
pub type StreamableTransport = StreamableHttpClientTransport<Streamable>;

/// A transport to this URL. `listens`: it opens the stream of notifications as well; who only looks at a server does not
/// stay for that.
pub(crate) fn streamable(http: Http, url: &str, first: FirstFailure, listens: bool) -> StreamableTransport {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.retry_config = Arc::new(NeverRetry::default());
    config.max_json_response_size = LONGEST;
    config.max_sse_event_size = LONGEST;
    StreamableHttpClientTransport::with_client(Streamable { http, first, listens }, config)
}

impl Streamable {
    fn failed(&self, failure: Failure) -> Failed {
        self.first.keep(&failure);
        StreamableHttpError::Client(failure)
    }

    async fn ask(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
        body: String,
    ) -> Result<Answer, Failure> {
        let accept = match method {
            Method::POST => "application/json, text/event-stream",
            _ => "text/event-stream",
        };
        let mut ask = Ask::new(method, parse_url(uri)?).header("accept", accept).body(body);
        ask.headers.extend(headers);
        if !ask.body.is_empty() {
            ask = ask.header("content-type", "application/json");
        }
        if let Some(session) = session {
            ask = ask.header("mcp-session-id", session);
        }
        self.http.send(&ask).await
    }

    async fn post(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let body = serde_json::to_string(&message)?;
        let asked = self.ask(Method::POST, &uri, session.as_deref(), headers, body).await;
        let answer = asked.map_err(|failure| self.failed(failure))?;
        let status = answer.status();
        let is_request = matches!(message, ClientJsonRpcMessage::Request(_));
        if status == 404 && session.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if status == 401 {
            let challenge = answer.header("www-authenticate").map(str::to_owned);
            self.first.keep(&answer.refused());
            return Err(match challenge {
                Some(challenge) => StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge)),
                None => StreamableHttpError::Client(answer.refused()),
            });
        }
        let media = answer.media_type();
        let refused = answer.refused();
        if !(200..300).contains(&status) {
            // A server may say in its own words what is wrong.
            if media.as_deref() == Some("application/json") && is_request {
                let said = answer.whole(limits.max_error_response_size).await.ok();
                let said = said.and_then(|body| serde_json::from_slice::<ServerJsonRpcMessage>(&body).ok());
                if let Some(error @ ServerJsonRpcMessage::Error(_)) = said {
                    return Ok(StreamableHttpPostResponse::Json(error, None));
                }
            }
            return Err(self.failed(refused));
        }
        let session = answer.header("mcp-session-id").map(str::to_owned);
        match media.as_deref() {
            Some("text/event-stream") => {
                let events = events(answer.response.into_body(), limits.max_sse_event_size);
                Ok(StreamableHttpPostResponse::Sse(events, session))
            }
            _ if !is_request => Ok(StreamableHttpPostResponse::Accepted),
            Some("application/json") => {
                let what = answer.what.clone();
                let body = answer.whole(limits.max_json_response_size).await.map_err(|failure| self.failed(failure))?;
                match serde_json::from_slice(&body) {
                    Ok(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
                    Err(error) => Err(self.failed(misunderstood(&what, &body, &error, status))),
                }
            }
            other => {
                let kind = other.map_or("something without a type".to_owned(), str::to_owned);
                let why = format!("{} answered {kind}, which is no MCP", answer.what);
                Err(self.failed(Failure::new(ProbeReason::NotMCP, why).with_status(status)))
            }
        }
    }
}

/// JSON that is no message is another thing than a message that is not as the protocol has it.
fn misunderstood(what: &str, body: &[u8], error: &serde_json::Error, status: u16) -> Failure {
    let failure = match message::parse(body) {
        Ok(_) => Failure::new(ProbeReason::ProtocolError, format!("{what}: the answer is not as MCP has it: {error}")),
        Err(_) => Failure::new(ProbeReason::NotMCP, format!("{what}: the answer is no message of MCP")),
    };
    failure.with_status(status)
}

impl StreamableHttpClient for Streamable {
    type Error = Failure;

    fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> impl Future<Output = Result<StreamableHttpPostResponse, Failed>> + Send + '_ {
        self.post(uri, message, session, headers, StreamableHttpResponseLimits::default())
    }

    fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> impl Future<Output = Result<StreamableHttpPostResponse, Failed>> + Send + '_ {
        self.post(uri, message, session, headers, limits)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let asked = self.ask(Method::DELETE, &uri, Some(&session), headers, String::new()).await;
        match asked.map_err(StreamableHttpError::Client)?.status() {
            405 => Err(StreamableHttpError::ServerDoesNotSupportDeleteSession),
            _ => Ok(()),
        }
    }

    fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        authorization: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Sse, SseError>>, Failed>> + Send + '_ {
        self.get_stream_with_max_sse_event_size(uri, session, last_event, authorization, headers, LONGEST)
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        mut headers: HashMap<HeaderName, HeaderValue>,
        longest: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        if !self.listens {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        if let Some(id) = last_event.and_then(|id| HeaderValue::from_str(&id).ok()) {
            headers.insert(HeaderName::from_static("last-event-id"), id);
        }
        let asked = self.ask(Method::GET, &uri, session.as_deref(), headers, String::new()).await;
        let answer = asked.map_err(StreamableHttpError::Client)?;
        match (answer.status(), answer.media_type().as_deref()) {
            (405, _) => Err(StreamableHttpError::ServerDoesNotSupportSse),
            (200, Some("text/event-stream")) => Ok(events(answer.response.into_body(), longest)),
            (200, other) => Err(StreamableHttpError::UnexpectedContentType(other.map(str::to_owned))),
            _ => Err(StreamableHttpError::Client(answer.refused())),
        }
    }
}
