//! Server-side apply, status and child rules (rules B1, B2, B4, B15, D5).

use serde_json::json;
use setpoint_core::op::{Answer, Op, Precondition, Refusal};

use super::*;

#[test]
fn an_apply_makes_an_object_with_everything_a_server_sets() {
    let mut model = model();
    let (object, created) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    assert!(created);
    let value = object.value();
    assert_eq!(value["apiVersion"], "examples.setpoint.dev/v1");
    assert_eq!(value["metadata"]["namespace"], "default");
    assert_eq!(value["metadata"]["creationTimestamp"], "1970-01-01T00:00:01Z");
    assert_eq!(object.generation(), 1);
    assert_eq!(object.uid().len(), 36);
    assert_eq!(value["spec"], json!({"size": 1, "mode": "single"}), "defaults are put in on reading (D6)");
}

#[test]
fn an_apply_that_changes_nothing_leaves_no_trace() {
    let mut model = model();
    let (first, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let (answer, effects) = model.perform(2000, &apply_op(&key("a"), A, false, json!({"spec": {"size": 1}})));
    assert!(effects.is_empty());
    let Answer::Applied { object, created: false } = answer else { panic!("{answer:?}") };
    assert!(Arc::ptr_eq(&first, &object));
}

#[test]
fn fields_that_are_not_given_any_more_go_unless_another_manager_gives_them() {
    let mut model = model();
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 1, "args": ["x"], "extra": {"p": "1", "q": "2"}}}))
        .unwrap();
    apply(&mut model, &key("a"), B, json!({"spec": {"extra": {"q": "2"}}})).unwrap();
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    assert_eq!(spec(&object), json!({"size": 1, "mode": "single", "extra": {"q": "2"}}));
    let (object, _) = apply(&mut model, &key("a"), B, json!({})).unwrap();
    assert_eq!(spec(&object), json!({"size": 1, "mode": "single"}));
    assert!(object.applied_by(B).is_none());
}

#[test]
fn a_conflict_names_managers_and_fields_and_force_takes_them_over() {
    let mut model = model();
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 1, "args": ["x"]}})).unwrap();
    let refused = apply(&mut model, &key("a"), B, json!({"spec": {"size": 2, "args": ["x"]}}));
    let conflict = Refusal::ManagerConflict { managers: vec![A.into()], fields: vec!["spec.size".into()] };
    assert_eq!(refused.unwrap_err(), conflict);
    let (object, _) = force(&mut model, &key("a"), B, json!({"spec": {"size": 2}})).unwrap();
    assert_eq!(spec(&object)["size"], 2);
    assert!(!object.applied_by(A).unwrap().touches(&["spec", "size"]));
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"args": ["x"]}})).unwrap();
    assert_eq!(spec(&object)["size"], 2, "what was lost to another is not taken away by leaving it out");
}

#[test]
fn another_owners_mark_is_a_conflict() {
    let mut model = model();
    let marked = |owner: &str| json!({"metadata": {"labels": {"setpoint.dev/owner": owner}}, "data": {"k": "v"}});
    apply(&mut model, &config_map("c"), A, marked("one")).unwrap();
    let refused = apply(&mut model, &config_map("c"), B, marked("two")).unwrap_err();
    let Refusal::ManagerConflict { fields, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(fields, ["metadata.labels.setpoint.dev/owner"]);
}

#[test]
fn owned_objects_are_listed_by_their_mark_whatever_else_changes() {
    let mut model = model();
    let list = |model: &mut Model, owner: &str| {
        let op = Op::ListOwned { cluster: "local".into(), kind: GroupKind::new("", "ConfigMap"), owner: owner.into() };
        match model.perform(0, &op).0 {
            Answer::Listed(list) => list.into_iter().map(|(key, _)| key.name.to_string()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let marked = |owner: &str| json!({"metadata": {"labels": {"setpoint.dev/owner": owner}}});
    apply(&mut model, &config_map("a"), A, marked("one")).unwrap();
    apply(&mut model, &config_map("b"), A, marked("one")).unwrap();
    let (b, _) = apply(&mut model, &config_map("b"), A, marked("two")).unwrap();
    assert_eq!((list(&mut model, "one"), list(&mut model, "two")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert!(matches!(model.perform(0, &delete_op(&b, &config_map("b"))).0, Answer::Absent));
    assert!(list(&mut model, "two").is_empty());
}

#[test]
fn lists_are_replaced_as_a_whole_but_map_lists_are_merged_by_their_keys() {
    let mut model = model();
    let steps = |ids: &[&str]| ids.iter().map(|id| json!({"id": id, "run": "x"})).collect::<Vec<_>>();
    apply(&mut model, &key("a"), A, json!({"spec": {"steps": steps(&["one", "two"]), "args": ["a"]}})).unwrap();
    assert!(apply(&mut model, &key("a"), B, json!({"spec": {"args": ["b"]}})).is_err());
    let other = json!({"spec": {"steps": [{"id": "three", "run": "y"}, {"id": "two", "note": "mine"}]}});
    apply(&mut model, &key("a"), B, other.clone()).unwrap();
    let ours = json!({"spec": {"steps": steps(&["two", "one"])}});
    apply(&mut model, &key("a"), A, ours.clone()).unwrap();
    let (object, _) = apply(&mut model, &key("a"), B, other).unwrap();
    assert!(model.perform(0, &apply_op(&key("a"), A, false, ours)).1.is_empty(), "both orders hold: no fight");
    assert_eq!(
        spec(&object)["steps"],
        json!([{"id": "three", "run": "y"}, {"id": "two", "run": "x", "note": "mine"}, {"id": "one", "run": "x"}])
    );
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"steps": steps(&["one"])}})).unwrap();
    let ids: Vec<_> = spec(&object)["steps"].as_array().unwrap().iter().map(|step| step["id"].clone()).collect();
    assert_eq!(ids, ["three", "two", "one"], "an item that another manager gives too stays");
    assert_eq!(spec(&object)["steps"][1], json!({"id": "two", "note": "mine"}));
}

#[test]
fn generation_moves_with_given_content_only() {
    let mut model = model();
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let labelled = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"size": 1}});
    let (labelled, _) = apply(&mut model, &key("a"), A, labelled).unwrap();
    assert_eq!(labelled.generation(), 1);
    assert!(labelled.resource_version() > object.resource_version());
    let (object, _) = done(model.perform(0, &status_op(&labelled, &key("a"), STATUS, json!({"phase": "Up"})))).unwrap();
    assert_eq!(object.generation(), 1);
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap();
    assert_eq!(object.generation(), 2);
}

#[test]
fn a_precondition_that_does_not_hold_is_a_version_conflict() {
    let mut model = model();
    let (old, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    apply(&mut model, &key("a"), A, json!({"spec": {"size": 2}})).unwrap();
    let with = |key: &Key, precondition| match apply_op(key, A, false, json!({"spec": {"size": 3}})) {
        Op::Apply { key, object, manager, force, .. } => {
            Op::Apply { key, object, manager, force, precondition: Some(precondition) }
        }
        other => other,
    };
    let stale = Precondition::version_of(&old);
    let another = Precondition { uid: "another".into(), resource_version: None };
    let any = Precondition { uid: old.uid().into(), resource_version: None };
    for (key, precondition) in [(key("a"), stale), (key("a"), another), (key("gone"), any.clone())] {
        let refused = done(model.perform(0, &with(&key, precondition))).unwrap_err();
        assert!(matches!(refused, Refusal::VersionConflict(_)), "{refused:?}");
    }
    assert!(done(model.perform(0, &with(&key("a"), any))).is_ok());
}

#[test]
fn conditions_of_others_are_kept_and_own_ones_that_are_left_out_go() {
    let mut model = model();
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}})).unwrap();
    let other = json!({"conditions": [condition("Theirs")]});
    let (object, _) = done(model.perform(0, &status_op(&object, &key("a"), "other", other))).unwrap();
    let ours = json!({"phase": "Up", "conditions": [condition("Ready"), condition("Extra")]});
    let (object, _) = done(model.perform(0, &status_op(&object, &key("a"), STATUS, ours))).unwrap();
    assert!(object.applied_by(STATUS).unwrap().touches(&["status", "conditions", "Ready"]));
    assert!(!object.applied_by(STATUS).unwrap().touches(&["status", "conditions", "Theirs"]));
    let ours = json!({"conditions": [condition("Ready")]});
    let (object, _) = done(model.perform(0, &status_op(&object, &key("a"), STATUS, ours.clone()))).unwrap();
    assert_eq!(object.value()["status"], json!({"conditions": [condition("Theirs"), condition("Ready")]}));
    let again = model.perform(0, &status_op(&object, &key("a"), STATUS, ours));
    assert!(again.1.is_empty(), "the order of another manager's conditions is no reason to write");
}

#[test]
fn the_status_is_written_through_its_subresource_only_and_must_fit() {
    let mut model = model();
    let (object, _) =
        apply(&mut model, &key("a"), A, json!({"spec": {"size": 1}, "status": {"phase": "Fake"}})).unwrap();
    assert_eq!(object.value().get("status"), None);
    let (up, _) =
        done(model.perform(0, &status_op(&object, &key("a"), STATUS, json!({"phase": "Up", "odd": 1})))).unwrap();
    assert_eq!(up.value()["status"], json!({"phase": "Up"}), "unknown fields are pruned");
    let refused = done(model.perform(0, &status_op(&up, &key("a"), STATUS, json!({"count": "x"})))).unwrap_err();
    assert!(refused.to_string().contains("status.count"), "{refused}");
    let stale = done(model.perform(0, &status_op(&object, &key("a"), STATUS, json!({})))).unwrap_err();
    assert!(matches!(stale, Refusal::VersionConflict(_)));
    let (map, _) = apply(&mut model, &config_map("c"), A, json!({"data": {}})).unwrap();
    let refused = done(model.perform(0, &status_op(&map, &config_map("c"), STATUS, json!({})))).unwrap_err();
    assert_eq!(refused, Refusal::NoStatus);
}

#[test]
fn a_child_that_does_not_fit_is_refused_with_all_mistakes() {
    let mut model = model();
    let refused = apply(&mut model, &key("a"), A, json!({"spec": {"size": 0, "mode": "odd"}})).unwrap_err();
    let Refusal::Invalid(text) = refused else { panic!("{refused:?}") };
    assert!(text.contains("spec.size") && text.contains("spec.mode"), "{text}");
    assert_eq!(model.get(&key("a")).map(|object| object.value()), None);
    let (object, _) = apply(&mut model, &key("a"), A, json!({"spec": {"size": 1, "unknown": true}})).unwrap();
    assert_eq!(spec(&object), json!({"size": 1, "mode": "single"}));
    assert!(!object.applied_by(A).unwrap().touches(&["spec", "unknown"]), "what is pruned is not owned");
}

#[test]
fn an_object_must_be_what_its_key_says() {
    let mut model = model();
    let unknown = Key::new("local", "examples.setpoint.dev", "Valkey", Some("default"), "a");
    let refused = apply(&mut model, &unknown, A, json!({})).unwrap_err();
    assert_eq!(refused, Refusal::UnknownKind("Valkey.examples.setpoint.dev".into()));
    let unscoped = Key::new("local", "examples.setpoint.dev", "Redis", None, "a");
    assert!(matches!(apply(&mut model, &unscoped, A, json!({})).unwrap_err(), Refusal::Invalid(_)));
    let mut wrong = document(&key("a"), json!({}));
    wrong["apiVersion"] = json!("examples.setpoint.dev/v9");
    let op = Op::Apply { key: key("a"), object: Arc::new(wrong), manager: A.into(), force: false, precondition: None };
    assert!(done(model.perform(0, &op)).unwrap_err().to_string().contains("v9"));
}

#[test]
fn server_set_metadata_and_finalizers_cannot_be_applied() {
    let mut model = model();
    let given = json!({"metadata": {"uid": "mine", "generation": 9, "finalizers": ["x"], "ownerReferences": [
        {"apiVersion": "v1", "kind": "O", "name": "o", "uid": "u"}]}, "spec": {"size": 1}});
    let (object, _) = apply(&mut model, &key("a"), A, given).unwrap();
    assert!(object.uid() != "mine" && object.generation() == 1 && object.finalizers().is_empty());
    assert_eq!(object.owners().len(), 1);
    let refused = apply(
        &mut model,
        &key("a"),
        B,
        json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "O", "name": "other", "uid": "v"}]}}),
    );
    assert!(matches!(refused, Err(Refusal::ManagerConflict { .. })), "owner references are one field");
}

#[test]
fn a_secret_takes_plain_text_and_keeps_base64() {
    let mut model = model();
    let secret = Key::new("local", "", "Secret", Some("default"), "s");
    let given = json!({"type": "Opaque", "data": {"a": "YQ=="}, "stringData": {"b": "plain"}});
    let (object, _) = apply(&mut model, &secret, A, given).unwrap();
    assert_eq!(object.value()["data"], json!({"a": "YQ==", "b": "cGxhaW4="}));
    assert_eq!(object.value().get("stringData"), None);
    assert!(apply(&mut model, &secret, A, json!({"type": "Opaque", "data": {"a": "not base64"}})).is_err());
    let refused = apply(&mut model, &secret, A, json!({"type": "Other", "data": {"a": "YQ=="}})).unwrap_err();
    assert!(matches!(refused, Refusal::Immutable(_)), "{refused:?}");
    assert!(apply(&mut model, &config_map("c"), A, json!({"data": {"n": 1}})).is_err());
}

#[test]
fn an_immutable_config_map_says_so_and_not_that_it_is_invalid() {
    let mut model = model();
    apply(&mut model, &config_map("c"), A, json!({"immutable": true, "data": {"k": "1"}})).unwrap();
    let refused = apply(&mut model, &config_map("c"), A, json!({"immutable": true, "data": {"k": "2"}})).unwrap_err();
    assert!(matches!(refused, Refusal::Immutable(_)), "{refused:?}");
}
