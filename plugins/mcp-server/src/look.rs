//! What the children say together: the state of the server, and what stands behind it.
//!
//! | process | probe | local server |
//! |---|---|---|
//! | none, Pending, Stopping, or about an older spec | | Starting |
//! | Running | none, Unknown, not ready | Starting |
//! | Running | Healthy, AuthRequired | Running |
//! | Running | Unhealthy | Failed |
//! | Exited | | Stopped |
//! | Backoff | | Starting |
//! | CrashLoop, Failed | | Failed |
//!
//! | probe | remote server |
//! |---|---|
//! | none, Unknown, or about an older spec | Connecting |
//! | Healthy | Connected |
//! | AuthRequired | Auth Required |
//! | Unhealthy | Failed |
//!
//! A server that shall not run is Stopped or Disconnected, and Running while its process ends.

use crate::auth::AuthMode;
use crate::children::{ProbeState, ProbeStatus, ProcessState, ProcessStatus, Seen};
use crate::status::{MCPServerStatus, State};

/// How far a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// As asked for.
    Done,
    /// Something outside has to happen first: a reason and a sentence.
    Waits(String, String),
    /// Somebody has to act: a reason and a sentence.
    Stuck(String, String),
}

/// What was found out about a server.
#[derive(PartialEq, Eq, Debug)]
pub struct Look {
    pub state: State,
    pub progress: Progress,
    pub trouble: Trouble,
    /// The children are about to become others than those that ran.
    pub restarting: bool,
    /// A look at its endpoint made it fail, and not the end of its process.
    pub found_by_probe: bool,
}

/// What is wrong.
#[derive(PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing.
    None,
    /// What went wrong before, until it is known that it does no longer.
    AsBefore,
    /// This.
    Now { message: String, attempt: Option<String>, next: Option<String> },
}

impl Look {
    fn new(state: State, progress: Progress) -> Self {
        Self { state, progress, trouble: Trouble::None, restarting: false, found_by_probe: false }
    }

    fn waits(state: State, code: &str, message: &str) -> Self {
        let progress = Progress::Waits(code.to_owned(), message.to_owned());
        Self { trouble: Trouble::AsBefore, ..Self::new(state, progress) }
    }
}

/// A server that shall not run. `process`: it has one that is still there.
pub fn inactive(stdio: bool, process: bool) -> Look {
    match (stdio, process) {
        (true, true) => {
            Look { trouble: Trouble::None, ..Look::waits(State::Running, "Stopping", "The process is being stopped") }
        }
        (true, false) => Look::new(State::Stopped, Progress::Done),
        (false, _) => Look::new(State::Disconnected, Progress::Done),
    }
}

/// A local server that shall run.
pub fn local(process: &Seen<ProcessStatus>, probe: &Seen<ProbeStatus>) -> Look {
    let status = match process {
        Seen::Absent => return Look::waits(State::Starting, "Starting", "The process is being started"),
        Seen::Outdated(_) => {
            let look = Look::waits(State::Starting, "Restarting", "The process is being started anew");
            return Look { restarting: true, ..look };
        }
        Seen::Current(status) => status,
    };
    let ended = |state: State, code: String, stuck: bool| {
        let message = sentence(&status.message, "The process ended");
        let text = message.clone();
        let progress = if stuck { Progress::Stuck(code, text) } else { Progress::Waits(code, text) };
        // One that could not be started has tried since.
        let exit = status.last_exit.as_ref().filter(|_| status.state != ProcessState::Failed);
        let attempt = exit.and_then(|exit| exit.at.clone());
        let trouble = Trouble::Now { message, attempt, next: status.next_restart_at.clone() };
        Look { trouble, ..Look::new(state, progress) }
    };
    let reason = |default: &str| code(&status.reason, default);
    match status.state {
        ProcessState::Pending => Look::waits(State::Starting, "Starting", "The process is being started"),
        ProcessState::Stopping => {
            let look = Look::waits(State::Starting, "Restarting", "The process is being stopped, to be started anew");
            Look { restarting: true, ..look }
        }
        ProcessState::Running => running(probe),
        ProcessState::Exited | ProcessState::Unknown => ended(State::Stopped, reason("ProcessExited"), false),
        ProcessState::Backoff => ended(State::Starting, reason("ProcessBackoff"), false),
        ProcessState::CrashLoop => ended(State::Failed, "CrashLoop".to_owned(), true),
        ProcessState::Failed => ended(State::Failed, reason("ProcessFailed"), true),
    }
}

/// A local server whose process runs.
fn running(probe: &Seen<ProbeStatus>) -> Look {
    let not_yet = || Look::waits(State::Starting, "Initializing", "The process runs and has not answered yet");
    let Some(status) = probe.current() else { return not_yet() };
    match status.state {
        ProbeState::Unknown => not_yet(),
        ProbeState::Healthy => Look::new(State::Running, Progress::Done),
        ProbeState::AuthRequired => {
            let message = sentence(&status.message, "The server asks for credentials");
            Look::new(State::Running, Progress::Stuck("AuthRequired".into(), message))
        }
        // It says so of a process that ended a moment ago, too.
        ProbeState::Unhealthy if status.reason == "ProcessNotReady" => not_yet(),
        ProbeState::Unhealthy => unhealthy(status),
    }
}

/// A remote server that shall be connected.
pub fn remote(probe: &Seen<ProbeStatus>, auth: Option<&AuthMode>) -> Look {
    let connecting = || Look::waits(State::Connecting, "Connecting", "The endpoint has not been looked at yet");
    let status = match probe {
        Seen::Absent => return connecting(),
        Seen::Outdated(_) => return Look { restarting: true, ..connecting() },
        Seen::Current(status) => status,
    };
    match status.state {
        ProbeState::Unknown => connecting(),
        ProbeState::Healthy => Look::new(State::Connected, Progress::Done),
        ProbeState::AuthRequired => Look::new(State::AuthRequired, authentication(status, auth)),
        ProbeState::Unhealthy => unhealthy(status),
    }
}

/// A server that asks for credentials does what is asked for if the spec says that its clients bring
/// them. If not, they are missing.
fn authentication(status: &ProbeStatus, auth: Option<&AuthMode>) -> Progress {
    match auth {
        Some(AuthMode { problem: None, .. }) => Progress::Done,
        Some(AuthMode { problem: Some((code, message)), .. }) => {
            Progress::Stuck((*code).to_owned(), (*message).to_owned())
        }
        None => {
            let said = sentence(&status.message, "The endpoint asks for credentials");
            let message = format!("{said}; give them in spec.headersFrom, or say in spec.auth how clients do");
            Progress::Stuck("AuthRequired".into(), message)
        }
    }
}

fn unhealthy(status: &ProbeStatus) -> Look {
    let message = sentence(&status.message, "The endpoint does not answer");
    let (code, text) = (code(&status.reason, "Unhealthy"), message.clone());
    let progress = if needs_somebody(status) { Progress::Stuck(code, text) } else { Progress::Waits(code, text) };
    let trouble = Trouble::Now { message, attempt: status.last_attempt.clone(), next: status.next_attempt.clone() };
    Look { trouble, found_by_probe: true, ..Look::new(State::Failed, progress) }
}

/// Whether it is unlikely to mend itself. It is looked at again in any case.
fn needs_somebody(status: &ProbeStatus) -> bool {
    match status.reason.as_str() {
        "HTTPStatus" => status.http_status.is_some_and(|code| (400..500).contains(&code)),
        reason => ["SecretNotFound", "NotGranted", "Invalid", "TLSError", "NotMCP"].contains(&reason),
    }
}

fn code(reason: &str, default: &str) -> String {
    if reason.is_empty() { default.to_owned() } else { reason.to_owned() }
}

fn sentence(message: &str, default: &str) -> String {
    if message.is_empty() { default.to_owned() } else { message.to_owned() }
}

/// The status that follows, from the one that is there.
pub fn status(
    old: &MCPServerStatus,
    look: &Look,
    process: &Seen<ProcessStatus>,
    probe: &Seen<ProbeStatus>,
    restarted_at: Option<String>,
    stdio: bool,
) -> MCPServerStatus {
    let (last_error, last_attempt, next_retry_after) = match &look.trouble {
        Trouble::None => (None, None, None),
        Trouble::AsBefore => (old.last_error.clone(), old.last_attempt.clone(), None),
        Trouble::Now { message, attempt, next } => (Some(message.clone()), attempt.clone(), next.clone()),
    };
    // Children that are about to become others say nothing about the future: their counts stay until they do.
    let failures = match (process, probe) {
        (Seen::Outdated(_), _) | (Seen::Absent, Seen::Outdated(_)) => old.consecutive_failures,
        _ => {
            let of_process = process.any().map_or(0, |status| status.consecutive_failures);
            of_process.max(probe.current().map_or(0, |status| status.consecutive_failures))
        }
    };
    let tools = probe.current().filter(|_| look.state.serves() && look.progress == Progress::Done);
    let tools = tools.map(|status| status.tools.clone());
    let seen = probe.any().and_then(|status| status.last_connected.clone());
    MCPServerStatus {
        state: Some(look.state),
        last_error,
        last_connected: seen.or_else(|| old.last_connected.clone()),
        restart_count: stdio.then(|| process.any().map(|status| status.restarts).or(old.restart_count).unwrap_or(0)),
        consecutive_failures: failures,
        last_attempt,
        next_retry_after,
        last_restarted_at: restarted_at,
        tool_count: tools.as_ref().map(Vec::len),
        tools,
        observed_generation: None,
    }
}
