//! What the host would refuse in an outcome.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Key;
use crate::bindings::setpoint::reconciler::types::{Description, Outcome, Readiness};

/// The group of the host's own kinds, which are in `local` wherever the owner is.
const HOST_GROUP: &str = "host.setpoint.dev";

/// Each problem in words; none if the host would take the outcome.
pub(super) fn problems(
    outcome: &Outcome,
    children: &[Value],
    description: &Description,
    owner: &Key,
    deleting: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut codes: Vec<&str> = outcome.events.iter().map(|event| event.reason.code.as_str()).collect();
    if let Readiness::Progressing(reason) | Readiness::Stalled(reason) = &outcome.readiness {
        codes.push(&reason.code);
    }
    if let Some(status) = &outcome.status {
        match status.parse() {
            Ok(Value::Object(status)) => {
                for field in
                    ["conditions", "observedGeneration"].into_iter().filter(|field| status.contains_key(*field))
                {
                    problems.push(format!("status.{field} is the host's; for conditions there is Outcome::condition"));
                }
            }
            _ => problems.push(format!("the status is no JSON object: {status}")),
        }
    }
    let mut types = BTreeSet::new();
    for condition in &outcome.conditions {
        codes.push(&condition.reason.code);
        if ["Ready", "Reconciling", "Stalled"].contains(&condition.type_.as_str()) {
            problems.push(format!("condition {} is the host's", condition.type_));
        }
        if !is_code(&condition.type_) {
            problems.push(format!("condition type {:?} is not CamelCase", condition.type_));
        }
        if !types.insert(&condition.type_) {
            problems.push(format!("two conditions of type {}", condition.type_));
        }
    }
    for code in codes.into_iter().filter(|code| !is_code(code)) {
        problems.push(format!("reason {code:?} is not CamelCase of at most 128 letters"));
    }
    if outcome.finalized && !deleting {
        problems.push("finalized, but the object is not being deleted".into());
    }
    let clusters = outcome.children.iter().flatten().map(|child| child.cluster.as_deref());
    let mut names = BTreeSet::new();
    for (child, cluster) in children.iter().zip(clusters) {
        match self_or_problem(child, description, owner, cluster) {
            Err(problem) => problems.push(problem),
            Ok(name) => {
                if !names.insert(name.clone()) {
                    problems.push(format!("two children {name}"));
                }
            }
        }
    }
    problems
}

fn is_code(code: &str) -> bool {
    (1..=128).contains(&code.len())
        && code.starts_with(|c: char| c.is_ascii_uppercase())
        && code.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The child's name among its siblings, or what is wrong with it.
fn self_or_problem(
    child: &Value,
    description: &Description,
    owner: &Key,
    cluster: Option<&str>,
) -> Result<String, String> {
    let text = |pointer: &str| child.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("/apiVersion"), text("/kind")) else {
        return Err(format!("a child without apiVersion and kind: {child}"));
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(name) = text("/metadata/name").filter(|name| !name.is_empty()) else {
        return Err(format!("a child {kind} without metadata.name"));
    };
    let described =
        description.writes.iter().any(|write| write.group == group && write.version == version && write.kind == kind);
    if !described {
        return Err(format!("child {kind} {name}: {api_version} {kind} is not among the plugin's writes"));
    }
    let refused = [
        "/status",
        "/metadata/generateName",
        "/metadata/ownerReferences",
        "/metadata/finalizers",
        "/metadata/uid",
        "/metadata/resourceVersion",
    ];
    if let Some(field) = refused.into_iter().find(|field| child.pointer(field).is_some()) {
        return Err(format!("child {kind} {name} sets {}", field[1..].replace('/', ".")));
    }
    let cluster = if group == HOST_GROUP { "local" } else { cluster.unwrap_or(&owner.cluster) };
    let namespace = text("/metadata/namespace").or(owner.namespace.as_deref()).unwrap_or_default();
    Ok(format!("{cluster} {group}/{kind} {namespace}/{name}"))
}
