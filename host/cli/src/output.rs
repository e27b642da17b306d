//! Writing to stdout.

use std::io::{ErrorKind, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::yaml;

/// Writes a text to stdout at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
}

/// Writes a text with colours to stdout; they are left out where nobody sees them.
pub(crate) fn print_coloured(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
}

fn unwritten(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::broken_pipe(),
        _ => Failure::new(format!("stdout: {error}")),
    }
}

/// A value as indented JSON, with a line break at the end.
pub(crate) fn json_text(value: &impl Serialize) -> Result<String, Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Failure::new(format!("the answer cannot be written as JSON: {error}"))),
    }
}

/// A value as YAML.
pub(crate) fn yaml_text(value: &impl Serialize) -> Result<String, Failure> {
    match serde_json::to_value(value) {
        Ok(value) => Ok(yaml::to_yaml(&value)),
        Err(error) => Err(Failure::new(format!("the answer cannot be written as YAML: {error}"))),
    }
}

/// Objects as kubectl wraps them.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// One line of a text for people: no line breaks, and nothing that a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => line.push(' '),
            c if c.is_control() => {}
            c => line.push(c),
        }
    }
    line
}
