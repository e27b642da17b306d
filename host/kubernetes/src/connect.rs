//! The connection to a cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;
use setpoint_cluster::{BoxFuture, Cluster, Sink, Warrant};
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Want;
use setpoint_core::key::{GroupKind, GroupVersionKind, Key, Name};
use setpoint_core::op::{Answer, Op};
use tokio::time::Instant;

use crate::events::Recorder;
use crate::failure::Failure;
use crate::health::{Check, Health};
use crate::kinds::Kinds;
use crate::options::ConnectOptions;
use crate::reflect::Shared;
use crate::reflect::wanted::Wanted;
use crate::resource::Resource;
use crate::rights::Asked;
use crate::transport::{Call, Fence, Transport};

/// Between tries to reach a server that cannot be reached.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why there is no connection. Each text says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Address or credentials could not be read.
    #[error("{0}")]
    Config(String),
    /// The server cannot be reached.
    #[error(
        "the API server {server} cannot be reached (tried for {tried} s): {reason}; is it running, and is the address right?"
    )]
    Unreachable {
        /// Its address, and where it was read.
        server: String,
        /// Seconds.
        tried: u64,
        /// What the last try came to.
        reason: String,
    },
    /// Its certificate is not trusted, or it does not trust the host's.
    #[error(
        "the API server {server} is not trusted, or does not trust the host: {reason}; check the certificates of the kubeconfig"
    )]
    Untrusted {
        /// Its address, and where it was read.
        server: String,
        /// What is wrong.
        reason: String,
    },
    /// It does not accept the credentials.
    #[error("the API server {server} does not accept the credentials: {reason}; have they expired?")]
    Unauthorized {
        /// Its address, and where it was read.
        server: String,
        /// What it says.
        reason: String,
    },
    /// A right is missing without which nothing can be done.
    #[error("the API server {server}: {reason}")]
    Forbidden {
        /// Its address, and where it was read.
        server: String,
        /// Which, and the rule that would grant it.
        reason: String,
    },
    /// What answers is no API server.
    #[error("{server} is no API server: {reason}")]
    NoServer {
        /// Its address, and where it was read.
        server: String,
        /// What it has answered.
        reason: String,
    },
}

/// A Kubernetes cluster. Its reflectors stop when it is dropped.
pub struct KubernetesCluster {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) recorder: Recorder,
    identity: String,
}

impl KubernetesCluster {
    /// Connects to a cluster: reads credentials, reaches the server, and asks it who it is. Nothing is watched
    /// before [`Cluster::want`].
    ///
    /// # Errors
    /// It could not be done; what a server that is starting may mend is tried again for
    /// [`ConnectOptions::patience`].
    pub async fn connect(options: ConnectOptions, sink: Arc<dyn Sink>) -> Result<Arc<Self>, ConnectError> {
        let ConnectOptions { name, access, namespaces, limits, patience, instance, status_manager } = options;
        let transport = Transport::new(access, limits).await.map_err(ConnectError::Config)?;
        let identity = identify(&transport, patience).await?;
        let transport = Arc::new(transport);
        let shared = Arc::new(Shared {
            name,
            namespaces,
            kinds: Kinds::new(transport.clone()),
            transport,
            sink,
            origin: Instant::now(),
            streams: AtomicBool::new(true),
            status_manager,
        });
        tracing::info!(cluster = %shared.name, server = shared.transport.server(), identity, "connected");
        Ok(Arc::new(Self {
            wanted: Wanted::new(shared.clone()),
            recorder: Recorder::new(shared.clone(), &instance),
            shared,
            identity,
        }))
    }

    /// What the cluster is, whatever it is called: the uid of its namespace `kube-system`. Marks and field
    /// managers are made of it.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// From now on mutating requests are made only while this holds; none: always (rule D8).
    pub fn set_fence(&self, fence: Option<Arc<dyn Fence>>) {
        self.shared.transport.set_fence(fence);
    }

    /// The address of the API server.
    pub fn server(&self) -> String {
        self.shared.transport.server()
    }

    /// How the connection is doing.
    pub fn health(&self) -> Health {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = &self.shared.transport.counters;
        Health {
            server: self.server(),
            watches: self.wanted.health(),
            requests: counters.requests.load(Relaxed),
            failures: counters.failures.load(Relaxed),
            renewals: counters.links.load(Relaxed),
            answers: counters.answers(),
        }
    }

    /// Lists everything that is watched anew, without content. After a take-over each list is to be compared by
    /// `Engine::checked` with a time from before this call, and what it names is to be read live, before the first
    /// attempt begins (rule A11).
    pub async fn check(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for watcher in self.wanted.watchers() {
            checks.push(watcher.check().await);
        }
        checks
    }

    /// Lists a part of a kind anew, if it is watched: what is known of it is in doubt.
    pub fn list_anew(&self, kind: &GroupKind, scope: &Scope) {
        self.wanted.list_anew(kind, scope);
    }

    /// Stops all reflectors. Operations that are under way end by themselves.
    pub fn shutdown(&self) {
        self.wanted.stop();
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.shared.kinds
    }
}

impl Drop for KubernetesCluster {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Cluster for KubernetesCluster {
    fn name(&self) -> &Name {
        &self.shared.name
    }

    fn perform<'a>(&'a self, op: Op) -> BoxFuture<'a, Answer> {
        Box::pin(self.carry_out(op, Warrant::default()))
    }

    fn perform_by<'a>(&'a self, op: Op, warrant: Warrant) -> BoxFuture<'a, Answer> {
        Box::pin(self.carry_out(op, warrant))
    }

    fn want(&self, wants: Vec<Want>) {
        self.wanted.want(wants);
    }
}

async fn identify(transport: &Transport, patience: Duration) -> Result<String, ConnectError> {
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let failure = match transport.send(Call::get("/api/v1/namespaces/kube-system")).await {
            Ok(reply) => {
                let namespace: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
                return match namespace.pointer("/metadata/uid").and_then(Value::as_str) {
                    Some(uid) => Ok(uid.to_owned()),
                    None => Err(ConnectError::NoServer {
                        server: transport.shown(),
                        reason: "the namespace kube-system has no uid".into(),
                    }),
                };
            }
            Err(failure) => failure,
        };
        let error = not_connected(transport, &failure, began.elapsed());
        // A server that is starting has no namespaces yet; one that refuses does so for good.
        let may_come = match &failure {
            Failure::Status(status) => status.code == 404 || status.code == 429 || status.code >= 500,
            Failure::Unreachable(_) | Failure::NoAnswer(_) | Failure::Throttled(_) => true,
            Failure::Certificate(_) | Failure::Credentials(_) | Failure::Garbled(_) | Failure::NotHolder => false,
        };
        if !may_come || began.elapsed() + pause > patience {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn not_connected(transport: &Transport, failure: &Failure, tried: Duration) -> ConnectError {
    let server = transport.shown();
    let reason = failure.to_string();
    match failure {
        Failure::Status(status) => match status.code {
            401 => ConnectError::Unauthorized { server, reason: status.text() },
            403 => {
                let namespaces = Resource {
                    kind: GroupVersionKind::new("", "v1", "Namespace"),
                    plural: "namespaces".into(),
                    namespaced: false,
                    status: true,
                };
                let key = Key::new("", "", "Namespace", None, "kube-system");
                ConnectError::Forbidden { server, reason: Asked::of(&namespaces, &key, &["get"]).forbidden() }
            }
            404 => ConnectError::NoServer { server, reason: status.text() },
            _ => ConnectError::Unreachable { server, tried: tried.as_secs(), reason: status.text() },
        },
        Failure::Certificate(reason) => ConnectError::Untrusted { server, reason: reason.clone() },
        Failure::Credentials(reason) => ConnectError::Config(format!("{server}: {reason}")),
        Failure::Garbled(reason) => ConnectError::NoServer { server, reason: reason.clone() },
        Failure::Unreachable(reason) | Failure::NoAnswer(reason) => {
            ConnectError::Unreachable { server, tried: tried.as_secs(), reason: reason.clone() }
        }
        Failure::Throttled(_) | Failure::NotHolder => {
            ConnectError::Unreachable { server, tried: tried.as_secs(), reason }
        }
    }
}
