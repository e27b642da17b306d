//! Children that a plugin may not have, and children that somebody fights over: refused or slowed
//! down, and told where people look (rules B4, B10, C4).

use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_e2e::{CONFIG_MAP, HOSTILE, condition, echo, hostile, says, shows};
use setpoint_test_support::Host;

/// A `Hostile` that returns these children as they are, and an allowed one beside them.
fn returning(name: &str, child: &str) -> String {
    let spec = format!("behaviour: children, value: 0, rawChildren: [{child}], children: [{{name: {name}-allowed}}]");
    hostile("Hostile", name, &spec)
}

#[test]
fn a_child_that_makes_no_sense_is_refused_and_the_others_are_made() {
    // Each with the reason's code and what is said.
    let cases = [
        ("nameless", "{apiVersion: v1, kind: ConfigMap, metadata: {}}", "ChildInvalid", "no metadata.name"),
        (
            "generated",
            "{apiVersion: v1, kind: ConfigMap, metadata: {generateName: x-}}",
            "ChildInvalid",
            "generateName is not supported",
        ),
        (
            "with-status",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: s}, status: {a: b}}",
            "ChildInvalid",
            "may not carry a status",
        ),
        (
            "with-owner",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: o, ownerReferences: [{kind: ConfigMap, name: x, uid: y}]}}",
            "ChildInvalid",
            "may not carry metadata.ownerReferences",
        ),
        (
            "with-finalizer",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: f, finalizers: [a.io/b]}}",
            "ChildInvalid",
            "may not carry metadata.finalizers",
        ),
        (
            "not-described",
            "{apiVersion: v1, kind: Secret, metadata: {name: d}}",
            "ChildNotDescribed",
            "does not describe that it writes Secret",
        ),
        ("not-valid", "{apiVersion: v1, kind: ConfigMap, metadata: {name: v}, data: {a: [1]}}", "ChildInvalid", "data"),
    ];
    let mut setup = Host::setup().plugin("hostile");
    for (name, child, ..) in cases {
        setup = setup.file(&format!("{name}.yaml"), &returning(name, child));
    }
    let host = setup.start();
    for (name, _, code, text) in cases {
        let row = host.wait_for(&format!("{name} is refused"), |host| {
            host.row("Hostile", name).filter(|row| row["state"] == "Error")
        });
        assert!(says(&row["last_error"], text), "{name}: {text:?} is missing: {row}");
        assert_eq!(row["attempt"], 0, "{name}: a refusal is no failed attempt: {row}");
        let status = host.object(HOSTILE, name).unwrap_or_default()["status"].clone();
        let stalled = condition(&status, "Stalled");
        assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!(code)), "{name}: {status}");
        assert_eq!(condition(&status, "Ready")["status"], "False", "{name}: {status}");
        host.wait_for(&format!("an event tells it of {name}"), |host| {
            let events = setpoint_e2e::events(host, HOSTILE, name);
            events.iter().any(|event| event["type"] == "Warning" && says(&event["message"], text)).then_some(())
        });
        assert!(host.object(CONFIG_MAP, &format!("{name}-allowed")).is_some(), "{name}: the others are made");
    }
    for (kind, name) in [(CONFIG_MAP, "s"), (CONFIG_MAP, "o"), (CONFIG_MAP, "f"), (CONFIG_MAP, "v"), ("Secret", "d")] {
        assert!(host.object(kind, name).is_none(), "{kind} {name} was written");
    }
    host.at_rest();
    let writes = host.writes();
    host.never("refused, it is not written again and again", Duration::from_millis(500), |host| {
        host.writes() != writes
    });
}

#[test]
fn of_two_owners_of_one_child_the_first_keeps_it_and_the_other_waits_for_it() {
    let wants = |name: &str, word: &str| {
        let children = format!("[{{name: one, data: {{by: {word}}}}}]");
        hostile("Hostile", name, &format!("behaviour: children, value: 0, children: {children}"))
    };
    let host = Host::setup().plugin("hostile").file("first.yaml", &wants("first", "first")).start();
    host.wait_for("the first has it", |host| host.object(CONFIG_MAP, "one"));
    host.write("second.yaml", &wants("second", "second"));
    let row = host.wait_for("the other is refused", |host| {
        host.row("Hostile", "second").filter(|row| says(&row["last_error"], "it is a child of"))
    });
    assert!(
        says(&row["last_error"], &format!("Hostile/{}/first", setpoint_test_support::place::namespace())),
        "it says whose it is: {row}"
    );
    assert_eq!((&row["attempt"], &row["state"]), (&json!(0), &json!("Error")), "{row}");
    host.at_rest();
    let version = |host: &Host| host.object(CONFIG_MAP, "one").map(|map| map["metadata"]["resourceVersion"].clone());
    let before = version(&host);
    host.client()
        .post(&format!("/v1/reconciles/{}/trigger", Host::path(HOSTILE, "second")))
        .unwrap_or_else(|error| panic!("{error}"));
    host.never("nobody writes over the other", Duration::from_millis(500), |host| version(host) != before);
    assert_eq!(host.row("Hostile", "first").map(|row| row["state"].clone()), Some(json!("Synced")));

    host.write("first.yaml", &hostile("Hostile", "first", "behaviour: no-children, value: 0"));
    host.wait_for("the first lets it go, and the other has it", |host| {
        (host.object(CONFIG_MAP, "one")?["data"] == json!({"by": "second"})).then_some(())
    });
    host.wait_for("it is content", |host| host.row("Hostile", "second").filter(|row| row["state"] == "Synced"));
}

#[test]
fn a_child_that_somebody_keeps_deleting_is_slowed_down_named_and_comes_back_in_the_end() {
    let host = Host::setup()
        .plugin("hostile")
        .file("h.yaml", &hostile("Hostile", "h", "behaviour: children, value: 0, children: [{name: fought-over}]"))
        .file("a.yaml", &echo("a", 1))
        .start();
    host.wait_for("it is there", |host| host.object(CONFIG_MAP, "fought-over"));
    let began = Instant::now();
    let row = host.wait_within("the fight is slowed down", Duration::from_secs(60), |host| {
        // That it is not there just now is no error.
        host.delete(CONFIG_MAP, "fought-over");
        host.row("Hostile", "h").filter(|row| row["damped"] == true)
    });
    println!("measured: a fight over a child is slowed down after {:.1} s", began.elapsed().as_secs_f64());
    assert!(row["causes"].to_string().contains("fought-over"), "it names what it is about: {row}");
    let shown = host.cli(&["get", "hostile", "-n", &setpoint_test_support::place::namespace()]).ok();
    assert!(
        shown.lines().any(|line| (line.contains(" h ") || line.starts_with('h')) && line.contains("Damped")),
        "{shown}"
    );
    // The others are as quick as ever, and so is a person.
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("others are not slowed down", |host| shows(host, "a", 2));
    host.wait_within("the last state is seen", Duration::from_secs(30), |host| host.object(CONFIG_MAP, "fought-over"));
    host.write("h.yaml", &hostile("Hostile", "h", "behaviour: ok, value: 3"));
    host.wait_for("a new spec is tried at once", |host| shows(host, "h", 3));
    assert_eq!(host.row("Hostile", "h").map(|row| row["damped"].clone()), Some(json!(false)));
}
