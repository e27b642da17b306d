//! What holds for any order of events.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Time;
use crate::contract::Reason;
use crate::delay::{BUCKET, REFILL};

/// What a world does next. Numbers are reduced to what fits.
#[derive(Clone, Debug)]
enum Step {
    /// A spec and an environment of a few.
    Want {
        spec: u8,
        environment: u8,
        policy: u8,
    },
    Wait,
    Refuse,
    Delete,
    Hurry,
    /// So many milliseconds pass. Whatever is due meanwhile happens.
    Pass(Time),
    /// The start that is under way comes to an end.
    Started(bool),
    /// The process ends.
    Exit(u8),
    /// What was told to die is gone.
    Gone,
    /// Something that does not fit, as from a driver that is confused.
    Noise(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 0u8..2, 0u8..3).prop_map(|(spec, environment, policy)| Step::Want { spec, environment, policy }),
        1 => Just(Step::Wait),
        1 => Just(Step::Refuse),
        1 => Just(Step::Delete),
        1 => Just(Step::Hurry),
        6 => prop_oneof![0u64..50, 500u64..3_000, 5_000u64..80_000].prop_map(Step::Pass),
        6 => any::<bool>().prop_map(Step::Started),
        4 => (0u8..3).prop_map(Step::Exit),
        5 => Just(Step::Gone),
        1 => (0u8..4).prop_map(Step::Noise),
    ]
}

/// A spec that somebody changes all the time, and a process that ends all the time.
fn flap() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 0u8..2).prop_map(|(spec, environment)| Step::Want { spec, environment, policy: 0 }),
        2 => (0u8..3).prop_map(Step::Exit),
        2 => prop_oneof![0u64..50, 500u64..3_000].prop_map(Step::Pass),
    ]
}

/// What really is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reality {
    Nothing,
    Starting,
    Running,
    /// The leader is gone, others may be there.
    Leaderless,
}

struct World {
    machine: Machine,
    now: Time,
    reality: Reality,
    /// SIGKILL was asked for since the last start.
    killed: bool,
    /// Since when it has been asked to end, and how long that may take.
    stopping: Option<(Time, Time)>,
    forgotten: bool,
    starts: Vec<Time>,
    /// Starts that no backoff let through.
    changes: usize,
    shown: ProcessStatus,
    last_wanted: Option<(ProcessSpec, u8)>,
    running_as: Option<(ProcessSpec, u8)>,
}

const GRACE: u32 = 4;

fn spec_of(number: u8, policy: u8) -> ProcessSpec {
    let mut spec = ProcessSpec::new(["a", "b"][usize::from(number % 2)]);
    spec.restarted_at = (number >= 2).then(|| "once".to_owned());
    spec.stop.grace_seconds = GRACE;
    spec.restart_policy = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never][usize::from(policy)];
    spec.min_ready_seconds = u32::from(policy);
    spec
}

fn digest_of(number: u8) -> Digest {
    let variable = EnvVar { name: "V".into(), value: Some(number.to_string()), value_from: None };
    Environment::resolve(&[variable], |_| Ok(None)).expect("a plain value").digest()
}

impl World {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(0, seed);
        let shown = machine.status(|time| time.to_string());
        Self {
            machine,
            now: 0,
            reality: Reality::Nothing,
            killed: false,
            stopping: None,
            forgotten: false,
            starts: Vec::new(),
            changes: 0,
            shown,
            last_wanted: None,
            running_as: None,
        }
    }

    fn tell(&mut self, event: Event) {
        let tick = matches!(event, Event::Tick);
        let due = self.machine.next_wakeup().is_some_and(|due| due <= self.now);
        let actions = self.machine.handle(self.now, event);
        if tick && !due {
            assert_eq!(actions, [], "something happened although nothing was due");
        }
        for action in actions {
            self.perform(action);
        }
        self.look(tick && !due);
    }

    fn perform(&mut self, action: Action) {
        assert!(!self.forgotten, "{action:?} after it was forgotten");
        match action {
            Action::Start => {
                assert_eq!(self.reality, Reality::Nothing, "two at once");
                self.reality = Reality::Starting;
                self.killed = false;
                self.stopping = None;
                self.starts.push(self.now);
                self.changes += usize::from(self.machine.failures == 0);
                self.running_as = self.last_wanted.clone();
            }
            Action::Signal => {
                assert_eq!(self.reality, Reality::Running, "a signal for nobody");
                self.stopping = Some((self.now, Time::from(GRACE) * 1_000));
            }
            Action::KillGroup => {
                assert_ne!(self.reality, Reality::Nothing, "there is nothing to kill");
                self.killed = true;
                self.stopping = None;
            }
            Action::Forget => {
                assert_eq!(self.reality, Reality::Nothing, "something is left");
                self.forgotten = true;
            }
        }
    }

    /// What is shown is true, and nothing else is shown than before if nothing happened.
    fn look(&mut self, nothing_happened: bool) {
        let shown = self.machine.status(|time| time.to_string());
        if nothing_happened {
            assert_eq!(shown, self.shown, "another status for nothing");
        }
        match shown.state {
            State::Running => {
                assert_eq!(self.reality, Reality::Running);
                assert!(shown.pid.is_some() && shown.started_at.is_some());
                assert!(self.machine.next_wakeup().is_none() || !shown.ready || shown.consecutive_failures > 0);
            }
            State::Pending => assert!(matches!(self.reality, Reality::Nothing | Reality::Starting)),
            State::Stopping => assert_ne!(self.reality, Reality::Nothing),
            State::Backoff | State::CrashLoop | State::Exited | State::Failed => {
                assert!(matches!(self.reality, Reality::Nothing | Reality::Leaderless), "{shown:?} {:?}", self.reality);
                assert_eq!(shown.pid, None);
            }
        }
        assert!(!shown.ready || shown.state == State::Running);
        assert_eq!(shown.conditions[0].status == "True", shown.ready);
        if let Some(next) = &shown.next_restart_at {
            assert!(matches!(shown.state, State::Backoff | State::CrashLoop | State::Failed), "{shown:?}");
            assert!(
                self.reality == Reality::Leaderless || *next == self.machine.next_wakeup().expect("due").to_string()
            );
        }
        if let Some((since, grace)) = self.stopping {
            assert!(self.now < since + grace, "the grace has passed, and it was not killed");
        }
        self.shown = shown;
    }

    fn gone(&mut self) {
        self.stopping = None;
        match self.reality {
            Reality::Nothing => return,
            Reality::Starting => {
                self.reality = Reality::Nothing;
                self.tell(Event::StartFailed(Reason::new("Killed", "was killed")));
                return;
            }
            Reality::Running => {
                self.reality = Reality::Leaderless;
                self.tell(Event::Exited(Exit::Signal("SIGKILL".into())));
            }
            Reality::Leaderless => {}
        }
        self.reality = Reality::Nothing;
        self.tell(Event::Cleared);
    }

    fn pass(&mut self, to: Time) {
        for _ in 0..1_000 {
            match self.machine.next_wakeup() {
                Some(due) if due <= to => {
                    self.now = self.now.max(due);
                    self.tell(Event::Tick);
                }
                _ => {
                    self.now = to;
                    self.tell(Event::Tick);
                    return;
                }
            }
        }
        panic!("it is woken without an end");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Want { spec, environment, policy } => {
                let spec = spec_of(*spec, *policy);
                self.last_wanted = Some((spec.clone(), *environment));
                let permit = Permit::Run(digest_of(*environment));
                self.tell(Event::Wanted(Wanted { spec: Arc::new(spec), generation: 1, permit }));
            }
            Step::Wait | Step::Refuse => {
                let (spec, _) = self.last_wanted.clone().unwrap_or((spec_of(0, 0), 0));
                let reason = Reason::new("Reason", "a reason");
                let permit = if matches!(step, Step::Wait) { Permit::Wait(reason) } else { Permit::Stop(reason) };
                self.tell(Event::Wanted(Wanted { spec: Arc::new(spec), generation: 1, permit }));
            }
            Step::Delete => self.tell(Event::Deleted),
            Step::Hurry => self.tell(Event::Hurry),
            Step::Pass(time) => self.pass(self.now + time),
            Step::Started(well) if self.reality == Reality::Starting => {
                if *well {
                    self.reality = Reality::Running;
                    self.tell(Event::Started { pid: 7 });
                } else {
                    self.reality = Reality::Nothing;
                    self.tell(Event::StartFailed(Reason::new("CommandNotFound", "there is no such program")));
                }
            }
            Step::Exit(how) if self.reality == Reality::Running => {
                self.reality = Reality::Leaderless;
                let exit = if *how == 2 { Exit::Signal("SIGSEGV".into()) } else { Exit::Code(i32::from(*how)) };
                self.tell(Event::Exited(exit));
            }
            Step::Gone if self.killed || self.stopping.is_some() || self.reality == Reality::Leaderless => self.gone(),
            Step::Noise(which) => match (which, self.reality) {
                (0, Reality::Nothing | Reality::Running) => self.tell(Event::Started { pid: 9 }),
                (1, Reality::Nothing | Reality::Leaderless) => self.tell(Event::Exited(Exit::Code(3))),
                (2, Reality::Nothing) => self.tell(Event::Cleared),
                (3, Reality::Nothing | Reality::Running | Reality::Leaderless) if !self.killed => {
                    self.tell(Event::StartFailed(Reason::new("Noise", "noise")));
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// A world in which everything goes well from now on.
    fn settle(&mut self) {
        for _ in 0..50 {
            match self.reality {
                Reality::Starting if self.killed => self.gone(),
                Reality::Starting => {
                    self.reality = Reality::Running;
                    self.tell(Event::Started { pid: 8 });
                }
                Reality::Leaderless => self.gone(),
                Reality::Running if self.killed || self.stopping.is_some() => self.gone(),
                Reality::Running | Reality::Nothing => match self.machine.next_wakeup() {
                    Some(due) => self.pass(due),
                    None => return,
                },
            }
        }
        panic!("it does not come to rest: {:?}", self.machine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The promises of the module in the steps themselves; then, when everything goes well, exactly what is
    /// wanted runs, and nothing is due; then it is deleted, and forgotten in time.
    #[test]
    fn it_keeps_its_promises_in_any_order_of_events(seed: u64, steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        if !world.machine.deleted {
            world.step(&Step::Want { spec: 1, environment: 1, policy: 0 });
            world.settle();
            world.pass(world.now + 600_000);
            let shown = world.shown.clone();
            prop_assert_eq!((shown.state, shown.ready, shown.consecutive_failures), (State::Running, true, 0));
            let (spec, environment) = world.running_as.clone().expect("it runs");
            let wanted = spec_of(1, 0);
            prop_assert_eq!((spec.command, spec.restarted_at, environment), (wanted.command, wanted.restarted_at, 1));
            prop_assert_eq!(world.machine.next_wakeup(), None);
        }
        let asked = world.now;
        world.tell(Event::Deleted);
        world.settle();
        prop_assert!(world.forgotten && world.reality == Reality::Nothing);
        prop_assert!(world.now <= asked + Time::from(GRACE) * 1_000 + START_BOUND + GONE_BOUND);
    }

    /// However it flaps, starts are bounded: those that a change causes by the bucket, the others by the backoff.
    #[test]
    fn flapping_is_bounded(seed: u64, steps in proptest::collection::vec(flap(), 200..600)) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
            // Whatever is asked for is done at once, which is the worst that can happen.
            world.step(&Step::Gone);
            world.step(&Step::Started(true));
        }
        let bucket = u64::from(BUCKET) + world.now / REFILL + 1;
        prop_assert!(world.changes as u64 <= bucket, "{} starts for changes in {} ms", world.changes, world.now);
        // Two starts that no change caused are at least half of the first step of the backoff apart.
        let close = world.starts.windows(2).filter(|pair| pair[1] - pair[0] < 500).count();
        prop_assert!(close as u64 <= bucket, "{close} starts at once in {} ms", world.now);
    }

    /// The wait after the nth end in a row is within half and whole of a step that doubles up to its cap.
    #[test]
    fn waits_are_within_their_step(seed: u64, initial in 1u32..10, longest in 10u32..400, ends in 1u32..40) {
        let mut spec = ProcessSpec::new("a");
        spec.backoff = Backoff { initial_seconds: initial, max_seconds: longest, reset_after_seconds: 60 };
        let mut machine = Machine::new(0, seed);
        let wanted = Wanted { spec: Arc::new(spec), generation: 1, permit: Permit::Run(digest_of(0)) };
        let mut now = 0;
        prop_assert_eq!(machine.handle(now, Event::Wanted(wanted)), [Action::Start]);
        for end in 0..ends {
            machine.handle(now, Event::Started { pid: 1 });
            machine.handle(now, Event::Exited(Exit::Code(1)));
            prop_assert_eq!(machine.handle(now, Event::Cleared), []);
            let due = machine.next_wakeup().expect("it is never given up");
            let step = (u64::from(initial) * 1_000).saturating_mul(1 << end.min(30)).min(u64::from(longest) * 1_000);
            prop_assert!(due - now >= step / 2 && due - now <= step, "{} of {step}", due - now);
            now = due;
            prop_assert_eq!(machine.handle(now, Event::Tick), [Action::Start]);
        }
    }
}
