//! `GET /v1/events`: what is recorded and what changes, as it happens. Server-sent events, or with
//! `Accept: application/json` the events that are recorded now.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::broadcast::{self, error::RecvError};

use super::params::FilterQuery;
use super::{App, Stop};
use crate::views::StreamItem;

/// Between comments on a quiet stream, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(State(app): State<App>, headers: HeaderMap, FilterQuery(filter): FilterQuery) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") && !accept.contains("text/event-stream") {
        return Json(app.handle.events(&filter)).into_response();
    }
    Sse::new(stream(app.handle.subscribe(), app.stop.clone()))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// Ends when the host stops.
fn stream(
    receiver: broadcast::Receiver<StreamItem>,
    stop: Stop,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    unfold((receiver, stop), |(mut receiver, mut stop)| async move {
        let item = tokio::select! {
            item = next(&mut receiver) => item?,
            () = stop.requested() => return None,
        };
        let event = match Event::default().json_data(&item) {
            Ok(event) => event,
            Err(error) => Event::default().comment(error.to_string()),
        };
        Some((Ok(event), (receiver, stop)))
    })
}

/// No lossy channel: who falls behind is told to read everything anew (design §9, promise 3).
async fn next(receiver: &mut broadcast::Receiver<StreamItem>) -> Option<StreamItem> {
    match receiver.recv().await {
        Ok(item) => Some(item),
        Err(RecvError::Lagged(_)) => Some(StreamItem::Row { key: None }),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_is_told_to_read_everything_anew() {
        let (sender, mut receiver) = broadcast::channel(2);
        for n in 0..5 {
            assert!(sender.send(StreamItem::Row { key: Some(n.to_string()) }).is_ok());
        }
        drop(sender);
        let mut keys = Vec::new();
        while let Some(StreamItem::Row { key }) = next(&mut receiver).await {
            keys.push(key);
        }
        assert_eq!(keys, [None, Some("3".to_owned()), Some("4".to_owned())]);
    }
}
