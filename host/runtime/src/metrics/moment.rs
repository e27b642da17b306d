//! Metrics whose numbers are those of one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::QUEUE;
use super::labels::{ByCluster, ByController, ByLane, ByLease, ByObject, ByPlugin, ByRequest, ByState, ByWatch};
use super::snapshot::{ClusterMetrics, MetricsSnapshot};
use super::table::register;

/// Metrics whose numbers come with a snapshot.
#[derive(Default)]
pub(super) struct Moment {
    concurrency: Family<ByController, Gauge>,
    quarantined: Family<ByPlugin, Gauge>,
    held: Family<ByPlugin, Gauge>,
    fan_out_events: Family<ByPlugin, Counter>,
    fan_out_keys: Family<ByPlugin, Counter>,
    depth: Family<ByLane, Gauge>,
    states: Family<ByState, Gauge>,
    latencies: Family<ByObject, Gauge<f64, AtomicU64>>,
    requests: Family<ByRequest, Counter>,
    leases: Family<ByLease, Gauge>,
    fleet: Family<ByState, Gauge>,
    watches: Family<ByWatch, Gauge>,
    relists: Family<ByCluster, Counter>,
    cached: Gauge,
    edges: Gauge,
    changes: Counter,
    attempts: Counter,
    calls: Counter,
    memo_hits: Counter,
    damped: Counter,
    writes: Counter,
    deletes: Counter,
    store_writes: Counter,
    store_commits: Counter,
    store_mutations: Counter,
}

impl Moment {
    pub(super) fn register(&self, registry: &mut Registry) {
        register(registry, "controller_runtime_max_concurrent_reconciles", self.concurrency.clone());
        register(registry, "workqueue_depth", self.depth.clone());
        register(registry, "setpoint_plugin_quarantined", self.quarantined.clone());
        register(registry, "setpoint_held_deletions", self.held.clone());
        register(registry, "setpoint_plugin_fan_out_events", self.fan_out_events.clone());
        register(registry, "setpoint_plugin_fan_out_keys", self.fan_out_keys.clone());
        register(registry, "setpoint_objects", self.states.clone());
        register(registry, "setpoint_probe_latency_seconds", self.latencies.clone());
        register(registry, "rest_client_requests", self.requests.clone());
        register(registry, "leader_election_master_status", self.leases.clone());
        register(registry, "setpoint_clusters", self.fleet.clone());
        register(registry, "setpoint_watches", self.watches.clone());
        register(registry, "setpoint_relists", self.relists.clone());
        register(registry, "setpoint_cached_objects", self.cached.clone());
        register(registry, "setpoint_dependency_edges", self.edges.clone());
        let counters = [
            ("setpoint_changes", &self.changes),
            ("setpoint_attempts", &self.attempts),
            ("setpoint_calls", &self.calls),
            ("setpoint_memo_hits", &self.memo_hits),
            ("setpoint_damped", &self.damped),
            ("setpoint_writes", &self.writes),
            ("setpoint_deletes", &self.deletes),
            ("setpoint_store_writes", &self.store_writes),
            ("setpoint_store_commits", &self.store_commits),
            ("setpoint_store_mutations", &self.store_mutations),
        ];
        for (name, counter) in counters {
            register(registry, name, counter.clone());
        }
    }

    pub(super) fn set(&self, snapshot: &MetricsSnapshot) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        // A plugin that is gone has no limit any more.
        self.concurrency.clear();
        for (plugin, limit) in &snapshot.concurrency {
            let labels = ByController { controller: plugin.as_str().into() };
            self.concurrency.get_or_create(&labels).set(i64::from(*limit));
        }
        let by_plugin = |plugin: &String| ByPlugin { plugin: plugin.as_str().into() };
        self.quarantined.clear();
        for (plugin, _) in &snapshot.concurrency {
            let quarantined = snapshot.quarantined.contains(plugin);
            self.quarantined.get_or_create(&by_plugin(plugin)).set(i64::from(quarantined));
        }
        self.held.clear();
        for (plugin, deletions) in &snapshot.held {
            self.held.get_or_create(&by_plugin(plugin)).set(number(*deletions));
        }
        self.latencies.clear();
        for (key, latency) in &snapshot.latencies {
            let namespace = key.namespace.as_deref().unwrap_or_default().into();
            let labels = ByObject { namespace, name: (*key.name).into() };
            self.latencies.get_or_create(&labels).set(latency.as_secs_f64());
        }
        // Clusters go as well.
        self.leases.clear();
        self.requests.clear();
        self.watches.clear();
        self.relists.clear();
        for cluster in &snapshot.clusters {
            self.set_cluster(cluster);
        }
        for (state, count) in snapshot.fleet {
            self.fleet.get_or_create(&ByState { state }).set(number(count));
        }
        for (plugin, events, keys) in &snapshot.fan_out {
            self.fan_out_events.get_or_create(&by_plugin(plugin)).inner().store(*events, Ordering::Relaxed);
            self.fan_out_keys.get_or_create(&by_plugin(plugin)).inner().store(*keys, Ordering::Relaxed);
        }
        for (lane, waiting) in snapshot.queue {
            self.depth.get_or_create(&ByLane { name: QUEUE, priority: lane }).set(number(waiting));
        }
        for (state, count) in snapshot.summary {
            self.states.get_or_create(&ByState { state }).set(number(count));
        }
        self.cached.set(number(snapshot.objects));
        self.edges.set(number(snapshot.edges));
        let counters = [
            (&self.changes, snapshot.counts.changes),
            (&self.attempts, snapshot.counts.attempts),
            (&self.calls, snapshot.counts.calls),
            (&self.memo_hits, snapshot.counts.memo_hits),
            (&self.damped, snapshot.counts.damped),
            (&self.writes, snapshot.counts.writes),
            (&self.deletes, snapshot.counts.deletes),
            (&self.store_writes, snapshot.store_writes),
            (&self.store_commits, snapshot.store_commits),
            (&self.store_mutations, snapshot.store_mutations),
        ];
        for (counter, value) in counters {
            counter.inner().store(value, Ordering::Relaxed);
        }
    }

    fn set_cluster(&self, of: &ClusterMetrics) {
        for (method, code, count) in &of.answers {
            // As client-go writes it.
            let code = if *code == 0 { "<error>".into() } else { code.to_string().as_str().into() };
            let labels = ByRequest { code, host: of.host.as_str().into(), method: method.as_str().into() };
            self.requests.get_or_create(&labels).inner().store(*count, Ordering::Relaxed);
        }
        for (name, holds) in &of.leases {
            self.leases.get_or_create(&ByLease { name: name.as_str().into() }).set(i64::from(*holds));
        }
        let cluster: Arc<str> = of.name.as_str().into();
        for (state, count) in of.watches {
            let labels = ByWatch { cluster: cluster.clone(), state };
            self.watches.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.relists.get_or_create(&ByCluster { cluster }).inner().store(of.relists, Ordering::Relaxed);
    }
}
