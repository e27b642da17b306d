//! The end of an object: finalizer, deletion, and the file that waits for it (rules B9, B12, D3).

use std::sync::Arc;

use setpoint_core::key::Key;
use setpoint_core::op::{Answer, Precondition, Refusal};
use setpoint_schema::Crd;

use super::effects::Effects;
use super::marks::{FILE_MANAGER, FINALIZER};
use super::model::Model;
use super::record::{Problem, Record, tree};
use super::write::{belongs_to_file, check, gone, merged};

impl Model {
    pub(super) fn set_finalizer(
        &mut self,
        now: u64,
        key: &Key,
        present: bool,
        precondition: &Precondition,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let crd = self.served(key)?;
        let Some(record) = self.record(key).cloned() else {
            return if present { Err(gone(key)) } else { Ok(Answer::Absent) };
        };
        check(key, &record.stored, precondition)?;
        let mut stored = record.stored.clone();
        let there = stored.finalizers.iter().any(|finalizer| &**finalizer == FINALIZER);
        if there == present {
            return Ok(match &record.object {
                Some(object) => Answer::Applied { object: object.clone(), created: false },
                None => Answer::Absent,
            });
        }
        if present {
            if stored.deleting.is_some() {
                return Err(Refusal::Invalid(format!(
                    "{} {}: no finalizer can be added while it is being deleted",
                    crd.kind, key.name
                )));
            }
            stored.finalizers.push(FINALIZER.into());
        } else {
            stored.finalizers.retain(|finalizer| &**finalizer != FINALIZER);
            if stored.deleting.is_some() && stored.finalizers.is_empty() {
                self.vanish(now, key, effects);
                return Ok(Answer::Absent);
            }
        }
        let object = self.store(&crd, &Arc::new(key.clone()), stored, record.misfit.clone(), effects);
        Ok(Answer::Applied { object, created: false })
    }

    /// Deletes an object that no file defines; without precondition as a person does.
    pub(super) fn delete_child(
        &mut self,
        now: u64,
        key: &Key,
        precondition: Option<&Precondition>,
        effects: &mut Effects,
    ) -> Result<Answer, Refusal> {
        let crd = self.served(key)?;
        let Some(record) = self.record(key).cloned() else {
            return Ok(Answer::Absent);
        };
        if let Some(precondition) = precondition {
            check(key, &record.stored, precondition)?;
        }
        if record.stored.deleting.is_none()
            && let Some(file) = &record.stored.file
        {
            return Err(belongs_to_file(key, file));
        }
        Ok(self.terminate(now, Some(&crd), key, &record, effects))
    }

    /// Begins or ends the deletion of an object: with finalizers it is terminating, without it is
    /// gone. A deletion that has begun is not begun again (rule B9).
    pub(super) fn terminate(
        &mut self,
        now: u64,
        crd: Option<&Crd>,
        key: &Key,
        record: &Record,
        effects: &mut Effects,
    ) -> Answer {
        if record.stored.finalizers.is_empty() {
            self.vanish(now, key, effects);
            return Answer::Absent;
        }
        if record.stored.deleting.is_some() {
            return match &record.object {
                Some(object) => Answer::Applied { object: object.clone(), created: false },
                None => Answer::Absent,
            };
        }
        let mut stored = record.stored.clone();
        stored.deleting = Some(now);
        let shared = Arc::new(key.clone());
        match crd {
            Some(crd) => {
                let object = self.store(crd, &shared, stored, record.misfit.clone(), effects);
                Answer::Applied { object, created: false }
            }
            // Nobody can read it now; it is told as terminating when its kind is served again.
            None => {
                self.store_quietly(&shared, Record { stored, object: None, misfit: Vec::new() }, effects);
                Answer::Done
            }
        }
    }

    /// Removes an object, and makes it anew if a file waits for that (rule D3).
    pub(super) fn vanish(&mut self, now: u64, key: &Key, effects: &mut Effects) {
        let Some(parked) = self.forget(key, effects).and_then(|record| record.stored.parked.clone()) else {
            return;
        };
        let document = tree(&parked.document);
        let made = self.served(key).and_then(|crd| {
            let change = merged(&crd, None, &document, FILE_MANAGER, true)?;
            self.admit(&crd, key, None, &change)?;
            self.commit(now, &crd, key, None, change, Some(parked.file.clone()), effects);
            Ok(())
        });
        if let Err(refusal) = made {
            let problem = Problem { file: Some(parked.file), field: String::new(), message: refusal.to_string() };
            self.invalid(key, vec![problem]);
        }
    }
}
