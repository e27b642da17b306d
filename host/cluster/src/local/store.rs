//! The file that keeps the embedded cluster: one redb database, one writer thread, commits in
//! groups. All calls of redb are here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::oneshot;

use super::durable::{Durable, StoreError};
use super::effects::{Mutation, Row, Table};

/// Name of the database in the state directory.
pub const FILE: &str = "state.redb";
const FORMAT_ROW: &str = "format";
/// The version of the rows' form. A host reads this one and older ones.
const FORMAT: u64 = 1;
const CACHE_BYTES: usize = 8 << 20;
/// A transaction takes at most so many waiting commits, so that the first of them is answered soon.
const GROUP: usize = 4096;
/// So long a transaction waits for more where that costs nobody anything: nobody waits for the
/// answer, or the disk is busy anyway.
const GATHER: Duration = Duration::from_millis(5);
/// A group of so many says that more is coming.
const BUSY: usize = 8;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host has it open.
    #[error("{} is in use by another host: stop it, or give this one another --state directory", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// It cannot be read, and was set aside (rule D10).
    #[error(
        "{} cannot be read ({reason}) and was set aside as {}: run `setpoint repair` to rebuild it",
        path.display(), aside.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It was set aside earlier and has not been rebuilt since (rule D10).
    #[error("the state was set aside as {} and is not rebuilt: run `setpoint repair`", aside.display())]
    SetAside {
        /// Where it is.
        aside: PathBuf,
    },
    /// A newer host wrote it.
    #[error("{} has format {found}, this host knows formats up to {known}: use the newer host", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this host knows.
        known: u64,
    },
    /// The directory or the file cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that the database says.
    #[error("{}: {reason}", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

/// A database that was opened and read, not written yet.
pub(crate) struct Opened {
    database: Database,
    path: PathBuf,
    pub(crate) rows: Vec<Row>,
}

impl Opened {
    /// Opens the database of a state directory, made with mode 0700 if there is none, and reads all
    /// of it. `now` (unix milliseconds) names the file if it has to be set aside. `rebuild`: begin a
    /// new one although an older one was set aside.
    pub(crate) fn open(directory: &Path, now: u64, rebuild: bool) -> Result<Self, OpenError> {
        make_directory(directory).map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        let path = directory.join(FILE);
        let io = |source| OpenError::Io { path: path.clone(), source };
        if !path.exists()
            && !rebuild
            && let Some(aside) = set_aside_before(directory).map_err(io)?
        {
            return Err(OpenError::SetAside { aside });
        }
        make_file(&path).map_err(io)?;
        // A damaged file must not take the host down, whatever redb makes of it.
        let read = catch_unwind(AssertUnwindSafe(|| Self::read(&path)))
            .unwrap_or_else(|_| Err(Unreadable::Corrupt("the database gave up".to_owned())));
        match read {
            Ok((database, rows)) => Ok(Self { database, path, rows }),
            Err(Unreadable::Open(error)) => Err(*error),
            Err(Unreadable::Corrupt(reason)) => Err(set_aside(path, now, reason)),
        }
    }

    fn read(path: &Path) -> Result<(Database, Vec<Row>), Unreadable> {
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| unreadable(path, error.into()))?;
        let mut rows = Vec::new();
        let transaction = database.begin_read().map_err(|error| unreadable(path, error.into()))?;
        for table in Table::ALL {
            let open = match transaction.open_table(definition(table)) {
                Ok(open) => open,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(unreadable(path, error.into())),
            };
            for row in open.iter().map_err(|error| unreadable(path, error.into()))? {
                let (key, value) = row.map_err(|error| unreadable(path, error.into()))?;
                rows.push((table, key.value().to_owned(), value.value().to_vec()));
            }
        }
        drop(transaction);
        if let Some((.., bytes)) = rows.iter().find(|(table, key, _)| *table == Table::Meta && key == FORMAT_ROW) {
            let text = String::from_utf8_lossy(bytes);
            let found: u64 = text.parse().map_err(|_| Unreadable::Corrupt(format!("its format is `{text}`")))?;
            if found > FORMAT {
                let error = OpenError::Newer { path: path.to_owned(), found, known: FORMAT };
                return Err(Unreadable::Open(Box::new(error)));
            }
        }
        Ok((database, rows))
    }

    /// The rows make no sense: sets the file aside.
    pub(crate) fn give_up(self, now: u64, reason: String) -> OpenError {
        let Self { database, path, .. } = self;
        drop(database);
        set_aside(path, now, reason)
    }

    /// Starts the writer. A fresh database, which has no rows, gets its format first.
    pub(crate) fn start(self, fresh: bool) -> Result<Store, OpenError> {
        let store = Store::start(self.database).map_err(|source| OpenError::Io { path: self.path.clone(), source })?;
        if fresh {
            let format = Mutation::Put {
                table: Table::Meta,
                key: FORMAT_ROW.to_owned(),
                bytes: FORMAT.to_string().into_bytes(),
            };
            // Later commits stand behind this one in the queue; a failure shows in each of them.
            drop(store.commit(vec![format]));
        }
        Ok(store)
    }
}

enum Unreadable {
    Corrupt(String),
    Open(Box<OpenError>),
}

fn unreadable(path: &Path, error: redb::Error) -> Unreadable {
    let open = |error| Unreadable::Open(Box::new(error));
    match error {
        redb::Error::DatabaseAlreadyOpen => open(OpenError::InUse { path: path.to_owned() }),
        redb::Error::Corrupted(reason) => Unreadable::Corrupt(reason),
        redb::Error::RepairAborted => Unreadable::Corrupt("its repair was given up".to_owned()),
        redb::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            Unreadable::Corrupt(source.to_string())
        }
        redb::Error::Io(source) => open(OpenError::Io { path: path.to_owned(), source }),
        other => open(OpenError::Failed { path: path.to_owned(), reason: other.to_string() }),
    }
}

fn set_aside(path: PathBuf, now: u64, reason: String) -> OpenError {
    let aside = path.with_file_name(format!("{FILE}.corrupt-{}", now / 1000));
    match fs::rename(&path, &aside) {
        Ok(()) => OpenError::Corrupt { path, aside, reason },
        Err(source) => OpenError::Io { path, source },
    }
}

fn set_aside_before(directory: &Path) -> io::Result<Option<PathBuf>> {
    let prefix = format!("{FILE}.corrupt-");
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            newest = newest.max(Some(entry.path()));
        }
    }
    Ok(newest)
}

#[cfg(unix)]
fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// Objects may be Secrets: the file is the user's alone, whatever the umask says.
fn make_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

struct Request {
    mutations: Vec<Mutation>,
    done: oneshot::Sender<Result<(), StoreError>>,
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
    pub(crate) fn start(database: Database) -> io::Result<Self> {
        let (queue, requests) = channel();
        let shared = Arc::new(Shared::default());
        let writer = std::thread::Builder::new().name("setpoint-store".to_owned()).spawn({
            let shared = shared.clone();
            move || write_all(&database, &requests, &shared)
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)), shared })
    }

    /// Queues mutations behind all that were queued before. Without mutations the answer says that
    /// those are on disk.
    pub(crate) fn commit(&self, mutations: Vec<Mutation>) -> Durable {
        if let Some(error) = self.failed() {
            return Durable::known(Err(error));
        }
        if mutations.is_empty() && self.shared.waiting.load(Ordering::Acquire) == 0 {
            return Durable::known(Ok(()));
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Durable::known(Err(StoreError::stopped()));
        };
        let (done, answer) = oneshot::channel();
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        match queue.send(Request { mutations, done }) {
            Ok(()) => Durable::waiting(answer),
            Err(_) => Durable::known(Err(StoreError::stopped())),
        }
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
fn write_all(database: &Database, requests: &Receiver<Request>, shared: &Shared) {
    let mut busy = false;
    while let Ok(first) = requests.recv() {
        let group = gather(first, requests, busy);
        busy = group.len() >= BUSY;
        let result = match shared.failed.get() {
            // A hole in the middle would be worse than an end: nothing is kept after a failure.
            Some(error) => Err(error.clone()),
            None => write_group(database, &group, shared)
                .map_err(|error| shared.failed.get_or_init(|| StoreError::new(&error)).clone()),
        };
        shared.waiting.fetch_sub(group.len() as u64, Ordering::AcqRel);
        for request in group {
            // Nobody waits for it: fine.
            let _ = request.done.send(result.clone());
        }
    }
}

/// What goes into one transaction: all that is there, and what comes within [`GATHER`] while nobody
/// waits for an answer or the disk is `busy`. A single write that somebody waits for goes at once.
fn gather(first: Request, requests: &Receiver<Request>, busy: bool) -> Vec<Request> {
    let until = Instant::now() + GATHER;
    let mut awaited = !first.done.is_closed();
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
        awaited |= !next.done.is_closed();
        group.push(next);
    }
    group
}

fn write_group(database: &Database, group: &[Request], shared: &Shared) -> Result<(), redb::Error> {
    let mut last: BTreeMap<Table, BTreeMap<&str, Option<&[u8]>>> = BTreeMap::new();
    for mutation in group.iter().flat_map(|request| &request.mutations) {
        let (table, key, value) = match mutation {
            Mutation::Put { table, key, bytes } => (table, key, Some(bytes.as_slice())),
            Mutation::Remove { table, key } => (table, key, None),
        };
        last.entry(*table).or_default().insert(key, value);
    }
    if last.is_empty() {
        return Ok(());
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
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared.mutations.fetch_add(count, Ordering::Relaxed);
    Ok(())
}
