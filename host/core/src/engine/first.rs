//! First lists, and the first attempts after them. Where a list takes its time, attempts wait for those of what
//! their plugin reads and writes: what is not known *yet* is no news that a status should tell, and calls would
//! be made twice (rules A4, C6).

use super::Engine;
use super::plugins::PluginInfo;
use crate::Time;
use crate::cache::SourceState;
use crate::contract::ReadScope;
use crate::grants::Reach;
use crate::key::{HUB, Key, KeyId, LOCAL, Name, Source};

/// The first attempts hold readiness up for so many milliseconds at most (rule C6).
pub const FIRST_PASS: Time = 300_000;

/// How far the first attempts after the start are (rule C6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstPass {
    /// All have ended, now or earlier.
    Over,
    /// Those of so many objects have not, and the host is not ready.
    Running(usize),
    /// The same, and it has taken too long to wait for it: to be shown, and no reason to be unready.
    Incomplete(usize),
}

impl Engine {
    /// Whether the host cannot do its job without a cluster: those of a fleet come and go, unless it was said that one
    /// may not.
    pub(super) fn is_required(&self, cluster: &Name) -> bool {
        [LOCAL, HUB].contains(&&**cluster) || self.clusters.get(cluster).is_some_and(|facts| facts.required)
    }

    /// How far the first attempts are: of all objects of required clusters whose plugin is called, and that nothing and
    /// nobody holds back. Once they have all ended, with all objects known, they are not asked for again in this process.
    pub fn first_pass(&mut self, now: Time) -> FirstPass {
        if self.first_pass_over {
            return FirstPass::Over;
        }
        let states = (0..self.states.len() as u32).map(KeyId).filter_map(|id| Some((id, self.state(id)?)));
        let left = states.filter(|(id, state)| {
            let key = self.cache.keys().key(*id);
            let elsewhere = !self.is_required(&key.cluster) || !self.acts_on(key);
            let waits = state.waiting.is_some() || state.damped || self.is_stopped(*id) || elsewhere;
            !state.attempted && !waits && !self.is_quarantined(state.plugin)
        });
        match left.count() {
            0 => {
                self.first_pass_over = !self.unsynced().iter().any(|(source, _)| self.is_required(&source.cluster));
                FirstPass::Over
            }
            left if now.saturating_sub(self.options.started) < FIRST_PASS => FirstPass::Running(left),
            left => FirstPass::Incomplete(left),
        }
    }

    /// A source whose first list is on its way, and without which an attempt of a key would be in vain. In
    /// `local` everything is there from the beginning.
    pub(super) fn first_list_of(&self, info: &PluginInfo, key: &Key) -> Option<Source> {
        if &*key.cluster == LOCAL {
            return None;
        }
        let description = &info.description;
        let reads = description.reads.iter().filter(|read| read.scope == ReadScope::All);
        let reads = reads.map(|read| read.kind.group_kind());
        let reads = reads.filter(|kind| info.grants.reads(kind, &key.cluster) != Reach::Nowhere);
        let writes = description.writes.iter().map(|kind| kind.group_kind());
        let writes = writes.filter(|kind| info.grants.writes(kind, &key.cluster) != Reach::Nowhere);
        reads
            .chain(writes)
            .map(|kind| Source { cluster: key.cluster.clone(), kind })
            .find(|source| self.cache.has_heard_of(source) && self.cache.state(source) == SourceState::Syncing)
    }

    /// An attempt of a key waits for a first list. It stays dirty, with its causes.
    pub(super) fn wait_for_list(&mut self, id: KeyId, source: Source) {
        self.early.entry(source).or_default().insert(id);
    }

    /// The first list of a source has come, or nothing is known of it.
    pub(super) fn first_list_came(&mut self, now: Time, source: &Source) {
        if self.cache.state(source) == SourceState::Syncing {
            return;
        }
        for id in self.early.remove(source).unwrap_or_default() {
            if self.state(id).is_some_and(|state| !state.running && !state.causes.is_empty()) {
                self.enqueue(now, id);
            }
        }
    }
}
