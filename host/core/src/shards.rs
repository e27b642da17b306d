//! Who does which part of the work, of several hosts (rules B14, D8, D14).
//!
//! A shard is a cluster, or a range of the keys of a large one. Each has a lease, and which of the members contends for it
//! is drawn by rendezvous hashing: who comes or goes moves only what it takes or leaves. Who holds a shard that is meant for
//! another one ends what is under way before it gives the lease back; who gets one checks what it knows before it acts.
//!
//! Events and times in, steps out; who carries out a step that takes time answers with [`Shards::done`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::Time;
use crate::delay::Rng;
use crate::effects::digest;
use crate::key::{Key, Name};
use crate::lease::Record;

/// The ranges into which the keys of a large cluster are divided.
pub const RANGES: u8 = 64;
/// The largest weight of a member.
pub const HEAVIEST: u32 = 100;

/// A part of the work that one host does at a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shard {
    /// The cluster.
    pub cluster: Name,
    /// The range of its keys, below [`RANGES`]; none: all of them.
    pub range: Option<u8>,
}

impl Shard {
    /// A cluster as a whole.
    pub fn whole(cluster: &Name) -> Self {
        Self { cluster: cluster.clone(), range: None }
    }

    /// Whether an owner is in it.
    pub fn covers(&self, owner: &Key) -> bool {
        self.cluster == owner.cluster && self.range.is_none_or(|range| range == range_of(owner))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            None => write!(f, "{}", self.cluster),
            Some(range) => write!(f, "{}/{range}", self.cluster),
        }
    }
}

/// How the keys of a cluster are divided.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Division {
    /// Not at all.
    #[default]
    Whole,
    /// Into [`RANGES`] ranges.
    Ranges,
}

impl Division {
    /// The shards of a cluster.
    pub fn shards(self, cluster: &Name) -> Vec<Shard> {
        match self {
            Division::Whole => vec![Shard::whole(cluster)],
            Division::Ranges => {
                (0..RANGES).map(|range| Shard { cluster: cluster.clone(), range: Some(range) }).collect()
            }
        }
    }

    /// The shard that an owner is in.
    pub fn shard_of(self, owner: &Key) -> Shard {
        let range = match self {
            Division::Whole => None,
            Division::Ranges => Some(range_of(owner)),
        };
        Shard { cluster: owner.cluster.clone(), range }
    }
}

/// The range of an owner's key. What its cluster is called plays no part.
fn range_of(owner: &Key) -> u8 {
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    (stable_hash([&*owner.group, &*owner.kind, namespace, &*owner.name]) % u64::from(RANGES)) as u8
}

/// The same on every host and in every version: leases are contended for by it.
fn stable_hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // No text contains the byte that ends it.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Rng::new(hash).next_u64()
}

/// What a cluster is called where hosts meet that may know it under different names: by what it is, and by the
/// namespaces that are looked at, if not all are.
pub fn cluster_id(identity: &str, namespaces: &[Name]) -> String {
    let mut namespaces: Vec<&str> = namespaces.iter().map(|namespace| &**namespace).collect();
    namespaces.sort_unstable();
    let parts: Vec<&str> = std::iter::once(identity).chain(namespaces).collect();
    digest(&parts)[..16].to_owned()
}

/// A host that does a part of the work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What it is called in leases. No other process ever has the same.
    pub identity: String,
    /// Its share of the work, in proportion to those of the others: 1 to [`HEAVIEST`].
    pub weight: u32,
    /// The clusters that it could act on, by [`cluster_id`].
    pub clusters: BTreeSet<String>,
}

/// How well a member does in the draw for a shard: the best of as many draws as its weight.
fn draw(member: &Member, shard: u64) -> u64 {
    let mut rng = Rng::new(stable_hash([member.identity.as_str()]) ^ shard);
    (0..member.weight.clamp(1, HEAVIEST)).map(|_| rng.next_u64()).max().unwrap_or_default()
}

/// The leases of hosts that share work, as this one has seen them.
#[derive(Default, Debug)]
pub struct Sightings {
    seen: BTreeMap<String, Sighting>,
}

/// A lease, as it was seen last.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// What it says.
    pub record: Record,
    /// Since when it is seen to say that.
    pub since: Time,
    /// It was seen to change: whoever holds it lived when this host did.
    moved: bool,
}

impl Sighting {
    fn is_live(&self, now: Time) -> bool {
        !self.record.holder.is_empty() && now < self.since + self.record.duration
    }
}

impl Sightings {
    /// All leases were listed, by name.
    pub fn listed(&mut self, now: Time, leases: Vec<(String, Record)>) {
        let mut before = std::mem::take(&mut self.seen);
        for (name, record) in leases {
            let sighting = match before.remove(&name) {
                Some(known) if known.record == record => known,
                known => Sighting { record, since: now, moved: known.is_some() },
            };
            self.seen.insert(name, sighting);
        }
    }

    /// A lease.
    pub fn seen(&self, name: &str) -> Option<&Sighting> {
        self.seen.get(name)
    }

    /// Whether a lease is held, as far as can be told from here.
    pub fn is_live(&self, name: &str, now: Time) -> bool {
        self.seen.get(name).is_some_and(|sighting| sighting.is_live(now))
    }

    /// Whether a lease that counts as held is what somebody may have left who was gone before this host came: it was never
    /// seen to change.
    pub fn is_doubtful(&self, name: &str, now: Time) -> bool {
        self.seen.get(name).is_some_and(|sighting| sighting.is_live(now) && !sighting.moved)
    }

    /// Whether a lease has not been touched for so long that nobody will.
    pub fn is_left(&self, name: &str, now: Time) -> bool {
        const LONG: u64 = 10;
        let long = |sighting: &Sighting| sighting.since + LONG * sighting.record.duration.max(1_000);
        self.seen.get(name).is_some_and(|sighting| now >= long(sighting))
    }
}

/// Something to be done about a shard, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Its lease is wanted: contend for it. [`Shards::held`] tells what comes of it.
    Contend(Shard),
    /// Compare what is known of it with the server (rule A11), then [`Shards::done`].
    Check(Shard, Ticket),
    /// Act on it from now on.
    Act(Shard),
    /// Begin nothing more there. Once what is under way has ended, and nothing that runs on this host for owners there is
    /// left (rule B14), [`Shards::done`].
    Drain(Shard, Ticket),
    /// Its lease is lost: give up what is under way there, and end what runs on this host for owners there, at once.
    Stop(Shard),
    /// Give its lease back, or do not contend for it any more, then [`Shards::done`].
    Release(Shard, Ticket),
}

/// Stands for a step that takes time.
pub type Ticket = u64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Contending,
    Checking(Ticket),
    Acting,
    Draining(Ticket),
    Releasing(Ticket),
}

#[derive(Debug)]
struct Entry {
    /// The cluster, by [`cluster_id`].
    cluster: String,
    /// What is drawn for.
    hash: u64,
    phase: Phase,
    /// This host could act on it.
    here: bool,
    /// In which term its lease is held, if it is.
    term: Option<u64>,
}

/// The shards from the view of one host. See the module's text.
#[derive(Debug)]
pub struct Shards {
    /// This host among others; none: it does all of the work whenever it holds the one lease.
    me: Option<Member>,
    /// The others that live; none: they are not known yet, and nothing is wanted.
    others: Option<Vec<Member>>,
    shards: BTreeMap<Shard, Entry>,
    steps: VecDeque<Step>,
    tickets: Ticket,
}

impl Shards {
    /// One host does all of the work: the one that holds the one lease.
    pub fn one_for_all() -> Self {
        Self { me: None, others: None, shards: BTreeMap::new(), steps: VecDeque::new(), tickets: 0 }
    }

    /// The work is shared with others; of this host identity and weight.
    pub fn shared(identity: impl Into<String>, weight: u32) -> Self {
        let me = Member { identity: identity.into(), weight, clusters: BTreeSet::new() };
        Self { me: Some(me), ..Self::one_for_all() }
    }

    /// This host could act on a shard from now on; `cluster`: its cluster's [`cluster_id`].
    pub fn offer(&mut self, shard: &Shard, cluster: &str) {
        let range = shard.range.map(|range| range.to_string()).unwrap_or_default();
        let entry = self.shards.entry(shard.clone()).or_insert_with(|| Entry {
            cluster: cluster.to_owned(),
            hash: stable_hash([cluster, &range]),
            phase: Phase::Idle,
            here: true,
            term: None,
        });
        entry.here = true;
        self.settle(shard);
    }

    /// This host cannot act on the shards of a cluster any more. Where one host does all of the work it still holds the
    /// lease, and what it runs for owners there goes on.
    pub fn withdraw(&mut self, cluster: &Name) {
        if self.me.is_none() {
            self.shards.retain(|shard, _| shard.cluster != *cluster);
            return;
        }
        let its: Vec<Shard> = self.shards.keys().filter(|shard| shard.cluster == *cluster).cloned().collect();
        for shard in its {
            if let Some(entry) = self.shards.get_mut(&shard) {
                entry.here = false;
            }
            self.settle(&shard);
        }
    }

    /// These members live, this one aside.
    pub fn others(&mut self, others: Vec<Member>) {
        if self.others.as_ref() == Some(&others) {
            return;
        }
        self.others = Some(others);
        let all: Vec<Shard> = self.shards.keys().cloned().collect();
        all.iter().for_each(|shard| self.settle(shard));
    }

    /// Whether a shard is held, and in which term: another number stands for a time in between in which it was not.
    pub fn held(&mut self, shard: &Shard, term: Option<u64>) {
        let Some(entry) = self.shards.get_mut(shard) else { return };
        let before = std::mem::replace(&mut entry.term, term);
        if before == term {
            return;
        }
        if before.is_some() && matches!(entry.phase, Phase::Checking(_) | Phase::Acting | Phase::Draining(_)) {
            entry.phase = Phase::Contending;
            self.steps.push_back(Step::Stop(shard.clone()));
        }
        self.settle(shard);
    }

    /// A step that takes time is done. One that is not to be done any more is none.
    pub fn done(&mut self, shard: &Shard, ticket: Ticket) {
        let Some(entry) = self.shards.get_mut(shard) else { return };
        match entry.phase {
            Phase::Checking(current) if current == ticket => {
                entry.phase = Phase::Acting;
                self.steps.push_back(Step::Act(shard.clone()));
            }
            Phase::Draining(current) if current == ticket => self.release(shard),
            Phase::Releasing(current) if current == ticket => {
                entry.phase = Phase::Idle;
                entry.term = None;
            }
            _ => return,
        }
        self.settle(shard);
    }

    fn release(&mut self, shard: &Shard) {
        let ticket = self.ticket();
        if let Some(entry) = self.shards.get_mut(shard) {
            entry.phase = Phase::Releasing(ticket);
            self.steps.push_back(Step::Release(shard.clone(), ticket));
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Goes from where a shard is to where it is to be.
    fn settle(&mut self, shard: &Shard) {
        let wanted = self.is_wanted(shard);
        let ticket = self.ticket();
        let Some(entry) = self.shards.get_mut(shard) else { return };
        if entry.phase == Phase::Idle && wanted {
            entry.phase = Phase::Contending;
            self.steps.push_back(Step::Contend(shard.clone()));
        }
        match (entry.phase, wanted) {
            (Phase::Contending, true) if entry.term.is_some() => {
                entry.phase = Phase::Checking(ticket);
                self.steps.push_back(Step::Check(shard.clone(), ticket));
            }
            (Phase::Contending, false) => self.release(shard),
            (Phase::Checking(_) | Phase::Acting, false) => {
                entry.phase = Phase::Draining(ticket);
                self.steps.push_back(Step::Drain(shard.clone(), ticket));
            }
            (Phase::Idle, false) if !entry.here => drop(self.shards.remove(shard)),
            _ => {}
        }
    }

    fn is_wanted(&self, shard: &Shard) -> bool {
        let Some(entry) = self.shards.get(shard).filter(|entry| entry.here) else { return false };
        let Some(me) = &self.me else { return true };
        let Some(others) = &self.others else { return false };
        let mine = (draw(me, entry.hash), me.identity.as_str());
        let theirs = others.iter().filter(|other| other.clusters.contains(&entry.cluster));
        theirs.map(|other| (draw(other, entry.hash), other.identity.as_str())).all(|theirs| theirs < mine)
    }

    /// What is to be done next; none if there is nothing now.
    pub fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// The shards that this host could act on, and whether it does.
    pub fn all(&self) -> impl Iterator<Item = (&Shard, bool)> {
        self.shards.iter().map(|(shard, entry)| (shard, entry.phase == Phase::Acting))
    }

    /// The clusters that this host could act on, by [`cluster_id`].
    pub fn clusters(&self) -> BTreeSet<String> {
        self.shards.values().filter(|entry| entry.here).map(|entry| entry.cluster.clone()).collect()
    }
}

#[cfg(test)]
#[path = "shards_tests.rs"]
mod tests;
