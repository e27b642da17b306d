//! What must hold for every schema and every object.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use setpoint_schema::{Crd, Part};
use support::{definition, thing};

const NAMES: [&str; 4] = ["a", "b_c", "d", "namespace"];

/// A structural schema whose defaults fit.
fn schema() -> impl Strategy<Value = Value> {
    let text = (any::<bool>(), any::<bool>()).prop_map(|(nullable, default)| {
        let mut node = json!({"type": "string", "maxLength": 3});
        if nullable {
            node["nullable"] = json!(true);
        }
        if default {
            node["default"] = json!("x");
        }
        node
    });
    let leaf = prop_oneof![
        text,
        Just(json!({"type": "integer", "minimum": 0})),
        Just(json!({"type": "integer", "default": 7})),
        Just(json!({"type": "boolean", "nullable": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "string", "enum": ["x", "y"], "x-kubernetes-validations": [{"rule": "self != 'y'"}]})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let object =
            (prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner.clone(), 0..4), any::<[bool; 3]>())
                .prop_map(|(properties, [default, preserve, nullable])| {
                    let mut node = json!({"type": "object", "properties": properties});
                    if default {
                        node["default"] = json!({});
                    }
                    if preserve {
                        node["x-kubernetes-preserve-unknown-fields"] = json!(true);
                    }
                    if nullable {
                        node["nullable"] = json!(true);
                    }
                    node
                });
        let list = (inner.clone(), any::<bool>()).prop_map(|(items, set)| {
            let scalar = items["type"] == "string";
            let mut node = json!({"type": "array", "items": items});
            if set && scalar {
                node["x-kubernetes-list-type"] = json!("set");
            }
            node
        });
        let map = inner.prop_map(|values| json!({"type": "object", "additionalProperties": values}));
        prop_oneof![object, list, map]
    })
}

/// A value that often has the fields of a schema, and often the wrong type.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..9_i64).prop_map(Value::from),
        Just(json!(1.5)),
        "[xyz]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(&["a", "b_c", "d", "namespace", "unknown"][..]),
                inner,
                0..5
            )
            .prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>()
            )),
        ]
    })
}

fn crd_of(schema: &Value) -> Crd {
    let whole = json!({"type": "object", "properties": {"spec": schema, "status": schema}});
    Crd::parse(&definition(whole), "v1").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn defaulting_and_pruning_once_is_enough(schema in schema(), spec in value()) {
        let crd = crd_of(&schema);
        let mut once = thing(spec);
        crd.default_and_prune(&mut once);
        let mut twice = once.clone();
        crd.default_and_prune(&mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn pruning_a_partial_document_once_is_enough_and_adds_nothing(schema in schema(), spec in value()) {
        let crd = crd_of(&schema);
        let before = thing(spec);
        let mut once = before.clone();
        crd.prune_partial(&mut once);
        let mut twice = once.clone();
        crd.prune_partial(&mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert!(is_within(&once, &before), "{} adds to {}", once, before);
    }

    #[test]
    fn an_admitted_object_is_admitted_again_as_it_is(schema in schema(), spec in value(), status in value()) {
        let crd = crd_of(&schema);
        let mut object = thing(spec);
        object["status"] = status;
        for part in [Part::Whole, Part::Spec, Part::Status] {
            let first = crd.admit(object.clone(), None, part);
            let second = crd.admit(first.object.clone(), None, part);
            prop_assert_eq!(&first.object, &second.object);
            prop_assert_eq!(&first.errors, &second.errors);
            prop_assert!(second.unknown.is_empty(), "{:?}", second.unknown);
        }
    }

    #[test]
    fn what_did_not_change_is_let_in_and_every_error_points_into_the_object(schema in schema(), spec in value()) {
        let crd = crd_of(&schema);
        let object = thing(spec);
        let first = crd.admit(object.clone(), None, Part::Whole);
        for error in &first.errors {
            prop_assert!(first.object.pointer(&error.path.pointer()).is_some(), "{}", error);
        }
        let again = crd.admit(object.clone(), Some(&object), Part::Whole);
        let duplicates = |errors: &[setpoint_schema::FieldError]| {
            errors.iter().filter(|e| e.kind == setpoint_schema::FieldErrorKind::Duplicate).count()
        };
        prop_assert_eq!(again.errors.len(), duplicates(&again.errors), "{:?}", again.errors);
        prop_assert_eq!(duplicates(&again.errors), 0);
    }

    #[test]
    fn no_document_makes_a_definition_panic(schema in value(), spec in value()) {
        let whole = json!({"type": "object", "properties": {"spec": schema, "metadata": spec}, "required": spec});
        if let Ok(crd) = Crd::parse(&definition(whole), "v1") {
            crd.admit(spec, None, Part::Whole);
        }
    }
}

/// Whether every leaf of `a` is in `b`.
fn is_within(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(k, a)| b.get(k).is_some_and(|b| is_within(a, b))),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_within(a, b)),
        _ => a == b,
    }
}
