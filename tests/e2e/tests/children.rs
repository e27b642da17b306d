//! Children: made, changed, brought back, deleted; and those that a plugin may not have.

use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{
    CONFIG_BUNDLE, CONFIG_MAP, HOSTILE, HOSTILE_FINAL, SHOP, config_bundle, config_map, hostile, merged,
};
use setpoint_test_support::Host;

#[test]
fn a_bundle_follows_the_config_maps_that_its_selector_picks() {
    let host = Host::setup()
        .plugin("config-bundle")
        .file("bundle.yaml", &config_bundle("shop"))
        .file("a.yaml", &config_map("a", &[SHOP], &[("one", "1"), ("both", "a")]))
        .file("other.yaml", &config_map("other", &[("bundle", "zoo")], &[("never", "seen")]))
        .start();
    merged(&host, &json!({"one": "1", "both": "a"}));
    // Added: nobody declared a watch, the list was tracked.
    host.write("b.yaml", &config_map("b", &[SHOP], &[("two", "2"), ("both", "b")]));
    merged(&host, &json!({"one": "1", "two": "2", "both": "b"}));
    let status = host.wait_for("the conflict is named", |host| {
        let status = host.object(CONFIG_BUNDLE, "shop")?["status"].clone();
        (status["conflicts"] == json!(["both"])).then_some(status)
    });
    assert_eq!((&status["sources"], &status["keys"]), (&json!(["a", "b"]), &json!(3)));
    // Changed.
    host.write("b.yaml", &config_map("b", &[SHOP], &[("two", "22")]));
    merged(&host, &json!({"one": "1", "two": "22", "both": "a"}));
    // A label that goes is as good as a file that goes.
    host.write("a.yaml", &config_map("a", &[], &[("one", "1"), ("both", "a")]));
    merged(&host, &json!({"two": "22"}));
    host.write("a.yaml", &config_map("a", &[SHOP], &[("one", "1")]));
    merged(&host, &json!({"one": "1", "two": "22"}));
    // Removed.
    host.remove("b.yaml");
    merged(&host, &json!({"one": "1"}));
    assert_eq!(host.metric("controller_runtime_reconcile_errors_total", &[]), 0.0);
}

#[test]
fn a_child_that_somebody_deletes_comes_back() {
    let host = Host::setup()
        .plugin("config-bundle")
        .file("all.yaml", &format!("{}---\n{}", config_bundle("shop"), config_map("a", &[SHOP], &[("k", "v")])))
        .start();
    merged(&host, &json!({"k": "v"}));
    host.at_rest();
    let uid = |host: &Host| host.object(CONFIG_MAP, "shop").map(|object| object["metadata"]["uid"].clone());
    let before = uid(&host);
    host.delete(CONFIG_MAP, "shop");
    host.wait_for("another one is there", |host| {
        let now = uid(host);
        (now.is_some() && now != before).then_some(())
    });
    merged(&host, &json!({"k": "v"}));
}

#[test]
fn children_that_are_no_longer_returned_are_deleted_and_the_others_stay() {
    let with = |names: &[&str]| {
        let children =
            names.iter().map(|name| format!("{{name: {name}, data: {{k: v}}}}")).collect::<Vec<_>>().join(", ");
        hostile("Hostile", "h", &format!("behaviour: children, value: 0, children: [{children}]"))
    };
    let host = Host::setup().plugin("hostile").file("h.yaml", &with(&["one", "two"])).start();
    let there = |host: &Host, name: &str| host.object(CONFIG_MAP, name).map(|object| object["metadata"]["uid"].clone());
    let two = host.wait_for("both are there", |host| there(host, "one").and(there(host, "two")));
    host.write("h.yaml", &with(&["two", "three"]));
    host.wait_for("the new one is there and the old one is not", |host| {
        (there(host, "three").is_some() && there(host, "one").is_none()).then_some(())
    });
    assert_eq!(there(&host, "two"), Some(two));
    // An outcome that says nothing about children leaves them.
    host.write("h.yaml", &hostile("Hostile", "h", "behaviour: ok, value: 7"));
    host.wait_for("the new outcome is there", |host| {
        (host.object(HOSTILE, "h")?["status"]["value"] == 7).then_some(())
    });
    host.at_rest();
    assert!(there(&host, "two").is_some() && there(&host, "three").is_some());
}

#[test]
fn a_child_of_a_kind_that_the_plugin_does_not_describe_is_refused_where_people_look() {
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: stolen}, stringData: {k: v}}";
    let host = Host::setup()
        .plugin("hostile")
        .file(
            "h.yaml",
            &hostile(
                "Hostile",
                "h",
                &format!("behaviour: children, value: 0, rawChildren: [{secret}], children: [{{name: allowed}}]"),
            ),
        )
        .start();
    let row = host.wait_for("the row says so", |host| host.row("Hostile", "h").filter(|row| row["state"] == "Error"));
    assert!(row["last_error"].as_str().is_some_and(|error| error.contains("Secret")), "{row}");
    let status = host.object(HOSTILE, "h").unwrap_or_default()["status"].clone();
    let stalled = status["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == "Stalled"))
        .cloned()
        .unwrap_or_default();
    assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!("ChildNotDescribed")), "{status}");
    assert!(host.object("Secret", "stolen").is_none());
    assert!(host.object(CONFIG_MAP, "allowed").is_some(), "one that is refused does not stop the others");
    let namespace = setpoint_test_support::place::namespace();
    assert!(host.cli(&["describe", "hostile", "h", "-n", &namespace]).ok().contains("ChildNotDescribed"));
}

#[test]
fn an_object_that_somebody_else_made_is_not_taken_for_a_child() {
    let host = Host::setup()
        .plugin("config-bundle")
        .file("shop.yaml", &config_map("shop", &[], &[("mine", "1")]))
        .file("bundle.yaml", &config_bundle("shop"))
        .file("a.yaml", &config_map("a", &[SHOP], &[("k", "v")]))
        .start();
    let row = host.wait_for("the conflict is shown", |host| {
        host.row("ConfigBundle", "shop").filter(|row| row["state"] == "Error")
    });
    assert!(row["last_error"].as_str().is_some_and(|error| error.contains("ConfigMap")), "{row}");
    assert_eq!(host.object(CONFIG_MAP, "shop").map(|object| object["data"].clone()), Some(json!({"mine": "1"})));
}

#[test]
fn an_object_with_a_finalizer_waits_for_its_plugin_to_let_it_go() {
    let spec = "behaviour: ok, value: 0, children: [{name: kept}]";
    let host = Host::setup()
        .plugin("hostile")
        .file("f.yaml", &hostile("HostileFinal", "f", spec))
        .file("keep.yaml", &config_map("other", &[], &[]))
        .start();
    host.wait_for("its child is there", |host| host.object(CONFIG_MAP, "kept"));
    let object = host.object(HOSTILE_FINAL, "f").unwrap_or_default();
    assert_eq!(object["metadata"]["finalizers"], json!(["setpoint.dev/finalizer"]));
    host.at_rest();
    host.remove("f.yaml");
    let waiting = host.wait_for("it is being deleted", |host| {
        let object = host.object(HOSTILE_FINAL, "f")?;
        object["metadata"]["deletionTimestamp"].is_string().then_some(object)
    });
    assert_eq!(waiting["metadata"]["uid"], object["metadata"]["uid"]);
    let gone = |host: &Host| host.object(HOSTILE_FINAL, "f").is_none() || host.object(CONFIG_MAP, "kept").is_none();
    host.never("not before it is let go", Duration::from_millis(800), gone);
    host.write("release.yaml", &config_map("f-release", &[], &[]));
    host.wait_for("it is gone, and its child", |host| {
        (host.object(HOSTILE_FINAL, "f").is_none() && host.object(CONFIG_MAP, "kept").is_none()).then_some(())
    });
}

/// A host whose `HostileFinal` f is being deleted, and the uid of f.
fn deleting() -> (Host, Value) {
    let host = Host::setup()
        .plugin("hostile")
        .file("f.yaml", &hostile("HostileFinal", "f", "behaviour: ok, value: 0"))
        .file("other.yaml", &config_map("other", &[], &[]))
        .start();
    host.all_synced(1, Duration::from_secs(20));
    host.remove("f.yaml");
    let object = host.wait_for("it is being deleted", terminating);
    (host, object["metadata"]["uid"].clone())
}

fn terminating(host: &Host) -> Option<Value> {
    host.object(HOSTILE_FINAL, "f").filter(|object| object["metadata"]["deletionTimestamp"].is_string())
}

fn release(host: &Host) {
    host.write("f-release.yaml", &config_map("f-release", &[], &[]));
    host.wait_for("it is gone", |host| host.object(HOSTILE_FINAL, "f").is_none().then_some(()));
}

#[test]
fn a_deletion_that_waits_survives_a_restart() {
    let (host, _) = deleting();
    host.at_rest();
    let before = terminating(&host);
    let host = host.start_again();
    let after = terminating(&host);
    assert!(after.is_some(), "{:?}", host.object(HOSTILE_FINAL, "f"));
    assert_eq!(after, before);
    release(&host);
}

#[test]
fn a_deletion_that_a_kill_cut_off_is_found_again() {
    let (host, uid) = deleting();
    // It was shown a moment ago; whether it is on disk yet is left to the moment.
    let host = host.start_again();
    let object = host.wait_for("it is being deleted again", terminating);
    assert_eq!(object["metadata"]["uid"], uid, "the same object");
    release(&host);
}
