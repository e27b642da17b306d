//! Custom resources to make statements about: a definition of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_test_kube::{Api, Call, Kube};

/// Everything is answered within this on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A namespaced kind `Widget` in a group of its own, and a namespace for its objects.
pub(crate) struct Widgets {
    pub(crate) api: Api,
    pub(crate) group: String,
    pub(crate) namespace: String,
}

impl Widgets {
    /// With a status subresource, and conditions that merge by type.
    pub(crate) fn on(kube: &Kube) -> Self {
        Self::with(kube, json!({"status": {}}), true)
    }

    /// Without a status subresource.
    pub(crate) fn without_status(kube: &Kube) -> Self {
        Self::with(kube, json!({}), true)
    }

    /// With conditions that are one value to the server.
    pub(crate) fn with_atomic_conditions(kube: &Kube) -> Self {
        Self::with(kube, json!({"status": {}}), false)
    }

    fn with(kube: &Kube, subresources: Value, merging: bool) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let group = format!("t{}.example.com", MADE.fetch_add(1, Ordering::Relaxed));
        let widgets = Self { api: kube.api().clone(), namespace: kube.namespace(), group };
        widgets.define(&subresources, merging);
        widgets
    }

    fn define(&self, subresources: &Value, merging: bool) {
        let text = json!({"type": "string"});
        let mut conditions = json!({"type": "array", "items": {
            "type": "object", "required": ["type", "status"],
            "properties": {"type": text, "status": text, "reason": text},
        }});
        if merging {
            conditions["x-kubernetes-list-type"] = json!("map");
            conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
        }
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": self.definition_name()},
            "spec": {
                "group": self.group, "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": subresources,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {
                            "colour": text, "size": {"type": "integer", "default": 1}, "text": text,
                            "fixed": {"type": "string", "x-kubernetes-validations": [
                                {"rule": "self == oldSelf", "message": "fixed is fixed"},
                            ]},
                            "tags": {"type": "object", "additionalProperties": text},
                        }},
                        "status": {"type": "object", "properties": {"phase": text, "conditions": conditions}},
                    }}},
                }],
            },
        });
        self.api.post(&definitions(), &definition).ok();
        self.wait_until_served();
    }

    pub(crate) fn definition_name(&self) -> String {
        format!("widgets.{}", self.group)
    }

    pub(crate) fn definition(&self) -> String {
        format!("{}/{}", definitions(), self.definition_name())
    }

    pub(crate) fn wait_until_served(&self) {
        eventually("widgets are served", || self.api.get(&self.list()).status == 200);
        // Established is one thing, written into by everybody another.
        eventually("the definition is established", || {
            let conditions = self.api.get(&self.definition()).body["status"]["conditions"].clone();
            conditions
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
        });
    }

    /// The path of all of them in the namespace.
    pub(crate) fn list(&self) -> String {
        format!("/apis/{}/v1/namespaces/{}/widgets", self.group, self.namespace)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.list())
    }

    pub(crate) fn status(&self, name: &str) -> String {
        format!("{}/status", self.path(name))
    }

    /// What an apply sends: its bare self and whatever else.
    pub(crate) fn bare(&self, name: &str) -> Value {
        json!({"apiVersion": format!("{}/v1", self.group), "kind": "Widget", "metadata": {"name": name}})
    }

    pub(crate) fn coloured(&self, name: &str, colour: &str) -> Value {
        let mut widget = self.bare(name);
        widget["spec"] = json!({"colour": colour});
        widget
    }

    /// One that is there.
    pub(crate) fn made(&self, name: &str, colour: &str) -> Value {
        self.api.apply(&self.path(name), "maker", &self.coloured(name, colour)).with(201)
    }

    /// The same apply once more.
    pub(crate) fn made_again(&self, name: &str, colour: &str) -> Value {
        self.api.apply(&self.path(name), "maker", &self.coloured(name, colour)).with(200)
    }

    /// Waits until writes meet a webhook; `met` is how many it has met.
    pub(crate) fn wait_until_reviewed(&self, met: impl Fn() -> usize) {
        let path = format!("{}?dryRun=All&timeout=1s", self.path("probe"));
        eventually("writes are reviewed", || {
            // It may be that it is given up, and its connection broken.
            let _ = self.api.send(Call::apply(&path, "probe", &self.bare("probe")));
            met() > 0
        });
    }

    pub(crate) fn get(&self, name: &str) -> Value {
        self.api.get(&self.path(name)).ok()
    }
}

fn definitions() -> String {
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned()
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_else(|| panic!("no version: {object}"))
}

pub(crate) fn version_number(object: &Value) -> u64 {
    version(object).parse().unwrap_or_else(|_| panic!("no number: {}", version(object)))
}

pub(crate) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_else(|| panic!("no uid: {object}"))
}

/// Names of the managers that own something in it, sorted.
pub(crate) fn managers(object: &Value) -> Vec<&str> {
    let entries = object["metadata"]["managedFields"].as_array();
    let mut names: Vec<&str> = entries.into_iter().flatten().filter_map(|entry| entry["manager"].as_str()).collect();
    names.sort_unstable();
    names
}

/// With what an apply is decided upon.
pub(crate) fn decided_upon(mut apply: Value, uid: &str, version: Option<&str>) -> Value {
    apply["metadata"]["uid"] = json!(uid);
    if let Some(version) = version {
        apply["metadata"]["resourceVersion"] = json!(version);
    }
    apply
}

pub(crate) fn get(path: impl Into<String>) -> Call {
    Call::new("GET".parse().unwrap_or_default(), path)
}
