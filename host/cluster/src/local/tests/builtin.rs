//! The host's own kinds, which `local` serves without a plugin (rule D5).

use serde_json::{Value, json};
use setpoint_core::process::{
    Digest, Environment, Event, Exit, Machine, Permit, ProcessSpec, Stdin, StopSignal, Wanted,
};

use super::*;

fn process(name: &str) -> Key {
    Key::new("local", "host.setpoint.dev", "Process", Some("default"), name)
}

/// Applies to the Process `a`.
fn write(model: &mut Model, manager: &str, spec: Value) -> Result<Arc<Object>, Refusal> {
    let key = process("a");
    let object = Arc::new(json!({
        "apiVersion": "host.setpoint.dev/v1alpha1", "kind": "Process", "metadata": {"name": "a"}, "spec": spec,
    }));
    let op = Op::Apply { key, object, manager: manager.into(), force: false, precondition: None };
    done(model.perform(1000, &op)).map(|(object, _)| object)
}

fn applied(spec: Value) -> Result<Arc<Object>, Refusal> {
    write(&mut Model::new(), A, spec)
}

fn refused(spec: Value) -> String {
    match applied(spec) {
        Err(Refusal::Invalid(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_without_more_than_a_command_has_the_defaults_that_the_host_runs_it_with() {
    let object = applied(json!({"command": "server"})).expect("it is a process");
    let read: ProcessSpec = serde_json::from_value(object.value()["spec"].clone()).expect("a spec");
    assert_eq!(read, ProcessSpec::new("server"));
    let defaults = json!({
        "command": "server", "stdin": "Null", "restartPolicy": "Always", "crashLoopThreshold": 5, "minReadySeconds": 0,
        "backoff": {"initialSeconds": 1, "maxSeconds": 300, "resetAfterSeconds": 60},
        "stop": {"signal": "SIGTERM", "graceSeconds": 10}, "limits": {},
    });
    assert_eq!(object.value()["spec"], defaults);
}

#[test]
fn every_field_of_a_process_is_kept_and_understood() {
    let spec = json!({
        "command": "npx", "args": ["-y", "server"], "workingDirectory": "data", "stdin": "MCP",
        "env": [
            {"name": "A", "value": ""},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
        ],
        "restartPolicy": "OnFailure", "crashLoopThreshold": 3, "minReadySeconds": 2, "restartedAt": "today",
        "backoff": {"initialSeconds": 2, "maxSeconds": 20, "resetAfterSeconds": 30},
        "stop": {"signal": "SIGINT", "graceSeconds": 0},
        "limits": {"openFiles": 64, "addressSpaceBytes": 1073741824, "fileSizeBytes": 1, "processes": 5, "cpuSeconds": 9},
    });
    let object = applied(spec.clone()).expect("it is a process");
    assert_eq!(object.value()["spec"], spec, "nothing is pruned");
    let read: ProcessSpec = serde_json::from_value(spec.clone()).expect("a spec");
    assert_eq!((read.stdin, read.stop.signal), (Stdin::Mcp, StopSignal::Int));
    assert_eq!(serde_json::to_value(read).expect("an object"), spec, "the type has each field of the schema");
}

#[test]
fn a_process_that_makes_no_sense_is_refused_with_the_place() {
    for (spec, expected) in [
        (json!({}), "spec.command"),
        (json!({"command": ""}), "spec.command"),
        (json!({"command": "a", "stdin": "Closed"}), "spec.stdin"),
        (json!({"command": "a", "restartPolicy": "Sometimes"}), "spec.restartPolicy"),
        (json!({"command": "a", "stop": {"graceSeconds": 301}}), "spec.stop.graceSeconds"),
        (json!({"command": "a", "stop": {"signal": "SIGKILL"}}), "spec.stop.signal"),
        (json!({"command": "a", "backoff": {"initialSeconds": 0}}), "spec.backoff.initialSeconds"),
        (
            json!({"command": "a", "backoff": {"initialSeconds": 9, "maxSeconds": 3}}),
            "initialSeconds must not be more than maxSeconds",
        ),
        (json!({"command": "a", "crashLoopThreshold": 0}), "spec.crashLoopThreshold"),
        (json!({"command": "a", "limits": {"openFiles": 0}}), "spec.limits.openFiles"),
        (json!({"command": "a", "env": [{"name": "A"}]}), "exactly one of value and valueFrom is needed"),
        (
            json!({"command": "a", "env": [{"name": "A", "value": "1",
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
            "exactly one of value and valueFrom is needed",
        ),
        (json!({"command": "a", "env": [{"name": "A=B", "value": "1"}]}), "spec.env[0].name"),
        (json!({"command": "a", "env": [{"name": "", "value": "1"}]}), "spec.env[0].name"),
        (
            json!({"command": "a", "env": [{"name": "SETPOINT_PROCESS", "value": "1"}]}),
            "SETPOINT_PROCESS is set by the host",
        ),
        (json!({"command": "a", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}), "Duplicate value"),
        (
            json!({"command": "a", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}),
            "secretKeyRef.key",
        ),
    ] {
        let text = refused(spec.clone());
        assert!(text.contains(expected), "{spec}: {text}");
    }
}

#[test]
fn variables_of_a_process_are_merged_by_their_names() {
    let mut model = Model::new();
    let with = |env: Value| json!({"command": "a", "env": env});
    write(&mut model, A, with(json!([{"name": "A", "value": "1"}]))).unwrap();
    let object = write(&mut model, B, with(json!([{"name": "B", "value": "2"}]))).unwrap();
    assert_eq!(object.value()["spec"]["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
}

#[test]
fn a_status_of_the_machine_fits_the_schema_in_full() {
    let nothing: Digest = Environment::default().digest();
    let wanted = |permit| Wanted { spec: Arc::new(ProcessSpec::new("a")), generation: 3, permit };
    let mut machine = Machine::new(0, 1);
    let mut statuses = Vec::new();
    for event in [
        Event::Tick,
        Event::Wanted(wanted(Permit::Run(nothing))),
        Event::Started { pid: 4_194_304 },
        Event::Exited(Exit::Signal("SIGSEGV".into())),
        Event::Cleared,
        Event::Deleted,
    ] {
        machine.handle(0, event);
        statuses.push(machine.status(|_| "2026-01-01T00:00:00Z".into()));
    }
    let mut model = Model::new();
    for status in statuses {
        let object = write(&mut model, A, json!({"command": "a"})).unwrap();
        let status = serde_json::to_value(&status).unwrap();
        let (written, _) = done(model.perform(0, &status_op(&object, &process("a"), STATUS, status.clone()))).unwrap();
        assert_eq!(written.value()["status"], status);
    }
}

#[test]
fn the_kinds_of_the_host_have_short_names_columns_and_a_definition_to_show() {
    let crd = Model::new().crd(&GroupKind::new("host.setpoint.dev", "Process")).cloned().expect("it is served");
    assert_eq!(
        (&*crd.plural, &*crd.short_names, crd.namespaced, crd.has_status),
        ("processes", &["proc".to_owned()][..], true, true)
    );
    let columns: Vec<&str> =
        crd.columns.iter().filter(|column| column.priority == 0).map(|column| &*column.name).collect();
    assert_eq!(columns, ["State", "Ready", "Restarts", "Pid", "Age"]);
    assert_eq!(crd.manifest()["metadata"]["name"], "processes.host.setpoint.dev");
}

#[test]
fn what_the_host_says_of_itself_is_nobody_elses_to_write() {
    for (kind, spec) in [("Cluster", json!({"provider": "me"})), ("Plugin", json!({"file": "me.wasm"}))] {
        let key = Key::new("local", "host.setpoint.dev", kind, None, "mine");
        let value = json!({"apiVersion": "host.setpoint.dev/v1alpha1", "kind": kind, "metadata": {"name": "mine"}, "spec": spec});
        let refused =
            Model::new().desired(1000, &key, value, "mine.yaml").map(|_| ()).map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|text| text.contains("is written by it alone")), "{refused:?}");
    }
}
