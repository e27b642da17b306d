use serde_json::{Value, json};
use setpoint_sdk::EventType;
use setpoint_sdk::testing::{Run, TestKit};

use super::*;
use crate::Workflow;

/// A server of this name and state that offers these tools.
fn server(name: &str, state: &str, tools: &[&str]) -> Value {
    json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": name},
           "spec": {"type": "stdio", "command": "c"}, "status": {"state": state, "tools": tools}})
}

fn with(mut server: Value, spec: Value) -> Value {
    for (field, value) in spec.as_object().into_iter().flatten() {
        server["spec"][field] = value.clone();
    }
    server
}

fn kit(tools: &[&str], servers: &[Value]) -> TestKit<Workflow> {
    let steps: Vec<Value> =
        tools.iter().enumerate().map(|(at, tool)| json!({"id": format!("s{at}"), "tool": tool})).collect();
    let workflow = json!({"metadata": {"name": "w"}, "spec": {"steps": steps}});
    servers.iter().cloned().fold(TestKit::new().object(workflow), TestKit::with)
}

fn condition(run: &Run<Workflow>) -> (ConditionStatus, &str, &str) {
    // Whatever is known of servers, the workflow is as valid as before.
    run.expect_ready();
    let condition = run.condition(CONDITION);
    (condition.status, condition.reason.code.as_str(), condition.reason.message.as_str())
}

fn reason(tools: &[&str], servers: &[Value]) -> String {
    condition(&kit(tools, servers).run("w")).1.to_owned()
}

#[test]
fn a_tool_is_known_by_its_name_alone_and_with_the_prefix_of_its_server() {
    let servers = [
        server("git", "Running", &["log", "git_blame"]),
        with(server("files", "Connected", &["read"]), json!({"toolPrefix": "fs"})),
        with(server("odd", "Running", &["a"]), json!({"toolPrefix": "remote_"})),
    ];
    for there in [
        "log",
        "git_log",
        "x_git_log",
        "git_blame",
        "x_git_blame",
        "x_git_git_blame",
        "read",
        "fs_read",
        "x_fs_read",
        "x_remote__a",
    ] {
        assert_eq!(reason(&[there], &servers), "ToolsFound", "{there}");
    }
    for missing in ["files_read", "x_files_read", "x_fs_log", "fs_log", "x_log", "lo", "x_git_", "git", "x_remote_a"] {
        assert_eq!(reason(&[missing], &servers), "ToolsMissing", "{missing}");
    }
}

#[test]
fn a_family_that_agrees_is_known_by_its_name_and_another_by_its_servers() {
    let member = |name: &str, argument: &str, tools: &[&str]| {
        with(server(name, "Connected", tools), json!({"family": {"name": "k8s", "instanceArg": argument}}))
    };
    // Several members may offer a tool, and not all have to.
    let agreed = [member("a", "cluster", &["get"]), member("b", "cluster", &["get", "top"])];
    for there in ["x_k8s_get", "x_k8s_top"] {
        assert_eq!(reason(&[there], &agreed), "ToolsFound", "{there}");
    }
    assert_eq!(reason(&["x_a_get"], &agreed), "ToolsMissing");
    let differing = [member("a", "cluster", &["get"]), member("b", "region", &["get"])];
    assert_eq!(reason(&["x_k8s_get"], &differing), "ToolsMissing");
    assert_eq!(reason(&["x_a_get", "x_b_get"], &differing), "ToolsFound");
}

#[test]
fn only_servers_that_run_offer_tools() {
    for state in ["Starting", "Stopped", "Connecting", "Disconnected", "Failed", ""] {
        assert_eq!(reason(&["x_git_log"], &[server("git", state, &["log"])]), "ToolsMissing", "{state}");
    }
    let elsewhere = with(server("git", "Running", &["log"]), json!({}));
    let mut elsewhere = elsewhere;
    elsewhere["metadata"]["namespace"] = "other".into();
    assert_eq!(reason(&["x_git_log"], &[elsewhere]), "ToolsMissing", "a namespace sees its own servers");
}

#[test]
fn missing_tools_are_named_sorted_and_not_all_of_them() {
    let run = kit(&["x_b", "x_a", "x_git_log", "x_a"], &[server("git", "Running", &["log"])]).run("w");
    assert_eq!(condition(&run), (ConditionStatus::False, "ToolsMissing", "No running server offers x_a, x_b"));
    let many: Vec<String> = (0..400).map(|n| format!("x_{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let run = kit(&many, &[]).run("w");
    let message = "No running server offers x_000, x_001, x_002, x_003, x_004 and 395 more";
    assert_eq!(condition(&run).2, message);
}

#[test]
fn tools_of_muster_itself_and_names_made_while_it_runs_are_not_looked_for() {
    let own = ["core_mcpserver_list", "workflow_other", "action_other", "{{ .input.tool }}"];
    let run = kit(&own, &[]).run("w");
    assert_eq!(condition(&run).1, "NoneNeeded");
    assert!(run.reads().is_empty(), "nothing depends on servers");
    assert_eq!(reason(&["core_x", "t"], &[]), "ToolsMissing");
}

#[test]
fn tools_behind_an_authentication_may_be_there() {
    let servers = [server("git", "Auth Required", &[]), server("files", "Running", &["read"])];
    let run = kit(&["x_git_log", "git_log", "x_files_read"], &servers).run("w");
    let message = "Whether there is git_log, x_git_log is known to authenticated clients only";
    assert_eq!(condition(&run), (ConditionStatus::Unknown, "AuthRequired", message));
    assert_eq!(reason(&["x_git_log", "x_other"], &servers), "ToolsMissing", "what is missing is said first");
}

#[test]
fn a_workflow_is_validated_whatever_the_host_knows_of_servers() {
    let kit = kit(&["x_git_log"], &[]);
    let run = kit.clone().unavailable("MCPServer").run("w");
    assert_eq!((condition(&run).0, condition(&run).1), (ConditionStatus::Unknown, "ServersUnknown"));
    let run = kit.not_granted("MCPServer").run("w");
    assert_eq!((condition(&run).0, condition(&run).1), (ConditionStatus::Unknown, "NotGranted"));
    let invalid =
        TestKit::<Workflow>::new().object(json!({"metadata": {"name": "w"}, "spec": {"steps": [{"id": "a"}]}}));
    let run = invalid.unavailable("MCPServer").run("w");
    run.expect_stalled("ValidationFailed");
}

#[test]
fn it_is_told_when_tools_that_were_there_no_longer_are() {
    let told = |old: &str, servers: &[Value]| {
        let mut workflow = json!({"metadata": {"name": "w"}, "spec": {"steps": [{"id": "s", "tool": "x_git_log"}]}});
        let known = kit(&["x_git_log"], &[]).run("w").status_json();
        workflow["status"] = known;
        workflow["status"]["conditions"] = json!([{"type": CONDITION, "status": old, "reason": "R", "message": ""}]);
        let kit = servers.iter().cloned().fold(TestKit::<Workflow>::new().object(workflow), TestKit::with);
        kit.run("w").events().iter().map(|event| (event.type_, event.reason.code.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told("True", &[]), [(EventType::Warning, "WorkflowUnavailable".to_owned())]);
    // Not at the start of a host, when servers are not there yet, and not again.
    assert_eq!(told("Unknown", &[]), []);
    assert_eq!(told("False", &[]), []);
    assert_eq!(told("False", &[server("git", "Running", &["log"])]), []);
}
