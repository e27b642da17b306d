//! What a Probe promises, and that it holds whatever happens in whatever order.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(more: serde_json::Value) -> ProbeSpec {
    let mut spec = json!({ "tcp": { "host": "localhost", "port": 1 } });
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).expect("a valid spec")
}

fn plain() -> ProbeSpec {
    spec(json!({}))
}

fn fine() -> Report {
    Report::healthy("answers")
}

fn server(tools: &[&str]) -> Report {
    let server = Server { name: "s".into(), version: "1".into(), protocol_version: "2025-06-18".into() };
    fine().with_server(server, tools.iter().map(|tool| (*tool).to_owned()).collect())
}

fn broken() -> Report {
    Report::failure(ProbeReason::ConnectionRefused, "nobody listens")
}

fn locked() -> Report {
    Report::auth_required("answered 401").with_http_status(Some(401))
}

/// A probe with a clock, and what it asked for.
struct Bench {
    probe: Probe,
    now: Time,
    writes: usize,
    cancelled: Vec<Run>,
}

impl Bench {
    fn new(spec: &ProbeSpec) -> Self {
        Self::of(Probe::new(spec, Gate::Open(1), 0, 0, 7))
    }

    fn of(probe: Probe) -> Self {
        Self { probe, now: 0, writes: 0, cancelled: Vec::new() }
    }

    /// Does what is due now.
    fn settle(&mut self) -> Option<Run> {
        let mut started = None;
        while let Some(action) = self.probe.next(self.now) {
            match action {
                Action::Start { run, .. } => started = Some(run),
                Action::Cancel(run) => self.cancelled.push(run),
                Action::Write => self.writes += 1,
            }
        }
        started
    }

    /// Goes on to the next attempt.
    fn attempt(&mut self) -> Run {
        loop {
            if let Some(run) = self.settle() {
                return run;
            }
            self.now = self.probe.wake().expect("an attempt is to come");
        }
    }

    /// The next attempt comes to this, after a while.
    fn goes(&mut self, report: &Report) -> Time {
        let run = self.attempt();
        let began = self.now;
        self.now += 5;
        self.probe.finished(self.now, run, report);
        assert_eq!(self.settle(), None, "the next attempt is later");
        began
    }

    fn status(&self) -> ProbeStatus {
        self.probe.status(|time| time.to_string())
    }
}

#[test]
fn a_healthy_endpoint_that_is_looked_at_writes_nothing() {
    let mut bench = Bench::new(&plain());
    bench.goes(&server(&["a"]));
    assert_eq!(bench.writes, 1);
    let connected = bench.status().last_connected;
    for _ in 0..1_000 {
        bench.goes(&server(&["a"]));
    }
    assert_eq!(bench.writes, 1);
    assert_eq!(bench.status().last_connected, connected, "only when it became healthy");
    bench.goes(&server(&["b", "a"]));
    assert_eq!(bench.writes, 2, "other tools");
    assert_eq!(bench.status().tool_count, Some(2));
}

#[test]
fn attempts_follow_by_the_interval_and_the_first_of_many_probes_disperse() {
    let mut bench = Bench::new(&plain());
    let starts: Vec<Time> = (0..5).map(|_| bench.goes(&fine())).collect();
    assert!((15_005..=30_005).contains(&(starts[1] - starts[0])), "{starts:?}");
    assert!(starts[1..].windows(2).all(|pair| pair[1] - pair[0] == 30_005), "{starts:?}");
}

#[test]
fn failures_are_looked_at_by_a_backoff_of_thirty_seconds_to_two_minutes_and_each_is_written() {
    let mut bench = Bench::new(&plain());
    let mut starts = Vec::new();
    for failures in 1..=6 {
        starts.push(bench.goes(&broken()) / 1_000);
        let status = bench.status();
        assert_eq!((bench.writes, status.consecutive_failures), (failures, failures as u32));
        assert_eq!(status.last_attempt, Some(bench.now.to_string()));
        assert_eq!(status.next_attempt, bench.probe.wake().map(|at| at.to_string()));
    }
    assert_eq!(starts, [0, 30, 90, 210, 330, 450]);
    bench.goes(&fine());
    let status = bench.status();
    assert_eq!(status.state, ProbeState::Healthy);
    assert_eq!((status.last_attempt, status.next_attempt, status.consecutive_failures), (None, None, 0));
}

#[test]
fn who_asks_for_authorization_is_no_failure_and_is_asked_again_after_the_interval() {
    let mut bench = Bench::new(&plain());
    let starts: Vec<Time> = (0..4).map(|_| bench.goes(&locked())).collect();
    assert!(starts[1..].windows(2).all(|pair| pair[1] - pair[0] == 30_005), "{starts:?}");
    let status = bench.status();
    assert_eq!((bench.writes, status.state, status.http_status), (1, ProbeState::AuthRequired, Some(401)));
    assert_eq!((status.consecutive_failures, status.next_attempt), (0, None));
}

#[test]
fn thresholds_hold_for_what_was_known_and_not_for_what_never_answered() {
    let patient = spec(json!({ "failureThreshold": 3, "successThreshold": 2 }));
    let mut bench = Bench::new(&patient);
    bench.goes(&broken());
    assert_eq!(bench.status().state, ProbeState::Unhealthy, "it never answered");
    bench.goes(&fine());
    assert_eq!(bench.status().state, ProbeState::Unhealthy, "one answer is not two");
    bench.goes(&fine());
    assert_eq!(bench.status().state, ProbeState::Healthy);
    let writes = bench.writes;
    bench.goes(&broken());
    bench.goes(&broken());
    assert_eq!((bench.status().state, bench.writes), (ProbeState::Healthy, writes), "two failures are not three");
    bench.goes(&broken());
    assert_eq!(bench.status().state, ProbeState::Unhealthy);
    assert_eq!(bench.status().consecutive_failures, 3);
    assert_eq!(bench.probe.wake(), Some(bench.now + 30_000), "the backoff begins when it counts");
    // In between, an answer takes the failures back.
    let mut bench = Bench::new(&patient);
    bench.goes(&fine());
    for _ in 0..5 {
        bench.goes(&broken());
        bench.goes(&broken());
        bench.goes(&fine());
    }
    assert_eq!((bench.status().state, bench.writes), (ProbeState::Healthy, 1));
}

#[test]
fn a_trigger_asks_at_once_and_a_hundred_ask_no_more_often_than_the_spacing() {
    let mut bench = Bench::new(&plain());
    bench.goes(&fine());
    bench.now += 2_000;
    bench.probe.configure(bench.now, &spec(json!({ "triggeredAt": "now" })));
    assert_eq!(bench.goes(&fine()), bench.now - 5);
    let began = bench.now;
    let mut attempts = 0;
    while bench.now < began + 10_000 {
        bench.probe.trigger(bench.now);
        if let Some(run) = bench.settle() {
            attempts += 1;
            bench.probe.trigger(bench.now);
            bench.probe.finished(bench.now, run, &fine());
        }
        bench.now += 100;
    }
    assert!((9..=10).contains(&attempts), "{attempts}");
    assert_eq!(bench.writes, 1, "and none of them is written");
}

#[test]
fn another_target_is_looked_at_at_once_and_what_was_known_is_forgotten() {
    let mut bench = Bench::new(&plain());
    bench.goes(&server(&["a"]));
    let old = {
        bench.probe.trigger(bench.now + 1_000);
        bench.now += 1_000;
        bench.attempt()
    };
    bench.now += SPACING;
    bench.probe.configure(bench.now, &spec(json!({ "tcp": { "host": "localhost", "port": 2 } })));
    let new = bench.settle().expect("at once");
    assert_eq!(bench.cancelled, [old]);
    assert_eq!(bench.status(), ProbeStatus::default());
    bench.probe.finished(bench.now, old, &server(&["a"]));
    assert_eq!(bench.status().state, ProbeState::Unknown, "what was cancelled does not count");
    bench.probe.finished(bench.now, new, &broken());
    assert_eq!(bench.status().state, ProbeState::Unhealthy);
    assert_eq!(bench.status().consecutive_failures, 1);
}

#[test]
fn another_interval_brings_the_next_attempt_forward_and_never_puts_it_off() {
    let mut bench = Bench::new(&plain());
    bench.goes(&fine());
    let due = bench.probe.wake();
    bench.probe.configure(bench.now, &spec(json!({ "intervalSeconds": 3_600 })));
    assert_eq!(bench.probe.wake(), due);
    bench.probe.configure(bench.now, &spec(json!({ "intervalSeconds": 2 })));
    assert_eq!(bench.probe.wake(), Some(bench.now + 2_000));
    let mut bench = Bench::new(&plain());
    bench.goes(&broken());
    bench.probe.configure(bench.now, &spec(json!({ "backoff": { "initialSeconds": 4 } })));
    assert_eq!(bench.status().next_attempt, Some((bench.now + 4_000).to_string()), "what is shown is true");
}

#[test]
fn a_process_that_starts_is_looked_at_at_once_and_its_absence_is_no_attempt() {
    let closed = || Gate::Closed(ProbeReason::ProcessNotReady, "the process does not run".into());
    let mut bench = Bench::of(Probe::new(&plain(), closed(), 0, 0, 7));
    assert_eq!(bench.settle(), None);
    assert_eq!(bench.probe.wake(), Some(SETTLE), "only to say so");
    bench.now = 300;
    bench.probe.gate(bench.now, Gate::Open(1));
    assert_eq!(bench.goes(&server(&["a"])), 300);
    assert_eq!(bench.writes, 1, "a start that is quick is one write");

    bench.now += 5_000;
    bench.probe.gate(bench.now, closed());
    assert_eq!(bench.settle(), None);
    assert_eq!(bench.writes, 1);
    bench.now += SETTLE;
    assert_eq!(bench.settle(), None);
    assert_eq!((bench.writes, bench.status().reason), (2, Some(ProbeReason::ProcessNotReady)));
    assert_eq!(bench.status().tools, None, "it offers nothing");
    assert_eq!(bench.status().server.map(|server| server.name), Some("s".into()), "who it was stays");
    assert_eq!((bench.probe.wake(), bench.status().consecutive_failures), (None, 0));

    bench.now += 60_000;
    bench.probe.gate(bench.now, Gate::Open(2));
    let again = bench.goes(&server(&["a"]));
    assert_eq!((again, bench.writes), (bench.now - 5, 3));
    assert_eq!(bench.status().last_connected, Some(bench.now.to_string()));

    bench.now += 5_000;
    bench.probe.gate(bench.now, Gate::Open(3));
    bench.goes(&server(&["a"]));
    assert_eq!(bench.status().last_connected, Some(bench.now.to_string()), "restarted in between: it is another one");
}

#[test]
fn what_cannot_be_looked_at_says_why_at_once() {
    let mut bench = Bench::new(&plain());
    bench.goes(&fine());
    let run = {
        bench.now += 40_000;
        bench.attempt()
    };
    bench.probe.gate(bench.now, Gate::Closed(ProbeReason::NotGranted, "needs http:x; token=abc123".into()));
    assert_eq!(bench.settle(), None);
    assert_eq!((bench.cancelled.as_slice(), bench.writes), ([run].as_slice(), 2));
    let (state, reason, message) = bench.probe.state();
    assert_eq!((state, reason), (ProbeState::Unhealthy, Some(ProbeReason::NotGranted)));
    assert_eq!(message, Some("needs http:x; token=[REDACTED]"));
    assert_eq!(bench.probe.wake(), None, "no attempt until that changes");
}

#[test]
fn what_nobody_knows_is_written_when_it_lasts() {
    let mut bench = Bench::new(&plain());
    let run = bench.attempt();
    assert_eq!(bench.writes, 0);
    bench.now = SETTLE;
    assert_eq!(bench.settle(), None);
    assert_eq!((bench.writes, bench.status().state), (1, ProbeState::Unknown));
    bench.probe.finished(bench.now + 1, run, &fine());
    bench.settle();
    assert_eq!(bench.writes, 2);
}

#[test]
fn a_host_that_starts_again_writes_nothing_that_is_there() {
    let mut first = Bench::new(&plain());
    first.goes(&server(&["a"]));
    let kept = first.probe.status(|time| format!("2026-01-01T00:00:{time:02}Z"));
    let text = serde_json::to_string(&kept).expect("a status is JSON");
    let kept: ProbeStatus = serde_json::from_str(&text).expect("a status reads what it writes");

    let mut again = Bench::of(Probe::new(&plain(), Gate::Open(1), 0, 0, 9).resume(0, &kept));
    again.goes(&server(&["a"]));
    again.goes(&server(&["a"]));
    assert_eq!(again.writes, 0);
    assert_eq!(again.status(), kept);

    let mut down = Bench::of(Probe::new(&plain(), Gate::Open(1), 0, 0, 9).resume(0, &kept));
    down.goes(&broken());
    assert_eq!((down.writes, down.status().last_connected), (1, kept.last_connected.clone()));
    let kept = down.probe.status(|time| time.to_string());
    let mut worse = Bench::of(Probe::new(&plain(), Gate::Open(1), 0, 0, 9).resume(0, &kept));
    worse.goes(&broken());
    assert_eq!(worse.status().consecutive_failures, 2);
    assert_eq!(worse.probe.wake(), Some(worse.now + 60_000), "the backoff goes on");
}

#[test]
fn tools_that_a_server_announces_are_shown_at_once() {
    let mut bench = Bench::new(&plain());
    bench.goes(&server(&["a"]));
    bench.probe.tools_changed(vec!["c".into(), "a".into(), "c".into()]);
    assert_eq!(bench.probe.wake(), Some(0));
    bench.settle();
    assert_eq!((bench.writes, bench.status().tools), (2, Some(vec!["a".into(), "c".into()])));
    bench.probe.tools_changed(vec!["a".into(), "c".into()]);
    bench.settle();
    assert_eq!(bench.writes, 2);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(Time),
    Wake,
    End(u8),
    EndOld,
    Trigger,
    Configure(u8),
    Open(u64),
    Close(bool),
    Tools(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..50_000u64).prop_map(Step::Wait),
        8 => Just(Step::Wake),
        8 => (0..4u8).prop_map(Step::End),
        1 => Just(Step::EndOld),
        2 => Just(Step::Trigger),
        2 => (0..6u8).prop_map(Step::Configure),
        2 => (0..3u64).prop_map(Step::Open),
        1 => any::<bool>().prop_map(Step::Close),
        1 => any::<bool>().prop_map(Step::Tools),
    ]
}

fn report(kind: u8) -> Report {
    match kind {
        0 => server(&["a"]),
        1 => server(&["b", "a"]),
        2 => locked(),
        _ => broken(),
    }
}

fn config(which: u8) -> ProbeSpec {
    spec(match which {
        0 => json!({}),
        1 => json!({ "intervalSeconds": 1 }),
        2 => json!({ "failureThreshold": 3, "successThreshold": 2, "intervalSeconds": 3 }),
        3 => json!({ "triggeredAt": "x" }),
        4 => json!({ "tcp": { "host": "localhost", "port": 2 } }),
        _ => json!({ "backoff": { "initialSeconds": 1, "maxSeconds": 4 } }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_promises_hold(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()) {
        let mut probe = Probe::new(&plain(), Gate::Open(0), 0, 0, seed);
        let (mut now, mut open): (Time, bool) = (0, true);
        let (mut running, mut last_start): (Option<Run>, Option<Time>) = (None, None);
        let mut old: Option<Run> = None;
        let mut written: Option<ProbeStatus> = None;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Wake => if let Some(at) = probe.wake() {
                    // Nothing is due before, and something is when it says so.
                    if at > now + 1 {
                        prop_assert_eq!(probe.clone().next(at - 1), None);
                    }
                    now = now.max(at);
                    prop_assert!(probe.clone().next(now).is_some());
                },
                Step::End(kind) => if let Some(run) = running.take() {
                    old = Some(run);
                    probe.finished(now, run, &report(kind));
                },
                Step::EndOld => if let Some(run) = old {
                    let before = probe.status(|time| time.to_string());
                    probe.finished(now, run, &report(0));
                    prop_assert_eq!(before, probe.status(|time| time.to_string()));
                },
                Step::Trigger => probe.trigger(now),
                Step::Configure(which) => probe.configure(now, &config(which)),
                Step::Open(number) => {
                    open = true;
                    probe.gate(now, Gate::Open(number));
                }
                Step::Close(passing) => {
                    open = false;
                    let reason = if passing { ProbeReason::ProcessNotReady } else { ProbeReason::NotGranted };
                    probe.gate(now, Gate::Closed(reason, "closed".into()));
                }
                Step::Tools(more) => probe.tools_changed(if more { vec!["z".into()] } else { Vec::new() }),
            }
            for turn in 0.. {
                prop_assert!(turn < 8, "it comes to rest");
                match probe.next(now) {
                    Some(Action::Start { run, timeout }) => {
                        prop_assert!(open && running.is_none(), "one attempt, and only through an open gate");
                        prop_assert!((1_000..=300_000).contains(&timeout));
                        prop_assert!(last_start.is_none_or(|start| now >= start + SPACING));
                        last_start = Some(now);
                        running = Some(run);
                    }
                    Some(Action::Cancel(run)) => {
                        prop_assert_eq!(running.take(), Some(run));
                        old = Some(run);
                    }
                    Some(Action::Write) => {
                        let status = probe.status(|time| time.to_string());
                        if let Some(before) = &written {
                            let silent = ProbeStatus {
                                message: before.message.clone(), http_status: before.http_status, ..status.clone()
                            };
                            prop_assert_ne!(&silent, before, "a write changes something");
                        }
                        written = Some(status);
                    }
                    None => break,
                }
            }
            prop_assert_eq!(probe.running(), running);
            let status = probe.status(|time| time.to_string());
            let unhealthy = status.state == ProbeState::Unhealthy;
            prop_assert!(unhealthy || (status.last_attempt.is_none() && status.next_attempt.is_none()));
            prop_assert!(status.tools.is_none() || status.state == ProbeState::Healthy);
            prop_assert_eq!(status.tool_count, status.tools.as_ref().map(|tools| tools.len() as u32));
            prop_assert!(probe.wake().is_some() || !open || running.is_some(), "there is a next attempt, or one under way");
            prop_assert!(open || running.is_none());
        }
        // Whatever it was, an endpoint that answers is healthy after as many answers as the threshold says, and quiet then.
        probe.gate(now, Gate::Open(9));
        for round in 0..6 {
            let run = loop {
                match probe.next(now) {
                    Some(Action::Start { run, .. }) => break Some(run),
                    Some(Action::Write) => prop_assert!(round < 4, "it is quiet"),
                    Some(Action::Cancel(_)) => {}
                    None => match (probe.running(), probe.wake()) {
                        (Some(run), _) => break Some(run),
                        (None, Some(at)) => now = now.max(at),
                        (None, None) => break None,
                    },
                }
            };
            let Some(run) = run else { return Err(TestCaseError::fail("no attempt comes")); };
            probe.finished(now, run, &server(&["a"]));
        }
        prop_assert_eq!(probe.state().0, ProbeState::Healthy);
    }
}
