//! An embedded cluster, as `local` is: a cluster like any other, of files and a store (design §3).
//!
//! | question | module |
//! |---|---|
//! | what is there, what is served | [`model`](Model) |
//! | what does a write of a reconciler do | `write`, with server-side apply in `fieldwise` |
//! | how does an object end | `deletion` |
//! | what does a file or a person say | `files` |
//! | how is one object kept, and how is it handed out | `record` |
//! | which events are kept | `events` |
//! | how does it survive a kill | `open`, `store`, `durable`, `load`, `repair` |
//! | what is shown, and when | `keeping` |
//! | how do kinds outlive their plugin | `kinds` |

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
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
mod keeping;
mod kinds;
mod load;
mod marks;
mod model;
mod open;
mod places;
mod record;
mod repair;
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
pub use open::{FILE as STORE_FILE, OpenError};
pub use record::Problem;
pub use repair::RepairReport;

use keeping::{Aftermath, Board, State, Tell};
use open::Opened;
use store::Store;

/// Bookkeeping: the identity of the store, which stands for that of the directory it is in.
pub const STORE_ID: &str = "store-id";
/// Bookkeeping: set while the store was rebuilt and no first pass has ended (rule D10).
pub const REBUILT: &str = "rebuilt";

/// Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where and how an embedded cluster keeps its state.
#[derive(Clone)]
pub struct LocalOptions {
    /// What it is called. Default `local`.
    pub name: Name,
    /// The state directory, made if there is none.
    pub state_dir: PathBuf,
    /// Refuse files with fields that the schema does not know, instead of leaving those fields out
    /// with a warning. Default: no.
    pub strict: bool,
    /// The time of creation and deletion timestamps and of events. Default: the system's.
    pub clock: Clock,
}

impl LocalOptions {
    /// The defaults for a state directory.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { name: LOCAL.into(), state_dir: state_dir.into(), strict: false, clock: Arc::new(system_time) }
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

/// An embedded cluster. Watch events reach the sink in the order of the changes, each when it
/// is on disk; then the write that made it is answered.
pub struct Local {
    name: Name,
    board: Arc<Board>,
    /// None: nothing is kept.
    store: Option<Store>,
    clock: Clock,
    writes: AtomicU64,
}

impl Local {
    /// Opens the state of a directory. Objects are readable if their kind was installed by
    /// [`Local::install_kind`] before, else when it is; nobody is told of them before
    /// [`Local::snapshot`].
    ///
    /// # Errors
    /// Another host has it, or it cannot be read or written; the texts say what to do.
    pub fn open(options: LocalOptions, sink: Arc<dyn Sink>) -> Result<Arc<Self>, OpenError> {
        let now = (options.clock)();
        let mut opened = Opened::open(&options.state_dir, now)?;
        let rows = std::mem::take(&mut opened.rows);
        let fresh = rows.is_empty();
        let mut model = match Model::load(seed(), rows) {
            Ok(model) => model,
            Err(error) => return Err(opened.give_up(now, error.to_string())),
        };
        model.set_strict(options.strict);
        let (mut effects, unreadable) = model.restore_kinds();
        for kind in unreadable {
            tracing::warn!("a kept definition cannot be used, its objects wait for a plugin: {kind}");
        }
        if model.bookkeeping_get(STORE_ID).is_none() {
            let id = uuid::Uuid::new_v4().to_string();
            effects.join(model.bookkeeping_put(STORE_ID, Some(id.as_bytes())));
        }
        let board = Arc::new(Board::new(model, sink));
        let store = opened.start(fresh, board.clone())?;
        // A failure shows in every later write; nothing is lost that anybody was told of.
        drop(store.commit(effects.mutations));
        Ok(Arc::new(Self::with(options.name, board, Some(store), options.clock)))
    }

    /// Rebuilds the state of a directory whose store could not be read and was set aside, from what
    /// can be read of it, and marks it as rebuilt: see [`Local::rebuilt`]. No host may run on it.
    ///
    /// # Errors
    /// There is nothing to repair, or the directory cannot be read or written; the texts say what to
    /// do. What was set aside stays where it is.
    pub fn repair(state_dir: &Path) -> Result<RepairReport, OpenError> {
        repair::repair(state_dir, system_time())
    }

    /// Whether the store was rebuilt and no first pass has ended since: nothing may be deleted on
    /// absence yet (rule D10).
    pub fn rebuilt(&self) -> bool {
        self.lock().model.bookkeeping_get(REBUILT).is_some()
    }

    /// Every object had its first attempt: a rebuilt store is as good as any from now on.
    pub fn first_pass_over(&self) -> Durable {
        self.bookkeeping_put(REBUILT, None)
    }

    /// Why nothing is kept any more, and what to do; none while all is well. From then on every
    /// write is refused until the host is started again, and reads answer what is on disk.
    pub fn trouble(&self) -> Option<String> {
        self.failed().map(|error| error.to_string())
    }

    /// Whether files with unknown fields are refused; see [`LocalOptions::strict`].
    pub fn set_strict(&self, strict: bool) {
        self.lock().model.set_strict(strict);
    }

    /// A `local` that keeps nothing, for tests and for plans.
    pub fn in_memory(sink: Arc<dyn Sink>) -> Arc<Self> {
        let board = Arc::new(Board::new(Model::with_seed(seed()), sink));
        Arc::new(Self::with(LOCAL.into(), board, None, Arc::new(system_time)))
    }

    fn with(name: Name, board: Arc<Board>, store: Option<Store>, clock: Clock) -> Self {
        Self { name, board, store, clock, writes: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.board.lock()
    }

    /// Queues the rows of a change, and the telling of it behind them. The state is locked, so both
    /// are in order.
    fn settle(&self, state: &mut State, effects: Effects) -> Durable {
        if !effects.mutations.is_empty() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        let at_once = effects.mutations.is_empty() && self.store.as_ref().is_none_or(Store::is_quiet);
        let (mutations, after) = state.begin(effects);
        let Some(store) = self.store.as_ref().filter(|_| !at_once) else {
            return self.tell_now(state, after);
        };
        match store.submit(mutations, after) {
            Ok(durable) => durable,
            Err((error, after)) => {
                self.board.give_up(state, after);
                Durable::known(Err(error))
            }
        }
    }

    /// Nothing is under way: the sink is told on this thread.
    fn tell_now(&self, state: &mut State, after: Aftermath) -> Durable {
        state.end(&after);
        self.board.tell(after.tell);
        Durable::known(self.failed().map_or(Ok(()), Err))
    }

    /// Tells the sink something about a kind, behind all changes that are under way.
    fn tell(&self, state: &mut State, tell: Tell) {
        let after = Aftermath { tell: vec![tell], undo: Vec::new() };
        let Some(store) = self.store.as_ref().filter(|store| !store.is_quiet()) else {
            drop(self.tell_now(state, after));
            return;
        };
        if let Err((_, after)) = store.submit(Vec::new(), after) {
            self.board.give_up(state, after);
        }
    }

    fn failed(&self) -> Option<StoreError> {
        self.store.as_ref()?.failed()
    }

    /// Serves a kind, or serves it with another schema (rule D6); its objects are told. Absence is
    /// not proven until it is announced. The definition is kept: while there are objects of the kind
    /// it is served after a start as well, whether its plugin is there or not (rules B12, C9).
    pub fn install_kind(&self, crd: Crd) -> Durable {
        let mut state = self.lock();
        let effects = state.model.keep_kind(crd);
        self.settle(&mut state, effects)
    }

    /// Forgets the kept definitions of kinds that are not served, have no objects and that nobody
    /// brings; `used` says who does. To be called once plugins and files have been looked at.
    pub fn forget_kinds(&self, used: impl Fn(&GroupKind) -> bool) -> Durable {
        self.change(|model, _| (Answer::Done, model.forget_kinds(used))).1
    }

    /// Serves a kind no longer: its objects stay, and nothing is known of them (rule D7).
    pub fn remove_kind(&self, kind: &GroupKind) {
        let mut state = self.lock();
        let effects = state.model.drop_kind(kind);
        state.announced.remove(kind);
        // Kept or not, the kind is not served now; a failure of the store shows in the next write.
        drop(self.settle(&mut state, effects));
        self.tell(&mut state, Tell::Unknown(self.source(kind), format!("the kind {kind} is not served")));
    }

    /// Tells all readable objects, for a sink that comes late.
    pub fn snapshot(&self) {
        let mut state = self.lock();
        let events = state.model.all().into_iter().map(|(key, object)| (key, Some(object))).collect();
        drop(self.settle(&mut state, Effects { events, ..Effects::default() }));
    }

    /// Says that all files of these kinds have been read: from now on what was not told is absent.
    /// Kinds that are not served are passed over. A store that has failed proves nothing: what files
    /// say is not taken any more.
    pub fn announce<'k>(&self, kinds: impl IntoIterator<Item = &'k GroupKind>) {
        let mut state = self.lock();
        for kind in kinds {
            if self.failed().is_none() && state.model.crd(kind).is_some() && state.announced.insert(kind.clone()) {
                self.tell(&mut state, Tell::Known(self.source(kind)));
            }
        }
    }

    /// Says that nothing is known of these kinds at present, such as while the files of a root are
    /// suspiciously gone (rule D1). [`Local::announce`] ends it.
    pub fn doubt<'k>(&self, kinds: impl IntoIterator<Item = &'k GroupKind>, reason: &str) {
        let mut state = self.lock();
        for kind in kinds {
            state.announced.remove(kind);
            self.tell(&mut state, Tell::Unknown(self.source(kind), reason.to_owned()));
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
        let now = (self.clock)();
        // Admitted without the lock. If the object changes meanwhile, it is done again with it.
        let basis = self.lock().model.basis(key)?;
        let admitted = basis.admit(key, value.clone());
        let mut state = self.lock();
        if let Some(error) = self.failed() {
            return Err(FileRefusal::Unavailable(error.to_string()));
        }
        let Accepted { effects, unknown } = match state.model.is_current(key, &admitted) {
            true => state.model.take(now, key, admitted, file)?,
            false => state.model.desired(now, key, value, file)?,
        };
        Ok((unknown, self.settle(&mut state, effects)))
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

    /// Looks at the model: kinds, objects, problems, files, places. Short, please: writes wait. The
    /// model may be ahead of the disk: what is shown to people comes from [`Local::object`],
    /// [`Local::objects`] and [`Local::all`].
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.lock().model)
    }

    /// An object as it is on disk.
    pub fn object(&self, key: &Key) -> Option<Arc<Object>> {
        self.lock().shown(key)
    }

    /// All objects of a kind as they are on disk, in order of their keys.
    pub fn objects(&self, kind: &GroupKind) -> Vec<Arc<Object>> {
        let state = self.lock();
        let shown = state.all_shown(state.model.of_kind(kind), |key| key.group_kind() == *kind);
        shown.into_iter().map(|(_, object)| object).collect()
    }

    /// All readable objects as they are on disk, with their keys, in order of kinds.
    pub fn all(&self) -> Vec<(Arc<Key>, Arc<Object>)> {
        let state = self.lock();
        state.all_shown(state.model.all(), |_| true)
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
        let now = (self.clock)();
        let mut state = self.lock();
        // Looked at with the state locked: nothing is queued behind a failure.
        if let Some(error) = self.failed() {
            return (Answer::Done, Durable::known(Err(error)));
        }
        let (answer, effects) = change(&mut state.model, now);
        let durable = self.settle(&mut state, effects);
        (answer, durable)
    }

    fn begin(&self, op: &Op) -> (Answer, Durable) {
        if *op.cluster() != self.name {
            let text = format!("{} is not the cluster {}", self.name, op.cluster());
            return (Answer::Refused(Refusal::Unknown(text)), Durable::known(Ok(())));
        }
        match op {
            Op::Get(key) => self.get(key, op),
            Op::ListOwned { .. } => self.list(op),
            Op::RecordEvents { .. } => {
                // Best effort: nobody waits for events, and nothing fails for want of them.
                drop(self.change(|model, now| (Answer::Done, model.perform(now, op).1)));
                (Answer::Done, Durable::known(Ok(())))
            }
            Op::ApplyStatus { key, status, manager, precondition } => {
                // As with files: what takes long is done without the lock.
                let basis = self.lock().model.status_basis(key);
                let prepared = basis.and_then(|basis| basis.prepare(key, status, manager, precondition)).ok();
                self.change(|model, now| match prepared.and_then(|prepared| model.write_status(now, key, prepared)) {
                    Some((answer, effects)) => (answer, effects),
                    None => model.perform(now, op),
                })
            }
            _ => self.change(|model, now| model.perform(now, op)),
        }
    }

    /// An object that has changes under way is answered when it was told: whoever asks never sees a
    /// version that a kill takes back, nor an older one afterwards.
    fn get(&self, key: &Key, op: &Op) -> (Answer, Durable) {
        let mut state = self.lock();
        let kind = key.group_kind();
        let answer = match state.model.perform(0, op).0 {
            // A file that was not read yet may define it (rule D1).
            Answer::Absent if !state.announced.contains(&kind) => {
                Answer::Refused(Refusal::Unknown(format!("the files of {kind} have not been read completely")))
            }
            answer => answer,
        };
        (answer, self.after(state.is_in_flight(key)))
    }

    fn list(&self, op: &Op) -> (Answer, Durable) {
        let mut state = self.lock();
        let answer = state.model.perform(0, op).0;
        let under_way = match &answer {
            Answer::Listed(found) => found.iter().any(|(key, _)| state.is_in_flight(key)),
            _ => false,
        };
        (answer, self.after(under_way))
    }

    /// Ready at once, or when everything that is under way is on disk.
    fn after(&self, under_way: bool) -> Durable {
        if under_way { self.flush() } else { Durable::known(Ok(())) }
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

    fn keeps_events(&self) -> bool {
        true
    }

    fn perform<'a>(&'a self, op: Op) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let (answer, durable) = self.begin(&op);
            kept(answer, durable).await
        })
    }
}
