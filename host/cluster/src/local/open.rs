//! Opening the file that keeps the embedded cluster, and all that can be wrong with it (rule D10).

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::effects::{Mutation, Row, Table};
use super::keeping::Keeper;
use super::store::{Store, write};

/// Name of the database in the state directory.
pub const FILE: &str = "state.redb";
const FORMAT_ROW: &str = "format";
/// The version of the host that made the rows' form.
const WRITER_ROW: &str = "written-by";
/// The version of the rows' form. A host reads this one and older ones.
const FORMAT: u64 = 1;
const THIS_VERSION: &str = env!("CARGO_PKG_VERSION");
const CACHE_BYTES: usize = 8 << 20;
/// What is said of a database that panicked: a damaged file must not take the host down.
pub(crate) const GAVE_UP: &str = "the database gave up";

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host has it open.
    #[error("{} is in use by another host: stop that one, or give this one another --state", path.display())]
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
    #[error(
        "{} was written by {} in format {found}, and this is setpoint {}, which reads formats up to {known}; nothing \
         was changed: start that version, or give this one another --state",
        path.display(), written_by(writer.as_deref()), THIS_VERSION
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this host knows.
        known: u64,
        /// The version of the host that wrote it, if it says so.
        writer: Option<String>,
    },
    /// The state directory is none.
    #[error("{} is no directory: give a directory with --state, or move what is there away", path.display())]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// There is a state that can be read, or there is none at all.
    #[error("there is nothing to repair in {}: {reason}", directory.display())]
    NothingToRepair {
        /// The state directory.
        directory: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The directory or the file cannot be used.
    #[error("the state {} cannot be used: {source}; {}", path.display(), advice(source.kind()))]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anything else that the database says.
    #[error("the state {} cannot be used: {reason}; move it away to begin anew, or restore a copy", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

fn written_by(version: Option<&str>) -> String {
    version.map_or_else(|| "a newer setpoint".to_owned(), |version| format!("setpoint {version}"))
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "make the directory and what is in it readable and writable for this user, or give another one with --state"
        }
        io::ErrorKind::ReadOnlyFilesystem => "give a directory that can be written with --state",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space and start the host again",
        _ => "repair the disk, or give another directory with --state",
    }
}

/// A database that was opened and read, not written yet.
pub(crate) struct Opened {
    database: Database,
    path: PathBuf,
    pub(crate) rows: Vec<Row>,
}

impl Opened {
    /// Opens the database of a state directory, made with mode 0700 if there is none, and reads all
    /// of it. `now` (unix milliseconds) names the file if it has to be set aside.
    pub(crate) fn open(directory: &Path, now: u64) -> Result<Self, OpenError> {
        if let Err(source) = make_directory(directory) {
            let path = directory.to_owned();
            // A file in the place of the directory, or of one above it.
            let file = matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory);
            return Err(if file { OpenError::NotADirectory { path } } else { OpenError::Io { path, source } });
        }
        let path = directory.join(FILE);
        let io = |source| OpenError::Io { path: path.clone(), source };
        if !path.exists()
            && let Some(aside) = set_aside_before(directory).map_err(io)?
        {
            return Err(OpenError::SetAside { aside });
        }
        make_file(&path).map_err(io)?;
        // A damaged file must not take the host down, whatever redb makes of it.
        let read = catch_unwind(AssertUnwindSafe(|| Self::read(&path)))
            .unwrap_or_else(|_| Err(Unreadable::Corrupt(GAVE_UP.to_owned())));
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
        for table in Table::ALL {
            read_table(&database, table, &mut rows).map_err(|error| unreadable(path, error))?;
        }
        if let Some(text) = meta(&rows, FORMAT_ROW) {
            let found: u64 = text.parse().map_err(|_| Unreadable::Corrupt(format!("its format is `{text}`")))?;
            if found > FORMAT {
                let writer = meta(&rows, WRITER_ROW);
                let error = OpenError::Newer { path: path.to_owned(), found, known: FORMAT, writer };
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
    pub(crate) fn start(self, fresh: bool, keeper: Arc<dyn Keeper>) -> Result<Store, OpenError> {
        let Self { database, path, .. } = self;
        let store = Store::start(database, keeper).map_err(|source| OpenError::Io { path, source })?;
        if fresh {
            // Later commits stand behind this one in the queue; a failure shows in each of them.
            drop(store.commit(format_rows()));
        }
        Ok(store)
    }
}

/// The rows that say who wrote a database and in which form.
fn format_rows() -> Vec<Mutation> {
    [(FORMAT_ROW, FORMAT.to_string()), (WRITER_ROW, THIS_VERSION.to_owned())]
        .map(|(key, text)| Mutation::Put { table: Table::Meta, key: key.to_owned(), bytes: text.into_bytes() })
        .into()
}

fn meta(rows: &[Row], name: &str) -> Option<String> {
    let row = rows.iter().find(|(table, key, _)| *table == Table::Meta && key == name);
    row.map(|(.., bytes)| String::from_utf8_lossy(bytes).into_owned())
}

/// Makes a whole database at a path where there is none, readable by its user alone: these rows in
/// the form of today. It is on disk when this returns.
pub(crate) fn make(path: &Path, rows: Vec<Row>) -> Result<(), OpenError> {
    let failed = |error: redb::Error| match error {
        redb::Error::Io(source) => OpenError::Io { path: path.to_owned(), source },
        other => OpenError::Failed { path: path.to_owned(), reason: other.to_string() },
    };
    make_file(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let database = Builder::new().create(path).map_err(|error| failed(error.into()))?;
    let own = |table: Table, key: &str| table == Table::Meta && (key == FORMAT_ROW || key == WRITER_ROW);
    let rows = rows.into_iter().filter(|(table, key, _)| !own(*table, key));
    let puts = rows.map(|(table, key, bytes)| Mutation::Put { table, key, bytes }).chain(format_rows());
    write(&database, &puts.collect::<Vec<_>>()).map(drop).map_err(failed)
}

/// All rows of a database that can be read, and what could not be. Whatever the file holds, this
/// comes back.
pub(crate) fn salvage(path: &Path) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut lost) = (Vec::new(), Vec::new());
    let database = catch_unwind(|| {
        let mut builder = Builder::new();
        let text = |error: redb::DatabaseError| error.to_string();
        // The check makes of a damaged file what can be made of it; where it refuses, tables may
        // still be readable.
        builder.set_check_integrity_on_open(true).open(path).or_else(|_| Builder::new().open(path)).map_err(text)
    })
    .unwrap_or_else(|_| Err(GAVE_UP.to_owned()));
    let database = match database {
        Ok(database) => database,
        Err(reason) => return (rows, vec![format!("the file as a whole: {reason}")]),
    };
    for table in Table::ALL {
        let read = catch_unwind(AssertUnwindSafe(|| read_table(&database, table, &mut rows)));
        let reason = match read {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => GAVE_UP.to_owned(),
        };
        lost.push(format!("the rest of table {}: {reason}", table.name()));
    }
    (rows, lost)
}

/// Adds the rows of a table, as far as they can be read.
pub(crate) fn read_table(database: &Database, table: Table, rows: &mut Vec<Row>) -> Result<(), redb::Error> {
    let open = match database.begin_read()?.open_table(definition(table)) {
        Ok(open) => open,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for row in open.iter()? {
        let (key, value) = row?;
        rows.push((table, key.value().to_owned(), value.value().to_vec()));
    }
    Ok(())
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
    let name = |number: u32| match number {
        0 => format!("{FILE}.corrupt-{}", now / 1000),
        number => format!("{FILE}.corrupt-{}-{number}", now / 1000),
    };
    // What was set aside within the same second is not overwritten.
    let mut aside = path.with_file_name(name(0));
    let mut number = 0;
    while aside.exists() {
        number += 1;
        aside = path.with_file_name(name(number));
    }
    match fs::rename(&path, &aside) {
        Ok(()) => OpenError::Corrupt { path, aside, reason },
        Err(source) => OpenError::Io { path, source },
    }
}

pub(crate) fn set_aside_before(directory: &Path) -> io::Result<Option<PathBuf>> {
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

pub(crate) fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}
