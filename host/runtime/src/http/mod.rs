//! The HTTP API (design §8): JSON under `/v1`, plain text for `/healthz` and `/readyz`, OpenMetrics
//! for `/metrics`. The core group is written `core`, no namespace `-`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz`, `/readyz`, `/metrics` | `ok`; 200 or 503 with reasons; OpenMetrics |
//! | `GET /v1/overview` | [`Overview`](crate::views::Overview) |
//! | `GET /v1/reconciles` | rows, by [`Filter`](crate::views::Filter) |
//! | `GET /v1/reconciles/{key}` | one row |
//! | `GET /v1/reconciles/{key}/runs` | its last [`RunRow`](crate::views::RunRow)s with the causes behind them |
//! | `POST /v1/reconciles/{key}/{trigger,pause,resume}` | [`Done`] |
//! | `GET /v1/objects` | objects, by filter |
//! | `GET`, `DELETE /v1/objects/{key}` | [`ObjectView`](crate::views::ObjectView), [`Done`] |
//! | `GET /v1/objects/{key}/logs` | of a process: [`LogRow`](crate::views::LogRow)s of what it wrote, as those of a plugin |
//! | `GET`, `POST`, `DELETE /v1/mcp/{namespace}/{name}` | the MCP server that a process is, over streamable HTTP |
//! | `GET /v1/registry/{cluster}/{group}/{kind}` | what a kind's objects amount to, once or as server-sent events |
//! | `GET /v1/kinds`, `/v1/plugins`, `/v1/files` | rows |
//! | `GET /v1/clusters` | [`FleetView`](crate::FleetView) |
//! | `POST /v1/clusters/{name}/forget` | [`Done`] |
//! | `GET /v1/plugins/{name}/logs` | server-sent [`LogRow`](crate::views::LogRow)s, kept and new; the kept as a list likewise |
//! | `POST /v1/plugins/{name}/rollback` | [`Done`] |
//! | `POST /v1/kinds/{group}/{kind}/{enable,disable}` | [`Done`] |
//! | `GET /v1/held`, `POST /v1/held/{id}/confirm` | [`HeldRow`]s, [`Done`] |
//! | `POST /v1/confirm-resources`, `POST /v1/clusters/{name}/confirm-resources` | [`Done`] |
//! | `POST /v1/plan` | of a [`PlanRequest`](crate::views::PlanRequest): [`PlanRow`](crate::views::PlanRow)s; nothing is written |
//! | `POST /v1/release` | of a [`ReleaseRequest`](crate::views::ReleaseRequest): [`Released`](crate::views::Released) |
//! | `GET /v1/record` | server-sent [`RecordedCall`](setpoint_core::recording::RecordedCall)s of a filter |
//! | `GET /v1/events` | server-sent [`StreamItem`](crate::views::StreamItem)s; a list for `Accept: application/json` |
//!
//! where `{key}` is `{cluster}/{group}/{kind}/{namespace}/{name}`. Who reads a stream of logs or calls
//! too slowly gets an event `missed` with the number of items that are lost to it. Bodies are JSON of at
//! most 1 MiB. All else is an [`ApiError`] with one of the [`error_codes`].

mod act;
mod ask;
mod body;
mod codes;
mod endpoints;
mod error;
mod guard;
mod params;
mod read;
mod registry;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use act::Done;
pub use codes::{ErrorCode, error_codes};
pub use endpoints::{Endpoint, endpoints};
pub use error::ApiError;
pub use guard::{HttpOptions, check_listen};
pub use read::{HeldDeletion, HeldRow};
pub use tls::TlsFiles;
pub(crate) use tls::TlsListener;

use self::codes::Code;
use crate::handle::Handle;

/// What every request is given.
#[derive(Clone)]
struct App {
    handle: Handle,
    stop: Stop,
}

/// Tells streams to end: requested when the other end is dropped; none never is.
#[derive(Clone, Default)]
struct Stop(Option<watch::Receiver<()>>);

impl Stop {
    async fn requested(&mut self) {
        match &mut self.0 {
            // Nothing is ever sent: it changes by being closed.
            Some(receiver) => while receiver.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// All of the API. Streams of events last as long as their connection.
pub fn router(handle: Handle, options: HttpOptions) -> Router {
    api(App { handle, stop: Stop::default() }, options)
}

/// Only `/healthz`, `/readyz` and `/metrics`, for everyone who can reach it (`--health-listen`).
pub fn health_router(handle: Handle) -> Router {
    closed(health()).with_state(App { handle, stop: Stop::default() })
}

/// Serves the API until the future is dropped. Then nothing more is accepted, requests that are
/// being answered are finished in the background, and streams of events end.
pub async fn serve<L: Listener<Addr: std::fmt::Debug>>(listener: L, handle: Handle, options: HttpOptions) {
    let (until_dropped, stop) = stop();
    let app = App { handle, stop: stop.clone() };
    serve_until(listener, api(app, options), stop).await;
    drop(until_dropped);
}

/// Serves health and metrics as [`serve`] serves the API.
pub async fn serve_health(listener: TcpListener, handle: Handle) {
    let (until_dropped, stop) = stop();
    serve_until(listener, health_router(handle), stop).await;
    drop(until_dropped);
}

fn stop() -> (watch::Sender<()>, Stop) {
    let (sender, receiver) = watch::channel(());
    (sender, Stop(Some(receiver)))
}

async fn serve_until<L: Listener<Addr: std::fmt::Debug>>(listener: L, router: Router, mut stop: Stop) {
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.requested().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP API has ended");
    }
}

fn health() -> Router<App> {
    Router::new()
        .route("/healthz", get(read::healthz))
        .route("/readyz", get(read::readyz))
        .route("/metrics", get(read::metrics))
}

fn api(app: App, options: HttpOptions) -> Router {
    const RECONCILE: &str = "/v1/reconciles/{cluster}/{group}/{kind}/{namespace}/{name}";
    let routes = health()
        .route("/v1/overview", get(read::overview))
        .route("/v1/reconciles", get(read::reconciles))
        .route(RECONCILE, get(read::reconcile))
        .route(&format!("{RECONCILE}/runs"), get(read::runs))
        .route(&format!("{RECONCILE}/trigger"), post(act::trigger))
        .route(&format!("{RECONCILE}/pause"), post(act::pause))
        .route(&format!("{RECONCILE}/resume"), post(act::resume))
        .route("/v1/objects", get(read::objects))
        .route("/v1/objects/{cluster}/{group}/{kind}/{namespace}/{name}", get(read::object).delete(act::delete))
        .route("/v1/objects/{cluster}/{group}/{kind}/{namespace}/{name}/logs", get(stream::output))
        .route("/v1/registry/{cluster}/{group}/{kind}", get(registry::registry))
        .route("/v1/kinds", get(read::kinds))
        .route("/v1/kinds/{group}/{kind}/enable", post(act::enable))
        .route("/v1/kinds/{group}/{kind}/disable", post(act::disable))
        .route("/v1/clusters", get(read::clusters))
        .route("/v1/clusters/{name}/forget", post(act::forget_cluster))
        .route("/v1/plugins", get(read::plugins))
        .route("/v1/plugins/{name}/logs", get(stream::logs))
        .route("/v1/plugins/{name}/rollback", post(act::rollback))
        .route("/v1/files", get(read::files))
        .route("/v1/held", get(read::held))
        .route("/v1/held/{id}/confirm", post(act::confirm_held))
        .route("/v1/confirm-resources", post(act::confirm_resources))
        .route("/v1/clusters/{name}/confirm-resources", post(act::confirm_resources_of))
        .route("/v1/plan", post(ask::plan))
        .route("/v1/release", post(ask::release))
        .route("/v1/record", get(stream::record))
        .route("/v1/events", get(stream::events));
    let mcp = app.handle.mcp_endpoint();
    let routes = closed(routes).with_state(app).layer(DefaultBodyLimit::max(body::MOST));
    let routes = match mcp {
        // It has a bound on bodies of its own.
        Some(mcp) => routes.nest("/v1/mcp", mcp),
        None => routes,
    };
    routes.layer(from_fn_with_state(Arc::new(options), guard::guard))
}

/// What is not there is answered as everything else is.
fn closed(routes: Router<App>) -> Router<App> {
    routes.fallback(no_path).method_not_allowed_fallback(no_method)
}

async fn no_path(uri: Uri) -> ApiError {
    ApiError::new(Code::NoSuchPath, format!("there is nothing at {}", uri.path())).hint(
        "the API begins at /v1/overview, /v1/reconciles, /v1/objects, /v1/kinds, /v1/clusters, /v1/plugins, /v1/files and /v1/events",
    )
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(Code::MethodNotAllowed, message)
}
