//! What is told, and that it is told once.

use setpoint_sdk::EventType;

use super::*;

fn failing(failures: u64) -> Value {
    json!({"state": "Unhealthy", "reason": "Timeout", "message": "no answer", "consecutiveFailures": failures})
}

fn ended(state: &str, failures: u64) -> Value {
    json!({"state": state, "reason": "Exited", "message": "ended with code 1", "consecutiveFailures": failures})
}

#[test]
fn a_local_server_tells_of_its_life() {
    let mut world = World::local();
    assert_eq!(told(&world.pass()), ["Created", "Starting"]);
    world.process(json!({"state": "Pending"}));
    assert_eq!(told(&world.pass()), [""; 0]);
    world.process(json!({"state": "Running"}));
    assert_eq!(told(&world.pass()), [""; 0]);
    world.probe(healthy(&["a", "b"]));
    let run = world.pass();
    assert_eq!(told(&run), ["Started", "ToolsDiscovered"]);
    assert_eq!(run.events()[1].reason.message, "Tools offered: 2");
    world.probe(healthy(&["a", "c"]));
    assert_eq!(told(&world.pass()), ["ToolsDiscovered"]);
    world.edit(json!({"suspended": true}));
    assert_eq!(told(&world.pass()), ["Updated"], "it is still being stopped");
    assert_eq!(told(&world.pass()), ["Stopped"]);
    world.edit(json!({"suspended": null}));
    assert_eq!(told(&world.pass()), ["Updated", "Starting"]);
}

#[test]
fn a_remote_server_tells_of_its_life() {
    let mut world = World::remote();
    assert_eq!(told(&world.pass()), ["Created", "Starting"]);
    world.probe(json!({"state": "AuthRequired", "message": "credentials, please"}));
    assert_eq!(told(&world.pass()), ["AuthRequired"]);
    world.probe(healthy(&["a"]));
    assert_eq!(told(&world.pass()), ["Started", "ToolsDiscovered"]);
    world.edit(json!({"autoStart": false}));
    assert_eq!(told(&world.pass()), ["Updated", "Stopped"]);
}

#[test]
fn an_endpoint_that_goes_and_comes_back_is_told_of() {
    let mut world = World::connected(&["a"]);
    world.probe(failing(1));
    let run = world.pass();
    assert_eq!(told(&run), ["HealthCheckFailed", "Failed", "ToolsUnavailable"]);
    assert!(run.events().iter().all(|event| event.type_ == EventType::Warning));
    assert_eq!(run.events()[1].reason.message, "The server failed: no answer");
    for failures in 2..5 {
        world.probe(failing(failures));
        assert_eq!(told(&world.pass()), ["RecoveryFailed"], "one more try");
    }
    world.probe(healthy(&["a"]));
    assert_eq!(told(&world.pass()), ["Started", "RecoverySucceeded", "ToolsDiscovered"]);
}

#[test]
fn a_process_that_ends_and_comes_back_is_told_of() {
    let mut world = World::running(&["a"]);
    world.process(ended("Backoff", 1));
    let run = world.pass();
    assert_eq!(told(&run), ["RecoveryStarted", "ToolsUnavailable"]);
    assert_eq!(run.events()[0].reason.message, "The server is being started again: ended with code 1");
    world.process(json!({"state": "Running", "restarts": 1, "consecutiveFailures": 1}));
    world.probe(json!({"state": "Unhealthy", "reason": "ProcessNotReady"}));
    assert_eq!(told(&world.pass()), [""; 0]);
    world.probe(healthy(&["a"]));
    assert_eq!(told(&world.pass()), ["Started", "RecoverySucceeded", "ToolsDiscovered"]);
}

#[test]
fn a_process_that_ends_again_and_again_fails_in_the_end() {
    let mut world = World::local().with_children();
    world.process(ended("Backoff", 1));
    assert_eq!(told(&world.pass()), [""; 0], "it is still starting");
    world.process(ended("Backoff", 2));
    assert_eq!(told(&world.pass()), ["RecoveryFailed"]);
    world.process(ended("CrashLoop", 5));
    assert_eq!(told(&world.pass()), ["Failed", "RecoveryFailed"]);
    world.process(json!({"state": "Running", "consecutiveFailures": 5, "restarts": 5}));
    assert_eq!(told(&world.pass()), ["RecoveryStarted"]);
    // A mended command.
    world.edit(json!({"command": "uvx"}));
    assert_eq!(told(&world.pass()), ["Updated"], "it was starting, and is");
    world.process(json!({"state": "Running", "consecutiveFailures": 0, "restarts": 6}));
    world.probe(healthy(&[]));
    assert_eq!(told(&world.pass()), ["Started", "RecoverySucceeded"]);
}

#[test]
fn a_restart_that_was_asked_for_is_no_failure() {
    let mut world = World::running(&["a"]);
    world.edit(json!({"args": ["other"]}));
    assert_eq!(told(&world.pass()), ["Updated", "Restarting"]);
    world.process(json!({"state": "Running", "restarts": 1}));
    world.probe(healthy(&["a"]));
    assert_eq!(told(&world.pass()), ["Started", "ToolsDiscovered"]);
}

#[test]
fn a_server_that_does_not_start_tells_that_it_is_known_and_no_more() {
    let mut world = World::local();
    world.edit(json!({"autoStart": false}));
    assert_eq!(told(&world.pass()), ["Created"]);
    assert_eq!(world.state(), "Stopped");
    world.expect_quiet();
}

#[test]
fn conditions_of_the_host_alone_are_no_first_status() {
    let mut world = World::local();
    world.server["status"] = json!({"observedGeneration": 1, "conditions": []});
    assert_eq!(told(&world.pass()), ["Created", "Starting"]);
}

/// A status that could not be written is seen again as it was: then the same is told again, and folded.
#[test]
fn what_is_told_depends_on_nothing_but_the_object_and_its_children() {
    let mut world = World::running(&["a"]);
    world.process(ended("Backoff", 1));
    assert_eq!(world.look().outcome(), world.look().outcome());
    assert_eq!(told(&world.look()), told(&world.look()));
}
