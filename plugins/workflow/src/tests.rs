use serde_json::{Value, json};
use setpoint_sdk::EventType;
use setpoint_sdk::testing::{self, Run, TestKit};

use super::*;

fn run(spec: Value) -> Run<Workflow> {
    TestKit::new().object(json!({"metadata": {"name": "w"}, "spec": spec})).run("w")
}

fn errors(spec: Value) -> Vec<String> {
    run(spec).status().validation_errors
}

#[test]
fn a_valid_workflow_is_ready_and_shows_its_tools_and_steps() {
    let run = run(json!({
        "args": {"ns": {"type": "string", "required": true}},
        "steps": [
            {"id": "a", "tool": "t_list", "args": {"n": 3, "deep": {"x": [1, null]}}},
            {"id": "b", "condition": {"tool": "t_check", "expect": {"success": true}},
             "forEach": {"items": "{{ .results.a }}", "steps": [
                {"id": "x", "tool": "t_one"},
                {"id": "y", "tool": "t_one", "condition": {"fromStep": "x", "expectNot": {"success": false}}}]}},
            {"id": "c", "parallel": [{"id": "x", "tool": "t_two", "condition": {"template": "{{ true }}"}}]},
        ],
        "onFailure": [{"id": "undo", "tool": "t_undo", "condition": {"fromStep": "x", "expect": {}}}],
    }));
    run.expect_ready();
    assert_eq!(
        run.status_json(),
        json!({"valid": true, "validationErrors": [], "stepCount": 3,
               "referencedTools": ["t_check", "t_list", "t_one", "t_two", "t_undo"]})
    );
    assert_eq!(run.condition("Valid").reason.code, "ValidationSucceeded");
    assert!(run.leaves_children());
}

#[test]
fn an_invalid_workflow_is_an_outcome_that_waits_for_a_change_and_no_failure() {
    let run = run(json!({"steps": []}));
    run.expect_stalled("ValidationFailed");
    let status = run.status_json();
    assert_eq!(status["valid"], false, "false is written out");
    assert_eq!(status["validationErrors"], json!(["workflow must have at least one step"]));
    assert_eq!(run.condition("Valid").reason.message, "workflow must have at least one step");
}

#[test]
fn all_mistakes_are_told_and_not_only_the_first() {
    let found = errors(json!({
        "steps": [
            {"tool": "t"},
            {"id": "a", "tool": "t"},
            {"id": "a"},
            {"id": "b", "tool": "t", "parallel": [{"id": "x", "tool": "t"}]},
            {"id": "c", "forEach": {"items": "l", "steps": [{"id": "x", "tool": "t"}]}, "parallel": [{"id": "x"}]},
        ],
        "args": {"n": {}, "m": {"type": "text"}},
    }));
    assert_eq!(
        found,
        [
            "step 0: ID is required",
            "step 2: duplicate step ID 'a'",
            "step 'a': one of tool, forEach, or parallel is required",
            "step 'b': tool is mutually exclusive with forEach/parallel",
            "step 'c': forEach and parallel are mutually exclusive",
            "step 'c': parallel sub-step 0 (x): tool is required",
            "argument 'm': type 'text' is none of string, integer, boolean, number, object, array",
            "argument 'n': type is required",
        ]
    );
}

#[test]
fn sub_steps_and_the_clean_up_are_validated_like_steps() {
    let found = errors(json!({
        "steps": [
            {"id": "a", "forEach": {"steps": [{"tool": "t"}, {"id": "x"}, {"id": "x", "tool": "t"}]}},
            {"id": "b", "parallel": []},
            {"id": "not ok", "tool": "t"},
        ],
        "onFailure": [{"tool": "t"}, {"id": "u"}, {"id": "u", "tool": "t"}],
    }));
    assert_eq!(
        found,
        [
            "step 'a': forEach items is required",
            "step 'a': forEach sub-step 0: ID is required",
            "step 'a': forEach sub-step 1 (x): tool is required",
            "step 'a': forEach sub-step 2: duplicate step ID 'x'",
            "step 'b': parallel must have at least one sub-step",
            "step 2: ID 'not ok' must be at most 63 letters, digits, '-' and '_'",
            "onFailure step 0: ID is required",
            "onFailure step 'u': tool is required",
            "onFailure step 2: duplicate step ID 'u'",
        ]
    );
}

#[test]
fn a_condition_looks_only_at_steps_that_ran_before() {
    let condition = |from: &str| json!({"fromStep": from, "expect": {"success": true}});
    let found = errors(json!({
        "steps": [
            {"id": "a", "tool": "t", "condition": condition("b")},
            {"id": "b", "tool": "t", "condition": condition("a")},
            {"id": "c", "tool": "t", "condition": condition("c")},
            {"id": "d", "parallel": [{"id": "x", "tool": "t"}, {"id": "y", "tool": "t", "condition": condition("x")}]},
            {"id": "e", "tool": "t", "condition": condition("x")},
        ],
        "onFailure": [{"id": "u", "tool": "t", "condition": condition("e")}, {"id": "v", "tool": "t", "condition": condition("w")}],
    }));
    assert_eq!(
        found,
        [
            "step 'a': condition refers to step 'b', which is no earlier step",
            "step 'c': condition refers to step 'c', which is no earlier step",
            "step 'd': parallel sub-step 1 (y): condition refers to step 'x', which is no earlier step",
            "onFailure step 'v': condition refers to step 'w', which is no earlier step",
        ]
    );
}

#[test]
fn a_condition_has_one_source_and_something_to_expect() {
    let with = |condition: Value| errors(json!({"steps": [{"id": "a", "tool": "t", "condition": condition}]}));
    assert_eq!(
        with(json!({})),
        [
            "step 'a': condition needs exactly one of template, tool, or fromStep",
            "step 'a': condition needs expect or expectNot"
        ]
    );
    assert_eq!(with(json!({"tool": "t"})), ["step 'a': condition needs expect or expectNot"]);
    let two = json!({"tool": "t", "template": "x", "expect": {}});
    assert_eq!(with(two), ["step 'a': condition needs exactly one of template, tool, or fromStep"]);
    assert!(with(json!({"template": "x"})).is_empty());
    assert!(with(json!({"tool": "t", "expectNot": {"jsonPath": {"a": 1}}})).is_empty());
}

#[test]
fn an_event_tells_of_a_change_of_the_verdict_and_not_of_each_look() {
    let kit = TestKit::<Workflow>::new();
    let object = |status: Value| json!({"metadata": {"name": "w"}, "spec": {"steps": [{"id": "a"}]}, "status": status});
    let first = kit.clone().object(object(Value::Null)).run("w");
    assert_eq!(first.events()[0].reason.code, "WorkflowValidationFailed");
    assert_eq!(first.events()[0].type_, EventType::Warning);
    let second = kit.clone().object(object(first.status_json())).run("w");
    assert!(second.events().is_empty());
    let mended = json!({"metadata": {"name": "w"}, "spec": {"steps": [{"id": "a", "tool": "t"}]}, "status": first.status_json()});
    let third = kit.object(mended).run("w");
    assert_eq!(third.events()[0].reason.code, "WorkflowValidationSucceeded");
}

#[test]
fn the_crd_serves_what_the_plugin_speaks() {
    let crd = testing::crd::<(Workflow,)>();
    assert_eq!(crd["metadata"]["name"], "workflows.muster.giantswarm.io");
    let version = &crd["spec"]["versions"][0];
    let columns: Vec<&Value> =
        version["additionalPrinterColumns"].as_array().into_iter().flatten().map(|c| &c["jsonPath"]).collect();
    assert_eq!(columns, [".status.valid", ".status.stepCount", ".metadata.creationTimestamp"]);
    let properties = &version["schema"]["openAPIV3Schema"]["properties"];
    // Each field of the status type is in the schema: others would be pruned by the server.
    let status = serde_json::to_value(WorkflowStatus::default()).unwrap_or_default();
    for field in status.as_object().into_iter().flat_map(|fields| fields.keys()) {
        assert!(properties["status"]["properties"][field].is_object(), "{field}");
    }
    // Arguments of steps may be any JSON, scalars included.
    let step = &properties["spec"]["properties"]["steps"]["items"];
    let values = &step["properties"]["args"]["additionalProperties"];
    assert_eq!(*values, json!({"x-kubernetes-preserve-unknown-fields": true}));
}

#[test]
fn the_golden_scenarios_hold() {
    assert_eq!(testing::scenarios::<(Workflow,)>("scenarios"), 8);
}
