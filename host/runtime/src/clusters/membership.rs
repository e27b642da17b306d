//! Who shares the work: each host holds a lease that says that it lives, what it can take and how much, and looks at those
//! of the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use setpoint_core::Time;
use setpoint_core::lease::Record;
use setpoint_core::shards::{HEAVIEST, Member, Sightings};
use setpoint_kubernetes::{Leadership, Listed, boot_time};

use super::Clusters;
use super::grip::Leases;
use crate::lock::lock;

/// Of a member: its share of the work.
const WEIGHT: &str = "setpoint.dev/weight";
/// Of a member: the clusters that it could act on.
const CLUSTERS: &str = "setpoint.dev/clusters";
/// Its lease is given back within so long, or left to expire.
const RELEASE: Duration = Duration::from_secs(1);

/// This host among those that share work.
pub(super) struct Membership {
    /// Its share of the work.
    pub(super) weight: u32,
    lease: Arc<Leadership>,
    /// It says what it can take from the moment when it knows who else lives. Others would hand over to it before, what it
    /// took for the part of one that is gone, as its own former life is.
    announced: AtomicBool,
    sightings: Mutex<Sightings>,
    others: Mutex<Vec<Member>>,
    /// Why they cannot be seen.
    trouble: Mutex<Option<String>>,
}

impl Membership {
    pub(super) fn start(leases: &Leases, weight: u32) -> Self {
        // No other process ever has the same identity: it ends with what was drawn at its start.
        let identity = leases.identity();
        let name = leases.members() + identity.rsplit('-').next().unwrap_or(identity);
        let lease = leases.contend(name, identity, annotations(weight, ""), None);
        Self {
            weight,
            lease,
            announced: AtomicBool::default(),
            sightings: Mutex::default(),
            others: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// What was seen of a lease, and since when it is like that.
    pub(super) fn seen(&self, name: &str) -> Option<(Record, Time)> {
        lock(&self.sightings).seen(name).map(|sighting| (sighting.record.clone(), sighting.since))
    }

    /// The others that live.
    pub(super) fn others(&self) -> Vec<Member> {
        lock(&self.others).clone()
    }

    /// Why they cannot be seen: until they are once, this host contends for nothing.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// It is not to be counted any more.
    pub(super) async fn leave(&self) {
        if !self.lease.release(RELEASE).await {
            tracing::warn!(
                "the others could not be told that this host leaves; they see it when its lease has expired"
            );
        }
    }
}

fn annotations(weight: u32, clusters: &str) -> BTreeMap<String, String> {
    [(WEIGHT.to_owned(), weight.to_string()), (CLUSTERS.to_owned(), clusters.to_owned())].into()
}

fn member(lease: &Listed) -> Member {
    let said = |name: &str| lease.annotations.get(name).map(String::as_str).unwrap_or_default();
    Member {
        identity: lease.record.holder.clone(),
        weight: said(WEIGHT).parse().unwrap_or(1).clamp(1, HEAVIEST),
        clusters: said(CLUSTERS).split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
    }
}

impl Clusters {
    /// Says what this host can take, and hears who else there is, until the task is dropped.
    pub(crate) async fn share(self: Arc<Self>) {
        let (Some(leases), Some(membership)) = (&self.leases, &self.membership) else { return };
        let every = Duration::from_millis(leases.options().terms.retry());
        loop {
            self.offer_what_is_ready();
            let trouble = match leases.list().await {
                Ok((now, listed)) => {
                    self.saw(leases, membership, now, listed).await;
                    None
                }
                Err(error) => Some(format!("who shares the work cannot be seen: {error}")),
            };
            if membership.announced.load(Ordering::Relaxed) {
                let clusters: Vec<String> = lock(&self.shards).clusters().into_iter().collect();
                membership.lease.annotate(annotations(membership.weight, &clusters.join(",")));
            }
            let before = std::mem::replace(&mut *lock(&membership.trouble), trouble.clone());
            if let Some(trouble) = trouble.filter(|trouble| before.as_ref() != Some(trouble)) {
                tracing::warn!("{trouble}");
            }
            tokio::time::sleep(every).await;
        }
    }

    async fn saw(&self, leases: &Leases, membership: &Membership, now: Time, listed: Vec<Listed>) {
        let prefix = leases.members();
        let (others, left) = {
            let mut sightings = lock(&membership.sightings);
            sightings.listed(now, listed.iter().map(|lease| (lease.name.clone(), lease.record.clone())).collect());
            let mine = membership.lease.options().name.as_str();
            let members = || listed.iter().filter(|lease| lease.name.starts_with(&prefix) && lease.name != mine);
            let at = boot_time();
            let others: Vec<Member> =
                members().filter(|lease| sightings.is_live(&lease.name, at)).map(member).collect();
            if !members().any(|lease| sightings.is_doubtful(&lease.name, at)) {
                membership.announced.store(true, Ordering::Relaxed);
            }
            let left: Vec<&Listed> = members().filter(|lease| sightings.is_left(&lease.name, now)).collect();
            (others, left)
        };
        let before = std::mem::replace(&mut *lock(&membership.others), others.clone());
        let names = |members: &[Member]| -> Vec<String> { members.iter().map(|m| m.identity.clone()).collect() };
        if names(&before) != names(&others) {
            tracing::info!(others = ?names(&others), "hosts that share the work");
        }
        lock(&self.shards).others(others);
        leases.hear.notify_one();
        for lease in left {
            if let Err(error) = leases.delete(lease).await {
                tracing::debug!(lease = lease.name, "the lease of a host that is gone stays: {error}");
            }
        }
    }
}
