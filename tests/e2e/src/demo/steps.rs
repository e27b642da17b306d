//! The steps.

use std::time::Duration;

use serde_json::Value;
use setpoint_e2e::{CONFIG_BUNDLE, CONFIG_MAP, HOSTILE, WORKFLOW};
use setpoint_test_support::Host;

use crate::stage::{Stage, millis, timed};

const SHOP: &str = include_str!("../../fixtures/demo/shop.yaml");
const SETTINGS: &str = include_str!("../../fixtures/demo/settings.yaml");
const DEPLOY: &str = include_str!("../../fixtures/demo/workflow.yaml");
const CANARY: &str = include_str!("../../fixtures/demo/canary.yaml");

/// All of them, in order. The host runs on.
pub(crate) fn all(stage: &mut Stage) -> Host {
    let host = reconciles(stage);
    edited(stage, &host);
    broken(stage, &host);
    child(stage, &host);
    dropped_in(stage, &host);
    swapped(stage, &host);
    removed(stage, &host);
    restarted(stage, host)
}

fn data(host: &Host, key: &str) -> Option<Value> {
    Some(host.object(CONFIG_MAP, "shop")?["data"][key].clone())
}

fn reconciles(stage: &mut Stage) -> Host {
    stage.step("Objects of files are reconciled");
    stage.types("ls plugins resources");
    println!("     plugins:    config-bundle.wasm\n     resources:  deploy.yaml  settings.yaml  shop.yaml");
    stage.types("setpoint run");
    let host = Host::setup()
        .plugin("config-bundle")
        .file("shop.yaml", SHOP)
        .file("settings.yaml", SETTINGS)
        .file("deploy.yaml", DEPLOY)
        .start();
    host.wait_for("the merged ConfigMap is there", |host| data(host, "log.level").filter(|level| level == "debug"));
    host.all_synced(1, Duration::from_secs(10));
    stage.setpoint(&host, &["get"]);
    stage.says("config-bundle merged two ConfigMaps into one; the file of a kind without plugin waits");
    host
}

fn edited(stage: &mut Stage, host: &Host) {
    stage.step("An edit goes through");
    stage.types("echo '  onConflict: first' >> resources/shop.yaml");
    let generation =
        |host: &Host| host.object(CONFIG_BUNDLE, "shop").map(|object| object["status"]["observedGeneration"].clone());
    host.write("shop.yaml", &format!("{SHOP}  onConflict: first\n"));
    let took =
        timed(host, "the status shows generation 2", || generation(host).is_some_and(|generation| generation == 2));
    host.wait_for("the first value wins", |host| data(host, "log.level").filter(|level| level == "info"));
    stage.setpoint(host, &["describe", "configbundle", "shop"]);
    stage.says(&format!("from the file to its status in {}", millis(took)));
}

fn broken(stage: &mut Stage, host: &Host) {
    stage.step("A broken file keeps its last good state");
    let before = host.object(CONFIG_BUNDLE, "shop");
    stage.types("sed -i 's/first/frist/' resources/shop.yaml");
    let text = format!("{SHOP}  onConflict: frist\n");
    host.write("shop.yaml", &text);
    let place = format!("shop.yaml:{}:", text.lines().count());
    host.wait_for("the mistake is named with its place", |host| {
        let problems = host.row("ConfigBundle", "shop")?["problems"].to_string();
        problems.contains(&place).then_some(())
    });
    let shown = stage.setpoint(host, &["get"]);
    assert!(shown.contains(&place), "`setpoint get` must name {place}\n{shown}");
    assert_eq!(host.object(CONFIG_BUNDLE, "shop"), before, "the last good state must stay");
    stage.says("file, line and column are named; object and child are as they were");
    host.write("shop.yaml", SHOP);
    host.wait_for("it is mended", |host| {
        (host.row("ConfigBundle", "shop")?["problems"].as_array()?.is_empty()).then_some(())
    });
    host.wait_for("the last value wins again", |host| data(host, "log.level").filter(|level| level == "debug"));
    stage.says("mended, it goes on");
}

fn child(stage: &mut Stage, host: &Host) {
    stage.step("A child that somebody deletes comes back");
    host.at_rest();
    let uid = |host: &Host| host.object(CONFIG_MAP, "shop").map(|object| object["metadata"]["uid"].clone());
    let before = uid(host);
    stage.setpoint(host, &["delete", "configmap", "shop"]);
    let took = timed(host, "another one is there", || uid(host).is_some_and(|uid| Some(uid) != before));
    stage.says(&format!("back after {}, and nobody wrote code for it", millis(took)));
}

fn dropped_in(stage: &mut Stage, host: &Host) {
    stage.step("A plugin is dropped in, and its kind starts");
    assert!(host.object(WORKFLOW, "deploy").is_none());
    stage.types("cp workflow.wasm plugins/");
    host.install("workflow", "workflow");
    let steps = |host: &Host| host.object(WORKFLOW, "deploy").map(|object| object["status"]["stepCount"].clone());
    let took = timed(host, "its object has a status", || steps(host).is_some_and(|steps| steps == 3));
    host.all_synced(2, Duration::from_secs(10));
    stage.setpoint(host, &["get", "workflows"]);
    stage.says(&format!("verified, compiled, running, and its object reconciled after {}; no restart", millis(took)));
}

fn swapped(stage: &mut Stage, host: &Host) {
    stage.step("A plugin is swapped, and the new version takes over");
    stage.types("cp canary.wasm plugins/ && cp canary.yaml resources/");
    host.install("hostile", "canary");
    host.write("canary.yaml", CANARY);
    let version = |host: &Host| host.object(HOSTILE, "canary").map(|object| object["status"]["version"].clone());
    host.wait_for("version 1 is at work", |host| version(host).filter(|version| version == "1.0.0"));
    host.all_synced(3, Duration::from_secs(10));
    let errors = |host: &Host| host.metric("controller_runtime_reconcile_errors_total", &[]);
    let before = errors(host);
    stage.types("cp canary-2.0.wasm plugins/canary.wasm");
    host.install("hostile-v2", "canary");
    let took = timed(host, "version 2 is at work", || version(host).is_some_and(|version| version == "2.0.0"));
    host.all_synced(3, Duration::from_secs(10));
    assert_eq!(errors(host), before, "no reconcile may fail");
    stage.setpoint(host, &["plugins"]);
    stage.says(&format!("2.0.0 took over after {}, no reconcile failed", millis(took)));
}

fn removed(stage: &mut Stage, host: &Host) {
    stage.step("A plugin is removed: its kind stops, its objects stay");
    host.at_rest();
    let before = host.versions();
    stage.types("rm plugins/canary.wasm");
    host.uninstall("canary");
    host.wait_for("its kind has stopped", |host| host.row("Hostile", "canary")?["plugin"].is_null().then_some(()));
    stage.setpoint(host, &["get", "hostile"]);
    assert_eq!(host.versions(), before, "no object may be touched");
    stage.says("not one object was touched");
}

fn restarted(stage: &mut Stage, host: Host) -> Host {
    stage.step("The host is restarted, and nothing is written");
    host.at_rest();
    let before = host.versions();
    stage.types("kill $SETPOINT && setpoint run");
    let (status, took) = host.terminate();
    assert!(status.success(), "the host ended with {status}\n{}", host.log_tail());
    stage.says(&format!("stopped within {}", millis(took)));
    let host = host.start_again();
    // What has no plugin is kept, and shown again once somebody knows its kind.
    stage.types("cp canary-2.0.wasm plugins/canary.wasm");
    host.install("hostile-v2", "canary");
    host.all_synced(3, Duration::from_secs(20));
    host.at_rest();
    assert_eq!(host.versions(), before, "no object may have another version");
    assert_eq!(host.writes(), 0, "nothing may be written");
    assert!(host.metric("setpoint_calls_total", &[]) >= 3.0, "the plugins must have been asked");
    stage.setpoint(&host, &["get"]);
    stage.says(&format!("{} objects, every version as before, 0 writes", before.len()));
    host
}
