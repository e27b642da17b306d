//! The index against a model that asks every reader about every change.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::key::{Key, Keys};

#[derive(Clone, Debug)]
struct Content {
    namespace: u8,
    label: Option<u8>,
    refs: Vec<u8>,
    noise: u8,
}

fn content() -> impl Strategy<Value = Content> {
    (0u8..2, proptest::option::of(0u8..2), proptest::collection::vec(0u8..3, 0..3), 0u8..3)
        .prop_map(|(namespace, label, refs, noise)| Content { namespace, label, refs, noise })
}

fn object(content: &Content) -> Object {
    let labels = content.label.map_or(json!({}), |l| json!({"app": l.to_string()}));
    Object::new(
        json!({"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": "x", "namespace": format!("n{}", content.namespace), "uid": "u", "labels": labels},
               "refs": content.refs.iter().map(ToString::to_string).collect::<Vec<_>>(), "noise": content.noise}),
        None,
    )
}

fn source() -> Source {
    Source::new("local", "", "ConfigMap")
}

fn list(namespace: Option<u8>, label: Option<u8>, value: Option<u8>, masked: bool, deps: &mut Deps) -> List {
    let refs = Path::parse(".refs[*]").unwrap_or_else(|e| panic!("{e}"));
    let mask = if masked { Mask::parse(&[".refs"]).unwrap_or_default() } else { Mask::all() };
    List {
        source: source(),
        namespace: namespace.map(|n| format!("n{n}").into()),
        selector: label.map_or_else(Selector::default, |l| Selector::equals("app", &l.to_string())),
        index: value.map(|v| (refs, v.to_string())),
        mask: deps.intern_mask(&mask),
    }
}

type Question = (Option<u8>, Option<u8>, Option<u8>, bool);

fn question() -> impl Strategy<Value = Question> {
    (proptest::option::of(0u8..2), proptest::option::of(0u8..2), proptest::option::of(0u8..3), any::<bool>())
}

fn concerned_keys(deps: &Deps, target: KeyId, old: Option<&Object>, new: Option<&Object>) -> Vec<u32> {
    let mut keys: Vec<u32> = deps
        .concerned(target, &source(), old, new)
        .iter()
        .flat_map(|c| {
            c.readers.iter().filter(|(_, m)| c.masks.as_ref().is_none_or(|masks| masks.contains(m))).map(|(k, _)| k.0)
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_change_concerns_just_the_readers_that_see_it(
        questions in proptest::collection::vec(question(), 1..20),
        removed in proptest::collection::vec(any::<bool>(), 20),
        old in proptest::option::of(content()),
        new in proptest::option::of(content()),
    ) {
        let mut deps = Deps::default();
        let mut sets = Vec::new();
        for (reader, (ns, label, value, masked)) in questions.iter().enumerate() {
            let list = list(*ns, *label, *value, *masked, &mut deps);
            let id = deps.add_list(KeyId(reader as u32), list.clone());
            sets.push((reader as u32, list, id));
        }
        for (reader, _, id) in &sets {
            if removed[*reader as usize] {
                deps.replace(KeyId(*reader), &ReadSet { lists: vec![*id], ..Default::default() }, &ReadSet::default());
            }
        }
        let (old, new) = (old.as_ref().map(object), new.as_ref().map(object));
        let mut expected: Vec<u32> = sets
            .iter()
            .filter(|(reader, list, _)| {
                if removed[*reader as usize] { return false }
                let was = old.as_ref().filter(|o| list.matches(o));
                let is = new.as_ref().filter(|o| list.matches(o));
                match (was, is) {
                    (None, None) => false,
                    (Some(a), Some(b)) => deps.mask(list.mask).view(a) != deps.mask(list.mask).view(b),
                    _ => true,
                }
            })
            .map(|(reader, ..)| *reader)
            .collect();
        expected.sort_unstable();
        prop_assert_eq!(concerned_keys(&deps, KeyId(99), old.as_ref(), new.as_ref()), expected);
    }
}

#[test]
fn an_absent_object_that_comes_concerns_who_asked_for_it() {
    let mut deps = Deps::default();
    let mut keys = Keys::default();
    let target = keys.intern(&Key::new("local", "", "ConfigMap", Some("n0"), "x"));
    deps.add_get(KeyId(7), target, MaskId::ALL);
    let new = object(&Content { namespace: 0, label: None, refs: vec![], noise: 0 });
    assert_eq!(concerned_keys(&deps, target, None, Some(&new)), [7]);
    let set = ReadSet { gets: vec![(target, MaskId::ALL)], ..Default::default() };
    deps.replace(KeyId(7), &set, &ReadSet::default());
    assert!(!deps.is_read(target) && deps.edges() == 0);
}

#[test]
fn a_fan_out_keeps_its_readers_while_the_index_changes() {
    let mut deps = Deps::default();
    (0..5).for_each(|reader| deps.add_get(KeyId(reader), KeyId(50), MaskId::ALL));
    let new = object(&Content { namespace: 0, label: None, refs: vec![], noise: 0 });
    let concerned = deps.concerned(KeyId(50), &source(), None, Some(&new));
    let set = ReadSet { gets: vec![(KeyId(50), MaskId::ALL)], ..Default::default() };
    deps.replace(KeyId(0), &set, &ReadSet::default());
    assert_eq!(concerned[0].readers.len(), 5);
}
