//! YAML and JSON of resource files.

use serde_json::Value;
use setpoint_cluster::source::yaml::{Document, MAX_NODES, parse_documents};

use crate::place::{assert_one_line, assert_within};
use crate::{QUICK, Target, nothing};

/// A broken document is told with a place in the text; a document that parses knows where each of
/// its values is, is no larger than the limit, and says the same when it is written as JSON.
pub(crate) const TARGET: Target = Target {
    name: "yaml",
    run,
    end: nothing,
    longest: 16 * 1024,
    patience: QUICK,
    words: &[
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "&a ",
        "*a",
        "<<: *a\n",
        "? ",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "| \n",
        ">-\n",
        "!!str ",
        "!!int ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "# ",
        "0o17",
        "0x1f",
        "010",
        "1e400",
        ".nan",
        "-.inf",
        "~",
        "null",
        "yes",
        "true",
        "18446744073709551616",
        "\u{feff}",
        "\t",
        "\r\n",
        "\\u0000",
        "\u{85}",
        "key: ",
    ],
};

/// Values whose places are looked up; each takes as long as the document is large.
const LOOKED_UP: usize = 100;

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for document in parse_documents(&text) {
        match document {
            Ok(document) => check(&text, &document),
            Err(error) => {
                assert_one_line(&error.message);
                assert_within(&text, error.position.line, error.position.column, &error.message);
            }
        }
    }
}

fn check(text: &str, document: &Document) {
    assert_within(text, document.line, 1, "the beginning of a document");
    let mut pointers = Vec::new();
    let values = walk(&document.value, "", &mut pointers);
    assert!(values <= MAX_NODES, "{values} values in one document");
    for pointer in &pointers {
        let (value, key) = (document.spans.locate(pointer), document.spans.locate_key(pointer));
        assert_within(text, value.line, value.column, pointer);
        assert_within(text, key.line, key.column, pointer);
    }
    // What is no JSON to a parser of YAML, such as a key of more than 1 024 characters, may be refused; what is
    // read has to be the same.
    if let [Ok(again)] = &parse_documents(&document.value.to_string())[..] {
        assert_eq!(again.value, document.value, "the same document as JSON");
    }
}

/// Counts values, and gathers the pointers of the first ones.
fn walk(value: &Value, pointer: &str, pointers: &mut Vec<String>) -> usize {
    if pointers.len() < LOOKED_UP {
        pointers.push(pointer.to_owned());
    }
    let mut below = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        walk(value, &format!("{pointer}/{name}"), pointers)
    };
    1 + match value {
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| below(&at.to_string(), item)).sum::<usize>(),
        Value::Object(fields) => fields.iter().map(|(name, value)| below(name, value)).sum::<usize>(),
        _ => 0,
    }
}
