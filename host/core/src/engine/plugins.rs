//! Plugins that start, are swapped and stop (rules A6, D11), and are passed over while they are
//! quarantined (rule C8).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::attempt::{Attempt, CallResult};
use super::pass::{Pass, Start, Trial};
use super::passed::Unfinished;
use super::quarantine::{AFTER_SWAP, Quarantined, Record, Records, Ticket};
use super::schedule::Touch;
use super::state::Class;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::{Cause, Description, OwnedKind};
use crate::delay::Backoff;
use crate::grants::{Grants, glob};
use crate::key::{GroupKind, KeyId, LOCAL, Name, Source};
use crate::mask::{Mask, Path, PathError};
use crate::native;
use crate::queue::{Lane, Picked, PluginId};
use crate::sanitize::sanitize;

/// One version of a plugin with its configuration and grants: what a memo depends on (rule A6). It may be
/// written down; another build of the host may find the same version to be another one, which costs a
/// guarded first pass and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PluginVersion {
    /// Digest of the component.
    #[serde(with = "digest_text")]
    pub digest: Name,
    pub(super) config: u64,
    pub(super) grants: u64,
}

impl PluginVersion {
    /// A version that no component has.
    pub(super) fn none() -> Self {
        Self { digest: "".into(), config: 0, grants: 0 }
    }
}

mod digest_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::key::Name;

    pub(super) fn serialize<S: Serializer>(digest: &Name, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        String::deserialize(deserializer).map(Name::from)
    }
}

/// What the engine has to know of a plugin. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// The identity across versions.
    pub name: Name,
    /// Digest of the component.
    pub digest: Name,
    /// What it said of itself.
    pub description: Arc<Description>,
    /// The operator's configuration as JSON.
    pub config: Arc<str>,
    /// What it was granted, in the clusters that take part.
    pub(super) grants: Grants,
    /// The same as it was written.
    granted: Grants,
    /// The clusters in which its kinds are reconciled, as patterns; none: all. Kinds of `local` alone are everywhere where
    /// they can be.
    pub clusters: Option<Vec<String>>,
    /// Its backoff.
    pub backoff: Backoff,
    /// Its resync period; 0 for none.
    pub resync: u64,
    /// Call at each resync even if nothing changed.
    pub resync_always: bool,
    /// Calls of it at a time.
    pub concurrency: u32,
    /// Kinds that it owns in the embedded cluster alone.
    local: FxHashSet<GroupKind>,
    masks: FxHashMap<GroupKind, Mask>,
    indexes: FxHashMap<(GroupKind, String), Path>,
}

/// Calls of one plugin at a time.
const CONCURRENCY: u32 = 4;
/// Resync period: 10 min.
const RESYNC: u64 = 600_000;

impl PluginInfo {
    /// A plugin with the defaults of its own tuning, else the host's.
    ///
    /// # Errors
    /// A field mask or an index path that does not parse.
    pub fn new(
        digest: &str,
        description: Arc<Description>,
        config: Arc<str>,
        grants: Grants,
    ) -> Result<Self, PathError> {
        let tuning = &description.tuning;
        let usual = Backoff::default();
        let mut masks = FxHashMap::default();
        let mut indexes = FxHashMap::default();
        for read in &description.reads {
            masks.insert(read.kind.group_kind(), Mask::parse(&read.fields)?);
            for (name, path) in &read.indexes {
                indexes.insert((read.kind.group_kind(), name.clone()), Path::parse(path)?);
            }
        }
        Ok(Self {
            name: description.name.clone(),
            digest: digest.into(),
            config,
            granted: grants.clone(),
            grants,
            clusters: None,
            backoff: Backoff {
                first: tuning.first_backoff.unwrap_or(usual.first).max(1),
                longest: tuning.longest_backoff.unwrap_or(usual.longest).max(1),
                fast_retries: usual.fast_retries,
            },
            resync: tuning.resync.unwrap_or(RESYNC),
            resync_always: tuning.resync_always,
            concurrency: tuning.concurrency.unwrap_or(CONCURRENCY).max(1),
            local: description.kinds.iter().filter(|kind| kind.is_local()).map(|kind| kind.kind.group_kind()).collect(),
            masks,
            indexes,
            description,
        })
    }

    /// The kinds that it reconciles in a cluster.
    pub fn kinds_in<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a OwnedKind> {
        let elsewhere = cluster != LOCAL;
        let wanted = self.clusters.as_ref().is_none_or(|clusters| clusters.iter().any(|of| glob(of, cluster)));
        let is_there = move |local: bool| if local { !elsewhere } else { wanted };
        self.description.kinds.iter().filter(move |kind| is_there(self.is_local(&kind.kind.group_kind())))
    }

    /// What it was granted, in the clusters that take part.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(super) fn granted(&self) -> &Grants {
        &self.granted
    }

    /// Whether objects of a kind are in the embedded cluster alone.
    pub(super) fn is_local(&self, kind: &GroupKind) -> bool {
        *kind.group == *native::GROUP || self.local.contains(kind)
    }

    /// What a memo of this version depends on.
    pub fn version(&self) -> PluginVersion {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        PluginVersion {
            digest: self.digest.clone(),
            config: hash(&|h| self.config.hash(h)),
            grants: hash(&|h| {
                self.granted.hash(h);
                if let Some(clusters) = &self.clusters {
                    clusters.hash(h);
                }
            }),
        }
    }

    /// How it owns a kind, if it does.
    pub fn owns(&self, kind: &GroupKind) -> Option<&OwnedKind> {
        self.description.kinds.iter().find(|owned| owned.kind.group_kind() == *kind)
    }

    pub(super) fn mask(&self, kind: &GroupKind) -> &Mask {
        static ALL: std::sync::LazyLock<Mask> = std::sync::LazyLock::new(Mask::all);
        self.masks.get(kind).unwrap_or(&ALL)
    }

    pub(super) fn index(&self, kind: &GroupKind, name: &str) -> Option<&Path> {
        self.indexes.get(&(kind.clone(), name.to_owned()))
    }
}

#[derive(Debug)]
pub(super) struct PluginState {
    pub(super) name: Name,
    /// None while no version of it is loaded.
    pub(super) info: Option<Arc<PluginInfo>>,
    /// The version that was loaded last, be it gone by now.
    pub(super) last: Option<PluginVersion>,
    /// What was written down of `last` before this start, whose objects are still to come.
    pub(super) restored: Option<Unfinished>,
    /// It was taken away before its first pass was over.
    pub(super) interrupted: bool,
    pub(super) pass: Option<Pass>,
    /// Its first pass on a rebuilt store is over (rule D10).
    pub(super) passed_rebuilt: bool,
    /// When another component took over.
    swapped: Option<Time>,
    /// What is known of its components (rule C8).
    records: Records,
    fan_out: FanOuts,
}

/// How many keys of a plugin its changes wake up (rule A9).
#[derive(Clone, Copy, Default, Debug)]
struct FanOuts {
    changes: u64,
    keys: u64,
    last: u64,
}

impl PluginState {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            info: None,
            last: None,
            restored: None,
            interrupted: false,
            pass: None,
            passed_rebuilt: false,
            swapped: None,
            records: Records::default(),
            fan_out: FanOuts::default(),
        }
    }

    /// A change, by its number, wakes up one of its keys. The keys of one change come one after another.
    pub(super) fn woken(&mut self, change: u64) {
        let fan_out = &mut self.fan_out;
        fan_out.changes += u64::from(fan_out.last != change);
        fan_out.last = change;
        fan_out.keys += 1;
    }

    /// What is known of the component that is loaded.
    fn record(&self) -> Option<&Record> {
        self.records.get(&self.info.as_ref()?.digest)
    }

    fn record_mut(&mut self) -> Option<&mut Record> {
        self.records.get_mut(&self.info.as_ref()?.digest)
    }
}

impl Engine {
    /// A plugin starts, or another version, configuration or grants of it take over. Calls that
    /// run finish on the old version; its objects are requeued.
    pub fn plugin_started(&mut self, now: Time, info: PluginInfo) {
        self.plugin_started_after(now, info, Trial::default());
    }

    /// The same after a trial in the shadow of the version before: the deletions that it has foreseen are
    /// held back from the beginning if they are too many (rules B3, D11).
    pub fn plugin_started_after(&mut self, now: Time, info: PluginInfo, trial: Trial) {
        let mut info = info;
        self.resolve(&mut info);
        let info = Arc::new(info);
        let id = match self.plugins.iter().position(|plugin| plugin.name == info.name) {
            Some(at) => PluginId(at as u32),
            None => {
                self.plugins.push(PluginState::new(info.name.clone()));
                PluginId(self.plugins.len() as u32 - 1)
            }
        };
        let before = self.plugins[id.0 as usize].info.replace(info.clone());
        self.plugins[id.0 as usize].records.start(&info.digest);
        self.limit_calls(id);
        if before.as_ref().is_some_and(|before| before.version() == info.version()) {
            return;
        }
        self.wanted += 1;
        // A version that comes after a removal is an upgrade as well (rule B3).
        let last = self.plugins[id.0 as usize].last.replace(info.version());
        if last.as_ref().is_some_and(|last| last.digest != info.digest) {
            self.plugins[id.0 as usize].swapped = Some(now);
        }
        let cause = match &last {
            Some(last) if last.digest == info.digest => Cause::Configured,
            Some(_) => Cause::Upgraded,
            None => Cause::Created,
        };
        let mut sources = FxHashSet::default();
        for cluster in self.clusters.keys() {
            for owned in info.kinds_in(cluster) {
                sources.insert(Source { cluster: cluster.clone(), kind: owned.kind.group_kind() });
            }
        }
        let lost: Vec<Source> =
            self.kinds.iter().filter(|(s, p)| **p == id && !sources.contains(s)).map(|(s, _)| s.clone()).collect();
        for source in lost {
            self.stop_kind(&source);
        }
        let mut pass = FxHashSet::default();
        // A kind that another plugin had: for its objects this is an upgrade, too (rule B3).
        let mut moved = false;
        let mut moved_before = false;
        for owned in &info.description.kinds {
            let before = self.owned_before.remove(&owned.kind.group_kind());
            moved_before |= before.is_some_and(|other| other != id);
        }
        for source in sources {
            moved |= self.given_up.remove(&source).is_some_and(|other| other != id);
            if self.kinds.insert(source.clone(), id).is_some_and(|other| other != id) {
                moved = true;
                self.drop_states_of(&source);
            }
            for key in self.cache.list(&source).map(|(id, _)| id).collect::<Vec<_>>() {
                let known = self.state(key).is_some();
                if !known {
                    self.new_state(now, key, id);
                }
                let (lane, cause) = if known { (Lane::Resync, cause.clone()) } else { (Lane::First, Cause::Created) };
                let because = cause.into();
                self.touch(now, key, Touch { class: Class::Hard, lane, because, debounce: false, read: true });
                pass.insert(key);
            }
            if self.cache.state(&source) == SourceState::Synced {
                // Owners that went while nobody reconciled their kind.
                self.clean_up_orphans(now, &source);
            }
        }
        let plugin = &mut self.plugins[id.0 as usize];
        let interrupted = std::mem::take(&mut plugin.interrupted);
        let rebuilt = self.options.rebuilt || self.clusters.values().any(|facts| facts.rebuilt);
        let rebuilt = rebuilt && !plugin.passed_rebuilt;
        let restored = plugin.restored.take();
        let moved = moved || moved_before;
        if rebuilt || interrupted || moved || last.is_some_and(|last| last != info.version()) {
            let start = match (rebuilt, restored.is_some() || moved_before) {
                (true, _) => Start::Rebuilt,
                (false, true) => Start::Restored,
                (false, false) => Start::Known,
            };
            self.begin_pass(now, id, pass, cause, &trial, start);
        } else if let Some(Unfinished { undecided, gone }) = restored.filter(|left| !left.undecided.is_empty()) {
            self.resume_pass(id, cause, undecided, gone);
        } else {
            self.passes += 1;
        }
    }

    /// A plugin is taken away: its kinds stop. Nothing that it made is deleted.
    pub fn plugin_stopped(&mut self, name: &str) {
        let Some(at) = self.plugins.iter().position(|plugin| &*plugin.name == name) else { return };
        let id = PluginId(at as u32);
        let sources: Vec<Source> = self.kinds.iter().filter(|(_, p)| **p == id).map(|(s, _)| s.clone()).collect();
        for source in sources {
            self.stop_kind(&source);
        }
        self.plugins[at].info = None;
        self.wanted += 1;
        self.plugins[at].interrupted |= self.plugins[at].pass.take().is_some();
    }

    fn stop_kind(&mut self, source: &Source) {
        if let Some(plugin) = self.kinds.remove(source) {
            self.given_up.insert(source.clone(), plugin);
        }
        self.drop_states_of(source);
    }

    /// Forgets the keys of a kind; running ones are forgotten when their attempts end.
    pub(super) fn drop_states_of(&mut self, source: &Source) {
        let ids: Vec<KeyId> = (0..self.states.len() as u32)
            .map(KeyId)
            .filter(|id| self.state(*id).is_some() && self.cache.keys().key(*id).source() == *source)
            .collect();
        for id in ids {
            if !self.state(id).is_some_and(|state| state.running) {
                self.drop_state(id);
            }
        }
    }

    /// The plugin that reconciles a kind.
    pub fn plugin_for(&self, source: &Source) -> Option<&Arc<PluginInfo>> {
        self.plugins.get(self.plugin_of(source)?.0 as usize)?.info.as_ref()
    }

    /// The loaded plugins.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<PluginInfo>> {
        self.plugins.iter().filter_map(|plugin| plugin.info.as_ref())
    }

    /// How many keys changes have woken up since the start, by plugin: its name, the changes that woke up
    /// any of its keys, and these keys. A mean above 1 000 keys is worth naming (rule A9).
    pub fn fan_out(&self) -> Vec<(Name, u64, u64)> {
        self.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.fan_out.changes, plugin.fan_out.keys)).collect()
    }

    /// The loaded components that are not called at present (rule C8).
    pub fn quarantined(&self) -> Vec<Quarantined> {
        let shown = |plugin: &PluginState| plugin.record()?.shown(&plugin.name, &plugin.info.as_ref()?.digest);
        self.plugins.iter().filter_map(shown).collect()
    }

    /// Why keys of this plugin wait whatever has changed, if they do (rule C8).
    pub(super) fn quarantine_of(&self, plugin: PluginId) -> Option<String> {
        let plugin = self.plugins.get(plugin.0 as usize)?;
        let record = plugin.record().filter(|record| record.is_closed())?;
        Some(format!("the plugin {} is quarantined until it is tried again: {}", plugin.name, record.reason()))
    }

    pub(super) fn is_quarantined(&self, plugin: PluginId) -> bool {
        let plugin = self.plugins.get(plugin.0 as usize);
        plugin.and_then(PluginState::record).is_some_and(Record::is_closed)
    }

    /// When the next quarantine ends.
    pub(super) fn quarantine_ends(&self) -> Option<Time> {
        self.plugins.iter().filter_map(|plugin| plugin.record()?.due()).min()
    }

    /// Ends the quarantines whose time has come: one attempt may begin, as a probe.
    pub(super) fn end_quarantines(&mut self, now: Time) {
        for plugin in &mut self.plugins {
            if let Some(record) = plugin.record_mut() {
                record.pass_time(now);
            }
        }
    }

    /// A key with which a plugin is tried whose quarantine has ended.
    pub(super) fn pick_probe(&mut self) -> Option<Picked> {
        (0..self.plugins.len()).find_map(|at| {
            self.plugins[at].record().filter(|record| record.wants_probe())?;
            self.queue.pop_of(PluginId(at as u32))
        })
    }

    /// An attempt begins. Answers what its result will be told by.
    pub(super) fn attempt_begins(&mut self, plugin: PluginId, digest: &Name, number: u64) -> Ticket {
        match self.plugins.get_mut(plugin.0 as usize).and_then(|plugin| plugin.records.get_mut(digest)) {
            Some(record) => {
                record.begins(number);
                record.ticket()
            }
            None => Ticket::default(),
        }
    }

    /// An attempt has ended, with or without a call.
    pub(super) fn attempt_ended(&mut self, attempt: &Attempt) {
        let plugin = self.plugins.get_mut(attempt.plugin.0 as usize);
        if let Some(record) = plugin.and_then(|plugin| plugin.records.get_mut(&attempt.version.digest)) {
            record.ended(attempt.number);
        }
    }

    /// A call has ended: the component may be quarantined for it, or no longer be (rule C8).
    pub(super) fn judge(&mut self, now: Time, attempt: &Attempt, call: &CallResult) {
        let Some(plugin) = self.plugins.get_mut(attempt.plugin.0 as usize) else { return };
        let after_swap = plugin.swapped.is_some_and(|at| now.saturating_sub(at) <= AFTER_SWAP)
            && plugin.info.as_ref().is_some_and(|info| info.digest == attempt.version.digest);
        let Some(record) = plugin.records.get_mut(&attempt.version.digest) else { return };
        let differs = match &call.result {
            Err(failure) if call.trapped => {
                record.trapped(now, attempt.ticket, &attempt.key, &sanitize(failure.message()), after_swap)
            }
            _ => record.answered(attempt.ticket),
        };
        if differs {
            self.limit_calls(attempt.plugin);
        }
    }

    /// A plugin that is quarantined is passed over by the queue, as one is that is at its limit.
    fn limit_calls(&mut self, id: PluginId) {
        let plugin = &self.plugins[id.0 as usize];
        let closed = plugin.record().is_some_and(Record::is_closed);
        if let Some(info) = &plugin.info {
            self.queue.limit_plugin(id, Some(if closed { 0 } else { info.concurrency }));
        }
    }
}
