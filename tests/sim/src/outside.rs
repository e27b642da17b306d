//! What is outside of the clusters: programs that run as processes, and endpoints that answer. How they behave is
//! what a seed, or a test, makes of them.

use std::collections::BTreeMap;

use setpoint_core::key::Key;
use setpoint_core::probe::{ProbeReason, Report, Server};
use setpoint_core::process::Exit;

/// What a program does when it is started.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Program {
    /// It runs until it is told to end.
    #[default]
    Runs,
    /// It runs, and does not end when it is told to: it has to be killed.
    Stubborn,
    /// It ends soon after its start.
    Crashes(Exit),
    /// There is no such program.
    Missing,
    /// Starting it takes longer than a start may.
    Stuck,
}

/// What an endpoint answers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Endpoint {
    /// As it should.
    #[default]
    Answers,
    /// That it wants to know who asks.
    AsksWho,
    /// Nobody listens.
    Refuses,
    /// Nothing at all, until the timeout.
    Hangs,
}

/// A process, from the moment on at which it is to be started until nothing of it is left.
#[derive(Clone, Debug)]
pub struct Living {
    /// Whose it is.
    pub key: Key,
    /// Its process id, once the program runs.
    pub pid: Option<u32>,
    /// It has ended itself; others of its group may be left.
    pub exited: bool,
}

/// All programs, processes and endpoints.
#[derive(Clone, Default, Debug)]
pub struct Outside {
    /// What programs do, by their first argument. What is not named runs.
    pub programs: BTreeMap<String, Program>,
    /// What endpoints answer, by URL. What is not named answers.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Processes, by the number of their start.
    pub living: BTreeMap<u64, Living>,
    /// How often something was started.
    pub starts: u64,
    /// How often an endpoint was looked at.
    pub looks: u64,
}

impl Outside {
    /// What a program does.
    pub fn program(&self, name: &str) -> Program {
        self.programs.get(name).cloned().unwrap_or_default()
    }

    /// What an endpoint answers.
    pub fn endpoint(&self, url: &str) -> Endpoint {
        self.endpoints.get(url).copied().unwrap_or_default()
    }

    /// The process of an object that answers, with the number of its start.
    pub fn serving(&self, key: &Key) -> Option<(u64, &Living)> {
        let found = self.living.iter().find(|(_, living)| living.key == *key && living.pid.is_some());
        found.filter(|(_, living)| !living.exited).map(|(start, living)| (*start, living))
    }

    /// What looking at an endpoint comes to.
    pub fn report(&self, url: &str) -> Report {
        match self.endpoint(url) {
            Endpoint::Answers => served(url),
            Endpoint::AsksWho => Report::auth_required("answered 401").with_http_status(Some(401)),
            Endpoint::Refuses => Report::failure(ProbeReason::ConnectionRefused, "nobody listens"),
            Endpoint::Hangs => Report::failure(ProbeReason::Timeout, "no answer in time"),
        }
    }
}

/// A server that answers, with a tool that tells which one.
pub fn served(name: &str) -> Report {
    let server = Server { name: "sim".into(), version: "1".into(), protocol_version: "2025-06-18".into() };
    Report::healthy("answers").with_server(server, vec![format!("of-{name}")])
}
