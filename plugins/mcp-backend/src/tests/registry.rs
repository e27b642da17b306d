//! Which backends there are, and what a registry says of them.

use super::*;

#[test]
fn each_member_of_the_group_is_a_backend() {
    let mut world = World::new(&[
        server("s"),
        proxy("p"),
        entry("e"),
        with(server("other"), "spec.groupRef.name", "h".into()),
        with(server("none"), "spec.groupRef", Value::Null),
        with(server("elsewhere"), "metadata.namespace", "far".into()),
    ]);
    let first = world.pass();
    first.expect_progressing("Filling");
    assert_eq!(first.condition("AllResolved").reason.code, "Filling");
    assert_eq!(first.children().len(), 3);
    assert_eq!(world.shown()[0], "e MCPServerEntry Pending NotLookedAt");

    let run = world.settle();
    run.expect_ready();
    assert_eq!(
        world.shown(),
        ["e MCPServerEntry Open Resolved", "p MCPRemoteProxy Open Resolved", "s MCPServer Open Resolved"]
    );
    let status = run.status_json();
    assert_eq!((&status["total"], &status["open"], &status["healthy"]), (&json!(3), &json!(3), &json!(3)));
    assert_eq!(status["cluster"], "local");
    assert_eq!(run.condition("AllResolved").reason.code, "AllResolved");
    assert_eq!(run.condition("GroupFound").reason.code, "Found");
    assert!(run.children().iter().all(|child| child["metadata"]["labels"]["vmcp.setpoint.dev/registry"] == REGISTRY));
    assert_eq!(run.requeue_after(), None, "nothing depends on the time");
}

#[test]
fn a_backend_that_cannot_be_resolved_is_shown_and_does_not_hold_up_the_others() {
    let waiting = with(server("a"), "status.url", Value::Null);
    let closed = with(server("b"), "spec.externalAuthConfigRef", json!({"name": "nowhere"}));
    let ill = with(server("d"), "status.phase", "Failed".into());
    let mut world = World::new(&[waiting, closed, server("c"), ill]);
    let run = world.settle();
    run.expect_ready();
    assert_eq!(
        world.shown(),
        [
            "a MCPServer Pending NoUrl",
            "b MCPServer Closed AuthConfigNotFound",
            "c MCPServer Open Resolved",
            "d MCPServer Open Resolved"
        ]
    );
    let status = run.status_json();
    assert_eq!((&status["total"], &status["open"], &status["healthy"]), (&json!(4), &json!(2), &json!(1)));
    let resolved = run.condition("AllResolved");
    assert_eq!(resolved.reason.code, "SomeNotResolved");
    assert_eq!(resolved.reason.message, "No client can use a (NoUrl), b (AuthConfigNotFound)");
}

#[test]
fn a_message_names_a_few_and_says_that_there_are_more() {
    let sources: Vec<Value> = (0..9).map(|n| with(server(&format!("s{n}")), "status.url", Value::Null)).collect();
    let run = World::new(&sources).settle();
    let message = &run.condition("AllResolved").reason.message;
    assert_eq!(message, "No client can use s0 (NoUrl), s1 (NoUrl), s2 (NoUrl), s3 (NoUrl), s4 (NoUrl), …");
}

#[test]
fn of_sources_of_one_name_the_first_kind_has_the_id_and_the_others_say_so() {
    let mut world = World::new(&[entry("x"), proxy("x"), server("x")]);
    world.settle().expect_ready();
    assert_eq!(
        world.shown(),
        ["x MCPServer Open Resolved", "x MCPRemoteProxy Closed NameTaken", "x MCPServerEntry Closed NameTaken"]
    );
    // One of another group takes nothing away.
    let mut world = World::new(&[with(server("x"), "spec.groupRef.name", "h".into()), proxy("x")]);
    world.settle();
    assert_eq!(world.shown(), ["x MCPRemoteProxy Open Resolved"]);
}

#[test]
fn what_is_unknown_is_never_an_empty_registry() {
    let world = World::new(&[server("s")]);
    for kind in ["MCPServer", "MCPRemoteProxy", "MCPServerEntry", "MCPGroup", "Backend"] {
        world.kit().unavailable(kind).run(REGISTRY).expect_retry();
    }
    for kind in ["MCPServer", "MCPRemoteProxy", "MCPServerEntry"] {
        assert!(world.kit().not_granted(kind).run(REGISTRY).expect_permanent().contains("grant it with"));
    }
    let run = world.kit().not_granted("MCPGroup").run(REGISTRY);
    assert_eq!(run.condition("GroupFound").reason.code, "NotGranted");
    assert_eq!(run.children().len(), 1);
}

#[test]
fn a_group_without_members_is_empty_and_one_that_is_not_there_is_a_mistake() {
    let run = World::new(&[]).settle();
    assert_eq!(run.expect_ready().condition("AllResolved").reason.code, "Empty");

    let mut world = World::new(&[]);
    world.sources.clear();
    let run = world.settle();
    run.expect_stalled("GroupNotFound");
    assert!(run.children().is_empty());

    // What says that it is a member is one, as for ToolHive.
    world.sources.push(server("s"));
    let run = world.settle();
    run.expect_ready();
    assert_eq!((run.condition("GroupFound").reason.code.as_str(), run.children().len()), ("GroupNotFound", 1));
}

#[test]
fn a_source_that_leaves_is_drained_and_one_that_nobody_used_goes_at_once() {
    let mut world = World::new(&[server("a"), with(server("b"), "status.url", Value::Null)]);
    world.registry["spec"]["drainSeconds"] = 60.into();
    world.settle();
    world.sources.truncate(1);
    let run = world.pass();
    assert_eq!(run.children().len(), 1, "b had no address");
    let since = run.children()[0]["spec"]["draining"]["since"].clone();
    assert!(since.is_string());
    assert!(run.requeue_after().is_some_and(|after| (1..=60).contains(&after.as_secs())));
    let run = world.settle();
    assert_eq!(world.shown(), ["a MCPServer Draining Removed"]);
    assert_eq!(run.children()[0]["spec"]["draining"]["since"], since, "it is the same time for ever");
    assert_eq!(run.expect_ready().status_json()["open"], 0);

    // It comes back.
    let mut back = world.clone();
    back.sources.push(server("a"));
    let run = back.settle();
    assert_eq!(back.shown(), ["a MCPServer Open Resolved"]);
    assert!(run.children()[0]["spec"]["draining"].is_null() && run.requeue_after().is_none());

    // Its time is over.
    world.backends[0]["spec"]["draining"]["since"] = "2020-01-01T00:00:00Z".into();
    let run = world.pass();
    assert!(run.children().is_empty() && run.requeue_after().is_none());
}

#[test]
fn without_a_time_to_drain_it_goes_at_once() {
    let mut world = World::new(&[server("a")]);
    world.settle();
    world.sources.truncate(1);
    assert!(world.pass().children().is_empty());
}

#[test]
fn the_time_to_drain_has_a_default() {
    let mut world = World::new(&[server("a")]);
    world.registry["spec"] = json!({"group": "g"});
    world.settle();
    world.sources.truncate(1);
    assert!(world.pass().requeue_after().is_some_and(|after| (1..=30).contains(&after.as_secs())));
}

#[test]
fn a_backend_that_a_person_made_is_not_the_registrys() {
    let mut world = World::new(&[]);
    let mut own = backend_of("MCPServer", "mine");
    own["apiVersion"] = "vmcp.setpoint.dev/v1alpha1".into();
    own["kind"] = "Backend".into();
    own["status"] = json!({"state": "Open", "reason": "Resolved"});
    world.registry["spec"]["drainSeconds"] = 60.into();
    world.backends.push(own);
    assert!(world.pass().children().is_empty());
}

#[test]
fn of_two_registries_of_one_group_the_older_keeps_it() {
    let mut world = World::new(&[server("s")]);
    let other = |name: &str, spec: Value, created: &str| {
        json!({"apiVersion": "vmcp.setpoint.dev/v1alpha1", "kind": "BackendRegistry",
               "metadata": {"name": name, "creationTimestamp": created}, "spec": spec})
    };
    for (spec, created, expected) in [
        (json!({"group": "g"}), "2025-01-01T00:00:00Z", Some("zz")),
        (json!({"group": "g"}), "2027-01-01T00:00:00Z", None),
        (json!({"group": "h"}), "2025-01-01T00:00:00Z", None),
        (json!({"group": "g", "cluster": "east"}), "2025-01-01T00:00:00Z", None),
    ] {
        let run = world.kit().with(other("zz", spec.clone(), created)).run(REGISTRY);
        match expected {
            Some(_) => assert!(run.expect_stalled("GroupTaken").leaves_children()),
            None => assert_eq!(run.children().len(), 1, "{spec} {created}"),
        }
    }
    world.settle().expect_ready();
}

#[test]
fn the_registry_says_which_cluster_it_reads_else_the_operator_else_it_is_its_own() {
    let world = World::new(&[server("here")]);
    let there = json!([group(), server("there")]);
    let kit = world.kit().with_in("hub", there.clone()).with_in("east", json!([group(), server("east")]));
    let id = |run: &Run<BackendRegistry>| run.children()[0]["spec"]["source"].clone();
    assert_eq!(id(&kit.run(REGISTRY)), json!({"cluster": "local", "kind": "MCPServer", "name": "here"}));
    let kit = kit.config(json!({"cluster": "hub"}));
    let run = kit.run(REGISTRY);
    assert_eq!(id(&run), json!({"cluster": "hub", "kind": "MCPServer", "name": "there"}));
    assert_eq!(run.status_json()["cluster"], "hub");
    let mut registry = world.registry.clone();
    registry["spec"]["cluster"] = "east".into();
    assert_eq!(id(&kit.object(registry).run(REGISTRY))["cluster"], "east");
}

#[test]
fn what_the_registry_asks_is_only_its_own_group() {
    let run = World::new(&[server("s")]).pass();
    let reads: Vec<String> = run.reads().iter().map(ToString::to_string).collect();
    assert_eq!(
        reads,
        [
            "list BackendRegistry.vmcp.setpoint.dev default group=g",
            "get MCPGroup.toolhive.stacklok.dev default/g",
            "list MCPServer.toolhive.stacklok.dev default group=g",
            "list MCPRemoteProxy.toolhive.stacklok.dev default group=g",
            "list MCPServerEntry.toolhive.stacklok.dev default group=g",
            "list Backend.vmcp.setpoint.dev default registry=tools",
        ]
    );
}
