//! Answers as streams of events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::session::{Notifications, Out, Requests};

/// A comment is sent on a stream that is silent for so long, so that a connection that is gone is found.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Beginning with what has come already, all that comes of these requests.
pub(super) fn answers(first: Option<Out>, requests: Requests) -> Response {
    let state = (first, requests);
    events(stream::unfold(state, |(first, mut requests)| async move {
        if requests.open.is_empty() {
            return None;
        }
        let out = match first {
            Some(out) => Some(out),
            None => next(&mut requests.take).await?,
        };
        Some((event(&mut requests.open, out), (None, requests)))
    }))
}

/// What the server tells without being asked.
pub(super) fn notifications(notifications: Notifications) -> Response {
    events(stream::unfold(notifications, |mut notifications| async move {
        let out = next(&mut notifications.take).await?;
        Some((event(&mut Vec::new(), out), notifications))
    }))
}

/// The next message, or nothing for a while. None: there is no more.
async fn next(take: &mut crate::queue::Take<Out>) -> Option<Option<Out>> {
    match tokio::time::timeout(KEEP_ALIVE, take.next()).await {
        Ok(out) => out.map(Some),
        Err(_) => Some(None),
    }
}

fn event(open: &mut Vec<crate::message::Id>, out: Option<Out>) -> Result<Bytes, Infallible> {
    let Some(out) = out else {
        return Ok(Bytes::from_static(b": still there\n\n"));
    };
    if let Some(ended) = &out.ends {
        open.retain(|id| id != ended);
    }
    // Line ends within JSON are space between its parts.
    Ok(match out.text {
        Some(text) => format!("event: message\ndata: {}\n\n", text.replace(['\n', '\r'], " ")).into(),
        None => Bytes::new(),
    })
}

fn events(events: impl stream::Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, Body::from_stream(events)).into_response()
}
