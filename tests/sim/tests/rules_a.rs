//! Rules A1 to A12: what is read, what is a change, when a call may be skipped.

use serde_json::{Value, json};
use setpoint_core::contract::{Cause, Failure, Outcome, Tuning};
use setpoint_core::engine::{Options, Phase};
use setpoint_core::key::{GroupKind, Key, LOCAL, Source};
use setpoint_core::op::Op;
use setpoint_sim::kinds::{GROUP, config_map, owned};
use setpoint_sim::plugin::{Plugin, Stop, child, maps};
use setpoint_sim::roster;
use setpoint_sim::world::World;

/// A settled world with these objects.
fn settled(plugins: Vec<Plugin>, objects: &[(&Key, Value)]) -> World {
    let mut world = World::usual(plugins);
    for (key, spec) in objects {
        world.apply(key, "person", json!({ "spec": spec }));
    }
    world.run_for(10_000);
    assert_eq!(world.guard.violation(), None);
    world
}

fn calls(world: &World, key: &Key, since: u64) -> usize {
    world.attempts_since(key, since).iter().filter(|ended| ended.result.is_some()).count()
}

/// Rule A1: a child that the plugin did not read counts when a field that was applied differs or it
/// goes, and not otherwise.
#[test]
fn a_child_that_was_not_read_is_watched_for_what_was_applied() {
    let (owner, target) = (owned("Flap", "a"), config_map("flap-a"));
    let mut world = settled(vec![roster::flap()], &[(&owner, json!({"v": "p"}))]);
    let since = world.now;
    world.apply(&target, "kubectl", json!({"data": {"other": "1"}}));
    world.run_for(10_000);
    assert_eq!(calls(&world, &owner, since), 0, "a field that nobody applied is nobody's business");
    world.apply(&target, "kubectl", json!({"data": {"x": "edited"}}));
    world.run_for(10_000);
    assert_eq!(world.value(&target)["data"]["x"], "mine");
    assert_eq!(calls(&world, &owner, since), 1);
    world.delete(&target);
    world.run_for(10_000);
    assert_eq!(world.value(&target)["data"]["x"], "mine");
}

/// Rules A1, B3: a child that nobody knew of when its owner's outcome was judged, because its kind was not
/// listed yet after a restart, is judged when it comes to light.
#[test]
fn a_child_that_comes_to_light_after_its_owners_outcome_is_judged_then() {
    let (owner, all) = (owned("Fleet", "a"), Source::new(LOCAL, "", "ConfigMap"));
    let mut world = settled(vec![roster::fleet(1)], &[(&owner, json!({"v": "p", "count": 3}))]);
    world.crash();
    world.apply(&owner, "person", json!({"spec": {"v": "p", "count": 0}}));
    world.faults.request = (1_000, 1_000);
    world.faults.response = (1_000, 1_000);
    // The host is up and has asked for all lists; that of the children never comes.
    world.run_for(1_500);
    world.cut(&all, world.now + 60_000);
    world.run_for(30_000);
    assert_eq!(world.value(&owner)["status"]["members"], 0);
    assert!(world.server.get(&config_map("p-a-0")).is_some(), "nothing is known of it");
    world.run_for(60_000);
    assert!((0..3).all(|at| world.server.get(&config_map(&format!("p-a-{at}"))).is_none()));
}

/// Rule A2: the host's own status write is no change for the key that made it, and a sibling that is
/// read through a mask without the status is not told of it.
#[test]
fn status_writes_call_nobody_who_does_not_see_them() {
    let keys: Vec<Key> = (0..8).map(|at| owned("Peer", &format!("p{at}"))).collect();
    let objects: Vec<(&Key, Value)> = keys.iter().map(|key| (key, json!({"v": "p"}))).collect();
    let world = settled(vec![roster::peer()], &objects);
    for key in &keys {
        assert_eq!(world.value(key)["status"]["family"], 8);
        // Once when it came, and once more at most for those that came after it.
        assert!(calls(&world, key, 0) <= 3, "{key} is called {} times", calls(&world, key, 0));
    }
}

/// Rule A3: what changes between a read and the end of the call runs the key again.
#[test]
fn a_change_between_a_read_and_the_end_of_the_call_is_not_lost() {
    let (owner, part) = (owned("Bundle", "a"), config_map("part-1"));
    let mut world = settled(vec![roster::bundle()], &[(&owner, json!({}))]);
    let given = |value: &str| json!({"metadata": {"labels": {"bundle": "a"}}, "data": {"k": value}});
    world.faults.call = (3_000, 3_000);
    world.apply(&part, "person", given("1"));
    // The list is read 3 s after the call began, and the call ends 6 s later.
    world.run_for(7_000);
    world.apply(&part, "person", given("2"));
    world.run_for(2_500);
    assert_eq!(world.value(&config_map("bundle-a"))["data"]["k"], "1", "the call saw the old part");
    world.run_for(30_000);
    assert_eq!(world.value(&config_map("bundle-a"))["data"]["k"], "2");
}

/// Rule A4: an unknown list is not an empty one: nothing is pruned, even by a plugin that takes it so.
#[test]
fn an_unknown_source_prunes_nothing() {
    let (owner, part) = (owned("Bundle", "a"), config_map("part-1"));
    let mut world = World::usual(vec![roster::bundle()]);
    world.apply(&owner, "person", json!({"spec": {"stubborn": true}}));
    world.apply(&part, "person", json!({"metadata": {"labels": {"bundle": "a"}}, "data": {"k": "1"}}));
    world.run_for(10_000);
    let back = world.now + 60_000;
    world.cut(&Source::new(LOCAL, "", "ConfigMap"), back);
    world.apply(&owner, "person", json!({"spec": {"stubborn": true, "v": "2"}}));
    world.run_for(30_000);
    assert_eq!(world.value(&owner)["status"]["parts"], 0, "the plugin takes the unknown list for an empty one");
    assert_eq!(world.value(&config_map("bundle-a"))["data"]["k"], "1", "its child stays all the same");
    world.run_for(60_000);
    assert_eq!(world.value(&owner)["status"]["parts"], 1);
}

/// Rule A4: an attempt that fails for want of an answer is not counted, is pending, and runs when the
/// source is known.
#[test]
fn an_attempt_without_an_answer_is_no_failure() {
    let owner = owned("Bundle", "a");
    let mut world = settled(vec![roster::bundle()], &[(&owner, json!({}))]);
    let back = world.now + 60_000;
    world.cut(&Source::new(LOCAL, "", "ConfigMap"), back);
    world.apply(&owner, "person", json!({"spec": {"v": "2"}}));
    world.run_for(30_000);
    let row = world.engine.row(&owner).expect("it is reconciled");
    assert_eq!((row.phase, row.failures), (Phase::Pending, 0));
    assert!(row.waiting.is_some_and(|why| why.contains("cut off")));
    let before = calls(&world, &owner, 0);
    world.run_for(60_000);
    assert_eq!(calls(&world, &owner, 0), before + 1);
    assert_eq!(world.engine.row(&owner).map(|row| row.phase), Some(Phase::Synced));
}

/// Rule A5: a permanent failure waits for a change of what that very attempt read.
#[test]
fn a_permanent_failure_is_left_when_something_it_read_changes() {
    let (owner, weather) = (owned("Shaky", "a"), config_map("weather-a"));
    let mut world = World::usual(vec![roster::shaky()]);
    world.apply(&weather, "person", json!({"data": {"v": "permanent"}}));
    world.apply(&owner, "person", json!({"spec": {"v": "p"}}));
    world.run_for(3_600_000);
    assert_eq!(calls(&world, &owner, 0), 1, "nothing has changed");
    world.apply(&weather, "person", json!({"data": {"v": "fine"}}));
    world.run_for(10_000);
    assert_eq!(world.engine.row(&owner).map(|row| row.phase), Some(Phase::Synced));
}

/// Rule A5: a trap keeps the reads of the attempt before as well.
#[test]
fn a_trap_forgets_nothing_that_was_read_before() {
    let (owner, weather) = (owned("Box", "a"), config_map("weather-a"));
    let tuning = Tuning { first_backoff: Some(100_000), ..Tuning::default() };
    let plugin = Plugin::new("t", "Box", |ask, reads| {
        if ask.text("v") == "trap" {
            return Err(Stop::Trap("before it reads".into()));
        }
        reads.get(&config_map("weather-a"))?;
        Ok(Outcome::default())
    });
    let mut world = settled(vec![plugin.reads(&maps(), &[]).tuned(tuning)], &[(&owner, json!({"v": "fine"}))]);
    world.apply(&owner, "person", json!({"spec": {"v": "trap"}}));
    world.run_for(10_000);
    let since = world.now;
    world.apply(&weather, "person", json!({"data": {"v": "1"}}));
    world.run_for(10_000);
    assert_eq!(calls(&world, &owner, since), 1, "the trapped call read nothing, the one before did");
}

/// Rule A6: a resync of what has not changed needs no call; a changed configuration, version or
/// grant does.
#[test]
fn a_resync_is_skipped_until_something_that_the_outcome_depends_on_changes() {
    let owner = owned("Note", "a");
    let mut world = settled(vec![roster::note()], &[(&owner, json!({"v": "p"}))]);
    let since = world.now;
    world.run_for(3_600_000);
    assert_eq!(calls(&world, &owner, since), 0);
    assert!(world.engine.counts().memo_hits >= 5, "resyncs came and were skipped");
    let mut configured = roster::note();
    configured.config = json!({"x": 1}).to_string();
    world.load(configured.clone());
    world.run_for(1_000);
    assert_eq!(
        world.attempts_since(&owner, since).last().map(|ended| ended.causes.clone()),
        Some(vec![Cause::Configured])
    );
    let mut upgraded = configured.version(2);
    world.load(upgraded.clone());
    world.run_for(1_000);
    assert_eq!(
        world.attempts_since(&owner, since).last().map(|ended| ended.causes.clone()),
        Some(vec![Cause::Upgraded])
    );
    upgraded.grants = setpoint_core::grants::Grants::described_in_local();
    world.load(upgraded.clone());
    world.run_for(1_000);
    assert_eq!(calls(&world, &owner, since), 3);
    world.load(upgraded);
    world.run_for(1_000);
    assert_eq!(calls(&world, &owner, since), 3, "the same again is no change");
}

/// Rule A6: the memo lives in memory only: after a start every object is called once.
#[test]
fn after_a_start_every_object_is_called_once() {
    let owner = owned("Note", "a");
    let mut world = settled(vec![roster::note()], &[(&owner, json!({"v": "p"}))]);
    world.crash();
    let since = world.now;
    world.run_for(60_000);
    assert_eq!(calls(&world, &owner, since), 1);
    assert!(world.writes_since(since).is_empty(), "what is there is not written again");
}

/// Rule A7: the resync of an impure call is not skipped.
#[test]
fn an_impure_call_is_made_at_every_resync() {
    let owner = owned("Note", "a");
    let mut plugin = roster::note();
    plugin.impure = true;
    let mut world = settled(vec![plugin], &[(&owner, json!({"v": "p"}))]);
    let since = world.now;
    world.run_for(3_600_000);
    let count = calls(&world, &owner, since);
    assert!((5..=7).contains(&count), "{count} calls in an hour of resyncs every 10 min");
    assert!(world.writes_since(since).is_empty());
}

/// Rule A9: the dependents of one change are told piecewise, so that no step takes long.
#[test]
fn a_change_with_many_dependents_is_expanded_in_bounded_steps() {
    let plugin = Plugin::new("t", "Note", |_, reads| {
        reads.get(&config_map("all"))?;
        Ok(Outcome::default())
    });
    let options = Options { fan_out_step: 10, workers: 1, ..Options::default() };
    let mut world = World::new(1, options, vec![plugin.reads(&maps(), &[])]);
    world.apply(&config_map("all"), "person", json!({"data": {"v": "1"}}));
    for at in 0..95 {
        world.apply(&owned("Note", &format!("n{at}")), "person", json!({"spec": {}}));
    }
    world.run_for(60_000);
    assert_eq!(world.engine.queue_length(), 0);
    world.server.disconnect(&Source::new(LOCAL, "", "ConfigMap"));
    world.apply(&config_map("all"), "person", json!({"data": {"v": "2"}}));
    let (now, object) = (world.now, world.server.get(&config_map("all")));
    world.engine.observed(now, &config_map("all"), object);
    assert_eq!(world.engine.queue_length(), 0, "nothing is expanded at once");
    let (mut told, mut steps) = (0, 0);
    while told < 95 {
        let attempt = world.engine.next(now);
        let total = world.engine.queue_length() + world.engine.running();
        assert!(total <= told + 10, "one step told {} dependents", total - told);
        assert!(attempt.is_some() == (told == 0), "one worker, one attempt");
        told = total;
        steps += 1;
        assert!(steps < 100, "it never ends");
    }
    assert_eq!(told, 95);
}

/// Rule A10: what a write without an answer may have changed is read live before the next call.
#[test]
fn after_a_write_without_an_answer_comes_a_live_read() {
    let (owner, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = settled(vec![roster::boxed()], &[(&owner, json!({"v": "p"}))]);
    world.faults.lost = 1_000;
    world.apply(&owner, "person", json!({"spec": {"v": "q"}}));
    world.run_for(100);
    world.faults.lost = 0;
    let since = world.now;
    world.run_for(60_000);
    let first = world.done.iter().find(|done| done.at >= since && done.owner == owner).map(|done| done.op.clone());
    assert_eq!(first, Some(Op::Get(target.clone())));
    assert_eq!(world.value(&target)["data"]["v"], "q");
    assert_eq!(world.value(&owner)["status"]["seen"], "q");
    assert_eq!(world.guard.violation(), None);
}

/// Rule A10: a view that the watch never catches up with is read live after a minute.
#[test]
fn a_write_that_the_watch_never_shows_is_looked_at_after_a_minute() {
    let (owner, target) = (owned("Flap", "a"), config_map("flap-a"));
    let mut world = settled(vec![roster::flap()], &[]);
    // A watch that is silent: it is neither broken nor does it show anything.
    world.server.disconnect(&Source::new(LOCAL, "", "ConfigMap"));
    world.apply(&owner, "person", json!({"spec": {"v": "p"}}));
    world.run_for(1_000);
    assert_eq!(world.value(&target)["data"]["x"], "mine");
    world.delete(&target);
    world.run_for(30_000);
    assert_eq!(world.value(&target), Value::Null, "nobody has noticed yet");
    world.run_for(60_000);
    assert_eq!(world.value(&target)["data"]["x"], "mine");
}

/// Rule A11: what changed while the host was down is what the first attempts act on.
#[test]
fn a_restart_lists_anew_and_acts_on_the_last_state() {
    let (owner, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = settled(vec![roster::boxed()], &[(&owner, json!({"v": "p"}))]);
    world.faults.down = (60_000, 60_000);
    world.crash();
    world.apply(&owner, "person", json!({"spec": {"v": "q"}}));
    world.apply(&target, "kubectl", json!({"data": {"v": "edited"}}));
    world.run_for(120_000);
    assert_eq!(world.value(&target)["data"]["v"], "q");
    assert_eq!(world.value(&owner)["status"]["seen"], "q");
}

/// Rule A12: a plugin sees the result of its writes in the next call, and there is a next call.
#[test]
fn a_child_that_was_read_and_written_is_read_again() {
    let owner = owned("Box", "a");
    let mut world = settled(vec![roster::boxed()], &[(&owner, json!({"v": "p"}))]);
    assert_eq!(world.value(&owner)["status"]["seen"], "p");
    assert_eq!(calls(&world, &owner, 0), 2, "once to make it, once to see it");
    let since = world.now;
    world.run_for(60_000);
    assert_eq!(calls(&world, &owner, since), 0);
}

/// Rules A2, D15: a kind that is not granted is refused, with the grant that is missing.
#[test]
fn a_read_that_was_not_granted_names_the_grant() {
    let owner = owned("Box", "a");
    let mut plugin = roster::boxed();
    plugin.grants = setpoint_core::grants::Grants::default();
    let mut world = World::usual(vec![plugin]);
    world.apply(&owner, "person", json!({"spec": {"v": "p"}}));
    world.run_for(1_000);
    let result = world.attempts_since(&owner, 0).last().and_then(|ended| ended.result.clone());
    assert!(matches!(result, Some(Err(Failure::Retry(why))) if why.contains("read:core/ConfigMap@local")));
}

/// Rule D5: a read of a kind that is not served answers `unavailable` and depends on its coming.
#[test]
fn a_kind_that_is_not_served_is_unavailable() {
    let owner = owned("Note", "a");
    let gadgets = GroupKind::new(GROUP, "Gadget");
    let plugin = Plugin::new("t", "Note", |ask, reads| {
        reads.get(&owned("Gadget", "x"))?;
        Ok(Outcome { children: Some(vec![child(&ask.key, &config_map("x"), json!({}))]), ..Outcome::default() })
    });
    let mut world = World::usual(vec![plugin.reads(&gadgets, &[]).writes(&maps())]);
    world.apply(&owner, "person", json!({"spec": {}}));
    world.run_for(60_000);
    assert_eq!(world.engine.row(&owner).map(|row| (row.phase, row.failures)), Some((Phase::Pending, 0)));
    let now = world.now;
    world.engine.source_synced(now, &Source::new(LOCAL, GROUP, "Gadget"));
    world.run_for(1_000);
    assert_eq!(world.engine.row(&owner).map(|row| row.phase), Some(Phase::Synced));
}
