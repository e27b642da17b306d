//! What is read elsewhere when somebody asks for metrics.

use std::time::Duration;

use setpoint_cluster::local::LocalMetrics;
use setpoint_core::engine::{Counts, Engine};
use setpoint_core::fleet::State;
use setpoint_core::key::Key;
use setpoint_core::queue::{LANES, Lane};

/// Numbers of one moment that are kept elsewhere; read when somebody asks for metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsSnapshot {
    /// The engine's counters since the start.
    pub counts: Counts,
    /// Keys that wait, by lane of the queue.
    pub queue: [(&'static str, usize); LANES],
    /// Dependency edges.
    pub edges: usize,
    /// Objects in the cache.
    pub objects: usize,
    /// Writes of the embedded cluster that changed something, since the start.
    pub store_writes: u64,
    /// Transactions of its store, since the start.
    pub store_commits: u64,
    /// Rows that they wrote or removed.
    pub store_mutations: u64,
    /// Reconciled objects by state.
    pub summary: [(&'static str, usize); 5],
    /// Calls that a plugin may have at a time, by plugin.
    pub concurrency: Vec<(String, u32)>,
    /// Plugins that are not called at present (rule C8).
    pub quarantined: Vec<String>,
    /// Deletions that wait for a person (rule B3), by plugin.
    pub held: Vec<(String, usize)>,
    /// Changes that woke keys of a plugin up, and those keys (rule A9), by plugin.
    pub fan_out: Vec<(String, u64, u64)>,
    /// How long the last look at the endpoint of each probe took.
    pub latencies: Vec<(Key, Duration)>,
    /// The connections to API servers.
    pub clusters: Vec<ClusterMetrics>,
    /// Clusters that are offered, by state.
    pub fleet: [(&'static str, usize); 4],
}

/// Numbers of the connection to an API server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterMetrics {
    /// The cluster.
    pub name: String,
    /// Host and port of the server.
    pub host: String,
    /// Requests by method and status; status 0: there was no answer.
    pub answers: Vec<(String, u16, u64)>,
    /// Reflectors by state.
    pub watches: [(&'static str, usize); 3],
    /// Complete lists after the first ones.
    pub relists: u64,
    /// Namespace and name of the leases by which hosts act, and whether this host holds them.
    pub leases: Vec<(String, bool)>,
}

impl MetricsSnapshot {
    /// The numbers of this moment.
    pub fn of(engine: &Engine, store: LocalMetrics) -> Self {
        Self {
            latencies: Vec::new(),
            clusters: Vec::new(),
            fleet: State::ALL.map(|state| (state.word(), 0)),
            counts: engine.counts(),
            queue: Lane::ALL.map(|lane| (lane.word(), engine.queue_length_of(lane))),
            edges: engine.edges(),
            objects: engine.cache().len(),
            store_writes: store.writes,
            store_commits: store.commits,
            store_mutations: store.mutations,
            summary: engine.summary().map(|(phase, count)| (phase.word(), count)),
            concurrency: engine.plugins().map(|info| (info.name.to_string(), info.concurrency)).collect(),
            quarantined: engine.quarantined().into_iter().map(|entry| entry.plugin.to_string()).collect(),
            held: engine.held().into_iter().map(|held| (held.plugin.to_string(), held.children.len())).collect(),
            fan_out: engine
                .fan_out()
                .into_iter()
                .map(|(plugin, events, keys)| (plugin.to_string(), events, keys))
                .collect(),
        }
    }
}
