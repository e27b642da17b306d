//! Rules B11, B12, B2: the order of deletion, and a kill at each of its steps.

use serde_json::json;
use setpoint_core::contract::{Failure, Outcome};
use setpoint_core::effects::FINALIZER;
use setpoint_core::key::{GroupKind, Key, LOCAL, Source};
use setpoint_sim::faults::Faults;
use setpoint_sim::kinds::{FAR, GROUP, config_map, far_map, owned};
use setpoint_sim::plugin::{Plugin, maps};
use setpoint_sim::roster;
use setpoint_sim::settle;
use setpoint_sim::world::World;

fn all_of(kind: &str) -> (World, Key) {
    let key = owned(kind, "a");
    let mut world = World::usual(roster::all());
    world.apply(&key, "person", json!({"spec": {"v": "p", "count": 3}}));
    world.run_for(60_000);
    (world, key)
}

fn nothing_is_left(world: &World, key: &Key) {
    assert_eq!(world.guard.violation(), None);
    assert!(world.server.get(key).is_none(), "{key} is still there");
    assert!(world.server.all().is_empty(), "left over: {:?}", world.server.all());
    assert!(world.server.models.values().all(|model| model.places().is_empty()));
}

/// Rule B12: the plugin's clean-up, then the children, then the proof that they are gone, then the
/// finalizer, then the bookkeeping.
#[test]
fn deletion_has_one_order() {
    let (mut world, key) = all_of("Vault");
    assert!(world.server.get(&key).is_some_and(|object| object.has_finalizer(FINALIZER)));
    let since = world.now;
    world.delete(&key);
    world.run_for(60_000);
    let order: Vec<String> = world
        .done
        .iter()
        .filter(|done| done.at >= since && done.owner == key && done.op.verb() != "apply_status")
        .map(|done| done.op.verb().to_owned())
        .collect();
    assert_eq!(order, ["delete", "list", "set_finalizer", "save_places"]);
    nothing_is_left(&world, &key);
}

/// Rule B12: a kill at any step of a deletion leaves no orphan and no finalizer.
#[test]
fn a_kill_at_each_step_of_a_deletion_leaves_nothing() {
    for kind in ["Vault", "Box", "Fleet", "Chain", "Remote", "Link"] {
        for step in 0..40 {
            let (mut world, key) = all_of(kind);
            world.faults = Faults::calm();
            world.crash_after = Some(step);
            world.delete(&key);
            world.run_for(300_000);
            nothing_is_left(&world, &key);
            if world.crash_after.is_some() {
                assert!(step > 1, "{kind} is deleted in {step} steps");
                break;
            }
            assert!(step < 39, "the deletion of {kind} never ends");
        }
    }
}

/// Design §9.7: a kill at any step of a creation needs no repair by hand.
#[test]
fn a_kill_at_each_step_of_a_creation_ends_right() {
    for kind in ["Vault", "Fleet", "Chain", "Remote"] {
        for step in 0..40 {
            let mut world = World::usual(roster::all());
            world.run_for(1_000);
            world.faults = Faults::calm();
            world.crash_after = Some(step);
            world.apply(&owned(kind, "a"), "person", json!({"spec": {"v": "p", "count": 3}}));
            world.run_for(300_000);
            assert_eq!(settle::check(&world), Ok(()), "{kind}, killed before operation {step}");
            if world.crash_after.is_some() {
                break;
            }
            assert!(step < 39, "the creation of {kind} never ends");
        }
    }
}

/// Rule B12: without a plugin nothing is removed: the object waits, and goes on when there is one.
#[test]
fn deletion_waits_for_a_plugin() {
    let (mut world, key) = all_of("Vault");
    world.unload("vault");
    world.delete(&key);
    world.run_for(3_600_000);
    assert!(world.server.get(&key).is_some_and(|object| object.has_finalizer(FINALIZER)));
    assert!(world.server.get(&config_map("vault-a")).is_some());
    // One finalizer name: whoever reconciles the kind now takes it off.
    let mut other = roster::vault();
    let mut description = (*other.description).clone();
    description.name = "another".into();
    other.description = std::sync::Arc::new(description);
    world.load(other);
    world.run_for(60_000);
    nothing_is_left(&world, &key);
}

/// Rule B12: a kind that is disabled keeps deletions waiting.
#[test]
fn deletion_waits_for_a_disabled_kind() {
    let (mut world, key) = all_of("Box");
    let kind = GroupKind::new(GROUP, "Box");
    world.engine.disable(&kind);
    world.delete(&key);
    world.run_for(600_000);
    assert!(world.server.get(&config_map("box-a")).is_some());
    let now = world.now;
    world.engine.enable(now, &kind);
    world.run_for(10_000);
    nothing_is_left(&world, &key);
}

/// Rule B12, step 2: children in a cluster that cannot be reached are not proven gone: the finalizer
/// stays until they are.
#[test]
fn a_finalizer_waits_for_children_in_an_unknown_cluster() {
    let (mut world, key) = all_of("Remote");
    world.server.cut.insert(FAR.into());
    let source = Source::new(FAR, "", "ConfigMap");
    let back = world.now + 3_600_000;
    world.cut(&source, back);
    world.delete(&key);
    world.run_for(3_000_000);
    assert!(world.server.get(&far_map("remote-a")).is_some());
    assert!(!world.server.models[LOCAL].places().is_empty(), "where to look is remembered");
    world.server.cut.clear();
    world.run_for(3_600_000);
    nothing_is_left(&world, &key);
}

/// Rule B12: `finalized` while nothing is being deleted is no answer.
#[test]
fn finalized_without_a_deletion_is_a_failed_attempt() {
    let plugin = Plugin::new("t", "Box", |_, _| Ok(Outcome { finalized: true, ..Outcome::default() })).writes(&maps());
    let (mut world, key) = (World::usual(vec![plugin]), owned("Box", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(100);
    let row = world.engine.row(&key).expect("it is reconciled");
    assert_eq!(row.failures, 1);
    assert!(row.last_error.is_some_and(|why| why.contains("not being deleted")));
}

/// Rule B12: a plugin that fails to clean up keeps the object, its child and the finalizer.
#[test]
fn a_failing_clean_up_removes_nothing() {
    let (mut world, key) = all_of("Vault");
    let mut failing = roster::vault().version(2);
    failing.function =
        std::sync::Arc::new(|_, _| Err(setpoint_sim::plugin::Stop::Fail(Failure::Retry("not yet".into()))));
    world.load(failing);
    world.delete(&key);
    world.run_for(600_000);
    assert!(world.server.get(&key).is_some_and(|object| object.has_finalizer(FINALIZER)));
    assert!(world.server.get(&config_map("vault-a")).is_some());
    world.load(roster::vault().version(3));
    world.run_for(60_000);
    nothing_is_left(&world, &key);
}

/// Rule D3: a file that comes back while its object terminates makes a new object, with a new uid.
#[test]
fn a_file_that_comes_back_while_its_object_terminates_makes_a_new_one() {
    let key = owned("Vault", "f");
    let mut world = World::usual(roster::all());
    world.write_file(&key, json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    let uid = world.value(&key)["metadata"]["uid"].clone();
    world.faults = Faults::calm();
    world.remove_file(&key);
    world.write_file(&key, json!({"spec": {"v": "q"}}));
    assert!(world.server.get(&key).is_some_and(|object| object.terminating()), "what terminates stays so");
    world.run_for(300_000);
    assert_ne!(world.value(&key)["metadata"]["uid"], uid);
    assert_eq!(world.value(&config_map("vault-f"))["data"]["v"], "q");
    assert_eq!(settle::check(&world), Ok(()));
}

/// Rule D2: a file that is edited keeps its object's uid.
#[test]
fn a_file_that_is_edited_keeps_its_object() {
    let key = owned("Box", "f");
    let mut world = World::usual(roster::all());
    world.write_file(&key, json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let uid = world.value(&key)["metadata"]["uid"].clone();
    world.write_file(&key, json!({"spec": {"v": "q"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&key)["metadata"]["uid"], uid);
    assert_eq!(world.value(&config_map("box-f"))["data"]["v"], "q");
}
