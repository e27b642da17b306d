//! What `timeout` bounds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{ADMIN, Call, Kube, Relay, available, shared};

use crate::widgets::{SOON, Widgets, decided_upon, eventually, uid, version};

/// What is asked for, and until when at most it is answered on a busy machine.
const TIMEOUT: &str = "timeout=1s";
const ANSWERED: Duration = Duration::from_secs(4);

/// An apply that is given up by the server. It says 504, or breaks the connection: two of its parts watch the time,
/// and if the second finds that the first has begun to answer, it aborts.
fn given_up(kube: &Kube, path: &str, apply: &Value) {
    let began = Instant::now();
    // With connections of its own, which nobody else may miss.
    let api = kube.api_as(ADMIN);
    match api.send(Call::apply(&format!("{path}?{TIMEOUT}"), "maker", apply).within(SOON)) {
        Ok(answer) => assert_eq!(answer.with(504)["reason"], "Timeout"),
        Err(error) => assert!(error.contains("connection closed"), "{error}"),
    }
    assert!(began.elapsed() < ANSWERED, "{:?}", began.elapsed());
}

#[test]
fn a_write_whose_admission_takes_too_long_is_given_up_and_never_lands() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let before = widgets.made("a", "red");
    let proxy = kube.proxy();
    let held = proxy.when(|asked| asked.path == "/review").is_held();
    let webhook = proxy.webhook("/review", &widgets.group, "widgets");
    widgets.wait_until_reviewed(|| held.count());
    let probes = held.count();
    given_up(kube, &widgets.path("a"), &widgets.coloured("a", "blue"));
    given_up(kube, &widgets.path("b"), &widgets.coloured("b", "blue"));
    assert_eq!(held.count(), probes + 2, "both had got as far as admission");
    held.let_go();
    drop(webhook);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(version(&widgets.get("a")), version(&before));
    widgets.api.get(&widgets.path("b")).with(404);
}

/// It may: etcd had the request already, and goes on with what it has. So 504 says nothing of whether a write was
/// or will be done, and only preconditions keep it from what others do meanwhile.
#[test]
fn a_write_that_was_given_up_while_etcd_was_silent_may_land_later_but_never_over_what_came_in_between() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let relay = Relay::to(kube.etcd().port());
    let other = Kube::setup().beside(&kube).etcd_at(relay.port()).start();
    let widgets = Widgets::on(&kube);
    let mut landed = 0;
    for round in 0..8 {
        let name = format!("w{round}");
        let before = widgets.made(&name, "red");
        eventually("the other server knows it", || other.api_as(ADMIN).get(&widgets.path(&name)).status == 200);
        relay.silence();
        let apply = decided_upon(widgets.coloured(&name, "blue"), uid(&before), Some(version(&before)));
        given_up(&other, &widgets.path(&name), &apply);
        let disturbed = round % 2 == 0;
        let between = if disturbed {
            widgets.api.merge(&widgets.path(&name), &json!({"metadata": {"labels": {"x": "y"}}})).ok()
        } else {
            before
        };
        relay.speak();
        // A write through the same server and connection comes after what was stuck in it.
        let mark = format!("m{round}");
        eventually("the other server writes again", || {
            other.api_as(ADMIN).apply(&widgets.path(&mark), "marker", &widgets.bare(&mark)).status == 201
        });
        let after = widgets.get(&name);
        if disturbed {
            assert_eq!(version(&after), version(&between), "{after}");
        } else if version(&after) != version(&between) {
            assert_eq!(after["spec"]["colour"], "blue");
            landed += 1;
        }
    }
    println!("of 4 writes that were given up, {landed} landed later");
}

#[test]
fn a_timeout_has_a_unit_and_may_be_longer_than_the_server_allows() {
    let Some(kube) = shared() else { return };
    let widgets = Widgets::on(kube);
    let widget = widgets.coloured("a", "red");
    widgets.api.apply(&format!("{}?timeout=5", widgets.path("a")), "one", &widget).with(400);
    widgets.api.apply(&format!("{}?timeout=3600s", widgets.path("a")), "one", &widget).with(201);
}
