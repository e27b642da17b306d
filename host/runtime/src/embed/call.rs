//! Calls of reconcilers in Rust: what ends them, and what their answers have to be.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use serde::de::IgnoredAny;
use setpoint_core::contract::{Description, Outcome, Request};
use setpoint_plugin::{Call, CallFailure, CallStats, Digest, LimitKind, Limits, Reads};
use tokio::task::AbortHandle;

use super::reconciler::AnyReconciler;
use super::{Reconciler, TrackedReads};

/// A reconciler in Rust, with what it said of itself.
pub(crate) struct Native {
    reconciler: Box<dyn AnyReconciler>,
    description: Arc<Description>,
    digest: Digest,
    pure: bool,
}

impl Native {
    /// Asks a reconciler what it is.
    ///
    /// # Errors
    /// That makes no sense.
    pub(super) fn new(reconciler: impl Reconciler) -> Result<Self, String> {
        let described = catch_unwind(AssertUnwindSafe(|| Reconciler::describe(&reconciler)));
        let described = described.map_err(|panic| format!("a reconciler cannot be described: {}", said(&*panic)))?;
        let (description, pure) = described.check()?;
        // What is kept of a version is kept by its digest, and of code in the program nothing else is known.
        let digest = Digest::of(format!("{description:?}").as_bytes());
        Ok(Self { reconciler: Box::new(reconciler), description: Arc::new(description), digest, pure })
    }

    pub(crate) fn description(&self) -> &Arc<Description> {
        &self.description
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Calls it for one object, in a task of its own: what happens there happens to nobody else.
    pub(crate) async fn reconcile(self: &Arc<Self>, request: &Request, reads: Arc<dyn Reads>, limits: &Limits) -> Call {
        let begun = Instant::now();
        let reads = TrackedReads::new(reads, limits.host_calls);
        let (this, request) = (self.clone(), request.clone());
        let task = tokio::spawn(async move { this.reconciler.reconcile(request, reads).await });
        let _ends_with_this = AbortOnDrop(task.abort_handle());
        let result = match tokio::time::timeout(limits.wall, task).await {
            Err(_) => {
                Err(CallFailure::Trap { message: LimitKind::Wall.sentence(limits), limit: Some(LimitKind::Wall) })
            }
            Ok(Ok(answer)) => answer.map_err(CallFailure::Plugin).and_then(|outcome| check(outcome, limits)),
            Ok(Err(end)) => {
                let message = match end.try_into_panic() {
                    Ok(panic) => said(&*panic),
                    Err(_) => "the call was cut off".to_owned(),
                };
                Err(CallFailure::Trap { message, limit: None })
            }
        };
        let stats = CallStats { wall: begun.elapsed(), ..CallStats::default() };
        Call { result, impure: !self.pure, stats }
    }
}

/// A call that nobody waits for any more ends.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("it says nothing"))
}

/// The same of an answer as of a component's: it keeps the limits, and is made of JSON objects.
fn check(outcome: Outcome, limits: &Limits) -> Result<Outcome, CallFailure> {
    let children = outcome.children.as_deref().unwrap_or_default();
    for (limit, found, most) in [
        (LimitKind::Children, children.len(), limits.children),
        (LimitKind::Events, outcome.events.len(), limits.events),
    ] {
        if found > most {
            return Err(beyond(limit, limits, &found.to_string()));
        }
    }
    if let Some(status) = &outcome.status {
        object(status, limits, || "the status".to_owned())?;
    }
    for (index, child) in children.iter().enumerate() {
        object(&child.object, limits, || format!("child {} of {}", index + 1, children.len()))?;
    }
    Ok(outcome)
}

fn object(text: &str, limits: &Limits, what: impl Fn() -> String) -> Result<(), CallFailure> {
    if text.len() > limits.object_bytes {
        return Err(beyond(LimitKind::ObjectBytes, limits, &format!("{} has {} bytes", what(), text.len())));
    }
    match serde_json::from_str::<HashMap<String, IgnoredAny>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(CallFailure::Invalid(format!("{} is not a JSON object: {error}", what()))),
    }
}

fn beyond(limit: LimitKind, limits: &Limits, found: &str) -> CallFailure {
    CallFailure::Trap { message: format!("{} ({found})", limit.sentence(limits)), limit: Some(limit) }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
