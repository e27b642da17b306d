//! The objects of the job: bundles, each with one source; and waiting for what is made of them.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{Api, Kube, Watch};
use setpoint_test_support::{Host, built};

use crate::start::variant;

/// Requests at a time while objects are made or deleted; nothing is measured then.
const AT_A_TIME: usize = 8;
/// Bytes of each of the three values of a source.
const VALUE: usize = 300;
/// All is as it shall be within this, or it will not be.
const CONVERGED: Duration = Duration::from_secs(180);

/// A place for the objects of one contender.
pub(crate) struct Place<'k> {
    pub(crate) api: &'k Api,
    pub(crate) namespace: String,
    pub(crate) groups: Vec<String>,
    /// Bundles of each group.
    pub(crate) each: usize,
}

/// Brings the definitions of these groups to the server.
pub(crate) fn define(kube: &Kube, groups: &[String]) {
    // A host without a cluster knows where its plugins are.
    let bytes = std::fs::read(built::guest("config-bundle")).unwrap_or_else(|error| panic!("the plugin: {error}"));
    let mut setup = Host::setup();
    for number in 0..groups.len() {
        let bytes = if groups.len() == 1 { bytes.clone() } else { variant(&bytes, number) };
        setup = setup.plugin_bytes(&bytes, &format!("p{number:02}"));
    }
    let output =
        Command::new(built::binary()).args(["crds", "--plugins"]).arg(setup.directory().join("plugins")).output();
    let output = output.unwrap_or_else(|error| panic!("setpoint crds: {error}"));
    assert!(output.status.success(), "setpoint crds: {}", String::from_utf8_lossy(&output.stderr));
    kubectl(kube, &["apply", "-f", "-"], &output.stdout);
    kubectl(kube, &["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"], b"");
}

fn kubectl(kube: &Kube, args: &[&str], stdin: &[u8]) {
    let mut command = kube.kubectl();
    let child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("kubectl: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        // What it does not read it says itself.
        let _ = pipe.write_all(stdin);
    }
    let status = child.wait().unwrap_or_else(|error| panic!("kubectl: {error}"));
    assert!(status.success(), "kubectl {args:?}: {status}");
}

/// The content of a source, by what its one changing value says.
fn data(edition: &str) -> Value {
    let filled = |letter: &str| letter.repeat(VALUE);
    json!({"edition": edition, "one": filled("a"), "two": filled("b"), "three": filled("c")})
}

impl Place<'_> {
    fn maps(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn bundles(&self, group: &str) -> String {
        format!("/apis/{group}/v1alpha1/namespaces/{}/configbundles", self.namespace)
    }

    fn source(group: usize, number: usize) -> String {
        format!("source-{group:02}-{number:05}")
    }

    fn bundle(group: usize, number: usize) -> String {
        format!("bundle-{group:02}-{number:05}")
    }

    /// Makes all sources and bundles.
    pub(crate) fn fill(&self) {
        self.for_each(|group, number| {
            let (source, bundle) = (Self::source(group, number), Self::bundle(group, number));
            let map = json!({"metadata": {"name": source, "labels": {"bundle": bundle}}, "data": data("first")});
            self.api.post(&self.maps(), &map).with(201);
            let name = &self.groups[group];
            let object = json!({"apiVersion": format!("{name}/v1alpha1"), "kind": "ConfigBundle",
                "metadata": {"name": bundle}, "spec": {"selector": {"matchLabels": {"bundle": bundle}}}});
            self.api.post(&self.bundles(name), &object).with(201);
        });
    }

    /// Deletes everything that is there. Whoever would make it again does not run any more.
    pub(crate) fn clear(&self) {
        self.for_each(|group, number| {
            let (source, bundle) = (Self::source(group, number), Self::bundle(group, number));
            self.api.delete(&format!("{}/{bundle}", self.bundles(&self.groups[group]))).ok();
            // There is no garbage collector here.
            self.api.delete(&format!("{}/{bundle}", self.maps()));
            self.api.delete(&format!("{}/{source}", self.maps())).ok();
        });
    }

    fn for_each(&self, work: impl Fn(usize, usize) + Sync) {
        let all = self.groups.len() * self.each;
        thread::scope(|scope| {
            for worker in 0..AT_A_TIME {
                let work = &work;
                scope.spawn(move || {
                    for at in (worker..all).step_by(AT_A_TIME) {
                        work(at % self.groups.len(), at / self.groups.len());
                    }
                });
            }
        });
    }

    /// Looks at all bundles from now on.
    pub(crate) fn converging(&self) -> Converging {
        self.converging_to(self.each)
    }

    /// The same, until so many of each group are ready.
    pub(crate) fn converging_to(&self, each: usize) -> Converging {
        let watch = |group: &String| self.api.watch(&format!("{}?watch=true", self.bundles(group)));
        Converging { watches: self.groups.iter().map(watch).collect(), each }
    }

    /// How many children there are.
    pub(crate) fn children(&self) -> usize {
        let list = self.api.get(&format!("{}?limit=20000", self.maps())).ok();
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter(|item| item["metadata"]["ownerReferences"].is_array()).count()
    }

    /// Edits one source after another, at rest in between: how long each took to be in its child, in ms.
    pub(crate) fn edits(&self, count: usize, pause: Duration) -> Vec<f64> {
        let list = self.api.get(&format!("{}?limit=1", self.maps())).ok();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let watch = self.api.watch(&format!("{}?watch=true&resourceVersion={version}", self.maps()));
        let all = self.groups.len() * self.each;
        let edit = |round: usize| {
            // Far from each other, and no bundle twice.
            let at = round * all / count;
            let (group, number) = (at % self.groups.len(), at / self.groups.len());
            let edition = format!("edition {round}");
            thread::sleep(pause);
            let began = Instant::now();
            let patch = setpoint_test_kube::Call::merge(
                &format!("{}/{}", self.maps(), Self::source(group, number)),
                &json!({"data": {"edition": edition}}),
            );
            self.api.call(patch).ok();
            let child = Self::bundle(group, number);
            watch.until("the child follows its source", Duration::from_secs(20), |event| {
                event["object"]["metadata"]["name"] == *child && event["object"]["data"]["edition"] == *edition
            });
            began.elapsed().as_secs_f64() * 1e3
        };
        let mut took: Vec<f64> = (0..count).map(edit).collect();
        took.sort_by(f64::total_cmp);
        took
    }
}

/// Watches of all bundles.
pub(crate) struct Converging {
    watches: Vec<Watch>,
    each: usize,
}

impl Converging {
    /// Looks at the bundles of a group in all namespaces, until so many are ready.
    pub(crate) fn everywhere(api: &Api, group: &str, all: usize) -> Self {
        let watch = api.watch(&format!("/apis/{group}/v1alpha1/configbundles?watch=true"));
        Self { watches: vec![watch], each: all }
    }

    /// Waits until each is ready, in the generation that it has. Otherwise: how many are not, and what was said last.
    pub(crate) fn wait(&self, log: impl Fn() -> String) -> Result<(), String> {
        let deadline = Instant::now() + CONVERGED;
        for watch in &self.watches {
            let mut ready = HashSet::new();
            while ready.len() < self.each {
                let Some(event) = watch.next(deadline.saturating_duration_since(Instant::now())) else {
                    let ready = ready.len();
                    return Err(format!("{ready} of {} bundles are ready after {CONVERGED:?}\n{}", self.each, log()));
                };
                let object = &event["object"];
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                if is_ready(object) {
                    ready.insert(uid.to_owned())
                } else {
                    ready.remove(uid)
                };
            }
        }
        Ok(())
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && object["status"]["keys"].as_u64().is_some_and(|keys| keys > 0)
        && conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
