//! Other versions of a plugin under a running host: tried in the shadow, held back where they would
//! delete much, taken back, divided (rules B3, C8, D11).

use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{CONFIG_MAP, HOSTILE, HOSTILE_FINAL, config_map, echo, hostile, says, shows};
use setpoint_test_support::component::{bytes, variant, with_other_digest};
use setpoint_test_support::{Host, Setup};

/// So many owners with five children each.
const OWNERS: usize = 4;

fn owners() -> Setup {
    let mut setup = Host::setup().plugin("hostile");
    for number in 0..OWNERS {
        let children = (0..5).map(|child| format!("{{name: c-{number}-{child}}}")).collect::<Vec<_>>().join(", ");
        let spec = format!("behaviour: children, value: {number}, children: [{children}]");
        setup = setup.file(&format!("o-{number}.yaml"), &hostile("Hostile", &format!("o-{number}"), &spec));
    }
    setup
}

/// The uids of all children of the owners.
fn children(host: &Host) -> Vec<Value> {
    let maps = host.list("/v1/objects?kind=ConfigMap");
    maps.iter().map(|map| map["metadata"]["uid"].clone()).collect()
}

/// Deletions that wait for a person.
fn held(host: &Host) -> usize {
    let rows = host.list("/v1/held");
    rows.iter().filter_map(|row| row["deletions"].as_array()).map(Vec::len).sum()
}

/// Whether all that would be deleted is known.
fn is_known(host: &Host) -> bool {
    host.list("/v1/held").iter().all(|row| row["left"] == 0)
}

fn version(host: &Host, name: &str) -> Option<Value> {
    Some(host.object(HOSTILE, name)?["status"]["version"].clone())
}

fn runs(host: &Host, file: &str, digest_before: &Value) -> Value {
    host.wait_for(&format!("another {file}.wasm runs"), |host| {
        host.plugin(file).filter(|row| row["state"] == "Running" && row["digest"] != *digest_before)
    })
}

fn digest(host: &Host, file: &str) -> Value {
    host.plugin(file).map(|row| row["digest"].clone()).unwrap_or_default()
}

#[test]
fn a_version_that_traps_on_everything_is_refused_and_the_one_before_runs_on() {
    let mut setup = Host::setup().plugin("hostile");
    for number in 0..5 {
        setup = setup.file(&format!("h-{number}.yaml"), &echo(&format!("h-{number}"), number));
    }
    let host = setup.start();
    host.all_synced(5, Duration::from_secs(20));
    let before = digest(&host, "hostile");
    host.install_bytes(&variant("panics"), "hostile");
    let row = host.wait_for("it is refused", |host| host.plugin("hostile").filter(|row| row["state"] == "Refused"));
    assert!(says(&row["problem"], "this version of hostile panics as asked"), "{row}");
    assert_eq!(row["digest"], before, "what ran keeps running");
    host.write("h-0.yaml", &echo("h-0", 50));
    host.wait_for("it is at work", |host| shows(host, "h-0", 50));
    assert_eq!(host.metric("setpoint_plugin_traps_total", &[]), 0.0, "what happened in the shadow is nobody's failure");
    let all = host.rows("Hostile");
    assert!(all.iter().all(|row| row["state"] == "Synced" && row["last_error"].is_null()), "{all:?}");
    // What is mended is taken without a restart.
    host.install("hostile-v2", "hostile");
    host.wait_for("the mended one is at work", |host| (version(host, "h-0")? == "2.0.0").then_some(()));
}

#[test]
fn a_version_that_answers_alike_changes_nothing() {
    let host = owners().start();
    host.all_synced(OWNERS, Duration::from_secs(20));
    host.at_rest();
    let (before, writes) = (host.versions(), host.writes());
    let old = digest(&host, "hostile");
    host.install_bytes(&with_other_digest(bytes("hostile"), 1), "hostile");
    let row = runs(&host, "hostile", &old);
    assert!(row["shadow"]["calls"].as_u64() >= Some(OWNERS as u64), "it was tried on recent requests: {row}");
    assert_eq!((&row["shadow"]["traps"], &row["shadow"]["differences"]), (&json!(0), &json!([])), "{row}");
    assert_eq!(row["previous"], old, "{row}");
    host.wait_for("all were called again", |host| {
        let rows = host.rows("Hostile");
        let again = |row: &&Value| row["runs"].as_array().is_some_and(|runs| runs.len() >= 2);
        (rows.iter().filter(again).count() == OWNERS).then_some(())
    });
    host.at_rest();
    assert_eq!((host.versions(), host.writes()), (before, writes));
}

#[test]
fn a_version_that_would_delete_much_is_held_until_somebody_confirms() {
    let host = owners().start();
    host.all_synced(OWNERS, Duration::from_secs(20));
    host.at_rest();
    let before = children(&host);
    assert_eq!(before.len(), OWNERS * 5);
    let old = digest(&host, "hostile");
    host.install_bytes(&variant("childless"), "hostile");
    let row = runs(&host, "hostile", &old);
    assert_eq!(row["shadow"]["deletions"], OWNERS * 5, "the shadow had shown it: {row}");
    host.wait_for("all of it is held", |host| (held(host) == OWNERS * 5 && is_known(host)).then_some(()));
    host.never("nothing may be deleted", Duration::from_secs(1), |host| children(host) != before);
    let shown = host.cli(&["get", "held"]).ok();
    for text in ["c-0-0", "c-3-4", "setpoint confirm hostile"] {
        assert!(shown.contains(text), "{text} is missing: {shown}");
    }
    host.cli(&["confirm", "hostile"]).ok();
    host.wait_for("confirmed, they go", |host| children(host).is_empty().then_some(()));
    host.wait_for("nothing is held any more", |host| (held(host) == 0).then_some(()));
}

#[test]
fn what_is_not_known_completely_cannot_be_confirmed() {
    let host = owners().file("e.yaml", &hostile("Hostile", "e", "behaviour: retry")).start();
    host.wait_for("they are at work", |host| (children(host).len() == OWNERS * 5).then_some(()));
    host.install_bytes(&variant("childless"), "hostile");
    host.wait_for("one is left that may delete more", |host| {
        let rows = host.list("/v1/held");
        (held(host) == OWNERS * 5 && rows.iter().any(|row| row["left"] == 1)).then_some(())
    });
    let shown = host.cli(&["get", "held"]).ok();
    assert!(shown.contains("1 object of hostile is still to be looked at") && !shown.contains("confirm"), "{shown}");
    let refused = host.cli(&["confirm", "hostile"]).failed(1);
    assert!(refused.contains("1 object is still to be looked at"), "{refused}");
    assert_eq!(children(&host).len(), OWNERS * 5);
    host.remove("e.yaml");
    host.wait_for("all of it is known", |host| is_known(host).then_some(()));
    host.cli(&["confirm", "hostile"]).ok();
    host.wait_for("confirmed, they go", |host| children(host).is_empty().then_some(()));
}

#[test]
fn deletions_after_a_move_while_the_host_was_down_wait_for_a_person() {
    let file = |number: usize, spec: &str| hostile("HostileFinal", &format!("f-{number}"), spec);
    let mut setup = Host::setup().plugin("hostile");
    for number in 0..OWNERS {
        let children = (0..5).map(|child| format!("{{name: c-{number}-{child}}}")).collect::<Vec<_>>().join(", ");
        let spec = format!("behaviour: children, value: {number}, children: [{children}]");
        setup = setup.file(&format!("f-{number}.yaml"), &file(number, &spec));
    }
    let host = setup.start();
    host.all_synced(OWNERS, Duration::from_secs(20));
    host.at_rest();
    let before = children(&host);
    host.uninstall("hostile");
    host.wait_for("no plugin is there", |host| host.plugin("hostile").is_none().then_some(()));
    // What the next plugin sees first has no children any more.
    for number in 0..OWNERS {
        host.write(&format!("f-{number}.yaml"), &file(number, "behaviour: no-children"));
    }
    host.wait_for("the new specs are there", |host| {
        let is = |number: usize| host.object(HOSTILE_FINAL, &format!("f-{number}"));
        let known = |number| is(number).is_some_and(|object| object["spec"]["behaviour"] == "no-children");
        (0..OWNERS).all(known).then_some(())
    });
    let stopped = host.stop();
    stopped.write("plugins/hostile.wasm", variant("only-hostile"));
    stopped.write("plugins/final.wasm", variant("only-final"));
    let host = stopped.start_without_waiting();
    host.wait_for("all of it is held", |host| (held(host) == OWNERS * 5 && is_known(host)).then_some(()));
    assert_eq!(children(&host), before);
    host.cli(&["confirm", "hostile-final"]).ok();
    host.wait_for("confirmed, they go", |host| children(host).is_empty().then_some(()));
}

#[test]
fn deletions_that_are_held_stay_held_over_a_kill() {
    let host = owners().start();
    host.all_synced(OWNERS, Duration::from_secs(20));
    host.at_rest();
    let before = children(&host);
    host.install_bytes(&variant("childless"), "hostile");
    host.wait_for("all of it is held", |host| (held(host) == OWNERS * 5).then_some(()));
    let host = host.start_again_without_waiting();
    host.wait_for("each was called anew", |host| {
        let rows = host.rows("Hostile");
        (rows.len() == OWNERS && rows.iter().all(|row| !row["last_reconcile_time"].is_null())).then_some(())
    });
    host.never("nothing may be deleted unconfirmed", Duration::from_secs(1), |host| children(host) != before);
    assert_eq!(held(&host), OWNERS * 5);
}

#[test]
fn a_rollback_takes_the_version_before_and_lasts_until_the_file_changes() {
    let host = owners().file("a.yaml", &echo("a", 1)).start();
    host.all_synced(OWNERS + 1, Duration::from_secs(20));
    let nothing = host.cli(&["plugin", "rollback", "hostile"]);
    assert!(nothing.failed(1).contains("hostile"), "there is nothing to go back to yet");
    let first = digest(&host, "hostile");
    host.install("hostile-v2", "hostile");
    host.wait_for("the new one is at work", |host| (version(host, "a")? == "2.0.0").then_some(()));
    let kept = children(&host);

    host.cli(&["plugin", "rollback", "hostile"]).ok();
    host.wait_for("the one before is at work", |host| (version(host, "a")? == "1.0.0").then_some(()));
    let row = host.plugin("hostile").unwrap_or_default();
    assert_eq!((&row["digest"], &row["rolled_back"]), (&first, &json!(true)), "{row}");
    let shown = host.cli(&["plugins"]).ok().to_lowercase();
    assert!(shown.contains("rolled back"), "people see it: {shown}");

    let host = host.start_again();
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("an edit is through after a kill", |host| shows(host, "a", 2));
    assert_eq!(version(&host, "a"), Some("1.0.0".into()), "the file of the new one is still there, and not used");
    assert_eq!(host.plugin("hostile").map(|row| row["rolled_back"].clone()), Some(json!(true)));

    host.install_bytes(&with_other_digest(bytes("hostile-v2"), 1), "hostile");
    host.wait_for("another file is used", |host| (version(host, "a")? == "2.0.0").then_some(()));
    assert_eq!(host.plugin("hostile").map(|row| row["rolled_back"].clone()), Some(json!(false)));
    assert_eq!(children(&host), kept, "no child was made anew");
}

#[test]
fn a_version_that_is_quarantined_soon_after_a_swap_suggests_the_rollback() {
    let mut setup = Host::setup().plugin("hostile").file("spared.yaml", &echo("spared", 1));
    for number in 0..6 {
        setup = setup.file(&format!("h-{number}.yaml"), &echo(&format!("h-{number}"), number));
    }
    let host = setup.start();
    host.all_synced(7, Duration::from_secs(20));
    // Not on every request: the shadow lets it pass.
    host.install_bytes(&variant("panics"), "hostile");
    let told = host.wait_for("it is quarantined", |host| {
        host.plugin("hostile").map(|row| row["quarantine"].clone()).filter(Value::is_object)
    });
    assert!(says(&told["advice"], "setpoint plugin rollback hostile"), "{told}");
    host.cli(&["plugin", "rollback", "hostile"]).ok();
    host.all_synced(7, Duration::from_secs(20));
    let row = host.plugin("hostile").unwrap_or_default();
    assert!(row["quarantine"].is_null() && row["rolled_back"] == true, "{row}");
    host.write("h-0.yaml", &echo("h-0", 9));
    host.wait_for("it is at work", |host| shows(host, "h-0", 9));
}

/// A host with an object of each kind, and the uids of the second one and of its child.
fn with_both_kinds() -> (Host, Vec<Option<Value>>) {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .file("f.yaml", &hostile("HostileFinal", "f", "behaviour: ok, value: 0, children: [{name: kept}]"))
        .start();
    host.all_synced(2, Duration::from_secs(20));
    host.wait_for("the child is there", |host| host.object(CONFIG_MAP, "kept"));
    let uids = identities(&host);
    (host, uids)
}

fn identities(host: &Host) -> Vec<Option<Value>> {
    let uid = |kind: &str, name: &str| host.object(kind, name).map(|object| object["metadata"]["uid"].clone());
    vec![uid(HOSTILE_FINAL, "f"), uid(CONFIG_MAP, "kept"), uid(HOSTILE, "a")]
}

/// The kind has moved: its object is the other plugin's now, and nothing was made anew or deleted.
fn moved(host: &Host, before: &[Option<Value>]) {
    host.wait_for("the kind is the other plugin's", |host| {
        let row = host.row("HostileFinal", "f")?;
        (row["plugin"] == "hostile-final" && row["state"] == "Synced").then_some(())
    });
    host.at_rest();
    assert_eq!(identities(host), before);
    assert_eq!(host.metric("setpoint_deletes_total", &[]), 0.0);
    host.write("f.yaml", &hostile("HostileFinal", "f", "behaviour: ok, value: 5, children: [{name: kept}]"));
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("both are at work", |host| {
        let status = host.object(HOSTILE_FINAL, "f")?["status"].clone();
        (status["value"] == 5 && shows(host, "a", 2).is_some()).then_some(())
    });
    // The one finalizer is whoever's the kind is now.
    host.write("release.yaml", &config_map("f-release", &[], &[]));
    host.remove("f.yaml");
    host.wait_for("it goes with its child", |host| {
        (host.object(HOSTILE_FINAL, "f").is_none() && host.object(CONFIG_MAP, "kept").is_none()).then_some(())
    });
}

#[test]
fn a_kind_moves_to_another_plugin_that_was_there_first_and_waited() {
    let (host, before) = with_both_kinds();
    host.install_bytes(&variant("only-final"), "final");
    let row = host.wait_for("it is refused", |host| host.plugin("final").filter(|row| row["state"] == "Refused"));
    assert!(says(&row["problem"], "HostileFinal") && says(&row["problem"], "hostile.wasm"), "{row}");
    // Its file is not touched: that the kind is free is enough.
    host.install_bytes(&variant("only-hostile"), "hostile");
    moved(&host, &before);
}

#[test]
fn a_kind_moves_to_another_plugin_that_comes_later() {
    let (host, before) = with_both_kinds();
    host.install_bytes(&variant("only-hostile"), "hostile");
    host.wait_for("the kind has no plugin", |host| {
        let row = host.row("HostileFinal", "f")?;
        (row["plugin"].is_null() && says(&row["reason"], "waits for a plugin")).then_some(())
    });
    host.install_bytes(&variant("only-final"), "final");
    moved(&host, &before);
}
