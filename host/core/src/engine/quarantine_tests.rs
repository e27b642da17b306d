//! The quarantine of one component, alone and against a simple model.

use proptest::prelude::*;

use super::*;

fn key(name: u8) -> Arc<Key> {
    Arc::new(Key::new("local", "g", "K", Some("d"), &name.to_string()))
}

/// Traps of objects 0 and 1 by turns, until it is closed.
fn close(record: &mut Record, now: Time) {
    for at in 0..TRAPS {
        record.trapped(now, record.ticket(), &key(at as u8 % 2), "out of memory", false);
    }
    assert!(record.is_closed());
}

fn until(record: &Record) -> Time {
    record.due().expect("it is closed")
}

#[test]
fn five_traps_of_two_objects_in_a_minute_close_it() {
    let mut record = Record::default();
    for at in 0..4 {
        assert!(!record.trapped(at, record.ticket(), &key(0), "x", false));
    }
    assert!(record.trapped(4, record.ticket(), &key(1), "boom", false));
    let shown = record.shown(&"p".into(), &"d".into()).expect("it is shown");
    assert_eq!((shown.until, shown.times, &*shown.reason), (4 + FIRST, 1, "boom"));
}

#[test]
fn one_object_that_traps_for_ever_closes_nothing() {
    let mut record = Record::default();
    for at in 0..1_000 {
        assert!(!record.trapped(at, record.ticket(), &key(0), "x", false));
    }
    assert!(!record.is_closed());
}

#[test]
fn an_answer_in_between_begins_the_count_anew() {
    let mut record = Record::default();
    for at in 0..100 {
        record.trapped(at, record.ticket(), &key(at as u8 % 2), "x", false);
        if at % 4 == 3 {
            record.answered(record.ticket());
        }
    }
    assert!(!record.is_closed());
}

#[test]
fn traps_that_are_a_minute_apart_close_nothing() {
    let mut record = Record::default();
    for at in 0..100 {
        record.trapped(at * (WITHIN / 3), record.ticket(), &key(at as u8 % 2), "x", false);
    }
    assert!(!record.is_closed());
}

#[test]
fn each_probe_that_traps_doubles_the_time_up_to_five_minutes() {
    let mut record = Record::default();
    close(&mut record, 0);
    let mut now = 0;
    let mut lasted = Vec::new();
    for number in 0..7 {
        lasted.push(until(&record) - now);
        now = until(&record);
        record.pass_time(now - 1);
        assert!(!record.wants_probe(), "too early");
        record.pass_time(now);
        assert!(record.wants_probe());
        record.begins(number);
        assert!(!record.wants_probe(), "one probe is enough");
        assert!(record.trapped(now, record.ticket(), &key(0), "x", false));
        record.ended(number);
    }
    assert_eq!(lasted, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
}

#[test]
fn a_probe_that_is_answered_ends_it_and_the_next_one_begins_small() {
    let mut record = Record::default();
    close(&mut record, 0);
    record.pass_time(FIRST);
    record.begins(1);
    assert!(record.answered(record.ticket()));
    assert!(!record.is_closed() && record.shown(&"p".into(), &"d".into()).is_none());
    close(&mut record, 20_000);
    assert_eq!(until(&record), 20_000 + FIRST);
}

#[test]
fn calls_from_before_a_quarantine_say_nothing_about_its_end() {
    let mut record = Record::default();
    let before = record.ticket();
    close(&mut record, 0);
    assert!(!record.answered(before) && record.is_closed());
    record.pass_time(FIRST);
    record.begins(1);
    assert!(!record.answered(before) && !record.trapped(FIRST, before, &key(0), "x", false));
    assert!(record.is_closed() && !record.wants_probe(), "the probe is still out");
}

#[test]
fn a_probe_that_made_no_call_was_none() {
    let mut record = Record::default();
    close(&mut record, 0);
    record.pass_time(FIRST);
    record.begins(1);
    record.ended(1);
    assert!(record.wants_probe());
}

#[test]
fn another_digest_starts_clean_and_an_old_one_finds_its_state() {
    let mut records = Records::default();
    let (old, new) = (Name::from("old"), Name::from("new"));
    records.start(&old);
    close(records.get_mut(&old).expect("it was started"), 0);
    records.start(&new);
    assert!(!records.get(&new).expect("it was started").is_closed());
    records.start(&old);
    assert!(records.get(&old).expect("it is remembered").is_closed());
    for number in 0..KEPT {
        records.start(&format!("d{number}").as_str().into());
    }
    assert!(records.get(&old).is_none(), "at most {KEPT} are remembered");
}

proptest! {
    /// Against a model that remembers everything: closed if and only if at least five traps without an
    /// answer in between, of at least two objects, lie within the last minute.
    #[test]
    fn it_closes_when_a_model_with_a_long_memory_does(
        steps in proptest::collection::vec((0u64..30_000, 0u8..3, prop::bool::weighted(0.85)), 1..80),
    ) {
        let mut record = Record::default();
        let (mut now, mut traps) = (0, Vec::<(Time, u8)>::new());
        for (pause, object, trap) in steps {
            now += pause;
            if !trap {
                prop_assert!(!record.answered(record.ticket()));
                traps.clear();
                continue;
            }
            traps.push((now, object));
            let lately = traps.iter().filter(|(at, _)| now - at <= WITHIN);
            let recent: Vec<u8> = lately.map(|(_, object)| *object).collect();
            let expected = recent.len() >= TRAPS && recent.iter().any(|other| *other != object);
            prop_assert_eq!(record.trapped(now, record.ticket(), &key(object), "x", false), expected);
            if expected {
                prop_assert_eq!(until(&record), now + FIRST);
                now = until(&record);
                record.pass_time(now);
                record.begins(0);
                prop_assert!(record.answered(record.ticket()));
                traps.clear();
            }
        }
    }
}
