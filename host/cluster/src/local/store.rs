//! The writer of the file that keeps the embedded cluster: one thread, commits in groups. With
//! `open`, all calls of redb are here.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability};
use tokio::sync::oneshot;

use super::durable::{Durable, StoreError};
use super::effects::{Mutation, Table};
use super::keeping::{Aftermath, Keeper};
use super::open::{GAVE_UP, definition};

/// A transaction takes at most so many waiting commits, so that the first of them is answered soon.
const GROUP: usize = 4096;
/// So long a transaction waits for more where that costs nobody anything: nobody waits for the
/// answer or hears of the change, or the disk is busy anyway.
const GATHER: Duration = Duration::from_millis(5);
/// A group of so many says that more is coming.
const BUSY: usize = 8;

struct Request {
    mutations: Vec<Mutation>,
    after: Aftermath,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Request {
    /// Whether somebody waits for the answer, or to be told.
    fn is_awaited(&self) -> bool {
        !self.done.is_closed() || !self.after.tell.is_empty()
    }
}

#[derive(Default)]
struct Shared {
    failed: OnceLock<StoreError>,
    /// Requests that are not answered yet.
    waiting: AtomicU64,
    commits: AtomicU64,
    mutations: AtomicU64,
}

/// The writer of a database. Dropping it writes what is queued and closes the file.
pub(crate) struct Store {
    queue: Mutex<Option<Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

impl Store {
    pub(crate) fn start(database: Database, keeper: Arc<dyn Keeper>) -> io::Result<Self> {
        let (queue, requests) = channel();
        let shared = Arc::new(Shared::default());
        let writer = std::thread::Builder::new().name("setpoint-store".to_owned()).spawn({
            let shared = shared.clone();
            move || write_all(&database, &requests, &shared, &*keeper)
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)), shared })
    }

    /// Queues mutations behind all that were queued before. Without mutations the answer says that
    /// those are on disk.
    pub(crate) fn commit(&self, mutations: Vec<Mutation>) -> Durable {
        if mutations.is_empty() && self.is_quiet() {
            return Durable::known(self.failed().map_or(Ok(()), Err));
        }
        match self.submit(mutations, Aftermath::default()) {
            Ok(durable) => durable,
            Err((error, _)) => Durable::known(Err(error)),
        }
    }

    /// Queues mutations and what follows them, which comes back if it cannot be queued. A store has
    /// failed for whoever queues after [`Keeper::lost`] was called.
    pub(crate) fn submit(
        &self,
        mutations: Vec<Mutation>,
        after: Aftermath,
    ) -> Result<Durable, (StoreError, Aftermath)> {
        if let Some(error) = self.failed() {
            return Err((error, after));
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Err((StoreError::stopped(), after));
        };
        let (done, answer) = oneshot::channel();
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        match queue.send(Request { mutations, after, done }) {
            Ok(()) => Ok(Durable::waiting(answer)),
            Err(request) => Err((StoreError::stopped(), request.0.after)),
        }
    }

    /// Whether nothing is queued, and all that was is told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire) == 0
    }

    /// Ready when everything that was queued before is on disk.
    pub(crate) fn flush(&self) -> Durable {
        self.commit(Vec::new())
    }

    /// Why nothing is kept any more, if that is so.
    pub(crate) fn failed(&self) -> Option<StoreError> {
        self.shared.failed.get().cloned()
    }

    /// Transactions so far.
    pub(crate) fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Rows written or removed so far.
    pub(crate) fn mutations(&self) -> u64 {
        self.shared.mutations.load(Ordering::Relaxed)
    }

    /// Writes what is queued and closes the file. Later commits are refused.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A writer that panicked has answered its waiters by hanging up.
            let _ = writer.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// One transaction for all that is waiting, then the next: the longer the disk takes, the larger
/// the groups become.
fn write_all(database: &Database, requests: &Receiver<Request>, shared: &Shared, keeper: &dyn Keeper) {
    let mut busy = false;
    while let Ok(first) = requests.recv() {
        let mut group = gather(first, requests, busy);
        busy = group.len() >= BUSY;
        let result = match shared.failed.get() {
            // A hole in the middle would be worse than an end: nothing is kept after a failure.
            Some(error) => Err(error.clone()),
            None => write_group(database, &group, shared).map_err(|error| shared.failed.get_or_init(|| error).clone()),
        };
        let waiting: Vec<_> = if result.is_ok() {
            let (after, waiting): (Vec<_>, Vec<_>) =
                group.into_iter().map(|request| (request.after, request.done)).unzip();
            // Whoever hears of it has missed something and cannot go on; what is on disk is answered as such. A
            // writer that ended here would leave the host running, and keeping nothing, without a word.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| keeper.kept(after))) {
                let _ = shared.failed.set(StoreError::untold(&*panic));
            }
            waiting
        } else {
            let mut waiting = Vec::new();
            let told = catch_unwind(AssertUnwindSafe(|| {
                keeper.lost(&mut || {
                    // What was queued meanwhile builds on what is lost.
                    group.extend(requests.try_iter());
                    let lost = group.drain(..).map(|request| {
                        waiting.push(request.done);
                        request.after
                    });
                    lost.collect()
                });
            }));
            // The store has failed already, and says so: nothing to add but to answer those who wait.
            drop(told);
            waiting
        };
        shared.waiting.fetch_sub(waiting.len() as u64, Ordering::AcqRel);
        for done in waiting {
            // Nobody waits for it: fine.
            let _ = done.send(result.clone());
        }
    }
}

/// What goes into one transaction: all that is there, and what comes within [`GATHER`] while nobody
/// waits or the disk is `busy`. A single write that somebody waits for goes at once.
fn gather(first: Request, requests: &Receiver<Request>, busy: bool) -> Vec<Request> {
    let until = Instant::now() + GATHER;
    let mut awaited = first.is_awaited();
    let mut group = vec![first];
    while group.len() < GROUP {
        let next = match requests.try_recv() {
            Ok(next) => next,
            Err(_) if awaited && !busy => break,
            Err(_) => match requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        awaited |= next.is_awaited();
        group.push(next);
    }
    group
}

fn write_group(database: &Database, group: &[Request], shared: &Shared) -> Result<(), StoreError> {
    let mutations = group.iter().flat_map(|request| &request.mutations);
    // A damaged file must not end the writer without a word, whatever redb makes of it.
    let written =
        catch_unwind(AssertUnwindSafe(|| write(database, mutations))).map_err(|_| StoreError::new(&GAVE_UP))?;
    let count = written.map_err(|error| StoreError::new(&error))?;
    if count > 0 {
        shared.commits.fetch_add(1, Ordering::Relaxed);
        shared.mutations.fetch_add(count, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes mutations in one transaction, if there are any. Answers how many rows.
pub(crate) fn write<'m>(
    database: &Database,
    mutations: impl IntoIterator<Item = &'m Mutation>,
) -> Result<u64, redb::Error> {
    let mut last: BTreeMap<Table, BTreeMap<&str, Option<&[u8]>>> = BTreeMap::new();
    for mutation in mutations {
        let (table, key, value) = match mutation {
            Mutation::Put { table, key, bytes } => (table, key, Some(bytes.as_slice())),
            Mutation::Remove { table, key } => (table, key, None),
        };
        last.entry(*table).or_default().insert(key, value);
    }
    if last.is_empty() {
        return Ok(0);
    }
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // After a kill the file opens at once instead of being walked.
    transaction.set_quick_repair(true);
    let mut count = 0;
    for (table, rows) in &last {
        let mut open = transaction.open_table(definition(*table))?;
        for (key, value) in rows {
            match value {
                Some(value) => drop(open.insert(*key, *value)?),
                None => drop(open.remove(*key)?),
            }
        }
        count += rows.len() as u64;
    }
    transaction.commit()?;
    Ok(count)
}
