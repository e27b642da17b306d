//! What the proxy promises: faults that are as good as real, and nothing else changed.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{Call, Kube, Proxy, shared};

const SOON: Duration = Duration::from_secs(20);

/// ConfigMaps of a namespace of their own, directly and through a proxy.
struct World {
    kube: &'static Kube,
    proxy: Proxy,
    list: String,
}

impl World {
    fn new() -> Option<Self> {
        let kube = shared()?;
        let list = format!("/api/v1/namespaces/{}/configmaps", kube.namespace());
        Some(Self { kube, proxy: kube.proxy(), list })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.list)
    }

    fn create(&self, name: &str) -> Call {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Call::apply(&self.path(name), "one", &object)
    }

    fn exists(&self, name: &str) -> bool {
        self.kube.api().get(&self.path(name)).status == 200
    }
}

fn get(path: impl Into<String>) -> Call {
    Call::new("GET".parse().unwrap_or_default(), path)
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array();
    items.into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_meets_no_rule_is_as_without_a_proxy() {
    let Some(world) = World::new() else { return };
    let through = world.proxy.api();
    through.call(world.create("a")).with(201);
    let direct = world.kube.api().get(&world.path("a"));
    let other = through.get(&world.path("a"));
    assert_eq!((direct.status, &direct.body), (other.status, &other.body));
    for name in ["content-type", "cache-control"] {
        assert_eq!(direct.headers.get(name), other.headers.get(name), "{name}");
    }
    assert_eq!(world.proxy.count(|asked| asked.is_write()), 1);
    assert!(world.proxy.seen().iter().all(|seen| !seen.by_rule));
}

#[test]
fn kubectl_comes_over_http_2_and_is_served() {
    let Some(world) = World::new() else { return };
    let output = world
        .kube
        .kubectl()
        .args(["get", "namespace", "default", "-o", "name"])
        .arg("--kubeconfig")
        .arg(world.proxy.kubeconfig())
        .output();
    let output = output.expect("kubectl can be started");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "namespace/default\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(world.proxy.seen().iter().all(|seen| seen.version == "HTTP/2.0"), "{:?}", world.proxy.seen());
}

#[test]
fn a_watch_goes_on_event_by_event_until_it_is_cut() {
    let Some(world) = World::new() else { return };
    let through = world.proxy.api();
    let version = through.get(&world.list).ok()["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let watch = through.watch(&format!("{}?watch=true&resourceVersion={version}", world.list));
    for name in ["a", "b"] {
        world.kube.api().call(world.create(name)).with(201);
        let event = watch.next(SOON).unwrap_or_else(|| panic!("no event of {name}"));
        assert_eq!(event["object"]["metadata"]["name"], name);
    }
    world.proxy.relay().cut();
    assert!(watch.ends(SOON));
    world.proxy.api().get(&world.list).ok();
}

#[test]
fn a_lost_answer_is_of_a_write_that_was_done() {
    let Some(world) = World::new() else { return };
    let lost = world.proxy.when(|asked| asked.is_write()).once().loses_its_answer();
    let through = world.proxy.api();
    through.send(world.create("a")).expect_err("nobody hears of it");
    assert!(world.exists("a"));
    assert_eq!(lost.count(), 1);
    through.call(world.create("a")).with(200);
}

#[test]
fn a_refusal_looks_like_the_servers_and_the_server_is_not_asked() {
    let Some(world) = World::new() else { return };
    world.proxy.when(|asked| asked.is_write()).once().refused_for(429, "TooManyRequests", Duration::from_secs(3));
    world.proxy.when(|asked| asked.is_write()).once().refused(409, "Conflict", "try again");
    let through = world.proxy.api();
    let slow = through.call(world.create("a"));
    assert_eq!(slow.headers.get("retry-after").map(|value| value.as_bytes()), Some(&b"3"[..]));
    assert_eq!(slow.with(429)["reason"], "TooManyRequests");
    let conflict = through.call(world.create("a")).with(409);
    assert_eq!((&conflict["kind"], &conflict["message"]), (&json!("Status"), &json!("try again")));
    assert!(!world.exists("a"));
    through.call(world.create("a")).with(201);
}

#[test]
fn a_list_breaks_in_the_middle() {
    let Some(world) = World::new() else { return };
    for name in ["a", "b", "c"] {
        world.kube.api().call(world.create(name)).with(201);
    }
    let list = world.list.clone();
    let broken = world.proxy.when(move |asked| asked.path == list).once().breaks_after(200);
    let through = world.proxy.api();
    through.send(get(&world.list)).expect_err("its end is missing");
    assert_eq!(broken.count(), 1);
    assert_eq!(names(&through.get(&world.list).ok()), ["a", "b", "c"]);
}

#[test]
fn a_write_that_is_stuck_lands_when_it_is_let_go_though_nobody_waits_for_it_any_more() {
    let Some(world) = World::new() else { return };
    let held = world.proxy.when(|asked| asked.is_write()).is_held();
    world.proxy.api().send(world.create("a").within(Duration::from_millis(500))).expect_err("it is not answered");
    eventually("it is stuck", || held.count() == 1);
    assert!(!world.exists("a"));
    held.let_go();
    eventually("it lands", || world.exists("a"));
    world.proxy.api().call(world.create("b")).with(201);
}

#[test]
fn a_write_is_late_and_the_others_are_not() {
    let Some(world) = World::new() else { return };
    world.proxy.when(|asked| asked.path.ends_with("/late")).is_late_by(Duration::from_millis(400));
    let through = world.proxy.api();
    let began = Instant::now();
    through.call(world.create("late")).with(201);
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[test]
fn a_frozen_view_is_of_the_first_answer_until_it_is_lifted() {
    let Some(world) = World::new() else { return };
    let list = world.list.clone();
    let frozen = world.proxy.when(move |asked| asked.method == "GET" && asked.path == list).is_frozen();
    let through = world.proxy.api();
    assert!(names(&through.get(&world.list).ok()).is_empty());
    world.kube.api().call(world.create("a")).with(201);
    assert!(names(&through.get(&world.list).ok()).is_empty());
    assert_eq!(names(&world.kube.api().get(&world.list).ok()), ["a"]);
    frozen.lift();
    assert_eq!(names(&through.get(&world.list).ok()), ["a"]);
}

#[test]
fn what_is_said_in_silence_is_done_after_it() {
    let Some(world) = World::new() else { return };
    let through = world.proxy.api();
    through.get(&world.list).ok();
    world.proxy.relay().silence();
    through.send(world.create("a").within(Duration::from_millis(500))).expect_err("nothing arrives");
    assert!(!world.exists("a"));
    world.proxy.relay().speak();
    eventually("it lands", || world.exists("a"));
}

#[test]
fn a_server_that_is_down_refuses_until_it_is_up() {
    let Some(world) = World::new() else { return };
    let through = world.proxy.api();
    world.proxy.relay().refuse();
    through.send(get(&world.list)).expect_err("nobody is there");
    world.proxy.relay().accept();
    through.get(&world.list).ok();
}

#[test]
fn a_token_of_somebody_else_stays_one() {
    let Some(world) = World::new() else { return };
    let kubeconfig = world.proxy.kubeconfig_of("alice");
    let output = world.kube.kubectl().args(["get", "namespaces"]).arg("--kubeconfig").arg(kubeconfig).output();
    let output = output.expect("kubectl can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("User \"alice\" cannot list resource \"namespaces\""), "{said}");
}
