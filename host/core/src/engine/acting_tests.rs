//! A host that stands by, acts, and stops acting in the midst of an attempt.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::contract::{Description, ONLY_IN, Outcome, OwnedKind, Readiness, Tuning};
use crate::coverage::Scope;
use crate::effects::Shapes;
use crate::engine::{CallResult, ClusterFacts, FirstPass, Options, PluginInfo, Step, Told};
use crate::grants::Grants;
use crate::key::{GroupKind, GroupVersionKind, Key, Source};
use crate::object::Object;
use crate::op::{Answer, Refusal};
use crate::shards::Division;

const WALL: &str = "2026-01-01T00:00:00Z";

struct Namespaced;

impl Shapes for Namespaced {
    fn namespaced(&self, _: &str, _: &GroupKind) -> Option<bool> {
        Some(true)
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

fn hub() -> Name {
    "hub".into()
}

fn source() -> Source {
    Source::new("hub", "g.x", "Thing")
}

fn plugin() -> PluginInfo {
    let kind = OwnedKind { crd: "{}".into(), kind: GroupVersionKind::new("g.x", "v1", "Thing"), finalizer: false };
    let here = json!({"metadata": {"annotations": {ONLY_IN: "local"}}}).to_string();
    let here = OwnedKind { crd: here, kind: GroupVersionKind::new("g.x", "v1", "Here"), finalizer: false };
    let description = Description {
        name: "p".into(),
        version: "1.0.0".into(),
        kinds: vec![kind, here],
        reads: Vec::new(),
        writes: Vec::new(),
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    };
    PluginInfo::new("digest", Arc::new(description), "{}".into(), Grants::new(Vec::new())).expect("a plugin")
}

fn engine() -> Engine {
    let mut engine = Engine::new(Options::default(), Arc::new(Namespaced));
    engine.plugin_started(0, plugin());
    engine.add_cluster(0, &hub(), ClusterFacts::of("hub"));
    engine.set_acting(0, &Shard::whole(&hub()), false);
    for name in ["a", "b"] {
        let object = json!({"apiVersion": "g.x/v1", "kind": "Thing", "metadata": {"name": name, "namespace": "d",
            "uid": name, "resourceVersion": "1", "generation": 1}});
        let key = Key::new("hub", "g.x", "Thing", Some("d"), name);
        engine.told(0, &source(), &Scope::All, Told::Object(key, Some(Arc::new(Object::new(object, None)))));
    }
    engine.told(0, &source(), &Scope::All, Told::ListEnds { version: "1".into() });
    engine
}

/// A Secret that a process has a value of is watched by its name, as long as the host says so, and not beside a
/// reflector that shows it anyway.
#[test]
fn secrets_of_processes_in_a_cluster_are_watched_one_by_one() {
    let mut engine = engine();
    let secret = Key::new("hub", "", "Secret", Some("d"), "token");
    let of_secrets = |engine: &Engine| -> Vec<(Scope, bool)> {
        let wants = engine.wants(&hub()).into_iter();
        wants.filter(|want| &*want.kind.kind == "Secret").map(|want| (want.scope, want.mask.is_all())).collect()
    };
    let before = engine.wanted();
    engine.watch_secrets([secret.clone(), Key::new("far", "", "Secret", Some("d"), "other")].into());
    assert_ne!(engine.wanted(), before, "clusters are to be told");
    assert_eq!(of_secrets(&engine), [(Scope::Object(Some("d".into()), "token".into()), false)]);
    let told = engine.wanted();
    engine.watch_secrets([secret, Key::new("far", "", "Secret", Some("d"), "other")].into());
    assert_eq!(engine.wanted(), told, "nothing else is wanted");
    engine.watch_secrets([].into());
    assert_eq!(of_secrets(&engine), []);
}

fn ready() -> CallResult {
    let outcome = Outcome {
        status: None,
        readiness: Readiness::Ready,
        conditions: Vec::new(),
        children: None,
        events: Vec::new(),
        requeue_after: None,
        finalized: false,
    };
    CallResult { result: Ok(outcome), trapped: false, impure: false }
}

#[test]
fn a_cluster_that_comes_after_the_plugin_is_reconciled() {
    let engine = engine();
    assert!(engine.plugin_for(&source()).is_some());
    let wanted: Vec<_> = engine.wants(&hub()).iter().map(|want| want.kind.group_kind()).collect();
    assert_eq!(wanted, [source().kind], "what is in the embedded cluster alone is not looked for elsewhere");
    assert!(engine.plugin_for(&Source::new("hub", "g.x", "Here")).is_none());
}

#[test]
fn who_stands_by_begins_nothing_and_forgets_nothing() {
    let mut engine = engine();
    assert!(engine.next(10).is_none());
    assert!(!engine.is_acting(&hub()) && engine.queue_length() == 2);
    assert_eq!(engine.first_pass(10), FirstPass::Over, "that is for the one that acts");
    engine.set_acting(0, &Shard::whole(&hub()), true);
    assert!(engine.next(20).is_some() && engine.next(20).is_some());
}

/// A host that acts on some ranges of a cluster, in which there are these many objects.
fn sharing(objects: usize) -> Engine {
    let mut engine = Engine::new(Options { shared: true, workers: 1_000, ..Options::default() }, Arc::new(Namespaced));
    let mut plugin = plugin();
    plugin.concurrency = 1_000;
    engine.plugin_started(0, plugin);
    engine.add_cluster(0, &hub(), ClusterFacts { division: Division::Ranges, ..ClusterFacts::of("hub") });
    engine.stand_by(0, &hub());
    for number in 0..objects {
        let name = format!("object-{number}");
        let object = json!({"apiVersion": "g.x/v1", "kind": "Thing", "metadata": {"name": name, "namespace": "d",
            "uid": name, "resourceVersion": "1", "generation": 1}});
        let key = Key::new("hub", "g.x", "Thing", Some("d"), &name);
        engine.told(0, &source(), &Scope::All, Told::Object(key, Some(Arc::new(Object::new(object, None)))));
    }
    engine.told(0, &source(), &Scope::All, Told::ListEnds { version: "1".into() });
    engine
}

fn handed_out(engine: &mut Engine, now: Time) -> Vec<Arc<Key>> {
    std::iter::from_fn(|| engine.next(now)).map(|attempt| attempt.key.clone()).collect()
}

#[test]
fn keys_of_ranges_that_others_act_on_are_not_handed_out_until_they_are_this_hosts() {
    let mut engine = sharing(1_000);
    assert!(!engine.is_acting(&hub()));
    assert!(handed_out(&mut engine, 10).is_empty());
    let mut all = 0;
    for shard in Division::Ranges.shards(&hub()) {
        engine.set_acting(20, &shard, true);
        let keys = handed_out(&mut engine, 20);
        assert!(keys.iter().all(|key| shard.covers(key)), "{shard}: {keys:?}");
        all += keys.len();
        let row = engine.rows().into_iter().find(|row| !engine.acts_on(&row.key));
        assert!(row.is_none_or(|row| row.waiting.as_deref() == Some("another host acts on it")));
    }
    assert_eq!((all, engine.queue_length()), (1_000, 0));
}

#[test]
fn a_change_in_a_range_that_was_given_up_waits_for_the_day_it_comes_back() {
    let mut engine = sharing(1);
    let key = Key::new("hub", "g.x", "Thing", Some("d"), "object-0");
    let its = engine.shard_of(&key);
    let other = Division::Ranges.shards(&hub()).into_iter().find(|shard| *shard != its).expect("another one");
    engine.set_acting(10, &other, true);
    engine.set_acting(10, &its, true);
    let mut attempt = engine.next(10).expect("an attempt");
    engine.set_acting(20, &its, false);
    engine.abandon(20, &mut attempt);
    assert!(engine.next(30).is_none() && engine.is_acting(&hub()));
    engine.trigger(40, &key);
    assert!(engine.next(50).is_none());
    engine.set_acting(60, &its, true);
    assert_eq!(handed_out(&mut engine, 60).len(), 1);
}

#[test]
fn nobody_waits_for_the_first_attempts_of_other_hosts() {
    let mut engine = sharing(10);
    assert_eq!(engine.first_pass(10), FirstPass::Over);
}

#[test]
fn an_attempt_that_is_given_up_is_made_anew_and_was_no_failure() {
    for given_up_after in 0..4 {
        let mut engine = engine();
        engine.set_acting(0, &Shard::whole(&hub()), true);
        let mut attempt = engine.next(10).expect("an attempt");
        let key = attempt.key().clone();
        let mut steps = 0;
        while steps < given_up_after {
            steps += 1;
            match engine.step(20, WALL, &mut attempt) {
                Step::Call(_) if steps < given_up_after => engine.called(20, &mut attempt, ready()),
                Step::Perform(_) if steps < given_up_after => {
                    let stale = Answer::Refused(Refusal::VersionConflict("it has moved on".into()));
                    engine.answered(20, &mut attempt, stale);
                }
                Step::Perform(_) => {
                    // What was asked was answered before.
                    engine.answered(20, &mut attempt, Answer::Refused(Refusal::Unknown("no answer".into())));
                }
                Step::Call(_) => break,
                Step::Done => panic!("it is over after {steps} steps"),
            }
        }
        engine.set_acting(0, &Shard::whole(&hub()), false);
        engine.abandon(30, &mut attempt);
        assert!(matches!(engine.step(30, WALL, &mut attempt), Step::Done));
        assert_eq!(engine.running(), 0, "after {given_up_after} steps");
        let row = engine.row(&key).expect("it is known");
        assert_eq!((row.failures, row.last_error), (0, None));
        assert!(engine.next(1_000_000).is_none());

        engine.set_acting(0, &Shard::whole(&hub()), true);
        let keys = [engine.next(1_000_010), engine.next(1_000_010)].map(|next| next.map(|next| next.key().clone()));
        assert!(keys.contains(&Some(key)), "after {given_up_after} steps: {keys:?}");
    }
}
