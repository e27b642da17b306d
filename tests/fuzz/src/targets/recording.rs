//! Recordings.

use serde_json::Value;
use setpoint_core::recording::{
    Hider, RecordedAnswer, RecordedCall, RecordedOutcome, RecordedRequest, RecordedResult, RecordingError, line, parse,
};

use crate::{QUICK, Target, nothing};

/// What is no recording is told with a line of the text. What is read is written and read again as it
/// is, and after hiding no Secret of it shows a value (rule B17).
pub(crate) const TARGET: Target = Target {
    name: "recording",
    run,
    end: nothing,
    longest: 16 * 1024,
    patience: QUICK,
    words: &[
        "\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "true",
        "1e308",
        "-0.0",
        "{\"setpoint\":\"recording\",\"version\":1,\"host\":\"0\"}\n",
        "\"apiVersion\":\"v1\"",
        "\"kind\":\"Secret\"",
        "\"data\":",
        "\"stringData\":",
        "\"object\":",
        "\"items\":",
        "\"absent\"",
        "\"get\":",
        "\"list\":",
        "\"answer\":",
        "\"children\":",
        "\"causes\":[\"dependency local/core/A/-/a\"]",
        "\"outcome\":",
        "\"failure\":",
        "\"trap\":",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (header, calls) = match parse(&text) {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let RecordingError::Line { line, .. } = error {
                assert!((2..=text.lines().count()).contains(&line), "line {line} of {}", text.lines().count());
            }
            return;
        }
    };
    let written: Vec<String> = std::iter::once(line(&header)).chain(calls.iter().map(line)).collect();
    let (header_again, again) = parse(&written.join("\n")).unwrap_or_else(|error| panic!("written: {error}"));
    assert_eq!((header_again, again.len()), (header, calls.len()));
    for (call, again) in calls.iter().zip(&again) {
        assert!(alike(&value(call), &value(again)), "written and read:\n{}\n{}", line(call), line(again));
    }
    for mut call in calls {
        check(&call);
        Hider::new([7; 32]).hide(&mut call);
        shown(&call).into_iter().for_each(assert_hidden);
    }
}

fn value(call: &RecordedCall) -> Value {
    serde_json::to_value(call).unwrap_or_else(|error| panic!("a call that cannot be written: {error}"))
}

/// What is asked again can be recorded again.
fn check(call: &RecordedCall) {
    if let Some(request) = call.request.request() {
        let again = RecordedRequest::of(&request);
        assert_eq!((&again.key, again.attempt), (&request.key.to_string(), call.request.attempt));
    }
    if let RecordedResult::Outcome(outcome) = &call.result {
        let again = RecordedOutcome::from(&outcome.outcome());
        assert_eq!(again.children.map(|children| children.len()), outcome.children.as_ref().map(Vec::len));
        assert_eq!((again.readiness, again.finalized), (outcome.readiness.clone(), outcome.finalized));
    }
}

/// All objects that a call shows.
fn shown(call: &RecordedCall) -> Vec<&Value> {
    let mut objects = vec![&call.request.object];
    for read in &call.reads {
        match &read.answer {
            RecordedAnswer::Object(object) => objects.push(object),
            RecordedAnswer::Items(items) => objects.extend(items),
            RecordedAnswer::Absent | RecordedAnswer::Error(_) => {}
        }
    }
    if let RecordedResult::Outcome(outcome) = &call.result {
        objects.extend(outcome.children.iter().flatten().map(|child| &child.object));
    }
    objects
}

fn assert_hidden(object: &Value) {
    if object["apiVersion"] != "v1" || object["kind"] != "Secret" {
        return;
    }
    for part in ["data", "stringData"] {
        for (key, value) in object[part].as_object().into_iter().flatten() {
            assert!(value.as_str().is_some_and(|value| value.starts_with("hidden:")), "{part}.{key} is shown");
        }
    }
}

/// Equal but for the last digit of a number with a point, which a quick parser may read as its neighbour.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b
                || matches!((a.as_f64(), b.as_f64()), (Some(x), Some(y))
                    if (x - y).abs() <= 4.0 * f64::EPSILON * x.abs().max(y.abs()).max(f64::MIN_POSITIVE))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (a, b) => a == b,
    }
}
