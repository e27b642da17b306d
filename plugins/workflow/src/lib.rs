//! Reconciles `Workflow` of `muster.giantswarm.io/v1alpha1`: validates it and says in its status
//! what is wrong and which tools it mentions.
//!
//! An invalid workflow is no failed call: only a change of its spec can mend it, so the answer is
//! an outcome that is stalled, and nothing is tried again meanwhile.
//!
//! Whether MCP servers offer the tools is said beside it, in a condition: a workflow is no worse for a
//! server that is away.

mod servers;
mod spec;
mod validate;

use setpoint_sdk::ConditionStatus;
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
            .reads(servers::reads())
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<WorkflowStatus>, Error> {
        let errors = validate::errors(cx.name(), cx.spec());
        let tools = validate::tools(cx.spec());
        let status = WorkflowStatus {
            valid: errors.is_empty(),
            referenced_tools: tools.clone(),
            step_count: cx.spec().steps.len(),
            validation_errors: errors,
            conditions: Vec::new(),
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
        let outcome = if changed { outcome.event(event) } else { outcome };
        Ok(with_tools(cx, outcome, &tools))
    }
}

/// Says whether the tools are there, and tells of it when they no longer are.
fn with_tools(cx: &Context<Workflow>, outcome: Outcome<WorkflowStatus>, tools: &[String]) -> Outcome<WorkflowStatus> {
    let verdict = servers::verdict(cx, tools);
    let was_there = cx.status().is_some_and(|old| {
        old.conditions.iter().any(|condition| condition.name == servers::CONDITION && condition.status == "True")
    });
    let outcome = if was_there && verdict.status == ConditionStatus::False {
        outcome.event(Event::warning("WorkflowUnavailable", &verdict.message))
    } else {
        outcome
    };
    outcome.condition(servers::CONDITION, verdict.status, verdict.reason, verdict.message)
}

setpoint_sdk::export!(Workflow);

#[cfg(test)]
mod tests;
