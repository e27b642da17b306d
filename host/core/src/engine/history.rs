//! What the last runs of a key were, and the chain of causes behind them (design §8).
//!
//! A run takes about 100 bytes, 40 more per cause and 24 per write that is kept; [`RUNS`] runs of a key
//! with one cause and one write each about 0.9 kB, at the very most 6 kB.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use super::Engine;
use super::attempt::Attempt;
use super::finish::Ending;
use crate::Time;
use crate::contract::Cause;
use crate::effects::Report;
use crate::key::Key;
use crate::op::Op;
use crate::queue::Lane;

/// Runs that are kept per key.
const RUNS: usize = 5;
/// Writes of a run that are kept by name.
pub(super) const WRITTEN: usize = 20;
/// A chain of causes is followed over so many runs …
const HOPS: usize = 8;
/// … and all chains of one run together over so many.
const BREADTH: usize = 64;

/// Whose effects made a change: the reconciled object and the number of its run.
pub type Author = (Arc<Key>, u64);

/// A change of an object that led to a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What changed.
    pub key: Arc<Key>,
    /// Whose effects did it; none: somebody else, such as a file, a person or another controller.
    pub by: Option<Author>,
}

/// Why a run happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Because {
    /// The cause as the plugin was told it.
    pub cause: Cause,
    /// The change that began it, if it was one.
    pub change: Option<Change>,
    /// Why the run that made the change happened; filled by [`Engine::why`] as far as it is known.
    pub because: Vec<Because>,
}

/// One run of a key.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Number of the attempt.
    pub number: u64,
    /// When it was taken from the queue.
    pub started: Time,
    /// When it had ended.
    pub ended: Time,
    /// How long it had waited in the queue, in milliseconds.
    pub waited: u64,
    /// The lane it was taken from.
    pub lane: Lane,
    /// Why it ran.
    pub causes: Vec<Cause>,
    /// The same, with the changes behind it.
    pub because: Vec<Because>,
    /// What it came to.
    pub result: Arc<str>,
    /// How long the plugin's call took, in milliseconds; none without a call.
    pub call: Option<u64>,
    /// Objects and lists that the call read.
    pub reads: usize,
    /// Writes that it made.
    pub writes: u32,
    /// The first 20 of them in order: `apply`, `status`, `delete` or `finalizer`, and of what.
    pub written: Vec<(&'static str, Arc<Key>)>,
}

/// A cause with the change that began it, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trace {
    pub(super) cause: Cause,
    pub(super) change: Option<Change>,
}

impl Trace {
    pub(super) fn of(cause: Cause, change: &Change) -> Self {
        Self { cause, change: Some(change.clone()) }
    }
}

impl From<Cause> for Trace {
    fn from(cause: Cause) -> Self {
        Self { cause, change: None }
    }
}

/// A run as it is kept.
#[derive(Debug)]
pub(super) struct Run {
    number: u64,
    started: Time,
    ended: Time,
    waited: u64,
    lane: Lane,
    call: Option<u32>,
    reads: u32,
    writes: u32,
    result: Arc<str>,
    because: Box<[Trace]>,
    written: Box<[(&'static str, Arc<Key>)]>,
}

impl Run {
    pub(super) fn causes(&self) -> Vec<Cause> {
        self.because.iter().map(|trace| trace.cause.clone()).collect()
    }

    /// As it is shown, with causes but not what is behind them.
    pub(super) fn record(&self) -> RunRecord {
        let because =
            |trace: &Trace| Because { cause: trace.cause.clone(), change: trace.change.clone(), because: Vec::new() };
        RunRecord {
            number: self.number,
            started: self.started,
            ended: self.ended,
            waited: self.waited,
            lane: self.lane,
            causes: self.causes(),
            because: self.because.iter().map(because).collect(),
            result: self.result.clone(),
            call: self.call.map(u64::from),
            reads: self.reads as usize,
            writes: self.writes,
            written: self.written.to_vec(),
        }
    }
}

/// The verb of a write as people see it; none for operations that write no object.
pub(super) fn verb_of(op: &Op) -> Option<&'static str> {
    match op {
        Op::Apply { .. } => Some("apply"),
        Op::ApplyStatus { .. } => Some("status"),
        Op::Delete { .. } => Some("delete"),
        Op::SetFinalizer { .. } => Some("finalizer"),
        Op::SavePlaces { .. } => Some("places"),
        Op::Get(_) | Op::ListOwned { .. } | Op::RecordEvents { .. } => None,
    }
}

fn result_of(ending: &Ending, report: &Report) -> Arc<str> {
    static DONE: LazyLock<Arc<str>> = LazyLock::new(|| "done".into());
    match (ending, &report.failed, &report.refused) {
        (Ending::Failed(failure), ..) => format!("failed: {}", failure.message()).into(),
        (Ending::Unavailable(why), ..) => format!("unavailable: {why}").into(),
        (Ending::Dropped, ..) => "dropped: the object had changed".into(),
        (_, Some(text), _) => format!("failed: {text}").into(),
        (_, _, Some(text)) => format!("refused: {text}").into(),
        (Ending::Told, None, None) => "told that a child is stuck terminating".into(),
        (Ending::Success { .. } | Ending::Deletion, None, None) => DONE.clone(),
    }
}

impl Engine {
    pub(super) fn record_run(&mut self, now: Time, attempt: &mut Attempt, ending: &Ending, report: &Report) {
        let run = Run {
            number: attempt.number,
            started: attempt.started,
            ended: now,
            waited: attempt.waited(),
            lane: attempt.lane,
            call: attempt.call.map(|span| u32::try_from(span).unwrap_or(u32::MAX)),
            reads: attempt.reads as u32,
            writes: report.writes,
            result: result_of(ending, report),
            because: std::mem::take(&mut attempt.because).into(),
            written: std::mem::take(&mut attempt.written).into(),
        };
        if let Some(state) = self.state_mut(attempt.id) {
            if state.runs.len() == RUNS {
                state.runs.pop_front();
            } else {
                state.runs.reserve_exact(1);
            }
            state.runs.push_back(run);
        }
    }

    /// The last runs of an object, oldest first, each cause with the chain behind it: the change, the run
    /// whose effects made the change, why that one ran, and so on over at most 8 runs, as long as these
    /// runs are remembered. A run that several causes lead to is followed once.
    pub fn why(&self, key: &Key) -> Vec<RunRecord> {
        let Some(runs) = self.runs_of(key) else { return Vec::new() };
        let chained = |run: &Run| {
            let mut followed = vec![run.number];
            RunRecord { because: self.chain(&run.because, HOPS, &mut followed), ..run.record() }
        };
        runs.iter().map(chained).collect()
    }

    fn runs_of(&self, key: &Key) -> Option<&VecDeque<Run>> {
        Some(&self.state(self.cache.keys().find(key)?)?.runs)
    }

    fn chain(&self, traces: &[Trace], hops: usize, followed: &mut Vec<u64>) -> Vec<Because> {
        let mut chain = Vec::with_capacity(traces.len());
        for Trace { cause, change } in traces {
            let mut because = Vec::new();
            if let Some((owner, number)) = change.as_ref().and_then(|change| change.by.as_ref())
                && hops > 0
                && followed.len() < BREADTH
                && !followed.contains(number)
                && let Some(run) = self.runs_of(owner).and_then(|runs| runs.iter().find(|run| run.number == *number))
            {
                followed.push(*number);
                because = self.chain(&run.because, hops - 1, followed);
            }
            chain.push(Because { cause: cause.clone(), change: change.clone(), because });
        }
        chain
    }
}
