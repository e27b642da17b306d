//! Reused instances (rule A13).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_plugin::{Call, HostOptions, Limits, Plugin, PluginHost, Warm};

use crate::support::*;

fn warm_limits(calls: u32) -> Limits {
    Limits { warm_calls: Some(calls), ..Limits::default() }
}

/// The plugin of its own host, so that no other test changes its mode.
fn alone(options: &HostOptions) -> Option<Arc<Plugin>> {
    Some(load(options, &guest("hostile.wasm")?))
}

async fn warm(plugin: &Plugin, behaviour: &str) -> Call {
    call(plugin, json!({"behaviour": behaviour, "value": "a", "millis": 600_000}), warm_limits(100)).await
}

/// Calls it; answers the how manieth call of its instance that was.
async fn count(plugin: &Plugin, limits: &Limits) -> u64 {
    let lines = Arc::new(Lines::default());
    let spec = json!({"behaviour": "count-calls"});
    let answer = plugin.reconcile(&request("h", &spec), Maps::of([]), limits, lines.clone()).await;
    assert!(answer.result.is_ok(), "{:?}", answer.result);
    let lines = lines.0.lock().expect("no panic with the lock");
    let [(_, line)] = &lines[..] else { panic!("{lines:?}") };
    line.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn kept(plugin: &Plugin) -> usize {
    match plugin.warm() {
        Warm::On { kept, .. } => kept,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_warm_instance_is_reused_for_at_most_so_many_calls() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    assert_eq!((count(&plugin, &Limits::default()).await, count(&plugin, &Limits::default()).await), (1, 1));
    assert_eq!(count(&plugin, &warm_limits(1)).await, 1);
    assert_eq!(plugin.warm(), Warm::Off);
    let mut counted = Vec::new();
    for _ in 0..7 {
        counted.push(count(&plugin, &warm_limits(3)).await);
    }
    assert_eq!(counted, [1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(plugin.warm(), Warm::On { kept: 1, reused: 4, checked: 1 }, "the first of 256 is checked");
    let spec = json!({"behaviour": "ok", "value": 7});
    assert_eq!(call(&plugin, spec.clone(), warm_limits(3)).await.stats.instantiate, Duration::ZERO);
    let fresh = call(&plugin, spec, Limits::default()).await;
    assert!(fresh.stats.instantiate > Duration::ZERO, "who does not ask for it gets a fresh one");
}

#[tokio::test]
async fn one_instance_has_one_call_at_a_time() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    let spec = json!({"behaviour": "sleep", "millis": 20, "value": 7});
    for _ in 0..2 {
        let calls = (0..5).map(|_| call(&plugin, spec.clone(), warm_limits(100)));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(value(&answer), json!(7));
        }
        assert_eq!(kept(&plugin), 5, "as many are kept as ran at once");
    }
    assert_eq!(plugin.warm(), Warm::On { kept: 5, reused: 5, checked: 1 });
}

#[tokio::test]
async fn a_reused_instance_starts_each_call_anew() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    let get = async |maps: Arc<Maps>| {
        let spec = json!({"behaviour": "get", "value": "a"});
        let call = plugin.reconcile(&request("h", &spec), maps, &warm_limits(1000), Arc::new(Lines::default())).await;
        assert_eq!(call.stats.host_calls, 1);
        value(&call)
    };
    assert_eq!((get(Maps::of(["a"])).await, get(Maps::of([])).await), (json!({"name": "a"}), Value::Null));
    for _ in 0..3 {
        let flood = call(&plugin, json!({"behaviour": "log-flood", "count": 1500}), warm_limits(1000)).await;
        assert_eq!((flood.stats.log_lines_dropped, flood.stats.host_calls), (500, 0));
    }
    let clock = call(&plugin, json!({"behaviour": "wall-clock"}), warm_limits(1000)).await;
    assert!(clock.impure);
    for _ in 0..40 {
        let printed = call(&plugin, json!({"behaviour": "stderr-flood", "count": 3}), warm_limits(1000)).await;
        assert!(printed.result.is_ok() && !printed.impure);
    }
    assert_eq!(kept(&plugin), 1);
    let calls = count(&plugin, &warm_limits(1000)).await;
    assert_eq!(calls, 1, "the only one of its kind");
    let Warm::On { reused, .. } = plugin.warm() else { panic!("{:?}", plugin.warm()) };
    assert_eq!(reused, 46, "all calls but the first: no handle is left behind by printing");
    let last = warm(&plugin, "abort").await;
    assert!(trap(&last).0.ends_with("; it printed last: a"), "nothing of what earlier calls printed: {last:?}");
}

#[tokio::test]
async fn an_instance_that_trapped_is_never_reused() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    let limits = warm_limits(100);
    for behaviour in ["panic", "abort", "recurse", "huge-outcome", "invalid-json-status", "retry", "permanent"] {
        while count(&plugin, &limits).await < 2 {}
        assert!(warm(&plugin, behaviour).await.result.is_err());
        assert_eq!(kept(&plugin), 0, "{behaviour}");
        assert_eq!(count(&plugin, &limits).await, 1, "{behaviour}");
    }
    let short = Limits { wall: Duration::from_millis(50), ..limits };
    let late = call(&plugin, json!({"behaviour": "sleep", "millis": 600_000}), short).await;
    assert!(late.result.is_err());
    assert_eq!(count(&plugin, &limits).await, 1, "one that was cut off");
    let cancelled = tokio::time::timeout(Duration::from_millis(50), warm(&plugin, "sleep")).await;
    assert!(cancelled.is_err());
    assert_eq!(count(&plugin, &limits).await, 1, "one whose call was cancelled");
    assert!(matches!(plugin.warm(), Warm::On { .. }), "a failure is no leak: {:?}", plugin.warm());
}

#[tokio::test]
async fn state_that_leaks_between_calls_ends_warm_mode_and_not_the_plugin() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    assert_eq!(value(&warm(&plugin, "leak-count").await), json!(1));
    let second = warm(&plugin, "leak-count").await;
    assert_eq!(value(&second), json!(2), "the outcome of the call is used, as it is an answer");
    let Warm::Quarantined { reason } = plugin.warm() else { panic!("{:?}", plugin.warm()) };
    let key = "local/examples.setpoint.dev/Hostile/default/h";
    assert_eq!(reason, format!("{key}: in a fresh instance it returns another status"));
    for _ in 0..3 {
        assert_eq!(value(&warm(&plugin, "leak-count").await), json!(1), "each call has a fresh instance");
    }
}

#[tokio::test]
async fn a_read_that_is_remembered_ends_warm_mode() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    for _ in 0..2 {
        assert_eq!(value(&warm(&plugin, "leak-read").await), json!({"name": "a"}));
    }
    let Warm::Quarantined { reason } = plugin.warm() else { panic!("{:?}", plugin.warm()) };
    let reads = "only in a fresh instance it reads: get local/core/ConfigMap/default/a";
    assert!(reason.ends_with(reads), "{reason}");
}

#[tokio::test]
async fn a_failure_that_only_a_reused_instance_has_ends_warm_mode() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    assert!(warm(&plugin, "leak-failure").await.result.is_ok());
    assert!(warm(&plugin, "leak-failure").await.result.is_err());
    let Warm::Quarantined { reason } = plugin.warm() else { panic!("{:?}", plugin.warm()) };
    assert!(reason.ends_with("it fails; in a fresh instance it has an outcome"), "{reason}");
    assert!(warm(&plugin, "leak-failure").await.result.is_ok());
}

#[tokio::test]
async fn impure_calls_are_not_compared() {
    let Some(plugin) = alone(&HostOptions::default()) else { return };
    for _ in 0..3 {
        assert!(warm(&plugin, "wall-clock").await.impure);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(plugin.warm(), Warm::On { kept: 1, reused: 2, checked: 0 });
}

#[tokio::test]
async fn a_warm_instance_that_is_idle_never_makes_others_wait() {
    let (Some(bytes), Some(next)) = (guest("hostile.wasm"), guest("hostile_v2.wasm")) else { return };
    let host = PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() }).expect("a host");
    let one = host.load(&bytes).expect("a plugin");
    assert_eq!(count(&one, &warm_limits(100)).await, 1);
    assert_eq!(kept(&one), 1);
    let two = host.load(&next).expect("a plugin: to describe itself it needs a place as well");
    assert_eq!((kept(&one), count(&one, &warm_limits(100)).await), (0, 1));
    assert_eq!(count(&two, &Limits::default()).await, 1);
    assert_eq!(kept(&one), 0);

    // Far more calls than places, of both, reused and fresh: each has its answer.
    let calls = (0..60).map(|number| {
        let plugin = if number % 2 == 0 { &one } else { &two };
        let limits = if number % 3 == 0 { Limits::default() } else { warm_limits(4) };
        call(plugin, json!({"behaviour": "ok", "value": number}), limits)
    });
    for (number, answer) in futures_util::future::join_all(calls).await.iter().enumerate() {
        assert_eq!(value(answer), json!(number));
    }
}

#[tokio::test]
async fn an_instance_that_is_not_called_is_given_up() {
    let Some(plugin) = alone(&HostOptions { warm_idle: Duration::from_millis(100), ..HostOptions::default() }) else {
        return;
    };
    assert_eq!(count(&plugin, &warm_limits(100)).await, 1);
    let begin = std::time::Instant::now();
    while kept(&plugin) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "nothing else is called, and it goes all the same");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count(&plugin, &warm_limits(100)).await, 1);
}

#[tokio::test]
async fn what_is_kept_goes_with_the_plugin() {
    let Some(bytes) = guest("hostile.wasm") else { return };
    let host = PluginHost::new(HostOptions { max_instances: 2, ..HostOptions::default() }).expect("a host");
    for _ in 0..3 {
        let plugin = host.load(&bytes).expect("a plugin");
        assert_eq!(count(&plugin, &warm_limits(100)).await, 1, "loaded anew it has none");
        assert_eq!(kept(&plugin), 1);
    }
}
