//! Golden scenarios, natively: the files that `setpoint plugin test` runs on the compiled component.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::kit::{CLUSTER, Called, World, yaml};
use super::{ReadMade, check, differ};
use crate::{Component, Description, Key};

/// What a scenario may say.
const KEYS: [&str; 8] =
    ["scenario", "given", "reconcile", "config", "unavailable", "not_granted", "deleting", "expect"];

/// Runs the scenarios of a file, or of all `*.yaml` and `*.yml` files below a directory, and asserts that
/// of each comes what it expects: `scenarios::<(Redis,)>("tests/scenarios")`. Answers how many there were.
///
/// ```yaml
/// scenario: there are as many lines as asked for
/// given:
/// - apiVersion: examples.setpoint.dev/v1alpha1
///   kind: Greeter
///   metadata: {name: a}
///   spec: {lines: 2}
/// expect:                     # written by `setpoint plugin test FILE.wasm --update`
///   outcome: {readiness: ready, status: {lines: 2}}
/// ```
///
/// Beside `given` there may be `reconcile` (`[KIND] [NAMESPACE/]NAME`), `config`, `unavailable` and
/// `not_granted` (kinds), and `deleting`. The test kit does not apply the CRD: defaults have to be those of
/// serde, and scenarios that expect `invalid` are left to `setpoint plugin test`. What a server sets (uid,
/// times) has other values here.
///
/// # Panics
/// If one comes to something else, expects nothing, or cannot be read; or if there is none.
pub fn scenarios<C: Component>(path: impl AsRef<Path>) -> usize {
    let description = super::describe::<C>();
    let mut failed = Vec::new();
    let mut run = 0;
    for file in files(path.as_ref()) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", file.display()),
        };
        for (at, document) in yaml(&text).iter().enumerate().filter(|(_, document)| !document.is_null()) {
            if document["expect"].get("invalid").is_some() {
                continue;
            }
            run += 1;
            let name = document["scenario"].as_str().unwrap_or("without a sentence");
            let problems = problems::<C>(&description, document);
            if !problems.is_empty() {
                failed.push(format!("{}: document {}, {name}:\n  {}", file.display(), at + 1, problems.join("\n  ")));
            }
        }
    }
    assert!(run > 0, "{}: there is no scenario", path.as_ref().display());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    run
}

/// Where the files are, in order.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut entries: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    entries.sort();
    let wanted = |file: &PathBuf| file.is_dir() || file.extension().is_some_and(|e| e == "yaml" || e == "yml");
    entries.into_iter().filter(wanted).flat_map(|file| files(&file)).collect()
}

/// Where what comes of a scenario is not what it expects; or why it cannot be run.
fn problems<C: Component>(description: &Description, document: &Value) -> Vec<String> {
    let unknown =
        document.as_object().into_iter().flatten().map(|(key, _)| key).find(|key| !KEYS.contains(&key.as_str()));
    if let Some(key) = unknown {
        return vec![format!("unknown key {key:?}; known are {}", KEYS.join(", "))];
    }
    match came::<C>(description, document) {
        Err(problem) => vec![problem],
        Ok(came) if document["expect"].is_null() => {
            vec![format!("it expects nothing; `setpoint plugin test --update` would write: {came}")]
        }
        Ok(came) => differ::differences(&document["expect"], &came),
    }
}

/// What comes of a scenario, in the form of `expect`.
fn came<C: Component>(description: &Description, document: &Value) -> Result<Value, String> {
    let given = document["given"].as_array().ok_or("`given` must be a list of objects")?;
    let mut world = World::new(description.clone(), reconciled(description, document, given)?);
    world.unavailable = words(document, "unavailable")?.into_iter().collect();
    world.not_granted = words(document, "not_granted")?.into_iter().collect();
    if !document["config"].is_null() {
        world.config = document["config"].clone();
    }
    let keys: Vec<Key> = given.iter().map(|object| world.add(CLUSTER, object.clone())).collect();
    let own = |key: &&Key| key.group == world.group && key.kind == world.kind;
    let key = match document["reconcile"].as_str() {
        None => keys.iter().find(own),
        Some(word) => keys.iter().filter(own).find(|key| is_meant(word, key)),
    };
    let key = key.ok_or("the object to reconcile is not given")?.clone();
    if document["deleting"] == true {
        world.delete(&place(&key));
    }
    let object = world.get(&key).ok_or("the object to reconcile is not given")?;
    let Called { result, deleting, answers } = world.call::<C>(&key, object);
    let mut came = differ::result(&result);
    let mut reads: Vec<String> = Vec::new();
    for read in answers.reads.take() {
        let text = read_text(&read);
        if !reads.contains(&text) {
            reads.push(text);
        }
    }
    if !reads.is_empty() {
        came["reads"] = json!(reads);
    }
    if let Ok(outcome) = &result {
        let children: Vec<Value> =
            outcome.children.iter().flatten().map(|child| child.object.parse().unwrap_or_default()).collect();
        let refused = check::problems(outcome, &children, description, &key, deleting);
        // The host says it in other words: it is only compared that there is something.
        match document["expect"].get("refused") {
            Some(expected) if !refused.is_empty() => came["refused"] = expected.clone(),
            _ if refused.is_empty() => {}
            _ => came["refused"] = json!(refused),
        }
    }
    Ok(came)
}

/// Which of the description's kinds is reconciled: that of the named object, or of the first that is one.
fn reconciled(description: &Description, document: &Value, given: &[Value]) -> Result<usize, String> {
    let kinds: Vec<(String, String)> = description
        .kinds
        .iter()
        .map(|owned| {
            let crd: Value = owned.crd.parse().unwrap_or_default();
            let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("/spec/group"), text("/spec/names/kind"))
        })
        .collect();
    let kind_of = |object: &Value| {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        kinds.iter().position(|(g, k)| g == group && object["kind"] == k.as_str())
    };
    let wanted = document["reconcile"].as_str();
    let named = |object: &&Value| {
        wanted.is_none_or(|word| {
            let (kind, place) = word.rsplit_once(' ').map_or((None, word), |(kind, place)| (Some(kind), place));
            let name = place.rsplit_once('/').map_or(place, |(_, name)| name);
            object["metadata"]["name"] == name && kind.is_none_or(|kind| is_kind(kind, &object["kind"]))
        })
    };
    let found = given.iter().filter(named).find_map(kind_of);
    found.ok_or_else(|| "none of the objects is one of a kind of the plugin that is to be reconciled".to_owned())
}

/// `Kind` or `Kind.group`
fn is_kind(word: &str, kind: &Value) -> bool {
    let word = word.trim();
    *kind == word.split_once('.').map_or(word, |(kind, _)| kind)
}

fn is_meant(word: &str, key: &Key) -> bool {
    let place_word = word.rsplit_once(' ').map_or(word, |(_, place)| place);
    match place_word.split_once('/') {
        Some((namespace, name)) => key.namespace.as_deref() == Some(namespace) && key.name == name,
        None => key.name == place_word,
    }
}

/// As the test kit names objects.
fn place(key: &Key) -> String {
    match &key.namespace {
        Some(namespace) => format!("{namespace}/{}", key.name),
        None => key.name.clone(),
    }
}

fn words(document: &Value, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{key}` must be a list of kinds, such as [ConfigMap]");
    match &document[key] {
        Value::Null => Ok(Vec::new()),
        Value::Array(words) => {
            // `Kind.group` is the kind here: the test kit knows kinds by their names.
            let kind = |word: &str| word.split_once('.').map_or(word, |(kind, _)| kind).to_owned();
            words.iter().map(|word| word.as_str().map(kind).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// A read as scenarios have it: with the cluster, if it is another.
fn read_text(read: &ReadMade) -> String {
    let cluster = match read {
        ReadMade::Get(key) => Some(&key.cluster),
        ReadMade::List(query) => query.cluster.as_ref(),
    };
    match cluster.filter(|cluster| *cluster != CLUSTER) {
        Some(cluster) => format!("{read} in {cluster}"),
        None => read.to_string(),
    }
}
