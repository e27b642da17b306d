//! What is needed to connect to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use setpoint_core::key::{HUB, Name};

use crate::kubeconfig::SharedKubeconfig;

/// Where the address and the credentials of a cluster come from. They are read anew when the server refuses
/// them or cannot be reached, so that rotated certificates and tokens are taken up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// The service account of the pod that the host runs in.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// The file; none: the files of `KUBECONFIG`, else `~/.kube/config`.
        path: Option<PathBuf>,
        /// Its context; none: the current one.
        context: Option<String>,
    },
    /// A kubeconfig that is no file; its current context.
    Shared(SharedKubeconfig),
}

/// What the host asks of an API server at most.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Requests per second, watches aside; none: as many as the server's own fairness allows. Default: none.
    pub requests_per_second: Option<f64>,
    /// Requests that may be made at once beyond that rate. Default: 100.
    pub burst: u32,
    /// Requests under way at a time, watches aside. Default: 64.
    pub in_flight: usize,
    /// How long one request may take. Default: 10 s.
    pub request: Duration,
    /// Objects per page of a list. Default: 500.
    pub page: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_second: None, burst: 100, in_flight: 64, request: Duration::from_secs(10), page: 500 }
    }
}

/// How to connect to a cluster, and what for.
#[derive(Clone, PartialEq, Debug)]
pub struct ConnectOptions {
    /// The cluster's name, as it stands in keys. Default: `hub`.
    pub name: Name,
    /// Where address and credentials come from. Default: the kubeconfig that `kubectl` would take.
    pub access: Access,
    /// The namespaces that are looked at; empty: all. What is owned is looked for there only, and nothing is made
    /// elsewhere.
    pub namespaces: Vec<Name>,
    /// What the API server is asked at most.
    pub limits: Limits,
    /// How long a server that cannot be reached is tried again before [`connect`](crate::KubernetesCluster::connect)
    /// gives up. Default: 30 s.
    pub patience: Duration,
    /// Who reports events: the pod's name or the machine's. Default: `setpoint`.
    pub instance: String,
    /// The field manager of this installation's statuses: what those of others have written is told from it. Default:
    /// none, and nothing is told apart.
    pub status_manager: Name,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            name: HUB.into(),
            access: Access::Kubeconfig { path: None, context: None },
            namespaces: Vec::new(),
            limits: Limits::default(),
            patience: Duration::from_secs(30),
            instance: "setpoint".into(),
            status_manager: "".into(),
        }
    }
}
