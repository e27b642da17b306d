//! Clusters that come, go, cannot be reached, and are two names of one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn offer(instance: &str) -> Offer {
    Offer { instance: instance.into(), namespaces: Vec::new() }
}

fn within(instance: &str, namespaces: &[&str]) -> Offer {
    Offer { instance: instance.into(), namespaces: namespaces.iter().map(|name| Name::from(*name)).collect() }
}

fn name(text: &str) -> Name {
    text.into()
}

fn steps(fleet: &mut Fleet, now: Time) -> Vec<Step> {
    std::iter::from_fn(|| fleet.next(now)).collect()
}

/// Takes the one connection that is asked for.
fn ticket(fleet: &mut Fleet, now: Time) -> u64 {
    match steps(fleet, now).as_slice() {
        [Step::Connect { ticket, .. }] => *ticket,
        other => panic!("one connection is expected, not {other:?}"),
    }
}

fn engage(fleet: &mut Fleet, now: Time, of: &str, identity: &str) -> u64 {
    fleet.offered(now, &name("p"), &name(of), offer("1")).expect("a good offer");
    let ticket = ticket(fleet, now);
    fleet.connected(now, ticket, identity);
    assert_eq!(steps(fleet, now), [Step::Engage { name: name(of), ticket }]);
    ticket
}

fn state(fleet: &Fleet, of: &str) -> State {
    fleet.row(&name(of)).expect("it is there").state
}

#[test]
fn what_is_offered_is_reached_and_engaged_and_what_is_withdrawn_is_let_go() {
    let mut fleet = Fleet::new(1);
    let reached = engage(&mut fleet, 0, "west", "u1");
    fleet.offered(1, &name("p"), &name("west"), offer("1")).expect("the same once more");
    assert_eq!(steps(&mut fleet, 1), [], "that changes nothing");
    fleet.withdrawn(2, &name("p"), &name("west"), "its file is gone");
    let let_go = Step::Disengage { name: name("west"), ticket: reached, reason: "its file is gone".into() };
    assert_eq!(steps(&mut fleet, 2), [let_go]);
    assert_eq!(fleet.rows().count(), 0);
}

#[test]
fn one_that_is_reached_in_another_way_is_let_go_and_reached_anew() {
    let mut fleet = Fleet::new(1);
    engage(&mut fleet, 0, "west", "u1");
    fleet.offered(1, &name("p"), &name("west"), offer("2")).expect("a good offer");
    let steps = steps(&mut fleet, 1);
    assert!(matches!(steps.as_slice(), [Step::Disengage { .. }, Step::Connect { .. }]), "{steps:?}");
}

#[test]
fn one_that_cannot_be_reached_shows_why_and_is_tried_again_less_and_less_often() {
    let mut fleet = Fleet::new(1);
    fleet.offered(0, &name("p"), &name("west"), offer("1")).expect("a good offer");
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let ticket = ticket(&mut fleet, now);
        fleet.failed(now, ticket, "nobody is there");
        let row = fleet.row(&name("west")).expect("it is there");
        assert_eq!((row.state, row.reason.as_deref()), (State::Unreachable, Some("nobody is there")));
        let next = fleet.next_wakeup().expect("it is tried again");
        assert_eq!(steps(&mut fleet, next - 1), []);
        pauses.push(next - now);
        now = next;
    }
    assert!(pauses[0] <= 1_000 && pauses.iter().all(|pause| *pause <= 66_000) && pauses[19] >= 60_000, "{pauses:?}");
    let ticket = ticket(&mut fleet, now);
    fleet.connected(now, ticket, "u1");
    let row = fleet.row(&name("west")).expect("it is there");
    assert_eq!((row.state, row.reason, row.failures), (State::Engaged, None, 0));
}

#[test]
fn a_try_that_was_overtaken_is_dropped_whatever_it_comes_to() {
    let mut fleet = Fleet::new(1);
    fleet.offered(0, &name("p"), &name("west"), offer("1")).expect("a good offer");
    let old = ticket(&mut fleet, 0);
    fleet.offered(1, &name("p"), &name("west"), offer("2")).expect("a good offer");
    let steps_now = steps(&mut fleet, 1);
    let [Step::Drop { ticket }, Step::Connect { ticket: new, .. }] = steps_now.as_slice() else {
        panic!("{steps_now:?}")
    };
    assert_eq!(*ticket, old);
    fleet.failed(2, old, "late");
    fleet.connected(2, old, "u0");
    assert_eq!(steps(&mut fleet, 2), [Step::Drop { ticket: old }], "nobody has waited for it");
    fleet.connected(3, *new, "u1");
    assert_eq!(steps(&mut fleet, 3), [Step::Engage { name: name("west"), ticket: *new }]);
}

#[test]
fn of_two_names_for_one_cluster_the_first_engaged_keeps_it_until_it_goes() {
    let mut fleet = Fleet::new(1);
    engage(&mut fleet, 0, "west", "u1");
    fleet.offered(1, &name("q"), &name("east"), offer("1")).expect("a good offer");
    let second = ticket(&mut fleet, 1);
    fleet.connected(1, second, "u1");
    assert_eq!(steps(&mut fleet, 1), [Step::Drop { ticket: second }]);
    let row = fleet.row(&name("east")).expect("it is there");
    assert!(row.state == State::Refused && row.reason.is_some_and(|reason| reason.contains("west")));
    fleet.withdrawn(2, &name("p"), &name("west"), "gone");
    let steps = steps(&mut fleet, 2);
    assert!(
        matches!(steps.as_slice(), [Step::Disengage { .. }, Step::Connect { name, .. }] if &**name == "east"),
        "{steps:?}"
    );
}

#[test]
fn namespaces_of_one_cluster_may_be_clusters_of_their_own_while_they_do_not_overlap() {
    let mut fleet = Fleet::new(1);
    fleet.seat(0, &name(HUB), &name("mode"), "u1", vec![name("team-a")]);
    for (of, only, engaged) in [("b", &["team-b"][..], true), ("a", &["team-a", "c"], false), ("all", &[], false)] {
        fleet.offered(0, &name("p"), &name(of), within("1", only)).expect("a good offer");
        let ticket = ticket(&mut fleet, 0);
        fleet.connected(0, ticket, "u1");
        let wanted = if engaged { State::Engaged } else { State::Refused };
        assert_eq!(state(&fleet, of), wanted, "{of}");
        steps(&mut fleet, 0);
    }
}

#[test]
fn a_name_belongs_to_who_offered_it_first() {
    let mut fleet = Fleet::new(1);
    engage(&mut fleet, 0, "west", "u1");
    fleet.offered(1, &name("q"), &name("west"), offer("other")).expect("a good offer");
    assert_eq!(steps(&mut fleet, 1), []);
    let row = fleet.row(&name("west")).expect("it is there");
    assert_eq!((&*row.provider, row.rivals.as_slice()), ("p", &[name("q")][..]));
    fleet.withdrawn(2, &name("p"), &name("west"), "gone");
    let steps = steps(&mut fleet, 2);
    assert!(
        matches!(steps.as_slice(), [Step::Disengage { .. }, Step::Connect { provider, .. }] if &**provider == "q"),
        "{steps:?}"
    );
}

#[test]
fn names_that_are_none_are_refused() {
    let mut fleet = Fleet::new(1);
    for bad in ["", "West", "a/b", "a b", "local", "hub", &"x".repeat(254)] {
        assert!(fleet.offered(0, &name("p"), &name(bad), offer("1")).is_err(), "{bad}");
    }
    assert!(fleet.offered(0, &name("p"), &name("prod.eu-west.1"), offer("1")).is_ok());
}

#[test]
fn five_hundred_dead_clusters_hold_up_five_hundred_live_ones_for_seconds_only() {
    let mut fleet = Fleet::new(1);
    for at in 0..1_000 {
        fleet.offered(0, &name("p"), &name(&format!("c{at:04}")), offer("1")).expect("a good offer");
    }
    // A dead one has no answer for 10 s, a live one within 50 ms.
    let mut ends: BTreeSet<(Time, u64, bool)> = BTreeSet::new();
    let (mut now, mut most) = (0, 0);
    let engaged = |fleet: &Fleet| fleet.rows().filter(|row| row.state == State::Engaged).count();
    while engaged(&fleet) < 500 {
        while let Some(step) = fleet.next(now) {
            if let Step::Connect { name, ticket, .. } = step {
                let alive = name.ends_with(['1', '3', '5', '7', '9']);
                ends.insert((now + if alive { 50 } else { 10_000 }, ticket, alive));
                most = most.max(ends.len());
            }
        }
        let due = ends.first().map(|(at, ..)| *at);
        now = due.into_iter().chain(fleet.next_wakeup()).min().expect("something comes");
        while let Some((at, ticket, alive)) = ends.first().copied().filter(|(at, ..)| *at <= now) {
            ends.pop_first();
            match alive {
                true => fleet.connected(at, ticket, &format!("u{ticket}")),
                false => fleet.failed(at, ticket, "no answer"),
            }
        }
    }
    assert!(now <= 10_000, "{now} ms");
    assert!(most <= 512, "{most} connections at a time");
}

#[derive(Clone, Debug)]
enum Event {
    Offer(u8, u8, u8, bool),
    Withdraw(u8, u8),
    Ends(u8, bool, u8),
    Passes(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0u8..2, 0u8..4, 0u8..2, any::<bool>()).prop_map(|(p, n, i, all)| Event::Offer(p, n, i, all)),
        2 => (0u8..2, 0u8..4).prop_map(|(p, n)| Event::Withdraw(p, n)),
        4 => (any::<u8>(), any::<bool>(), 0u8..3).prop_map(|(at, well, identity)| Event::Ends(at, well, identity)),
        1 => (0u16..3_000).prop_map(Event::Passes),
    ];
    proptest::collection::vec(event, 0..60)
}

proptest! {
    /// Whatever happens in whatever order: no two clusters that take part are one, each is engaged and let go in
    /// turns, nothing is left connected that nobody needs, and all that is offered takes part in the end unless it is another's
    /// twin.
    #[test]
    fn the_fleet_is_what_is_offered(events in events()) {
        let mut fleet = Fleet::new(7);
        let mut now = 0;
        let mut open: BTreeMap<u64, Name> = BTreeMap::new();
        let mut engaged: BTreeMap<Name, (u64, String)> = BTreeMap::new();
        let mut offers: BTreeMap<(u8, u8), (u8, bool)> = BTreeMap::new();
        let mut reached: BTreeMap<u64, String> = BTreeMap::new();
        let settle = events.len();
        let quiet = (0..200).map(|_| Event::Ends(0, true, 9)).chain([Event::Passes(60_000)]);
        let quiet: Vec<Event> = quiet.collect();
        for (at, event) in events.into_iter().chain(quiet.iter().cloned()).chain(quiet.iter().cloned()).enumerate() {
            match event {
                Event::Offer(p, n, i, all) => {
                    let namespaces: &[&str] = if all { &[] } else { &["a"] };
                    let instance = format!("{i}");
                    fleet.offered(now, &name(&format!("p{p}")), &name(&format!("c{n}")), within(&instance, namespaces)).expect("good");
                    offers.insert((n, p), (i, all));
                }
                Event::Withdraw(p, n) => {
                    fleet.withdrawn(now, &name(&format!("p{p}")), &name(&format!("c{n}")), "gone");
                    offers.remove(&(n, p));
                }
                Event::Ends(which, well, identity) => {
                    let Some(ticket) = open.keys().nth(usize::from(which) % open.len().max(1)).copied() else { continue };
                    let of = open.remove(&ticket).expect("it is open");
                    if well {
                        // In the end each name is a cluster of its own.
                        let identity = if at >= settle { format!("{of}") } else { format!("u{identity}") };
                        reached.insert(ticket, identity.clone());
                        fleet.connected(now, ticket, &identity);
                    } else {
                        fleet.failed(now, ticket, "no answer");
                    }
                }
                Event::Passes(time) => now += Time::from(time),
            }
            while let Some(step) = fleet.next(now) {
                match step {
                    Step::Connect { name, ticket, .. } => {
                        prop_assert!(!open.values().any(|of| *of == name), "{name} is reached once at a time");
                        open.insert(ticket, name);
                    }
                    Step::Engage { name, ticket } => {
                        let identity = reached.remove(&ticket).expect("it was reached");
                        prop_assert!(engaged.insert(name, (ticket, identity)).is_none());
                    }
                    Step::Disengage { name, ticket, .. } => {
                        prop_assert_eq!(engaged.remove(&name).map(|(ticket, _)| ticket), Some(ticket));
                    }
                    Step::Drop { ticket } => {
                        open.remove(&ticket);
                        reached.remove(&ticket);
                    }
                }
            }
            for row in fleet.rows().filter(|row| row.state == State::Engaged) {
                prop_assert!(engaged.contains_key(&row.name), "{row:?}");
                let twins = fleet.rows().filter(|other| {
                    other.state == State::Engaged && other.identity == row.identity && overlap(&other.namespaces, &row.namespaces)
                });
                prop_assert_eq!(twins.count(), 1, "no two are one");
            }
            prop_assert!(reached.is_empty(), "what is not engaged is dropped");
        }
        let offered: BTreeSet<Name> = offers.keys().map(|(n, _)| name(&format!("c{n}"))).collect();
        let there: BTreeSet<Name> = fleet.rows().map(|row| row.name).collect();
        prop_assert_eq!(&offered, &there);
        for row in fleet.rows() {
            // One that was met under another identity before may be refused for the sake of that one for good.
            prop_assert!(matches!(row.state, State::Engaged | State::Refused), "{row:?}");
        }
    }
}
