//! What is done about an outcome: children claimed, applied and pruned (rules B1 to B10), deletion
//! in order (B11, B12), and the status (B15). A state machine per attempt: it asks for one
//! operation at a time and is told the answer.

mod child;
mod marks;
mod plan;
mod prune;
mod release;
mod report;
mod run;
mod validate;

pub use child::{ChildResult, Settled};
pub use marks::{
    ADOPT, CHILD_PLACES, FINALIZER, Identity, OWNER_KEY, OWNER_LABEL, OWNER_UID, PAUSED, parse_places, places_text,
    status_manager,
};
pub use plan::{Plan, PlanVerb, PlannedChange};
pub use release::{ReleaseReport, ReleaseRun};
pub use report::{ChildReport, Report, Work};
pub use run::{EffectRun, Places};
pub use validate::{DesiredChild, InvalidOutcome, validate};

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::cache::{Cache, Seen};
use crate::key::{GroupKind, Key, KeyId};
use crate::object::Object;

pub(crate) use child::{CHILD_TERMINATING, terminating};
pub(crate) use marks::digest;
pub(crate) use plan::plan_of;
pub(crate) use run::finalizers_with;

/// What the host knows of served kinds.
pub trait Shapes: Send + Sync {
    /// Whether a kind is namespaced; none if the kind is not known in this cluster.
    fn namespaced(&self, cluster: &str, kind: &GroupKind) -> Option<bool>;

    /// Takes fields out of a partial document that the served schema does not know (rule B1).
    fn prune(&self, cluster: &str, kind: &GroupKind, object: &mut Value);
}

/// Nothing is known of any kind.
impl Shapes for () {
    fn namespaced(&self, _: &str, _: &GroupKind) -> Option<bool> {
        None
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

/// What a run sees of the world when it decides its next step.
pub struct World<'a> {
    /// The views of all objects.
    pub cache: &'a Cache,
    /// Children that carry an owner mark, by the mark.
    pub inventory: &'a Inventory,
    /// Pairs of desired and observed that were written and answered.
    pub settled: &'a FxHashMap<KeyId, Settled>,
    /// Served kinds.
    pub shapes: &'a dyn Shapes,
    /// The wall clock in RFC 3339, for transition times.
    pub wall: &'a str,
}

impl World<'_> {
    fn seen(&self, key: &Key) -> Seen {
        self.cache.seen_by_key(key)
    }

    fn view(&self, key: &Key) -> Option<&Arc<Object>> {
        self.cache.view(self.cache.keys().find(key)?)
    }
}

/// Children by owner mark: places × label, whatever made them (rule B2).
#[derive(Debug, Default)]
pub struct Inventory {
    by_mark: FxHashMap<Box<str>, std::collections::BTreeSet<KeyId>>,
}

impl Inventory {
    /// An object changed: moves it from its old mark to its new one.
    pub fn changed(&mut self, key: KeyId, old: Option<&Object>, new: Option<&Object>) {
        let (old, new) = (old.and_then(|o| o.label(OWNER_LABEL)), new.and_then(|o| o.label(OWNER_LABEL)));
        if old == new {
            return;
        }
        if let Some(mark) = old
            && let Some(keys) = self.by_mark.get_mut(mark)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_mark.remove(mark);
            }
        }
        if let Some(mark) = new {
            self.by_mark.entry(mark.into()).or_default().insert(key);
        }
    }

    /// The children that carry a mark, in order of their ids.
    pub fn of(&self, mark: &str) -> impl Iterator<Item = KeyId> {
        self.by_mark.get(mark).into_iter().flatten().copied()
    }

    /// Whether a mark has children.
    pub fn has(&self, mark: &str) -> bool {
        self.by_mark.contains_key(mark)
    }

    /// All marks with the number of their children.
    pub fn marks(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_mark.iter().map(|(mark, keys)| (&**mark, keys.len()))
    }
}
