//! Golden scenarios: what there is, and what shall come of it. A file has one or several, as YAML
//! documents:
//!
//! ```yaml
//! scenario: two sources become one          # a sentence; the file's name if it is missing
//! given:                                    # objects as they are in the cluster, with their status
//! - apiVersion: examples.setpoint.dev/v1alpha1
//!   kind: ConfigBundle
//!   metadata: {name: all}
//!   spec: {selector: {matchLabels: {app: a}}}
//! reconcile: all                            # [KIND] [NAMESPACE/]NAME; else the first of the plugin's kinds
//! config: {}                                # the operator's configuration
//! unavailable: [ConfigMap]                  # kinds of which the host knows nothing (rule A4)
//! not_granted: [Secret]                     # kinds that may not be read or written (rule D15)
//! deleting: true                            # the object is being deleted
//! expect:                                   # written by --update; all of it is compared
//!   outcome: {readiness: ready, status: {keys: 2}}
//!   reads: [list ConfigMap default app=a]
//! ```
//!
//! Objects are in the cluster `local`, and in the namespace `default` unless they say otherwise; of kinds
//! that are not known here, `namespace: ""` says that they have none. What a server sets is set.
//!
//! `expect` is one of `outcome`, `failure` and `trap`, in the form of recordings
//! ([`setpoint_core::recording::RecordedResult`]), with `reads` if there are any and `refused` if the host
//! would not write all of the outcome; or `invalid`, the mistakes for which the host would not take the
//! object at all.

use serde_json::{Map, Value, json};
use setpoint_cluster::source::identity::{Identity, Place, Scope, identify};
use setpoint_cluster::source::yaml::{Document, Position, SourceError, ends_document, parse_documents};
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::recording::{Question, RecordedResult};
use setpoint_runtime::config::nearest;

use crate::failure::Failure;
use crate::yaml::to_yaml;

/// What a scenario may say.
const KEYS: [&str; 8] =
    ["scenario", "given", "reconcile", "config", "unavailable", "not_granted", "deleting", "expect"];

/// One document of a file of scenarios.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scenario {
    /// Line of its first content.
    pub(crate) line: u32,
    /// Its sentence.
    pub(crate) name: String,
    /// Objects with their keys and the line of each.
    pub(crate) given: Vec<(Key, Value)>,
    /// Where each object begins.
    pub(crate) places: Vec<Position>,
    /// The object to reconcile.
    pub(crate) reconcile: Key,
    pub(crate) config: Option<Value>,
    pub(crate) unavailable: Vec<String>,
    pub(crate) not_granted: Vec<String>,
    pub(crate) deleting: bool,
    /// None: nothing is expected yet.
    pub(crate) expect: Option<Value>,
    /// Where `expect` is written.
    expect_at: Option<Position>,
    /// Line of the key that follows `expect`.
    after: Option<u32>,
    /// Column of the document's keys.
    column: u32,
}

/// What is known of a kind: whether it is the plugin's own, and whether it has namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) owned: bool,
    pub(crate) namespaced: bool,
}

/// The scenarios of a file, each of which may be wrong by itself.
pub(crate) fn parse(
    file: &str,
    text: &str,
    known: &dyn Fn(&GroupKind) -> Option<Known>,
) -> Vec<Result<Scenario, SourceError>> {
    parse_documents(text).into_iter().map(|document| scenario(file, &document?, known)).collect()
}

fn scenario(
    file: &str,
    document: &Document,
    known: &dyn Fn(&GroupKind) -> Option<Known>,
) -> Result<Scenario, SourceError> {
    let spans = &document.spans;
    let wrong = |pointer: &str, message: String| SourceError::new(spans.locate(pointer), message);
    let Some(fields) = document.value.as_object() else {
        return Err(wrong("", "a scenario is expected: a mapping with `given` and `expect`".into()));
    };
    if let Some(key) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let hint = match nearest(key, &KEYS) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", KEYS.join(", ")),
        };
        return Err(SourceError::new(spans.locate_key(&pointer(key)), format!("unknown key {key:?}; {hint}")));
    }
    let Some(objects) = fields.get("given").and_then(Value::as_array).filter(|objects| !objects.is_empty()) else {
        let message = "`given` must be a list of objects, one of them of a kind of the plugin";
        return Err(wrong("/given", message.into()));
    };
    let (mut given, mut places): (Vec<(Key, Value)>, Vec<Position>) = (Vec::new(), Vec::new());
    for (index, object) in objects.iter().enumerate() {
        let place = format!("/given/{index}");
        let key = key_of(file, document, &place, object, known)?;
        if given.iter().any(|(other, _)| *other == key) {
            return Err(wrong(&place, format!("{} is given twice", title(&key))));
        }
        given.push((key, object.clone()));
        places.push(spans.locate(&place));
    }
    let keys = given.iter().map(|(key, _)| key).filter(|key| known(&key.group_kind()).is_some_and(|kind| kind.owned));
    let reconcile = reconcile(&keys.collect::<Vec<_>>(), text(document, fields, "reconcile")?)
        .map_err(|message| wrong("/reconcile", message))?;
    let expect_at = fields.contains_key("expect").then(|| spans.locate_key("/expect"));
    let lines = fields.keys().map(|key| spans.locate_key(&pointer(key)).line);
    Ok(Scenario {
        line: document.line,
        name: text(document, fields, "scenario")?.map_or_else(|| stem(file), str::to_owned),
        given,
        places,
        reconcile,
        config: fields.get("config").filter(|config| !config.is_null()).cloned(),
        unavailable: words(document, fields, "unavailable")?,
        not_granted: words(document, fields, "not_granted")?,
        deleting: match fields.get("deleting") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(deleting)) => *deleting,
            Some(_) => return Err(wrong("/deleting", "`deleting` must be true or false".into())),
        },
        expect: fields.get("expect").filter(|expect| !expect.is_null()).cloned(),
        after: expect_at.and_then(|at| lines.filter(|line| *line > at.line).min()),
        expect_at,
        column: spans.locate_key("/given").column,
    })
}

/// The key of a given object, by the rules of files, whatever more an object of a cluster has.
fn key_of(
    file: &str,
    document: &Document,
    place: &str,
    object: &Value,
    known: &dyn Fn(&GroupKind) -> Option<Known>,
) -> Result<Key, SourceError> {
    let spans = document.spans.below(place);
    let position = spans.locate("");
    let mut bare = object.clone();
    if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("finalizers");
    }
    if bare.pointer("/metadata/deletionTimestamp").is_some() {
        let message = "an object that is being deleted is said by `deleting: true` beside `given`";
        return Err(SourceError::new(spans.locate_key("/metadata/deletionTimestamp"), message));
    }
    if bare.is_object() && bare.pointer("/metadata/name").is_none_or(Value::is_null) {
        return Err(SourceError::new(position, "metadata.name is missing"));
    }
    let namespaced = bare.pointer("/metadata/namespace").and_then(Value::as_str) != Some("");
    let scope = |group: &str, kind: &str| {
        let known = known(&GroupKind::new(group, kind)).map(|kind| kind.namespaced);
        Some(Scope { namespaced: known.unwrap_or(namespaced) })
    };
    let nested = Document { value: bare, spans, line: position.line, booleans: Vec::new() };
    match identify(&nested, Place { cluster: LOCAL, file, alone: false }, scope)? {
        Identity::Object(object) => Ok(object.key),
        Identity::Unclaimed(unclaimed) => {
            Err(SourceError::new(position, format!("the kind {} is not known", unclaimed.kind)))
        }
    }
}

/// Which of the plugin's own objects is meant: `[KIND] [NAMESPACE/]NAME`; the first if nothing is said.
fn reconcile(owned: &[&Key], word: Option<&str>) -> Result<Key, String> {
    let Some(word) = word else {
        return match owned.first() {
            Some(key) => Ok((*key).clone()),
            None => Err("none of the objects is of a kind that the plugin reconciles".into()),
        };
    };
    let (kind, place) = word.rsplit_once(' ').map_or((None, word), |(kind, place)| (Some(kind.trim()), place));
    let (namespace, name) = place.split_once('/').map_or((None, place), |(ns, name)| (Some(ns), name));
    let meant = |key: &&&Key| {
        *key.name == *name
            && namespace.is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
            && kind.is_none_or(|kind| *key.kind == *kind || key.group_kind().to_string() == kind)
    };
    match owned.iter().filter(meant).collect::<Vec<_>>()[..] {
        [key] => Ok((*key).clone()),
        [] => Err(format!("`reconcile`: no object {word} of a kind of the plugin is given")),
        _ => Err(format!("`reconcile`: several objects {word} are given; write KIND NAMESPACE/NAME")),
    }
}

fn text<'a>(document: &Document, fields: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, SourceError> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(SourceError::new(document.spans.locate(&pointer(key)), format!("`{key}` must be a text"))),
    }
}

fn words(document: &Document, fields: &Map<String, Value>, key: &str) -> Result<Vec<String>, SourceError> {
    let wrong = || {
        let message = format!("`{key}` must be a list of kinds, such as [ConfigMap]");
        SourceError::new(document.spans.locate(&pointer(key)), message)
    };
    match fields.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(words)) => {
            words.iter().map(|word| word.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// An object as its author knows it: `ConfigMap default/a`.
pub(crate) fn title(key: &Key) -> String {
    match &key.namespace {
        Some(namespace) => format!("{} {namespace}/{}", key.group_kind(), key.name),
        None => format!("{} {}", key.group_kind(), key.name),
    }
}

/// What came of a call, in the form of `expect`.
pub(crate) fn came(result: &RecordedResult, asked: &[Question], refused: &[String]) -> Result<Value, Failure> {
    let mut came = serde_json::to_value(result)
        .map_err(|error| Failure::new(format!("the outcome cannot be written as YAML: {error}")))?;
    for (key, list) in [("reads", asked.iter().map(read).collect::<Vec<_>>()), ("refused", refused.to_vec())] {
        if !list.is_empty() {
            came[key] = json!(list);
        }
    }
    Ok(came)
}

/// A read as the SDK's test kit writes it: `get ConfigMap default/a`, `list ConfigMap default app=a`
/// (namespace `*` for all), with `INDEX=VALUE` if an index was asked, and ` in CLUSTER` if it is another.
pub(crate) fn read(question: &Question) -> String {
    let elsewhere = |cluster: &str| {
        if cluster == LOCAL { String::new() } else { format!(" in {cluster}") }
    };
    match question {
        Question::Get(text) => match Key::parse(text) {
            Some(key) => format!("get {}{}", title(&key), elsewhere(&key.cluster)),
            None => format!("get {text}"),
        },
        Question::List(query) => {
            let kind = GroupKind::new(&query.group, &query.kind);
            let labels = query.labels.iter().map(|labels| format!(" {labels}"));
            let index = query.index.iter().map(|(index, value)| format!(" {index}={value}"));
            let filters: String = labels.chain(index).collect();
            let namespace = query.namespace.as_deref().unwrap_or("*");
            format!("list {kind} {namespace}{filters}{}", elsewhere(&query.cluster))
        }
    }
}

impl Scenario {
    /// The text of the file with this for what the scenario expects. What stands above `expect`, and
    /// comments before the next document, stay as they are. Lines after it may move.
    ///
    /// # Errors
    /// The document is written in a way in which its keys have no lines of their own.
    pub(crate) fn rewrite(&self, file: &str, expect: &Value) -> Result<String, SourceError> {
        let lines: Vec<&str> = file.split_inclusive('\n').collect();
        if self.column != 1 || self.expect_at.is_some_and(|at| at.column != 1) {
            let position = Position { line: self.line, column: 1 };
            let message = "this document cannot be updated: write its keys at the beginning of lines of their own";
            return Err(SourceError::new(position, message));
        }
        // Lines count from 1, so that a document's first line is the index of its second.
        let begin = self.line as usize;
        let end = lines.iter().skip(begin).position(|line| ends_document(line)).map_or(lines.len(), |at| begin + at);
        let mut to = self.after.map_or(end, |line| line as usize - 1);
        let from = self.expect_at.map(|at| at.line as usize - 1);
        // Blank lines and comments at the end belong to what follows.
        let least = from.map_or(begin, |from| from + 1);
        while to > least && is_filling(lines[to - 1]) {
            to -= 1;
        }
        let from = from.unwrap_or(to);
        let mut text = lines[..from].concat();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&to_yaml(&json!({ "expect": expect })));
        text.extend(lines[to..].iter().copied());
        Ok(text)
    }
}

fn is_filling(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

#[cfg(test)]
#[path = "scenario_tests.rs"]
mod tests;
