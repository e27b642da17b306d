//! What is worth telling: what changes from the status that is there to the one that follows.
//!
//! Nothing is remembered. A call that comes to the same status tells nothing; one that is repeated
//! because its status could not be written tells the same again, which is folded (rule B16).
//! The reasons are muster's.

use setpoint_sdk::prelude::*;

use crate::look::Look;
use crate::status::{MCPServerStatus, State};

/// The events of this step. `edited`: the spec is another than the one that the old status is about.
pub fn of(old: &MCPServerStatus, new: &MCPServerStatus, look: &Look, active: bool, edited: bool) -> Vec<Event> {
    let mut events = Vec::new();
    match old.state {
        None => events.push(normal("Created", "The server is known")),
        Some(_) if edited => events.push(normal("Updated", "The server's spec changed")),
        Some(_) => {}
    }
    events.extend(transition(old, new, look));
    if tries_in_vain(old, new) {
        events.push(warning("RecoveryFailed", with_error("The server did not come back", new)));
    }
    events.extend(tools(old, new, look, active));
    events
}

fn normal(reason: &str, message: impl Into<String>) -> Event {
    Event::normal(format!("MCPServer{reason}"), message)
}

fn warning(reason: &str, message: impl Into<String>) -> Event {
    Event::warning(format!("MCPServer{reason}"), message)
}

/// What a change of the state tells.
fn transition(old: &MCPServerStatus, new: &MCPServerStatus, look: &Look) -> Vec<Event> {
    if old.state == Some(look.state) {
        return Vec::new();
    }
    let answered = old.state.is_some_and(State::answers);
    let failing = old.consecutive_failures > 0 || old.state == Some(State::Failed);
    match look.state {
        State::Starting | State::Connecting if look.restarting && old.state.is_some() => {
            vec![normal("Restarting", "The server is being started anew")]
        }
        State::Starting | State::Connecting if answered || old.state == Some(State::Failed) => {
            vec![normal("RecoveryStarted", with_error("The server is being started again", new))]
        }
        State::Starting | State::Connecting => vec![normal("Starting", "The server is being started")],
        State::Running | State::Connected => {
            let mut events = vec![normal("Started", "The server answers")];
            if failing {
                events.push(normal("RecoverySucceeded", "The server answers again"));
            }
            events
        }
        State::AuthRequired => vec![normal("AuthRequired", "The server answers and asks for credentials")],
        State::Stopped | State::Disconnected if old.state.is_none() => Vec::new(),
        State::Stopped | State::Disconnected => vec![normal("Stopped", with_error("The server is stopped", new))],
        State::Failed => {
            let mut events = Vec::new();
            if answered && look.found_by_probe {
                events.push(warning("HealthCheckFailed", with_error("The server no longer answers", new)));
            }
            events.push(warning("Failed", with_error("The server failed", new)));
            events
        }
    }
}

/// Whether one more try ended like those before.
fn tries_in_vain(old: &MCPServerStatus, new: &MCPServerStatus) -> bool {
    let still = |status: &MCPServerStatus| status.state.is_some_and(|state| state.starts() || state == State::Failed);
    still(old) && still(new) && old.consecutive_failures > 0 && new.consecutive_failures > old.consecutive_failures
}

fn tools(old: &MCPServerStatus, new: &MCPServerStatus, look: &Look, active: bool) -> Option<Event> {
    let known = |status: &MCPServerStatus| status.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    if known(new) && new.tools != old.tools {
        let count = new.tool_count.unwrap_or_default();
        return Some(normal("ToolsDiscovered", format!("Tools offered: {count}")));
    }
    let lost = known(old) && !known(new) && active && !look.restarting;
    lost.then(|| warning("ToolsUnavailable", with_error("The server's tools are not available", new)))
}

/// A sentence with what is wrong, if something is.
fn with_error(sentence: &str, status: &MCPServerStatus) -> String {
    match &status.last_error {
        Some(error) => format!("{sentence}: {error}"),
        None => sentence.to_owned(),
    }
}
