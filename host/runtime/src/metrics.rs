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
use setpoint_core::engine::Counts;
use setpoint_core::queue::LANES;

/// The media type of what [`Metrics::render`] answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Numbers of one moment that are kept elsewhere; read when somebody asks for metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsSnapshot {
    /// The engine's counters since the start.
    pub counts: Counts,
    /// Keys that wait, by lane of the queue.
    pub queue: [(&'static str, usize); LANES],
    /// Attempts that are running.
    pub running: usize,
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
struct ByOperation {
    verb: Arc<str>,
    outcome: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ByState {
    state: &'static str,
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
    traps: Counter,
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
    operations: Family<ByOperation, Counter>,
    /// Set from a snapshot; one render at a time, so that no answer mixes two moments.
    moment: Mutex<Moment>,
}

/// Metrics whose numbers come with a snapshot.
#[derive(Default)]
struct Moment {
    active: Gauge,
    concurrency: Family<ByController, Gauge>,
    depth: Family<ByLane, Gauge>,
    states: Family<ByState, Gauge>,
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
        registry.register("controller_runtime_active_workers", "Attempts that are running", self.active.clone());
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "Calls that a plugin may have at a time",
            self.concurrency.clone(),
        );
        registry.register("workqueue_depth", "Keys that wait in the queue, by lane", self.depth.clone());
        registry.register("setpoint_objects", "Reconciled objects by state", self.states.clone());
        registry.register("setpoint_cached_objects", "Objects in the cache", self.cached.clone());
        registry.register("setpoint_dependency_edges", "Reads and children that are followed", self.edges.clone());
        let counters = [
            ("setpoint_changes", "Changes of what somebody sees", &self.changes),
            ("setpoint_attempts", "Attempts begun", &self.attempts),
            ("setpoint_calls", "Calls of plugins", &self.calls),
            ("setpoint_memo_hits", "Resyncs that needed no call", &self.memo_hits),
            ("setpoint_damped", "Attempts put off by the hot-loop bucket", &self.damped),
            ("setpoint_writes", "Writes that were answered as done", &self.writes),
            ("setpoint_deletes", "Children deleted", &self.deletes),
            ("setpoint_store_writes", "Writes of the embedded cluster that changed something", &self.store_writes),
            ("setpoint_store_commits", "Transactions of the embedded store", &self.store_commits),
            ("setpoint_store_mutations", "Rows that the embedded store wrote or removed", &self.store_mutations),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }

    fn set(&self, snapshot: &MetricsSnapshot) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.active.set(number(snapshot.running));
        // A plugin that is gone has no limit any more.
        self.concurrency.clear();
        for (plugin, limit) in &snapshot.concurrency {
            let labels = ByController { controller: plugin.as_str().into() };
            self.concurrency.get_or_create(&labels).set(i64::from(*limit));
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
            operations: Family::default(),
            moment: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("controller_runtime_reconcile", "Attempts by result", this.results.clone());
        registry.register("controller_runtime_reconcile_errors", "Attempts that failed", this.errors.clone());
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "From start to end of an attempt, effects included",
            this.attempt_times.clone(),
        );
        registry.register("workqueue_adds", "Keys that were queued and taken, by plugin", this.added.clone());
        registry.register("workqueue_retries", "Attempts that have to be made again", this.retried.clone());
        registry.register("workqueue_queue_duration_seconds", "Wait of a key in the queue", this.waits.clone());
        registry.register("workqueue_work_duration_seconds", "From start to end of an attempt", this.work.clone());
        registry.register("setpoint_plugin_call_seconds", "Wall clock of a plugin's call", this.call_times.clone());
        registry.register(
            "setpoint_plugin_traps",
            "Calls that ended in a trap, a timeout or a limit",
            this.traps.clone(),
        );
        registry.register("setpoint_plan_calls", "Calls of plugins that were made for plans", this.plans.clone());
        registry.register("setpoint_operations", "Requests to clusters by outcome", this.operations.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("setpoint_build", "The version of the host", build);
        lock(&this.moment).register(&mut registry);
        Self { registry, ..this }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    fn plugin(&self, name: &str) -> Arc<Plugin> {
        if let Some(plugin) = self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return plugin.clone();
        }
        let mut plugins = self.plugins.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        let make = || {
            let traps = self.traps.get_or_create_owned(&ByPlugin { plugin: name.clone() });
            Arc::new(Plugin { name: name.clone(), calls: AtomicU64::new(0), traps })
        };
        plugins.entry(name.clone()).or_insert_with(make).clone()
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

    /// A plugin's call has ended after `took`; `trapped`: in a trap, a timeout or a limit.
    pub fn record_call(&self, plugin: &str, took: Duration, trapped: bool) {
        let plugin = self.plugin(plugin);
        plugin.calls.fetch_add(1, Ordering::Relaxed);
        if trapped {
            plugin.traps.inc();
        }
        self.call_times.get_or_create(&ByPlugin { plugin: plugin.name.clone() }).observe(took.as_secs_f64());
    }

    /// A plugin was called for a plan: such calls count nowhere else.
    pub fn record_plan(&self, plugin: &str) {
        self.plans.get_or_create(&ByPlugin { plugin: plugin.into() }).inc();
    }

    /// A cluster has answered a request: what was asked, and `done` or why not.
    pub fn record_op(&self, verb: &str, outcome: &str) {
        self.operations.get_or_create(&ByOperation { verb: verb.into(), outcome: outcome.into() }).inc();
    }

    /// Calls and traps since the host started, by plugin.
    pub fn calls(&self) -> BTreeMap<String, (u64, u64)> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let counts = |plugin: &Plugin| (plugin.calls.load(Ordering::Relaxed), plugin.traps.get());
        plugins.values().map(|plugin| (plugin.name.to_string(), counts(plugin))).collect()
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
            running: 3,
            edges: 11,
            objects: 12,
            store_writes: 4,
            store_commits: 2,
            store_mutations: 5,
            summary: [("Pending", 0), ("Reconciling", 0), ("Synced", 9), ("Error", 1), ("Failed", 0)],
            concurrency: vec![("workflow".into(), 4)],
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
        let text = metrics.render(&snapshot());
        for (series, expected) in [
            ("controller_runtime_reconcile_total{controller=\"workflow\",result=\"success\"}", "1"),
            ("controller_runtime_reconcile_total{controller=\"workflow\",result=\"error\"}", "1"),
            ("controller_runtime_reconcile_errors_total{controller=\"workflow\"}", "1"),
            ("controller_runtime_reconcile_time_seconds_count{controller=\"workflow\"}", "2"),
            ("controller_runtime_reconcile_time_seconds_bucket{le=\"0.025\",controller=\"workflow\"}", "0"),
            ("controller_runtime_reconcile_time_seconds_bucket{le=\"0.05\",controller=\"workflow\"}", "2"),
            ("controller_runtime_active_workers", "3"),
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
        ] {
            assert_eq!(value(&text, series).as_deref(), Some(expected), "{series} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_call_counts_for_its_plugin_and_a_trap_counts_beside_it() {
        let metrics = Metrics::default();
        metrics.record_call("a", Duration::from_micros(40), false);
        metrics.record_call("a", Duration::from_micros(40), true);
        metrics.record_call("b", Duration::from_micros(40), false);
        metrics.record_op("apply", "done");
        let calls = metrics.calls();
        assert_eq!((calls.get("a"), calls.get("b")), (Some(&(2, 1)), Some(&(1, 0))));
        let text = metrics.render(&snapshot());
        assert_eq!(value(&text, "setpoint_plugin_traps_total{plugin=\"a\"}").as_deref(), Some("1"));
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
