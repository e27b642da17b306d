//! Watches on directories, never on files: an editor replaces files, and a watch would stay with
//! the old one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use notify::{Config, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};
use setpoint_core::file_proof::RootIdentity;

use super::worker::Input;

/// The watches of one source. Each scan places them anew, directory by directory, before it lists
/// the directory: what happens between is reported.
pub(super) struct Watches {
    input: Sender<Input>,
    forced_polling: bool,
    watcher: Option<RecommendedWatcher>,
    /// What is watched, and which directory it was then: the system's watch stays with the
    /// directory, not with its path.
    placed: HashMap<PathBuf, RootIdentity>,
    visited: HashSet<PathBuf>,
    failure: Option<String>,
}

impl Watches {
    pub(super) fn new(input: Sender<Input>, forced_polling: bool) -> Self {
        Self { input, forced_polling, watcher: None, placed: HashMap::new(), visited: HashSet::new(), failure: None }
    }

    /// A scan begins.
    pub(super) fn begin(&mut self) {
        self.visited.clear();
        self.failure = None;
        if self.forced_polling {
            self.failure = Some("polling is configured".into());
            return;
        }
        if self.watcher.is_none() {
            // CORE leaves out opening and reading: the host's own scans must not wake it.
            let config = Config::default().with_event_kinds(EventKindMask::CORE | EventKindMask::ACCESS_CLOSE);
            let input = self.input.clone();
            let handler = move |event| drop(input.send(Input::File(event)));
            match RecommendedWatcher::new(handler, config) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.failure = Some(describe(&error)),
            }
        }
    }

    /// A directory (its path without symlinks) is about to be listed.
    pub(super) fn place(&mut self, path: &Path, identity: RootIdentity) {
        let Some(watcher) = self.watcher.as_mut() else {
            return;
        };
        self.visited.insert(path.to_owned());
        if self.placed.get(path) == Some(&identity) {
            return;
        }
        if self.placed.remove(path).is_some() {
            // Fails when the system has dropped the watch already, which is as good.
            let _ = watcher.unwatch(path);
        }
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.placed.insert(path.to_owned(), identity)),
            // Gone again: the scan notices as well. Anything else (as the limit of watches) means
            // that changes there would be missed.
            Err(error) if is_gone(&error) => {}
            Err(error) => self.failure = Some(describe(&error)),
        }
    }

    /// The scan has ended: watches on what it did not visit are taken away.
    pub(super) fn end(&mut self) {
        let Some(watcher) = self.watcher.as_mut() else {
            return;
        };
        let visited = &self.visited;
        self.placed.retain(|path, _| {
            let keep = visited.contains(path);
            if !keep {
                let _ = watcher.unwatch(path);
            }
            keep
        });
    }

    /// A directory was moved or deleted: what is watched at and below its path is another one now.
    pub(super) fn forget(&mut self, path: &Path) {
        let Some(watcher) = self.watcher.as_mut() else {
            return;
        };
        self.placed.retain(|placed, _| {
            let forget = placed.starts_with(path);
            if forget {
                let _ = watcher.unwatch(placed);
            }
            !forget
        });
    }

    /// Why changes may be missed, so that polling is needed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Without paths, which are nobody's business outside.
fn describe(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::MaxFilesWatch => "the system's limit of file watches is reached".into(),
        notify::ErrorKind::Generic(message) => message.clone(),
        _ => "the directory cannot be watched".into(),
    }
}
