//! What is asked of the host.

use super::*;
use crate::children::child_name;

#[test]
fn a_local_server_is_a_process_that_speaks_mcp_and_a_probe_of_it() {
    let mut world = World::local();
    world.edit(json!({"env": {"B": "2", "A": "1"}, "timeout": 12,
                      "envFrom": [{"name": "TOKEN", "secretKeyRef": {"name": "keys", "key": "token"}}]}));
    let run = world.pass();
    assert_eq!(run.children().len(), 2);
    let process = run.child("Process", "s");
    assert_eq!(process["apiVersion"], "host.setpoint.dev/v1alpha1");
    assert_eq!(
        process["spec"],
        json!({"command": "npx", "args": ["-y", "server"], "stdin": "MCP",
               "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"},
                       {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}]})
    );
    assert_eq!(
        run.child("Probe", "s")["spec"],
        json!({"mcp": {"transport": "stdio", "process": "s"}, "timeoutSeconds": 12})
    );
}

#[test]
fn a_remote_server_is_a_probe_alone() {
    for transport in ["streamable-http", "sse"] {
        let mut world = World::remote();
        world.edit(json!({"type": transport, "headers": {"X-A": "1"}, "env": {"UNUSED": "1"},
            "headersFrom": [{"name": "Authorization",
                             "secretKeyRef": {"name": "keys", "key": "bearer", "optional": true}}]}));
        let run = world.pass();
        assert_eq!(run.children().len(), 1);
        assert_eq!(
            run.child("Probe", "s")["spec"],
            json!({"timeoutSeconds": 30, "mcp": {"transport": transport, "url": "https://a.example/mcp", "headers": [
                {"name": "X-A", "value": "1"},
                {"name": "Authorization",
                 "valueFrom": {"secretKeyRef": {"name": "keys", "key": "bearer", "optional": true}}}]}})
        );
    }
}

#[test]
fn of_one_name_the_value_in_a_secret_counts() {
    let secret = |name: &str| json!([{"name": name, "secretKeyRef": {"name": "keys", "key": "k"}}]);
    let mut local = World::local();
    local.edit(json!({"env": {"TOKEN": "plain", "token": "other"}, "envFrom": secret("TOKEN")}));
    let names = |list: &Value| -> Vec<Value> { list.as_array().into_iter().flatten().cloned().collect() };
    let run = local.look();
    let env = names(&run.child("Process", "s")["spec"]["env"]);
    assert_eq!((env.len(), &env[0]["name"], &env[1]["name"]), (2, &json!("token"), &json!("TOKEN")));
    let mut remote = World::remote();
    remote.edit(json!({"headers": {"authorization": "plain"}, "headersFrom": secret("Authorization")}));
    let run = remote.look();
    let headers = names(&run.child("Probe", "s")["spec"]["mcp"]["headers"]);
    assert_eq!(headers.len(), 1, "names of headers have no case: {headers:?}");
    assert!(headers[0]["value"].is_null());
}

#[test]
fn only_what_the_process_depends_on_changes_what_is_asked_of_it() {
    let process = |world: &World| world.look().child("Process", "s").clone();
    let world = World::running(&["t"]);
    let before = process(&world);
    for change in [
        json!({"description": "another text"}),
        json!({"toolPrefix": "another"}),
        json!({"family": {"name": "f", "instanceArg": "cluster"}}),
        json!({"timeout": 99}),
        json!({"auth": {"type": "oauth"}}),
        json!({"headers": null}),
        json!({"suspended": false}),
    ] {
        let mut changed = world.clone();
        changed.edit(change.clone());
        assert_eq!(process(&changed), before, "{change}");
        let run = changed.pass();
        assert_eq!(changed.state(), "Running", "{change}");
        assert_eq!(told(&run), ["Updated"], "{change}");
    }
    for change in [
        json!({"command": "uvx"}),
        json!({"args": ["-y", "server", "--verbose"]}),
        json!({"args": null}),
        json!({"env": {"A": "1"}}),
        json!({"envFrom": [{"name": "A", "secretKeyRef": {"name": "s", "key": "k"}}]}),
        json!({"restartRequestedAt": "2026-01-01T00:00:00Z"}),
    ] {
        let mut changed = world.clone();
        changed.edit(change.clone());
        assert_ne!(process(&changed), before, "{change}");
        assert_eq!(told(&changed.pass()), ["Updated", "Restarting"], "{change}");
        assert_eq!(changed.state(), "Starting", "{change}");
    }
}

#[test]
fn another_timeout_of_a_remote_server_reconnects_nothing() {
    let mut world = World::connected(&["t"]);
    world.edit(json!({"timeout": 5}));
    assert_eq!(told(&world.pass()), ["Updated"]);
    assert_eq!(world.probe.as_ref().map(|probe| &probe["spec"]["timeoutSeconds"]), Some(&json!(5)));
    // The host has not looked at the new generation yet.
    assert_eq!(told(&world.pass()), [""; 0]);
    assert_eq!(world.state(), "Connected");
}

#[test]
fn a_server_that_shall_not_run_has_no_children() {
    for (spec, why) in [
        (json!({"autoStart": false}), "AutoStartOff"),
        (json!({"suspended": true}), "Suspended"),
        (json!({"autoStart": false, "suspended": true}), "Suspended"),
        (json!({"suspended": true, "restartRequestedAt": "2026-01-01T00:00:00Z"}), "Suspended"),
    ] {
        for mut world in [World::running(&["t"]), World::connected(&["t"])] {
            world.edit(spec.clone());
            assert!(world.look().children().is_empty(), "{spec}");
            assert_eq!(world.look().condition("Active").reason.code, why);
        }
    }
}

#[test]
fn a_request_for_a_restart_starts_a_server_that_does_not_start_by_itself() {
    let mut world = World::local();
    world.edit(json!({"autoStart": false, "restartRequestedAt": "2026-01-01T00:00:00Z"}));
    let run = world.pass();
    assert_eq!(run.child("Process", "s")["spec"]["restartedAt"], "2026-01-01T00:00:00Z");
    assert_eq!(run.condition("Active").reason.code, "RestartRequested");
}

#[test]
fn a_restart_is_asked_for_once_for_each_request() {
    let mut world = World::running(&["t"]);
    world.edit(json!({"restartRequestedAt": "2026-01-01T10:00:00Z"}));
    world.pass();
    assert_eq!(world.status()["lastRestartedAt"], Value::Null, "nobody has complied with it yet");
    let restarted = world.process.clone();
    world.pass();
    assert_eq!(world.process, restarted);
    world.process(json!({"state": "Running", "restarts": 1}));
    world.pass();
    assert_eq!(world.status()["lastRestartedAt"], "2026-01-01T10:00:00Z");
    // To take the request back is no request.
    world.edit(json!({"restartRequestedAt": null}));
    assert_eq!(told(&world.pass()), ["Updated"]);
    assert_eq!(world.process.as_ref().map(|p| &p["spec"]), restarted.as_ref().map(|p| &p["spec"]));
    world.expect_quiet();
}

#[test]
fn a_request_for_a_restart_of_a_remote_server_is_a_look_at_it() {
    let mut world = World::connected(&["t"]);
    world.edit(json!({"restartRequestedAt": "2026-01-01T10:00:00Z"}));
    let run = world.pass();
    assert_eq!(run.child("Probe", "s")["spec"]["triggeredAt"], "2026-01-01T10:00:00Z");
    assert_eq!(told(&run), ["Updated", "Restarting"]);
    world.probe(healthy(&["t"]));
    assert_eq!(told(&world.pass()), ["Started", "ToolsDiscovered"]);
    assert_eq!(world.status()["lastRestartedAt"], "2026-01-01T10:00:00Z");
}

/// #1166: a restart of a server whose endpoint is down was tried without end.
#[test]
fn a_restart_that_fails_is_complied_with_all_the_same() {
    let mut world = World::connected(&["t"]);
    world.edit(json!({"restartRequestedAt": "2026-01-01T10:00:00Z"}));
    world.pass();
    let asked = world.probe.clone();
    for failures in 1..10 {
        world.probe(json!({"state": "Unhealthy", "reason": "ConnectionRefused", "message": "refused",
                           "consecutiveFailures": failures, "nextAttempt": "2026-01-01T10:02:00Z"}));
        world.pass();
        assert_eq!(world.status()["lastRestartedAt"], "2026-01-01T10:00:00Z");
        assert_eq!(world.probe.as_ref().map(|p| &p["spec"]), asked.as_ref().map(|p| &p["spec"]));
        world.expect_quiet();
    }
}

#[test]
fn children_of_a_fleet_s_clusters_have_names_of_their_own() {
    let key = |cluster: &str| setpoint_sdk::Key {
        cluster: cluster.into(),
        group: "muster.giantswarm.io".into(),
        kind: "MCPServer".into(),
        namespace: Some("n".into()),
        name: "s".into(),
    };
    assert_eq!(child_name(&key("local")), "s");
    assert_eq!(child_name(&key("hub")), "s");
    let (one, other) = (child_name(&key("prod.a")), child_name(&key("prod.b")));
    assert!(one.starts_with("s-") && other.starts_with("s-") && one != other, "{one} {other}");
}

#[test]
fn what_the_crd_should_have_refused_leaves_what_runs_alone() {
    for mut world in [World::running(&["t"]), World::connected(&["t"])] {
        world.edit(json!({"command": null, "url": null}));
        let run = world.look();
        run.expect_stalled("InvalidSpec");
        assert!(run.leaves_children());
    }
}

#[test]
fn a_child_of_which_the_host_knows_nothing_changes_nothing() {
    for kind in ["Process", "Probe"] {
        World::running(&["t"]).kit().unavailable(kind).run("s").expect_retry();
    }
    World::connected(&["t"]).kit().unavailable("Probe").run("s").expect_retry();
    // One that shall not run waits until it is known that its process has ended.
    let mut world = World::running(&["t"]);
    world.edit(json!({"suspended": true}));
    world.kit().unavailable("Process").run("s").expect_retry();
}
