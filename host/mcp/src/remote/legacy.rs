//! HTTP with server-sent events, as in protocol version 2024-11-05, which the SDK does not have any more: one stream
//! brings all messages of the server, beginning with the address to which its requests are posted.

use std::future::Future;

use axum::http::{Method, Uri};
use futures_util::StreamExt;
use rmcp::service::{RoleClient, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use setpoint_core::probe::ProbeReason;

use super::{FirstFailure, LONGEST};
use crate::failure::Failure;
use crate::http::{Ask, Events, Http, Origin, events, join, parse_url};

/// A transport to a server of that kind.
pub struct LegacySse {
    http: Http,
    /// Where messages are posted.
    endpoint: Uri,
    events: Option<Events>,
    first: FirstFailure,
}

impl LegacySse {
    /// Opens the stream, and waits for the address.
    pub(crate) async fn connect(http: Http, url: &str, first: FirstFailure) -> Result<Self, Failure> {
        let url = parse_url(url)?;
        let ask = Ask::new(Method::GET, url.clone()).header("accept", "text/event-stream");
        let answer = http.send(&ask).await?;
        let (status, what) = (answer.status(), answer.what.clone());
        if status != 200 {
            return Err(answer.refused());
        }
        let wrong = |reason, why: &str| Failure::new(reason, format!("{what} {why}")).with_status(status);
        if answer.media_type().as_deref() != Some("text/event-stream") {
            let kind = answer.media_type().unwrap_or_else(|| "something without a type".into());
            return Err(wrong(ProbeReason::NotMCP, &format!("answered {kind}, which is no stream of events")));
        }
        let mut events = events(answer.response.into_body(), LONGEST);
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| wrong(ProbeReason::ConnectionFailed, &format!("broke: {error}")))?;
            if event.event.as_deref() != Some("endpoint") {
                continue;
            }
            let reference = event.data.unwrap_or_default();
            let endpoint = join(&url, &reference).filter(|endpoint| Origin::of(endpoint) == Origin::of(&url));
            // Anywhere else it would get our headers without being meant.
            let endpoint = endpoint.ok_or_else(|| {
                wrong(ProbeReason::ProtocolError, "names an address for messages that is not at the same host and port")
            })?;
            return Ok(Self { http, endpoint, events: Some(events), first });
        }
        Err(wrong(ProbeReason::NotMCP, "ended without the address for messages, so it is no MCP server of this kind"))
    }
}

impl std::fmt::Debug for LegacySse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegacySse").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Transport<RoleClient> for LegacySse {
    type Error = Failure;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (http, endpoint, first) = (self.http.clone(), self.endpoint.clone(), self.first.clone());
        async move {
            let body = serde_json::to_string(&item)
                .map_err(|error| Failure::new(ProbeReason::ProtocolError, format!("a message has no JSON: {error}")))?;
            let ask = Ask::new(Method::POST, endpoint).header("content-type", "application/json").body(body);
            let sent = match http.send(&ask).await {
                Ok(answer) if (200..300).contains(&answer.status()) => Ok(()),
                Ok(answer) => Err(answer.refused()),
                Err(failure) => Err(failure),
            };
            sent.inspect_err(|failure| first.keep(failure))
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let events = self.events.as_mut()?;
        while let Some(event) = events.next().await {
            let data = match event {
                Ok(event) if event.event.as_deref().is_none_or(|name| name == "message") => event.data,
                Ok(_) => None,
                Err(error) => {
                    let why = format!("the stream of {} broke: {error}", self.endpoint);
                    self.first.keep(&Failure::new(ProbeReason::ConnectionFailed, why));
                    return None;
                }
            };
            match data.as_deref().map(serde_json::from_str) {
                Some(Ok(message)) => return Some(message),
                Some(Err(error)) => tracing::debug!(%error, "a message is not understood"),
                None => {}
            }
        }
        None
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.events = None;
        Ok(())
    }
}
