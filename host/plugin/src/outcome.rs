//! Whether an outcome keeps its limits and is made of JSON objects (design §6). What it says is
//! judged by the core.

use crate::bindings::types;
use crate::call::CallFailure;
use crate::json;
use crate::limits::{LimitKind, Limits, size};

/// Checks sizes, counts and syntax.
pub(crate) fn check(outcome: &types::Outcome, limits: &Limits) -> Result<(), CallFailure> {
    let children = outcome.children.as_deref().unwrap_or_default();
    if children.len() > limits.children {
        return Err(beyond(LimitKind::Children, limits, &children.len().to_string()));
    }
    if outcome.events.len() > limits.events {
        return Err(beyond(LimitKind::Events, limits, &outcome.events.len().to_string()));
    }
    if bytes(outcome) > limits.outcome_bytes {
        return Err(beyond(LimitKind::OutcomeBytes, limits, &size(bytes(outcome))));
    }
    if let Some(status) = &outcome.status {
        object(status, limits, || "the status".to_owned())?;
    }
    for (index, child) in children.iter().enumerate() {
        object(&child.object, limits, || format!("child {} of {}", index + 1, children.len()))?;
        if child.cluster.as_deref() == Some("") {
            return Err(CallFailure::Invalid(format!(
                "child {} of {}: its cluster is empty",
                index + 1,
                children.len()
            )));
        }
    }
    Ok(())
}

fn object(text: &str, limits: &Limits, what: impl Fn() -> String) -> Result<(), CallFailure> {
    if text.len() > limits.object_bytes {
        return Err(beyond(LimitKind::ObjectBytes, limits, &format!("{} has {}", what(), size(text.len()))));
    }
    json::check_object(text).map_err(|error| CallFailure::Invalid(format!("{} is not a JSON object: {error}", what())))
}

fn beyond(limit: LimitKind, limits: &Limits, found: &str) -> CallFailure {
    CallFailure::Trap { message: format!("{} ({found})", limit.sentence(limits)), limit: Some(limit) }
}

/// The bytes of all texts of an outcome.
fn bytes(outcome: &types::Outcome) -> usize {
    let reason = |reason: &types::Reason| reason.code.len() + reason.message.len();
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let readiness = match &outcome.readiness {
        types::Readiness::Ready => 0,
        types::Readiness::Progressing(why) | types::Readiness::Stalled(why) => reason(why),
    };
    let children = outcome.children.as_deref().unwrap_or_default();
    optional(&outcome.status)
        + readiness
        + outcome.conditions.iter().map(|c| c.type_.len() + reason(&c.reason)).sum::<usize>()
        + children.iter().map(|c| c.object.len() + optional(&c.cluster)).sum::<usize>()
        + outcome.events.iter().map(|e| reason(&e.reason)).sum::<usize>()
        + outcome.extra.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: Option<&str>, children: &[&str]) -> types::Outcome {
        let child = |object: &&str| types::Child {
            cluster: None,
            object: (*object).to_owned(),
            update: types::Update::InPlace,
        };
        types::Outcome {
            status: status.map(str::to_owned),
            readiness: types::Readiness::Ready,
            conditions: Vec::new(),
            children: Some(children.iter().map(child).collect()),
            events: Vec::new(),
            requeue_after: None,
            finalized: false,
            extra: Vec::new(),
        }
    }

    fn limits() -> Limits {
        Limits { outcome_bytes: 100, object_bytes: 60, children: 2, events: 1, ..Limits::default() }
    }

    fn ended_by(outcome: &types::Outcome) -> LimitKind {
        match check(outcome, &limits()) {
            Err(CallFailure::Trap { limit: Some(limit), .. }) => limit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_limit_of_an_outcome_holds_and_is_named() {
        let of = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        assert!(check(&outcome(Some(&of(40)), &[&of(60)]), &limits()).is_ok());
        assert_eq!(ended_by(&outcome(None, &["{}", "{}", "{}"])), LimitKind::Children);
        assert_eq!(ended_by(&outcome(Some(&of(41)), &[&of(60)])), LimitKind::OutcomeBytes);
        assert_eq!(ended_by(&outcome(Some(&of(61)), &[])), LimitKind::ObjectBytes);
        assert_eq!(ended_by(&outcome(None, &[&of(61)])), LimitKind::ObjectBytes);
        let mut events = outcome(None, &[]);
        let reason = types::Reason { code: "A".into(), message: "b".into() };
        events.events =
            vec![types::Event { type_: types::EventType::Normal, reason: reason.clone(), regarding: None }; 2];
        assert_eq!(ended_by(&events), LimitKind::Events);
        let mut message = outcome(None, &[]);
        message.readiness = types::Readiness::Stalled(types::Reason { code: "A".into(), message: "m".repeat(100) });
        assert_eq!(ended_by(&message), LimitKind::OutcomeBytes);
    }

    #[test]
    fn what_is_no_json_object_is_invalid_and_named() {
        let text = |outcome: &types::Outcome| match check(outcome, &limits()) {
            Err(CallFailure::Invalid(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(text(&outcome(Some("[1]"), &[])).starts_with("the status is not a JSON object: "));
        assert!(text(&outcome(Some("{"), &[])).starts_with("the status is not a JSON object: EOF"));
        assert!(text(&outcome(None, &["{}", "nope"])).starts_with("child 2 of 2 is not a JSON object: "));
        let mut nowhere = outcome(None, &["{}"]);
        nowhere.children.as_mut().expect("children")[0].cluster = Some(String::new());
        assert!(text(&nowhere).contains("its cluster is empty"));
    }
}
