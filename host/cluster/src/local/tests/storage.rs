//! What is acknowledged is kept (design §9.7, rule D10).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::super::keeping::{Aftermath, Keeper};
use super::super::open::Opened;
use super::super::store::Store;
use super::super::{Mutation, OpenError, Row, Table};
use super::disk::{Disk, Fault};
use super::*;

/// Somebody who wants to know of nothing.
struct Nobody;

impl Keeper for Nobody {
    fn kept(&self, _: Vec<Aftermath>) {}
    fn lost(&self, take: &mut dyn FnMut() -> Vec<Aftermath>) {
        drop(take());
    }
}

fn put(key: &str, value: &str) -> Vec<Mutation> {
    vec![Mutation::Put { table: Table::Bookkeeping, key: key.into(), bytes: value.into() }]
}

fn open(directory: &Path) -> Opened {
    Opened::open(directory, 1_000).expect("the store can be opened")
}

fn started(directory: &Path) -> Store {
    let opened = open(directory);
    let fresh = opened.rows.is_empty();
    opened.start(fresh, Arc::new(Nobody)).expect("the writer starts")
}

fn kept(rows: Vec<Row>) -> Vec<(String, String)> {
    let rows = rows.into_iter().filter(|(table, ..)| *table == Table::Bookkeeping);
    rows.map(|(_, key, bytes)| (key, String::from_utf8(bytes).expect("text"))).collect()
}

fn error(directory: &Path) -> OpenError {
    match Opened::open(directory, 5_000) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn acknowledged_writes_are_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    for number in 0..50 {
        store.commit(put(&format!("{number:03}"), "x")).wait().unwrap();
    }
    // The copy is what a kill at this moment would leave behind.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join("state.redb"), copy.path().join("state.redb")).unwrap();
    assert_eq!(kept(open(copy.path()).rows).len(), 50);
}

#[test]
fn a_store_that_is_dropped_without_a_flush_keeps_what_was_queued() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    drop(store.commit(put("a", "1")));
    drop(store.commit(put("a", "2")));
    drop(store.commit(vec![
        Mutation::Put { table: Table::Bookkeeping, key: "b".into(), bytes: vec![] },
        Mutation::Remove { table: Table::Bookkeeping, key: "b".into() },
    ]));
    drop(store);
    assert_eq!(kept(open(directory.path()).rows), [("a".to_owned(), "2".to_owned())], "the last one wins");
}

#[test]
fn many_writes_at_once_are_few_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    let waiting: Vec<_> = (0..1000).map(|number| store.commit(put(&number.to_string(), "x"))).collect();
    for durable in waiting {
        durable.wait().unwrap();
    }
    assert!(store.commits() < 500, "{} commits", store.commits());
    assert_eq!(store.mutations(), 1002, "and the format, and who wrote it");
    let commits = store.commits();
    store.flush().wait().unwrap();
    assert_eq!(store.commits(), commits, "an empty commit writes nothing");
}

#[test]
fn an_empty_commit_is_answered_after_all_that_was_queued_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    drop(store.commit(put("a", "1")));
    store.flush().wait().unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join("state.redb"), copy.path().join("state.redb")).unwrap();
    assert_eq!(kept(open(copy.path()).rows).len(), 1);
}

#[test]
fn a_second_host_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    let error = error(directory.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(store);
    open(directory.path());
}

#[test]
fn a_store_that_cannot_be_read_is_set_aside_until_it_is_repaired() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.redb"), vec![7u8; 8192]).unwrap();
    let text = error(directory.path()).to_string();
    assert!(text.contains("state.redb.corrupt-5") && text.contains("setpoint repair"), "{text}");
    assert_eq!(fs::read(directory.path().join("state.redb.corrupt-5")).unwrap(), vec![7u8; 8192]);
    let error = error(directory.path());
    assert!(matches!(error, OpenError::SetAside { .. }), "no new store is made behind anybody's back: {error}");
    assert!(error.to_string().contains("setpoint repair"), "{error}");
}

#[test]
fn a_store_that_was_cut_short_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    store.commit(put("a", "1")).wait().unwrap();
    drop(store);
    let path = directory.path().join("state.redb");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
    let error = error(directory.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn a_store_of_a_newer_host_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = started(directory.path());
    let newer = vec![Mutation::Put { table: Table::Meta, key: "format".into(), bytes: b"7".to_vec() }];
    store.commit(newer).wait().unwrap();
    drop(store);
    let text = error(directory.path()).to_string();
    assert!(text.contains("format 7") && text.contains("up to 1") && text.contains("start that version"), "{text}");
    assert!(text.contains(&format!("was written by setpoint {}", env!("CARGO_PKG_VERSION"))), "{text}");
    let Err(OpenError::Newer { found: 7, .. }) = Opened::open(directory.path(), 9_000) else {
        panic!("it was touched")
    };
}

#[test]
fn a_state_directory_that_is_a_file_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let text = error(&path).to_string();
        assert!(text.contains("is no directory") && text.contains("--state"), "{text}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[cfg(unix)]
#[test]
fn a_state_that_may_not_be_written_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o500)).unwrap();
    // A privileged user writes all the same; then only the words can be looked at.
    let error = match Opened::open(&state, 0) {
        Err(error) => error,
        Ok(_) => OpenError::Io { path: state.clone(), source: ErrorKind::PermissionDenied.into() },
    };
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let text = error.to_string();
    assert!(text.contains(&state.display().to_string()) && text.contains("--state"), "{text}");
    let full = OpenError::Io { path: state, source: ErrorKind::StorageFull.into() }.to_string();
    assert!(full.contains("free space"), "{full}");
}

#[cfg(unix)]
#[test]
fn the_state_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("deep/state");
    drop(open(&state));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("state.redb"))), (0o700, 0o600));
}

#[test]
fn a_full_disk_is_an_error_for_everyone_who_waits_and_ends_the_writing() {
    let disk = Disk::default();
    let store = Store::start(disk.open(), Arc::new(Nobody)).expect("the writer starts");
    store.commit(put("a", "1")).wait().unwrap();
    disk.arm(Some(Fault::From(0, ErrorKind::StorageFull)));
    let waiting: Vec<_> = (0..10).map(|number| store.commit(put(&number.to_string(), "x"))).collect();
    for durable in waiting {
        let text = durable.wait().unwrap_err().to_string();
        assert!(text.contains("cannot be written"), "{text}");
    }
    disk.arm(None);
    assert!(store.commit(put("b", "1")).wait().is_err(), "a hole in the middle would be worse");
    assert!(store.flush().wait().is_err());
}
