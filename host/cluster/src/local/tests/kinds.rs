//! Kinds outlive the plugin that brought them (rules B12, C9).

use std::path::Path;
use std::sync::Mutex;

use serde_json::json;
use setpoint_core::key::Source;
use setpoint_core::op::Op;

use super::super::{FileRefusal, Local, LocalOptions};
use super::*;
use crate::{Cluster, Sink};

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Sink for Heard {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        let what = if object.is_some() { "there" } else { "gone" };
        self.0.lock().unwrap().push(format!("{} {what}", key.name));
    }
    fn source_known(&self, _: &Source) {}
    fn source_unknown(&self, _: &Source, _: &str) {}
}

fn open(directory: &Path) -> (Arc<Local>, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let local = Local::open(LocalOptions::new(directory), heard.clone()).expect("the state can be opened");
    (local, heard)
}

fn apply_child(local: &Local, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(local.perform(apply_op(&key(name), A, false, json!({"spec": {"size": 1}}))));
}

/// The kinds that plugins brought.
fn served(local: &Local) -> Vec<String> {
    let built_in = ["", "host.setpoint.dev"];
    let kinds = local.read(|model| model.kinds());
    kinds.iter().filter(|crd| !built_in.contains(&&*crd.group)).map(|crd| crd.kind.clone()).collect()
}

fn kept_definitions(local: &Local) -> bool {
    local.bookkeeping_get("kind/Redis.examples.setpoint.dev").is_some()
}

#[test]
fn objects_are_there_after_a_start_without_the_plugin_and_files_fit_its_schema() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    apply_child(&local, "a");
    let before = local.object(&key("a")).expect("it was made");
    drop(local);

    let (local, heard) = open(directory.path());
    assert_eq!(served(&local), ["Redis"]);
    let crd = local.read(|model| model.crd(&kind()).cloned()).expect("it is served");
    assert_eq!((&*crd.plural, crd.has_status, crd.namespaced), ("redises", true, true));
    let after = local.object(&key("a")).expect("nobody removed it");
    assert!(after.same_content(&before) && after.resource_version() == before.resource_version());
    local.snapshot();
    local.flush().wait().unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["a there"]);
    let good = document(&key("f"), json!({"spec": {"size": 2}}));
    local.desired(&key("f"), good, "f.yaml").unwrap().1.wait().unwrap();
    assert_eq!(spec(&local.object(&key("f")).unwrap()), json!({"size": 2, "mode": "single"}), "defaults are put in");
    let bad = document(&key("f"), json!({"spec": {"size": 0}}));
    assert!(matches!(local.desired(&key("f"), bad, "f.yaml"), Err(FileRefusal::Invalid(_))));
}

#[test]
fn a_plugin_that_comes_back_with_the_same_kind_changes_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    apply_child(&local, "a");
    drop(local);
    let (local, heard) = open(directory.path());
    local.snapshot();
    local.flush().wait().unwrap();
    let before = local.metrics();
    local.install_kind(crd(&redis())).wait().unwrap();
    assert_eq!(local.metrics(), before);
    assert_eq!(*heard.0.lock().unwrap(), ["a there"], "once");
}

#[test]
fn a_changed_definition_replaces_the_one_that_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    apply_child(&local, "a");
    let mut changed = redis();
    let mode = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/default";
    *changed.pointer_mut(mode).expect("it has one") = json!("sentinel");
    local.install_kind(crd(&changed)).wait().unwrap();
    drop(local);
    let (local, _) = open(directory.path());
    assert_eq!(spec(&local.object(&key("a")).unwrap()), json!({"size": 1, "mode": "sentinel"}));
}

#[test]
fn a_kind_without_objects_is_not_served_again_and_forgotten_unless_a_plugin_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    drop(local);
    let (local, _) = open(directory.path());
    assert!(served(&local).is_empty());
    local.forget_kinds(|used| *used == kind()).wait().unwrap();
    assert!(kept_definitions(&local), "a plugin brings it");
    local.forget_kinds(|_| false).wait().unwrap();
    assert!(!kept_definitions(&local));
}

#[test]
fn a_kind_with_objects_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    apply_child(&local, "a");
    drop(local);
    let (local, _) = open(directory.path());
    local.forget_kinds(|_| false).wait().unwrap();
    assert!(kept_definitions(&local));
    local.remove_kind(&kind());
    assert!(!kept_definitions(&local), "but what is taken away by name is");
}

#[test]
fn a_deletion_that_waits_for_a_plugin_is_seen_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    local.install_kind(crd(&redis())).wait().unwrap();
    let given = document(&key("f"), json!({"spec": {"size": 2}}));
    local.desired(&key("f"), given, "f.yaml").unwrap().1.wait().unwrap();
    let object = local.object(&key("f")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(local.perform(finalizer_op(&object, &key("f"), true)));
    drop(local);
    let (local, _) = open(directory.path());
    local.undesired(&key("f")).wait().unwrap();
    assert!(local.object(&key("f")).expect("its finalizer holds it").terminating());
    let answer = runtime.block_on(local.perform(Op::Get(key("f"))));
    assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
}
