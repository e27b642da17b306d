//! Rule C8: the quarantine of a component that traps over and over.

use serde_json::json;
use setpoint_core::contract::{Failure, Outcome};
use setpoint_core::engine::{FirstPass, Phase, Quarantined, Row};
use setpoint_core::key::Key;
use setpoint_sim::kinds::{config_map, owned};
use setpoint_sim::plugin::{Plugin, Stop, maps};
use setpoint_sim::roster;
use setpoint_sim::world::World;

fn row(world: &World, key: &Key) -> Row {
    world.engine.row(key).expect("the key is reconciled")
}

fn notes(count: u64) -> Vec<Key> {
    (0..count).map(|at| owned("Note", &format!("n{at}"))).collect()
}

fn write(world: &mut World, keys: &[Key], text: &str) {
    for key in keys {
        world.apply(key, "person", json!({"spec": {"v": text}}));
    }
}

fn quarantine(world: &World) -> Quarantined {
    let mut all = world.engine.quarantined();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Three notes that were reconciled, whose plugin traps from now on, and is quarantined for it.
fn quarantined() -> (World, Vec<Key>) {
    let keys = notes(3);
    let mut world = World::usual(vec![roster::note(), roster::boxed()]);
    write(&mut world, &keys, "p");
    world.run_for(600_000);
    let for_ever = world.now + 100_000_000;
    world.break_until("note-1", for_ever);
    write(&mut world, &keys, "q");
    while world.engine.quarantined().is_empty() {
        world.run_for(100);
        assert!(world.now < for_ever, "it is never quarantined");
    }
    (world, keys)
}

#[test]
fn a_component_that_traps_for_several_objects_is_not_called_for_a_while() {
    let (mut world, keys) = quarantined();
    let found = quarantine(&world);
    assert_eq!((&*found.plugin, &*found.digest, found.times), ("note", "note-1", 1));
    assert_eq!(&*found.reason, "trap: broken");
    assert!(!found.after_swap, "it has run for ten minutes");
    assert!(found.until > world.now && found.until <= world.now + 10_000);
    let since = world.now + 1;
    world.run_until(found.until - 1);
    assert!(keys.iter().all(|key| world.attempts_since(key, since).is_empty()));
    for key in &keys {
        let waiting = row(&world, key).waiting.expect("it waits");
        assert_eq!(&*waiting, "the plugin note is quarantined until it is tried again: trap: broken");
        assert_eq!(row(&world, key).phase, Phase::Error, "as it was");
    }
}

/// The end of each quarantine is one call; the next one lasts twice as long, up to 5 min.
#[test]
fn each_end_of_a_quarantine_is_one_call() {
    let (mut world, keys) = quarantined();
    let mut last = quarantine(&world);
    for times in 2..9 {
        world.run_until(last.until + 1_000);
        let next = quarantine(&world);
        assert_eq!(next.times, times);
        let calls: usize = keys.iter().map(|key| world.attempts_since(key, last.until - 9_000).len()).sum();
        assert_eq!(calls, 1, "while it was quarantined for the {times}th time");
        assert_eq!(next.until - last.until, (10_000 << (times - 1)).min(300_000));
        last = next;
    }
}

#[test]
fn what_changes_during_a_quarantine_is_not_lost() {
    let (mut world, keys) = quarantined();
    world.run_for(60_000);
    write(&mut world, &keys, "last");
    let new = owned("Note", "new");
    write(&mut world, std::slice::from_ref(&new), "new");
    world.delete(&keys[2]);
    world.broken.clear();
    world.run_for(300_000);
    assert!(world.engine.quarantined().is_empty());
    for key in &keys[..2] {
        assert_eq!(world.value(key)["status"]["text"], "LAST");
        assert_eq!((row(&world, key).phase, row(&world, key).waiting), (Phase::Synced, None));
    }
    assert_eq!(world.value(&new)["status"]["text"], "NEW");
    assert!(world.server.get(&keys[2]).is_none());
}

/// A call that works ends a quarantine, and the next one begins small again.
#[test]
fn a_quarantine_that_is_over_is_forgotten() {
    let (mut world, keys) = quarantined();
    world.run_for(200_000);
    assert!(quarantine(&world).times > 2);
    world.broken.clear();
    world.run_for(600_000);
    assert!(world.engine.quarantined().is_empty());
    let for_ever = world.now + 100_000_000;
    world.break_until("note-1", for_ever);
    write(&mut world, &keys, "again");
    world.run_for(9_000);
    assert_eq!(quarantine(&world).times, 1);
}

#[test]
fn one_poisonous_object_does_not_quarantine_its_plugin() {
    let plugin = Plugin::new("t", "Box", |ask, reads| {
        let mode = reads.get(&config_map("mode"))?;
        let mode = mode.as_ref().and_then(|map| map["data"]["v"].as_str()).unwrap_or("none").to_owned();
        if &*ask.key.name == "poison" {
            return Err(Stop::Trap("poison".into()));
        }
        Ok(Outcome { status: Some(json!({"seen": mode}).to_string()), ..Outcome::default() })
    });
    let (poison, other) = (owned("Box", "poison"), owned("Box", "other"));
    let mut world = World::usual(vec![plugin.reads(&maps(), &[])]);
    world.apply(&other, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    world.apply(&poison, "person", json!({"spec": {"v": "p"}}));
    for at in 0..60 {
        world.apply(&poison, "person", json!({"spec": {"v": at.to_string()}}));
        world.run_for(1_000);
        assert!(world.engine.quarantined().is_empty(), "after {at} s");
    }
    assert!(world.attempts_since(&poison, 0).len() > 20, "it has to have trapped often");
    world.apply(&config_map("mode"), "person", json!({"data": {"v": "fine"}}));
    world.run_for(1_000);
    assert_eq!(world.value(&other)["status"]["seen"], "fine", "the others are reconciled as ever");
}

/// A failure that the plugin returns is an answer: it may fail as often as it likes.
#[test]
fn failures_of_the_plugins_own_do_not_quarantine_it() {
    let plugin = Plugin::new("t", "Note", |_, _| Err(Stop::Fail(Failure::Retry("not today".into()))));
    let mut world = World::usual(vec![plugin]);
    write(&mut world, &notes(10), "p");
    for _ in 0..60 {
        world.run_for(1_000);
        assert!(world.engine.quarantined().is_empty());
    }
}

/// Rules C8, D11: another component of the plugin starts clean. One that comes back, as by a rollback, finds
/// what was known of it.
#[test]
fn another_component_starts_clean_and_the_old_one_finds_its_quarantine() {
    let (mut world, keys) = quarantined();
    world.run_for(120_000);
    let before = quarantine(&world);
    assert!(before.until > world.now + 10_000);
    world.load(roster::note().version(2));
    world.run_for(1_000);
    assert!(world.engine.quarantined().is_empty());
    assert!(keys.iter().all(|key| world.value(key)["status"]["text"] == "Q"), "the new one works");
    world.load(roster::note());
    let since = world.now;
    assert_eq!(quarantine(&world), before);
    world.run_until(before.until - 1);
    assert!(keys.iter().all(|key| world.attempts_since(key, since).is_empty()));
    world.load(roster::note().version(2));
    world.run_for(1_000);
    assert!(keys.iter().all(|key| row(&world, key).phase == Phase::Synced));
}

/// Rules C8, D11: a component that is quarantined within 5 min after it took over is the swap's fault.
#[test]
fn a_quarantine_soon_after_a_swap_says_so() {
    let keys = notes(3);
    let mut world = World::usual(vec![roster::note()]);
    write(&mut world, &keys, "p");
    world.run_for(600_000);
    let for_ever = world.now + 100_000_000;
    world.break_until("note-2", for_ever);
    world.load(roster::note().version(2));
    world.run_for(5_000);
    let found = quarantine(&world);
    assert_eq!((&*found.digest, found.after_swap), ("note-2", true));
}

#[test]
fn a_quarantine_holds_up_nobody_else_and_not_the_first_pass() {
    let (mut world, _) = quarantined();
    let other = owned("Box", "a");
    world.apply(&other, "person", json!({"spec": {"v": "p"}}));
    let fresh = owned("Note", "fresh");
    world.apply(&fresh, "person", json!({"spec": {"v": "p"}}));
    world.run_for(1_000);
    assert_eq!(world.value(&other)["status"]["seen"], "p");
    assert!(world.attempts_since(&fresh, 0).is_empty());
    let now = world.now;
    assert_eq!(world.engine.first_pass(now), FirstPass::Over, "what is quarantined is waited for by nobody (rule C6)");
}
