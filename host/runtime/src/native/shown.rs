//! What the host's reconcilers write: statuses and the finalizer of their objects.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use setpoint_core::effects::FINALIZER;
use setpoint_core::key::Key;
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition, Refusal};

use super::Native;

/// Until a write that was not done is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Native {
    /// An object as it is on its cluster.
    ///
    /// # Errors
    /// Why nothing is known of it.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, String> {
        match self.perform(Op::Get(key.clone())).await {
            Answer::Found(object) => Ok(Some(object)),
            Answer::Absent => Ok(None),
            Answer::Refused(refusal) => Err(refusal.to_string()),
            Answer::Listed(_) | Answer::Applied { .. } | Answer::Done => Err("no answer to a read".into()),
        }
    }

    async fn perform(&self, op: Op) -> Answer {
        self.driver.perform_alone(op).await
    }

    /// Writes a status if it differs from what is there.
    pub(super) async fn show(&self, key: &Key, uid: &str, status: Value) {
        let Some(object) = self.local.object(key).filter(|object| object.uid() == uid) else { return };
        if object.value().get("status") == Some(&status) {
            return;
        }
        let precondition = Precondition { uid: uid.into(), resource_version: None };
        let status = Arc::new(status);
        let op = Op::ApplyStatus { key: key.clone(), status, manager: self.manager.clone(), precondition };
        self.written(key, self.perform(op).await);
    }

    /// Holds an object until what it stands for has ended, or lets it go. Answers whether it is as wanted.
    pub(super) async fn hold(&self, key: &Key, object: &Object, present: bool) -> bool {
        if object.has_finalizer(FINALIZER) == present || (present && object.terminating()) {
            return true;
        }
        let others = object.finalizers().iter().filter(|finalizer| ***finalizer != *FINALIZER).cloned();
        let finalizers = others.chain(present.then(|| FINALIZER.into())).collect();
        let precondition = Precondition::version_of(object);
        let op = Op::SetFinalizer { key: key.clone(), present, finalizers, precondition };
        self.written(key, self.perform(op).await)
    }

    /// A write that was not done is done later, on what is there then.
    fn written(&self, key: &Key, answer: Answer) -> bool {
        let Answer::Refused(refusal) = answer else { return true };
        match &refusal {
            // Moved on or gone: that is seen, and looked at.
            Refusal::VersionConflict(_) => self.mark(key),
            refusal => {
                tracing::warn!(%key, %refusal, "its status cannot be written; it is tried again");
                self.mark_later(key, AGAIN);
            }
        }
        false
    }
}
