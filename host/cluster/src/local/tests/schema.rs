//! Schemas that evolve (rule D6).

use serde_json::json;
use setpoint_core::op::Refusal;

use super::*;

fn with(pointer: &str, value: Value) -> Crd {
    let mut definition = redis();
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let at = definition.pointer_mut(&format!("{properties}{pointer}")).expect("the definition has it");
    *at = value;
    crd(&definition)
}

#[test]
fn a_changed_default_is_a_change_of_content_and_not_of_the_generation() {
    let mut model = model();
    let (before, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    apply(&mut model, &key("b"), A, json!({"spec": {"mode": "single"}})).unwrap();
    let effects = model.install_kind(with("/mode/default", json!("sentinel")));
    let [(changed, Some(object))] = &effects.events[..] else { panic!("{effects:?}") };
    assert_eq!(**changed, key("a"));
    assert_eq!(spec(object), json!({"size": 1, "mode": "sentinel"}));
    assert_eq!(object.generation(), 1);
    assert_ne!(object.resource_version(), before.resource_version());
    assert!(model.install_kind(with("/mode/default", json!("sentinel"))).is_empty());
}

#[test]
fn an_object_that_does_not_fit_a_new_schema_keeps_its_content_and_shows_why() {
    let mut model = model();
    let (before, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let narrow = with("/size/minimum", json!(3));
    assert!(model.install_kind(narrow.clone()).events.is_empty());
    assert!(model.get(&key("a")).unwrap().same_content(&before), "defaults included");
    assert!(model.problems(&key("a"))[0].to_string().starts_with("spec.size: "));
    let (up, _) = done(model.perform(0, &status_op(&before, &key("a"), STATUS, json!({"phase": "Up"})))).unwrap();
    assert_eq!((up.value()["status"]["phase"].clone(), spec(&up)["mode"].clone()), (json!("Up"), json!("single")));
    let (kept, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1, "args": ["x"]}})).unwrap();
    assert_eq!(spec(&kept)["size"], 1, "what is wrong but unchanged is tolerated");
    let refused = apply(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid(_)));
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 5}})).unwrap();
    model.install_kind(narrow);
    assert!(model.problems(&key("a")).is_empty());
}

#[test]
fn a_field_that_a_schema_drops_comes_back_with_it() {
    let mut model = model();
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 1, "extra": {"p": "1"}}})).unwrap();
    let mut definition = redis();
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    definition.pointer_mut(properties).and_then(Value::as_object_mut).expect("it has it").remove("extra");
    model.install_kind(crd(&definition));
    assert_eq!(spec(&model.get(&key("a")).unwrap()), json!({"size": 1, "mode": "single"}));
    model.install_kind(crd(&redis()));
    assert_eq!(spec(&model.get(&key("a")).unwrap())["extra"], json!({"p": "1"}), "objects are kept as written");
}

#[test]
fn a_kind_that_is_not_served_hides_its_objects_and_deletes_nothing() {
    let mut model = model();
    let (before, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    model.remove_kind(&kind());
    assert!(model.get(&key("a")).is_none() && model.objects(&kind()).is_empty());
    assert!(done(model.perform(0, &delete_op(&before, &key("a")))).is_err());
    let effects = model.install_kind(crd(&redis()));
    assert!(effects.mutations.is_empty());
    assert!(matches!(&effects.events[..], [(_, Some(object))] if object.same_content(&before)));
}

#[test]
fn a_rule_that_forbids_a_change_is_told_apart_from_a_mistake() {
    let frozen = json!({"type": "integer", "minimum": 1, "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "message": "field is immutable"}]});
    let mut model = Model::new();
    model.install_kind(with("/size", frozen));
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let refused = apply(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap_err();
    assert!(matches!(refused, Refusal::Immutable(_)), "{refused:?}");
    let refused = apply(&mut model, &key("a"), A, json!({"spec": {"size": 2, "mode": "odd"}})).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid(_)), "making it anew would not help: {refused:?}");
}
