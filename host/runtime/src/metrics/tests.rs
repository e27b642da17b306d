//! The metrics that are told are the ones that dashboards and the reference know.

use setpoint_core::engine::Counts;
use setpoint_core::key::Key;

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
            leases: vec![("setpoint-system/setpoint".into(), true), ("setpoint-system/setpoint-shard-a".into(), false)],
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
