//! Which clusters take part: what providers offer is reached, engaged and let go (design §3).
//!
//! A name belongs to who offered it first; who offers it as well comes in when that one withdraws it. A cluster that
//! is another one's over again, in namespaces that overlap, is refused while that one takes part: two would write to
//! the same objects. One that cannot be reached is tried again for ever, and holds up nobody.
//!
//! Events and times in, steps out; who carries them out answers with [`Fleet::connected`] or [`Fleet::failed`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Time;
use crate::delay::{Backoff, Rng};
use crate::key::{HUB, LOCAL, Name};

/// Clusters that are being reached at a time …
const CONNECTING: usize = 512;
/// … of which so many have been for less than [`QUICK`]: what is slow holds up nobody.
const CONNECTING_QUICKLY: usize = 64;
const QUICK: Time = 1_000;
/// Between tries: 1 s, doubling, up to a minute.
const BACKOFF: Backoff = Backoff { first: 1_000, longest: 60_000, fast_retries: 7 };
/// The longest name.
const LONGEST_NAME: usize = 253;

/// What a provider says of a cluster, as far as it decides anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Differs when it is reached in another way, such as at another address. Credentials that are renewed are no
    /// other way.
    pub instance: Name,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
}

/// Why an offer is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OfferError {
    /// The name is none.
    #[error(
        "{0:?} is no name for a cluster: it consists of lower-case letters, digits, `-` and `.`, at most {LONGEST_NAME}"
    )]
    Name(String),
    /// The name is taken for good.
    #[error("the name {0} is the host's own; take another one")]
    Reserved(Name),
}

/// Something to be done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A cluster is to be reached. The ticket stands for this try.
    Connect {
        /// The cluster.
        name: Name,
        /// Who offers it.
        provider: Name,
        /// The try.
        ticket: u64,
    },
    /// What was reached takes part from now on.
    Engage {
        /// The cluster.
        name: Name,
        /// The try that has reached it.
        ticket: u64,
    },
    /// A cluster does not take part any more.
    Disengage {
        /// The cluster.
        name: Name,
        /// The try that had reached it.
        ticket: u64,
        /// For people.
        reason: String,
    },
    /// A try is not needed any more, or what it has reached is not.
    Drop {
        /// The try.
        ticket: u64,
    },
}

/// How a cluster is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is being reached, or is about to be.
    Connecting,
    /// It takes part.
    Engaged,
    /// It could not be reached, and is tried again.
    Unreachable,
    /// It is another one's over again.
    Refused,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] = [State::Connecting, State::Engaged, State::Unreachable, State::Refused];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Connecting => "Connecting",
            State::Engaged => "Engaged",
            State::Unreachable => "Unreachable",
            State::Refused => "Refused",
        }
    }
}

/// What there is to say of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its name.
    pub name: Name,
    /// Who offers it.
    pub provider: Name,
    /// Who offers it as well, and does not count.
    pub rivals: Vec<Name>,
    /// How it is doing.
    pub state: State,
    /// Why it is not engaged.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: Time,
    /// When it is tried next, if it waits for that.
    pub next: Option<Time>,
    /// Tries in a row that have failed.
    pub failures: u32,
    /// What it is, once that is known.
    pub identity: Option<String>,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
}

#[derive(Debug)]
enum Phase {
    Waiting(Time),
    Connecting { ticket: u64, since: Time },
    Engaged { ticket: u64 },
    Refused { by: Name },
}

#[derive(Debug)]
struct Member {
    /// The first is the one that counts.
    offers: Vec<(Name, Offer)>,
    phase: Phase,
    since: Time,
    arrival: u64,
    failures: u32,
    reason: Option<String>,
    identity: Option<String>,
    /// It is not a provider's to offer.
    seated: bool,
}

impl Member {
    fn provider(&self) -> Name {
        self.offers.first().map_or_else(|| "".into(), |(provider, _)| provider.clone())
    }

    fn namespaces(&self) -> &[Name] {
        self.offers.first().map_or(&[], |(_, offer)| &offer.namespaces)
    }
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Fleet {
    members: BTreeMap<Name, Member>,
    /// Those that wait to be tried: first the ones that never were.
    waiting: BTreeSet<(bool, Time, u64, Name)>,
    /// The tries that are under way, by when they began.
    connecting: BTreeSet<(Time, u64)>,
    /// Whose tries these are.
    tickets: BTreeMap<u64, Name>,
    steps: VecDeque<Step>,
    numbers: u64,
    rng: Rng,
    changes: u64,
}

impl Fleet {
    /// A fleet without clusters.
    pub fn new(seed: u64) -> Self {
        Self {
            members: BTreeMap::new(),
            waiting: BTreeSet::new(),
            connecting: BTreeSet::new(),
            tickets: BTreeMap::new(),
            steps: VecDeque::new(),
            numbers: 0,
            rng: Rng::new(seed),
            changes: 0,
        }
    }

    /// A cluster that takes part from the beginning to the end: `local`, and the hub.
    pub fn seat(&mut self, now: Time, name: &Name, provider: &Name, identity: &str, namespaces: Vec<Name>) {
        let offer = Offer { instance: "".into(), namespaces };
        let ticket = self.number();
        let mut member = self.member(now, provider, offer);
        member.phase = Phase::Engaged { ticket };
        (member.identity, member.seated) = (Some(identity.to_owned()), true);
        self.members.insert(name.clone(), member);
        self.changes += 1;
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn member(&mut self, now: Time, provider: &Name, offer: Offer) -> Member {
        Member {
            offers: vec![(provider.clone(), offer)],
            phase: Phase::Waiting(now),
            since: now,
            arrival: self.number(),
            failures: 0,
            reason: None,
            identity: None,
            seated: false,
        }
    }

    /// A provider offers a cluster, or offers it in another way. The same offer once more changes nothing.
    ///
    /// # Errors
    /// The name is none, or is the host's own.
    pub fn offered(&mut self, now: Time, provider: &Name, name: &Name, offer: Offer) -> Result<(), OfferError> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(good) {
            return Err(OfferError::Name(name.to_string()));
        }
        if [LOCAL, HUB].contains(&&**name) {
            return Err(OfferError::Reserved(name.clone()));
        }
        let Some(member) = self.members.get_mut(name) else {
            let member = self.member(now, provider, offer);
            self.members.insert(name.clone(), member);
            self.wait(name, now);
            return Ok(());
        };
        match member.offers.iter().position(|(by, _)| by == provider) {
            Some(at) if member.offers[at].1 == offer => {}
            Some(at) => {
                member.offers[at].1 = offer;
                if at == 0 {
                    self.begin_anew(now, name, "it is reached in another way now");
                }
            }
            None => {
                member.offers.push((provider.clone(), offer));
                self.changes += 1;
            }
        }
        Ok(())
    }

    /// A provider does not offer a cluster any more.
    pub fn withdrawn(&mut self, now: Time, provider: &Name, name: &Name, reason: &str) {
        let Some(member) = self.members.get_mut(name).filter(|member| !member.seated) else { return };
        let Some(at) = member.offers.iter().position(|(by, _)| by == provider) else { return };
        self.changes += 1;
        if at > 0 {
            member.offers.remove(at);
        } else if member.offers.len() > 1 {
            member.offers.remove(0);
            self.begin_anew(now, name, reason);
        } else {
            self.let_go(now, name, reason);
            self.members.remove(name);
        }
    }

    /// The clusters that a provider offers, first or as well, in order.
    pub fn offered_by(&self, provider: &Name) -> Vec<Name> {
        let its = |member: &Member| !member.seated && member.offers.iter().any(|(by, _)| by == provider);
        self.members.iter().filter(|(_, member)| its(member)).map(|(name, _)| name.clone()).collect()
    }

    /// A try has reached a cluster, and this is what it is.
    pub fn connected(&mut self, now: Time, ticket: u64, identity: &str) {
        let Some(name) = self.ended(ticket) else {
            return self.steps.push_back(Step::Drop { ticket });
        };
        let Some(member) = self.members.get(&name) else { return };
        let namespaces = member.namespaces().to_vec();
        let twin = self.members.iter().find(|(other, member)| {
            **other != name
                && matches!(member.phase, Phase::Engaged { .. })
                && member.identity.as_deref() == Some(identity)
                && overlap(member.namespaces(), &namespaces)
        });
        let by = twin.map(|(by, _)| by.clone());
        let Some(member) = self.members.get_mut(&name) else { return };
        member.identity = Some(identity.to_owned());
        member.failures = 0;
        member.since = now;
        match by {
            Some(by) => {
                member.reason = Some(format!(
                    "it is the cluster {by} once more (uid {identity}), in namespaces that overlap; one of the two is enough"
                ));
                member.phase = Phase::Refused { by };
                self.steps.push_back(Step::Drop { ticket });
            }
            None => {
                member.reason = None;
                member.phase = Phase::Engaged { ticket };
                self.steps.push_back(Step::Engage { name, ticket });
            }
        }
        self.changes += 1;
    }

    /// A try has not reached a cluster.
    pub fn failed(&mut self, now: Time, ticket: u64, reason: &str) {
        let Some(name) = self.ended(ticket) else { return };
        let Some(member) = self.members.get_mut(&name) else { return };
        member.failures += 1;
        if member.reason.is_none() {
            member.since = now;
        }
        if member.reason.as_deref() != Some(reason) {
            member.reason = Some(reason.to_owned());
            self.changes += 1;
        }
        let delay = BACKOFF.delay(member.failures, &mut self.rng);
        self.wait(&name, now + delay);
    }

    /// A try is over. None: nobody waits for it any more.
    fn ended(&mut self, ticket: u64) -> Option<Name> {
        let name = self.tickets.remove(&ticket)?;
        let phase = &self.members.get(&name)?.phase;
        let Phase::Connecting { since, .. } = *phase else { return None };
        self.connecting.remove(&(since, ticket));
        Some(name)
    }

    fn wait(&mut self, name: &Name, until: Time) {
        let Some(member) = self.members.get_mut(name) else { return };
        member.phase = Phase::Waiting(until);
        self.waiting.insert((member.failures > 0, until, member.arrival, name.clone()));
        self.changes += 1;
    }

    /// Nothing of what was done for a member holds any more. What was refused for its sake may come in.
    fn let_go(&mut self, now: Time, name: &Name, reason: &str) {
        let Some(member) = self.members.get_mut(name) else { return };
        member.identity = None;
        match &member.phase {
            Phase::Waiting(until) => {
                self.waiting.remove(&(member.failures > 0, *until, member.arrival, name.clone()));
            }
            Phase::Connecting { ticket, since } => {
                let (ticket, since) = (*ticket, *since);
                self.connecting.remove(&(since, ticket));
                self.tickets.remove(&ticket);
                self.steps.push_back(Step::Drop { ticket });
            }
            Phase::Engaged { ticket } => {
                let ticket = *ticket;
                self.steps.push_back(Step::Disengage { name: name.clone(), ticket, reason: reason.to_owned() });
                let its = |member: &Member| matches!(&member.phase, Phase::Refused { by } if by == name);
                let refused: Vec<Name> =
                    self.members.iter().filter(|(_, member)| its(member)).map(|(name, _)| name.clone()).collect();
                for name in refused {
                    if let Some(member) = self.members.get_mut(&name) {
                        (member.reason, member.since) = (None, now);
                    }
                    self.wait(&name, now);
                }
            }
            Phase::Refused { .. } => {}
        }
    }

    fn begin_anew(&mut self, now: Time, name: &Name, reason: &str) {
        self.let_go(now, name, reason);
        if let Some(member) = self.members.get_mut(name) {
            (member.failures, member.reason, member.since) = (0, None, now);
        }
        self.wait(name, now);
    }

    /// What is to be done next; none if there is nothing now.
    pub fn next(&mut self, now: Time) -> Option<Step> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        let quick = (now.saturating_sub(QUICK) + 1, 0);
        if self.connecting.len() >= CONNECTING || self.connecting.range(quick..).count() >= CONNECTING_QUICKLY {
            return None;
        }
        let tried = |after: bool| self.waiting.range((after, 0, 0, Name::from(""))..).next();
        let due = tried(false).into_iter().chain(tried(true)).find(|(_, at, ..)| *at <= now)?.clone();
        self.waiting.remove(&due);
        let name = due.3;
        let ticket = self.number();
        let member = self.members.get_mut(&name)?;
        member.phase = Phase::Connecting { ticket, since: now };
        let provider = member.provider();
        self.connecting.insert((now, ticket));
        self.tickets.insert(ticket, name.clone());
        Some(Step::Connect { name, provider, ticket })
    }

    /// When there is something to be done next, if nothing comes from outside.
    pub fn next_wakeup(&self) -> Option<Time> {
        if !self.steps.is_empty() {
            return Some(0);
        }
        let tried = |after: bool| self.waiting.range((after, 0, 0, Name::from(""))..).next().map(|(_, at, ..)| *at);
        let due = tried(false).into_iter().chain(tried(true)).min()?;
        // Where all places are taken, one becomes free when its try ends or turns out to be slow.
        match self.connecting.iter().rev().nth(CONNECTING_QUICKLY - 1) {
            Some((began, _)) if began + QUICK > due => Some(began + QUICK),
            _ if self.connecting.len() >= CONNECTING => None,
            _ => Some(due),
        }
    }

    /// All clusters, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.members.iter().map(|(name, member)| row(name, member))
    }

    /// One of them.
    pub fn row(&self, name: &Name) -> Option<Row> {
        self.members.get(name).map(|member| row(name, member))
    }

    /// Counts what may have changed [`Fleet::rows`].
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

fn row(name: &Name, member: &Member) -> Row {
    Row {
        name: name.clone(),
        provider: member.provider(),
        rivals: member.offers.iter().skip(1).map(|(provider, _)| provider.clone()).collect(),
        state: match member.phase {
            Phase::Engaged { .. } => State::Engaged,
            Phase::Refused { .. } => State::Refused,
            _ if member.reason.is_some() => State::Unreachable,
            _ => State::Connecting,
        },
        reason: member.reason.clone(),
        since: member.since,
        next: match member.phase {
            Phase::Waiting(until) => Some(until),
            _ => None,
        },
        failures: member.failures,
        identity: member.identity.clone(),
        namespaces: member.namespaces().to_vec(),
    }
}

fn overlap(a: &[Name], b: &[Name]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|namespace| b.contains(namespace))
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
