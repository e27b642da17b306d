//! Rules B1 to B15: children, owners, prune, status.

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_cluster::local::EventFilter;
use setpoint_core::contract::{Child, Outcome, Update};
use setpoint_core::effects::{ADOPT, OWNER_KEY, OWNER_LABEL, OWNER_UID};
use setpoint_core::engine::{NotHeld, Options, Phase, Row};
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::op::{Answer, Op, Precondition};
use setpoint_sim::kinds::{GROUP, config_map, document, far_map, owned};
use setpoint_sim::plugin::{Plugin, child, maps};
use setpoint_sim::roster;
use setpoint_sim::world::World;

fn row(world: &World, key: &Key) -> Row {
    world.engine.row(key).expect("the key is reconciled")
}

fn ready(world: &World, key: &Key) -> (String, String) {
    let value = world.value(key);
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|c| c["type"] == "Ready").unwrap_or(Value::Null);
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn events(world: &World, reason: &str) -> Vec<String> {
    let model = &world.server.models[LOCAL];
    let all = model.events(world.now, &EventFilter::default());
    all.into_iter().filter(|event| event.reason == reason).map(|event| event.message).collect()
}

fn fleet_children(world: &World) -> usize {
    world
        .server
        .all()
        .iter()
        .filter(|(_, object)| object.mark(OWNER_KEY).is_some_and(|o| o.contains("/Fleet/")))
        .count()
}

/// Rule B1: a field that the server drops is not written for ever, and the rest is written once.
#[test]
fn a_field_that_the_server_drops_is_not_written_again() {
    let (mut world, key) = (World::usual(vec![roster::note()]), owned("Note", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&key)["status"]["text"], "P");
    let since = world.now;
    for _ in 0..5 {
        world.engine.trigger(since, &key);
        world.run_for(1_000);
    }
    assert!(world.writes_since(since).is_empty());
}

/// Rule B1: a field that a plugin no longer returns goes, one of somebody else's stays.
#[test]
fn a_field_that_is_no_longer_wanted_goes() {
    let key = owned("Bundle", "a");
    let mut world = World::usual(vec![roster::bundle()]);
    let part = |name: &str| json!({"metadata": {"labels": {"bundle": "a"}}, "data": {name: "1"}});
    world.apply(&config_map("part-1"), "person", part("one"));
    world.apply(&config_map("part-2"), "person", part("two"));
    world.apply(&key, "person", json!({"spec": {}}));
    world.run_for(1_000);
    world.apply(&config_map("bundle-a"), "kubectl", json!({"data": {"mine": "yes"}}));
    world.delete(&config_map("part-2"));
    world.run_for(1_000);
    assert_eq!(world.value(&config_map("bundle-a"))["data"], json!({"one": "1", "mine": "yes"}));
}

/// Rules B2, B12: an owner that went while the host was down leaves no children: where to look was
/// recorded before the first was made.
#[test]
fn children_of_an_owner_that_went_meanwhile_are_found() {
    let key = owned("Remote", "a");
    let mut world = World::usual(vec![roster::remote()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let order: Vec<&str> = world.done.iter().map(|done| done.op.verb()).collect();
    let at = |verb: &str| order.iter().position(|v| *v == verb).expect("it was done");
    assert!(at("save_places") < at("apply"), "{order:?}");
    world.crash();
    world.delete(&key);
    world.run_for(60_000);
    assert!(world.server.get(&far_map("remote-a")).is_none());
    assert!(world.server.models[LOCAL].places().is_empty());
}

/// The fleet with nothing in it: what a version with a mistake may answer.
fn emptied() -> Plugin {
    let mut plugin = roster::fleet(1);
    plugin.digest = "fleet-bad".into();
    plugin.function = Arc::new(|_, _| Ok(Outcome { children: Some(Vec::new()), ..Outcome::default() }));
    plugin
}

fn fleets(count: u64) -> World {
    let mut world = World::usual(vec![roster::fleet(1)]);
    for at in 0..count {
        world.apply(&owned("Fleet", &format!("f{at}")), "person", json!({"spec": {"v": "p", "count": 5}}));
    }
    world.run_for(10_000);
    assert_eq!(fleet_children(&world) as u64, count * 5);
    world
}

/// Rule B3: an upgrade that would delete more than 10 children and 20 % deletes none until a person
/// confirms.
#[test]
fn a_mass_deletion_after_an_upgrade_waits_for_a_person() {
    let mut world = fleets(4);
    world.load(emptied());
    world.run_for(3_600_000);
    assert_eq!(fleet_children(&world), 20);
    let held = world.engine.held();
    assert_eq!(held.iter().map(|held| (&*held.plugin, held.children.len())).collect::<Vec<_>>(), [("fleet", 20)]);
    let now = world.now;
    assert_eq!(world.engine.confirm(now, "fleet"), Ok(()));
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 0);
    assert!(world.engine.held().is_empty());
    assert_eq!(world.engine.confirm(now, "fleet"), Err(NotHeld::Nothing));
}

/// Rule B3: few deletions, or a small share, are not held; 100 % disables the hold.
#[test]
fn a_small_deletion_after_an_upgrade_is_not_held() {
    let mut world = fleets(2);
    world.load(emptied());
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 0, "10 are not more than 10");
    let options = Options { hold_percent: 100, ..Options::default() };
    let mut world = World::new(1, options, vec![roster::fleet(1)]);
    for at in 0..4 {
        world.apply(&owned("Fleet", &format!("f{at}")), "person", json!({"spec": {"v": "p", "count": 5}}));
    }
    world.run_for(10_000);
    world.load(emptied());
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 0, "the hold is switched off");
}

/// Rule B3: attempts of the old version that end after the upgrade are no part of the first pass.
#[test]
fn calls_of_the_old_version_do_not_end_the_first_pass() {
    let mut world = fleets(4);
    world.faults.call = (5_000, 5_000);
    let now = world.now;
    for at in 0..4 {
        world.engine.trigger(now, &owned("Fleet", &format!("f{at}")));
    }
    world.run_for(1_000);
    world.load(emptied());
    world.run_for(600_000);
    assert_eq!(fleet_children(&world), 20);
    assert_eq!(world.engine.held().len(), 1);
}

/// Rule B3: a key that is not attempted does not keep the first pass open for ever.
#[test]
fn a_paused_object_does_not_hold_back_the_others() {
    let mut world = fleets(2);
    world.annotate(&owned("Fleet", "f0"), setpoint_core::effects::PAUSED, Some("true"));
    world.run_for(10_000);
    world.load(emptied());
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 5, "those of the paused one");
}

/// Rule B3: a plugin that is removed and comes back in another version is upgraded.
#[test]
fn a_version_that_comes_after_a_removal_is_an_upgrade() {
    let mut world = fleets(4);
    world.unload("fleet");
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 20, "nothing is deleted by taking a plugin away");
    world.load(emptied());
    world.run_for(60_000);
    assert_eq!(fleet_children(&world), 20);
    assert_eq!(world.engine.held().len(), 1);
}

/// Rule B3: an outcome that was judged during the first pass, and whose effects end after it, deletes what the
/// pass kept it from deleting.
#[test]
fn what_an_attempt_was_kept_from_deleting_goes_though_the_pass_ends_before_it() {
    let options = Options { installation: "sim".into(), workers: 1, ..Options::default() };
    let mut world = World::new(1, options, vec![roster::fleet(1)]);
    world.strict = true;
    for name in ["f0", "f1"] {
        world.apply(&owned("Fleet", name), "person", json!({"spec": {"v": "p", "count": 5}}));
    }
    world.run_for(10_000);
    world.faults.call = (5_000, 5_000);
    world.faults.response = (15_000, 15_000);
    let mut next = roster::fleet(1);
    next.digest = "fleet-1b".into();
    world.load(next);
    world.run_for(1_000);
    // It is called once more before the other one is, and its status takes longer than the other one's turn.
    world.apply(&owned("Fleet", "f0"), "person", json!({"spec": {"v": "p", "count": 3}}));
    world.run_for(120_000);
    assert_eq!(fleet_children(&world), 8);
}

/// Rules B3, B8: apply first, then prune: while a new child is refused the old one stays.
#[test]
fn the_old_child_stays_until_the_new_one_is_there() {
    let key = owned("Claim", "a");
    let mut world = World::usual(vec![roster::claim()]);
    world.apply(&config_map("claim-y"), "person", json!({"data": {"mine": "yes"}}));
    world.apply(&key, "person", json!({"spec": {"v": "x"}}));
    world.run_for(1_000);
    world.apply(&key, "person", json!({"spec": {"v": "y"}}));
    world.run_for(60_000);
    assert!(world.server.get(&config_map("claim-x")).is_some());
    assert_eq!(ready(&world, &key), ("False".into(), "ChildConflict".into()));
    assert_eq!(world.value(&config_map("claim-y"))["data"], json!({"mine": "yes"}));
    world.delete(&config_map("claim-y"));
    world.run_for(60_000);
    assert!(world.server.get(&config_map("claim-x")).is_none());
    assert_eq!(ready(&world, &key).0, "True");
}

/// Rule B4: of two owners that want one child the first keeps it; the loser is stalled, not failed, is
/// not called again, and gets the child when it is free.
#[test]
fn the_first_owner_keeps_a_child_and_the_other_waits_for_it() {
    let (first, second) = (owned("Claim", "a"), owned("Claim", "b"));
    let mut world = World::usual(vec![roster::claim()]);
    world.apply(&first, "person", json!({"spec": {"v": "x"}}));
    world.run_for(1_000);
    world.apply(&second, "person", json!({"spec": {"v": "x"}}));
    world.run_for(1_000);
    assert_eq!(world.value(&config_map("claim-x"))["data"]["by"], "a");
    assert_eq!(ready(&world, &second), ("False".into(), "ChildConflict".into()));
    assert!(row(&world, &second).last_error.is_some_and(|why| why.contains("Claim/default/a")));
    assert_eq!(row(&world, &second).failures, 0);
    let since = world.now;
    world.run_for(3_600_000);
    assert!(world.attempts_since(&second, since).is_empty());
    world.apply(&first, "person", json!({"spec": {"v": "y"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&config_map("claim-x"))["data"]["by"], "b");
    assert_eq!(ready(&world, &second).0, "True");
    assert_eq!(world.guard.violation(), None);
}

/// Rules A1, B4: an attempt that ends late takes nothing from the owner that a child has by then: the new
/// owner hears of its child as ever.
#[test]
fn the_late_end_of_an_attempt_takes_no_child_from_its_new_owner() {
    let (first, second, child) = (owned("Claim", "a"), owned("Claim", "b"), config_map("claim-x"));
    let mut world = World::usual(vec![roster::claim()]);
    world.faults.response = (10_000, 10_000);
    world.apply(&first, "person", json!({"spec": {"v": "x"}}));
    while world.server.get(&child).is_none() {
        world.run_for(100);
    }
    // Gone, and made again by another owner, before the first one hears that it has made it.
    world.delete(&child);
    world.faults.response = (0, 0);
    world.apply(&second, "person", json!({"spec": {"v": "x"}}));
    world.run_for(5_000);
    assert_eq!(world.value(&child)["data"]["by"], "b");
    assert!(world.engine.is_running(&first), "it does not know yet");
    world.run_for(60_000);
    assert_eq!(ready(&world, &first), ("False".into(), "ChildConflict".into()));
    world.apply(&first, "person", json!({"spec": {"v": "y"}}));
    world.run_for(60_000);
    world.delete(&child);
    world.run_for(60_000);
    assert_eq!(world.value(&child)["data"]["by"], "b");
}

/// A claim whose live look has found nothing, and whose apply is on its way.
fn between_look_and_apply() -> (World, Key) {
    let key = owned("Claim", "a");
    let mut world = World::usual(vec![roster::claim()]);
    world.faults.request = (1_000, 1_000);
    world.apply(&key, "person", json!({"spec": {"v": "x"}}));
    while !world.done.iter().any(|done| matches!(done.op, Op::Get(_))) {
        world.run_for(100);
    }
    (world, key)
}

/// Rule B4: another host's child is refused by the server, in the gap between the look and the apply.
#[test]
fn a_child_of_another_host_is_refused_by_the_server() {
    let (mut world, key) = between_look_and_apply();
    let target = config_map("claim-x");
    let theirs = json!({"metadata": {"labels": {OWNER_LABEL: "0123"}, "annotations": {OWNER_KEY: "hub/g/K/d/other"}}});
    let op = Op::Apply {
        key: target.clone(),
        object: Arc::new(document(&target, theirs)),
        manager: "setpoint/0123".into(),
        force: false,
        precondition: None,
    };
    let now = world.now;
    let (answer, effects) = world.server.perform(now, &op);
    assert!(matches!(answer, Answer::Applied { created: true, .. }));
    world.publish(&effects);
    world.run_for(60_000);
    assert_eq!(
        world.server.get(&target).and_then(|o| o.label(OWNER_LABEL).map(str::to_owned)).as_deref(),
        Some("0123")
    );
    assert_eq!(ready(&world, &key), ("False".into(), "ChildConflict".into()));
    assert_eq!(world.guard.violation(), None);
}

/// Rule B4: an apply that was meant to create and met an object is undone.
#[test]
fn an_object_that_was_merged_into_by_mistake_is_as_it_was() {
    let (mut world, key) = between_look_and_apply();
    let target = config_map("claim-x");
    world.apply(&target, "person", json!({"data": {"mine": "yes"}}));
    world.run_for(60_000);
    let there = world.value(&target);
    assert_eq!(there["data"], json!({"mine": "yes"}));
    assert_eq!((&there["metadata"]["labels"], &there["metadata"]["ownerReferences"]), (&Value::Null, &Value::Null));
    assert_eq!(ready(&world, &key), ("False".into(), "ChildConflict".into()));
}

/// Rule B5: an object that a person hands over is adopted; one that a file defines never is.
#[test]
fn a_child_is_adopted_only_if_it_is_handed_over() {
    let key = owned("Box", "a");
    let mut world = World::usual(vec![roster::boxed()]);
    world.apply(&config_map("box-a"), "person", json!({"data": {"other": "1"}}));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&config_map("box-a"))["data"], json!({"other": "1"}));
    world.annotate(&config_map("box-a"), ADOPT, Some("Box/default/a"));
    world.run_for(10_000);
    assert_eq!(world.value(&config_map("box-a"))["data"]["v"], "p");
    assert_eq!(ready(&world, &key).0, "True");
    let key = owned("Box", "f");
    world.write_file(&config_map("box-f"), json!({"data": {"v": "theirs"}}));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&config_map("box-f"))["data"], json!({"v": "theirs"}));
    assert_eq!(ready(&world, &key).0, "False");
}

/// Rule B5: children of an owner that was made again under its name are adopted, not made again.
#[test]
fn children_of_an_owner_of_the_same_name_are_adopted() {
    let (key, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = World::usual(vec![roster::boxed()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let before = world.value(&target);
    world.unload("box");
    world.delete(&key);
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(10_000);
    world.load(roster::boxed());
    world.run_for(10_000);
    let after = world.value(&target);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["metadata"]["annotations"][OWNER_UID], world.value(&key)["metadata"]["uid"]);
    assert_eq!(after["data"]["v"], "q");
}

/// Rule B6: a field of ours that somebody else has taken is taken back, with an event that names them.
#[test]
fn a_field_that_was_taken_is_taken_back_and_told() {
    let key = owned("Box", "a");
    let mut world = World::usual(vec![roster::boxed()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    world.apply(&config_map("box-a"), "kubectl", json!({"data": {"v": "edited"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&config_map("box-a"))["data"]["v"], "p");
    let told = events(&world, "FieldsTakenBack");
    assert!(told.len() == 1 && told[0].contains("kubectl"), "{told:?}");
}

/// Rule B7: an outcome for an object that went during the call makes nothing.
#[test]
fn an_outcome_for_an_object_that_is_gone_makes_no_children() {
    let key = owned("Flap", "a");
    let mut world = World::usual(vec![roster::flap()]);
    world.faults.call = (10_000, 10_000);
    world.run_for(30_000);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(5_000);
    world.delete(&key);
    world.run_for(60_000);
    assert!(world.server.get(&config_map("flap-a")).is_none());
    assert!(world.writes_since(0).is_empty());
}

/// Rule B7: when only the generation has moved the effects happen, and the status carries the
/// generation that was reconciled.
#[test]
fn an_outcome_of_an_older_generation_says_so() {
    let key = owned("Flap", "a");
    let mut world = World::usual(vec![roster::flap()]);
    world.faults.call = (10_000, 10_000);
    world.run_for(30_000);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(15_000);
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(6_000);
    assert!(world.server.get(&config_map("flap-a")).is_some());
    assert_eq!(world.value(&key)["status"]["observedGeneration"], 1);
    assert_eq!(world.value(&key)["status"]["v"], "p");
    world.run_for(60_000);
    assert_eq!(world.value(&key)["status"]["observedGeneration"], 2);
    assert_eq!(world.value(&key)["status"]["v"], "q");
}

/// Rule B8: one refused child does not stop the others, in the order returned.
#[test]
fn a_refused_child_does_not_stop_the_others() {
    let key = owned("Fleet", "a");
    let mut world = World::usual(vec![roster::fleet(1)]);
    world.apply(&config_map("p-a-1"), "person", json!({"data": {"mine": "yes"}}));
    world.apply(&key, "person", json!({"spec": {"v": "p", "count": 4}}));
    world.run_for(10_000);
    assert_eq!(fleet_children(&world), 3);
    let made: Vec<String> = world
        .done
        .iter()
        .filter_map(|done| if let Op::Apply { key, .. } = &done.op { Some(key.name.to_string()) } else { None })
        .collect();
    assert_eq!(made, ["p-a-0", "p-a-2", "p-a-3"]);
    assert_eq!((row(&world, &key).phase, row(&world, &key).failures), (Phase::Error, 0));
}

/// Rule B8: a child in an unknown cluster is waited for: no failure, no retry, and woken by its coming.
#[test]
fn a_child_in_an_unknown_cluster_is_waited_for() {
    let key = owned("Remote", "a");
    let mut world = World::usual(vec![roster::remote()]);
    world.run_for(1_000);
    let source = far_map("x").source();
    let back = world.now + 600_000;
    world.cut(&source, back);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(590_000);
    assert_eq!((row(&world, &key).phase, row(&world, &key).failures), (Phase::Pending, 0));
    assert_eq!(world.attempts_since(&key, 0).len(), 1);
    world.run_for(20_000);
    assert_eq!(world.value(&far_map("remote-a"))["data"]["v"], "p");
}

/// Rule B9: a child that is terminating is not written and not deleted again; it is made anew when it
/// is gone.
#[test]
fn a_child_that_is_terminating_is_waited_for() {
    let (key, target) = (owned("Chain", "a"), owned("Link", "of-a"));
    let mut world = World::usual(vec![roster::chain(), roster::link_plugin()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let kind = GroupKind::new(GROUP, "Link");
    world.engine.disable(&kind);
    world.delete(&target);
    let since = world.now;
    world.run_for(60_000);
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(60_000);
    assert!(world.server.get(&target).is_some_and(|object| object.terminating()));
    assert_eq!(ready(&world, &key), ("False".into(), "ChildTerminating".into()));
    let touched = world.done.iter().filter(|done| done.at >= since && done.op.writes() == Some(&target));
    assert_eq!(touched.count(), 0);
    let uid = world.value(&target)["metadata"]["uid"].clone();
    let now = world.now;
    world.engine.enable(now, &kind);
    world.run_for(10_000);
    assert_eq!(world.value(&key)["status"]["seen"], "q");
    assert_ne!(world.value(&target)["metadata"]["uid"], uid);
}

fn frozen(update: Update) -> (World, Key) {
    let plugin = Plugin::new("t", "Box", move |ask, _| {
        let given = json!({"immutable": true, "data": {"v": ask.text("v")}});
        let children = vec![Child { update, ..child(&ask.key, &config_map("frozen"), given) }];
        Ok(Outcome { children: Some(children), ..Outcome::default() })
    });
    let (mut world, key) = (World::usual(vec![plugin.writes(&maps())]), owned("Box", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    world.apply(&key, "person", json!({"spec": {"v": "q"}}));
    world.run_for(60_000);
    (world, key)
}

/// Rule B10: an immutable field is changed by making the child again where the plugin says so, and is
/// stalled otherwise.
#[test]
fn an_immutable_child_is_made_again_only_if_the_plugin_says_so() {
    let (world, key) = frozen(Update::Recreate);
    assert_eq!(world.value(&config_map("frozen"))["data"]["v"], "q");
    assert_eq!(ready(&world, &key).0, "True");
    let (world, key) = frozen(Update::InPlace);
    assert_eq!(world.value(&config_map("frozen"))["data"]["v"], "p");
    assert_eq!(ready(&world, &key), ("False".into(), "ChildImmutable".into()));
}

/// Rule B10: a child without a name is refused with what to do, and nothing is pruned because of it.
#[test]
fn a_child_without_a_name_is_refused() {
    let plugin = Plugin::new("t", "Box", |_, _| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}).to_string();
        let children = vec![Child { cluster: None, object, update: Update::InPlace }];
        Ok(Outcome { children: Some(children), ..Outcome::default() })
    });
    let (mut world, key) = (World::usual(vec![plugin.writes(&maps())]), owned("Box", "a"));
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    assert_eq!(ready(&world, &key), ("False".into(), "ChildInvalid".into()));
    assert!(row(&world, &key).last_error.is_some_and(|why| why.contains("generateName is not supported")));
}

/// Rule B15: conditions of others stay, ours merge by type; a status that was changed meanwhile is
/// written on a fresh read.
#[test]
fn a_status_keeps_the_conditions_of_others_and_survives_conflicts() {
    let key = owned("Flap", "a");
    let mut world = World::usual(vec![roster::flap()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(10_000);
    let object = world.server.get(&key).expect("it is there");
    let op = Op::ApplyStatus {
        key: key.clone(),
        status: Arc::new(json!({"conditions": [{"type": "Foreign", "status": "True"}]})),
        manager: "other".into(),
        precondition: Precondition::version_of(&object),
    };
    let now = world.now;
    let (_, effects) = world.server.perform(now, &op);
    // The watch is late: the host decides upon a version that is no more.
    world.faults.watch = (30_000, 30_000);
    world.publish(&effects);
    world.apply(&config_map("x"), "person", json!({}));
    world.faults.watch = (0, 0);
    world.engine.trigger(now, &key);
    let mut next = roster::flap().version(2);
    next.function = Arc::new(|ask, _| {
        Ok(Outcome { status: Some(json!({"v": "new"}).to_string()), ..Outcome { children: None, ..by(ask) } })
    });
    world.load(next);
    world.run_for(10_000);
    let status = world.value(&key)["status"].clone();
    assert_eq!(status["v"], "new");
    let mut types: Vec<String> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| Some(c["type"].as_str()?.to_owned()))
        .collect();
    types.sort();
    assert_eq!(types, ["Foreign", "Ready", "Reconciling", "Stalled"]);
    assert!(world.done.iter().any(|done| done.at >= now && done.op == Op::Get(key.clone())), "a fresh read");
}

fn by(_: &setpoint_sim::plugin::Ask) -> Outcome {
    Outcome::default()
}
