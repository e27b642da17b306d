//! What files and people say: desired state (rules D1 to D4), annotations, deletion by hand.

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::key::{Key, Name};
use setpoint_core::native;
use setpoint_core::object::Applied;
use setpoint_core::op::{Answer, Refusal};
use setpoint_schema::{Crd, FieldError, FieldErrorKind, FieldPath};

use super::builtin;
use super::effects::Effects;
use super::fieldwise::{self, Lists};
use super::marks::{FILE_MANAGER, PERSON_MANAGER};
use super::model::{Model, given_part};
use super::record::{Parked, Problem, Record, attach, check_identity, document_of, join, part, raw, tree, whole};
use super::write::{Change, list_keys, merged, unchanged};

/// A file's content was taken.
#[derive(Clone, Default, Debug)]
pub struct Accepted {
    /// What is left to be done.
    pub effects: Effects,
    /// Fields that the schema does not know: they were pruned, the author is to be warned.
    pub unknown: Vec<FieldPath>,
}

/// Why a file's content was not taken. The object keeps its last good content.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FileRefusal {
    /// The kind is not served (rule D5).
    #[error("the kind {0} is not served")]
    UnknownKind(String),
    /// The content does not fit; with [`LocalOptions::strict`](super::LocalOptions::strict), unknown
    /// fields included. Paths are those in the document.
    #[error("{}", texts(.0))]
    Invalid(Vec<FieldError>),
    /// The store cannot keep anything at present.
    #[error("{0}")]
    Unavailable(String),
}

fn texts(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<Refusal> for FileRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownKind(kind) => FileRefusal::UnknownKind(kind),
            other => FileRefusal::Invalid(vec![of_the_whole(other.to_string())]),
        }
    }
}

fn unknown_field(crd: &Crd, path: &FieldPath) -> FieldError {
    let message = format!("Forbidden: {} has no such field, and unknown fields are refused (strict)", crd.kind);
    FieldError { path: path.clone(), message, kind: FieldErrorKind::Forbidden }
}

fn of_the_whole(message: String) -> FieldError {
    FieldError { path: FieldPath::default(), message, kind: FieldErrorKind::Invalid }
}

/// What the content of a file is admitted against. To admit takes longer than all else that is done
/// with a file, and needs nothing but this: others may work with the model meanwhile.
pub(super) struct Basis {
    crd: Arc<Crd>,
    record: Option<Arc<Record>>,
    strict: bool,
}

/// The content of a file, admitted.
pub(super) struct Admitted {
    basis: Basis,
    result: Result<(Value, Vec<FieldPath>), FileRefusal>,
}

impl Basis {
    fn living(&self) -> Option<&Record> {
        self.record.as_deref().filter(|record| record.stored.deleting.is_none())
    }

    pub(super) fn admit(self, key: &Key, value: Value) -> Admitted {
        let result = self.checked(key, value);
        Admitted { basis: self, result }
    }

    /// Validates what a file gives, and answers the document that is kept of it.
    fn checked(&self, key: &Key, mut value: Value) -> Result<(Value, Vec<FieldPath>), FileRefusal> {
        let crd = &*self.crd;
        check_identity(crd, key, &value)?;
        if native::is_shown(&crd.group, &crd.kind) {
            let message = format!("Forbidden: a {} says what the host knows, and is written by it alone", crd.kind);
            let (path, kind) = (FieldPath::of(&["kind"]), FieldErrorKind::Forbidden);
            return Err(FileRefusal::Invalid(vec![FieldError { path, message, kind }]));
        }
        builtin::normalise(crd, &mut value);
        let mut candidate = whole(crd, key, document_of(crd, value));
        let old = self.living().and_then(|record| record.object.as_ref()).map(|object| object.value());
        let mut observed = candidate.clone();
        if crd.has_status {
            attach(&mut observed, "status", old.as_ref().and_then(|old| old.get("status").cloned()));
        }
        let admission = crd.admit(observed, old.as_ref(), given_part(crd));
        let mut errors = admission.errors;
        errors.extend(builtin::validate(crd, &candidate));
        if let Some(reason) = old.as_ref().and_then(|old| builtin::immutable(crd, old, &candidate)) {
            errors.push(of_the_whole(reason));
        }
        if self.strict {
            errors.extend(admission.unknown.iter().map(|path| unknown_field(crd, path)));
        }
        if !errors.is_empty() {
            return Err(FileRefusal::Invalid(errors));
        }
        crd.prune_partial(&mut candidate);
        Ok((document_of(crd, candidate), admission.unknown))
    }
}

impl Model {
    /// Takes the content of a file as what the object shall be. An object that children were made of
    /// becomes the file's alone (rule B5); one that is terminating stays so, and the content waits
    /// (rule D3). `now` in unix milliseconds.
    ///
    /// # Errors
    /// The mistakes; they are kept readable with [`Model::problems`], and nothing else changes.
    pub fn desired(&mut self, now: u64, key: &Key, value: Value, file: &str) -> Result<Accepted, FileRefusal> {
        let admitted = self.basis(key)?.admit(key, value);
        self.take(now, key, admitted, file)
    }

    /// What the content of a file is admitted against, as it is now.
    ///
    /// # Errors
    /// The kind is not served, or the key has not its scope.
    pub(super) fn basis(&self, key: &Key) -> Result<Basis, FileRefusal> {
        Ok(Basis { crd: self.served(key)?, record: self.record(key).cloned(), strict: self.strict })
    }

    /// Whether something was admitted against what is there still.
    pub(super) fn is_current(&self, key: &Key, admitted: &Admitted) -> bool {
        let same = match (self.record(key), &admitted.basis.record) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (None, None) => true,
            _ => false,
        };
        let crd = self.served(key).is_ok_and(|crd| Arc::ptr_eq(&crd, &admitted.basis.crd));
        same && crd && self.strict == admitted.basis.strict
    }

    /// Takes what was admitted against what is there still.
    ///
    /// # Errors
    /// As [`Model::desired`].
    pub(super) fn take(
        &mut self,
        now: u64,
        key: &Key,
        admitted: Admitted,
        file: &str,
    ) -> Result<Accepted, FileRefusal> {
        let file: Name = file.into();
        let Admitted { basis, result } = admitted;
        let taken = result.and_then(|(document, unknown)| {
            let effects = self.put(now, key, &basis, &file, &document)?;
            Ok(Accepted { effects, unknown })
        });
        match &taken {
            Ok(_) => {
                self.refused.remove(key);
            }
            Err(FileRefusal::Invalid(errors)) => {
                let problems = errors.iter().map(|error| Problem::of(error, Some(&file))).collect();
                self.invalid(key, problems);
            }
            Err(_) => {}
        }
        taken
    }

    fn put(
        &mut self,
        now: u64,
        key: &Key,
        basis: &Basis,
        file: &Name,
        document: &Value,
    ) -> Result<Effects, FileRefusal> {
        let mut effects = Effects::default();
        match (&basis.record, basis.living()) {
            (Some(record), None) => self.park(key, record, file, document, &mut effects),
            (_, living) => self.put_file(now, &basis.crd, key, living, file, document, &mut effects)?,
        }
        Ok(effects)
    }

    fn park(&mut self, key: &Key, record: &Record, file: &Name, document: &Value, effects: &mut Effects) {
        let document = raw(document);
        let parked = record.stored.parked.as_ref();
        if parked.is_some_and(|parked| parked.file == *file && parked.document.get() == document.get()) {
            return;
        }
        let mut record = record.clone();
        record.stored.parked = Some(Parked { file: file.clone(), document });
        self.store_quietly(&Arc::new(key.clone()), record, effects);
    }

    #[expect(clippy::too_many_arguments, reason = "everything that a file says of one object")]
    fn put_file(
        &mut self,
        now: u64,
        crd: &Crd,
        key: &Key,
        record: Option<&Record>,
        file: &Name,
        document: &Value,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let taken_over = record.filter(|record| record.stored.file.is_none()).map(|record| alone(crd, record));
        let base = taken_over.as_ref().or(record);
        let mut change = merged(crd, base, document, FILE_MANAGER, true)?;
        if let (Some(record), Some(_)) = (record, &taken_over) {
            change.old = tree(&record.stored.document);
            change.changed = change.old != change.document;
            change.given = change.changed;
        }
        if unchanged(record, &change).is_some() {
            if let Some(record) = record
                && record.stored.file.as_ref() != Some(file)
            {
                let mut record = record.clone();
                record.stored.file = Some(file.clone());
                self.store_quietly(&Arc::new(key.clone()), record, effects);
            }
            return Ok(());
        }
        self.commit(now, crd, key, record, change, Some(file.clone()), effects);
        Ok(())
    }

    /// The file that defined an object is proven gone (rule D1), and with it the object: with
    /// finalizers it is terminating now, without it is gone. What no file defines is left alone.
    pub fn undesired(&mut self, now: u64, key: &Key) -> Effects {
        let mut effects = Effects::default();
        self.refused.remove(key);
        let Some(record) = self.record(key).cloned() else {
            return effects;
        };
        if record.stored.deleting.is_some() {
            if record.stored.parked.is_some() {
                let mut record = (*record).clone();
                record.stored.parked = None;
                self.store_quietly(&Arc::new(key.clone()), record, &mut effects);
            }
        } else if record.stored.file.is_some() {
            let crd = self.served(key).ok();
            self.terminate(now, crd.as_deref(), key, &record, &mut effects);
        }
        effects
    }

    /// Sets or removes an annotation as a person does, such as `setpoint.dev/paused`. Answers
    /// `Applied`, or `Absent` if there is no such object; refused where a file says otherwise.
    pub fn annotate(&mut self, now: u64, key: &Key, annotation: &str, value: Option<&str>) -> (Answer, Effects) {
        let mut effects = Effects::default();
        let answer = self.try_annotate(now, key, annotation, value, &mut effects);
        (answer.unwrap_or_else(Answer::Refused), effects)
    }

    fn try_annotate(
        &mut self,
        now: u64,
        key: &Key,
        annotation: &str,
        value: Option<&str>,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let crd = self.served(key)?;
        let Some(record) = self.record(key).cloned() else {
            return Ok(Answer::Absent);
        };
        let path = ["metadata", "annotations", annotation];
        if fieldwise::gives(&record.stored.applied, FILE_MANAGER, &path) {
            let file = record.stored.file.as_deref().unwrap_or_default();
            return Err(Refusal::Invalid(format!("the annotation {annotation} is set in the file {file}")));
        }
        let change = match value {
            Some(value) => {
                let mut given = given_annotations(&record);
                attach(&mut given, annotation, Some(json!(value)));
                let wanted = json!({ "metadata": { "annotations": given } });
                merged(&crd, Some(&record), &wanted, PERSON_MANAGER, true)?
            }
            None => {
                let old = tree(&record.stored.document);
                let keys = list_keys(&crd);
                let erased = fieldwise::erase(&Lists(&keys), &old, &record.stored.applied, &path);
                let changed = old != erased.document;
                Change { old, document: erased.document, applied: erased.applied, changed, given: changed }
            }
        };
        if let Some(object) = unchanged(Some(&record), &change) {
            return Ok(Answer::Applied { object, created: false });
        }
        self.admit(&crd, key, Some(&record), &change)?;
        let file = record.stored.file.clone();
        let object = self.commit(now, &crd, key, Some(&record), change, file, effects);
        Ok(Answer::Applied { object, created: false })
    }

    /// Deletes an object as a person does. What a file defines is refused: the file would make it
    /// anew. Answers `Applied` (terminating) or `Absent` (gone).
    pub fn delete(&mut self, now: u64, key: &Key) -> (Answer, Effects) {
        let mut effects = Effects::default();
        let answer = self.delete_child(now, key, None, &mut effects);
        (answer.unwrap_or_else(Answer::Refused), effects)
    }
}

/// The annotations that people set so far.
fn given_annotations(record: &Record) -> Value {
    let document = tree(&record.stored.document);
    let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
    let ours =
        |name: &str| fieldwise::gives(&record.stored.applied, PERSON_MANAGER, &["metadata", "annotations", name]);
    let given = annotations.into_iter().flatten().filter(|(name, _)| ours(name));
    Value::Object(given.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// An object without what reconcilers gave: objects that a file defines are never children
/// (rule B5). The status stays, and what people said.
fn alone(crd: &Crd, record: &Record) -> Record {
    let applied = &record.stored.applied;
    let stays = |manager: &str| [FILE_MANAGER, PERSON_MANAGER].contains(&manager);
    let (given, status) = (part(applied, crd, false), part(applied, crd, true));
    let (given, gone): (Applied, Applied) = given.into_iter().partition(|(manager, _)| stays(manager));
    let keys = list_keys(crd);
    let kept = join(given, &status);
    let mut record = record.clone();
    let document = tree(&record.stored.document);
    let document = gone.values().fold(document, |left, set| fieldwise::without(&Lists(&keys), &left, set, &kept));
    record.stored.document = raw(&document);
    record.stored.applied = Arc::new(kept);
    record
}
