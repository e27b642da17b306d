//! The embedded cluster: a cluster like any other, of files and a store (design §3).
//!
//! | question | module |
//! |---|---|
//! | what is there, what is served | [`model`](Model) |
//! | what does a write of a reconciler do | `write`, with server-side apply in `fieldwise` |
//! | how does an object end | `deletion` |
//! | what does a file or a person say | `files` |
//! | how is one object kept, and how is it handed out | `record` |
//! | which events are kept | `events` |
//! | how does it survive a kill | `store`, `durable`, `load` |

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use setpoint_core::contract::Event;
use setpoint_core::key::{GroupKind, Key, LOCAL, Name, Source};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Refusal};
use setpoint_schema::{Crd, FieldPath};

use crate::{BoxFuture, Cluster, Sink};

mod builtin;
mod deletion;
mod durable;
mod effects;
mod events;
mod fieldwise;
mod files;
mod load;
mod marks;
mod model;
mod places;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod write;

pub use durable::{Durable, StoreError};
pub use effects::{Effects, Mutation, Row, Table};
pub use events::{EventFilter, RecordedEvent};
pub use files::{Accepted, FileRefusal};
pub use load::LoadError;
pub use marks::{FILE_MANAGER, FINALIZER, OWNER_LABEL, PERSON_MANAGER};
pub use model::Model;
pub use record::Problem;
pub use store::{FILE as STORE_FILE, OpenError};

use store::{Opened, Store};

/// Bookkeeping: the identity of the store, which stands for that of the directory it is in.
pub const STORE_ID: &str = "store-id";
/// Bookkeeping: set while the store was rebuilt and no first pass has ended (rule D10).
pub const REBUILT: &str = "rebuilt";

/// Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where and how the embedded cluster keeps its state.
#[derive(Clone)]
pub struct LocalOptions {
    /// The state directory, made if there is none.
    pub state_dir: PathBuf,
    /// Begin a new store although an unreadable one was set aside: what `setpoint repair` does
    /// (rule D10). Default: no.
    pub rebuild: bool,
    /// The time of creation and deletion timestamps and of events. Default: the system's.
    pub clock: Clock,
}

impl LocalOptions {
    /// The defaults for a state directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), rebuild: false, clock: Arc::new(system_time) }
    }
}

fn system_time() -> u64 {
    // A clock before 1970 is as good as none.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LocalMetrics {
    /// Writes that changed something.
    pub writes: u64,
    /// Transactions of the store.
    pub commits: u64,
    /// Rows written or removed by them.
    pub mutations: u64,
}

struct State {
    model: Model,
    /// Kinds whose files have been read: absence is proven only there.
    announced: BTreeSet<GroupKind>,
}

/// The embedded cluster `local`. Watch events reach the sink in the order of the changes; a write is
/// answered when it is on disk.
pub struct Local {
    name: Name,
    state: Mutex<State>,
    /// None: nothing is kept.
    store: Option<Store>,
    sink: Arc<dyn Sink>,
    clock: Clock,
    writes: AtomicU64,
}

impl Local {
    /// Opens the state of a directory. Objects become readable when their kind is installed.
    ///
    /// # Errors
    /// Another host has it, or it cannot be read or written; the texts say what to do.
    pub fn open(options: LocalOptions, sink: Arc<dyn Sink>) -> Result<Arc<Self>, OpenError> {
        let now = (options.clock)();
        let mut opened = Opened::open(&options.state_dir, now, options.rebuild)?;
        let rows = std::mem::take(&mut opened.rows);
        let fresh = rows.is_empty();
        let mut model = match Model::load(seed(), rows) {
            Ok(model) => model,
            Err(error) => return Err(opened.give_up(now, error.to_string())),
        };
        let store = opened.start(fresh)?;
        let mut effects = Effects::default();
        if model.bookkeeping_get(STORE_ID).is_none() {
            let id = uuid::Uuid::new_v4().to_string();
            effects = model.bookkeeping_put(STORE_ID, Some(id.as_bytes()));
            if options.rebuild {
                effects.mutations.extend(model.bookkeeping_put(REBUILT, Some(b"true")).mutations);
            }
        }
        // A failure shows in every later write; nothing is lost that anybody was told of.
        drop(store.commit(effects.mutations));
        Ok(Arc::new(Self::with(model, Some(store), sink, options.clock)))
    }

    /// A cluster that keeps nothing, for tests and for plans.
    pub fn in_memory(sink: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self::with(Model::with_seed(seed()), None, sink, Arc::new(system_time)))
    }

    fn with(model: Model, store: Option<Store>, sink: Arc<dyn Sink>, clock: Clock) -> Self {
        let state = Mutex::new(State { model, announced: BTreeSet::new() });
        Self { name: LOCAL.into(), state, store, sink, clock, writes: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A sink that panicked did so after the change was complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the sink and queues the rows. The state is locked, so both are in order.
    fn settle(&self, _locked: &State, effects: Effects) -> Durable {
        for (key, object) in effects.events {
            self.sink.observed(&key, object);
        }
        if !effects.mutations.is_empty() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        match &self.store {
            Some(store) => store.commit(effects.mutations),
            None => Durable::known(Ok(())),
        }
    }

    fn failed(&self) -> Option<StoreError> {
        self.store.as_ref()?.failed()
    }

    /// Serves a kind, or serves it with another schema (rule D6); its objects are told. Absence is
    /// not proven until it is announced.
    pub fn install_kind(&self, crd: Crd) -> Durable {
        let mut state = self.lock();
        let effects = state.model.install_kind(crd);
        self.settle(&state, effects)
    }

    /// Serves a kind no longer: its objects stay, and nothing is known of them (rule D7).
    pub fn remove_kind(&self, kind: &GroupKind) {
        let mut state = self.lock();
        state.model.remove_kind(kind);
        state.announced.remove(kind);
        self.sink.source_unknown(&self.source(kind), &format!("the kind {kind} is not served"));
    }

    /// Tells all readable objects, for a sink that comes late.
    pub fn snapshot(&self) {
        let state = self.lock();
        for (key, object) in state.model.all() {
            self.sink.observed(&key, Some(object));
        }
    }

    /// Says that all files of these kinds have been read: from now on what was not told is absent.
    /// Kinds that are not served are passed over.
    pub fn announce<'k>(&self, kinds: impl IntoIterator<Item = &'k GroupKind>) {
        let mut state = self.lock();
        for kind in kinds {
            if state.model.crd(kind).is_some() && state.announced.insert(kind.clone()) {
                self.sink.source_known(&self.source(kind));
            }
        }
    }

    /// Says that nothing is known of these kinds at present, such as while the files of a root are
    /// suspiciously gone (rule D1). [`Local::announce`] ends it.
    pub fn doubt<'k>(&self, kinds: impl IntoIterator<Item = &'k GroupKind>, reason: &str) {
        let mut state = self.lock();
        for kind in kinds {
            state.announced.remove(kind);
            self.sink.source_unknown(&self.source(kind), reason);
        }
    }

    fn source(&self, kind: &GroupKind) -> Source {
        Source { cluster: self.name.clone(), kind: kind.clone() }
    }

    /// Takes the content of a file; see [`Model::desired`]. Answers the fields that were pruned.
    ///
    /// # Errors
    /// The mistakes, or that the store cannot keep it.
    pub fn desired(&self, key: &Key, value: Value, file: &str) -> Result<(Vec<FieldPath>, Durable), FileRefusal> {
        if let Some(error) = self.failed() {
            return Err(FileRefusal::Unavailable(error.to_string()));
        }
        let now = (self.clock)();
        let mut state = self.lock();
        let Accepted { effects, unknown } = state.model.desired(now, key, value, file)?;
        Ok((unknown, self.settle(&state, effects)))
    }

    /// The file that defined an object is proven gone; see [`Model::undesired`].
    pub fn undesired(&self, key: &Key) -> Durable {
        self.change(|model, now| (Answer::Done, model.undesired(now, key))).1
    }

    /// The file of an object cannot be read or understood; the object keeps its last good content.
    pub fn invalid(&self, key: &Key, problems: Vec<Problem>) {
        self.lock().model.invalid(key, problems);
    }

    /// Sets or removes an annotation as a person does; see [`Model::annotate`].
    pub async fn annotate(&self, key: &Key, annotation: &str, value: Option<&str>) -> Answer {
        let (answer, durable) = self.change(|model, now| model.annotate(now, key, annotation, value));
        kept(answer, durable).await
    }

    /// Deletes an object as a person does; see [`Model::delete`].
    pub async fn delete(&self, key: &Key) -> Answer {
        let (answer, durable) = self.change(|model, now| model.delete(now, key));
        kept(answer, durable).await
    }

    /// Records events, best effort (rule B16).
    pub fn record_events(&self, about: Key, events: Vec<Event>) {
        let op = Op::RecordEvents { about, events };
        drop(self.change(|model, now| model.perform(now, &op)).1);
    }

    /// Sets or removes a value of the host's own, such as the kinds that are disabled.
    pub fn bookkeeping_put(&self, name: &str, value: Option<&[u8]>) -> Durable {
        self.change(|model, _| (Answer::Done, model.bookkeeping_put(name, value))).1
    }

    /// A value of the host's own.
    pub fn bookkeeping_get(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().model.bookkeeping_get(name).map(<[u8]>::to_vec)
    }

    /// Looks at the model: kinds, objects, problems, files, places. Short, please: writes wait.
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.lock().model)
    }

    /// All objects of a kind in order of their keys.
    pub fn objects(&self, kind: &GroupKind) -> Vec<Arc<Object>> {
        self.read(|model| model.objects(kind))
    }

    /// Events that are kept, oldest first (rule B16).
    pub fn events(&self, filter: &EventFilter) -> Vec<RecordedEvent> {
        let now = (self.clock)();
        self.read(|model| model.events(now, filter))
    }

    /// The counters.
    pub fn metrics(&self) -> LocalMetrics {
        let store = self.store.as_ref();
        LocalMetrics {
            writes: self.writes.load(Ordering::Relaxed),
            commits: store.map_or(0, Store::commits),
            mutations: store.map_or(0, Store::mutations),
        }
    }

    /// Ready when everything that was changed so far is on disk.
    pub fn flush(&self) -> Durable {
        self.store.as_ref().map_or_else(|| Durable::known(Ok(())), Store::flush)
    }

    /// Writes what is queued and closes the store; reads go on, later writes are refused. Blocks.
    pub fn close(&self) {
        if let Some(store) = &self.store {
            store.close();
        }
    }

    /// Changes the model, unless what comes of it cannot be kept.
    fn change(&self, change: impl FnOnce(&mut Model, u64) -> (Answer, Effects)) -> (Answer, Durable) {
        if let Some(error) = self.failed() {
            return (Answer::Done, Durable::known(Err(error)));
        }
        let now = (self.clock)();
        let mut state = self.lock();
        let (answer, effects) = change(&mut state.model, now);
        let durable = self.settle(&state, effects);
        (answer, durable)
    }

    fn begin(&self, op: &Op) -> (Answer, Durable) {
        if *op.cluster() != self.name {
            let text = format!("{} is not the cluster {}", self.name, op.cluster());
            return (Answer::Refused(Refusal::Unknown(text)), Durable::known(Ok(())));
        }
        match op {
            Op::Get(key) => (self.get(key, op), Durable::known(Ok(()))),
            Op::ListOwned { .. } => (self.lock().model.perform(0, op).0, Durable::known(Ok(()))),
            Op::RecordEvents { .. } => {
                // Best effort: nobody waits for events, and nothing fails for want of them.
                drop(self.change(|model, now| (Answer::Done, model.perform(now, op).1)));
                (Answer::Done, Durable::known(Ok(())))
            }
            _ => self.change(|model, now| model.perform(now, op)),
        }
    }

    fn get(&self, key: &Key, op: &Op) -> Answer {
        let mut state = self.lock();
        let kind = key.group_kind();
        match state.model.perform(0, op).0 {
            // A file that was not read yet may define it (rule D1).
            Answer::Absent if !state.announced.contains(&kind) => {
                Answer::Refused(Refusal::Unknown(format!("the files of {kind} have not been read completely")))
            }
            answer => answer,
        }
    }
}

/// The answer of a write, or, if it will not be kept, that it was not done.
async fn kept(answer: Answer, durable: Durable) -> Answer {
    match durable.await {
        Ok(()) => answer,
        Err(error) => Answer::Refused(Refusal::Transient(error.to_string())),
    }
}

fn seed() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

impl Cluster for Local {
    fn name(&self) -> &Name {
        &self.name
    }

    fn perform<'a>(&'a self, op: Op) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let (answer, durable) = self.begin(&op);
            kept(answer, durable).await
        })
    }
}
