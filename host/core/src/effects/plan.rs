//! What a run of effects would change. The run is the one that does it; only the world that answers its
//! operations is what the host knows, and nothing of what it asks for is done.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::child::ChildResult;
use super::{EffectRun, World};
use crate::cache::{Seen, SourceState};
use crate::fields::{FieldSet, merge};
use crate::key::{GroupKind, Key, Name, Source};
use crate::object::Object;
use crate::op::{Answer, Op, Refusal};
use crate::status::merge_status;

/// What would be written for an outcome.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Writes in order, then what is refused or held back.
    pub changes: Vec<PlannedChange>,
    /// What the plan cannot show, and what is waited for.
    pub notes: Vec<String>,
}

/// What would be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanVerb {
    /// A child is made.
    Create,
    /// A child, or the object itself, is changed.
    Update,
    /// A child is deleted; with a reason: not now.
    Delete,
    /// The object's status is written.
    Status,
    /// A child is refused.
    Refused,
}

impl PlanVerb {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            PlanVerb::Create => "create",
            PlanVerb::Update => "update",
            PlanVerb::Delete => "delete",
            PlanVerb::Status => "status",
            PlanVerb::Refused => "refused",
        }
    }
}

/// One write.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedChange {
    /// What would be done.
    pub verb: PlanVerb,
    /// To which object.
    pub key: Key,
    /// The object before, of a status only that; none: it is not there. Values of Secrets are in it.
    pub before: Option<Value>,
    /// And after.
    pub after: Option<Value>,
    /// Why it is refused or held back.
    pub reason: Option<String>,
}

/// Why a deletion is not made now (rules B3, D10).
const HELD_BACK: &str =
    "held back: the first pass after a change of the plugin is not over, or its deletions wait for `setpoint confirm`";

/// Runs the effects against what is known, and tells what they ask for.
pub(crate) fn plan_of(mut run: EffectRun, world: &World<'_>) -> Plan {
    let owner = run.owner().clone();
    let mut imagined = Imagined { world, written: FxHashMap::default(), plan: Plan::default() };
    while let Some(op) = run.step(world) {
        let answer = imagined.answer(&op);
        run.answered(&op, answer);
    }
    let report = run.into_report();
    for child in report.children.into_iter().flatten() {
        match child.result {
            ChildResult::Refused(reason) => {
                let after = child.document.map(|document| (*document).clone());
                // One of which not even the key could be read is told of its owner.
                let (key, before) = match child.key {
                    Some(key) => (key.clone(), imagined.current(&key).map(|object| object.value())),
                    None => (owner.clone(), None),
                };
                imagined.change(PlanVerb::Refused, &key, before, after, Some(reason.message));
            }
            ChildResult::Waiting(reason) => imagined.note(reason.message),
            ChildResult::Failed(text) => imagined.note(text),
            ChildResult::Unchanged | ChildResult::Applied { .. } => {}
        }
    }
    for key in report.deferred {
        let before = imagined.current(&key).map(|object| object.value());
        imagined.change(PlanVerb::Delete, &key, before, None, Some(HELD_BACK.to_owned()));
    }
    report.failed.into_iter().chain(report.waiting).for_each(|text| imagined.note(text));
    imagined.plan
}

/// The world as it would be after each operation.
struct Imagined<'a> {
    world: &'a World<'a>,
    written: FxHashMap<Key, Option<Arc<Object>>>,
    plan: Plan,
}

impl Imagined<'_> {
    fn seen(&self, key: &Key) -> Seen {
        match self.written.get(key) {
            Some(Some(object)) => Seen::Present(object.clone()),
            Some(None) => Seen::Absent,
            None => self.world.seen(key),
        }
    }

    fn current(&self, key: &Key) -> Option<Arc<Object>> {
        match self.seen(key) {
            Seen::Present(object) => Some(object),
            Seen::Absent | Seen::Unknown(_) => None,
        }
    }

    fn change(
        &mut self,
        verb: PlanVerb,
        key: &Key,
        before: Option<Value>,
        after: Option<Value>,
        reason: Option<String>,
    ) {
        self.plan.changes.push(PlannedChange { verb, key: key.clone(), before, after, reason });
    }

    fn note(&mut self, text: String) {
        if !self.plan.notes.contains(&text) {
            self.plan.notes.push(text);
        }
    }

    fn answer(&mut self, op: &Op) -> Answer {
        match op {
            Op::Get(key) => match self.seen(key) {
                Seen::Present(object) => Answer::Found(object),
                Seen::Absent => Answer::Absent,
                Seen::Unknown(why) => Answer::Refused(Refusal::Unknown(why)),
            },
            Op::ListOwned { cluster, kind, owner } => self.list(cluster, kind, owner),
            Op::Apply { key, object, manager, .. } => self.apply(key, object, manager),
            Op::ApplyStatus { key, status, manager, .. } => {
                let Some(object) = self.current(key) else { return Answer::Absent };
                let before = object.value()["status"].take();
                let owned = object.applied_by(manager).cloned().unwrap_or_default();
                let after = merge_status(&before, &owned, status);
                self.change(PlanVerb::Status, key, (!before.is_null()).then_some(before), Some(after), None);
                Answer::Applied { object, created: false }
            }
            Op::SetFinalizer { key, .. } => {
                self.note(format!("{key} loses the host's finalizer"));
                Answer::Absent
            }
            Op::Delete { key, .. } => {
                let Some(object) = self.current(key) else { return Answer::Absent };
                self.change(PlanVerb::Delete, key, Some(object.value()), None, None);
                if !object.finalizers().is_empty() {
                    self.note(format!("{key} stays until its finalizers are gone: {}", object.finalizers().join(", ")));
                    return Answer::Applied { object, created: false };
                }
                self.written.insert(key.clone(), None);
                Answer::Absent
            }
            Op::SavePlaces { .. } | Op::RecordEvents { .. } => Answer::Done,
        }
    }

    fn list(&self, cluster: &Name, kind: &GroupKind, owner: &str) -> Answer {
        let source = Source { cluster: cluster.clone(), kind: kind.clone() };
        if let SourceState::Unknown(why) = self.world.cache.state(&source) {
            return Answer::Refused(Refusal::Unknown(why));
        }
        let keys = self.world.inventory.of(owner).map(|id| self.world.cache.keys().key(id));
        let there =
            keys.filter(|key| key.source() == source).filter_map(|key| Some(((**key).clone(), self.current(key)?)));
        Answer::Listed(there.collect())
    }

    fn apply(&mut self, key: &Key, document: &Value, manager: &str) -> Answer {
        let before = self.current(key);
        let after = match &before {
            None => document.clone(),
            Some(before) => {
                let mut after = before.value();
                if let Some(owned) = before.applied_by(manager) {
                    owned.minus(&FieldSet::of(document)).remove_from(&mut after);
                }
                merge(&mut after, document);
                after
            }
        };
        let created = before.is_none();
        let verb = if created { PlanVerb::Create } else { PlanVerb::Update };
        self.change(verb, key, before.as_ref().map(|object| object.value()), Some(after.clone()), None);
        if created {
            // Rule A12.
            self.note(format!("{key} does not exist yet: what the plugin answers once it is there is not shown"));
        }
        let object = Arc::new(Object::new(after, before.and_then(|object| object.applied().cloned())));
        self.written.insert(key.clone(), Some(object.clone()));
        Answer::Applied { object, created }
    }
}
