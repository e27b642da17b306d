//! The command line against a running host.

use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{HOSTILE, config_bundle, config_map, echo, hostile, workflow};
use setpoint_test_support::{Host, Setup};

fn setup() -> Setup {
    Host::setup()
        .plugin("workflow")
        .plugin("config-bundle")
        .file("deploy.yaml", &workflow("deploy", 2))
        .file("bundle.yaml", &config_bundle("shop"))
        .file("a.yaml", &config_map("a", &[("bundle", "shop")], &[("k", "v")]))
}

fn start() -> Host {
    let host = setup().start();
    host.all_synced(2, Duration::from_secs(20));
    host
}

/// Whether some object in it has this name.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(map) => {
            map.get("name").is_some_and(|it| it == name) || map.values().any(|value| mentions(value, name))
        }
        Value::Array(all) => all.iter().any(|value| mentions(value, name)),
        _ => false,
    }
}

/// The words of the line that begins with `first`.
fn line<'t>(table: &'t str, first: &str) -> Vec<&'t str> {
    let found = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&first));
    found.unwrap_or_else(|| panic!("no line begins with {first}:\n{table}"))
}

#[test]
fn get_shows_a_readable_table_of_what_is_reconciled() {
    let host = start();
    let table = host.cli(&["get", "workflows"]).ok();
    let header = line(&table, "NAME");
    assert!(header.contains(&"VALID") && header.contains(&"STEPS") && header.contains(&"STATE"), "{table}");
    let row = line(&table, "deploy");
    assert!(row.contains(&"true") && row.contains(&"2") && row.contains(&"Synced"), "{table}");
    // By kind, plural, short name, with group, in any case: one and the same.
    for word in ["Workflow", "workflow", "wf", "workflows.muster.giantswarm.io"] {
        let again = host.cli(&["get", word]).ok();
        assert_eq!(line(&again, "deploy")[..2], row[..2], "{word}:\n{again}");
    }
    let all = host.cli(&["get"]).ok();
    assert!(all.contains("deploy") && all.contains("shop"), "{all}");
    assert!(!all.contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn get_answers_json_and_yaml_on_request() {
    let host = start();
    for args in [
        vec!["get", "-o", "json"],
        vec!["get", "workflow", "-o", "json"],
        vec!["get", "workflow", "deploy", "-o", "json"],
    ] {
        let text = host.cli(&args).ok();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}\n{text}"));
        assert!(mentions(&value, "deploy"), "{args:?}: {text}");
    }
    let yaml = host.cli(&["get", "workflow", "deploy", "-o", "yaml"]).ok();
    assert!(yaml.lines().any(|line| line.trim_start().trim_start_matches("- ") == "kind: Workflow"), "{yaml}");
    assert!(yaml.lines().any(|line| line.trim() == "name: deploy"), "{yaml}");
    let plugins = host.cli(&["plugins", "-o", "json"]).ok();
    let plugins: Value = serde_json::from_str(&plugins).unwrap_or_default();
    assert!(mentions(&plugins, "config-bundle"), "{plugins}");
}

#[test]
fn describe_says_all_there_is_to_know_of_an_object() {
    let host = start();
    host.at_rest();
    let text = host.cli(&["describe", "configbundle", "shop"]).ok();
    for word in ["shop", "ConfigBundle", "Synced", "bundle.yaml", "Ready", "Runs:", "created"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
    let (_, children) = text.split_once("Children:").unwrap_or_default();
    assert_eq!(line(children, "ConfigMap")[1..], ["default", "shop"], "{text}");
    let text = host.cli(&["describe", "workflow", "deploy"]).ok();
    assert!(text.contains("x_tool_1") && text.contains("WorkflowValidationSucceeded"), "{text}");
}

#[test]
fn trigger_runs_an_object_now() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    let runs = |host: &Host| host.row("Hostile", "a").and_then(|row| Some(row["runs"].as_array()?.len()));
    let before = runs(&host);
    host.cli(&["trigger", "hostile", "a"]).ok();
    let row = host.wait_for("another run", |host| (runs(host) > before).then(|| host.row("Hostile", "a"))?);
    let last = row["runs"].as_array().and_then(|runs| runs.last()).cloned().unwrap_or_default();
    assert!(last["causes"].to_string().contains("manual"), "{last}");
    assert_eq!(last["writes"], 0, "nothing had changed");
}

#[test]
fn plugins_shows_what_runs() {
    let host = start();
    let table = host.cli(&["plugins"]).ok();
    assert!(line(&table, "workflow").contains(&"Running"), "{table}");
    assert!(line(&table, "config-bundle").contains(&"Running"), "{table}");
    assert!(table.contains("ConfigBundle"), "{table}");
}

#[test]
fn a_paused_object_is_left_alone_until_it_is_resumed() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    host.cli(&["pause", "hostile", "a"]).ok();
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("the new spec is there", |host| (host.object(HOSTILE, "a")?["spec"]["value"] == 2).then_some(()));
    host.never("it must not run", Duration::from_millis(500), |host| {
        host.object(HOSTILE, "a").is_none_or(|object| object["status"]["value"] != 1)
    });
    host.cli(&["resume", "hostile", "a"]).ok();
    host.wait_for("resumed, it runs", |host| (host.object(HOSTILE, "a")?["status"]["value"] == 2).then_some(()));
}

#[test]
fn what_does_not_exist_is_said_with_what_does() {
    let host = start();
    let error = host.cli(&["get", "workflwo"]).failed(1);
    assert!(error.contains("workflwo") && error.to_lowercase().contains("workflow"), "{error}");
    let error = host.cli(&["describe", "workflow", "nothing"]).failed(1);
    assert!(error.contains("nothing"), "{error}");
    let error = host.cli(&["delete", "workflow", "deploy"]).failed(1);
    assert!(error.contains("deploy.yaml"), "a file defines it: {error}");
}

#[test]
fn without_a_host_it_says_how_to_start_one() {
    let host = start();
    assert!(host.terminate().0.success());
    let error = host.cli(&["get"]).failed(1);
    assert!(error.contains("setpoint run"), "{error}");
}

#[test]
fn events_are_shown() {
    let host = start();
    host.at_rest();
    let text = host.cli(&["events"]).ok();
    assert!(text.contains("WorkflowValidationSucceeded") && text.contains("deploy"), "{text}");
}

#[test]
fn crds_are_printed_without_a_host() {
    let host = start();
    assert!(host.terminate().0.success());
    let text = host.cli(&["crds", "Workflow", "--plugins", "plugins"]).ok();
    assert!(
        text.contains("kind: CustomResourceDefinition") && text.contains("workflows.muster.giantswarm.io"),
        "{text}"
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: correct-horse\n";
    let host = setup().file("s.yaml", secret).start();
    host.wait_for("it is there", |host| host.object("Secret", "s"));
    let encoded = "Y29ycmVjdC1ob3JzZQ";
    let texts = [
        host.get("/v1/objects").text,
        host.get(&format!("/v1/objects/{}", Host::path("Secret", "s"))).text,
        host.cli(&["get", "secret", "s", "-o", "yaml"]).ok(),
        host.log(),
    ];
    for text in texts {
        assert!(!text.contains("correct-horse") && !text.contains(encoded), "{text}");
    }
}

#[test]
fn a_name_that_leads_to_this_machine_from_elsewhere_is_not_answered() {
    use std::io::{Read, Write};
    let host = Host::setup().start();
    let address = host.client().server().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap_or_else(|error| panic!("{error}"));
    let mut answer = String::new();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .and_then(|()| {
            stream.write_all(b"GET /v1/overview HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n")
        })
        .and_then(|()| stream.read_to_string(&mut answer))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[test]
fn the_api_answers_errors_as_json_with_a_hint() {
    let host = start();
    let answer = host.get("/v1/objects/local/examples.setpoint.dev/ConfigBundel/default/x");
    assert_eq!(answer.status, 404);
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], "kind_unknown", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("ConfigBundle")), "{error}");
    assert_eq!(host.get("/v1/nothing").status, 404);
    assert_eq!(host.get("/healthz").text, "ok");
}

#[test]
fn an_overview_counts_the_states() {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .file("b.yaml", &hostile("Hostile", "b", "behaviour: permanent"))
        .start();
    let summary = host.wait_for("both were tried", |host| {
        let summary = host.json("/v1/overview")["status_summary"].clone();
        (summary["pending"] == 0 && summary["reconciling"] == 0 && summary["total"] == 2).then_some(summary)
    });
    assert_eq!(summary["synced"], 1, "{summary}");
    let overview = host.json("/v1/overview");
    assert_eq!((&overview["running"], &overview["mode"]), (&json!(true), &json!("files")));
}
