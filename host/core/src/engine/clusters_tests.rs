//! A cluster that leaves, is missed, and comes back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::cache::Seen;
use crate::contract::{Child, Description, Outcome, OwnedKind, ReadError, ReadKind, ReadScope, Tuning, Update};
use crate::coverage::Scope;
use crate::effects::{OWNER_KEY, OWNER_LABEL, Shapes};
use crate::engine::{Answered, Attempt, CallResult, FirstPass, Options, PluginInfo, Step};
use crate::grants::{Grant, Grants, Scope as GrantScope};
use crate::key::{GroupKind, GroupVersionKind};
use crate::object::{Elsewhere, Object};
use crate::op::{Answer, Op, Refusal};

const WALL: &str = "2026-01-01T00:00:00Z";

struct Namespaced;

impl Shapes for Namespaced {
    fn namespaced(&self, _: &str, _: &GroupKind) -> Option<bool> {
        Some(true)
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

fn west() -> Name {
    "west".into()
}

fn things(cluster: &str) -> Source {
    Source::new(cluster, "g.x", "Thing")
}

fn maps(cluster: &str) -> Source {
    Source::new(cluster, "", "ConfigMap")
}

fn thing(cluster: &str, name: &str) -> Key {
    Key::new(cluster, "g.x", "Thing", Some("d"), name)
}

fn map(cluster: &str, name: &str) -> Key {
    Key::new(cluster, "", "ConfigMap", Some("d"), name)
}

fn plugin(digest: &str) -> PluginInfo {
    let kind = OwnedKind { crd: "{}".into(), kind: GroupVersionKind::new("g.x", "v1", "Thing"), finalizer: false };
    let maps = GroupVersionKind::new("", "v1", "ConfigMap");
    let read = ReadKind { kind: maps.clone(), scope: ReadScope::All, fields: Vec::new(), indexes: Vec::new() };
    let description = Description {
        name: "p".into(),
        version: "1.0.0".into(),
        kinds: vec![kind],
        reads: vec![read],
        writes: vec![maps],
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    };
    let grants = Grants::new(vec![Grant::Described(GrantScope::everywhere())]);
    PluginInfo::new(digest, Arc::new(description), "{}".into(), grants).expect("a plugin")
}

fn show(engine: &mut Engine, now: Time, key: &Key, owner: Option<&Key>) {
    let mut metadata = json!({"name": &*key.name, "namespace": "d", "uid": key.to_string(), "resourceVersion": "1",
        "generation": 1});
    if let Some(owner) = owner {
        metadata["labels"] = json!({OWNER_LABEL: engine.identity(owner).mark()});
        metadata["annotations"] = json!({OWNER_KEY: owner.to_string()});
    }
    let version = if key.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", key.group) };
    let object = json!({"apiVersion": version, "kind": &*key.kind, "metadata": metadata});
    let told = Told::Object(key.clone(), Some(Arc::new(Object::new(object, None))));
    engine.told(now, &key.source(), &Scope::All, told);
}

fn complete(engine: &mut Engine, now: Time, cluster: &str) {
    for source in [things(cluster), maps(cluster)] {
        engine.told(now, &source, &Scope::All, Told::ListEnds { version: "1".into() });
    }
}

/// Hub and west, each with two things, all of it known.
fn engine() -> Engine {
    let mut engine = Engine::new(Options::default(), Arc::new(Namespaced));
    engine.plugin_started(0, plugin("one"));
    for cluster in ["hub", "west"] {
        engine.add_cluster(0, &cluster.into(), ClusterFacts::of(format!("uid of {cluster}")));
        for name in ["a", "b"] {
            show(&mut engine, 0, &thing(cluster, name), None);
        }
        complete(&mut engine, 0, cluster);
    }
    engine
}

fn outcome(children: Option<Vec<Child>>) -> CallResult {
    CallResult { result: Ok(Outcome { children, ..Outcome::default() }), trapped: false, impure: false }
}

/// Carries an attempt through, whose plugin leaves its children as they are. Answers what was asked of clusters.
fn carry(engine: &mut Engine, now: Time, attempt: &mut Attempt) -> Vec<Op> {
    carry_with(engine, now, attempt, |_| None)
}

/// The same, where some operations have answers of their own.
fn carry_with(engine: &mut Engine, now: Time, attempt: &mut Attempt, own: impl Fn(&Op) -> Option<Answer>) -> Vec<Op> {
    let mut asked = Vec::new();
    loop {
        match engine.step(now, WALL, attempt) {
            Step::Done => return asked,
            Step::Call(_) => engine.called(now, attempt, outcome(None)),
            Step::Perform(op) => {
                let there = engine.clusters().any(|name| name == op.cluster());
                let usual = |op: &Op| match op {
                    _ if !there => Answer::Refused(Refusal::Unknown("it is not engaged".into())),
                    Op::Get(_) => Answer::Absent,
                    Op::ListOwned { .. } => Answer::Listed(Vec::new()),
                    Op::ApplyStatus { key, .. } => match engine.cache().seen_by_key(key) {
                        Seen::Present(object) => Answer::Applied { object, created: false },
                        _ => Answer::Absent,
                    },
                    _ => Answer::Done,
                };
                let answer = own(&op).unwrap_or_else(|| usual(&op));
                asked.push(op);
                engine.answered(now, attempt, answer);
            }
        }
    }
}

fn run_all(engine: &mut Engine, now: Time) {
    while let Some(mut attempt) = engine.next(now) {
        carry(engine, now, &mut attempt);
    }
}

fn clusters_of(engine: &mut Engine, now: Time) -> Vec<String> {
    let mut clusters = Vec::new();
    while let Some(mut attempt) = engine.next(now) {
        clusters.push(attempt.key().cluster.to_string());
        carry(engine, now, &mut attempt);
    }
    clusters
}

#[test]
fn what_comes_of_a_call_takes_a_turn_of_its_cluster_until_it_is_written() {
    let mut engine = Engine::new(Options::default(), Arc::new(Namespaced));
    engine.plugin_started(0, plugin("one"));
    for cluster in ["hub", "west"] {
        engine.add_cluster(0, &cluster.into(), ClusterFacts { at_a_time: Some(1), ..ClusterFacts::of(cluster) });
        for name in ["a", "b"] {
            show(&mut engine, 0, &thing(cluster, name), None);
        }
        complete(&mut engine, 0, cluster);
    }
    let first: Vec<Attempt> = std::iter::from_fn(|| engine.next(0)).collect();
    let clusters: Vec<&str> = first.iter().map(|attempt| &*attempt.key().cluster).collect();
    assert_eq!(clusters, ["hub", "west"], "one of each");
    let Ok([mut hub, _west]) = <[Attempt; 2]>::try_from(first) else { panic!("two attempts") };
    let Step::Call(_) = engine.step(0, WALL, &mut hub) else { panic!("it is called first") };
    engine.called(0, &mut hub, outcome(None));
    assert!(engine.next(0).is_none(), "its status is not written yet");
    carry(&mut engine, 0, &mut hub);
    assert_eq!(clusters_of(&mut engine, 0), ["hub"]);
}

#[test]
fn what_leaves_takes_its_queue_along_and_is_unknown_from_then_on() {
    let mut engine = engine();
    assert_eq!(engine.queue_length(), 4);
    engine.remove_cluster(10, &west(), "its file is gone");
    assert_eq!(engine.queue_length(), 2);
    assert!(engine.rows().iter().all(|row| &*row.key.cluster == "hub"));
    assert!(engine.wants(&west()).is_empty());
    assert!(engine.plugin_for(&things("west")).is_none());
    let left = engine.cache().all().filter(|(key, _)| &*key.cluster == "west").count();
    assert_eq!(left, 0, "its cache is free");
    let seen = engine.cache().seen_by_key(&thing("west", "a"));
    assert!(format!("{seen:?}").contains("west does not take part: its file is gone"), "{seen:?}");
    assert_eq!(clusters_of(&mut engine, 20), ["hub", "hub"]);
    // What its watches tell late is for nobody.
    engine.remove_cluster(30, &west(), "once more");
    assert_eq!(engine.clusters().map(|name| &**name).collect::<Vec<_>>(), ["hub"]);
}

#[test]
fn one_that_comes_back_is_taken_up_again() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    engine.remove_cluster(20, &west(), "gone");
    engine.add_cluster(30, &west(), ClusterFacts::of("uid of west"));
    show(&mut engine, 30, &thing("west", "a"), None);
    complete(&mut engine, 30, "west");
    assert_eq!(clusters_of(&mut engine, 40), ["west"], "b was deleted meanwhile: nobody is called for it");
}

fn read(engine: &mut Engine, attempt: &Attempt) -> Result<bool, ReadError> {
    match engine.read_get(attempt.id(), &map("west", "m"), false) {
        Answered::Now(answer) => answer.map(|object| object.is_some()),
        Answered::Syncing(source) => panic!("{source} is waited for"),
    }
}

fn wants(engine: &Engine, cluster: &str, kind: &str) -> bool {
    engine.wants(&cluster.into()).iter().any(|want| &*want.kind.kind == kind)
}

#[test]
fn who_has_read_there_is_told_when_it_leaves_and_when_it_comes_back() {
    let mut engine = engine();
    show(&mut engine, 0, &map("west", "m"), None);
    let mut now = 10;
    let mut reader = None;
    while let Some(mut attempt) = engine.next(now) {
        if **attempt.key() == thing("hub", "a") {
            while !matches!(engine.step(now, WALL, &mut attempt), Step::Call(_)) {}
            assert_eq!(read(&mut engine, &attempt), Ok(true));
            engine.called(now, &mut attempt, outcome(None));
            reader = Some(attempt.key().clone());
        }
        carry(&mut engine, now, &mut attempt);
    }
    assert!(reader.is_some());
    for (there, found) in [(false, Err(())), (true, Ok(true))] {
        now += 10_000;
        if there {
            engine.add_cluster(now, &west(), ClusterFacts::of("uid of west"));
            show(&mut engine, now, &map("west", "m"), None);
            complete(&mut engine, now, "west");
        } else {
            engine.remove_cluster(now, &west(), "gone");
        }
        now += 10_000;
        let mut attempt = engine.next(now).expect("it is told");
        assert_eq!(Some(attempt.key().clone()), reader);
        while !matches!(engine.step(now, WALL, &mut attempt), Step::Call(_)) {}
        let answer = read(&mut engine, &attempt);
        if let Err(error) = &answer {
            assert!(matches!(error, ReadError::Unavailable(why) if why.contains("does not take part")), "{error:?}");
        }
        assert_eq!(answer.map_err(|_| ()), found);
        engine.called(now, &mut attempt, outcome(Some(Vec::new())));
        let asked = carry(&mut engine, now, &mut attempt);
        assert!(!asked.iter().any(|op| matches!(op, Op::Delete { .. })), "{asked:?}");
    }
}

#[test]
fn children_there_are_waited_for_and_never_taken_for_gone() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    let (owner, child) = (thing("hub", "a"), map("west", "c"));
    engine.restore_places([(owner.clone(), vec![(west(), GroupKind::new("", "ConfigMap"))])]);
    show(&mut engine, 20, &child, Some(&owner));
    engine.remove_cluster(30, &west(), "gone");
    let gone = Told::Object(owner.clone(), None);
    engine.told(40, &owner.source(), &Scope::All, gone);
    let mut attempt = engine.next(50).expect("its children are looked after");
    carry(&mut engine, 50, &mut attempt);
    assert!(engine.row(&owner).is_some(), "it is not over before they are proven gone");

    // Only a person ends that.
    assert!(engine.forget_cluster(60, &"hub".into()).is_err(), "it takes part");
    assert_eq!(engine.forget_cluster(60, &west()), Ok(vec![owner.clone()]));
    let mut attempt = engine.next(60).expect("its children are given up");
    let asked = carry(&mut engine, 60, &mut attempt);
    let saved = |op: &Op| matches!(op, Op::SavePlaces { places, .. } if places.is_empty());
    assert!(asked.iter().any(saved), "{asked:?}");
    assert!(engine.row(&owner).is_none() && engine.owners_with_children_in(&west()).is_empty());
}

#[test]
fn an_attempt_that_runs_there_ends_without_a_trace() {
    for back_before_the_end in [false, true] {
        let mut engine = engine();
        let mut attempt = std::iter::from_fn(|| engine.next(10))
            .collect::<Vec<_>>()
            .into_iter()
            .find(|attempt| **attempt.key() == thing("west", "a"))
            .expect("it runs");
        while !matches!(engine.step(20, WALL, &mut attempt), Step::Call(_)) {}
        engine.remove_cluster(30, &west(), "gone");
        if back_before_the_end {
            engine.add_cluster(40, &west(), ClusterFacts::of("uid of west"));
            complete(&mut engine, 40, "west");
        }
        engine.abandon(50, &mut attempt);
        assert!(matches!(engine.step(50, WALL, &mut attempt), Step::Done));
        let mut asked = Vec::new();
        while let Some(mut next) = engine.next(1_000_000) {
            asked.extend(carry(&mut engine, 1_000_000, &mut next));
        }
        assert_eq!(asked.len(), 0, "{asked:?}");
        assert!(engine.row(&thing("west", "a")).is_none(), "nothing is known of it any more");
    }
}

#[test]
fn a_version_that_came_while_it_was_away_is_on_probation_there() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    engine.remove_cluster(20, &west(), "gone");
    engine.plugin_started(30, plugin("two"));
    run_all(&mut engine, 40);
    let hub = engine.cache().keys().find(&thing("hub", "a")).expect("it is known");
    assert!(engine.may_prune(PluginId(0), hub), "its first pass is over");
    engine.add_cluster(50, &west(), ClusterFacts::of("uid of west"));
    show(&mut engine, 60, &thing("west", "a"), None);
    complete(&mut engine, 60, "west");
    let there = engine.cache().keys().find(&thing("west", "a")).expect("it is known");
    assert!(!engine.may_prune(PluginId(0), there), "it is not over there");
    run_all(&mut engine, 70);
    assert!(engine.may_prune(PluginId(0), there));
}

#[test]
fn nothing_is_deleted_while_a_cluster_comes_whose_store_was_rebuilt() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    let hub = engine.cache().keys().find(&thing("hub", "a")).expect("it is known");
    engine.remove_cluster(20, &west(), "gone");
    engine.add_cluster(30, &west(), ClusterFacts { rebuilt: true, ..ClusterFacts::of("uid of west") });
    show(&mut engine, 40, &thing("west", "a"), None);
    assert!(engine.is_frozen(PluginId(0)) && !engine.may_prune(PluginId(0), hub), "nowhere");
    complete(&mut engine, 40, "west");
    let there = engine.cache().keys().find(&thing("west", "a")).expect("it is known");
    assert!(!engine.may_prune(PluginId(0), there) && !engine.rebuilt_is_over_in("west"));
    run_all(&mut engine, 50);
    assert!(engine.may_prune(PluginId(0), there) && engine.may_prune(PluginId(0), hub));
    assert!(engine.rebuilt_is_over_in("west"));
}

#[test]
fn what_is_granted_by_labels_is_what_the_clusters_have() {
    let labels = |env: &str| -> Vec<(Box<str>, Box<str>)> { vec![("env".into(), env.into())] };
    let facts = |env: &str| ClusterFacts { labels: labels(env), ..ClusterFacts::of("uid of west") };
    let mut engine = engine();
    engine.remove_cluster(5, &west(), "gone");
    let mut info = plugin("two");
    let grants = ["described@local", "described@hub", "described@{env=prod}"];
    let grants = grants.map(|text| Grant::parse(text).expect("a grant")).to_vec();
    info = PluginInfo::new("two", info.description, "{}".into(), Grants::new(grants)).expect("it is right");
    engine.plugin_started(10, info);
    run_all(&mut engine, 20);

    // One that is not there is waited for, and then seen with its labels.
    let mut now = 100;
    let mut look = |engine: &mut Engine, expected: &str| {
        now += 10_000;
        engine.trigger(now, &thing("hub", "a"));
        let mut attempt = engine.next(now).expect("it is called");
        while !matches!(engine.step(now, WALL, &mut attempt), Step::Call(_)) {}
        let answer = format!("{:?}", read(engine, &attempt));
        assert!(answer.contains(expected), "{answer}");
        engine.called(now, &mut attempt, outcome(None));
        carry(engine, now, &mut attempt);
        now
    };
    look(&mut engine, "does not take part");
    engine.add_cluster(60_000, &west(), facts("test"));
    complete(&mut engine, 60_000, "west");
    look(&mut engine, "NotGranted");
    engine.label_cluster(70_000, &west(), labels("prod"));
    assert!(engine.next(70_001).is_some_and(|attempt| attempt.key().cluster != west()), "its objects are called again");
    assert!(wants(&engine, "west", "ConfigMap"));
    engine.label_cluster(80_000, &west(), labels("test"));
    assert!(!wants(&engine, "west", "ConfigMap"));
    let hub = engine.cache().keys().find(&thing("hub", "a")).expect("it is known");
    assert!(!engine.may_prune(PluginId(0), hub), "it is guarded");
}

#[test]
fn kinds_are_reconciled_in_the_clusters_that_are_said() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    let mut info = plugin("one");
    info.clusters = Some(vec!["hub".into(), "edge.*".into()]);
    engine.plugin_started(20, info);
    let names: Vec<String> = engine.rows().iter().map(|row| row.key.to_string()).collect();
    assert!(names.iter().all(|name| name.starts_with("hub/")) && !names.is_empty(), "{names:?}");
    assert!(!wants(&engine, "west", "Thing"));
    engine.add_cluster(30, &"edge.one".into(), ClusterFacts::of("uid of edge"));
    assert!(wants(&engine, "edge.one", "Thing"));
}

#[test]
fn a_noisy_cluster_does_not_hold_up_a_thousand_quiet_ones() {
    let mut engine = Engine::new(Options { workers: u32::MAX, ..Options::default() }, Arc::new(Namespaced));
    let mut info = plugin("one");
    info.concurrency = u32::MAX;
    engine.plugin_started(0, info);
    let noisy: Name = "noisy".into();
    engine.add_cluster(0, &noisy, ClusterFacts::of("uid of noisy"));
    for number in 0..5_000 {
        show(&mut engine, 0, &thing("noisy", &format!("n{number}")), None);
    }
    complete(&mut engine, 0, "noisy");
    for number in 0..1_000 {
        let name = format!("quiet-{number}");
        engine.add_cluster(1, &name.as_str().into(), ClusterFacts::of(name.clone()));
        show(&mut engine, 1, &thing(&name, "one"), None);
        complete(&mut engine, 1, &name);
    }
    let first: Vec<Attempt> = std::iter::from_fn(|| engine.next(2)).take(2_500).collect();
    let quiet = first.iter().filter(|attempt| attempt.key().cluster != noisy).count();
    assert_eq!(quiet, 1_000, "each has its turn, whatever the noisy one has queued");
    // All of them go, and nothing is left of them.
    for mut attempt in first {
        carry(&mut engine, 3, &mut attempt);
    }
    for name in engine.clusters().cloned().collect::<Vec<_>>() {
        engine.remove_cluster(4, &name, "gone");
    }
    assert_eq!((engine.queue_length(), engine.cache().len(), engine.rows().len()), (0, 0, 0));
}

#[test]
fn what_is_recorded_for_a_kind_is_not_recorded_at_each_owner() {
    let child = |cluster: &str, namespace: &str| Child {
        cluster: Some(cluster.into()),
        object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}})
            .to_string(),
        update: Update::InPlace,
    };
    let saves = |cluster: &str, namespace: &str| {
        let mut engine = engine();
        engine.kind_places(&GroupKind::new("g.x", "Thing"), vec![GroupKind::new("", "ConfigMap")]);
        let mut attempt = std::iter::from_fn(|| engine.next(10))
            .find(|attempt| **attempt.key() == thing("hub", "a"))
            .expect("it is due");
        while !matches!(engine.step(10, WALL, &mut attempt), Step::Call(_)) {}
        engine.called(10, &mut attempt, outcome(Some(vec![child(cluster, namespace)])));
        let asked = carry(&mut engine, 10, &mut attempt);
        assert!(asked.iter().any(|op| matches!(op, Op::Get(_) | Op::SavePlaces { .. })), "{asked:?}");
        asked.into_iter().find_map(|op| match op {
            Op::SavePlaces { places, .. } => Some(places),
            _ => None,
        })
    };
    assert_eq!(saves("hub", "d"), None, "Kubernetes would collect it as well");
    let config_map = |cluster: &str| Some(vec![(Name::from(cluster), GroupKind::new("", "ConfigMap"))]);
    assert_eq!(saves("hub", "other"), config_map("hub"));
    assert_eq!(saves("west", "d"), config_map("west"));
}

#[test]
fn what_a_cluster_forbids_is_tried_again_though_nothing_changes() {
    let mut engine = engine();
    run_all(&mut engine, 10);
    assert!(engine.trigger(20, &thing("hub", "a")));
    let mut attempt = engine.next(20).expect("somebody asks");
    while !matches!(engine.step(20, WALL, &mut attempt), Step::Call(_)) {}
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "d"}});
    let child = Child { cluster: None, object: object.to_string(), update: Update::InPlace };
    engine.called(20, &mut attempt, outcome(Some(vec![child])));
    let forbidden = |op: &Op| matches!(op, Op::Apply { .. }).then(|| Answer::Refused(Refusal::Forbidden("no".into())));
    carry_with(&mut engine, 20, &mut attempt, forbidden);
    assert!(engine.next(20_000).is_none(), "it is no hurry");
    let again = engine.next(61_000).expect("the right may have been given meanwhile");
    assert_eq!(**again.key(), thing("hub", "a"));
}

#[test]
fn what_another_installation_reconciles_is_left_alone_until_it_has_been_quiet_for_long() {
    const EPOCH: u64 = 1_700_000_000_000;
    for take_over in [false, true] {
        let mut engine =
            Engine::new(Options { epoch: Some(EPOCH), take_over, ..Options::default() }, Arc::new(Namespaced));
        engine.plugin_started(0, plugin("one"));
        engine.add_cluster(0, &"hub".into(), ClusterFacts::of("uid of hub"));
        let key = thing("hub", "a");
        let object = json!({"apiVersion": "g.x/v1", "kind": "Thing", "metadata": {"name": "a", "namespace": "d",
            "uid": "u", "resourceVersion": "1", "generation": 1}});
        let by = Elsewhere { manager: "setpoint/other/status".into(), at: EPOCH + 1_000 };
        let object = Object::new(object, None).written_elsewhere(Some(by));
        engine.told(0, &key.source(), &Scope::All, Told::Object(key.clone(), Some(Arc::new(object))));
        complete(&mut engine, 0, "hub");
        assert_eq!(engine.next(10).is_some(), take_over);
        if !take_over {
            let row = engine.row(&key).expect("it is there");
            assert!(row.waiting.is_some_and(|why| why.starts_with("OwnedElsewhere: setpoint/other/status")));
            assert!(engine.trigger(2_000, &key) && engine.next(2_000).is_none());
            assert_eq!(engine.next_wakeup(), Some(601_000));
            assert!(engine.next(601_000).is_some(), "nobody is there any more");
        }
    }
}

/// Rule C6.
#[test]
fn the_first_attempts_in_a_required_cluster_hold_readiness_up() {
    for required in [false, true] {
        let mut engine = Engine::new(Options::default(), Arc::new(Namespaced));
        engine.plugin_started(0, plugin("one"));
        engine.add_cluster(0, &west(), ClusterFacts { required, ..ClusterFacts::of("uid of west") });
        show(&mut engine, 0, &thing("west", "a"), None);
        let left = |engine: &mut Engine| engine.first_pass(1);
        assert_eq!(left(&mut engine), if required { FirstPass::Running(1) } else { FirstPass::Over });
    }
}
