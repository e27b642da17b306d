use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use setpoint_core::engine::{ClusterFacts, Engine, Options};
use setpoint_core::object::Object;

use super::*;
use crate::clock::Clock;

#[derive(Deserialize, PartialEq, Debug)]
struct Thing {
    size: u32,
}

fn source() -> Source {
    Source::new("local", "g", "Thing")
}

fn driver() -> Arc<Driver> {
    let mut engine = Engine::new(Options::default(), Arc::new(()));
    engine.add_cluster(0, &"local".into(), ClusterFacts::of("local"));
    Driver::new(engine, Clock::default())
}

fn view(driver: &Arc<Driver>, namespace: Option<&str>) -> RegistryView<Thing> {
    RegistryView::open(driver, source(), namespace.map(Name::from))
}

fn set(driver: &Driver, namespace: &str, name: &str, size: Option<serde_json::Value>) {
    let key = Key::new("local", "g", "Thing", Some(namespace), name);
    let object = size.map(|size| {
        let metadata = json!({"namespace": namespace, "name": name});
        Arc::new(Object::new(json!({"apiVersion": "g/v1", "kind": "Thing", "metadata": metadata, "size": size}), None))
    });
    driver.with(|engine, now| engine.observed(now, &key, object));
}

fn sizes(snapshot: &Snapshot<Thing>) -> Vec<(String, u32)> {
    snapshot.list().iter().map(|item| (item.key.name.to_string(), item.value.size)).collect()
}

#[test]
fn a_view_shows_what_there_is_in_order_and_parses_only_what_changed() {
    let driver = driver();
    set(&driver, "a", "y", Some(json!(2)));
    set(&driver, "a", "x", Some(json!(1)));
    let view = view(&driver, None);
    let before = view.snapshot();
    assert_eq!((sizes(&before), before.version()), (vec![("x".into(), 1), ("y".into(), 2)], 1));
    assert!(Arc::ptr_eq(&before, &view.clone().snapshot()), "nothing moved");
    set(&driver, "a", "x", Some(json!(7)));
    let after = view.snapshot();
    assert_eq!((after.version(), after.list()[0].generation, after.list()[1].generation), (2, 2, 1));
    assert!(Arc::ptr_eq(&before.list()[1].value, &after.list()[1].value));
    assert_eq!(view.get(Some("a"), "x").map(|item| item.value.size), Some(7));
    assert_eq!((before.list()[0].value.size, view.count()), (1, 2), "a snapshot does not change");
}

#[test]
fn what_does_not_parse_is_no_item_and_is_shown_with_its_error() {
    let driver = driver();
    let view = view(&driver, None);
    set(&driver, "a", "good", Some(json!(1)));
    set(&driver, "a", "bad", Some(json!("large")));
    let snapshot = view.snapshot();
    assert_eq!(sizes(&snapshot), [("good".to_owned(), 1)]);
    let [bad] = snapshot.unreadable() else { panic!("{:?}", snapshot.unreadable()) };
    assert!(&*bad.key.name == "bad" && bad.error.contains("large"), "{bad:?}");
    set(&driver, "a", "bad", Some(json!(3)));
    let mended = view.snapshot();
    assert_eq!((mended.count(), mended.unreadable().len()), (2, 0));
}

#[tokio::test]
async fn who_falls_behind_sees_the_newest_and_nothing_twice() {
    let driver = driver();
    let view = view(&driver, Some("a"));
    let mut changes = view.changes();
    assert_eq!(changes.next().await.map(|snapshot| snapshot.count()), Some(0));
    for size in 0..100 {
        set(&driver, "a", "x", Some(json!(size)));
    }
    let newest = changes.next().await.expect("it goes on");
    assert_eq!(sizes(&newest), [("x".to_owned(), 99)]);
    // Of another namespace, and without a difference.
    set(&driver, "b", "x", Some(json!(1)));
    set(&driver, "a", "x", Some(json!(99)));
    assert!(tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_err());
}

#[tokio::test]
async fn what_is_known_of_the_source_is_a_change_and_no_version() {
    let driver = driver();
    let view = view(&driver, None);
    let mut changes = view.changes();
    set(&driver, "a", "x", Some(json!(1)));
    let first = changes.next().await.expect("it goes on");
    assert!(!first.is_live());
    driver.with(|engine, now| engine.source_synced(now, &source()));
    let live = changes.next().await.expect("it goes on");
    assert!(live.is_live() && live.version() == first.version());
    driver.with(|engine, now| engine.source_unknown(now, &source(), "it is away"));
    let unknown = changes.next().await.expect("it goes on");
    assert_eq!((unknown.state(), unknown.count()), (&RegistryState::Unknown("it is away".into()), 1));
}

#[tokio::test]
async fn changes_end_with_the_host_and_the_view_keeps_what_it_knew() {
    let driver = driver();
    let view = view(&driver, None);
    set(&driver, "a", "x", Some(json!(1)));
    let mut changes = view.changes();
    assert!(changes.next().await.is_some());
    assert!(driver.stop(Duration::from_secs(1)).await);
    assert!(changes.next().await.is_none());
    drop(driver);
    assert_eq!(view.count(), 1);
    let mut late = view.changes();
    assert!(late.next().await.is_some() && late.next().await.is_none());
}
