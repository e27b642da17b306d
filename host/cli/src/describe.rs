//! `setpoint describe`: all that is known of one object.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;
use setpoint_core::Key;
use setpoint_runtime::http::HeldRow;
use setpoint_runtime::views::{EventRow, KindRow, LogRow, ObjectView, ReconcileRow};

use crate::age;
use crate::args::{Globals, ObjectArgs};
use crate::client::{Client, key_path, segment};
use crate::failure::Failure;
use crate::get::{ready, state as shown};
use crate::kind::{resolve, split_object};
use crate::logs::{at, is_process};
use crate::output::{one_line, print};
use crate::table::Table;
use crate::yaml::to_yaml;

/// Width of the names of fields, with their colon.
const NAMES: usize = 18;
/// Children of children are followed so far down.
const DEPTH: usize = 8;
/// So many lines of processes are shown.
const OUTPUT: usize = 10;
/// So many of them are asked for.
const ASKED: usize = 200;

/// What is shown of an object beside the object.
#[derive(Default)]
struct Around {
    /// Its children and theirs, each below its owner.
    children: Vec<Descendant>,
    /// Children of it whose deletion waits for a person, with the word that confirms it (rule B3).
    held: Vec<(String, String)>,
    /// The last lines that its processes wrote, oldest first.
    output: Vec<LogRow>,
}

struct Descendant {
    depth: usize,
    key: String,
    /// As `get` shows it, if a plugin reconciles it.
    state: Option<String>,
}

/// Shows one object.
pub(crate) fn describe(args: &ObjectArgs, globals: &Globals) -> Result<(), Failure> {
    let (word, name) = split_object(&args.kind, args.name.as_deref())?;
    let client = Client::find(&globals.server)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, word)?;
    let view: ObjectView = client.get(&format!("/v1/objects/{}", key_path(kind, &globals.place, name)))?;
    let cluster = globals.place.cluster.as_deref().unwrap_or(&kind.cluster);
    let mut around = match &view.reconcile {
        Some(row) => around(&client, &kinds, row)?,
        None => Around::default(),
    };
    let own =
        Key::new(cluster, &kind.group, &kind.kind, view.object["metadata"]["namespace"].as_str(), name).to_string();
    let keys = around.children.iter().map(|child| &child.key).chain([&own]);
    for key in keys.filter(|key| is_process(key)) {
        match client.get::<Vec<LogRow>>(&at(key)) {
            Ok(rows) => around.output.extend(rows),
            // It is on its way in or out.
            Err(failure) if failure.code.is_some() => {}
            Err(failure) => return Err(failure),
        }
    }
    around.output.sort_by(|a, b| a.at.cmp(&b.at));
    around.output.drain(..around.output.len().saturating_sub(OUTPUT));
    print(&text(cluster, &view, &around, Timestamp::now()))
}

fn around(client: &Client, kinds: &[KindRow], row: &ReconcileRow) -> Result<Around, Failure> {
    let own = Key::new(&row.cluster, &row.group, &row.kind, row.namespace.as_deref(), &row.name).to_string();
    let held: Vec<HeldRow> = client.get("/v1/held")?;
    let held = held.into_iter().flat_map(|row| row.deletions.into_iter().map(move |held| (held, row.id.clone())));
    let held = held.filter(|(held, _)| held.owner == own).map(|(held, id)| (held.child, id)).collect();
    let mut children = Vec::new();
    // The last one is the next to be shown, so that children stand below their owner.
    let mut open: Vec<(usize, String)> = row.children.iter().rev().map(|child| (0, child.clone())).collect();
    let mut asked = 0;
    while let Some((depth, key)) = open.pop() {
        let mut state = None;
        if depth < DEPTH && asked < ASKED && is_reconciled(kinds, &key) {
            asked += 1;
            let path = key.split('/').map(segment).collect::<Vec<_>>().join("/");
            match client.get::<ReconcileRow>(&format!("/v1/reconciles/{path}")) {
                Ok(row) => {
                    state = Some(shown(&row));
                    open.extend(row.children.iter().rev().map(|child| (depth + 1, child.clone())));
                }
                // The host knows of no such object: it is still to be made, or on its way out.
                Err(failure) if failure.code.is_some() => {}
                Err(failure) => return Err(failure),
            }
        }
        children.push(Descendant { depth, key, state });
    }
    Ok(Around { children, held, output: Vec::new() })
}

fn is_reconciled(kinds: &[KindRow], key: &str) -> bool {
    Key::parse(key).is_some_and(|key| {
        kinds.iter().any(|kind| *kind.group == *key.group && *kind.kind == *key.kind && kind.plugin.is_some())
    })
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

fn text(cluster: &str, view: &ObjectView, around: &Around, now: Timestamp) -> String {
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
        table(&mut text, "Children", &child_table(&around.children));
        held(&mut text, &around.held);
        table(&mut text, "Runs", &run_table(row, now));
        if !row.problems.is_empty() {
            text.push_str("Problems:  the last good content is in use\n");
            for problem in &row.problems {
                let _ = writeln!(text, "  {}", one_line(problem));
            }
        }
    }
    table(&mut text, "Events", &event_table(&view.events, now));
    if !around.output.is_empty() {
        table(&mut text, "Output", &output_table(&around.output, now));
    }
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
    field(text, "State", &shown(row));
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

fn child_table(children: &[Descendant]) -> Table {
    let states = children.iter().any(|child| child.state.is_some());
    let mut header = vec!["KIND", "NAMESPACE", "NAME"];
    header.extend(states.then_some("STATE"));
    let mut table = Table::new(&header);
    for child in children {
        let branch = match child.depth {
            0 => String::new(),
            depth => format!("{}└─ ", "   ".repeat(depth - 1)),
        };
        let mut cells = match Key::parse(&child.key) {
            Some(key) => {
                let namespace = key.namespace.as_deref().unwrap_or_default().to_owned();
                vec![format!("{branch}{}", key.group_kind()), namespace, key.name.to_string()]
            }
            None => vec![format!("{branch}{}", child.key), String::new(), String::new()],
        };
        cells.extend(states.then(|| child.state.clone().unwrap_or_default()));
        table.row(cells);
    }
    table
}

/// Deletions of children that wait; nothing is said if none do.
fn held(text: &mut String, held: &[(String, String)]) {
    let mut ids: Vec<&str> = held.iter().map(|(_, id)| id.as_str()).collect();
    ids.dedup();
    if ids.is_empty() {
        return;
    }
    text.push_str("Held Deletions:\n");
    for (child, _) in held {
        let _ = writeln!(text, "  {}", one_line(child));
    }
    for id in ids {
        let confirm = format!("setpoint confirm {}", one_line(id));
        let _ = writeln!(text, "  to delete them and all others that this plugin waits with: {confirm}");
    }
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

fn output_table(rows: &[LogRow], now: Timestamp) -> Table {
    let mut table = Table::new(&["STREAM", "AGE", "TEXT"]);
    for row in rows {
        table.row(vec![row.level.clone(), age::since(Some(&row.at), now), row.message.clone()]);
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
        let child = |depth, key: &str, state: Option<&str>| Descendant {
            depth,
            key: key.into(),
            state: state.map(str::to_owned),
        };
        let around = Around {
            children: vec![
                child(0, "local/core/ConfigMap/default/web", None),
                child(0, "local/a.io/App/default/x", Some("Synced")),
                child(1, "local/a.io/Part/default/y", Some("Error")),
                child(2, "local/core/ConfigMap/default/z", None),
            ],
            held: vec![("local/core/ConfigMap/default/old".into(), "config-bundle".into())],
            output: Vec::new(),
        };
        assert_eq!(
            text("local", &view, &around, now()),
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
             \x20 KIND              NAMESPACE   NAME   STATE\n\
             \x20 ConfigMap         default     web\n\
             \x20 App.a.io          default     x      Synced\n\
             \x20 └─ Part.a.io      default     y      Error\n\
             \x20    └─ ConfigMap   default     z\n\
             Held Deletions:\n\
             \x20 local/core/ConfigMap/default/old\n\
             \x20 to delete them and all others that this plugin waits with: setpoint confirm config-bundle\n\
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
            text("local", &view, &Around::default(), now()),
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
