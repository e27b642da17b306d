//! What is told as it happens: `GET /v1/events`, the logs of a plugin, recorded calls. Server-sent
//! events; with `Accept: application/json` what is kept of events and logs now.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt, unfold};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::codes::Code;
use super::error::ApiError;
use super::params::{FilterQuery, KeyPath, NamePath, RecordQuery, known_kind, known_plugin, refuse};
use super::{App, Stop};
use crate::live::Heard;
use crate::views::StreamItem;

/// Between comments on a quiet stream, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Name of the event that tells a slow reader how many items are lost to it.
const MISSED: &str = "missed";

pub(super) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    FilterQuery(filter): FilterQuery,
) -> Result<Response, ApiError> {
    refuse(&filter, &["state", "plugin", "labels"], "events are chosen by the key of what they are about")?;
    if wants_list(&headers) {
        return Ok(Json(app.handle.events(&filter)?).into_response());
    }
    let receiver = app.handle.subscribe();
    let items = unfold(receiver, |mut receiver| async move { Some((next(&mut receiver).await?, receiver)) });
    Ok(sent(items.map(|item| event(&item)), app.stop))
}

pub(super) async fn logs(
    State(app): State<App>,
    NamePath(plugin): NamePath,
    headers: HeaderMap,
    FilterQuery(filter): FilterQuery,
) -> Result<Response, ApiError> {
    refuse(&filter, &["state", "plugin", "labels"], "lines are chosen by the key of the object they were logged for")?;
    known_plugin(&app.handle, &plugin)?;
    known_kind(&app.handle, &filter)?;
    if wants_list(&headers) {
        return Ok(Json(app.handle.logs(&plugin, &filter)?).into_response());
    }
    Ok(sent(app.handle.follow_logs(&plugin, &filter)?.map(heard), app.stop))
}

pub(super) async fn output(
    State(app): State<App>,
    KeyPath(key): KeyPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(rows) = app.handle.output(&key) else {
        let message = format!("{key} is no process that the host runs");
        return Err(ApiError::new(Code::NotFound, message).hint("`setpoint get processes` shows those that there are"));
    };
    if wants_list(&headers) {
        return Ok(Json(rows).into_response());
    }
    let lines = app.handle.follow_output(key, rows);
    Ok(sent(lines.map(|row| event(&row)), app.stop))
}

pub(super) async fn record(State(app): State<App>, query: RecordQuery) -> Result<Response, ApiError> {
    let RecordQuery { filter, with_secrets } = query;
    refuse(&filter, &["state", "labels"], "calls are chosen by plugin and by the key of the object")?;
    known_kind(&app.handle, &filter)?;
    if let Some(plugin) = &filter.plugin {
        known_plugin(&app.handle, plugin)?;
    }
    Ok(sent(app.handle.record(&filter, with_secrets)?.map(heard), app.stop))
}

fn wants_list(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/event-stream")
}

/// Ends when the host stops.
pub(super) fn sent(items: impl Stream<Item = Event> + Send + 'static, mut stop: Stop) -> Response {
    let items = items.map(Ok::<_, Infallible>).take_until(async move { stop.requested().await });
    Sse::new(items).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

pub(super) fn event(item: &impl Serialize) -> Event {
    match Event::default().json_data(item) {
        Ok(event) => event,
        Err(error) => Event::default().comment(error.to_string()),
    }
}

fn heard<T: Serialize>(heard: Heard<T>) -> Event {
    match heard {
        Heard::Item(item) => event(&item),
        Heard::Missed(items) => Event::default().event(MISSED).data(items.to_string()),
    }
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
