//! What the host writes into a status: the plugin's fields, `observedGeneration`, and the
//! conditions Ready, Reconciling and Stalled (rule B15, kstatus).

use serde_json::{Map, Value, json};

use crate::contract::{Condition, ConditionStatus, Readiness, Reason};
use crate::fields::{FieldSet, covers};
use crate::object::Object;

/// The conditions that are the host's.
pub const HOST_CONDITIONS: [&str; 3] = ["Ready", "Reconciling", "Stalled"];

/// What an attempt came to, as a status shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict<'a> {
    /// The plugin's status; none leaves the one that is there.
    pub status: Option<&'a Value>,
    /// The plugin's conditions; none leaves those that are there.
    pub conditions: Option<&'a [Condition]>,
    /// Readiness after the children were looked at.
    pub readiness: &'a Readiness,
    /// The generation that was reconciled.
    pub generation: i64,
}

/// The leaves of a status as one manager owns them: the conditions are owned one by one, by type.
pub fn status_fields(status: &Value) -> FieldSet {
    let mut keyed = status.clone();
    if let Some(conditions) = keyed.get_mut("conditions") {
        *conditions = by_type(conditions);
    }
    FieldSet::of(&json!({ "status": keyed }))
}

fn by_type(conditions: &Value) -> Value {
    let mut map = Map::new();
    for condition in conditions.as_array().map(Vec::as_slice).unwrap_or_default() {
        if let Some(kind) = condition.get("type").and_then(Value::as_str) {
            map.insert(kind.to_owned(), json!("owned"));
        }
    }
    Value::Object(map)
}

/// Puts an applied status over an observed one: fields that `before` owned and `applied` does not
/// give go, conditions are merged by type, all else of the observed status stays.
pub fn merge_status(observed: &Value, before: &FieldSet, applied: &Value) -> Value {
    let after = status_fields(applied);
    let mut merged = json!({ "status": if observed.is_object() { observed.clone() } else { json!({}) } });
    let gone = before.minus(&after);
    let gone_conditions: Vec<String> = match &gone {
        FieldSet::Fields(top) => match top.get("status") {
            Some(FieldSet::Fields(status)) => match status.get("conditions") {
                Some(FieldSet::Fields(types)) => types.keys().map(|k| k.to_string()).collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        FieldSet::Leaf(_) => Vec::new(),
    };
    let conditions = merged["status"].get("conditions").cloned();
    gone.remove_from(&mut merged);
    let mut status = merged["status"].take();
    if !status.is_object() {
        status = json!({});
    }
    let mut fields = applied.clone();
    let applied_conditions = fields.as_object_mut().and_then(|map| map.remove("conditions"));
    crate::fields::merge(&mut status, &fields);
    let mut list: Vec<Value> = conditions.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    list.retain(|c| !c.get("type").and_then(Value::as_str).is_some_and(|t| gone_conditions.iter().any(|g| g == t)));
    for condition in applied_conditions.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        match list.iter_mut().find(|c| c.get("type") == condition.get("type")) {
            Some(existing) => *existing = condition.clone(),
            None => list.push(condition.clone()),
        }
    }
    if let Some(map) = status.as_object_mut() {
        map.remove("conditions");
        if !list.is_empty() {
            map.insert("conditions".into(), Value::Array(list));
        }
    }
    status
}

/// The whole status that the host's manager wants, given what is there. `now` is the time in
/// RFC 3339 for conditions whose status changes.
pub fn desired_status(observed: &Object, manager: &str, verdict: &Verdict<'_>, now: &str) -> Value {
    let object = observed.value();
    let none = Value::Null;
    let seen = object.get("status").unwrap_or(&none);
    let owned = observed.applied_by(manager);
    let mut status = match verdict.status {
        Some(status) => status.clone(),
        None => owned_part(seen, owned),
    };
    if !status.is_object() {
        status = json!({});
    }
    let seen_conditions = seen.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut conditions = Vec::new();
    let [ready, reconciling, stalled] = host_conditions(verdict.readiness);
    for condition in [ready, reconciling, stalled].iter().chain(verdict.conditions.unwrap_or_default()) {
        conditions.push(condition_json(condition, seen_conditions, verdict.generation, now));
    }
    if verdict.conditions.is_none() {
        for condition in seen_conditions {
            let kind = condition.get("type").and_then(Value::as_str).unwrap_or_default();
            let ours = owned.is_some_and(|set| set.touches(&["status", "conditions", kind]));
            if ours && !HOST_CONDITIONS.contains(&kind) {
                conditions.push(condition.clone());
            }
        }
    }
    if let Some(map) = status.as_object_mut() {
        map.insert("conditions".into(), Value::Array(conditions));
        let observed_generation = seen.get("observedGeneration").and_then(Value::as_i64).unwrap_or(0);
        map.insert("observedGeneration".into(), json!(verdict.generation.max(observed_generation)));
    }
    status
}

/// Whether a status has to be written: a field differs, or one that we own is no longer wanted.
pub fn needs_status_write(observed: &Object, manager: &str, desired: &Value) -> bool {
    let object = observed.value();
    let none = Value::Null;
    let seen = object.get("status").unwrap_or(&none);
    let (mut desired_rest, mut seen_rest) = (desired.clone(), seen.clone());
    let take = |value: &mut Value| value.as_object_mut().and_then(|map| map.remove("conditions"));
    let (wanted, there) = (take(&mut desired_rest), take(&mut seen_rest));
    if !seen_rest.is_object() {
        seen_rest = json!({});
    }
    if !covers(&seen_rest, &desired_rest) {
        return true;
    }
    let there = there.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for condition in wanted.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let found = there.iter().find(|c| c.get("type") == condition.get("type"));
        if found.is_none_or(|found| !covers(found, condition)) {
            return true;
        }
    }
    observed.applied_by(manager).is_some_and(|owned| !owned.minus(&status_fields(desired)).is_empty())
}

/// The part of the status that the manager owns, without what the host puts in itself.
fn owned_part(seen: &Value, owned: Option<&FieldSet>) -> Value {
    fn pick(value: &Value, set: &FieldSet) -> Option<Value> {
        match (set, value) {
            (FieldSet::Leaf(_), value) => Some(value.clone()),
            (FieldSet::Fields(fields), Value::Object(map)) => Some(Value::Object(
                fields.iter().filter_map(|(k, f)| Some((k.to_string(), pick(map.get(&**k)?, f)?))).collect(),
            )),
            _ => None,
        }
    }
    let Some(FieldSet::Fields(top)) = owned else { return json!({}) };
    let mut part = top.get("status").and_then(|set| pick(seen, set)).unwrap_or_else(|| json!({}));
    if let Some(map) = part.as_object_mut() {
        map.remove("conditions");
        map.remove("observedGeneration");
    }
    part
}

fn host_conditions(readiness: &Readiness) -> [Condition; 3] {
    let condition = |kind: &str, status: bool, reason: &Reason| Condition {
        kind: kind.into(),
        status: if status { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.clone(),
    };
    let done = Reason::new("Ready", "");
    match readiness {
        Readiness::Ready => [
            condition("Ready", true, &done),
            condition("Reconciling", false, &done),
            condition("Stalled", false, &done),
        ],
        Readiness::Progressing(why) => [
            condition("Ready", false, why),
            condition("Reconciling", true, why),
            condition("Stalled", false, &Reason::new("Progressing", "")),
        ],
        Readiness::Stalled(why) => [
            condition("Ready", false, why),
            condition("Reconciling", false, &Reason::new("Stalled", "")),
            condition("Stalled", true, why),
        ],
    }
}

fn condition_json(condition: &Condition, seen: &[Value], generation: i64, now: &str) -> Value {
    let before = seen.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(&condition.kind));
    let status = condition.status.as_str();
    let since = before
        .filter(|b| b.get("status").and_then(Value::as_str) == Some(status))
        .and_then(|b| b.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| json!(now));
    let generation = before
        .and_then(|b| b.get("observedGeneration").and_then(Value::as_i64))
        .map_or(generation, |before| before.max(generation));
    json!({
        "type": condition.kind,
        "status": status,
        "reason": if condition.reason.code.is_empty() { "Unspecified" } else { &condition.reason.code },
        "message": crate::sanitize::sanitize(&condition.reason.message),
        "lastTransitionTime": since,
        "observedGeneration": generation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Applied;
    use std::sync::Arc;

    const M: &str = "m/status";

    fn verdict<'a>(status: Option<&'a Value>, readiness: &'a Readiness, generation: i64) -> Verdict<'a> {
        Verdict { status, conditions: Some(&[]), readiness, generation }
    }

    fn object(status: Value, owned: &Value) -> Object {
        let applied = Applied::from_iter([(M.into(), status_fields(owned).shared())]);
        Object::new(
            json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "status": status}),
            Some(Arc::new(applied)),
        )
    }

    #[test]
    fn what_is_written_is_not_written_again() {
        let empty = object(json!({}), &json!({}));
        let plugin = json!({"size": 1});
        let status = desired_status(&empty, M, &verdict(Some(&plugin), &Readiness::Ready, 2), "t1");
        assert!(needs_status_write(&empty, M, &status));
        let written = object(merge_status(&json!({}), &FieldSet::default(), &status), &status);
        let again = desired_status(&written, M, &verdict(Some(&plugin), &Readiness::Ready, 2), "t2");
        assert!(!needs_status_write(&written, M, &again));
        assert_eq!(again["conditions"][0]["lastTransitionTime"], "t1");
    }

    #[test]
    fn transition_times_move_only_with_the_status_of_a_condition() {
        let plugin = json!({});
        let status =
            desired_status(&object(json!({}), &json!({})), M, &verdict(Some(&plugin), &Readiness::Ready, 1), "t1");
        let written = object(status.clone(), &status);
        let why = Readiness::Progressing(Reason::new("Waiting", "for it"));
        let next = desired_status(&written, M, &verdict(Some(&plugin), &why, 1), "t2");
        let times: Vec<_> = (0..3).map(|i| next["conditions"][i]["lastTransitionTime"].clone()).collect();
        assert_eq!(times, ["t2", "t2", "t1"]);
    }

    #[test]
    fn a_failure_keeps_the_plugins_fields_and_conditions() {
        let before = json!({"size": 1, "conditions": [{"type": "Own", "status": "True"}], "observedGeneration": 4});
        let mut seen = before.clone();
        seen["foreign"] = json!(true);
        let written = object(seen, &before);
        let why = Readiness::Progressing(Reason::new("Error", "boom"));
        let verdict = Verdict { status: None, conditions: None, readiness: &why, generation: 3 };
        let status = desired_status(&written, M, &verdict, "t");
        assert_eq!(status["size"], 1);
        assert_eq!(status["observedGeneration"], 4, "never lowered");
        assert!(status.get("foreign").is_none());
        assert_eq!(status["conditions"][3]["type"], "Own");
    }

    #[test]
    fn conditions_merge_by_type_and_foreign_ones_stay() {
        let observed = json!({"conditions": [{"type": "Foreign", "status": "True"}, {"type": "Old", "status": "True"}], "x": 1, "y": 2});
        let before = status_fields(&json!({"conditions": [{"type": "Old"}], "x": 1}));
        let merged = merge_status(&observed, &before, &json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(
            merged,
            json!({"conditions": [{"type": "Foreign", "status": "True"}, {"type": "Ready", "status": "True"}], "y": 2})
        );
    }
}
