//! Why a backend is not open.

use setpoint_sdk::ReadError;

/// A reason and a sentence. No read failed: this is what is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// CamelCase.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
}

impl Problem {
    /// One of this reason.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What was found out: a problem is an answer, too.
pub type Checked<T> = Result<Result<T, Problem>, ReadError>;

/// What a backend needs and may not read, or cannot understand, closes it: it will not get better by itself, and
/// what was right once must not stay open because nobody can tell any more. What is unavailable stays an error, which
/// leaves the backend as it was.
pub fn or_problem<T>(read: Result<T, ReadError>) -> Checked<T> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(error @ ReadError::NotGranted(_)) => Ok(Err(Problem::new("NotGranted", error.to_string()))),
        Err(error @ ReadError::Malformed(_)) => Ok(Err(Problem::new("Malformed", error.to_string()))),
        Err(error) => Err(error),
    }
}
