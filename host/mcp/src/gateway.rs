//! Servers of hubs, served over streamable HTTP: `POST`, `GET` and `DELETE` at `/{namespace}/{name}`.
//!
//! What a client of the protocol may rely on:
//!
//! - `initialize` begins a session, and its answer names it in `Mcp-Session-Id`. A session is one client of the hub. It
//!   ends by `DELETE`, when nobody used it for [`GatewayOptions::idle`], and with the server's process: then its requests
//!   are answered with 404, which tells a client to initialize anew, and `initialize` with 503 and `Retry-After`
//!   until the server is there again.
//! - A request is answered with JSON when the answer is the first that comes of it, and soon; otherwise with a stream of
//!   events, which ends with the answer. Progress comes on that stream. A connection that breaks cancels nothing.
//! - `GET` is the stream of notifications that belong to no request. A newer one takes the place of an older one.
//!   While there is none the last few are kept for it.
//! - Batches are taken, as protocol version 2025-03-26 has them.
//! - Nothing can be resumed: events have no ids.
//!
//! Everything is bounded: bodies, sessions of a server and in all, and what waits for a client. When there is no
//! room the session that was idle for the longest makes room, if it is idle long enough.
//!
//! Who may ask is not looked at here. The host's own checks come before: `Host` and `Origin` against DNS rebinding
//! and foreign pages, and the bearer token where there is one. `POST` is taken as `application/json` only, which a page
//! cannot send without being asked first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tokio::time::Instant;

use crate::hub::Hub;
use crate::message::LONGEST_MESSAGE;

mod refusal;
mod serve;
mod session;
mod stream;

use session::Session;

/// A session that was not used for so long makes room for a new one.
const SPARE: Duration = Duration::from_secs(60);

/// Finds the server of a name.
pub trait Lookup: Send + Sync + 'static {
    /// The server of this namespace and name, as it is now.
    fn find(&self, namespace: &str, name: &str) -> Found;
}

/// What [`Lookup::find`] found.
#[derive(Clone, Debug)]
pub enum Found {
    /// A server that runs.
    Hub(Hub),
    /// A server that is known and does not run now.
    Down {
        /// Why, in one sentence that can be shown.
        why: String,
        /// When to ask again, if that is known.
        retry_after: Option<Duration>,
    },
    /// There is no such server.
    Unknown,
}

/// How much the gateway takes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayOptions {
    /// Sessions in all. Default 256.
    pub sessions: usize,
    /// Sessions of one server. Default 32.
    pub sessions_per_server: usize,
    /// A session ends that has no stream, no request under way, and was not used for so long. Default 30 minutes.
    pub idle: Duration,
    /// Longer bodies are refused, in bytes. Default 4 MiB.
    pub body: usize,
    /// How long `initialize` waits for a server that starts. Default 30 s.
    pub patience: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            sessions: 256,
            sessions_per_server: 32,
            idle: Duration::from_secs(30 * 60),
            body: LONGEST_MESSAGE,
            patience: Duration::from_secs(30),
        }
    }
}

/// Serves the servers that a [`Lookup`] finds. A cheap handle.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    lookup: Box<dyn Lookup>,
    options: GatewayOptions,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway without sessions.
    pub fn new(lookup: impl Lookup, options: GatewayOptions) -> Self {
        Self { inner: Arc::new(Inner { lookup: Box::new(lookup), options, sessions: Mutex::default() }) }
    }

    /// Its routes, to be nested where they belong, below the host's checks.
    pub fn router(&self) -> Router {
        let methods = post(serve::post).get(serve::get).delete(serve::delete);
        // Some clients tell the transport of a server by the end of its path.
        let routes = Router::new().route("/{namespace}/{name}/mcp", methods.clone());
        routes.route("/{namespace}/{name}", methods).with_state(self.clone())
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.lock().len()
    }

    /// Ends all sessions and their streams, for instance before the host stops to serve.
    pub fn close(&self) {
        for (_, session) in self.lock().drain() {
            session.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this name, if it is one of this server.
    fn session(&self, id: &str, namespace: &str, name: &str) -> Option<Arc<Session>> {
        self.lock().get(id).filter(|session| session.is_of(namespace, name)).cloned()
    }

    /// Makes room for one more session. False: there is none.
    fn has_room(&self, namespace: &str, name: &str) -> bool {
        let (all, of_server) = (self.inner.options.sessions, self.inner.options.sessions_per_server);
        let mut sessions = self.lock();
        let mut spare: Vec<(Instant, String, bool)> = sessions
            .iter()
            .filter_map(|(id, session)| Some((session.idle_since()?, id.clone(), session.is_of(namespace, name))))
            .filter(|(since, ..)| since.elapsed() >= SPARE)
            .collect();
        spare.sort();
        let mut spare = spare.into_iter();
        loop {
            let of_this = sessions.values().filter(|session| session.is_of(namespace, name)).count();
            let narrow = of_this >= of_server;
            if !narrow && sessions.len() < all {
                return true;
            }
            let Some((_, id, _)) = spare.find(|(.., of_this)| *of_this || !narrow) else {
                return false;
            };
            if let Some(session) = sessions.remove(&id) {
                session.end();
            }
        }
    }

    fn add(&self, session: Arc<Session>) {
        let id = session.id().to_owned();
        self.lock().insert(id.clone(), session.clone());
        // It may have ended meanwhile, and nobody would take it out any more.
        if session.is_over() {
            self.remove(&id);
        }
    }

    fn remove(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().remove(id)
    }
}
