//! Reconciles `Workflow` of `muster.giantswarm.io/v1alpha1`: validates it and says in its status
//! what is wrong and which tools it mentions.
//!
//! An invalid workflow is no failed call: only a change of its spec can mend it, so the answer is
//! an outcome that is stalled, and nothing is tried again meanwhile.

mod spec;
mod validate;

use setpoint_sdk::prelude::*;
use spec::{WorkflowSpec, WorkflowStatus};

/// Reason of the readiness and of the condition `Valid` of an invalid workflow.
const FAILED: &str = "ValidationFailed";
const SUCCEEDED: &str = "ValidationSucceeded";

struct Workflow;

impl Reconciler for Workflow {
    type Spec = WorkflowSpec;
    type Status = WorkflowStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        Describe::with_crd_json("workflow", env!("CARGO_PKG_VERSION"), "v1alpha1", include_str!("crd.json"))
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<WorkflowStatus>, Error> {
        let errors = validate::errors(cx.name(), cx.spec());
        let status = WorkflowStatus {
            valid: errors.is_empty(),
            referenced_tools: validate::tools(cx.spec()),
            step_count: cx.spec().steps.len(),
            validation_errors: errors,
        };
        let verdict = match status.validation_errors.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            [first, rest @ ..] => Some(format!("{first}; and {} more in status.validationErrors", rest.len())),
        };
        // An event tells of a change; status and condition tell what is.
        let changed = cx
            .status()
            .is_none_or(|old| (old.valid, &old.validation_errors) != (status.valid, &status.validation_errors));
        let outcome = Outcome::ready(status);
        let (outcome, event) = match verdict {
            None => {
                let message = "The workflow is valid";
                (
                    outcome.condition("Valid", true, SUCCEEDED, message),
                    Event::normal("WorkflowValidationSucceeded", message),
                )
            }
            Some(verdict) => (
                outcome.stalled(FAILED, &verdict).condition("Valid", false, FAILED, &verdict),
                Event::warning("WorkflowValidationFailed", &verdict),
            ),
        };
        Ok(if changed { outcome.event(event) } else { outcome })
    }
}

setpoint_sdk::export!(Workflow);

#[cfg(test)]
mod tests;
