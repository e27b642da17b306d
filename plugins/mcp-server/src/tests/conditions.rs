//! Conditions of the plugin's own.

use setpoint_sdk::ConditionStatus;

use super::*;

/// Status and reason of a condition; none if it is not there.
fn condition(run: &Run<MCPServer>, name: &str) -> Option<(ConditionStatus, String)> {
    let found = run.outcome().conditions.iter().find(|condition| condition.type_ == name);
    found.map(|condition| (condition.status, condition.reason.code.clone()))
}

#[test]
fn whether_a_server_shall_run_is_said_with_what_says_so() {
    for (spec, expected) in [
        (json!({}), (ConditionStatus::True, "AutoStart")),
        (json!({"autoStart": false}), (ConditionStatus::False, "AutoStartOff")),
        (json!({"suspended": true}), (ConditionStatus::False, "Suspended")),
        (
            json!({"autoStart": false, "restartRequestedAt": "2026-01-01T00:00:00Z"}),
            (ConditionStatus::True, "RestartRequested"),
        ),
    ] {
        let mut world = World::local();
        world.edit(spec.clone());
        let expected = Some((expected.0, expected.1.to_owned()));
        assert_eq!(condition(&world.look(), "Active"), expected, "{spec}");
    }
}

#[test]
fn how_clients_authenticate_is_said_and_what_is_wrong_with_it() {
    let exchange = |more: Value| {
        let mut exchange = json!({"enabled": true, "dexTokenEndpoint": "https://d.example/token", "connectorId": "c"});
        for (key, value) in more.as_object().into_iter().flatten() {
            exchange[key] = value.clone();
        }
        exchange
    };
    for (auth, expected) in [
        (Value::Null, None),
        (json!({"type": "none"}), None),
        (json!({"tokenExchange": exchange(json!({"enabled": false}))}), None),
        (json!({"type": "oauth"}), Some((ConditionStatus::True, "OAuth"))),
        (json!({"forwardToken": true, "type": "oauth"}), Some((ConditionStatus::True, "TokenForwarding"))),
        (json!({"tokenExchange": exchange(json!({}))}), Some((ConditionStatus::True, "TokenExchange"))),
        (
            json!({"tokenExchange": exchange(json!({})), "forwardToken": true}),
            Some((ConditionStatus::True, "TokenExchange")),
        ),
        (
            json!({"tokenExchange": exchange(json!({"connectorId": ""}))}),
            Some((ConditionStatus::False, "TokenExchangeIncomplete")),
        ),
    ] {
        let mut world = World::remote();
        world.edit(json!({"auth": auth}));
        let expected = expected.map(|(status, code)| (status, code.to_owned()));
        assert_eq!(condition(&world.look(), "AuthConfigured"), expected, "{auth}");
    }
    let mut world = World::local();
    world.edit(json!({"auth": {"type": "oauth"}}));
    let expected = Some((ConditionStatus::False, "NotForStdio".to_owned()));
    assert_eq!(condition(&world.look(), "AuthConfigured"), expected);
}

fn member(name: &str, family: Value) -> Value {
    json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": name},
           "spec": {"type": "stdio", "command": "x", "family": family}})
}

#[test]
fn a_family_agrees_on_the_argument_that_tells_its_members_apart() {
    let family = |argument: &str| json!({"name": "kubernetes", "instanceArg": argument});
    let mut world = World::local();
    world.edit(json!({"family": family("cluster")}));
    world.others = vec![member("a", family("cluster")), member("z", json!({"name": "other", "instanceArg": "x"}))];
    let run = world.look();
    assert_eq!(run.condition("FamilyAgrees").status, ConditionStatus::True);
    let reads: Vec<String> = run.reads().iter().map(ToString::to_string).collect();
    assert!(reads.contains(&"list MCPServer.muster.giantswarm.io default family=kubernetes".into()), "{reads:?}");
    world.others.push(member("b", family("region")));
    let run = world.look();
    let condition = run.condition("FamilyAgrees");
    assert_eq!((condition.status, condition.reason.code.as_str()), (ConditionStatus::False, "InstanceArgDiffers"));
    assert_eq!(
        condition.reason.message,
        "The servers of family kubernetes differ in instanceArg (cluster of a, s; region of b): each has its own prefix"
    );
    run.expect_progressing("Starting");
}

#[test]
fn the_text_about_a_family_is_bounded() {
    let mut world = World::local();
    world.edit(json!({"family": {"name": "f", "instanceArg": "a0"}}));
    world.others = (0..500)
        .map(|n| member(&format!("m{n}"), json!({"name": "f", "instanceArg": format!("a{}", n % 50)})))
        .collect();
    let run = world.look();
    let message = &run.condition("FamilyAgrees").reason.message;
    assert!(message.len() < 200 && message.contains("; …"), "{message}");
}

#[test]
fn a_server_without_a_family_depends_on_no_other_server() {
    let run = World::running(&["t"]).look();
    assert_eq!(condition(&run, "FamilyAgrees"), None);
    let reads: Vec<String> = run.reads().iter().map(ToString::to_string).collect();
    assert_eq!(reads, ["get Probe.host.setpoint.dev default/s", "get Process.host.setpoint.dev default/s"]);
}
