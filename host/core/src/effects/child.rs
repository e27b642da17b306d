//! One child: claimed, applied, left alone or refused (rules B1, B4, B5, B6, B9, B10).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use super::marks::{ADOPT, Identity, OWNER_KEY, OWNER_LABEL};
use super::{DesiredChild, World};
use crate::cache::Seen;
use crate::contract::{Reason, Update};
use crate::fields::{FieldSet, differing};
use crate::key::Key;
use crate::object::Object;
use crate::op::{Answer, Op, Precondition, Refusal};

/// Nothing is known of the place of a child.
pub(super) const CHILD_UNKNOWN: &str = "ChildUnknown";
/// The cluster does not let the host.
pub(super) const CHILD_FORBIDDEN: &str = "ChildForbidden";
/// A child is not there to be written before it is gone.
pub(crate) const CHILD_TERMINATING: &str = "ChildTerminating";
/// A conflict of versions is answered by a fresh look so many times.
pub(super) const TRIES: u32 = 5;

/// A write that was answered, with the desired document and what the server made of it: while both
/// stay the same no further write is made (rule B1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    desired: u64,
    observed: u64,
}

impl Settled {
    /// The pair of a desired document and the observed values at its paths.
    pub fn of(desired: &Value, observed: &Value) -> Self {
        let hash = |value: &Value| {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            hasher.finish()
        };
        Self { desired: hash(desired), observed: hash(&at_paths(desired, observed)) }
    }
}

fn at_paths(desired: &Value, observed: &Value) -> Value {
    match (desired, observed) {
        (Value::Object(desired), Value::Object(observed)) => Value::Object(
            desired
                .iter()
                .map(|(key, below)| (key.clone(), at_paths(below, observed.get(key).unwrap_or(&Value::Null))))
                .collect(),
        ),
        (_, observed) => observed.clone(),
    }
}

/// What became of a child.
#[derive(Clone, Debug)]
pub enum ChildResult {
    /// It is as it shall be; nothing was written.
    Unchanged,
    /// It was written.
    Applied {
        /// Whether it was made.
        created: bool,
        /// Managers whose fields were taken back (rule B6).
        overruled: Vec<String>,
        /// Paths that differ all the same: the server made something else of them.
        not_as_applied: Vec<String>,
        /// What was written and answered, if paths differ.
        settled: Option<Settled>,
    },
    /// A rule, the schema or another owner refuses it: waits for a change.
    Refused(Reason),
    /// It cannot be done now and is no failure: woken by the change that makes it possible.
    Waiting(Reason),
    /// It may work later: the attempt has failed.
    Failed(String),
}

/// That an object terminates, and which finalizers hold it (rule B9).
pub(crate) fn terminating(key: &Key, object: &Object) -> Reason {
    let held = object.finalizers();
    let held = if held.is_empty() { "its deletion to end".to_owned() } else { held.join(", ") };
    Reason::new(CHILD_TERMINATING, format!("{key} is terminating and waits for {held}"))
}

#[derive(Debug, PartialEq)]
enum Phase {
    Look,
    Asked,
    Applying { create: bool },
    Undoing { op: Op },
    Recreating,
}

/// The next step of a child.
#[derive(Debug)]
pub(super) enum ChildStep {
    Do(Op),
    End(ChildResult),
}

/// A child on its way.
#[derive(Debug)]
pub(super) struct ChildTask {
    pub(super) key: Option<Key>,
    /// With marks; the error if the child is refused before anything is asked.
    document: Result<Arc<Value>, Reason>,
    update: Update,
    phase: Phase,
    /// What a live read has answered, newer than the cache.
    live: Option<Seen>,
    current: Option<Arc<Object>>,
    tries: u32,
    overruled: Vec<String>,
    result: Option<ChildResult>,
}

impl ChildTask {
    pub(super) fn new(child: DesiredChild, identity: &Identity, owner: &Object) -> Self {
        let document = child.object.map(|mut object| {
            if let Some(key) = &child.key {
                identity.put_on(&mut object, key, owner);
            }
            Arc::new(object)
        });
        Self {
            key: child.key,
            document,
            update: child.update,
            phase: Phase::Look,
            live: None,
            current: None,
            tries: 0,
            overruled: Vec::new(),
            result: None,
        }
    }

    /// The document that is applied, if there is one.
    pub(super) fn document(&self) -> Option<&Arc<Value>> {
        self.document.as_ref().ok()
    }

    pub(super) fn step(&mut self, world: &World<'_>, identity: &Identity) -> ChildStep {
        if let Some(result) = &self.result {
            return ChildStep::End(result.clone());
        }
        let (key, document) = match (&self.key, &self.document) {
            (Some(key), Ok(document)) => (key.clone(), document.clone()),
            (_, Err(reason)) => return ChildStep::End(ChildResult::Refused(reason.clone())),
            (None, Ok(_)) => {
                let reason = Reason::new("ChildInvalid", "a child has no key");
                return ChildStep::End(ChildResult::Refused(reason));
            }
        };
        match self.live.clone().unwrap_or_else(|| world.seen(&key)) {
            Seen::Unknown(why) => self.end(ChildResult::Waiting(Reason::new(CHILD_UNKNOWN, format!("{key}: {why}")))),
            Seen::Present(object) => self.present(&key, &document, object, world, identity),
            Seen::Absent if self.live.is_some() => {
                self.phase = Phase::Applying { create: true };
                self.current = None;
                ChildStep::Do(Op::Apply {
                    key,
                    object: document,
                    manager: identity.manager(),
                    force: false,
                    precondition: None,
                })
            }
            Seen::Absent => {
                self.phase = Phase::Asked;
                ChildStep::Do(Op::Get(key))
            }
        }
    }

    fn present(
        &mut self,
        key: &Key,
        document: &Arc<Value>,
        object: Arc<Object>,
        world: &World<'_>,
        identity: &Identity,
    ) -> ChildStep {
        let ours = object.label(OWNER_LABEL) == Some(identity.mark());
        if !ours && object.mark(ADOPT) != Some(&identity.adopt_name()) {
            let whose = match object.mark(OWNER_KEY) {
                Some(owner) if object.label(OWNER_LABEL).is_some() => format!("it is a child of {owner}"),
                _ => format!(
                    "it exists and is nobody's child; to hand it over, annotate it with {ADOPT}: {}",
                    identity.adopt_name()
                ),
            };
            return self.end(ChildResult::Refused(Reason::new("ChildConflict", format!("{key}: {whose}"))));
        }
        if object.terminating() {
            return self.end(ChildResult::Waiting(terminating(key, &object)));
        }
        let observed = object.value();
        let manager = identity.manager();
        let differs = differing(document, &observed);
        let left_over =
            object.applied_by(&manager).is_some_and(|owned| !owned.minus(&FieldSet::of(document)).is_empty());
        if differs.is_empty() && !left_over {
            return self.end(ChildResult::Unchanged);
        }
        let id = world.cache.keys().find(key);
        let settled = id.and_then(|id| world.settled.get(&id));
        if !left_over && settled == Some(&Settled::of(document, &observed)) {
            return self.end(ChildResult::Unchanged);
        }
        let precondition = Precondition::version_of(&object);
        self.current = Some(object);
        self.phase = Phase::Applying { create: false };
        ChildStep::Do(Op::Apply {
            key: key.clone(),
            object: document.clone(),
            manager,
            force: !self.overruled.is_empty(),
            precondition: Some(precondition),
        })
    }

    pub(super) fn answered(&mut self, answer: Answer, identity: &Identity) -> Option<Op> {
        let key = self.key.clone()?;
        match (&self.phase, answer) {
            (Phase::Asked, Answer::Found(object)) => self.look(Seen::Present(object)),
            (Phase::Asked, Answer::Absent) => self.look(Seen::Absent),
            (Phase::Applying { create: true }, Answer::Applied { created: false, object }) => {
                let bare = json!({"apiVersion": object.api_version(), "kind": object.kind(),
                                  "metadata": {"name": object.name(), "namespace": object.namespace()}});
                let op = Op::Apply {
                    key,
                    object: Arc::new(bare),
                    manager: identity.manager(),
                    force: false,
                    precondition: None,
                };
                self.phase = Phase::Undoing { op: op.clone() };
                return Some(op);
            }
            (Phase::Applying { .. }, Answer::Applied { object, created }) => {
                let observed = object.value();
                let not_as_applied = self.document().map(|document| differing(document, &observed)).unwrap_or_default();
                let settled = self.document().filter(|_| !not_as_applied.is_empty()).map(|d| Settled::of(d, &observed));
                let overruled = std::mem::take(&mut self.overruled);
                self.result = Some(ChildResult::Applied { created, overruled, not_as_applied, settled });
            }
            (Phase::Undoing { .. }, Answer::Applied { .. } | Answer::Absent) => {
                let message = format!("{key}: it came to be meanwhile, and is not ours");
                self.result = Some(ChildResult::Refused(Reason::new("ChildConflict", message)));
            }
            (Phase::Undoing { op }, Answer::Refused(_)) if self.tries < TRIES => {
                self.tries += 1;
                return Some(op.clone());
            }
            (Phase::Undoing { .. }, Answer::Refused(refusal)) => {
                let message = format!("{key}: it came to be meanwhile, and could not be given back: {refusal}");
                self.result = Some(ChildResult::Failed(message));
            }
            (Phase::Recreating, Answer::Applied { .. } | Answer::Absent) => {
                let message = format!("{key} is deleted to be made again");
                self.result = Some(ChildResult::Waiting(Reason::new("ChildRecreating", message)));
            }
            (_, Answer::Refused(refusal)) => return self.refused(key, refusal),
            (phase, answer) => {
                self.result = Some(ChildResult::Failed(format!("{key}: unexpected answer {answer:?} in {phase:?}")));
            }
        }
        None
    }

    fn refused(&mut self, key: Key, refusal: Refusal) -> Option<Op> {
        let refuse = |code: &str, text: String| ChildResult::Refused(Reason::new(code, format!("{key}: {text}")));
        let text = refusal.to_string();
        self.result = Some(match refusal {
            Refusal::VersionConflict(_) if self.tries < TRIES => {
                self.tries += 1;
                self.phase = Phase::Asked;
                return Some(Op::Get(key));
            }
            Refusal::VersionConflict(text) => ChildResult::Failed(format!("{key}: {text}")),
            Refusal::ManagerConflict { managers, .. } => {
                let ours =
                    self.current.as_ref().is_some_and(|o| o.label(OWNER_LABEL).is_some() && o.mark(ADOPT).is_none());
                if ours && self.overruled.is_empty() && matches!(self.phase, Phase::Applying { create: false }) {
                    self.overruled = managers;
                    self.phase = Phase::Look;
                    return None;
                }
                refuse("ChildConflict", text)
            }
            Refusal::Immutable(_) if self.update == Update::Recreate => match &self.current {
                Some(object) => {
                    let precondition = Precondition { uid: object.uid().into(), resource_version: None };
                    self.phase = Phase::Recreating;
                    return Some(Op::Delete { key, precondition });
                }
                None => refuse("ChildImmutable", text),
            },
            Refusal::Immutable(_) => refuse("ChildImmutable", text),
            Refusal::Invalid(_) | Refusal::NoStatus => refuse("ChildInvalid", text),
            Refusal::Forbidden(_) => refuse(CHILD_FORBIDDEN, text),
            Refusal::UnknownKind(_) | Refusal::Unknown(_) => {
                ChildResult::Waiting(Reason::new(CHILD_UNKNOWN, format!("{key}: {text}")))
            }
            Refusal::Transient(_) => ChildResult::Failed(format!("{key}: {text}")),
        });
        None
    }

    fn look(&mut self, seen: Seen) {
        self.live = Some(seen);
        self.phase = Phase::Look;
    }

    fn end(&mut self, result: ChildResult) -> ChildStep {
        self.result = Some(result.clone());
        ChildStep::End(result)
    }
}
