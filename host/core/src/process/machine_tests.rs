//! What a process does, one promise at a time.

use std::sync::Arc;

use super::*;
use crate::Time;
use crate::contract::Reason;
use crate::delay::{BUCKET, REFILL};

/// A machine that is told things one after the other, and what it shows.
struct Told {
    machine: Machine,
    now: Time,
    spec: ProcessSpec,
    generation: i64,
}

fn digest(value: &str) -> Digest {
    let variable = EnvVar { name: "V".into(), value: Some(value.into()), value_from: None };
    Environment::resolve(&[variable], |_| Ok(None)).expect("a plain value").digest()
}

fn told(change: impl FnOnce(&mut ProcessSpec)) -> Told {
    let mut spec = ProcessSpec::new("server");
    change(&mut spec);
    Told { machine: Machine::new(0, 7), now: 0, spec, generation: 0 }
}

/// One that runs since the time 0.
fn running(change: impl FnOnce(&mut ProcessSpec)) -> Told {
    let mut told = told(change);
    assert_eq!(told.want("v"), [Action::Start]);
    assert_eq!(told.tell(Event::Started { pid: 11 }), []);
    told
}

impl Told {
    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.machine.handle(self.now, event)
    }

    fn permit(&mut self, permit: Permit) -> Vec<Action> {
        self.generation += 1;
        let wanted = Wanted { spec: Arc::new(self.spec.clone()), generation: self.generation, permit };
        self.tell(Event::Wanted(wanted))
    }

    fn want(&mut self, value: &str) -> Vec<Action> {
        self.permit(Permit::Run(digest(value)))
    }

    /// Lets time pass to the next thing that is due.
    fn wake(&mut self) -> Vec<Action> {
        self.now = self.machine.next_wakeup().expect("something is due");
        self.tell(Event::Tick)
    }

    /// Ends and is gone, as far as the machine asked for it.
    fn end(&mut self, code: i32) {
        assert_eq!(self.tell(Event::Exited(Exit::Code(code))), [Action::KillGroup]);
        assert_eq!(self.tell(Event::Cleared), []);
    }

    fn status(&self) -> ProcessStatus {
        self.machine.status(|time| format!("@{time}"))
    }

    fn shows(&self, state: State, reason: &str) {
        let status = self.status();
        assert_eq!((status.state, status.reason.as_str()), (state, reason), "{status:?}");
    }
}

#[test]
fn one_that_just_runs_is_never_woken_and_shows_nothing_new() {
    let mut told = running(|_| {});
    told.shows(State::Running, "Running");
    let shown = told.status();
    assert!(shown.ready && shown.pid == Some(11) && shown.started_at.as_deref() == Some("@0"), "{shown:?}");
    assert_eq!(told.machine.next_wakeup(), None);
    told.now = 86_400_000;
    assert_eq!(told.tell(Event::Tick), []);
    let again = told.want("v");
    assert_eq!((again, told.machine.next_wakeup()), (vec![], None));
    assert_eq!(ProcessStatus { observed_generation: 1, conditions: shown.conditions.clone(), ..told.status() }, shown);
}

#[test]
fn it_is_ready_when_it_ran_as_long_as_it_has_to() {
    let mut told = running(|spec| spec.min_ready_seconds = 3);
    told.shows(State::Running, "NotReadyYet");
    assert_eq!(told.status().conditions[0].status, "False");
    told.now = 2_999;
    assert_eq!(told.tell(Event::Tick), []);
    assert!(!told.status().ready);
    assert_eq!(told.wake(), []);
    assert_eq!(told.now, 3_000);
    told.shows(State::Running, "Running");
    let condition = &told.status().conditions[0];
    assert_eq!((condition.status.as_str(), condition.last_transition_time.as_str()), ("True", "@3000"));
    assert_eq!(told.machine.next_wakeup(), None);
}

#[test]
fn one_that_ends_is_started_again_after_a_backoff_that_doubles() {
    let mut told = running(|spec| spec.crash_loop_threshold = 3);
    let mut step = 1_000;
    for failures in 1..=12u32 {
        told.now += 100;
        told.end(1);
        let wait = told.machine.next_wakeup().expect("it is started again") - told.now;
        assert!(wait >= step / 2 && wait <= step, "{wait} after {failures}");
        told.shows(if failures < 3 { State::Backoff } else { State::CrashLoop }, "Error");
        let status = told.status();
        assert_eq!((status.consecutive_failures, status.restarts), (failures, failures - 1));
        assert_eq!(status.next_restart_at, Some(format!("@{}", told.now + wait)));
        assert_eq!(status.message, "exited with code 1");
        assert_eq!((status.last_exit.map(|last| (last.code, last.ran_seconds))), Some((Some(1), 0)));
        assert_eq!(told.wake(), [Action::Start]);
        assert_eq!(told.tell(Event::Started { pid: 11 + failures }), []);
        step = (step * 2).min(300_000);
    }
}

#[test]
fn one_that_ran_for_long_begins_anew_with_the_first_backoff() {
    let mut told = running(|_| {});
    for _ in 0..6 {
        told.end(1);
        told.wake();
        told.tell(Event::Started { pid: 12 });
    }
    assert_eq!(told.status().consecutive_failures, 6);
    let started = told.now;
    // The one wake-up of its life: that it ran long enough is shown.
    assert_eq!(told.wake(), []);
    assert_eq!((told.now, told.status().consecutive_failures), (started + 60_000, 0));
    assert_eq!(told.machine.next_wakeup(), None);
    told.end(1);
    told.shows(State::Backoff, "Error");
    assert!(told.machine.next_wakeup().expect("it is started again") <= told.now + 1_000);
    assert_eq!(told.status().consecutive_failures, 1);
}

#[test]
fn the_policy_says_which_ends_are_ends() {
    use RestartPolicy::*;
    let cases = [
        (Always, Exit::Code(0), State::Backoff, "Completed", 1),
        (Always, Exit::Code(2), State::Backoff, "Error", 1),
        (OnFailure, Exit::Code(0), State::Exited, "Completed", 0),
        (OnFailure, Exit::Code(2), State::Backoff, "Error", 1),
        (OnFailure, Exit::Signal("SIGSEGV".into()), State::Backoff, "Signaled", 1),
        (Never, Exit::Code(0), State::Exited, "Completed", 0),
        (Never, Exit::Code(2), State::Exited, "Error", 1),
    ];
    for (policy, exit, state, reason, failures) in cases {
        let mut told = running(|spec| spec.restart_policy = policy);
        told.tell(Event::Exited(exit));
        told.tell(Event::Cleared);
        told.shows(state, reason);
        let status = told.status();
        assert_eq!(status.consecutive_failures, failures);
        assert_eq!(told.machine.next_wakeup().is_some(), state == State::Backoff);
        assert_eq!(status.next_restart_at.is_some(), state == State::Backoff);
    }
}

#[test]
fn a_policy_that_changes_holds_for_one_that_has_ended_already() {
    let mut told = running(|spec| spec.restart_policy = RestartPolicy::Never);
    told.end(0);
    told.shows(State::Exited, "Completed");
    told.spec.restart_policy = RestartPolicy::Always;
    assert_eq!(told.want("v"), [Action::Start]);
    told.tell(Event::Started { pid: 12 });
    told.end(0);
    told.shows(State::Backoff, "Completed");
    told.spec.restart_policy = RestartPolicy::OnFailure;
    assert_eq!(told.want("v"), []);
    told.shows(State::Exited, "Completed");
    assert_eq!(told.machine.next_wakeup(), None);
}

#[test]
fn a_stop_asks_then_kills_when_the_grace_has_passed() {
    let mut told = running(|spec| spec.stop.grace_seconds = 4);
    assert_eq!(told.tell(Event::Deleted), [Action::Signal]);
    told.shows(State::Stopping, "Deleted");
    assert_eq!(told.status().pid, Some(11));
    assert_eq!(told.wake(), [Action::KillGroup]);
    assert_eq!(told.now, 4_000);
    assert_eq!(told.tell(Event::Exited(Exit::Signal("SIGKILL".into()))), []);
    assert_eq!(told.tell(Event::Cleared), [Action::Forget]);
    assert!(told.machine.is_forgotten());
    assert_eq!((told.want("v"), told.machine.next_wakeup()), (vec![], None));
}

#[test]
fn the_rest_of_a_group_has_the_whole_grace_after_its_leader_ended() {
    let mut told = running(|_| {});
    assert_eq!(told.tell(Event::Deleted), [Action::Signal]);
    told.now = 5;
    assert_eq!(told.tell(Event::Exited(Exit::Code(0))), [], "the others may still be saving their work");
    assert_eq!(told.status().pid, None);
    assert_eq!(told.wake(), [Action::KillGroup]);
    assert_eq!(told.now, 10_000);
    assert_eq!(told.tell(Event::Cleared), [Action::Forget]);
}

#[test]
fn without_a_grace_it_is_killed_at_once() {
    let mut told = running(|spec| spec.stop.grace_seconds = 0);
    assert_eq!(told.tell(Event::Deleted), [Action::KillGroup]);
}

#[test]
fn a_host_without_time_kills_what_it_stops() {
    let mut told = running(|_| {});
    assert_eq!(told.tell(Event::Deleted), [Action::Signal]);
    told.now = 1_000;
    assert_eq!(told.tell(Event::Hurry), [Action::KillGroup]);
    assert_eq!(told.tell(Event::Cleared), [Action::Forget]);
    // One that is just being started as well.
    let mut told = self::told(|_| {});
    assert_eq!(told.want("v"), [Action::Start]);
    assert_eq!(told.tell(Event::Deleted), [], "it is stopped properly as soon as it runs");
    assert_eq!(told.tell(Event::Hurry), [Action::KillGroup]);
    let failed = told.tell(Event::StartFailed(Reason::new("Killed", "was killed")));
    assert_eq!(failed, [Action::Forget]);
}

#[test]
fn what_does_not_die_is_shown_and_waited_for() {
    let mut told = running(|spec| spec.stop.grace_seconds = 0);
    told.spec.args = vec!["other".into()];
    assert_eq!(told.want("v"), [Action::KillGroup]);
    told.shows(State::Stopping, "SpecChanged");
    assert_eq!(told.wake(), []);
    assert_eq!(told.now, GONE_BOUND);
    told.shows(State::Stopping, "NotDying");
    assert_eq!(told.machine.next_wakeup(), None);
    told.now = 3_600_000;
    assert_eq!(told.tell(Event::Tick), [], "nothing is started beside it");
    assert_eq!(told.tell(Event::Cleared), [Action::Start]);
}

#[test]
fn a_change_of_what_is_started_restarts_it_when_the_old_one_is_gone() {
    let changes: [fn(&mut ProcessSpec); 6] = [
        |spec| spec.command = "other".into(),
        |spec| spec.args = vec!["-v".into()],
        |spec| spec.working_directory = Some("data".into()),
        |spec| spec.stdin = Stdin::Mcp,
        |spec| spec.limits.open_files = Some(64),
        |spec| spec.restarted_at = Some("now".into()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut told = running(|_| {});
        change(&mut told.spec);
        assert_eq!(told.want("v"), [Action::Signal], "change {at}");
        told.shows(State::Stopping, if at == 5 { "RestartRequested" } else { "SpecChanged" });
        assert_eq!(told.tell(Event::Exited(Exit::Code(0))), []);
        assert_eq!(told.tell(Event::Cleared), [Action::Start]);
        assert_eq!(told.tell(Event::Started { pid: 12 }), []);
        let status = told.status();
        assert_eq!((status.restarts, status.consecutive_failures), (1, 0), "a wanted restart is no failure");
        assert_eq!(told.want("v"), [], "it restarts once");
    }
}

#[test]
fn a_changed_value_of_a_secret_restarts_it() {
    let mut told = running(|_| {});
    assert_eq!(told.want("another"), [Action::Signal]);
    told.shows(State::Stopping, "SpecChanged");
}

#[test]
fn a_change_of_how_it_is_looked_after_restarts_nothing() {
    let changes: [fn(&mut ProcessSpec); 5] = [
        |spec| spec.min_ready_seconds = 9,
        |spec| spec.restart_policy = RestartPolicy::Never,
        |spec| spec.backoff.max_seconds = 9,
        |spec| spec.crash_loop_threshold = 9,
        |spec| spec.stop.grace_seconds = 9,
    ];
    for change in changes {
        let mut told = running(|_| {});
        change(&mut told.spec);
        assert_eq!(told.want("v"), []);
        told.shows(State::Running, "Running");
        assert_eq!(told.status().observed_generation, 2);
    }
}

#[test]
fn a_changed_spec_is_tried_at_once_whatever_was_waited_for() {
    let mut told = running(|_| {});
    for _ in 0..8 {
        told.end(1);
        told.wake();
        told.tell(Event::Started { pid: 12 });
    }
    told.end(1);
    told.shows(State::CrashLoop, "Error");
    told.spec.args = vec!["mended".into()];
    assert_eq!(told.want("v"), [Action::Start]);
    assert_eq!(told.status().consecutive_failures, 0);
}

#[test]
fn a_change_while_it_stops_is_what_is_started_then() {
    let mut told = running(|_| {});
    told.spec.args = vec!["second".into()];
    assert_eq!(told.want("v"), [Action::Signal]);
    told.spec.args = vec!["third".into()];
    assert_eq!(told.want("v"), [], "it is being stopped already");
    assert_eq!(told.tell(Event::Cleared), [Action::Start]);
    told.tell(Event::Started { pid: 12 });
    assert_eq!(told.want("v"), []);
}

#[test]
fn one_that_ended_while_its_spec_changed_is_started_with_the_new_one_at_once() {
    let mut told = running(|_| {});
    assert_eq!(told.tell(Event::Exited(Exit::Code(1))), [Action::KillGroup]);
    told.spec.args = vec!["second".into()];
    assert_eq!(told.want("v"), [], "what it left behind is not gone yet");
    assert_eq!(told.tell(Event::Cleared), [Action::Start]);
}

#[test]
fn a_spec_that_changes_all_the_time_is_slowed_down_and_its_last_state_is_started() {
    let mut told = running(|spec| spec.stop.grace_seconds = 0);
    let (mut starts, hour) = (1u64, 3_600_000);
    for at in 1..hour / 10 {
        told.now = at * 10;
        told.spec.args = vec![at.to_string()];
        let mut actions = told.want("v");
        actions.extend(told.tell(Event::Tick));
        while let Some(action) = actions.pop() {
            match action {
                Action::KillGroup => actions.extend(told.tell(Event::Cleared)),
                Action::Start => {
                    starts += 1;
                    actions.extend(told.tell(Event::Started { pid: 12 }));
                }
                Action::Signal | Action::Forget => unreachable!("there is no grace, and it is wanted"),
            }
        }
    }
    assert!(starts <= u64::from(BUCKET) + hour / REFILL + 1, "{starts} starts");
    told.shows(State::Pending, "Damped");
    assert_eq!(told.wake(), [Action::Start]);
}

#[test]
fn what_cannot_be_started_is_failed_with_its_reason_and_tried_again() {
    let mut told = told(|spec| spec.restart_policy = RestartPolicy::Never);
    assert_eq!(told.want("v"), [Action::Start]);
    told.shows(State::Pending, "Starting");
    let missing = Reason::new("CommandNotFound", "there is no program /home/me/bin/server");
    assert_eq!(told.tell(Event::StartFailed(missing)), []);
    told.shows(State::Failed, "CommandNotFound");
    let status = told.status();
    assert_eq!(status.message, "there is no program [path]/server");
    assert!(status.next_restart_at.is_some() && status.last_exit.is_none() && status.restarts == 0);
    assert_eq!(told.wake(), [Action::Start], "it may be installed by now");
    assert!(told.now <= 1_000);
}

#[test]
fn a_start_that_takes_too_long_is_killed_and_counts_as_failed() {
    let mut told = told(|_| {});
    told.want("v");
    assert_eq!(told.wake(), [Action::KillGroup]);
    assert_eq!(told.now, START_BOUND);
    told.shows(State::Stopping, "StartTimeout");
    assert_eq!(told.tell(Event::Started { pid: 11 }), [], "too late");
    assert_eq!(told.tell(Event::Exited(Exit::Signal("SIGKILL".into()))), []);
    assert_eq!(told.tell(Event::Cleared), []);
    told.shows(State::Failed, "StartTimeout");
    assert_eq!(told.status().consecutive_failures, 1);
    assert_eq!(told.wake(), [Action::Start]);
}

#[test]
fn one_that_waits_for_a_secret_is_not_started_and_one_that_runs_goes_on() {
    let missing = || Permit::Wait(Reason::new("SecretNotFound", "the variable A needs a Secret"));
    let mut told = told(|_| {});
    assert_eq!(told.permit(missing()), []);
    told.shows(State::Failed, "SecretNotFound");
    assert_eq!(told.machine.next_wakeup(), None, "nothing but the Secret helps");
    assert_eq!(told.want("v"), [Action::Start]);
    told.tell(Event::Started { pid: 11 });
    assert_eq!(told.permit(missing()), []);
    told.shows(State::Running, "Running");
    told.end(1);
    told.shows(State::Failed, "SecretNotFound");
    assert_eq!(told.status().next_restart_at, None);
    assert_eq!(told.machine.next_wakeup(), None);
}

#[test]
fn one_that_must_not_run_is_stopped_and_comes_back_when_it_may() {
    let mut told = running(|_| {});
    let refused = Permit::Stop(Reason::new("NotGranted", "the grant process is missing"));
    assert_eq!(told.permit(refused), [Action::Signal]);
    told.shows(State::Stopping, "NotGranted");
    told.tell(Event::Exited(Exit::Code(0)));
    assert_eq!(told.tell(Event::Cleared), []);
    told.shows(State::Failed, "NotGranted");
    assert_eq!(told.machine.next_wakeup(), None);
    assert_eq!(told.want("v"), [Action::Start]);
}

#[test]
fn one_that_is_deleted_is_forgotten_from_wherever_it_is() {
    assert_eq!(told(|_| {}).tell(Event::Deleted), [Action::Forget]);
    let mut waiting = running(|_| {});
    waiting.end(1);
    assert_eq!(waiting.tell(Event::Deleted), [Action::Forget]);
    let mut clearing = running(|_| {});
    clearing.tell(Event::Exited(Exit::Code(1)));
    assert_eq!(clearing.tell(Event::Deleted), [], "what it left behind is not gone yet");
    assert_eq!(clearing.tell(Event::Cleared), [Action::Forget]);
    let mut starting = told(|_| {});
    starting.want("v");
    starting.tell(Event::Deleted);
    assert_eq!(starting.tell(Event::Started { pid: 11 }), [Action::Signal]);
}

#[test]
fn one_whose_end_nobody_saw_is_started_again() {
    let mut told = running(|_| {});
    let lost = Reason::new("KeeperLost", "was killed with what watches over it");
    told.tell(Event::Exited(Exit::Unseen(lost)));
    told.tell(Event::Cleared);
    told.shows(State::Backoff, "KeeperLost");
    let last = told.status().last_exit.expect("it ended");
    assert_eq!((last.code, last.signal), (None, None));
    let mut told = running(|_| {});
    assert_eq!(told.tell(Event::Cleared), []);
    told.shows(State::Backoff, "Lost");
}

#[test]
fn events_that_cannot_be_change_nothing() {
    let mut told = told(|_| {});
    for event in [
        Event::Started { pid: 1 },
        Event::Exited(Exit::Code(1)),
        Event::Cleared,
        Event::Tick,
        Event::StartFailed(Reason::new("A", "b")),
    ] {
        assert_eq!(told.tell(event), []);
    }
    told.shows(State::Pending, "Waiting");
    assert_eq!(told.want("v"), [Action::Start]);
}

#[test]
fn a_status_is_written_as_the_api_shows_it() {
    let mut told = running(|_| {});
    told.now = 61_500;
    told.tell(Event::Exited(Exit::Signal("SIGSEGV".into())));
    told.tell(Event::Cleared);
    let due = told.machine.next_wakeup().expect("it is started again");
    let expected = serde_json::json!({
        "state": "Backoff",
        "reason": "Signaled",
        "message": "was ended by SIGSEGV",
        "ready": false,
        "lastExit": {"signal": "SIGSEGV", "at": "@61500", "ranSeconds": 61},
        "restarts": 0,
        "consecutiveFailures": 1,
        "nextRestartAt": format!("@{due}"),
        "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": "False", "observedGeneration": 1, "lastTransitionTime": "@61500",
            "reason": "Signaled", "message": "was ended by SIGSEGV",
        }],
    });
    assert_eq!(serde_json::to_value(told.status()).expect("an object"), expected);
}
