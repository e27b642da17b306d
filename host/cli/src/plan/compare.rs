//! What differs between two states of a host, as rows of a plan.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use setpoint_core::Key;
use setpoint_core::key::{LOCAL, split_api_version};
use setpoint_runtime::views::{PlanChange, PlanRow, ReconcileRow};

/// All objects of a host, and how they are reconciled, by key.
#[derive(Clone, Default, Debug)]
pub(super) struct State {
    objects: BTreeMap<String, Value>,
    rows: BTreeMap<String, ReconcileRow>,
}

/// A deletion that waits for a person: plugin, owner and child.
pub(super) type Held = (String, String, String);

impl State {
    pub(super) fn new(objects: Vec<Value>, rows: Vec<ReconcileRow>) -> Self {
        let row_key = |row: &ReconcileRow| {
            Key::new(&row.cluster, &row.group, &row.kind, row.namespace.as_deref(), &row.name).to_string()
        };
        Self {
            objects: objects.into_iter().filter_map(|object| Some((key(&object)?, object))).collect(),
            rows: rows.into_iter().map(|row| (row_key(&row), row)).collect(),
        }
    }

    fn owners(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().flat_map(|(owner, row)| row.children.iter().map(|child| (child.as_str(), owner.as_str())))
    }
}

fn key(object: &Value) -> Option<String> {
    let (group, _) = split_api_version(object["apiVersion"].as_str()?);
    let metadata = &object["metadata"];
    let key =
        Key::new(LOCAL, group, object["kind"].as_str()?, metadata["namespace"].as_str(), metadata["name"].as_str()?);
    Some(key.to_string())
}

/// What differs, by the owner whose reconcile makes the difference.
pub(super) fn compare(before: &State, after: &State, held: &[Held]) -> Vec<PlanRow> {
    // Whose child it is now counts more than whose it was.
    let owners: BTreeMap<&str, &str> = before.owners().chain(after.owners()).collect();
    let owner = |key: &str| owners.get(key).copied().unwrap_or(key).to_owned();
    let mut changes: BTreeMap<String, Vec<PlanChange>> = BTreeMap::new();
    let keys: BTreeSet<&String> = before.objects.keys().chain(after.objects.keys()).collect();
    for key in keys {
        let found = differences(key, before.objects.get(key), after.objects.get(key));
        if !found.is_empty() {
            changes.entry(owner(key)).or_default().extend(found);
        }
    }
    for (plugin, owner, child) in held {
        let object = after.objects.get(child).map(|object| content(object, true)).unwrap_or_default();
        let reason = format!("held until a person agrees: setpoint confirm {plugin}");
        let change = PlanChange { reason: Some(reason), ..change("delete", child, object, Value::Null) };
        changes.entry(owner.clone()).or_default().push(change);
    }
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    for (key, row) in &after.rows {
        let failed_before = before.rows.get(key).is_some_and(|row| row.last_error.is_some());
        if let Some(error) = row.last_error.as_ref().filter(|_| !failed_before) {
            failures.insert(key.clone(), error.clone());
            changes.entry(key.clone()).or_default();
        }
    }
    let plugin = |key: &str| {
        let of = |state: &State| state.rows.get(key).and_then(|row| row.plugin.clone());
        of(after).or_else(|| of(before)).unwrap_or_else(|| "<none>".to_owned())
    };
    changes
        .into_iter()
        .map(|(key, changes)| PlanRow {
            plugin: plugin(&key),
            failure: failures.remove(&key),
            key,
            changes,
            notes: Vec::new(),
        })
        .collect()
}

fn change(verb: &str, key: &str, before: Value, after: Value) -> PlanChange {
    PlanChange { verb: verb.to_owned(), key: key.to_owned(), before, after, reason: None }
}

fn differences(key: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<PlanChange> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, Some(after)) => return vec![change("create", key, Value::Null, content(after, true))],
        (Some(before), None) => return vec![change("delete", key, content(before, true), Value::Null)],
        (None, None) => return Vec::new(),
    };
    let mut changes = Vec::new();
    let (old, new) = (content(before, false), content(after, false));
    if old != new {
        changes.push(change("update", key, old, new));
    } else if before["kind"] == "Secret" && version(before) != version(after) {
        let reason = Some("only values differ, which are not shown".to_owned());
        changes.push(PlanChange { reason, ..change("update", key, old, new) });
    }
    if before["status"] != after["status"] {
        changes.push(change("status", key, before["status"].clone(), after["status"].clone()));
    }
    changes
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

/// The object without what every write changes.
fn content(object: &Value, with_status: bool) -> Value {
    let mut content = object.clone();
    if let Some(metadata) = content.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("generation");
    }
    if let Some(object) = content.as_object_mut().filter(|_| !with_status) {
        object.remove("status");
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::row;
    use serde_json::json;

    fn bundle(status: i64, version: &str) -> Value {
        json!({"apiVersion": "examples.setpoint.dev/v1alpha1", "kind": "ConfigBundle",
               "metadata": {"name": "web", "namespace": "default", "resourceVersion": version},
               "status": {"keys": status}})
    }

    fn map(name: &str, value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
               "data": {"k": value}})
    }

    fn secret(version: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret",
               "metadata": {"name": "s", "namespace": "default", "resourceVersion": version},
               "data": {"p": "[REDACTED]"}})
    }

    fn verbs(rows: &[PlanRow]) -> Vec<(&str, &str)> {
        rows.iter().flat_map(|row| &row.changes).map(|change| (change.verb.as_str(), change.key.as_str())).collect()
    }

    const WEB: &str = "local/examples.setpoint.dev/ConfigBundle/default/web";

    #[test]
    fn what_differs_stands_with_the_owner_that_makes_the_difference() {
        let owner = |children: &[&str]| ReconcileRow {
            children: children.iter().map(|name| format!("local/core/ConfigMap/default/{name}")).collect(),
            ..row("web", "Synced")
        };
        let before = State::new(vec![bundle(1, "1"), map("web", "1"), map("old", "1")], vec![owner(&["web", "old"])]);
        let after = State::new(vec![bundle(2, "2"), map("web", "2"), map("new", "1")], vec![owner(&["web", "new"])]);
        let rows = compare(&before, &after, &[]);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.key.as_str(), row.plugin.as_str(), &row.failure), (WEB, "config-bundle", &None));
        assert_eq!(
            verbs(&rows),
            [
                ("create", "local/core/ConfigMap/default/new"),
                ("delete", "local/core/ConfigMap/default/old"),
                ("update", "local/core/ConfigMap/default/web"),
                ("status", WEB),
            ]
        );
        let status = &row.changes[3];
        assert_eq!((&status.before, &status.after), (&json!({"keys": 1}), &json!({"keys": 2})));
    }

    #[test]
    fn an_object_that_was_only_written_again_does_not_differ() {
        let rows = vec![row("web", "Synced")];
        let (before, after) =
            (State::new(vec![bundle(1, "1")], rows.clone()), State::new(vec![bundle(1, "9")], rows));
        assert!(compare(&before, &after, &[]).is_empty());
    }

    #[test]
    fn values_of_secrets_that_differ_are_said_to_differ() {
        let (before, after) = (State::new(vec![secret("1")], Vec::new()), State::new(vec![secret("2")], Vec::new()));
        let rows = compare(&before, &after, &[]);
        assert_eq!(verbs(&rows), [("update", "local/core/Secret/default/s")]);
        assert!(rows[0].changes[0].reason.as_deref().is_some_and(|reason| reason.contains("not shown")));
    }

    #[test]
    fn what_fails_only_afterwards_and_what_is_held_is_part_of_the_plan() {
        let state = |row: ReconcileRow| State::new(vec![bundle(1, "1"), map("web", "1")], vec![row]);
        let failed = ReconcileRow { last_error: Some("it trapped".into()), ..row("web", "Error") };
        let child = "local/core/ConfigMap/default/web".to_owned();
        let held = vec![("config-bundle".to_owned(), WEB.to_owned(), child.clone())];
        let rows = compare(&state(row("web", "Synced")), &state(failed.clone()), &held);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].failure.as_deref(), Some("it trapped"));
        assert_eq!(verbs(&rows), [("delete", child.as_str())]);
        let reason = rows[0].changes[0].reason.as_deref();
        assert_eq!(reason, Some("held until a person agrees: setpoint confirm config-bundle"));
        // It failed before as well: that is nothing new.
        assert!(compare(&state(failed.clone()), &state(failed), &[]).is_empty());
    }
}
