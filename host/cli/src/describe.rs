//! `setpoint describe`: all that is known of one object.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;
use setpoint_core::Key;
use setpoint_runtime::views::{EventRow, ObjectView, ReconcileRow};

use crate::age;
use crate::args::ObjectArgs;
use crate::client::{Client, key_path};
use crate::failure::Failure;
use crate::get::{ready, state};
use crate::kind::resolve;
use crate::output::{one_line, print};
use crate::table::Table;
use crate::yaml::to_yaml;

/// Width of the names of fields, with their colon.
const NAMES: usize = 18;

/// Shows one object.
pub(crate) fn describe(args: &ObjectArgs) -> Result<(), Failure> {
    let client = Client::find(&args.server)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, &args.kind)?;
    let view: ObjectView = client.get(&format!("/v1/objects/{}", key_path(kind, &args.place, &args.name)))?;
    let cluster = args.place.cluster.as_deref().unwrap_or(setpoint_core::key::LOCAL);
    print(&text(cluster, &view, Timestamp::now()))
}

fn field(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{:<NAMES$}{}", format!("{name}:"), one_line(value));
}

/// A field of several values, one per line.
fn fields(text: &mut String, name: &str, values: &[String]) {
    match values.split_first() {
        None => field(text, name, "<none>"),
        Some((first, rest)) => {
            field(text, name, first);
            for value in rest {
                let _ = writeln!(text, "{:NAMES$}{}", "", one_line(value));
            }
        }
    }
}

fn pairs(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    value
        .as_object()
        .map(|map| map.iter().map(|(name, value)| format!("{name}={}", text(value))).collect())
        .unwrap_or_default()
}

fn text(cluster: &str, view: &ObjectView, now: Timestamp) -> String {
    let mut text = String::new();
    metadata(&mut text, cluster, view);
    if let Some(row) = &view.reconcile {
        reconciling(&mut text, row, now);
    }
    for (name, value) in view.object.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("apiVersion" | "kind" | "metadata", _) => {}
            ("status", Value::Object(status)) => {
                let mut status = status.clone();
                let conditions = status.remove("conditions");
                section(&mut text, "Status", &Value::Object(status));
                if let Some(Value::Array(conditions)) = conditions {
                    table(&mut text, "Conditions", &condition_table(&conditions, now));
                }
            }
            (name, value) => section(&mut text, &title(name), value),
        }
    }
    if let Some(row) = &view.reconcile {
        table(&mut text, "Children", &child_table(&row.children));
        table(&mut text, "Runs", &run_table(row, now));
        if !row.problems.is_empty() {
            text.push_str("Problems:  the last good content is in use\n");
            for problem in &row.problems {
                let _ = writeln!(text, "  {}", one_line(problem));
            }
        }
    }
    table(&mut text, "Events", &event_table(&view.events, now));
    text
}

fn metadata(text: &mut String, cluster: &str, view: &ObjectView) {
    let object = &view.object;
    let of = |name: &str| object["metadata"][name].as_str();
    let top = |name: &str| object[name].as_str().unwrap_or("<unknown>");
    field(text, "Name", of("name").unwrap_or("<unknown>"));
    if let Some(namespace) = of("namespace") {
        field(text, "Namespace", namespace);
    }
    field(text, "Cluster", cluster);
    fields(text, "Labels", &pairs(&object["metadata"]["labels"]));
    fields(text, "Annotations", &pairs(&object["metadata"]["annotations"]));
    field(text, "API Version", top("apiVersion"));
    field(text, "Kind", top("kind"));
    field(text, "Created", of("creationTimestamp").unwrap_or("<unknown>"));
    if let Some(deleted) = of("deletionTimestamp") {
        field(text, "Being deleted", &format!("since {deleted}"));
    }
    field(text, "UID", of("uid").unwrap_or("<unknown>"));
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        field(text, "Generation", &generation.to_string());
    }
    let list = |name: &str| object["metadata"][name].as_array().cloned().unwrap_or_default();
    let finalizers: Vec<String> = list("finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if !finalizers.is_empty() {
        fields(text, "Finalizers", &finalizers);
    }
    let owner = |owner: &Value| Some(format!("{}/{}", owner["kind"].as_str()?, owner["name"].as_str()?));
    let owners: Vec<String> = list("ownerReferences").iter().filter_map(owner).collect();
    if !owners.is_empty() {
        fields(text, "Controlled By", &owners);
    }
    if let Some(file) = &view.file {
        field(text, "File", file);
    }
}

fn reconciling(text: &mut String, row: &ReconcileRow, now: Timestamp) {
    field(text, "State", &state(row));
    field(text, "Ready", ready(row));
    if let Some(reason) = &row.reason {
        field(text, "Reason", reason);
    }
    if let Some(error) = &row.last_error {
        field(text, "Last Error", error);
        field(text, "Failures", &format!("{} in a row", row.attempt));
    }
    field(text, "Plugin", row.plugin.as_deref().unwrap_or("<none>"));
    let ago = |time: &String| format!("{time} ({} ago)", age::since(Some(time), now));
    field(text, "Last Reconcile", &row.last_reconcile_time.as_ref().map_or_else(|| "<none>".to_owned(), ago));
    if let Some(next) = &row.next_reconcile_time {
        field(text, "Next Reconcile", &format!("{next} (in {})", age::until(Some(next), now)));
    }
    field(text, "Causes", &row.causes.join(", "));
    field(text, "Reads", &row.reads.to_string());
}

fn title(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A part of the object as indented YAML.
fn section(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {}
        Value::Array(items) if !items.is_empty() => {}
        other => return field(text, name, to_yaml(other).trim_end()),
    }
    let _ = writeln!(text, "{name}:");
    for line in to_yaml(value).lines() {
        let _ = writeln!(text, "{}{line}", if line.is_empty() { "" } else { "  " });
    }
}

fn table(text: &mut String, name: &str, table: &Table) {
    let rendered = table.render();
    if rendered.is_empty() {
        return field(text, name, "<none>");
    }
    let _ = writeln!(text, "{name}:");
    for line in rendered.lines() {
        let _ = writeln!(text, "  {line}");
    }
}

fn condition_table(conditions: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&["TYPE", "STATUS", "REASON", "AGE", "MESSAGE"]);
    for condition in conditions {
        let of = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        let age = age::since(condition["lastTransitionTime"].as_str(), now);
        table.row(vec![of("type"), of("status"), of("reason"), age, of("message")]);
    }
    table
}

fn child_table(children: &[String]) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME"]);
    for child in children {
        match Key::parse(child) {
            Some(key) => {
                let namespace = key.namespace.as_deref().unwrap_or_default().to_owned();
                table.row(vec![key.group_kind().to_string(), namespace, key.name.to_string()]);
            }
            None => table.row(vec![child.clone()]),
        }
    }
    table
}

fn run_table(row: &ReconcileRow, now: Timestamp) -> Table {
    let mut table = Table::new(&["AGE", "LANE", "WAITED", "TOOK", "WRITES", "RESULT", "CAUSES"]);
    for run in &row.runs {
        table.row(vec![
            age::since(Some(&run.started), now),
            run.lane.clone(),
            format!("{}ms", run.waited_ms),
            format!("{}ms", run.took_ms),
            run.writes.to_string(),
            run.result.clone(),
            run.causes.join(", "),
        ]);
    }
    table
}

fn event_table(events: &[EventRow], now: Timestamp) -> Table {
    let mut table = Table::new(&["TYPE", "REASON", "AGE", "MESSAGE"]);
    for event in events {
        let age = age::since(Some(&event.last), now);
        let age = match event.count {
            0 | 1 => age,
            count => format!("{age} (x{count} over {})", age::since(Some(&event.first), now)),
        };
        table.row(vec![event.kind.clone(), event.reason.clone(), age, event.message.clone()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::{now, row};
    use serde_json::json;
    use setpoint_runtime::views::RunRow;

    #[test]
    fn an_object_is_described_with_all_that_is_known_of_it() {
        let run = RunRow {
            started: "2026-01-01T00:09:00.000Z".into(),
            waited_ms: 1,
            took_ms: 4,
            lane: "dependency".into(),
            causes: vec!["dependency local/core/ConfigMap/default/a".into()],
            result: "synced".into(),
            writes: 2,
            ..RunRow::default()
        };
        let event = EventRow {
            kind: "Normal".into(),
            reason: "Merged".into(),
            message: "2 keys".into(),
            regarding: "local/examples.setpoint.dev/ConfigBundle/default/web".into(),
            first: "2026-01-01T00:05:00.000Z".into(),
            last: "2026-01-01T00:09:00.000Z".into(),
            count: 3,
        };
        let view = ObjectView {
            object: json!({
                "apiVersion": "examples.setpoint.dev/v1alpha1", "kind": "ConfigBundle",
                "metadata": {"name": "web", "namespace": "default", "uid": "u-1", "generation": 2,
                             "labels": {"a": "1", "b": "2"}, "creationTimestamp": "2026-01-01T00:00:00Z",
                             "finalizers": ["setpoint.dev/children"],
                             "ownerReferences": [{"kind": "App", "name": "x", "uid": "u-0"}]},
                "spec": {"selector": {"matchLabels": {"part": "web"}}},
                "status": {"keys": 2, "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            }),
            reconcile: Some(ReconcileRow {
                last_error: Some("no such\nlabel".into()),
                attempt: 2,
                runs: vec![run],
                problems: vec!["web.yaml:3:5: spec.x: required".into()],
                ..row("web", "Error")
            }),
            events: vec![event],
            file: Some("web.yaml".into()),
        };
        assert_eq!(
            text("local", &view, now()),
            "Name:             web\n\
             Namespace:        default\n\
             Cluster:          local\n\
             Labels:           a=1\n\
             \x20                 b=2\n\
             Annotations:      <none>\n\
             API Version:      examples.setpoint.dev/v1alpha1\n\
             Kind:             ConfigBundle\n\
             Created:          2026-01-01T00:00:00Z\n\
             UID:              u-1\n\
             Generation:       2\n\
             Finalizers:       setpoint.dev/children\n\
             Controlled By:    App/x\n\
             File:             web.yaml\n\
             State:            Error\n\
             Ready:            False\n\
             Last Error:       no such label\n\
             Failures:         2 in a row\n\
             Plugin:           config-bundle\n\
             Last Reconcile:   2026-01-01T00:09:00.000Z (60s ago)\n\
             Next Reconcile:   2026-01-01T00:19:00.000Z (in 9m)\n\
             Causes:           created\n\
             Reads:            3\n\
             Spec:\n\
             \x20 selector:\n\
             \x20   matchLabels:\n\
             \x20     part: web\n\
             Status:\n\
             \x20 keys: 2\n\
             Conditions:\n\
             \x20 TYPE    STATUS   REASON   AGE   MESSAGE\n\
             \x20 Ready   True     Ready    10m\n\
             Children:\n\
             \x20 KIND        NAMESPACE   NAME\n\
             \x20 ConfigMap   default     web\n\
             Runs:\n\
             \x20 AGE   LANE         WAITED   TOOK   WRITES   RESULT   CAUSES\n\
             \x20 60s   dependency   1ms      4ms    2        synced   dependency local/core/ConfigMap/default/a\n\
             Problems:  the last good content is in use\n\
             \x20 web.yaml:3:5: spec.x: required\n\
             Events:\n\
             \x20 TYPE     REASON   AGE                MESSAGE\n\
             \x20 Normal   Merged   60s (x3 over 5m)   2 keys\n"
        );
    }

    #[test]
    fn an_object_without_a_plugin_is_described_as_it_is() {
        let view = ObjectView {
            object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}),
            reconcile: None,
            events: Vec::new(),
            file: None,
        };
        assert_eq!(
            text("local", &view, now()),
            "Name:             a\n\
             Cluster:          local\n\
             Labels:           <none>\n\
             Annotations:      <none>\n\
             API Version:      v1\n\
             Kind:             ConfigMap\n\
             Created:          <unknown>\n\
             UID:              <unknown>\n\
             Data:\n\
             \x20 x: \"1\"\n\
             Events:           <none>\n"
        );
    }
}
