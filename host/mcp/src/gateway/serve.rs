//! The requests of clients.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::refusal::{Refusal, json};
use super::session::{NotExpected, Out, Requests, Session};
use super::{Found, Gateway, stream};
use crate::hub::{HubState, PROTOCOL_VERSIONS};
use crate::message::{self, Body as Said, Id, Message};

/// How long the first message is waited for until the answer becomes a stream.
const PATIENCE: Duration = Duration::from_millis(500);

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

type Place = Path<(String, String)>;

/// Messages of a client.
pub(super) async fn post(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Place,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match posted(&gateway, &namespace, &name, &headers, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn posted(
    gateway: &Gateway,
    namespace: &str,
    name: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if media_type(headers.get(CONTENT_TYPE)).as_deref() != Some("application/json") {
        return Err(Refusal::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "messages are sent as application/json"));
    }
    let events = accepts(headers, "text/event-stream");
    if !events && !accepts(headers, "application/json") {
        return Err(Refusal::with_status(
            StatusCode::NOT_ACCEPTABLE,
            "answers are application/json and text/event-stream",
        ));
    }
    check_version(headers)?;
    let Ok(body) = axum::body::to_bytes(body, gateway.inner.options.body).await else {
        let why = format!("messages are at most {} bytes long", gateway.inner.options.body);
        return Err(Refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE, why));
    };
    let Ok(text) = String::from_utf8(body.into()) else {
        return Err(Refusal::no_message());
    };
    let messages = message::parse(text.as_bytes()).map_err(|_| Refusal::no_message())?;
    let ids: Vec<Id> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Request { id, .. } => Some(id.clone()),
            _ => None,
        })
        .collect();
    let begins =
        messages.iter().any(|message| matches!(message, Message::Request { method, .. } if method == "initialize"));
    let alone = messages.len() == 1;
    drop(messages);
    let session = match (begins, headers.get(SESSION)) {
        (true, None) if alone => {
            return begin(gateway, namespace, name, &ids, text, events)
                .await
                .map_err(|refusal| refusal.to(ids.first()));
        }
        (true, None) => return Err(Refusal::invalid("initialize is sent alone")),
        (_, Some(id)) => find(gateway, namespace, name, id),
        (false, None) => Err(Refusal::invalid("the header Mcp-Session-Id is missing; initialize gives it")),
    };
    let session = session.map_err(|refusal| refusal.to(ids.first()))?;
    session.touch();
    if ids.is_empty() {
        session.sender().send(text).await.map_err(|_| Refusal::no_session())?;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let first = ids.first().cloned();
    let mut requests = session.expect(ids, events).map_err(|why| not_expected(why).to(first.as_ref()))?;
    session.sender().send(text).await.map_err(|_| Refusal::no_session().to(first.as_ref()))?;
    if !events || !alone {
        return Ok(if events { stream::answers(None, requests) } else { collected(requests).await });
    }
    match tokio::time::timeout(PATIENCE, requests.take.next()).await {
        Err(_) => Ok(stream::answers(None, requests)),
        Ok(Some(out)) if out.ends.is_some() => Ok(whole(out)),
        Ok(Some(out)) => Ok(stream::answers(Some(out), requests)),
        Ok(None) => Err(Refusal::no_session().to(first.as_ref())),
    }
}

/// The answer to a request alone. What was taken back has none.
fn whole(out: Out) -> Response {
    match out.text {
        Some(text) => json(StatusCode::OK, text.to_string()),
        None => StatusCode::ACCEPTED.into_response(),
    }
}

/// All answers, for a client that takes no events.
async fn collected(mut requests: Requests) -> Response {
    let several = requests.open.len() > 1;
    let mut answers: Vec<Arc<str>> = Vec::new();
    while !requests.open.is_empty() {
        let Some(out) = requests.take.next().await else {
            return Refusal::no_session().to(requests.open.first()).into_response();
        };
        if let Some(ended) = &out.ends {
            requests.open.retain(|id| id != ended);
            answers.extend(out.text);
        }
    }
    match answers.as_slice() {
        [] => StatusCode::ACCEPTED.into_response(),
        [one] if !several => json(StatusCode::OK, one.to_string()),
        all => json(StatusCode::OK, format!("[{}]", all.join(","))),
    }
}

/// `initialize`: begins a session.
async fn begin(
    gateway: &Gateway,
    namespace: &str,
    name: &str,
    ids: &[Id],
    text: String,
    events: bool,
) -> Result<Response, Refusal> {
    let hub = match gateway.inner.lookup.find(namespace, name) {
        Found::Hub(hub) if !matches!(hub.state(), HubState::Ended) => hub,
        Found::Hub(_) => return Err(Refusal::down(format!("{namespace}/{name} has just ended"), None)),
        Found::Down { why, retry_after } => {
            return Err(Refusal::down(format!("{namespace}/{name} does not run: {why}"), retry_after));
        }
        Found::Unknown => return Err(Refusal::unknown(namespace, name)),
    };
    if !gateway.has_room(namespace, name) {
        let why = "there are as many sessions as there may be; end one by DELETE, or try again later";
        return Err(Refusal::down(why, Some(Duration::from_secs(30))));
    }
    let client = hub.connect().await.map_err(|failure| Refusal::down(failure.message(), None))?;
    let session = Session::begin(gateway, namespace, name, client);
    // Whatever comes between, the session does not outlive a client that has gone.
    let unless_kept = EndUnlessKept(Some(session.clone()));
    let gone = || Refusal::down(format!("{namespace}/{name} has ended"), None);
    let mut requests = session.expect(ids.to_vec(), events).map_err(not_expected)?;
    session.sender().send(text).await.map_err(|_| gone())?;
    let out = tokio::time::timeout(gateway.inner.options.patience, requests.take.next()).await;
    let Ok(out) = out else {
        return Err(Refusal::down(format!("{namespace}/{name} starts, and is not initialized yet"), None));
    };
    let answer = out.and_then(|out| out.text).ok_or_else(gone)?;
    if !is_result(&answer) {
        // The server's own words.
        return Ok(json(StatusCode::OK, answer.to_string()));
    }
    unless_kept.keep(gateway);
    let mut response = json(StatusCode::OK, answer.to_string());
    if let Ok(id) = HeaderValue::from_str(session.id()) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

/// Ends a session that did not come to be.
struct EndUnlessKept(Option<Arc<Session>>);

impl EndUnlessKept {
    fn keep(mut self, gateway: &Gateway) {
        if let Some(session) = self.0.take() {
            gateway.add(session);
        }
    }
}

impl Drop for EndUnlessKept {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.end();
        }
    }
}

/// Whether an answer is none of an error.
fn is_result(answer: &str) -> bool {
    let messages = message::parse(answer.as_bytes());
    matches!(messages.as_deref(), Ok([Message::Response { body: Said::Result(_), .. }]))
}

fn not_expected(why: NotExpected) -> Refusal {
    match why {
        NotExpected::Again => Refusal::invalid("a request with this id is under way"),
        NotExpected::Over => Refusal::no_session(),
    }
}

/// The stream of notifications.
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Place,
    headers: HeaderMap,
) -> Response {
    match listens(&gateway, &namespace, &name, &headers) {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

fn listens(gateway: &Gateway, namespace: &str, name: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    if !accepts(headers, "text/event-stream") {
        return Err(Refusal::with_status(StatusCode::NOT_ACCEPTABLE, "the answer is text/event-stream"));
    }
    check_version(headers)?;
    let session = named(gateway, namespace, name, headers)?;
    session.touch();
    Ok(stream::notifications(session.listen()))
}

/// The end of a session.
pub(super) async fn delete(
    State(gateway): State<Gateway>,
    Path((namespace, name)): Place,
    headers: HeaderMap,
) -> Response {
    match named(&gateway, &namespace, &name, &headers) {
        Ok(session) => {
            gateway.remove(session.id());
            session.end();
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn named(gateway: &Gateway, namespace: &str, name: &str, headers: &HeaderMap) -> Result<Arc<Session>, Refusal> {
    match headers.get(SESSION) {
        Some(id) => find(gateway, namespace, name, id),
        None => Err(Refusal::invalid("the header Mcp-Session-Id is missing; initialize gives it")),
    }
}

fn find(gateway: &Gateway, namespace: &str, name: &str, id: &HeaderValue) -> Result<Arc<Session>, Refusal> {
    let id = id.to_str().unwrap_or_default();
    gateway.session(id, namespace, name).ok_or_else(|| match gateway.inner.lookup.find(namespace, name) {
        Found::Unknown => Refusal::unknown(namespace, name),
        _ => Refusal::no_session(),
    })
}

/// A version that is not known cannot be followed. Without the header it is the one that was agreed on.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(VERSION).map(HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(version)) if PROTOCOL_VERSIONS.contains(&version) => Ok(()),
        Some(_) => {
            let why = format!("the header MCP-Protocol-Version must be one of {}", PROTOCOL_VERSIONS.join(", "));
            Err(Refusal::invalid(why))
        }
    }
}

fn media_type(header: Option<&HeaderValue>) -> Option<String> {
    Some(header?.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase())
}

/// Whether a type may be answered. Without the header everything may.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut said = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if said.peek().is_none() {
        return wanted == "application/json";
    }
    let group = wanted.split('/').next().unwrap_or_default();
    said.flat_map(|value| value.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range.eq_ignore_ascii_case(wanted) || range == "*/*" || range.strip_suffix("/*") == Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_accepts_is_read_as_http_has_it() {
        let said = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            (accepts(&headers, "application/json"), accepts(&headers, "text/event-stream"))
        };
        assert_eq!(said(&["application/json, text/event-stream"]), (true, true));
        assert_eq!(said(&["application/json;q=0.5", "Text/Event-Stream"]), (true, true));
        assert_eq!(said(&["*/*"]), (true, true));
        assert_eq!(said(&["text/*"]), (false, true));
        assert_eq!(said(&["text/html"]), (false, false));
        assert_eq!(said(&[]), (true, false), "who says nothing gets what is simple");
    }
}
