//! Plugins that come, change and go under a running host.

use std::time::Duration;

use serde_json::json;
use setpoint_e2e::{HOSTILE, WORKFLOW, echo, workflow};
use setpoint_test_support::Host;
use setpoint_test_support::place::in_cluster;

#[test]
fn a_plugin_is_swapped_under_load_and_no_reconcile_is_failed_or_lost() {
    // In a cluster each edit is a command of its own.
    let objects: u64 = if in_cluster() { 40 } else { 200 };
    let middle = objects as usize / 4;
    let text = |round: u64| (0..objects).map(|n| echo(&format!("h-{n}"), round * 1_000 + n)).collect::<Vec<_>>();
    let mut setup = Host::setup().plugin("hostile");
    for (number, text) in text(0).iter().enumerate() {
        setup = setup.file(&format!("h-{number}.yaml"), text);
    }
    let host = setup.start();
    host.all_synced(objects as usize, Duration::from_secs(20));
    const ROUNDS: u64 = 3;
    for round in 1..=ROUNDS {
        for (number, text) in text(round).iter().enumerate() {
            if round == 2 && number == middle {
                // In the middle of the changes.
                host.install("hostile-v2", "hostile");
            }
            host.write(&format!("h-{number}.yaml"), text);
        }
        std::thread::sleep(Duration::from_millis(400));
    }
    host.wait_for("every object shows its last value, by the new version", |host| {
        let all = host.list("/v1/objects?kind=Hostile");
        let done = all.iter().filter(|object| {
            object["status"]["version"] == "2.0.0"
                && object["status"]["value"] == object["spec"]["value"]
                && object["spec"]["value"].as_u64().is_some_and(|value| value / 1_000 == ROUNDS)
        });
        (done.count() == objects as usize).then_some(())
    });
    host.at_rest();
    host.all_synced(objects as usize, Duration::from_secs(5));
    assert_eq!(host.metric("controller_runtime_reconcile_errors_total", &[]), 0.0);
    assert_eq!(host.metric("setpoint_plugin_traps_total", &[]), 0.0);
    assert_eq!(host.metric("controller_runtime_reconcile_total", &["error"]), 0.0);
    let row = host.plugin("hostile").unwrap_or_default();
    assert_eq!((&row["version"], &row["state"], &row["traps"]), (&json!("2.0.0"), &json!("Running"), &json!(0)));
}

#[test]
fn a_plugin_that_is_removed_stops_its_kind_and_leaves_its_objects_untouched() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).file("b.yaml", &echo("b", 2)).start();
    host.all_synced(2, Duration::from_secs(20));
    host.at_rest();
    let before = host.versions();
    host.uninstall("hostile");
    let row = host.wait_for("its objects wait for a plugin", |host| {
        let row = host.row("Hostile", "a")?;
        row["plugin"].is_null().then_some(row)
    });
    assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("waits for a plugin")), "{row}");
    assert_eq!(host.versions(), before);
    // A new spec is stored, and nobody acts on it.
    host.write("a.yaml", &echo("a", 3));
    host.wait_for("the new spec is there", |host| (host.object(HOSTILE, "a")?["spec"]["value"] == 3).then_some(()));
    host.never("nobody may act on it", Duration::from_millis(500), |host| {
        host.object(HOSTILE, "a").is_none_or(|object| object["status"]["value"] != 1)
    });
    host.install("hostile", "hostile");
    host.wait_for("back again, it acts on it", |host| {
        (host.object(HOSTILE, "a")?["status"]["value"] == 3).then_some(())
    });
    assert_eq!(
        host.object(HOSTILE, "b").map(|object| object["metadata"]["resourceVersion"].clone()),
        before.get("Hostile default/b").map(|v| json!(v))
    );
}

#[test]
fn objects_whose_plugin_is_gone_survive_a_restart_untouched() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    host.at_rest();
    let before = host.object(HOSTILE, "a");
    assert!(before.is_some());
    assert!(host.terminate().0.success());
    host.uninstall("hostile");
    let host = host.start_again();
    // Longer than any proof of deletion takes: its file is there, only nobody knows its kind.
    std::thread::sleep(Duration::from_millis(2_500));
    host.install("hostile", "hostile");
    host.wait_for("its kind is back", |host| host.row("Hostile", "a").filter(|row| row["state"] == "Synced"));
    host.at_rest();
    assert_eq!(host.object(HOSTILE, "a"), before, "the same uid, version and status");
    assert_eq!(host.writes(), 0);
}

#[test]
fn what_is_no_plugin_is_refused_and_what_runs_keeps_running() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    std::fs::write(host.plugins().join("broken.wasm"), b"this is no component")
        .unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(host.plugins().join("hostile.wasm"), b"\0asm, but no more")
        .unwrap_or_else(|error| panic!("{error}"));
    for file in ["broken", "hostile"] {
        let row = host.wait_for("it is refused", |host| host.plugin(file).filter(|row| row["state"] == "Refused"));
        assert!(row["problem"].as_str().is_some_and(|problem| !problem.is_empty()), "{row}");
    }
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("the version before is at work", |host| {
        (host.object(HOSTILE, "a")?["status"]["value"] == 2).then_some(())
    });
    let shown = host.cli(&["plugins"]).ok();
    assert!(shown.contains("broken") && shown.contains("Refused"), "{shown}");
}

#[test]
fn two_plugins_never_own_one_kind() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    host.install("hostile-v2", "second");
    let row =
        host.wait_for("the second is refused", |host| host.plugin("second").filter(|row| row["state"] == "Refused"));
    assert!(row["problem"].as_str().is_some_and(|problem| problem.contains("hostile")), "{row}");
    host.uninstall("hostile");
    host.wait_for("when the first goes, the second takes over", |host| {
        (host.object(HOSTILE, "a")?["status"]["version"] == "2.0.0").then_some(())
    });
}

#[test]
fn a_plugin_that_panics_fails_its_own_objects_and_nobody_elses() {
    let host = Host::setup()
        .plugin("hostile")
        .plugin("workflow")
        .file("p.yaml", &setpoint_e2e::hostile("Hostile", "p", "behaviour: panic"))
        .file("w.yaml", &workflow("w", 1))
        .start();
    let row =
        host.wait_for("the panic is shown", |host| host.row("Hostile", "p").filter(|row| row["state"] == "Error"));
    assert!(row["last_error"].as_str().is_some_and(|error| error.contains("hostile panics as asked")), "{row}");
    host.write("w.yaml", &workflow("w", 3));
    host.wait_for("others are reconciled", |host| {
        (host.object(WORKFLOW, "w")?["status"]["stepCount"] == 3).then_some(())
    });
    host.write("p.yaml", &echo("p", 1));
    host.wait_for("a new spec is tried at once", |host| {
        host.row("Hostile", "p").filter(|row| row["state"] == "Synced" && row["last_error"].is_null())
    });
}

#[test]
fn each_plugin_is_an_object_that_says_how_it_is_doing() {
    let host = Host::setup().plugin("hostile").plugin("workflow").start();
    let plugin = |host: &Host, name: &str| {
        let answer = host.get(&format!("/v1/objects/local/host.setpoint.dev/Plugin/-/{name}"));
        (answer.status == 200).then(|| answer.json()["object"].clone())
    };
    let in_state = |host: &Host, name: &str, state: &str| {
        host.wait_for(&format!("{name} is {state}"), |host| {
            plugin(host, name).filter(|object| object["status"]["state"] == state)
        })
    };
    let shown = in_state(&host, "hostile", "Running");
    let row = host.plugin("hostile").unwrap_or_default();
    assert_eq!(shown["spec"], json!({"file": "hostile.wasm"}));
    assert_eq!(shown["status"]["digest"], row["digest"]);
    assert_eq!(shown["status"]["kinds"], row["kinds"]);
    assert_eq!(shown["status"]["conditions"][0]["status"], "True");
    in_state(&host, "workflow", "Running");

    // What is refused says why; what is mended, and what takes over, is shown as it is then.
    host.install_bytes(b"nothing", "Broken_One");
    let broken = in_state(&host, "broken-one", "Refused");
    assert_eq!(broken["status"]["conditions"][0]["status"], "False");
    assert_eq!(
        Some(&broken["status"]["message"]),
        host.plugin("Broken_One").map(|row| row["problem"].clone()).as_ref()
    );
    host.uninstall("Broken_One");
    host.wait_for("its file is gone", |host| plugin(host, "broken-one").is_none().then_some(()));
    host.install("hostile-v2", "hostile");
    host.wait_for("the new version is shown", |host| {
        let status = plugin(host, "hostile")?["status"].clone();
        (status["version"] == "2.0.0" && status["previousDigest"] == shown["status"]["digest"]).then_some(())
    });

    // They are there for who asks for them, at rest nothing is written, and after the next start neither.
    let listed = |host: &Host, path: &str| host.list(path).iter().filter(|object| object["kind"] == "Plugin").count();
    assert_eq!((listed(&host, "/v1/objects"), listed(&host, "/v1/objects?kind=plugins")), (0, 2));
    let table = host.cli(&["get", "plugins"]).ok();
    assert_eq!(table, host.cli(&["plugins"]).ok());
    let one = host.cli(&["get", "plugin", "hostile"]).ok();
    assert!(one.contains("VERSION") && one.contains("2.0.0"), "{one}");
    host.at_rest();
    let before = plugin(&host, "hostile");
    assert!(host.terminate().0.success());
    let host = host.start_again();
    host.at_rest();
    assert_eq!((plugin(&host, "hostile"), host.writes()), (before, 0), "{}", host.log_tail());
}
