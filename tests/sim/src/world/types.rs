//! What the driver keeps of what is under way, and of what was.

use std::sync::Arc;

use serde_json::Value;
use setpoint_core::Time;
use setpoint_core::contract::{Cause, Failure, Outcome, Request};
use setpoint_core::engine::{Attempt, CallResult, Checked, LiveRead};
use setpoint_core::key::{Key, Name, Source};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op};
use setpoint_core::probe::{Report, Run as ProbeRun};
use setpoint_core::process::Exit;
use setpoint_core::queue::Lane;

use crate::guard::Decided;
use crate::plugin::{Answers, Plugin};
use crate::server::Shown;

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Done,
    Refused,
    Lost,
}

/// Something that will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Show(Shown),
    Listed {
        source: Source,
        connection: u32,
        objects: Vec<(Key, Arc<Object>)>,
    },
    Connect {
        host: u32,
        source: Source,
    },
    Do {
        host: u32,
        run: u64,
        op: Op,
        fate: Fate,
    },
    Answer {
        run: u64,
        host: u32,
        answer: Answer,
    },
    Call {
        host: u32,
        run: u64,
    },
    Called {
        host: u32,
        run: u64,
        result: CallResult,
    },
    Start {
        host: u32,
        plugin: String,
    },
    Boot,
    Heal(Source),
    /// The other cluster takes part again.
    FarReturns,
    /// Another host begins to act on what this one has let go of, if nothing is under way there.
    HandOver {
        until: Time,
    },
    /// Another host has something to do.
    Elsewhere,
    /// Another host has the version of a plugin that this one has.
    UpgradeElsewhere {
        plugin: String,
    },
    /// Another host stops.
    ShardsReturn,
    /// After a take-over: what is there was listed.
    Checked {
        host: u32,
        asked: Time,
        lists: Vec<(Source, String, Vec<Checked>)>,
    },
    /// After a take-over: what was not known as it is there was read.
    Act {
        host: u32,
        found: Vec<(LiveRead, Option<Arc<Object>>)>,
    },
    /// A component no longer traps.
    Mend(String),
    Meddle(Key),
    /// An object is read live that the watch has not caught up with.
    Look {
        host: u32,
        read: LiveRead,
    },
    Looked {
        host: u32,
        read: LiveRead,
        object: Option<Arc<Object>>,
    },
    /// Of a process or a probe.
    Native {
        host: u32,
        key: Key,
        what: Native,
    },
    /// An endpoint changes, and again until a time.
    Flap {
        url: String,
        until: Time,
    },
}

/// Something that happens to a process or a probe. Processes are told apart by the number of their start.
#[derive(Clone, Debug)]
pub(super) enum Native {
    /// It is looked at, as it is by then.
    Look,
    /// Its machine asked to be woken up.
    Due,
    /// The program runs.
    Launched(u64),
    /// It could not be started.
    NotLaunched(u64),
    /// The process ends.
    Exits(u64, Exit),
    /// Nothing of it is left.
    Cleared(u64),
    /// An endpoint was looked at, for the machine of this number.
    Answered { number: u64, run: ProbeRun, report: Report },
}

/// A call that is being made.
pub(super) struct Call {
    pub(super) plugin: Plugin,
    pub(super) request: Request,
    pub(super) answers: Answers,
    pub(super) since: Time,
}

/// An attempt that is running.
pub(super) struct Run {
    pub(super) attempt: Attempt,
    /// The version that the attempt calls, whatever is loaded meanwhile.
    pub(super) plugin: Option<Plugin>,
    pub(super) started: Time,
    /// `metadata.uid` of the object as the attempt knows it.
    pub(super) uid: Option<Box<str>>,
    pub(super) failures: u32,
    pub(super) call: Option<Call>,
    /// The call is being made.
    pub(super) calling: bool,
    pub(super) decided: Decided,
    pub(super) result: Option<Result<Outcome, Failure>>,
    pub(super) trapped: bool,
}

/// What the last call of a key was told.
#[derive(Clone, Debug)]
pub struct LastCall {
    /// The object's content.
    pub object: Value,
    /// The reads with their answers.
    pub answers: Answers,
    /// Digest of the version that was called.
    pub digest: Name,
}

/// An attempt that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The key.
    pub key: Key,
    /// When it began.
    pub started: Time,
    /// When it had ended.
    pub ended: Time,
    /// The lane that it was taken from.
    pub lane: Lane,
    /// Why it ran.
    pub causes: Vec<Cause>,
    /// The answer of the call, if there was a call.
    pub result: Option<Result<Outcome, Failure>>,
}

/// An operation that was performed.
#[derive(Clone, Debug)]
pub struct Done {
    /// When.
    pub at: Time,
    /// Whose attempt asked for it.
    pub owner: Key,
    /// The operation.
    pub op: Op,
    /// Whether it changed something.
    pub changed: bool,
}
