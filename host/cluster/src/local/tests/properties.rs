//! The model against a simple one: the last document of each manager.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, json};
use setpoint_core::op::Refusal;

use super::*;

#[derive(Clone, Debug)]
struct Step {
    manager: usize,
    force: bool,
    /// Fields `f0`..`f4` of `spec.extra`, and their values.
    fields: BTreeMap<u8, u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fields = prop::collection::btree_map(0u8..5, 0u8..3, 0..5);
    let step = (0usize..3, any::<bool>(), fields);
    prop::collection::vec(step.prop_map(|(manager, force, fields)| Step { manager, force, fields }), 1..25)
}

const MANAGERS: [&str; 3] = ["setpoint/a", "setpoint/b", "setpoint/c"];

fn given(fields: &BTreeMap<u8, u8>) -> Value {
    if fields.is_empty() {
        return json!({});
    }
    let map: Map<String, Value> = fields.iter().map(|(f, v)| (format!("f{f}"), json!(v.to_string()))).collect();
    json!({"spec": {"extra": map}})
}

/// The same as a list that is merged by keys.
fn given_list(fields: &BTreeMap<u8, u8>) -> Value {
    if fields.is_empty() {
        return json!({});
    }
    let list: Vec<Value> = fields.iter().map(|(f, v)| json!({"id": format!("f{f}"), "run": v.to_string()})).collect();
    json!({"spec": {"steps": list}})
}

fn shown(object: &Object) -> BTreeMap<u8, u8> {
    let number = |text: &str| text.trim_start_matches('f').parse().expect("it is a number");
    let value = spec(object);
    let map = value.get("extra").and_then(Value::as_object);
    map.into_iter().flatten().map(|(f, v)| (number(f), number(v.as_str().expect("text")))).collect()
}

fn check(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = model();
    // What each manager owns; two may own a field only with the same value.
    let mut owned: [BTreeMap<u8, u8>; 3] = Default::default();
    let mut last: Option<Arc<Object>> = None;
    for step in steps {
        let clash: Vec<(usize, u8)> = (0..3)
            .filter(|other| *other != step.manager)
            .flat_map(|other| owned[other].iter().map(move |(f, v)| (other, *f, *v)))
            .filter(|(_, field, value)| step.fields.get(field).is_some_and(|wanted| wanted != value))
            .map(|(other, field, _)| (other, field))
            .collect();
        let before = owned.clone();
        let op = apply_op(&key("a"), MANAGERS[step.manager], step.force, given(&step.fields));
        let (answer, effects) = model.perform(0, &op);
        let result = done((answer, effects.clone()));
        if !clash.is_empty() && !step.force {
            let refused = result.expect_err("others own these fields with other values");
            let is_conflict = matches!(refused, Refusal::ManagerConflict { .. });
            prop_assert!(is_conflict, "{refused:?}");
            continue;
        }
        let (object, created) = result.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
        for (other, field) in clash {
            owned[other].remove(&field);
        }
        owned[step.manager] = step.fields.clone();
        let union: BTreeMap<u8, u8> = owned.iter().flatten().map(|(f, v)| (*f, *v)).collect();
        prop_assert_eq!(shown(&object), union, "the object holds exactly what managers own");
        prop_assert_eq!(created, last.is_none());
        let moved = last.as_ref().is_none_or(|last| last.resource_version() != object.resource_version());
        let same_owners = before == owned;
        if let Some(last) = &last {
            if !last.same_content(&object) {
                prop_assert!(moved, "content changed without a new version");
            }
            if same_owners {
                prop_assert!(!moved && effects.is_empty(), "nothing changed but the version");
            }
        }
        prop_assert_eq!(moved, !effects.events.is_empty());
        last = Some(object);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_object_is_the_union_of_what_its_managers_own(steps in steps()) {
        check(&steps)?;
    }

    #[test]
    fn a_row_that_was_written_is_read_back_as_the_same_object(steps in steps()) {
        let mut model = model();
        let mut rows = BTreeMap::new();
        for step in &steps {
            let op = apply_op(&key("a"), MANAGERS[step.manager], true, given(&step.fields));
            for mutation in model.perform(0, &op).1.mutations {
                match mutation {
                    super::super::Mutation::Put { table, key, bytes } => rows.insert((table, key), bytes),
                    super::super::Mutation::Remove { table, key } => rows.remove(&(table, key)),
                };
            }
        }
        let rows = rows.into_iter().map(|((table, key), bytes)| (table, key, bytes));
        let mut again = Model::load(1, rows).expect("rows that a model wrote can be read");
        again.install_kind(crd(&redis()));
        let (old, new) = (model.get(&key("a")), again.get(&key("a")));
        let (old, new) = (old.expect("it was made"), new.expect("it was kept"));
        prop_assert!(old.same_content(&new));
        prop_assert_eq!(old.resource_version(), new.resource_version());
        prop_assert_eq!(old.applied(), new.applied());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_list_merged_by_keys_never_loses_or_doubles_an_item(steps in steps()) {
        let mut model = model();
        for step in &steps {
            let op = apply_op(&key("a"), MANAGERS[step.manager], true, given_list(&step.fields));
            let (object, _) = done(model.perform(0, &op)).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
            let seen = shown_ids(&object);
            let unique: std::collections::BTreeSet<_> = seen.iter().collect();
            prop_assert_eq!(unique.len(), seen.len());
            for field in step.fields.keys() {
                let there = seen.contains(&format!("f{field}"));
                prop_assert!(there, "f{} is lost", field);
            }
            let (_, effects) = model.perform(0, &op);
            prop_assert!(effects.is_empty(), "the same apply again changes nothing");
        }
        for manager in MANAGERS {
            done(model.perform(0, &apply_op(&key("a"), manager, true, json!({})))).expect("nothing to refuse");
        }
        prop_assert!(shown_ids(&model.get(&key("a")).expect("it is there")).is_empty(), "nobody owns an item any more");
    }
}

fn shown_ids(object: &Object) -> Vec<String> {
    let steps = spec(object).get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    steps.iter().map(|step| step["id"].as_str().unwrap_or_default().to_owned()).collect()
}
