//! Processes and probes: the machines of the core, driven as the host drives them (`host/runtime/src/native`), with
//! what is [outside](crate::outside) in the place of the system and the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::Time;
use setpoint_core::contract::Reason;
use setpoint_core::effects::{FINALIZER, OWNER_KEY};
use setpoint_core::key::{GroupKind, Key, LOCAL, Source};
use setpoint_core::native;
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition, Refusal};
use setpoint_core::probe::{
    Action as Look, Gate, McpTarget, Pace, Probe, ProbeReason, ProbeSpec, ProbeStatus, Report, Run, Target,
};
use setpoint_core::process::{Action, Environment, Event as Told, Exit, Machine, Permit, ProcessSpec, Wanted};

use super::types::{Event, Native};
use super::{Done, World};
use crate::faults::happens;
use crate::outside::{Endpoint, Living, Program, served};

/// Until a write that was not done is tried again.
const AGAIN: Time = 1_000;

struct Supervised {
    uid: String,
    machine: Machine,
    spec: Arc<ProcessSpec>,
    /// The start that is under way, or of which something is left.
    start: Option<u64>,
    /// When it is woken up.
    armed: Option<Time>,
}

struct Looked {
    uid: String,
    number: u64,
    machine: Probe,
    spec: ProbeSpec,
    /// The status that was to be written last.
    shown: Option<Value>,
    armed: Option<Time>,
}

/// The host's own reconcilers; gone with the host.
#[derive(Default)]
pub(super) struct Natives {
    processes: BTreeMap<Key, Supervised>,
    probes: BTreeMap<Key, Looked>,
    /// Who refers to a Secret or a process.
    users: BTreeMap<Key, BTreeSet<Key>>,
    marked: BTreeSet<Key>,
    pace: Pace,
    numbers: u64,
}

impl Natives {
    fn uses(&mut self, user: &Key, of: &BTreeSet<Key>) {
        for by in self.users.values_mut() {
            by.remove(user);
        }
        for used in of {
            self.users.entry(used.clone()).or_default().insert(user.clone());
        }
    }
}

fn is_native(key: &Key) -> bool {
    &*key.group == native::GROUP && &*key.cluster == LOCAL
}

impl World {
    /// An object has changed in a cluster.
    pub(super) fn natives_observe(&mut self, key: &Key) {
        if !self.up {
            return;
        }
        if is_native(key) {
            self.mark(key);
        } else if key.group.is_empty() && &*key.kind == "Secret" {
            self.mark_users(key);
        }
    }

    fn mark(&mut self, key: &Key) {
        if self.natives.marked.insert(key.clone()) {
            let at = self.now + self.rng.between(0, 20);
            self.native_later(at, key, Native::Look);
        }
    }

    fn mark_users(&mut self, of: &Key) {
        for user in self.natives.users.get(of).cloned().unwrap_or_default() {
            self.mark(&user);
        }
    }

    pub(super) fn native_objects(&self) -> Vec<Key> {
        let kinds = [native::PROCESS, native::PROBE].map(|kind| GroupKind::new(native::GROUP, kind));
        let Some(model) = self.server.models.get(LOCAL) else { return Vec::new() };
        kinds.iter().flat_map(|kind| model.objects(kind)).map(|object| object.key(&LOCAL.into())).collect()
    }

    /// What is loaded or granted is another.
    pub(super) fn mark_natives(&mut self) {
        for key in self.native_objects() {
            self.mark(&key);
        }
    }

    /// What statuses of a life before show is wrong now, and nobody shall act upon it.
    pub(super) fn natives_boot(&mut self) {
        self.natives = Natives::default();
        for key in self.native_objects() {
            self.look(&key);
        }
    }

    /// All processes end with the host (rule D13).
    pub(super) fn natives_die(&mut self) {
        self.natives = Natives::default();
        self.outside.living.clear();
    }

    fn native_later(&mut self, at: Time, key: &Key, what: Native) {
        let host = self.host;
        self.later(at, Event::Native { host, key: key.clone(), what });
    }

    /// Something happens to a process or a probe.
    pub(super) fn native(&mut self, key: &Key, what: Native) {
        match what {
            Native::Look => {
                self.natives.marked.remove(key);
                self.look(key);
            }
            Native::Due => {
                let Some(supervised) = self.natives.processes.get_mut(key) else { return self.look(key) };
                if supervised.armed.take_if(|at| *at <= self.now).is_some() {
                    self.tell(key, Told::Tick);
                    self.show_process(key);
                }
            }
            Native::Launched(start) => {
                let pid = 1_000 + u32::try_from(start).unwrap_or(u32::MAX / 2);
                let Some(living) = self.outside.living.get_mut(&start) else { return };
                living.pid = Some(pid);
                self.tell(key, Told::Started { pid });
                self.mark_users(key);
                self.show_process(key);
            }
            Native::NotLaunched(start) => {
                if self.outside.living.remove(&start).is_some() {
                    self.left(key, start);
                    self.tell(key, Told::StartFailed(Reason::new("NotFound", "there is no such program")));
                    self.show_process(key);
                }
            }
            Native::Exits(start, exit) => self.exits(start, exit),
            Native::Cleared(start) => self.is_cleared(key, start),
            Native::Answered { number, run, report } => {
                let Some(looked) = self.natives.probes.get_mut(key).filter(|looked| looked.number == number) else {
                    return;
                };
                looked.machine.finished(self.now, run, &report);
                self.mark(key);
            }
        }
    }

    fn look(&mut self, key: &Key) {
        let object = self.server.get(key);
        match &*key.kind {
            native::PROCESS => self.look_at_process(key, object),
            _ => self.look_at_probe(key, object),
        }
    }

    /// For which plugin an object is there; none: for none that runs now.
    fn plugin_for(&self, object: &Object) -> Option<Key> {
        let owner = object.mark(OWNER_KEY).and_then(Key::parse)?;
        let source = Source { cluster: owner.cluster.clone(), kind: owner.group_kind() };
        self.engine.plugin_for(&source).map(|_| owner)
    }

    fn look_at_process(&mut self, key: &Key, object: Option<Arc<Object>>) {
        let Some(object) = object else {
            self.natives.uses(key, &BTreeSet::new());
            self.natives.processes.remove(key);
            return self.mark_users(key);
        };
        let known =
            self.natives.processes.get(key).map(|entry| (entry.uid == object.uid(), entry.machine.is_forgotten()));
        if object.terminating() || known.is_some_and(|(its, _)| !its) {
            match known {
                Some((_, false)) => {
                    self.tell(key, Told::Deleted);
                    self.show_process(key);
                }
                known => {
                    self.natives.processes.remove(key);
                    self.natives.uses(key, &BTreeSet::new());
                    match known.is_none_or(|(its, _)| its) && object.terminating() {
                        true => drop(self.hold(key, &object, false)),
                        false => self.mark(key),
                    }
                }
            }
            return;
        }
        if !self.hold(key, &object, true) {
            return;
        }
        let value = object.value();
        let spec: ProcessSpec = match serde_json::from_value(value["spec"].clone()) {
            Ok(spec) => spec,
            Err(error) => return self.guard.violated("driver", format!("{key} has no spec: {error}")),
        };
        let mut secrets = BTreeSet::new();
        let permit = match self.plugin_for(&object) {
            None => Permit::Wait(Reason::new("PluginMissing", "no plugin reconciles its owner now")),
            Some(owner) => {
                let server = &self.server;
                let resolved = Environment::resolve(&spec.env, |reference| {
                    let secret = Key::new(&owner.cluster, "", "Secret", owner.namespace.as_deref(), &reference.name);
                    let found = server.get(&secret).map(|object| object.value());
                    secrets.insert(secret);
                    Ok(found
                        .and_then(|found| found["data"][&reference.key].as_str().map(|text| text.as_bytes().to_vec())))
                });
                match resolved {
                    Ok(environment) => Permit::Run(environment.digest()),
                    Err(reason) => Permit::Wait(reason),
                }
            }
        };
        self.natives.uses(key, &secrets);
        let spec = Arc::new(spec);
        if !self.natives.processes.contains_key(key) {
            let (uid, seed) = (object.uid().to_owned(), self.rng.next_u64());
            let machine = Machine::new(self.now, seed);
            let entry = Supervised { uid, machine, spec: spec.clone(), start: None, armed: None };
            self.natives.processes.insert(key.clone(), entry);
        }
        if let Some(entry) = self.natives.processes.get_mut(key) {
            entry.spec = spec.clone();
        }
        self.tell(key, Told::Wanted(Wanted { spec, generation: object.generation(), permit }));
        self.show_process(key);
    }

    /// Tells the machine of a process something, and does what it answers.
    fn tell(&mut self, key: &Key, told: Told) {
        let Some(entry) = self.natives.processes.get_mut(key) else { return };
        let actions = entry.machine.handle(self.now, told);
        let due = entry.machine.next_wakeup();
        if let Some(due) = due.filter(|due| entry.armed != Some(*due)) {
            entry.armed = Some(due);
            self.native_later(due, key, Native::Due);
        }
        for action in actions {
            self.say(|| format!("    {key}: {action:?}"));
            match action {
                Action::Start => self.launch(key),
                Action::Signal => self.signal(key),
                Action::KillGroup => self.kill(key),
                Action::Forget => self.mark(key),
            }
        }
    }

    /// Rule D13: nothing is started while something of an earlier start is left.
    fn launch(&mut self, key: &Key) {
        if let Some((_, beside)) = self.outside.living.iter().find(|(_, living)| living.key == *key) {
            let text = format!("{key} is started beside {beside:?}");
            return self.guard.violated("D13", text);
        }
        self.outside.starts += 1;
        let start = self.outside.starts;
        let Some(entry) = self.natives.processes.get_mut(key) else { return };
        entry.start = Some(start);
        let program = self.outside.program(entry.spec.args.first().map_or("", String::as_str));
        self.outside.living.insert(start, Living { key: key.clone(), pid: None, exited: false });
        let at = self.now + self.rng.between(1, 200);
        match program {
            Program::Missing => self.native_later(at, key, Native::NotLaunched(start)),
            Program::Stuck => {}
            Program::Runs | Program::Stubborn => self.native_later(at, key, Native::Launched(start)),
            Program::Crashes(exit) => {
                let end = at + self.rng.between(1, 2_000);
                self.native_later(at, key, Native::Launched(start));
                self.native_later(end, key, Native::Exits(start, exit));
            }
        }
    }

    fn start_of(&self, key: &Key) -> Option<u64> {
        self.natives.processes.get(key)?.start
    }

    fn signal(&mut self, key: &Key) {
        let Some(start) = self.start_of(key) else { return };
        let arguments = self.natives.processes.get(key).and_then(|entry| entry.spec.args.first().cloned());
        if self.outside.program(&arguments.unwrap_or_default()) != Program::Stubborn {
            let at = self.now + self.rng.between(1, 12_000);
            self.native_later(at, key, Native::Exits(start, Exit::Signal("SIGTERM".into())));
        }
    }

    /// What the system holds on to takes longer to die.
    fn kill(&mut self, key: &Key) {
        let Some(start) = self.start_of(key) else { return };
        let longest = if self.rng.between(0, 19) == 0 { 20_000 } else { 500 };
        let at = self.now + self.rng.between(1, longest);
        self.native_later(at, key, Native::Cleared(start));
    }

    /// A process ends: by itself, or because somebody outside ends it.
    pub fn exits(&mut self, start: u64, exit: Exit) {
        // What is still being started has nothing that could end.
        let running = |living: &&mut Living| living.pid.is_some() && !living.exited;
        let Some(living) = self.outside.living.get_mut(&start).filter(running) else { return };
        living.exited = true;
        let key = living.key.clone();
        self.say(|| format!("    {key}: its process ends, {exit:?}"));
        self.tell(&key, Told::Exited(exit));
        // One that was asked to may have left nothing behind; of one that was not, what is left is being killed.
        if self.rng.between(0, 3) > 0 {
            let at = self.now + self.rng.between(0, 100);
            self.native_later(at, &key, Native::Cleared(start));
        }
        self.mark_users(&key);
        self.show_process(&key);
    }

    fn is_cleared(&mut self, key: &Key, start: u64) {
        let Some(living) = self.outside.living.remove(&start) else { return };
        self.left(key, start);
        match living.pid {
            None => self.tell(key, Told::StartFailed(Reason::new("Killed", "was killed while it was being started"))),
            Some(_) => {
                if !living.exited {
                    self.tell(key, Told::Exited(Exit::Signal("SIGKILL".into())));
                }
                self.tell(key, Told::Cleared);
            }
        }
        self.mark_users(key);
        self.show_process(key);
    }

    fn left(&mut self, key: &Key, start: u64) {
        if let Some(entry) = self.natives.processes.get_mut(key).filter(|entry| entry.start == Some(start)) {
            entry.start = None;
        }
    }

    fn show_process(&mut self, key: &Key) {
        let Some(entry) = self.natives.processes.get(key) else { return };
        let (uid, status) = (entry.uid.clone(), entry.machine.status(wall));
        self.show(key, &uid, serde_json::to_value(&status).unwrap_or_default());
    }

    fn look_at_probe(&mut self, key: &Key, object: Option<Arc<Object>>) {
        let Some(object) = object.filter(|object| !object.terminating()) else {
            self.natives.probes.remove(key);
            return self.natives.uses(key, &BTreeSet::new());
        };
        let value = object.value();
        let spec: ProbeSpec = match serde_json::from_value(value["spec"].clone()) {
            Ok(spec) => spec,
            Err(error) => return self.guard.violated("driver", format!("{key} has no spec: {error}")),
        };
        let gate = self.gate(key, &object, &spec);
        let now = self.now;
        if self.natives.probes.get(key).is_some_and(|looked| looked.uid != object.uid()) {
            self.natives.probes.remove(key);
        }
        if !self.natives.probes.contains_key(key) {
            self.natives.numbers += 1;
            let first = self.natives.pace.slot(now);
            let mut machine = Probe::new(&spec, gate.clone(), now, first, self.rng.next_u64());
            let status: Option<ProbeStatus> = serde_json::from_value(value["status"].clone()).ok();
            if let Some(status) = status.filter(|status| *status != ProbeStatus::default()) {
                machine = machine.resume(now, &status);
            }
            let (uid, number) = (object.uid().to_owned(), self.natives.numbers);
            let looked = Looked { uid, number, machine, spec: spec.clone(), shown: None, armed: None };
            self.natives.probes.insert(key.clone(), looked);
        }
        let Some(mut looked) = self.natives.probes.remove(key) else { return };
        looked.machine.configure(now, &spec);
        looked.machine.gate(now, gate);
        looked.spec = spec;
        self.drive(key, &mut looked, &object);
        let (uid, shown) = (looked.uid.clone(), looked.shown.clone());
        self.natives.probes.insert(key.clone(), looked);
        if let Some(status) = shown {
            self.show(key, &uid, status);
        }
    }

    /// Whether an endpoint can be looked at.
    fn gate(&mut self, key: &Key, object: &Object, spec: &ProbeSpec) -> Gate {
        let mut uses = BTreeSet::new();
        let gate = match (self.plugin_for(object), spec.target.process()) {
            (None, _) => Gate::Closed(ProbeReason::NotGranted, "no plugin reconciles its owner now".into()),
            (Some(_), None) => Gate::Open(0),
            (Some(_), Some(name)) => {
                let process = process_key(key, name);
                let serving = self.outside.serving(&process).map(|(start, _)| start);
                uses.insert(process);
                match serving {
                    Some(start) => Gate::Open(start),
                    None => Gate::Closed(ProbeReason::ProcessNotReady, format!("the process {name} does not run")),
                }
            }
        };
        self.natives.uses(key, &uses);
        gate
    }

    fn drive(&mut self, key: &Key, looked: &mut Looked, object: &Object) {
        while let Some(action) = looked.machine.next(self.now) {
            match action {
                Look::Start { run, timeout } => self.look_outside(key, looked, run, timeout),
                Look::Cancel(_) => {}
                Look::Write => {
                    let mut status = serde_json::to_value(looked.machine.status(wall)).unwrap_or_default();
                    status["observedGeneration"] = json!(object.generation());
                    looked.shown = Some(status);
                }
            }
        }
        if let Some(due) = looked.machine.wake().filter(|due| looked.armed.is_none_or(|at| at <= self.now || at > *due))
        {
            looked.armed = Some(due);
            self.native_later(due, key, Native::Due);
        }
    }

    fn look_outside(&mut self, key: &Key, looked: &Looked, run: Run, timeout: Time) {
        self.outside.looks += 1;
        let (report, took): (Report, Time) = match &looked.spec.target {
            Target::Mcp(McpTarget::Stdio { process }) => match self.outside.serving(&process_key(key, process)) {
                Some(_) => (served(process), self.rng.between(1, 300)),
                None => (Report::failure(ProbeReason::ConnectionFailed, "it has ended"), 1),
            },
            Target::Mcp(McpTarget::StreamableHttp { url, .. }) => {
                let hangs = self.outside.endpoint(url) == Endpoint::Hangs;
                (self.outside.report(url), if hangs { timeout } else { self.rng.between(1, 900) })
            }
            _ => (Report::failure(ProbeReason::Invalid, "nobody asks for such a target here"), 1),
        };
        let number = looked.number;
        self.native_later(self.now + took, key, Native::Answered { number, run, report });
    }

    fn show(&mut self, key: &Key, uid: &str, status: Value) {
        let Some(object) = self.server.get(key).filter(|object| object.uid() == uid) else { return };
        if object.value().get("status") == Some(&status) {
            return;
        }
        let precondition = Precondition { uid: uid.into(), resource_version: None };
        let manager = "setpoint-host".into();
        self.write(Op::ApplyStatus { key: key.clone(), status: Arc::new(status), manager, precondition }, key);
    }

    /// Holds an object until what it stands for has ended, or lets it go. Answers whether it is as wanted.
    fn hold(&mut self, key: &Key, object: &Object, present: bool) -> bool {
        if object.has_finalizer(FINALIZER) == present || (present && object.terminating()) {
            return true;
        }
        let others = object.finalizers().iter().filter(|finalizer| ***finalizer != *FINALIZER).cloned();
        let finalizers = others.chain(present.then(|| FINALIZER.into())).collect();
        let precondition = Precondition::version_of(object);
        self.write(Op::SetFinalizer { key: key.clone(), present, finalizers, precondition }, key)
    }

    /// A write that was not done, or of which nobody knows, is done again on what is there then.
    fn write(&mut self, op: Op, key: &Key) -> bool {
        let refused = happens(&mut self.rng, self.faults.refused);
        let lost = !refused && happens(&mut self.rng, self.faults.lost);
        let mut answer = Answer::Refused(Refusal::Transient("the server is busy".into()));
        let mut changed = false;
        if !refused {
            let (done, effects) = self.server.perform(self.now, &op);
            changed = !effects.is_empty();
            self.publish(&effects);
            if !lost {
                answer = done;
            }
        }
        self.done.push(Done { at: self.now, owner: key.clone(), op, changed });
        match answer {
            Answer::Refused(Refusal::VersionConflict(_)) => self.mark(key),
            Answer::Refused(_) => self.native_later(self.now + AGAIN, key, Native::Look),
            _ => return true,
        }
        false
    }
}

fn process_key(probe: &Key, name: &str) -> Key {
    Key::new(LOCAL, native::GROUP, native::PROCESS, probe.namespace.as_deref(), name)
}

/// A time of the world as RFC 3339; the same for the same time.
pub(super) fn wall(time: Time) -> String {
    let seconds = time / 1_000;
    let (days, hours) = (seconds / 86_400 + 1, seconds / 3_600 % 24);
    format!("1970-01-{days:02}T{hours:02}:{:02}:{:02}Z", seconds / 60 % 60, seconds % 60)
}
