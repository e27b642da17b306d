//! MCP servers that the host runs: started, spoken to, restarted, stopped.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use setpoint_e2e::{
    MCP_SERVER, PROBE, PROCESS, condition, configuration, events, in_state, mcp_server, pid_of, test_mcp_server,
};
use setpoint_test_support::mcp::McpClient;
use setpoint_test_support::{Host, Setup, run};

const SOON: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Host::setup().plugin("mcp-server").arg("--grant").arg("mcp-server=process")
}

fn running(host: &Host, name: &str) -> u32 {
    host.wait_for(&format!("{name} is running"), |host| in_state(host, name, "Running"));
    pid_of(host, name).unwrap_or_else(|| panic!("{name} is running without a process"))
}

fn alive(pid: u32) -> bool {
    // One that has ended and is not waited for yet is not alive any more.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

fn kill(pid: u32) {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -KILL \"$0\""]).arg(pid.to_string());
    run(&mut kill, SOON).ok();
}

#[test]
fn a_server_is_started_spoken_to_and_stopped_when_its_file_goes() {
    let host = setup().file("mcpservers/one.yaml", &test_mcp_server("one", &["--tools", "2"], "")).start();
    let pid = running(&host, "one");
    let status = host.wait_for("its tools are known", |host| {
        in_state(host, "one", "Running").filter(|status| status["toolCount"].as_u64() > Some(2))
    });
    assert_eq!(condition(&status, "Ready")["status"], "True", "{status}");
    assert_eq!((&status["restartCount"], &status["consecutiveFailures"]), (&json!(0), &json!(0)), "{status}");
    assert!(status.get("lastError").is_none() && status["lastConnected"].is_string(), "{status}");
    let shown = host.cli(&["get", "mcpservers"]).ok();
    assert!(shown.contains("stdio") && shown.contains("Running"), "{shown}");

    host.remove("mcpservers/one.yaml");
    host.wait_for("all of it is gone", |host| {
        let gone = [MCP_SERVER, PROCESS, PROBE].iter().all(|kind| host.object(kind, "one").is_none());
        (gone && !alive(pid)).then_some(())
    });
}

#[test]
fn a_server_that_dies_is_started_again_and_says_so() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &[], "")).start();
    let before = running(&host, "one");
    kill(before);
    host.wait_for("another one runs", |host| {
        let status = in_state(host, "one", "Running")?;
        (status["restartCount"] == 1 && pid_of(host, "one").is_some_and(|pid| pid != before)).then_some(())
    });
    let process = host.object(PROCESS, "one").unwrap_or_default();
    assert_eq!(process["status"]["lastExit"]["signal"], "SIGKILL", "{process}");
}

#[test]
fn only_what_matters_to_the_process_restarts_it() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &[], ", description: first")).start();
    let before = running(&host, "one");
    host.write("one.yaml", &test_mcp_server("one", &[], ", description: second, toolPrefix: x, timeout: 20"));
    host.wait_for("the change is seen", |host| {
        let object = host.object(MCP_SERVER, "one")?;
        (object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && object["spec"]["description"] == "second")
            .then_some(())
    });
    host.at_rest();
    assert_eq!(running(&host, "one"), before, "it was restarted although nothing of it changed");

    host.write("one.yaml", &test_mcp_server("one", &["--name", "other"], ", description: second"));
    host.wait_for("the new one runs", |host| {
        let probe = host.object(PROBE, "one")?;
        (probe["status"]["server"]["name"] == "other").then_some(())
    });
    assert_ne!(running(&host, "one"), before);
    assert!(!alive(before), "the old one is gone");
}

#[test]
fn a_restart_that_is_asked_for_happens_once() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &[], "")).start();
    let before = running(&host, "one");
    let asked = ", restartRequestedAt: \"2026-01-01T00:00:00Z\"";
    host.write("one.yaml", &test_mcp_server("one", &[], asked));
    host.wait_for("it was restarted", |host| {
        let status = in_state(host, "one", "Running")?;
        (status["lastRestartedAt"] == "2026-01-01T00:00:00Z" && pid_of(host, "one").is_some_and(|pid| pid != before))
            .then_some(())
    });
    host.at_rest();
    let after = running(&host, "one");
    host.write("one.yaml", &test_mcp_server("one", &[], &format!("{asked}, description: more")));
    host.wait_for("the edit is seen", |host| {
        let object = host.object(MCP_SERVER, "one")?;
        (object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && object["spec"]["description"] == "more")
            .then_some(())
    });
    host.at_rest();
    assert_eq!(running(&host, "one"), after);
}

#[test]
fn a_suspended_server_is_stopped_once_and_then_left_alone() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &[], "")).start();
    let pid = running(&host, "one");
    host.write("one.yaml", &test_mcp_server("one", &[], ", suspended: true"));
    host.wait_for("it is stopped", |host| in_state(host, "one", "Stopped").filter(|_| !alive(pid)));
    host.wait_for("its process is gone", |host| host.object(PROCESS, "one").is_none().then_some(()));
    host.at_rest();
    let (versions, writes) = (host.versions(), host.writes());
    for _ in 0..3 {
        host.client().post(&format!("/v1/reconciles/{}/trigger", Host::path(MCP_SERVER, "one"))).ok();
        host.at_rest();
    }
    assert_eq!((host.versions(), host.writes()), (versions, writes));
    let stopped = events(&host, MCP_SERVER, "one").into_iter().filter(|event| event["reason"] == "MCPServerStopped");
    assert_eq!(stopped.map(|event| event["count"].as_u64().unwrap_or_default()).sum::<u64>(), 1);

    host.write("one.yaml", &test_mcp_server("one", &[], ""));
    running(&host, "one");
}

#[test]
fn idle_servers_write_nothing_and_call_nobody() {
    let mut setup = setup();
    for at in 0..5 {
        setup = setup.file(&format!("{at}.yaml"), &test_mcp_server(&format!("s{at}"), &[], ""));
    }
    let host = setup.start();
    for at in 0..5 {
        running(&host, &format!("s{at}"));
    }
    host.at_rest();
    let before = (host.versions(), host.writes(), host.metric("setpoint_calls_total", &[]));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((host.versions(), host.writes(), host.metric("setpoint_calls_total", &[])), before);
}

#[test]
fn without_the_grant_the_host_says_exactly_what_to_add() {
    let host = Host::setup().plugin("mcp-server").file("one.yaml", &test_mcp_server("one", &[], "")).start();
    host.wait_for("it is refused", |host| {
        let object = host.object(MCP_SERVER, "one")?;
        let ready = condition(&object["status"], "Ready");
        (ready["reason"] == "ChildNotGranted" && ready["message"].as_str()?.contains("process")).then_some(())
    });
    assert!(host.object(PROCESS, "one").is_none());
    assert!(host.log().contains("--grant mcp-server=process"), "{}", host.log_tail());
    assert!(host.cli(&["plugins"]).ok().contains("--grant mcp-server=process"));
}

#[test]
fn a_process_is_granted_by_its_command() {
    let command = setpoint_test_support::mcp::test_server();
    let host = Host::setup()
        .plugin("mcp-server")
        .arg("--grant")
        .arg(format!("mcp-server=process:{}", command.display()))
        .file("good.yaml", &test_mcp_server("good", &[], ""))
        .file("bad.yaml", &mcp_server("bad", "type: stdio, autoStart: true, command: sh, args: [\"-c\", \"sleep 9\"]"))
        .start();
    running(&host, "good");
    host.wait_for("the other is refused", |host| {
        let object = host.object(MCP_SERVER, "bad")?;
        (condition(&object["status"], "Ready")["reason"] == "ChildNotGranted").then_some(())
    });
    assert!(host.object(PROCESS, "bad").is_none());
}

#[test]
fn no_process_outlives_a_host_that_is_killed() {
    let host = setup()
        .file("one.yaml", &test_mcp_server("one", &["--fork", "60"], ""))
        .file("two.yaml", &test_mcp_server("two", &[], ""))
        .start();
    let pids = [running(&host, "one"), running(&host, "two")];
    let grandchild = host.wait_for("its grandchild is known", |host| {
        let logs = host.client().get_list(&format!("/v1/objects/{}/logs", Host::path(PROCESS, "one"))).ok()?.json();
        let lines = logs.as_array()?.iter().filter_map(|row| row["message"].as_str());
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).next_back()
    });
    assert!(alive(grandchild));
    host.kill();
    let began = std::time::Instant::now();
    while pids.iter().chain([&grandchild]).any(|pid| alive(*pid)) {
        assert!(began.elapsed() < SOON, "some of {pids:?} and {grandchild} outlive the host");
        std::thread::sleep(Duration::from_millis(20));
    }
    let host = host.start_again();
    assert_ne!(running(&host, "one"), pids[0]);
}

#[test]
fn a_host_that_is_stopped_stops_its_processes() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &[], "")).start();
    let pid = running(&host, "one");
    let (status, took) = host.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    assert!(!alive(pid));
    let host = host.start_again();
    running(&host, "one");
    let object = host.object(MCP_SERVER, "one").unwrap_or_default();
    assert_eq!(object["status"]["consecutiveFailures"], 0, "a stop of the host is no failure: {object}");
}

#[test]
fn what_the_host_runs_answers_mcp_clients() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &["--name", "told"], "")).start();
    running(&host, "one");
    let mut clients: Vec<McpClient> =
        (0..3).map(|_| McpClient::connect(&host, "one").unwrap_or_else(|error| panic!("{error}"))).collect();
    assert_eq!(clients[0].server["serverInfo"]["name"], "told");
    for (at, client) in clients.iter_mut().enumerate() {
        assert!(client.tools().is_ok_and(|tools| tools.contains(&"echo".to_owned())));
        assert_eq!(client.call("echo", &json!({"text": format!("client {at}")})), Ok(format!("client {at}")));
    }
    // A tool that comes is seen by everybody, in the status too.
    assert!(clients[0].call("grow", &json!({"name": "fresh"})).is_ok());
    host.wait_for("the new tool is in the status", |host| {
        let status = in_state(host, "one", "Running")?;
        status["tools"].as_array()?.contains(&json!("fresh")).then_some(())
    });
    assert!(clients[1].tools().is_ok_and(|tools| tools.contains(&"fresh".to_owned())));
    let unknown = McpClient::connect(&host, "nobody").map(drop);
    assert!(unknown.is_err_and(|error| error.starts_with("404")));
}

#[test]
fn the_mcp_endpoint_can_be_switched_off() {
    let host = setup()
        .config(&configuration("mcpEndpoint: false\n"))
        .file("one.yaml", &test_mcp_server("one", &[], ""))
        .start();
    running(&host, "one");
    assert!(McpClient::connect(&host, "one").map(drop).is_err_and(|error| error.starts_with("404")));
}

#[test]
fn a_value_from_a_secret_reaches_the_process_and_shows_nowhere_else() {
    const VALUE: &str = "quite-a-secret-42";
    const NEXT: &str = "another-secret-43";
    let secret =
        |value: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\nstringData:\n  token: {value}\n");
    let from = ", envFrom: [{name: TOKEN, secretKeyRef: {name: keys, key: token}}]";
    let host = setup().file("keys.yaml", &secret(VALUE)).file("one.yaml", &test_mcp_server("one", &[], from)).start();
    let before = running(&host, "one");
    let token = |host: &Host| McpClient::connect(host, "one")?.call("env", &json!({"name": "TOKEN"}));
    assert_eq!(token(&host), Ok(VALUE.to_owned()));
    let mut shown = vec![host.log(), host.get("/v1/reconciles").text, host.get("/metrics").text];
    for kind in [MCP_SERVER, PROCESS, PROBE] {
        shown.push(host.get(&format!("/v1/objects/{}", Host::path(kind, "one"))).text);
    }
    shown.push(host.cli(&["describe", "process", "one"]).ok());
    for text in shown {
        assert!(!text.contains(VALUE), "{text}");
    }

    host.write("keys.yaml", &secret(NEXT));
    host.wait_for("it runs with the new value", |host| {
        (pid_of(host, "one").is_some_and(|pid| pid != before) && token(host) == Ok(NEXT.to_owned())).then_some(())
    });

    host.remove("keys.yaml");
    host.wait_for("the Secret is gone", |host| host.object("Secret", "keys").is_none().then_some(()));
    assert_eq!(token(&host), Ok(NEXT.to_owned()), "what runs goes on with what it has");
    host.write("two.yaml", &test_mcp_server("two", &[], from));
    host.wait_for("a Secret that is missing is named", |host| {
        let process = host.object(PROCESS, "two")?;
        (process["status"]["reason"] == "SecretNotFound").then_some(())
    });
}

#[test]
fn a_workflow_knows_which_tools_are_there() {
    let workflow = "apiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata:\n  name: w\nspec:\n  steps:\n  \
                    - id: a\n    tool: x_one_echo\n";
    let host = setup().plugin("workflow").file("w.yaml", workflow).start();
    let tools = |host: &Host| {
        let object = host.object(setpoint_e2e::WORKFLOW, "w")?;
        Some((object["status"]["valid"].clone(), condition(&object["status"], "ToolsAvailable").clone()))
    };
    host.wait_for("the missing tool is named", |host| {
        let (valid, condition) = tools(host)?;
        (valid == true && condition["status"] == "False" && condition["message"].as_str()?.contains("x_one_echo"))
            .then_some(())
    });
    host.write("one.yaml", &test_mcp_server("one", &[], ""));
    host.wait_for("it clears by itself", |host| (tools(host)?.1["status"] == "True").then_some(()));
}

#[test]
fn recent_output_of_a_process_is_shown() {
    let host = setup().file("one.yaml", &test_mcp_server("one", &["--fork", "1"], "")).start();
    running(&host, "one");
    let logs = host.cli(&["logs", "process/one"]).ok();
    assert!(logs.contains("STDERR"), "{logs}");
    let described = host.cli(&["describe", "mcpserver", "one"]).ok();
    assert!(described.contains("Process/") || described.contains("/Process/"), "{described}");
    assert!(described.contains("Output"), "{described}");
}

#[test]
fn a_process_that_a_file_defines_is_not_run() {
    let marker = "apiVersion: host.setpoint.dev/v1alpha1\nkind: Process\nmetadata:\n  name: mine\n  labels: \
                  {setpoint.dev/owner: x}\n  annotations: {setpoint.dev/owner-key: \
                  local/muster.giantswarm.io/MCPServer/default/x}\nspec: {command: touch, args: [ran]}\n";
    let host = setup().file("mine.yaml", marker).start();
    host.wait_for("it says why", |host| {
        let process = host.object(PROCESS, "mine")?;
        (process["status"]["reason"] == "NotGranted").then_some(())
    });
    assert!(!Path::exists(&host.root().join("ran")));
}
