//! What goes, comes and moves, on a real directory (rules D1, D2).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use setpoint_core::file_proof::Suspicion;

use super::harness::{Harness, Remembered, config_map, key, write};
use crate::source::SourceEvent;

const WINDOW: Duration = Duration::from_millis(2_200);

fn suspicious(event: &SourceEvent) -> bool {
    matches!(event, SourceEvent::Suspicious(_))
}

#[test]
fn a_deleted_file_deletes_its_object_after_the_settle_time_and_not_before() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1"))]);
    let start = Instant::now();
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    harness.wait_deleted("a");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    assert!(!harness.told.iter().any(suspicious));
}

#[test]
fn a_key_that_comes_back_within_the_window_in_whatever_file_was_updated() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    std::thread::sleep(Duration::from_millis(400));
    harness.write("deep/other.yaml", &config_map("a", "2"));
    assert_eq!(&*harness.wait_desired("a", "2"), "deep/other.yaml");
    fs::rename(harness.path("b.yaml"), harness.path("c.yaml")).expect("rename");
    assert_eq!(&*harness.wait_desired("b", "1"), "c.yaml");
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn create_then_remove_ends_in_a_deletion() {
    let mut harness = Harness::with(&[("b.yaml", &config_map("b", "1"))]);
    harness.write("a.yaml", &config_map("a", "1"));
    harness.wait_desired("a", "1");
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    harness.wait_deleted("a");
    harness.write("a.yaml", &config_map("a", "1"));
    harness.wait_desired("a", "1");
}

#[test]
fn a_new_directory_with_files_is_found_at_once() {
    let mut harness = Harness::with(&[]);
    for (file, name) in [("x/a.yaml", "a"), ("x/y/z/b.yaml", "b")] {
        let start = Instant::now();
        harness.write(file, &config_map(name, "1"));
        harness.wait_desired(name, "1");
        assert!(start.elapsed() < Duration::from_secs(1));
    }
    harness.write("x/y/z/b.yaml", &config_map("b", "2"));
    harness.wait_desired("b", "2");
    let outside = harness.dir.path().join("made-elsewhere");
    write(&outside.join("c.yaml"), &config_map("c", "1"));
    fs::rename(&outside, harness.path("moved-in")).expect("rename");
    harness.wait_desired("c", "1");
    harness.write("moved-in/c.yaml", &config_map("c", "2"));
    harness.wait_desired("c", "2");
}

#[test]
fn a_renamed_directory_moves_its_objects_and_is_still_watched() {
    let mut harness = Harness::with(&[("d/a.yaml", &config_map("a", "1"))]);
    fs::rename(harness.path("d"), harness.path("e")).expect("rename");
    assert_eq!(&*harness.wait_desired("a", "1"), "e/a.yaml");
    harness.write("e/a.yaml", &config_map("a", "2"));
    harness.wait_desired("a", "2");
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn a_directory_moved_out_of_the_root_deletes_what_it_held() {
    let mut harness = Harness::with(&[("d/a.yaml", &config_map("a", "1"))]);
    fs::rename(harness.path("d"), harness.dir.path().join("elsewhere")).expect("rename");
    harness.wait_deleted("a");
}

#[test]
fn a_root_that_is_moved_away_and_back_loses_nothing() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("d/b.yaml", &config_map("b", "1"))]);
    let away = harness.dir.path().join("away");
    fs::rename(&harness.root, &away).expect("rename");
    harness.wait("the suspicion", |event| matches!(event, SourceEvent::Suspicious(Suspicion::RootGone)));
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
    fs::rename(&away, &harness.root).expect("rename");
    harness.wait("trust", |event| matches!(event, SourceEvent::Trusted));
    harness.write("d/b.yaml", &config_map("b", "2"));
    harness.wait_desired("b", "2");
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    harness.wait_deleted("a");
}

#[test]
fn a_root_replaced_by_an_empty_one_deletes_nothing_until_confirmed() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    fs::rename(&harness.root, harness.dir.path().join("away")).expect("rename");
    fs::create_dir(&harness.root).expect("create");
    harness.wait("the suspicion", |event| {
        matches!(event, SourceEvent::Suspicious(Suspicion::Replaced { known: 2, there: 0 }))
    });
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
    harness.source().confirm();
    harness.wait_deleted("a");
    harness.wait_deleted("b");
    harness.wait("trust", |event| matches!(event, SourceEvent::Trusted));
}

#[test]
fn a_directory_emptied_while_nobody_looked_deletes_nothing() {
    let harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    let (dir, root, store) = harness.end();
    assert_eq!(store.known.len(), 2);
    let remembered = |store: &Remembered| Remembered { known: store.known.clone(), identity: store.identity };
    let first = remembered(&store);
    fs::remove_file(root.join("a.yaml")).expect("remove");
    fs::remove_file(root.join("b.yaml")).expect("remove");
    let mut harness = Harness::on(dir, root, first, |_| ());
    harness.wait("the suspicion", |event| {
        matches!(event, SourceEvent::Suspicious(Suspicion::Emptied { known: 2, there: 0 }))
    });
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
    harness.write("a.yaml", &config_map("a", "1"));
    harness.write("b.yaml", &config_map("b", "1"));
    harness.wait("trust", |event| matches!(event, SourceEvent::Trusted));
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn a_file_deleted_while_nobody_looked_is_deleted_if_another_is_still_there() {
    let harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    let (dir, root, store) = harness.end();
    fs::remove_file(root.join("a.yaml")).expect("remove");
    let mut harness = Harness::on(dir, root, store, |_| ());
    harness.wait_deleted("a");
    assert!(!harness.told.iter().any(suspicious));
}

#[test]
fn a_missing_root_with_known_objects_is_not_made_and_nothing_is_deleted() {
    let (dir, root, store) = Harness::with(&[("a.yaml", &config_map("a", "1"))]).end();
    fs::rename(&root, dir.path().join("away")).expect("rename");
    let mut harness = Harness::on(dir, root.clone(), store, |_| ());
    harness.wait("the suspicion", |event| matches!(event, SourceEvent::Suspicious(Suspicion::RootGone)));
    assert!(!root.exists());
    assert!(!harness.told.iter().any(|event| matches!(event, SourceEvent::InitialScanDone)));
    fs::rename(harness.dir.path().join("away"), &root).expect("rename");
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    assert_eq!((harness.deletions(), harness.count("a")), (0, 1));
}

fn mount(root: &Path, version: &str, values: &[(&str, &str)]) {
    let data = root.join(version);
    for (name, value) in values {
        write(&data.join(format!("{name}.yaml")), &config_map(name, value));
    }
    let fresh = root.join("..data_tmp");
    symlink(version, &fresh).expect("link");
    fs::rename(fresh, root.join("..data")).expect("swap");
}

#[test]
fn a_mounted_config_map_that_is_swapped_updates_and_deletes_what_it_should() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    let root = dir.path().join("resources");
    fs::create_dir(&root).expect("root");
    mount(&root, "..v1", &[("a", "1"), ("b", "1"), ("c", "1")]);
    for name in ["a", "b", "c"] {
        symlink(format!("..data/{name}.yaml"), root.join(format!("{name}.yaml"))).expect("link");
    }
    let mut harness = Harness::on(dir, root.clone(), Remembered::default(), |_| ());
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    assert_eq!((harness.count("a"), harness.count("b")), (1, 1));
    let start = Instant::now();
    mount(&root, "..v2", &[("a", "2"), ("b", "1")]);
    fs::remove_file(root.join("c.yaml")).expect("remove");
    fs::remove_dir_all(root.join("..v1")).expect("remove");
    harness.wait_desired("a", "2");
    assert!(start.elapsed() < Duration::from_secs(1));
    harness.wait_deleted("c");
    harness.settle(Duration::from_millis(300));
    assert_eq!((harness.deletions(), harness.count("b")), (1, 1), "what is the same is not told again");
}

#[test]
fn a_root_that_is_a_link_follows_it_to_the_next_release() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    for (release, value) in [("one", "1"), ("two", "2")] {
        for name in ["a", "b", "c"] {
            write(&dir.path().join(release).join(format!("{name}.yaml")), &config_map(name, value));
        }
    }
    fs::remove_file(dir.path().join("two/c.yaml")).expect("remove");
    let root = dir.path().join("current");
    symlink("one", &root).expect("link");
    let mut harness = Harness::on(dir, root.clone(), Remembered::default(), |_| ());
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    let next = harness.dir.path().join("next");
    symlink("two", &next).expect("link");
    fs::rename(&next, &root).expect("swap");
    harness.wait_desired("a", "2");
    harness.wait_deleted("c");
    harness.wait("the new identity", |event| matches!(event, SourceEvent::Identity(_)));
    harness.write("b.yaml", &config_map("b", "3"));
    harness.wait_desired("b", "3");
    assert_eq!(harness.deletions(), 1);
}

#[test]
fn a_file_that_a_link_leads_to_is_followed_when_it_changes() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    let shared = dir.path().join("shared/real.yaml");
    write(&shared, &config_map("a", "1"));
    let root = dir.path().join("resources");
    fs::create_dir(&root).expect("root");
    symlink(&shared, root.join("a.yaml")).expect("link");
    let mut harness = Harness::on(dir, root, Remembered::default(), |_| ());
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    write(&shared, &config_map("a", "2"));
    harness.wait_desired("a", "2");
    fs::remove_file(&shared).expect("remove");
    harness.wait_report("a.yaml", |report| report.held == [key("a")]);
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0, "a link that leads nowhere proves nothing");
}

#[test]
fn many_files_written_and_deleted_at_once_end_as_they_are_on_disk() {
    let mut harness = Harness::with(&[("stays.yaml", &config_map("stays", "1"))]);
    for number in 0..300 {
        harness.write(&format!("d{}/f{number}.yaml", number % 7), &config_map(&format!("f{number}"), "1"));
    }
    for number in (0..300).step_by(3) {
        fs::remove_file(harness.path(&format!("d{}/f{number}.yaml", number % 7))).expect("remove");
    }
    harness.settle(Duration::from_secs(4));
    let (_dir, _root, store) = harness.end();
    let mut names: Vec<String> = store.known.iter().map(|(key, _)| key.name.to_string()).collect();
    names.sort();
    let mut wanted: Vec<String> = (0..300).filter(|n| n % 3 != 0).map(|n| format!("f{n}")).collect();
    wanted.push("stays".into());
    wanted.sort();
    assert_eq!(names, wanted);
}
