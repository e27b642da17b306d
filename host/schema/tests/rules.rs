//! CEL rules, with those that real definitions have.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use setpoint_schema::{Crd, FieldErrorKind, Part};
use support::{NONE, admit, crd, definition, errors, errors_of_change, texts, thing, with_spec};

fn rule(rule: &str) -> Value {
    json!([{"rule": rule, "message": "broken"}])
}

/// A spec of these properties, with one rule on the spec.
fn ruled(properties: Value, text: &str) -> Crd {
    crd(json!({"type": "object", "properties": properties, "x-kubernetes-validations": rule(text)}))
}

const BROKEN: &str = r#"spec: Invalid value: "object": broken"#;

fn workflow() -> Crd {
    let any = json!({"type": "object", "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true}});
    crd(json!({"type": "object", "required": ["steps"], "properties": {"steps": {
        "type": "array", "minItems": 1,
        "items": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$", "maxLength": 63},
                "tool": {"type": "string"},
                "args": any,
                "store": {"type": "boolean", "default": false},
                "forEach": {"type": "object", "required": ["items"], "properties": {
                    "items": {"type": "string", "minLength": 1}, "as": {"type": "string", "default": "item"},
                }},
                "parallel": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["tool"], "properties": {"tool": {"type": "string"}}}},
            },
            "x-kubernetes-validations": [{
                "rule": "(has(self.tool) ? 1 : 0) + (has(self.forEach) ? 1 : 0) + (has(self.parallel) ? 1 : 0) == 1",
                "message": "exactly one of tool, forEach or parallel must be set",
            }],
        },
    }}}))
}

#[test]
fn a_workflow_step_has_exactly_one_action() {
    let crd = workflow();
    let right = json!({"steps": [
        {"id": "a", "tool": "x", "args": {"n": 1, "s": "text", "nothing": null, "deep": {"x": [1]}}},
        {"id": "b", "forEach": {"items": "{{ .x }}"}},
        {"id": "c", "parallel": [{"tool": "y"}]},
    ]});
    let admission = admit(&crd, right);
    assert_eq!(texts(&admission), NONE);
    assert_eq!(admission.object["spec"]["steps"][0]["store"], json!(false));
    assert_eq!(admission.object["spec"]["steps"][1]["forEach"]["as"], json!("item"));
    let error = r#"Invalid value: "object": exactly one of tool, forEach or parallel must be set"#;
    assert_eq!(
        errors(
            &crd,
            json!({"steps": [{"id": "a", "tool": "x"}, {"id": "b"}, {"id": "c", "tool": "x", "parallel": [{"tool": "y"}]}]})
        ),
        [format!("spec.steps[1]: {error}"), format!("spec.steps[2]: {error}")]
    );
    let admission = admit(&crd, json!({"steps": [{"id": "b"}]}));
    assert_eq!(admission.errors[0].kind, FieldErrorKind::Rule);
    assert_eq!(admission.errors[0].path.pointer(), "/spec/steps/0");
}

#[test]
fn a_server_needs_what_its_type_needs() {
    let crd = crd(json!({
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"type": "string", "enum": ["stdio", "streamable-http", "sse"]},
            "command": {"type": "string"},
            "url": {"type": "string"},
            "args": {"type": "array", "items": {"type": "string"}},
            "auth": {"type": "object", "default": {}, "properties": {
                "type": {"type": "string", "default": "none"}, "authorizationServer": {"type": "object"},
            }, "x-kubernetes-validations": rule("!has(self.authorizationServer) || self.type == 'oauth'")},
        },
        "x-kubernetes-validations": [
            {"rule": "self.type != 'stdio' || has(self.command)", "message": "command is required for stdio", "fieldPath": ".command", "reason": "FieldValueRequired"},
            {"rule": "self.type == 'stdio' || has(self.url)", "messageExpression": "'url is required for ' + self.type"},
            {"rule": "self.type == 'stdio' || !has(self.args)"},
        ],
    }));
    assert_eq!(errors(&crd, json!({"type": "stdio", "command": "x", "args": ["-v"]})), NONE);
    assert_eq!(errors(&crd, json!({"type": "stdio"})), ["spec.command: Required value: command is required for stdio"]);
    assert_eq!(
        errors(&crd, json!({"type": "sse", "args": [], "auth": {"authorizationServer": {}}})),
        [
            r#"spec: Invalid value: "object": url is required for sse"#,
            r#"spec: Invalid value: "object": failed rule: self.type == 'stdio' || !has(self.args)"#,
            r#"spec.auth: Invalid value: "object": broken"#,
        ]
    );
}

#[test]
fn rules_are_not_run_on_what_has_the_wrong_type() {
    let crd = workflow();
    assert_eq!(
        errors(&crd, json!({"steps": [{"id": 1}]})),
        [
            r#"spec.steps[0].id: Invalid value: "integer": spec.steps[0].id in body must be of type string: "integer""#,
            "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[test]
fn fields_are_found_by_the_names_that_an_api_server_gives_them() {
    let text = json!({"type": "string"});
    let properties =
        json!({"foo_bar": text, "_x": text, "a-b": text, "c.d": text, "e__f": text, "namespace": text, "in": text});
    let crd = ruled(
        properties,
        "self.foo_bar == 'v' && self._x == 'v' && self.a__dash__b == 'v' && self.c__dot__d == 'v' && self.e__underscores__f == 'v' && self.__namespace__ == 'v' && self.__in__ == 'v'",
    );
    let v = |other: &str| json!({"foo_bar": other, "_x": "v", "a-b": "v", "c.d": "v", "e__f": "v", "namespace": "v", "in": "v"});
    assert_eq!(errors(&crd, v("v")), NONE);
    assert_eq!(errors(&crd, v("w")), [BROKEN]);
}

#[test]
fn keys_of_maps_are_data_and_not_escaped() {
    let crd = ruled(
        json!({"m": {"type": "object", "additionalProperties": {"type": "string"}}}),
        "!('a.b/c_d' in self.m) && self.m.all(k, self.m[k] != '')",
    );
    assert_eq!(errors(&crd, json!({"m": {"x": "y"}})), NONE);
    assert_eq!(errors(&crd, json!({"m": {"a.b/c_d": "y"}})), [BROKEN]);
    assert_eq!(errors(&crd, json!({"m": {"x": ""}})), [BROKEN]);
}

#[test]
fn a_transition_rule_compares_with_the_object_before() {
    let crd = ruled(json!({"size": {"type": "integer"}, "note": {"type": "string"}}), "self.size >= oldSelf.size");
    assert_eq!(errors(&crd, json!({"size": 1})), NONE, "nothing to compare with");
    assert_eq!(errors_of_change(&crd, json!({"size": 1}), json!({"size": 2})), NONE);
    assert_eq!(errors_of_change(&crd, json!({"size": 2}), json!({"size": 1})), [BROKEN]);
}

#[test]
fn a_transition_rule_of_an_item_compares_with_the_item_of_the_same_key() {
    let items = json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "v": {"type": "integer", "x-kubernetes-validations": rule("self == oldSelf")}},
    });
    let map = json!({"type": "object", "properties": {"l": {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"]}}});
    let crd = crd(map.clone());
    let item = |id: &str, v: i64| json!({"id": id, "v": v});
    let old = json!({"l": [item("a", 1), item("b", 2)]});
    assert_eq!(errors_of_change(&crd, old.clone(), json!({"l": [item("new", 9), item("b", 2), item("a", 1)]})), NONE);
    assert_eq!(
        errors_of_change(&crd, old, json!({"l": [item("b", 1), item("a", 1)]})),
        [r#"spec.l[0].v: Invalid value: "integer": broken"#]
    );
    // Where items have no identity such a rule could never run, so it is refused.
    let mut atomic = map;
    atomic["properties"]["l"]["x-kubernetes-list-type"] = json!("atomic");
    let error = with_spec(atomic).unwrap_err().to_string();
    assert!(error.contains("oldSelf cannot be used here"), "{error}");
}

#[test]
fn an_optional_old_value_lets_a_rule_run_on_creation() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": [
        {"rule": "!oldSelf.hasValue() && self.n == 0 || oldSelf.hasValue() && self.n == oldSelf.value().n + 1", "message": "broken", "optionalOldSelf": true},
    ]});
    let crd = crd(schema);
    assert_eq!(errors(&crd, json!({"n": 0})), NONE);
    assert_eq!(errors(&crd, json!({"n": 1})), [BROKEN]);
    assert_eq!(errors_of_change(&crd, json!({"n": 1}), json!({"n": 2})), NONE);
    assert_eq!(errors_of_change(&crd, json!({"n": 1}), json!({"n": 3})), [BROKEN]);
}

#[test]
fn a_broken_rule_is_tolerated_on_what_did_not_change() {
    let crd = crd(json!({"type": "object", "properties": {
        "part": {"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": rule("self.n > 0")},
        "other": {"type": "string"},
    }}));
    let old = json!({"part": {"n": 0}, "other": "a"});
    assert_eq!(errors_of_change(&crd, old.clone(), json!({"part": {"n": 0}, "other": "b"})), NONE);
    assert_eq!(
        errors_of_change(&crd, old, json!({"part": {"n": -1}, "other": "a"})),
        [r#"spec.part: Invalid value: "object": broken"#]
    );
}

#[test]
fn a_broken_rule_of_an_item_is_tolerated_while_its_list_does_not_change() {
    // The items of an atomic list have no identity, but as a part of the list they did not change.
    let crd = crd(json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": rule("self > 0")}},
        "other": {"type": "string"},
    }}));
    let old = json!({"list": [0], "other": "a"});
    assert_eq!(errors_of_change(&crd, old.clone(), json!({"list": [0], "other": "b"})), NONE);
    assert_eq!(
        errors_of_change(&crd, old, json!({"list": [0, 1], "other": "a"})),
        [r#"spec.list[0]: Invalid value: "integer": broken"#]
    );
}

#[test]
fn values_have_the_types_of_their_schema() {
    let crd = ruled(
        json!({
            "at": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"},
            "wait": {"type": "string", "format": "duration"}, "blob": {"type": "string", "format": "byte"},
            "ratio": {"type": "number"}, "count": {"type": "integer"}, "port": {"x-kubernetes-int-or-string": true},
            "nothing": {"type": "string", "nullable": true},
        }),
        "self.at > timestamp('2024-01-01T00:00:00Z') && self.day < self.at && self.wait == duration('90s') && size(self.blob) == 2 \
         && self.ratio > 0.5 && self.count == 3 && dyn(self.port) == 80 && !has(self.nothing)",
    );
    let spec = json!({"at": "2024-06-01T00:00:00Z", "day": "2024-05-31", "wait": "1m30s", "blob": "aGk=", "ratio": 1, "count": 3.0, "port": 80, "nothing": null});
    assert_eq!(errors(&crd, spec), NONE);
}

#[test]
fn the_functions_of_kubernetes_are_there() {
    let crd = ruled(
        json!({"s": {"type": "string"}, "l": {"type": "array", "items": {"type": "integer"}}, "q": {"type": "string"}}),
        "self.s.lowerAscii() == 'abc' && self.s.matches('^[A-Z]+$') && self.l.isSorted() && self.l.sum() == 6 && self.l.exists_one(x, x == 2) \
         && quantity(self.q).isLessThan(quantity('2Gi')) && sets.contains([1, 2, 3], self.l) && url('https://x/y').getHost() == 'x'",
    );
    assert_eq!(errors(&crd, json!({"s": "ABC", "l": [1, 2, 3], "q": "1Gi"})), NONE);
}

#[test]
fn optional_fields_can_be_asked_for_with_a_question_mark() {
    let inner =
        json!({"type": "object", "properties": {"c": {"type": "object", "properties": {"d": {"type": "integer"}}}}});
    let crd = ruled(
        json!({"b": inner, "l": {"type": "array", "items": {"type": "integer"}}}),
        "self.?b.c.d.orValue(1) == 1 && self.b.?c.hasValue() == has(self.b.c) && self.l[?0].orValue(5) == 5",
    );
    for (right, spec) in [
        (true, json!({"b": {}, "l": []})),
        (true, json!({"b": {"c": {}}, "l": [5]})),
        (true, json!({"b": {"c": {"d": 1}}, "l": []})),
        (false, json!({"b": {"c": {"d": 2}}, "l": []})),
        (false, json!({"b": {"c": {"d": 1}}, "l": [6]})),
    ] {
        assert_eq!(errors(&crd, spec.clone()).is_empty(), right, "{spec}");
    }
}

#[test]
fn rules_on_the_whole_object_see_its_name_and_both_parts() {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": rule("self.n < 100")},
        },
        "x-kubernetes-validations": [
            {"rule": "self.metadata.name != 'forbidden' && self.kind == 'Thing'", "message": "name"},
            {"rule": "!has(self.status) || self.status.n >= self.spec.n", "message": "behind"},
            {"rule": "self.spec.n > 0", "message": "positive"},
        ],
    });
    let crd = Crd::parse(&definition(schema), "v1").unwrap();
    let mut object = thing(json!({"n": 1}));
    assert_eq!(texts(&crd.admit(object.clone(), None, Part::Whole)), NONE);
    object["metadata"]["name"] = json!("forbidden");
    assert_eq!(texts(&crd.admit(object.clone(), None, Part::Spec)), [r#"Invalid value: "object": name"#]);
    // A status write is not held up by what it does not change.
    object["spec"]["n"] = json!(0);
    object["status"] = json!({"n": 5});
    assert_eq!(texts(&crd.admit(object.clone(), None, Part::Status)), NONE);
    object["status"] = json!({"n": -1});
    assert_eq!(texts(&crd.admit(object.clone(), None, Part::Status)), [r#"Invalid value: "object": behind"#]);
    object["status"] = json!({"n": 100});
    assert_eq!(texts(&crd.admit(object, None, Part::Status)), [r#"status: Invalid value: "object": broken"#]);
}

#[test]
fn a_rule_that_cannot_work_is_refused_with_its_place() {
    let properties = json!({"n": {"type": "integer"}, "l": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}});
    let deep = format!("{}1 == 1", "1 + ".repeat(400));
    let long = format!("self.n == 1 || '{}' == ''", "x".repeat(9000));
    let huge_chain = "1+".repeat(4000) + "1 == 1";
    for (text, reason) in [
        ("self.n >=", ""),
        ("self.m > 0", "undefined field 'm'"),
        ("has(self.m)", "undefined field 'm'"),
        ("self.n.x == 1", "type 'integer' does not support field selection ('x')"),
        ("self.l.all(x, x.name != '')", "undefined field 'name'"),
        ("other.n > 0", "undeclared reference to 'other'"),
        ("nosuch(self.n)", "'nosuch' is no function that rules can call"),
        ("self.n.nosuch()", "'nosuch' is no function that rules can call"),
        ("cel.bind(x, self.n, x > 0)", "undeclared reference to 'cel'"),
        ("lists.range(1000000000).size() > 0", "'lists.range' is no function"),
        ("Foo{a: 1} == self", "makes a message, which is not supported"),
        (&deep, "nested more than 100 levels deep"),
        (&long, "longer than 8192 bytes"),
        (&huge_chain, "nested more than 100 levels deep"),
    ] {
        let spec = json!({"type": "object", "properties": properties, "x-kubernetes-validations": rule(text)});
        let error = with_spec(spec).unwrap_err().to_string();
        let place = "spec.versions[0].schema.openAPIV3Schema.properties.spec.x-kubernetes-validations[0].rule: rule `";
        assert!(error.starts_with(place) && error.contains(reason), "{text}\n  {error}");
    }
    for (key, value, reason) in [
        ("messageExpression", "self.m", "undefined field 'm'"),
        ("fieldPath", ".m", "does not refer to a field"),
        ("reason", "Because", "unknown reason"),
    ] {
        let mut rules = rule("true");
        rules[0][key] = json!(value);
        let spec = json!({"type": "object", "properties": properties, "x-kubernetes-validations": rules});
        let error = with_spec(spec.clone()).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(reason), "{error}");
        // A server that serves the definition has judged its rules itself.
        let raw = definition(json!({"type": "object", "properties": {"spec": spec}}));
        assert!(Crd::parse_served(&raw, "v1").is_ok());
    }
}

#[test]
fn a_rule_that_fails_on_a_value_refuses_the_value_and_shows_no_other() {
    let crd = ruled(
        json!({"n": {"type": "integer"}, "m": {"type": "integer"}, "s": {"type": "string"}}),
        "10 / self.n > self.m",
    );
    assert_eq!(
        errors(&crd, json!({"n": 0, "m": 1})),
        [r#"spec: Invalid value: "object": division by zero evaluating rule: broken"#]
    );
    assert_eq!(
        errors(&crd, json!({"n": 1, "s": "secret"})),
        [r#"spec: Invalid value: "object": no such key: m evaluating rule: broken"#]
    );
}

#[test]
fn rules_have_a_budget() {
    let crd = ruled(
        json!({"l": {"type": "array", "items": {"type": "integer"}}}),
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
    );
    let list = |length: usize| json!({"l": vec![0; length]});
    assert_eq!(errors(&crd, list(20)), NONE);
    assert_eq!(
        errors(&crd, list(1000)),
        ["spec: validation failed due to running out of cost budget, no further validation rules will be run"]
    );
}

#[test]
fn a_rule_of_the_greatest_depth_runs_on_a_small_stack() {
    // Deep in operators, in conditionals and in macros: each as deep as is allowed.
    let sum = format!("{}self.n == 91", "1 + ".repeat(90));
    let choice = format!("{}true{}", "self.n == 7 ? false : (".repeat(40), ")".repeat(40));
    let macros = format!("{}true{}", "self.l.all(x, ".repeat(12), ")".repeat(12));
    for text in [sum, choice, macros] {
        let crd = ruled(json!({"n": {"type": "integer"}, "l": {"type": "array", "items": {"type": "integer"}}}), &text);
        let run = move || errors(&crd, json!({"n": 1, "l": [1]}));
        let found = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
        assert_eq!(found, NONE, "{text}");
    }
}
