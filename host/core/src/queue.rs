//! The work queue: which key is next (design §5, rule C5).
//!
//! - One entry per key. A key that is added while it is running is remembered, and
//!   [`Queue::done`] hands that back; a key is never running twice.
//! - Lanes are strict, except that every [`AGEING`]th pick takes the key that waits longest of all.
//! - A *flow* is (lane, plugin, cluster): first in, first out within it; within a lane flows take
//!   turns, one key each. A flow whose plugin or cluster is at its limit is passed over.
//! - A queued key that is added to a higher lane goes to the end of that flow but keeps its age.
//!
//! Every operation is O(1) but the aged pick, which looks at each (plugin, cluster) with work.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::Time;
use crate::key::KeyId;

/// Why a key is queued, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Lane {
    /// A person changed the object or asked for it.
    User,
    /// Something that the key depends on changed.
    Dependency,
    /// A retry or a requeue is due.
    Retry,
    /// First sight of the object since the start.
    First,
    /// Periodic pass.
    Resync,
}

/// Number of lanes.
pub const LANES: usize = 5;
/// Every so manieth pick takes the oldest key of all.
pub const AGEING: u64 = 8;

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Lane; LANES] = [Lane::User, Lane::Dependency, Lane::Retry, Lane::First, Lane::Resync];

    /// The word for it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Lane::User => "user",
            Lane::Dependency => "dependency",
            Lane::Retry => "retry",
            Lane::First => "first",
            Lane::Resync => "resync",
        }
    }
}

/// A plugin, as a dense number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PluginId(pub u32);
/// A cluster, as a dense number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClusterId(pub u32);

/// What was taken from the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Picked {
    /// The key. It is running until [`Queue::done`].
    pub key: KeyId,
    /// The lane it was taken from.
    pub lane: Lane,
    /// When it was first added.
    pub since: Time,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Queued(Lane),
    /// Running; the lane in which it was added meanwhile, and whether it still holds its slot.
    Running(Option<Lane>, bool),
}

/// One slot per key id: its state and its links in two lists, that of its flow and that of all
/// keys of its pair in order of age.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    pair: u32,
    next: u32,
    prev: u32,
    older: u32,
    younger: u32,
    number: u64,
    since: Time,
}

const IDLE: Slot =
    Slot { state: State::Idle, pair: NONE, next: NONE, prev: NONE, older: NONE, younger: NONE, number: 0, since: 0 };

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
}

const EMPTY: Ends = Ends { head: NONE, tail: NONE };

/// A (plugin, cluster) with its flows, one per lane.
#[derive(Debug)]
struct Pair {
    plugin: u32,
    cluster: u32,
    flows: [Ends; LANES],
    /// Whether the flow stands in its lane's ring.
    in_ring: [bool; LANES],
    age: Ends,
}

#[derive(Clone, Debug, Default)]
struct Limited {
    limit: Option<u32>,
    running: u32,
    pairs: Vec<u32>,
}

impl Limited {
    fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.running >= limit)
    }
}

/// The work queue. See the module's text for what it promises.
#[derive(Debug, Default)]
pub struct Queue {
    slots: Vec<Slot>,
    pairs: Vec<Pair>,
    pair_ids: FxHashMap<(u32, u32), u32>,
    rings: [VecDeque<u32>; LANES],
    plugins: Vec<Limited>,
    clusters: Vec<Limited>,
    len: [usize; LANES],
    running: usize,
    picks: u64,
    numbers: u64,
}

fn limited(table: &mut Vec<Limited>, at: u32) -> &mut Limited {
    let at = at as usize;
    if table.len() <= at {
        table.resize(at + 1, Limited::default());
    }
    &mut table[at]
}

impl Queue {
    /// Sets how many keys of a plugin may be called at a time; none: no limit; 0: it is passed over.
    pub fn limit_plugin(&mut self, plugin: PluginId, limit: Option<u32>) {
        limited(&mut self.plugins, plugin.0).limit = limit;
        self.wake_pairs_of_plugin(plugin.0);
    }

    /// Sets how many keys of a cluster may run at a time, with what comes of their calls; none: no limit.
    pub fn limit_cluster(&mut self, cluster: ClusterId, limit: Option<u32>) {
        limited(&mut self.clusters, cluster.0).limit = limit;
        self.wake_pairs_of_cluster(cluster.0);
    }

    /// Adds a key. A queued key is only ever moved to a higher lane; a running one is remembered.
    pub fn add(&mut self, key: KeyId, plugin: PluginId, cluster: ClusterId, lane: Lane, now: Time) {
        if self.slots.len() <= key.index() {
            self.slots.resize(key.index() + 1, IDLE);
        }
        match self.slots[key.index()].state {
            State::Running(again, slot) => {
                let lane = again.map_or(lane, |before| before.min(lane));
                self.slots[key.index()].state = State::Running(Some(lane), slot);
            }
            State::Queued(before) if before <= lane => {}
            State::Queued(before) => {
                self.unlink_flow(key.0, before);
                self.link_flow(key.0, lane);
            }
            State::Idle => {
                let pair = self.pair(plugin.0, cluster.0);
                self.numbers += 1;
                let slot = &mut self.slots[key.index()];
                slot.pair = pair;
                slot.number = self.numbers;
                slot.since = now;
                self.link_flow(key.0, lane);
                self.link_age(key.0);
            }
        }
    }

    /// Takes the next key, which is running from then on; none if there is none that may run.
    pub fn pop(&mut self) -> Option<Picked> {
        let aged = (self.picks + 1).is_multiple_of(AGEING);
        let key = if aged { self.oldest().or_else(|| self.turn()) } else { self.turn() }?;
        self.picks += 1;
        self.take(key)
    }

    /// Takes a key of one plugin whatever the plugin's limit is, for a plugin that is passed over and is to
    /// be tried: what failed comes last. None if none waits, or their clusters are at their limits.
    pub fn pop_of(&mut self, plugin: PluginId) -> Option<Picked> {
        const ORDER: [Lane; LANES] = [Lane::User, Lane::Dependency, Lane::First, Lane::Resync, Lane::Retry];
        let pairs = &self.plugins.get(plugin.0 as usize)?.pairs;
        let key = ORDER.into_iter().find_map(|lane| {
            pairs
                .iter()
                .map(|id| &self.pairs[*id as usize])
                .filter(|pair| !self.clusters[pair.cluster as usize].full())
                .map(|pair| pair.flows[lane as usize].head)
                .filter(|head| *head != NONE)
                .min_by_key(|head| self.slots[*head as usize].number)
        })?;
        self.take(key)
    }

    fn take(&mut self, key: u32) -> Option<Picked> {
        let slot = self.slots[key as usize];
        let State::Queued(lane) = slot.state else { return None };
        self.unlink_flow(key, lane);
        self.unlink_age(key);
        self.slots[key as usize].state = State::Running(None, true);
        let pair = &self.pairs[slot.pair as usize];
        self.plugins[pair.plugin as usize].running += 1;
        self.clusters[pair.cluster as usize].running += 1;
        self.running += 1;
        Some(Picked { key: KeyId(key), lane, since: slot.since })
    }

    /// Ends the run of a key and answers the lane in which it was added meanwhile. The caller
    /// decides when it runs again.
    pub fn done(&mut self, key: KeyId) -> Option<Lane> {
        self.free_slot(key);
        let slot = self.slots.get_mut(key.index())?;
        let State::Running(again, _) = slot.state else { return None };
        slot.state = State::Idle;
        let cluster = self.pairs[slot.pair as usize].cluster;
        self.running -= 1;
        let was_full = self.clusters[cluster as usize].full();
        self.clusters[cluster as usize].running -= 1;
        if was_full {
            self.wake_pairs_of_cluster(cluster);
        }
        again
    }

    /// The call of a running key is over: it no longer counts against the limit of its plugin, which is one of calls. The
    /// key stays running, and counts against the limit of its cluster, until [`Queue::done`].
    pub fn free_slot(&mut self, key: KeyId) {
        let Some(slot) = self.slots.get_mut(key.index()) else { return };
        let State::Running(again, true) = slot.state else { return };
        slot.state = State::Running(again, false);
        let plugin = self.pairs[slot.pair as usize].plugin;
        let was_full = self.plugins[plugin as usize].full();
        self.plugins[plugin as usize].running -= 1;
        if was_full {
            self.wake_pairs_of_plugin(plugin);
        }
    }

    /// Takes a queued key out without running it. A running one stays running.
    pub fn remove(&mut self, key: KeyId) {
        if let Some(State::Queued(lane)) = self.slots.get(key.index()).map(|slot| slot.state) {
            self.unlink_flow(key.0, lane);
            self.unlink_age(key.0);
            self.slots[key.index()].state = State::Idle;
        }
    }

    /// Whether the key waits in the queue.
    pub fn is_queued(&self, key: KeyId) -> bool {
        matches!(self.slots.get(key.index()).map(|slot| slot.state), Some(State::Queued(_)))
    }

    /// Whether the key is running.
    pub fn is_running(&self, key: KeyId) -> bool {
        matches!(self.slots.get(key.index()).map(|slot| slot.state), Some(State::Running(..)))
    }

    /// Number of waiting keys.
    pub fn len(&self) -> usize {
        self.len.iter().sum()
    }

    /// Number of waiting keys of a lane.
    pub fn len_of(&self, lane: Lane) -> usize {
        self.len[lane as usize]
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of running keys.
    pub fn running(&self) -> usize {
        self.running
    }

    fn pair(&mut self, plugin: u32, cluster: u32) -> u32 {
        if let Some(id) = self.pair_ids.get(&(plugin, cluster)) {
            return *id;
        }
        let id = self.pairs.len() as u32;
        self.pairs.push(Pair { plugin, cluster, flows: [EMPTY; LANES], in_ring: [false; LANES], age: EMPTY });
        self.pair_ids.insert((plugin, cluster), id);
        limited(&mut self.plugins, plugin).pairs.push(id);
        limited(&mut self.clusters, cluster).pairs.push(id);
        id
    }

    fn blocked(&self, pair: &Pair) -> bool {
        self.plugins[pair.plugin as usize].full() || self.clusters[pair.cluster as usize].full()
    }

    /// The next key by lanes and turns. Blocked flows leave the ring until [`Self::wake`].
    fn turn(&mut self) -> Option<u32> {
        for lane in 0..LANES {
            while let Some(id) = self.rings[lane].pop_front() {
                let pair = &self.pairs[id as usize];
                let head = pair.flows[lane].head;
                if head == NONE || self.blocked(pair) {
                    self.pairs[id as usize].in_ring[lane] = false;
                    continue;
                }
                self.rings[lane].push_back(id);
                return Some(head);
            }
        }
        None
    }

    fn oldest(&self) -> Option<u32> {
        self.pairs
            .iter()
            .filter(|pair| pair.age.head != NONE && !self.blocked(pair))
            .map(|pair| pair.age.head)
            .min_by_key(|key| self.slots[*key as usize].number)
    }

    fn wake_pairs_of_plugin(&mut self, plugin: u32) {
        for at in 0..self.plugins[plugin as usize].pairs.len() {
            self.wake(self.plugins[plugin as usize].pairs[at]);
        }
    }

    fn wake_pairs_of_cluster(&mut self, cluster: u32) {
        for at in 0..self.clusters[cluster as usize].pairs.len() {
            self.wake(self.clusters[cluster as usize].pairs[at]);
        }
    }

    fn wake(&mut self, id: u32) {
        if self.blocked(&self.pairs[id as usize]) {
            return;
        }
        for lane in 0..LANES {
            let pair = &mut self.pairs[id as usize];
            if pair.flows[lane].head != NONE && !pair.in_ring[lane] {
                pair.in_ring[lane] = true;
                self.rings[lane].push_back(id);
            }
        }
    }

    fn link_flow(&mut self, key: u32, lane: Lane) {
        let id = self.slots[key as usize].pair;
        let at = lane as usize;
        let tail = self.pairs[id as usize].flows[at].tail;
        let slot = &mut self.slots[key as usize];
        slot.state = State::Queued(lane);
        slot.prev = tail;
        slot.next = NONE;
        if tail == NONE {
            self.pairs[id as usize].flows[at].head = key;
        } else {
            self.slots[tail as usize].next = key;
        }
        self.pairs[id as usize].flows[at].tail = key;
        self.len[at] += 1;
        if !self.pairs[id as usize].in_ring[at] && !self.blocked(&self.pairs[id as usize]) {
            self.pairs[id as usize].in_ring[at] = true;
            self.rings[at].push_back(id);
        }
    }

    fn unlink_flow(&mut self, key: u32, lane: Lane) {
        let Slot { pair, next, prev, .. } = self.slots[key as usize];
        let at = lane as usize;
        match prev {
            NONE => self.pairs[pair as usize].flows[at].head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NONE => self.pairs[pair as usize].flows[at].tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
        self.len[at] -= 1;
    }

    fn link_age(&mut self, key: u32) {
        let pair = self.slots[key as usize].pair as usize;
        let tail = self.pairs[pair].age.tail;
        self.slots[key as usize].older = tail;
        self.slots[key as usize].younger = NONE;
        match tail {
            NONE => self.pairs[pair].age.head = key,
            tail => self.slots[tail as usize].younger = key,
        }
        self.pairs[pair].age.tail = key;
    }

    fn unlink_age(&mut self, key: u32) {
        let Slot { pair, older, younger, .. } = self.slots[key as usize];
        match older {
            NONE => self.pairs[pair as usize].age.head = younger,
            older => self.slots[older as usize].younger = younger,
        }
        match younger {
            NONE => self.pairs[pair as usize].age.tail = older,
            younger => self.slots[younger as usize].older = older,
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
