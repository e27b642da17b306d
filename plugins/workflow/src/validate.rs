//! What makes a workflow valid: all that is wrong with it, and the tools that it mentions.

use std::collections::BTreeSet;

use crate::spec::{Condition, Step, SubStep, WorkflowSpec};

const TYPES: [&str; 6] = ["string", "integer", "boolean", "number", "object", "array"];

/// All that is wrong, in the order of the spec; steps are counted from 0. Empty if it is valid.
///
/// The CRD refuses most of this before it gets here. It is looked at all the same: references
/// between steps are beyond a schema, and objects may be older than their CRD.
pub fn errors(name: &str, spec: &WorkflowSpec) -> Vec<String> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push("workflow name is required".to_owned());
    }
    if spec.steps.is_empty() {
        errors.push("workflow must have at least one step".to_owned());
    }
    // The steps whose results a condition may look at: those that ran before.
    let mut earlier = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (at, step) in spec.steps.iter().enumerate() {
        check_id(&mut errors, &format!("step {at}"), &step.id, &mut ids);
        check_step(&mut errors, at, step, &earlier);
        earlier.extend(ids_of(step));
    }
    let mut ids = BTreeSet::new();
    for (at, step) in spec.on_failure.iter().enumerate() {
        check_id(&mut errors, &format!("onFailure step {at}"), &step.id, &mut ids);
        let label = label("onFailure step", at, &step.id);
        if step.tool.is_empty() {
            errors.push(format!("{label}: tool is required"));
        }
        check_condition(&mut errors, &label, step.condition.as_ref(), &earlier);
        earlier.insert(&step.id);
    }
    for (name, argument) in &spec.args {
        match argument.json_type.as_str() {
            "" => errors.push(format!("argument '{name}': type is required")),
            other if !TYPES.contains(&other) => {
                errors.push(format!("argument '{name}': type '{other}' is none of {}", TYPES.join(", ")));
            }
            _ => {}
        }
    }
    errors
}

fn label(what: &str, at: usize, id: &str) -> String {
    if id.is_empty() { format!("{what} {at}") } else { format!("{what} '{id}'") }
}

/// IDs are unique among the steps of one level: sub-steps of different steps may share one.
fn check_id<'a>(errors: &mut Vec<String>, label: &str, id: &'a str, seen: &mut BTreeSet<&'a str>) {
    if id.is_empty() {
        errors.push(format!("{label}: ID is required"));
        return;
    }
    if id.len() > 63 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        errors.push(format!("{label}: ID '{id}' must be at most 63 letters, digits, '-' and '_'"));
    }
    if !seen.insert(id) {
        errors.push(format!("{label}: duplicate step ID '{id}'"));
    }
}

fn check_step(errors: &mut Vec<String>, at: usize, step: &Step, earlier: &BTreeSet<&str>) {
    let label = label("step", at, &step.id);
    match (!step.tool.is_empty(), &step.for_each, &step.parallel) {
        (false, None, None) => errors.push(format!("{label}: one of tool, forEach, or parallel is required")),
        (true, Some(_), _) | (true, _, Some(_)) => {
            errors.push(format!("{label}: tool is mutually exclusive with forEach/parallel"));
        }
        _ => {}
    }
    if step.for_each.is_some() && step.parallel.is_some() {
        errors.push(format!("{label}: forEach and parallel are mutually exclusive"));
    }
    check_condition(errors, &label, step.condition.as_ref(), earlier);
    if let Some(for_each) = &step.for_each {
        if for_each.items.is_empty() {
            errors.push(format!("{label}: forEach items is required"));
        }
        // Within one round the sub-steps run one after the other.
        check_group(errors, &label, "forEach", &for_each.steps, earlier, true);
    }
    if let Some(parallel) = &step.parallel {
        check_group(errors, &label, "parallel", parallel, earlier, false);
    }
}

fn check_group(
    errors: &mut Vec<String>,
    label: &str,
    group: &str,
    steps: &[SubStep],
    earlier: &BTreeSet<&str>,
    in_sequence: bool,
) {
    if steps.is_empty() {
        errors.push(format!("{label}: {group} must have at least one sub-step"));
    }
    let mut earlier = earlier.clone();
    let mut ids = BTreeSet::new();
    for (at, step) in steps.iter().enumerate() {
        let place = format!("{label}: {group} sub-step {at}");
        check_id(errors, &place, &step.id, &mut ids);
        let place = if step.id.is_empty() { place } else { format!("{place} ({})", step.id) };
        if step.tool.is_empty() {
            errors.push(format!("{place}: tool is required"));
        }
        check_condition(errors, &place, step.condition.as_ref(), &earlier);
        if in_sequence {
            earlier.insert(&step.id);
        }
    }
}

fn check_condition(errors: &mut Vec<String>, label: &str, condition: Option<&Condition>, earlier: &BTreeSet<&str>) {
    let Some(condition) = condition else { return };
    let given = [&condition.template, &condition.tool, &condition.from_step].iter().filter(|s| !s.is_empty()).count();
    if given != 1 {
        errors.push(format!("{label}: condition needs exactly one of template, tool, or fromStep"));
    }
    if condition.template.is_empty() && condition.expect.is_none() && condition.expect_not.is_none() {
        errors.push(format!("{label}: condition needs expect or expectNot"));
    }
    let from = condition.from_step.as_str();
    if !from.is_empty() && !earlier.contains(from) {
        errors.push(format!("{label}: condition refers to step '{from}', which is no earlier step"));
    }
}

fn sub_steps(step: &Step) -> impl Iterator<Item = &SubStep> {
    let looped = step.for_each.iter().flat_map(|for_each| &for_each.steps);
    looped.chain(step.parallel.iter().flatten())
}

fn ids_of(step: &Step) -> impl Iterator<Item = &str> {
    std::iter::once(step.id.as_str()).chain(sub_steps(step).map(|sub| sub.id.as_str()))
}

/// All tools that are mentioned, sorted: those of steps, sub-steps, conditions and the clean-up.
pub fn tools(spec: &WorkflowSpec) -> Vec<String> {
    let mut tools = BTreeSet::new();
    let mut add = |tool: &str, condition: Option<&Condition>| {
        for tool in [Some(tool), condition.map(|condition| condition.tool.as_str())].into_iter().flatten() {
            if !tool.is_empty() {
                tools.insert(tool.to_owned());
            }
        }
    };
    for step in &spec.steps {
        add(&step.tool, step.condition.as_ref());
    }
    for sub in spec.steps.iter().flat_map(sub_steps).chain(&spec.on_failure) {
        add(&sub.tool, sub.condition.as_ref());
    }
    tools.into_iter().collect()
}
