//! What happens to processes and endpoints by themselves, and whether what is shown of them is so.

use serde_json::json;
use setpoint_core::Time;
use setpoint_core::delay::Rng;
use setpoint_core::key::{DEFAULT_NAMESPACE, Key, LOCAL};
use setpoint_core::native;
use setpoint_core::probe::ProbeState;
use setpoint_core::process::{Exit, ProcessStatus};

use super::World;
use super::types::Event;
use crate::outside::{Endpoint, Program};

impl World {
    /// Whether what is shown of processes and endpoints is what is there (rule D13): each object has its process,
    /// each process its object, and each probe says what its endpoint answers.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check_natives(&self) -> Result<(), String> {
        for key in self.native_objects() {
            let Some(object) = self.server.get(&key) else { continue };
            let status = object.value()["status"].clone();
            let expected = match &*key.kind {
                native::PROCESS => {
                    let Some((_, living)) = self.outside.serving(&key) else {
                        return Err(format!("D13: {key} has no process and shows {status}"));
                    };
                    let shown: ProcessStatus = serde_json::from_value(status.clone()).map_err(|why| why.to_string())?;
                    shown.pid == living.pid && shown.ready
                }
                _ => {
                    let url = object.value()["spec"]["mcp"]["url"].as_str().map(str::to_owned);
                    let wanted = url.map_or(ProbeState::Healthy, |url| self.outside.report(&url).state());
                    status["state"] == json!(wanted)
                }
            };
            if !expected || object.terminating() {
                return Err(format!("§9.2: {key} shows {status}"));
            }
        }
        let orphan = self.outside.living.values().find(|living| self.server.get(&living.key).is_none());
        orphan.map_or(Ok(()), |orphan| Err(format!("D13: {orphan:?} has no object")))
    }

    /// One thing that happens outside.
    pub fn happens_outside(&mut self, dice: &mut Rng) {
        let name = ["a", "b", "f", "g"][dice.between(0, 3) as usize];
        let value = ["p", "q", "r"][dice.between(0, 2) as usize];
        let exit = match dice.between(0, 2) {
            0 => Exit::Code(0),
            1 => Exit::Code(1),
            _ => Exit::Signal("SIGSEGV".into()),
        };
        match dice.between(0, 11) {
            0..=3 => {
                let running: Vec<u64> = self.outside.living.keys().copied().collect();
                if let Some(start) = running.get(dice.between(0, 7) as usize) {
                    self.exits(*start, exit);
                }
            }
            4..=6 => {
                let program = match dice.between(0, 5) {
                    0 => Program::Runs,
                    1 => Program::Stubborn,
                    2 => Program::Missing,
                    3 => Program::Stuck,
                    _ => Program::Crashes(exit),
                };
                self.say(|| format!("the program {value} is {program:?}"));
                self.outside.programs.insert(value.into(), program);
            }
            7..=9 => {
                let until = self.now + dice.between(1_000, 120_000);
                self.later(self.now, Event::Flap { url: url_of(name, value), until });
            }
            _ => {
                let secret = Key::new(LOCAL, "", "Secret", Some(DEFAULT_NAMESPACE), &format!("token-{name}"));
                let value = ["YQ==", "Yg=="][dice.between(0, 1) as usize];
                match dice.between(0, 3) {
                    0 => self.delete(&secret),
                    _ => drop(self.apply(&secret, "person", json!({"data": {"t": value}}))),
                }
            }
        }
    }

    /// An endpoint is another now, and again after a while.
    pub(super) fn flap(&mut self, url: String, until: Time) {
        let state =
            [Endpoint::Answers, Endpoint::AsksWho, Endpoint::Refuses, Endpoint::Hangs][self.rng.between(0, 3) as usize];
        self.say(|| format!("{url} {state:?}"));
        self.outside.endpoints.insert(url.clone(), state);
        let next = self.now + self.rng.between(500, 30_000);
        if next < until {
            self.later(next, Event::Flap { url, until });
        }
    }

    /// From now on programs run and endpoints are as they are: they answer, or ask who it is.
    pub fn calm_outside(&mut self) {
        self.agenda.retain(|_, event| !matches!(event, Event::Flap { .. }));
        self.outside.programs.retain(|_, program| *program == Program::Stubborn);
        self.outside.endpoints.retain(|_, endpoint| *endpoint == Endpoint::AsksWho);
    }
}

/// The URL of a server's endpoint.
pub fn url_of(name: &str, value: &str) -> String {
    format!("http://{name}-{value}.sim/mcp")
}
