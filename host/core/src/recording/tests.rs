//! A recording reads back as it was written, and hides what it has to.

use std::sync::Arc;

use super::*;
use crate::contract::{
    Cause, Child, Condition, ConditionStatus, Event, EventType, ListQuery, Outcome, ReadError, Readiness, Reason,
    Request, Update,
};
use crate::key::{GroupKind, Key};

fn call() -> RecordedCall {
    let outcome = Outcome {
        status: Some("{\"a\":1}".into()),
        readiness: Readiness::Progressing(Reason::new("Waiting", "for it")),
        conditions: vec![Condition {
            kind: "Valid".into(),
            status: ConditionStatus::False,
            reason: Reason::new("No", "not"),
        }],
        children: Some(vec![Child {
            cluster: None,
            object: "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"stringData\":{\"p\":\"hunter2\"}}".into(),
            update: Update::Recreate,
        }]),
        events: vec![Event {
            kind: EventType::Warning,
            reason: Reason::new("Odd", "is odd"),
            regarding: Some(Key::new("local", "g", "K", Some("n"), "x")),
        }],
        requeue_after: Some(5),
        finalized: false,
    };
    let key = Key::new("local", "g", "K", Some("default"), "a");
    let request = Request {
        key: Arc::new(key.clone()),
        object: "{\"kind\":\"K\"}".into(),
        deleting: false,
        attempt: 2,
        last_error: Some("no".into()),
        causes: vec![Cause::Retry, Cause::Dependency(Arc::new(key.clone()))],
        config: "{}".into(),
    };
    let secret: Arc<str> = "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"p\":\"aHVudGVy\"}}".into();
    let query = ListQuery {
        cluster: "local".into(),
        kind: GroupKind::new("", "Secret"),
        namespace: None,
        labels: Some("a=b".into()),
        index: Some(("i".into(), "v".into())),
    };
    RecordedCall {
        plugin: "p".into(),
        digest: "d".into(),
        at: "2026-01-01T00:00:00Z".into(),
        request: RecordedRequest::of(&request),
        reads: vec![
            RecordedRead { question: Question::get(&key), answer: RecordedAnswer::of_get(&Ok(None)) },
            RecordedRead {
                question: Question::list(&query),
                answer: RecordedAnswer::of_list(&Ok([secret].into_iter().collect())),
            },
            RecordedRead {
                question: Question::get(&key),
                answer: RecordedAnswer::of_get(&Err(ReadError::Unavailable("away".into()))),
            },
        ],
        impure: true,
        result: RecordedResult::of(&Ok(outcome)),
    }
}

#[test]
fn a_recording_survives_its_own_text() -> Result<(), RecordingError> {
    let call = call();
    let text = format!("{}\n{}\n", line(&Header::new("0.1.0", false)), line(&call));
    let (header, calls) = parse(&text)?;
    assert_eq!((header, &calls[..]), (Header::new("0.1.0", false), &[call.clone()][..]));
    let RecordedResult::Outcome(outcome) = &calls[0].result else { panic!("an outcome") };
    assert_eq!(RecordedOutcome::from(&outcome.outcome()), **outcome);
    assert_eq!(calls[0].request.request().map(|request| RecordedRequest::of(&request)), Some(call.request));
    let Question::List(query) = &calls[0].reads[1].question else { panic!("a list") };
    assert_eq!(Question::list(&query.query()), calls[0].reads[1].question);
    Ok(())
}

#[test]
fn what_is_no_recording_is_told_with_its_line() {
    assert_eq!(parse(""), Err(RecordingError::NoHeader));
    assert_eq!(parse("{\"a\":1}"), Err(RecordingError::NoHeader));
    let header = line(&Header { version: 9, ..Header::new("0.1.0", false) });
    assert_eq!(parse(&header), Err(RecordingError::Version(9)));
    let text = format!("{}\n\n{{}}\n", line(&Header::new("0.1.0", false)));
    assert!(matches!(parse(&text), Err(RecordingError::Line { line: 3, .. })));
}

#[test]
fn values_of_secrets_are_hashes_that_depend_on_the_key() {
    let (mut one, mut same, mut other) = (call(), call(), call());
    Hider::new([1; 32]).hide(&mut one);
    Hider::new([1; 32]).hide(&mut same);
    Hider::new([2; 32]).hide(&mut other);
    assert_eq!(one, same);
    assert_ne!(one, other);
    let text = line(&one);
    assert!(text.contains("hidden:") && !text.contains("aHVudGVy") && !text.contains("hunter2"), "{text}");
}
