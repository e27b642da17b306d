//! What the reflectors of a cluster tell: lists, watch events and bookmarks, each of one scope of a kind
//! (rules A4, A8, A10, A11, D7).

use std::sync::Arc;

use super::{Engine, InFlight, News};
use crate::Time;
use crate::cache::SourceState;
use crate::coverage::Scope;
use crate::key::{Key, KeyId, Source};
use crate::object::{Object, version_reached};

/// What one reflector tells, in order.
#[derive(Clone, Debug)]
pub enum Told {
    /// It begins, for the first time or after it knew nothing: what is not there is not absent yet.
    Syncing,
    /// A complete list was asked for. What was told before stays until it is complete.
    ListBegins,
    /// The newest version of an object; none: it is gone, or has left the scope.
    Object(Key, Option<Arc<Object>>),
    /// An object is there and cannot be read: what is known of it stays.
    Unreadable(Key),
    /// The list that began last is complete, up to this version: what it has not told is gone, and from now on
    /// what was not told is absent.
    ListEnds {
        /// `metadata.resourceVersion` of the list.
        version: String,
    },
    /// Everything up to this version was told.
    Bookmark {
        /// The version.
        version: String,
    },
    /// Nothing is known at present: what was told stays, absence proves nothing (rules A4, D7).
    Unknown {
        /// For people.
        reason: String,
    },
    /// It is known again, as it was left: the watch goes on where it was cut off.
    Known,
    /// It is not watched any more: what nobody else shows of it is not known any more.
    Ended,
}

/// What an object was at when it was checked against the server (rule A11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The object.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.resourceVersion`.
    pub version: Box<str>,
}

impl Engine {
    /// A reflector tells something of a scope of a kind.
    pub fn told(&mut self, now: Time, source: &Source, scope: &Scope, told: Told) {
        match told {
            Told::Syncing => self.set_state(now, source, scope, SourceState::Syncing),
            Told::ListBegins => {
                if !self.cache.is_watched(source, scope) {
                    self.set_state(now, source, scope, SourceState::Syncing);
                }
                self.cache.list_begins(source, scope, now);
            }
            Told::Object(key, object) => self.observed_in(now, scope, &key, object),
            Told::Unreadable(key) => {
                if let Some(id) = self.cache.keys().find(&key) {
                    self.cache.stamp(scope, id);
                }
            }
            Told::ListEnds { version } => {
                for id in self.made_and_not_listed(source, scope) {
                    self.not_listed(now, scope, id);
                }
                for id in self.cache.list_ends(source, scope) {
                    self.not_listed(now, scope, id);
                }
                self.set_state(now, source, scope, SourceState::Synced);
                self.bookmark_in(now, source, scope, &version);
            }
            Told::Bookmark { version } => self.bookmark_in(now, source, scope, &version),
            Told::Unknown { reason } => self.set_state(now, source, scope, SourceState::Unknown(reason)),
            Told::Known => self.set_state(now, source, scope, SourceState::Synced),
            Told::Ended => {
                for change in self.cache.unwatched(source, scope) {
                    self.apply(now, change, None);
                }
                self.source_changed(now, source);
            }
        }
    }

    /// Objects that nothing is known of yet but what was shown while they are being made: the list that is complete has not
    /// shown them, so they have gone since.
    fn made_and_not_listed(&self, source: &Source, scope: &Scope) -> Vec<KeyId> {
        let gone = |(id, in_flight): (&KeyId, &InFlight)| {
            let key = self.cache.keys().key(*id);
            let mut seen = in_flight.news.iter().rev().filter_map(|(_, news)| match news {
                News::Seen(object) => Some(object.as_ref()),
                News::Reached(_) => None,
            });
            let last = seen.next()??;
            let its = key.source() == *source && scope.shows(key, Some(last));
            (its && self.cache.view(*id).is_none() && !self.cache.is_listed(scope, *id)).then_some(*id)
        };
        let mut gone: Vec<KeyId> = self.in_flight.iter().filter_map(gone).collect();
        gone.sort_unstable();
        gone
    }

    /// A complete list has not shown an object. If an operation on it is on its way, its answer comes first.
    fn not_listed(&mut self, now: Time, scope: &Scope, id: KeyId) {
        if self.in_flight.contains_key(&id) {
            self.keep_for_later(scope, id, None);
        } else if let Some(change) = self.cache.forgotten(id) {
            self.apply(now, change, None);
        }
    }

    pub(super) fn observed_in(&mut self, now: Time, scope: &Scope, key: &Key, object: Option<Arc<Object>>) {
        if let Some(id) = self.cache.keys().find(key)
            && self.in_flight.contains_key(&id)
        {
            self.keep_for_later(scope, id, object);
            return self.cache.stamp(scope, id);
        }
        if let Some(change) = self.cache.observed_in(scope, key, object) {
            self.apply(now, change, None);
        }
    }

    /// Where news of an object wait for the answer to a write, a bookmark is one more of them.
    pub(super) fn bookmark_in(&mut self, now: Time, source: &Source, scope: &Scope, version: &str) {
        for id in self.cache.bookmark(source, scope, version) {
            let waiting = self.in_flight.get_mut(&id).map(|in_flight| &mut in_flight.news);
            if let Some(news) = waiting.filter(|news| !news.is_empty()) {
                news.pop_if(|(of, last)| of == scope && matches!(last, News::Reached(_)));
                news.push((scope.clone(), News::Reached(version.into())));
            } else if let Some(change) = self.cache.reached(id, scope, version) {
                self.apply(now, change, None);
            }
        }
    }

    fn set_state(&mut self, now: Time, source: &Source, scope: &Scope, state: SourceState) {
        let synced = state == SourceState::Synced;
        if !self.cache.set_scope_state(source, scope, state) {
            return;
        }
        if synced {
            self.syncs += 1;
        }
        self.source_changed(now, source);
        if synced && self.cache.state(source) == SourceState::Synced {
            self.clean_up_orphans(now, source);
        }
    }

    /// After a take-over: what is known of a scope, checked against a complete list of it that was asked for at
    /// `asked` and is as of `version` (rule A11). What it does not have is gone. Answers the objects that are
    /// not known as they are there: each is to be read live ([`Engine::live_read`]).
    pub fn checked(
        &mut self,
        now: Time,
        source: &Source,
        scope: &Scope,
        (asked, version): (Time, &str),
        listed: &[Checked],
    ) -> Vec<Key> {
        let known = |engine: &Self, checked: &Checked| {
            let view = engine.cache.keys().find(&checked.key).and_then(|id| engine.cache.view(id));
            view.is_some_and(|view| {
                *view.uid() == *checked.uid
                    && version_reached(view.resource_version(), &checked.version)
                        .unwrap_or(*view.resource_version() == *checked.version)
            })
        };
        let differ: Vec<Key> =
            listed.iter().filter(|checked| !known(self, checked)).map(|checked| checked.key.clone()).collect();
        let there: rustc_hash::FxHashSet<&Key> = listed.iter().map(|checked| &checked.key).collect();
        for id in self.cache.missing(source, scope, asked, version, &there) {
            self.not_listed(now, scope, id);
        }
        differ
    }
}

#[cfg(test)]
#[path = "reflect_tests.rs"]
mod tests;
