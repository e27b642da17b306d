//! Files that are wrong in every way: each has an error with its place, its object keeps its last
//! good state, and all others go on (rules D1, D4, D5).

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{Harness, config_map, key};
use crate::source::SourceEvent;
use crate::source::yaml::{MAX_FILE_NODES, MAX_NODES, Position, parse_documents};

const HEAD: &str = "apiVersion: v1\nkind: ConfigMap\n";

/// A document that says little and means very much.
fn bomb() -> String {
    let mut text = format!("{HEAD}metadata: {{name: a}}\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", ")));
    }
    text
}

/// The text of a file with the line that its error is in, or any.
fn broken() -> Vec<(&'static str, Vec<u8>, Option<u32>)> {
    let utf16 = |text: &str| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>()
    };
    vec![
        ("broken YAML", format!("{HEAD}metadata:\n  name: [a\ndata: {{}}\n").into(), None),
        ("a key twice", format!("{HEAD}metadata:\n  name: a\n  name: b\n").into(), Some(5)),
        ("a tab as indentation", format!("{HEAD}metadata:\n\tname: a\n").into(), None),
        ("an alias bomb", bomb().into(), None),
        ("nesting without end", format!("{HEAD}metadata: {{name: a}}\ndata: {}", "[".repeat(50_000)).into(), None),
        ("no mapping", b"- just\n- a list\n".to_vec(), Some(1)),
        ("no kind", b"apiVersion: v1\nmetadata: {name: a}\n".to_vec(), Some(1)),
        ("a name that is none", format!("{HEAD}metadata:\n  name: Bad_Name\n").into(), Some(4)),
        ("a name that is a number", format!("{HEAD}metadata:\n  name: 7\n").into(), Some(4)),
        ("a namespace that is none", format!("{HEAD}metadata: {{name: a, namespace: a/b}}\n").into(), Some(3)),
        ("text that is not UTF-8", [HEAD.as_bytes(), b"data: {k: \xff}\n"].concat(), Some(3)),
        ("UTF-16", utf16(&config_map("a", "9")), Some(1)),
        ("a NUL byte", [HEAD.as_bytes(), b"data: {k: \0}\n"].concat(), Some(3)),
        ("infinity", format!("{HEAD}metadata: {{name: a}}\ndata:\n  k: .inf\n").into(), None),
    ]
}

#[test]
fn whatever_a_file_says_wrongly_its_object_stays_and_the_others_go_on() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "0")), ("b.yaml", &config_map("b", "0"))]);
    for (round, (what, bytes, line)) in broken().into_iter().enumerate() {
        let value = (round + 1).to_string();
        fs::write(harness.path("a.yaml"), bytes).expect("write");
        let report = harness.wait_report("a.yaml", |report| !report.errors.is_empty());
        assert_eq!(report.held, [key("a")], "{what}: {report:?}");
        let position = report.errors[0].position;
        assert!(position.line >= 1 && position.column >= 1, "{what}: {report:?}");
        if let Some(line) = line {
            assert_eq!(position.line, line, "{what}: {report:?}");
        }
        harness.write("b.yaml", &config_map("b", &value));
        harness.wait_desired("b", &value);
        harness.write("a.yaml", &config_map("a", &value));
        harness.wait_desired("a", &value);
        harness.wait_report("a.yaml", |report| report.errors.is_empty());
    }
    assert_eq!(harness.deletions(), 0);
}

/// Puts something in the place of a file in one step, as a rename does.
fn replace(harness: &Harness, file: &str, make: impl FnOnce(&std::path::Path)) {
    let hidden = harness.path(".new");
    make(&hidden);
    fs::rename(hidden, harness.path(file)).expect("rename");
}

fn make_pipe(path: &std::path::Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo is part of every system");
    assert!(made.success());
}

#[test]
fn what_is_no_file_is_never_opened_and_its_object_stays() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "0")), ("b.yaml", &config_map("b", "0"))]);
    let mut sockets = Vec::new();
    for round in 1..=4 {
        let value = round.to_string();
        let words = match round {
            1 => {
                replace(&harness, "a.yaml", make_pipe);
                "a pipe"
            }
            2 => {
                replace(&harness, "a.yaml", |path| sockets.push(UnixListener::bind(path).expect("bind")));
                "a socket"
            }
            3 => {
                replace(&harness, "a.yaml", |path| symlink("/dev/zero", path).expect("link"));
                "a device"
            }
            _ => {
                replace(&harness, "a.yaml", |path| symlink("a.yaml", path).expect("link"));
                "cannot be read"
            }
        };
        let wanted = |report: &crate::source::FileReport| report.errors.iter().any(|e| e.message.contains(words));
        let report = harness.wait_report("a.yaml", wanted);
        assert_eq!(report.held, [key("a")], "{words}: {report:?}");
        harness.write("b.yaml", &config_map("b", &value));
        harness.wait_desired("b", &value);
        replace(&harness, "a.yaml", |path| fs::write(path, config_map("a", &value)).expect("write"));
        harness.wait_desired("a", &value);
    }
    assert_eq!(harness.deletions(), 0);
}

#[test]
fn a_host_starts_beside_a_pipe_that_nobody_writes() {
    let dir = tempfile::TempDir::new().expect("tempdir");
    let root = dir.path().join("resources");
    fs::create_dir(&root).expect("root");
    fs::write(root.join("b.yaml"), config_map("b", "1")).expect("write");
    make_pipe(&root.join("a.yaml"));
    let mut harness = Harness::on(dir, root, super::harness::Remembered::default(), |_| ());
    harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
    assert_eq!(harness.count("b"), 1);
    // What the scan found is outdated by a file that can be read.
    replace(&harness, "a.yaml", |path| fs::write(path, config_map("a", "1")).expect("write"));
    harness.wait_desired("a", "1");
    harness.wait_report("a.yaml", |report| report.errors.is_empty());
}

#[test]
fn a_file_of_fifty_megabytes_is_not_read_and_its_object_stays() {
    let mut harness = Harness::with(&[("a.yaml", &config_map("a", "0")), ("b.yaml", &config_map("b", "0"))]);
    replace(&harness, "a.yaml", |path| fs::File::create(path).expect("create").set_len(50 << 20).expect("sparse"));
    let start = Instant::now();
    let report = harness.wait_report("a.yaml", |report| !report.errors.is_empty());
    assert!(report.errors[0].message.contains("52428800 bytes"), "{report:?}");
    assert_eq!(report.held, [key("a")]);
    assert!(start.elapsed() < Duration::from_secs(3));
    harness.write("b.yaml", &config_map("b", "1"));
    harness.wait_desired("b", "1");
}

#[test]
fn ten_thousand_documents_in_one_file_are_ten_thousand_objects() {
    let text: Vec<String> = (0..10_000).map(|number| config_map(&format!("o-{number}"), "1")).collect();
    let harness = Harness::with(&[("all.yaml", &text.join("---\n"))]);
    let told = harness.told.iter().filter(|event| matches!(event, SourceEvent::Desired(_))).count();
    assert_eq!((told, harness.errors()), (10_000, 0));
}

#[test]
fn a_file_of_bombs_costs_no_more_than_its_limit() {
    let text = vec![bomb(); 2_000].join("---\n");
    let start = Instant::now();
    let documents = parse_documents(&text);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(documents.len(), MAX_FILE_NODES / MAX_NODES + 1);
    let Some(Err(error)) = documents.last() else { panic!("the last one says why there are no more") };
    assert!(error.message.contains("divide the file"), "{error}");
}

#[test]
fn a_long_text_cannot_be_multiplied_by_aliases_without_end() {
    let text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 60].join(", "));
    let documents = parse_documents(&text);
    assert!(matches!(&documents[..], [Err(_)]), "60 MiB from one are too many");
    let fine = format!("a: &a \"{}\"\nb: [*a, *a]\n", "x".repeat(1 << 20));
    assert!(matches!(&parse_documents(&fine)[..], [Ok(_)]));
}

#[test]
fn words_that_yaml_once_read_as_booleans_are_noticed_where_they_are() {
    let data = "  k: yes\n  l: \"no\"\n  m: true\n  n: [Off, no way]\n  o: n\n";
    let text = format!("{HEAD}metadata: {{name: a}}\ndata:\n{data}");
    let documents = parse_documents(&text);
    let [Ok(document)] = &documents[..] else { panic!("{documents:?}") };
    let at = |line, column| Position { line, column };
    let places: Vec<Position> = document.booleans.iter().map(|(position, _)| *position).collect();
    assert_eq!(places, [at(5, 6), at(8, 7), at(9, 6)], "{:?}", document.booleans);
    assert_eq!(document.booleans[0].1, "`yes` is read as true; write true for a boolean, or \"yes\" for text");

    let harness = Harness::with(&[("a.yaml", &text)]);
    let noticed = |event: &SourceEvent| {
        matches!(event, SourceEvent::Report(report)
            if report.notices.iter().any(|notice| notice.position == at(5, 6) && notice.message.contains("`yes`")))
    };
    assert!(harness.told.iter().any(noticed), "{:?}", harness.told);
}

#[test]
fn keys_with_dots_and_slashes_are_found_again() {
    let text = format!("{HEAD}metadata:\n  name: a\n  labels:\n    app.kubernetes.io/name: x\n");
    let documents = parse_documents(&text);
    let [Ok(document)] = &documents[..] else { panic!("{documents:?}") };
    let place = document.spans.locate_key("/metadata/labels/app.kubernetes.io~1name");
    assert_eq!(place, Position { line: 6, column: 5 });
}
