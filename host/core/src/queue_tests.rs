//! Properties of the queue against a simple model: a list of (key, lane, plugin, age).

use proptest::prelude::*;

use super::*;

const P: PluginId = PluginId(0);
const C: ClusterId = ClusterId(0);

fn drain(queue: &mut Queue) -> Vec<u32> {
    std::iter::from_fn(|| {
        let picked = queue.pop()?;
        queue.done(picked.key);
        Some(picked.key.0)
    })
    .collect()
}

#[test]
fn keys_of_one_flow_leave_in_the_order_in_which_they_came() {
    let mut queue = Queue::default();
    (0..20).for_each(|k| queue.add(KeyId(k), P, C, Lane::First, 0));
    assert_eq!(drain(&mut queue), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_key_is_queued_once_and_runs_once() {
    let mut queue = Queue::default();
    queue.add(KeyId(1), P, C, Lane::Resync, 5);
    queue.add(KeyId(1), P, C, Lane::User, 9);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.pop(), Some(Picked { key: KeyId(1), lane: Lane::User, since: 5 }));
    queue.add(KeyId(1), P, C, Lane::Resync, 10);
    queue.add(KeyId(1), P, C, Lane::Dependency, 10);
    assert_eq!(queue.pop(), None, "it is running");
    assert_eq!(queue.done(KeyId(1)), Some(Lane::Dependency));
    assert_eq!(queue.pop(), None, "the caller decides when it runs again");
}

#[test]
fn flows_of_a_lane_take_turns() {
    let mut queue = Queue::default();
    (0..3).for_each(|k| queue.add(KeyId(k), PluginId(0), C, Lane::User, 0));
    (3..5).for_each(|k| queue.add(KeyId(k), PluginId(1), C, Lane::User, 0));
    assert_eq!(drain(&mut queue), [0, 3, 1, 4, 2]);
}

#[test]
fn a_plugin_that_is_passed_over_keeps_its_keys_and_can_be_tried_with_one() {
    let (mut queue, other) = (Queue::default(), PluginId(1));
    queue.limit_plugin(P, Some(0));
    queue.add(KeyId(0), P, C, Lane::Retry, 0);
    queue.add(KeyId(1), P, C, Lane::Resync, 0);
    queue.add(KeyId(2), other, C, Lane::Resync, 0);
    assert_eq!(drain(&mut queue), [2]);
    assert_eq!(queue.pop_of(P).map(|picked| picked.key.0), Some(1), "what failed comes last");
    assert_eq!(queue.pop(), None);
    queue.done(KeyId(1));
    assert_eq!(queue.pop_of(P).map(|picked| picked.key.0), Some(0));
    queue.add(KeyId(1), P, C, Lane::User, 1);
    queue.free_slot(KeyId(0));
    assert_eq!(queue.pop(), None, "a call that ends does not wake it up");
    queue.limit_plugin(P, Some(4));
    assert_eq!(drain(&mut queue), [1]);
    assert_eq!(queue.pop_of(P), None);
}

#[test]
fn a_limit_of_a_cluster_is_one_of_keys_and_that_of_a_plugin_one_of_calls() {
    let mut queue = Queue::default();
    queue.limit_cluster(C, Some(2));
    queue.limit_plugin(P, Some(1));
    for key in 0..3 {
        queue.add(KeyId(key), P, C, Lane::User, 0);
    }
    let next = |queue: &mut Queue| queue.pop().map(|picked| picked.key.0);
    assert_eq!((next(&mut queue), next(&mut queue)), (Some(0), None));
    queue.free_slot(KeyId(0));
    assert_eq!(next(&mut queue), Some(1));
    queue.free_slot(KeyId(1));
    assert_eq!(next(&mut queue), None, "both still run");
    queue.done(KeyId(0));
    assert_eq!(next(&mut queue), Some(2));
}

#[test]
fn a_plugin_at_its_limit_is_passed_over_and_comes_back() {
    let mut queue = Queue::default();
    queue.limit_plugin(PluginId(0), Some(1));
    queue.add(KeyId(0), PluginId(0), C, Lane::User, 0);
    queue.add(KeyId(1), PluginId(0), C, Lane::User, 0);
    queue.add(KeyId(2), PluginId(1), C, Lane::Resync, 0);
    assert_eq!(queue.pop().map(|p| p.key.0), Some(0));
    assert_eq!(queue.pop().map(|p| p.key.0), Some(2));
    assert_eq!(queue.pop(), None);
    queue.done(KeyId(0));
    assert_eq!(queue.pop().map(|p| p.key.0), Some(1));
}

#[test]
fn every_eighth_pick_takes_the_oldest() {
    let mut queue = Queue::default();
    queue.add(KeyId(100), P, C, Lane::Resync, 0);
    (0..20).for_each(|k| queue.add(KeyId(k), P, C, Lane::User, 1));
    assert_eq!(drain(&mut queue)[7], 100);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u32, usize),
    Pop,
    Done,
    Remove(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..30, 0u32..3, 0usize..LANES).prop_map(|(k, _, l)| Step::Add(k, k % 3, l)),
        3 => Just(Step::Pop),
        2 => Just(Step::Done),
        1 => (0u32..30).prop_map(Step::Remove),
    ]
}

/// The model: waiting keys with lane and age, running keys in order.
#[derive(Default)]
struct Model {
    waiting: Vec<(u32, Lane, u64)>,
    running: Vec<(u32, Option<Lane>)>,
    age: u64,
    picks: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_behaves_as_a_plain_list_would(steps in proptest::collection::vec(step(), 1..200)) {
        let limit = 2;
        let mut queue = Queue::default();
        (0..3).for_each(|p| queue.limit_plugin(PluginId(p), Some(limit)));
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Add(key, plugin, lane) => {
                    let lane = Lane::ALL[lane];
                    queue.add(KeyId(key), PluginId(plugin), C, lane, 0);
                    if let Some(running) = model.running.iter_mut().find(|r| r.0 == key) {
                        running.1 = Some(running.1.map_or(lane, |before| before.min(lane)));
                    } else if let Some(at) = model.waiting.iter().position(|w| w.0 == key) {
                        let (key, before, age) = model.waiting[at];
                        if lane < before {
                            model.waiting.remove(at);
                            model.waiting.push((key, lane, age));
                        }
                    } else {
                        model.age += 1;
                        model.waiting.push((key, lane, model.age));
                    }
                }
                Step::Pop => {
                    let allowed = |key: u32| model.running.iter().filter(|r| r.0 % 3 == key % 3).count() < limit as usize;
                    let may: Vec<_> = model.waiting.iter().copied().filter(|w| allowed(w.0)).collect();
                    let picked = queue.pop();
                    prop_assert_eq!(picked.is_some(), !may.is_empty());
                    let Some(picked) = picked else { continue };
                    model.picks += 1;
                    let found = may.iter().find(|w| w.0 == picked.key.0);
                    prop_assert!(found.is_some(), "a key that may not run was picked");
                    let lane = picked.lane;
                    if model.picks % AGEING == 0 {
                        prop_assert_eq!(may.iter().min_by_key(|w| w.2).map(|w| w.0), Some(picked.key.0));
                    } else {
                        prop_assert_eq!(may.iter().map(|w| w.1).min(), Some(lane), "lanes are strict");
                        let first = may.iter().find(|w| w.1 == lane && w.0 % 3 == picked.key.0 % 3);
                        prop_assert_eq!(first.map(|w| w.0), Some(picked.key.0), "first in, first out in a flow");
                    }
                    model.waiting.retain(|w| w.0 != picked.key.0);
                    model.running.push((picked.key.0, None));
                }
                Step::Done => {
                    if model.running.is_empty() { continue }
                    let (key, again) = model.running.remove(0);
                    prop_assert_eq!(queue.done(KeyId(key)), again);
                }
                Step::Remove(key) => {
                    queue.remove(KeyId(key));
                    model.waiting.retain(|w| w.0 != key);
                }
            }
            prop_assert_eq!(queue.len(), model.waiting.len());
            prop_assert_eq!(queue.running(), model.running.len());
        }
    }

    #[test]
    fn the_head_of_a_flow_waits_at_most_as_many_turns_as_there_are_flows(
        sizes in proptest::collection::vec(1u32..20, 1..12),
    ) {
        let mut queue = Queue::default();
        let mut key = 0;
        let mut heads = Vec::new();
        for (plugin, size) in sizes.iter().enumerate() {
            heads.push(key);
            for _ in 0..*size {
                queue.add(KeyId(key), PluginId(plugin as u32), C, Lane::User, 0);
                key += 1;
            }
        }
        let order = drain(&mut queue);
        let flows = sizes.len();
        // Of eight picks one is the aged one and takes no turn.
        let bound = flows + flows / (AGEING as usize - 1) + 1;
        for head in heads {
            let at = order.iter().position(|k| *k == head).unwrap_or(usize::MAX);
            prop_assert!(at < bound, "head {head} waited {at} picks, bound {bound}");
        }
    }
}
