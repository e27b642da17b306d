use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(namespace: &str, name: &str) -> Arc<Key> {
    Arc::new(Key::new("local", "g", "K", Some(namespace), name))
}

fn object(namespace: &str, name: &str, version: u64, data: &str) -> Object {
    let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": version.to_string()});
    Object::new(json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata, "data": data}), None)
}

fn names(registry: &Registry, namespace: Option<&str>) -> Vec<String> {
    let namespace = namespace.map(Name::from);
    registry.items(namespace.as_ref()).map(|item| item.key.name.to_string()).collect()
}

#[test]
fn the_version_moves_when_content_does_and_not_with_each_call() {
    let (mut registry, x) = (Registry::default(), key("a", "x"));
    assert_eq!(registry.version(None), 0);
    assert!(registry.changed(&x, Some(&object("a", "x", 1, "one"))));
    assert!(!registry.changed(&x, Some(&object("a", "x", 2, "one"))), "another resourceVersion");
    assert!(!registry.changed(&key("a", "y"), None), "it was not there");
    assert_eq!(registry.version(None), 1);
    assert!(registry.changed(&x, Some(&object("a", "x", 3, "two"))));
    assert!(registry.changed(&x, None));
    assert_eq!(registry.version(None), 3);
}

#[test]
fn what_the_host_keeps_in_the_metadata_is_no_content() {
    let plain = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "x", "labels": {"app": "a"}}});
    let mut kept = plain.clone();
    kept["metadata"]["finalizers"] = json!(["setpoint.dev/finalizer"]);
    kept["metadata"]["ownerReferences"] = json!([{"kind": "O", "name": "o", "uid": "u"}]);
    kept["metadata"]["labels"]["setpoint.dev/owner"] = json!("x");
    kept["metadata"]["annotations"] = json!({"setpoint.dev/owner-key": "y"});
    let (plain, kept) = (Object::new(plain, None), Object::new(kept, None));
    assert_eq!(content(&plain), content(&kept));
    assert!(Arc::ptr_eq(&content(&plain), plain.json()), "what has nothing to leave out is shared");
}

#[test]
fn a_namespace_has_a_version_of_its_own() {
    let mut registry = Registry::default();
    registry.changed(&key("a", "x"), Some(&object("a", "x", 1, "one")));
    let before = registry.version(Some(&"a".into()));
    registry.changed(&key("b", "x"), Some(&object("b", "x", 1, "one")));
    assert_eq!(registry.version(Some(&"a".into())), before);
    registry.changed(&key("a", "x"), None);
    assert!(registry.version(Some(&"a".into())) > before, "an empty namespace says that it has become so");
    assert_eq!(registry.version(Some(&"c".into())), 0);
}

#[test]
fn the_order_is_by_namespace_and_name_whatever_came_first() {
    let mut registry = Registry::default();
    for (namespace, name) in [("b", "a"), ("a", "z"), ("a", "b"), ("aa", "c")] {
        registry.changed(&key(namespace, name), Some(&object(namespace, name, 1, "")));
    }
    assert_eq!(names(&registry, None), ["b", "z", "c", "a"]);
    assert_eq!(names(&registry, Some("a")), ["b", "z"]);
    assert_eq!(names(&registry, Some("c")), [""; 0]);
}

#[test]
fn what_comes_again_has_a_generation_that_it_never_had() {
    let (mut registry, x) = (Registry::default(), key("a", "x"));
    let mut seen = Vec::new();
    for object in [Some(object("a", "x", 1, "one")), None, Some(object("a", "x", 2, "one"))] {
        registry.changed(&x, object.as_ref());
        seen.extend(registry.items(None).map(|item| item.generation));
    }
    assert_eq!(seen, [1, 3]);
}

#[test]
fn what_is_known_at_the_beginning_is_one_version() {
    let known = ["x", "y"].map(|name| (key("a", name), Arc::new(object("a", name, 1, name))));
    let registry = Registry::of(known.iter().map(|(key, object)| (key, object)));
    assert_eq!((registry.version(None), registry.version(Some(&"a".into()))), (1, 1));
    assert_eq!(registry.items(None).map(|item| item.generation).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(Registry::of([]).version(None), 0);
}

proptest! {
    /// Against a map and a counter: the version moves exactly with what the map shows.
    #[test]
    fn a_version_that_was_seen_before_is_the_content_that_was_seen_before(
        steps in prop::collection::vec((0..3usize, 0..3usize, prop::option::of(0..3u8)), 0..60)
    ) {
        let mut registry = Registry::default();
        let mut model: BTreeMap<(String, String), u8> = BTreeMap::new();
        let mut version = 0;
        for (number, (namespace, name, data)) in steps.into_iter().enumerate() {
            let place = (format!("n{namespace}"), format!("o{name}"));
            let before = model.clone();
            let object = data.map(|data| object(&place.0, &place.1, number as u64, &data.to_string()));
            match data {
                Some(data) => model.insert(place.clone(), data),
                None => model.remove(&place),
            };
            let moved = registry.changed(&key(&place.0, &place.1), object.as_ref());
            version += u64::from(before != model);
            prop_assert_eq!(moved, before != model);
            prop_assert_eq!(registry.version(None), version);
            let shown: Vec<_> = registry.items(None).map(|item| item.key.to_string()).collect();
            let expected: Vec<_> = model.keys().map(|(ns, name)| key(ns, name).to_string()).collect();
            prop_assert_eq!(shown, expected);
            prop_assert!(registry.items(None).all(|item| item.generation <= version));
            for namespace in ["n0", "n1", "n2"].map(Name::from) {
                let newest = registry.items(Some(&namespace)).map(|item| item.generation).max().unwrap_or_default();
                prop_assert!(registry.version(Some(&namespace)) >= newest);
            }
        }
    }
}
