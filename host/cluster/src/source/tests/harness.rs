//! A source on a temporary directory, and what it told.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use setpoint_core::Key;
use setpoint_core::file_proof::RootIdentity;
use setpoint_core::key::Name;
use tempfile::TempDir;

use crate::source::{FileReport, FileSource, Scope, SourceEvent, SourceOptions};

pub(super) struct Harness {
    pub(super) dir: TempDir,
    pub(super) root: PathBuf,
    pub(super) source: Option<FileSource>,
    events: Receiver<SourceEvent>,
    /// Everything told since the start.
    pub(super) told: Vec<SourceEvent>,
    seen: usize,
    /// Whether the kind `Late` of `late.dev` is known.
    pub(super) late: Arc<AtomicBool>,
}

pub(super) fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  k: {value:?}\n")
}

pub(super) fn key(name: &str) -> Key {
    Key::new("local", "", "ConfigMap", Some("default"), name)
}

/// What a store remembers of an earlier run.
#[derive(Default)]
pub(super) struct Remembered {
    pub(super) known: Vec<(Key, Name)>,
    pub(super) identity: Option<RootIdentity>,
}

impl Harness {
    /// A source on files, after its initial scan.
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        Self::started(files, Remembered::default(), |_| ())
    }

    pub(super) fn started(files: &[(&str, &str)], store: Remembered, adjust: impl FnOnce(&mut SourceOptions)) -> Self {
        let dir = TempDir::new().expect("tempdir");
        let root = dir.path().join("resources");
        fs::create_dir(&root).expect("root");
        for (file, text) in files {
            write(&root.join(file), text);
        }
        let mut harness = Self::on(dir, root, store, adjust);
        harness.wait("the initial scan", |event| matches!(event, SourceEvent::InitialScanDone));
        harness
    }

    pub(super) fn on(dir: TempDir, root: PathBuf, store: Remembered, adjust: impl FnOnce(&mut SourceOptions)) -> Self {
        let late = Arc::new(AtomicBool::new(false));
        let known = late.clone();
        let kinds = move |group: &str, kind: &str| match (group, kind) {
            ("", "ConfigMap") => Some(Scope { namespaced: true }),
            ("late.dev", "Late") if known.load(Ordering::SeqCst) => Some(Scope { namespaced: true }),
            _ => None,
        };
        let mut options = SourceOptions::new(&root, Arc::new(kinds));
        options.known = store.known;
        options.identity = store.identity;
        adjust(&mut options);
        let (tell, events) = mpsc::channel();
        let source = options.start(move |event| drop(tell.send(event))).expect("start");
        Self { dir, root, source: Some(source), events, told: Vec::new(), seen: 0, late }
    }

    pub(super) fn source(&self) -> &FileSource {
        self.source.as_ref().expect("running")
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        write(&self.root.join(file), text);
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Waits for the next event of a sort; what came before it is passed.
    pub(super) fn wait(&mut self, what: &str, wanted: impl Fn(&SourceEvent) -> bool) -> SourceEvent {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            while self.seen < self.told.len() {
                self.seen += 1;
                if wanted(&self.told[self.seen - 1]) {
                    return self.told[self.seen - 1].clone();
                }
            }
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.told.push(event),
                Err(_) => panic!("waited in vain for {what}; told: {:#?}", summary(&self.told)),
            }
        }
    }

    /// Waits until an object is told with this value, and returns the file that gives it.
    pub(super) fn wait_desired(&mut self, name: &str, value: &str) -> Name {
        let wanted = key(name);
        let event = self.wait(&format!("{name} = {value}"), |event| {
            matches!(event, SourceEvent::Desired(desired)
                if desired.object.key == wanted && desired.object.value["data"]["k"] == value)
        });
        match event {
            SourceEvent::Desired(desired) => desired.file,
            _ => unreachable!("it was matched"),
        }
    }

    pub(super) fn wait_deleted(&mut self, name: &str) {
        let wanted = key(name);
        self.wait(
            &format!("the deletion of {name}"),
            |event| matches!(event, SourceEvent::Deleted { key, .. } if *key == wanted),
        );
    }

    pub(super) fn wait_report(&mut self, file: &str, wanted: impl Fn(&FileReport) -> bool) -> FileReport {
        let event = self.wait(
            &format!("a report on {file}"),
            |event| matches!(event, SourceEvent::Report(report) if &*report.file == file && wanted(report)),
        );
        match event {
            SourceEvent::Report(report) => report,
            _ => unreachable!("it was matched"),
        }
    }

    /// Lets time pass and takes in what is told.
    pub(super) fn settle(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(event) = self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.told.push(event);
        }
        self.seen = self.told.len();
    }

    pub(super) fn deletions(&self) -> usize {
        self.told.iter().filter(|event| matches!(event, SourceEvent::Deleted { .. })).count()
    }

    pub(super) fn errors(&self) -> usize {
        let error = |event: &&SourceEvent| matches!(event, SourceEvent::Report(report) if !report.errors.is_empty());
        self.told.iter().filter(error).count()
    }

    /// How often an object was told.
    pub(super) fn count(&self, name: &str) -> usize {
        let wanted = key(name);
        let told =
            |event: &&SourceEvent| matches!(event, SourceEvent::Desired(desired) if desired.object.key == wanted);
        self.told.iter().filter(told).count()
    }

    /// Ends the source and returns what a store would remember of it, and the directory.
    pub(super) fn end(mut self) -> (TempDir, PathBuf, Remembered) {
        if let Some(source) = self.source.take() {
            source.stop();
        }
        self.told.extend(self.events.try_iter());
        let mut store = Remembered::default();
        for event in &self.told {
            match event {
                SourceEvent::Desired(desired) => {
                    store.known.retain(|(key, _)| *key != desired.object.key);
                    store.known.push((desired.object.key.clone(), desired.file.clone()));
                }
                SourceEvent::Deleted { key, .. } => store.known.retain(|(known, _)| known != key),
                SourceEvent::Identity(identity) => store.identity = Some(*identity),
                _ => {}
            }
        }
        (self.dir, self.root, store)
    }
}

pub(super) fn write(path: &Path, text: &str) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("directory");
    }
    fs::write(path, text).expect("write");
}

fn summary(events: &[SourceEvent]) -> Vec<String> {
    let text = |event: &SourceEvent| match event {
        SourceEvent::Desired(desired) => {
            format!("{} from {}: {}", desired.object.key, desired.file, desired.object.value)
        }
        other => format!("{other:?}"),
    };
    events.iter().map(text).collect()
}
