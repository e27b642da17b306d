//! What this host acts on, and what has to be done before it does and when it does not any more (rules A11, B14, D8): who
//! does what is decided by `setpoint_core::shards`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{StreamExt, iter};
use setpoint_cluster::local::Local;
use setpoint_core::effects::OWNER_KEY;
use setpoint_core::engine::Told;
use setpoint_core::key::{Key, Name};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op};
use setpoint_core::shards::{Shard, Step, Ticket};
use setpoint_kubernetes::health::Check;
use tokio::task::{AbortHandle, JoinSet};

use super::grip::{Grip, Leases};
use super::member::Member;
use super::{CHECKS, Clusters};
use crate::lock::lock;

/// Live reads of a cluster at a time after a take-over.
const READS: usize = 16;
/// The check of a cluster that is not taken over itself has so long.
const BEYOND: Duration = Duration::from_secs(3);
/// Between tries of a live read.
const READ_AGAIN: Duration = Duration::from_millis(300);
/// What runs in a shard that is handed over has so long to end by itself.
const DRAIN: Duration = Duration::from_secs(10);
/// Between looks at what is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Steps that take time.
#[derive(Default)]
struct Jobs {
    running: JoinSet<()>,
    of: HashMap<Shard, AbortHandle>,
}

impl Jobs {
    fn begin(&mut self, shard: &Shard, job: impl Future<Output = ()> + Send + 'static) {
        while self.running.try_join_next().is_some() {}
        self.of.insert(shard.clone(), self.running.spawn(job));
    }

    fn stop(&mut self, shard: &Shard) {
        if let Some(job) = self.of.remove(shard) {
            job.abort();
        }
    }
}

/// Shards that this host has stopped to act on, with what attempts there hold on to.
type Stopped = Vec<(Shard, Arc<()>)>;

impl Clusters {
    /// What an earlier life has left here of owners in clusters belongs to whoever acts on them now (rule B14). Nothing of
    /// it may have been started yet.
    pub(crate) async fn drop_what_is_left(&self) {
        if self.leases.is_some() {
            self.drop_local(&self.local_children(|_| true)).await;
        }
    }

    /// Acts on what this host holds, until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some(leases) = self.leases.clone() else { return };
        let mut jobs = Jobs::default();
        loop {
            let woken = leases.hear.notified();
            self.tell_what_is_held();
            let mut stopped = Stopped::new();
            while let Some(step) = self.next_step() {
                self.carry_out(&leases, step, &mut jobs, &mut stopped);
            }
            if !stopped.is_empty() {
                self.clean_up(&leases, stopped, &mut jobs).await;
            }
            woken.await;
        }
    }

    fn next_step(&self) -> Option<Step> {
        lock(&self.shards).step()
    }

    fn grip(&self, shard: &Shard) -> Option<Arc<Grip>> {
        lock(&self.grips).get(shard).cloned()
    }

    fn tell_what_is_held(&self) {
        let grips: Vec<(Shard, Arc<Grip>)> =
            lock(&self.grips).iter().map(|(shard, grip)| (shard.clone(), grip.clone())).collect();
        let mut shards = lock(&self.shards);
        for (shard, grip) in grips {
            shards.held(&shard, grip.term());
        }
    }

    fn done(&self, leases: &Leases, shard: &Shard, ticket: Ticket) {
        lock(&self.shards).done(shard, ticket);
        leases.hear.notify_one();
    }

    fn carry_out(self: &Arc<Self>, leases: &Arc<Leases>, step: Step, jobs: &mut Jobs, stopped: &mut Stopped) {
        let (this, leases) = (self.clone(), leases.clone());
        match step {
            Step::Contend(shard) => {
                if let Some(grip) = self.grip(&shard) {
                    let seen = self.membership.as_ref().and_then(|membership| membership.seen(grip.name()));
                    grip.contend(&shard, seen);
                }
            }
            Step::Check(shard, ticket) => self.check_soon(&leases, shard, ticket, jobs),
            Step::Act(shard) => {
                tracing::info!(%shard, "this host acts from now on");
                self.driver.begin_acting(&shard);
            }
            Step::Drain(shard, ticket) => {
                tracing::info!(%shard, "this host hands over");
                self.driver.begin_nothing(&shard);
                let its = shard.clone();
                jobs.begin(&its, async move {
                    this.drain(&shard).await;
                    this.done(&leases, &shard, ticket);
                });
            }
            Step::Stop(shard) => {
                tracing::info!(%shard, "this host does not act any more");
                jobs.stop(&shard);
                let running = self.driver.stop_acting(&shard);
                stopped.push((shard, running));
            }
            Step::Release(shard, ticket) => {
                let (grip, its) = (self.grip(&shard), shard.clone());
                jobs.begin(&its, async move {
                    if let Some(grip) = grip {
                        grip.release().await;
                    }
                    this.let_go_if_it_has_gone(&shard);
                    this.done(&leases, &shard, ticket);
                });
            }
        }
    }

    /// What has come in one go is checked in one go: a check is of a whole cluster.
    fn check_soon(self: &Arc<Self>, leases: &Arc<Leases>, shard: Shard, ticket: Ticket, jobs: &mut Jobs) {
        let cluster = shard.cluster.clone();
        let first = {
            let mut waiting = lock(&self.unchecked);
            let its = waiting.entry(cluster.clone()).or_default();
            its.push((shard.clone(), ticket));
            its.len() == 1
        };
        if !first {
            return;
        }
        let (this, leases) = (self.clone(), leases.clone());
        jobs.running.spawn(async move {
            this.installation.learn().await;
            let Ok(_turn) = this.checks.acquire().await else { return };
            let checked = lock(&this.unchecked).remove(&cluster).unwrap_or_default();
            let member = this.members().all.get(&cluster).cloned();
            if let Some(member) = member.filter(|member| !this.has_come_since(member, &checked)) {
                this.check(&member).await;
            }
            let beyond = this.driver.look(|engine| engine.clusters_beyond(checked.iter().map(|(shard, _)| shard)));
            iter(beyond).for_each_concurrent(CHECKS, |cluster| this.check_beyond(cluster)).await;
            for (shard, ticket) in checked {
                this.done(&leases, &shard, ticket);
            }
        });
    }

    /// Whether a cluster has come since its lease was got: all that is known of it was asked for later.
    fn has_come_since(&self, member: &Member, checked: &[(Shard, Ticket)]) -> bool {
        let since =
            |shard: &Shard| member.came.is_some() && self.grip(shard).and_then(|grip| grip.term()) == member.came;
        checked.iter().all(|(shard, _)| since(shard))
    }

    /// What is known of a cluster is checked against the server, before the first attempt begins (rule A11).
    async fn check(&self, member: &Member) {
        let asked = self.driver.clock.now();
        for Check { source, scope, result } in member.cluster.check().await {
            match result {
                Ok((version, listed)) => {
                    let differ = self
                        .driver
                        .with(|engine, now| engine.checked(now, &source, &scope, (asked, &version), &listed));
                    iter(differ).for_each_concurrent(READS, |key| self.read_live(key)).await;
                }
                Err(reason) => {
                    // Nothing is certain of it before it was listed anew.
                    let reason = format!("{source} could not be listed after this host got its lease: {reason}");
                    self.driver.with(|engine, now| engine.told(now, &source, &scope, Told::Unknown { reason }));
                    member.cluster.list_anew(&source.kind, &scope);
                }
            }
        }
    }

    /// The same of a cluster in which owners of a shard have children, or read. One that is slow holds up nobody: until it has
    /// been listed anew nothing is certain of it, and who reads there is told so.
    async fn check_beyond(&self, cluster: Name) {
        let Some(member) = self.members().all.get(&cluster).cloned() else { return };
        if tokio::time::timeout(BEYOND, self.check(&member)).await.is_ok() {
            return;
        }
        let watched = self.driver.look(|engine| engine.cache().watched_in(&cluster));
        for (source, scope) in watched {
            let reason = format!("{source} could not be listed in time after this host took over");
            self.driver.with(|engine, now| engine.told(now, &source, &scope, Told::Unknown { reason }));
            member.cluster.list_anew(&source.kind, &scope);
        }
    }

    async fn read_live(&self, key: Key) {
        // Until its cluster has gone.
        while self.members().all.contains_key(&key.cluster) {
            let read = self.driver.look(|engine| engine.live_read(&key));
            let taken = |object| self.driver.with(|engine, now| engine.read_back(now, &read, object));
            let known = match self.driver.perform_alone(Op::Get(key.clone())).await {
                Answer::Found(object) => taken(Some(object)),
                Answer::Absent => taken(None),
                _ => false,
            };
            if known {
                return;
            }
            tokio::time::sleep(READ_AGAIN).await;
        }
    }

    /// What is under way in a shard ends, and what runs here for its owners as well. Its lease is held meanwhile.
    async fn drain(&self, shard: &Shard) {
        let until = Instant::now() + DRAIN;
        while self.driver.running_in(shard) > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let running = self.driver.stop_acting(shard);
        while Arc::strong_count(&running) > 1 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let left = self.local_children(|owner| shard.covers(owner));
        self.drop_local(&left).await;
        let still = |key: &Arc<Key>| self.local().object(key).is_some();
        while left.iter().any(still) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What ran here for owners in shards that were lost is dropped at once, and once more when the last attempt has
    /// noticed: it may have been about to make something.
    async fn clean_up(self: &Arc<Self>, leases: &Leases, stopped: Stopped, jobs: &mut Jobs) {
        let shared = leases.shared;
        let covers =
            move |stopped: &Stopped, owner: &Key| !shared || stopped.iter().any(|(shard, _)| shard.covers(owner));
        self.drop_local(&self.local_children(|owner| covers(&stopped, owner))).await;
        if stopped.iter().all(|(_, running)| Arc::strong_count(running) == 1) {
            return;
        }
        let this = self.clone();
        jobs.running.spawn(async move {
            while stopped.iter().any(|(_, running)| Arc::strong_count(running) > 1) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let lost = |owner: &Key| covers(&stopped, owner) && !this.driver.look(|engine| engine.acts_on(owner));
            this.drop_local(&this.local_children(lost)).await;
        });
    }

    pub(super) fn local(&self) -> &Local {
        self.files.local().local()
    }

    /// What this host runs for such owners in clusters that others could act on.
    fn local_children(&self, of: impl Fn(&Key) -> bool) -> Vec<Arc<Key>> {
        let meant = |object: &Object| {
            let owner = object.mark(OWNER_KEY).and_then(Key::parse);
            owner.is_some_and(|owner| self.files.of(&owner.cluster).is_none() && of(&owner))
        };
        self.local().all().into_iter().filter(|(_, object)| meant(object)).map(|(key, _)| key).collect()
    }

    /// It belongs to whoever acts on its owner (rule B14).
    async fn drop_local(&self, children: &[Arc<Key>]) {
        for key in children {
            if let Answer::Refused(refusal) = self.local().delete(key).await {
                tracing::warn!(%key, %refusal, "it could not be dropped when this host stopped acting");
            }
        }
    }

    /// This host leaves: others may contend for what it holds as soon as it gives it back.
    pub(crate) async fn leave(&self) {
        if let Some(membership) = &self.membership {
            membership.leave().await;
        }
    }

    /// Stops acting, gives the leases back, and lets go of the clusters. Nothing may be under way any more.
    pub(crate) async fn close(&self) {
        if let Some(leases) = &self.leases {
            let grips: Vec<(Shard, Arc<Grip>)> = std::mem::take(&mut *lock(&self.grips)).into_iter().collect();
            for (shard, _) in &grips {
                self.driver.stop_acting(shard);
            }
            if leases.shared {
                futures_util::future::join_all(grips.iter().map(|(_, grip)| grip.release())).await;
            } else {
                leases.release_all().await;
            }
        }
        if let Some(fleet) = self.fleet.get() {
            fleet.close();
        }
        for member in self.members().all.values() {
            member.installer.stop();
            member.cluster.shutdown();
        }
    }
}
