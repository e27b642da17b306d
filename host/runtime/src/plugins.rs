//! The plugins directory: what is dropped in runs, what is replaced is swapped, what is removed
//! stops (design §7, rule D12). What is refused is shown with the reason, and what ran keeps running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{Config as NotifyConfig, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};
use setpoint_cluster::local::Local;
use setpoint_core::contract::Description;
use setpoint_core::engine::PluginInfo;
use setpoint_core::grants::Grant;
use setpoint_core::key::{LOCAL, Source};
use setpoint_plugin::{Limits, Plugin, PluginHost};
use setpoint_schema::{Crd, Part};
use tokio::sync::Notify;

use crate::config::Config;
use crate::driver::{Component, Driver};
use crate::files::Files;
use crate::kinds::Kinds;
use crate::views::PluginRow;

/// Between looks at the directory that nothing asked for.
const POLL: Duration = Duration::from_secs(2);
/// A file that cannot be read yet is tried again while it is younger than this.
const GROWING: Duration = Duration::from_secs(1);
/// A file that is gone for so long is gone.
const GONE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    len: u64,
    modified: Option<SystemTime>,
}

#[derive(Default)]
struct Slot {
    seen: Option<Seen>,
    running: Option<Running>,
    problem: Option<String>,
    /// Still being copied, as it seems.
    growing: bool,
    gone_since: Option<Instant>,
}

#[derive(Clone)]
struct Running {
    plugin: Arc<Plugin>,
    grants: Vec<String>,
    missing: Vec<String>,
}

impl Running {
    fn name(&self) -> &str {
        &self.plugin.description().name
    }
}

/// What is asked of the kinds' files when a kind comes.
pub type Reclassify = Box<dyn Fn(u64) + Send + Sync>;

/// The plugins of a directory.
pub struct Plugins {
    dir: PathBuf,
    host: PluginHost,
    driver: Arc<Driver>,
    kinds: Arc<Kinds>,
    local: Arc<Local>,
    files: Arc<Files>,
    config: Arc<RwLock<Config>>,
    beside: Vec<(String, Grant)>,
    slots: Mutex<BTreeMap<String, Slot>>,
    changed: Arc<Notify>,
    reclassify: Mutex<Option<Reclassify>>,
}

/// What [`Plugins::new`] joins.
pub struct Parts {
    /// The directory.
    pub dir: PathBuf,
    /// Runs components.
    pub host: PluginHost,
    /// The driver.
    pub driver: Arc<Driver>,
    /// Served kinds.
    pub kinds: Arc<Kinds>,
    /// The embedded cluster.
    pub local: Arc<Local>,
    /// Its files.
    pub files: Arc<Files>,
    /// The configuration in force.
    pub config: Arc<RwLock<Config>>,
    /// Grants of the command line: plugin and grant.
    pub beside: Vec<(String, Grant)>,
}

impl Plugins {
    /// No plugin is loaded yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { dir, host, driver, kinds, local, files, config, beside } = parts;
        Arc::new(Self {
            dir,
            host,
            driver,
            kinds,
            local,
            files,
            config,
            beside,
            slots: Mutex::default(),
            changed: Arc::new(Notify::new()),
            reclassify: Mutex::default(),
        })
    }

    /// What is called when a kind comes after the start.
    pub fn on_kinds(&self, reclassify: Reclassify) {
        *self.reclassify.lock().unwrap_or_else(PoisonError::into_inner) = Some(reclassify);
    }

    /// Looks at everything anew, such as after a change of the configuration.
    pub fn reconfigure(self: &Arc<Self>) {
        for slot in self.lock().values_mut() {
            slot.seen = None;
        }
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks once. Components are verified and compiled beside each other, off the async threads.
    pub async fn scan(self: &Arc<Self>) {
        let mut found: BTreeMap<String, Seen> = BTreeMap::new();
        match std::fs::read_dir(&self.dir) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let path = entry.path();
                    let wasm = path.extension().is_some_and(|e| e == "wasm");
                    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
                    if !wasm || name.starts_with('.') {
                        continue;
                    }
                    if let Ok(metadata) = std::fs::metadata(&path)
                        && metadata.is_file()
                    {
                        let seen = Seen { len: metadata.len(), modified: metadata.modified().ok() };
                        found.insert(name.to_owned(), seen);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the plugins directory cannot be read"),
        }
        let mut loads = Vec::new();
        let mut gone = Vec::new();
        {
            let mut slots = self.lock();
            for (name, seen) in &found {
                let slot = slots.entry(name.clone()).or_default();
                slot.gone_since = None;
                if slot.seen != Some(*seen) {
                    slot.seen = Some(*seen);
                    loads.push((name.clone(), *seen));
                }
            }
            for (name, slot) in slots.iter_mut().filter(|(name, _)| !found.contains_key(*name)) {
                let since = *slot.gone_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= GONE {
                    gone.push(name.clone());
                }
            }
        }
        for name in gone {
            self.stop(&name);
        }
        let compiled = loads.into_iter().map(|(name, seen)| {
            let (this, path) = (self.clone(), self.dir.join(&name));
            let load = tokio::task::spawn_blocking(move || {
                let bytes = std::fs::read(&path).map_err(|error| format!("it cannot be read: {error}"))?;
                this.host.load(&bytes).map_err(|error| error.to_string())
            });
            (name, seen, load)
        });
        for (name, seen, load) in compiled.collect::<Vec<_>>() {
            let loaded = load.await.unwrap_or_else(|error| Err(format!("it could not be loaded: {error}")));
            let started = loaded.and_then(|plugin| self.start(&name, plugin));
            self.note(&name, seen, started);
        }
    }

    fn note(&self, name: &str, seen: Seen, started: Result<(), String>) {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(name) else { return };
        match started {
            Ok(()) => {
                slot.problem = None;
                slot.growing = false;
            }
            Err(problem) => {
                let age = seen.modified.and_then(|modified| modified.elapsed().ok());
                slot.growing = age.is_some_and(|age| age < GROWING);
                if slot.growing {
                    // It may still be being copied: looked at again until it is a second old.
                    slot.seen = None;
                } else {
                    let keeps = if slot.running.is_some() { "; what ran before keeps running" } else { "" };
                    tracing::error!("plugin {name}: {problem}{keeps}");
                }
                slot.problem = Some(problem);
            }
        }
    }

    /// Checks a component against what runs, and starts it or swaps it in.
    fn start(&self, file: &str, plugin: Arc<Plugin>) -> Result<(), String> {
        let description = plugin.description().clone();
        let name = description.name.to_string();
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let said = config.plugin(&name);
        if let Some(wanted) = &said.digest {
            let digest = plugin.digest().to_string();
            if wanted.trim_start_matches("sha256:") != digest.trim_start_matches("sha256:") {
                return Err(format!("its digest is {digest}, the configuration pins {wanted}"));
            }
        }
        self.check_others(file, &name, &description)?;
        let mut crds = Vec::new();
        for owned in &description.kinds {
            let json = serde_json::from_str(&owned.crd)
                .map_err(|e| format!("its CRD of {} is not JSON: {e}", owned.kind.kind))?;
            let crd =
                Crd::parse(&json, &owned.kind.version).map_err(|e| format!("its CRD of {}: {e}", owned.kind.kind))?;
            crds.push(Arc::new(crd));
        }
        let given = check_config(&description, said.config.as_ref())?;
        let grants = config.grants(&name, &self.beside);
        let missing: Vec<String> = grants.missing(&description, LOCAL).iter().map(ToString::to_string).collect();
        let digest = plugin.digest().to_string();
        let mut info = PluginInfo::new(&digest, description.clone(), given.to_string().into(), grants.clone())
            .map_err(|error| error.to_string())?;
        info.resync = said.resync.unwrap_or(info.resync);
        info.concurrency = said.concurrency.unwrap_or(info.concurrency).max(1);
        info.backoff.first = said.first_backoff.unwrap_or(info.backoff.first).max(1);
        info.backoff.longest = said.longest_backoff.unwrap_or(info.backoff.longest).max(info.backoff.first);
        let usual = Limits::default();
        let limits = Limits {
            wall: said.timeout.or(description.tuning.timeout).map_or(usual.wall, Duration::from_millis),
            memory: said
                .memory_bytes
                .or(description.tuning.memory_bytes)
                .map_or(usual.memory, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            ..usual
        };
        let before = self.lock().get(file).and_then(|slot| slot.running.clone());
        if let Some(before) = before.as_ref().filter(|before| before.name() != name) {
            self.driver.with(|engine, _| engine.plugin_stopped(before.name()));
        }
        self.driver.add_component(Component { plugin: plugin.clone(), limits });
        for crd in &crds {
            self.kinds.insert(crd.clone());
        }
        self.driver.with(|engine, now| {
            for crd in &crds {
                let source = Source::new(LOCAL, &crd.group, &crd.kind);
                if engine.plugin_for(&source).is_none()
                    && !matches!(engine.cache().state(&source), setpoint_core::cache::SourceState::Synced)
                {
                    engine.source_syncing(&source);
                }
            }
            engine.plugin_started(now, info);
        });
        let mut ticket = 0;
        for crd in &crds {
            ticket = self.files.kind_served(&setpoint_core::GroupKind::new(&crd.group, &crd.kind));
            drop(self.local.install_kind((**crd).clone()));
        }
        if let Some(before) = before.filter(|before| before.plugin.digest() != plugin.digest()) {
            self.driver.remove_component(&before.plugin.digest().to_string());
        }
        for grant in &missing {
            tracing::warn!("plugin {name} asks for a grant that it does not have; to give it: --grant {name}={grant}");
        }
        tracing::info!(plugin = name, version = description.version, digest, file, "plugin is running");
        if let Some(slot) = self.lock().get_mut(file) {
            let grants = grants.iter().map(ToString::to_string).collect();
            slot.running = Some(Running { plugin, grants, missing });
        }
        if let Some(reclassify) = &*self.reclassify.lock().unwrap_or_else(PoisonError::into_inner) {
            reclassify(ticket);
        }
        Ok(())
    }

    /// Two plugins never have one name or one kind.
    fn check_others(&self, file: &str, name: &str, description: &Description) -> Result<(), String> {
        for (other_file, slot) in self.lock().iter().filter(|(other, _)| *other != file) {
            let Some(other) = &slot.running else { continue };
            if other.name() == name {
                return Err(format!("the plugin {name} runs already, from {other_file}; remove one of them"));
            }
            for owned in &description.kinds {
                let kind = owned.kind.group_kind();
                if other.plugin.description().kinds.iter().any(|theirs| theirs.kind.group_kind() == kind) {
                    return Err(format!(
                        "the kind {kind} is reconciled by the plugin {} from {other_file}; remove one of them",
                        other.name()
                    ));
                }
            }
        }
        Ok(())
    }

    fn stop(&self, file: &str) {
        let Some(slot) = self.lock().remove(file) else { return };
        if let Some(running) = slot.running {
            self.driver.with(|engine, _| engine.plugin_stopped(running.name()));
            self.driver.remove_component(&running.plugin.digest().to_string());
            tracing::info!(plugin = running.name(), file, "the file is gone: the plugin is stopped, its objects stay");
        }
        // Others may have been refused because of it.
        for slot in self.lock().values_mut().filter(|slot| slot.problem.is_some()) {
            slot.seen = None;
        }
        self.changed.notify_one();
    }

    /// Watches the directory until the task is dropped.
    pub async fn watch(self: Arc<Self>) {
        let changed = self.changed.clone();
        let _watcher = match watcher(&self.dir, changed.clone()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "changes of the plugins directory are not reported by the system; polling");
                None
            }
        };
        loop {
            let hurry = self.lock().values().any(|slot| slot.growing || slot.gone_since.is_some());
            let pause = if hurry { Duration::from_millis(100) } else { POLL };
            let _ = tokio::time::timeout(pause, changed.notified()).await;
            self.scan().await;
        }
    }

    /// What is there, for people.
    pub fn rows(&self) -> Vec<PluginRow> {
        let slots = self.lock();
        let counts = self.driver.metrics.calls();
        slots
            .iter()
            .map(|(file, slot)| {
                let description = slot.running.as_ref().map(|running| running.plugin.description());
                let name = description.map_or_else(|| stem(file), |d| d.name.to_string());
                let state = match (&slot.running, &slot.problem) {
                    (_, Some(_)) if slot.growing => "Loading",
                    (_, Some(_)) => "Refused",
                    (Some(_), None) => "Running",
                    (None, None) => "Loading",
                };
                let objects = description.map_or(0, |d| {
                    d.kinds.iter().map(|kind| self.local.read(|m| m.objects(&kind.kind.group_kind()).len())).sum()
                });
                let (calls, traps) = counts.get(&name).copied().unwrap_or_default();
                PluginRow {
                    version: description.map(|d| d.version.clone()),
                    state: state.into(),
                    problem: slot.problem.clone(),
                    file: file.clone(),
                    digest: slot.running.as_ref().map(|running| running.plugin.digest().to_string()),
                    kinds: description
                        .map(|d| d.kinds.iter().map(|k| format!("{}.{}", k.kind.kind, k.kind.api_version())).collect())
                        .unwrap_or_default(),
                    grants: slot.running.as_ref().map(|running| running.grants.clone()).unwrap_or_default(),
                    missing_grants: slot.running.as_ref().map(|running| running.missing.clone()).unwrap_or_default(),
                    objects,
                    calls,
                    traps,
                    name,
                    ..PluginRow::default()
                }
            })
            .collect()
    }
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file).to_owned()
}

fn watcher(dir: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let kinds = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
    let on_event = move |event: notify::Result<notify::Event>| {
        let opened = event.is_ok_and(
            |event| matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)),
        );
        if !opened {
            changed.notify_one();
        }
    };
    let mut watcher = RecommendedWatcher::new(on_event, NotifyConfig::default().with_event_kinds(kinds))?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// The configuration as the plugin is given it: defaulted and valid against the schema it describes.
///
/// # Errors
/// What is wrong with it or with the schema, in one sentence.
pub fn check_config(
    description: &Description,
    given: Option<&serde_json::Value>,
) -> Result<serde_json::Value, String> {
    let given = given.cloned().unwrap_or_else(|| serde_json::json!({}));
    let Some(schema) = &description.config_schema else {
        let empty = given.as_object().is_none_or(serde_json::Map::is_empty);
        return if empty {
            Ok(given)
        } else {
            Err("it takes no configuration, and the configuration has one for it".into())
        };
    };
    let schema: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| format!("its config-schema is not JSON: {error}"))?;
    // A configuration is checked as the spec of a kind would be: one way to read a schema.
    let crd = serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "configs.config.setpoint.dev"},
        "spec": {"group": "config.setpoint.dev", "scope": "Cluster",
                 "names": {"kind": "Config", "plural": "configs", "singular": "config"},
                 "versions": [{"name": "v1", "served": true, "storage": true,
                               "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}]},
    });
    let crd = Crd::parse(&crd, "v1").map_err(|error| format!("its config-schema: {error}"))?;
    let object = serde_json::json!({"apiVersion": "config.setpoint.dev/v1", "kind": "Config",
                                    "metadata": {"name": "config"}, "spec": given});
    let mut admission = crd.admit(object, None, Part::Spec);
    let mistakes: Vec<String> = admission
        .errors
        .iter()
        .map(ToString::to_string)
        .chain(admission.unknown.iter().map(|path| format!("{path}: unknown field")))
        .collect();
    if mistakes.is_empty() {
        Ok(admission.object["spec"].take())
    } else {
        Err(format!("its configuration: {}", mistakes.join("; ")))
    }
}
