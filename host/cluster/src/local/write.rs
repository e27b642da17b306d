//! The writes of reconcilers, as an API server performs them (rules B1, B4, B9, B12, B15).

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::key::{Key, Name};
use setpoint_core::object::{Applied, Object};
use setpoint_core::op::{Answer, Op, Precondition, Refusal};
use setpoint_schema::{Crd, FieldErrorKind, ListType, Part};

use super::builtin;
use super::effects::Effects;
use super::fieldwise::{self, Lists};
use super::marks::{FILE_MANAGER, PERSON_MANAGER};
use super::model::Model;
use super::record::{
    Record, Stored, attach, check_identity, detach, document_of, join, materialise, moves_generation, part, raw, tree,
    whole,
};

/// What a write makes of the document of an object.
pub(super) struct Change {
    /// The document before, its status aside.
    pub(super) old: Value,
    /// The whole document after it.
    pub(super) document: Value,
    pub(super) applied: Applied,
    /// Whether the document differs.
    pub(super) changed: bool,
    /// Whether it differs in more than its status.
    pub(super) given: bool,
}

impl Model {
    /// Performs one operation. `now` in unix milliseconds. A refused operation has no effects.
    pub fn perform(&mut self, now: u64, op: &Op) -> (Answer, Effects) {
        let mut effects = Effects::default();
        let answer = match op {
            Op::Get(key) => self.served(key).map(|_| self.get(key).map_or(Answer::Absent, Answer::Found)),
            Op::ListOwned { kind, owner, .. } => match self.crd(kind) {
                Some(_) => Ok(Answer::Listed(self.owned(kind, owner))),
                None => Err(Refusal::UnknownKind(kind.to_string())),
            },
            Op::Apply { key, object, manager, force, precondition } => {
                self.apply(now, key, object, manager, *force, precondition.as_ref(), &mut effects)
            }
            Op::ApplyStatus { key, status, manager, precondition } => {
                self.apply_status(now, key, status, manager, precondition, &mut effects)
            }
            Op::SetFinalizer { key, present, precondition, .. } => {
                self.set_finalizer(now, key, *present, precondition, &mut effects)
            }
            Op::Delete { key, precondition } => self.delete_child(now, key, Some(precondition), &mut effects),
            Op::SavePlaces { owner, places, finalizers, precondition } => {
                let held = match (finalizers, precondition) {
                    (Some(_), Some(precondition)) => self.set_finalizer(now, owner, true, precondition, &mut effects),
                    _ => Ok(Answer::Done),
                };
                if held.is_ok() {
                    self.save_places(owner, places, &mut effects);
                }
                held
            }
            Op::RecordEvents { about, events } => {
                self.events.record(now, about, events, &mut effects);
                Ok(Answer::Done)
            }
        };
        (answer.unwrap_or_else(Answer::Refused), effects)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of Op::Apply")]
    fn apply(
        &mut self,
        now: u64,
        key: &Key,
        object: &Value,
        manager: &str,
        force: bool,
        precondition: Option<&Precondition>,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let crd = self.served(key)?;
        check_identity(&crd, key, object)?;
        let record = self.record(key).cloned();
        match (&record, precondition) {
            (None, Some(_)) => return Err(gone(key)),
            (None, None) => {}
            (Some(record), precondition) => {
                if let Some(precondition) = precondition {
                    check(key, &record.stored, precondition)?;
                }
                if let Some(file) = &record.stored.file
                    && ![FILE_MANAGER, PERSON_MANAGER].contains(&manager)
                {
                    return Err(belongs_to_file(key, file));
                }
            }
        }
        let mut wanted = object.clone();
        crd.prune_partial(&mut wanted);
        builtin::normalise(&crd, &mut wanted);
        let wanted = document_of(&crd, wanted);
        let record = record.as_deref();
        let change = merged(&crd, record, &wanted, manager, force)?;
        if let Some(object) = unchanged(record, &change) {
            return Ok(Answer::Applied { object, created: false });
        }
        self.admit(&crd, key, record, &change)?;
        let file = record.and_then(|record| record.stored.file.clone());
        let object = self.commit(now, &crd, key, record, change, file, effects);
        Ok(Answer::Applied { object, created: record.is_none() })
    }

    /// Refuses a change that the schema or a rule does not allow.
    pub(super) fn admit(&self, crd: &Crd, key: &Key, record: Option<&Record>, change: &Change) -> Result<(), Refusal> {
        if record.is_some() && !change.changed {
            return Ok(());
        }
        if record.is_some()
            && let Some(reason) = builtin::immutable(crd, &change.old, &change.document)
        {
            return Err(Refusal::Immutable(format!("{} {}: {reason}", crd.kind, key.name)));
        }
        let old = record.and_then(|record| record.object.as_deref());
        let errors = self.errors(crd, whole(crd, key, change.document.clone()), old);
        if errors.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = format!("{} {} is invalid: {}", crd.kind, key.name, texts.join("; "));
        // Deleting and making it anew helps only if nothing else is wrong (rule B10).
        let frozen = |error: &setpoint_schema::FieldError| {
            error.kind == FieldErrorKind::Rule && error.message.to_lowercase().contains("immutable")
        };
        if record.is_some() && errors.iter().all(frozen) {
            return Err(Refusal::Immutable(text));
        }
        Err(Refusal::Invalid(text))
    }

    /// Keeps a changed document. `file`: the file that defines the object.
    #[expect(clippy::too_many_arguments, reason = "one place where all of it comes together")]
    pub(super) fn commit(
        &mut self,
        now: u64,
        crd: &Crd,
        key: &Key,
        record: Option<&Record>,
        change: Change,
        file: Option<Name>,
        effects: &mut Effects,
    ) -> Arc<Object> {
        let Change { old, document, applied, given, .. } = change;
        let kept_document = raw(&document);
        let (stored, misfit) = match record {
            None => {
                let stored = Stored {
                    version: 0,
                    uid: self.uids.next(),
                    // The core kinds that are built in have none.
                    generation: if crd.group.is_empty() { 0 } else { 1 },
                    created: now,
                    deleting: None,
                    finalizers: Vec::new(),
                    document: kept_document,
                    applied: Arc::new(applied),
                    file,
                    parked: None,
                    kept: None,
                };
                (stored, Vec::new())
            }
            Some(record) => {
                let mut stored = record.stored.clone();
                let mut misfit = record.misfit.clone();
                // A status that is written says nothing of whether the rest fits the schema.
                if given {
                    if !crd.group.is_empty() && moves_generation(&old, &document) {
                        stored.generation += 1;
                    }
                    stored.kept = None;
                    misfit = Vec::new();
                }
                stored.document = kept_document;
                stored.applied = Arc::new(applied);
                stored.file = file;
                (stored, misfit)
            }
        };
        let stored = self.numbered(stored);
        let object = materialise(crd, key, &stored, document);
        self.store_object(&Arc::new(key.clone()), stored, object, misfit, effects)
    }

    fn apply_status(
        &mut self,
        now: u64,
        key: &Key,
        status: &Value,
        manager: &str,
        precondition: &Precondition,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let prepared = self.status_basis(key)?.prepare(key, status, manager, precondition)?;
        Ok(self.put_status(now, key, prepared, effects))
    }

    /// What a status is written to, as it is now.
    ///
    /// # Errors
    /// There is no such object, or its kind has no status.
    pub(super) fn status_basis(&self, key: &Key) -> Result<StatusBasis, Refusal> {
        let crd = self.served(key)?;
        if !crd.has_status {
            return Err(Refusal::NoStatus);
        }
        let record = self.record(key).cloned().ok_or_else(|| gone(key))?;
        Ok(StatusBasis { crd, record })
    }

    /// Writes a status that was prepared; none if the object has changed since.
    pub(super) fn write_status(&mut self, now: u64, key: &Key, prepared: PreparedStatus) -> Option<(Answer, Effects)> {
        let same_object = Arc::ptr_eq(self.record(key)?, &prepared.record);
        let same_kind = self.served(key).is_ok_and(|crd| Arc::ptr_eq(&crd, &prepared.crd));
        if !same_object || !same_kind {
            return None;
        }
        let mut effects = Effects::default();
        let answer = self.put_status(now, key, prepared, &mut effects);
        Some((answer, effects))
    }

    fn put_status(&mut self, now: u64, key: &Key, prepared: PreparedStatus, effects: &mut Effects) -> Answer {
        let PreparedStatus { crd, record, change } = prepared;
        if let Some(object) = unchanged(Some(&record), &change) {
            return Answer::Applied { object, created: false };
        }
        let file = record.stored.file.clone();
        let object = self.commit(now, &crd, key, Some(&record), change, file, effects);
        Answer::Applied { object, created: false }
    }
}

/// What a status is written to.
pub(super) struct StatusBasis {
    crd: Arc<Crd>,
    record: Arc<Record>,
}

/// A status, merged and admitted, and what it was written to.
pub(super) struct PreparedStatus {
    crd: Arc<Crd>,
    record: Arc<Record>,
    change: Change,
}

impl StatusBasis {
    /// Merges and admits a status.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn prepare(
        self,
        key: &Key,
        status: &Value,
        manager: &str,
        precondition: &Precondition,
    ) -> Result<PreparedStatus, Refusal> {
        let Self { crd, record } = self;
        check(key, &record.stored, precondition)?;
        let mut wanted = whole(&crd, key, json!({ "status": status }));
        crd.prune_partial(&mut wanted);
        let wanted = match detach(&mut wanted, "status") {
            None | Some(Value::Null) => json!({}),
            Some(status) => json!({ "status": status }),
        };
        let mut document = tree(&record.stored.document);
        let mut current = json!({});
        attach(&mut current, "status", detach(&mut document, "status"));
        let (mine, rest) = (part(&record.stored.applied, &crd, true), part(&record.stored.applied, &crd, false));
        let keys = list_keys(&crd);
        let mut merged = fieldwise::apply(&Lists(&keys), &current, &mine, manager, &wanted, true).map_err(conflict)?;
        let changed = current != merged.document;
        attach(&mut document, "status", detach(&mut merged.document, "status"));
        let change = Change { old: Value::Null, document, applied: join(rest, &merged.applied), changed, given: false };
        if unchanged(Some(&record), &change).is_none() {
            let old = record.object.as_ref().map(|object| object.value());
            let candidate = whole(&crd, key, change.document.clone());
            let errors = crd.admit(candidate, old.as_ref(), Part::Status).errors;
            if !errors.is_empty() {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Err(Refusal::Invalid(format!("{} {}: {}", crd.kind, key.name, texts.join("; "))));
            }
        }
        drop(keys);
        Ok(PreparedStatus { crd, record, change })
    }
}

/// What an apply of a manager makes of an object's document, its status aside.
pub(super) fn merged(
    crd: &Crd,
    record: Option<&Record>,
    wanted: &Value,
    manager: &str,
    force: bool,
) -> Result<Change, Refusal> {
    let mut old = record.map_or_else(|| json!({}), |record| tree(&record.stored.document));
    let applied = record.map(|record| record.stored.applied.clone()).unwrap_or_default();
    let status = if crd.has_status { detach(&mut old, "status") } else { None };
    let (mine, rest) = (part(&applied, crd, false), part(&applied, crd, true));
    let keys = list_keys(crd);
    let merged = fieldwise::apply(&Lists(&keys), &old, &mine, manager, wanted, force).map_err(conflict)?;
    let mut document = merged.document;
    let changed = old != document;
    attach(&mut document, "status", status);
    Ok(Change { old, document, applied: join(rest, &merged.applied), changed, given: changed })
}

/// The object as it is, if a change is none.
pub(super) fn unchanged(record: Option<&Record>, change: &Change) -> Option<Arc<Object>> {
    let record = record?;
    if !change.changed && change.applied == *record.stored.applied { record.object.clone() } else { None }
}

/// Which lists of a kind are merged by keys. Conditions always are, by type (rule B15); what an API
/// server keeps as one list, such as owner references, is one.
pub(super) fn list_keys(crd: &Crd) -> impl Fn(&[&str]) -> Option<Vec<String>> {
    |path| match path {
        ["metadata", ..] => None,
        ["status", "conditions"] => Some(vec!["type".to_owned()]),
        path => match crd.list_type(path) {
            ListType::Map(keys) => Some(keys),
            _ => None,
        },
    }
}

fn conflict(conflict: fieldwise::Conflict) -> Refusal {
    Refusal::ManagerConflict { managers: conflict.managers, fields: conflict.fields }
}

pub(super) fn check(key: &Key, stored: &Stored, precondition: &Precondition) -> Result<(), Refusal> {
    if precondition.uid != stored.uid {
        return Err(Refusal::VersionConflict(format!("{key} is another object now, with uid {}", stored.uid)));
    }
    match &precondition.resource_version {
        Some(version) if **version != *stored.version.to_string() => {
            Err(Refusal::VersionConflict(format!("{key} is at version {}, decided upon was {version}", stored.version)))
        }
        _ => Ok(()),
    }
}

pub(super) fn gone(key: &Key) -> Refusal {
    Refusal::VersionConflict(format!("{key} does not exist any more"))
}

pub(super) fn belongs_to_file(key: &Key, file: &str) -> Refusal {
    Refusal::Invalid(format!("{} {} is defined by the file {file}: change or remove it there", key.kind, key.name))
}
