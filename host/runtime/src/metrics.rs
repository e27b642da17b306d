//! What is counted and how long things take, in the names that dashboards for controller-runtime
//! know (`controller_runtime_*`, `workqueue_*`), and Setpoint's own beside them. A plugin is a
//! controller; the label of its work queue is its name as well.
//!
//! | question | module |
//! |---|---|
//! | what is counted as it happens, and how is all of it written | here: [`Metrics`] |
//! | what is read elsewhere at the moment that somebody asks | [`snapshot`], [`moment`] |
//! | what are metrics called, and by what are they told apart | [`table`], [`labels`] |

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::lock::lock;

mod labels;
mod moment;
mod snapshot;
mod table;

pub use snapshot::{ClusterMetrics, MetricsSnapshot};
pub use table::{Described, reference};

use labels::{ByController, ByOperation, ByPlugin, ByQueue, ByResult, ByTrial};
use moment::Moment;
use table::register;

/// The media type of what [`Metrics::render`] answers.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
mod tests;
