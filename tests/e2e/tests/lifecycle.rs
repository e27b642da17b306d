//! Starting, stopping, being killed, and starting again.

use std::time::Duration;

use setpoint_e2e::{CONFIG_MAP, HOSTILE, config_bundle, config_map, echo, hostile, workflow};
use setpoint_test_support::{Host, Setup};

fn fleet() -> Setup {
    let mut setup = Host::setup()
        .plugin("hostile")
        .plugin("config-bundle")
        .plugin("workflow")
        .file("bundle.yaml", &config_bundle("shop"))
        .file("a.yaml", &config_map("a", &[("bundle", "shop")], &[("k", "v")]))
        .file("w.yaml", &workflow("w", 3))
        .file(
            "h.yaml",
            &hostile("Hostile", "parent", "behaviour: children, value: 0, children: [{name: c-1}, {name: c-2}]"),
        )
        .file("order.yaml", &hostile("Hostile", "order", "behaviour: hashmap"))
        .file("f.yaml", &hostile("HostileFinal", "f", "behaviour: ok, value: 0"));
    for number in 0..40 {
        setup = setup.file(&format!("many/h-{number}.yaml"), &echo(&format!("h-{number}"), number));
    }
    setup
}

/// Of the fleet: reconciled objects.
const RECONCILED: usize = 45;

#[test]
fn a_restart_writes_nothing() {
    let host = fleet().start();
    host.all_synced(RECONCILED, Duration::from_secs(20));
    host.at_rest();
    let before = host.versions();
    assert!(host.writes() >= RECONCILED as u64, "the metric counts: there were {} writes", host.writes());
    assert!(
        before.contains_key("ConfigMap default/shop") && before.contains_key("ConfigMap default/c-2"),
        "{before:?}"
    );

    let (status, took) = host.terminate();
    assert!(status.success(), "{status}\n{}", host.log_tail());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let host = host.start_again();
    host.all_synced(RECONCILED, Duration::from_secs(20));
    host.at_rest();
    assert_eq!(host.versions(), before);
    assert_eq!(host.writes(), 0);
    assert!(
        host.metric("setpoint_calls_total", &[]) >= RECONCILED as f64,
        "each was called once, and nothing came of it"
    );
}

#[test]
fn a_kill_loses_nothing_and_needs_no_repair() {
    let mut host = fleet().start();
    for round in 1..=3 {
        // In the middle of the work on these.
        for number in 0..40 {
            host.write(&format!("many/h-{number}.yaml"), &echo(&format!("h-{number}"), round * 100 + number));
        }
        std::thread::sleep(Duration::from_millis(30 * round));
        host.kill();
        host = host.start_again();
        host.wait_for("every file is through", |host| {
            let objects = host.list("/v1/objects?kind=Hostile");
            let through = objects
                .iter()
                .filter(|object| object["status"]["value"].as_u64().is_some_and(|value| value / 100 == round));
            (through.count() == 40).then_some(())
        });
    }
    host.all_synced(RECONCILED, Duration::from_secs(20));
    for name in ["shop", "c-1", "c-2"] {
        assert!(host.object(CONFIG_MAP, name).is_some(), "{name}");
    }
}

#[test]
fn what_changed_while_it_was_down_is_caught_up_with() {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .file("b.yaml", &echo("b", 1))
        .file("c.yaml", &echo("c", 1))
        .start();
    host.all_synced(3, Duration::from_secs(20));
    assert!(host.terminate().0.success());
    host.write("a.yaml", &echo("a", 2));
    host.remove("b.yaml");
    host.write("d.yaml", &echo("d", 4));
    let host = host.start_again();
    let value = |host: &Host, name: &str| host.object(HOSTILE, name).map(|object| object["status"]["value"].clone());
    host.wait_for("the edit", |host| (value(host, "a")? == 2).then_some(()));
    host.wait_for("the new file", |host| (value(host, "d")? == 4).then_some(()));
    host.wait_for("the removed file", |host| host.object(HOSTILE, "b").is_none().then_some(()));
    assert_eq!(value(&host, "c"), Some(1.into()));
}

#[test]
fn it_stops_gracefully_while_calls_are_running() {
    let host = Host::setup()
        .plugin("hostile")
        .file("slow.yaml", &hostile("Hostile", "slow", "behaviour: sleep, millis: 1500, value: 9"))
        .without_waiting()
        .start();
    host.wait_for("the call is running", |host| {
        host.row("Hostile", "slow").filter(|row| row["state"] == "Reconciling")
    });
    let (status, took) = host.terminate();
    assert_eq!(status.code(), Some(0), "{}", host.log_tail());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let host = host.start_again();
    host.wait_for("the slow one gets there", |host| {
        (host.object(HOSTILE, "slow")?["status"]["value"] == 9).then_some(())
    });
}

#[test]
fn a_kind_that_is_disabled_stays_disabled_over_a_restart() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    host.cli(&["disable", "hostile"]).ok();
    let host = host.start_again_without_waiting();
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("the new spec is there", |host| (host.object(HOSTILE, "a")?["spec"]["value"] == 2).then_some(()));
    host.never("it must not run", Duration::from_millis(500), |host| {
        host.object(HOSTILE, "a").is_none_or(|object| object["status"]["value"] != 1)
    });
    host.cli(&["enable", "hostile"]).ok();
    host.wait_for("enabled, it runs", |host| (host.object(HOSTILE, "a")?["status"]["value"] == 2).then_some(()));
}
