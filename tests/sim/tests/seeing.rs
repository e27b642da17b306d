//! What people see of the engine: why something ran, what would be done, and reads that leave no trace
//! (design §8, rules A4, A12, B1, B3).

use serde_json::{Value, json};
use setpoint_core::contract::{Cause, Child, ListQuery, Outcome, ReadError};
use setpoint_core::effects::{PlanVerb, PlannedChange};
use setpoint_core::engine::{Because, Change, RunRecord};
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_sim::kinds::{GROUP, config_map, owned};
use setpoint_sim::plugin::{Answers, Ask, child, maps};
use setpoint_sim::roster;
use setpoint_sim::world::World;

/// Whether a chain leads back to a change of an object that nobody's effects made.
fn leads_to(because: &[Because], origin: &Key) -> bool {
    because.iter().any(|why| match &why.change {
        Some(Change { key, by: None }) => **key == *origin,
        _ => leads_to(&why.because, origin),
    })
}

/// `why`: a run that another reconciler's run led to names it, and why that one ran, back to the edit.
#[test]
fn a_chain_of_causes_leads_back_to_the_change_that_began_it() {
    let (chain, link) = (owned("Chain", "a"), owned("Link", "of-a"));
    let mut world = World::usual(vec![roster::chain(), roster::link_plugin()]);
    world.apply(&chain, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    world.apply(&chain, "person", json!({"spec": {"v": "q"}}));
    world.run_for(60_000);
    assert_eq!(world.value(&chain)["status"]["seen"], "q");
    let runs = world.engine.why(&chain);
    let last = runs.last().expect("it ran");
    let told = last.because.iter().find(|why| why.cause.word() == "dependency").expect("the link told it");
    let Some(Change { key, by: Some((by, number)) }) = &told.change else { panic!("{told:?}") };
    assert_eq!((&**key, &**by), (&link, &link), "its status, written by its own run");
    assert!(world.engine.why(&link).iter().any(|run| run.number == *number));
    assert!(leads_to(&told.because, &chain), "{told:#?}");
    let row = world.engine.row(&chain).expect("it is reconciled");
    let plain = row.runs.last().expect("it ran");
    assert_eq!((plain.number, &plain.causes), (last.number, &last.causes));
    assert!(plain.because.iter().all(|why| why.because.is_empty()), "rows carry no chains");
}

#[test]
fn a_run_says_what_it_read_and_wrote() {
    let (key, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = World::usual(vec![roster::boxed()]);
    world.faults.call = (30, 30);
    world.run_for(1_000);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    let runs = world.engine.why(&key);
    let RunRecord { because, causes, call, reads, written, writes, result, .. } = &runs[0];
    assert_eq!(causes, &[Cause::Created]);
    let change = because[0].change.as_ref().expect("somebody made it");
    assert_eq!((&*change.key, &change.by), (&key, &None));
    assert!(call.is_some_and(|span| (30..=200).contains(&span)), "{call:?}");
    assert_eq!((*reads, *writes, &**result), (1, 2, "done"));
    let written: Vec<(&str, &Key)> = written.iter().map(|(verb, key)| (*verb, &**key)).collect();
    assert_eq!(written, [("apply", &target), ("status", &key)]);
    assert!(runs.len() <= 5, "a few runs are kept");
}

/// Rule A9: how many keys a change wakes up, by plugin.
#[test]
fn the_fan_out_of_a_plugin_is_counted() {
    let mut world = World::usual(vec![roster::boxed(), roster::peer()]);
    for at in 0..20 {
        world.apply(&owned("Peer", &format!("p{at}")), "person", json!({"spec": {"v": "x"}}));
    }
    world.run_for(60_000);
    let of = |world: &World| {
        let found = world.engine.fan_out().into_iter().find(|(name, ..)| &**name == "peer");
        found.expect("it is loaded")
    };
    let before = of(&world);
    world.apply(&owned("Peer", "p0"), "person", json!({"spec": {"v": "y"}}));
    world.run_for(60_000);
    let after = of(&world);
    assert_eq!(after.1 - before.1, 1, "one change that anybody sees");
    assert_eq!(after.2 - before.2, 20, "each of the family is told");
}

/// What the plugin answers for an object now, by the engine's own request.
fn outcome_now(world: &World, plugin: &str, key: &Key) -> Outcome {
    let request = world.engine.request_for(key).expect("it would be called");
    assert_eq!(request.causes, [Cause::Manual]);
    let object = serde_json::from_str(&request.object).expect("JSON");
    let ask = Ask { key: key.clone(), object, deleting: request.deleting, config: json!({}) };
    (world.plugins[plugin].function)(&ask, &mut Answers::default()).expect("it needs no reads")
}

fn by_verb(changes: &[PlannedChange], wanted: PlanVerb) -> Vec<Key> {
    changes.iter().filter(|change| change.verb == wanted).map(|change| change.key.clone()).collect()
}

/// A plan and what is done afterwards are made by the same rules: same writes, same objects, same order.
#[test]
fn what_a_plan_shows_is_what_is_done_afterwards() {
    let key = owned("Fleet", "a");
    let mut world = World::usual(vec![roster::fleet(1)]);
    world.apply(&key, "person", json!({"spec": {"v": "p", "count": 3}}));
    world.run_for(60_000);
    let kind = GroupKind::new(GROUP, "Fleet");
    world.engine.disable(&kind);
    world.apply(&key, "person", json!({"spec": {"v": "q", "count": 2}}));
    world.run_for(60_000);
    let (since, outcome) = (world.now + 1, outcome_now(&world, "fleet", &key));
    let planned = world.engine.plan(&key, outcome).expect("it makes sense");
    assert_eq!(by_verb(&planned.changes, PlanVerb::Create), [config_map("q-a-0"), config_map("q-a-1")]);
    assert_eq!(by_verb(&planned.changes, PlanVerb::Delete).len(), 3);
    assert!(planned.notes.iter().any(|note| note.contains("q-a-0 does not exist yet")), "{:?}", planned.notes);
    assert!(planned.notes.iter().any(|note| note.contains("disabled")), "{:?}", planned.notes);
    world.run_for(60_000);
    assert!(world.done.iter().all(|done| done.at < since), "nothing is done for a plan");
    let now = world.now;
    world.engine.enable(now, &kind);
    world.run_for(60_000);
    let done: Vec<(&str, Key)> = world
        .done
        .iter()
        .filter(|done| done.at >= since)
        .filter_map(|done| Some((done.op.verb(), done.op.writes()?.clone())))
        .collect();
    let verb = |change: &PlannedChange| match change.verb {
        PlanVerb::Create | PlanVerb::Update => "apply",
        PlanVerb::Delete => "delete",
        PlanVerb::Status => "apply_status",
        PlanVerb::Refused => "nothing",
    };
    let expected: Vec<(&str, Key)> = planned.changes.iter().map(|change| (verb(change), change.key.clone())).collect();
    assert_eq!(done, expected);
    for change in planned.changes.iter().filter(|change| change.verb == PlanVerb::Create) {
        assert_eq!(world.value(&change.key)["data"], change.after.as_ref().expect("it is made")["data"]);
    }
}

#[test]
fn a_plan_shows_changed_fields_and_refusals_and_changes_nothing() {
    let (key, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = World::usual(vec![roster::boxed()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    world.apply(&target, "kubectl", json!({"data": {"mine": "yes"}}));
    world.run_for(60_000);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let unwanted = Child { object: secret.to_string(), ..child(&key, &target, json!({})) };
    let children = vec![child(&key, &target, json!({"data": {"v": "q"}})), unwanted];
    let outcome = Outcome { children: Some(children), ..Outcome::default() };
    let version = |world: &World| world.server.get(&target).map(|object| object.resource_version().to_owned());
    let (before, edges) = (version(&world), world.engine.edges());
    let planned = world.engine.plan(&key, outcome).expect("it makes sense");
    let update = &planned.changes[0];
    assert_eq!((update.verb, &update.key), (PlanVerb::Update, &target));
    let data = |side: &Option<Value>| side.as_ref().expect("it is there")["data"].clone();
    assert_eq!(data(&update.before), json!({"v": "p", "mine": "yes"}));
    assert_eq!(data(&update.after), json!({"v": "q", "mine": "yes"}));
    let refused = planned.changes.iter().find(|change| change.verb == PlanVerb::Refused).expect("it is refused");
    assert!(refused.reason.as_ref().is_some_and(|why| why.contains("does not describe that it writes")));
    assert_eq!(version(&world), before);
    assert_eq!(world.engine.edges(), edges);
    assert!(world.engine.plan(&key, Outcome { finalized: true, ..Outcome::default() }).is_err());
    assert_eq!(world.engine.plan(&owned("Box", "none"), Outcome::default()).map(|plan| plan.changes), Ok(Vec::new()));
}

/// Rule B3: a plan during the first pass after an upgrade says that deletions are held back.
#[test]
fn a_plan_says_which_deletions_are_held_back() {
    let key = owned("Fleet", "a");
    let mut world = World::usual(vec![roster::fleet(1)]);
    world.apply(&key, "person", json!({"spec": {"v": "p", "count": 5}}));
    world.run_for(60_000);
    world.faults.call = (60_000, 60_000);
    world.load(roster::fleet(2));
    let outcome = Outcome { children: Some(Vec::new()), ..Outcome::default() };
    let planned = world.engine.plan(&key, outcome).expect("it makes sense");
    let deleted = || planned.changes.iter().filter(|change| change.verb == PlanVerb::Delete);
    assert_eq!(deleted().count(), 5);
    assert!(deleted().all(|change| change.reason.as_ref().is_some_and(|why| why.contains("held back"))));
}

/// Reads without a trace, for the shadow and for plans: the same answers, no dependency.
#[test]
fn a_peek_answers_as_a_read_does_and_leaves_no_trace() {
    let (key, target) = (owned("Box", "a"), config_map("box-a"));
    let mut world = World::usual(vec![roster::boxed()]);
    world.apply(&key, "person", json!({"spec": {"v": "p"}}));
    world.run_for(60_000);
    let edges = world.engine.edges();
    let seen = world.engine.peek_get("box", &target).expect("it is known").expect("it is there");
    assert_eq!(serde_json::from_str::<Value>(&seen).ok(), Some(world.value(&target)));
    assert_eq!(world.engine.peek_get("box", &config_map("none")), Ok(None));
    let query = ListQuery { cluster: LOCAL.into(), kind: maps(), namespace: None, labels: None, index: None };
    assert_eq!(world.engine.peek_list("box", &query), Ok(vec![seen]));
    assert!(matches!(world.engine.peek_get("box", &key), Err(ReadError::NotDescribed(_))));
    assert!(matches!(world.engine.peek_get("none", &target), Err(ReadError::Unavailable(_))));
    assert_eq!(world.engine.edges(), edges);
    let back = world.now + 60_000;
    world.cut(&target.source(), back);
    assert!(matches!(world.engine.peek_get("box", &target), Err(ReadError::Unavailable(_))));
    assert!(matches!(world.engine.peek_list("box", &query), Err(ReadError::Unavailable(_))));
}
