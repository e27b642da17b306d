//! The status of a `Process`, as its objects show it.

use serde::{Deserialize, Serialize};

use super::machine::{Because, Due, Exit, Machine, Outcome, Permit, Phase, too_slow};
use crate::Time;
use crate::contract::Reason;
use crate::sanitize::sanitize;

/// What is shown of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// What it does.
    pub state: State,
    /// Why, as one word of a program.
    pub reason: String,
    /// Why, as a sentence: sanitised, without times and counters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it has run as long as `minReadySeconds` asks for.
    pub ready: bool,
    /// Its process id, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When the one that runs was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// How often it was started again, since the object came or this host was started.
    pub restarts: u32,
    /// Ends and failed starts in a row, none of which ran `resetAfterSeconds`.
    pub consecutive_failures: u32,
    /// When it is started again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_restart_at: Option<String>,
    /// The generation of the spec that is acted on.
    pub observed_generation: i64,
    /// The condition Ready.
    pub conditions: Vec<ReadyCondition>,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum State {
    /// Not started yet, or being started.
    Pending,
    /// It runs.
    Running,
    /// It was told to end, or what it left behind has not ended yet.
    Stopping,
    /// It ended, and is not started again.
    Exited,
    /// It ended, and is started again after a while.
    Backoff,
    /// As Backoff, and it never ran for long.
    CrashLoop,
    /// It cannot be started. If waiting may help, it is tried again after a while.
    Failed,
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// Its code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The name of the signal that ended it, such as SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// When, RFC 3339.
    pub at: String,
    /// How long it ran, in whole seconds.
    pub ran_seconds: u64,
}

/// The condition Ready, which is the host's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyCondition {
    /// `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// The generation that it is about.
    pub observed_generation: i64,
    /// When the status last became another, RFC 3339.
    pub last_transition_time: String,
    /// The reason of the whole status.
    pub reason: String,
    /// The message of the whole status.
    pub message: String,
}

/// What is shown in one word and one sentence.
struct Shown {
    state: State,
    reason: Reason,
}

fn shown(state: State, code: &str, message: &str) -> Shown {
    Shown { state, reason: Reason::new(code, message) }
}

impl Machine {
    /// What is shown now. Changes with events only. `wall` says what a time is on the wall clock, as
    /// RFC 3339 to the second; for one time it has to answer the same each time.
    pub fn status(&self, mut wall: impl FnMut(Time) -> String) -> ProcessStatus {
        let Shown { state, reason } = self.shown();
        let message = sanitize(&reason.message);
        let generation = self.wanted.as_ref().map_or(0, |wanted| wanted.generation);
        let run = match &self.phase {
            Phase::Running { run } => Some(*run),
            Phase::Stopping { run, .. } => *run,
            _ => None,
        };
        let condition = ReadyCondition {
            kind: "Ready".into(),
            status: if self.ready { "True" } else { "False" }.into(),
            observed_generation: generation,
            last_transition_time: wall(self.ready_since),
            reason: reason.code.clone(),
            message: message.clone(),
        };
        ProcessStatus {
            state,
            reason: reason.code,
            message,
            ready: self.ready,
            pid: run.map(|run| run.pid),
            started_at: run.map(|run| wall(run.since)),
            last_exit: self.last_exit.as_ref().map(|last| {
                let (code, signal) = match &last.exit {
                    Exit::Code(code) => (Some(*code), None),
                    Exit::Signal(name) => (None, Some(name.clone())),
                    Exit::Unseen(_) => (None, None),
                };
                LastExit { code, signal, at: wall(last.at), ran_seconds: last.ran / 1_000 }
            }),
            restarts: self.starts.saturating_sub(1),
            consecutive_failures: self.failures,
            next_restart_at: self.next_restart().map(wall),
            observed_generation: generation,
            conditions: vec![condition],
        }
    }

    /// When it is tried again after an end or a failed start.
    fn next_restart(&self) -> Option<Time> {
        match &self.phase {
            Phase::Idle { due } | Phase::Clearing { due, stuck: false, .. }
                if self.outcome != Outcome::None && !self.deleted && self.permitted().is_some() =>
            {
                due.map(|due| due.at)
            }
            _ => None,
        }
    }

    fn shown(&self) -> Shown {
        match &self.phase {
            Phase::Aborting { stuck: true, .. }
            | Phase::Stopping { stuck: true, .. }
            | Phase::Clearing { stuck: true, .. } => shown(
                State::Stopping,
                "NotDying",
                "was killed and is still there, because the system waits for something on its behalf",
            ),
            Phase::Running { .. } if self.ready => shown(State::Running, "Running", "runs"),
            Phase::Running { .. } => shown(State::Running, "NotReadyYet", "runs, but not long enough to be ready"),
            Phase::Starting { .. } => shown(State::Pending, "Starting", "is being started"),
            Phase::Aborting { .. } if self.deleted => shown(State::Stopping, "Deleted", "is being stopped for good"),
            Phase::Aborting { .. } => Shown { state: State::Stopping, reason: too_slow() },
            Phase::Stopping { because, .. } => {
                let reason = match because {
                    Because::Deleted => Reason::new("Deleted", "is being stopped for good"),
                    Because::SpecChanged => Reason::new("SpecChanged", "is being stopped, to be started as changed"),
                    Because::RestartRequested => {
                        Reason::new("RestartRequested", "is being stopped, to be started again as requested")
                    }
                    Because::NotPermitted(reason) => reason.clone(),
                };
                Shown { state: State::Stopping, reason }
            }
            Phase::Clearing { .. } if self.outcome == Outcome::None && !self.deleted => {
                shown(State::Stopping, "SpecChanged", "has ended, and is started as changed when nothing is left of it")
            }
            Phase::Idle { due } | Phase::Clearing { due, .. } => self.shown_idle(*due),
        }
    }

    fn shown_idle(&self, due: Option<Due>) -> Shown {
        if self.deleted {
            return shown(State::Exited, "Deleted", "was stopped for good");
        }
        let Some(wanted) = &self.wanted else {
            return shown(State::Pending, "Waiting", "is not looked at yet");
        };
        if let Permit::Wait(reason) | Permit::Stop(reason) = &wanted.permit {
            return Shown { state: State::Failed, reason: reason.clone() };
        }
        match &self.outcome {
            Outcome::None => shown(State::Pending, "Damped", "was changed too often, and waits before it is started"),
            Outcome::NotStarted(reason) => Shown { state: State::Failed, reason: reason.clone() },
            Outcome::Ended(exit) => {
                let state = match due {
                    None => State::Exited,
                    Some(_) if self.failures >= wanted.spec.crash_loop_threshold => State::CrashLoop,
                    Some(_) => State::Backoff,
                };
                let reason = match exit {
                    Exit::Code(0) => Reason::new("Completed", "exited with code 0"),
                    Exit::Code(code) => Reason::new("Error", format!("exited with code {code}")),
                    Exit::Signal(name) => Reason::new("Signaled", format!("was ended by {name}")),
                    Exit::Unseen(reason) => reason.clone(),
                };
                Shown { state, reason }
            }
        }
    }
}
