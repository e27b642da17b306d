//! Carries attempts through: asks the engine what is next, calls plugins, performs effects.
//!
//! | question | module |
//! |---|---|
//! | what is carried through, and how | here: [`Driver`] |
//! | which clusters take part, and where does this host act | [`clusters`] |
//! | how does the engine hear of objects | [`sink`] |

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use setpoint_cluster::{Cluster, Permit, ServiceAccount, Warrant};
use setpoint_core::Time;
use setpoint_core::contract::Failure;
use setpoint_core::engine::{Attempt, CallResult, Engine, LiveRead, Passed, Step};
use setpoint_core::key::{Key, Name};
use setpoint_core::op::{Answer, Op, Refusal};
use setpoint_core::shards::Shard;
use setpoint_plugin::{Call, CallFailure, CallStats, Limits, Recorder};
use tokio::sync::{Notify, broadcast, watch};
use tracing::Instrument;

use crate::clock::{Clock, rfc3339};
use crate::code::Code;
use crate::logs::LogBook;
use crate::metrics::Metrics;
use crate::reads::EngineReads;
use crate::recent::Recent;
use crate::registry::Waiting;
use crate::ring::{Recorded, Ring};
use crate::views::{EventRow, StreamItem};

mod clusters;
mod sink;

pub use sink::EngineSink;

/// An effect has so long (rule C7).
const OP_TIMEOUT: Duration = Duration::from_secs(10);
/// The effects of one attempt have so long together.
const EFFECTS_TIMEOUT: Duration = Duration::from_secs(60);
/// A subscriber that is so many items behind is told to read everything anew.
const STREAM: usize = 1_024;

/// Told of versions whose first pass is over.
pub(crate) type OnPassed = Box<dyn Fn(Vec<(Name, Passed)>) + Send + Sync>;

/// A loaded reconciler with the limits of its calls.
#[derive(Clone)]
pub struct Component {
    /// What is called.
    pub code: Code,
    /// Limits of its calls.
    pub limits: Limits,
    /// As whom its children are written on API servers; none: as the host.
    pub acts_as: Option<Arc<ServiceAccount>>,
}

struct Inner {
    engine: Engine,
    /// The first passes that [`OnPassed`] was told of.
    passed: u64,
    /// What is wanted of clusters was told up to here.
    wanted: u64,
    components: HashMap<Name, Component>,
    terms: HashMap<Shard, Term>,
}

/// Whether this host acts on a shard, of clusters that take part and those that did.
#[derive(Default)]
struct Term {
    /// Counts how often that has ended: an attempt goes on only in the term that it began in.
    number: u64,
    /// Asked where it is one of several hosts that acts.
    permit: Option<Permit>,
    /// Attempts that run hold on to it.
    running: Arc<()>,
}

/// The term that an attempt began in.
struct Turn {
    shard: Shard,
    number: u64,
    permit: Option<Permit>,
    /// For [`Driver::running_in`].
    _running: Arc<()>,
}

impl Inner {
    /// The term in which this host acts on a key now.
    fn turn(&mut self, key: &Key) -> Turn {
        let shard = self.engine.shard_of(key);
        let term = self.terms.entry(shard.clone()).or_default();
        Turn { number: term.number, permit: term.permit.clone(), _running: term.running.clone(), shard }
    }

    /// Whether an attempt may go on.
    fn may_go_on(&self, turn: &Turn) -> bool {
        let now = self.terms.get(&turn.shard).map(|term| term.number);
        now == Some(turn.number) && turn.permit.as_ref().is_none_or(Permit::holds)
    }
}

/// The engine with everything it takes to run it.
pub struct Driver {
    inner: Mutex<Inner>,
    clusters: Mutex<HashMap<Name, Arc<dyn Cluster>>>,
    wake: Notify,
    /// Something else may be wanted of clusters.
    wanted: Notify,
    /// Clusters were told what is wanted of them, for the first time.
    has_wanted: AtomicBool,
    /// A source became known, or unknown.
    pub(crate) synced: Notify,
    /// Another number whenever other plugins are loaded or granted something.
    plugins: watch::Sender<u64>,
    idle: Notify,
    stopping: AtomicBool,
    /// The clocks.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    stream: broadcast::Sender<StreamItem>,
    on_passed: OnceLock<OnPassed>,
    /// What plugins have logged.
    pub(crate) logs: Arc<LogBook>,
    /// The last calls.
    pub(crate) ring: Ring,
    /// The last events of objects of clusters that keep them elsewhere.
    pub(crate) recent: Recent,
    /// Who looks at what the objects of kinds amount to.
    pub(crate) registries: Waiting,
}

impl Driver {
    /// A driver for an engine.
    pub fn new(engine: Engine, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                engine,
                passed: 0,
                wanted: 0,
                components: HashMap::new(),
                terms: HashMap::new(),
            }),
            clusters: Mutex::new(HashMap::new()),
            wake: Notify::new(),
            wanted: Notify::new(),
            has_wanted: AtomicBool::new(false),
            synced: Notify::new(),
            plugins: watch::channel(0).0,
            idle: Notify::new(),
            stopping: AtomicBool::new(false),
            clock,
            metrics: Metrics::default(),
            stream: broadcast::channel(STREAM).0,
            on_passed: OnceLock::new(),
            logs: Arc::default(),
            ring: Ring::default(),
            recent: Recent::default(),
            registries: Waiting::default(),
        })
    }

    /// Works with the engine, and wakes the loop up.
    pub fn with<T>(&self, work: impl FnOnce(&mut Engine, Time) -> T) -> T {
        self.work(|inner, now| work(&mut inner.engine, now))
    }

    fn work<T>(&self, work: impl FnOnce(&mut Inner, Time) -> T) -> T {
        let result = self.locked(work);
        self.wake.notify_one();
        result
    }

    /// Works with what is locked; the loop is not woken up.
    fn locked<T>(&self, work: impl FnOnce(&mut Inner, Time) -> T) -> T {
        let (result, moved, registries) = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut inner, self.clock.now());
            let wanted = inner.engine.wanted();
            let registries = inner.engine.moved_registries();
            (result, std::mem::replace(&mut inner.wanted, wanted) != wanted, registries)
        };
        self.registries.tell(&registries);
        if moved {
            self.wanted.notify_one();
        }
        result
    }

    /// Works with the engine for an attempt that began in a term. None: this host may not act on its key any more,
    /// and the attempt is given up (rule D8).
    fn act<T>(
        &self,
        turn: &Turn,
        attempt: &mut Attempt,
        work: impl FnOnce(&mut Engine, Time, &mut Attempt) -> T,
    ) -> Option<T> {
        self.work(|inner, now| {
            if inner.may_go_on(turn) {
                return Some(work(&mut inner.engine, now, attempt));
            }
            tracing::info!("this host does not act on the object any more: the attempt is given up");
            inner.engine.abandon(now, attempt);
            None
        })
    }

    /// Looks at the engine.
    pub fn look<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.inner.lock().unwrap_or_else(PoisonError::into_inner).engine)
    }

    /// A component is called for its digest from now on.
    pub fn add_component(&self, component: Component) {
        let digest: Name = component.code.digest().to_string().into();
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).components.insert(digest, component);
    }

    /// The component that is called for a digest.
    pub(crate) fn component(&self, digest: &str) -> Option<Component> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).components.get(digest).cloned()
    }

    /// A component is no longer called; calls that run hold on to it.
    pub fn remove_component(&self, digest: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).components.remove(digest);
    }

    /// Other plugins are loaded, or granted something.
    pub(crate) fn plugins_changed(&self) {
        self.plugins.send_modify(|number| *number += 1);
    }

    /// Changes with what is loaded and granted.
    pub(crate) fn plugin_changes(&self) -> watch::Receiver<u64> {
        self.plugins.subscribe()
    }

    /// What is told of versions whose first pass is over, from now on. Set once.
    pub(crate) fn on_passed(&self, tell: OnPassed) {
        let _ = self.on_passed.set(tell);
    }

    /// Every event that is recorded and every row that changes.
    pub fn subscribe(&self) -> broadcast::Receiver<StreamItem> {
        self.stream.subscribe()
    }

    /// Every call of a plugin from now on, when it has ended. Nothing is made of calls for this
    /// while nobody listens.
    pub fn recorded(&self) -> broadcast::Receiver<Arc<Recorded>> {
        self.ring.subscribe()
    }

    /// Runs until [`Driver::stop`].
    pub async fn run(self: Arc<Self>) {
        loop {
            let woken = self.wake.notified();
            let next = if self.stopping.load(Ordering::Acquire) { return } else { self.start_due() };
            match next {
                Some(time) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep(self.clock.until(time)) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// Starts what may run now; answers when something is due next.
    fn start_due(self: &Arc<Self>) -> Option<Time> {
        let (due, news) = self.locked(|inner, now| {
            while let Some(attempt) = inner.engine.next(now) {
                let component = inner.components.get(attempt.digest()).cloned();
                let turn = inner.turn(attempt.key());
                let span = tracing::info_span!(
                    "reconcile",
                    key = %attempt.key(),
                    plugin = %attempt.plugin(),
                    attempt = attempt.number(),
                    lane = attempt.lane().word(),
                );
                tokio::spawn(self.clone().carry(attempt, turn, component).instrument(span));
            }
            for key in inner.engine.stale(now) {
                tokio::spawn(self.clone().read_back(inner.engine.live_read(&key)));
            }
            let Inner { engine, passed, .. } = inner;
            (engine.next_wakeup(), engine.passed(passed))
        });
        if let (Some(news), Some(tell)) = (news, self.on_passed.get()) {
            tell(news);
        }
        due
    }

    async fn carry(self: Arc<Self>, mut attempt: Attempt, turn: Turn, component: Option<Component>) {
        let began = Instant::now();
        let _active = self.metrics.attempt_begins(attempt.plugin());
        let mut effects_until = None;
        let mut result = "success";
        let wall = self.clock.wall();
        let acts_as = component.as_ref().and_then(|component| component.acts_as.clone());
        let warrant = Warrant { permit: turn.permit.clone(), acts_as };
        loop {
            let step = self.act(&turn, &mut attempt, |engine, now, attempt| engine.step(now, &wall, attempt));
            match step {
                None => {
                    result = "dropped";
                    break;
                }
                Some(Step::Done) => break,
                Some(Step::Perform(op)) => {
                    let until = *effects_until.get_or_insert_with(|| tokio::time::Instant::now() + EFFECTS_TIMEOUT);
                    let answer = self.perform(op, until, warrant.clone()).await;
                    let synced = self.with(|engine, now| {
                        let before = engine.syncs();
                        engine.answered(now, &mut attempt, answer);
                        engine.syncs() != before
                    });
                    if synced {
                        self.synced.notify_waiters();
                    }
                }
                Some(Step::Call(request)) => {
                    let call = match &component {
                        Some(component) => self.call(&attempt, component, &request).await,
                        None => CallResult {
                            result: Err(Failure::Retry("the component is not loaded".into())),
                            trapped: true,
                            impure: false,
                        },
                    };
                    if let Err(failure) = &call.result {
                        result = "error";
                        tracing::debug!(reason = %setpoint_core::sanitize::sanitize(failure.message()), "the call failed");
                    }
                    effects_until = None;
                    if self.act(&turn, &mut attempt, |engine, now, attempt| engine.called(now, attempt, call)).is_none()
                    {
                        result = "dropped";
                        break;
                    }
                }
            }
        }
        let row = self.look(|engine| engine.row(attempt.key()));
        if let Some(row) = row.as_ref().filter(|_| result != "dropped") {
            if row.last_error.is_some() {
                result = "error";
            } else if row.waiting.is_some() {
                result = "requeue";
            }
            self.log_end(row);
        }
        self.metrics.record_attempt(attempt.plugin(), result, Duration::from_millis(attempt.waited()), began.elapsed());
        // No subscriber is no error.
        let _ = self.stream.send(StreamItem::Row { key: Some(attempt.key().to_string()) });
        if self.stopping.load(Ordering::Acquire) && self.look(Engine::running) == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Reads an object live that the watch has not caught up with (rule A10). Without an answer it
    /// is asked for again.
    async fn read_back(self: Arc<Self>, read: LiveRead) {
        let object = match self.perform_alone(Op::Get(read.key().clone())).await {
            Answer::Found(object) => Some(object),
            Answer::Absent => None,
            _ => return,
        };
        self.with(|engine, now| engine.read_back(now, &read, object));
    }

    fn log_end(&self, row: &setpoint_core::engine::Row) {
        match &row.last_error {
            Some(error) if setpoint_core::sanitize::worth_logging(u64::from(row.failures), 0) => {
                let next = row.next_run.map(|at| self.clock.wall_of(at));
                tracing::warn!(state = row.phase.word(), failures = row.failures, next, "{error}");
            }
            Some(_) => {}
            None => tracing::debug!(state = row.phase.word(), waiting = row.waiting.as_deref(), "reconciled"),
        }
    }

    async fn call(
        self: &Arc<Self>,
        attempt: &Attempt,
        component: &Component,
        request: &setpoint_core::contract::Request,
    ) -> CallResult {
        let reads = EngineReads { driver: Arc::downgrade(self), reader: attempt.id() };
        let reads = Arc::new(Recorder::new(Arc::new(reads)));
        let logs = self.logs.of(attempt.plugin(), attempt.key());
        let call = component.code.reconcile(request, reads.clone(), &component.limits, logs).await;
        self.ring.record(attempt.plugin(), attempt.digest(), request, &reads, &call);
        let Call { result, impure, stats } = call;
        let (result, trapped) = match result {
            Ok(outcome) => (Ok(outcome), false),
            Err(CallFailure::Plugin(failure)) => (Err(failure), false),
            Err(failure) => (Err(Failure::Retry(failure.to_string())), true),
        };
        self.metrics.record_call(attempt.plugin(), stats.wall, trapped, is_warm(&component.limits, &stats));
        CallResult { result, trapped, impure }
    }

    /// Performs an operation that is no part of an attempt: it has the time of an effect.
    pub(crate) async fn perform_alone(&self, op: Op) -> Answer {
        self.perform(op, tokio::time::Instant::now() + OP_TIMEOUT, Warrant::default()).await
    }

    /// Performs an operation by this right.
    pub(crate) async fn perform(&self, op: Op, until: tokio::time::Instant, warrant: Warrant) -> Answer {
        let verb = op.verb();
        let cluster = self.engaged().get(op.cluster()).cloned();
        let Some(cluster) = cluster else {
            let text = format!("the cluster {} is not engaged", op.cluster());
            return Answer::Refused(Refusal::Unknown(text));
        };
        let told = match &op {
            Op::RecordEvents { about, events } => Some((about.clone(), events.clone())),
            _ => None,
        };
        let until = until.min(tokio::time::Instant::now() + OP_TIMEOUT);
        let answer = match tokio::time::timeout_at(until, cluster.perform_by(op, warrant)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Refused(Refusal::Transient(format!("{verb} had no answer in time"))),
        };
        let outcome = match &answer {
            Answer::Refused(refusal) => {
                tracing::debug!(verb, %refusal, "refused");
                refusal_word(refusal)
            }
            _ => "done",
        };
        self.metrics.record_op(verb, outcome);
        if let (Some((about, events)), Answer::Done) = (told, &answer) {
            self.tell(&about, &events);
        }
        answer
    }

    /// Tells subscribers of events.
    pub(crate) fn tell(&self, about: &Key, events: &[setpoint_core::contract::Event]) {
        let now = rfc3339(unix_now());
        let kept = self.engaged().get(&about.cluster).is_some_and(|cluster| cluster.keeps_events());
        for event in events {
            let row = EventRow {
                kind: event.kind.as_str().into(),
                reason: event.reason.code.clone(),
                message: event.reason.message.clone(),
                regarding: event.regarding.as_ref().unwrap_or(about).to_string(),
                first: now.clone(),
                last: now.clone(),
                count: 1,
            };
            if !kept {
                self.recent.record(unix_now(), about, &row);
            }
            let _ = self.stream.send(StreamItem::Event(row));
        }
    }

    /// Starts nothing more, and waits for what runs, at most so long. Answers whether all ended.
    pub async fn stop(&self, at_most: Duration) -> bool {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
        let all_ended = async {
            loop {
                let idle = self.idle.notified();
                if self.look(Engine::running) == 0 {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(20), idle).await;
            }
        };
        let ended = tokio::time::timeout(at_most, all_ended).await.is_ok();
        self.registries.close();
        ended
    }
}

/// Whether a call was answered by an instance that was there (rule A13).
fn is_warm(limits: &Limits, stats: &CallStats) -> bool {
    limits.warm_calls.is_some_and(|calls| calls > 1) && stats.instantiate.is_zero()
}

fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::VersionConflict(_) | Refusal::ManagerConflict { .. } => "conflict",
        Refusal::Invalid(_) | Refusal::Immutable(_) | Refusal::NoStatus => "invalid",
        Refusal::Forbidden(_) => "forbidden",
        Refusal::UnknownKind(_) => "unknown_kind",
        Refusal::Unknown(_) => "unknown",
        Refusal::Transient(_) => "transient",
    }
}

/// Unix milliseconds.
pub(crate) fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}
