//! Edits, errors and kinds, on a real directory.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::harness::{Harness, Remembered, config_map, key};
use crate::source::{SourceEvent, StartError};

const WINDOW: Duration = Duration::from_millis(2_200);

#[test]
fn the_initial_scan_tells_every_object_once_and_then_that_it_is_done() {
    let two = format!("{}---\n{}", config_map("b", "1"), config_map("c", "1"));
    let harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("d/e/more.yml", &two)]);
    assert_eq!((harness.count("a"), harness.count("b"), harness.count("c")), (1, 1, 1));
    assert!(matches!(harness.told.last(), Some(SourceEvent::InitialScanDone)));
    assert!(harness.told.iter().any(|event| matches!(event, SourceEvent::Identity(_))));
    let Some(SourceEvent::Desired(desired)) =
        harness.told.iter().find(|event| matches!(event, SourceEvent::Desired(d) if d.object.key == key("c")))
    else {
        panic!("c was told")
    };
    assert_eq!((desired.line, &*desired.file), (8, "d/e/more.yml"));
    assert_eq!(desired.spans.locate("/data/k").line, 13);
}

#[test]
fn a_missing_root_is_made_if_the_directory_above_is_there() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    let root = dir.path().join("resources");
    let mut harness = Harness::on(dir, root.clone(), Remembered::default(), |_| ());
    harness.wait("the making of the root", |event| matches!(event, SourceEvent::RootCreated));
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    assert!(root.is_dir());
    harness.write("a.yaml", &config_map("a", "1"));
    harness.wait_desired("a", "1");
}

#[test]
fn a_root_that_cannot_be_one_is_refused_with_what_to_do() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    fs::write(dir.path().join("file"), "").expect("write");
    let kinds: crate::source::KindLookup = std::sync::Arc::new(|_: &str, _: &str| None);
    let start = |root: &str| crate::source::SourceOptions::new(dir.path().join(root), kinds.clone()).start(|_| ());
    assert!(matches!(start("file"), Err(StartError::NotADirectory)));
    assert!(matches!(start("no/such/root"), Err(StartError::NoParent)));
}

#[test]
fn an_edit_is_told_at_once() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "0"))]);
    let mut times = Vec::new();
    for round in 1..=9 {
        let value = round.to_string();
        let start = Instant::now();
        harness.write("a.yaml", &config_map("a", &value));
        harness.wait_desired("a", &value);
        times.push(start.elapsed());
        harness.settle(Duration::from_millis(20));
    }
    times.sort();
    assert!(times[4] < Duration::from_millis(40), "median of {times:?}: closing the file is what is waited for");
    assert_eq!(harness.count("a"), 10, "each edit once");
}

#[test]
fn an_atomic_save_is_an_update() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1"))]);
    harness.write(".a.yaml.tmp", &config_map("a", "2"));
    fs::rename(harness.path(".a.yaml.tmp"), harness.path("a.yaml")).expect("rename");
    harness.wait_desired("a", "2");
    harness.settle(WINDOW);
    assert_eq!((harness.deletions(), harness.errors(), harness.count("a")), (0, 0, 2));
}

#[test]
fn an_editor_that_moves_the_old_file_away_makes_an_update() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1"))]);
    fs::rename(harness.path("a.yaml"), harness.path("a.yaml~")).expect("rename");
    std::thread::sleep(Duration::from_millis(100));
    harness.write("a.yaml", &config_map("a", "2"));
    fs::remove_file(harness.path("a.yaml~")).expect("remove");
    harness.wait_desired("a", "2");
    harness.settle(WINDOW);
    assert_eq!((harness.deletions(), harness.count("a")), (0, 2));
}

#[test]
fn a_write_in_pieces_is_read_when_it_is_whole() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    let mut file = OpenOptions::new().write(true).truncate(true).open(harness.path("a.yaml")).expect("open");
    for piece in ["apiVersion: v1\nkind: Conf", "igMap\nmetadata:\n  name: a\ndata:\n", "  k: \"2\"\n"] {
        file.write_all(piece.as_bytes()).expect("write");
        file.flush().expect("flush");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(file);
    harness.wait_desired("a", "2");
    harness.settle(WINDOW);
    assert_eq!((harness.deletions(), harness.errors(), harness.count("a")), (0, 0, 2), "{:?}", harness.told);
}

#[test]
fn a_broken_file_is_reported_with_its_place_and_its_objects_are_kept() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))]);
    harness.write("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [a\n");
    let report = harness.wait_report("a.yaml", |report| !report.errors.is_empty());
    assert!(report.errors[0].position.line >= 4, "{report:?}");
    assert_eq!(report.held, [key("a")]);
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
    harness.write("a.yaml", &config_map("a", "2"));
    harness.wait_desired("a", "2");
    harness.wait_report("a.yaml", |report| report.is_empty());
}

#[test]
fn one_broken_document_of_several_does_not_hide_the_others() {
    let text = |b: &str| format!("{}---\n{b}---\n{}", config_map("a", "1"), config_map("c", "1"));
    let mut harness = Harness::with(&[("all.yaml", &text(&config_map("b", "1")))]);
    let broken = text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b\n")
        .replace("name: c\ndata:\n  k: \"1\"", "name: c\ndata:\n  k: \"2\"");
    harness.write("all.yaml", &broken);
    harness.wait_desired("c", "2");
    let report = harness.wait_report("all.yaml", |report| !report.errors.is_empty());
    assert_eq!((report.errors.len(), report.held.as_slice()), (1, &[key("b")][..]));
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn two_files_with_one_object_are_noticed_and_the_second_takes_over_when_the_first_goes() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("x", "first")), ("b.yaml", &config_map("x", "second"))]);
    assert_eq!(harness.count("x"), 1);
    let duplicate = |report: &crate::source::FileReport| {
        report.notices.iter().any(|n| n.message.contains("defined in a.yaml as well"))
    };
    assert!(
        harness
            .told
            .iter()
            .any(|event| matches!(event, SourceEvent::Report(r) if &*r.file == "b.yaml" && duplicate(r)))
    );
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    assert_eq!(&*harness.wait_desired("x", "second"), "b.yaml");
    harness.wait_report("b.yaml", |report| !duplicate(report));
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn status_in_several_documents_is_one_notice_per_file() {
    let text = format!("{}status: {{}}\n---\n{}status: {{}}\n", config_map("a", "1"), config_map("b", "1"));
    let harness = Harness::with(&[("two.yaml", &text)]);
    let notices: Vec<_> = harness
        .told
        .iter()
        .filter_map(|event| match event {
            SourceEvent::Report(report) => Some(&report.notices),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].message.contains("status") && notices[0].position.line == 7, "{notices:?}");
}

#[test]
fn a_document_of_an_unknown_kind_waits_for_its_kind_and_outlives_it() {
    let late =
        |value: u8| format!("apiVersion: late.dev/v1\nkind: Late\nmetadata: {{name: l}}\nspec: {{a: {value}}}\n");
    let mut harness = Harness::with(&[("l.yaml", &late(1)), ("b.yaml", &config_map("b", "1"))]);
    let told =
        |event: &SourceEvent| matches!(event, SourceEvent::Desired(desired) if &*desired.object.key.kind == "Late");
    assert!(!harness.told.iter().any(told));
    assert!(harness.told.iter().any(|event| matches!(event, SourceEvent::Report(r) if r.unclaimed.len() == 1)));
    harness.late.store(true, Ordering::SeqCst);
    harness.source().reclassify(7);
    harness.wait("the object of the late kind", told);
    harness.wait_report("l.yaml", |report| report.is_empty());
    harness.wait("the end of it", |event| matches!(event, SourceEvent::Reclassified { ticket: 7 }));
    harness.late.store(false, Ordering::SeqCst);
    harness.write("l.yaml", &late(2));
    harness.wait_report("l.yaml", |report| report.unclaimed.len() == 1);
    harness.settle(WINDOW);
    assert_eq!(harness.deletions(), 0, "its document is still there");
    fs::remove_file(harness.path("l.yaml")).expect("remove");
    harness.wait("its deletion", |event| matches!(event, SourceEvent::Deleted { key, .. } if &*key.kind == "Late"));
}

#[test]
fn nothing_is_told_twice_however_often_the_files_are_read() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1")), ("bad.yaml", "a: [")]);
    let before = harness.told.len();
    harness.source().rescan();
    harness.source().rescan();
    harness.settle(Duration::from_millis(600));
    assert_eq!(harness.told.len(), before, "{:?}", &harness.told[before..]);
}

#[test]
fn polling_finds_what_no_event_tells() {
    let mut harness = Harness::started(
        &[("a.yaml", &config_map("a", "1")), ("b.yaml", &config_map("b", "1"))],
        Remembered::default(),
        |options| {
            options.force_polling = true;
            options.poll = Duration::from_millis(50);
        },
    );
    assert!(harness.told.iter().any(|event| matches!(event, SourceEvent::Polling { .. })));
    harness.write("a.yaml", &config_map("a", "2"));
    harness.wait_desired("a", "2");
    harness.write("d/c.yaml", &config_map("c", "1"));
    harness.wait_desired("c", "1");
    fs::remove_file(harness.path("a.yaml")).expect("remove");
    harness.wait_deleted("a");
}

#[test]
fn a_stopped_source_tells_nothing_more() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "1"))]);
    harness.source.take().expect("running").stop();
    let before = harness.told.len();
    harness.write("a.yaml", &config_map("a", "2"));
    harness.settle(Duration::from_millis(300));
    assert_eq!(harness.told.len(), before);
}
