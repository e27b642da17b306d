//! Recorded calls, made again natively.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};

use super::{ReadMade, differ};
use crate::bindings::setpoint::reconciler::types::Request;
use crate::{Cause, Component, Host, Key, Level, RawPage, RawQuery, ReadError};

/// The version of the format that is read.
const VERSION: u64 = 1;

/// Makes the calls of a recording again, their reads answered as they were, and asserts that each comes
/// to the same: `replay::<(Redis,)>("tests/recordings/incident.jsonl")`, the file as `setpoint record`
/// writes it. Answers how many calls were compared.
///
/// Left out are calls of other plugins, those that may answer differently each time (rule A7), and those
/// that ended in a trap or at a limit, which only the compiled component has: for them there is
/// `setpoint plugin test`. Values of Secrets may be hashes in a recording.
///
/// # Panics
/// If a call comes to something else, or nothing in the file can be compared.
pub fn replay<C: Component>(path: impl AsRef<Path>) -> usize {
    let path = path.as_ref();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let description = super::describe::<C>();
    match compare(&text, &description.name, |request, host| differ::result(&C::call(request, host))) {
        Ok(0) => panic!("{}: no call of {} in it can be compared", path.display(), description.name),
        Ok(compared) => compared,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Makes the calls that can be compared, and answers how many, or where the first differs.
fn compare(text: &str, plugin: &str, call: impl Fn(Request, Rc<dyn Host>) -> Value) -> Result<usize, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let header: Value = lines.next().and_then(|(_, line)| line.parse().ok()).unwrap_or_default();
    if header["setpoint"] != "recording" {
        return Err("this is no recording of setpoint; `setpoint record` makes one".into());
    }
    if header["version"] != VERSION {
        return Err(format!("version {} of the format is not known; this is version {VERSION}", header["version"]));
    }
    let mut compared = 0;
    for (at, line) in lines {
        let place = |problem: String| format!("line {}: {problem}", at + 1);
        let recorded = line.parse::<Value>().map_err(|error| place(format!("it is no recorded call: {error}")))?;
        let result = &recorded["result"];
        if recorded["plugin"] != plugin || recorded["impure"] == true || result.get("trap").is_some() {
            continue;
        }
        let request = request(&recorded["request"]).map_err(place)?;
        let key = differ::key_text(&request.key);
        let host = Rc::new(Recorded::new(&request.key, &recorded["reads"]));
        let came = call(request, host.clone());
        let mut differences = differ::differences(result, &came);
        if !differences.is_empty() {
            differences.extend(host.unrecorded.take().iter().map(|read| format!("not in the recording: {read}")));
            return Err(place(format!("{key} comes to something else:\n  {}", differences.join("\n  "))));
        }
        compared += 1;
    }
    Ok(compared)
}

fn request(recorded: &Value) -> Result<Request, String> {
    let text = |field: &str| recorded[field].as_str().map(str::to_owned);
    let key = text("key").ok_or("the request has no key")?;
    let key = differ::parse_key(&key).ok_or_else(|| format!("{key:?} is not the key of an object"))?;
    let causes = recorded["causes"].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(cause);
    Ok(Request {
        key,
        object: recorded["object"].to_string(),
        deleting: recorded["deleting"] == true,
        attempt: recorded["attempt"].as_u64().and_then(|attempt| attempt.try_into().ok()).unwrap_or(1),
        last_error: text("last_error"),
        causes: causes.collect(),
        config: if recorded["config"].is_null() { "{}".into() } else { recorded["config"].to_string() },
        extra: Vec::new(),
    })
}

fn cause(word: &str) -> Option<Cause> {
    Some(match word {
        "created" => Cause::Created,
        "changed" => Cause::Changed,
        "deleted" => Cause::Deleted,
        "retry" => Cause::Retry,
        "requeue" => Cause::Requeue,
        "resync" => Cause::Resync,
        "manual" => Cause::Manual,
        "upgraded" => Cause::Upgraded,
        "configured" => Cause::Configured,
        other => Cause::Dependency(differ::parse_key(other.strip_prefix("dependency ")?)?),
    })
}

/// Answers reads as they were answered.
struct Recorded {
    own_cluster: String,
    reads: Vec<Value>,
    unrecorded: RefCell<Vec<String>>,
}

impl Recorded {
    fn new(key: &Key, reads: &Value) -> Self {
        let reads = reads.as_array().cloned().unwrap_or_default();
        Self { own_cluster: key.cluster.clone(), reads, unrecorded: RefCell::default() }
    }

    /// The answer to a question, by what makes a read that question.
    fn answer(&self, what: String, asked: impl Fn(&Value) -> bool) -> Result<&Value, ReadError> {
        let Some(read) = self.reads.iter().find(|read| asked(read)) else {
            self.unrecorded.borrow_mut().push(what.clone());
            return Err(ReadError::Unavailable(format!("not in the recording: {what}")));
        };
        match read["answer"].get("error") {
            Some(error) => Err(read_error(error)),
            None => Ok(&read["answer"]),
        }
    }
}

type MakeError = fn(String) -> ReadError;

fn read_error(recorded: &Value) -> ReadError {
    let kinds: [(&str, MakeError); 4] = [
        ("not_described", ReadError::NotDescribed),
        ("not_granted", ReadError::NotGranted),
        ("invalid", ReadError::Invalid),
        ("limit_exceeded", ReadError::LimitExceeded),
    ];
    let found = kinds.into_iter().find_map(|(word, error)| Some(error(recorded.get(word)?.as_str()?.to_owned())));
    let unavailable = || recorded["unavailable"].as_str().unwrap_or("the recording does not say why").to_owned();
    found.unwrap_or_else(|| ReadError::Unavailable(unavailable()))
}

impl Host for Recorded {
    fn get(&self, key: &Key) -> Result<Option<String>, ReadError> {
        let text = differ::key_text(key);
        let answer = self.answer(format!("get {text}"), |read| read["get"] == text.as_str())?;
        Ok(answer.get("object").map(Value::to_string))
    }

    fn list(&self, query: &RawQuery) -> Result<RawPage, ReadError> {
        let index = query.index.as_ref().map(|index| json!([index.index, index.value]));
        let wanted = [
            ("cluster", Some(json!(query.cluster.as_ref().unwrap_or(&self.own_cluster)))),
            ("kind", Some(json!(query.kind.kind))),
            ("namespace", query.namespace.as_ref().map(|namespace| json!(namespace))),
            ("labels", query.labels.as_ref().map(|labels| json!(labels))),
            ("index", index),
        ];
        let group = query.kind.group.as_str();
        let asked = |read: &Value| {
            let Some(list) = read.get("list") else { return false };
            let same = |(field, value): &(&str, Option<Value>)| list.get(*field) == value.as_ref();
            // The core group need not be written.
            list.get("group").and_then(Value::as_str).unwrap_or_default() == group && wanted.iter().all(same)
        };
        let answer = self.answer(ReadMade::List(query.clone()).to_string(), asked)?;
        let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let start: usize = query.continue_.as_deref().and_then(|token| token.parse().ok()).unwrap_or(0);
        let end = items.len().min(start + query.limit.unwrap_or(100) as usize);
        let page = items.get(start..end).unwrap_or_default();
        Ok(RawPage {
            items: page.iter().map(Value::to_string).collect(),
            continue_: (end < items.len()).then(|| end.to_string()),
        })
    }

    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording of one call that lists, with pages of two, and gets.
    fn recording(result: &Value) -> String {
        let item = |name: &str| json!({"metadata": {"name": name}});
        let call = json!({
            "plugin": "pool", "digest": "d", "at": "2026-01-01T00:00:00Z",
            "request": {"key": "local/a.io/Pool/default/p", "object": {"spec": {"n": 1}}, "attempt": 2,
                        "causes": ["retry", "dependency local/core/ConfigMap/default/a"], "config": {"x": 1}},
            "reads": [
                {"get": "local/core/ConfigMap/default/a", "answer": {"object": item("a")}},
                {"get": "local/core/ConfigMap/default/b", "answer": "absent"},
                {"get": "local/core/Secret/default/s", "answer": {"error": {"not_granted": "read:core/Secret"}}},
                {"list": {"cluster": "local", "group": "", "kind": "ConfigMap", "namespace": "default", "labels": "t=x"},
                 "answer": {"items": [item("a"), item("b"), item("c")]}},
            ],
            "result": result,
        });
        format!("{}\n{call}\n", json!({"setpoint": "recording", "version": 1, "host": "0.1.0"}))
    }

    fn key(kind: &str, name: &str) -> Key {
        Key {
            cluster: "local".into(),
            group: String::new(),
            kind: kind.into(),
            namespace: Some("default".into()),
            name: name.into(),
        }
    }

    /// A plugin that says what it was asked and what it read.
    fn call(request: Request, host: Rc<dyn Host>) -> Value {
        let mut query = RawQuery {
            cluster: None,
            kind: crate::GroupKind { group: String::new(), kind: "ConfigMap".into() },
            namespace: Some("default".into()),
            labels: Some("t=x".into()),
            index: None,
            limit: Some(2),
            continue_: None,
        };
        let mut pages = Vec::new();
        loop {
            match host.list(&query) {
                Ok(page) => {
                    pages.push(page.items.len());
                    query.continue_ = page.continue_;
                }
                Err(error) => return json!(error.to_string()),
            }
            if query.continue_.is_none() {
                break;
            }
        }
        json!({
            "attempt": request.attempt, "causes": request.causes.len(), "config": request.config, "pages": pages,
            "a": host.get(&key("ConfigMap", "a")).is_ok_and(|a| a.is_some()),
            "b": host.get(&key("ConfigMap", "b")).is_ok_and(|b| b.is_none()),
            "s": host.get(&key("Secret", "s")).is_err_and(|error| matches!(error, ReadError::NotGranted(_))),
        })
    }

    fn expected() -> Value {
        json!({"attempt": 2, "causes": 2, "config": "{\"x\":1}", "pages": [2, 1], "a": true, "b": true, "s": true})
    }

    #[test]
    fn a_call_is_asked_and_answered_as_it_was() {
        assert_eq!(compare(&recording(&expected()), "pool", call), Ok(1));
    }

    #[test]
    fn another_result_is_told_with_its_place_and_with_reads_that_were_not_recorded() {
        let mut other = expected();
        other["attempt"] = json!(3);
        let error = compare(&recording(&other), "pool", |request, host| {
            let _ = host.get(&key("ConfigMap", "new"));
            call(request, host)
        });
        let said = "line 2: local/a.io/Pool/default/p comes to something else:\n  attempt: expected 3, came 2\n  \
                    not in the recording: get local/core/ConfigMap/default/new";
        assert_eq!(error, Err(said.to_owned()));
    }

    #[test]
    fn what_cannot_be_compared_is_left_out_and_counted_as_nothing() {
        assert_eq!(compare(&recording(&expected()), "other", call), Ok(0));
        assert_eq!(compare(&recording(&json!({"trap": "timeout"})), "pool", call), Ok(0));
        let impure = recording(&json!({"never": "compared"}))
            .replace("\"plugin\":\"pool\"", "\"impure\":true,\"plugin\":\"pool\"");
        assert_eq!(compare(&impure, "pool", call), Ok(0));
    }

    #[test]
    fn a_file_that_is_no_recording_is_told_so() {
        assert!(compare("", "pool", call).is_err_and(|text| text.contains("no recording")));
        let newer = recording(&expected()).replace("\"version\":1", "\"version\":2");
        assert!(compare(&newer, "pool", call).is_err_and(|text| text.starts_with("version 2")));
        let cut = recording(&expected());
        assert!(compare(&cut[..cut.len() - 20], "pool", call).is_err_and(|text| text.starts_with("line 2: ")));
    }
}
