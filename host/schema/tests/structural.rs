//! What generators write becomes structural, and keeps its meaning.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use setpoint_schema::Crd;
use support::{NONE, admit, crd, definition, errors, structural, with_spec};

/// As schemars 1 writes a struct with optional fields, references and numbers.
fn generated() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "RedisSpec",
        "description": "What is wanted.",
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "format": "uint32", "minimum": 0, "default": 1},
            "port": {"type": ["integer", "null"], "format": "uint16", "minimum": 0, "maximum": 65535},
            "image": {"type": ["string", "null"], "default": null},
            "ratio": {"type": "number", "format": "double", "exclusiveMinimum": 0},
            "mode": {"description": "How it runs.", "$ref": "#/$defs/Mode", "default": "single"},
            "fallback": {"anyOf": [{"$ref": "#/$defs/Mode"}, {"type": "null"}]},
            "storage": {"anyOf": [{"$ref": "#/$defs/Storage"}, {"type": "null"}], "description": "Where it keeps data."},
            "names": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "extra": true,
            "settings": {"type": "object", "additionalProperties": true},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        },
        "required": ["replicas"],
        "additionalProperties": false,
        "$defs": {
            "Mode": {"oneOf": [
                {"description": "One server.", "type": "string", "const": "single"},
                {"type": "string", "enum": ["cluster", "sentinel"]},
            ]},
            "Storage": {
                "type": "object",
                "properties": {"size": {"$ref": "#/$defs/Size"}, "class": {"type": ["string", "null"]}},
                "required": ["size"],
            },
            "Size": {"anyOf": [{"type": "integer", "format": "int64"}, {"type": "string"}]},
        },
    })
}

#[test]
fn a_generated_struct_becomes_structural() {
    assert_eq!(
        structural(generated()),
        json!({
            "description": "What is wanted.",
            "type": "object",
            "properties": {
                "replicas": {"type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32, "default": 1},
                "port": {"type": "integer", "nullable": true, "minimum": 0, "maximum": 65535},
                "image": {"type": "string", "nullable": true},
                "ratio": {"type": "number", "format": "double", "minimum": 0, "exclusiveMinimum": true},
                "mode": {"description": "How it runs.", "type": "string", "enum": ["single", "cluster", "sentinel"], "default": "single"},
                "fallback": {"description": "- \"single\": One server.", "type": "string", "enum": ["single", "cluster", "sentinel"], "nullable": true},
                "storage": {
                    "description": "Where it keeps data.",
                    "type": "object",
                    "nullable": true,
                    "properties": {
                        "size": {"x-kubernetes-int-or-string": true},
                        "class": {"type": "string", "nullable": true},
                    },
                    "required": ["size"],
                },
                "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "extra": {"x-kubernetes-preserve-unknown-fields": true, "nullable": true},
                "settings": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "pair": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            },
            "required": ["replicas"],
        })
    );
}

#[test]
fn a_generated_struct_admits_what_it_means() {
    let crd = crd(generated());
    let admission = admit(
        &crd,
        json!({
            "port": null, "fallback": null, "storage": {"size": "1Gi"}, "extra": [null, {"a": 1}], "settings": {"x": {"y": null}},
        }),
    );
    assert_eq!(support::texts(&admission), NONE);
    assert_eq!(
        admission.object["spec"],
        json!({
            "replicas": 1, "mode": "single", "port": null, "fallback": null, "storage": {"size": "1Gi"},
            "extra": [null, {"a": 1}], "settings": {"x": {"y": null}},
        })
    );
    assert_eq!(
        errors(&crd, json!({"replicas": -1, "mode": "x", "ratio": 0, "storage": {"size": true}, "names": ["a", "a"]})),
        [
            r#"spec.mode: Unsupported value: "x": supported values: "single", "cluster", "sentinel""#,
            "spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0",
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
            r#"spec.storage.size: Invalid value: "boolean": spec.storage.size in body must be of type integer or string: "boolean""#,
            r#"spec.names[1]: Duplicate value: "a""#,
        ]
    );
}

#[test]
fn what_is_made_structural_is_so_already() {
    let once = structural(generated());
    assert_eq!(structural(once.clone()), once);
}

/// `#[serde(tag = "type")] enum Server { Stdio { command, timeout }, Http { url } }`
fn internally_tagged() -> Value {
    json!({"oneOf": [
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "const": "stdio"},
                "command": {"type": "string"},
                "timeout": {"type": "integer", "default": 30},
            },
            "required": ["type", "command"],
        },
        {
            "type": "object",
            "properties": {"type": {"type": "string", "const": "http"}, "url": {"type": "string", "minLength": 1}},
            "required": ["type", "url"],
        },
    ]})
}

#[test]
fn an_internally_tagged_enum_has_the_fields_of_all_variants_and_asks_for_those_of_one() {
    assert_eq!(
        structural(internally_tagged()),
        json!({
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["stdio", "http"]},
                "command": {"type": "string"},
                "timeout": {"type": "integer"},
                "url": {"type": "string", "minLength": 1},
            },
            "required": ["type"],
            "oneOf": [
                {"properties": {"type": {"enum": ["stdio"]}}, "required": ["type", "command"]},
                {"properties": {"type": {"enum": ["http"]}}, "required": ["type", "url"]},
            ],
        })
    );
    let crd = crd(internally_tagged());
    assert_eq!(errors(&crd, json!({"type": "stdio", "command": "x"})), NONE);
    assert_eq!(admit(&crd, json!({"type": "http", "url": "x"})).object["spec"], json!({"type": "http", "url": "x"}));
    assert_eq!(
        errors(&crd, json!({"type": "http", "command": "x"})),
        [
            r#"spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#,
            r#"spec.type: Unsupported value: "http": supported values: "stdio""#,
        ]
    );
}

#[test]
fn an_externally_tagged_enum_asks_for_exactly_one_variant() {
    let spec = json!({"oneOf": [
        {"description": "In memory.", "type": "object", "properties": {"memory": {"type": "object", "properties": {"mb": {"type": "integer", "format": "uint8"}}}}, "required": ["memory"], "additionalProperties": false},
        {"type": "object", "properties": {"disk": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}, "required": ["disk"], "additionalProperties": false},
    ]});
    let made = structural(spec.clone());
    assert_eq!(made["oneOf"], json!([{"required": ["memory"]}, {"required": ["disk"]}]));
    assert_eq!(made["properties"]["memory"]["description"], json!("In memory."));
    let crd = crd(spec);
    assert_eq!(errors(&crd, json!({"memory": {"mb": 255}})), NONE);
    assert_eq!(errors(&crd, json!({"disk": {}})), ["spec.disk.path: Required value"]);
    assert_eq!(
        errors(&crd, json!({"memory": {}, "disk": {"path": "/"}})),
        [
            r#"spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#
        ]
    );
}

#[test]
fn a_flattened_enum_joins_the_fields_around_it() {
    let mut spec = internally_tagged();
    spec["type"] = json!("object");
    spec["properties"] = json!({"name": {"type": "string"}});
    spec["required"] = json!(["name"]);
    let made = structural(spec);
    assert_eq!(made["required"], json!(["name", "type"]));
    let names: Vec<&String> = made["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn conditions_written_by_hand_stay_as_they_are() {
    let spec = json!({
        "type": "object",
        "properties": {
            "a": {"type": "string"}, "b": {"type": "string"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^x"},
        },
        "anyOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"pattern": "^b"}}}],
        "not": {"required": ["a", "b"]},
    });
    let made = structural(spec.clone());
    assert_eq!(made["anyOf"], spec["anyOf"]);
    assert_eq!(made["not"], spec["not"]);
    assert_eq!(made["properties"]["port"], json!({"x-kubernetes-int-or-string": true, "pattern": "^x"}));
    let crd = crd(spec);
    assert_eq!(errors(&crd, json!({"a": "x", "port": 7})), NONE);
    assert_eq!(
        errors(&crd, json!({"a": "x", "b": "bx"})),
        [r#"spec: Invalid value: "": "spec" must not validate the schema (not)"#]
    );
    assert_eq!(errors(&crd, json!({"b": "x"})).len(), 2);
}

#[test]
fn all_of_is_taken_together() {
    let spec = json!({
        "allOf": [{"$ref": "#/$defs/A"}],
        "description": "here",
        "type": "object",
        "properties": {"x": {"type": "string", "maxLength": 3}},
        "required": ["x"],
        "$defs": {"A": {"type": "object", "properties": {"x": {"type": "string", "maxLength": 5, "minLength": 1}, "y": {"type": "integer"}}, "required": ["y"]}},
    });
    let made = structural(spec.clone());
    assert_eq!(made["required"], json!(["x", "y"]));
    let crd = crd(spec);
    assert_eq!(errors(&crd, json!({"x": "abc", "y": 1})), NONE);
    assert_eq!(errors(&crd, json!({"x": "abcd", "y": 1})), ["spec.x: Too long: may not be more than 3 characters"]);
    assert_eq!(errors(&crd, json!({"x": "", "y": 1})).len(), 1);
}

#[test]
fn what_has_no_structural_form_is_refused_with_its_place_and_reason() {
    let cases = [
        (
            json!({"$ref": "#/$defs/Tree", "$defs": {"Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}}}),
            "properties.spec.properties.children.items: the type is recursive (Tree -> Tree)",
        ),
        (
            json!({"oneOf": [{"type": "string", "const": "off"}, {"type": "object", "properties": {"on": {"type": "boolean"}}}]}),
            "properties.spec.oneOf: alternatives of different types (string and object)",
        ),
        (json!({"$ref": "#/$defs/Missing"}), "properties.spec.$ref: #/$defs/Missing refers to nothing"),
        (json!({"type": "object", "if": {}}), "properties.spec.if: the keyword if has no structural form"),
        (json!({"type": ["string", "object"]}), "properties.spec.type: several types (object, string)"),
        (json!({"type": "string", "pattern": "("}), "properties.spec.pattern: regex parse error"),
        (json!({"type": "integer", "default": "x"}), "properties.spec.default: the default does not fit"),
        (
            json!({"type": "object", "default": {"x": 1}}),
            "properties.spec.default: the default has the unknown field x",
        ),
        (json!({"type": "string", "minLength": -1}), "properties.spec.minLength: must be a count"),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]}),
            "x-kubernetes-list-map-keys: the key id must be a property of the items, required or with a default",
        ),
        (json!(false), "properties.spec: a field that admits no value at all"),
        (json!({"type": "strin"}), "properties.spec.type: unknown type strin"),
    ];
    for (spec, text) in cases {
        let error = with_spec(spec.clone()).unwrap_err().to_string();
        assert!(error.contains(text), "{spec}\n  {error}");
    }
}

#[test]
fn references_that_multiply_are_refused_in_time() {
    let mut definitions = serde_json::Map::new();
    for level in 0..20 {
        let next = json!({"$ref": format!("#/$defs/L{}", level + 1)});
        definitions.insert(format!("L{level}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
    }
    definitions.insert("L20".into(), json!({"type": "string"}));
    let error = with_spec(json!({"$ref": "#/$defs/L0", "$defs": definitions})).unwrap_err().to_string();
    assert!(error.contains("more than 50000 nodes"), "{error}");
}

#[test]
fn a_schema_may_be_deep_but_not_without_end() {
    let nested = |levels: usize| {
        (0..levels).fold(
            json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}),
            |inner, _| json!({"type": "object", "properties": {"x": inner}}),
        )
    };
    let deep = crd(nested(60));
    let value = (0..60).fold(json!(0), |inner, _| json!({"x": inner}));
    assert_eq!(errors(&deep, value).len(), 1, "checked to the bottom");
    let error = with_spec(nested(70)).unwrap_err().to_string();
    assert!(error.ends_with("schemas nested more than 64 deep"), "{error}");
}

#[test]
fn a_pattern_that_only_a_server_understands_is_left_to_it() {
    let raw = definition(json!({"type": "object", "properties": {"spec": {"type": "string", "pattern": "\\C"}}}));
    assert!(Crd::parse(&raw, "v1").is_err());
    assert!(Crd::parse_served(&raw, "v1").is_ok());
}

#[test]
fn definitions_are_looked_up_in_the_nearest_schema_that_has_them() {
    let status = json!({"$schema": "x", "type": "object", "properties": {"m": {"$ref": "#/$defs/M"}}, "$defs": {"M": {"type": "integer"}}});
    let spec = json!({"$schema": "x", "type": "object", "properties": {"m": {"$ref": "#/$defs/M"}}, "$defs": {"M": {"type": "string"}}});
    let both = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let crd = Crd::parse(&definition(both), "v1").unwrap();
    let schema = crd.manifest().pointer("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap().clone();
    assert_eq!(schema["spec"]["properties"]["m"], json!({"type": "string"}));
    assert_eq!(schema["status"]["properties"]["m"], json!({"type": "integer"}));
}

#[test]
fn the_manifest_is_complete() {
    let mut raw = definition(
        json!({"type": "object", "title": "Thing", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "labels": {"type": "object"}}}}}),
    );
    raw["metadata"] = json!({"name": "other"});
    raw["spec"]["versions"][0].as_object_mut().unwrap().retain(|key, _| key == "name" || key == "schema");
    let manifest = Crd::parse(&raw, "v1").unwrap().manifest();
    assert_eq!(manifest["metadata"]["name"], "things.test.dev");
    assert_eq!(
        manifest["spec"]["names"],
        json!({"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"})
    );
    assert_eq!(
        manifest["spec"]["versions"],
        json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"},
                "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}},
            },
        }}}])
    );
}
