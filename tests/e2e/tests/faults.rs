//! What can go wrong between a host and a server, for the whole host: whatever it is, nothing is deleted that should
//! not be, and when it is over everything is as it was asked for (design §9).

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_e2e::hub::{BUNDLES, Hub, MAPS, bundle, condition, part};
use setpoint_test_kube::proxy::{Asked, Hits, Proxy};
use setpoint_test_kube::{Kube, available};
use setpoint_test_support::{Host, Setup};

/// Bundles that are there all the time.
const BUNDLES_AT_ALL_TIMES: usize = 6;
/// Nothing takes longer than this: backoff after a minute's trouble is part of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Bundles and their parts in a namespace, and what has to come of them.
struct Scene<'a> {
    hub: &'a Hub,
    /// What each bundle has to be merged to, by name.
    wanted: BTreeMap<String, BTreeMap<String, String>>,
    /// Uids of the children that must never be others.
    uids: BTreeMap<String, String>,
    rounds: usize,
}

impl<'a> Scene<'a> {
    /// Nothing is there yet.
    fn empty(hub: &'a Hub) -> Self {
        hub.serves(BUNDLES);
        Self { hub, wanted: BTreeMap::new(), uids: BTreeMap::new(), rounds: 0 }
    }

    /// What is there all the time, and as it has to be.
    fn new(hub: &'a Hub, host: &Host) -> Self {
        let mut scene = Self::empty(hub);
        (0..BUNDLES_AT_ALL_TIMES).for_each(|n| scene.make(&format!("b{n}")));
        scene.converges("the start", host);
        scene
    }

    fn make(&mut self, name: &str) {
        self.part(name, "a", "0");
        self.hub.make(BUNDLES, &bundle(name));
    }

    fn part(&mut self, of: &str, key: &str, value: &str) {
        self.hub.make(MAPS, &part(&format!("{of}-{key}"), of, &json!({key: value})));
        self.wanted.entry(of.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }

    fn edit(&mut self, of: &str, key: &str, value: &str) {
        self.hub.change(MAPS, &format!("{of}-{key}"), &json!({"data": {key: value}}));
        self.wanted.entry(of.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }

    fn take(&mut self, of: &str, key: &str) {
        self.hub.delete(MAPS, &format!("{of}-{key}")).ok();
        self.wanted.entry(of.to_owned()).or_default().remove(key);
    }

    fn end(&mut self, name: &str) {
        self.hub.delete(BUNDLES, name).ok();
        self.wanted.remove(name);
        self.uids.remove(name);
    }

    /// All that can change does: parts are edited, added and taken away, a child is changed by somebody, a bundle
    /// comes and another one goes.
    fn stir(&mut self) {
        let round = self.rounds;
        self.rounds += 1;
        self.edit("b0", "a", &format!("edited {round}"));
        self.part("b1", &format!("more{round}"), "1");
        if round > 0 {
            self.take("b1", &format!("more{}", round - 1));
            self.end(&format!("new{}", round - 1));
        }
        self.hub.change(MAPS, "b2", &json!({"data": {"a": format!("drift {round}")}}));
        self.make(&format!("new{round}"));
    }

    /// What is not yet as it has to be; none: all is.
    fn amiss(&self) -> Option<String> {
        for (name, wanted) in &self.wanted {
            let Some(child) = self.hub.get(MAPS, name) else { return Some(format!("{name} has no child")) };
            if child["data"] != json!(wanted) {
                return Some(format!("{name} is {} and not {wanted:?}", child["data"]));
            }
            let bundle = self.hub.get(BUNDLES, name).unwrap_or_default();
            if condition(&bundle, "Ready") != "True"
                || bundle["status"]["observedGeneration"] != bundle["metadata"]["generation"]
            {
                return Some(format!("{name} is not ready: {}", bundle["status"]));
            }
        }
        let all = self.hub.kube.api().get(&format!("{}?labelSelector=setpoint.dev/owner", self.hub.path(MAPS))).ok();
        let names = all["items"].as_array().into_iter().flatten().filter_map(|one| one["metadata"]["name"].as_str());
        let over: Vec<&str> = names.filter(|name| !self.wanted.contains_key(*name)).collect();
        (!over.is_empty()).then(|| format!("nobody wants {over:?}"))
    }

    /// All comes to be as it has to be, and no child is another one than before.
    fn converges(&mut self, after: &str, host: &Host) {
        let until = Instant::now() + PATIENCE;
        while let Some(amiss) = self.amiss() {
            assert!(Instant::now() < until, "{after}: {amiss}\n{}", host.log());
            sleep(Duration::from_millis(50));
        }
        for name in self.wanted.keys() {
            let child = self.hub.get(MAPS, name).unwrap_or_default();
            let uid = child["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let before = self.uids.entry(name.clone()).or_insert_with(|| uid.clone());
            assert_eq!(*before, uid, "{after}: the child of {name} was deleted");
        }
    }
}

fn is_list(asked: &Asked) -> bool {
    asked.method == "GET"
        && !asked.is_watch()
        && ["/configbundles", "/configmaps"].iter().any(|end| asked.path.ends_with(end))
}

fn is_streamed(asked: &Asked) -> bool {
    asked.query.contains("sendInitialEvents")
}

/// What goes wrong, from now on until it is lifted.
type Fault = (&'static str, fn(&Proxy) -> Vec<Hits>);

/// Each is met by requests while the scene is stirred, or nothing was tested.
const FAULTS: [Fault; 11] = [
    ("409", |proxy| vec![proxy.when(Asked::is_write).times(6).refused(409, "Conflict", "the test says so")]),
    ("429", |proxy| {
        vec![proxy.when(Asked::is_write).times(4).refused_for(429, "TooManyRequests", Duration::from_secs(1))]
    }),
    ("500", |proxy| vec![proxy.when(|_| true).times(12).refused(500, "InternalError", "the test says so")]),
    ("503", |proxy| vec![proxy.when(|_| true).times(6).refused_for(503, "ServiceUnavailable", Duration::from_secs(1))]),
    ("410", |proxy| {
        let expired = proxy.when(|asked| asked.is_watch() && !is_streamed(asked));
        let expired = expired.times(4).refused(410, "Expired", "too old resource version");
        proxy.relay().cut();
        vec![expired]
    }),
    ("lists that break off", |proxy| {
        let expired = proxy.when(|asked| asked.is_watch() && !is_streamed(asked));
        let expired = expired.times(2).refused(410, "Expired", "too old resource version");
        let broken = proxy.when(is_streamed).times(4).breaks_after(900);
        proxy.relay().cut();
        vec![expired, broken]
    }),
    ("pages that break off", |proxy| {
        let expired = proxy.when(|asked| asked.is_watch() && !is_streamed(asked));
        let expired = expired.times(2).refused(410, "Expired", "too old resource version");
        let unstreamed = proxy.when(is_streamed).times(4).refused(422, "Invalid", "the test says so");
        let broken = proxy.when(is_list).times(3).breaks_after(700);
        proxy.relay().cut();
        vec![expired, unstreamed, broken]
    }),
    ("answers to writes that are lost", |proxy| vec![proxy.when(Asked::is_write).times(6).loses_its_answer()]),
    ("writes that arrive late", |proxy| {
        vec![proxy.when(Asked::is_write).times(6).is_late_by(Duration::from_millis(1_500))]
    }),
    ("reads of an older view", |proxy| {
        let child = |asked: &Asked| asked.method == "GET" && asked.path.contains("/configmaps/");
        vec![proxy.when(child).is_frozen()]
    }),
    ("watches that break in the midst of an event", |proxy| {
        let broken = proxy.when(|asked| asked.is_watch() && !is_streamed(asked)).times(6).breaks_after(400);
        proxy.relay().cut();
        vec![broken]
    }),
];

#[test]
fn whatever_a_server_answers_nothing_is_lost_and_all_comes_right() {
    let Some(hub) = Hub::new() else { return };
    let proxy = hub.kube.proxy();
    let host = hub.host_of(&proxy.kubeconfig()).plugin("config-bundle").start();
    let mut scene = Scene::new(&hub, &host);
    for (name, fault) in FAULTS {
        let hits = fault(&proxy);
        scene.stir();
        hub.wait_for(&format!("{name} is met"), || hits.iter().all(|hits| hits.count() > 0).then_some(()));
        scene.edit("b3", "a", name);
        sleep(Duration::from_millis(500));
        hits.iter().for_each(Hits::lift);
        scene.converges(name, &host);
        println!("{name}: {:?} requests met it", hits.iter().map(Hits::count).collect::<Vec<_>>());
    }
    assert!(host.ready(), "{}", host.log());
}

#[test]
fn whatever_becomes_of_connections_nothing_is_lost_and_all_comes_right() {
    let Some(hub) = Hub::new() else { return };
    let proxy = hub.kube.proxy();
    let host = hub.host_of(&proxy.kubeconfig()).plugin("config-bundle").start();
    let mut scene = Scene::new(&hub, &host);
    for round in 0..3 {
        proxy.relay().cut();
        scene.stir();
        sleep(Duration::from_millis(100 * round));
        proxy.relay().cut();
        scene.converges("cut connections", &host);
    }
    proxy.relay().refuse();
    scene.stir();
    sleep(Duration::from_secs(3));
    proxy.relay().accept();
    scene.converges("a server that refused", &host);
    proxy.relay().silence();
    scene.stir();
    sleep(Duration::from_secs(5));
    proxy.relay().speak();
    scene.converges("a network that was parted", &host);
    proxy.relay().delay(Duration::from_millis(200));
    scene.stir();
    scene.converges("slow answers", &host);
    proxy.relay().delay(Duration::ZERO);
    scene.stir();
    scene.converges("all of it", &host);
}

/// A host that may do everything on a server of its own.
fn on(kube: &Kube) -> Setup {
    let kubeconfig = kube.kubeconfig().display().to_string();
    Host::setup()
        .args(["--kubeconfig", &kubeconfig, "--install-crds", "--grant", "*=described"].map(str::to_owned))
        .plugin("config-bundle")
}

#[test]
fn a_server_that_is_killed_compacted_and_certified_anew_is_followed() {
    if !available() {
        return;
    }
    let hub = Hub::on(&Kube::setup().start());
    let kube = &hub.kube;
    let host = on(kube).start();
    let mut scene = Scene::new(&hub, &host);
    for round in 0..2 {
        scene.stir();
        kube.kill();
        sleep(Duration::from_millis(500 + 2_000 * round));
        kube.start_again();
        scene.stir();
        scene.converges("a server that was killed", &host);
    }
    kube.kill();
    kube.etcd().compact();
    kube.start_again();
    scene.stir();
    scene.converges("a server that has forgotten the past", &host);
    kube.rotate_certificate();
    scene.stir();
    scene.converges("a certificate that is another", &host);
}

#[test]
fn a_definition_that_goes_takes_its_objects_and_what_became_of_them() {
    if !available() {
        return;
    }
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let hub = Hub::on(&Kube::setup().start());
    let kube = &hub.kube;
    let host = on(kube).start();
    Scene::new(&hub, &host);
    let crd = format!("{CRDS}/configbundles.examples.setpoint.dev");
    let definition = kube.api().get(&crd).ok();
    kube.api().delete(&crd).ok();
    hub.wait_for("the definition is gone", || (kube.api().get(&crd).status == 404).then_some(()));
    kube.api()
        .post(
            CRDS,
            &json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": definition["metadata"]["name"]}, "spec": definition["spec"],
            }),
        )
        .with(201);
    // The server has deleted the objects, which their children do not outlive.
    let mut scene = Scene::empty(&hub);
    scene.make("again");
    scene.converges("a definition that came back", &host);
}

#[test]
fn a_right_that_is_taken_away_is_missed_and_taken_up_again() {
    let Some(hub) = Hub::new() else { return };
    let user = format!("limited-{}", hub.namespace);
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let groups = ["examples.setpoint.dev", "apiextensions.k8s.io", "events.k8s.io"];
    let _stays = [
        hub.kube.allow(&user, None, &rule(&groups, &["*"], &["*"])),
        hub.kube.allow(&user, None, &rule(&[""], &["namespaces"], &["get", "list", "watch"])),
    ];
    let maps = || hub.kube.allow(&user, None, &rule(&[""], &["configmaps"], &["*"]));
    let mut right = maps();
    let host = hub.host_of(&hub.kube.kubeconfig_with_certificate(&user, &[])).plugin("config-bundle").start();
    let mut scene = Scene::new(&hub, &host);
    for round in 0..2 {
        right.revoke();
        scene.stir();
        let new = format!("new{round}");
        hub.wait_for("the bundle that came says what is missing", || {
            let bundle = hub.get(BUNDLES, &new)?;
            let said = setpoint_e2e::condition(&bundle["status"], "Ready").to_string();
            (said.contains("configmaps") || said.contains("ConfigMap")).then_some(())
        });
        right = maps();
        scene.converges("a right that was given back", &host);
    }
}
