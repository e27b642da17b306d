//! What a release by a person needs of the engine (rule B12). The release itself is
//! [`crate::effects::ReleaseRun`].

use super::Engine;
use crate::effects::Identity;
use crate::key::Key;

impl Engine {
    /// Mark and field manager of an owner's children.
    pub fn identity_of(&self, owner: &Key) -> Identity {
        self.identity(owner)
    }

    /// Whether an attempt of this key is running.
    pub fn is_running(&self, key: &Key) -> bool {
        self.cache.keys().find(key).and_then(|id| self.state(id)).is_some_and(|state| state.running)
    }

    /// The record of where an owner's children may be is gone: the next child is recorded anew before
    /// it is made (rule B2).
    pub fn places_forgotten(&mut self, owner: &Key) {
        self.places.remove(owner);
        self.unsaved.remove(owner);
    }
}
