//! Whose turn it is to act, and what has to be done before this host does (rules A11, B14, D8). One lease, that of the
//! hub, is for all clusters.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use setpoint_core::effects::OWNER_KEY;
use setpoint_core::engine::Told;
use setpoint_core::key::{Key, LOCAL};
use setpoint_core::op::{Answer, Op};
use setpoint_kubernetes::LeaseChange;
use setpoint_kubernetes::health::Check;

use super::Clusters;
use super::member::Member;

/// Live reads of a cluster at a time after a take-over.
const READS: usize = 16;
/// Clusters that are checked at a time.
const CHECKS: usize = 32;
/// Between tries of a live read.
const READ_AGAIN: Duration = Duration::from_millis(300);
/// A lease is given back within so long, or left to expire.
const RELEASE: Duration = Duration::from_secs(3);

impl Clusters {
    /// Stops acting when the lease is lost and begins when it is got, until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let Some((leadership, _)) = &self.lease else { return };
        let mut changes = leadership.changes();
        loop {
            let change = *changes.borrow_and_update();
            // A change that was missed in between ends what runs as well.
            self.stop_acting();
            match change {
                LeaseChange::Lost => self.drop_local_children().await,
                LeaseChange::Acquired => {
                    tokio::select! {
                        () = self.take_over() => {}
                        changed = changes.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                    }
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn stop_acting(&self) {
        let mut members = self.members();
        members.leading = false;
        for name in members.all.keys() {
            self.driver.set_acting(name, false);
        }
    }

    /// This host acts on each cluster as soon as it is checked: one that does not answer holds up no other.
    async fn take_over(&self) {
        self.installation.learn().await;
        let members: Vec<Arc<Member>> = {
            let mut members = self.members();
            members.leading = true;
            members.all.values().cloned().collect()
        };
        iter(members)
            .for_each_concurrent(CHECKS, |member| async move {
                self.check(&member).await;
                let members = self.members();
                let still = members.all.get(&member.name).is_some_and(|now| Arc::ptr_eq(now, &member));
                if still && members.leading {
                    tracing::info!(cluster = %member.name, "this host acts from now on");
                    self.driver.set_acting(&member.name, true);
                }
            })
            .await;
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

    async fn read_live(&self, key: Key) {
        loop {
            let answer = self.driver.perform_alone(Op::Get(key.clone())).await;
            let object = match answer {
                Answer::Found(object) => Some(object),
                Answer::Absent => None,
                _ if self.members().all.contains_key(&key.cluster) => {
                    tokio::time::sleep(READ_AGAIN).await;
                    continue;
                }
                // It has gone meanwhile.
                _ => return,
            };
            return self.driver.with(|engine, now| engine.read_back(now, &key, object));
        }
    }

    /// What this host runs for owners in clusters belongs to whoever acts there (rule B14).
    async fn drop_local_children(&self) {
        let is_remote = |object: &setpoint_core::object::Object| {
            let owner = object.mark(OWNER_KEY).and_then(Key::parse);
            owner.is_some_and(|owner| &*owner.cluster != LOCAL)
        };
        let children = self.local.all().into_iter().filter(|(_, object)| is_remote(object));
        for (key, _) in children.collect::<Vec<_>>() {
            if let Answer::Refused(refusal) = self.local.delete(&key).await {
                tracing::warn!(%key, %refusal, "it could not be dropped when this host stopped acting");
            }
        }
    }

    /// Stops acting, gives the lease back, and lets go of the clusters. Nothing may be under way any more.
    pub(crate) async fn close(&self) {
        if let Some((leadership, _)) = &self.lease {
            self.stop_acting();
            if !leadership.release(RELEASE).await {
                tracing::warn!("the lease could not be given back in time; another host takes it when it has expired");
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
