//! The engine: when is a key called, and what became of it. A deterministic state machine; events
//! and times in, attempts and operations out. The same seed and the same inputs give the same run.
//!
//! Its driver does five things, in any interleaving:
//!
//! 1. tells it what changes: [`Engine::observed`], [`Engine::source_synced`], [`Engine::plugin_started`] …
//! 2. takes attempts with [`Engine::next`] and wakes up at [`Engine::next_wakeup`];
//! 3. carries an attempt through [`Engine::step`]: performs its operations, makes its call;
//! 4. answers the call's reads with [`Engine::read_get`] and [`Engine::read_list`];
//! 5. drops the attempt when [`Step::Done`] comes;
//! 6. reads live what [`Engine::stale`] names, and tells it with [`Engine::read_back`].

mod acting;
mod attempt;
mod begin;
mod change;
mod clusters;
mod finish;
mod first;
mod history;
mod live;
mod pass;
mod passed;
mod plugins;
mod preview;
mod quarantine;
mod read;
mod reflect;
mod registries;
mod release;
mod rows;
mod schedule;
mod state;
mod stuck;
mod wants;

pub use attempt::{Attempt, CallResult, Step};
pub use clusters::{ClusterFacts, StillThere};
pub use first::{FIRST_PASS, FirstPass};
pub use history::{Author, Because, Change, RunRecord};
pub use live::LiveRead;
pub use pass::{Held, NotHeld, Trial};
pub use passed::Passed;
pub use plugins::{PluginInfo, PluginVersion};
pub use quarantine::Quarantined;
pub use read::Answered;
pub use reflect::{Checked, Told};
pub use rows::{Counts, Row};
pub use state::Phase;
pub use wants::Want;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::Time;
use crate::cache::Cache;
use crate::coverage::Scope;
use crate::delay::{Rng, Timers};
use crate::deps::{Deps, MaskId, Readers};
use crate::effects::{Inventory, Settled, Shapes};
use crate::fields::Outline;
use crate::key::{GroupKind, Key, KeyId, LOCAL, Name, Source};
use crate::object::Object;
use crate::queue::{ClusterId, PluginId, Queue};
use crate::registry::Registries;

use plugins::PluginState;
use state::KeyState;

/// How the engine is set up. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Installation id: in owner marks and field managers (rule D9).
    pub installation: String,
    /// Calls at a time over all plugins. Default: 8.
    pub workers: u32,
    /// Attempts that perform effects at a time, over all plugins. Default: 1 024.
    pub effects_at_a_time: u32,
    /// Read set per key; beyond it the attempt fails. Default 10 000 (rule A9).
    pub read_set_limit: usize,
    /// Keys of a fan-out expanded per step. Default 1 000 (rule A9).
    pub fan_out_step: usize,
    /// Deletions held above this many children … Default 10 (rule B3).
    pub hold_above: usize,
    /// … and above this percentage of the plugin's own. Default 20; 100 disables the hold.
    pub hold_percent: usize,
    /// The store was rebuilt and no first pass has ended since: nothing is deleted before the first pass
    /// of each plugin is over (rule D10). Default: false.
    pub rebuilt: bool,
    /// Work is shared with other hosts: nothing here waits for what they do. Default: false.
    pub shared: bool,
    /// Objects whose status another installation writes are reconciled all the same (rule D9). Default: false.
    pub take_over: bool,
    /// Unix milliseconds at the time 0, by which it is known how long ago another installation has written something.
    /// None: what it writes is not heeded. Default: none.
    pub epoch: Option<u64>,
    /// When the host started: the first attempts have so long to end (rule C6). Default: 0.
    pub started: Time,
    /// Seed of jitter.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            installation: "local".into(),
            workers: 8,
            effects_at_a_time: 1_024,
            read_set_limit: 10_000,
            fan_out_step: 1_000,
            hold_above: 10,
            hold_percent: 20,
            rebuilt: false,
            shared: false,
            take_over: false,
            epoch: None,
            started: 0,
            seed: 0,
        }
    }
}

/// Dependents of a change that are still to be told (rule A9).
#[derive(Debug)]
struct FanOut {
    readers: Readers,
    at: usize,
    masks: Option<Vec<MaskId>>,
    /// The number of the change.
    number: u64,
    origin: Option<KeyId>,
    /// Whose child it is, or was.
    owner: Option<KeyId>,
    /// Whose mark it carries now.
    marked: Option<KeyId>,
    target: KeyId,
    /// Hash of the content that was seen, for the hot-loop bucket.
    content: u64,
    change: Change,
}

/// Operations on one object that are on their way: what the reflector shows of it meanwhile is kept
/// until the last answer is here, so that echoes are told apart from foreign changes, and an answer
/// never hides what came after it.
#[derive(Debug, Default)]
struct InFlight {
    operations: u32,
    /// In order, with the scope of the reflector that has told it.
    news: Vec<(Scope, News)>,
    /// Some of the news were told by a reflector while it knew nothing: what is known of the object may be older than
    /// what was told of it before, by another host.
    outdated: bool,
}

/// What a reflector tells of one object.
#[derive(Clone, Debug)]
enum News {
    /// As it is now; none: it is gone.
    Seen(Option<Arc<Object>>),
    /// Nothing else has happened to it up to this version.
    Reached(Box<str>),
}

/// The state machine. See the module's text.
pub struct Engine {
    options: Options,
    shapes: Arc<dyn Shapes>,
    cache: Cache,
    deps: Deps,
    queue: Queue,
    timers: Timers,
    resyncs: Timers,
    /// Owners that wait for a child that terminates: when that has taken too long (rule B9).
    stuck: Timers,
    rng: Rng,
    states: Vec<Option<Box<KeyState>>>,
    inventory: Inventory,
    /// Documents that were applied to children, to tell drift (rule A1), and who applied them.
    documents: FxHashMap<KeyId, (KeyId, Outline)>,
    settled: FxHashMap<KeyId, Settled>,
    places: FxHashMap<Key, Vec<(Name, GroupKind)>>,
    /// Which children any owner of a kind may have, in its own cluster.
    kind_places: FxHashMap<GroupKind, Vec<GroupKind>>,
    /// Objects that want a live read, until the driver takes them.
    unconfirmed: Vec<Arc<Key>>,
    /// What writes without an answer may have changed, of keys that nobody reconciles at present.
    doubts: FxHashMap<Key, Vec<Key>>,
    /// Owners whose places may not have been recorded, whatever `places` says.
    unsaved: FxHashSet<Key>,
    /// The last change of each key: its number among all changes, and whose effects made it.
    moves: Vec<(u64, Option<Author>)>,
    /// Children of running effects: their ids stay theirs until the end.
    pins: FxHashMap<KeyId, u32>,
    in_flight: FxHashMap<KeyId, InFlight>,
    /// Sources that became synced so far.
    syncs: u64,
    /// Counts what may have changed [`Engine::passed`].
    passes: u64,
    /// The first attempts have ended once (rule C6).
    first_pass_over: bool,
    fan_outs: VecDeque<FanOut>,
    plugins: Vec<PluginState>,
    kinds: FxHashMap<Source, PluginId>,
    /// Who gave up a kind that nobody has taken since.
    given_up: FxHashMap<Source, PluginId>,
    /// Who had a kind before the last stop, while nobody has taken it since.
    owned_before: FxHashMap<GroupKind, PluginId>,
    clusters: BTreeMap<Name, ClusterFacts>,
    /// Of all that take part, and of those that did.
    cluster_ids: FxHashMap<Name, ClusterId>,
    /// Who reconciled the kinds of clusters that do not take part at present, and in which version.
    left: FxHashMap<Source, (PluginId, PluginVersion)>,
    /// Of clusters that other hosts may act on: a bit for each shard that this one acts on.
    acting: FxHashMap<Name, u64>,
    /// Objects that are watched one by one, because somebody depends on them (rule A8).
    singles: BTreeSet<KeyId>,
    /// Secrets that processes and probes have values of.
    secrets: BTreeSet<Key>,
    /// Keys that wait for the first list of a source.
    early: FxHashMap<Source, BTreeSet<KeyId>>,
    /// Counts what may have changed what is wanted of clusters.
    wanted: u64,
    disabled: FxHashSet<GroupKind>,
    /// What somebody looks at who reconciles nothing.
    registries: Registries,
    calls: u32,
    effects: u32,
    attempts: u64,
    counts: Counts,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(options: Options, shapes: Arc<dyn Shapes>) -> Self {
        Self {
            rng: Rng::new(options.seed),
            options,
            shapes,
            cache: Cache::default(),
            deps: Deps::default(),
            queue: Queue::default(),
            timers: Timers::default(),
            resyncs: Timers::default(),
            stuck: Timers::default(),
            states: Vec::new(),
            inventory: Inventory::default(),
            documents: FxHashMap::default(),
            settled: FxHashMap::default(),
            places: FxHashMap::default(),
            kind_places: FxHashMap::default(),
            unconfirmed: Vec::new(),
            doubts: FxHashMap::default(),
            unsaved: FxHashSet::default(),
            moves: Vec::new(),
            pins: FxHashMap::default(),
            in_flight: FxHashMap::default(),
            syncs: 0,
            passes: 0,
            first_pass_over: false,
            fan_outs: VecDeque::new(),
            plugins: Vec::new(),
            kinds: FxHashMap::default(),
            given_up: FxHashMap::default(),
            owned_before: FxHashMap::default(),
            clusters: BTreeMap::new(),
            cluster_ids: FxHashMap::default(),
            left: FxHashMap::default(),
            acting: FxHashMap::default(),
            singles: BTreeSet::new(),
            secrets: BTreeSet::new(),
            early: FxHashMap::default(),
            wanted: 0,
            disabled: FxHashSet::default(),
            registries: Registries::default(),
            calls: 0,
            effects: 0,
            attempts: 0,
            counts: Counts::default(),
        }
    }

    /// The cache, for reads that are not a plugin's.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// When something is due next, if nothing comes from outside; none if nothing is.
    pub fn next_wakeup(&mut self) -> Option<Time> {
        if !self.fan_outs.is_empty() {
            return Some(0);
        }
        let timers = [self.timers.next_due(), self.resyncs.next_due(), self.stuck.next_due()];
        timers.into_iter().chain([self.cache.stale_at(), self.quarantine_ends()]).flatten().min()
    }

    /// Where children of owners may be, as recorded before the last stop (rule B2). Owners that
    /// are proven gone are cleaned up after.
    pub fn restore_places(&mut self, places: impl IntoIterator<Item = (Key, Vec<(Name, GroupKind)>)>) {
        self.places.extend(places);
    }

    /// Which children owners of a kind may have beside them, each in its own cluster, as it is recorded for certain: such
    /// a child needs no record at its owner (rule B2). What `local` has is recorded in its store.
    pub fn kind_places(&mut self, kind: &GroupKind, children: Vec<GroupKind>) {
        self.kind_places.insert(kind.clone(), children);
    }

    fn places_of_kind(&self, owner: &Key) -> Vec<(Name, GroupKind)> {
        if &*owner.cluster == LOCAL {
            return Vec::new();
        }
        let children = self.kind_places.get(&owner.group_kind()).into_iter().flatten();
        children.map(|child| (owner.cluster.clone(), child.clone())).collect()
    }

    /// Kinds for which no attempts are started (rule C9), as recorded before the last stop.
    pub fn restore_disabled(&mut self, kinds: impl IntoIterator<Item = GroupKind>) {
        self.disabled.extend(kinds);
    }

    fn state(&self, id: KeyId) -> Option<&KeyState> {
        self.states.get(id.index())?.as_deref()
    }

    fn state_mut(&mut self, id: KeyId) -> Option<&mut KeyState> {
        self.states.get_mut(id.index())?.as_deref_mut()
    }

    fn plugin_of(&self, source: &Source) -> Option<PluginId> {
        self.kinds.get(source).copied()
    }
}
