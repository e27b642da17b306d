//! A world of one server and its children, in which the host's part is played by the test.

mod children;
mod conditions;
mod crd;
mod events;
mod states;

use serde_json::{Value, json};
use setpoint_sdk::testing::{self, Run, TestKit};

use super::*;

/// A server of namespace `default`, its children, and whatever else there is.
#[derive(Clone)]
struct World {
    /// Made once, as it reads the definition of the kind.
    empty: TestKit<MCPServer>,
    server: Value,
    process: Option<Value>,
    probe: Option<Value>,
    others: Vec<Value>,
}

impl World {
    fn new(spec: Value) -> Self {
        let server = json!({"metadata": {"name": "s", "generation": 1}, "spec": spec});
        Self { empty: TestKit::new(), server, process: None, probe: None, others: Vec::new() }
    }

    /// A local server that starts by itself.
    fn local() -> Self {
        Self::new(json!({"type": "stdio", "autoStart": true, "command": "npx", "args": ["-y", "server"]}))
    }

    /// A remote server that starts by itself.
    fn remote() -> Self {
        Self::new(json!({"type": "streamable-http", "autoStart": true, "url": "https://a.example/mcp"}))
    }

    /// One that was called once, so that its children are there.
    fn with_children(mut self) -> Self {
        self.pass();
        self
    }

    /// A local server that runs and offers these tools.
    fn running(tools: &[&str]) -> Self {
        let mut world = Self::local().with_children();
        world.process(json!({"state": "Running", "startedAt": "2026-01-01T00:00:01Z", "restarts": 0}));
        world.probe(healthy(tools));
        world.pass();
        world
    }

    /// A remote server that is connected.
    fn connected(tools: &[&str]) -> Self {
        let mut world = Self::remote().with_children();
        world.probe(healthy(tools));
        world.pass();
        world
    }

    /// Changes fields of the spec; null takes one away.
    fn edit(&mut self, fields: Value) {
        for (field, value) in fields.as_object().into_iter().flatten() {
            match (value, self.server["spec"].as_object_mut()) {
                (Value::Null, Some(spec)) => {
                    spec.remove(field);
                }
                _ => self.server["spec"][field] = value.clone(),
            }
        }
        let generation = self.server["metadata"]["generation"].as_i64().unwrap_or_default();
        self.server["metadata"]["generation"] = (generation + 1).into();
    }

    /// What the host says of the process, of the spec that is there.
    fn process(&mut self, status: Value) {
        say(&mut self.process, status);
    }

    /// What the host says of the endpoint, of the spec that is there.
    fn probe(&mut self, status: Value) {
        say(&mut self.probe, status);
    }

    fn kit(&self) -> TestKit<MCPServer> {
        let children = self.process.iter().chain(&self.probe);
        let others = self.others.iter().cloned();
        let kit = children.cloned().chain(others).fold(self.empty.clone(), TestKit::with);
        kit.object(self.server.clone())
    }

    /// A call, without what comes of it.
    fn look(&self) -> Run<MCPServer> {
        self.kit().run("s")
    }

    /// A call, and what the host does about it.
    fn pass(&mut self) -> Run<MCPServer> {
        let run = self.look();
        if run.outcome().status.is_some() {
            self.server["status"] = run.status_json();
            self.server["status"]["observedGeneration"] = self.server["metadata"]["generation"].clone();
        }
        if !run.leaves_children() {
            apply(&mut self.process, run.children(), "Process");
            apply(&mut self.probe, run.children(), "Probe");
        }
        run
    }

    /// Asserts that a further call has the same outcome and tells nothing.
    fn expect_quiet(&mut self) {
        let first = self.pass();
        let second = self.pass();
        let without_events = |run: &Run<MCPServer>| {
            let mut outcome = run.outcome().clone();
            outcome.events.clear();
            outcome
        };
        assert_eq!(without_events(&first), without_events(&second));
        assert!(second.events().is_empty(), "{:?}", second.events());
    }

    fn status(&self) -> &Value {
        &self.server["status"]
    }

    fn state(&self) -> &str {
        self.server["status"]["state"].as_str().unwrap_or_default()
    }
}

fn healthy(tools: &[&str]) -> Value {
    json!({"state": "Healthy", "reason": "Reachable", "message": "The server answers", "tools": tools,
           "toolCount": tools.len(), "lastConnected": "2026-01-01T00:00:02Z"})
}

fn say(child: &mut Option<Value>, mut status: Value) {
    let Some(child) = child else { panic!("there is no such child") };
    status["observedGeneration"] = child["metadata"]["generation"].clone();
    child["status"] = status;
}

/// Makes a child what is wanted, as the host does.
fn apply(child: &mut Option<Value>, wanted: &[Value], kind: &str) {
    let Some(wanted) = wanted.iter().find(|wanted| wanted["kind"] == kind) else {
        *child = None;
        return;
    };
    match child {
        None => {
            let mut new = wanted.clone();
            new["metadata"]["generation"] = 1.into();
            *child = Some(new);
        }
        Some(there) if there["spec"] != wanted["spec"] => {
            there["spec"] = wanted["spec"].clone();
            let generation = there["metadata"]["generation"].as_i64().unwrap_or_default();
            there["metadata"]["generation"] = (generation + 1).into();
        }
        Some(_) => {}
    }
}

/// The reasons of the events of a call, without their common prefix.
fn told(run: &Run<MCPServer>) -> Vec<&str> {
    let code = |code: &'_ str| -> usize { code.len() - code.trim_start_matches("MCPServer").len() };
    run.events().iter().map(|event| &event.reason.code[code(&event.reason.code)..]).collect()
}

#[test]
fn the_golden_scenarios_hold() {
    assert_eq!(testing::scenarios::<(MCPServer,)>("scenarios"), 10);
}
