//! The running file source: options, start, handle.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use setpoint_core::Key;
use setpoint_core::file_proof::RootIdentity;
use setpoint_core::key::{LOCAL, Name};

use super::event::SourceEvent;
use super::identity::Scope;
use super::worker::{Input, Worker};

/// What is known of (group, kind); none while nobody claims it. Asked again after
/// [`FileSource::reclassify`].
pub type KindLookup = Arc<dyn Fn(&str, &str) -> Option<Scope> + Send + Sync>;

/// How to run a file source.
#[derive(Clone)]
pub struct SourceOptions {
    /// The cluster that the files are in. Default `local`.
    pub cluster: Name,
    /// The directory; may be a symlink, which is resolved anew with each scan.
    pub root: PathBuf,
    /// What the store remembers: the objects of this root and the file that gave each.
    pub known: Vec<(Key, Name)>,
    /// What the store remembers: the identity of the root.
    pub identity: Option<RootIdentity>,
    /// What is known of kinds.
    pub kinds: KindLookup,
    /// Between scans that nothing asked for. Default 60 s.
    pub rescan: Duration,
    /// Between scans while the system does not report changes, or the root is missing. Default 2 s.
    pub poll: Duration,
    /// Never ask the system to report changes; only poll. Default false.
    pub force_polling: bool,
}

impl SourceOptions {
    /// A root that the store knows nothing of, with the defaults.
    pub fn new(root: impl Into<PathBuf>, kinds: KindLookup) -> Self {
        Self {
            cluster: LOCAL.into(),
            root: root.into(),
            known: Vec::new(),
            identity: None,
            kinds,
            rescan: Duration::from_secs(60),
            poll: Duration::from_secs(2),
            force_polling: false,
        }
    }

    /// Starts the source. A missing root is made (0755) if its parent is there and no object of it
    /// is known; with known objects it is taken for missing, and nothing is deleted.
    ///
    /// `sink` gets every event, on the source's own thread; what it takes delays the next. Its
    /// last event has been given when [`FileSource::stop`] returns.
    ///
    /// # Errors
    /// If the root cannot be one, and no object of it is known that had to be kept.
    pub fn start(self, sink: impl FnMut(SourceEvent) + Send + 'static) -> Result<FileSource, StartError> {
        let root = std::path::absolute(&self.root).map_err(StartError::Io)?;
        let created = self.known.is_empty() && make_root(&root)?;
        let (input, inputs) = mpsc::channel();
        let worker = Worker::new(root, self, input.clone(), inputs, Box::new(sink), created);
        let thread = thread::Builder::new().name("file-source".into()).spawn(move || worker.run());
        Ok(FileSource { input, thread: Some(thread.map_err(StartError::Io)?) })
    }
}

/// Why a source could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The path leads to something else than a directory.
    #[error("it is not a directory; give the directory that holds the files")]
    NotADirectory,
    /// Neither the directory nor the one above is there.
    #[error("neither the directory nor the one above it exists; create it, or give another one")]
    NoParent,
    /// The system refused.
    #[error("the directory cannot be used: {0}")]
    Io(#[source] io::Error),
}

fn make_root(root: &Path) -> Result<bool, StartError> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => return Ok(false),
        Ok(_) => return Err(StartError::NotADirectory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StartError::Io(error)),
    }
    match fs::DirBuilder::new().mode(0o755).create(root) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StartError::NoParent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => Ok(false),
            _ => Err(StartError::NotADirectory),
        },
        Err(error) => Err(StartError::Io(error)),
    }
}

/// The handle of a running source. Dropping it stops the source.
pub struct FileSource {
    input: Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl FileSource {
    /// Scans now and reads every file again, changed or not.
    pub fn rescan(&self) {
        let _ = self.input.send(Input::Rescan);
    }

    /// The kinds have changed: evaluates documents again that nobody claimed (rule D5).
    ///
    /// The event that says so carries the ticket: what came to be known before this call is looked
    /// at when it comes, whatever earlier calls are still under way.
    pub fn reclassify(&self, ticket: u64) {
        let _ = self.input.send(Input::Reclassify(ticket));
    }

    /// A person says that what is gone now is gone for good (rule D1).
    pub fn confirm(&self) {
        let _ = self.input.send(Input::Confirm);
    }

    /// Stops the source and waits until its last event was given. From within the sink it returns
    /// at once, and no further input is taken.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.input.send(Input::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the file source ended by a panic");
        }
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.end();
    }
}
