//! Model, store and sink together.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use setpoint_core::key::Source;
use setpoint_core::op::{Answer, Op, Refusal};

use super::super::keeping::Board;
use super::super::store::Store;
use super::super::{FileRefusal, Local, LocalOptions, STORE_ID};
use super::disk::{Disk, Fault};
use super::*;
use crate::{Cluster, Sink};

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn push(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Sink for Heard {
    fn observed(&self, key: &Key, object: Option<Arc<Object>>) {
        let version = object.map_or_else(|| "gone".to_owned(), |object| object.resource_version().to_owned());
        self.push(format!("{} {version}", key.name));
    }
    fn source_known(&self, source: &Source) {
        self.push(format!("{} known", source.kind.kind));
    }
    fn source_unknown(&self, source: &Source, reason: &str) {
        self.push(format!("{} unknown: {reason}", source.kind.kind));
    }
}

fn open(directory: &Path) -> (Arc<Local>, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let local = Local::open(LocalOptions::new(directory), heard.clone()).expect("the state can be opened");
    local.install_kind(crd(&redis())).wait().unwrap();
    (local, heard)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[test]
fn the_sink_hears_changes_in_order_and_absence_is_proven_only_after_the_files() {
    let heard = Arc::new(Heard::default());
    let local = Local::in_memory(heard.clone());
    local.install_kind(crd(&redis())).wait().unwrap();
    let runtime = runtime();
    let get = || runtime.block_on(local.perform(Op::Get(key("a"))));
    assert!(matches!(get(), Answer::Refused(Refusal::Unknown(_))));
    local.announce(&[kind(), GroupKind::new("", "Unserved")]);
    assert!(matches!(get(), Answer::Absent));
    let answer = runtime.block_on(local.perform(apply_op(&key("a"), A, false, json!({"spec": {"size": 1}}))));
    assert!(matches!(answer, Answer::Applied { created: true, .. }));
    runtime.block_on(local.perform(apply_op(&key("a"), A, false, json!({"spec": {"size": 2}}))));
    runtime.block_on(local.delete(&key("a")));
    local.doubt(&[kind()], "the directory is empty");
    local.announce(&[kind()]);
    local.remove_kind(&kind());
    assert_eq!(
        heard.take(),
        [
            "Redis known",
            "a 1",
            "a 2",
            "a gone",
            "Redis unknown: the directory is empty",
            "Redis known",
            "Redis unknown: the kind Redis.examples.setpoint.dev is not served",
        ]
    );
}

#[test]
fn another_clusters_operation_is_not_performed() {
    let local = Local::in_memory(Arc::new(Heard::default()));
    let elsewhere = Key::new("hub", "", "ConfigMap", Some("default"), "c");
    let answer = runtime().block_on(local.perform(apply_op(&elsewhere, A, false, json!({}))));
    assert!(matches!(answer, Answer::Refused(Refusal::Unknown(_))));
}

#[test]
fn everything_that_was_answered_is_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    let runtime = runtime();
    local
        .desired(&key("file"), document(&key("file"), json!({"spec": {"size": 3}})), "f.yaml")
        .unwrap()
        .1
        .wait()
        .unwrap();
    for number in 0..20 {
        let name = format!("child-{number:02}");
        runtime.block_on(local.perform(apply_op(&key(&name), A, false, json!({"spec": {"size": 1}}))));
    }
    let child = local.read(|model| model.get(&key("child-00"))).unwrap();
    let answer = runtime.block_on(local.perform(status_op(&child, &key("child-00"), STATUS, json!({"phase": "Up"}))));
    assert!(matches!(answer, Answer::Applied { .. }));
    let places = vec![("local".into(), GroupKind::new("", "ConfigMap"))];
    runtime.block_on(local.perform(Op::SavePlaces {
        owner: key("file"),
        places: places.clone(),
        finalizers: None,
        precondition: None,
    }));
    local.bookkeeping_put("disabled", Some(b"Redis")).wait().unwrap();
    let id = local.bookkeeping_get(STORE_ID).unwrap();

    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.path().join("state.redb"), copy.path().join("state.redb")).unwrap();
    let before = local.read(|model| model.all());
    let (local, heard) = open(copy.path());
    let after = local.read(|model| model.all());
    assert_eq!(before.len(), 21);
    assert!(heard.take().is_empty(), "nobody is told before the snapshot");
    local.snapshot();
    local.flush().wait().unwrap();
    assert_eq!(heard.take().len(), 21, "the snapshot tells what is there");
    for ((old_key, old), (new_key, new)) in before.iter().zip(&after) {
        assert!(old_key == new_key && old.same_content(new) && old.resource_version() == new.resource_version());
    }
    assert_eq!(local.read(|model| model.places()), [(key("file"), places)]);
    assert_eq!(local.read(|model| model.files()), [(key("file"), "f.yaml".into())]);
    assert_eq!(local.bookkeeping_get("disabled").as_deref(), Some(&b"Redis"[..]));
    assert_eq!(local.bookkeeping_get(STORE_ID), Some(id));
}

#[test]
fn versions_never_go_back_even_if_the_newest_object_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let made = |local: &Local, name: &str| {
        let answer = runtime.block_on(local.perform(apply_op(&key(name), A, false, json!({"spec": {}}))));
        let Answer::Applied { object, .. } = answer else { panic!("{answer:?}") };
        object.resource_version().parse::<u64>().unwrap()
    };
    let (local, _) = open(directory.path());
    let first = made(&local, "a");
    runtime.block_on(local.delete(&key("a")));
    drop(local);
    let (local, _) = open(directory.path());
    assert!(made(&local, "a") > first);
}

#[test]
fn an_idle_host_and_a_write_that_changes_nothing_leave_the_disk_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (local, _) = open(directory.path());
    let runtime = runtime();
    runtime.block_on(local.perform(apply_op(&key("a"), A, false, json!({"spec": {}}))));
    local.flush().wait().unwrap();
    let before = local.metrics();
    assert!(before.writes >= 1 && before.commits >= 1 && before.mutations >= 1);
    runtime.block_on(local.perform(apply_op(&key("a"), A, false, json!({"spec": {}}))));
    local.flush().wait().unwrap();
    assert_eq!(local.metrics(), before);
}

#[test]
fn a_write_that_cannot_be_kept_is_never_answered_as_done() {
    let disk = Disk::default();
    let board = Arc::new(Board::new(model(), Arc::new(Heard::default())));
    let store = Store::start(disk.open(), board.clone()).expect("the writer starts");
    let local = Local::with("local".into(), board, Some(store), Arc::new(|| 0));
    let runtime = runtime();
    let write = |name: &str| runtime.block_on(local.perform(apply_op(&key(name), A, false, json!({"spec": {}}))));
    assert!(matches!(write("a"), Answer::Applied { .. }));
    disk.arm(Some(Fault::From(0, ErrorKind::StorageFull)));
    for name in ["b", "b", "a"] {
        let answer = write(name);
        assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    }
    let refused = local.desired(&key("f"), document(&key("f"), json!({"spec": {}})), "f.yaml");
    assert!(matches!(refused, Err(FileRefusal::Unavailable(_))));
    let object = local.read(|model| model.get(&key("a")));
    assert!(object.is_some(), "reads go on");
}
