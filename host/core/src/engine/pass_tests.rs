//! The guard, with a plugin of which each test says what it answers. Its owners have five children each.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::cache::Seen;
use crate::contract::{Description, Failure, Outcome, OwnedKind, Tuning};
use crate::effects::{OWNER_KEY, OWNER_LABEL, OWNER_UID, PAUSED, Shapes};
use crate::engine::{CallResult, ClusterFacts, FIRST_PASS, FirstPass, Options, Passed, PluginInfo, Step};
use crate::grants::{Grant, Grants, Scope};
use crate::key::{GroupKind, GroupVersionKind, HUB, LOCAL, Name, Source};
use crate::object::Object;
use crate::op::{Answer, Op, Refusal};

struct NoShapes;

impl Shapes for NoShapes {
    fn namespaced(&self, _: &str, _: &GroupKind) -> Option<bool> {
        Some(true)
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

fn owner(at: usize) -> Key {
    Key::new(LOCAL, "a.io", "Box", Some("d"), &format!("b{at}"))
}

fn child(at: usize, number: usize) -> Key {
    Key::new(LOCAL, "", "ConfigMap", Some("d"), &format!("b{at}-{number}"))
}

fn plugin(name: &str, digest: &str) -> PluginInfo {
    let description = Description {
        name: name.into(),
        version: "1.0.0".into(),
        kinds: vec![OwnedKind { crd: "{}".into(), kind: GroupVersionKind::new("a.io", "v1", "Box"), finalizer: false }],
        reads: Vec::new(),
        writes: vec![GroupVersionKind::new("", "v1", "ConfigMap")],
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    };
    let grants = Grants::new(vec![Grant::Described(Scope::everywhere())]);
    PluginInfo::new(digest, Arc::new(description), "{}".into(), grants).expect("it has no masks")
}

/// What the plugin answers for the owner of a number.
type Answers<'a> = &'a dyn Fn(usize) -> Result<Outcome, Failure>;

fn leaves() -> Result<Outcome, Failure> {
    Ok(Outcome::default())
}

fn empties() -> Result<Outcome, Failure> {
    Ok(Outcome { children: Some(Vec::new()), ..Outcome::default() })
}

fn fails() -> Result<Outcome, Failure> {
    Err(Failure::Retry("not now".into()))
}

fn gives_up() -> Result<Outcome, Failure> {
    Err(Failure::Permanent("never".into()))
}

struct World {
    engine: Engine,
    now: Time,
    owners: usize,
    version: u64,
}

impl World {
    /// A host starts with this written down. Nothing is known yet.
    fn start(owners: usize, passed: Vec<(Name, Passed)>, options: Options) -> Self {
        let mut engine = Engine::new(options, Arc::new(NoShapes));
        engine.add_cluster(0, &LOCAL.into(), ClusterFacts::of(LOCAL));
        engine.restore_passed(passed);
        for source in [owner(0).source(), child(0, 0).source()] {
            engine.source_syncing(&source);
        }
        Self { engine, now: 1_000, owners, version: 0 }
    }

    /// Everything there is becomes known.
    fn show_all(&mut self) {
        for at in 0..self.owners {
            self.show(at, None);
            for number in 0..5 {
                self.show_child(at, number);
            }
        }
        for source in [owner(0).source(), child(0, 0).source()] {
            self.engine.source_synced(self.now, &source);
        }
    }

    fn show_child(&mut self, at: usize, number: usize) {
        let key = owner(at);
        let mark = self.engine.identity(&key).mark().to_owned();
        let metadata = json!({"name": format!("b{at}-{number}"), "namespace": "d", "uid": format!("u{at}-{number}"),
            "resourceVersion": "1", "labels": {OWNER_LABEL: mark},
            "annotations": {OWNER_KEY: key.to_string(), OWNER_UID: format!("u{at}")}});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        self.engine.observed(self.now, &child(at, number), Some(Arc::new(Object::new(object, None))));
    }

    fn show(&mut self, at: usize, paused: Option<&str>) {
        self.version += 1;
        let metadata = json!({"name": format!("b{at}"), "namespace": "d", "uid": format!("u{at}"), "generation": 1,
            "resourceVersion": self.version.to_string(), "annotations": {PAUSED: paused.unwrap_or("false")}});
        let object = json!({"apiVersion": "a.io/v1", "kind": "Box", "metadata": metadata});
        self.engine.observed(self.now, &owner(at), Some(Arc::new(Object::new(object, None))));
    }

    /// A host that has run with version 1, and looked at everything.
    fn usual(owners: usize) -> Self {
        let mut world = Self::start(owners, Vec::new(), Options::default());
        world.show_all();
        world.engine.plugin_started(world.now, plugin("p", "1"));
        world.play(&|_| leaves());
        assert_eq!(world.children(), owners * 5);
        world
    }

    /// The host is killed, and starts again with what it has written down.
    fn restart(&mut self) {
        let passed = self.engine.passed(&mut 0).unwrap_or_default();
        let text = serde_json::to_string(&passed).expect("it is written");
        let passed = serde_json::from_str(&text).expect("it is read");
        *self = Self::start(self.owners, passed, Options::default());
    }

    /// Runs everything that may run now.
    fn play(&mut self, answers: Answers<'_>) {
        while let Some(mut attempt) = self.engine.next(self.now) {
            loop {
                match self.engine.step(self.now, "2026-01-01T00:00:00Z", &mut attempt) {
                    Step::Done => break,
                    Step::Call(request) => {
                        let at = request.key.name[1..].parse().expect("its number");
                        let call = CallResult { result: answers(at), trapped: false, impure: false };
                        self.engine.called(self.now, &mut attempt, call);
                    }
                    Step::Perform(op) => {
                        let answer = match op {
                            Op::ApplyStatus { .. } => Answer::Refused(Refusal::NoStatus),
                            Op::Delete { .. } | Op::Get(_) => Answer::Absent,
                            Op::ListOwned { .. } => Answer::Listed(Vec::new()),
                            _ => Answer::Done,
                        };
                        self.engine.answered(self.now, &mut attempt, answer);
                    }
                }
            }
        }
    }

    fn play_for(&mut self, span: Time, answers: Answers<'_>) {
        let until = self.now + span;
        self.play(answers);
        while let Some(due) = self.engine.next_wakeup().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.play(answers);
        }
        self.now = until;
    }

    fn children(&self) -> usize {
        let all = (0..self.owners).flat_map(|at| (0..5).map(move |number| child(at, number)));
        all.filter(|key| matches!(self.engine.cache().read_by_key(key), Seen::Present(_))).count()
    }

    fn held(&self) -> usize {
        self.engine.held().iter().map(|held| held.children.len()).sum()
    }
}

#[test]
fn attempts_that_decide_nothing_do_not_end_the_first_pass() {
    for failure in [fails, gives_up] {
        let mut world = World::usual(6);
        world.engine.plugin_started(world.now, plugin("p", "2"));
        world.play_for(600_000, &|_| failure());
        for at in 0..6 {
            world.engine.trigger(world.now, &owner(at));
        }
        world.play_for(600_000, &|_| empties());
        assert!(world.children() >= 20, "10 of 30 are let go at most");
        assert_eq!(world.held(), world.children());
        assert_eq!(world.engine.confirm(world.now, "p"), Ok(()));
        world.play(&|_| empties());
        assert_eq!((world.children(), world.held()), (0, 0));
        assert_eq!(world.engine.confirm(world.now, "p"), Err(NotHeld::Nothing));
    }
}

#[test]
fn a_key_that_is_tried_again_soon_is_waited_for() {
    let mut world = World::usual(4);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|at| if at == 3 { fails() } else { empties() });
    assert_eq!((world.children(), world.held()), (20, 15), "too many as it is, and one is still to come");
    assert_eq!(world.engine.confirm(world.now, "p"), Err(NotHeld::Counting(1)));
    world.play_for(10_000, &|_| empties());
    assert_eq!((world.children(), world.held()), (20, 20));
    let held = world.engine.held();
    assert!(held.iter().all(|held| held.left == 0 && held.whole), "{held:?}");
    assert_eq!(world.engine.confirm(world.now, "p"), Ok(()));
    world.play(&|_| empties());
    assert_eq!(world.children(), 0);
}

#[test]
fn a_key_that_fails_for_ever_holds_up_nobody_and_is_guarded_by_itself() {
    let mut world = World::usual(20);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    let bad = |at| if at < 18 { leaves() } else { gives_up() };
    world.play(&|at| if at < 2 { empties() } else { bad(at) });
    assert_eq!((world.children(), world.held()), (90, 0), "the others are judged without the two");
    world.show(5, Some("true"));
    world.play_for(60_000, &bad);
    world.show(5, None);
    world.play_for(60_000, &|at| if at == 5 { empties() } else { bad(at) });
    assert_eq!((world.children(), world.held()), (85, 0), "what has decided deletes as ever");
    for (at, children) in [(18, 80), (19, 75)] {
        world.engine.trigger(world.now, &owner(at));
        world.play(&|late| if late == at { empties() } else { bad(late) });
        assert_eq!((world.children(), world.held()), (children, 0), "10, 5 and 5 are not more than 20 % of 100");
    }
    assert!(world.engine.plugins.iter().all(|plugin| plugin.pass.is_none()), "nothing is kept once all have decided");
}

/// The late ones count with what went before them: each by itself would be too few.
#[test]
fn what_the_late_ones_delete_counts_with_the_pass() {
    let mut world = World::usual(8);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|at| if at < 2 { empties() } else { gives_up() });
    assert_eq!((world.children(), world.held()), (30, 0), "10 are not more than 10");
    for at in 2..8 {
        world.engine.trigger(world.now, &owner(at));
    }
    world.play(&|at| if at == 7 { gives_up() } else { empties() });
    assert_eq!((world.children(), world.held()), (30, 25));
    let held = world.engine.held();
    assert!(held.iter().all(|held| held.left == 0 && !held.whole), "{held:?}");
    assert_eq!(world.engine.confirm(world.now, "p"), Ok(()));
    world.play(&|at| if at == 7 { gives_up() } else { empties() });
    assert_eq!(world.children(), 5, "the one that has not decided was not among them");
    // After a confirmation the count begins anew.
    world.engine.trigger(world.now, &owner(7));
    world.play(&|_| empties());
    assert_eq!((world.children(), world.held()), (0, 0));
}

#[test]
fn a_paused_key_is_guarded_when_it_is_resumed() {
    let mut world = World::usual(4);
    for at in 0..4 {
        world.show(at, Some("true"));
    }
    world.play_for(10_000, &|_| leaves());
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play_for(10_000, &|_| empties());
    for at in 0..4 {
        world.show(at, None);
    }
    world.play_for(10_000, &|_| empties());
    assert_eq!((world.children(), world.held()), (10, 10), "10 are let go at most");
}

#[test]
fn what_was_decided_stays_so_when_the_next_attempt_fails() {
    let mut world = World::usual(4);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|at| if at == 3 { fails() } else { empties() });
    for at in 0..3 {
        world.engine.trigger(world.now, &owner(at));
    }
    world.play(&|_| gives_up());
    assert_eq!((world.children(), world.held()), (20, 15));
    world.play_for(60_000, &|_| gives_up());
    assert_eq!((world.children(), world.held()), (20, 15));
}

#[test]
fn what_is_held_and_wanted_again_waits_for_nobody() {
    let mut world = World::usual(4);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|_| empties());
    assert_eq!(world.held(), 20);
    for at in 0..4 {
        world.engine.trigger(world.now, &owner(at));
    }
    world.play(&|_| leaves());
    assert_eq!((world.children(), world.engine.held()), (20, Vec::new()));
}

#[test]
fn keys_that_have_not_decided_are_guarded_over_a_restart_and_the_others_are_not() {
    let mut world = World::usual(6);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|at| if at < 2 { empties() } else { gives_up() });
    assert_eq!(world.children(), 20);
    for _ in 0..2 {
        world.restart();
        world.engine.plugin_started(world.now, plugin("p", "2"));
        world.show_all();
        world.play(&|at| if at == 0 { empties() } else { gives_up() });
        assert_eq!(world.children(), 25, "one that had decided deletes at once");
    }
    for at in 0..6 {
        world.engine.trigger(world.now, &owner(at));
    }
    world.play(&|at| if at == 1 { leaves() } else { empties() });
    assert_eq!((world.children(), world.held()), (25, 20), "10 had gone before, and 20 would");
    // What a person confirms is so after a restart, too.
    let (_, confirmed) = world.engine.confirmable("p").expect("it can be confirmed");
    let mut world = World::start(6, vec![("p".into(), confirmed)], Options::default());
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.show_all();
    world.play(&|_| empties());
    assert_eq!((world.children(), world.held()), (0, 0));
}

#[test]
fn a_pass_that_was_not_over_begins_anew_after_a_restart() {
    let mut world = World::usual(4);
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|_| empties());
    assert_eq!(world.held(), 20);
    world.restart();
    world.show_all();
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.play(&|_| empties());
    assert_eq!((world.children(), world.held()), (20, 20));
}

#[test]
fn a_kind_that_moves_while_the_host_is_down_is_guarded() {
    let mut world = World::usual(4);
    world.restart();
    world.engine.plugin_started(world.now, plugin("q", "1"));
    world.show_all();
    world.play(&|_| empties());
    assert_eq!((world.children(), world.held()), (20, 20));
    // It comes back, and this is a move as well.
    world.restart();
    world.engine.plugin_started(world.now, plugin("p", "1"));
    world.show_all();
    world.play(&|_| empties());
    assert_eq!((world.children(), world.held()), (20, 20));
    world.restart();
    world.engine.plugin_started(world.now, plugin("p", "1"));
    world.show_all();
    world.play(&|_| leaves());
    world.restart();
    world.engine.plugin_started(world.now, plugin("p", "1"));
    world.show_all();
    world.play(&|_| empties());
    assert_eq!(world.children(), 0, "nothing has moved and nothing is new");
}

#[test]
fn a_kind_that_nobody_had_before_is_not_guarded() {
    let mut world = World::start(4, Vec::new(), Options::default());
    world.show_all();
    world.engine.plugin_started(world.now, plugin("p", "1"));
    world.play(&|_| empties());
    assert_eq!(world.children(), 0);
}

#[test]
fn a_rebuilt_store_is_one_until_each_kind_with_objects_was_looked_at() {
    let options = Options { rebuilt: true, ..Options::default() };
    let mut world = World::start(4, Vec::new(), options.clone());
    world.show_all();
    world.play(&|_| empties());
    assert!(!world.engine.rebuilt_is_over(), "there is no plugin");
    world.engine.plugin_started(world.now, plugin("p", "1"));
    assert!(!world.engine.rebuilt_is_over(), "it has not looked yet");
    world.play(&|_| empties());
    assert!(!world.engine.rebuilt_is_over(), "what it would delete waits for a person");
    assert_eq!(world.engine.confirm(world.now, "p"), Ok(()));
    assert!(world.engine.rebuilt_is_over());
    let mut world = World::start(0, Vec::new(), options);
    world.show_all();
    assert!(world.engine.rebuilt_is_over(), "there is nothing to look at");
    // Objects of a kind that is not known are none, and what they have left is there.
    world.show_child(0, 0);
    assert!(!world.engine.rebuilt_is_over(), "nobody has looked at the owner of this child");
}

/// Rule C6.
#[test]
fn first_attempts_hold_readiness_up_for_five_minutes_at_most() {
    let mut world = World::start(3, Vec::new(), Options { started: 1_000, ..Options::default() });
    world.engine.plugin_started(world.now, plugin("p", "1"));
    assert_eq!(world.engine.first_pass(world.now), FirstPass::Over, "so far nothing is known");
    world.show_all();
    world.show(2, Some("true"));
    assert_eq!(world.engine.first_pass(world.now + FIRST_PASS - 1), FirstPass::Running(2), "one is paused");
    assert_eq!(world.engine.first_pass(world.now + FIRST_PASS), FirstPass::Incomplete(2));
    world.play(&|_| fails());
    assert_eq!(world.engine.first_pass(world.now), FirstPass::Over, "whatever their end");
    world.owners += 1;
    world.show(3, None);
    assert_eq!(world.engine.first_pass(world.now), FirstPass::Over, "it is asked once per process");
}

#[test]
fn the_first_pass_waits_for_a_cluster_of_which_nothing_was_told_yet() {
    let mut world = World::usual(1);
    world.restart();
    world.engine.add_cluster(0, &HUB.into(), ClusterFacts::of(HUB));
    world.engine.plugin_started(world.now, plugin("p", "2"));
    world.show_all();
    world.play(&|_| empties());
    assert_eq!(world.children(), 5, "there may be objects in the other cluster as well");
    world.engine.source_synced(world.now, &Source::new(HUB, "a.io", "Box"));
    world.play(&|_| empties());
    assert_eq!(world.children(), 0);
}
