//! On whose objects this host acts (rules D8, A11).

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use super::attempt::{Attempt, Stage};
use super::finish::Ending;
use super::state::Hold;
use crate::Time;
use crate::key::{Key, KeyId, Name};
use crate::queue::PluginId;
use crate::shards::{Division, Shard};

/// One bit for each shard of a cluster.
fn bit(shard: &Shard) -> u64 {
    1 << shard.range.unwrap_or_default()
}

/// The bits of all of them.
fn all(division: Division) -> u64 {
    match division {
        Division::Whole => 1,
        Division::Ranges => u64::MAX,
    }
}

impl Engine {
    /// Whether this host acts on the objects of a shard. While it does not, their keys wait with what they wait for, and
    /// what is seen of them is kept up to date. Attempts that run are the driver's to give up.
    pub fn set_acting(&mut self, now: Time, shard: &Shard, acting: bool) {
        let Some(facts) = self.clusters.get(&shard.cluster) else { return };
        let (division, at_a_time) = (facts.division, facts.at_a_time);
        let before = self.acting.get(&shard.cluster).copied().unwrap_or(all(division));
        let after = if acting { before | bit(shard) } else { before & !bit(shard) };
        self.acting.insert(shard.cluster.clone(), after);
        let limit = if after == 0 { Some(0) } else { at_a_time };
        self.queue.limit_cluster(self.cluster_id(&shard.cluster), limit);
        if acting && division == Division::Ranges {
            // What was handed out meanwhile was put aside.
            self.run_what_waits(now, |key| shard.covers(key));
        }
        if !acting && self.options.shared {
            // First passes do not wait for what another host does.
            for (id, plugin) in self.reconciled(|key| shard.covers(key)) {
                self.pass_late(id, plugin);
            }
        }
    }

    /// This host does not act on anything in a cluster, until it is told to.
    pub fn stand_by(&mut self, now: Time, cluster: &Name) {
        let division = self.clusters.get(cluster).map_or(Division::Whole, |facts| facts.division);
        for shard in division.shards(cluster) {
            self.set_acting(now, &shard, false);
        }
    }

    /// Whether this host acts on any object of a cluster.
    pub fn is_acting(&self, cluster: &Name) -> bool {
        self.acting.get(cluster).is_none_or(|acting| *acting != 0)
    }

    /// Whether this host acts on an object.
    pub fn acts_on(&self, key: &Key) -> bool {
        self.acting.get(&key.cluster).is_none_or(|acting| acting & bit(&self.shard_of(key)) != 0)
    }

    /// The shard that an object is in.
    pub fn shard_of(&self, key: &Key) -> Shard {
        self.clusters.get(&key.cluster).map_or(Division::Whole, |facts| facts.division).shard_of(key)
    }

    /// The other clusters that owners in shards of one have to do with: where their children may be, and what they have
    /// read. What is known of these is to be as new as that of their own, when shards are taken over (rule A11).
    pub fn clusters_beyond<'a>(&self, shards: impl IntoIterator<Item = &'a Shard>) -> BTreeSet<Name> {
        let mut bits: BTreeMap<&Name, u64> = BTreeMap::new();
        for shard in shards {
            *bits.entry(&shard.cluster).or_default() |= bit(shard);
        }
        let covers = |key: &Key| bits.get(&key.cluster).is_some_and(|bits| bits & bit(&self.shard_of(key)) != 0);
        let mut beyond = BTreeSet::new();
        for (_, places) in self.places.iter().filter(|(owner, _)| covers(owner)) {
            beyond.extend(places.iter().map(|(cluster, _)| cluster));
        }
        for (id, _) in self.reconciled(covers) {
            let Some(state) = self.state(id) else { continue };
            beyond.extend(state.reads.gets.iter().map(|(target, _)| &self.cache.keys().key(*target).cluster));
            let lists = state.reads.lists.iter().filter_map(|list| self.deps.list(*list));
            beyond.extend(lists.map(|list| &list.source.cluster));
        }
        beyond.into_iter().filter(|cluster| !bits.contains_key(cluster)).cloned().collect()
    }

    /// Whether another host decides about a key at present.
    pub(super) fn is_elsewhere(&self, id: KeyId) -> bool {
        self.options.shared && !self.acts_on(self.cache.keys().key(id))
    }

    /// Keys that are reconciled, with whom by.
    fn reconciled(&self, meant: impl Fn(&Key) -> bool) -> Vec<(KeyId, PluginId)> {
        let states = (0..self.states.len() as u32).map(KeyId).filter_map(|id| Some((id, self.state(id)?.plugin)));
        states.filter(|(id, _)| meant(self.cache.keys().key(*id))).collect()
    }

    /// Runs keys that have been put aside with what they wait for.
    pub(super) fn run_what_waits(&mut self, now: Time, meant: impl Fn(&Key) -> bool) {
        for (id, _) in self.reconciled(meant) {
            let waits = self.state(id).is_some_and(|state| !state.running && (!state.causes.is_empty() || state.tell));
            if waits && !self.in_backoff(id) {
                self.enqueue(now, id);
            }
        }
    }

    /// A key is put aside: it stays dirty, with its causes. Its backoff has passed.
    pub(super) fn put_aside(&mut self, id: KeyId) {
        let Some(state) = self.state_mut(id) else { return };
        if matches!(state.hold, Hold::Backoff { .. }) {
            state.hold = Hold::None;
        }
        let plugin = state.plugin;
        self.pass_late(id, plugin);
    }

    /// An attempt may not go on, because this host does not act on its key any more, or has stopped to for a while:
    /// what it has decided may be out of date. Nothing comes of it but what was written already; the key is
    /// called again when its turn comes. What was asked of a cluster was answered before.
    pub fn abandon(&mut self, now: Time, attempt: &mut Attempt) {
        match std::mem::replace(&mut attempt.stage, Stage::Done) {
            Stage::Done => {}
            Stage::Before(left) => {
                self.still_unread(attempt.id, left);
                self.finish(now, attempt, Ending::Dropped, None);
            }
            Stage::Calling => self.finish(now, attempt, Ending::Dropped, None),
            Stage::Effects(run, _) => {
                let places = run.places().to_vec();
                self.finish(now, attempt, Ending::Dropped, Some((run.into_report(), places)));
            }
        }
    }
}

#[cfg(test)]
#[path = "acting_tests.rs"]
mod tests;
