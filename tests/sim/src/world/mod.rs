//! The driver: one host over the clusters, in virtual time. It does what a host's runtime does with
//! the engine, and nothing else decides anything.
//!
//! | question | module |
//! |---|---|
//! | what happens when | here: [`World`] |
//! | when does the host start and die, and which plugins has it | [`life`] |
//! | what of the clusters can be seen | [`reach`] |
//! | what do people and others do | [`hands`] |
//! | what do processes and endpoints do by themselves | [`outdoors`] |
//! | how are calls answered and operations performed | [`perform`], [`natives`] |
//! | what does another host do | [`elsewhere`] |

mod elsewhere;
mod hands;
mod life;
mod natives;
mod outdoors;
mod perform;
mod reach;
mod types;

pub use outdoors::url_of;
pub use types::{Done, Ended, LastCall};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use setpoint_cluster::local::Effects;
use setpoint_core::Time;
use setpoint_core::contract::Update;
use setpoint_core::coverage::Scope;
use setpoint_core::delay::Rng;
use setpoint_core::engine::{Attempt, Engine, Options, Passed, Quarantined, Step, Told, Trial};
use setpoint_core::key::{GroupKind, Key, Name, Source};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op};

use crate::faults::{Faults, happens, within};
use crate::guard::{Decided, Guard};
use crate::kinds::Served;
use crate::outside::Outside;
use crate::plugin::{Answers, Plugin, child_key};
use crate::server::Server;
use elsewhere::Elsewhere;
use natives::Natives;
use types::{Call, Event, Fate, Run};

/// The world.
pub struct World {
    /// The time, in milliseconds.
    pub now: Time,
    /// All chance comes from here.
    pub rng: Rng,
    /// The host's engine.
    pub engine: Engine,
    /// The clusters.
    pub server: Server,
    /// Programs, processes and endpoints.
    pub outside: Outside,
    /// What goes wrong.
    pub faults: Faults,
    /// What must hold.
    pub guard: Guard,
    /// The plugins that are installed, loaded or not.
    pub plugins: BTreeMap<String, Plugin>,
    /// Another controller overwrites the children of flaps.
    pub meddler: bool,
    /// Attempts that have ended, oldest first.
    pub attempts: Vec<Ended>,
    /// Operations, oldest first.
    pub done: Vec<Done>,
    /// What the last call of each key was told.
    pub told: BTreeMap<Key, LastCall>,
    /// Panics when something is violated, for tests of one rule.
    pub strict: bool,
    /// Prints what happens.
    pub trace: bool,
    /// Stop the host after so many more operations, for crashes at each step.
    pub crash_after: Option<usize>,
    /// Digests of components that trap in every call.
    pub broken: BTreeSet<String>,
    /// Kinds that are disabled.
    pub disabled: BTreeSet<GroupKind>,
    /// The next start is one on a rebuilt store (rule D10).
    rebuilt: bool,
    /// What the host has written down of first passes (rule B3).
    passed: BTreeMap<Name, Passed>,
    options: Options,
    loaded: BTreeSet<String>,
    /// The last attempt before each plugin started, or its present version did.
    started: BTreeMap<String, u64>,
    natives: Natives,
    agenda: BTreeMap<(Time, u64), Event>,
    entries: u64,
    runs: BTreeMap<u64, Run>,
    numbers: u64,
    host: u32,
    up: bool,
    /// The other cluster does not take part.
    away: bool,
    elsewhere: Elsewhere,
}

/// The time at which every world begins.
pub const START: Time = 1_000_000;

impl World {
    /// A world whose host is up, with these plugins, and without any fault.
    pub fn new(seed: u64, options: Options, plugins: Vec<Plugin>) -> Self {
        Self::over(Server::default(), seed, options, plugins)
    }

    /// The same, with processes and endpoints, and a kind for owners of them.
    pub fn supervising(seed: u64, options: Options, plugins: Vec<Plugin>) -> Self {
        Self::over(Server::with_natives(), seed, options, plugins)
    }

    fn over(server: Server, seed: u64, options: Options, plugins: Vec<Plugin>) -> Self {
        let served = Arc::new(Served::of(&server.models));
        let mut world = Self {
            now: START,
            rng: Rng::new(seed),
            engine: Engine::new(options.clone(), served),
            server,
            outside: Outside::default(),
            faults: Faults::none(),
            guard: Guard::default(),
            loaded: plugins.iter().map(|plugin| plugin.description.name.to_string()).collect(),
            plugins: plugins.into_iter().map(|plugin| (plugin.description.name.to_string(), plugin)).collect(),
            meddler: false,
            attempts: Vec::new(),
            done: Vec::new(),
            told: BTreeMap::new(),
            strict: false,
            trace: false,
            crash_after: None,
            broken: BTreeSet::new(),
            disabled: BTreeSet::new(),
            rebuilt: false,
            passed: BTreeMap::new(),
            started: BTreeMap::new(),
            options,
            natives: Natives::default(),
            agenda: BTreeMap::new(),
            entries: 0,
            runs: BTreeMap::new(),
            numbers: 0,
            host: 0,
            up: false,
            away: false,
            elsewhere: Elsewhere::default(),
        };
        world.boot();
        world
    }

    /// The same with the defaults of the engine; it panics when something is violated.
    pub fn usual(plugins: Vec<Plugin>) -> Self {
        let options = Options { installation: "sim".into(), ..Options::default() };
        Self { strict: true, ..Self::new(1, options, plugins) }
    }

    /// Prints a line of the trace.
    pub fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now - START, text());
        }
    }

    fn later(&mut self, at: Time, event: Event) {
        self.entries += 1;
        self.agenda.insert((at.max(self.now), self.entries), event);
    }

    /// What somebody did to a cluster becomes known.
    pub fn publish(&mut self, effects: &Effects) {
        for (key, object) in &effects.events {
            self.guard.changed(key, object.as_ref());
            self.natives_observe(key);
            self.tell_elsewhere(key, object.as_ref());
            if object.is_none() && self.outside.living.values().any(|living| living.key == **key) {
                self.guard.violated("D13", format!("{key} is gone and its process is not"));
            }
            self.say(|| match object {
                Some(object) => format!("    {key} is at {} {}", object.resource_version(), object.json()),
                None => format!("    {key} is gone"),
            });
            if self.meddler && key.name.starts_with("flap-") && object.is_some() {
                let at = self.now + self.rng.between(1, 3_000);
                self.later(at, Event::Meddle((**key).clone()));
            }
        }
        for shown in self.server.publish(self.now, &mut self.rng, self.faults.watch, effects) {
            self.later(shown.at, Event::Show(shown.clone()));
        }
    }

    /// Runs until a time, or until something is violated.
    pub fn run_until(&mut self, until: Time) {
        self.run_on(until);
        if let Some(violation) = self.guard.violation().filter(|_| self.strict) {
            panic!("{violation}");
        }
    }

    fn run_on(&mut self, until: Time) {
        let mut busy = (self.now, 0u32);
        while self.guard.violation().is_none() {
            if self.up {
                self.start_attempts();
            }
            let event = self.agenda.keys().next().map(|(at, _)| *at);
            let wake = if self.up { self.engine.next_wakeup() } else { None };
            let next = [event, wake].into_iter().flatten().min().unwrap_or(until).max(self.now);
            busy = if next == busy.0 { (next, busy.1 + 1) } else { (next, 0) };
            if busy.1 > 20_000 {
                self.guard.violated("§9.2", "time stands still: something goes round in circles");
            }
            if next > until || event.is_none() && wake.is_none() {
                self.now = self.now.max(until);
                return;
            }
            self.now = next;
            if event.is_some_and(|at| at <= next)
                && let Some((_, event)) = self.agenda.pop_first()
            {
                self.happen(event);
            }
        }
    }

    /// Runs for so many milliseconds.
    pub fn run_for(&mut self, span: u64) {
        self.run_until(self.now + span);
    }

    fn start_attempts(&mut self) {
        if !self.guard.due_first().is_empty() {
            let due = self.due();
            self.guard.only_due(&due);
        }
        for key in self.engine.stale(self.now) {
            self.say(|| format!("{key} is read live: the watch has not caught up"));
            let at = self.now + within(&mut self.rng, self.faults.request);
            let (host, read) = (self.host, self.engine.live_read(&key));
            self.later(at, Event::Look { host, read });
        }
        while self.up {
            let quarantined = self.engine.quarantined();
            let Some(attempt) = self.engine.next(self.now) else { return };
            let key = (**attempt.key()).clone();
            self.check_quarantine(&quarantined, &attempt);
            self.say(|| format!("{key} begins: {:?}", attempt.causes()));
            self.guard.begins(self.now, &key, attempt.causes());
            self.numbers += 1;
            let run = Run {
                failures: self.engine.row(&key).map_or(0, |row| row.failures),
                started: self.now,
                uid: self.engine.cache().view(attempt.id()).map(|object| object.uid().into()),
                plugin: self.plugins.get(&**attempt.plugin()).cloned(),
                attempt,
                call: None,
                calling: true,
                decided: Decided::default(),
                result: None,
                trapped: false,
            };
            let calling = self.runs.values().filter(|run| run.calling).count() as u32;
            if calling >= self.options.workers {
                self.guard.violated("§5", "more calls at a time than workers");
            }
            self.runs.insert(self.numbers, run);
            self.advance(self.numbers);
        }
    }

    /// Rule C8: no attempt begins before the end of a quarantine, and then one at a time.
    fn check_quarantine(&mut self, quarantined: &[Quarantined], attempt: &Attempt) {
        let same = |other: &Attempt| other.plugin() == attempt.plugin() && other.digest() == attempt.digest();
        let this = |q: &&Quarantined| q.plugin == *attempt.plugin() && q.digest == *attempt.digest();
        let Some(quarantine) = quarantined.iter().find(this) else { return };
        let key = attempt.key();
        if self.now < quarantine.until {
            self.guard.violated("C8", format!("{key} is attempted while its plugin is quarantined: {quarantine:?}"));
        }
        let probing = |run: &Run| run.calling && run.started >= quarantine.until && same(&run.attempt);
        if self.runs.values().any(probing) {
            self.guard.violated("C8", format!("{key} is attempted while its plugin is tried with another object"));
        }
    }

    fn advance(&mut self, id: u64) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        let wall = natives::wall(self.now);
        let host = self.host;
        match self.engine.step(self.now, &wall, &mut run.attempt) {
            Step::Perform(op) => {
                let fate = if happens(&mut self.rng, self.faults.refused) {
                    Fate::Refused
                } else if happens(&mut self.rng, self.faults.lost) {
                    Fate::Lost
                } else {
                    Fate::Done
                };
                if self.crash_after == Some(0) {
                    self.crash_after = None;
                    return self.crash();
                }
                self.crash_after = self.crash_after.map(|left| left - 1);
                let at = self.now + within(&mut self.rng, self.faults.request);
                self.later(at, Event::Do { host, run: id, op, fate });
                self.runs.insert(id, run);
            }
            Step::Call(request) => {
                self.guard.calls(&request.key);
                self.guard.tells(&request.key, &request.key, self.engine.cache().view(run.attempt.id()).map(|v| &**v));
                let Some(plugin) = run.plugin.clone() else { return };
                run.call = Some(Call { plugin, request, answers: Answers::default(), since: self.now });
                let at = self.now + within(&mut self.rng, self.faults.call);
                self.later(at, Event::Call { host, run: id });
                self.runs.insert(id, run);
            }
            Step::Done => self.ended(run),
        }
    }

    fn ended(&mut self, run: Run) {
        let key = (**run.attempt.key()).clone();
        let row = self.engine.row(&key);
        if let (Some(row), true, Some(Err(_)), false) = (&row, run.decided.unavailable, &run.result, run.trapped) {
            self.guard.failed_unavailable(&key, run.failures, row.failures);
        }
        self.guard.ends(&key, row.as_ref());
        self.guard.looked_at(&key);
        self.say(|| {
            let came_to = row.as_ref().and_then(|row| row.runs.last()).map(|run| run.result.to_string());
            format!("{key} ends: {came_to:?}, next {:?}", row.as_ref().and_then(|row| row.next_run))
        });
        self.attempts.push(Ended {
            key,
            started: run.started,
            ended: self.now,
            lane: run.attempt.lane(),
            causes: run.attempt.causes().to_vec(),
            result: run.result,
        });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Show(shown) if self.server.arrives(&shown) => {
                self.engine.observed(self.now, &shown.key, shown.object);
            }
            Event::Listed { source, connection, objects } if self.server.is_connected(&source, connection) => {
                self.say(|| format!("{source} is listed"));
                self.show_list(&source, objects);
            }
            Event::Connect { host, source } if host == self.host => {
                let at = self.now + within(&mut self.rng, self.faults.response);
                let (connection, objects) = self.server.connect(&source, at);
                self.engine.told(self.now, &source, &Scope::All, Told::ListBegins);
                self.later(at, Event::Listed { source, connection, objects });
            }
            Event::Do { host, run, op, fate } if host == self.host => self.perform(run, op, fate),
            Event::Answer { run, host, answer } if host == self.host => {
                let Some(mut doing) = self.runs.remove(&run) else { return };
                self.engine.answered(self.now, &mut doing.attempt, answer);
                self.runs.insert(run, doing);
                self.advance(run);
            }
            Event::Call { host, run } if host == self.host => self.call(run),
            Event::Called { host, run, result } if host == self.host => {
                let Some(mut doing) = self.runs.remove(&run) else { return };
                self.say(|| format!("{} answers: {:?}", doing.attempt.key(), result.result));
                doing.calling = false;
                doing.trapped = result.trapped;
                doing.result = Some(result.result.clone());
                if let Ok(outcome) = &result.result {
                    let owner = doing.attempt.key();
                    let children = outcome.children.as_ref();
                    doing.decided.children =
                        children.map(|all| all.iter().filter_map(|child| child_key(owner, child)).collect());
                    let again = children.into_iter().flatten().filter(|child| child.update == Update::Recreate);
                    doing.decided.made_again = again.filter_map(|child| child_key(owner, child)).collect();
                    doing.decided.finalized = outcome.finalized;
                }
                self.engine.called(self.now, &mut doing.attempt, result);
                self.runs.insert(run, doing);
                self.advance(run);
            }
            Event::Start { host, plugin } if host == self.host && self.loaded.contains(&plugin) => {
                self.start(&plugin, Trial::default());
            }
            Event::Look { host, read } if host == self.host => {
                let (answer, _) = self.server.perform(self.now, &Op::Get(read.key().clone()));
                let object = match answer {
                    Answer::Found(object) => Some(object),
                    Answer::Absent => None,
                    // Asked again in a minute.
                    _ => return,
                };
                let at = self.now + within(&mut self.rng, self.faults.response);
                self.later(at, Event::Looked { host, read, object });
            }
            Event::Looked { host, read, object } if host == self.host => {
                self.engine.read_back(self.now, &read, object);
            }
            Event::Boot if !self.up => self.boot(),
            Event::Heal(source) => self.heal(&source),
            Event::FarReturns => self.far_returns(),
            Event::HandOver { until } => self.hand_over(until),
            Event::Elsewhere => self.lives_elsewhere(),
            Event::UpgradeElsewhere { plugin } => self.start_elsewhere(&plugin),
            Event::ShardsReturn => self.shards_return(),
            Event::Checked { host, asked, lists } if host == self.host => self.checked(asked, lists),
            Event::Act { host, found } if host == self.host => self.acts_again(found),
            Event::Mend(digest) => drop(self.broken.remove(&digest)),
            Event::Meddle(key) if self.meddler => self.meddle(&key),
            Event::Native { host, key, what } if host == self.host => self.native(&key, what),
            Event::Flap { url, until } => self.flap(url, until),
            _ => {}
        }
    }

    /// A list arrives, object by object.
    fn show_list(&mut self, source: &Source, objects: Vec<(Key, Arc<Object>)>) {
        let number = |object: &Arc<Object>| object.resource_version().parse::<u64>().unwrap_or(0);
        let version = objects.iter().map(|(_, object)| number(object)).max().unwrap_or(0).to_string();
        for (key, object) in objects {
            self.engine.told(self.now, source, &Scope::All, Told::Object(key, Some(object)));
        }
        self.engine.told(self.now, source, &Scope::All, Told::ListEnds { version });
    }

    /// Shows a bookmark of each watch that has nothing under way.
    pub fn bookmarks(&mut self) {
        for source in self.server.sources().into_iter().filter(|_| self.up) {
            if let Some(version) = self.server.bookmark(&source) {
                self.engine.bookmark(self.now, &source, &version);
            }
        }
    }

    /// The attempts of a key that began at or after a time.
    pub fn attempts_since(&self, key: &Key, since: Time) -> Vec<&Ended> {
        self.attempts.iter().filter(|ended| ended.key == *key && ended.started >= since).collect()
    }

    /// Operations at or after a time that changed something.
    pub fn writes_since(&self, since: Time) -> Vec<&Done> {
        self.done.iter().filter(|done| done.at >= since && done.changed).collect()
    }

    /// An object as JSON; null if it is not there.
    pub fn value(&self, key: &Key) -> serde_json::Value {
        self.server.get(key).map_or(serde_json::Value::Null, |object| object.value())
    }
}
