//! What a plugin is asked and answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use setpoint_core::GroupVersionKind;
use setpoint_core::contract::{Failure, Readiness};
use setpoint_plugin::{Call, CallFailure, Limits};

use crate::support::*;

#[tokio::test]
async fn a_plugin_is_described_and_answers() {
    let Some(plugin) = hostile() else { return };
    let description = plugin.description();
    assert_eq!((&*description.name, plugin.contract_version()), ("hostile", "0.1.0"));
    let kinds: Vec<_> = description.kinds.iter().map(|owned| (&owned.kind, owned.finalizer)).collect();
    let kind = |kind| GroupVersionKind::new("examples.setpoint.dev", "v1alpha1", kind);
    assert_eq!(kinds, [(&kind("Hostile"), false), (&kind("HostileFinal"), true)]);
    assert!(plugin.imports().iter().any(|name| name == "setpoint:reconciler/objects@0.1.0"));

    let answer = behave(&plugin, "ok").await;
    assert_eq!(value(&answer), json!(7));
    assert_eq!(outcome(&answer).readiness, Readiness::Ready);
    assert_eq!(outcome(&answer).children, None);
    assert!(!answer.impure);
    let stats = answer.stats;
    assert!(stats.instantiate > Duration::ZERO && stats.instantiate < stats.wall && stats.cpu <= stats.wall);
    assert_eq!((stats.host_calls, stats.bytes_read, stats.log_lines_dropped), (0, 0, 0));
}

#[tokio::test]
async fn the_failures_of_a_plugin_are_its_own() {
    let Some(plugin) = hostile() else { return };
    let failure = |call: Call| match call.result {
        Err(CallFailure::Plugin(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let retry = failure(behave(&plugin, "retry").await);
    assert!(matches!(&retry, Failure::Retry(text) if text.contains("hostile fails as asked")), "{retry:?}");
    let permanent = failure(behave(&plugin, "permanent").await);
    assert!(matches!(&permanent, Failure::Permanent(text) if text.contains("for good")), "{permanent:?}");
    let spec = json!({"behaviour": "retry-after", "millis": 1234});
    let later = failure(call(&plugin, spec, Limits::default()).await);
    assert!(matches!(&later, Failure::RetryAfter(_, 1234)), "{later:?}");
}

#[tokio::test]
async fn only_the_wall_clock_makes_a_call_impure_and_hash_maps_do_not() {
    let Some(plugin) = hostile() else { return };
    let answer = behave(&plugin, "wall-clock").await;
    assert!(answer.impure);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis() as u64;
    let told = value(&answer).as_u64().expect("milliseconds");
    assert!(told <= now && now - told < 60_000, "{told} {now}");

    let order = async |name: &str| {
        let spec = json!({"behaviour": "hashmap"});
        let call =
            plugin.reconcile(&request(name, &spec), Maps::of([]), &Limits::default(), Arc::new(Lines::default())).await;
        assert!(!call.impure);
        value(&call)
    };
    let first = order("a").await;
    assert_eq!(order("a").await, first, "the same each time for one object");
    let mut others = Vec::new();
    for name in ["b", "c", "d", "e"] {
        others.push(order(name).await);
    }
    assert!(others.iter().any(|other| *other != first), "but not one order for all");
}

#[tokio::test]
async fn reads_are_answered_and_counted() {
    let Some(plugin) = hostile() else { return };
    let answer = call(&plugin, json!({"behaviour": "get", "value": "a"}), Limits::default()).await;
    assert_eq!(value(&answer), json!({"name": "a"}));
    assert_eq!(answer.stats.host_calls, 1);
    assert!(answer.stats.bytes_read > 20);
    let answer = call(&plugin, json!({"behaviour": "get", "value": "nowhere"}), Limits::default()).await;
    assert_eq!(value(&answer), Value::Null);

    let names: Vec<String> = (0..1234).map(|number| format!("map-{number:05}")).collect();
    let spec = json!({"behaviour": "list", "value": "a=b"});
    let maps = Maps::named(names.clone());
    let answer = plugin.reconcile(&request("h", &spec), maps, &Limits::default(), Arc::new(Lines::default())).await;
    assert_eq!(value(&answer), json!(names), "all pages, each object once, in order");
    assert!(answer.stats.host_calls > 1);
}
