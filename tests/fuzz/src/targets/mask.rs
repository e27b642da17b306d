//! Field paths and masks: one path per line.

use std::sync::LazyLock;

use serde_json::{Value, json};
use setpoint_core::Object;
use setpoint_core::mask::{Mask, Path};

use crate::place::assert_one_line;
use crate::{QUICK, Target, nothing};

/// A path that parses survives its own text. Through a mask of paths one sees at each of them what the
/// object has there (rule A8), and an object does not differ from itself (rule A2).
pub(crate) const TARGET: Target = Target {
    name: "mask",
    run,
    end: nothing,
    longest: 1_024,
    patience: QUICK,
    words: &[
        ".", "[*]", "['", "']", "[\"", "\"]", "spec", "refs", "name", "metadata", "labels", "a.b", "status", "\n", " ",
        "'", "\"", "]", "[", "list", "deep", "none",
    ],
};

static OBJECT: LazyLock<Object> = LazyLock::new(|| {
    let value = json!({
        "apiVersion": "v1", "kind": "K",
        "metadata": {"name": "a", "namespace": "default", "labels": {"a.b": "x", "": "y"}, "annotations": {"it's": "z"}},
        "spec": {"refs": [{"name": "p", "deep": {"list": [1, null, [2]]}}, "scalar", {"name": null}], "none": null,
                 "a": {}},
        "status": {"list": [], "name": 1.5, "a": true},
    });
    Object::new(value, None)
});

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut paths = Vec::new();
    for line in text.lines() {
        match Path::parse(line) {
            Ok(path) => {
                assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path), "{path}");
                paths.push((line, path));
            }
            Err(error) => assert_one_line(&error.to_string()),
        }
    }
    let lines: Vec<&str> = paths.iter().map(|(line, _)| *line).collect();
    let mask = Mask::parse(&lines).unwrap_or_else(|error| panic!("each path alone parsed: {error}"));
    assert!(!mask.differs(&OBJECT, &OBJECT));
    let seen: Value =
        serde_json::from_str(&mask.view(&OBJECT)).unwrap_or_else(|error| panic!("a view that is no JSON: {error}"));
    let whole = OBJECT.value();
    for (_, path) in &paths {
        assert_eq!(path.values(&seen), path.values(&whole), "{path} of {seen}");
    }
}
