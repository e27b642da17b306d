//! Grants.

use serde_json::{Value, json};
use setpoint_core::grants::{Grant, Grants};
use setpoint_core::key::{GroupKind, Key};

use crate::place::assert_one_line;
use crate::{QUICK, Target, nothing};

/// A grant that parses survives its own text, and nothing that was written to narrow it is dropped
/// (rule D15). Whether it covers something is decided in bounded time, whatever the pattern.
pub(crate) const TARGET: Target = Target {
    name: "grants",
    run,
    end: nothing,
    longest: 512,
    patience: QUICK,
    words: &[
        "described",
        "read:",
        "write:",
        "process",
        "http:",
        "core/",
        "Secret",
        "ConfigMap",
        "/",
        "@",
        "*",
        "local",
        "*a",
        "prod-*",
        "team-*",
        ":",
        "Process",
        "host.setpoint.dev/",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let grant = match Grant::parse(&text) {
        Ok(grant) => grant,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let shown = grant.to_string();
    assert_eq!(Grant::parse(&shown).as_ref(), Ok(&grant), "{shown}");
    let everywhere = text.split_once('@').is_none_or(|(_, scope)| scope == "*");
    assert!(everywhere || shown.contains('@'), "{text:?} is taken as {shown}");
    let grants = Grants::new(vec![grant]);
    // As long as names of clusters and namespaces can be.
    let long = "a".repeat(63);
    for kind in ["Secret", "ConfigMap", "Process"] {
        let key = Key::new(&long, "", kind, Some(&long), "x");
        let (read, write) = (
            grants.may_read(&GroupKind::new("", kind), &long, Some(&long)),
            grants.may_write(&key, &Value::Null).is_ok(),
        );
        // What only reads never writes, and the other way round; `described` is both.
        assert!(!(read && write) || shown.starts_with("described"), "{shown}");
    }
    let process = Key::new("local", "host.setpoint.dev", "Process", Some("default"), "x");
    let runs = |command: &str| grants.may_write(&process, &json!({"spec": {"command": command}})).is_ok();
    assert!(!runs(&long) || shown == "process" || shown.starts_with("process:"), "{shown}");
    assert!(runs(&long) || shown != "process", "{shown}");
}
