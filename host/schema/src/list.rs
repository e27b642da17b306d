//! Lists that are sets or maps: no item twice, and which item of an old list is meant by one of a
//! new list.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::path::At;
use crate::schema::{ListType, Schema};
use crate::shape::Wanted;

/// The list before, for finding the items of a list of type map again. Items of other lists have no
/// identity that outlives a change of the list.
pub(crate) struct Old<'a> {
    keys: &'a [String],
    items: HashMap<String, &'a Value>,
}

impl<'a> Old<'a> {
    pub(crate) fn of(schema: &'a Schema, old: Option<&'a Value>) -> Self {
        let mut items = HashMap::new();
        let keys = match &schema.list_type {
            ListType::Map(keys) => keys.as_slice(),
            ListType::Set | ListType::Atomic => &[],
        };
        if !keys.is_empty() {
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                if let Some(key) = key_of(keys, item) {
                    items.entry(key.to_string()).or_insert(item);
                }
            }
        }
        Old { keys, items }
    }

    pub(crate) fn of_item(&self, item: &Value) -> Option<&'a Value> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(&key_of(self.keys, item)?.to_string()).copied()
    }
}

/// The values of the keys of an item, as an object.
fn key_of(keys: &[String], item: &Value) -> Option<Value> {
    let item = item.as_object()?;
    let key: Map<String, Value> =
        keys.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect();
    Some(Value::Object(key))
}

/// Finds the items that are twice in a set, or in a map by their keys, at and below the wanted
/// fields of an object.
pub(crate) fn check_fields(
    schema: &Schema,
    object: &Map<String, Value>,
    wanted: Wanted<'_>,
    at: &At<'_>,
    errors: &mut Vec<FieldError>,
) {
    for (name, value) in object.iter().filter(|(name, _)| wanted(name)) {
        if let Some(child) = schema.child(name) {
            check(child, value, &at.key(name), errors);
        }
    }
}

fn check(schema: &Schema, value: &Value, at: &At<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(object) => check_fields(schema, object, &|_| true, at, errors),
        Value::Array(list) => {
            let mut seen = HashSet::new();
            for (index, item) in list.iter().enumerate() {
                let identity = match &schema.list_type {
                    ListType::Atomic => None,
                    ListType::Set => Some(item.clone()),
                    ListType::Map(keys) => key_of(keys, item),
                };
                if let Some(identity) = identity
                    && !seen.insert(identity.to_string())
                {
                    errors.push(FieldError::duplicate(at.index(index).path(), &identity));
                }
                if let Some(items) = schema.items.as_deref() {
                    check(items, item, &at.index(index), errors);
                }
            }
        }
        _ => {}
    }
}
