//! Read your own writes: what was written or read live and the reflector has not shown yet (rule A10).

use std::sync::Arc;

use super::{Cache, Change};
use crate::Time;
use crate::coverage::Scope;
use crate::key::{Key, KeyId};
use crate::object::{Object, version_reached};

/// An overlay older than this forces a live read.
pub const OVERLAY_MAX_AGE: u64 = 60_000;

/// The answer to a write or a live read that the reflector has not shown yet.
#[derive(Debug)]
pub(super) struct Overlay {
    /// It is a tombstone: the object is gone.
    pub(super) gone: bool,
    /// Version of the answer; of a tombstone, the last that was known of the object.
    pub(super) version: Box<str>,
    /// Uid of the object.
    pub(super) uid: Box<str>,
    /// What the reflector shows meanwhile.
    pub(super) reflected: Option<Arc<Object>>,
    pub(super) since: Time,
    /// When it was made, or last named as too old to be believed.
    pub(super) counted: Time,
}

impl Overlay {
    fn of(object: &Object, gone: bool, reflected: Option<Arc<Object>>, now: Time) -> Self {
        let (version, uid) = (object.resource_version().into(), object.uid().into());
        Self { gone, version, uid, reflected, since: now, counted: now }
    }

    /// Whether what the reflector shows is of this moment or a later one.
    pub(super) fn is_caught_up(&self, shown: Option<&Object>) -> bool {
        match shown {
            // The deletion of what was written comes after the write; that of its predecessor before.
            None => self.reflected.as_ref().is_some_and(|seen| *seen.uid() == *self.uid),
            // A successor is newer than the last that was known of what is gone, a predecessor is not.
            Some(object) if self.gone => {
                *object.uid() != *self.uid && version_reached(object.resource_version(), &self.version) != Some(false)
            }
            Some(object) => version_reached(object.resource_version(), &self.version)
                .unwrap_or(object.resource_version() == &*self.version),
        }
    }
}

impl Cache {
    /// The reflector of a scope has seen everything of an object up to this version: what it shows counts, unless a
    /// newer version was written.
    pub fn reached(&mut self, id: KeyId, scope: &Scope, version: &str) -> Option<Change> {
        if !self.is_behind(id, scope, version) {
            return None;
        }
        let overlay = self.overlays.remove(&id)?;
        self.set_view(id, overlay.reflected)
    }

    pub(super) fn is_behind(&self, id: KeyId, scope: &Scope, version: &str) -> bool {
        let overlay = self.overlays.get(&id).filter(|overlay| !overlay.gone);
        overlay.is_some_and(|overlay| version_reached(version, &overlay.version) == Some(true))
            && scope.shows(self.keys.key(id), self.views[id.index()].as_deref())
    }

    /// A write was answered with this object (rule A10). An answer whose version is the one that is
    /// known makes no overlay, and one that comes after something newer is known takes nothing back.
    pub fn wrote(&mut self, now: Time, key: &Key, object: Arc<Object>) -> Option<Change> {
        let id = self.intern(key);
        if self.is_newer(id, &object) {
            return None;
        }
        let known = self.reflected(id);
        let behind = known.as_ref().is_none_or(|known| {
            known.uid() != object.uid()
                || known.resource_version() != object.resource_version()
                    && version_reached(known.resource_version(), object.resource_version()) != Some(true)
        });
        if !behind {
            return None;
        }
        self.cover(id, Overlay::of(&object, false, known, now));
        self.set_view(id, Some(object))
    }

    /// Whether the view is of a later moment than the answer to a write: another owner's write of the same
    /// name may have been answered before.
    fn is_newer(&self, id: KeyId, answered: &Object) -> bool {
        match (&self.views[id.index()], self.overlays.get(&id)) {
            (Some(view), _) => version_reached(view.resource_version(), answered.resource_version()) == Some(true),
            (None, Some(overlay)) => overlay.gone && *overlay.uid == *answered.uid(),
            (None, None) => false,
        }
    }

    /// A delete was answered with "gone".
    pub fn wrote_absence(&mut self, now: Time, key: &Key) -> Option<Change> {
        let id = self.intern(key);
        let known = self.views[id.index()].clone()?;
        let reflected = self.reflected(id);
        self.cover(id, Overlay::of(&known, true, reflected, now));
        self.set_view(id, None)
    }

    /// A live read is the truth of this moment: what it answers replaces overlay and view, until the
    /// reflector has caught up with it.
    pub fn read_live(&mut self, now: Time, key: &Key, object: Option<Arc<Object>>) -> Option<Change> {
        let id = self.intern(key);
        let (known, reflected) = (self.views[id.index()].clone(), self.reflected(id));
        let before = self.overlays.remove(&id);
        match (&object, &known) {
            (Some(live), _) => {
                let overlay = Overlay::of(live, false, reflected, now);
                let seen = overlay.reflected.as_ref();
                if !seen.is_some_and(|seen| seen.uid() == live.uid() && overlay.is_caught_up(Some(seen))) {
                    self.cover(id, overlay);
                }
            }
            (None, Some(known)) => self.cover(id, Overlay::of(known, true, reflected, now)),
            // Known before to be gone. What no reflector has shown for so long will not be shown any more.
            (None, None) => {
                let young = |before: &Overlay| now.saturating_sub(before.since) < OVERLAY_MAX_AGE;
                if let Some(before) = before.filter(|before| reflected.is_some() || young(before)) {
                    self.overlays.insert(id, before);
                }
            }
        }
        self.set_view(id, object)
    }

    /// What the reflector shows, whatever was written since.
    fn reflected(&self, id: KeyId) -> Option<Arc<Object>> {
        match self.overlays.get(&id) {
            Some(overlay) => overlay.reflected.clone(),
            None => self.views[id.index()].clone(),
        }
    }

    fn cover(&mut self, id: KeyId, overlay: Overlay) {
        self.ages.push_back((overlay.counted, id));
        self.overlays.insert(id, overlay);
    }

    /// When the oldest overlay is too old to be believed.
    pub fn stale_at(&mut self) -> Option<Time> {
        while let Some((counted, id)) = self.ages.front() {
            if self.overlays.get(id).is_some_and(|overlay| overlay.counted == *counted) {
                return Some(counted + OVERLAY_MAX_AGE);
            }
            self.ages.pop_front();
        }
        None
    }

    /// Objects whose overlay is too old to be believed: they want a live read. Each is named once
    /// per [`OVERLAY_MAX_AGE`].
    pub fn stale_overlays(&mut self, now: Time) -> Vec<Arc<Key>> {
        let mut stale = Vec::new();
        while self.stale_at().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.ages.pop_front() else { break };
            if let Some(overlay) = self.overlays.get_mut(&id) {
                overlay.counted = now;
                self.ages.push_back((now, id));
                stale.push(self.keys.key(id).clone());
            }
        }
        stale
    }

    /// Number of overlays.
    pub fn overlays(&self) -> usize {
        self.overlays.len()
    }
}
