//! Why a request has no answer that is one.

use std::error::Error;
use std::time::Duration;

use setpoint_core::sanitize::sanitize;

use crate::status::ApiStatus;

/// Why a request was not done, or why nobody knows whether it was.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused.
    Status(Box<ApiStatus>),
    /// The request has not reached the server.
    Unreachable(String),
    /// The server's certificate, or ours, was refused: the request has not reached it.
    Certificate(String),
    /// Credentials could not be had: the request was not sent.
    Credentials(String),
    /// It was sent, and no whole answer came: it may have been done.
    NoAnswer(String),
    /// What came is not what an API server says.
    Garbled(String),
    /// The server has asked to wait for longer than there is time: not sent.
    Throttled(Duration),
    /// This host does not hold its lease: not sent (rule D8).
    NotHolder,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Status(status) => f.write_str(&status.text()),
            Failure::Unreachable(why) => write!(f, "the API server cannot be reached: {why}"),
            Failure::Certificate(why) => write!(f, "no trust between host and API server: {why}"),
            Failure::Credentials(why) => write!(f, "no credentials for the API server: {why}"),
            Failure::NoAnswer(why) => write!(f, "the API server gave no answer: {why}"),
            Failure::Garbled(why) => write!(f, "the answer is not that of an API server: {why}"),
            Failure::Throttled(wait) => {
                write!(f, "the API server has asked to wait; {} s are left", wait.as_secs_f32().ceil())
            }
            Failure::NotHolder => f.write_str("this host does not hold its lease"),
        }
    }
}

impl Failure {
    /// The status, if the server has refused.
    pub(crate) fn status(&self) -> Option<&ApiStatus> {
        match self {
            Failure::Status(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the host lacks a right.
    pub(crate) fn is_missing_right(&self) -> bool {
        self.status().is_some_and(ApiStatus::is_missing_right)
    }

    /// Whether the server has refused with this code.
    pub(crate) fn is_code(&self, code: u16) -> bool {
        self.status().is_some_and(|status| status.code == code)
    }

    /// Whether another connection, with credentials that are read anew, might do better.
    pub(crate) fn wants_new_link(&self) -> bool {
        match self {
            Failure::Status(status) => status.code == 401,
            Failure::Unreachable(_) | Failure::Certificate(_) | Failure::Credentials(_) | Failure::NoAnswer(_) => true,
            Failure::Garbled(_) | Failure::Throttled(_) | Failure::NotHolder => false,
        }
    }

    /// What the HTTP client says of a request that had no answer.
    pub(crate) fn of_client(error: &(dyn Error + Send + Sync + 'static)) -> Self {
        let text = chain(error);
        let mut at: Option<&(dyn Error + 'static)> = Some(error);
        let mut connecting = false;
        while let Some(error) = at {
            if error.downcast_ref::<kube::client::AuthError>().is_some() {
                return Failure::Credentials(text);
            }
            if let Some(tls) = tls_error(error) {
                return Failure::Certificate(tls);
            }
            connecting |= error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|e| e.is_connect());
            at = error.source();
        }
        if connecting { Failure::Unreachable(text) } else { Failure::NoAnswer(text) }
    }
}

/// What is wrong with a certificate, if that is what an error says. Errors inside of `io::Error` are no
/// sources of it, so it is asked for them.
fn tls_error(error: &(dyn Error + 'static)) -> Option<String> {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let inner = inner.map(|inner| inner as &(dyn Error + 'static));
    let text = inner.unwrap_or(error).to_string();
    let refused = ["invalid peer certificate", "received fatal alert", "certificate"];
    let is_tls = refused.iter().any(|word| text.contains(word));
    is_tls.then(|| {
        let hint = if text.contains("UnknownIssuer") || text.contains("UnknownCA") {
            "; the certificate authority that is configured has not signed it"
        } else {
            ""
        };
        sanitize(&format!("{text}{hint}"))
    })
}

/// An error with all its causes, each said once, without credentials.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut at = Some(error);
    while let Some(error) = at {
        let text = error.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        at = error.source();
    }
    sanitize(&texts.join(": "))
}
