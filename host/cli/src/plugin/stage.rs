//! What there is in a scenario, and who answers about it: the embedded cluster's model and the engine
//! of the host, without a host. Objects are admitted as files are, the request is made as the host makes
//! it, and reads are answered by the same code (grants, masks, selectors, indexes).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use setpoint_cluster::local::{FileRefusal, Model};
use setpoint_core::contract::{Capability, Description, ListQuery, Outcome, ReadError, Request};
use setpoint_core::effects;
use setpoint_core::engine::{Answered, ClusterFacts, Engine, Options, PluginInfo, Step};
use setpoint_core::grants::{Grant, Grants, Scope};
use setpoint_core::key::{GroupKind, GroupVersionKind, Key, KeyId, LOCAL, Name, Source, split_api_version};
use setpoint_core::native;
use setpoint_core::op::{Answer, Op, Precondition};
use setpoint_core::recording::Question;
use setpoint_plugin::{BoxFuture, Reads};
use setpoint_runtime::kinds::Kinds;
use setpoint_runtime::plugins::check_config;
use setpoint_schema::{Crd, FieldError};

/// It is always this moment: 2026-01-01T00:00:00Z, in unix milliseconds.
const NOW: u64 = 1_767_225_600_000;
/// The same for transition times.
const WALL: &str = "2026-01-01T00:00:00Z";
/// The engine counts time from its start.
const START: u64 = 1;
/// More than a scenario has objects.
const MANY: u32 = 1_000_000;
/// Who wrote the statuses that a scenario gives.
const MANAGER: &str = "scenario";

/// The plugin, as far as it is known without being called.
pub(crate) struct Subject<'a> {
    pub(crate) digest: &'a str,
    pub(crate) description: &'a Arc<Description>,
    pub(crate) crds: &'a [Crd],
}

/// What there is, and what is asked.
pub(crate) struct Setting<'a> {
    /// Objects with their keys, as they are in the cluster: with status, without server-set metadata.
    pub(crate) given: Vec<(Key, Value)>,
    /// The object to reconcile.
    pub(crate) reconcile: &'a Key,
    /// It is being deleted.
    pub(crate) deleting: bool,
    /// The operator's configuration.
    pub(crate) config: Option<&'a Value>,
    /// Kinds of which nothing is known, as `Kind` or `Kind.group`.
    pub(crate) unavailable: &'a [String],
    /// Kinds that may not be read or written.
    pub(crate) not_granted: &'a [String],
}

/// Why there is no call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum NoCall {
    /// The host would not take this object.
    Refused {
        /// The object.
        key: Key,
        /// Its mistakes.
        errors: Vec<FieldError>,
    },
    /// The scenario makes no sense, in words.
    Wrong(String),
}

/// Everything that a call needs.
pub(crate) struct Stage {
    pub(crate) request: Request,
    engine: Arc<Mutex<Engine>>,
    reader: KeyId,
    asked: Arc<Mutex<Vec<Question>>>,
    model: Model,
    kinds: Arc<Kinds>,
    description: Arc<Description>,
    grants: Grants,
}

impl Stage {
    /// Puts everything in its place, up to the call.
    pub(crate) fn set(subject: &Subject<'_>, setting: &Setting<'_>) -> Result<Self, NoCall> {
        let mut model = model_of(subject, &setting.given);
        for (key, value) in &setting.given {
            admit(&mut model, key, value)?;
        }
        if setting.deleting {
            delete(&mut model, subject, setting.reconcile)?;
        }
        let kinds = Arc::new(Kinds::default());
        for crd in model.kinds() {
            kinds.insert(crd);
        }
        let grants = grants(subject.description, setting.not_granted);
        let mut engine = Engine::new(Options { workers: MANY, ..Options::default() }, kinds.clone());
        engine.add_cluster(0, &Name::from(LOCAL), ClusterFacts::of(LOCAL));
        fill(&mut engine, &model, subject.description, setting.unavailable)?;
        let config = check_config(subject.description, setting.config).map_err(NoCall::Wrong)?;
        let mut info =
            PluginInfo::new(subject.digest, subject.description.clone(), config.to_string().into(), grants.clone())
                .map_err(|error| NoCall::Wrong(error.to_string()))?;
        info.concurrency = MANY;
        engine.plugin_started(START, info);
        let (reader, request) = request(&mut engine, &mut model, setting.reconcile)?;
        Ok(Self {
            request,
            engine: Arc::new(Mutex::new(engine)),
            reader,
            asked: Arc::default(),
            model,
            kinds,
            description: subject.description.clone(),
            grants,
        })
    }

    /// Answers the reads of the call.
    pub(crate) fn reads(&self) -> Arc<dyn Reads> {
        Arc::new(StageReads { engine: self.engine.clone(), reader: self.reader, asked: self.asked.clone() })
    }

    /// What was read so far, in the order of the first of each question.
    pub(crate) fn asked(&self) -> Vec<Question> {
        lock(&self.asked).clone()
    }

    /// What of an outcome the host would not write, and why.
    pub(crate) fn refusals(&self, outcome: &Outcome) -> Vec<String> {
        let Request { key, deleting, .. } = &self.request;
        let checked = effects::validate(key, *deleting, outcome, &self.description, &self.grants, &*self.kinds);
        let (status, children) = match checked {
            Ok(checked) => checked,
            Err(invalid) => return vec![invalid.to_string()],
        };
        let mut refusals = Vec::new();
        if let (Some(status), Some(object)) = (status, self.model.get(key)) {
            let op = Op::ApplyStatus {
                key: (**key).clone(),
                status: Arc::new(status),
                manager: "plugin".into(),
                precondition: Precondition { uid: object.uid().into(), resource_version: None },
            };
            // A copy: nothing is written.
            if let (Answer::Refused(refusal), _) = self.model.clone().perform(NOW, &op) {
                refusals.push(format!("the status: {refusal}"));
            }
        }
        let refused = children.into_iter().flatten().filter_map(|child| child.object.err());
        refusals.extend(refused.map(|reason| format!("{}: {}", reason.code, reason.message)));
        refusals
    }
}

/// A cluster that serves the built-in kinds, those of the plugin, and whatever else is given.
fn model_of(subject: &Subject<'_>, given: &[(Key, Value)]) -> Model {
    let mut model = Model::new();
    for crd in subject.crds {
        model.install_kind(crd.clone());
    }
    for (key, value) in given {
        if model.crd(&key.group_kind()).is_none() {
            let api_version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
            let (_, version) = split_api_version(api_version);
            let plural = format!("{}s", key.kind.to_lowercase());
            model.install_kind(Crd::builtin(&key.group, version, &key.kind, &plural, key.namespace.is_some()));
        }
    }
    model
}

/// Takes an object as a file gives it, then its status as a controller writes it.
fn admit(model: &mut Model, key: &Key, value: &Value) -> Result<(), NoCall> {
    match model.desired(NOW, key, value.clone(), "scenario") {
        Ok(_) => {}
        Err(FileRefusal::Invalid(errors)) => return Err(NoCall::Refused { key: key.clone(), errors }),
        Err(other) => return Err(NoCall::Wrong(format!("{key}: {other}"))),
    }
    let subresource = model.crd(&key.group_kind()).is_some_and(|crd| crd.has_status);
    let (Some(status), Some(object), true) = (value.get("status"), model.get(key), subresource) else {
        return Ok(());
    };
    if status.is_null() {
        return Ok(());
    }
    let op = Op::ApplyStatus {
        key: key.clone(),
        status: Arc::new(status.clone()),
        manager: MANAGER.into(),
        precondition: Precondition { uid: object.uid().into(), resource_version: None },
    };
    match model.perform(NOW, &op).0 {
        Answer::Refused(refusal) => Err(NoCall::Wrong(format!("{key}: the status: {refusal}"))),
        _ => Ok(()),
    }
}

/// Begins the deletion of an object that waits for the plugin's clean-up.
fn delete(model: &mut Model, subject: &Subject<'_>, key: &Key) -> Result<(), NoCall> {
    let kind = key.group_kind();
    let asks = subject.description.kinds.iter().any(|owned| owned.kind.group_kind() == kind && owned.finalizer);
    if !asks {
        let text = format!("`deleting`: the plugin asks for no clean-up of {kind}, so that the host makes no call");
        return Err(NoCall::Wrong(text));
    }
    let Some(object) = model.get(key) else {
        return Err(NoCall::Wrong(format!("{key} is not given")));
    };
    let precondition = Precondition::version_of(&object);
    let op = Op::SetFinalizer { key: key.clone(), present: true, finalizers: Vec::new(), precondition };
    if let Answer::Refused(refusal) = model.perform(NOW, &op).0 {
        return Err(NoCall::Wrong(format!("{key}: {refusal}")));
    }
    model.undesired(NOW, key);
    Ok(())
}

/// Whether a word of a scenario means a kind.
fn means(word: &str, kind: &GroupKind) -> bool {
    *word == *kind.kind || word == kind.to_string()
}

fn granted(not_granted: &[String], kind: &GroupKind) -> bool {
    !not_granted.iter().any(|word| means(word, kind))
}

/// All that the plugin asks for, but for what a scenario takes away.
fn grants(description: &Description, not_granted: &[String]) -> Grants {
    let everywhere = Scope::everywhere;
    let reads = description.reads.iter().map(|read| read.kind.group_kind());
    let writes = description.writes.iter().map(GroupVersionKind::group_kind);
    let mut grants: Vec<Grant> = reads
        .filter(|kind| granted(not_granted, kind))
        .map(|kind| Grant::Read(kind, everywhere()))
        .chain(writes.filter(|kind| granted(not_granted, kind)).map(|kind| Grant::Write(kind, everywhere())))
        .collect();
    for capability in &description.capabilities {
        let process = GroupKind::new(native::GROUP, native::PROCESS);
        if *capability != Capability::Process || granted(not_granted, &process) {
            grants.push(capability.into());
        }
    }
    Grants::new(grants)
}

/// Shows everything to the engine. Kinds that are not given are known to be empty.
fn fill(engine: &mut Engine, model: &Model, description: &Description, unavailable: &[String]) -> Result<(), NoCall> {
    for (key, object) in model.all() {
        engine.observed(START, &key, Some(object));
    }
    let served = model.kinds().into_iter().map(|crd| GroupKind::new(&crd.group, &crd.kind));
    let described = description.reads.iter().map(|read| read.kind.group_kind());
    let kinds: BTreeSet<GroupKind> = served.chain(described).collect();
    if let Some(word) = unavailable.iter().find(|word| !kinds.iter().any(|kind| means(word, kind))) {
        return Err(NoCall::Wrong(format!("`unavailable`: the plugin reads no kind {word}")));
    }
    for kind in kinds {
        let source = Source { cluster: LOCAL.into(), kind };
        if unavailable.iter().any(|word| means(word, &source.kind)) {
            // In the words of the SDK's test kit.
            engine.source_unknown(START, &source, &format!("{} is not synced", source.kind));
        } else {
            engine.source_synced(START, &source);
        }
    }
    Ok(())
}

/// Lets the engine come to the call of one object, as the host does.
fn request(engine: &mut Engine, model: &mut Model, key: &Key) -> Result<(KeyId, Request), NoCall> {
    let mut attempt = loop {
        match engine.next(START) {
            Some(attempt) if **attempt.key() == *key => break attempt,
            Some(_) => {}
            None => return Err(NoCall::Wrong(format!("the host makes no call for {key}: is it paused?"))),
        }
    };
    loop {
        match engine.step(START, WALL, &mut attempt) {
            Step::Call(request) => return Ok((attempt.id(), request)),
            Step::Perform(op) => {
                let (answer, effects) = model.perform(NOW, &op);
                for (key, object) in effects.events {
                    engine.observed(START, &key, object);
                }
                engine.answered(START, &mut attempt, answer);
            }
            Step::Done => return Err(NoCall::Wrong(format!("the host makes no call for {key}"))),
        }
    }
}

/// The reads of one call.
struct StageReads {
    engine: Arc<Mutex<Engine>>,
    reader: KeyId,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Reads for StageReads {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        lock(&self.asked).push(Question::get(&key));
        let answer = now(lock(&self.engine).read_get(self.reader, &key, false));
        Box::pin(std::future::ready(answer))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        lock(&self.asked).push(Question::list(&query));
        let items = now(lock(&self.engine).read_list(self.reader, &query, false));
        let answer: Result<Arc<[Arc<str>]>, ReadError> = items.map(Into::into);
        Box::pin(std::future::ready(answer))
    }
}

/// Nothing is still being read here: an answer is there at once.
fn now<T>(answered: Answered<T>) -> Result<T, ReadError> {
    match answered {
        Answered::Now(answer) => answer,
        Answered::Syncing(source) => Err(ReadError::Unavailable(format!("{source} is not synced yet"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
