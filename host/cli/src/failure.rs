//! What is said when a command fails: one line what is wrong and where, one line what to do.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// It failed.
const FAILED: u8 = 1;
/// It was used wrongly.
const USAGE: u8 = 2;
/// Nobody reads what is written, as a shell reports it.
const BROKEN_PIPE: u8 = 141;

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// What is wrong, and where. Nothing is said if it is empty.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The word for it that `setpoint explain` takes, if the host gave one.
    pub(crate) code: Option<String>,
    /// Exit code: 1 failed, 2 wrong usage.
    pub(crate) exit: u8,
}

impl Failure {
    /// It failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: None, exit: FAILED }
    }

    /// The command was used wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(message) }
    }

    /// A file or directory cannot be read or written.
    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    /// Whoever reads our output has enough of it, such as `head`. That is no error to speak of.
    pub(crate) fn broken_pipe() -> Self {
        Self { exit: BROKEN_PIPE, ..Self::new("") }
    }

    /// All has been said already; only the exit code is left to say.
    pub(crate) fn silent() -> Self {
        Self::new("")
    }

    /// The same with what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on stderr, in colour on a terminal.
    pub(crate) fn tell(&self) {
        if self.message.is_empty() {
            return;
        }
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        anstream::eprintln!("{red}error:{red:#} {}", self.message);
        if let Some(hint) = &self.hint {
            anstream::eprintln!("{cyan}hint:{cyan:#} {hint}");
        }
        if let Some(code) = &self.code {
            anstream::eprintln!("{}", explained(code));
        }
    }
}

/// How to know more.
fn explained(code: &str) -> String {
    format!("({code}; setpoint explain {code})")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        match &self.code {
            Some(code) => write!(f, "\n{}", explained(code)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_with_a_code_says_last_how_to_know_more() {
        let failure = Failure { code: Some("not_found".into()), ..Failure::new("there is no a").hint("look for b") };
        assert_eq!(
            failure.to_string(),
            "error: there is no a\nhint: look for b\n(not_found; setpoint explain not_found)"
        );
        assert_eq!(Failure::new("x").to_string(), "error: x");
    }
}
