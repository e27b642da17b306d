//! Read your own writes, checked case by case and against a server that shows its past late.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key() -> Key {
    Key::new("local", "", "ConfigMap", Some("default"), "a")
}

fn object(version: &str, data: u64) -> Arc<Object> {
    Arc::new(Object::new(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"n": data.to_string()},
               "metadata": {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": version}}),
        None,
    ))
}

fn version(cache: &Cache) -> Option<String> {
    let id = cache.keys().find(&key())?;
    cache.view(id).map(|o| o.resource_version().to_owned())
}

#[test]
fn a_read_never_sees_an_older_version_than_the_last_write_answered() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("5", 1)));
    assert!(cache.wrote(0, &key(), object("9", 2)).is_some());
    assert!(cache.observed(&key(), Some(object("7", 3))).is_none(), "an older version is not shown");
    assert_eq!(version(&cache).as_deref(), Some("9"));
    assert!(cache.observed(&key(), Some(object("9", 2))).is_none(), "the echo is no change");
    assert_eq!(cache.overlays(), 0);
    assert!(cache.observed(&key(), Some(object("10", 4))).is_some());
}

#[test]
fn a_write_that_changed_no_version_makes_no_overlay() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("5", 1)));
    assert!(cache.wrote(0, &key(), object("5", 1)).is_none());
    assert_eq!(cache.overlays(), 0);
}

#[test]
fn versions_that_are_no_integers_are_caught_up_by_that_very_version() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("a5", 1)));
    cache.wrote(0, &key(), object("b1", 2));
    assert!(cache.observed(&key(), Some(object("z", 3))).is_none());
    cache.observed(&key(), Some(object("b1", 2)));
    assert_eq!(cache.overlays(), 0);
}

#[test]
fn a_bookmark_catches_up_an_object_that_left_the_filter() {
    let mut cache = Cache::default();
    cache.wrote(0, &key(), object("9", 2));
    let behind = cache.bookmark(&key().source(), &Scope::All, "12");
    assert_eq!(behind.len(), 1);
    assert!(cache.reached(behind[0], &Scope::All, "12").is_some());
    assert_eq!(version(&cache), None);
}

#[test]
fn a_tombstone_hides_the_old_object_and_not_its_successor() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("5", 1)));
    assert!(cache.wrote_absence(0, &key()).is_some());
    assert!(cache.observed(&key(), Some(object("6", 1))).is_none());
    assert_eq!(version(&cache), None);
    let mut successor = object("8", 1).value();
    successor["metadata"]["uid"] = json!("v");
    successor["metadata"]["resourceVersion"] = json!("8");
    assert!(cache.observed(&key(), Some(Arc::new(Object::new(successor, None)))).is_some());
}

fn of_uid(uid: &str, version: &str) -> Arc<Object> {
    let mut value = object(version, 1).value();
    value["metadata"]["uid"] = json!(uid);
    value["metadata"]["resourceVersion"] = json!(version);
    Arc::new(Object::new(value, None))
}

#[test]
fn an_answer_that_comes_late_does_not_take_back_what_came_after_it() {
    let mut cache = Cache::default();
    // One attempt makes it, a person deletes it, another attempt makes it again and is answered first.
    assert!(cache.wrote(0, &key(), of_uid("second", "9")).is_some());
    assert!(cache.wrote(1, &key(), of_uid("first", "5")).is_none());
    assert_eq!(version(&cache).as_deref(), Some("9"));
    for version in ["5", "9"] {
        cache.observed(&key(), Some(of_uid(if version == "5" { "first" } else { "second" }, version)));
        cache.observed(&key(), (version == "9").then(|| of_uid("second", "9")));
    }
    assert_eq!((version(&cache).as_deref(), cache.overlays()), (Some("9"), 0));
    // What was deleted since is not there again.
    assert!(cache.wrote_absence(2, &key()).is_some());
    assert!(cache.wrote(3, &key(), of_uid("second", "10")).is_none());
    assert_eq!(version(&cache), None);
    assert!(cache.wrote(4, &key(), of_uid("third", "12")).is_some());
}

#[test]
fn a_source_that_is_unknown_answers_unknown_whatever_it_held() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("5", 1)));
    let id = cache.intern(&key());
    cache.set_state(&key().source(), SourceState::Unknown("away".into()));
    assert!(matches!(cache.seen(id), Seen::Unknown(_)));
    cache.set_state(&key().source(), SourceState::Synced);
    assert!(matches!(cache.seen(id), Seen::Present(_)));
    cache.observed(&key(), None);
    assert!(matches!(cache.seen(id), Seen::Absent));
    let other = cache.intern(&Key::new("local", "", "Secret", Some("default"), "a"));
    assert!(matches!(cache.seen(other), Seen::Unknown(_)));
}

#[test]
fn an_overlay_that_is_never_caught_up_wants_a_live_read() {
    let mut cache = Cache::default();
    cache.wrote(0, &key(), object("9", 2));
    assert!(cache.stale_overlays(OVERLAY_MAX_AGE - 1).is_empty());
    assert_eq!(cache.stale_overlays(OVERLAY_MAX_AGE).len(), 1);
    assert!(cache.stale_overlays(OVERLAY_MAX_AGE).is_empty(), "named once a minute");
    cache.read_live(OVERLAY_MAX_AGE, &key(), None);
    assert_eq!(version(&cache), None);
    // It is gone; what the watch shows of it may still be under way, but not for ever.
    assert_eq!(cache.stale_overlays(OVERLAY_MAX_AGE * 2).len(), 1);
    cache.read_live(OVERLAY_MAX_AGE * 2, &key(), None);
    assert_eq!(cache.overlays(), 0);
    assert!(cache.stale_overlays(OVERLAY_MAX_AGE * 3).is_empty());
}

#[test]
fn what_was_read_to_be_gone_is_not_shown_as_it_was_before_the_watch_had_shown_anything() {
    let mut cache = Cache::default();
    assert!(cache.read_live(0, &key(), Some(object("34", 2))).is_some());
    assert!(cache.read_live(1, &key(), None).is_some());
    assert!(cache.read_live(2, &key(), None).is_none(), "again");
    for late in [object("25", 1), of_uid("before", "12"), object("34", 2)] {
        assert!(cache.observed(&key(), Some(late)).is_none());
        assert_eq!(version(&cache), None);
    }
    assert!(cache.observed(&key(), None).is_none());
    assert_eq!(cache.overlays(), 0, "the watch has shown its end");
    assert!(cache.observed(&key(), Some(of_uid("after", "40"))).is_some());
}

#[test]
fn what_a_live_read_answers_hides_older_versions_that_are_still_under_way() {
    let mut cache = Cache::default();
    cache.observed(&key(), Some(object("5", 1)));
    assert!(cache.read_live(0, &key(), Some(object("9", 3))).is_some());
    assert!(cache.observed(&key(), Some(object("7", 2))).is_none());
    assert_eq!(version(&cache).as_deref(), Some("9"));
    cache.observed(&key(), Some(object("9", 3)));
    assert_eq!(cache.overlays(), 0);
    cache.read_live(0, &key(), None);
    assert!(cache.observed(&key(), Some(object("9", 3))).is_none());
    assert_eq!(version(&cache), None);
    cache.observed(&key(), None);
    assert_eq!(cache.overlays(), 0);
}

proptest! {
    /// A server counts versions; the watch shows each version later, in order; this host writes in
    /// between. The view is never older than the last write that this host knows the answer of,
    /// and in the end it is what the server has.
    #[test]
    fn the_view_never_goes_back_and_ends_right(steps in proptest::collection::vec(0u8..4, 1..80)) {
        let mut cache = Cache::default();
        let (mut server, mut shown, mut wrote) = (1u64, 0u64, 0u64);
        for (now, step) in steps.into_iter().enumerate() {
            match step {
                0 => server += 1,
                1 => {
                    server += 1;
                    wrote = server;
                    cache.wrote(now as u64, &key(), object(&server.to_string(), server));
                }
                _ if shown < server => {
                    shown += 1;
                    cache.observed(&key(), Some(object(&shown.to_string(), shown)));
                }
                _ => {}
            }
            let view: u64 = version(&cache).and_then(|v| v.parse().ok()).unwrap_or(0);
            prop_assert!(view >= wrote && view <= server);
        }
        while shown < server {
            shown += 1;
            cache.observed(&key(), Some(object(&shown.to_string(), shown)));
        }
        prop_assert_eq!(version(&cache), Some(server.to_string()));
        prop_assert_eq!(cache.overlays(), 0);
    }
}
