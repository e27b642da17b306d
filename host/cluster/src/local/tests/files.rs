//! What files say (rules B5, D3, D5), and people.

use serde_json::json;
use setpoint_core::op::{Answer, Refusal};

use super::super::{FileRefusal, Table};
use super::*;

fn desired(model: &mut Model, key: &Key, given: Value) -> Effects {
    model.desired(1000, key, document(key, given), "redis/a.yaml").expect("the file is valid").effects
}

#[test]
fn a_file_makes_an_object_and_the_same_file_again_changes_nothing() {
    let mut model = model();
    let effects = desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    assert_eq!(effects.events.len(), 1);
    assert_eq!(model.file_of(&key("a")).as_deref(), Some("redis/a.yaml"));
    assert!(desired(&mut model, &key("a"), json!({"spec": {"size": 1}})).is_empty());
    let moved = model.desired(0, &key("a"), document(&key("a"), json!({"spec": {"size": 1}})), "b.yaml").unwrap();
    assert!(moved.effects.events.is_empty() && !moved.effects.mutations.is_empty(), "only the file is another");
    assert_eq!(model.files(), [(key("a"), "b.yaml".into())]);
}

#[test]
fn an_edit_moves_the_generation_and_what_was_taken_out_goes() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"metadata": {"labels": {"l": "1"}}, "spec": {"size": 1, "args": ["x"]}}));
    desired(&mut model, &key("a"), json!({"spec": {"size": 2}}));
    let object = model.get(&key("a")).unwrap();
    assert_eq!(object.generation(), 2);
    assert_eq!(spec(&object), json!({"size": 2, "mode": "single"}));
    assert!(object.labels().is_empty());
}

#[test]
fn an_invalid_file_leaves_the_last_good_content_and_shows_why() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    let before = model.get(&key("a")).unwrap();
    let refused = model.desired(0, &key("a"), document(&key("a"), json!({"spec": {"size": 0}})), "redis/a.yaml");
    let Err(FileRefusal::Invalid(errors)) = refused else { panic!("{refused:?}") };
    assert_eq!(errors[0].path.pointer(), "/spec/size");
    assert!(Arc::ptr_eq(&before, &model.get(&key("a")).unwrap()));
    let problem = model.problems(&key("a"))[0].to_string();
    assert!(problem.starts_with("redis/a.yaml: spec.size: "), "{problem}");
    assert_eq!(model.troubled().len(), 1);
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    assert!(model.problems(&key("a")).is_empty() && model.troubled().is_empty());
}

#[test]
fn unknown_fields_of_a_file_are_pruned_and_named() {
    let mut model = model();
    let given = document(&key("a"), json!({"spec": {"size": 1, "colour": "red"}}));
    let accepted = model.desired(0, &key("a"), given, "a.yaml").unwrap();
    assert_eq!(accepted.unknown.iter().map(ToString::to_string).collect::<Vec<_>>(), ["spec.colour"]);
    assert_eq!(spec(&model.get(&key("a")).unwrap()), json!({"size": 1, "mode": "single"}));
}

#[test]
fn with_strict_an_unknown_field_of_a_file_is_an_error_at_its_place_and_nothing_is_taken() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    model.set_strict(true);
    let given = document(&key("a"), json!({"spec": {"size": 2, "colour": "red"}}));
    let Err(FileRefusal::Invalid(errors)) = model.desired(0, &key("a"), given.clone(), "a.yaml") else {
        panic!("the field is not known")
    };
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error.path.pointer(), "/spec/colour");
    assert!(error.message.contains("no such field") && error.message.contains("strict"), "{error}");
    assert_eq!(spec(&model.get(&key("a")).unwrap())["size"], 1, "it keeps its last good content");
    let child = apply(&mut model, &key("child"), A, json!({"spec": {"size": 1, "colour": "red"}}));
    assert!(child.is_ok(), "what plugins return is pruned as ever");
    model.set_strict(false);
    assert_eq!(model.desired(0, &key("a"), given, "a.yaml").unwrap().unknown.len(), 1);
    assert_eq!(spec(&model.get(&key("a")).unwrap())["size"], 2);
}

#[test]
fn a_wrong_type_and_a_broken_rule_are_named_by_their_field_and_leave_the_last_good_content() {
    let mut definition = redis();
    let spec_schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    definition.pointer_mut(spec_schema).expect("it has one")["x-kubernetes-validations"] = json!([
        {"rule": "!has(self.size) || self.size != 13", "message": "13 brings bad luck"}]);
    let mut model = Model::new();
    model.install_kind(crd(&definition));
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    let before = model.get(&key("a")).unwrap();
    for (given, field, words) in [
        (json!({"spec": {"size": "many"}}), "/spec/size", "must be of type integer"),
        (json!({"spec": {"size": 13}}), "/spec", "13 brings bad luck"),
        (json!({"spec": {"args": [1]}}), "/spec/args/0", "must be of type string"),
    ] {
        let refused = model.desired(0, &key("a"), document(&key("a"), given), "a.yaml");
        let Err(FileRefusal::Invalid(errors)) = refused else { panic!("{refused:?}") };
        assert_eq!(errors[0].path.pointer(), field);
        assert!(errors[0].message.contains(words), "{}", errors[0]);
        assert!(Arc::ptr_eq(&before, &model.get(&key("a")).unwrap()));
    }
}

#[test]
fn a_kind_that_is_not_served_is_said_and_not_an_error_of_the_file() {
    let mut model = Model::new();
    let refused = model.desired(0, &key("a"), document(&key("a"), json!({})), "a.yaml");
    assert_eq!(refused.unwrap_err(), FileRefusal::UnknownKind("Redis.examples.setpoint.dev".into()));
}

#[test]
fn a_reconciler_cannot_apply_to_or_delete_what_a_file_defines() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    for refused in [
        apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap_err(),
        force(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap_err(),
        done(model.delete(0, &key("a"))).unwrap_err(),
    ] {
        let Refusal::Invalid(text) = refused else { panic!("{refused:?}") };
        assert!(text.contains("redis/a.yaml"), "{text}");
    }
    let object = model.get(&key("a")).unwrap();
    assert!(done(model.perform(0, &delete_op(&object, &key("a")))).is_err());
    assert!(done(model.perform(0, &status_op(&object, &key("a"), STATUS, json!({"phase": "Up"})))).is_ok());
    let (object, _) = done(model.annotate(0, &key("a"), "setpoint.dev/paused", Some("true"))).unwrap();
    assert_eq!(object.mark("setpoint.dev/paused"), Some("true"));
    desired(&mut model, &key("a"), json!({"spec": {"size": 2}}));
    let object = model.get(&key("a")).unwrap();
    assert_eq!(object.mark("setpoint.dev/paused"), Some("true"), "an edit of the file leaves what people said");
    assert_eq!(object.value()["status"]["phase"], "Up");
}

#[test]
fn a_child_that_a_file_defines_is_no_child_any_more() {
    let mut model = model();
    let marked = json!({"metadata": {"labels": {"setpoint.dev/owner": "one"}}, "data": {"child": "1"}});
    let (child, _) = apply(&mut model, &config_map("c"), A, marked).unwrap();
    let given = document(&config_map("c"), json!({"data": {"file": "1"}}));
    model.desired(0, &config_map("c"), given, "c.yaml").unwrap();
    let object = model.get(&config_map("c")).unwrap();
    assert_eq!(object.uid(), child.uid());
    assert_eq!(object.value()["data"], json!({"file": "1"}));
    assert!(object.labels().is_empty() && object.applied_by(A).is_none());
}

#[test]
fn an_object_whose_file_is_gone_goes_or_terminates() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"spec": {}}));
    let effects = model.undesired(0, &key("a"));
    assert!(matches!(&effects.events[..], [(_, None)]));
    desired(&mut model, &key("a"), json!({"spec": {}}));
    let object = model.get(&key("a")).unwrap();
    done(model.perform(0, &finalizer_op(&object, &key("a"), true))).unwrap();
    model.undesired(0, &key("a"));
    assert!(model.get(&key("a")).unwrap().terminating());
    assert!(model.undesired(0, &key("a")).is_empty());
    apply(&mut model, &key("child"), A, json!({"spec": {}})).unwrap();
    assert!(model.undesired(0, &key("child")).is_empty(), "what no file defines does not go with one");
}

/// Brings `a` to where it terminates while its file is back with size 2.
fn parked() -> (Model, Arc<Object>) {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"spec": {"size": 1}}));
    let object = model.get(&key("a")).unwrap();
    done(model.perform(0, &finalizer_op(&object, &key("a"), true))).unwrap();
    model.undesired(0, &key("a"));
    let effects = desired(&mut model, &key("a"), json!({"spec": {"size": 2}}));
    assert!(effects.events.is_empty() && !effects.mutations.is_empty());
    let object = model.get(&key("a")).unwrap();
    (model, object)
}

#[test]
fn a_file_that_comes_back_waits_until_the_object_is_gone() {
    let (mut model, old) = parked();
    assert!(old.terminating() && spec(&old)["size"] == 1, "it keeps its last content");
    assert_eq!(model.parked(&key("a")).as_deref(), Some("redis/a.yaml"));
    let (answer, effects) = model.perform(0, &finalizer_op(&old, &key("a"), false));
    assert!(matches!(answer, Answer::Absent));
    let [(_, None), (_, Some(new))] = &effects.events[..] else { panic!("{effects:?}") };
    assert_ne!(new.uid(), old.uid());
    assert_eq!((spec(new)["size"].clone(), new.generation(), new.terminating()), (json!(2), 1, false));
    assert_eq!(model.parked(&key("a")), None);
}

#[test]
fn a_waiting_file_that_goes_again_is_forgotten() {
    let (mut model, old) = parked();
    assert!(!model.undesired(0, &key("a")).is_empty());
    let (_, effects) = model.perform(0, &finalizer_op(&old, &key("a"), false));
    assert!(matches!(&effects.events[..], [(_, None)]));
}

#[test]
fn deletion_and_waiting_file_survive_a_restart() {
    let (model, old) = parked();
    let mut model = restarted(&model);
    assert!(model.get(&key("a")).unwrap().terminating());
    let (_, effects) = model.perform(0, &finalizer_op(&old, &key("a"), false));
    assert!(matches!(&effects.events[..], [(_, None), (_, Some(_))]));
}

/// Replays what a store would have kept: every record of the model.
fn restarted(model: &Model) -> Model {
    let rows = model.files().into_iter().map(|(key, _)| {
        let stored = &model.record(&key).expect("it has a file").stored;
        (Table::Records, key.to_string(), serde_json::to_vec(stored).expect("it is JSON"))
    });
    let mut model = Model::load(9, rows).expect("rows that a model wrote can be read");
    model.install_kind(crd(&redis()));
    model
}

#[test]
fn an_annotation_that_the_file_sets_is_changed_there() {
    let mut model = model();
    desired(&mut model, &key("a"), json!({"metadata": {"annotations": {"setpoint.dev/paused": "true"}}, "spec": {}}));
    let refused = done(model.annotate(0, &key("a"), "setpoint.dev/paused", None)).unwrap_err();
    assert!(refused.to_string().contains("redis/a.yaml"), "{refused}");
    done(model.annotate(0, &key("a"), "one", Some("1"))).unwrap();
    done(model.annotate(0, &key("a"), "two", Some("2"))).unwrap();
    let (object, _) = done(model.annotate(0, &key("a"), "one", None)).unwrap();
    assert_eq!(object.value()["metadata"]["annotations"], json!({"setpoint.dev/paused": "true", "two": "2"}));
    assert!(matches!(model.annotate(0, &key("missing"), "one", None).0, Answer::Absent));
}

#[test]
fn people_delete_children_as_with_kubectl() {
    let mut model = model();
    apply(&mut model, &key("a"), A, json!({"spec": {}})).unwrap();
    assert!(matches!(model.delete(0, &key("a")).0, Answer::Absent));
    assert!(matches!(model.delete(0, &key("a")).0, Answer::Absent));
}
