//! Another host, which acts on a part of the objects for a while: it takes shards over and gives them back (rules A11,
//! D8, D14). Nothing goes wrong with it, and it is as fast as it may be; what it writes reaches the watches of this host
//! as late as everything does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use setpoint_core::Time;
use setpoint_core::coverage::Scope;
use setpoint_core::engine::{
    Answered, Attempt, CallResult, Checked, ClusterFacts, Engine, LiveRead, Options, PluginInfo, Step, Told, Trial,
};
use setpoint_core::key::{GroupKind, Key, LOCAL, Source};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Refusal};
use setpoint_core::shards::{Division, Shard};

use super::natives;
use super::perform::{ask_of, failure_of};
use super::types::{Event, Fate};
use super::{LastCall, World};
use crate::faults::within;
use crate::kinds::{FAR, Served};
use crate::plugin::{Answers, Plugin, Question, Stop, Told as Read};

/// The other host is upgraded as much later at most.
const BEHIND: Time = 60_000;
/// Between looks at whether what is under way has ended.
const LOOK_AGAIN: Time = 20;
/// More attempts than that without a pause are no work, but a circle.
const CIRCLE: usize = 5_000;

/// What is known of the other host.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// What this host does not act on at present.
    shards: Vec<Shard>,
    /// It acts.
    engine: Option<Engine>,
    /// What is loaded there.
    plugins: BTreeMap<String, Plugin>,
    /// What has happened since it looked last.
    changes: Vec<(Arc<Key>, Option<Arc<Object>>)>,
    /// It will look soon.
    woken: bool,
}

impl World {
    /// How the keys of a cluster are divided among hosts. What is in `local` stands for a hub here.
    pub(super) fn division(&self, cluster: &str) -> Division {
        if self.options.shared && cluster == LOCAL { Division::Ranges } else { Division::Whole }
    }

    /// Whether hosts share the work.
    pub fn shares(&self) -> bool {
        self.options.shared
    }

    fn lends(&self, key: &Key) -> bool {
        self.elsewhere.shards.iter().any(|shard| shard.covers(key))
    }

    /// A host that has just started acts on what the other one does not act on.
    pub(super) fn boot_beside(&mut self) {
        if self.elsewhere.engine.is_none() {
            return self.elsewhere.shards.clear();
        }
        for shard in &self.elsewhere.shards {
            self.engine.set_acting(0, shard, false);
        }
    }

    /// The other host takes some ranges of keys, and gives them back at a time. What is under way in them ends before
    /// (`drains`), or is given up: as if this host had not been heard of for too long.
    pub fn shards_leave(&mut self, ranges: u64, drains: bool, until: Time) {
        if !self.options.shared || !self.up || !self.elsewhere.shards.is_empty() {
            return;
        }
        let taken = |shard: &Shard| shard.range.is_some_and(|range| ranges >> range & 1 == 1);
        let shards = Division::Ranges.shards(&LOCAL.into()).into_iter().filter(taken);
        self.elsewhere.shards = shards.collect();
        self.say(|| format!("{} shards leave", self.elsewhere.shards.len()));
        for shard in &self.elsewhere.shards {
            self.engine.set_acting(self.now, shard, false);
        }
        if !drains {
            self.give_up_what_runs();
        }
        self.later(self.now, Event::HandOver { until });
    }

    /// Attempts on what this host does not act on any more end where they are. Writes that are on their way are done now,
    /// or never.
    fn give_up_what_runs(&mut self) {
        let out: Vec<u64> =
            self.runs.iter().filter(|(_, run)| self.lends(run.attempt.key())).map(|(id, _)| *id).collect();
        for (at, event) in std::mem::take(&mut self.agenda) {
            match event {
                Event::Do { run, op, .. } if out.contains(&run) => {
                    let fate = if self.rng.between(0, 1) == 0 { Fate::Lost } else { Fate::Refused };
                    self.perform(run, op, fate);
                }
                Event::Answer { run, answer, .. } if out.contains(&run) => {
                    if let Some(run) = self.runs.get_mut(&run) {
                        self.engine.answered(self.now, &mut run.attempt, answer);
                    }
                }
                event => {
                    self.agenda.insert(at, event);
                }
            }
        }
        // What was just performed was never answered.
        for (at, event) in std::mem::take(&mut self.agenda) {
            match event {
                Event::Answer { run, .. } if out.contains(&run) => {
                    let answer = Answer::Refused(Refusal::Transient("nothing was heard".into()));
                    if let Some(run) = self.runs.get_mut(&run) {
                        self.engine.answered(self.now, &mut run.attempt, answer);
                    }
                }
                event => {
                    self.agenda.insert(at, event);
                }
            }
        }
        for id in out {
            let Some(mut run) = self.runs.remove(&id) else { continue };
            self.engine.abandon(self.now, &mut run.attempt);
            let key = (**run.attempt.key()).clone();
            self.say(|| format!("{key} is given up"));
            let row = self.engine.row(&key);
            self.guard.ends(&key, row.as_ref());
        }
    }

    /// The other host begins, when nothing is under way any more.
    pub(super) fn hand_over(&mut self, until: Time) {
        if self.runs.values().any(|run| self.lends(run.attempt.key())) {
            return self.later(self.now + LOOK_AGAIN, Event::HandOver { until });
        }
        let shards = std::mem::take(&mut self.elsewhere.shards);
        if shards.is_empty() {
            return;
        }
        self.say(|| "another host acts".into());
        let served = Arc::new(Served::of(&self.server.models));
        let seed = self.rng.next_u64();
        // Nothing of what it does is held: nobody is there to confirm it.
        let options = Options { seed, hold_above: usize::MAX, rebuilt: false, ..self.options.clone() };
        let mut engine = Engine::new(options, served);
        for cluster in [LOCAL, FAR] {
            let facts = ClusterFacts { division: self.division(cluster), ..ClusterFacts::of(cluster) };
            engine.add_cluster(self.now, &cluster.into(), facts);
        }
        engine.stand_by(self.now, &LOCAL.into());
        engine.restore_places(self.server.models.values().flat_map(|model| model.places()));
        engine.restore_disabled(self.disabled.iter().cloned());
        let sources = self.server.sources();
        sources.iter().for_each(|source| engine.source_syncing(source));
        self.elsewhere = Elsewhere { shards, engine: Some(engine), ..Elsewhere::default() };
        for name in self.loaded.clone() {
            self.start_elsewhere(&name);
        }
        let (now, elsewhere) = (self.now, &mut self.elsewhere);
        if let Some(engine) = &mut elsewhere.engine {
            for source in &sources {
                let all = self.server.models.get(&source.cluster).map(|model| model.objects(&source.kind));
                for object in all.into_iter().flatten() {
                    let key = object.key(&source.cluster);
                    engine.told(now, source, &Scope::All, Told::Object(key, Some(object)));
                }
                let version = version_of(self.server.models.get(&source.cluster).into_iter().flat_map(|m| m.all()));
                engine.told(now, source, &Scope::All, Told::ListEnds { version });
            }
            elsewhere.shards.iter().for_each(|shard| engine.set_acting(now, shard, true));
        }
        self.later(until.max(self.now), Event::ShardsReturn);
        self.wake_elsewhere(self.now);
    }

    /// A plugin, or another version of it, is loaded there as well.
    pub(super) fn start_elsewhere(&mut self, name: &str) {
        if !self.loaded.contains(name) {
            return;
        }
        let (Some(engine), Some(plugin)) = (&mut self.elsewhere.engine, self.plugins.get(name)) else { return };
        let config = plugin.config.as_str().into();
        let info = PluginInfo::new(&plugin.digest, plugin.description.clone(), config, plugin.grants.clone());
        if let Ok(info) = info {
            engine.plugin_started_after(self.now, info, Trial::default());
        }
        self.elsewhere.plugins.insert(name.to_owned(), plugin.clone());
        self.wake_elsewhere(self.now);
    }

    /// The same when both hosts are upgraded: as often as not the other one is a while behind.
    pub(super) fn upgrade_elsewhere(&mut self, name: &str) {
        if self.elsewhere.plugins.contains_key(name) && self.now.is_multiple_of(2) {
            let at = self.now + 1 + self.now % BEHIND;
            return self.later(at, Event::UpgradeElsewhere { plugin: name.to_owned() });
        }
        self.start_elsewhere(name);
    }

    /// A plugin is taken away there as well.
    pub(super) fn stop_elsewhere(&mut self, name: &str) {
        self.elsewhere.plugins.remove(name);
        if let Some(engine) = &mut self.elsewhere.engine {
            engine.plugin_stopped(name);
        }
    }

    /// A kind is disabled everywhere, or enabled.
    pub fn set_disabled(&mut self, kind: &GroupKind, disabled: bool) {
        let now = self.now;
        match disabled {
            true => drop(self.disabled.insert(kind.clone())),
            false => drop(self.disabled.remove(kind)),
        }
        for engine in [Some(&mut self.engine), self.elsewhere.engine.as_mut()].into_iter().flatten() {
            match disabled {
                true => drop(engine.disable(kind)),
                false => drop(engine.enable(now, kind)),
            }
        }
        self.wake_elsewhere(now);
    }

    /// It will see this.
    pub(super) fn tell_elsewhere(&mut self, key: &Arc<Key>, object: Option<&Arc<Object>>) {
        if self.elsewhere.engine.is_some() {
            self.elsewhere.changes.push((key.clone(), object.cloned()));
            self.wake_elsewhere(self.now);
        }
    }

    fn wake_elsewhere(&mut self, at: Time) {
        if self.elsewhere.engine.is_some() && !std::mem::replace(&mut self.elsewhere.woken, true) {
            self.later(at, Event::Elsewhere);
        }
    }

    /// It does what is to be done by now.
    pub(super) fn lives_elsewhere(&mut self) {
        self.elsewhere.woken = false;
        let Some(mut engine) = self.elsewhere.engine.take() else { return };
        let mut attempts = 0;
        loop {
            for (key, object) in std::mem::take(&mut self.elsewhere.changes) {
                engine.observed(self.now, &key, object);
            }
            for key in engine.stale(self.now) {
                let read = engine.live_read(&key);
                let _ = match self.server.perform(self.now, &Op::Get((*key).clone())).0 {
                    Answer::Found(object) => engine.read_back(self.now, &read, Some(object)),
                    Answer::Absent => engine.read_back(self.now, &read, None),
                    _ => false,
                };
            }
            let Some(mut attempt) = engine.next(self.now) else { break };
            attempts += 1;
            if attempts > CIRCLE {
                self.guard.violated("§9.2", "another host goes round in circles");
                break;
            }
            self.attempt_elsewhere(&mut engine, &mut attempt);
        }
        let next = engine.next_wakeup();
        self.elsewhere.engine = Some(engine);
        if let Some(at) = next {
            self.elsewhere.woken = true;
            self.later(at.max(self.now + 1), Event::Elsewhere);
        }
    }

    fn attempt_elsewhere(&mut self, engine: &mut Engine, attempt: &mut Attempt) {
        let key = (**attempt.key()).clone();
        if !self.lends(&key) {
            self.guard.violated("D14", format!("another host acts on {key}, which is this one's"));
        }
        if self.runs.values().any(|run| **run.attempt.key() == key) {
            self.guard.violated("§9.1", format!("two hosts act on {key} at a time"));
        }
        self.say(|| format!("{key} begins elsewhere: {:?}", attempt.causes()));
        loop {
            match engine.step(self.now, &natives::wall(self.now), attempt) {
                Step::Perform(op) => {
                    let (answer, effects) = self.server.perform(self.now, &op);
                    self.say(|| format!("  {key} elsewhere: {} {:?}", op.verb(), op.writes().map(ToString::to_string)));
                    // It sees at once what it has done itself.
                    let woken = std::mem::replace(&mut self.elsewhere.woken, true);
                    for (key, object) in &effects.events {
                        self.elsewhere.changes.push((key.clone(), object.clone()));
                    }
                    self.publish(&effects);
                    self.elsewhere.woken = woken;
                    engine.answered(self.now, attempt, answer);
                }
                Step::Call(request) => {
                    let Some(plugin) = self.elsewhere.plugins.get(&**attempt.plugin()).cloned() else { return };
                    let (ask, mut answers) = (ask_of(&request), Answers::default());
                    let result = loop {
                        let result = (plugin.function)(&ask, &mut answers);
                        let (Err(Stop::Pending), Some(question)) = (&result, answers.open.clone()) else {
                            break result;
                        };
                        let reader = attempt.id();
                        match &question {
                            Question::Get(target) => match engine.read_get(reader, target, false) {
                                Answered::Now(answer) => {
                                    let cache = engine.cache();
                                    let seen = cache.keys().find(target).and_then(|id| cache.view(id));
                                    self.guard.tells(&key, target, seen.map(|seen| &**seen));
                                    answers.tell(answer.map(Read::Object));
                                }
                                Answered::Syncing(_) => break Err(Stop::Pending),
                            },
                            Question::List(query) => match engine.read_list(reader, query, false) {
                                Answered::Now(answer) => answers.tell(answer.map(Read::Objects)),
                                Answered::Syncing(_) => break Err(Stop::Pending),
                            },
                        }
                    };
                    let object: Value = ask.object.clone();
                    let digest = attempt.digest().clone();
                    self.told.insert(key.clone(), LastCall { object, answers, digest });
                    let broken = self.broken.contains(&**attempt.digest());
                    let result = if broken { Err(Stop::Trap("broken".into())) } else { result };
                    let (result, trapped) = match result {
                        Ok(outcome) => (Ok(outcome), false),
                        Err(stop) => {
                            let (failure, trapped) = failure_of(stop);
                            (Err(failure), trapped)
                        }
                    };
                    engine.called(self.now, attempt, CallResult { result, trapped, impure: plugin.impure });
                }
                Step::Done => return,
            }
        }
    }

    /// The other host acts no more: this one looks at what is there, and acts again.
    pub fn shards_return(&mut self) {
        if self.elsewhere.engine.is_none() {
            return;
        }
        self.lives_elsewhere();
        self.elsewhere.engine = None;
        self.elsewhere.plugins.clear();
        self.elsewhere.changes.clear();
        self.say(|| "the shards come back".into());
        if !self.up {
            return self.elsewhere.shards.clear();
        }
        // Rule A11. In a hub each owner says where its children may be.
        self.engine.restore_places(self.server.models.values().flat_map(|model| model.places()));
        let beyond = self.engine.clusters_beyond(&self.elsewhere.shards);
        let meant = |source: &Source| &*source.cluster == LOCAL || beyond.contains(&source.cluster);
        let sources = self.server.sources().into_iter().filter(meant);
        let mut lists = Vec::new();
        for source in sources {
            let model = self.server.models.get(&source.cluster);
            let version = version_of(model.into_iter().flat_map(|model| model.all()));
            let all = model.map(|model| model.objects(&source.kind));
            let checked = |object: Arc<Object>| Checked {
                key: object.key(&source.cluster),
                uid: object.uid().into(),
                version: object.resource_version().into(),
            };
            let listed = all.into_iter().flatten().map(checked).collect();
            lists.push((source, version, listed));
        }
        let at = self.now + within(&mut self.rng, self.faults.request);
        self.later(at, Event::Checked { host: self.host, asked: self.now, lists });
    }

    /// What was listed arrives, and what is not known as it is there is read.
    pub(super) fn checked(&mut self, asked: Time, lists: Vec<(Source, String, Vec<Checked>)>) {
        let mut found = Vec::new();
        for (source, version, listed) in lists {
            // Of one that is cut off nothing is known, and all is listed when it is back.
            if !self.server.is_live(&source) {
                continue;
            }
            for key in self.engine.checked(self.now, &source, &Scope::All, (asked, &version), &listed) {
                found.push(self.read_now(&key));
            }
        }
        self.act_when_read(found);
    }

    fn read_now(&self, key: &Key) -> (LiveRead, Option<Arc<Object>>) {
        (self.engine.live_read(key), self.server.get(key))
    }

    fn act_when_read(&mut self, found: Vec<(LiveRead, Option<Arc<Object>>)>) {
        let at = self.now + within(&mut self.rng, self.faults.response);
        self.later(at, Event::Act { host: self.host, found });
    }

    /// What was read arrives: this host acts on everything again, when all of it was of use.
    pub(super) fn acts_again(&mut self, found: Vec<(LiveRead, Option<Arc<Object>>)>) {
        let mut again = Vec::new();
        for (read, object) in found {
            if !self.engine.read_back(self.now, &read, object) {
                again.push(self.read_now(read.key()));
            }
        }
        if !again.is_empty() {
            return self.act_when_read(again);
        }
        for shard in std::mem::take(&mut self.elsewhere.shards) {
            self.engine.set_acting(self.now, &shard, true);
        }
        self.say(|| "this host acts on everything".into());
    }
}

/// The version of a list of these.
fn version_of(all: impl Iterator<Item = (Arc<Key>, Arc<Object>)>) -> String {
    all.filter_map(|(_, object)| object.resource_version().parse::<u64>().ok()).max().unwrap_or(0).to_string()
}
