//! The plugin host: a call in a fresh instance, and what an idle plugin costs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use setpoint_core::contract::{ListQuery, ReadError, Request};
use setpoint_core::key::Key;
use setpoint_plugin::{BoxFuture, HostOptions, Limits, LogLevel, Logs, Plugin, PluginHost, Reads};

use crate::report::{Report, quantile, resident};
use crate::warm;

struct NoReads;

impl Reads for NoReads {
    fn get(&self, _: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        Box::pin(async { Ok(None) })
    }

    fn list(&self, _: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        Box::pin(async { Ok(Arc::from(Vec::new())) })
    }
}

struct NoLogs;

impl Logs for NoLogs {
    fn log(&self, _: LogLevel, _: &str, _: &[(String, String)]) {}
}

/// The directory of compiled guests, as `cargo xtask guests` leaves it.
pub(crate) fn guests() -> PathBuf {
    std::env::var_os("SETPOINT_TEST_GUESTS").map_or_else(|| PathBuf::from("target/guests"), PathBuf::from)
}

/// A Workflow of about 2 KB.
fn request() -> Request {
    let steps: Vec<_> = (0..12)
        .map(|at| {
            serde_json::json!({"id": format!("step-{at}"), "tool": format!("x_server_tool_{at}"), "description": "a step of the benchmark",
                               "args": {"query": "{{ .input.query }}", "limit": at}})
        })
        .collect();
    let object = serde_json::json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "Workflow",
        "metadata": {"name": "bench", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"description": "benchmark", "steps": steps}});
    Request {
        key: Arc::new(Key::new("local", "muster.giantswarm.io", "Workflow", Some("default"), "bench")),
        object: object.to_string().into(),
        deleting: false,
        attempt: 1,
        last_error: None,
        causes: Vec::new(),
        config: "{}".into(),
    }
}

pub(crate) fn run(report: &mut Report) {
    let path = guests().join("workflow.wasm");
    let Ok(bytes) = std::fs::read(&path) else {
        report.row(
            "plugin calls",
            format!("SKIPPED: {} is not there; run cargo xtask guests", path.display()),
            "—",
            None,
        );
        return;
    };
    let Ok(cache) = tempfile::tempdir() else { return };
    let options = HostOptions { cache_dir: Some(cache.path().to_owned()), ..HostOptions::default() };
    let (host, plugin) = match PluginHost::new(options).and_then(|host| host.load(&bytes).map(|plugin| (host, plugin)))
    {
        Ok(loaded) => loaded,
        Err(error) => return report.row("plugin calls", format!("failed: {error}"), "—", Some(false)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report.row("plugin calls", format!("failed: {error}"), "—", Some(false)),
    };
    calls(report, &runtime, &plugin);
    warm::run(report, &runtime, &plugin);
    throughput(report, &runtime, &plugin);
    idle(report, &host, &bytes);
}

async fn call(plugin: &Plugin, request: &Request, limits: &Limits) -> bool {
    let call = plugin.reconcile(request, Arc::new(NoReads), limits, Arc::new(NoLogs)).await;
    call.result.is_ok()
}

/// The size of the object, and what each call took in microseconds, sorted.
pub(crate) fn measure(runtime: &tokio::runtime::Runtime, plugin: &Arc<Plugin>, limits: Limits) -> (usize, Vec<f64>) {
    const CALLS: usize = 20_000;
    let request = request();
    let plugin = plugin.clone();
    let size = request.object.len();
    let mut took = runtime.block_on(async move {
        let task = tokio::spawn(async move {
            for _ in 0..2_000 {
                assert!(call(&plugin, &request, &limits).await, "the call failed");
            }
            let mut took = Vec::with_capacity(CALLS);
            for _ in 0..CALLS {
                let began = Instant::now();
                call(&plugin, &request, &limits).await;
                took.push(began.elapsed().as_secs_f64() * 1e6);
            }
            took
        });
        task.await.unwrap_or_default()
    });
    took.sort_by(f64::total_cmp);
    (size, took)
}

fn calls(report: &mut Report, runtime: &tokio::runtime::Runtime, plugin: &Arc<Plugin>) {
    let (size, took) = measure(runtime, plugin, Limits::default());
    let (p50, p99) = (quantile(&took, 0.5), quantile(&took, 0.99));
    let what = format!("fresh instance + reconcile of a {size} B Workflow + drop");
    report.row(format!("{what}, p50"), format!("{p50:.1} µs"), "≤ 40 µs", Some(p50 <= 40.0));
    report.row(format!("{what}, p99"), format!("{p99:.1} µs"), "≤ 120 µs", Some(p99 <= 120.0));
}

fn throughput(report: &mut Report, runtime: &tokio::runtime::Runtime, plugin: &Arc<Plugin>) {
    const TASKS: usize = 4;
    const CALLS: usize = 20_000;
    let request = request();
    let began = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (plugin, request) = (plugin.clone(), request.clone());
                tokio::spawn(async move {
                    for _ in 0..CALLS {
                        call(&plugin, &request, &Limits::default()).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    });
    let rate = (TASKS * CALLS) as f64 / began.elapsed().as_secs_f64();
    let figure = format!("{rate:.0}/s");
    report.row(format!("fresh calls, {TASKS} tasks"), figure, "≥ 40 000/s", Some(rate >= 40_000.0));
}

/// Copies of one component that differ by a custom section, so that each has a digest of its own.
fn variant(bytes: &[u8], number: u32) -> Vec<u8> {
    let mut variant = bytes.to_vec();
    let name = b"bench";
    let payload = number.to_le_bytes();
    variant.extend_from_slice(&[0, (1 + name.len() + payload.len()) as u8, name.len() as u8]);
    variant.extend_from_slice(name);
    variant.extend_from_slice(&payload);
    variant
}

fn idle(report: &mut Report, host: &PluginHost, bytes: &[u8]) {
    const PLUGINS: u32 = 50;
    // Compiled first, so that what is measured is what stays.
    let began = Instant::now();
    drop((0..PLUGINS).filter_map(|n| host.load(&variant(bytes, n)).ok()).collect::<Vec<_>>());
    let compiled = began.elapsed();
    let before = resident("self");
    let began = Instant::now();
    let loaded: Vec<_> = (0..PLUGINS).filter_map(|n| host.load(&variant(bytes, n)).ok()).collect();
    let from_cache = began.elapsed();
    let each = resident("self").saturating_sub(before) as f64 / f64::from(PLUGINS) / 1024.0;
    assert_eq!(loaded.len(), PLUGINS as usize, "some components did not load");
    report.row(
        format!("idle plugin, loaded ({PLUGINS} different ones)"),
        format!("{each:.0} KiB resident"),
        "≤ 300 KiB",
        Some(each <= 300.0),
    );
    let before = resident("self");
    let again: Vec<_> = (0..PLUGINS).filter_map(|n| host.load(&variant(bytes, n)).ok()).collect();
    let again_each = resident("self").saturating_sub(before) as f64 / f64::from(PLUGINS) / 1024.0;
    report.row("the same digest loaded twice", format!("{again_each:.1} KiB more"), "nothing", Some(again_each < 4.0));
    drop(again);
    let figure = format!(
        "{:.0} ms compiled anew, {:.0} ms from the code cache",
        compiled.as_secs_f64() * 1e3,
        from_cache.as_secs_f64() * 1e3
    );
    report.row(format!("load of {PLUGINS} plugins, one after another"), figure, "—", None);
}
