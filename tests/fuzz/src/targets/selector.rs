//! Label selectors.

use setpoint_core::selector::Selector;

use crate::place::assert_one_line;
use crate::{QUICK, Target, nothing};

/// What parses survives its own text, and selects the same; an error names a character of the text.
pub(crate) const TARGET: Target = Target {
    name: "selector",
    run,
    end: nothing,
    longest: 1_024,
    patience: QUICK,
    words: &[
        "app",
        "=",
        "==",
        "!=",
        "!",
        " in ",
        " notin ",
        "(",
        ")",
        ",",
        " ",
        "a",
        "b",
        "example.com/x",
        "in",
        "\u{3000}",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Selector::parse(&text) {
        Ok(selector) => {
            let again = Selector::parse(&selector.to_string());
            assert_eq!(again.as_ref(), Ok(&selector), "{selector}");
            let labels: [&[(&str, &str)]; 4] = [&[], &[("app", "")], &[("app", "a")], &[("app", "b"), ("a", "b")]];
            for labels in labels {
                let labels: Vec<(Box<str>, Box<str>)> =
                    labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
                assert_eq!(Ok(selector.matches(&labels)), again.as_ref().map(|again| again.matches(&labels)));
            }
        }
        Err(error) => {
            let message = error.to_string();
            assert_one_line(&message);
            let at = message.rsplit_once("at character ").and_then(|(_, rest)| rest.split(';').next()?.parse().ok());
            assert!(at.is_some_and(|at: usize| (1..=text.chars().count() + 1).contains(&at)), "{message}");
        }
    }
}
