//! Directories of files as clusters of a fleet: they come and go while the host runs, and nothing is deleted because
//! of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{CONFIG_BUNDLE, CONFIG_MAP, config_bundle, config_map};
use setpoint_test_support::{Host, Setup};

fn setup_of(clusters: &str) -> Setup {
    let config = setpoint_e2e::configuration(&format!("clusters:\n  {clusters}"));
    Host::setup().plugin("config-bundle").arg("--grant").arg("*=described").config(&config)
}

/// Each directory of `teams` is a cluster.
fn setup() -> Setup {
    setup_of("teams: {directories: [teams/*], prefix: team}\n")
}

fn place(host: &Host, team: &str) -> PathBuf {
    host.root().join("teams").join(team)
}

/// A bundle that merges one ConfigMap, both in one file.
fn shop(value: &str) -> String {
    format!("{}---\n{}", config_bundle("shop"), config_map("part", &[("bundle", "shop")], &[("k", value)]))
}

fn write(host: &Host, team: &str, file: &str, text: &str) {
    let dir = place(host, team);
    let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(file), text));
    written.unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

/// The rows of a cluster.
fn row(host: &Host, cluster: &str) -> Option<Value> {
    host.json("/v1/clusters")["clusters"].as_array()?.iter().find(|row| row["name"] == *cluster).cloned()
}

fn state(host: &Host, cluster: &str) -> String {
    row(host, cluster).map(|row| row["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

fn object(host: &Host, cluster: &str, kind: &str, name: &str) -> Option<Value> {
    let (kind, group) = kind.split_once('.').unwrap_or((kind, "core"));
    let answer = host.get(&format!("/v1/objects/{cluster}/{group}/{kind}/default/{name}"));
    (answer.status == 200).then(|| answer.json())
}

fn wait_for_shop(host: &Host, cluster: &str, value: &str) {
    host.wait_for(&format!("{cluster} has its bundle with {value}"), |host| {
        let map = object(host, cluster, CONFIG_MAP, "shop")?;
        (map["object"]["data"] == json!({"k": value})).then_some(())
    });
}

fn uid(host: &Host, cluster: &str) -> Value {
    object(host, cluster, CONFIG_BUNDLE, "shop")
        .map(|view| view["object"]["metadata"]["uid"].clone())
        .unwrap_or_default()
}

#[test]
fn directories_come_and_go_and_come_back() {
    let host = setup().file("local.yaml", &shop("here")).start();
    wait_for_shop(&host, "local", "here");
    write(&host, "a", "shop.yaml", &shop("a"));
    write(&host, "b", "shop.yaml", &shop("b"));
    wait_for_shop(&host, "team.a", "a");
    wait_for_shop(&host, "team.b", "b");
    write(&host, "a", "shop.yaml", &shop("a2"));
    wait_for_shop(&host, "team.a", "a2");
    assert_eq!(uid(&host, "team.a").as_str().map(str::len), Some(36));
    assert_ne!(uid(&host, "team.a"), uid(&host, "team.b"));

    // It is told where an object is, and what is wrong with its file.
    let view = object(&host, "team.a", CONFIG_BUNDLE, "shop").unwrap_or_default();
    assert_eq!(view["file"], "shop.yaml");
    let shown = row(&host, "team.a").unwrap_or_default();
    assert_eq!((&shown["provider"], &shown["acting"]), (&json!("teams"), &json!(true)));
    assert_eq!(shown["server"], place(&host, "a").display().to_string());
    write(&host, "a", "broken.yaml", "kind: [\n");
    host.wait_for("the mistake is shown with its cluster", |host| {
        host.wrong("broken.yaml").iter().any(|row| row["cluster"] == "team.a").then_some(())
    });
    let table = host.cli(&["get"]).ok();
    assert!(table.contains("team.a    broken.yaml:"), "{table}");

    // One goes: what is in it is unknown, and stays as it is for when it comes back.
    let before = uid(&host, "team.a");
    let aside = host.root().join("aside");
    fs::rename(place(&host, "a"), &aside).unwrap_or_else(|error| panic!("{error}"));
    host.wait_for("it has gone", |host| row(host, "team.a").is_none().then_some(()));
    assert!(object(&host, "team.a", CONFIG_BUNDLE, "shop").is_none());
    wait_for_shop(&host, "team.b", "b");
    fs::rename(&aside, place(&host, "a")).unwrap_or_else(|error| panic!("{error}"));
    wait_for_shop(&host, "team.a", "a2");
    assert_eq!(uid(&host, "team.a"), before);
    assert_eq!(host.metric("setpoint_deletes_total", &[]), 0.0, "{}", host.log_tail());

    // So it is after a kill. What a file does not say any more is deleted, there and not elsewhere.
    host.kill();
    write(&host, "b", "shop.yaml", &config_map("part", &[("bundle", "shop")], &[("k", "b")]));
    let host = host.start_again();
    wait_for_shop(&host, "team.a", "a2");
    assert_eq!(uid(&host, "team.a"), before);
    host.wait_for("the bundle of the other goes with its child", |host| {
        let gone = |kind, name| object(host, "team.b", kind, name).is_none();
        (state(host, "team.b") == "Engaged" && gone(CONFIG_BUNDLE, "shop") && gone(CONFIG_MAP, "shop")).then_some(())
    });
    assert!(
        object(&host, "team.b", CONFIG_MAP, "part").is_some() && object(&host, "local", CONFIG_MAP, "shop").is_some()
    );
}

/// Rule C6.
#[test]
fn a_required_directory_holds_readiness_up_until_it_is_known() {
    let setup = setup_of("teams: {directories: [teams/a], required: true}\n").without_waiting();
    let host = setup.file("local.yaml", &shop("here")).start();
    let said = |host: &Host| host.client().get("/readyz").map(|answer| answer.text).unwrap_or_default();
    wait_for_shop(&host, "local", "here");
    host.wait_for("it says what it lacks", |host| said(host).contains("the cluster a is required").then_some(()));
    assert!(said(&host).starts_with("not ready"), "{}", said(&host));
    write(&host, "a", "shop.yaml", &shop("a"));
    host.wait_for("it is there", |host| host.ready().then_some(()));
    wait_for_shop(&host, "a", "a");
    host.wait_for("both are synced", |host| {
        host.rows("ConfigBundle").iter().all(|row| row["state"] == "Synced").then_some(())
    });

    assert!(host.terminate().0.success());
    let dir = place(&host, "a");
    let emptied = fs::rename(&dir, host.root().join("aside")).and_then(|()| fs::create_dir(&dir));
    emptied.unwrap_or_else(|error| panic!("{error}"));
    let host = host.start_again_without_waiting();
    host.wait_for("nobody knows whether it lost its files", |host| {
        said(host).contains("a: SourceSuspicious").then_some(())
    });
    assert!(!host.ready());
}

#[test]
fn a_directory_that_loses_its_files_unseen_waits_for_a_person_and_the_others_go_on() {
    let host = setup().start();
    for team in ["a", "b"] {
        write(&host, team, "shop.yaml", &shop(team));
        wait_for_shop(&host, &format!("team.{team}"), team);
    }
    assert!(host.terminate().0.success());
    let dir = place(&host, "a");
    let emptied = fs::rename(&dir, host.root().join("aside")).and_then(|()| fs::create_dir(&dir));
    emptied.unwrap_or_else(|error| panic!("{error}"));
    let host = host.start_again();
    host.wait_for("it is said of that cluster", |host| {
        row(host, "team.a")?["problems"].to_string().contains("SourceSuspicious").then_some(())
    });
    assert!(object(&host, "team.a", CONFIG_MAP, "shop").is_some());
    write(&host, "b", "shop.yaml", &shop("b2"));
    wait_for_shop(&host, "team.b", "b2");
    let nothing = host.cli(&["confirm", "--resources", "--cluster", "team.b"]).failed(1);
    assert!(nothing.contains("nothing is suspicious"), "{nothing}");
    host.cli(&["confirm", "--resources", "--cluster", "team.a"]).ok();
    host.wait_for("they go", |host| object(host, "team.a", CONFIG_MAP, "shop").is_none().then_some(()));
    assert!(object(&host, "team.b", CONFIG_MAP, "shop").is_some());
}

#[test]
fn a_store_that_cannot_be_read_is_rebuilt_while_the_others_go_on() {
    let host = setup().start();
    for team in ["a", "b"] {
        write(&host, team, "shop.yaml", &shop(team));
        wait_for_shop(&host, &format!("team.{team}"), team);
    }
    host.kill();
    let state = host.root().join(".setpoint/clusters/team.a");
    fs::write(state.join("state.redb"), "not a database").unwrap_or_else(|error| panic!("{error}"));
    let host = host.start_again();
    let reason = host.wait_for("it says why it does not take part", |host| {
        row(host, "team.a")?["reason"].as_str().map(str::to_owned)
    });
    assert!(
        reason.contains("setpoint repair`") && reason.contains("with --state .setpoint/clusters/team.a"),
        "{reason}"
    );
    wait_for_shop(&host, "team.b", "b");
    host.cli(&["repair", "--state", &state.display().to_string()]).ok();
    wait_for_shop(&host, "team.a", "a");
    host.wait_for("that is over", |host| {
        host.log().contains("the first pass on the rebuilt state is over").then_some(())
    });
    assert_eq!(host.metric("setpoint_deletes_total", &[]), 0.0, "{}", host.log_tail());
}

#[test]
fn a_directory_is_one_cluster() {
    let list = "named:\n    list:\n      one: {directory: teams/x}\n      other: {directory: teams/x}\n      \
                here: {directory: resources/below}\n      missing: {directory: nowhere}\n";
    let host = setup_of(list).file("below/a.yaml", &shop("here")).without_waiting();
    fs::create_dir_all(host.directory().join("teams/x")).unwrap_or_else(|error| panic!("{error}"));
    let host = host.start();
    let reason = |cluster: &str, part: &str| {
        host.wait_for(part, |host| {
            let row = row(host, cluster)?;
            row["reason"].as_str().filter(|reason| reason.contains(part)).map(str::to_owned)
        })
    };
    host.wait_for("one of the two names is engaged", |host| {
        let states = [state(host, "one"), state(host, "other")];
        (states.contains(&"Engaged".to_owned()) && states.contains(&"Refused".to_owned())).then_some(())
    });
    reason("here", "its files are those of the cluster local");
    reason("missing", "nowhere");
    assert_eq!(["here", "missing"].map(|cluster| state(&host, cluster)), ["Unreachable", "Unreachable"]);
    fs::create_dir(host.root().join("nowhere")).unwrap_or_else(|error| panic!("{error}"));
    host.wait_for("it takes part once it is there", |host| (state(host, "missing") == "Engaged").then_some(()));
}

#[test]
fn a_hub_of_files_places_children_in_directories_by_their_labels() {
    let list = "named:\n    list:\n      west: {directory: teams/west, labels: {env: prod}}\n      \
                east: {directory: teams/east, labels: {env: prod}}\n      test: {directory: teams/test, labels: {env: test}}\n";
    let fanout = "apiVersion: examples.setpoint.dev/v1alpha1\nkind: Fanout\nmetadata: {name: motd}\n\
                  spec: {selector: env=prod, data: {text: hello}}\n";
    let host = setup_of(list).plugin("fanout").file("f.yaml", fanout).without_waiting();
    for team in ["west", "east", "test"] {
        fs::create_dir_all(host.directory().join("teams").join(team)).unwrap_or_else(|error| panic!("{error}"));
    }
    let host = host.start();
    let there = |host: &Host, cluster: &str| {
        object(host, cluster, CONFIG_MAP, "motd").is_some_and(|map| map["object"]["data"]["text"] == "hello")
    };
    host.wait_for("both have it", |host| (there(host, "west") && there(host, "east")).then_some(()));
    assert!(!there(&host, "test"));
    let status = || {
        object(&host, "local", "Fanout.examples.setpoint.dev", "motd").unwrap_or_default()["object"]["status"].clone()
    };
    host.wait_for("it is told", |_| (status()["synced"] == 2).then_some(()));

    // A spoke goes: its part is unknown, and is deleted when it is back and the object has gone.
    let (west, aside) = (place(&host, "west"), host.root().join("aside"));
    fs::rename(&west, &aside).unwrap_or_else(|error| panic!("{error}"));
    host.wait_for("its part is suspicious", |host| {
        row(host, "west")?["problems"].to_string().contains("SourceSuspicious").then_some(())
    });
    fs::rename(&aside, &west).unwrap_or_else(|error| panic!("{error}"));
    host.remove("f.yaml");
    host.wait_for("what was placed goes", |host| (!there(host, "west") && !there(host, "east")).then_some(()));
}

#[test]
fn what_runs_for_two_directories_is_each_ones_own() {
    let server = setpoint_test_support::mcp::test_server();
    let text = format!(
        "apiVersion: muster.giantswarm.io/v1alpha1\nkind: MCPServer\nmetadata: {{name: tools}}\nspec: {{type: stdio, \
         autoStart: true, command: {:?}, args: [\"--stdio\"]}}\n",
        server.display().to_string()
    );
    let host = setup().plugin("mcp-server").arg("--grant").arg("mcp-server=process").start();
    let running = |host: &Host| host.list("/v1/objects?kind=Process").len();
    for team in ["a", "b"] {
        write(&host, team, "tools.yaml", &text);
    }
    let runs = |host: &Host, cluster: &str| {
        object(host, cluster, "MCPServer.muster.giantswarm.io", "tools")
            .is_some_and(|view| view["object"]["status"]["state"] == "Running")
    };
    host.wait_within("both run", Duration::from_secs(60), |host| {
        (runs(host, "team.a") && runs(host, "team.b") && running(host) == 2).then_some(())
    });
    fs::remove_file(place(&host, "a").join("tools.yaml")).unwrap_or_else(|error| panic!("{error}"));
    host.wait_for("one ends", |host| (running(host) == 1).then_some(()));
    assert!(runs(&host, "team.b"));
}

#[test]
fn grants_choose_clusters_by_labels_and_plugins_are_told_where_to_work() {
    let config = |east: &str| {
        setpoint_e2e::configuration(&format!(
            "clusters:\n  named:\n    list:\n      west: {{directory: teams/west, labels: {{env: prod}}}}\n      \
             east: {{directory: teams/east, labels: {{env: {east}}}}}\n      \
             other: {{directory: teams/other, labels: {{env: prod}}}}\nplugins:\n  config-bundle:\n    \
             clusters: [west, east]\n    grants: ['described@{{env=prod}}']\n"
        ))
    };
    let setup = Host::setup().plugin("config-bundle").config(&config("test")).without_waiting();
    for team in ["west", "east", "other"] {
        let dir = setup.directory().join("teams").join(team);
        let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("shop.yaml"), shop(team)));
        written.unwrap_or_else(|error| panic!("{error}"));
    }
    let host = setup.start();
    wait_for_shop(&host, "west", "west");
    let bundle_row = |host: &Host, cluster: &str| {
        host.list(&format!("/v1/reconciles?kind=ConfigBundle&cluster={cluster}"))
            .into_iter()
            .find(|row| row["plugin"] != Value::Null)
    };
    host.wait_for("it is said what is missing", |host| {
        bundle_row(host, "east")?["last_error"].as_str()?.contains("not granted").then_some(())
    });
    assert!(object(&host, "east", CONFIG_MAP, "shop").is_none());
    assert!(bundle_row(&host, "other").is_none() && object(&host, "other", CONFIG_MAP, "shop").is_none());
    let plugins = host.cli(&["plugins", "-o", "wide"]).ok();
    assert!(plugins.contains("described@{env=prod}") && !plugins.contains("NOT GRANTED"), "{plugins}");

    // What providers say is in force after the next start.
    assert!(host.terminate().0.success());
    fs::write(host.root().join("setpoint.yaml"), config("prod")).unwrap_or_else(|error| panic!("{error}"));
    let host = host.start_again();
    wait_for_shop(&host, "east", "east");
    assert!(bundle_row(&host, "other").is_none());
}
