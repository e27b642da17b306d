//! One holder at a time, over a server that answers late or not at all.

use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::*;
use crate::delay::Rng;

fn record(holder: &str, version: &str) -> Record {
    Record { holder: holder.into(), duration: 15_000, version: version.into(), ..Record::default() }
}

/// A lease that this host has just got.
fn held() -> Lease {
    let mut lease = Lease::new("a", Terms::default(), 1);
    assert_eq!(lease.step(0, "t"), Step::Read);
    lease.read(5, None);
    assert!(matches!(lease.step(10, "t"), Step::Create(record) if record.holder == "a" && record.version.is_empty()));
    assert!(!lease.holds(10), "not before the answer");
    lease.wrote(40, Wrote::Done("1".into()));
    lease
}

#[test]
fn a_lease_is_held_from_when_its_renewal_was_sent() {
    let lease = held();
    assert!(lease.holds(40));
    assert!(lease.holds(10_009));
    assert!(!lease.holds(10_010));
}

#[test]
fn it_is_renewed_every_retry_period_without_being_read() {
    let mut lease = held();
    assert_eq!(lease.step(50, "t"), Step::Wait(2_010));
    let Step::Update(record) = lease.step(2_010, "t2") else { panic!("an update") };
    assert_eq!((record.version.as_str(), record.renewed.as_str(), record.acquired.as_str()), ("1", "t2", "t"));
    assert_eq!(record.transitions, 0);
    lease.wrote(2_050, Wrote::Done("2".into()));
    assert_eq!(lease.until(), Some(12_010));
}

#[test]
fn a_renewal_without_an_answer_counts_for_nothing_and_is_looked_at() {
    let mut lease = held();
    assert!(matches!(lease.step(2_010, "t"), Step::Update(_)));
    lease.wrote(7_000, Wrote::Failed);
    assert_eq!(lease.until(), Some(10_010));
    let Step::Wait(until) = lease.step(7_000, "t") else { panic!("a pause") };
    assert_eq!(lease.step(until, "t"), Step::Read);
    lease.read(until + 5, Some(Record { renewed: "t".into(), ..record("a", "2") }));
    assert!(matches!(lease.step(until + 5, "t"), Step::Update(record) if record.version == "2"));
}

#[test]
fn a_taker_waits_the_whole_lease_after_the_last_renewal_that_it_saw() {
    let mut lease = Lease::new("b", Terms::default(), 1);
    lease.step(0, "t");
    lease.read(1_000, Some(record("a", "7")));
    let mut now = 1_000;
    let mut reads = 0;
    loop {
        match lease.step(now, "t") {
            Step::Wait(until) => now = until,
            Step::Read => {
                reads += 1;
                now += 10;
                lease.read(now, Some(record("a", "7")));
            }
            Step::Update(update) => {
                assert!(now >= 16_000, "{now}");
                assert_eq!((update.version.as_str(), update.transitions), ("7", 1));
                break;
            }
            Step::Create(_) => panic!("it is there"),
        }
    }
    assert!(now < 19_000 && reads > 4);
    lease.wrote(now, Wrote::Conflict);
    assert_eq!(lease.step(now, "t"), Step::Read, "somebody was faster");
    lease.read(now, Some(record("a", "8")));
    assert!(matches!(lease.step(now, "t"), Step::Wait(_)));
    assert!(!lease.holds(now));
}

#[test]
fn what_was_seen_before_the_lease_was_wanted_counts() {
    let left = |version: &str| {
        let mut lease = Lease::new("b", Terms::default(), 1).seen_since(record("a", "7"), 1_000);
        assert_eq!(lease.step(16_000, "t"), Step::Read, "it may have been renewed since");
        lease.read(16_010, Some(record("a", version)));
        lease.step(16_010, "t")
    };
    assert!(matches!(left("7"), Step::Update(update) if update.version == "7"));
    assert!(matches!(left("8"), Step::Wait(_)), "it was");
}

/// Those who act on parts hold the lease of the whole together, under one identity: each renews it, nobody gives it
/// back, and who wants it for itself waits for all of them.
#[test]
fn a_lease_is_held_together_under_one_identity() {
    let (mut one, mut other) = (held(), Lease::new("a", Terms::default(), 2));
    assert_eq!(other.step(50, "t"), Step::Read);
    other.read(60, Some(Record { renewed: "t".into(), ..record("a", "1") }));
    assert!(matches!(other.step(60, "t"), Step::Update(record) if record.version == "1"));
    other.wrote(70, Wrote::Done("2".into()));
    assert!(one.holds(70) && other.holds(70));

    assert!(matches!(one.step(2_010, "t"), Step::Update(record) if record.version == "1"));
    one.wrote(2_020, Wrote::Conflict);
    assert!(one.holds(2_020), "the other one has renewed it, which takes nothing away");
    assert_eq!(one.step(2_020, "t"), Step::Read);
    one.read(2_030, Some(record("a", "2")));
    assert!(matches!(one.step(2_030, "t"), Step::Update(record) if record.version == "2"));
    one.wrote(2_040, Wrote::Done("3".into()));
    assert_eq!(one.until(), Some(12_030));
    assert!(!other.holds(10_060), "each acts by its own renewals");
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let mut lease = held();
    assert!(matches!(lease.step(2_010, "t"), Step::Update(_)));
    lease.release(2_011);
    assert!(!lease.holds(2_011), "nothing is begun any more");
    lease.wrote(2_015, Wrote::Done("2".into()));
    lease.release(2_015);
    let Step::Update(empty) = lease.step(2_015, "t") else { panic!("an update") };
    assert_eq!((empty.holder.as_str(), empty.version.as_str()), ("", "2"));
    lease.wrote(2_020, Wrote::Done("3".into()));
    assert!(lease.is_released());
    let mut other = Lease::new("b", Terms::default(), 1);
    other.step(2_030, "t");
    other.read(2_031, Some(Record { version: "3".into(), ..empty }));
    assert!(matches!(other.step(2_031, "t"), Step::Update(_)));
}

#[test]
fn terms_that_let_two_hosts_write_are_refused() {
    assert!(Terms::new(15_000, 10_000, 2_000).is_ok_and(|terms| terms == Terms::default()));
    assert_eq!(Terms::default().write_timeout(), 4_000);
    for (duration, renew, retry) in [(15_000, 14_000, 2_000), (15_000, 2_000, 2_000), (1_500, 100, 10), (0, 0, 0)] {
        assert!(Terms::new(duration, renew, retry).is_err(), "{duration} {renew} {retry}");
    }
    assert!(Terms::new(3_000, 1_500, 300).is_ok());
}

/// One host with a clock of its own, and what it has under way.
struct Host {
    lease: Lease,
    skew: u64,
    stopped_until: Time,
    under_way: Option<(Time, Answer)>,
}

#[derive(Clone)]
enum Answer {
    Read(Option<Record>),
    Wrote(Wrote),
    Lost(bool),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Three hosts whose clocks differ, a server whose answers come late or never, hosts that are stopped for
    /// a while: never do two hosts believe that they may act, whatever one of them is told.
    #[test]
    fn never_do_two_hosts_act(seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        let terms = Terms::default();
        let mut server: Option<Record> = None;
        let mut version = 0u64;
        let mut hosts: Vec<Host> = (0..3u64)
            .map(|n| Host {
                lease: Lease::new(format!("h{n}"), terms, seed ^ n),
                skew: rng.between(0, 1_000_000),
                stopped_until: 0,
                under_way: None,
            })
            .collect();
        let mut held = 0u64;
        for now in (0..300_000u64).step_by(50) {
            for host in &mut hosts {
                if now < host.stopped_until {
                    continue;
                }
                if rng.between(0, 2_000) == 0 {
                    host.stopped_until = now + rng.between(1_000, 40_000);
                    continue;
                }
                let own = now + host.skew;
                if let Some((at, answer)) = host.under_way.clone() {
                    if now < at {
                        continue;
                    }
                    host.under_way = None;
                    match answer {
                        Answer::Read(record) => host.lease.read(own, record),
                        Answer::Wrote(wrote) => host.lease.wrote(own, wrote),
                        Answer::Lost(true) => host.lease.wrote(own, Wrote::Failed),
                        Answer::Lost(false) => host.lease.unread(own),
                    }
                }
                let step = host.lease.step(own, &now.to_string());
                let at = now + rng.between(0, 3_000);
                let lost = rng.between(0, 9) == 0;
                let answer = match step {
                    Step::Wait(_) => continue,
                    Step::Read => Answer::Read(server.clone()),
                    Step::Create(record) => {
                        if server.is_some() {
                            Answer::Wrote(Wrote::Conflict)
                        } else {
                            version += 1;
                            server = Some(Record { version: version.to_string(), ..record });
                            Answer::Wrote(Wrote::Done(version.to_string()))
                        }
                    }
                    Step::Update(record) => match &server {
                        Some(there) if there.version == record.version => {
                            version += 1;
                            server = Some(Record { version: version.to_string(), ..record });
                            Answer::Wrote(Wrote::Done(version.to_string()))
                        }
                        _ => Answer::Wrote(Wrote::Conflict),
                    },
                };
                let answer = match (lost, answer) {
                    (true, Answer::Read(_)) => Answer::Lost(false),
                    (true, _) => Answer::Lost(true),
                    (false, answer) => answer,
                };
                host.under_way = Some((if lost { now + 5_000 } else { at }, answer));
            }
            // A host that is stopped asks its clock when it goes on.
            let acting: Vec<usize> =
                (0..3).filter(|at| hosts[*at].lease.holds(now + hosts[*at].skew)).collect();
            prop_assert!(acting.len() <= 1, "{acting:?} at {now}");
            held += acting.len() as u64;
        }
        prop_assert!(held > 1_000, "somebody acts most of the time: {held}");
    }
}
