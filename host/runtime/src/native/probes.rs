//! What becomes of `Probe` objects: the machine of core says when an endpoint is looked at, and what is shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_core::contract::Reason;
use setpoint_core::key::{Key, LOCAL};
use setpoint_core::native;
use setpoint_core::object::Object;
use setpoint_core::probe::{
    Action, Gate, Header, HeaderValue, Pace, Probe, ProbeReason, ProbeSpec, ProbeState, ProbeStatus, Run, Target,
};
use setpoint_mcp::check::{Attempt, Checked, Checker};
use setpoint_mcp::{Access, SecretHeaders};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::Native;
use super::permit::{Denied, Permit};
use crate::clock::rfc3339;
use crate::driver::unix_now;
use crate::lock::lock;

/// Endpoints that are looked at at a time.
const AT_A_TIME: usize = 64;

struct Entry {
    uid: Box<str>,
    generation: i64,
    spec: ProbeSpec,
    machine: Probe,
    attempt: Attempt,
    running: HashMap<Run, AbortHandle>,
    ended: Vec<(Run, Checked)>,
    latency: Option<Duration>,
    /// The status that was to be written last, which is written again while it is not there.
    shown: Option<Value>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

pub(super) struct Probes {
    checker: Checker,
    places: Arc<Semaphore>,
    entries: Mutex<BTreeMap<Key, Entry>>,
    pace: Mutex<Pace>,
    /// A person asked for these.
    asked: Mutex<BTreeSet<Key>>,
    /// Tells values of headers apart without showing them.
    hashes: std::hash::RandomState,
}

impl Probes {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            checker: Checker::new(None)?,
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            entries: Mutex::default(),
            pace: Mutex::default(),
            asked: Mutex::default(),
            hashes: std::hash::RandomState::new(),
        })
    }

    pub(super) fn ask_for(&self, key: &Key) {
        if &*key.kind == native::PROBE {
            lock(&self.asked).insert(key.clone());
        }
    }

    /// The server behind these probes has other tools.
    pub(super) fn tools_changed(&self, probes: &BTreeSet<Key>, tools: &[String]) {
        let mut entries = lock(&self.entries);
        for key in probes {
            if let Some(entry) = entries.get_mut(key) {
                entry.machine.tools_changed(tools.to_vec());
            }
        }
    }

    pub(super) fn close(&self) {
        lock(&self.entries).clear();
    }
}

/// What is needed to look at an endpoint, or why it cannot be.
struct Opened {
    gate: Gate,
    attempt: Attempt,
    uses: BTreeSet<Key>,
}

impl Native {
    /// How long the last look at an endpoint took.
    pub(crate) fn latency(&self, key: &Key) -> Option<Duration> {
        lock(&self.probes.entries).get(key)?.latency
    }

    /// How long the last look at each endpoint took.
    pub(crate) fn latencies(&self) -> Vec<(Key, Duration)> {
        let entries = lock(&self.probes.entries);
        entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.latency?))).collect()
    }

    pub(super) async fn look_at_probe(self: &Arc<Self>, key: &Key, object: Option<Arc<Object>>) {
        let Some(object) = object.filter(|object| !object.terminating()) else {
            lock(&self.probes.entries).remove(key);
            self.uses(key, &BTreeSet::new());
            return;
        };
        let value = object.value();
        let spec = value.get("spec").cloned().unwrap_or_default();
        let spec: ProbeSpec = match serde_json::from_value(spec) {
            Ok(spec) => spec,
            Err(error) => {
                lock(&self.probes.entries).remove(key);
                let status = ProbeStatus {
                    state: ProbeState::Unhealthy,
                    reason: Some(ProbeReason::Invalid),
                    message: Some(error.to_string()),
                    ..ProbeStatus::default()
                };
                return self.show(key, object.uid(), whole(&status, object.generation(), &value)).await;
            }
        };
        let Opened { gate, attempt, uses } = self.open(key, &object, &spec).await;
        self.uses(key, &uses);
        let asked = lock(&self.probes.asked).remove(key);
        let now = self.driver.clock.now();
        {
            let mut entries = lock(&self.probes.entries);
            if entries.get(key).is_some_and(|entry| *entry.uid != *object.uid()) {
                entries.remove(key);
            }
            let entry = entries.entry(key.clone()).or_insert_with(|| {
                let first = lock(&self.probes.pace).slot(now);
                let seed = uuid::Uuid::new_v4().as_u64_pair().0;
                let mut machine = Probe::new(&spec, gate.clone(), now, first, seed);
                let status = value.get("status").cloned().unwrap_or_default();
                if let Some(status) = serde_json::from_value::<ProbeStatus>(status).ok().filter(is_a_status) {
                    machine = machine.resume(now, &status);
                }
                Entry {
                    uid: object.uid().into(),
                    generation: object.generation(),
                    spec: spec.clone(),
                    machine,
                    attempt: attempt.clone(),
                    running: HashMap::new(),
                    ended: Vec::new(),
                    latency: None,
                    shown: None,
                }
            });
            entry.attempt = attempt;
            entry.generation = object.generation();
            entry.machine.configure(now, &spec);
            entry.machine.gate(now, gate);
            entry.spec = spec;
            if asked {
                entry.machine.trigger(now);
            }
            for (run, checked) in std::mem::take(&mut entry.ended) {
                entry.running.remove(&run);
                entry.latency = Some(checked.latency);
                entry.machine.finished(now, run, &checked.report);
            }
        }
        self.drive(key, &value).await;
    }

    /// Does what the machine of a probe asks for.
    async fn drive(self: &Arc<Self>, key: &Key, object: &Value) {
        let (due, uid, shown) = {
            let now = self.driver.clock.now();
            let mut entries = lock(&self.probes.entries);
            let Some(entry) = entries.get_mut(key) else { return };
            while let Some(action) = entry.machine.next(now) {
                match action {
                    Action::Start { run, timeout } => {
                        let task = self.clone().attempt(
                            key.clone(),
                            run,
                            entry.spec.target.clone(),
                            Attempt { timeout: Duration::from_millis(timeout), ..entry.attempt.clone() },
                        );
                        entry.running.insert(run, tokio::spawn(task).abort_handle());
                    }
                    Action::Cancel(run) => {
                        if let Some(running) = entry.running.remove(&run) {
                            running.abort();
                        }
                    }
                    Action::Write => {
                        let status = entry.machine.status(|time| self.driver.clock.wall_second_of(time));
                        entry.shown = Some(whole(&status, entry.generation, object));
                    }
                }
            }
            let due = entry.machine.wake().map(|at| Duration::from_millis(at.saturating_sub(now)));
            (due, entry.uid.clone(), entry.shown.clone())
        };
        if let Some(due) = due {
            self.mark_later(key, due);
        }
        if let Some(status) = shown {
            self.show(key, &uid, status).await;
        }
    }

    async fn attempt(self: Arc<Self>, key: Key, run: Run, target: Target, attempt: Attempt) {
        // Never closed.
        let Ok(_place) = self.probes.places.clone().acquire_owned().await else { return };
        let checked = self.probes.checker.check(&target, &attempt).await;
        if let Some(entry) = lock(&self.probes.entries).get_mut(&key) {
            entry.ended.push((run, checked));
        }
        self.mark(&key);
    }

    /// Whether an endpoint can be looked at, and with what.
    async fn open(self: &Arc<Self>, key: &Key, object: &Object, spec: &ProbeSpec) -> Opened {
        let mut uses = BTreeSet::new();
        let nothing = || Attempt {
            headers: SecretHeaders::default(),
            access: Access::new(|_, _| false),
            timeout: Duration::ZERO,
            hub: None,
        };
        let closed = |reason: &Reason, uses: BTreeSet<Key>| {
            let gate = Gate::Closed(word(&reason.code), reason.message.clone());
            Opened { gate, attempt: nothing(), uses }
        };
        let permit = match self.permit(key, object) {
            Ok(permit) => permit,
            Err(Denied::Never(reason) | Denied::NotNow(reason)) => return closed(&reason, uses),
        };
        if let Some(target) = native::target(&object.value())
            && !permit.may_dial(&target.host, target.port)
        {
            return closed(&permit.may_not_dial(&target.host, target.port), uses);
        }
        let (mut number, mut hub) = (0_u64, None);
        if let Some(name) = spec.target.process() {
            let process = Key::new(LOCAL, native::GROUP, native::PROCESS, key.namespace.as_deref(), name);
            uses.insert(process.clone());
            match self.processes.served(&process) {
                Some(served) => (number, hub) = (served.number, Some(served.hub)),
                None => {
                    let message = format!("the process {name} does not run");
                    let gate = Gate::Closed(ProbeReason::ProcessNotReady, message);
                    return Opened { gate, attempt: nothing(), uses };
                }
            }
        }
        let (headers, digest) = match self.headers(&permit, spec.target.headers(), &mut uses).await {
            Ok(headers) => headers,
            Err(reason) => return closed(&reason, uses),
        };
        let this = Arc::downgrade(self);
        let probe = key.clone();
        let access = Access::new(move |host, port| {
            // Grants as they are at the time.
            let Some(this) = this.upgrade() else { return false };
            let Some(object) = this.local.object(&probe) else { return false };
            this.permit(&probe, &object).is_ok_and(|permit| permit.may_dial(host, port))
        });
        let attempt = Attempt { headers, access, timeout: Duration::ZERO, hub };
        Opened { gate: Gate::Open(number ^ digest), attempt, uses }
    }

    /// The headers with their values, and a number that is another when a value is.
    async fn headers(
        &self,
        permit: &Permit,
        headers: &[Header],
        uses: &mut BTreeSet<Key>,
    ) -> Result<(SecretHeaders, u64), Reason> {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = self.probes.hashes.build_hasher();
        let mut resolved = Vec::new();
        for header in headers {
            let value = match &header.value {
                HeaderValue::Plain(value) => value.clone(),
                HeaderValue::Secret(from) => {
                    uses.extend(permit.secret(&from.name).ok());
                    let value = self.secret(permit, &from.name, &from.key).await?;
                    let missing = || {
                        let message = format!(
                            "the header {} needs the key {} of the Secret {}, which is not there",
                            header.name, from.key, from.name
                        );
                        Reason::new("SecretNotFound", message)
                    };
                    match value {
                        None if from.optional => continue,
                        None => return Err(missing()),
                        Some(bytes) => {
                            hasher.write(&bytes);
                            hasher.write_u8(0xff);
                            let text = String::from_utf8(bytes);
                            let not_text = |_| {
                                let message = format!("the key {} of the Secret {} is not text", from.key, from.name);
                                Reason::new("Invalid", message)
                            };
                            text.map_err(not_text)?
                        }
                    }
                }
            };
            resolved.push((header.name.clone(), value));
        }
        let pairs = resolved.iter().map(|(name, value)| (name.as_str(), value.trim()));
        let headers = SecretHeaders::new(pairs).map_err(|failure| Reason::new("Invalid", failure.to_string()))?;
        let digest = if uses.is_empty() { 0 } else { hasher.finish() };
        Ok((headers, digest))
    }
}

/// Why a gate is closed, in the words of a Probe.
fn word(code: &str) -> ProbeReason {
    match code {
        "SecretNotFound" | "SecretUnavailable" => ProbeReason::SecretNotFound,
        "NotGranted" | "PluginMissing" => ProbeReason::NotGranted,
        _ => ProbeReason::Invalid,
    }
}

/// A status that was written before, and not the nothing that an object begins with.
fn is_a_status(status: &ProbeStatus) -> bool {
    *status != ProbeStatus::default()
}

/// The status with what the host adds to that of each kind: the generation it is about, and the condition Ready.
fn whole(status: &ProbeStatus, generation: i64, object: &Value) -> Value {
    let ready = status.state == ProbeState::Healthy;
    let word = if ready { "True" } else { "False" };
    let before = object.pointer("/status/conditions/0").filter(|before| before["status"] == *word);
    let since = before.map_or_else(|| json!(rfc3339(unix_now())), |before| before["lastTransitionTime"].clone());
    let mut value = serde_json::to_value(status).unwrap_or_default();
    value["observedGeneration"] = json!(generation);
    value["conditions"] = json!([{
        "type": "Ready", "status": word, "observedGeneration": generation, "lastTransitionTime": since,
        "reason": status.reason.map_or("Unknown", ProbeReason::word),
        "message": status.message.as_deref().unwrap_or_default(),
    }]);
    value
}
