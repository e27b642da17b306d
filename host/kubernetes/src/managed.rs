//! Which fields this host's managers own, as `managedFields` say it (rule B1).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use setpoint_core::fields::FieldSet;
use setpoint_core::object::{Applied, Elsewhere};

/// Managers of hosts, this one or another.
const OURS: &str = "setpoint/";

/// Where in an object the fields are that are being read, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Status,
    Conditions,
    Elsewhere,
}

impl Place {
    fn below(self, field: &str) -> Self {
        match (self, field) {
            (Place::Top, "status") => Place::Status,
            (Place::Status, "conditions") => Place::Conditions,
            _ => Place::Elsewhere,
        }
    }
}

fn text<'v>(entry: &'v Value, name: &str) -> &'v str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of hosts' managers.
fn of_hosts(managed: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = managed.as_array().into_iter().flatten();
    entries.map(|entry| (text(entry, "manager"), entry)).filter(|(manager, _)| manager.starts_with(OURS))
}

/// The field sets of hosts' managers; none if there are none. Lists are leaves, as the rules see them, but for
/// conditions, which are named by their type.
pub(crate) fn applied(managed: Option<&Value>) -> Option<Arc<Applied>> {
    let mut applied: BTreeMap<Box<str>, FieldSet> = BTreeMap::new();
    for (manager, entry) in of_hosts(managed?).filter(|(_, entry)| text(entry, "operation") == "Apply") {
        let Some(fields) = entry.get("fieldsV1").and_then(Value::as_object) else { continue };
        let set = set_of(fields, Place::Top);
        let known = applied.entry(manager.into()).or_default();
        *known = known.union(&set);
    }
    let shared: Applied = applied.into_iter().map(|(manager, set)| (manager, set.shared())).collect();
    (!shared.is_empty()).then(|| Arc::new(shared))
}

/// The last write of the status by another installation than the one whose manager of statuses is `own`.
pub(crate) fn elsewhere(managed: Option<&Value>, own: &str) -> Option<Elsewhere> {
    if own.is_empty() {
        return None;
    }
    let others =
        of_hosts(managed?).filter(|(manager, entry)| *manager != own && text(entry, "subresource") == "status");
    let others = others.filter_map(|(manager, entry)| {
        let at = text(entry, "time").parse::<jiff::Timestamp>().ok()?;
        Some(Elsewhere { manager: manager.into(), at: u64::try_from(at.as_millisecond()).ok()? })
    });
    others.max_by_key(|elsewhere| elsewhere.at)
}

fn set_of(fields: &Map<String, Value>, place: Place) -> FieldSet {
    let mut below = BTreeMap::new();
    for (name, value) in fields {
        let rest = value.as_object();
        match name.split_once(':') {
            Some(("f", field)) => {
                let set = match rest {
                    Some(rest) if !rest.is_empty() => set_of(rest, place.below(field)),
                    _ => FieldSet::Leaf(1),
                };
                below.insert(field.into(), set);
            }
            Some(("k", key)) if place == Place::Conditions => match condition_type(key) {
                Some(kind) => {
                    below.insert(kind, FieldSet::Leaf(1));
                }
                None => return FieldSet::Leaf(1),
            },
            // Items of a list, by key, value or place: the list is a leaf.
            Some(_) => return FieldSet::Leaf(1),
            // `.`: the object or list itself.
            None => {}
        }
    }
    if below.is_empty() { FieldSet::Leaf(1) } else { FieldSet::Fields(below) }
}

/// The type in the key of a condition, such as `{"type":"Ready"}`.
fn condition_type(key: &str) -> Option<Box<str>> {
    let key: Value = serde_json::from_str(key).ok()?;
    Some(key.get("type")?.as_str()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_hosts_have_applied_is_kept() -> Result<(), &'static str> {
        let managed = json!([
            {"manager": "setpoint/abc", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:data": {"f:a": {}, "f:b.c": {}},
                          "f:metadata": {"f:labels": {".": {}, "f:setpoint.dev/owner": {}},
                                         "f:ownerReferences": {"k:{\"uid\":\"1\"}": {}}}}},
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:z": {}}}},
            {"manager": "setpoint/abc", "operation": "Update", "fieldsV1": {"f:data": {"f:y": {}}}},
        ]);
        let applied = applied(Some(&managed)).ok_or("applied")?;
        assert_eq!(applied.len(), 1);
        let set = applied.get("setpoint/abc").ok_or("ours")?;
        assert_eq!(
            set.paths(),
            ["data.a", "data.b.c", "metadata.labels.setpoint.dev/owner", "metadata.ownerReferences"]
        );
        Ok(())
    }

    #[test]
    fn conditions_are_owned_one_by_one_and_other_lists_as_a_whole() -> Result<(), &'static str> {
        let managed = json!([
            {"manager": "setpoint/x/status", "operation": "Apply", "subresource": "status",
             "fieldsV1": {"f:status": {
                "f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}}, "k:{\"type\":\"Own\"}": {}},
                "f:tools": {"v:\"a\"": {}}, "f:ports": {"k:{\"port\":1}": {"f:port": {}}}, "f:size": {}}}},
        ]);
        let applied = applied(Some(&managed)).ok_or("applied")?;
        let set = applied.get("setpoint/x/status").ok_or("ours")?;
        assert_eq!(
            set.paths(),
            ["status.conditions.Own", "status.conditions.Ready", "status.ports", "status.size", "status.tools"]
        );
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_owns_nothing() {
        for managed in [json!(null), json!({}), json!([{"manager": "setpoint/a"}]), json!([1, "x"])] {
            assert_eq!(applied(Some(&managed)), None);
        }
    }

    #[test]
    fn a_status_that_another_installation_has_written_is_noted_with_its_time() {
        let entry = |manager: &str, subresource: &str, time: &str| json!({"manager": manager, "operation": "Apply", "subresource": subresource, "time": time, "fieldsV1": {}});
        let managed = json!([
            entry("setpoint/own/status", "status", "2026-01-01T00:00:09Z"),
            entry("setpoint/a/status", "status", "1970-01-01T00:00:02Z"),
            entry("setpoint/b/status", "status", "1970-01-01T00:00:01Z"),
            entry("setpoint/c", "", "2026-01-01T00:00:09Z"),
            entry("kubectl", "status", "2026-01-01T00:00:09Z"),
            entry("setpoint/d/status", "status", "soon"),
        ]);
        let found = elsewhere(Some(&managed), "setpoint/own/status");
        assert_eq!(found, Some(Elsewhere { manager: "setpoint/a/status".into(), at: 2_000 }));
        assert_eq!(
            elsewhere(
                Some(&json!([entry("setpoint/own/status", "status", "1970-01-01T00:00:02Z")])),
                "setpoint/own/status"
            ),
            None
        );
    }
}
