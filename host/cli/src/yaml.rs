//! JSON values as YAML in block style, as people write it. What is written reads back as the same
//! value in every YAML 1.1 or 1.2 reader: a string is written plainly only where none could take it
//! for something else.

use std::fmt::Write;

use serde_json::Value;

/// Words that some reader takes for a null, a boolean or a number.
const RESERVED: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "infinity", "nan"];

/// A value as one YAML document, with a line break at the end.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut text, map, 0, false),
        Value::Array(items) if !items.is_empty() => write_list(&mut text, items, 0, false),
        other => {
            write_scalar(&mut text, other, 0);
            text.push('\n');
        }
    }
    text
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// `inline`: the first line begins where the text is now, after `- `.
fn write_map(text: &mut String, map: &serde_json::Map<String, Value>, depth: usize, inline: bool) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 || !inline {
            indent(text, depth);
        }
        // A key of many lines cannot be a block.
        text.push_str(&if is_plain(key) { key.clone() } else { quoted(key) });
        text.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                write_map(text, map, depth + 1, false);
            }
            // As kubectl does: items stand below the key, not below its value.
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                write_list(text, items, depth, false);
            }
            other => {
                text.push(' ');
                write_scalar(text, other, depth);
                text.push('\n');
            }
        }
    }
}

fn write_list(text: &mut String, items: &[Value], depth: usize, inline: bool) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !inline {
            indent(text, depth);
        }
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(text, map, depth + 1, true),
            Value::Array(items) if !items.is_empty() => write_list(text, items, depth + 1, true),
            other => {
                write_scalar(text, other, depth);
                text.push('\n');
            }
        }
    }
}

/// A value of one line, or a block of lines that is indented below `depth`. Without the last line break.
fn write_scalar(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(string) if is_plain(string) => text.push_str(string),
        Value::String(string) if is_block(string) => write_block(text, string, depth),
        Value::String(string) => text.push_str(&quoted(string)),
        // Empty lists and objects, numbers, booleans and null are the same in both languages.
        other => text.push_str(&other.to_string()),
    }
}

/// Whether a string can stand without quotes wherever a value or a key can.
fn is_plain(string: &str) -> bool {
    let begins_well = string.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '_'));
    let plain = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                '_' | '.'
                    | '/'
                    | '@'
                    | '+'
                    | '-'
                    | '('
                    | ')'
                    | ';'
                    | '='
                    | '$'
                    | '*'
                    | '<'
                    | '>'
                    | '\''
                    | ':'
                    | ' '
                    | ','
            )
    };
    begins_well
        && string.len() <= 200
        && string.chars().all(plain)
        && !string.contains(": ")
        && !string.ends_with([':', ' '])
        && !RESERVED.contains(&string.to_ascii_lowercase().as_str())
}

/// Whether a string is lines of text that a literal block holds as they are.
fn is_block(string: &str) -> bool {
    let printable = |c: char| c == '\n' || (!c.is_control() && !is_special(c));
    let first = string.lines().find(|line| !line.is_empty());
    string.contains('\n')
        && string.chars().all(printable)
        // The first line with text gives the indentation.
        && first.is_some_and(|line| !line.starts_with(' '))
        && string.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

/// Line breaks and marks that readers treat differently, and what is no character.
fn is_special(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn write_block(text: &mut String, string: &str, depth: usize) {
    let body = string.trim_end_matches('\n');
    text.push_str(match string.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            indent(text, depth + 1);
            text.push_str(line);
        }
    }
    // The line break after the block is the first of those at the end.
    text.extend(std::iter::repeat_n('\n', (string.len() - body.len()).saturating_sub(1)));
}

fn quoted(string: &str) -> String {
    let mut text = String::from("\"");
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() || is_special(c) => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn objects_look_as_people_write_them() {
        let value = json!({
            "apiVersion": "examples.setpoint.dev/v1alpha1",
            "metadata": {"name": "a", "labels": {}, "annotations": {"setpoint.dev/paused": "true"}},
            "spec": {
                "count": 3, "ratio": 0.5, "none": null, "on": false,
                "lines": "one\ntwo\n", "open": "one\ntwo", "more": "one\n\n",
                "list": ["a", {"b": 1, "c": [1, [2, 3]]}, [], "8080", " x"],
            },
        });
        assert_eq!(
            to_yaml(&value),
            "apiVersion: examples.setpoint.dev/v1alpha1\n\
             metadata:\n  annotations:\n    setpoint.dev/paused: \"true\"\n  labels: {}\n  name: a\n\
             spec:\n  count: 3\n  lines: |\n    one\n    two\n  list:\n  - a\n  - b: 1\n    c:\n    - 1\n    - - 2\n      - 3\n  - []\n  - \"8080\"\n  - \" x\"\n\
             \x20 more: |+\n    one\n\n  none: null\n  \"on\": false\n  open: |-\n    one\n    two\n  ratio: 0.5\n"
        );
    }

    #[test]
    fn a_string_that_could_be_something_else_is_quoted() {
        for word in [
            "",
            "true",
            "No",
            "null",
            "~",
            "1",
            "0x1f",
            "1e3",
            ".5",
            "-",
            "- a",
            "a: b",
            "a:",
            "#a",
            "2026-01-01",
            "NaN",
            "[a",
            "{a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "a ",
            "a #b",
            "y",
        ] {
            assert_eq!(to_yaml(&json!(word)), format!("{word:?}\n"), "{word}");
        }
        for word in ["a", "a b", "a:b", "http://x.io/y", "it's", "/tmp", "v1", "a,b", "über"] {
            assert_eq!(to_yaml(&json!(word)), format!("{word}\n"), "{word}");
        }
    }

    fn string() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ -~\n]{0,12}",
            "[a-z:#'\" \n-]{0,8}",
            "(true|No|null|0x1|1e3|\\.inf|<<|=|~|- a|a: b|2026-01-01|1_000|0o7|1:30)",
            "[ab \n\t]{0,10}",
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("no infinity in JSON", |f| f.is_finite()).prop_map(Value::from),
            string().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((string(), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    /// Numbers are compared as numbers: 1.0 may come back as 1.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            (a, b) => a == b,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_reads_back_as_the_same_value(value in value()) {
            let text = to_yaml(&value);
            let back: Value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?;
            prop_assert!(same(&value, &back), "{}\n{} became {}", text, value, back);
        }
    }
}
