//! The effects of one attempt, in order: places, children, prune, finalizer, status, events.

use std::collections::VecDeque;
use std::sync::Arc;

use super::child::{
    CHILD_FORBIDDEN, CHILD_TERMINATING, CHILD_UNKNOWN, ChildResult, ChildStep, ChildTask, TRIES, terminating,
};
use super::marks::{Identity, holds_owner, is_collectable};
use super::prune::{Prune, unwanted};
use super::report::{ChildReport, Report, Work};
use super::{FINALIZER, World};
use crate::contract::{Event, EventType, Readiness, Reason};
use crate::key::{GroupKind, Key, Name, Source};
use crate::object::Object;
use crate::op::{Answer, Op, Precondition, Refusal};
use crate::sanitize::sanitize;
use crate::status::{Verdict, desired_status, needs_status_write};

#[derive(Debug)]
enum Phase {
    Places,
    Children,
    Prune(Box<Prune>),
    Prove(VecDeque<(Name, GroupKind)>),
    Finalizer,
    Forget,
    Status,
    Events,
    Done,
}

/// Where children may be: clusters and kinds (rule B2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Of this owner.
    pub own: Vec<(Name, GroupKind)>,
    /// Of any owner of its kind, as recorded for certain. It is enough for children that Kubernetes collects, should
    /// all else fail; what it does not is recorded at the owner.
    pub of_kind: Vec<(Name, GroupKind)>,
    /// Whether those of this owner are recorded for certain.
    pub saved: bool,
}

/// The effects of one attempt.
#[derive(Debug)]
pub struct EffectRun {
    owner: Key,
    /// The object as the attempt saw it.
    object: Arc<Object>,
    identity: Identity,
    work: Work,
    /// Where children of this owner may be, as recorded.
    places: Vec<(Name, GroupKind)>,
    /// Where children of any owner of its kind may be.
    of_kind: Vec<(Name, GroupKind)>,
    phase: Phase,
    tasks: VecDeque<ChildTask>,
    done: Vec<ChildReport>,
    pending: Option<Op>,
    tries: u32,
    live_owner: Option<Arc<Object>>,
    events: Vec<Event>,
    report: Report,
    /// The place list as it has to be recorded before the first child.
    new_places: Option<Vec<(Name, GroupKind)>>,
    /// The owner has to be kept until its children are gone, and is not yet (rule B11).
    holds: bool,
    /// A child that has been terminating for too long (rule B9).
    overdue: Option<Key>,
}

impl EffectRun {
    /// A run for an owner.
    pub fn new(owner: Key, object: Arc<Object>, identity: Identity, mut work: Work, known: Places) -> Self {
        let Places { own: places, of_kind, saved } = known;
        let mut tasks = VecDeque::new();
        let mut events = Vec::new();
        let mut new_places = None;
        let mut holds = false;
        if let Work::Outcome { children, events: told, .. } = &mut work {
            events = std::mem::take(told);
            for child in children.iter_mut().flat_map(std::mem::take) {
                tasks.push_back(ChildTask::new(child, &identity, &object));
            }
            let mut all = places.clone();
            for key in tasks.iter().filter(|t| t.document().is_some()).filter_map(|t| t.key.as_ref()) {
                let place = (key.cluster.clone(), key.group_kind());
                let known = is_collectable(&owner, key) && of_kind.contains(&place);
                if !known && !all.contains(&place) {
                    all.push(place);
                }
            }
            // Where places are kept at the owner, its finalizer comes with them (rule B11).
            let keys = tasks.iter().filter(|task| task.document().is_some()).filter_map(|task| task.key.as_ref());
            holds = !object.has_finalizer(FINALIZER)
                && !object.terminating()
                && keys.into_iter().any(|child| holds_owner(&owner, child));
            if all.len() != places.len() || !saved && !tasks.is_empty() || holds {
                new_places = Some(all);
            }
        }
        let phase = if new_places.is_some() { Phase::Places } else { Phase::Children };
        Self {
            owner,
            object,
            identity,
            work,
            places,
            of_kind,
            phase,
            tasks,
            done: Vec::new(),
            pending: None,
            tries: 0,
            live_owner: None,
            events,
            report: Report::default(),
            new_places,
            holds,
            overdue: None,
        }
    }

    /// The same, where a child has been waited for for too long: while it terminates, the owner is stalled
    /// (rule B9).
    pub fn overdue(mut self, child: Option<Key>) -> Self {
        self.overdue = child;
        self
    }

    /// The owner.
    pub fn owner(&self) -> &Key {
        &self.owner
    }

    /// The children that shall exist and are not looked at yet.
    pub fn children(&self) -> impl Iterator<Item = &Key> {
        self.tasks.iter().filter_map(|task| task.key.as_ref())
    }

    /// Where children may be, if this run has extended or emptied it.
    pub fn places(&self) -> &[(Name, GroupKind)] {
        &self.places
    }

    /// The next operation; none when the run is done.
    pub fn step(&mut self, world: &World<'_>) -> Option<Op> {
        if let Some(op) = self.pending.take() {
            return Some(op);
        }
        loop {
            match &mut self.phase {
                Phase::Places => match self.current_owner(world) {
                    Some(object) => {
                        return Some(Op::SavePlaces {
                            owner: self.owner.clone(),
                            places: self.new_places.clone().unwrap_or_default(),
                            finalizers: self.holds.then(|| finalizers_with(&object, true)),
                            precondition: Some(Precondition::version_of(&object)),
                        });
                    }
                    None => {
                        self.report.dropped = true;
                        self.phase = Phase::Events;
                    }
                },
                Phase::Children => match self.tasks.front_mut() {
                    Some(task) => match task.step(world, &self.identity) {
                        ChildStep::Do(op) => return Some(op),
                        ChildStep::End(result) => {
                            let task = self.tasks.pop_front();
                            let (key, document) = task.map_or((None, None), |t| (t.key.clone(), t.document().cloned()));
                            self.note(&key, &result);
                            self.done.push(ChildReport { key, document, result });
                        }
                    },
                    None => self.phase = self.after_children(world),
                },
                Phase::Prune(prune) => match prune.step(world, &self.identity) {
                    Some(op) => return Some(op),
                    None => self.phase = self.after_prune(world),
                },
                Phase::Prove(places) => match places.front() {
                    // Nobody waits for what a person has given up (rule B13).
                    Some((cluster, _)) if world.cache.is_forgotten(cluster) => {
                        places.pop_front();
                    }
                    Some((cluster, kind)) => {
                        return Some(Op::ListOwned {
                            cluster: cluster.clone(),
                            kind: kind.clone(),
                            owner: self.identity.mark().into(),
                        });
                    }
                    None => {
                        self.phase = if matches!(self.work, Work::CleanUp) { Phase::Forget } else { Phase::Finalizer };
                    }
                },
                Phase::Finalizer => match self.current_owner(world) {
                    Some(object) if object.has_finalizer(FINALIZER) => {
                        return Some(Op::SetFinalizer {
                            key: self.owner.clone(),
                            present: false,
                            finalizers: finalizers_with(&object, false),
                            precondition: Precondition::version_of(&object),
                        });
                    }
                    _ => {
                        self.report.finished = true;
                        self.phase = Phase::Forget;
                    }
                },
                Phase::Forget if self.places.is_empty() => {
                    self.report.finished = true;
                    self.phase = Phase::Events;
                }
                Phase::Forget => {
                    // Where they are kept at the owner they go with it.
                    let (owner, places) = (self.owner.clone(), Vec::new());
                    return Some(Op::SavePlaces { owner, places, finalizers: None, precondition: None });
                }
                Phase::Status => match self.status(world) {
                    Some(op) => return Some(op),
                    None => self.phase = Phase::Events,
                },
                Phase::Events if self.events.is_empty() => self.phase = Phase::Done,
                Phase::Events => {
                    let events = std::mem::take(&mut self.events);
                    self.phase = Phase::Done;
                    let clean = |mut event: Event| {
                        event.reason.message = sanitize(&event.reason.message);
                        event
                    };
                    let events = events.into_iter().map(clean).collect();
                    return Some(Op::RecordEvents { about: self.owner.clone(), events });
                }
                Phase::Done => return None,
            }
        }
    }

    /// The answer to the operation that [`EffectRun::step`] gave last.
    pub fn answered(&mut self, op: &Op, answer: Answer) {
        if let (Some(key), Answer::Refused(Refusal::Unknown(_) | Refusal::Transient(_))) = (op.writes(), &answer) {
            self.report.unsure.push(key.clone());
        }
        if op.writes().is_some() && matches!(answer, Answer::Applied { .. } | Answer::Absent) {
            self.report.writes += 1;
        }
        match (&mut self.phase, op) {
            (Phase::Places, Op::Get(_)) => match answer {
                Answer::Found(object) if object.uid() == self.object.uid() => self.live_owner = Some(object),
                Answer::Found(_) | Answer::Absent => {
                    self.report.dropped = true;
                    self.phase = Phase::Events;
                }
                other => {
                    self.fail(format!("the places of children: {}", text_of(&other)));
                    self.phase = Phase::Events;
                }
            },
            (Phase::Places, _) => match answer {
                Answer::Refused(Refusal::VersionConflict(_)) if self.tries < TRIES => {
                    self.tries += 1;
                    self.pending = Some(Op::Get(self.owner.clone()));
                }
                Answer::Applied { object, .. } if object.uid() != self.object.uid() => {
                    self.report.dropped = true;
                    self.phase = Phase::Events;
                }
                Answer::Done | Answer::Applied { .. } => {
                    self.live_owner = None;
                    self.places = self.new_places.take().unwrap_or_default();
                    self.report.places_saved = true;
                    self.phase = Phase::Children;
                }
                other => {
                    // Without the record of where to look no child may be made.
                    self.fail(format!("the places of children could not be recorded: {}", text_of(&other)));
                    // It may have been recorded all the same, and then has to be forgotten some day.
                    self.places = self.new_places.take().unwrap_or_default();
                    self.report.places_unsaved = true;
                    self.tasks.clear();
                    self.phase = Phase::Status;
                }
            },
            (Phase::Children, _) => {
                if let Some(task) = self.tasks.front_mut() {
                    self.pending = task.answered(answer, &self.identity);
                }
            }
            (Phase::Prune(prune), _) => self.pending = prune.answered(answer),
            (Phase::Prove(places), _) => match answer {
                Answer::Listed(found) if found.is_empty() => {
                    places.pop_front();
                }
                Answer::Listed(found) => {
                    self.report.unseen.extend(found.iter().map(|(key, _)| key.clone()));
                    self.report.remaining.extend(found.into_iter().map(|(key, _)| key));
                    self.wait("ChildrenTerminating", "children are still there".into());
                    self.phase = self.after_waiting();
                }
                // What was there as well, Kubernetes collects: nobody waits for a kind that may never have been served.
                Answer::Refused(Refusal::UnknownKind(_))
                    if places.front().is_some_and(|place| !self.places.contains(place)) =>
                {
                    places.pop_front();
                }
                Answer::Refused(Refusal::Unknown(text) | Refusal::UnknownKind(text)) => {
                    if let Some((cluster, kind)) = places.front() {
                        self.report.unknown.push(Source { cluster: cluster.clone(), kind: kind.clone() });
                    }
                    self.wait("ChildrenUnknown", format!("children cannot be listed: {text}"));
                    self.phase = self.after_waiting();
                }
                other => {
                    self.fail(format!("children cannot be listed: {}", text_of(&other)));
                    self.phase = self.after_waiting();
                }
            },
            (Phase::Finalizer, Op::Get(_)) => match answer {
                Answer::Found(object) => self.live_owner = Some(object),
                Answer::Absent => {
                    self.report.finished = true;
                    self.phase = Phase::Forget;
                }
                other => {
                    self.fail(format!("the finalizer: {}", text_of(&other)));
                    self.phase = Phase::Events;
                }
            },
            (Phase::Finalizer, _) => match answer {
                Answer::Applied { .. } | Answer::Absent => {
                    self.report.finished = true;
                    self.phase = Phase::Forget;
                }
                Answer::Refused(Refusal::VersionConflict(_)) if self.tries < TRIES => {
                    self.tries += 1;
                    self.pending = Some(Op::Get(self.owner.clone()));
                }
                other => {
                    self.fail(format!("the finalizer: {}", text_of(&other)));
                    self.phase = Phase::Events;
                }
            },
            (Phase::Forget, _) => {
                if matches!(answer, Answer::Done | Answer::Applied { .. } | Answer::Absent) {
                    self.places.clear();
                    self.report.places_saved = true;
                    self.report.finished = true;
                } else {
                    self.fail(format!("the places of children could not be forgotten: {}", text_of(&answer)));
                    // They may have been forgotten all the same, and then have to be recorded before the next child.
                    self.report.places_unsaved = true;
                }
                self.phase = Phase::Events;
            }
            (Phase::Status, Op::Get(_)) => match answer {
                Answer::Found(object) if object.uid() == self.object.uid() => self.live_owner = Some(object),
                Answer::Found(_) | Answer::Absent => {
                    self.report.dropped = true;
                    self.phase = Phase::Events;
                }
                other => {
                    self.fail(format!("the status: {}", text_of(&other)));
                    self.phase = Phase::Events;
                }
            },
            (Phase::Status, _) => match answer {
                Answer::Applied { .. } => self.phase = Phase::Events,
                Answer::Absent => {
                    self.report.dropped = true;
                    self.phase = Phase::Events;
                }
                Answer::Refused(Refusal::VersionConflict(_)) if self.tries < TRIES => {
                    self.tries += 1;
                    self.pending = Some(Op::Get(self.owner.clone()));
                }
                Answer::Refused(Refusal::NoStatus) => self.phase = Phase::Events,
                Answer::Refused(Refusal::Invalid(text)) => {
                    self.report.refused.get_or_insert(sanitize(&format!("the status is refused: {text}")));
                    self.phase = Phase::Events;
                }
                other => {
                    self.fail(format!("the status: {}", text_of(&other)));
                    self.phase = Phase::Events;
                }
            },
            (Phase::Events | Phase::Done, _) => {}
        }
    }

    /// What the run came to.
    pub fn into_report(mut self) -> Report {
        if matches!(&self.work, Work::Outcome { children: Some(_), .. }) {
            self.report.children = Some(self.done);
        }
        self.report
    }

    fn fail(&mut self, text: String) {
        self.report.failed.get_or_insert(sanitize(&text));
    }

    fn wait(&mut self, code: &str, text: String) {
        let text = sanitize(&text);
        self.report.readiness.get_or_insert(Readiness::Progressing(Reason::new(code, text.clone())));
        self.report.waiting.get_or_insert(text);
    }

    /// What will not get better by itself; what is refused counts more.
    fn stall(&mut self, reason: Reason) {
        if !matches!(self.report.readiness, Some(Readiness::Stalled(_))) {
            self.report.readiness = Some(Readiness::Stalled(reason));
        }
    }

    /// Notes a child's result: what is told, and what it means for the attempt.
    fn note(&mut self, key: &Option<Key>, result: &ChildResult) {
        match result {
            ChildResult::Unchanged => {}
            ChildResult::Applied { overruled, not_as_applied, .. } => {
                let key = key.as_ref().map(ToString::to_string).unwrap_or_default();
                if !overruled.is_empty() {
                    let message = format!("{key}: fields were taken back from {}", overruled.join(", "));
                    self.tell(EventType::Warning, "FieldsTakenBack", message);
                    self.report.overruled.extend(overruled.iter().cloned());
                }
                if !not_as_applied.is_empty() {
                    let message = format!("{key}: the server made something else of {}", not_as_applied.join(", "));
                    self.tell(EventType::Warning, "NotAsApplied", message);
                }
            }
            ChildResult::Refused(reason) => {
                self.report.forbidden |= reason.code == CHILD_FORBIDDEN;
                if self.report.refused.is_none() {
                    self.tell(EventType::Warning, &reason.code, reason.message.clone());
                    self.report.refused = Some(sanitize(&reason.message));
                    self.report.readiness = Some(Readiness::Stalled(reason.clone()));
                }
            }
            ChildResult::Waiting(reason) => {
                if reason.code == CHILD_UNKNOWN {
                    self.report.unknown.extend(key.as_ref().map(Key::source));
                }
                if key.is_some() && *key == self.overdue && reason.code == CHILD_TERMINATING {
                    self.stall(reason.clone());
                }
                self.wait(&reason.code, reason.message.clone());
            }
            ChildResult::Failed(text) => self.fail(text.clone()),
        }
    }

    fn tell(&mut self, kind: EventType, code: &str, message: String) {
        self.events.push(Event { kind, reason: Reason::new(code, message), regarding: None });
    }

    fn after_children(&mut self, world: &World<'_>) -> Phase {
        match &self.work {
            Work::Outcome { finalized: true, .. } | Work::Finalize | Work::CleanUp => {
                self.report.judged = true;
                Phase::Prune(Box::new(Prune::new(unwanted(world, &self.identity, &[]))))
            }
            Work::Outcome { children: Some(_), may_prune, .. } => {
                let keep: Vec<Key> = self.done.iter().filter_map(|child| child.key.clone()).collect();
                let gone = unwanted(world, &self.identity, &keep);
                let applied =
                    |c: &ChildReport| matches!(c.result, ChildResult::Applied { .. } | ChildResult::Unchanged);
                // A child without a key, or one refused, might be what an existing one is called now.
                if !self.done.iter().all(applied) {
                    return Phase::Status;
                }
                self.report.judged = true;
                if !*may_prune {
                    self.report.deferred = gone;
                    return Phase::Status;
                }
                Phase::Prune(Box::new(Prune::new(gone)))
            }
            Work::Outcome { .. } => {
                self.report.judged = true;
                Phase::Status
            }
            Work::Failure { .. } => Phase::Status,
        }
    }

    fn after_prune(&mut self, world: &World<'_>) -> Phase {
        let Phase::Prune(prune) = std::mem::replace(&mut self.phase, Phase::Done) else { return Phase::Done };
        self.report.deleted.extend(prune.deleted);
        if let Some(text) = prune.failed {
            self.fail(text);
        }
        self.report.unknown.extend(prune.unknown);
        let remaining = prune.remaining;
        self.report.remaining = remaining;
        match &self.work {
            Work::Outcome { finalized: true, .. } | Work::Finalize | Work::CleanUp => {
                if self.report.remaining.is_empty() && self.report.failed.is_none() {
                    let beside = self.of_kind.iter().filter(|place| !self.places.contains(place));
                    return Phase::Prove(self.places.iter().chain(beside).cloned().collect());
                }
                let stuck = self.overdue.as_ref().filter(|child| self.report.remaining.contains(child));
                let stuck = stuck.and_then(|child| Some((child, world.view(child)?)));
                if let Some(reason) =
                    stuck.filter(|(_, object)| object.terminating()).map(|(child, object)| terminating(child, object))
                {
                    self.stall(reason);
                }
                let first = self.report.remaining.first().map(ToString::to_string).unwrap_or_default();
                self.wait("ChildrenTerminating", format!("waits until {first} is gone"));
                self.after_waiting()
            }
            _ => Phase::Status,
        }
    }

    fn after_waiting(&self) -> Phase {
        if matches!(self.work, Work::CleanUp) { Phase::Events } else { Phase::Status }
    }

    fn current_owner(&self, world: &World<'_>) -> Option<Arc<Object>> {
        let object = self.live_owner.clone().or_else(|| world.view(&self.owner).cloned())?;
        (object.uid() == self.object.uid()).then_some(object)
    }

    /// The status to write, if one has to be written.
    fn status(&mut self, world: &World<'_>) -> Option<Op> {
        let Some(current) = self.current_owner(world) else {
            self.report.dropped = true;
            return None;
        };
        let none = Vec::new();
        let (status, conditions, readiness) = match &self.work {
            Work::Outcome { status, conditions, readiness, .. } => (status.as_ref(), Some(conditions), readiness),
            Work::Failure { readiness } => (None, None, readiness),
            Work::Finalize | Work::CleanUp => (None, None, &Readiness::Ready),
        };
        let shown = match (&self.report.readiness, &self.report.failed) {
            (Some(stalled @ Readiness::Stalled(_)), _) => stalled.clone(),
            (_, Some(text)) => Readiness::Progressing(Reason::new("EffectFailed", text.clone())),
            (Some(waiting), None) => waiting.clone(),
            (None, None) => readiness.clone(),
        };
        let manager = self.identity.status_manager();
        let verdict = Verdict {
            status,
            conditions: conditions.map(|c| c.as_slice()).or(if matches!(self.work, Work::Outcome { .. }) {
                Some(&none)
            } else {
                None
            }),
            readiness: &shown,
            generation: self.object.generation(),
        };
        let mut desired = serde_json::json!({
            "apiVersion": current.api_version(), "kind": current.kind(),
            "status": desired_status(&current, &manager, &verdict, world.wall),
        });
        self.report.readiness = Some(shown);
        world.shapes.prune(&self.owner.cluster, &self.owner.group_kind(), &mut desired);
        let desired = desired["status"].take();
        if !needs_status_write(&current, &manager, &desired) {
            return None;
        }
        Some(Op::ApplyStatus {
            key: self.owner.clone(),
            status: Arc::new(desired),
            manager,
            precondition: Precondition::version_of(&current),
        })
    }
}

/// The finalizers of an object with the host's, or without.
pub(crate) fn finalizers_with(object: &Object, present: bool) -> Vec<Box<str>> {
    let mut finalizers: Vec<Box<str>> =
        object.finalizers().iter().filter(|finalizer| &***finalizer != FINALIZER).cloned().collect();
    if present {
        finalizers.push(FINALIZER.into());
    }
    finalizers
}

fn text_of(answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => refusal.to_string(),
        other => format!("unexpected answer {other:?}"),
    }
}
