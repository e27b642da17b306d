//! Letting go of an object that no plugin reconciles, because a person said so (rule B12): its
//! children are deleted or become nobody's, then its bookkeeping goes, then the finalizer.
//!
//! A child that stays loses its owner mark and its owner reference and keeps all else. With the mark
//! left on, it would not be nobody's: it would be pruned as soon as an owner of the same key is
//! reconciled again, or when a disabled kind is enabled and the owner is found gone. Without it no
//! host touches it, and a person may hand it to a new owner by the annotation `setpoint.dev/adopt`
//! (rule B5). Children come before the finalizer: a kill in between leaves an object that can be
//! released once more.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::child::TRIES;
use super::finalizers_with;
use super::marks::{FINALIZER, Identity, OWNER_KEY, OWNER_LABEL, OWNER_UID};
use crate::fields::FieldSet;
use crate::key::{GroupKind, Key, Name};
use crate::object::Object;
use crate::op::{Answer, Op, Precondition, Refusal};
use crate::sanitize::sanitize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    List,
    Children,
    Forget,
    Owner,
    Done,
}

/// What a release came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReleaseReport {
    /// The finalizer was there and was removed.
    pub released: bool,
    /// The record of where children may be is gone: the engine has to be told.
    pub forgotten: bool,
    /// Children that were deleted.
    pub deleted: Vec<Key>,
    /// Children that stay, without an owner.
    pub orphaned: Vec<Key>,
    /// Why it stopped half-way, sanitised. What was done by then stays done.
    pub failed: Option<String>,
}

/// The release of one object: asks for one operation at a time and is told the answer, as the
/// effects of an attempt do. No attempt of the object may run meanwhile.
#[derive(Debug)]
pub struct ReleaseRun {
    owner: Key,
    uid: Box<str>,
    identity: Identity,
    delete_children: bool,
    places: VecDeque<(Name, GroupKind)>,
    recorded: bool,
    children: VecDeque<(Key, Arc<Object>)>,
    /// The version decided upon was not the last one: it is read live.
    look_again: bool,
    live_owner: Option<Arc<Object>>,
    tries: u32,
    phase: Phase,
    report: ReleaseReport,
}

impl ReleaseRun {
    /// The release of an object. `places`: where its children may be, as recorded (rule B2).
    pub fn new(
        owner: Key,
        object: &Object,
        identity: Identity,
        places: Vec<(Name, GroupKind)>,
        delete_children: bool,
    ) -> Self {
        Self {
            owner,
            uid: object.uid().into(),
            identity,
            delete_children,
            recorded: !places.is_empty(),
            places: places.into(),
            children: VecDeque::new(),
            look_again: false,
            live_owner: None,
            tries: 0,
            phase: Phase::List,
            report: ReleaseReport::default(),
        }
    }

    /// The next operation; none when the release has ended.
    pub fn step(&mut self) -> Option<Op> {
        loop {
            match self.phase {
                Phase::List => match self.places.front() {
                    Some((cluster, kind)) => {
                        let owner = self.identity.mark().into();
                        return Some(Op::ListOwned { cluster: cluster.clone(), kind: kind.clone(), owner });
                    }
                    None => self.phase = Phase::Children,
                },
                Phase::Children => match self.children.front() {
                    Some((key, _)) if self.look_again => return Some(Op::Get(key.clone())),
                    // It goes by itself, whoever its owner was.
                    Some((_, object)) if object.terminating() => self.next_child(),
                    Some((key, object)) if self.delete_children => {
                        let precondition = Precondition::version_of(object);
                        return Some(Op::Delete { key: key.clone(), precondition });
                    }
                    Some((key, object)) => match without_owner(object, &self.identity) {
                        Some(document) => {
                            return Some(Op::Apply {
                                key: key.clone(),
                                object: Arc::new(document),
                                manager: self.identity.manager(),
                                force: false,
                                precondition: Some(Precondition::version_of(object)),
                            });
                        }
                        None => {
                            let text = format!("{key}: its label {OWNER_LABEL} was not set by this host; remove it");
                            self.fail(&text);
                        }
                    },
                    None => self.phase = if self.recorded { Phase::Forget } else { Phase::Owner },
                },
                Phase::Forget => {
                    let (owner, places) = (self.owner.clone(), Vec::new());
                    return Some(Op::SavePlaces { owner, places, finalizers: None, precondition: None });
                }
                Phase::Owner => match &self.live_owner {
                    None => return Some(Op::Get(self.owner.clone())),
                    Some(object) if object.has_finalizer(FINALIZER) && *object.uid() == *self.uid => {
                        return Some(Op::SetFinalizer {
                            key: self.owner.clone(),
                            present: false,
                            finalizers: finalizers_with(object, false),
                            precondition: Precondition::version_of(object),
                        });
                    }
                    Some(_) => self.phase = Phase::Done,
                },
                Phase::Done => return None,
            }
        }
    }

    /// The answer to the operation that [`ReleaseRun::step`] gave last.
    pub fn answered(&mut self, answer: Answer) {
        match self.phase {
            Phase::List => self.listed(answer),
            Phase::Children => self.child_answered(answer),
            Phase::Forget => match answer {
                Answer::Done => {
                    self.report.forgotten = true;
                    self.phase = Phase::Owner;
                }
                other => self.unexpected("the places of children could not be forgotten", &other),
            },
            Phase::Owner => self.owner_answered(answer),
            Phase::Done => {}
        }
    }

    /// What it came to.
    pub fn into_report(self) -> ReleaseReport {
        self.report
    }

    fn listed(&mut self, answer: Answer) {
        let place = self.places.pop_front().map(|(cluster, kind)| format!("{kind} of the cluster {cluster}"));
        let place = place.unwrap_or_default();
        match answer {
            Answer::Listed(found) => self.children.extend(found),
            Answer::Refused(Refusal::Unknown(text)) => {
                self.fail(&format!("children may be among {place}, of which nothing is known: {text}"));
            }
            Answer::Refused(Refusal::UnknownKind(_)) => {
                let cure = "put back a plugin that brings it";
                self.fail(&format!("children may be among {place}, which is not served; {cure}"));
            }
            other => self.unexpected(&format!("the children among {place} cannot be listed"), &other),
        }
    }

    fn child_answered(&mut self, answer: Answer) {
        let Some((key, _)) = self.children.front().cloned() else { return };
        let marked = |object: &Object| object.label(OWNER_LABEL) == Some(self.identity.mark());
        match answer {
            Answer::Found(object) if marked(&object) => {
                self.look_again = false;
                if let Some(child) = self.children.front_mut() {
                    child.1 = object;
                }
            }
            // Somebody else has taken it over, or it went by itself.
            Answer::Found(_) => self.next_child(),
            Answer::Absent if self.look_again => self.next_child(),
            Answer::Absent => {
                self.report.deleted.push(key);
                self.next_child();
            }
            Answer::Applied { .. } if self.delete_children => {
                self.report.deleted.push(key);
                self.next_child();
            }
            Answer::Applied { object, .. } if marked(&object) => {
                self.fail(&format!("{key}: somebody else has set its label {OWNER_LABEL} as well; remove it"));
            }
            Answer::Applied { .. } => {
                self.report.orphaned.push(key);
                self.next_child();
            }
            Answer::Refused(Refusal::VersionConflict(_)) if self.tries < TRIES => {
                self.tries += 1;
                self.look_again = true;
            }
            other => self.unexpected(&key.to_string(), &other),
        }
    }

    fn next_child(&mut self) {
        self.children.pop_front();
        self.tries = 0;
        self.look_again = false;
    }

    fn owner_answered(&mut self, answer: Answer) {
        match answer {
            Answer::Found(object) => self.live_owner = Some(object),
            Answer::Absent if self.live_owner.is_none() => self.phase = Phase::Done,
            Answer::Applied { .. } | Answer::Absent => {
                self.report.released = true;
                self.phase = Phase::Done;
            }
            Answer::Refused(Refusal::VersionConflict(_)) if self.tries < TRIES => {
                self.tries += 1;
                self.live_owner = None;
            }
            other => {
                let what = format!("{}: the finalizer could not be removed", self.owner);
                self.unexpected(&what, &other);
            }
        }
    }

    fn unexpected(&mut self, what: &str, answer: &Answer) {
        match answer {
            Answer::Refused(refusal) => self.fail(&format!("{what}: {refusal}")),
            other => self.fail(&format!("{what}: unexpected answer {other:?}")),
        }
    }

    fn fail(&mut self, text: &str) {
        self.report.failed = Some(sanitize(text));
        self.phase = Phase::Done;
    }
}

/// A child's document as its owner's manager gave it, without everything that names the owner: to
/// apply it lets go of exactly that. None if nothing is known of what the manager gave.
fn without_owner(child: &Object, identity: &Identity) -> Option<Value> {
    let mut document = pick(&child.value(), child.applied_by(&identity.manager())?);
    let root = document.as_object_mut()?;
    root.insert("apiVersion".into(), child.api_version().into());
    root.insert("kind".into(), child.kind().into());
    let metadata = root.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
    metadata.insert("name".into(), child.name().into());
    if let Some(namespace) = child.namespace() {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.remove("ownerReferences");
    for (part, name) in [("labels", OWNER_LABEL), ("annotations", OWNER_KEY), ("annotations", OWNER_UID)] {
        let emptied = metadata.get_mut(part).and_then(Value::as_object_mut).is_some_and(|map| {
            map.remove(name);
            map.is_empty()
        });
        if emptied {
            metadata.remove(part);
        }
    }
    Some(document)
}

/// The part of a document that a field set names.
fn pick(value: &Value, fields: &FieldSet) -> Value {
    match (value, fields) {
        (Value::Object(map), FieldSet::Fields(fields)) => Value::Object(
            fields
                .iter()
                .filter_map(|(name, below)| Some((name.to_string(), pick(map.get(&**name)?, below))))
                .collect(),
        ),
        (value, _) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Applied;
    use serde_json::json;

    fn owner_key() -> Key {
        Key::new("local", "g", "K", Some("default"), "o")
    }

    fn identity() -> Identity {
        Identity::new("here", "store", &owner_key())
    }

    fn owner(finalizers: &[&str]) -> Arc<Object> {
        let object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "o", "namespace": "default",
            "uid": "u", "resourceVersion": "1", "finalizers": finalizers,
            "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        Arc::new(Object::new(object, None))
    }

    /// A child as its owner applied it, with a field that somebody else gave.
    fn child(name: &str) -> (Key, Arc<Object>) {
        let key = Key::new("local", "", "ConfigMap", Some("default"), name);
        let mut document = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "a"}}, "data": {"x": "1"}});
        identity().put_on(&mut document, &key, &owner(&[]));
        let applied = Applied::from([(identity().manager(), FieldSet::of(&document).shared())]);
        document["metadata"]["uid"] = json!(format!("uid-{name}"));
        document["metadata"]["resourceVersion"] = json!("5");
        document["data"]["theirs"] = json!("2");
        (key, Arc::new(Object::new(document, Some(Arc::new(applied)))))
    }

    fn run(delete_children: bool) -> ReleaseRun {
        let places = vec![(Name::from("local"), GroupKind::new("", "ConfigMap"))];
        ReleaseRun::new(owner_key(), &owner(&[FINALIZER]), identity(), places, delete_children)
    }

    /// Carries a run to the point where its children are listed.
    fn listed(run: &mut ReleaseRun, children: Vec<(Key, Arc<Object>)>) {
        let op = run.step();
        assert!(matches!(&op, Some(Op::ListOwned { owner, .. }) if **owner == *identity().mark()), "{op:?}");
        run.answered(Answer::Listed(children));
    }

    fn end(mut run: ReleaseRun) -> ReleaseReport {
        assert!(matches!(run.step(), Some(Op::SavePlaces { places, .. }) if places.is_empty()));
        run.answered(Answer::Done);
        assert!(matches!(run.step(), Some(Op::Get(key)) if key == owner_key()));
        run.answered(Answer::Found(owner(&[FINALIZER])));
        assert!(matches!(run.step(), Some(Op::SetFinalizer { present: false, .. })));
        run.answered(Answer::Absent);
        assert_eq!(run.step(), None);
        run.into_report()
    }

    #[test]
    fn a_child_that_stays_loses_its_owner_and_nothing_else() {
        let (key, object) = child("c");
        let mut run = run(false);
        listed(&mut run, vec![(key.clone(), object.clone())]);
        let Some(Op::Apply { object: document, manager, force, precondition, .. }) = run.step() else {
            panic!("an apply")
        };
        assert_eq!(
            *document,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                   "metadata": {"name": "c", "namespace": "default", "labels": {"app": "a"}}, "data": {"x": "1"}})
        );
        assert_eq!((manager, force), (identity().manager(), false));
        assert_eq!(precondition, Some(Precondition::version_of(&object)));
        let free = Arc::new(Object::new((*document).clone(), None));
        run.answered(Answer::Applied { object: free, created: false });
        let report = end(run);
        assert_eq!(
            report,
            ReleaseReport { released: true, forgotten: true, orphaned: vec![key], ..ReleaseReport::default() }
        );
    }

    #[test]
    fn children_are_deleted_if_that_is_asked_for_and_only_while_they_are_ours() {
        let (a, b) = (child("a"), child("b"));
        let mut run = run(true);
        listed(&mut run, vec![a.clone(), b.clone()]);
        assert!(matches!(run.step(), Some(Op::Delete { key, .. }) if key == a.0));
        run.answered(Answer::Refused(Refusal::VersionConflict("moved".into())));
        assert!(matches!(run.step(), Some(Op::Get(key)) if key == a.0), "a fresh look");
        let mut taken = a.1.value();
        taken["metadata"]["labels"][OWNER_LABEL] = json!("another");
        run.answered(Answer::Found(Arc::new(Object::new(taken, None))));
        assert!(matches!(run.step(), Some(Op::Delete { key, .. }) if key == b.0), "the first one is left alone");
        run.answered(Answer::Absent);
        assert_eq!(end(run).deleted, [b.0]);
    }

    #[test]
    fn where_nothing_is_known_of_children_the_finalizer_stays() {
        let mut run = run(false);
        assert!(run.step().is_some());
        run.answered(Answer::Refused(Refusal::Unknown("cut off".into())));
        assert_eq!(run.step(), None);
        let report = run.into_report();
        assert!(!report.released && !report.forgotten);
        assert!(report.failed.is_some_and(|text| text.contains("ConfigMap of the cluster local")));
    }

    #[test]
    fn a_child_that_cannot_be_let_go_of_keeps_its_owner_where_it_is() {
        let (key, object) = child("c");
        let unknown = Arc::new(Object::new(object.value(), None));
        let mut run = run(false);
        listed(&mut run, vec![(key, unknown)]);
        assert_eq!(run.step(), None);
        let report = run.into_report();
        assert!(!report.released && report.failed.is_some_and(|text| text.contains(OWNER_LABEL)));
    }

    #[test]
    fn an_owner_that_is_another_object_by_now_keeps_its_finalizer() {
        let mut run = ReleaseRun::new(owner_key(), &owner(&[FINALIZER]), identity(), Vec::new(), false);
        assert!(matches!(run.step(), Some(Op::Get(_))), "no children on record: nothing is forgotten");
        let mut other = owner(&[FINALIZER]).value();
        other["metadata"]["uid"] = json!("other");
        run.answered(Answer::Found(Arc::new(Object::new(other, None))));
        assert_eq!(run.step(), None);
        assert_eq!(run.into_report(), ReleaseReport::default());
    }
}
