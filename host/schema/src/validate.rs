//! Whether a value fits a schema. All mistakes are collected, in the wording of an API server.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use crate::error::{FieldError, named};
use crate::format::Format;
use crate::list;
use crate::metadata;
use crate::path::At;
use crate::schema::{Bound, Schema, Type};
use crate::shape::Wanted;

/// Checks `value`. A value that is the same as `old` was let in before and is tolerated with
/// everything below it (ratcheting, rule D6).
pub(crate) fn check(schema: &Schema, value: &Value, old: Option<&Value>, at: &At<'_>, errors: &mut Vec<FieldError>) {
    if old == Some(value) || (value.is_null() && schema.nullable) {
        return;
    }
    if !has_type(schema, value) {
        errors.push(wrong_type(schema, value, at));
        return;
    }
    if let Some(allowed) = &schema.allowed
        && !allowed.iter().any(|one| same(one, value))
    {
        errors.push(FieldError::not_supported(at.path(), value, allowed));
    }
    match value {
        Value::Number(number) => check_number(schema, number, value, at, errors),
        Value::String(text) => check_text(schema, text, value, at, errors),
        Value::Array(list) => check_list(schema, list, old, at, errors),
        Value::Object(object) => {
            check_bounds(schema, object, at, errors);
            check_fields(schema, object, old.and_then(Value::as_object), &|_| true, at, errors);
            if schema.resource && !matches!(at, At::Root) {
                errors.extend(metadata::embedded(object, at));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    check_alternatives(schema, value, at, errors);
}

/// Checks how many fields an object has.
pub(crate) fn check_bounds(schema: &Schema, object: &Map<String, Value>, at: &At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(least) = schema.min_properties
        && count(object.len()) < least
    {
        let detail = format!("{} in body should have at least {least} properties", named(&at.path()));
        errors.push(FieldError::invalid(at.path(), &Value::from(object.len()), &detail));
    }
    if let Some(most) = schema.max_properties
        && count(object.len()) > most
    {
        errors.push(FieldError::too_many(at.path(), object.len(), most));
    }
}

/// Checks the wanted fields of an object: that required ones are there, and what is in them.
pub(crate) fn check_fields(
    schema: &Schema,
    object: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    wanted: Wanted<'_>,
    at: &At<'_>,
    errors: &mut Vec<FieldError>,
) {
    for name in schema.required.iter().filter(|name| wanted(name)) {
        if !object.contains_key(name) {
            errors.push(FieldError::required(at.key(name).path(), ""));
        }
    }
    // The fields of an atomic map are not those of before, even where they have the same name.
    let old = old.filter(|_| !schema.atomic);
    for (name, value) in object.iter().filter(|(name, _)| wanted(name)) {
        if let Some(child) = schema.child(name) {
            check(child, value, old.and_then(|old| old.get(name)), &at.key(name), errors);
        }
    }
}

/// Checks `oneOf`, `anyOf`, `allOf` and `not`. Ratcheting does not reach into them.
pub(crate) fn check_alternatives(schema: &Schema, value: &Value, at: &At<'_>, errors: &mut Vec<FieldError>) {
    let mut say = |detail: String| {
        let detail = format!("\"{}\" {detail}", named(&at.path()));
        errors.push(FieldError::invalid(at.path(), &Value::from(""), &detail));
    };
    let attempt = |branch: &Schema| {
        let mut errors = Vec::new();
        check(branch, value, None, at, &mut errors);
        errors
    };
    let mut closest = Vec::new();
    if !schema.one_of.is_empty() {
        let (fitting, near) = try_each(&schema.one_of, attempt);
        match fitting {
            1 => {}
            0 => {
                say("must validate one and only one schema (oneOf). Found none valid".to_owned());
                closest.extend(near);
            }
            many => say(format!("must validate one and only one schema (oneOf). Found {many} valid alternatives")),
        }
    }
    if !schema.any_of.is_empty() {
        let (fitting, near) = try_each(&schema.any_of, attempt);
        if fitting == 0 {
            say("must validate at least one schema (anyOf)".to_owned());
            closest.extend(near);
        }
    }
    if !schema.all_of.is_empty() {
        let failed: Vec<FieldError> = schema.all_of.iter().flat_map(attempt).collect();
        if !failed.is_empty() {
            say("must validate all the schemas (allOf)".to_owned());
            closest.extend(failed);
        }
    }
    if let Some(not) = &schema.not
        && attempt(not).is_empty()
    {
        say("must not validate the schema (not)".to_owned());
    }
    errors.extend(closest);
}

/// How many branches a value fits, and the errors of the one that it is closest to.
fn try_each(branches: &[Schema], attempt: impl Fn(&Schema) -> Vec<FieldError>) -> (usize, Vec<FieldError>) {
    let tried: Vec<Vec<FieldError>> = branches.iter().map(attempt).collect();
    let fitting = tried.iter().filter(|errors| errors.is_empty()).count();
    (fitting, tried.into_iter().min_by_key(Vec::len).unwrap_or_default())
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integral(value);
    }
    match schema.kind {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Integer) => is_integral(value),
        Some(Type::Number) => value.is_number(),
        Some(Type::Boolean) => value.is_boolean(),
    }
}

/// `1.0` is an integer: JSON knows no difference.
fn is_integral(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(|n| n.fract() == 0.0),
        Value::Number(_) => true,
        _ => false,
    }
}

fn wrong_type(schema: &Schema, value: &Value, at: &At<'_>) -> FieldError {
    let expected = match schema.kind {
        Some(kind) => format!("of type {}", kind.name()),
        None => "of type integer or string".to_owned(),
    };
    FieldError::type_invalid(at.path(), value, &expected)
}

fn check_number(schema: &Schema, number: &Number, value: &Value, at: &At<'_>, errors: &mut Vec<FieldError>) {
    let mut say = |detail: String| {
        let path = at.path();
        let detail = format!("{} in body {detail}", named(&path));
        errors.push(FieldError::invalid(path, value, &detail));
    };
    let in_range = match schema.format {
        Some(Format::Int32) => fits(number, i128::from(i32::MIN), i128::from(i32::MAX)),
        Some(Format::Int64) => fits(number, i128::from(i64::MIN), i128::from(i64::MAX)),
        Some(Format::Float) => number.as_f64().is_some_and(|n| n.abs() <= f64::from(f32::MAX)),
        _ => true,
    };
    if !in_range && let Some(format) = schema.format {
        say(format!("should be within the range of format {}", format.name()));
    }
    if let Some(Bound { value: least, exclusive }) = &schema.minimum {
        match compare(number, least) {
            Ordering::Less if !exclusive => say(format!("should be greater than or equal to {least}")),
            Ordering::Less | Ordering::Equal if *exclusive => say(format!("should be greater than {least}")),
            _ => {}
        }
    }
    if let Some(Bound { value: most, exclusive }) = &schema.maximum {
        match compare(number, most) {
            Ordering::Greater if !exclusive => say(format!("should be less than or equal to {most}")),
            Ordering::Greater | Ordering::Equal if *exclusive => say(format!("should be less than {most}")),
            _ => {}
        }
    }
    if let Some(step) = &schema.multiple_of
        && !is_multiple(number, step)
    {
        say(format!("should be a multiple of {step}"));
    }
}

fn check_text(schema: &Schema, text: &str, value: &Value, at: &At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(format) = schema.format
        && !format.admits_text(text)
    {
        errors.push(FieldError::format_invalid(at.path(), value, format.name()));
    }
    if schema.min_length.is_some() || schema.max_length.is_some() {
        let length = count(text.chars().count());
        if let Some(least) = schema.min_length.filter(|least| length < *least) {
            let detail = format!("{} in body should be at least {least} chars long", named(&at.path()));
            errors.push(FieldError::invalid(at.path(), value, &detail));
        }
        if let Some(most) = schema.max_length.filter(|most| length > *most) {
            errors.push(FieldError::too_long(at.path(), most));
        }
    }
    if let Some(pattern) = &schema.pattern
        && !pattern.is_match(text)
    {
        let detail = format!("{} in body should match '{pattern}'", named(&at.path()));
        errors.push(FieldError::invalid(at.path(), value, &detail));
    }
}

fn check_list(schema: &Schema, list: &[Value], old: Option<&Value>, at: &At<'_>, errors: &mut Vec<FieldError>) {
    if let Some(least) = schema.min_items
        && count(list.len()) < least
    {
        let detail = format!("{} in body should have at least {least} items", named(&at.path()));
        errors.push(FieldError::invalid(at.path(), &Value::from(list.len()), &detail));
    }
    if let Some(most) = schema.max_items
        && count(list.len()) > most
    {
        errors.push(FieldError::too_many(at.path(), list.len(), most));
    }
    if schema.unique_items {
        let mut seen = HashSet::new();
        if !list.iter().all(|item| seen.insert(item.to_string())) {
            let detail = format!("{} in body shouldn't contain duplicates", named(&at.path()));
            errors.push(FieldError::invalid(at.path(), &Value::from(list.len()), &detail));
        }
    }
    if let Some(items) = schema.items.as_deref() {
        let old = list::Old::of(schema, old);
        for (index, item) in list.iter().enumerate() {
            check(items, item, old.of_item(item), &at.index(index), errors);
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The exact value of an integral number.
fn integral(number: &Number) -> Option<i128> {
    // Beyond 2^53 a float stands for the integer that it is nearest to; that is exact enough here,
    // because neighbouring integers cannot be told apart in the document either.
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).or_else(|| {
        let float = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e30)?;
        Some(float as i128)
    })
}

fn fits(number: &Number, least: i128, most: i128) -> bool {
    integral(number).is_some_and(|n| (least..=most).contains(&n))
}

fn compare(a: &Number, b: &Number) -> Ordering {
    match (integral(a), integral(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)).unwrap_or(Ordering::Equal),
    }
}

fn is_multiple(number: &Number, step: &Number) -> bool {
    match (integral(number), integral(step)) {
        (Some(number), Some(step)) => step != 0 && number % step == 0,
        _ => number.as_f64().zip(step.as_f64()).is_some_and(|(number, step)| {
            let times = number / step;
            // 0.3 is a multiple of 0.1, whatever binary fractions make of it.
            (times - times.round()).abs() <= f64::EPSILON * times.abs().max(1.0) * 4.0
        }),
    }
}

/// Equality of JSON values; `1` and `1.0` are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
