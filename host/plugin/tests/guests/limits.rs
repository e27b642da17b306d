//! What a plugin can do to the host: nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_plugin::{CallFailure, HostOptions, LimitKind, Limits, LogLevel};

use crate::support::*;

#[tokio::test]
async fn a_panic_is_a_failed_call_with_its_message() {
    let Some(plugin) = hostile() else { return };
    let answer = behave(&plugin, "panic").await;
    let (message, limit) = trap(&answer);
    assert!(message.starts_with("the plugin panicked: hostile panics as asked (at "), "{message}");
    assert_eq!(limit, None);
    assert_eq!(value(&behave(&plugin, "ok").await), json!(7), "the next call knows nothing of it");
}

#[tokio::test]
async fn an_endless_loop_ends_and_lets_others_run_meanwhile() {
    let Some(plugin) = hostile() else { return };
    // One thread: if the loop did not give way, nothing else would run.
    let limits = Limits { cpu: Duration::from_secs(1), ..Limits::default() };
    let begin = Instant::now();
    let spin = async {
        let answer = call(&plugin, json!({"behaviour": "spin"}), limits).await;
        (answer, begin.elapsed())
    };
    let others = async {
        tokio::task::yield_now().await;
        for _ in 0..5 {
            assert_eq!(value(&behave(&plugin, "ok").await), json!(7));
        }
        begin.elapsed()
    };
    let ((answer, spun), others) = tokio::join!(spin, others);
    assert_eq!(
        trap(&answer),
        ("the call used more than 1s of CPU time; is there an endless loop?", Some(LimitKind::Cpu))
    );
    assert!(others < spun, "{others:?} {spun:?}");
    assert!(answer.stats.cpu >= Duration::from_secs(1) && answer.stats.cpu < Duration::from_secs(3), "{answer:?}");
}

#[tokio::test]
async fn an_endless_recursion_and_endless_memory_end() {
    let Some(plugin) = hostile() else { return };
    let answer = behave(&plugin, "recurse").await;
    let (message, limit) = trap(&answer);
    // Which stack is used up first, the native or the one in its memory, is the compiler's business.
    assert!(limit == Some(LimitKind::Stack) || message.contains("out of bounds"), "{message}");

    let answer = behave(&plugin, "allocate").await;
    assert_eq!(trap(&answer), ("the plugin asked for more than 64 MiB of memory", Some(LimitKind::Memory)));
    let small = Limits { memory: 1 << 20, ..Limits::default() };
    let answer = call(&plugin, json!({"behaviour": "ok"}), small).await;
    assert_eq!(trap(&answer).1, Some(LimitKind::Memory), "not even its first memory fits");
}

#[tokio::test]
async fn tables_have_a_limit_of_their_own() {
    let Some(plugin) = hostile() else { return };
    let small = Limits { table_elements: 1, ..Limits::default() };
    let answer = call(&plugin, json!({"behaviour": "ok"}), small).await;
    let expected = ("the plugin asked for tables of more than 1 elements", Some(LimitKind::Table));
    assert_eq!(trap(&answer), expected, "not even its first table fits");
}

#[tokio::test]
async fn waiting_is_bounded_by_the_wall_clock_and_costs_no_cpu_time() {
    let Some(plugin) = hostile() else { return };
    let limits = Limits { wall: Duration::from_millis(200), ..Limits::default() };
    let begin = Instant::now();
    let answer = call(&plugin, json!({"behaviour": "sleep", "millis": 600_000}), limits).await;
    assert_eq!(trap(&answer), ("timeout: the call took longer than 200ms", Some(LimitKind::Wall)));
    assert!(begin.elapsed() < Duration::from_secs(10));

    let limits = Limits { cpu: Duration::from_millis(500), ..Limits::default() };
    let answer = call(&plugin, json!({"behaviour": "sleep", "millis": 1000, "value": 7}), limits).await;
    assert_eq!(value(&answer), json!(7));
    assert!(answer.stats.wall >= Duration::from_secs(1) && answer.stats.cpu < Duration::from_millis(500));
    assert!(!answer.impure, "sleeping does not make a call impure");
}

#[tokio::test]
async fn log_lines_arrive_until_there_are_too_many() {
    let Some(plugin) = hostile() else { return };
    let lines = Arc::new(Lines::default());
    let spec = json!({"behaviour": "log-flood", "count": 1500});
    let answer = plugin.reconcile(&request("h", &spec), Maps::of([]), &Limits::default(), lines.clone()).await;
    assert!(answer.result.is_ok());
    let lines = lines.0.lock().expect("no panic with the lock").clone();
    assert_eq!((lines.len(), answer.stats.log_lines_dropped), (1000, 500));
    assert_eq!(lines[999], (LogLevel::Info, "line 999".to_owned()));

    // `line 0` to `line 9` have 60 bytes together.
    let limits = Limits { log_bytes: 60, ..Limits::default() };
    let answer = call(&plugin, json!({"behaviour": "log-flood", "count": 12}), limits).await;
    assert_eq!(answer.stats.log_lines_dropped, 2);
}

#[tokio::test]
async fn printing_never_fails_and_the_end_of_it_explains_a_trap() {
    let Some(plugin) = hostile() else { return };
    assert!(behave(&plugin, "stderr-flood").await.result.is_ok());
    let spec = json!({"behaviour": "abort", "value": "the moon is full"});
    let answer = call(&plugin, spec.clone(), Limits::default()).await;
    let (message, limit) = trap(&answer);
    assert!(message.starts_with("the plugin trapped: "), "{message}");
    assert!(message.ends_with("; it printed last: the moon is full"), "{message}");
    assert_eq!(limit, None);

    // Of `the moon is full` and the end of the line so much is left.
    let answer = call(&plugin, spec, Limits { stderr_tail: 8, ..Limits::default() }).await;
    assert!(trap(&answer).0.ends_with("; it printed last: is full"), "{:?}", answer.result);
}

#[tokio::test]
async fn too_many_reads_are_refused_and_not_fatal() {
    let Some(plugin) = hostile() else { return };
    let answer = behave(&plugin, "many-host-calls").await;
    assert_eq!(answer.stats.host_calls, 10_000);
    match &answer.result {
        Err(CallFailure::Plugin(failure)) => {
            assert!(failure.message().contains("more than 10000 reads in one call"), "{failure:?}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn too_many_bytes_read_are_refused_and_not_fatal() {
    let Some(plugin) = hostile() else { return };
    let limits = Limits { bytes_read: 100, ..Limits::default() };
    let answer = call(&plugin, json!({"behaviour": "list", "value": ""}), limits).await;
    match &answer.result {
        Err(CallFailure::Plugin(failure)) => {
            assert!(failure.message().contains("more than 100 bytes read in one call"), "{failure:?}")
        }
        other => panic!("{other:?}"),
    }
    assert!(answer.stats.bytes_read <= 100);
}

#[tokio::test]
async fn outcomes_that_are_too_big_or_no_json_are_refused() {
    let Some(plugin) = hostile() else { return };
    let answer = behave(&plugin, "huge-outcome").await;
    assert_eq!(trap(&answer).1, Some(LimitKind::OutcomeBytes));
    assert!(trap(&answer).0.contains("8 MiB"), "{:?}", answer.result);
    let spec = json!({"behaviour": "huge-outcome", "count": 8 << 20});
    assert_eq!(trap(&call(&plugin, spec, Limits::default()).await).1, Some(LimitKind::OutcomeBytes));
    let spec = json!({"behaviour": "huge-outcome", "count": 2 << 20});
    assert_eq!(trap(&call(&plugin, spec, Limits::default()).await).1, Some(LimitKind::ObjectBytes));

    let many: Vec<Value> = (0..5).map(|number| json!({"name": format!("c{number}"), "data": {"a": "b"}})).collect();
    let spec = json!({"behaviour": "children", "children": many});
    let answer = call(&plugin, spec.clone(), Limits::default()).await;
    assert_eq!(outcome(&answer).children.as_ref().expect("children").len(), 5);
    let few = Limits { children: 4, ..Limits::default() };
    assert_eq!(trap(&call(&plugin, spec, few).await).1, Some(LimitKind::Children));

    let answer = behave(&plugin, "events").await;
    assert_eq!(trap(&answer), ("the outcome has more than 50 events (51)", Some(LimitKind::Events)));
    let answer = call(&plugin, json!({"behaviour": "events", "count": 50}), Limits::default()).await;
    assert_eq!(outcome(&answer).events.len(), 50);

    match behave(&plugin, "invalid-json-status").await.result {
        Err(CallFailure::Invalid(text)) => assert!(text.starts_with("the status is not a JSON object"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_wait_for_an_instance_instead_of_failing_and_a_dropped_call_gives_its_back() {
    let Some(bytes) = guest("hostile.wasm") else {
        return;
    };
    let plugin = load(&HostOptions { max_instances: 2, ..HostOptions::default() }, &bytes);
    let spec = || json!({"behaviour": "sleep", "millis": 30, "value": 7});
    let calls = (0..10).map(|_| call(&plugin, spec(), Limits::default()));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(value(&answer), json!(7));
        assert!(answer.stats.wall < Duration::from_secs(5));
    }
    for _ in 0..5 {
        let long = call(&plugin, json!({"behaviour": "sleep", "millis": 600_000}), Limits::default());
        assert!(tokio::time::timeout(Duration::from_millis(20), long).await.is_err());
    }
    assert_eq!(value(&behave(&plugin, "ok").await), json!(7));
}
