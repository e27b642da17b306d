//! A store that cannot be read (rule D10).

use std::fs;
use std::path::Path;

use serde_json::json;
use setpoint_core::op::{Answer, Op};

use super::super::open::make;
use super::super::{Local, LocalOptions, OpenError, Row, STORE_ID, Table};
use super::*;
use crate::Cluster;

fn open(directory: &Path) -> Result<Arc<Local>, OpenError> {
    Local::open(LocalOptions::new(directory), Arc::new(()))
}

fn refused(directory: &Path) -> OpenError {
    open(directory).err().expect("it cannot be opened")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// A state with an object of a file, a child with a status, places and a note.
fn filled(directory: &Path) -> Vec<u8> {
    let local = open(directory).expect("a new state");
    local.install_kind(crd(&redis())).wait().unwrap();
    let given = document(&key("file"), json!({"spec": {"size": 3}}));
    local.desired(&key("file"), given, "f.yaml").unwrap().1.wait().unwrap();
    let runtime = runtime();
    let child = json!({"metadata": {"labels": {"setpoint.dev/owner": "one"}}, "spec": {"size": 1}});
    runtime.block_on(local.perform(apply_op(&key("child"), A, false, child)));
    let object = local.object(&key("child")).expect("it was made");
    runtime.block_on(local.perform(status_op(&object, &key("child"), STATUS, json!({"phase": "Up"}))));
    let places = vec![("local".into(), kind())];
    runtime.block_on(local.perform(Op::SavePlaces {
        owner: key("file"),
        places,
        finalizers: None,
        precondition: None,
    }));
    local.bookkeeping_put("disabled", Some(b"Redis")).wait().unwrap();
    let id = local.bookkeeping_get(STORE_ID).expect("every store has one");
    local.close();
    id
}

/// The rows of a state, with one more in it.
fn with_row(directory: &Path, row: Row) {
    let path = directory.join("state.redb");
    let (mut rows, lost) = super::super::open::salvage(&path);
    assert!(lost.is_empty(), "{lost:?}");
    rows.push(row);
    fs::remove_file(&path).unwrap();
    make(&path, rows).expect("it can be written");
}

#[test]
fn rows_that_make_no_sense_are_set_aside_and_a_rebuilt_store_says_that_it_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let id = filled(directory.path());
    with_row(directory.path(), (Table::Records, key("torn").to_string(), b"{".to_vec()));
    let text = refused(directory.path()).to_string();
    assert!(text.contains("torn") && text.contains(".corrupt-") && text.contains("setpoint repair"), "{text}");
    assert!(matches!(refused(directory.path()), OpenError::SetAside { .. }), "it never starts empty");

    let report = Local::repair(directory.path()).expect("it can be repaired");
    assert!(report.same_identity && report.aside.exists(), "{report:?}");
    assert_eq!((report.kept["records"], report.kept["places"]), (2, 1));
    assert!(matches!(&report.lost[..], [lost] if lost.contains("torn")), "{report:?}");
    assert!(fs::read_dir(directory.path()).unwrap().count() == 2, "what was set aside and the new state, no more");

    let local = open(directory.path()).expect("it is as good as new");
    assert!(local.rebuilt());
    assert_eq!(local.bookkeeping_get(STORE_ID), Some(id));
    assert_eq!(local.bookkeeping_get("disabled").as_deref(), Some(&b"Redis"[..]));
    let child = local.object(&key("child")).expect("children are kept, and their kind with them");
    assert_eq!(child.value()["status"]["phase"], "Up");
    assert_eq!(child.label("setpoint.dev/owner"), Some("one"));
    assert_eq!(local.read(|model| model.places()), [(key("file"), vec![("local".into(), kind())])]);
    assert_eq!(local.read(|model| model.files()), [(key("file"), "f.yaml".into())]);
}

#[test]
fn a_state_is_rebuilt_until_its_first_pass_is_over_even_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    with_row(directory.path(), (Table::Places, "no key".into(), Vec::new()));
    assert!(matches!(refused(directory.path()), OpenError::Corrupt { .. }));
    Local::repair(directory.path()).expect("it can be repaired");
    drop(open(directory.path()).expect("it can be opened"));
    let local = open(directory.path()).expect("it can be opened");
    assert!(local.rebuilt(), "the host was stopped before its first pass was over");
    local.first_pass_over().wait().unwrap();
    assert!(!local.rebuilt());
    drop(local);
    assert!(!open(directory.path()).expect("it can be opened").rebuilt());
}

#[test]
fn a_file_of_which_nothing_can_be_read_becomes_an_empty_state_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.redb"), vec![7u8; 8192]).unwrap();
    let report = Local::repair(directory.path()).expect("it is set aside and replaced");
    assert!(!report.same_identity && report.kept.is_empty() && report.lost.len() == 1, "{report:?}");
    assert_eq!(fs::read(&report.aside).unwrap(), vec![7u8; 8192], "the evidence is left alone");
    let local = open(directory.path()).expect("it can be opened");
    assert!(local.rebuilt() && local.bookkeeping_get(STORE_ID).is_some() && local.all().is_empty());
}

#[test]
fn there_is_nothing_to_repair_where_nothing_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = |directory: &Path| Local::repair(directory).expect_err("nothing is broken").to_string();
    assert!(nothing(directory.path()).contains("no state"));
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "looking makes nothing");
    filled(directory.path());
    assert!(nothing(directory.path()).contains("can be read"));
    let local = open(directory.path()).expect("it was left alone");
    assert!(!local.rebuilt());
    assert!(nothing(directory.path()).contains("in use by another host"));
}

#[test]
fn an_empty_state_with_files_deletes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    // Somebody removes the state, and nothing says that there was one.
    fs::remove_file(directory.path().join("state.redb")).unwrap();
    let local = open(directory.path()).expect("a new state");
    local.install_kind(crd(&redis())).wait().unwrap();
    assert!(local.read(|model| model.files()).is_empty(), "no file can be missing of which nobody knows");
    let answer = runtime().block_on(local.perform(Op::Get(key("child"))));
    assert!(matches!(answer, Answer::Refused(_)), "what is not known is not absent: {answer:?}");
    let given = document(&key("file"), json!({"spec": {"size": 3}}));
    local.desired(&key("file"), given, "f.yaml").unwrap().1.wait().unwrap();
    assert_eq!(local.object(&key("file")).expect("the file says so").generation(), 1);
}
