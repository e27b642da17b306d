//! What came of a call in the form of recordings, and where two such results differ.

use serde_json::{Value, json};

use crate::Key;
use crate::bindings::setpoint::reconciler::types::{
    Child, Condition, ConditionStatus, Event, EventType, Failure, Outcome, Readiness, Update,
};

/// The result of a call in the form of recordings and of `expect` in scenarios.
pub(super) fn result(result: &Result<Outcome, Failure>) -> Value {
    match result {
        Ok(outcome) => json!({ "outcome": outcome_value(outcome) }),
        Err(Failure::Retry(text)) => json!({"failure": {"retry": text}}),
        Err(Failure::RetryAfter((text, after))) => json!({"failure": {"retry_after": [text, after]}}),
        Err(Failure::Permanent(text)) => json!({"failure": {"permanent": text}}),
    }
}

fn outcome_value(outcome: &Outcome) -> Value {
    let mut value = json!({
        "readiness": match &outcome.readiness {
            Readiness::Ready => json!("ready"),
            Readiness::Progressing(why) => json!({"progressing": [why.code, why.message]}),
            Readiness::Stalled(why) => json!({"stalled": [why.code, why.message]}),
        },
    });
    if let Some(status) = &outcome.status {
        value["status"] = document(status);
    }
    if !outcome.conditions.is_empty() {
        value["conditions"] = outcome.conditions.iter().map(condition).collect();
    }
    if let Some(children) = &outcome.children {
        value["children"] = children.iter().map(child).collect();
    }
    if !outcome.events.is_empty() {
        value["events"] = outcome.events.iter().map(event).collect();
    }
    if let Some(after) = outcome.requeue_after {
        value["requeue_after"] = after.into();
    }
    if outcome.finalized {
        value["finalized"] = true.into();
    }
    value
}

/// A text of JSON as a tree; as a text if it is none.
fn document(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| text.into())
}

fn condition(condition: &Condition) -> Value {
    let status = match condition.status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    json!({"type": condition.type_, "status": status, "reason": condition.reason.code,
           "message": condition.reason.message})
}

fn child(child: &Child) -> Value {
    let mut value = json!({ "object": document(&child.object) });
    if let Some(cluster) = &child.cluster {
        value["cluster"] = cluster.as_str().into();
    }
    if child.update == Update::Recreate {
        value["recreate"] = true.into();
    }
    value
}

fn event(event: &Event) -> Value {
    let kind = match event.type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let mut value = json!({"type": kind, "reason": event.reason.code, "message": event.reason.message});
    if let Some(key) = &event.regarding {
        value["regarding"] = key_text(key).into();
    }
    value
}

/// `cluster/group/kind/namespace/name`; the core group is written `core`, no namespace `-`.
pub(super) fn key_text(key: &Key) -> String {
    let Key { cluster, group, kind, namespace, name } = key;
    let group = if group.is_empty() { "core" } else { group };
    format!("{cluster}/{group}/{kind}/{}/{name}", namespace.as_deref().unwrap_or("-"))
}

/// The key that [`key_text`] wrote; none if it is none.
pub(super) fn parse_key(text: &str) -> Option<Key> {
    let parts: Vec<&str> = text.split('/').collect();
    let [cluster, group, kind, namespace, name] = parts[..] else { return None };
    Some(Key {
        cluster: cluster.into(),
        group: if group == "core" { String::new() } else { group.into() },
        kind: kind.into(),
        namespace: (namespace != "-").then(|| namespace.to_owned()),
        name: name.into(),
    })
}

/// Each place in which two results differ, a line each; none if they are the same.
pub(super) fn differences(expected: &Value, came: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(expected), Some(came), &mut lines);
    lines
}

fn compare(path: &str, expected: Option<&Value>, came: Option<&Value>, lines: &mut Vec<String>) {
    match (expected, came) {
        (expected, came) if expected == came => {}
        (Some(Value::Object(expected)), Some(Value::Object(came))) => {
            let more = came.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(more) {
                let dot = if path.is_empty() { "" } else { "." };
                compare(&format!("{path}{dot}{key}"), expected.get(key), came.get(key), lines);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(came))) => {
            for index in 0..expected.len().max(came.len()) {
                compare(&format!("{path}[{index}]"), expected.get(index), came.get(index), lines);
            }
        }
        (expected, came) => {
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!("{path}: expected {}, came {}", shown(expected), shown(came)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::setpoint::reconciler::types::Reason;

    #[test]
    fn each_difference_is_named_with_its_place() {
        let expected = json!({"outcome": {"status": {"n": 1, "gone": true}, "children": [{"a": 1}, {"b": 1}]}});
        let came = json!({"outcome": {"status": {"n": 2, "more": "x"}, "children": [{"a": 1}]}});
        assert_eq!(
            differences(&expected, &came),
            [
                "outcome.children[1]: expected {\"b\":1}, came nothing",
                "outcome.status.gone: expected true, came nothing",
                "outcome.status.n: expected 1, came 2",
                "outcome.status.more: expected nothing, came \"x\"",
            ]
        );
        assert!(differences(&came, &came).is_empty());
    }

    #[test]
    fn an_outcome_has_the_form_of_recordings() {
        let reason = Reason { code: "Waiting".into(), message: "for it".into() };
        let outcome = Outcome {
            status: Some("{\"n\":1}".into()),
            readiness: Readiness::Progressing(reason.clone()),
            conditions: vec![Condition {
                type_: "Valid".into(),
                status: ConditionStatus::False,
                reason: reason.clone(),
            }],
            children: Some(vec![Child { cluster: None, object: "{\"kind\":\"A\"}".into(), update: Update::Recreate }]),
            events: vec![Event { type_: EventType::Warning, reason, regarding: parse_key("local/core/ConfigMap/-/a") }],
            requeue_after: Some(500),
            finalized: true,
            extra: Vec::new(),
        };
        assert_eq!(
            result(&Ok(outcome)),
            json!({"outcome": {
                "status": {"n": 1}, "readiness": {"progressing": ["Waiting", "for it"]},
                "conditions": [{"type": "Valid", "status": "False", "reason": "Waiting", "message": "for it"}],
                "children": [{"object": {"kind": "A"}, "recreate": true}],
                "events": [{"type": "Warning", "reason": "Waiting", "message": "for it",
                            "regarding": "local/core/ConfigMap/-/a"}],
                "requeue_after": 500, "finalized": true,
            }})
        );
        let failed = result(&Err(Failure::RetryAfter(("busy".into(), 500))));
        assert_eq!(failed, json!({"failure": {"retry_after": ["busy", 500]}}));
    }
}
