//! A workflow, as far as it is validated.
//!
//! More lenient than the CRD: what is missing is empty, so that all mistakes are found at once
//! and not only the first one by the parser.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A sequence of tool calls.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowSpec {
    pub args: BTreeMap<String, Argument>,
    pub steps: Vec<Step>,
    pub on_failure: Vec<SubStep>,
}

/// What the workflow is called with.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Argument {
    #[serde(rename = "type")]
    pub json_type: String,
}

/// A tool call, a loop or several calls at a time.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    pub id: String,
    pub tool: String,
    pub condition: Option<Condition>,
    pub for_each: Option<ForEach>,
    pub parallel: Option<Vec<SubStep>>,
}

/// A loop over the items of a list.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct ForEach {
    pub items: String,
    pub steps: Vec<SubStep>,
}

/// A tool call inside of a step; there is no deeper nesting.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct SubStep {
    pub id: String,
    pub tool: String,
    pub condition: Option<Condition>,
}

/// Whether a step runs.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    pub template: String,
    pub tool: String,
    pub from_step: String,
    pub expect: Option<Expectation>,
    pub expect_not: Option<Expectation>,
}

/// What the result of a condition's tool or step is compared with. Only its presence is validated.
#[derive(Deserialize)]
pub struct Expectation {}

/// What the plugin says about a workflow. `valid: false` is written out, so that it can be told
/// from "not yet looked at".
#[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkflowStatus {
    pub valid: bool,
    pub validation_errors: Vec<String>,
    pub referenced_tools: Vec<String>,
    pub step_count: usize,
    /// Read only: the host writes them.
    #[serde(skip_serializing)]
    pub conditions: Vec<OldCondition>,
}

/// A condition that is there already.
#[derive(Deserialize, PartialEq, Debug, Default)]
#[serde(default)]
pub struct OldCondition {
    #[serde(rename = "type")]
    pub name: String,
    pub status: String,
}
