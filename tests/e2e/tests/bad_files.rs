//! Files that are wrong: their objects keep their last good state, the mistake is told with its place
//! wherever people look, and everything else goes on.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{HOSTILE, WORKFLOW, configuration, echo, events, hostile, says, shows, workflow};
use setpoint_test_support::{Host, run};

/// Line and column.
type At = (u64, u64);

/// Each with a part of what is said of it, and the place if it is a certain one.
const CASES: [(&str, &str, Option<At>); 10] = [
    ("broken-yaml", "", None),
    ("wrong-type", "count", Some((5, 30))),
    ("duplicate-key", "is there twice", None),
    ("alias-bomb", "too large", None),
    ("too-large", "bytes", Some((1, 1))),
    ("pipe", "regular file", Some((1, 1))),
    ("link-to-itself", "cannot be read", Some((1, 1))),
    ("link-to-nowhere", "leads nowhere", Some((1, 1))),
    ("not-utf-8", "UTF-8", Some((5, 31))),
    ("rule-of-the-schema", "exactly one of tool", None),
];

fn kind(case: &str) -> &'static str {
    if case == "rule-of-the-schema" { WORKFLOW } else { HOSTILE }
}

fn good(case: &str, value: u64) -> String {
    if kind(case) == WORKFLOW { workflow(case, 2) } else { echo(case, value) }
}

/// Puts something wrong in the place of a file, in one step.
fn spoil(host: &Host, case: &str) {
    let file = host.resources().join(format!("{case}.yaml"));
    let new = host.resources().join(format!(".{case}.new"));
    make(case, &new).and_then(|()| fs::rename(&new, &file)).unwrap_or_else(|error| panic!("{case}: {error}"));
}

fn make(case: &str, new: &Path) -> std::io::Result<()> {
    match case {
        "broken-yaml" => fs::write(new, echo(case, 2).replace('}', "")),
        "wrong-type" => fs::write(new, hostile("Hostile", case, "behaviour: ok, count: many")),
        "duplicate-key" => fs::write(new, hostile("Hostile", case, "behaviour: ok, value: 2, value: 3")),
        "alias-bomb" => fs::write(new, alias_bomb(case)),
        "too-large" => File::create(new)?.set_len(50 << 20),
        "pipe" => {
            run(Command::new("mkfifo").arg(new), Duration::from_secs(10)).ok();
            Ok(())
        }
        "link-to-itself" => symlink(format!("{case}.yaml"), new),
        "link-to-nowhere" => symlink("not-there.yaml", new),
        "not-utf-8" => {
            let mut text = hostile("Hostile", case, "behaviour: ok, value: '?'").into_bytes();
            let at = text.iter().position(|byte| *byte == b'?').unwrap_or_default();
            text[at] = 0xff;
            fs::write(new, text)
        }
        "rule-of-the-schema" => fs::write(new, workflow(case, 0) + "  - id: lost\n"),
        other => panic!("{other} is no case"),
    }
}

/// Ten million nodes in a few lines.
fn alias_bomb(name: &str) -> String {
    let mut text = hostile("Hostile", name, "").replace("spec: {}", "spec:\n  behaviour: ok\n  value:");
    text.push_str("    a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (one, next) in ["a", "b", "c", "d", "e", "f"].iter().zip(["b", "c", "d", "e", "f", "g"]) {
        let ten = vec![format!("*{one}"); 10].join(", ");
        text.push_str(&format!("    {next}: &{next} [{ten}]\n"));
    }
    text
}

/// The first mistake of a file, and its place as people read it.
fn mistake(host: &Host, file: &str) -> Option<(Value, String)> {
    let row = host.wrong(file).into_iter().next()?;
    let place = format!("{file}:{}:{}", row["line"], row["column"]);
    Some((row, place))
}

#[test]
fn a_file_that_goes_wrong_keeps_its_object_and_says_where_people_look() {
    let mut setup = Host::setup().plugin("hostile").plugin("workflow").file("neighbour.yaml", &echo("neighbour", 1));
    for (case, ..) in CASES {
        setup = setup.file(&format!("{case}.yaml"), &good(case, 1));
    }
    let host = setup.start();
    host.all_synced(CASES.len() + 1, Duration::from_secs(20));
    host.at_rest();
    let before: Vec<Option<Value>> = CASES.iter().map(|(case, ..)| host.object(kind(case), case)).collect();
    assert!(before.iter().all(Option::is_some), "{before:?}");

    for (case, ..) in CASES {
        spoil(&host, case);
    }
    host.write("neighbour.yaml", &echo("neighbour", 2));
    host.wait_for("what is right goes on", |host| shows(host, "neighbour", 2));
    for ((case, said, at), before) in CASES.iter().zip(&before) {
        let file = format!("{case}.yaml");
        let (row, place) = host.wait_for(&format!("the mistake of {file}"), |host| mistake(host, &file));
        assert!(says(&row["message"], said), "{case}: {row}");
        assert!(row["line"].as_u64() >= Some(1) && row["column"].as_u64() >= Some(1), "{case}: {row}");
        if let Some(at) = at {
            assert_eq!((row["line"].as_u64(), row["column"].as_u64()), (Some(at.0), Some(at.1)), "{case}: {row}");
        }
        host.wait_for(&format!("the row of {case} names its file"), |host| {
            let rows = host.rows(kind(case).split('.').next().unwrap_or_default());
            let row = rows.into_iter().find(|row| row["name"] == **case)?;
            row["problems"].as_array()?.iter().any(|problem| says(problem, &place)).then_some(())
        });
        host.wait_for(&format!("an event of {case} names its file"), |host| {
            events(host, kind(case), case).iter().any(|event| says(&event["message"], &place)).then_some(())
        });
        assert!(host.log().contains(&place), "{case}: {place}\n{}", host.log_tail());
        let shown = host.cli(&["get"]).ok();
        assert!(shown.contains(&place), "{case}: {place}\n{shown}");
        assert_eq!(host.object(kind(case), case), *before, "{case}: what is wrong changes nothing");
    }

    // A host that starts with them keeps what it had as well.
    let host = host.stop().start();
    for ((case, ..), before) in CASES.iter().zip(&before) {
        host.wait_for(&format!("the mistake of {case} is found again"), |host| mistake(host, &format!("{case}.yaml")));
        assert_eq!(host.object(kind(case), case), *before, "{case}: after a restart");
    }
    for (case, ..) in CASES {
        host.write(&format!("{case}.yaml"), &good(case, 3));
    }
    for (case, ..) in CASES {
        host.wait_for(&format!("{case} is mended"), |host| {
            host.wrong(&format!("{case}.yaml")).is_empty().then_some(())
        });
    }
    for (case, ..) in CASES.iter().filter(|(case, ..)| kind(case) == HOSTILE) {
        host.wait_for(&format!("{case} is as its file says"), |host| shows(host, case, 3));
    }
    host.all_synced(CASES.len() + 1, Duration::from_secs(20));
}

/// A misspelt field, and where it is.
fn misspelt() -> (String, String) {
    let spec = "behaviour: ok, value: 2, valeu: 3";
    let column = format!("spec: {{{spec}").find("valeu").unwrap_or_default() + 1;
    (hostile("Hostile", "a", spec), format!("a.yaml:5:{column}"))
}

#[test]
fn a_field_that_nobody_knows_is_left_out_and_told_with_its_place() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.wait_for("the status", |host| shows(host, "a", 1));
    let (text, place) = misspelt();
    host.write("a.yaml", &text);
    host.wait_for("all else of the file is through", |host| shows(host, "a", 2));
    assert_eq!(host.object(HOSTILE, "a").map(|object| object["spec"]["valeu"].clone()), Some(Value::Null));
    host.wait_for("the log names the place and the field", |host| {
        host.log().lines().any(|line| line.contains(&place) && line.contains("valeu")).then_some(())
    });
}

#[test]
fn a_field_that_nobody_knows_is_refused_if_the_configuration_is_strict() {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .file("b.yaml", &echo("b", 1))
        .config(&configuration("strict: true\n"))
        .start();
    host.all_synced(2, Duration::from_secs(20));
    let before = host.object(HOSTILE, "a");
    let (text, place) = misspelt();
    host.write("a.yaml", &text);
    let (row, found) = host.wait_for("the mistake is told", |host| mistake(host, "a.yaml"));
    assert_eq!(found, place, "{row}");
    assert!(says(&row["message"], "valeu"), "{row}");
    assert_eq!(host.object(HOSTILE, "a"), before, "the last good state is kept");
    host.write("b.yaml", &echo("b", 2));
    host.wait_for("others go on", |host| shows(host, "b", 2));
    host.write("a.yaml", &echo("a", 4));
    host.wait_for("mended, it is through", |host| shows(host, "a", 4));
    assert_eq!(host.row("Hostile", "a").map(|row| row["problems"].clone()), Some(json!([])));
}
