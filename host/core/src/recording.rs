//! Recorded calls: what was asked, what was read, what came of it, in the one form that the shadow
//! (rule D11), `setpoint record`, `replay` and `plugin test` share. A recording is a text of JSON
//! lines: a [`Header`], then one [`RecordedCall`] per line.
//!
//! | question | module |
//! |---|---|
//! | what is written of a call | [`shapes`] |
//! | how does it come from a call, and become one again | [`convert`] |
//! | what is shown of Secrets (rule B17) | [`hider`] |

use serde::{Deserialize, Serialize};

mod convert;
mod hider;
mod shapes;
#[cfg(test)]
mod tests;

pub use hider::Hider;
pub use shapes::{
    Question, RecordedAnswer, RecordedCall, RecordedChild, RecordedCondition, RecordedError, RecordedEvent,
    RecordedFailure, RecordedOutcome, RecordedQuery, RecordedRead, RecordedReadiness, RecordedRequest, RecordedResult,
};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first line of a recording.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Always `recording`.
    pub setpoint: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the host that recorded.
    pub host: String,
    /// Values of Secrets are in it as they are; else as hashes (rule B17).
    #[serde(default)]
    pub with_secrets: bool,
}

impl Header {
    /// The header of a new recording.
    pub fn new(host: &str, with_secrets: bool) -> Self {
        Self { setpoint: "recording".into(), version: VERSION, host: host.into(), with_secrets }
    }
}

/// What is wrong with a recording.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordingError {
    /// It does not begin with a [`Header`].
    #[error("line 1: this is no recording of setpoint; `setpoint record` makes one")]
    NoHeader,
    /// Another version of the format.
    #[error("line 1: version {0} of the format is not known; this program reads version {VERSION}")]
    Version(u32),
    /// A line does not parse.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// Reads a recording.
///
/// # Errors
/// What is wrong, with the line.
pub fn parse(text: &str) -> Result<(Header, Vec<RecordedCall>), RecordingError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let first = lines.next().map(|(_, line)| line).ok_or(RecordingError::NoHeader)?;
    let header: Header = serde_json::from_str(first).map_err(|_| RecordingError::NoHeader)?;
    if header.setpoint != "recording" {
        return Err(RecordingError::NoHeader);
    }
    if header.version != VERSION {
        return Err(RecordingError::Version(header.version));
    }
    let call = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| RecordingError::Line { line: at + 1, reason: format!("it is no recorded call: {error}") })
    };
    Ok((header, lines.map(call).collect::<Result<_, _>>()?))
}

/// One line of a recording, without its end.
pub fn line(value: &impl Serialize) -> String {
    // Maps with string keys and finite numbers only: it cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
