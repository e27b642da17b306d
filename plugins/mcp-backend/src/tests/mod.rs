//! A world of sources, registries and backends, in which the host's part is played by the test.

mod backend;
mod crd;
mod order;
mod registry;
mod resolution;

use serde_json::{Value, json};
use setpoint_sdk::Key;
use setpoint_sdk::testing::{Run, TestKit, scenarios};

use super::*;

/// What the tests' registry is called.
const REGISTRY: &str = "tools";

/// An object of ToolHive, in group `g` and namespace `default`.
fn toolhive(kind: &str, name: &str, spec: Value, status: Value) -> Value {
    let mut object = json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": kind, "metadata": {"name": name},
                            "spec": {"groupRef": {"name": "g"}}, "status": status});
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// A server that is ready.
fn server(name: &str) -> Value {
    let url = format!("http://mcp-{name}-proxy.default.svc.cluster.local:8080/mcp");
    toolhive("MCPServer", name, json!({"image": "i", "transport": "stdio"}), json!({"phase": "Ready", "url": url}))
}

/// A proxy that is ready.
fn proxy(name: &str) -> Value {
    let url = format!("http://mcp-{name}-remote-proxy.default.svc.cluster.local:8080");
    let spec = json!({"remoteUrl": format!("https://{name}.example/mcp")});
    toolhive("MCPRemoteProxy", name, spec, json!({"phase": "Ready", "url": url}))
}

/// An entry that was found valid.
fn entry(name: &str) -> Value {
    let spec = json!({"remoteUrl": format!("https://{name}.example/mcp"), "transport": "streamable-http"});
    toolhive("MCPServerEntry", name, spec, json!({"phase": "Valid"}))
}

fn group() -> Value {
    json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPGroup", "metadata": {"name": "g"}, "spec": {}})
}

/// An object with these fields changed; null takes one away.
fn with(mut object: Value, at: &str, value: Value) -> Value {
    let (parents, last) = at.rsplit_once('.').unwrap_or(("", at));
    let parent = parents.split('.').fold(&mut object, |place, step| &mut place[step]);
    if let (Value::Null, Some(fields)) = (&value, parent.as_object_mut()) {
        fields.remove(last);
    } else {
        parent[last] = value;
    }
    object
}

/// A backend of a source of group `g`, as the registry makes it.
fn backend_of(kind: &str, name: &str) -> Value {
    json!({"metadata": {"name": "b"}, "spec": {"registry": REGISTRY, "group": "g", "id": name,
           "source": {"cluster": "local", "kind": kind, "name": name}}})
}

/// The call for the backend of a source, given all that there is.
fn backend_among(kind: &str, name: &str, objects: &[Value]) -> Run<Backend> {
    TestKit::new().object(backend_of(kind, name)).with(objects.into()).run("b")
}

/// The call for the backend of a source that is alone.
fn backend_for(source: &Value) -> Run<Backend> {
    let text = |pointer: &str| source.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    backend_among(&text("/kind"), &text("/metadata/name"), std::slice::from_ref(source))
}

/// State and reason.
fn state(run: &Run<Backend>) -> String {
    let status = run.status_json();
    format!("{} {}", status["state"].as_str().unwrap_or("?"), status["reason"].as_str().unwrap_or("?"))
}

/// Registries and backends that are called until nothing changes.
#[derive(Clone)]
struct World {
    /// Made once, as they read the definitions of the kinds.
    empty: (TestKit<BackendRegistry>, TestKit<Backend>),
    registry: Value,
    sources: Vec<Value>,
    backends: Vec<Value>,
}

impl World {
    fn new(sources: &[Value]) -> Self {
        let mut all = vec![group()];
        all.extend_from_slice(sources);
        let registry = json!({"metadata": {"name": REGISTRY}, "spec": {"group": "g", "drainSeconds": 0}});
        Self { empty: (TestKit::new(), TestKit::new()), registry, sources: all, backends: Vec::new() }
    }

    fn kit(&self) -> TestKit<BackendRegistry> {
        let kit = self.empty.0.clone().object(self.registry.clone());
        kit.with(self.sources.clone().into()).with(self.backends.clone().into())
    }

    /// One call of the registry, and what the host makes of it.
    fn pass(&mut self) -> Run<BackendRegistry> {
        let run = self.kit().run(REGISTRY);
        let kept = std::mem::take(&mut self.backends);
        for child in run.children() {
            let mut backend = child.clone();
            let old = kept.iter().find(|old| old["metadata"]["name"] == child["metadata"]["name"]);
            let generation = old.map_or(1, |old| {
                old["metadata"]["generation"].as_i64().unwrap_or(1) + i64::from(old["spec"] != child["spec"])
            });
            backend["metadata"]["generation"] = generation.into();
            backend["metadata"]["ownerReferences"] = json!([{"kind": "BackendRegistry", "name": REGISTRY, "uid": "u"}]);
            backend["status"] = old.map_or(Value::Null, |old| old["status"].clone());
            self.backends.push(backend);
        }
        self.registry["status"] = run.status_json();
        run
    }

    /// One call of each backend.
    fn look(&mut self) {
        let kit = self.empty.1.clone().with(self.sources.clone().into());
        for at in 0..self.backends.len() {
            let backend = self.backends[at].clone();
            let name = backend["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let run = kit.clone().object(backend).run(&name);
            let mut status = run.status_json();
            status["observedGeneration"] = self.backends[at]["metadata"]["generation"].clone();
            self.backends[at]["status"] = status;
        }
    }

    /// Calls until nothing changes; the registry's last one.
    fn settle(&mut self) -> Run<BackendRegistry> {
        for _ in 0..10 {
            let before = (self.backends.clone(), self.registry.clone());
            let run = self.pass();
            self.look();
            if before == (self.backends.clone(), self.registry.clone()) {
                return run;
            }
        }
        panic!("it does not come to rest: {:#?}", self.backends);
    }

    /// `id state reason` of each backend.
    fn shown(&self) -> Vec<String> {
        let word = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("?").to_owned();
        let entries = self.registry["status"]["backends"].as_array().into_iter().flatten();
        entries
            .map(|e| format!("{} {} {} {}", word(e, "id"), word(e, "kind"), word(e, "state"), word(e, "reason")))
            .collect()
    }
}

#[test]
fn the_golden_scenarios_hold() {
    assert_eq!(scenarios::<(BackendRegistry, Backend)>("scenarios"), 13);
}

/// The name of a backend depends on its registry and its source, and on nothing else.
#[test]
fn a_backend_has_one_name_for_ever() {
    let key = Key {
        cluster: "local".into(),
        group: GROUP.into(),
        kind: "BackendRegistry".into(),
        namespace: Some("default".into()),
        name: REGISTRY.into(),
    };
    let expected = setpoint_sdk::stable_name(&key, "github", ["local", "MCPServer", "github"]);
    let mut world = World::new(&[server("github")]);
    world.pass();
    assert_eq!(world.backends[0]["metadata"]["name"], expected.as_str());
}
