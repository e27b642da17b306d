//! Reflectors of parts of a kind, told to an engine without plugins: what is seen, and what is not.

use serde_json::json;

use super::*;
use crate::cache::Seen;
use crate::effects::OWNER_LABEL;
use crate::engine::{ClusterFacts, Options};

fn engine() -> Engine {
    let mut engine = Engine::new(Options::default(), Arc::new(()));
    engine.add_cluster(0, &"hub".into(), ClusterFacts::of("hub"));
    engine
}

fn source() -> Source {
    Source::new("hub", "", "ConfigMap")
}

fn key(namespace: &str, name: &str) -> Key {
    Key::new("hub", "", "ConfigMap", Some(namespace), name)
}

fn object(namespace: &str, name: &str, version: u64, mark: Option<&str>) -> Arc<Object> {
    let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"n": version.to_string()},
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": version.to_string()}});
    if let Some(mark) = mark {
        value["metadata"]["labels"] = json!({OWNER_LABEL: mark});
    }
    Arc::new(Object::new(value, None))
}

fn show(engine: &mut Engine, scope: &Scope, namespace: &str, name: &str, version: u64, mark: Option<&str>) {
    let object = object(namespace, name, version, mark);
    engine.told(0, &source(), scope, Told::Object(key(namespace, name), Some(object)));
}

fn end(engine: &mut Engine, scope: &Scope, version: &str) {
    engine.told(0, &source(), scope, Told::ListEnds { version: version.into() });
}

fn names(engine: &Engine) -> Vec<String> {
    engine.cache().list(&source()).map(|(id, _)| engine.cache().keys().key(id).name.to_string()).collect()
}

#[test]
fn a_list_takes_away_what_it_has_not_shown_and_not_before_it_is_complete() {
    let mut engine = engine();
    engine.told(0, &source(), &Scope::All, Told::ListBegins);
    show(&mut engine, &Scope::All, "d", "a", 1, None);
    show(&mut engine, &Scope::All, "d", "b", 2, None);
    assert!(matches!(engine.cache().read_by_key(&key("d", "c")), Seen::Unknown(_)));
    end(&mut engine, &Scope::All, "2");
    assert!(matches!(engine.cache().read_by_key(&key("d", "c")), Seen::Absent));

    engine.told(10, &source(), &Scope::All, Told::ListBegins);
    show(&mut engine, &Scope::All, "d", "b", 2, None);
    assert_eq!(names(&engine), ["a", "b"], "it is not complete yet");
    // It breaks off, and is begun anew.
    engine.told(20, &source(), &Scope::All, Told::ListBegins);
    show(&mut engine, &Scope::All, "d", "a", 1, None);
    end(&mut engine, &Scope::All, "9");
    assert_eq!(names(&engine), ["a"], "what only the broken one has shown is not in the list");
}

#[test]
fn what_cannot_be_read_is_not_gone() {
    let mut engine = engine();
    show(&mut engine, &Scope::All, "d", "a", 1, None);
    engine.told(10, &source(), &Scope::All, Told::ListBegins);
    engine.told(11, &source(), &Scope::All, Told::Unreadable(key("d", "a")));
    end(&mut engine, &Scope::All, "9");
    assert_eq!(names(&engine), ["a"]);
}

#[test]
fn a_list_of_one_namespace_says_nothing_of_another() {
    let mut engine = engine();
    let (a, b) = (Scope::Namespace("a".into()), Scope::Namespace("b".into()));
    for (scope, namespace) in [(&a, "a"), (&b, "b")] {
        engine.told(0, &source(), scope, Told::ListBegins);
        show(&mut engine, scope, namespace, namespace, 1, None);
        end(&mut engine, scope, "1");
    }
    engine.told(0, &source(), &a, Told::ListBegins);
    end(&mut engine, &a, "5");
    assert_eq!(names(&engine), ["b"]);
    assert!(matches!(engine.cache().read_by_key(&key("a", "a")), Seen::Absent));
    assert!(matches!(engine.cache().read_by_key(&key("c", "a")), Seen::Unknown(_)));
    engine.told(0, &source(), &b, Told::Unknown { reason: "away".into() });
    assert!(matches!(engine.cache().read_by_key(&key("b", "b")), Seen::Unknown(_)));
    assert!(matches!(engine.cache().read_by_key(&key("a", "a")), Seen::Absent));
    engine.told(0, &source(), &b, Told::Known);
    assert!(matches!(engine.cache().read_by_key(&key("b", "b")), Seen::Present(_)));
}

#[test]
fn an_object_that_loses_its_mark_is_still_there_for_who_watches_it_by_name() {
    let mut engine = engine();
    let (owned, single) = (Scope::Owned(None), Scope::Object(Some("d".into()), "a".into()));
    for scope in [&owned, &single] {
        engine.told(0, &source(), scope, Told::ListBegins);
        show(&mut engine, scope, "d", "a", 1, Some("m"));
        end(&mut engine, scope, "1");
    }
    // The watch of marked objects tells that it is gone from there, whichever of the two is faster.
    engine.told(0, &source(), &owned, Told::Object(key("d", "a"), None));
    assert_eq!(names(&engine), ["a"]);
    show(&mut engine, &single, "d", "a", 2, None);
    engine.told(0, &source(), &owned, Told::ListBegins);
    end(&mut engine, &owned, "3");
    assert_eq!(names(&engine), ["a"]);
    engine.told(0, &source(), &single, Told::Object(key("d", "a"), None));
    assert!(names(&engine).is_empty());
}

#[test]
fn of_what_is_not_watched_any_more_nothing_is_known() {
    let mut engine = engine();
    let (owned, single) = (Scope::Owned(None), Scope::Object(Some("d".into()), "a".into()));
    for scope in [&owned, &single] {
        engine.told(0, &source(), scope, Told::ListBegins);
        end(&mut engine, scope, "1");
    }
    show(&mut engine, &single, "d", "a", 2, None);
    show(&mut engine, &owned, "d", "b", 3, Some("m"));
    engine.told(0, &source(), &single, Told::Ended);
    assert_eq!(names(&engine), ["b"]);
    assert!(matches!(engine.cache().read_by_key(&key("d", "a")), Seen::Unknown(_)));
    assert!(matches!(engine.cache().seen_by_key(&key("d", "a")), Seen::Absent), "as a child it is nobody's");
}

#[test]
fn after_a_take_over_only_what_differs_is_read_live() {
    let mut engine = engine();
    engine.told(0, &source(), &Scope::All, Told::ListBegins);
    for (name, version) in [("a", 1), ("b", 2), ("c", 3), ("d", 9)] {
        show(&mut engine, &Scope::All, "d", name, version, None);
    }
    end(&mut engine, &Scope::All, "4");
    let listed = |name: &str, uid: &str, version: &str| Checked {
        key: key("d", name),
        uid: uid.into(),
        version: version.into(),
    };
    // `a` as known, `b` moved on, `c` another object, `d` newer than the list, `e` new.
    let list = [listed("a", "a", "1"), listed("b", "b", "5"), listed("c", "other", "3"), listed("e", "e", "6")];
    let live = engine.checked(20, &source(), &Scope::All, (10, "7"), &list);
    let live: Vec<&str> = live.iter().map(|key| &*key.name).collect();
    assert_eq!(live, ["b", "c", "e"]);
    assert_eq!(names(&engine), ["a", "b", "c", "d"]);
    let live = engine.checked(20, &source(), &Scope::All, (10, "11"), &list[..1]);
    assert!(live.is_empty());
    assert_eq!(names(&engine), ["a"], "what the server does not have any more is gone");
}

#[test]
fn what_was_read_live_gives_way_to_what_was_heard_since() {
    let mut engine = engine();
    engine.told(0, &source(), &Scope::All, Told::ListBegins);
    end(&mut engine, &Scope::All, "1");
    let version = |engine: &Engine| match engine.cache().read_by_key(&key("d", "a")) {
        Seen::Present(object) => Some(object.resource_version().to_owned()),
        _ => None,
    };
    // Nothing else was heard: it is as it was read.
    let read = engine.live_read(&key("d", "a"));
    assert!(engine.read_back(1, &read, None));
    assert_eq!(version(&engine), None);

    // It was made while the answer that it is not there was on its way.
    let read = engine.live_read(&key("d", "a"));
    show(&mut engine, &Scope::All, "d", "a", 3, None);
    assert!(!engine.read_back(2, &read, None), "which of the two came first is not known: it is to be read again");
    assert_eq!(version(&engine).as_deref(), Some("3"));

    // An older state is of no use, a newer one is.
    let read = engine.live_read(&key("d", "a"));
    show(&mut engine, &Scope::All, "d", "a", 5, None);
    assert!(engine.read_back(3, &read, Some(object("d", "a", 4, None))));
    assert_eq!(version(&engine).as_deref(), Some("5"));
    assert!(engine.read_back(3, &read, Some(object("d", "a", 6, None))));
    assert_eq!(version(&engine).as_deref(), Some("6"));
}
