//! One Kubernetes cluster that takes part.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use setpoint_core::key::Name;
use setpoint_core::shards::Shard;
use setpoint_kubernetes::{Health, KubernetesCluster, WatchHealth};

use super::installer::Installer;
use crate::driver::Driver;
use crate::metrics::ClusterMetrics;

/// A cluster, the hub or one of the fleet.
pub(crate) struct Member {
    pub(crate) name: Name,
    pub(crate) cluster: Arc<KubernetesCluster>,
    pub(super) driver: Arc<Driver>,
    pub(super) installer: Installer,
    /// The parts of it that hosts act on.
    pub(super) shards: Vec<Shard>,
    /// What it is called where hosts meet.
    pub(super) id: String,
    /// In which term of its lease it came, if this host held it by then.
    pub(super) came: Option<u64>,
    /// When it came.
    pub(super) since: Instant,
    /// This host has said that it could act on it.
    pub(super) offered: AtomicBool,
}

impl Member {
    /// Whether it is known well enough to work on, and what is to be said of it (rule C6). A kind that is not served
    /// yet is waited for, and holds up nobody else.
    pub(crate) fn readiness(&self) -> (bool, Vec<String>) {
        if !self.driver.has_wanted() {
            return (false, vec!["the cluster is not looked at yet".to_owned()]);
        }
        let health = self.cluster.health();
        let ready = health.watches.iter().all(|watch| watch.missing || (watch.known && !watch.stalled));
        (ready, health.reasons())
    }

    /// How the connection is doing.
    pub(crate) fn health(&self) -> Health {
        self.cluster.health()
    }

    /// Address of the server.
    pub(crate) fn server(&self) -> String {
        self.cluster.server()
    }

    /// Numbers of this moment.
    pub(super) fn metrics(&self) -> ClusterMetrics {
        let health = self.health();
        let count = |of: &dyn Fn(&WatchHealth) -> bool| health.watches.iter().filter(|watch| of(watch)).count();
        let server = health.server.trim_end_matches('/');
        ClusterMetrics {
            name: self.name.to_string(),
            host: server.split_once("://").map_or(server, |(_, rest)| rest).to_owned(),
            watches: [
                ("known", count(&|watch| watch.known && !watch.stalled)),
                ("unknown", count(&|watch| !watch.known)),
                ("stalled", count(&|watch| watch.known && watch.stalled)),
            ],
            relists: health.watches.iter().map(|watch| watch.relists).sum(),
            leases: Vec::new(),
            answers: health.answers,
        }
    }
}
