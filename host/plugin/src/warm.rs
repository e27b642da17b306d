//! Whether a plugin's instances may be reused, and the check that they keep nothing between calls (rule A13).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use setpoint_core::recording::{Question, RecordedOutcome, RecordedResult};

use crate::call::{Call, CallFailure};
use crate::limits::LimitKind;
use crate::replay::{recorded_result, words};

/// One in so many calls of reused instances is repeated in a fresh one.
const CHECKED: u64 = 256;

/// Whether a plugin's instances are reused (rule A13).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warm {
    /// Each call has a fresh instance: no call allowed more, see [`crate::Limits::warm_calls`].
    Off,
    /// Instances are reused.
    On {
        /// Instances that wait for their next call.
        kept: usize,
        /// Calls in an instance that was called before.
        reused: u64,
        /// Those of them that were repeated in a fresh instance and came to the same.
        checked: u64,
    },
    /// No longer: it kept something between calls. Each call has a fresh instance; all else goes on. A
    /// new version of the plugin starts clean.
    Quarantined {
        /// What differed, for which object.
        reason: String,
    },
}

/// The mode of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Mode {
    asked: AtomicBool,
    reused: AtomicU64,
    checked: AtomicU64,
    quarantine: OnceLock<String>,
}

impl Mode {
    /// How many calls an instance may have; none if each call is to have a fresh one.
    pub(crate) fn calls(&self, asked: Option<u32>) -> Option<u32> {
        let calls = asked.filter(|calls| *calls > 1)?;
        self.asked.store(true, Ordering::Relaxed);
        self.quarantine.get().is_none().then_some(calls)
    }

    /// Counts a call of a reused instance. Answers whether it is to be checked.
    pub(crate) fn reused(&self) -> bool {
        is_checked(self.reused.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts a check that was passed.
    pub(crate) fn passed(&self) {
        self.checked.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends warm mode. True the first time.
    pub(crate) fn end(&self, reason: String) -> bool {
        self.quarantine.set(reason).is_ok()
    }

    /// What there is to tell of it.
    pub(crate) fn view(&self, kept: usize) -> Warm {
        if let Some(reason) = self.quarantine.get() {
            return Warm::Quarantined { reason: reason.clone() };
        }
        if !self.asked.load(Ordering::Relaxed) {
            return Warm::Off;
        }
        let (reused, checked) = (self.reused.load(Ordering::Relaxed), self.checked.load(Ordering::Relaxed));
        Warm::On { kept, reused, checked }
    }
}

/// Of each 256 calls one, the very first among them. Its place among the 256 moves on, as an instance that ends after
/// 256 calls would otherwise always be checked at the same age.
fn is_checked(number: u64) -> bool {
    let (round, place) = (number / CHECKED, number % CHECKED);
    // 97 has no divisor with 256 in common, so that each place has its turn.
    place == round.wrapping_mul(97) % CHECKED
}

/// What a check came to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The same outcome of the same reads.
    Same,
    /// Nothing can be said: time ran out, which says nothing about what is kept.
    Unclear,
    /// What differed.
    Different(String),
}

/// Compares a call of a reused instance with the same call in a fresh one, which was answered from what the first one
/// read; `unrecorded` is what only the fresh one asked.
pub(crate) fn compare(warm: &Call, fresh: &Call, unrecorded: &[Question]) -> Verdict {
    if warm.impure || out_of_time(warm) || out_of_time(fresh) {
        return Verdict::Unclear;
    }
    // These first: without the read, or with another time, the outcome had to differ.
    if let Some(question) = unrecorded.first() {
        return Verdict::Different(format!("only in a fresh instance it reads: {}", words(question)));
    }
    if fresh.impure {
        return Verdict::Different("only in a fresh instance it asks for the time or for randomness".to_owned());
    }
    match (recorded_result(warm), recorded_result(fresh)) {
        (RecordedResult::Trap(_), RecordedResult::Trap(_)) => Verdict::Same,
        (warm, fresh) if warm == fresh => Verdict::Same,
        (RecordedResult::Outcome(warm), RecordedResult::Outcome(fresh)) => {
            Verdict::Different(format!("in a fresh instance it returns {}", difference(&warm, &fresh)))
        }
        (RecordedResult::Failure(_), RecordedResult::Failure(_)) => {
            Verdict::Different("in a fresh instance it fails in another way".to_owned())
        }
        (warm, fresh) => Verdict::Different(format!("it {}; in a fresh instance it {}", ends(&warm), ends(&fresh))),
    }
}

fn out_of_time(call: &Call) -> bool {
    matches!(call.result, Err(CallFailure::Trap { limit: Some(LimitKind::Wall | LimitKind::Cpu), .. }))
}

fn ends(result: &RecordedResult) -> &'static str {
    match result {
        RecordedResult::Outcome(_) => "has an outcome",
        RecordedResult::Failure(_) => "fails",
        RecordedResult::Trap(_) => "traps",
    }
}

/// The first part in which outcomes differ.
fn difference(warm: &RecordedOutcome, fresh: &RecordedOutcome) -> &'static str {
    if warm.status != fresh.status {
        "another status"
    } else if warm.children != fresh.children {
        "other children"
    } else if warm.readiness != fresh.readiness {
        "another readiness"
    } else if warm.conditions != fresh.conditions {
        "other conditions"
    } else if warm.events != fresh.events {
        "other events"
    } else if warm.finalized != fresh.finalized {
        "another end of its clean-up"
    } else {
        "another time to be called again"
    }
}

#[cfg(test)]
mod tests {
    use setpoint_core::Key;
    use setpoint_core::contract::{Failure, Outcome};

    use super::*;
    use crate::call::CallStats;

    fn call(result: Result<&str, CallFailure>) -> Call {
        let outcome = |status: &str| Outcome { status: Some(status.to_owned()), ..Outcome::default() };
        Call { result: result.map(outcome), impure: false, stats: CallStats::default() }
    }

    fn trap(limit: Option<LimitKind>) -> Call {
        call(Err(CallFailure::Trap { message: "no".into(), limit }))
    }

    #[test]
    fn of_256_calls_one_is_checked_and_its_place_moves() {
        assert!(is_checked(0), "the first of all");
        let mut places = std::collections::BTreeSet::new();
        for round in 0..256 {
            let checked: Vec<u64> = (0..256).filter(|place| is_checked(round * 256 + place)).collect();
            assert_eq!(checked.len(), 1);
            places.extend(checked);
        }
        assert_eq!(places.len(), 256);
    }

    #[test]
    fn outcomes_are_compared_by_what_they_say() {
        let one = call(Ok("{\"a\":1,\"b\":2}"));
        assert_eq!(compare(&one, &call(Ok("{\"b\": 2, \"a\": 1}")), &[]), Verdict::Same);
        let different = Verdict::Different("in a fresh instance it returns another status".into());
        assert_eq!(compare(&one, &call(Ok("{\"a\":2,\"b\":2}")), &[]), different);
        let failure = |text: &str| call(Err(CallFailure::Plugin(Failure::Retry(text.into()))));
        assert_eq!(compare(&failure("a"), &failure("a"), &[]), Verdict::Same);
        assert!(matches!(compare(&failure("a"), &failure("b"), &[]), Verdict::Different(_)));
        let mixed = Verdict::Different("it traps; in a fresh instance it has an outcome".into());
        assert_eq!(compare(&trap(None), &one, &[]), mixed);
        assert_eq!(compare(&trap(None), &trap(Some(LimitKind::Memory)), &[]), Verdict::Same);
    }

    #[test]
    fn a_remembered_read_and_a_remembered_time_are_differences() {
        let one = call(Ok("{}"));
        let question = Question::get(&Key::new("local", "", "ConfigMap", Some("default"), "a"));
        let reads = "only in a fresh instance it reads: get local/core/ConfigMap/default/a";
        assert_eq!(compare(&one, &call(Ok("{}")), &[question]), Verdict::Different(reads.into()));
        let clock = Call { impure: true, ..call(Ok("{}")) };
        assert!(matches!(compare(&one, &clock, &[]), Verdict::Different(_)));
    }

    #[test]
    fn an_impure_call_and_one_that_ran_out_of_time_prove_nothing() {
        let one = call(Ok("{}"));
        let clock = Call { impure: true, ..call(Ok("{\"a\":1}")) };
        assert_eq!(compare(&clock, &one, &[]), Verdict::Unclear);
        for limit in [LimitKind::Wall, LimitKind::Cpu] {
            assert_eq!(compare(&one, &trap(Some(limit)), &[]), Verdict::Unclear);
            assert_eq!(compare(&trap(Some(limit)), &one, &[]), Verdict::Unclear);
        }
    }

    #[test]
    fn warm_mode_is_off_until_it_is_asked_for_and_ends_for_good() {
        let mode = Mode::default();
        assert_eq!((mode.calls(None), mode.calls(Some(1)), mode.view(0)), (None, None, Warm::Off));
        assert_eq!(mode.calls(Some(5)), Some(5));
        assert!(mode.reused() && !mode.reused());
        mode.passed();
        assert_eq!(mode.view(2), Warm::On { kept: 2, reused: 2, checked: 1 });
        assert!(mode.end("first".into()) && !mode.end("second".into()));
        assert_eq!(mode.calls(Some(5)), None);
        assert_eq!(mode.view(0), Warm::Quarantined { reason: "first".into() });
    }
}
