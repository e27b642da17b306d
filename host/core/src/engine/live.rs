//! Operations on their way and what the reflector shows of their targets meanwhile, live reads, and
//! views that a reflector never catches up with (rules A10, C1).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempt::Attempt;
use super::{Engine, News};
use crate::Time;
use crate::coverage::Scope;
use crate::key::{Key, KeyId, Name, Source};
use crate::object::{Object, version_reached};
use crate::op::{Answer, Op, Refusal};

/// A live read that is about to be made: what its answer is worth depends on what was heard since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveRead {
    key: Key,
    /// The changes that were known then.
    changes: u64,
}

impl LiveRead {
    /// What is read.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl Engine {
    /// An operation is about to be sent.
    pub(super) fn write_begins(&mut self, op: &Op) {
        if let Some(target) = op.target() {
            let id = self.cache.intern(target);
            self.in_flight.entry(id).or_default().operations += 1;
        }
    }

    /// An operation was answered. What the reflector showed of its target meanwhile is sorted around
    /// the answer: older versions are foreign changes that it came upon, the same version is the
    /// echo, newer ones came after.
    pub(super) fn write_ends(&mut self, now: Time, attempt: &Attempt, op: &Op, answer: &Answer) {
        let (owner, origin) = (attempt.id, Some((attempt.id, attempt.number)));
        let Some(target) = op.target().cloned() else { return };
        let id = self.cache.intern(&target);
        let Some(in_flight) = self.in_flight.get_mut(&id) else { return };
        in_flight.operations -= 1;
        let mut news = std::mem::take(&mut in_flight.news);
        let outdated = in_flight.outdated;
        if in_flight.operations == 0 {
            self.in_flight.remove(&id);
        }
        if let Answer::Applied { object, .. } | Answer::Found(object) = answer {
            let older = |(_, news): &(Scope, News)| match news {
                News::Seen(Some(seen)) => {
                    seen.uid() == object.uid()
                        && seen.resource_version() != object.resource_version()
                        && version_reached(object.resource_version(), seen.resource_version()) == Some(true)
                }
                News::Seen(None) | News::Reached(_) => false,
            };
            // What came before an older version is older still, such as the end of an object that was called so.
            let after = news.iter().rposition(older).map_or(0, |at| at + 1);
            let rest = news.split_off(after);
            for (scope, news) in std::mem::replace(&mut news, rest) {
                self.take_in(now, &scope, &target, news);
            }
        }
        match (op, answer) {
            (Op::Get(_), Answer::Found(object)) => self.read_live(now, &target, Some(object.clone())),
            (Op::Get(_), Answer::Absent) => self.read_live(now, &target, None),
            (_, Answer::Applied { object, .. }) => {
                if let Some(change) = self.cache.wrote(now, &target, object.clone()) {
                    self.apply(now, change, origin);
                }
            }
            (_, Answer::Absent) => {
                if let Some(change) = self.cache.wrote_absence(now, &target) {
                    self.apply(now, change, origin);
                }
            }
            (_, Answer::Refused(Refusal::Unknown(_) | Refusal::Transient(_))) if op.writes().is_some() => {
                if let Some(state) = self.state_mut(owner)
                    && !state.unsure.contains(&target)
                {
                    state.unsure.push(target.clone());
                }
            }
            _ => {}
        }
        match self.in_flight.get_mut(&id) {
            // Another operation is on its way: what is left waits for its answer.
            Some(in_flight) => {
                news.append(&mut in_flight.news);
                in_flight.outdated = outdated && !news.is_empty();
                in_flight.news = news;
            }
            None => {
                for (scope, news) in news {
                    self.take_in(now, &scope, &target, news);
                }
                self.forget_if_unused(id);
            }
        }
        if outdated && !self.is_outdated(id) {
            self.syncs += 1;
            self.source_changed(now, &target.source());
        }
    }

    /// What a reflector shows of an object waits for the answer to an operation on it.
    pub(super) fn keep_for_later(&mut self, scope: &Scope, id: KeyId, object: Option<Arc<Object>>) {
        let synced = self.cache.is_synced(&self.cache.keys().key(id).source(), scope);
        if let Some(in_flight) = self.in_flight.get_mut(&id) {
            in_flight.news.push((scope.clone(), News::Seen(object)));
            in_flight.outdated |= !synced;
        }
    }

    /// Whether what is known of an object is of the time before its reflector knew nothing: what was shown since waits for
    /// the answer to an operation on it. Nobody is told of it before (rule A11).
    pub(super) fn is_outdated(&self, id: KeyId) -> bool {
        self.in_flight.get(&id).is_some_and(|in_flight| in_flight.outdated)
    }

    /// [`Engine::is_outdated`] for a kind or one namespace of it.
    pub(super) fn is_any_outdated(&self, source: &Source, namespace: Option<&Name>) -> bool {
        let of = |key: &Key| key.source() == *source && (namespace.is_none() || key.namespace.as_ref() == namespace);
        self.in_flight.iter().any(|(id, in_flight)| in_flight.outdated && of(self.cache.keys().key(*id)))
    }

    /// How often something came to be known that was not.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    fn take_in(&mut self, now: Time, scope: &Scope, key: &Key, news: News) {
        let change = match news {
            News::Seen(object) => self.cache.observed_in(scope, key, object),
            News::Reached(version) => {
                let id = self.cache.intern(key);
                self.cache.reached(id, scope, &version)
            }
        };
        if let Some(change) = change {
            self.apply(now, change, None);
        }
    }

    fn read_live(&mut self, now: Time, key: &Key, object: Option<Arc<Object>>) {
        let id = self.cache.intern(key);
        let newer = match (&object, self.cache.view(id)) {
            (Some(live), Some(view)) if live.uid() == view.uid() => {
                version_reached(live.resource_version(), view.resource_version()) != Some(false)
            }
            _ => true,
        };
        if !newer {
            return;
        }
        if let Some(change) = self.cache.read_live(now, key, object) {
            // Whatever it shows came from elsewhere: what this host wrote and knows of is known already.
            self.apply(now, change, None);
        }
    }

    /// What a list shows of objects with operations on their way waits for the answers, as watch
    /// events do; for the list these objects are as they are known.
    pub(super) fn set_aside(&mut self, source: &Source, objects: Vec<(Key, Arc<Object>)>) -> Vec<(Key, Arc<Object>)> {
        let mut busy: Vec<KeyId> =
            self.in_flight.keys().copied().filter(|id| self.cache.keys().key(*id).source() == *source).collect();
        if busy.is_empty() {
            return objects;
        }
        busy.sort_unstable();
        let mut rest: BTreeMap<Key, Arc<Object>> = objects.into_iter().collect();
        for id in busy {
            let key = (**self.cache.keys().key(id)).clone();
            let listed = rest.remove(&key);
            if let Some(view) = self.cache.view(id) {
                rest.insert(key, view.clone());
            }
            self.keep_for_later(&Scope::All, id, listed);
        }
        rest.into_iter().collect()
    }

    /// Objects that the reflector has not caught up with for a minute (rule A10): the driver reads
    /// each live ([`Engine::live_read`]).
    pub fn stale(&mut self, now: Time) -> Vec<Arc<Key>> {
        self.look_for_stale(now);
        std::mem::take(&mut self.unconfirmed)
    }

    /// Keeps in mind what wants a live read, so that a wake-up for it comes once a minute at most.
    pub(super) fn look_for_stale(&mut self, now: Time) {
        for key in self.cache.stale_overlays(now) {
            // What no reflector will ever show and nobody depends on any more is not asked for for ever.
            if let Some(id) = self.cache.keys().find(&key)
                && !self.cache.is_covered(&key)
                && !self.cache.is_shown_as_owned(id)
                && !self.deps.is_read(id)
                && !self.in_flight.contains_key(&id)
            {
                if let Some(change) = self.cache.forgotten(id) {
                    self.apply(now, change, None);
                }
                continue;
            }
            if !self.unconfirmed.contains(&key) {
                self.unconfirmed.push(key);
            }
        }
    }

    /// An object is about to be read live; [`Engine::read_back`] takes the answer.
    pub fn live_read(&self, key: &Key) -> LiveRead {
        LiveRead { key: key.clone(), changes: self.counts.changes }
    }

    /// The answer to a live read; none: it is not there. Answers whether that was of use. If not, it is to be read again:
    /// an operation on it is on its way, or something else was heard of it since, and nobody can tell which is newer.
    pub fn read_back(&mut self, now: Time, read: &LiveRead, object: Option<Arc<Object>>) -> bool {
        let Some(id) = self.cache.keys().find(&read.key) else {
            self.read_live(now, &read.key, object);
            return true;
        };
        let known = match (&object, self.cache.view(id)) {
            (Some(live), Some(view)) => version_reached(view.resource_version(), live.resource_version()),
            _ => None,
        };
        if known == Some(true) {
            return true;
        }
        let moved = self.moves.get(id.index()).is_some_and(|(number, _)| *number > read.changes);
        if self.in_flight.contains_key(&id) || moved && known.is_none() {
            return false;
        }
        self.read_live(now, &read.key, object);
        true
    }
}
