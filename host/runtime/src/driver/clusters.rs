//! The clusters that take part, what is wanted of them, and on which shards of theirs this host acts.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use setpoint_cluster::{Cluster, Permit};
use setpoint_core::engine::ClusterFacts;
use setpoint_core::key::Name;
use setpoint_core::shards::Shard;

use super::Driver;

/// Whether this host may act on a shard, looked at immediately before it does (rule D8).
type Permits<'a> = &'a dyn Fn(&Shard) -> Permit;

impl Driver {
    /// This host acts on the objects of a shard from now on.
    pub(crate) fn begin_acting(&self, shard: &Shard) {
        self.with(|engine, now| engine.set_acting(now, shard, true));
    }

    /// Nothing more is begun in a shard. What runs there goes on.
    pub(crate) fn begin_nothing(&self, shard: &Shard) {
        self.with(|engine, now| engine.set_acting(now, shard, false));
    }

    /// This host does not act on the objects of a shard any more: what runs is given up. Answers what that holds on to
    /// until it has noticed.
    pub(crate) fn stop_acting(&self, shard: &Shard) -> Arc<()> {
        self.work(|inner, now| {
            inner.engine.set_acting(now, shard, false);
            let term = inner.terms.entry(shard.clone()).or_default();
            term.number += 1;
            std::mem::take(&mut term.running)
        })
    }

    /// Attempts that run in a shard, whether they are given up or not.
    pub(crate) fn running_in(&self, shard: &Shard) -> usize {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.terms.get(shard).map_or(0, |term| Arc::strong_count(&term.running) - 1)
    }

    /// Tells clusters what is wanted of them whenever that changes, until the task is dropped.
    pub(crate) async fn tell_wants(self: Arc<Self>) {
        loop {
            let moved = self.wanted.notified();
            for cluster in self.clusters() {
                let wants = self.look(|engine| engine.wants(cluster.name()));
                cluster.want(wants);
            }
            self.has_wanted.store(true, Ordering::Release);
            moved.await;
        }
    }

    /// Whether clusters were told what is wanted of them: before that they have nothing to show.
    pub(crate) fn has_wanted(&self) -> bool {
        self.has_wanted.load(Ordering::Acquire)
    }

    /// The names of the clusters, in order.
    pub(crate) fn cluster_names(&self) -> Vec<Name> {
        self.look(|engine| engine.clusters().cloned().collect())
    }

    pub(super) fn clusters(&self) -> Vec<Arc<dyn Cluster>> {
        self.engaged().values().cloned().collect()
    }

    /// A cluster takes part, and performs operations from now on. Where it is one of several hosts that acts on a shard,
    /// the shard's permit is asked whether that is this one, which begins only with [`Driver::begin_acting`].
    pub(crate) fn add_cluster(&self, cluster: Arc<dyn Cluster>, facts: ClusterFacts, permits: Option<Permits<'_>>) {
        let name = cluster.name().clone();
        let shards = facts.division.shards(&name);
        self.engaged().insert(name.clone(), cluster);
        self.work(|inner, now| {
            inner.engine.add_cluster(now, &name, facts);
            for shard in shards {
                let permit = permits.map(|permit_of| permit_of(&shard));
                let term = inner.terms.entry(shard).or_default();
                (term.number, term.permit) = (term.number + 1, permit);
            }
            if permits.is_some() {
                inner.engine.stand_by(now, &name);
            }
        });
    }

    /// A cluster does not take part any more: attempts on its objects are given up, and its objects are unknown. It is
    /// told that nothing is wanted of it.
    pub(crate) fn remove_cluster(&self, name: &Name, reason: &str) {
        let cluster = self.engaged().remove(name);
        self.work(|inner, now| {
            for (_, term) in inner.terms.iter_mut().filter(|(shard, _)| shard.cluster == *name) {
                (term.number, term.permit) = (term.number + 1, None);
            }
            inner.engine.remove_cluster(now, name, reason);
        });
        if let Some(cluster) = cluster {
            cluster.want(Vec::new());
        }
        // Who waits for a source of it need not.
        self.synced.notify_waiters();
    }

    pub(super) fn engaged(&self) -> MutexGuard<'_, HashMap<Name, Arc<dyn Cluster>>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
