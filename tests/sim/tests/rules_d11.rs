//! Rules D10 and D11 with B3: what a trial has foreseen, and the first pass on a rebuilt store.

use std::sync::Arc;

use serde_json::json;
use setpoint_core::contract::Outcome;
use setpoint_core::effects::OWNER_KEY;
use setpoint_core::engine::NotHeld;
use setpoint_core::key::Key;
use setpoint_sim::kinds::{config_map, owned};
use setpoint_sim::plugin::Plugin;
use setpoint_sim::roster;
use setpoint_sim::settle;
use setpoint_sim::world::World;

fn owners(count: u64) -> Vec<Key> {
    (0..count).map(|at| owned("Fleet", &format!("f{at}"))).collect()
}

/// So many fleets with five children each.
fn fleets(count: u64) -> World {
    let mut world = World::usual(vec![roster::fleet(1)]);
    for owner in owners(count) {
        world.apply(&owner, "person", json!({"spec": {"v": "p", "count": 5}}));
    }
    world.run_for(10_000);
    assert_eq!(children(&world) as u64, count * 5);
    world
}

fn children(world: &World) -> usize {
    let all = world.server.all();
    all.iter().filter(|(_, object)| object.mark(OWNER_KEY).is_some_and(|owner| owner.contains("/Fleet/"))).count()
}

/// A version with a mistake: it returns no children at all.
fn emptied() -> Plugin {
    let mut plugin = roster::fleet(1);
    plugin.digest = "fleet-bad".into();
    plugin.function = Arc::new(|_, _| Ok(Outcome { children: Some(Vec::new()), ..Outcome::default() }));
    plugin
}

fn held(world: &World) -> Vec<(String, usize)> {
    world.engine.held().iter().map(|held| (held.plugin.to_string(), held.children.len())).collect()
}

/// Rules B3, D11: too many foreseen deletions are held before the first attempt has ended, and each is named
/// once, whether foreseen or decided by now.
#[test]
fn what_a_trial_has_foreseen_is_held_from_the_beginning() {
    let mut world = fleets(4);
    world.faults.call = (5_000, 5_000);
    let trial = settle::foreseen(&world, &emptied());
    assert_eq!(trial.deletions.len(), 20);
    world.load_after(emptied(), trial);
    assert_eq!(held(&world), [("fleet".to_owned(), 20)]);
    world.run_for(600_000);
    assert_eq!(held(&world), [("fleet".to_owned(), 20)]);
    assert_eq!(children(&world), 20);
    let now = world.now;
    assert_eq!(world.engine.confirm(now, "fleet"), Ok(()));
    world.run_for(60_000);
    assert_eq!(children(&world), 0);
    assert!(held(&world).is_empty());
}

/// Rules B3, D11: a kind that moves to a plugin that is new here keeps the children that it has, and too many
/// deletions by the new one wait for a person.
#[test]
fn a_plugin_that_takes_over_a_kind_of_another_is_an_upgrade_for_its_objects() {
    let mut world = fleets(4);
    world.unload("fleet");
    world.run_for(10_000);
    assert_eq!(children(&world), 20, "nothing is deleted while nobody reconciles the kind");
    let mut other = emptied();
    Arc::make_mut(&mut other.description).name = "armada".into();
    other.digest = "armada-1".into();
    world.load(other);
    world.run_for(600_000);
    assert_eq!(held(&world), [("armada".to_owned(), 20)]);
    assert_eq!(children(&world), 20);
}

/// Rule D11: what an attempt shows takes the place of what was foreseen of its object.
#[test]
fn a_trial_that_was_wrong_holds_nothing_in_the_end() {
    let mut world = fleets(4);
    world.faults.call = (5_000, 5_000);
    let trial = settle::foreseen(&world, &emptied());
    world.load_after(roster::fleet(2), trial);
    assert_eq!(held(&world), [("fleet".to_owned(), 20)]);
    world.run_for(600_000);
    assert!(held(&world).is_empty());
    assert_eq!(children(&world), 20);
    world.apply(&owned("Fleet", "f0"), "person", json!({"spec": {"v": "p", "count": 2}}));
    world.run_for(60_000);
    assert_eq!(children(&world), 17, "deletions are made as ever");
}

/// Rule D11: what was foreseen and what is decided count together: each alone would not be held.
#[test]
fn what_is_foreseen_and_what_is_decided_count_together() {
    let mut world = fleets(4);
    world.faults.call = (5_000, 5_000);
    let mut trial = settle::foreseen(&world, &emptied());
    trial.deletions.retain(|(owner, _)| matches!(&*owner.name, "f0" | "f1"));
    assert_eq!(trial.deletions.len(), 10, "10 are not more than 10");
    world.load_after(emptied(), trial);
    assert!(held(&world).is_empty());
    world.run_for(600_000);
    assert_eq!(held(&world), [("fleet".to_owned(), 20)]);
    assert_eq!(children(&world), 20);
}

/// Rule D11: of objects that are not there any more nothing is foreseen.
#[test]
fn a_trial_of_objects_that_have_gone_counts_nothing() {
    let mut world = fleets(4);
    let mut trial = settle::foreseen(&world, &emptied());
    for owner in &owners(4)[..2] {
        world.delete(owner);
    }
    trial.deletions.push((owned("Fleet", "never"), config_map("never")));
    world.run_for(10_000);
    world.faults.call = (5_000, 5_000);
    world.load_after(emptied(), trial);
    assert!(held(&world).is_empty(), "10 are left");
    world.run_for(60_000);
    assert_eq!(children(&world), 0);
}

/// Rules B3, D11: what was only foreseen cannot be confirmed: there may be more.
#[test]
fn what_was_only_foreseen_cannot_be_confirmed() {
    let mut world = fleets(4);
    world.faults.call = (5_000, 5_000);
    let mut trial = settle::foreseen(&world, &emptied());
    trial.deletions.retain(|(owner, _)| &*owner.name != "f3");
    world.load_after(emptied(), trial);
    assert_eq!(held(&world), [("fleet".to_owned(), 15)]);
    let now = world.now;
    assert_eq!(world.engine.confirm(now, "fleet"), Err(NotHeld::Counting(4)));
    world.run_for(60_000);
    assert_eq!((held(&world), children(&world)), (vec![("fleet".to_owned(), 20)], 20));
    let now = world.now;
    assert_eq!(world.engine.confirm(now, "fleet"), Ok(()));
    world.run_for(60_000);
    assert_eq!(children(&world), 0);
}

/// Rule D11: going back to the version before keeps what is held from being deleted at all.
#[test]
fn a_rollback_takes_back_what_was_held() {
    let mut world = fleets(4);
    world.load(emptied());
    world.run_for(10_000);
    assert_eq!(held(&world), [("fleet".to_owned(), 20)]);
    world.load(roster::fleet(1));
    world.run_for(60_000);
    assert!(held(&world).is_empty());
    assert_eq!(children(&world), 20);
    assert_eq!(world.guard.violation(), None);
}

/// Rule D10: after a rebuild nothing is deleted before every object was looked at, not even the children of an
/// owner that is gone; then it is judged as after an upgrade.
#[test]
fn on_a_rebuilt_store_nothing_is_deleted_before_everything_was_looked_at() {
    let mut world = fleets(2);
    world.unload("fleet");
    world.delete(&owned("Fleet", "f1"));
    world.apply(&owned("Fleet", "f0"), "person", json!({"spec": {"v": "p", "count": 3}}));
    world.lose_store();
    world.load(roster::fleet(1));
    world.faults.call = (5_000, 5_000);
    // The plugin starts after 5 s, and answers for f0 10 s later.
    world.run_for(12_000);
    assert_eq!(children(&world), 10, "the call for f0 is under way");
    world.run_for(60_000);
    assert_eq!(children(&world), 3);
    assert_eq!(world.guard.violation(), None);
}

/// Rules B3, D10: too many deletions after a rebuild wait for a person, those of owners that are gone among
/// them.
#[test]
fn a_mass_deletion_after_a_rebuild_waits_for_a_person() {
    let mut world = fleets(4);
    world.unload("fleet");
    for owner in &owners(4)[..3] {
        world.delete(owner);
    }
    world.lose_store();
    world.load(roster::fleet(1));
    world.run_for(600_000);
    assert_eq!(children(&world), 20);
    assert_eq!(held(&world), [("fleet".to_owned(), 15)]);
    let now = world.now;
    assert_eq!(world.engine.confirm(now, "fleet"), Ok(()));
    world.run_for(60_000);
    assert_eq!(children(&world), 5);
}

/// Rule D10: a host on a store that was not rebuilt deletes as ever from the start.
#[test]
fn without_a_rebuild_the_first_pass_deletes() {
    let mut world = fleets(2);
    world.unload("fleet");
    world.delete(&owned("Fleet", "f1"));
    world.crash();
    world.load(roster::fleet(1));
    world.faults.call = (5_000, 5_000);
    world.run_for(12_000);
    assert_eq!(children(&world), 5, "the owner is proven gone, and the call for f0 is under way");
}
