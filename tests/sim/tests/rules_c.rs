//! Rules C1 to C10: delays, hot loops, what a person holds back.

use serde_json::json;
use setpoint_core::contract::{Failure, Outcome, Tuning};
use setpoint_core::effects::PAUSED;
use setpoint_core::engine::{Phase, Row};
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::queue::Lane;
use setpoint_sim::kinds::{GROUP, config_map, owned};
use setpoint_sim::plugin::{Plugin, Stop, child, maps};
use setpoint_sim::roster;
use setpoint_sim::world::World;

fn begun(world: &World, key: &Key, since: u64) -> Vec<u64> {
    world.attempts_since(key, since).iter().map(|ended| ended.started - since).collect()
}

fn row(world: &World, key: &Key) -> Row {
    world.engine.row(key).expect("the key is reconciled")
}

/// An owner with a child that it reads, which fails as long as the map `weather` says so. Its first
/// backoff is between 50 and 100 s.
fn failing() -> (World, Key) {
    let tuning = Tuning { first_backoff: Some(100_000), ..Tuning::default() };
    let plugin = Plugin::new("t", "Box", |ask, reads| {
        let weather = reads.get(&config_map("weather"))?;
        let target = config_map("box-a");
        reads.get(&target)?;
        match weather.as_ref().and_then(|map| map["data"]["v"].as_str()).unwrap_or("fine") {
            "retry" => Err(Stop::Fail(Failure::Retry("it rains".into()))),
            "permanent" => Err(Stop::Fail(Failure::Permanent("no roof".into()))),
            "later" => Err(Stop::Fail(Failure::RetryAfter("soon".into(), 150_000))),
            "at once" => Err(Stop::Fail(Failure::RetryAfter("now".into(), 1))),
            "again" => Ok(Outcome { requeue_after: Some(1_000), ..Outcome::default() }),
            _ => Ok(Outcome {
                children: Some(vec![child(&ask.key, &target, json!({"data": {"v": "1"}}))]),
                ..Outcome::default()
            }),
        }
    });
    let mut world = World::usual(vec![plugin.reads(&maps(), &[]).writes(&maps()).tuned(tuning)]);
    let key = owned("Box", "a");
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    (world, key)
}

fn weather(world: &mut World, mode: &str) {
    world.apply(&config_map("weather"), "person", json!({"data": {"v": mode}}));
}

/// Rule C1: an own change never shortens a backoff.
#[test]
fn a_changed_child_does_not_shorten_a_backoff() {
    let (mut world, key) = failing();
    weather(&mut world, "retry");
    world.run_for(100);
    let (failed, due) = (world.now, row(&world, &key).next_run.expect("it is retried"));
    world.apply(&config_map("box-a"), "kubectl", json!({"data": {"v": "edited"}}));
    world.run_for(2_000);
    world.delete(&config_map("box-a"));
    world.run_until(due - 1);
    assert_eq!(begun(&world, &key, failed), Vec::<u64>::new());
    world.run_for(100);
    assert_eq!(begun(&world, &key, failed).len(), 1);
    assert_eq!(row(&world, &key).failures, 2);
}

/// Rule C1: a foreign change replaces a backoff by the debounce delay, once per step, and does not
/// reset the attempts; a label of the object is foreign.
#[test]
fn a_foreign_change_shortens_a_backoff_once_per_step() {
    let (mut world, key) = failing();
    weather(&mut world, "retry");
    world.run_for(10_000);
    let since = world.now;
    world.bump(&config_map("weather"));
    world.run_for(200);
    world.bump(&config_map("weather"));
    world.run_for(20_000);
    assert_eq!(begun(&world, &key, since), [500]);
    assert_eq!(row(&world, &key).failures, 2, "the count goes on");
    let since = world.now;
    world.apply(&key, "labeller", json!({"metadata": {"labels": {"a": "b"}}}));
    world.run_for(20_000);
    assert_eq!(begun(&world, &key, since), [500]);
    assert_eq!(row(&world, &key).failures, 3);
}

/// Rule C1: a moved generation, a deletion, a person, an upgrade and a configuration skip a backoff
/// and reset the attempts.
#[test]
fn what_may_mean_a_cure_skips_a_backoff_and_starts_anew() {
    let (mut world, key) = failing();
    weather(&mut world, "retry");
    world.run_for(10_000);
    let mut plugin = world.plugins["t"].clone();
    for cure in 0..4 {
        world.bump(&config_map("weather"));
        world.run_for(20_000);
        assert_eq!(row(&world, &key).failures, 2);
        let since = world.now;
        match cure {
            0 => drop(world.apply(&key, "person", json!({"spec": {"v": "q"}}))),
            1 => assert!(world.engine.trigger(since, &key)),
            2 => {
                plugin = plugin.version(2);
                world.load(plugin.clone());
            }
            _ => {
                plugin.config = json!({"x": 1}).to_string();
                world.load(plugin.clone());
            }
        }
        world.run_for(10_000);
        assert_eq!(begun(&world, &key, since), [0], "cure {cure}");
        assert_eq!(row(&world, &key).failures, 1, "cure {cure}");
    }
    let since = world.now;
    world.delete(&key);
    world.run_for(10_000);
    assert_eq!(begun(&world, &key, since).first(), Some(&0), "its child is pruned at once");
    assert!(world.server.get(&config_map("box-a")).is_none());
}

/// Rule C1: a permanent failure is left by a foreign change at once, and by a change of a child that
/// was read at most once per 10 s.
#[test]
fn a_permanent_failure_is_left_by_changes_only() {
    let (mut world, key) = failing();
    weather(&mut world, "permanent");
    world.run_for(3_600_000);
    let since = world.now;
    world.apply(&config_map("box-a"), "kubectl", json!({"data": {"v": "1e"}}));
    world.run_for(1_000);
    assert_eq!(begun(&world, &key, since), [0]);
    for at in 0..20 {
        world.apply(&config_map("box-a"), "kubectl", json!({"data": {"v": at.to_string()}}));
        world.run_for(1_000);
    }
    world.run_for(20_000);
    let times = begun(&world, &key, since);
    assert!(times.len() >= 2, "the last state has to be seen");
    assert!(times.iter().zip(&times[1..]).skip(1).all(|(a, b)| b - a >= 10_000), "too often: {times:?}");
    let since = world.now;
    weather(&mut world, "fine");
    world.run_for(1_000);
    assert_eq!(begun(&world, &key, since).first(), Some(&0));
    assert_eq!(row(&world, &key).phase, Phase::Synced);
}

/// Rule C2: the end of an attempt drops all older delays; a requeue never outruns a backoff.
#[test]
fn a_requeue_does_not_outrun_a_backoff() {
    let (mut world, key) = failing();
    weather(&mut world, "again");
    world.run_for(10_300);
    assert!(begun(&world, &key, 0).len() >= 10, "it is requeued every second");
    weather(&mut world, "retry");
    world.run_for(700);
    let since = world.now;
    world.run_for(45_000);
    assert_eq!(begun(&world, &key, since), Vec::<u64>::new());
}

/// Rule C2: `retry-after` is kept, and is never below the first backoff.
#[test]
fn retry_after_is_kept_and_not_below_the_first_backoff() {
    let (mut world, key) = failing();
    weather(&mut world, "later");
    world.run_for(0);
    let since = world.now;
    world.run_for(200_000);
    assert_eq!(begun(&world, &key, since), [0, 150_000]);
    weather(&mut world, "at once");
    world.run_for(1_000);
    let due = row(&world, &key).next_run.expect("it is retried");
    assert!(due >= world.now + 98_000, "below the first backoff of 100 s");
}

/// Rule C8: a key that fails and fails is tried at the longest backoff, and writes nothing after the
/// first such status.
#[test]
fn a_key_that_keeps_failing_is_tried_rarely_and_writes_nothing() {
    let (mut world, key) = (World::usual(vec![roster::shaky()]), owned("Shaky", "a"));
    world.apply(&config_map("weather-a"), "person", json!({"data": {"v": "retry"}}));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(600_000);
    assert_eq!(row(&world, &key).phase, Phase::Failed);
    let since = world.now;
    world.run_for(3_600_000);
    let times = begun(&world, &key, since);
    assert!((10..=12).contains(&times.len()), "{times:?}");
    assert!(times.iter().zip(&times[1..]).all(|(a, b)| b - a >= 300_000));
    assert!(world.writes_since(since).is_empty());
}

/// Rule C3: the first change runs at once, a burst waits for quiet, and never longer than 5 s.
#[test]
fn a_burst_of_changes_waits_for_quiet() {
    let (mut world, key) = (World::usual(vec![roster::note()]), owned("Note", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let since = world.now;
    for at in 0..6 {
        world.apply(&key, "person", json!({"spec": {"v": format!("v{at}")}}));
        world.run_for(100);
    }
    world.run_for(10_000);
    assert_eq!(begun(&world, &key, since), [0, 1_000], "at once, and 500 ms after the last change");
    assert_eq!(world.value(&key)["status"]["text"], "V5");
    let since = world.now;
    for at in 0..200 {
        world.apply(&key, "person", json!({"spec": {"v": format!("w{at}")}}));
        world.run_for(100);
    }
    let times = begun(&world, &key, since);
    assert!(times.iter().zip(&times[1..]).all(|(a, b)| b - a <= 5_100), "{times:?}");
    assert!(times.len() <= 6, "{times:?}");
}

/// Rule C3: deletion, first sight and changes of own children do not wait.
#[test]
fn what_is_urgent_is_not_debounced() {
    let (mut world, key) = (World::usual(vec![roster::boxed()]), owned("Box", "a"));
    let since = world.now + 10_000;
    world.run_until(since);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(0);
    assert_eq!(world.value(&key)["status"]["seen"], "p", "first sight, and the child that it made");
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.delete(&key);
    world.run_for(0);
    assert!(world.server.get(&config_map("box-a")).is_none());
}

/// Rule C4: a key that fights for ever makes at most 4 attempts a minute, is named, and sees the last
/// state within 15 s.
#[test]
fn a_fight_is_slowed_down_and_its_last_state_is_seen() {
    let (mut world, key) = (World::usual(vec![roster::flap()]), owned("Flap", "a"));
    world.meddler = true;
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(600_000);
    assert!(row(&world, &key).damped || world.engine.counts().damped > 0);
    for minute in 0..10 {
        let since = world.now;
        world.run_for(60_000);
        let count = begun(&world, &key, since).len();
        assert!((1..=4).contains(&count), "{count} attempts in minute {minute}");
    }
    world.meddler = false;
    world.apply(&config_map("flap-a"), "meddler", json!({"data": {"x": "the last word"}}));
    world.run_for(15_001);
    assert_eq!(world.value(&config_map("flap-a"))["data"]["x"], "mine");
}

/// Rule C4: a moved generation and a person are not held back by an empty bucket.
#[test]
fn a_person_is_not_damped() {
    let (mut world, key) = (World::usual(vec![roster::flap()]), owned("Flap", "a"));
    world.meddler = true;
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(600_000);
    let since = world.now;
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(0);
    assert_eq!(begun(&world, &key, since), [0]);
    world.run_for(2_000);
    let since = world.now;
    assert!(world.engine.trigger(since, &key));
    world.run_for(0);
    assert_eq!(begun(&world, &key, since), [0]);
}

/// Rule C4: a start-up in which children make progress charges nothing.
#[test]
fn progress_is_no_hot_loop() {
    let (mut world, key) = (World::usual(vec![roster::boxed()]), owned("Box", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(1_000);
    for at in 0..60 {
        world.apply(&config_map("box-a"), "progress", json!({"data": {"step": at.to_string()}}));
        world.run_for(1_000);
    }
    assert!(!row(&world, &key).damped);
    assert_eq!(world.engine.counts().damped, 0);
}

/// Rule C9: a disabled kind is not attempted, keeps what changed, survives a restart, and runs once
/// when it is enabled. A paused object is the same for one object.
#[test]
fn what_is_disabled_or_paused_waits_and_loses_nothing() {
    let (mut world, key) = (World::usual(vec![roster::note()]), owned("Note", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let kind = GroupKind::new(GROUP, "Note");
    assert!(world.engine.disable(&kind));
    world.disabled.insert(kind.clone());
    let since = world.now;
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(60_000);
    world.crash();
    world.run_for(60_000);
    assert_eq!(begun(&world, &key, since), Vec::<u64>::new());
    world.disabled.clear();
    let now = world.now;
    assert!(world.engine.enable(now, &kind));
    world.run_for(1_000);
    assert_eq!(begun(&world, &key, since).len(), 1);
    assert_eq!(world.value(&key)["status"]["text"], "Q");
    world.annotate(&key, PAUSED, Some("true"));
    world.run_for(10_000);
    let since = world.now;
    world.apply(&key, "person", json!({"spec": {"v": "r"}}));
    world.run_for(60_000);
    assert_eq!(begun(&world, &key, since), Vec::<u64>::new());
    world.annotate(&key, PAUSED, None);
    world.run_for(10_000);
    assert_eq!(world.value(&key)["status"]["text"], "R");
}

/// Rule C9: a retry that came due while a kind was disabled is made when it is enabled.
#[test]
fn a_backoff_that_passes_while_disabled_is_not_forgotten() {
    let (mut world, key) = failing();
    weather(&mut world, "retry");
    world.run_for(10_000);
    let kind = GroupKind::new(GROUP, "Box");
    world.engine.disable(&kind);
    world.run_for(300_000);
    let since = world.now;
    world.engine.enable(since, &kind);
    world.run_for(1_000);
    assert_eq!(begun(&world, &key, since), [0]);
}

/// Rule C10: what was edited or deleted while the host was down goes before the rest of the first list.
#[test]
fn what_people_did_while_the_host_was_down_goes_first() {
    let mut world = World::usual(vec![roster::vault()]);
    let keys: Vec<Key> = (0..10).map(|at| owned("Vault", &format!("v{at}"))).collect();
    for key in &keys {
        world.apply(key, "person", json!({"spec": {"v": "p"}}));
    }
    world.run_for(60_000);
    world.crash();
    world.apply(&keys[7], "person", json!({"spec": {"v": "q"}}));
    world.delete(&keys[8]);
    let since = world.now;
    world.run_for(60_000);
    let mut first: Vec<(u64, Lane, Key)> = world
        .attempts
        .iter()
        .filter(|ended| ended.started >= since)
        .map(|e| (e.started, e.lane, e.key.clone()))
        .collect();
    first.sort();
    for key in &keys {
        let lane = first.iter().find(|(_, _, attempted)| attempted == key).map(|(_, lane, _)| *lane);
        let urgent = *key == keys[7] || *key == keys[8];
        assert_eq!(lane, Some(if urgent { Lane::User } else { Lane::First }), "{key}");
    }
}
