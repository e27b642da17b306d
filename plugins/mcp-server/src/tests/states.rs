//! What the states of children make of the server.

use setpoint_sdk::bindings::setpoint::reconciler::types::Readiness;

use super::*;

/// `ready`, or `progressing`/`stalled` with the reason.
fn readiness(run: &Run<MCPServer>) -> String {
    match &run.outcome().readiness {
        Readiness::Ready => "ready".into(),
        Readiness::Progressing(reason) => format!("progressing {}", reason.code),
        Readiness::Stalled(reason) => format!("stalled {}", reason.code),
    }
}

#[test]
fn each_state_of_a_process_is_one_of_the_server() {
    for (state, expected, ready) in [
        ("Pending", "Starting", "progressing Starting"),
        ("Running", "Starting", "progressing Initializing"),
        ("Stopping", "Starting", "progressing Restarting"),
        ("Exited", "Stopped", "progressing Ended"),
        ("Backoff", "Starting", "progressing Ended"),
        ("CrashLoop", "Failed", "stalled CrashLoop"),
        ("Failed", "Failed", "stalled Ended"),
        ("SomethingNew", "Stopped", "progressing Ended"),
    ] {
        let mut world = World::local().with_children();
        assert_eq!(world.state(), "Starting");
        world.process(json!({"state": state, "reason": "Ended", "message": "It ended"}));
        let run = world.pass();
        assert_eq!((world.state(), readiness(&run).as_str()), (expected, ready), "{state}");
        world.expect_quiet();
    }
}

#[test]
fn each_state_of_the_probe_is_one_of_a_server_whose_process_runs() {
    for (state, reason, expected, ready) in [
        ("Unknown", "", "Starting", "progressing Initializing"),
        ("Healthy", "Reachable", "Running", "ready"),
        ("AuthRequired", "AuthRequired", "Running", "stalled AuthRequired"),
        ("Unhealthy", "ProcessNotReady", "Starting", "progressing Initializing"),
        ("Unhealthy", "Timeout", "Failed", "progressing Timeout"),
        ("Unhealthy", "NotMCP", "Failed", "stalled NotMCP"),
        ("Unhealthy", "", "Failed", "progressing Unhealthy"),
    ] {
        let mut world = World::local().with_children();
        world.process(json!({"state": "Running"}));
        world.probe(json!({"state": state, "reason": reason, "message": "said"}));
        let run = world.pass();
        assert_eq!((world.state(), readiness(&run).as_str()), (expected, ready), "{state} {reason}");
        world.expect_quiet();
    }
}

#[test]
fn each_state_of_the_probe_is_one_of_a_remote_server() {
    for (state, reason, expected, ready) in [
        ("Unknown", "", "Connecting", "progressing Connecting"),
        ("SomethingNew", "", "Connecting", "progressing Connecting"),
        ("Healthy", "Reachable", "Connected", "ready"),
        ("AuthRequired", "AuthRequired", "Auth Required", "stalled AuthRequired"),
        ("Unhealthy", "NameNotResolved", "Failed", "progressing NameNotResolved"),
        ("Unhealthy", "ConnectionRefused", "Failed", "progressing ConnectionRefused"),
        ("Unhealthy", "ConnectionFailed", "Failed", "progressing ConnectionFailed"),
        ("Unhealthy", "Timeout", "Failed", "progressing Timeout"),
        ("Unhealthy", "ProtocolError", "Failed", "progressing ProtocolError"),
        ("Unhealthy", "TLSError", "Failed", "stalled TLSError"),
        ("Unhealthy", "NotMCP", "Failed", "stalled NotMCP"),
        ("Unhealthy", "SecretNotFound", "Failed", "stalled SecretNotFound"),
        ("Unhealthy", "NotGranted", "Failed", "stalled NotGranted"),
        ("Unhealthy", "Invalid", "Failed", "stalled Invalid"),
    ] {
        let mut world = World::remote().with_children();
        assert_eq!(world.state(), "Connecting");
        world.probe(json!({"state": state, "reason": reason, "message": "said"}));
        let run = world.pass();
        assert_eq!((world.state(), readiness(&run).as_str()), (expected, ready), "{state} {reason}");
        world.expect_quiet();
    }
}

#[test]
fn an_answer_that_says_it_is_our_fault_needs_somebody_and_another_may_pass() {
    for (status, expected) in [(404, "stalled HTTPStatus"), (500, "progressing HTTPStatus")] {
        let mut world = World::remote().with_children();
        world.probe(json!({"state": "Unhealthy", "reason": "HTTPStatus", "message": "said", "httpStatus": status}));
        assert_eq!(readiness(&world.pass()), expected);
    }
}

#[test]
fn a_server_whose_clients_authenticate_is_as_asked_for_when_it_asks_them_to() {
    for (auth, expected) in [
        (json!({"type": "oauth"}), "ready"),
        (json!({"forwardToken": true}), "ready"),
        (
            json!({"tokenExchange": {"enabled": true, "dexTokenEndpoint": "https://d.example/token", "connectorId": "c"}}),
            "ready",
        ),
        (json!({"tokenExchange": {"enabled": true}}), "stalled TokenExchangeIncomplete"),
        (json!({"type": "none"}), "stalled AuthRequired"),
    ] {
        let mut world = World::remote();
        world.edit(json!({"auth": auth}));
        let mut world = world.with_children();
        world.probe(json!({"state": "AuthRequired", "reason": "AuthRequired", "httpStatus": 401,
                           "message": "The endpoint asks for credentials"}));
        let run = world.pass();
        assert_eq!(world.state(), "Auth Required");
        assert_eq!(readiness(&run), expected, "{auth}");
        assert_eq!(world.status()["lastError"], Value::Null, "it is reachable: {auth}");
        world.expect_quiet();
    }
}

#[test]
fn a_server_is_running_until_its_process_has_ended() {
    let mut world = World::running(&["t"]);
    world.edit(json!({"suspended": true}));
    let run = world.look();
    assert_eq!(run.status_json()["state"], "Running");
    run.expect_progressing("Stopping");
    assert!(run.status_json()["tools"].is_null(), "nobody shall count on it any more");
    world.process = None;
    world.probe = None;
    let run = world.pass();
    run.expect_ready();
    assert_eq!(world.state(), "Stopped");
}

/// #1212: a suspended server was stopped again and again.
#[test]
fn a_server_that_is_suspended_stays_so_without_a_word() {
    for (mut world, state) in [(World::running(&["t"]), "Stopped"), (World::connected(&["t"]), "Disconnected")] {
        world.edit(json!({"suspended": true}));
        world.pass();
        world.pass();
        assert_eq!(world.state(), state);
        let before = world.server.clone();
        for _ in 0..5 {
            let run = world.pass();
            assert!(run.events().is_empty() && run.children().is_empty());
            assert_eq!(world.server, before);
        }
    }
}

/// #1285: every pass wrote the time at which it ran.
#[test]
fn a_call_without_news_comes_to_the_same() {
    for mut world in [World::running(&["t"]), World::connected(&["t"]), World::local(), World::remote()] {
        world.pass();
        let before = world.server.clone();
        for _ in 0..5 {
            world.expect_quiet();
        }
        assert_eq!(world.server, before);
    }
}

#[test]
fn a_restart_of_the_process_shows_as_starting_until_the_new_one_answers() {
    let mut world = World::running(&["t"]);
    world.edit(json!({"command": "uvx"}));
    let run = world.pass();
    run.expect_progressing("Restarting");
    assert_eq!(world.state(), "Starting");
    // The host has not looked at it yet: what it says is of the old one.
    world.pass().expect_progressing("Restarting");
    world.process(json!({"state": "Stopping"}));
    world.pass().expect_progressing("Restarting");
    world.process(json!({"state": "Running", "restarts": 1}));
    world.probe(json!({"state": "Unhealthy", "reason": "ProcessNotReady"}));
    world.pass().expect_progressing("Initializing");
    world.probe(healthy(&["t"]));
    world.pass().expect_ready();
    assert_eq!((world.state(), &world.status()["restartCount"]), ("Running", &json!(1)));
}

#[test]
fn another_address_is_connecting_until_it_was_looked_at() {
    let mut world = World::connected(&["t"]);
    world.edit(json!({"url": "https://b.example/mcp"}));
    for _ in 0..3 {
        world.pass().expect_progressing("Connecting");
        assert_eq!(world.state(), "Connecting", "the old status is about the old address");
    }
    world.probe(healthy(&["t"]));
    world.pass().expect_ready();
}

#[test]
fn what_went_wrong_stays_visible_until_it_does_no_longer() {
    let mut world = World::running(&["t"]);
    world.process(json!({"state": "Backoff", "reason": "Exited", "message": "npx ended with code 1", "restarts": 0,
                         "consecutiveFailures": 1, "lastExit": {"code": 1, "at": "2026-01-01T00:00:08Z"},
                         "nextRestartAt": "2026-01-01T00:00:09Z"}));
    world.pass();
    assert_eq!(
        *world.status(),
        json!({"state": "Starting", "lastError": "npx ended with code 1", "restartCount": 0, "consecutiveFailures": 1,
               "lastAttempt": "2026-01-01T00:00:08Z", "nextRetryAfter": "2026-01-01T00:00:09Z",
               "lastConnected": "2026-01-01T00:00:02Z", "observedGeneration": 1})
    );
    // It runs again, and nobody knows yet whether it answers.
    world.process(json!({"state": "Running", "restarts": 1, "consecutiveFailures": 1}));
    world.probe(json!({"state": "Unhealthy", "reason": "ProcessNotReady", "lastConnected": "2026-01-01T00:00:02Z"}));
    world.pass();
    assert_eq!(world.status()["lastError"], "npx ended with code 1");
    assert_eq!(world.status()["nextRetryAfter"], Value::Null);
    world.expect_quiet();
    world.probe(healthy(&["t"]));
    world.pass();
    assert_eq!((world.state(), &world.status()["lastError"]), ("Running", &Value::Null));
    assert_eq!(world.status()["lastAttempt"], Value::Null);
}

#[test]
fn an_endpoint_that_is_away_shows_when_it_is_tried_again() {
    let mut world = World::connected(&["t"]);
    world.probe(
        json!({"state": "Unhealthy", "reason": "ConnectionRefused", "message": "a.example refuses connections",
                       "consecutiveFailures": 3, "lastConnected": "2026-01-01T00:00:02Z",
                       "lastAttempt": "2026-01-01T00:01:00Z", "nextAttempt": "2026-01-01T00:02:00Z"}),
    );
    world.pass();
    assert_eq!(
        *world.status(),
        json!({"state": "Failed", "lastError": "a.example refuses connections", "consecutiveFailures": 3,
               "lastAttempt": "2026-01-01T00:01:00Z", "nextRetryAfter": "2026-01-01T00:02:00Z",
               "lastConnected": "2026-01-01T00:00:02Z", "observedGeneration": 1})
    );
}

#[test]
fn a_status_of_another_version_is_no_obstacle() {
    let mut world = World::running(&["t"]);
    world.server["status"] = json!({"state": "Awaiting Session", "restartCount": "many"});
    assert_eq!(world.pass().status_json()["state"], "Running");
}

/// Whatever comes after whatever: the call after it knows no better, and has nothing to tell.
#[test]
fn every_step_comes_to_rest_at_once() {
    let processes = ["Pending", "Running", "Stopping", "Exited", "Backoff", "CrashLoop", "Failed"];
    let probes = [
        ("Unknown", ""),
        ("Healthy", "Reachable"),
        ("AuthRequired", "AuthRequired"),
        ("Unhealthy", "ProcessNotReady"),
        ("Unhealthy", "Timeout"),
    ];
    let edits = [
        json!({"suspended": true}),
        json!({"suspended": false}),
        json!({"autoStart": false}),
        json!({"autoStart": true}),
        json!({"timeout": 7}),
        json!({"restartRequestedAt": "2026-01-01T00:00:00Z"}),
        json!({"restartRequestedAt": null}),
    ];
    for mut world in [World::local(), World::remote()] {
        // A walk in which each step is taken after many others; the numbers have no common divisor.
        for step in 0..700_usize {
            if world.process.is_some() {
                world.process(json!({"state": processes[step * 3 % 7], "reason": "R", "message": "m",
                                     "consecutiveFailures": step % 4, "restarts": step}));
            }
            if world.probe.is_some() {
                let (state, reason) = probes[step * 2 % 5];
                world.probe(
                    json!({"state": state, "reason": reason, "message": "m", "tools": [format!("t{}", step % 2)],
                                   "consecutiveFailures": step % 3}),
                );
            }
            if step % 9 == 0 {
                world.edit(edits[step / 9 % 7].clone());
            }
            world.pass();
            // The second one sees children go that are no longer wanted.
            world.pass();
            world.expect_quiet();
        }
    }
}
