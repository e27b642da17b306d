//! When is an endpoint looked at, and what does its status say? (kind Probe)
//!
//! One [`Probe`] is the state machine of one object. The host tells it what happened; it asks
//! [`Probe::next`] what to do, until there is nothing, and [`Probe::wake`] when to ask again.
//!
//! - An attempt follows the end of the last one by the interval; while the endpoint is unhealthy by a backoff
//!   that doubles. `AuthRequired` is an answer and no failure: it is looked at again after the interval.
//! - A trigger, another target, and a process that was started ask for an attempt at once; attempts begin at least
//!   [`SPACING`] apart whatever happens. An attempt at what the target is no longer is abandoned.
//! - The status changes with state, reason, identity and tools, and with each failure that counts. A healthy endpoint
//!   that is looked at changes nothing, so an idle host writes nothing.
//! - What usually lasts for a moment only (nothing is known yet, the process does not run) is written when it
//!   has lasted for [`SETTLE`].
//! - First attempts of many probes are spread by [`Pace`]; the first interval is drawn from [½, 1], so that they
//!   stay apart.

use crate::Time;
use crate::delay::Rng;

mod pace;
mod shown;
mod spec;
mod status;
#[cfg(test)]
mod tests;

pub use pace::Pace;
pub use spec::{
    Header, HeaderValue, HttpTarget, McpTarget, Method, ProbeSpec, ProbeSpecError, Target, TcpTarget, Timing,
};
pub use status::{ProbeReason, ProbeState, ProbeStatus, Report, Server};

use self::shown::Shown;

/// The definition of the kind Probe of `host.setpoint.dev/v1alpha1`, as JSON.
pub const CRD: &str = include_str!("probe/crd.json");

/// Attempts of one probe begin at least so far apart, in milliseconds.
pub const SPACING: Time = 1_000;

/// How long a state that usually passes is kept from the status, in milliseconds.
pub const SETTLE: Time = 1_000;

/// Whether the endpoint can be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gate {
    /// It can. Another number is another endpoint behind the same target: a process that was started anew, or a
    /// Secret with another value.
    Open(u64),
    /// It cannot, and why: the process does not run, a Secret is not there, a grant is missing.
    Closed(ProbeReason, String),
}

/// The name of an attempt within its probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run(u64);

/// What the host has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Look at the endpoint, and tell [`Probe::finished`] within the timeout.
    Start {
        /// The attempt.
        run: Run,
        /// The longest that it may take, in milliseconds.
        timeout: Time,
    },
    /// Stop this attempt. What it comes to does not count any more.
    Cancel(Run),
    /// Write [`Probe::status`]. When that fails the host tries it again; the newest status is the one that counts.
    Write,
}

#[derive(Clone, Debug)]
struct Running {
    run: Run,
    /// Somebody asked for an attempt after this one had begun.
    again: bool,
}

/// The state machine of one Probe.
#[derive(Clone, Debug)]
pub struct Probe {
    target: Target,
    timing: Timing,
    triggered_at: Option<String>,
    gate: Gate,
    rng: Rng,
    /// The attempt under way. None while the gate is closed.
    running: Option<Running>,
    /// An attempt that the host still has to be told to stop.
    abandoned: Option<Run>,
    /// When the next attempt is due. None while one is under way, and while the gate is closed.
    due: Option<Time>,
    last_start: Option<Time>,
    runs: u64,
    /// An attempt has ended since the machine exists.
    settled_in: bool,
    /// Answers in a row.
    successes: u32,
    /// Failures in a row.
    failures: u32,
    /// Failures in a row since the endpoint is unhealthy: the step of the backoff.
    steps: u32,
    shown: Shown,
    /// What the host was last told to write, or what was there. None: a status was never written.
    written: Option<Shown>,
    /// Since when `shown` is one of the states that usually pass.
    passing_since: Option<Time>,
}

impl Probe {
    /// A probe that nothing is known of. Its first attempt is due at `first` ([`Pace::slot`]).
    pub fn new(spec: &ProbeSpec, gate: Gate, now: Time, first: Time, seed: u64) -> Self {
        let mut probe = Self {
            target: spec.target.clone(),
            timing: spec.timing,
            triggered_at: spec.triggered_at.clone(),
            gate: Gate::Open(0),
            rng: Rng::new(seed),
            running: None,
            abandoned: None,
            due: Some(first),
            last_start: None,
            runs: 0,
            settled_in: false,
            successes: 0,
            failures: 0,
            steps: 0,
            shown: Shown::default(),
            written: None,
            passing_since: Some(now),
        };
        match gate {
            Gate::Open(_) => probe.gate = gate,
            Gate::Closed(..) => probe.gate(now, gate),
        }
        probe
    }

    /// A probe with the status that an earlier host left: what is found to be as it says is not written again.
    #[must_use]
    pub fn resume(mut self, now: Time, status: &ProbeStatus) -> Self {
        let kept = Shown::kept(status);
        self.failures = status.consecutive_failures;
        match self.gate {
            Gate::Open(_) => {
                self.steps = if status.state == ProbeState::Unhealthy { self.failures } else { 0 };
                self.shown = kept.clone();
            }
            Gate::Closed(..) => self.shown.carry(&kept),
        }
        self.written = Some(kept);
        self.pass(now);
        self
    }

    /// The spec was read again.
    pub fn configure(&mut self, now: Time, spec: &ProbeSpec) {
        let triggered = self.triggered_at != spec.triggered_at;
        self.triggered_at = spec.triggered_at.clone();
        let timing = std::mem::replace(&mut self.timing, spec.timing);
        if self.target != spec.target {
            self.target = spec.target.clone();
            self.failures = 0;
            self.shown = Shown::default();
            self.other_endpoint(now);
        } else if triggered {
            self.trigger(now);
        } else if timing != spec.timing
            && let Some(due) = &mut self.due
        {
            // The delay that is under way is not made longer, and never starts over.
            let longest = if self.shown.is(ProbeState::Unhealthy) {
                self.timing.backoff(self.steps)
            } else {
                self.timing.interval
            };
            *due = (*due).min(now + longest);
            self.shown.planned(*due);
        }
    }

    /// The endpoint can be looked at, or cannot, or is another one behind the same target.
    pub fn gate(&mut self, now: Time, gate: Gate) {
        if self.gate == gate {
            return;
        }
        self.gate = gate;
        self.other_endpoint(now);
    }

    /// An attempt is asked for, at once: by a person, or because the host knows that the endpoint has changed.
    pub fn trigger(&mut self, now: Time) {
        match (&mut self.running, &self.gate) {
            (Some(running), _) => running.again = true,
            (None, Gate::Open(_)) => self.soon(now),
            (None, Gate::Closed(..)) => {}
        }
    }

    /// An attempt has ended. One that was cancelled does not count.
    pub fn finished(&mut self, now: Time, run: Run, report: &Report) {
        let Some(running) = self.running.take_if(|running| running.run == run) else {
            return;
        };
        let answered = report.state() != ProbeState::Unhealthy;
        let mut delay = self.timing.interval;
        if answered {
            self.failures = 0;
            self.steps = 0;
            self.successes = self.successes.saturating_add(1);
            let doubted = self.shown.is(ProbeState::Unhealthy) && self.successes < self.timing.success_threshold;
            if !doubted {
                self.shown.answered(report, now);
            }
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            let trusted = self.shown.answers() && self.failures < self.timing.failure_threshold;
            if !trusted {
                self.steps = self.steps.saturating_add(1);
                delay = self.timing.backoff(self.steps);
                self.shown.failed(report);
            }
        }
        let first = !std::mem::replace(&mut self.settled_in, true);
        if first && self.steps == 0 {
            delay = self.rng.between(delay.div_ceil(2), delay);
        }
        self.due = None;
        self.soon(if running.again { now } else { now + delay });
        self.shown.attempted(now, self.due, self.failures);
        self.pass(now);
    }

    /// A server that is healthy offers other tools; for those that say so by themselves.
    pub fn tools_changed(&mut self, tools: Vec<String>) {
        self.shown.offer(status::sorted(tools));
    }

    /// What has to be done now; to be asked until there is nothing.
    pub fn next(&mut self, now: Time) -> Option<Action> {
        if let Some(run) = self.abandoned.take() {
            return Some(Action::Cancel(run));
        }
        if self.write_at().is_some_and(|at| at <= now) {
            self.written = Some(self.shown.clone());
            return Some(Action::Write);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.last_start = Some(now);
            self.runs += 1;
            let run = Run(self.runs);
            self.running = Some(Running { run, again: false });
            return Some(Action::Start { run, timeout: self.timing.timeout });
        }
        None
    }

    /// When [`Probe::next`] has to be asked again if nothing happens before.
    pub fn wake(&self) -> Option<Time> {
        if self.abandoned.is_some() {
            return Some(0);
        }
        [self.due, self.write_at()].into_iter().flatten().min()
    }

    /// The status as it should be. `wall` writes a time as RFC 3339.
    pub fn status(&self, wall: impl Fn(Time) -> String) -> ProbeStatus {
        self.shown.status(wall)
    }

    /// How the endpoint is: what condition Ready says, with its reason and sentence.
    pub fn state(&self) -> (ProbeState, Option<ProbeReason>, Option<&str>) {
        self.shown.state()
    }

    /// The attempt under way.
    pub fn running(&self) -> Option<Run> {
        self.running.as_ref().map(|running| running.run)
    }

    /// How the endpoint was says nothing any more.
    fn other_endpoint(&mut self, now: Time) {
        if let Some(running) = self.running.take() {
            self.abandoned = Some(running.run);
        }
        (self.successes, self.steps) = (0, 0);
        match &self.gate {
            Gate::Open(_) => {
                self.shown.forget();
                self.soon(now);
            }
            Gate::Closed(reason, message) => {
                self.shown.close(*reason, status::one_line(message));
                self.due = None;
            }
        }
        self.pass(now);
    }

    /// The next attempt is due then, or when the spacing allows, unless it is due earlier.
    fn soon(&mut self, at: Time) {
        let at = self.last_start.map_or(at, |start| at.max(start + SPACING));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// From now on `shown` is another state. While the status tells of one that is over, the time runs from the
    /// first that was kept from it, so that a process that comes and goes cannot put it off for ever.
    fn pass(&mut self, now: Time) {
        let told = self.written.as_ref().is_some_and(Shown::passes);
        self.passing_since = match self.passing_since {
            _ if !self.shown.passes() => None,
            Some(since) if !told => Some(since),
            _ => Some(now),
        };
    }

    /// When the status has to be written.
    fn write_at(&self) -> Option<Time> {
        if self.written.as_ref().is_some_and(|written| self.shown.same(written)) {
            return None;
        }
        Some(self.passing_since.map_or(0, |since| since + SETTLE))
    }
}
