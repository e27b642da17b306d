//! Deletion, finalizers, bookkeeping and events (rules B2, B9, B12, B16).

use serde_json::json;
use setpoint_core::contract::{Event, EventType, Reason};
use setpoint_core::op::{Answer, Op, Precondition, Refusal};

use super::super::{EventFilter, FINALIZER, Mutation};
use super::*;

#[test]
fn an_object_without_finalizers_is_gone_at_once() {
    let mut model = model();
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {}})).unwrap();
    let (answer, effects) = model.perform(0, &delete_op(&object, &key("a")));
    assert!(matches!(answer, Answer::Absent));
    assert!(matches!(&effects.events[..], [(gone, None)] if **gone == key("a")));
    assert!(matches!(model.perform(0, &Op::Get(key("a"))).0, Answer::Absent));
}

#[test]
fn the_finalizer_holds_an_object_until_it_is_removed() {
    let mut model = model();
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {}})).unwrap();
    let (object, _) = done(model.perform(0, &finalizer_op(&object, &key("a"), true))).unwrap();
    assert!(object.has_finalizer(FINALIZER));
    assert!(model.perform(0, &finalizer_op(&object, &key("a"), true)).1.is_empty(), "it is there already");
    let (deleting, _) = done(model.perform(5000, &delete_op(&object, &key("a")))).unwrap();
    assert!(deleting.terminating());
    let (answer, effects) = model.perform(9000, &delete_op(&deleting, &key("a")));
    let Answer::Applied { object, .. } = answer else { panic!("{answer:?}") };
    assert!(effects.is_empty() && object.value()["metadata"]["deletionTimestamp"] == "1970-01-01T00:00:05Z");
    let (answer, effects) = model.perform(0, &finalizer_op(&deleting, &key("a"), false));
    assert!(matches!(answer, Answer::Absent));
    assert!(matches!(&effects.events[..], [(_, None)]));
}

#[test]
fn a_finalizer_is_not_added_to_an_object_that_goes() {
    let mut model = model();
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {}})).unwrap();
    let (object, _) = done(model.perform(0, &finalizer_op(&object, &key("a"), true))).unwrap();
    let (object, _) = done(model.perform(0, &finalizer_op(&object, &key("a"), false))).unwrap();
    assert!(!object.terminating() && object.finalizers().is_empty(), "removing it alone deletes nothing");
    let (answer, _) = model.perform(0, &finalizer_op(&object, &key("missing"), false));
    assert!(matches!(answer, Answer::Absent));
    assert!(done(model.perform(0, &finalizer_op(&object, &key("missing"), true))).is_err());
}

#[test]
fn a_delete_decided_upon_another_version_is_refused() {
    let mut model = model();
    let (old, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let (new, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap();
    let refused = done(model.perform(0, &delete_op(&old, &key("a")))).unwrap_err();
    assert!(matches!(refused, Refusal::VersionConflict(_)));
    let by_uid = Precondition { uid: new.uid().into(), resource_version: None };
    let (answer, _) = model.perform(0, &Op::Delete { key: key("a"), precondition: by_uid.clone() });
    assert!(matches!(answer, Answer::Absent));
    let (again, _) = apply(&mut model, &key("a"), A, json!({"spec": {}})).unwrap();
    assert_ne!(again.uid(), new.uid());
    let refused = done(model.perform(0, &Op::Delete { key: key("a"), precondition: by_uid })).unwrap_err();
    assert!(matches!(refused, Refusal::VersionConflict(_)), "another object of the same name");
}

#[test]
fn places_are_remembered_until_they_are_forgotten() {
    let mut model = model();
    let save = |places: Vec<_>| Op::SavePlaces { owner: key("a"), places, finalizers: None, precondition: None };
    let place = ("hub".into(), GroupKind::new("", "Secret"));
    assert!(!model.perform(0, &save(vec![place.clone()])).1.is_empty());
    assert!(model.perform(0, &save(vec![place.clone()])).1.is_empty());
    assert_eq!(model.places(), [(key("a"), vec![place])]);
    model.perform(0, &save(Vec::new()));
    assert!(model.places().is_empty());
}

fn event(message: &str) -> Event {
    Event { kind: EventType::Normal, reason: Reason::new("Did", message), regarding: None }
}

fn record(model: &mut Model, now: u64, message: &str) -> Effects {
    let (answer, effects) = model.perform(now, &Op::RecordEvents { about: key("a"), events: vec![event(message)] });
    assert!(matches!(answer, Answer::Done));
    effects
}

#[test]
fn the_same_event_within_five_minutes_is_one_series() {
    let mut model = model();
    record(&mut model, 0, "x");
    record(&mut model, 200_000, "x");
    record(&mut model, 300_000, "y");
    let seen: Vec<_> = model.events(400_000, &EventFilter::default());
    assert_eq!(
        seen.iter().map(|e| (e.message.as_str(), e.count, e.first, e.last)).collect::<Vec<_>>(),
        [("x", 2, 0, 200_000), ("y", 1, 300_000, 300_000)]
    );
    record(&mut model, 600_000, "x");
    assert_eq!(model.events(600_000, &EventFilter::default()).len(), 3, "after five quiet minutes a series is new");
    let filter = EventFilter { about: Some(key("b")), ..EventFilter::default() };
    assert!(model.events(600_000, &filter).is_empty());
}

#[test]
fn events_are_kept_an_hour_and_a_hundred_per_object() {
    let mut model = model();
    for number in 0..150 {
        record(&mut model, number, &number.to_string());
    }
    let seen = model.events(200, &EventFilter::default());
    assert_eq!((seen.len(), seen[0].message.as_str()), (100, "50"));
    assert!(model.events(3_600_200, &EventFilter::default()).is_empty());
    let effects = record(&mut model, 3_700_000, "new");
    assert_eq!(effects.mutations.len(), 101, "the old ones leave the store too");
}

#[test]
fn events_survive_a_restart_with_their_counts() {
    let mut model = model();
    let mut rows = std::collections::BTreeMap::new();
    for (now, message) in [(0, "x"), (1000, "y"), (2000, "x")] {
        for mutation in record(&mut model, now, message).mutations {
            if let Mutation::Put { table, key, bytes } = mutation {
                rows.insert((table, key), bytes);
            }
        }
    }
    let rows = rows.into_iter().map(|((table, key), bytes)| (table, key, bytes));
    let mut again = Model::load(1, rows).unwrap();
    let all = EventFilter::default();
    assert_eq!(again.events(3000, &all), model.events(3000, &all));
    record(&mut again, 3000, "x");
    assert_eq!(again.events(3000, &all).last().map(|event| event.count), Some(3), "the series goes on");
}
