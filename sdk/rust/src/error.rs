//! Why a call has no outcome.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::ReadError;
use crate::bindings::setpoint::reconciler::types::Failure;

/// Why a call has no outcome. Nothing is written but the error itself.
///
/// Any standard error becomes [`Error::Retry`] by `?`. A [`ReadError`] anywhere in its chain of
/// sources decides more precisely: `unavailable` stays a retry, the others are permanent, as they
/// wait for a grant, another description or another question (rules A4, A5).
///
/// It is itself no `std::error::Error`, as it could not have that conversion otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// May go away: tried again with backoff.
    Retry(String),
    /// May go away, and the plugin knows when. Milliseconds count, less does not.
    RetryAfter(String, Duration),
    /// Will not go away until the object, the configuration, the grants or something that was read changes.
    Permanent(String),
}

impl Error {
    /// May go away: try again with backoff.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::Retry(message.to_string())
    }

    /// May go away after this time.
    pub fn retry_after(message: impl fmt::Display, after: Duration) -> Self {
        Self::RetryAfter(message.to_string(), after)
    }

    /// Will not go away until the object, its configuration or something it read changes.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::Permanent(message.to_string())
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        match self {
            Self::Retry(message) | Self::RetryAfter(message, _) | Self::Permanent(message) => message,
        }
    }

    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Retry(message) => Self::Retry(change(message)),
            Self::RetryAfter(message, after) => Self::RetryAfter(change(message), after),
            Self::Permanent(message) => Self::Permanent(change(message)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = String::new();
        let mut lasting = false;
        let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors print their source themselves; it is not said twice.
            if !message.contains(&text) {
                if !message.is_empty() {
                    message.push_str(": ");
                }
                message.push_str(&text);
            }
            if let Some(read) = error.downcast_ref::<ReadError>() {
                lasting = !matches!(read, ReadError::Unavailable(_));
            }
            next = error.source();
        }
        if lasting { Self::Permanent(message) } else { Self::Retry(message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Retry(message) => Failure::Retry(message),
            Error::RetryAfter(message, after) => Failure::RetryAfter((message, millis(after))),
            Error::Permanent(message) => Failure::Permanent(message),
        }
    }
}

/// Whole milliseconds, at least one for a time that is not zero.
pub(crate) fn millis(time: Duration) -> u64 {
    let whole = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if whole == 0 && !time.is_zero() { 1 } else { whole }
}

/// What can be said about an error on its way out of a reconciler.
pub trait ResultExt<T> {
    /// This error does not go away by trying again.
    ///
    /// # Errors
    /// The error, made permanent.
    fn or_permanent(self) -> Result<T, Error>;

    /// Puts a sentence before the error's message, such as what was being done.
    ///
    /// # Errors
    /// The error with the longer message.
    fn context(self, what: impl fmt::Display) -> Result<T, Error>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn or_permanent(self) -> Result<T, Error> {
        self.map_err(|error| Error::Permanent(error.into().message().to_owned()))
    }

    fn context(self, what: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|error| error.into().map(|message| format!("{what}: {message}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot size the pool")]
    struct Wrapped(#[source] ReadError);

    #[test]
    fn any_standard_error_is_tried_again() {
        fn fails() -> Result<u8, Error> {
            Ok("x".parse::<u8>()?)
        }
        assert_eq!(fails(), Err(Error::retry("invalid digit found in string")));
    }

    #[test]
    fn an_unavailable_read_stays_a_retry_however_it_is_wrapped() {
        let error = Error::from(Wrapped(ReadError::Unavailable("cluster b is away".into())));
        assert_eq!(error, Error::retry("cannot size the pool: not known at present: cluster b is away"));
    }

    #[test]
    fn a_read_that_is_not_allowed_waits_for_a_change() {
        assert!(matches!(Error::from(ReadError::NotGranted("secrets".into())), Error::Permanent(_)));
        assert!(matches!(Error::from(Wrapped(ReadError::Invalid("x".into()))), Error::Permanent(_)));
    }

    #[test]
    fn context_keeps_the_kind_of_failure() {
        let failed: Result<(), Error> = Err(Error::retry_after("busy", Duration::from_micros(1)));
        let failed = failed.context("asking a");
        assert_eq!(failed, Err(Error::retry_after("asking a: busy", Duration::from_micros(1))));
        assert_eq!(failed.map_err(Failure::from), Err(Failure::RetryAfter(("asking a: busy".into(), 1))));
    }
}
