//! What many objects cost: memory of each, and at most while they are listed anew. `SETPOINT_OBJECTS=5000` for the
//! figures in the docs.
#![recursion_limit = "512"]

#[path = "../server/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use std::time::Instant;

use serde_json::json;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::Told;
use setpoint_core::key::{GroupVersionKind, Source};
use setpoint_test_kube::Kube;

use support::{Host, bundle, bundles, eventually, group, locked, options, serve};

/// Resident memory now, and the most since [`forget_peak`], in bytes.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1_024
    };
    (line("VmRSS:"), line("VmHWM:"))
}

/// Bytes of JSON that are held of a kind.
fn jsons(host: &Host, kind: &GroupVersionKind) -> u64 {
    let engine = host.engine();
    let source = Source { cluster: "hub".into(), kind: kind.group_kind() };
    engine.cache().list(&source).map(|(_, object)| object.json().len() as u64).sum()
}

/// What was told holds on to objects.
fn forget_told(host: &Host) {
    *locked(&host.sink.told) = Vec::new();
}

fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_are_held_in_little_more_than_their_json() {
    if !setpoint_test_kube::available() {
        return;
    }
    let count: u64 = std::env::var("SETPOINT_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let kube = Kube::setup().start();
    let (group, namespace) = (group(), kube.namespace());
    serve(&kube, &group);
    let kind = bundle(&group);
    let path = bundles(&group, &namespace);
    for n in 0..count {
        let data = json!({"text": "x".repeat(1_500), "n": n.to_string()});
        let object = json!({"apiVersion": format!("{group}/v1"), "kind": "Bundle",
            "metadata": {"name": format!("b{n:05}"), "labels": {"app": "x"}}, "spec": {"data": data}});
        kube.api().post(&path, &object).with(201);
    }
    let proxy = kube.proxy();
    let host = Host::connect(options(proxy.kubeconfig())).await;
    forget_told(&host);
    forget_peak();
    let (before, _) = memory();
    let began = Instant::now();
    host.want(&[(&kind, Scope::All)]);
    host.synced(&kind);
    let listed = began.elapsed();
    let json: u64 = jsons(&host, &kind);
    forget_told(&host);
    let (after, peak) = memory();
    assert_eq!(host.names(&kind, &namespace).len() as u64, count);

    proxy.relay().refuse();
    kube.kill();
    kube.etcd().compact();
    kube.start_again();
    forget_peak();
    let (steady, _) = memory();
    proxy.relay().accept();
    eventually("it is listed anew", || host.told(&kind, |told| matches!(told, Told::ListEnds { .. })) >= 1);
    forget_told(&host);
    let (again, peak_again) = memory();
    assert_eq!(host.names(&kind, &namespace).len() as u64, count);

    let each = |bytes: u64| bytes as f64 / count as f64;
    println!(
        "{count} objects of {:.0} bytes of JSON: {:.0} bytes each beyond that, first list in {listed:?} with a peak of \
         {:.0} bytes each; listed anew: peak of {:.0} bytes each above, {:.0} after",
        each(json),
        each(after.saturating_sub(before).saturating_sub(json)),
        each(peak.saturating_sub(before)),
        each(peak_again.saturating_sub(steady)),
        each(again.saturating_sub(steady)),
    );
    // Small numbers are lost in what the process needs anyway.
    if count >= 5_000 {
        assert!(peak_again.saturating_sub(steady) < json, "a list anew does not hold everything twice");
    }
}
