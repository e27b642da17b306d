//! All metrics with what they tell: the one table that the registry and the reference are made of.

use prometheus_client::registry::{Metric, Registry};

/// One metric: what the reference shows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// As it is scraped; histograms without their endings, counters with `_total`.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { name, kind, labels, help }
}

/// All metrics, in the order in which they are registered.
const TABLE: &[Described] = &[
    metric("controller_runtime_reconcile_total", "counter", &["controller", "result"], "Attempts by result"),
    metric("controller_runtime_reconcile_errors_total", "counter", &["controller"], "Attempts that failed"),
    metric(
        "controller_runtime_reconcile_time_seconds",
        "histogram",
        &["controller"],
        "From start to end of an attempt, effects included",
    ),
    metric("controller_runtime_active_workers", "gauge", &["controller"], "Attempts that are running"),
    metric(
        "controller_runtime_max_concurrent_reconciles",
        "gauge",
        &["controller"],
        "Calls that a plugin may have at a time",
    ),
    metric("workqueue_adds_total", "counter", &["name"], "Keys that were queued and taken, by plugin"),
    metric("workqueue_retries_total", "counter", &["name"], "Attempts that have to be made again"),
    metric("workqueue_queue_duration_seconds", "histogram", &["name"], "Wait of a key in the queue"),
    metric("workqueue_work_duration_seconds", "histogram", &["name"], "From start to end of an attempt"),
    metric("workqueue_depth", "gauge", &["name", "priority"], "Keys that wait in the queue, by lane"),
    metric("setpoint_plugin_call_seconds", "histogram", &["plugin"], "Wall clock of a plugin's call"),
    metric("setpoint_plugin_traps_total", "counter", &["plugin"], "Calls that ended in a trap, a timeout or a limit"),
    metric(
        "setpoint_plugin_warm_calls_total",
        "counter",
        &["plugin"],
        "Calls that were answered by an instance that was there already",
    ),
    metric(
        "setpoint_plugin_quarantined",
        "gauge",
        &["plugin"],
        "1 while a plugin is not called because it kept trapping",
    ),
    metric("setpoint_plan_calls_total", "counter", &["plugin"], "Calls for plans, which count nowhere else"),
    metric(
        "setpoint_shadow_calls_total",
        "counter",
        &["plugin", "result"],
        "Requests that a new version answered before it took over, by answered or trapped",
    ),
    metric(
        "setpoint_held_deletions",
        "gauge",
        &["plugin"],
        "Deletions that wait for a person: setpoint get held, setpoint confirm",
    ),
    metric("setpoint_plugin_fan_out_events_total", "counter", &["plugin"], "Changes that woke keys of a plugin up"),
    metric("setpoint_plugin_fan_out_keys_total", "counter", &["plugin"], "Keys of a plugin that changes woke up"),
    metric("setpoint_operations_total", "counter", &["verb", "outcome"], "Requests to clusters by outcome"),
    metric(
        "setpoint_probe_latency_seconds",
        "gauge",
        &["namespace", "name"],
        "How long the last look at the endpoint of a Probe took",
    ),
    metric("rest_client_requests_total", "counter", &["code", "host", "method"], "Requests to API servers by status"),
    metric(
        "leader_election_master_status",
        "gauge",
        &["name"],
        "1 while this host holds the lease: that of all, or where work is shared that of a shard",
    ),
    metric("setpoint_clusters", "gauge", &["state"], "Clusters by state: Connecting, Engaged, Unreachable or Refused"),
    metric("setpoint_watches", "gauge", &["cluster", "state"], "Watches that are needed: known, unknown or stalled"),
    metric("setpoint_relists_total", "counter", &["cluster"], "Complete lists after the first ones"),
    metric("setpoint_build_info", "info", &["version"], "The version of the host"),
    metric("setpoint_objects", "gauge", &["state"], "Reconciled objects by state"),
    metric("setpoint_cached_objects", "gauge", &[], "Objects in the cache"),
    metric("setpoint_dependency_edges", "gauge", &[], "Reads and children that are followed"),
    metric("setpoint_changes_total", "counter", &[], "Changes of what somebody sees"),
    metric("setpoint_attempts_total", "counter", &[], "Attempts begun"),
    metric("setpoint_calls_total", "counter", &[], "Calls of plugins"),
    metric("setpoint_memo_hits_total", "counter", &[], "Resyncs that needed no call"),
    metric("setpoint_damped_total", "counter", &[], "Attempts put off by the hot-loop bucket"),
    metric("setpoint_writes_total", "counter", &[], "Writes that were answered as done"),
    metric("setpoint_deletes_total", "counter", &[], "Children deleted"),
    metric("setpoint_store_writes_total", "counter", &[], "Writes of the embedded cluster that changed something"),
    metric("setpoint_store_commits_total", "counter", &[], "Transactions of the embedded store"),
    metric("setpoint_store_mutations_total", "counter", &[], "Rows that the embedded store wrote or removed"),
];

/// All metrics, for the reference.
pub fn reference() -> Vec<Described> {
    TABLE.to_vec()
}

/// Registers a metric under its name, with the help of the table. The endings of counters and of
/// infos are added when it is written.
pub(super) fn register(registry: &mut Registry, name: &'static str, metric: impl Metric) {
    let stem = |described: &Described| {
        let ending = match described.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        described.name.strip_suffix(ending).unwrap_or(described.name)
    };
    let help = TABLE.iter().find(|described| stem(described) == name).map_or("", |described| described.help);
    registry.register(name, help, metric);
}
