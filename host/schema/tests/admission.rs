//! What is let in, and in which shape.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use setpoint_schema::{Crd, CrdError, FieldErrorKind, ListType, Part};
use support::{NONE, admit, crd, definition, errors, errors_of_change, texts, thing};

#[test]
fn a_default_of_an_object_gets_the_defaults_within() {
    let crd = crd(json!({
        "type": "object",
        "default": {},
        "properties": {
            "auth": {
                "type": "object",
                "default": {},
                "properties": {
                    "type": {"type": "string", "enum": ["oauth", "none"], "default": "none"},
                    "scopes": {"type": "array", "items": {"type": "string"}, "default": ["openid"]},
                },
            },
            "steps": {"type": "array", "items": {"type": "object", "properties": {"store": {"type": "boolean", "default": false}}}},
            "byName": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
        },
    }));
    let mut object = thing(Value::Null);
    object.as_object_mut().unwrap().remove("spec");
    let admission = crd.admit(object, None, Part::Whole);
    assert_eq!(texts(&admission), NONE);
    assert_eq!(admission.object["spec"], json!({"auth": {"type": "none", "scopes": ["openid"]}}));
    assert_eq!(
        admit(&crd, json!({"auth": {"scopes": []}, "steps": [{}, {"store": true}], "byName": {"a": {}}})).object["spec"],
        json!({
            "auth": {"type": "none", "scopes": []},
            "steps": [{"store": false}, {"store": true}],
            "byName": {"a": {"n": 1}},
        })
    );
}

#[test]
fn a_null_is_kept_where_it_is_allowed_defaulted_where_there_is_a_default_and_dropped_elsewhere() {
    let crd = crd(json!({"type": "object", "properties": {
        "kept": {"type": "string", "nullable": true, "default": "x"},
        "defaulted": {"type": "string", "default": "x"},
        "dropped": {"type": "string"},
        "items": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }}));
    let spec = json!({"kept": null, "defaulted": null, "dropped": null, "items": ["a", null], "map": {"k": null}});
    let admission = admit(&crd, spec);
    assert_eq!(admission.object["spec"], json!({"kept": null, "defaulted": "x", "items": ["a", null], "map": {}}));
    assert_eq!(
        texts(&admission),
        [r#"spec.items[1]: Invalid value: "null": spec.items[1] in body must be of type string: "null""#]
    );
}

#[test]
fn unknown_fields_are_taken_out_and_named() {
    let crd = crd(json!({"type": "object", "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
        "steps": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"strict": {"type": "object"}}},
    }}));
    let mut object = thing(json!({
        "known": {"a": "x", "b": 1}, "steps": [{"id": "s", "idd": "s"}], "any": {"free": {"x": 1}, "strict": {"x": 1}}, "typo": 1,
    }));
    object["metadata"]["label"] = json!({});
    object["extra"] = json!(1);
    let admission = crd.admit(object, None, Part::Whole);
    let mut unknown: Vec<String> = admission.unknown.iter().map(ToString::to_string).collect();
    unknown.sort_unstable();
    assert_eq!(
        unknown,
        ["extra", "metadata.label", "spec.any.strict.x", "spec.known.b", "spec.steps[0].idd", "spec.typo"]
    );
    assert_eq!(
        admission.object["spec"],
        json!({"known": {"a": "x"}, "steps": [{"id": "s"}], "any": {"free": {"x": 1}, "strict": {}}})
    );
    assert_eq!(texts(&admission), NONE);
}

#[test]
fn every_limit_is_checked_and_all_mistakes_are_told() {
    let crd = crd(json!({"type": "object", "required": ["missing"], "maxProperties": 20, "properties": {
        "missing": {"type": "string"},
        "pattern": {"type": "string", "pattern": "^a$"},
        "short": {"type": "string", "minLength": 2},
        "long": {"type": "string", "maxLength": 2},
        "low": {"type": "integer", "minimum": 1},
        "high": {"type": "number", "maximum": 2, "exclusiveMaximum": true},
        "step": {"type": "number", "multipleOf": 0.1},
        "int32": {"type": "integer", "format": "int32"},
        "when": {"type": "string", "format": "date-time"},
        "few": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "many": {"type": "array", "items": {"type": "string"}, "maxItems": 1},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1, "minProperties": 1},
        "one": {"type": "string", "enum": ["a", "b"]},
        "whole": {"type": "integer"},
        "all": {"type": "string", "allOf": [{"maxLength": 1}, {"pattern": "b"}]},
        "any": {"type": "string", "anyOf": [{"maxLength": 1}, {"pattern": "b"}]},
    }}));
    assert_eq!(
        errors(
            &crd,
            json!({
                "pattern": "b", "short": "ä", "long": "äöü", "low": 0, "high": 2, "step": 0.35, "int32": 3_000_000_000_u32, "when": "now",
                "few": [], "many": ["a", "b"], "map": {"a": 1, "b": "x"}, "one": "c", "whole": 1.5, "all": "a", "any": "aa",
            })
        ),
        [
            "spec.missing: Required value",
            r#"spec.all: Invalid value: "": "spec.all" must validate all the schemas (allOf)"#,
            r#"spec.all: Invalid value: "a": spec.all in body should match 'b'"#,
            r#"spec.any: Invalid value: "": "spec.any" must validate at least one schema (anyOf)"#,
            "spec.any: Too long: may not be more than 1 characters",
            "spec.few: Invalid value: 0: spec.few in body should have at least 1 items",
            "spec.high: Invalid value: 2: spec.high in body should be less than 2",
            "spec.int32: Invalid value: 3000000000: spec.int32 in body should be within the range of format int32",
            "spec.long: Too long: may not be more than 2 characters",
            "spec.low: Invalid value: 0: spec.low in body should be greater than or equal to 1",
            "spec.many: Too many: 2: must have at most 1 items",
            "spec.map: Too many: 2: must have at most 1 items",
            r#"spec.map.b: Invalid value: "string": spec.map.b in body must be of type integer: "string""#,
            r#"spec.one: Unsupported value: "c": supported values: "a", "b""#,
            r#"spec.pattern: Invalid value: "b": spec.pattern in body should match '^a$'"#,
            r#"spec.short: Invalid value: "ä": spec.short in body should be at least 2 chars long"#,
            "spec.step: Invalid value: 0.35: spec.step in body should be a multiple of 0.1",
            r#"spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now""#,
            r#"spec.whole: Invalid value: "number": spec.whole in body must be of type integer: "number""#,
        ]
    );
    assert_eq!(
        errors(
            &crd,
            json!({
                "missing": "", "pattern": "a", "short": "äö", "long": "äö", "low": 1.0, "high": 1.9, "step": 0.3, "int32": -5, "when": "2024-01-01T00:00:00Z",
                "few": ["a"], "many": [], "map": {"a": 2.0}, "one": "a", "whole": 3.0, "all": "b", "any": "a",
            })
        ),
        NONE
    );
}

#[test]
fn lists_of_type_set_and_map_have_every_item_once() {
    let crd = crd(json!({"type": "object", "properties": {
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "required": ["port"], "properties": {
                "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
            }},
        },
        "plain": {"type": "array", "items": {"type": "string"}},
    }}));
    assert_eq!(
        errors(
            &crd,
            json!({
                "set": ["a", "b", "a"], "plain": ["a", "a"],
                "ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP", "name": "x"}],
            })
        ),
        [r#"spec.ports[2]: Duplicate value: {"port":1,"protocol":"TCP"}"#, r#"spec.set[2]: Duplicate value: "a""#,]
    );
    assert_eq!(crd.list_type(&["spec", "set"]), ListType::Set);
    assert_eq!(crd.list_type(&["spec", "ports"]), ListType::Map(vec!["port".into(), "protocol".into()]));
    assert_eq!(crd.list_type(&["spec", "plain"]), ListType::Atomic);
    assert_eq!(crd.list_type(&["spec", "nowhere", "at", "all"]), ListType::Atomic);
    assert_eq!(crd.list_type(&["metadata", "ownerReferences"]), ListType::Map(vec!["uid".into()]));
    assert_eq!(crd.list_type(&["metadata", "finalizers"]), ListType::Set);
}

#[test]
fn what_was_wrong_before_is_tolerated_until_it_changes() {
    let crd = crd(json!({"type": "object", "maxProperties": 3, "properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}, "c": {"type": "string"}, "d": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": {
            "type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "v": {"type": "integer", "maximum": 1}, "w": {"type": "integer"}},
        }},
    }}));
    let old = json!({"a": "long", "b": "x"});
    assert_eq!(errors(&crd, old.clone()).len(), 1, "wrong for a new object");
    assert_eq!(errors_of_change(&crd, old.clone(), old.clone()), NONE);
    assert_eq!(errors_of_change(&crd, old.clone(), json!({"a": "long", "b": "y"})), NONE);
    assert_eq!(
        errors_of_change(&crd, old.clone(), json!({"a": "other", "b": "x"})),
        ["spec.a: Too long: may not be more than 1 characters"]
    );
    // Items of a map list are found again by their keys, wherever they went; those of an atomic
    // list are not.
    let item = |id: &str, v: i64, w: i64| json!({"id": id, "v": v, "w": w});
    assert_eq!(
        errors_of_change(
            &crd,
            json!({"map": [item("x", 9, 0), item("y", 0, 0)]}),
            json!({"map": [item("y", 0, 5), item("x", 9, 5)]}),
        ),
        NONE
    );
    assert_eq!(errors_of_change(&crd, json!({"map": [item("x", 9, 0)]}), json!({"map": [item("z", 9, 0)]})).len(), 1);
    assert_eq!(errors_of_change(&crd, json!({"list": ["long"]}), json!({"list": ["long", "b"]})).len(), 1);
}

#[test]
fn a_part_is_judged_by_itself() {
    let schema = json!({
        "type": "object",
        "required": ["spec", "status"],
        "properties": {
            "spec": {"type": "object", "properties": {"n": {"type": "integer"}, "d": {"type": "string", "default": "x"}}},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}, "d": {"type": "string", "default": "x"}}},
        },
    });
    let crd = Crd::parse(&definition(schema), "v1").unwrap();
    let mut object = thing(json!({"n": "wrong", "unknown": 1}));
    object["metadata"]["name"] = json!("Wrong");
    object["status"] = json!({"ready": "wrong", "unknown": 1});

    let status = crd.admit(object.clone(), None, Part::Status);
    assert_eq!(status.errors.iter().map(|e| e.path.to_string()).collect::<Vec<_>>(), ["status.ready"]);
    assert_eq!(status.object["spec"], object["spec"]);
    assert_eq!(status.object["status"], json!({"ready": "wrong", "d": "x"}));
    assert_eq!(status.unknown.iter().map(ToString::to_string).collect::<Vec<_>>(), ["status.unknown"]);

    let spec = crd.admit(object.clone(), None, Part::Spec);
    assert_eq!(spec.errors.iter().map(|e| e.path.to_string()).collect::<Vec<_>>(), ["metadata.name", "spec.n"]);
    assert_eq!(spec.object["status"], object["status"]);
    assert_eq!(spec.object["spec"], json!({"n": "wrong", "d": "x"}));

    object.as_object_mut().unwrap().remove("status");
    let whole = crd.admit(object, None, Part::Whole);
    assert!(whole.errors.iter().any(|e| e.path.to_string() == "status" && e.kind == FieldErrorKind::Required));
}

#[test]
fn the_type_of_an_object_must_be_that_of_the_definition() {
    let crd = crd(json!({"type": "object"}));
    let mut object = thing(json!({}));
    object["apiVersion"] = json!("test.dev/v2");
    object["kind"] = json!("Think");
    assert_eq!(
        texts(&crd.admit(object, None, Part::Whole)),
        [
            r#"apiVersion: Unsupported value: "test.dev/v2": supported values: "test.dev/v1""#,
            r#"kind: Unsupported value: "Think": supported values: "Thing""#,
        ]
    );
    assert_eq!(crd.admit(json!({}), None, Part::Whole).errors.len(), 3);
    for nonsense in [json!(null), json!("x"), json!([1]), json!(1)] {
        let admission = crd.admit(nonsense.clone(), Some(&nonsense), Part::Whole);
        assert_eq!(admission.errors.len(), 1, "{nonsense}");
    }
}

#[test]
fn a_built_in_kind_keeps_everything_but_what_metadata_cannot_hold() {
    let secret = Crd::builtin("", "v1", "Secret", "secrets", true);
    assert_eq!(secret.api_version(), "v1");
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "dg=="}, "type": null});
    let admission = secret.admit(object.clone(), None, Part::Whole);
    assert_eq!((texts(&admission), &admission.object), (NONE, &object));
    assert_eq!(
        texts(&secret.admit(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}}), None, Part::Whole)).len(),
        1
    );
    assert_eq!(secret.manifest(), Value::Null);
}

#[test]
fn a_partial_document_is_pruned_and_not_defaulted() {
    let crd = crd(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"}, "n": {"type": "string"}, "k": {"type": "string", "nullable": true},
    }}));
    let mut document = json!({"spec": {"n": null, "k": null, "gone": 1}, "status": {"observedGeneration": 3}});
    crd.prune_partial(&mut document);
    assert_eq!(document, json!({"spec": {"k": null}}));
    let mut whole = json!({"spec": {"n": null, "gone": 1}, "metadata": {"name": "a"}});
    crd.default_and_prune(&mut whole);
    assert_eq!(whole, json!({"spec": {"a": "x"}, "metadata": {"name": "a"}}));
}

#[test]
fn an_embedded_resource_must_be_one() {
    let crd = crd(json!({"type": "object", "properties": {"template": {
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    }}}));
    let right =
        json!({"template": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}}});
    let admission = admit(&crd, right.clone());
    assert_eq!((texts(&admission), &admission.object["spec"]), (NONE, &right));
    assert_eq!(
        errors(&crd, json!({"template": {"kind": "", "metadata": {"name": "A"}}}))
            .iter()
            .map(|error| error.split(": ").next().unwrap())
            .collect::<Vec<_>>(),
        ["spec.template.apiVersion", "spec.template.kind", "spec.template.metadata.name"]
    );
}

#[test]
fn the_parts_of_a_definition_are_read() {
    let mut raw = definition(json!({"type": "object"}));
    raw["spec"]["names"]["shortNames"] = json!(["th"]);
    raw["spec"]["scope"] = json!("Cluster");
    raw["spec"]["versions"][0]["additionalPrinterColumns"] =
        json!([{"name": "State", "type": "string", "jsonPath": ".status.state", "priority": 1}]);
    let crd = Crd::parse(&raw, "v1").unwrap();
    assert_eq!((crd.group.as_str(), crd.kind.as_str(), crd.plural.as_str()), ("test.dev", "Thing", "things"));
    assert_eq!((crd.singular.as_str(), crd.namespaced, crd.has_status), ("thing", false, true));
    assert_eq!(crd.short_names, ["th"]);
    assert_eq!((crd.columns[0].json_path.as_str(), crd.columns[0].priority), (".status.state", 1));
    assert_eq!(
        texts(&crd.admit(thing(json!({})), None, Part::Whole)),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
}

#[test]
fn several_versions_need_the_conversion_none() {
    let mut raw = definition(json!({"type": "object"}));
    let mut second = raw["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    raw["spec"]["versions"].as_array_mut().unwrap().push(second);
    assert_eq!(Crd::parse(&raw, "v2").unwrap().served, ["v1", "v2"]);
    raw["spec"]["conversion"] = json!({"strategy": "Webhook"});
    let error = Crd::parse(&raw, "v1").unwrap_err();
    assert!(matches!(error, CrdError::Conversion { .. }) && error.to_string().contains("Webhook"), "{error}");
    assert!(Crd::parse_served(&raw, "v1").is_ok(), "a server converts");
    raw["spec"]["versions"][1]["served"] = json!(false);
    let error = Crd::parse_served(&raw, "v2").unwrap_err().to_string();
    assert_eq!(error, "version v2 of Thing is not served; served are: v1");
}

#[test]
fn a_malformed_definition_is_refused_with_the_place() {
    for (pointer, value, place) in [
        ("/kind", json!("Deployment"), "kind"),
        ("/spec/group", json!(null), "spec.group"),
        ("/spec/group", json!("UPPER"), "spec.group"),
        ("/spec/names", json!([]), "spec.names"),
        ("/spec/scope", json!("Galaxy"), "spec.scope"),
        ("/spec/versions", json!([]), "spec.versions"),
        ("/spec/versions/0/schema", json!(null), "spec.versions[0].schema"),
        (
            "/spec/versions/0/schema/openAPIV3Schema/type",
            json!("array"),
            "spec.versions[0].schema.openAPIV3Schema.type",
        ),
    ] {
        let mut raw = definition(json!({"type": "object"}));
        *raw.pointer_mut(pointer).unwrap() = value;
        let error = Crd::parse(&raw, "v1").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{place}: ")), "{pointer}: {error}");
    }
    assert!(Crd::parse(&Value::Null, "v1").is_err());
}
