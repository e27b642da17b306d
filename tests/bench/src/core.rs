//! The rules alone: queue, cache, dependency index.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use setpoint_core::cache::Cache;
use setpoint_core::deps::{Deps, MaskId};
use setpoint_core::key::{Key, KeyId};
use setpoint_core::object::Object;
use setpoint_core::queue::{ClusterId, Lane, PluginId, Queue};

use crate::report::{Report, median, resident};

pub(crate) fn run(report: &mut Report) {
    // First what is measured by resident memory: later it would come out of what others gave back.
    edges(report);
    objects(report);
    for keys in [1_000u32, 10_000, 100_000, 1_000_000] {
        let mut runs: Vec<f64> = (0..7).map(|_| queue(keys)).collect();
        let figure = median(&mut runs);
        let (budget, limit) = if keys > 100_000 { ("≤ 1 µs", 1.0) } else { ("≤ 0.5 µs", 0.5) };
        let what = format!("queue: add + get + done per key, {keys} keys, 5 lanes, 8 plugins");
        report.row(what, format!("{figure:.3} µs"), budget, Some(figure <= limit));
    }
}

/// Adds all keys over lanes and plugins, then takes and ends all. Microseconds per key.
fn queue(keys: u32) -> f64 {
    let mut queue = Queue::default();
    (0..8).for_each(|plugin| queue.limit_plugin(PluginId(plugin), Some(4)));
    // The first round makes the tables; the second is measured, as in a host that runs.
    let mut took = 0.0;
    for _ in 0..2 {
        let began = Instant::now();
        for key in 0..keys {
            queue.add(KeyId(key), PluginId(key % 8), ClusterId(0), Lane::ALL[(key % 5) as usize], 0);
        }
        while let Some(picked) = queue.pop() {
            black_box(queue.done(picked.key));
        }
        took = began.elapsed().as_secs_f64() * 1e6 / f64::from(keys);
        assert!(queue.is_empty());
    }
    took
}

fn object(number: u32) -> (Key, Arc<Object>) {
    let name = format!("object-{number:06}");
    let filler = "x".repeat(1_500);
    let key = Key::new("local", "examples.setpoint.dev", "Sample", Some("default"), &name);
    let value = json!({"apiVersion": "examples.setpoint.dev/v1", "kind": "Sample",
        "metadata": {"name": name, "namespace": "default", "uid": format!("00000000-0000-4000-8000-{number:012}"),
                     "resourceVersion": number.to_string(), "generation": 1, "labels": {"app": "sample", "tier": "bench"}},
        "spec": {"filler": filler, "number": number}, "status": {"ready": true}});
    (key, Arc::new(Object::new(value, None)))
}

fn objects(report: &mut Report) {
    const COUNT: u32 = 50_000;
    let before = resident("self");
    let mut cache = Cache::default();
    let mut json = 0;
    for number in 0..COUNT {
        let (key, object) = object(number);
        json += object.json().len();
        cache.observed(&key, Some(object));
    }
    let used = resident("self").saturating_sub(before) as f64;
    let beside = (used - json as f64) / f64::from(COUNT);
    let what = format!("cached object beside its JSON ({COUNT} objects of {} B)", json as u32 / COUNT);
    report.row(what, format!("{beside:.0} B resident"), "≤ 300 B", Some(beside <= 300.0));
    black_box(cache.len());
}

fn edges(report: &mut Report) {
    const READERS: u32 = 100_000;
    const EACH: u32 = 10;
    let before = resident("self");
    let mut deps = Deps::default();
    let mut sets = Vec::with_capacity(READERS as usize);
    for reader in 0..READERS {
        let mut gets = Vec::with_capacity(EACH as usize);
        for at in 0..EACH {
            // A target in common, and targets of few readers.
            let target = KeyId(if at == 0 { 0 } else { READERS + (reader * EACH + at) / 3 });
            deps.add_get(KeyId(reader), target, MaskId::ALL);
            gets.push((target, MaskId::ALL));
        }
        sets.push(gets);
    }
    let per_edge = resident("self").saturating_sub(before) as f64 / f64::from(READERS * EACH);
    let what = format!("dependency edge, both directions ({} edges)", READERS * EACH);
    report.row(what, format!("{per_edge:.0} B resident"), "≤ 64 B", Some(per_edge <= 64.0));
    black_box((deps.edges(), sets.len()));
}
