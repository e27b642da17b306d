//! Running the rules of a schema on an object.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value as Cel};
use serde_json::Value;

use crate::convert::to_cel;
use crate::crd::Part;
use crate::error::FieldError;
use crate::expr::FUNCTIONS;
use crate::list;
use crate::path::At;
use crate::rule::{Reason, Rule};
use crate::schema::Schema;
use crate::shape::Wanted;

/// Steps that all rules may take together on one object.
const BUDGET: u64 = 10_000_000;
/// Longer messages of a `messageExpression` are not used.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// A value that rules are run on.
#[derive(Clone, Copy)]
struct Given<'a> {
    value: &'a Value,
    /// The value before, where there is one and it can be told which.
    old: Option<&'a Value>,
    /// Whether it was let in like this before, by itself or as a part of something.
    unchanged: bool,
}

impl<'a> Given<'a> {
    fn part(&self, value: &'a Value, old: Option<&'a Value>) -> Self {
        Given { value, old: old.filter(|old| !old.is_null()), unchanged: self.unchanged || old == Some(value) }
    }
}

/// One run of all rules over one object.
pub(crate) struct Run {
    left: u64,
    exhausted: bool,
    pub(crate) errors: Vec<FieldError>,
}

impl Run {
    /// Checks the rules that a write of `part` can violate. `object` and `old` have defaults.
    pub(crate) fn over(root: &Schema, object: &Value, old: Option<&Value>, part: Part) -> Self {
        let mut run = Run { left: BUDGET, exhausted: false, errors: Vec::new() };
        let about_part = |rule: &Rule| part != Part::Status || rule.reads_status;
        let value = Given { value: object, old, unchanged: old == Some(object) };
        run.rules(root, value, &At::Root, about_part);
        run.below(root, value, &At::Root, &|field| part.wants(field));
        run
    }

    fn check(&mut self, schema: &Schema, given: Given<'_>, at: &At<'_>) {
        // A null stands for a field that is not there.
        if !schema.rules_below || given.value.is_null() {
            return;
        }
        self.rules(schema, given, at, |_| true);
        self.below(schema, given, at, &|_| true);
    }

    fn below(&mut self, schema: &Schema, given: Given<'_>, at: &At<'_>, wanted: Wanted<'_>) {
        match given.value {
            Value::Object(object) => {
                let old = given.old.filter(|_| !schema.atomic);
                for (name, value) in object.iter().filter(|(name, _)| wanted(name)) {
                    if let Some(child) = schema.child(name) {
                        let old = old.and_then(|old| old.get(name));
                        self.check(child, given.part(value, old), &at.key(name));
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema_of_items) = schema.items.as_deref().filter(|items| items.rules_below) else {
                    return;
                };
                let old = list::Old::of(schema, given.old);
                for (index, item) in items.iter().enumerate() {
                    let old = old.of_item(item);
                    self.check(schema_of_items, given.part(item, old), &at.index(index));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, schema: &Schema, given: Given<'_>, at: &At<'_>, wanted: impl Fn(&Rule) -> bool) {
        let Given { value, old, unchanged } = given;
        let due: Vec<&Rule> = schema
            .rules
            .iter()
            .filter(|rule| wanted(rule))
            // Without a value before, there is nothing to compare with.
            .filter(|rule| old.is_some() || !rule.uses_old || rule.old_is_optional)
            // A value that was let in before is tolerated, unless the rule is about change.
            .filter(|rule| rule.uses_old || !unchanged)
            .collect();
        if due.is_empty() {
            return;
        }
        let mut context = FUNCTIONS.new_inner_scope();
        context.add_variable_from_value("self", to_cel(Some(schema), value));
        let old_cel = old.filter(|_| due.iter().any(|rule| rule.uses_old)).map(|old| to_cel(Some(schema), old));
        for rule in due {
            if self.exhausted {
                return;
            }
            let mut context = context.new_inner_scope();
            if rule.uses_old {
                context.add_variable_from_value("oldSelf", bound_old(rule, old_cel.as_ref()));
            }
            if !self.pays_for(rule, value, old) {
                let message =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                self.errors.push(FieldError::rule(at.path(), message.to_owned()));
                self.exhausted = true;
                return;
            }
            if let Err(detail) = holds(rule, &context) {
                let path = at.path().extend(&rule.field_path);
                self.errors.push(FieldError::rule(path, sentence(rule, schema, &detail)));
            }
        }
    }

    fn pays_for(&mut self, rule: &Rule, value: &Value, old: Option<&Value>) -> bool {
        let longest = if rule.cost.grows() {
            let of = |value: &Value| longest(value, rule.cost.splits);
            of(value).max(old.filter(|_| rule.uses_old).map_or(0, of))
        } else {
            0
        };
        match self.left.checked_sub(rule.cost.at(longest)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

fn bound_old(rule: &Rule, old: Option<&Cel>) -> Cel {
    match (rule.old_is_optional, old) {
        (false, Some(old)) => old.clone(),
        (false, None) => Cel::Null,
        (true, Some(old)) => Cel::Opaque(Arc::new(OptionalValue::of(old.clone()))),
        (true, None) => Cel::Opaque(Arc::new(OptionalValue::none())),
    }
}

/// Whether a rule holds; if not, why.
fn holds(rule: &Rule, context: &Context<'_>) -> Result<(), String> {
    let said = || rule.message.clone().unwrap_or_else(|| rule.text.clone());
    match resolve(&rule.expr, context) {
        Ok(Cel::Bool(true)) => Ok(()),
        Ok(Cel::Bool(false)) => {
            let expressed = rule.message_expr.as_ref().and_then(|expr| expressed(expr, context));
            let fixed = || rule.message.clone().unwrap_or_else(|| format!("failed rule: {}", rule.text));
            Err(expressed.unwrap_or_else(fixed))
        }
        Ok(_) => Err(format!("the rule is neither true nor false, evaluating rule: {}", said())),
        Err(reason) => Err(format!("{reason} evaluating rule: {}", said())),
    }
}

/// The message that an expression gives, if it gives one that can be shown.
fn expressed(expr: &IdedExpr, context: &Context<'_>) -> Option<String> {
    match resolve(expr, context) {
        Ok(Cel::String(text)) => {
            let text = text.trim();
            (!text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
        }
        _ => None,
    }
}

fn resolve(expr: &IdedExpr, context: &Context<'_>) -> Result<Cel, String> {
    // A rule is a plugin's: a fault that it finds in the library must stay with it.
    match catch_unwind(AssertUnwindSafe(|| Cel::resolve(expr, context))) {
        Ok(result) => result.map_err(|error| reason(&error)),
        Err(_) => Err("the evaluation failed".to_owned()),
    }
}

/// What went wrong, without the values it went wrong with: they may be secret, and long.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::UndeclaredReference(name) => format!("undeclared reference to '{name}'"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".to_owned(),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("{actual} arguments where {expected} are expected")
        }
        ExecutionError::FunctionError { function, .. } => format!("{function}() failed"),
        ExecutionError::UnexpectedType { got, want } => {
            format!("unexpected type {got}, want {want}")
        }
        _ => "no such overload".to_owned(),
    }
}

fn sentence(rule: &Rule, schema: &Schema, detail: &str) -> String {
    let kind = schema.kind.map_or("", |kind| kind.name());
    match rule.reason {
        Reason::Invalid => format!("Invalid value: \"{kind}\": {detail}"),
        Reason::Forbidden => format!("Forbidden: {detail}"),
        Reason::Required => format!("Required value: {detail}"),
        Reason::Duplicate => format!("Duplicate value: \"{kind}\": {detail}"),
    }
}

/// The length of the longest list or map within a value; of the longest string too if those can
/// be taken apart.
fn longest(value: &Value, strings: bool) -> u64 {
    match value {
        Value::Array(list) => list.iter().map(|item| longest(item, strings)).fold(list.len() as u64, u64::max),
        Value::Object(object) => {
            object.values().map(|value| longest(value, strings)).fold(object.len() as u64, u64::max)
        }
        Value::String(text) if strings => text.len() as u64,
        _ => 0,
    }
}
