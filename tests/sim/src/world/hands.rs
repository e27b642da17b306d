//! What people and other controllers do to the clusters.

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::key::Key;
use setpoint_core::op::{Answer, Op};

use super::World;
use crate::kinds::document;

impl World {
    /// Somebody changes an annotation of an object.
    pub fn bump(&mut self, key: &Key) {
        let value = self.rng.next_u64().to_string();
        self.annotate(key, "sim/bump", Some(&value));
    }

    /// Sets or removes an annotation as a person does.
    pub fn annotate(&mut self, key: &Key, annotation: &str, value: Option<&str>) {
        let Some(model) = self.server.models.get_mut(&key.cluster) else { return };
        let (_, effects) = model.annotate(self.now, key, annotation, value);
        self.publish(&effects);
    }

    pub(super) fn meddle(&mut self, key: &Key) {
        if self.server.get(key).is_some_and(|object| object.value()["data"]["x"] != "theirs") {
            self.apply(key, "meddler", json!({"data": {"x": "theirs"}}));
        }
    }

    /// Applies as another controller does, taking fields over.
    pub fn apply(&mut self, key: &Key, manager: &str, given: Value) -> Answer {
        let object = Arc::new(document(key, given));
        let op = Op::Apply { key: key.clone(), object, manager: manager.into(), force: true, precondition: None };
        let Some(model) = self.server.models.get_mut(&key.cluster) else { return Answer::Done };
        let (answer, effects) = model.perform(self.now, &op);
        self.publish(&effects);
        answer
    }

    /// Deletes as a person does.
    pub fn delete(&mut self, key: &Key) {
        let Some(model) = self.server.models.get_mut(&key.cluster) else { return };
        let (_, effects) = model.delete(self.now, key);
        self.publish(&effects);
    }

    /// A file says what an object shall be.
    pub fn write_file(&mut self, key: &Key, given: Value) {
        let value = document(key, given);
        let Some(model) = self.server.models.get_mut(&key.cluster) else { return };
        if let Ok(accepted) = model.desired(self.now, key, value, &format!("{}.yaml", key.name)) {
            self.publish(&accepted.effects);
        }
    }

    /// The file of an object is proven gone.
    pub fn remove_file(&mut self, key: &Key) {
        let Some(model) = self.server.models.get_mut(&key.cluster) else { return };
        let effects = model.undesired(self.now, key);
        self.publish(&effects);
    }
}
