//! The tools to see why, to look ahead, and to take a closer look later.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{CONFIG_BUNDLE, CONFIG_MAP, HOSTILE, HOSTILE_FINAL};
use setpoint_e2e::{config_bundle, config_map, echo, hostile, says, shows, workflow};
use setpoint_test_support::built::guest;
use setpoint_test_support::{Host, Setup};

const END: Duration = Duration::from_secs(20);
const PASSWORD: &str = "correct-horse";
/// The same in base64, without what fills it up.
const ENCODED: &str = "Y29ycmVjdC1ob3JzZQ";

fn text(path: &Path) -> String {
    path.to_str().unwrap_or_default().to_owned()
}

fn trigger(host: &Host, kind: &str, name: &str) {
    let answer = host.client().post(&format!("/v1/reconciles/{}/trigger", Host::path(kind, name)));
    assert_eq!(answer.map(|answer| answer.status), Ok(202), "{name}");
}

/// A child of one object that another one reads.
fn chain() -> Setup {
    Host::setup()
        .plugin("hostile")
        .file("maker.yaml", &maker("1"))
        .file("reader.yaml", &hostile("Hostile", "reader", "behaviour: get, value: made"))
}

fn maker(data: &str) -> String {
    let children = format!("[{{name: made, data: {{k: '{data}'}}}}]");
    hostile("Hostile", "maker", &format!("behaviour: children, value: 0, children: {children}"))
}

#[test]
fn why_names_the_change_that_began_it_over_several_objects() {
    let host = chain().start();
    host.all_synced(2, END);
    host.at_rest();
    host.write("maker.yaml", &maker("2"));
    host.wait_for("the reader has seen it", |host| {
        (host.object(HOSTILE, "reader")?["status"]["value"] == json!({"k": "2"})).then_some(())
    });
    host.at_rest();
    let runs = host.list(&format!("/v1/reconciles/{}/runs", Host::path(HOSTILE, "reader")));
    let last = runs.last().cloned().unwrap_or_default();
    let because = &last["because"][0];
    assert_eq!(because["cause"], "dependency", "{last}");
    assert!(says(&because["key"], "ConfigMap/default/made"), "{last}");
    assert!(says(&because["by"], "Hostile/default/maker") && because["run"].is_u64(), "{last}");
    let root = &because["because"][0];
    assert_eq!(root["cause"], "changed", "the file was edited: {last}");
    assert!(root["by"].is_null(), "by nobody's run: {last}");
    assert!(last["call_ms"].is_u64() && last["reads"] == 1, "{last}");
    let of_maker = host.list(&format!("/v1/reconciles/{}/runs", Host::path(HOSTILE, "maker")));
    let wrote = of_maker.last().map(|run| run["written"].to_string()).unwrap_or_default();
    assert!(wrote.contains("ConfigMap/default/made"), "{of_maker:?}");

    let said = host.cli(&["why", "hostile", "reader"]).ok();
    for word in ["ConfigMap", "made", "maker", "changed", "waited"] {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
    let json = host.cli(&["why", "hostile/reader", "-o", "json"]).ok();
    let json: Value = serde_json::from_str(&json).unwrap_or_default();
    assert_eq!(json.as_array().map(Vec::len), Some(runs.len()));
}

#[test]
fn what_a_plugin_logs_is_shown_as_it_comes_and_kept_for_a_while() {
    let host = Host::setup()
        .plugin("hostile")
        .file("l.yaml", &hostile("Hostile", "l", "behaviour: log-flood, count: 3"))
        .file("p.yaml", &hostile("Hostile", "p", "behaviour: panic"))
        .start();
    let rows = host.wait_for("the lines are kept", |host| {
        let answer = host.client().get_list("/v1/plugins/hostile/logs").ok().filter(|answer| answer.status == 200)?;
        let rows = answer.json().as_array().cloned()?;
        let has = |text: &str| rows.iter().any(|row| says(&row["message"], text));
        (has("line 2") && has("hostile panics as asked")).then_some(rows)
    });
    let line = rows.iter().find(|row| row["message"] == "line 2").cloned().unwrap_or_default();
    assert!(line["level"] == "info" && says(&line["key"], "Hostile/default/l"), "{line}");
    let panic = rows.iter().find(|row| says(&row["message"], "panics as asked")).cloned().unwrap_or_default();
    assert!(panic["level"] == "stderr" && says(&panic["key"], "Hostile/default/p"), "{panic}");

    let following = host.cli_running(&["logs", "-f", "hostile"]);
    let lines = |text: &str| following.stdout().matches(text).count();
    host.wait_for("what was kept comes first", |_| (lines("line 2") >= 1).then_some(()));
    let before = lines("line 2");
    trigger(&host, HOSTILE, "l");
    host.wait_for("then what comes", |_| (lines("line 2") > before).then_some(()));
    following.interrupt();
    let shown = following.end(END).stdout;
    assert!(!shown.contains('\u{1b}'), "no colours where nobody sees them");
}

#[test]
fn a_plan_shows_what_would_be_written_and_writes_nothing() {
    let host = Host::setup()
        .plugin("hostile")
        .file("h.yaml", &hostile("Hostile", "h", "behaviour: children, value: 0, children: [{name: old}]"))
        .file("a.yaml", &echo("a", 1))
        .start();
    host.all_synced(2, END);
    assert_eq!(host.cli(&["plan", "hostile", "--exit-code"]).code, Some(0), "nothing would change");
    host.cli(&["pause", "hostile", "h"]).ok();
    host.write("h.yaml", &hostile("Hostile", "h", "behaviour: children, value: 1, children: [{name: new}]"));
    host.wait_for("the new spec is there", |host| (host.object(HOSTILE, "h")?["spec"]["value"] == 1).then_some(()));
    host.at_rest();
    let (before, writes) = (host.versions(), host.writes());

    let answer = host.client().post_json("/v1/plan", &json!({"kind": "Hostile", "namespace": "default", "name": "h"}));
    let answer = answer.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let row = answer.json()[0].clone();
    assert!(says(&row["key"], "Hostile/default/h") && row["failure"].is_null(), "{row}");
    let change = |verb: &str, name: &str| {
        let changes = row["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = changes.iter().find(|change| change["verb"] == verb && says(&change["key"], name)).cloned();
        found.unwrap_or_else(|| panic!("no {verb} of {name}: {row}"))
    };
    assert!(change("create", "ConfigMap/default/new")["before"].is_null());
    assert!(change("delete", "ConfigMap/default/old")["after"].is_null());
    assert_eq!(change("status", "Hostile/default/h")["after"]["value"], 1);

    let said = host.cli(&["plan", "hostile", "h"]).ok();
    for word in ["create", "new", "delete", "old", "1 to create", "1 to delete", "nothing was written"] {
        assert!(said.contains(word), "{word} is missing:\n{said}");
    }
    assert_eq!(host.cli(&["plan", "hostile", "h", "--exit-code"]).code, Some(1));
    assert!(host.cli(&["plan", "hostile"]).ok().contains("default/h"), "all of a kind");
    assert_eq!((host.versions(), host.writes()), (before, writes));
    assert_eq!(host.object(CONFIG_MAP, "new"), None);
    // What was planned is what happens.
    host.cli(&["resume", "hostile", "h"]).ok();
    host.wait_for("it has happened", |host| {
        (host.object(CONFIG_MAP, "new").is_some() && host.object(CONFIG_MAP, "old").is_none()).then_some(())
    });
}

#[test]
fn a_plan_of_a_plugin_file_shows_what_it_would_change_before_it_is_installed() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, END);
    host.at_rest();
    let before = host.versions();
    let said = host.cli(&["plan", &text(&guest("hostile-v2"))]).ok();
    assert!(said.contains("2.0.0") && said.contains("nothing was written"), "{said}");
    assert_eq!(host.versions(), before);
    assert_eq!(host.plugin("hostile").map(|row| row["version"].clone()), Some("1.0.0".into()));
}

#[test]
fn calls_are_recorded_without_secrets_and_answered_alike_by_the_same_component() {
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: {PASSWORD}\n");
    let host = Host::setup()
        .plugin("hostile")
        .file("s.yaml", &secret)
        .file("reader.yaml", &hostile("Hostile", "reader", "behaviour: secret, value: s"))
        .start();
    host.wait_for("the Secret is read", |host| {
        (host.object(HOSTILE, "reader")?["status"]["value"] == json!(["password"])).then_some(())
    });
    let record = |args: &[&str]| {
        let mut running = host.cli_running(&[&["record", "hostile", "reader"][..], args].concat());
        host.wait_for("the calls are recorded", |host| {
            trigger(host, HOSTILE, "reader");
            running.ended().then_some(())
        });
        running.end(END)
    };
    record(&["-o", "hidden.jsonl", "--calls", "2"]).ok();
    let file = host.root().join("hidden.jsonl");
    let mode = fs::metadata(&file).map(|metadata| metadata.permissions().mode() & 0o777).ok();
    assert_eq!(mode, Some(0o600), "for nobody else's eyes");
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(recorded.lines().count(), 3, "a header and two calls:\n{recorded}");
    assert!(recorded.contains("Secret/default/s") && recorded.contains("password"), "{recorded}");
    assert!(!recorded.contains(PASSWORD) && !recorded.contains(ENCODED), "{recorded}");
    let again = host.cli(&["record", "-o", "hidden.jsonl", "--calls", "1"]);
    assert!(again.failed(1).contains("--force"), "nothing is written over unasked");
    record(&["-o", "shown.jsonl", "--calls", "1", "--with-secrets"]).ok();
    assert!(fs::read_to_string(host.root().join("shown.jsonl")).unwrap_or_default().contains(ENCODED));

    // Answered again without a host.
    let stopped = host.stop();
    let same = stopped.cli(&["replay", "hidden.jsonl"]).ok();
    assert!(same.contains("2 same"), "{same}");
    let other = stopped.cli(&["replay", "hidden.jsonl", "--plugin", &text(&guest("hostile-v2"))]);
    assert_eq!(other.code, Some(1), "{}", other.text());
    assert!(other.text().contains("2 differ") && other.text().contains("2.0.0"), "{}", other.text());
    // A recording is a test.
    let tested = stopped.cli(&["plugin", "test", "plugins/hostile.wasm", "hidden.jsonl"]).ok();
    assert!(tested.contains("2 ok"), "{tested}");
}

#[test]
fn objects_that_nobody_reconciles_any_more_are_released_by_hand() {
    let with_child = |name: &str| {
        hostile("HostileFinal", name, &format!("behaviour: ok, value: 0, children: [{{name: of-{name}}}]"))
    };
    let host = Host::setup()
        .plugin("hostile")
        .file("f.yaml", &with_child("f"))
        .file("g.yaml", &with_child("g"))
        .file("a.yaml", &echo("a", 1))
        .start();
    host.all_synced(3, END);
    host.at_rest();
    let refused = host.cli(&["release", "hostilefinal", "f", "--yes"]).failed(1);
    assert!(refused.contains("hostile"), "a plugin reconciles it: {refused}");
    host.uninstall("hostile");
    host.wait_for("nobody reconciles it", |host| host.row("HostileFinal", "f").filter(|row| row["plugin"].is_null()));
    host.remove("f.yaml");
    host.remove("g.yaml");
    for name in ["f", "g"] {
        host.wait_for("it waits for a plugin", |host| {
            let object = host.object(HOSTILE_FINAL, name)?;
            object["metadata"]["deletionTimestamp"].is_string().then_some(())
        });
    }
    assert_ne!(host.cli(&["release", "hostilefinal", "f"]).code, Some(0), "not without somebody's word");
    host.cli(&["release", "hostilefinal", "f", "--yes"]).ok();
    host.wait_for("it is gone", |host| host.object(HOSTILE_FINAL, "f").is_none().then_some(()));
    host.cli(&["release", "hostilefinal", "g", "--delete-children", "--yes"]).ok();
    host.wait_for("it is gone with its child", |host| {
        (host.object(HOSTILE_FINAL, "g").is_none() && host.object(CONFIG_MAP, "of-g").is_none()).then_some(())
    });
    assert!(host.object(CONFIG_MAP, "of-f").is_some(), "the child of the other was left");
}

#[test]
fn objects_are_picked_by_their_labels() {
    let host = Host::setup()
        .file("a.yaml", &config_map("a", &[("tier", "web")], &[]))
        .file("b.yaml", &config_map("b", &[("tier", "db")], &[]))
        .start();
    host.wait_for("both are there", |host| host.object(CONFIG_MAP, "a").and(host.object(CONFIG_MAP, "b")));
    let names = |selector: &str| {
        let table = host.cli(&["get", "configmap", "-l", selector]).ok();
        ["a", "b"].map(|name| table.lines().any(|line| line.split_whitespace().next() == Some(name)))
    };
    assert_eq!(names("tier=web"), [true, false]);
    assert_eq!(names("tier!=web"), [false, true]);
    assert_eq!(names("tier in (web, db)"), [true, true]);
    let refused = host.cli(&["get", "configmap", "-l", "tier in web"]);
    assert!(refused.code != Some(0) && !refused.stderr.is_empty(), "{refused:?}");
}

#[test]
fn errors_are_explained_by_their_codes() {
    let host = Host::setup().start();
    let code = host.get("/v1/objects/local/a.io/Nothing/default/x").json()["error"]["code"].clone();
    let code = code.as_str().unwrap_or_default();
    let page = host.cli(&["explain", code]).ok();
    assert!(page.contains(code) && page.lines().count() > 2, "{page}");
    assert!(host.cli(&["explain"]).ok().contains(code), "all of them");
    assert!(host.cli(&["explain", "kind_unknwon"]).failed(1).contains("kind_unknown"), "the nearest one");
}

#[test]
fn shells_complete_commands() {
    let host = Host::setup().start();
    for shell in ["bash", "zsh", "fish"] {
        let script = host.cli(&["completion", shell]).ok();
        assert!(script.contains("setpoint") && script.contains("rollback"), "{shell}");
    }
}

#[test]
fn top_shows_what_each_plugin_does() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, END);
    let shown = host.cli(&["top"]).ok();
    assert!(shown.lines().any(|line| line.starts_with("hostile")), "{shown}");
}

#[test]
fn validate_says_what_the_running_host_says() {
    let host = Host::setup()
        .plugin("hostile")
        .plugin("workflow")
        .file("good.yaml", &echo("good", 1))
        .file("broken.yaml", &echo("broken", 1).replace('}', ""))
        .file("type.yaml", &hostile("Hostile", "type", "behaviour: ok, count: many"))
        .file("twice.yaml", &hostile("Hostile", "twice", "behaviour: ok, behaviour: ok"))
        .file("rule.yaml", &(workflow("rule", 0) + "  - id: lost\n"))
        .file("final.yaml", &echo("final", 1).replace("name: final", "name: final\n  finalizers: [a.io/b]"))
        .start();
    host.wait_for("the good one is through", |host| shows(host, "good", 1));
    let wrong = host.wait_for("all mistakes are found", |host| {
        let rows: Vec<Value> = host.list("/v1/files").into_iter().filter(|row| row["state"] == "Invalid").collect();
        (rows.len() >= 5).then_some(rows)
    });
    let stopped = host.stop();
    let said = stopped.cli(&["validate", "resources"]);
    assert_eq!(said.code, Some(1), "{}", said.text());
    for row in wrong {
        let file = row["file"].as_str().unwrap_or_default();
        let place = format!("{file}:{}:{}", row["line"], row["column"]);
        let message = row["message"].as_str().unwrap_or_default();
        let told = said.text().lines().any(|line| line.contains(&place) && line.contains(message));
        assert!(told, "{place}: {message} is missing:\n{}", said.text());
    }
    assert!(!said.text().contains("good.yaml"), "{}", said.text());
    for file in ["broken", "type", "twice", "rule", "final"] {
        let file = stopped.root().join(format!("resources/{file}.yaml"));
        fs::remove_file(file).unwrap_or_else(|error| panic!("{error}"));
    }
    stopped.cli(&["validate", "resources"]).ok();
}

#[test]
fn the_scenarios_of_the_shipped_plugins_hold() {
    let host = Host::setup().start();
    for plugin in ["workflow", "mcp-server", "mcp-backend", "config-bundle"] {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(plugin).join("scenarios");
        let tested = host.cli(&["plugin", "test", &text(&guest(plugin)), &text(&scenarios)]).ok();
        assert!(tested.lines().filter(|line| line.starts_with("ok ")).count() >= 5, "{plugin}:\n{tested}");
    }
}

#[test]
fn a_scenario_is_written_once_and_fails_when_the_answer_is_another() {
    let host = Host::setup().start();
    let scenario = format!("given:\n{}", indented(&echo("a", 1)));
    fs::write(host.root().join("s.yaml"), scenario).unwrap_or_else(|error| panic!("{error}"));
    let component = text(&guest("hostile"));
    let test = |more: &[&str]| host.cli(&[&["plugin", "test", &component, "s.yaml"][..], more].concat());
    assert_eq!(test(&[]).code, Some(1), "nothing is expected yet");
    test(&["--update"]).ok();
    test(&[]).ok();
    let written = fs::read_to_string(host.root().join("s.yaml")).unwrap_or_default();
    assert!(written.contains("expect:"), "{written}");
    let other = written.replace("{behaviour: ok, value: 1}", "{behaviour: ok, value: 2}");
    assert_ne!(other, written);
    fs::write(host.root().join("s.yaml"), other).unwrap_or_else(|error| panic!("{error}"));
    let failed = test(&[]);
    assert_eq!(failed.code, Some(1), "{}", failed.text());
    assert!(failed.text().contains("s.yaml") && failed.text().contains("value: 2"), "{}", failed.text());
}

/// A text as the one item of a YAML list.
fn indented(text: &str) -> String {
    let lines = text.lines().enumerate();
    lines.map(|(at, line)| format!("{}{line}\n", if at == 0 { "- " } else { "  " })).collect()
}

#[test]
fn describe_and_why_speak_of_the_same_runs() {
    let host = Host::setup()
        .plugin("config-bundle")
        .file("bundle.yaml", &config_bundle("shop"))
        .file("m.yaml", &config_map("m", &[("bundle", "shop")], &[("k", "1")]))
        .start();
    host.wait_for("it is merged", |host| host.object(CONFIG_MAP, "shop"));
    host.at_rest();
    host.write("m.yaml", &config_map("m", &[("bundle", "shop")], &[("k", "2")]));
    host.wait_for("the edit is through", |host| {
        (host.object(CONFIG_MAP, "shop")?["data"] == json!({"k": "2"})).then_some(())
    });
    host.at_rest();
    let why = host.cli(&["why", "configbundle", "shop"]).ok();
    assert!(why.contains("ConfigMap/m") && why.contains("m.yaml"), "the file that was edited is named:\n{why}");
    let row = host.row("ConfigBundle", "shop").unwrap_or_default();
    let runs = host.list(&format!("/v1/reconciles/{}/runs", Host::path(CONFIG_BUNDLE, "shop")));
    let numbers = |runs: &[Value]| runs.iter().map(|run| run["number"].clone()).collect::<Vec<_>>();
    let in_row = row["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(numbers(&runs).last(), numbers(in_row).last());
}
