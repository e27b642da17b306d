//! The plugins directory: what is dropped in runs, what is replaced is swapped, what is removed
//! stops (design §7, rules D11, D12). What is refused is shown with the reason, and what ran keeps
//! running.
//!
//! | question | module |
//! |---|---|
//! | which files are there, and when to look again | `directory` |
//! | is this a file, and what is in it | `file` |
//! | is the component right by itself | `prepare` |
//! | who may have a name and a kind | `claims` |
//! | how does a new version take over, and how is it taken back | `upgrade` |
//! | what do people see | `rows` |
//! | what is there as objects | `shown` |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use setpoint_core::engine::Trial;
use setpoint_core::grants::Grant;
use setpoint_core::key::{GroupKind, Name};
use setpoint_plugin::PluginHost;
use tokio::sync::Notify;

use crate::board::Board;
use crate::clusters::Clusters;
use crate::code::Code;
use crate::config::Config;
use crate::driver::{Component, Driver};
use crate::embed::{Embedded, Given};
use crate::file_clusters::FileClusters;
use crate::installation::Installation;
use crate::kinds::Kinds;
use crate::shadow::Tried;
use crate::versions::Versions;
use crate::views::ShadowRow;

mod claims;
mod directory;
mod file;
mod prepare;
mod rows;
mod shown;
mod upgrade;

pub use file::MAX_COMPONENT;
pub use prepare::check_config;

use claims::Claim;
use file::Seen;
use prepare::{Loaded, Prepared};

/// Between looks at the directory that nothing asked for.
const POLL: Duration = Duration::from_secs(2);
/// A file that cannot be read yet is tried again while it is younger than this.
const GROWING: Duration = Duration::from_secs(1);
/// A file that is gone for so long is gone.
const GONE: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Slot {
    seen: Option<Seen>,
    /// Counts how often the file was read: what was begun for an older content is dropped.
    load: u64,
    running: Option<Running>,
    problem: Option<String>,
    /// Digest of what the file has, once it could be read.
    in_file: Option<String>,
    shadow: Option<ShadowRow>,
    /// Still being copied, as it seems.
    growing: bool,
    gone_since: Option<Instant>,
}

#[derive(Clone)]
struct Running {
    code: Code,
    grants: Vec<String>,
    missing: Vec<String>,
}

impl Running {
    fn name(&self) -> &str {
        &self.code.description().name
    }
}

/// One reading of a file.
#[derive(Clone)]
struct Load {
    file: String,
    seen: Seen,
    number: u64,
}

/// The plugins of a directory.
pub struct Plugins {
    dir: Option<PathBuf>,
    /// What the program brings that the host is part of, by the name in the place of a file.
    given: BTreeMap<String, Given>,
    host: PluginHost,
    driver: Arc<Driver>,
    kinds: Arc<Kinds>,
    files: Arc<FileClusters>,
    config: Arc<RwLock<Config>>,
    beside: Vec<(String, Grant)>,
    home: Name,
    namespace: Option<Name>,
    clusters: Arc<Clusters>,
    installation: Arc<Installation>,
    versions: Arc<Versions>,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// Plugins start and stop one at a time.
    starting: Mutex<()>,
    /// One rollback at a time.
    rolling_back: tokio::sync::Mutex<()>,
    changed: Arc<Notify>,
    /// The directory cannot be read, and that was said.
    unreadable: AtomicBool,
}

/// What [`Plugins::new`] joins.
pub struct Parts {
    /// The directory; none: there is none.
    pub dir: Option<PathBuf>,
    /// What the program brings that the host is part of.
    pub embedded: Embedded,
    /// Where components that ran are kept.
    pub state_dir: PathBuf,
    /// Runs components.
    pub host: PluginHost,
    /// The driver.
    pub driver: Arc<Driver>,
    /// Served kinds.
    pub kinds: Arc<Kinds>,
    /// The clusters of files.
    pub(crate) files: Arc<FileClusters>,
    /// The configuration in force.
    pub config: Arc<RwLock<Config>>,
    /// Grants of the command line: plugin and grant.
    pub beside: Vec<(String, Grant)>,
    /// The cluster that plugins are there for: what they lack there is said.
    pub home: Name,
    /// Its namespace, if it is not all of it: of several the first, for what is said of what is missing.
    pub namespace: Option<Name>,
    /// The Kubernetes cluster, if there is one.
    pub(crate) clusters: Arc<Clusters>,
    /// What hosts have in common.
    pub(crate) installation: Arc<Installation>,
}

impl Plugins {
    /// No plugin is loaded yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            dir,
            embedded,
            state_dir,
            host,
            driver,
            kinds,
            files,
            config,
            beside,
            home,
            namespace,
            clusters,
            installation,
        } = parts;
        Arc::new(Self {
            versions: Versions::open(&state_dir, files.local().local().clone()),
            dir,
            given: embedded.given,
            host,
            driver,
            kinds,
            files,
            config,
            beside,
            home,
            namespace,
            clusters,
            installation,
            slots: Mutex::default(),
            starting: Mutex::default(),
            rolling_back: tokio::sync::Mutex::default(),
            changed: Arc::new(Notify::new()),
            unreadable: AtomicBool::new(false),
        })
    }

    /// Looks at everything anew, such as after a change of the configuration.
    pub fn reconfigure(self: &Arc<Self>) {
        for slot in self.lock().values_mut() {
            slot.seen = None;
        }
        self.changed.notify_one();
    }

    /// Says which plugins of the configuration are not there. A plugin that is refused goes by the
    /// name of its file here.
    pub fn warn_of_unknown(&self) {
        let rows = self.rows();
        let known: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        for warning in self.config.read().unwrap_or_else(PoisonError::into_inner).unknown_plugins(&known) {
            tracing::warn!("the configuration: {warning}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks once. Components are verified and compiled beside each other, off the async threads. It
    /// returns when all of them run or are refused, but for new versions that are tried in the shadow.
    pub async fn scan(self: &Arc<Self>) {
        let looked = self.dir.as_deref().map_or_else(|| Ok(BTreeMap::new()), directory::look);
        let found = match looked {
            // Nothing of the program has the name of a file.
            Ok(found) => found.into_iter().chain(self.given.keys().map(|name| (name.clone(), Seen::given()))).collect(),
            Err(error) => {
                // Nothing is known of the files: what runs keeps running.
                for slot in self.lock().values_mut() {
                    // Nothing to hurry for until the directory is back.
                    slot.gone_since = None;
                    slot.growing = false;
                }
                if !self.unreadable.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the plugins directory cannot be read; what runs keeps running");
                }
                return;
            }
        };
        self.unreadable.store(false, Ordering::Relaxed);
        let (loads, gone) = self.compare(&found);
        for name in gone {
            self.stop(&name);
        }
        let begun = loads.into_iter().map(|load| {
            let (this, file) = (self.clone(), load.file.clone());
            let reading = match load.seen.refusal() {
                Some(refusal) => Err(refusal),
                None => Ok(tokio::task::spawn_blocking(move || this.read(&file))),
            };
            (load, reading)
        });
        for (load, reading) in begun.collect::<Vec<_>>() {
            let loaded = match reading {
                Ok(reading) => reading.await.unwrap_or_else(|error| Err(format!("it could not be loaded: {error}"))),
                Err(refusal) => Err(refusal),
            };
            self.bring(load, loaded);
        }
    }

    /// Which files are to be read, and which are gone.
    fn compare(&self, found: &BTreeMap<String, Seen>) -> (Vec<Load>, Vec<String>) {
        let mut slots = self.lock();
        let (mut gone, mut newly_gone) = (Vec::new(), false);
        for (name, slot) in slots.iter_mut().filter(|(name, _)| !found.contains_key(*name)) {
            newly_gone |= slot.gone_since.is_none();
            let since = *slot.gone_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= GONE {
                gone.push(name.clone());
            }
        }
        if newly_gone {
            // It may be in another file by now, which was refused because of it.
            retry_refused(&mut slots, None);
        }
        let mut loads = Vec::new();
        for (name, seen) in found {
            let slot = slots.entry(name.clone()).or_default();
            slot.gone_since = None;
            if slot.seen != Some(*seen) {
                slot.seen = Some(*seen);
                slot.load += 1;
                loads.push(Load { file: name.clone(), seen: *seen, number: slot.load });
            }
        }
        (loads, gone)
    }

    /// Reads a file and loads what is to run for it: what it has, or, while that is rolled back, the
    /// component before. Blocks.
    fn read(&self, file: &str) -> Result<Loaded, String> {
        let bytes = match (self.given.get(file), &self.dir) {
            (Some(Given::Native(native)), _) => {
                let in_file = native.digest().to_string();
                return Ok(Loaded { code: native.clone().into(), bytes: Vec::new(), in_file });
            }
            (Some(Given::Component(bytes)), _) => bytes.to_vec(),
            (None, Some(dir)) => file::read(&dir.join(file))?,
            (None, None) => return Err("there is no plugins directory".into()),
        };
        let plugin = self.host.load(&bytes).map_err(|error| error.to_string())?;
        let in_file = plugin.digest().to_string();
        match self.versions.of(&plugin.description().name) {
            Some(version) if version.avoided.as_ref() == Some(&in_file) => {
                self.read_kept(&version.running, in_file).map_err(|error| format!("it was rolled back, and {error}"))
            }
            _ => Ok(Loaded { code: plugin.into(), bytes, in_file }),
        }
    }

    /// Loads a component that ran before. Blocks.
    fn read_kept(&self, digest: &str, in_file: String) -> Result<Loaded, String> {
        let bytes = self.versions.read(digest)?;
        let plugin = self.host.load(&bytes).map_err(|error| error.to_string())?;
        Ok(Loaded { code: plugin.into(), bytes, in_file })
    }

    fn prepare(&self, loaded: Loaded) -> Result<Prepared, String> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        Prepared::new(loaded, &config, &self.beside, (&self.home, self.namespace.as_deref()))
    }

    /// A file was read: it starts, is tried first, or is refused.
    fn bring(self: &Arc<Self>, load: Load, loaded: Result<Loaded, String>) {
        let checked = loaded.and_then(|loaded| {
            if let Some(slot) = self.lock().get_mut(&load.file) {
                slot.in_file = Some(loaded.in_file.clone());
            }
            let prepared = self.prepare(loaded)?;
            self.place(&load.file, &prepared)?;
            let trial = self.trial(&prepared)?;
            Ok((prepared, trial))
        });
        match checked {
            Err(problem) => self.note(&load, Err(problem)),
            Ok((prepared, None)) => {
                let started = self.start(&load.file, Some(load.number), prepared, None);
                self.note(&load, started);
            }
            Ok((prepared, Some(trial))) => {
                let this = self.clone();
                // Others are looked at meanwhile.
                tokio::spawn(async move {
                    let tried = this.run_trial(trial).await;
                    let started = match tried.refusal() {
                        Some(refusal) => {
                            this.show_trial(&load, &tried);
                            Err(refusal)
                        }
                        None => this.start(&load.file, Some(load.number), prepared, Some(tried)),
                    };
                    this.note(&load, started);
                });
            }
        }
    }

    fn note(&self, load: &Load, started: Result<(), String>) {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(&load.file).filter(|slot| slot.load == load.number) else { return };
        match started {
            Ok(()) => {
                slot.problem = None;
                slot.growing = false;
            }
            Err(problem) => {
                slot.growing = load.seen.younger_than(GROWING);
                if slot.growing {
                    // It may still be being copied: looked at again until it is a second old.
                    slot.seen = None;
                } else {
                    let keeps = if slot.running.is_some() { "; what ran before keeps running" } else { "" };
                    tracing::error!("plugin {}: {problem}{keeps}", load.file);
                }
                slot.problem = Some(problem);
            }
        }
        if !slots.get(&load.file).is_some_and(|slot| slot.growing) {
            // To be shown.
            self.changed.notify_one();
        }
    }

    /// Whether a component may have its name and its kinds; see [`claims::place`].
    fn place(&self, file: &str, prepared: &Prepared) -> Result<Option<String>, String> {
        let slots = self.lock();
        let claims: Vec<Claim<'_>> = slots
            .iter()
            .filter_map(|(file, slot)| {
                let running = slot.running.as_ref()?;
                let kinds = claims::kinds(running.code.description());
                Some(Claim { file, name: running.name(), kinds, gone: slot.gone_since.is_some() })
            })
            .collect();
        claims::place(file, prepared.name(), &claims::kinds(prepared.description()), &claims)
    }

    /// Starts a component, or swaps it in. `load`: the reading of the file that it comes from; none
    /// for one that a person goes back to.
    fn start(&self, file: &str, load: Option<u64>, mut prepared: Prepared, tried: Option<Tried>) -> Result<(), String> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = self.place(file, &prepared)?;
        let before: Vec<Running> = {
            let mut slots = self.lock();
            let Some(slot) = slots.get_mut(file).filter(|slot| load.is_none_or(|load| load == slot.load)) else {
                return Err("its file has changed meanwhile".into());
            };
            if load.is_none() {
                // A person has decided: what was begun for the file before is dropped.
                slot.load += 1;
            }
            let own = slot.running.clone();
            let moved = moved.as_ref().and_then(|moved| slots.get(moved)).and_then(|slot| slot.running.clone());
            [own, moved].into_iter().flatten().collect()
        };
        let info = prepared.info()?;
        let (name, digest) = (prepared.name().to_owned(), prepared.digest().to_owned());
        let description = prepared.description().clone();
        for other in before.iter().filter(|before| before.name() != name) {
            self.forget(other);
        }
        let (deletions, shadow) = tried.map(|tried| (tried.deletions, Some(tried.row))).unwrap_or_default();
        let (code, limits, acts_as) = (prepared.loaded.code.clone(), prepared.limits, prepared.acts_as());
        self.driver.add_component(Component { code, limits, acts_as });
        for crd in &prepared.crds {
            self.kinds.insert(crd.clone());
        }
        let sources = self.files.sources(&prepared.crds);
        self.driver.with(|engine, now| {
            for source in &sources {
                if engine.plugin_for(source).is_none()
                    && !matches!(engine.cache().state(source), setpoint_core::cache::SourceState::Synced)
                {
                    engine.source_syncing(source);
                }
            }
            engine.plugin_started_after(now, info, Trial { deletions });
        });
        self.driver.plugins_changed();
        self.clusters.bring(&prepared.crds);
        self.installation.has_plugin(&description);
        self.files.serve(&prepared.crds);
        for before in before.iter().filter(|before| before.code.digest().as_str() != digest) {
            self.driver.remove_component(before.code.digest().as_str());
        }
        if prepared.loaded.is_from_file() {
            self.versions.runs(&name, &digest, std::mem::take(&mut prepared.loaded.bytes));
        }
        for grant in &prepared.missing {
            tracing::warn!("plugin {name} asks for a grant that it does not have; to give it: --grant {name}={grant}");
        }
        tracing::info!(plugin = name, version = description.version, digest, file, "plugin is running");
        let mut slots = self.lock();
        if let Some(moved) = moved {
            tracing::info!(plugin = name, from = moved, to = file, "the plugin's file was renamed");
            slots.remove(&moved);
        }
        if let Some(slot) = slots.get_mut(file) {
            let grants = prepared.grants.iter().map(ToString::to_string).collect();
            slot.running = Some(Running { code: prepared.loaded.code, grants, missing: prepared.missing });
            slot.shadow = shadow.or(slot.shadow.take());
        }
        let had: Vec<GroupKind> = before.iter().flat_map(|before| claims::kinds(before.code.description())).collect();
        if claims::frees(&had, &claims::kinds(&description)) {
            retry_refused(&mut slots, Some(file));
            self.changed.notify_one();
        }
        drop(slots);
        self.files.look_again();
        Ok(())
    }

    /// A plugin runs no more. Its objects stay.
    fn forget(&self, running: &Running) {
        self.driver.with(|engine, _| engine.plugin_stopped(running.name()));
        self.driver.plugins_changed();
        self.driver.remove_component(running.code.digest().as_str());
        self.driver.ring.forget(running.name());
    }

    fn stop(&self, file: &str) {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = self.lock().remove(file) else { return };
        if let Some(running) = slot.running {
            self.forget(&running);
            tracing::info!(plugin = running.name(), file, "the file is gone: the plugin is stopped, its objects stay");
        }
        retry_refused(&mut self.lock(), None);
        self.changed.notify_one();
    }

    /// Watches the directory until the task is dropped, and keeps the objects of the plugins up to date.
    pub(crate) async fn watch(self: Arc<Self>, board: Board) {
        let changed = self.changed.clone();
        let _watcher = match self.dir.as_deref().map(|dir| directory::watcher(dir, changed.clone())).transpose() {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "changes of the plugins directory are not reported by the system; polling");
                None
            }
        };
        loop {
            self.show(&board).await;
            let hurry = self.lock().values().any(|slot| slot.growing || slot.gone_since.is_some());
            let pause = if hurry { Duration::from_millis(100) } else { POLL };
            let _ = tokio::time::timeout(pause, changed.notified()).await;
            self.scan().await;
        }
    }
}

/// What was refused is looked at anew, because something was given up that it may have been refused
/// for; `but` is the one that gave it up.
fn retry_refused(slots: &mut BTreeMap<String, Slot>, but: Option<&str>) {
    for (file, slot) in slots.iter_mut() {
        if slot.problem.is_some() && but != Some(file.as_str()) {
            slot.seen = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_looked_at_anew_when_something_is_given_up() {
        let slot = |problem: Option<&str>| {
            let seen = Some(Seen::given());
            Slot { seen, problem: problem.map(str::to_owned), ..Slot::default() }
        };
        let mut slots = BTreeMap::from([
            ("a.wasm".to_owned(), slot(Some("refused"))),
            ("b.wasm".to_owned(), slot(Some("refused"))),
            ("c.wasm".to_owned(), slot(None)),
        ]);
        retry_refused(&mut slots, Some("b.wasm"));
        let again: Vec<bool> = slots.values().map(|slot| slot.seen.is_none()).collect();
        assert_eq!(again, [true, false, false]);
    }
}
