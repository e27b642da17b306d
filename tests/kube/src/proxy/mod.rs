//! A proxy between a client and an API server, for faults: what happens to connections is told to its
//! [relay](Proxy::relay), what happens to single requests is said by [rules](Proxy::when).
//!
//! ```no_run
//! # let kube = setpoint_test_kube::Kube::setup().start();
//! let proxy = kube.proxy();
//! let lost = proxy.when(|asked| asked.method == "PATCH" && asked.path.ends_with("/status")).once().loses_its_answer();
//! // … a client with `proxy.kubeconfig()` …
//! assert_eq!(lost.count(), 1);
//! proxy.relay().cut();
//! ```

mod relay;
mod rules;
mod serve;
mod webhook;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub use relay::Relay;
pub use rules::{Asked, Held, Hits, When};
pub use serve::Seen;
pub use webhook::Webhook;

use crate::api::{Api, connections};
use crate::identity::{ADMIN, Credentials};
use crate::{Kube, proxy::serve::State};

/// A proxy before one API server. It speaks TLS with a certificate of the same authority, HTTP/2 and HTTP/1.1, and
/// passes on who the client is by its token; a client certificate does not get through. Dropped, it cuts all.
pub struct Proxy {
    relay: Relay,
    server: String,
    state: Arc<State>,
    listener: AbortHandle,
    kube: Kube,
}

impl Proxy {
    pub(crate) fn to(kube: &Kube) -> Self {
        let authority = &kube.identity().authority;
        let state = Arc::new(State {
            server: kube.server().to_owned(),
            connections: connections(authority.trusting()),
            rules: Mutex::default(),
            seen: Mutex::default(),
        });
        let (port, listener) = serve::listen(&state, TlsAcceptor::from(Arc::new(authority.serving())));
        let relay = Relay::to(port);
        let server = format!("https://127.0.0.1:{}", relay.port());
        Self { relay, server, state, listener, kube: kube.clone() }
    }

    /// `https://127.0.0.1:PORT`
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A file that makes clients the administrator, through this proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(ADMIN)
    }

    /// A file that makes clients this user, through this proxy.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.kube.identity().kubeconfig(&self.server, user, &Credentials::Token(self.kube.token(user)))
    }

    /// The API as the administrator sees it through this proxy.
    pub fn api(&self) -> Api {
        self.kube.identity().api(&self.server, &self.kube.token(ADMIN))
    }

    /// What can happen to connections.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Begins a rule for the requests for which this holds: each of them, unless told how often. A request meets the
    /// first rule that takes it.
    pub fn when(&self, meets: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> When<'_> {
        let enforce = |rule| self.state.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
        When { enforce: Box::new(enforce), meets: Arc::new(meets), times: usize::MAX }
    }

    /// Every request that came, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests came for which this holds.
    pub fn count(&self, holds: impl Fn(&Asked) -> bool) -> usize {
        let seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| holds(&seen.asked)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} to {})", self.server, self.kube.server())
    }
}
