//! Who contends for what, and how a shard goes from hand to hand.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::*;

const CLUSTER: &str = "c";

fn hub() -> Name {
    "hub".into()
}

fn member(identity: &str, weight: u32) -> Member {
    Member { identity: identity.into(), weight, clusters: [CLUSTER.to_owned()].into() }
}

/// A host among others, which could act on all ranges of a cluster.
fn host(identity: &str, weight: u32, others: &[Member]) -> Shards {
    let mut shards = Shards::shared(identity, weight);
    for shard in Division::Ranges.shards(&hub()) {
        shards.offer(&shard, CLUSTER);
    }
    shards.others(others.to_vec());
    shards
}

fn steps(shards: &mut Shards) -> Vec<Step> {
    std::iter::from_fn(|| shards.step()).collect()
}

/// Who contends for each shard, with these members: exactly one.
fn contenders(members: &[Member]) -> BTreeMap<Shard, String> {
    let mut all = BTreeMap::new();
    for me in members {
        let others: Vec<Member> = members.iter().filter(|other| *other != me).cloned().collect();
        let mut shards = host(&me.identity, me.weight, &others);
        for step in steps(&mut shards) {
            let Step::Contend(shard) = step else { panic!("{step:?}") };
            assert_eq!(all.insert(shard.clone(), me.identity.clone()), None, "two contend for {shard}");
        }
    }
    assert_eq!(all.len(), usize::from(RANGES), "nobody contends for some");
    all
}

#[test]
fn the_range_of_a_key_is_the_same_for_ever() {
    let range = |cluster: &str, kind: &str, namespace: Option<&str>, name: &str| {
        Division::Ranges.shard_of(&Key::new(cluster, "g.io", kind, namespace, name)).range
    };
    let known = ["a", "b", "c", "d"].map(|name| range("hub", "Kind", Some("default"), name));
    assert_eq!(known, [40, 26, 44, 20].map(Some));
    assert_eq!(range("west", "Kind", Some("default"), "a"), known[0], "whatever its cluster is called");
    assert_eq!(range("hub", "Kind", None, "a"), Some(4));
    let mut counts = [0; RANGES as usize];
    for number in 0..6_400 {
        let range = range("hub", "Kind", Some("team"), &format!("object-{number}")).expect("a range");
        counts[usize::from(range)] += 1;
    }
    assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
}

#[test]
fn a_shard_covers_its_owners_and_no_others() {
    let key = Key::new("hub", "g.io", "Kind", Some("default"), "a");
    let its = Division::Ranges.shard_of(&key);
    let covering: Vec<Shard> = Division::Ranges.shards(&hub()).into_iter().filter(|shard| shard.covers(&key)).collect();
    assert_eq!(covering, [its]);
    assert!(Division::Whole.shard_of(&key).covers(&key));
    assert!(!Shard::whole(&"west".into()).covers(&key));
}

#[test]
fn a_cluster_is_known_by_what_it_is() {
    let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
    assert_eq!(cluster_id("uid", &[]).len(), 16);
    assert_eq!(cluster_id("uid", &names(&["b", "a"])), cluster_id("uid", &names(&["a", "b"])));
    assert_ne!(cluster_id("uid", &names(&["a"])), cluster_id("uid", &[]));
    assert_ne!(cluster_id("uid", &[]), cluster_id("other", &[]));
}

#[test]
fn one_host_does_everything_whenever_it_holds_the_lease() {
    let mut shards = Shards::one_for_all();
    let whole = Shard::whole(&hub());
    shards.offer(&whole, CLUSTER);
    assert_eq!(steps(&mut shards), [Step::Contend(whole.clone())]);
    shards.held(&whole, Some(1));
    let [Step::Check(_, ticket)] = steps(&mut shards)[..] else { panic!("a check") };
    shards.done(&whole, ticket);
    assert_eq!(steps(&mut shards), [Step::Act(whole.clone())]);
    shards.held(&whole, None);
    assert_eq!(steps(&mut shards), [Step::Stop(whole.clone())]);
    shards.held(&whole, Some(2));
    shards.withdraw(&hub());
    assert!(matches!(steps(&mut shards)[..], [Step::Check(..)]));
    assert_eq!(shards.all().count(), 0);
}

#[test]
fn nothing_is_wanted_before_it_is_known_who_else_is_there() {
    let mut shards = Shards::shared("a", 1);
    shards.offer(&Shard::whole(&hub()), CLUSTER);
    assert_eq!(shards.step(), None);
    shards.others(Vec::new());
    assert!(matches!(shards.step(), Some(Step::Contend(_))));
}

#[test]
fn who_could_not_act_on_a_cluster_takes_no_part_in_the_draw() {
    let elsewhere: Vec<Member> = (0..20)
        .map(|number| Member { clusters: ["other".to_owned()].into(), ..member(&format!("h{number}"), HEAVIEST) })
        .collect();
    let mut shards = host("a", 1, &elsewhere);
    assert_eq!(steps(&mut shards).len(), usize::from(RANGES));
    assert_eq!(shards.clusters(), [CLUSTER.to_owned()].into());
}

/// A host that acts on the one shard there is.
fn acting() -> (Shards, Shard) {
    let (mut shards, whole) = (Shards::shared("a", 1), Shard::whole(&hub()));
    shards.offer(&whole, CLUSTER);
    shards.others(Vec::new());
    shards.held(&whole, Some(1));
    let Some(Step::Check(_, ticket)) = steps(&mut shards).pop() else { panic!("a check") };
    shards.done(&whole, ticket);
    assert_eq!(steps(&mut shards), [Step::Act(whole.clone())]);
    (shards, whole)
}

/// A member that beats this host in the draw for that shard.
fn winner() -> Member {
    let wins = |other: &Member| {
        let (mut shards, whole) = (Shards::shared("a", 1), Shard::whole(&hub()));
        shards.offer(&whole, CLUSTER);
        shards.others(vec![other.clone()]);
        shards.step().is_none()
    };
    (0..).map(|number| member(&format!("b{number}"), 1)).find(wins).expect("one of them")
}

#[test]
fn what_is_meant_for_another_host_is_drained_and_then_given_back() {
    let (mut shards, whole) = acting();
    shards.others(vec![winner()]);
    let [Step::Drain(_, drain)] = steps(&mut shards)[..] else { panic!("a drain") };
    assert_eq!(shards.all().collect::<Vec<_>>(), [(&whole, false)]);
    // The other one goes again: what was begun is ended all the same.
    shards.others(Vec::new());
    assert_eq!(shards.step(), None);
    shards.done(&whole, drain + 100);
    assert_eq!(shards.step(), None, "that was something else");
    shards.done(&whole, drain);
    let [Step::Release(_, release)] = steps(&mut shards)[..] else { panic!("a release") };
    shards.held(&whole, None);
    shards.done(&whole, release);
    assert_eq!(steps(&mut shards), [Step::Contend(whole)]);
}

#[test]
fn a_lease_that_is_lost_while_it_is_drained_is_not_waited_for() {
    let (mut shards, whole) = acting();
    shards.others(vec![winner()]);
    steps(&mut shards);
    shards.held(&whole, None);
    let done = steps(&mut shards);
    assert!(matches!(done[..], [Step::Stop(_), Step::Release(..)]), "{done:?}");
}

#[test]
fn a_lease_that_was_lost_and_got_again_is_another_term() {
    let (mut shards, whole) = acting();
    shards.held(&whole, Some(2));
    let done = steps(&mut shards);
    assert!(matches!(done[..], [Step::Stop(_), Step::Check(..)]), "{done:?}");
}

#[test]
fn a_cluster_that_goes_is_let_go_of_and_one_that_comes_back_is_contended_for() {
    let (mut shards, whole) = acting();
    shards.withdraw(&hub());
    let [Step::Drain(_, ticket)] = steps(&mut shards)[..] else { panic!("a drain") };
    assert!(shards.clusters().is_empty());
    shards.done(&whole, ticket);
    let [Step::Release(_, ticket)] = steps(&mut shards)[..] else { panic!("a release") };
    shards.done(&whole, ticket);
    assert_eq!(shards.all().count(), 0);
    shards.offer(&whole, CLUSTER);
    assert_eq!(steps(&mut shards), [Step::Contend(whole)]);
}

#[test]
fn a_lease_is_live_until_it_was_not_renewed_for_as_long_as_it_lasts() {
    let record = |holder: &str, version: &str| Record {
        holder: holder.into(),
        duration: 4_000,
        version: version.into(),
        ..Record::default()
    };
    let mut seen = Sightings::default();
    seen.listed(100, vec![("m".into(), record("a", "1")), ("free".into(), record("", "1"))]);
    seen.listed(2_000, vec![("m".into(), record("a", "1")), ("free".into(), record("", "1"))]);
    assert!(seen.is_live("m", 4_099) && !seen.is_live("m", 4_100));
    assert!(!seen.is_live("free", 100) && !seen.is_live("unknown", 100));
    assert!(!seen.is_left("m", 40_099) && seen.is_left("m", 40_100));
    seen.listed(4_000, vec![("m".into(), record("a", "2"))]);
    assert!(seen.is_live("m", 7_999));
    assert_eq!(seen.seen("m").map(|sighting| sighting.since), Some(4_000));
    assert!(seen.seen("free").is_none());
}

#[test]
fn a_lease_that_was_never_seen_to_change_may_be_what_somebody_left() {
    let record =
        |version: &str| Record { holder: "a".into(), duration: 4_000, version: version.into(), ..Record::default() };
    let mut seen = Sightings::default();
    seen.listed(100, vec![("gone".into(), record("1")), ("lives".into(), record("1"))]);
    assert!(seen.is_doubtful("gone", 200) && seen.is_doubtful("lives", 200));
    seen.listed(2_000, vec![("gone".into(), record("1")), ("lives".into(), record("2"))]);
    assert!(seen.is_doubtful("gone", 2_000) && !seen.is_doubtful("lives", 2_000));
    seen.listed(3_000, vec![("gone".into(), record("1")), ("lives".into(), record("2"))]);
    assert!(!seen.is_doubtful("lives", 3_000), "it has changed once");
    assert!(!seen.is_doubtful("gone", 4_100) && !seen.is_live("gone", 4_100), "it does not count any more");
    assert!(!seen.is_doubtful("unknown", 200));
}

#[test]
fn the_work_is_shared_by_weight() {
    let mut heavy = 0;
    for round in 0..20 {
        let members = [member(&format!("a{round}"), 3), member(&format!("b{round}"), 1)];
        heavy += contenders(&members).values().filter(|who| **who == members[0].identity).count();
    }
    let all = 20 * usize::from(RANGES);
    assert!((all * 65 / 100..=all * 85 / 100).contains(&heavy), "{heavy} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Who comes takes some shards, who goes leaves some, and no other shard moves.
    #[test]
    fn only_what_must_move_moves(seed in any::<u64>(), count in 1..6usize, weights in proptest::array::uniform6(1..6u32)) {
        let all: Vec<Member> =
            (0..=count).map(|number| member(&format!("{seed:x}-{number}"), weights[number % 6])).collect();
        let (newcomer, before) = all.split_last().expect("some");
        let (with, without) = (contenders(&all), contenders(before));
        for (shard, who) in &with {
            prop_assert!(*who == newcomer.identity || *who == without[shard], "{shard}: {} to {who}", without[shard]);
        }
        // More weight takes more, and leaves the rest where it is.
        let mut heavier = all.clone();
        heavier[0].weight += 3;
        for (shard, who) in contenders(&heavier) {
            prop_assert!(who == heavier[0].identity || who == with[&shard], "{shard}");
        }
    }
}

/// One host of several, with what it has under way.
struct Host {
    shards: Shards,
    alive: bool,
    /// Steps that take time, until when.
    jobs: Vec<(Time, Shard, Ticket, bool)>,
    contends: BTreeSet<Shard>,
    acts: BTreeSet<Shard>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Hosts that come, are killed and are slow, over leases of which each has one holder: no two act on one shard at a
    /// time, and in the end each shard is acted on by the one that it is meant for.
    #[test]
    fn a_shard_has_one_host_at_a_time_and_in_the_end_its_own(seed in any::<u64>()) {
        const LASTS: Time = 40;
        let mut rng = Rng::new(seed);
        let mut hosts: Vec<Host> = (0..4)
            .map(|number| Host {
                shards: host(&format!("{seed:x}-{number}"), 1 + number % 2, &[]),
                alive: false,
                jobs: Vec::new(),
                contends: BTreeSet::new(),
                acts: BTreeSet::new(),
            })
            .collect();
        // Who holds each lease, in which term, and until when another one may take it.
        let mut leases: BTreeMap<Shard, (usize, u64, Time)> = BTreeMap::new();
        let (mut terms, mut gone) = (0, BTreeMap::new());
        for now in 0..3_000_u64 {
            let at = rng.between(0, 3) as usize;
            if now < 2_000 && rng.between(0, 60) == 0 {
                hosts[at].alive = !hosts[at].alive;
                // A process that ends is never the same again.
                let identity = format!("{seed:x}-{at}-{now}");
                gone.insert(at, now);
                hosts[at].shards = host(&identity, 1 + at as u32 % 2, &[]);
                (hosts[at].jobs, hosts[at].contends, hosts[at].acts) = Default::default();
            } else if now == 2_000 {
                hosts[at].alive = true;
            }
            let members: Vec<(usize, Member)> = hosts.iter().enumerate().filter(|(_, host)| host.alive)
                .filter_map(|(at, host)| Some((at, Member { clusters: host.shards.clusters(), ..host.shards.me.clone()? })))
                .collect();
            for (at, host) in hosts.iter_mut().enumerate().filter(|(_, host)| host.alive) {
                let me = host.shards.me.clone().map(|me| me.identity);
                if rng.between(0, 4) == 0 {
                    let others = members.iter().filter(|(_, other)| Some(&other.identity) != me.as_ref());
                    host.shards.others(others.map(|(_, member)| member.clone()).collect());
                }
                for shard in host.contends.clone() {
                    let free = leases.get(&shard).is_none_or(|(_, _, until)| now >= *until);
                    let mine = leases.get(&shard).is_some_and(|(holder, term, _)| {
                        *holder == at && gone.get(&at).is_none_or(|gone| *term > *gone * 1_000_000)
                    });
                    if free && !mine {
                        terms += 1;
                        leases.insert(shard.clone(), (at, now * 1_000_000 + 1 + terms, now + LASTS));
                    } else if mine {
                        leases.entry(shard.clone()).and_modify(|lease| lease.2 = now + LASTS);
                    }
                    let term = leases.get(&shard).filter(|lease| lease.0 == at && (mine || free)).map(|lease| lease.1);
                    host.shards.held(&shard, term);
                }
                let (due, later): (Vec<_>, Vec<_>) = host.jobs.drain(..).partition(|job| job.0 <= now);
                host.jobs = later;
                for (_, shard, ticket, releases) in due {
                    if releases {
                        host.contends.remove(&shard);
                        if leases.get(&shard).is_some_and(|lease| lease.0 == at) {
                            leases.remove(&shard);
                        }
                    } else {
                        // Whether it was the drain that has ended.
                        host.acts.remove(&shard);
                    }
                    host.shards.done(&shard, ticket);
                }
                while let Some(step) = host.shards.step() {
                    let later = now + rng.between(1, 20);
                    match step {
                        Step::Contend(shard) => drop(host.contends.insert(shard)),
                        Step::Check(shard, ticket) | Step::Drain(shard, ticket) => {
                            host.jobs.push((later, shard, ticket, false));
                        }
                        Step::Release(shard, ticket) => host.jobs.push((later, shard, ticket, true)),
                        Step::Act(shard) => drop(host.acts.insert(shard)),
                        Step::Stop(shard) => drop(host.acts.remove(&shard)),
                    }
                }
            }
            let mut acting = BTreeSet::new();
            for shard in hosts.iter().filter(|host| host.alive).flat_map(|host| &host.acts) {
                prop_assert!(acting.insert(shard.clone()), "two act on {shard} at {now}");
            }
        }
        let members: Vec<Member> = hosts.iter().filter(|host| host.alive)
            .filter_map(|host| Some(Member { clusters: host.shards.clusters(), ..host.shards.me.clone()? }))
            .collect();
        prop_assert!(!members.is_empty());
        for (shard, who) in contenders(&members) {
            let acts = |host: &&Host| host.alive && host.acts.contains(&shard);
            let acting: Vec<_> = hosts.iter().filter(acts).filter_map(|host| host.shards.me.clone()).collect();
            prop_assert_eq!(acting.iter().map(|me| me.identity.as_str()).collect::<Vec<_>>(), [who.as_str()], "{}", shard);
        }
    }
}
