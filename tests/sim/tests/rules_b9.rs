//! Rule B9: a child that terminates for longer than five minutes.

use serde_json::{Value, json};
use setpoint_core::effects::FINALIZER;
use setpoint_core::engine::Phase;
use setpoint_core::key::{GroupKind, Key};
use setpoint_sim::kinds::{GROUP, owned};
use setpoint_sim::roster;
use setpoint_sim::world::World;

fn condition(world: &World, key: &Key, kind: &str) -> (String, String, String) {
    let value = world.value(key);
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or(Value::Null);
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn calls_since(world: &World, key: &Key, since: u64) -> usize {
    world.attempts_since(key, since).iter().filter(|ended| ended.result.is_some()).count()
}

/// A chain whose link terminates, and nobody reconciles links, so that their finalizer stays.
fn stuck() -> (World, Key) {
    let (key, target) = (owned("Chain", "a"), owned("Link", "of-a"));
    let mut world = World::usual(vec![roster::chain(), roster::link_plugin()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    world.engine.disable(&GroupKind::new(GROUP, "Link"));
    world.delete(&target);
    world.run_for(10_000);
    assert_eq!(condition(&world, &key, "Ready").1, "ChildTerminating");
    (world, key)
}

/// It is told without a call, is no failure, names the finalizers, and is over when the child is gone.
#[test]
fn an_owner_is_stalled_when_a_child_terminates_for_five_minutes() {
    let (mut world, key) = stuck();
    let since = world.now;
    world.run_for(285_000);
    assert_eq!(condition(&world, &key, "Stalled").0, "False", "not yet");
    world.run_for(10_000);
    let (status, reason, message) = condition(&world, &key, "Stalled");
    assert_eq!((&*status, &*reason), ("True", "ChildTerminating"));
    assert!(message.contains(FINALIZER) && message.contains("Link/default/of-a"), "{message}");
    let row = world.engine.row(&key).expect("it is reconciled");
    assert_eq!((row.phase, row.failures), (Phase::Pending, 0));
    assert_eq!(calls_since(&world, &key, since), 0, "no call is needed to tell it");
    let since = world.now;
    world.run_for(3_600_000);
    assert!(world.writes_since(since).is_empty(), "it is told once");
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(10_000);
    assert_eq!(calls_since(&world, &key, since), 1);
    assert_eq!(condition(&world, &key, "Stalled").0, "True", "it still is");
    let now = world.now;
    world.engine.enable(now, &GroupKind::new(GROUP, "Link"));
    world.run_for(60_000);
    assert_eq!(condition(&world, &key, "Ready").0, "True");
    assert_eq!(condition(&world, &key, "Stalled").0, "False");
    assert_eq!(world.value(&key)["status"]["seen"], "q");
}

/// A deleted owner that waits for its children says so as well.
#[test]
fn an_owner_that_is_deleted_says_which_child_is_stuck() {
    let (key, target) = (owned("Chain", "a"), owned("Link", "of-a"));
    let mut world = World::usual(vec![roster::chain().with_finalizer(), roster::link_plugin()]);
    let mut chain = world.plugins["chain"].clone();
    let reconcile = chain.function.clone();
    chain.function = std::sync::Arc::new(move |ask, reads| {
        let outcome = reconcile(ask, reads)?;
        Ok(setpoint_core::contract::Outcome { finalized: ask.deleting, ..outcome })
    });
    chain.digest = "chain-2".into();
    world.load(chain);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    world.engine.disable(&GroupKind::new(GROUP, "Link"));
    world.delete(&key);
    world.run_for(60_000);
    assert!(world.server.get(&target).is_some_and(|object| object.terminating()));
    assert_eq!(condition(&world, &key, "Stalled").0, "False", "not yet");
    world.run_for(300_000);
    let (status, reason, message) = condition(&world, &key, "Stalled");
    assert_eq!((&*status, &*reason), ("True", "ChildTerminating"));
    assert!(message.contains(FINALIZER), "{message}");
    let now = world.now;
    world.engine.enable(now, &GroupKind::new(GROUP, "Link"));
    world.run_for(60_000);
    assert!(world.server.get(&key).is_none() && world.server.get(&target).is_none());
}
