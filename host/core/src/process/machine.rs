//! The machine of one process: what is wanted and what happened come in, actions go out.

use std::sync::Arc;

use super::environment::Digest;
use super::spec::{ProcessSpec, RestartPolicy};
use crate::Time;
use crate::contract::Reason;
use crate::delay::{self, Bucket, Rng};

/// The longest that a start may take, in milliseconds. Then it is killed and counts as failed.
pub const START_BOUND: Time = 10_000;
/// The longest that something that was killed may still be there, in milliseconds, before that is
/// shown. Nothing is started before it is gone, however long it takes (rule D13).
pub const GONE_BOUND: Time = 5_000;

/// What is wanted of a process, in full: the last one told counts.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The spec.
    pub spec: Arc<ProcessSpec>,
    /// Its generation.
    pub generation: i64,
    /// Whether it may run.
    pub permit: Permit,
}

/// Whether a process may run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Permit {
    /// Yes, with the environment of this digest.
    Run(Digest),
    /// It cannot be started, for example because a Secret is missing. One that runs goes on.
    Wait(Reason),
    /// It must not run. One that runs is stopped.
    Stop(Reason),
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// This is wanted now.
    Wanted(Wanted),
    /// The object is gone: the process is stopped, then forgotten.
    Deleted,
    /// There is no time left: what is being stopped is killed.
    Hurry,
    /// The program runs as this process.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The program could not be started, and nothing of the attempt is left.
    StartFailed(Reason),
    /// The process has ended. Others of its group may still be there.
    Exited(Exit),
    /// The process and everything that it left behind is proven gone.
    Cleared,
    /// Time has passed.
    Tick,
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By the signal of this name.
    Signal(String),
    /// It is gone, and nobody saw how; this is why.
    Unseen(Reason),
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Start what was wanted last. Answered with [`Event::Started`] or [`Event::StartFailed`].
    Start,
    /// Send the stop signal of the spec to the whole group.
    Signal,
    /// Kill the whole group and all that escaped from it, until nothing is left. Answered with
    /// [`Event::Cleared`], or [`Event::StartFailed`] if it was still being started.
    KillGroup,
    /// There is nothing left, and nothing will be.
    Forget,
}

/// When the next start is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) at: Time,
    /// A change asked for it, so it comes out of the bucket.
    charged: bool,
}

/// Why a process is stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Because {
    Deleted,
    SpecChanged,
    RestartRequested,
    NotPermitted(Reason),
}

/// A process that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) pid: u32,
    pub(super) since: Time,
}

/// Where a process is. In `Idle`, and only there, nothing of it is left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Idle {
        due: Option<Due>,
    },
    Starting {
        since: Time,
    },
    Running {
        run: Run,
    },
    /// It was killed while it was being started, which took too long unless it is deleted.
    Aborting {
        killed: Time,
        stuck: bool,
    },
    /// It was told to end. `run` is none when the process itself has ended.
    Stopping {
        run: Option<Run>,
        because: Because,
        kill_at: Time,
        killed: Option<Time>,
        stuck: bool,
    },
    /// It ended by itself; what it left behind is being killed.
    Clearing {
        since: Time,
        due: Option<Due>,
        stuck: bool,
    },
}

/// What became of the last start; none while nothing did since a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    None,
    NotStarted(Reason),
    Ended(Exit),
}

#[derive(Clone, Debug)]
pub(super) struct PastExit {
    pub(super) exit: Exit,
    pub(super) at: Time,
    pub(super) ran: Time,
}

/// The state machine of one process. See the [module](super) for what it promises.
#[derive(Clone, Debug)]
pub struct Machine {
    rng: Rng,
    bucket: Bucket,
    pub(super) wanted: Option<Wanted>,
    pub(super) deleted: bool,
    hurried: bool,
    forgotten: bool,
    pub(super) phase: Phase,
    /// What was started last.
    launched: Option<(Arc<ProcessSpec>, Digest)>,
    pub(super) outcome: Outcome,
    /// Ends and failed starts in a row.
    pub(super) failures: u32,
    pub(super) starts: u32,
    pub(super) ready: bool,
    /// When `ready` last changed.
    pub(super) ready_since: Time,
    pub(super) last_exit: Option<PastExit>,
}

impl Machine {
    /// A process of which nothing is wanted yet. The seed is for the jitter of its backoff.
    pub fn new(now: Time, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            bucket: Bucket::new(now),
            wanted: None,
            deleted: false,
            hurried: false,
            forgotten: false,
            phase: Phase::Idle { due: None },
            launched: None,
            outcome: Outcome::None,
            failures: 0,
            starts: 0,
            ready: false,
            ready_since: now,
            last_exit: None,
        }
    }

    /// Takes an event and answers what is to be done, in this order. An event that cannot be, such as
    /// the end of a process that was never started, changes nothing.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.forgotten {
            return actions;
        }
        match event {
            Event::Wanted(wanted) => self.want(now, wanted),
            Event::Deleted => self.deleted = true,
            Event::Hurry => self.hurried = true,
            Event::Started { pid } => self.started(now, pid),
            Event::StartFailed(reason) => self.start_failed(now, reason),
            Event::Exited(exit) => self.exited(now, exit, &mut actions),
            Event::Cleared => self.cleared(now),
            Event::Tick => {}
        }
        while self.advance(now, &mut actions) {}
        actions
    }

    /// When to come back with [`Event::Tick`], if nothing happens before. None while the process just
    /// runs, or waits for something else than time.
    pub fn next_wakeup(&self) -> Option<Time> {
        let stuck_at = |killed: Time, stuck: bool| (!stuck).then_some(killed + GONE_BOUND);
        match &self.phase {
            _ if self.forgotten => None,
            Phase::Idle { due } => due.filter(|_| self.permitted().is_some()).map(|due| due.at),
            Phase::Starting { since } => Some(since + START_BOUND),
            Phase::Running { run } => {
                let ready = (!self.ready).then_some(run.since + self.min_ready());
                let reset = (self.failures > 0).then_some(run.since + self.reset_after());
                ready.into_iter().chain(reset).min()
            }
            Phase::Aborting { killed, stuck } | Phase::Stopping { killed: Some(killed), stuck, .. } => {
                stuck_at(*killed, *stuck)
            }
            Phase::Stopping { kill_at, .. } => Some(*kill_at),
            Phase::Clearing { since, stuck, .. } => stuck_at(*since, *stuck),
        }
    }

    /// Whether nothing of it is left and nothing will be.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    fn want(&mut self, now: Time, wanted: Wanted) {
        self.wanted = Some(wanted);
        if !matches!(self.phase, Phase::Idle { .. } | Phase::Clearing { .. }) {
            // One that runs is looked at below, one that is stopping when it is gone.
            return;
        }
        let changed = self.launched.is_none() || self.change().is_some();
        let again = matches!(&self.outcome, Outcome::Ended(exit) if self.restarts_after(exit));
        let ended = matches!(self.outcome, Outcome::Ended(_));
        if changed {
            self.outcome = Outcome::None;
            self.failures = 0;
        }
        let at_once = self.at_once(now);
        if let Phase::Idle { due } | Phase::Clearing { due, .. } = &mut self.phase {
            match due {
                _ if changed => *due = Some(at_once),
                // The policy may have become another.
                None if again => *due = Some(at_once),
                Some(_) if ended && !again => *due = None,
                _ => {}
            }
        }
    }

    fn started(&mut self, now: Time, pid: u32) {
        if let Phase::Starting { .. } = self.phase {
            self.starts += 1;
            self.phase = Phase::Running { run: Run { pid, since: now } };
        }
    }

    fn start_failed(&mut self, now: Time, reason: Reason) {
        match self.phase {
            Phase::Starting { .. } => self.not_started(now, reason),
            Phase::Aborting { .. } => self.cleared(now),
            _ => {}
        }
    }

    fn not_started(&mut self, now: Time, reason: Reason) {
        self.failures += 1;
        self.outcome = Outcome::NotStarted(reason);
        let due = Some(self.after_backoff(now));
        self.phase = Phase::Idle { due };
    }

    fn exited(&mut self, now: Time, exit: Exit, actions: &mut Vec<Action>) {
        let since = match &mut self.phase {
            Phase::Running { run } => run.since,
            Phase::Starting { since } => *since,
            Phase::Stopping { run, .. } => {
                // It was asked to. The others of its group have the rest of the grace.
                if let Some(run) = run.take() {
                    self.last_exit = Some(PastExit { exit, at: now, ran: now.saturating_sub(run.since) });
                }
                return;
            }
            Phase::Idle { .. } | Phase::Aborting { .. } | Phase::Clearing { .. } => return,
        };
        let ran = now.saturating_sub(since);
        self.set_ready(now, false);
        self.last_exit = Some(PastExit { exit: exit.clone(), at: now, ran });
        let again = self.restarts_after(&exit);
        let done = exit == Exit::Code(0) && !again;
        if ran >= self.reset_after() || done {
            self.failures = 0;
        }
        self.failures += u32::from(!done);
        let due = if self.change().is_some() {
            // Another one is wanted by now.
            self.failures = 0;
            self.outcome = Outcome::None;
            Some(self.at_once(now))
        } else {
            self.outcome = Outcome::Ended(exit);
            again.then(|| self.after_backoff(now))
        };
        self.phase = Phase::Clearing { since: now, due, stuck: false };
        actions.push(Action::KillGroup);
    }

    fn cleared(&mut self, now: Time) {
        match &self.phase {
            Phase::Clearing { due, .. } => self.phase = Phase::Idle { due: *due },
            Phase::Aborting { .. } => self.not_started(now, too_slow()),
            Phase::Stopping { .. } => self.stopped(now),
            Phase::Running { .. } | Phase::Starting { .. } => {
                // Nobody said how it ended; it is gone all the same.
                let unseen = Exit::Unseen(Reason::new("Lost", "is gone, and nobody saw how it ended"));
                self.exited(now, unseen, &mut Vec::new());
                self.cleared(now);
            }
            Phase::Idle { .. } => {}
        }
    }

    fn stopped(&mut self, now: Time) {
        self.outcome = Outcome::None;
        self.failures = 0;
        let due = Some(self.at_once(now));
        self.phase = Phase::Idle { due };
    }

    /// One step that is due by itself; whether there may be another.
    fn advance(&mut self, now: Time, actions: &mut Vec<Action>) -> bool {
        let killed_long_ago = |killed: Time| now >= killed + GONE_BOUND;
        match &mut self.phase {
            Phase::Idle { .. } if self.deleted => {
                self.forgotten = true;
                actions.push(Action::Forget);
            }
            Phase::Idle { due } => {
                if let Some(due) = due.filter(|due| now >= due.at)
                    && let Some((spec, digest)) = self.permitted()
                {
                    self.launched = Some((spec.clone(), digest));
                    if due.charged {
                        self.bucket.charge(now);
                    }
                    self.phase = Phase::Starting { since: now };
                    actions.push(Action::Start);
                }
            }
            Phase::Starting { since } => {
                if (self.deleted && self.hurried) || now >= *since + START_BOUND {
                    self.phase = Phase::Aborting { killed: now, stuck: false };
                    actions.push(Action::KillGroup);
                }
            }
            Phase::Aborting { killed, stuck } => *stuck = killed_long_ago(*killed),
            Phase::Running { run } => {
                let run = *run;
                if let Some(because) = self.reason_to_stop() {
                    let grace = self.wanted.as_ref().map_or(0, |wanted| millis(wanted.spec.stop.grace_seconds));
                    self.set_ready(now, false);
                    self.phase =
                        Phase::Stopping { run: Some(run), because, kill_at: now + grace, killed: None, stuck: false };
                    if grace > 0 {
                        actions.push(Action::Signal);
                    }
                    return true;
                }
                if !self.ready && now >= run.since + self.min_ready() {
                    self.set_ready(now, true);
                }
                if self.failures > 0 && now >= run.since + self.reset_after() {
                    self.failures = 0;
                }
            }
            Phase::Stopping { because, kill_at, killed, stuck, .. } => {
                if self.deleted {
                    *because = Because::Deleted;
                }
                match killed {
                    Some(killed) => *stuck = killed_long_ago(*killed),
                    None if now >= *kill_at || self.hurried => {
                        *killed = Some(now);
                        actions.push(Action::KillGroup);
                    }
                    None => {}
                }
            }
            Phase::Clearing { since, stuck, .. } => *stuck = killed_long_ago(*since),
        }
        false
    }

    /// Why one that runs is to be stopped.
    fn reason_to_stop(&self) -> Option<Because> {
        if self.deleted {
            return Some(Because::Deleted);
        }
        match &self.wanted.as_ref()?.permit {
            Permit::Stop(reason) => Some(Because::NotPermitted(reason.clone())),
            Permit::Run(_) => self.change(),
            Permit::Wait(_) => None,
        }
    }

    /// What is different about what is wanted from what was started last.
    fn change(&self) -> Option<Because> {
        let ((started, with), (wanted, digest)) = (self.launched.as_ref()?, self.permitted()?);
        if started.starts_otherwise(wanted) || *with != digest {
            Some(Because::SpecChanged)
        } else if started.restarted_at != wanted.restarted_at {
            Some(Because::RestartRequested)
        } else {
            None
        }
    }

    /// What may be started.
    pub(super) fn permitted(&self) -> Option<(&Arc<ProcessSpec>, Digest)> {
        let wanted = self.wanted.as_ref()?;
        match wanted.permit {
            Permit::Run(digest) => Some((&wanted.spec, digest)),
            _ => None,
        }
    }

    fn restarts_after(&self, exit: &Exit) -> bool {
        match self.wanted.as_ref().map(|wanted| wanted.spec.restart_policy) {
            Some(RestartPolicy::Always) => true,
            Some(RestartPolicy::OnFailure) => *exit != Exit::Code(0),
            Some(RestartPolicy::Never) | None => false,
        }
    }

    fn at_once(&mut self, now: Time) -> Due {
        Due { at: self.bucket.ready_at(now), charged: true }
    }

    fn after_backoff(&mut self, now: Time) -> Due {
        let backoff = self.wanted.as_ref().map(|wanted| wanted.spec.backoff).unwrap_or_default();
        let longest = millis(backoff.max_seconds);
        // It is never given up: the wait stays below the longest.
        let backoff = delay::Backoff { first: millis(backoff.initial_seconds), longest, fast_retries: u32::MAX };
        Due { at: now + backoff.delay(self.failures, &mut self.rng), charged: false }
    }

    fn min_ready(&self) -> Time {
        self.wanted.as_ref().map_or(0, |wanted| millis(wanted.spec.min_ready_seconds))
    }

    fn reset_after(&self) -> Time {
        self.wanted.as_ref().map_or(0, |wanted| millis(wanted.spec.backoff.reset_after_seconds))
    }

    fn set_ready(&mut self, now: Time, ready: bool) {
        if self.ready != ready {
            self.ready = ready;
            self.ready_since = now;
        }
    }
}

pub(super) fn too_slow() -> Reason {
    Reason::new("StartTimeout", "did not start in time: the file system that it is on may not answer")
}

fn millis(seconds: u32) -> Time {
    Time::from(seconds) * 1_000
}
