//! What is counted and how long things take, in the names that dashboards for controller-runtime
//! know (`controller_runtime_*`, `workqueue_*`), and Setpoint's own beside them. A plugin is a
//! controller; the label of its work queue is its name as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use setpoint_cluster::local::LocalMetrics;
use setpoint_core::engine::{Counts, Engine};
use setpoint_core::fleet::State;
use setpoint_core::key::Key;
use setpoint_core::queue::{LANES, Lane};

use crate::lock::lock;

mod table;

pub use table::{Described, reference};

use table::register;

/// The media type of what [`Metrics::render`] answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByResult {
    controller: Arc<str>,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByController {
    controller: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByQueue {
    name: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByLane {
    name: &'static str,
    priority: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByPlugin {
    plugin: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByTrial {
    plugin: Arc<str>,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByOperation {
    verb: Arc<str>,
    outcome: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByObject {
    namespace: Arc<str>,
    name: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByRequest {
    code: Arc<str>,
    host: Arc<str>,
    method: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByLease {
    name: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByWatch {
    cluster: Arc<str>,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByCluster {
    cluster: Arc<str>,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// Buckets of controller-runtime for whole attempts, seconds.
fn attempt_times() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
        1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
    ])
}

/// Buckets of client-go for its work queues, seconds: ten nanoseconds to a quarter of an hour.
fn queue_times() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 12))
}

/// Calls take from tens of microseconds to the wall clock's limit, seconds.
fn call_times() -> Histogram {
    Histogram::new([
        1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
        30.0,
    ])
}

/// The name of the one queue that all plugins share, where no plugin can be told.
const QUEUE: &str = "setpoint";

/// What is counted of one plugin, so that a record finds it without making a label anew.
struct Plugin {
    name: Arc<str>,
    calls: AtomicU64,
    /// Of all calls together, nanoseconds.
    took: AtomicU64,
    traps: Counter,
    warm: Counter,
    active: Gauge,
}

/// What is known of a plugin's calls since the host started.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Calls {
    /// All of them.
    pub calls: u64,
    /// Those that ended in a trap, a timeout or a limit.
    pub traps: u64,
    /// Mean time of a call in milliseconds; none before the first.
    pub mean_ms: Option<f64>,
}

/// An attempt that is running; it counts as such until this is dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of a host. Recording is cheap and never blocks for long; [`Metrics::render`] joins
/// them with what the engine knows at that moment.
pub struct Metrics {
    registry: Registry,
    plugins: RwLock<HashMap<Arc<str>, Arc<Plugin>>>,
    results: Family<ByResult, Counter>,
    errors: Family<ByController, Counter>,
    attempt_times: Times<ByController>,
    added: Family<ByQueue, Counter>,
    retried: Family<ByQueue, Counter>,
    waits: Times<ByQueue>,
    work: Times<ByQueue>,
    call_times: Times<ByPlugin>,
    traps: Family<ByPlugin, Counter>,
    plans: Family<ByPlugin, Counter>,
    warm: Family<ByPlugin, Counter>,
    active: Family<ByController, Gauge>,
    trials: Family<ByTrial, Counter>,
    operations: Family<ByOperation, Counter>,
    /// Set from a snapshot; one render at a time, so that no answer mixes two moments.
    moment: Mutex<Moment>,
}

/// Metrics whose numbers come with a snapshot.
#[derive(Default)]
struct Moment {
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
    fn register(&self, registry: &mut Registry) {
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

    fn set(&self, snapshot: &MetricsSnapshot) {
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

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let this = Self {
            plugins: RwLock::default(),
            results: Family::default(),
            errors: Family::default(),
            attempt_times: Family::new_with_constructor(attempt_times as fn() -> Histogram),
            added: Family::default(),
            retried: Family::default(),
            waits: Family::new_with_constructor(queue_times as fn() -> Histogram),
            work: Family::new_with_constructor(queue_times as fn() -> Histogram),
            call_times: Family::new_with_constructor(call_times as fn() -> Histogram),
            traps: Family::default(),
            plans: Family::default(),
            warm: Family::default(),
            active: Family::default(),
            trials: Family::default(),
            operations: Family::default(),
            moment: Mutex::default(),
            registry: Registry::default(),
        };
        let to = &mut registry;
        register(to, "controller_runtime_reconcile", this.results.clone());
        register(to, "controller_runtime_reconcile_errors", this.errors.clone());
        register(to, "controller_runtime_reconcile_time_seconds", this.attempt_times.clone());
        register(to, "controller_runtime_active_workers", this.active.clone());
        register(to, "workqueue_adds", this.added.clone());
        register(to, "workqueue_retries", this.retried.clone());
        register(to, "workqueue_queue_duration_seconds", this.waits.clone());
        register(to, "workqueue_work_duration_seconds", this.work.clone());
        register(to, "setpoint_plugin_call_seconds", this.call_times.clone());
        register(to, "setpoint_plugin_traps", this.traps.clone());
        register(to, "setpoint_plugin_warm_calls", this.warm.clone());
        register(to, "setpoint_plan_calls", this.plans.clone());
        register(to, "setpoint_shadow_calls", this.trials.clone());
        register(to, "setpoint_operations", this.operations.clone());
        register(to, "setpoint_build", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        lock(&this.moment).register(&mut registry);
        Self { registry, ..this }
    }
}

impl Metrics {
    fn plugin(&self, name: &str) -> Arc<Plugin> {
        if let Some(plugin) = self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return plugin.clone();
        }
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        let make = || {
            let by_plugin = ByPlugin { plugin: name.clone() };
            Arc::new(Plugin {
                name: name.clone(),
                calls: AtomicU64::new(0),
                took: AtomicU64::new(0),
                traps: self.traps.get_or_create_owned(&by_plugin),
                warm: self.warm.get_or_create_owned(&by_plugin),
                active: self.active.get_or_create_owned(&ByController { controller: name.clone() }),
            })
        };
        plugins.entry(name.clone()).or_insert_with(make).clone()
    }

    /// An attempt of a plugin begins.
    pub fn attempt_begins(&self, plugin: &str) -> Active {
        let active = self.plugin(plugin).active.clone();
        active.inc();
        Active(active)
    }

    /// An attempt has ended. `result` is `success`, `error`, `requeue`, `unavailable` or `dropped`;
    /// `waited` is its time in the queue, `took` from its start to its end, effects included.
    pub fn record_attempt(&self, plugin: &str, result: &'static str, waited: Duration, took: Duration) {
        let name = &self.plugin(plugin).name;
        let (by_controller, by_queue) = (ByController { controller: name.clone() }, ByQueue { name: name.clone() });
        self.results.get_or_create(&ByResult { controller: name.clone(), result }).inc();
        self.attempt_times.get_or_create(&by_controller).observe(took.as_secs_f64());
        let errors = self.errors.get_or_create_owned(&by_controller);
        let retried = self.retried.get_or_create_owned(&by_queue);
        if matches!(result, "error" | "unavailable") {
            errors.inc();
            retried.inc();
        }
        self.added.get_or_create(&by_queue).inc();
        self.waits.get_or_create(&by_queue).observe(waited.as_secs_f64());
        self.work.get_or_create(&by_queue).observe(took.as_secs_f64());
    }

    /// A plugin's call has ended after `took`; `trapped`: in a trap, a timeout or a limit; `warm`: it
    /// was answered by an instance that was there (rule A13).
    pub fn record_call(&self, plugin: &str, took: Duration, trapped: bool, warm: bool) {
        let plugin = self.plugin(plugin);
        plugin.calls.fetch_add(1, Ordering::Relaxed);
        plugin.took.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if trapped {
            plugin.traps.inc();
        }
        if warm {
            plugin.warm.inc();
        }
        self.call_times.get_or_create(&ByPlugin { plugin: plugin.name.clone() }).observe(took.as_secs_f64());
    }

    /// A plugin was called for a plan: such calls count nowhere else.
    pub fn record_plan(&self, plugin: &str) {
        self.plans.get_or_create(&ByPlugin { plugin: plugin.into() }).inc();
    }

    /// A version that shall take over has answered a request without effects (rule D11).
    pub fn record_shadow_call(&self, plugin: &str, trapped: bool) {
        let result = if trapped { "trapped" } else { "answered" };
        self.trials.get_or_create(&ByTrial { plugin: plugin.into(), result }).inc();
    }

    /// A cluster has answered a request: what was asked, and `done` or why not.
    pub fn record_op(&self, verb: &str, outcome: &str) {
        self.operations.get_or_create(&ByOperation { verb: verb.into(), outcome: outcome.into() }).inc();
    }

    /// The calls since the host started, by plugin.
    pub fn calls(&self) -> BTreeMap<String, Calls> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let calls = |plugin: &Plugin| {
            let calls = plugin.calls.load(Ordering::Relaxed);
            let took = plugin.took.load(Ordering::Relaxed) as f64 / 1e6;
            Calls { calls, traps: plugin.traps.get(), mean_ms: (calls > 0).then(|| took / calls as f64) }
        };
        plugins.values().map(|plugin| (plugin.name.to_string(), calls(plugin))).collect()
    }

    /// All of it as OpenMetrics text ([`CONTENT_TYPE`]).
    pub fn render(&self, snapshot: &MetricsSnapshot) -> String {
        let moment = lock(&self.moment);
        moment.set(snapshot);
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail, and no metric refuses to be written.
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> MetricsSnapshot {
        MetricsSnapshot {
            counts: Counts { memo_hits: 7, damped: 1, ..Counts::default() },
            queue: [("user", 1), ("dependency", 2), ("retry", 0), ("first", 0), ("resync", 0)],
            edges: 11,
            objects: 12,
            store_writes: 4,
            store_commits: 2,
            store_mutations: 5,
            summary: [("Pending", 0), ("Reconciling", 0), ("Synced", 9), ("Error", 1), ("Failed", 0)],
            concurrency: vec![("workflow".into(), 4)],
            quarantined: vec!["workflow".into()],
            held: vec![("workflow".into(), 12)],
            fan_out: vec![("workflow".into(), 2, 2_000)],
            latencies: vec![(Key::new("local", "h", "Probe", Some("default"), "web"), Duration::from_millis(250))],
            fleet: [("Connecting", 0), ("Engaged", 2), ("Unreachable", 1), ("Refused", 0)],
            clusters: vec![ClusterMetrics {
                name: "hub".into(),
                host: "127.0.0.1:6443".into(),
                answers: vec![("GET".into(), 200, 5), ("PATCH".into(), 0, 1)],
                watches: [("known", 3), ("unknown", 1), ("stalled", 0)],
                relists: 2,
                leases: vec![
                    ("setpoint-system/setpoint".into(), true),
                    ("setpoint-system/setpoint-shard-a".into(), false),
                ],
            }],
        }
    }

    fn value(text: &str, series: &str) -> Option<String> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn dashboards_for_controller_runtime_find_their_names() {
        let metrics = Metrics::default();
        let (waited, took) = (Duration::from_millis(2), Duration::from_millis(30));
        metrics.record_attempt("workflow", "success", waited, took);
        metrics.record_attempt("workflow", "error", waited, took);
        let running = metrics.attempt_begins("workflow");
        let text = metrics.render(&snapshot());
        for (series, expected) in [
            ("controller_runtime_reconcile_total{controller=\"workflow\",result=\"success\"}", "1"),
            ("controller_runtime_reconcile_total{controller=\"workflow\",result=\"error\"}", "1"),
            ("controller_runtime_reconcile_errors_total{controller=\"workflow\"}", "1"),
            ("controller_runtime_reconcile_time_seconds_count{controller=\"workflow\"}", "2"),
            ("controller_runtime_reconcile_time_seconds_bucket{le=\"0.025\",controller=\"workflow\"}", "0"),
            ("controller_runtime_reconcile_time_seconds_bucket{le=\"0.05\",controller=\"workflow\"}", "2"),
            ("controller_runtime_active_workers{controller=\"workflow\"}", "1"),
            ("controller_runtime_max_concurrent_reconciles{controller=\"workflow\"}", "4"),
            ("workqueue_depth{name=\"setpoint\",priority=\"dependency\"}", "2"),
            ("workqueue_adds_total{name=\"workflow\"}", "2"),
            ("workqueue_retries_total{name=\"workflow\"}", "1"),
            ("workqueue_queue_duration_seconds_count{name=\"workflow\"}", "2"),
            ("workqueue_work_duration_seconds_sum{name=\"workflow\"}", "0.06"),
            ("setpoint_memo_hits_total", "7"),
            ("setpoint_damped_total", "1"),
            ("setpoint_store_commits_total", "2"),
            ("setpoint_cached_objects", "12"),
            ("setpoint_dependency_edges", "11"),
            ("setpoint_objects{state=\"Synced\"}", "9"),
            ("setpoint_plugin_quarantined{plugin=\"workflow\"}", "1"),
            ("setpoint_held_deletions{plugin=\"workflow\"}", "12"),
            ("setpoint_plugin_fan_out_keys_total{plugin=\"workflow\"}", "2000"),
            ("rest_client_requests_total{code=\"200\",host=\"127.0.0.1:6443\",method=\"GET\"}", "5"),
            ("rest_client_requests_total{code=\"<error>\",host=\"127.0.0.1:6443\",method=\"PATCH\"}", "1"),
            ("leader_election_master_status{name=\"setpoint-system/setpoint\"}", "1"),
            ("leader_election_master_status{name=\"setpoint-system/setpoint-shard-a\"}", "0"),
            ("setpoint_watches{cluster=\"hub\",state=\"unknown\"}", "1"),
            ("setpoint_relists_total{cluster=\"hub\"}", "2"),
            ("setpoint_clusters{state=\"Unreachable\"}", "1"),
            ("setpoint_probe_latency_seconds{namespace=\"default\",name=\"web\"}", "0.25"),
        ] {
            assert_eq!(value(&text, series).as_deref(), Some(expected), "{series} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        drop(running);
        let text = metrics.render(&snapshot());
        let active = value(&text, "controller_runtime_active_workers{controller=\"workflow\"}");
        assert_eq!(active.as_deref(), Some("0"), "an attempt counts as running until it ends");
    }

    #[test]
    fn the_reference_has_every_metric_with_its_kind_and_labels_and_no_other() {
        let metrics = Metrics::default();
        metrics.record_attempt("p", "success", Duration::ZERO, Duration::ZERO);
        metrics.record_call("p", Duration::from_micros(40), false, true);
        metrics.record_shadow_call("p", true);
        metrics.record_plan("p");
        metrics.record_op("apply", "done");
        drop(metrics.attempt_begins("p"));
        let text = metrics.render(&snapshot());
        let mut rendered: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .map(|(name, kind)| {
                let ending = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                (format!("{name}{ending}"), kind.to_owned())
            })
            .collect();
        rendered.sort();
        let mut told: Vec<(String, String)> =
            reference().iter().map(|metric| (metric.name.to_owned(), metric.kind.to_owned())).collect();
        told.sort();
        assert_eq!(rendered, told);
        for metric in reference() {
            let help = format!(" {}.", metric.help);
            assert!(!metric.help.is_empty() && text.contains(&help), "{}", metric.name);
            let series = match metric.kind {
                "histogram" => format!("{}_count", metric.name),
                _ => metric.name.to_owned(),
            };
            let line =
                text.lines().find(|line| line.strip_prefix(&*series).is_some_and(|rest| rest.starts_with(['{', ' '])));
            let line = line.unwrap_or_else(|| panic!("{series} in\n{text}"));
            for label in metric.labels {
                assert!(line.contains(&format!("{label}=\"")), "{label} in {line}");
            }
        }
    }

    #[test]
    fn a_call_counts_for_its_plugin_and_a_trap_counts_beside_it() {
        let metrics = Metrics::default();
        metrics.record_call("a", Duration::from_micros(20), false, false);
        metrics.record_call("a", Duration::from_micros(60), true, true);
        metrics.record_call("b", Duration::from_micros(40), false, false);
        metrics.record_op("apply", "done");
        let mut calls = metrics.calls();
        let (a, b) = (calls.remove("a").unwrap_or_default(), calls.remove("b").unwrap_or_default());
        assert_eq!((a.calls, a.traps, b.calls, b.traps), (2, 1, 1, 0));
        assert!(a.mean_ms.is_some_and(|mean| (mean - 0.04).abs() < 1e-9));
        let text = metrics.render(&snapshot());
        assert_eq!(value(&text, "setpoint_plugin_traps_total{plugin=\"a\"}").as_deref(), Some("1"));
        assert_eq!(value(&text, "setpoint_plugin_warm_calls_total{plugin=\"a\"}").as_deref(), Some("1"));
        assert_eq!(value(&text, "setpoint_plugin_call_seconds_count{plugin=\"a\"}").as_deref(), Some("2"));
        assert_eq!(value(&text, "setpoint_operations_total{verb=\"apply\",outcome=\"done\"}").as_deref(), Some("1"));
    }

    #[test]
    fn a_plugin_that_is_gone_has_no_limit_any_more() {
        let metrics = Metrics::default();
        assert!(metrics.render(&snapshot()).contains("max_concurrent_reconciles{controller=\"workflow\"}"));
        let text = metrics.render(&MetricsSnapshot { concurrency: Vec::new(), ..snapshot() });
        assert!(!text.contains("max_concurrent_reconciles{controller=\"workflow\"}"));
    }
}
