//! Server-side apply: who owns which field, and what an apply makes of a document (rule B1).
//!
//! A manager owns the leaves of the document that it applied last. Lists are leaves, except those
//! whose type is a map: their items are owned one by one, under the name that their keys give them,
//! `[{"type":"Ready"}]`. A document holds exactly the union of what its managers own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use setpoint_core::fields::{FieldSet, same};
use setpoint_core::object::Applied;

/// Which lists are merged item by item: the keys of the list at a path, which goes through a list by
/// one segment; none if it is replaced as a whole.
pub(crate) struct Lists<'a>(pub(crate) &'a dyn Fn(&[&str]) -> Option<Vec<String>>);

/// Fields that an apply would change and that others own.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Conflict {
    pub(crate) managers: Vec<String>,
    pub(crate) fields: Vec<String>,
}

/// What an apply comes to.
#[derive(PartialEq, Debug)]
pub(crate) struct Merged {
    pub(crate) document: Value,
    pub(crate) applied: Applied,
}

/// Applies `wanted` for `manager`. Fields that the manager no longer gives go, unless somebody else
/// owns them too. With `force` fields of others are taken over, without it they are a conflict; the
/// same value is never one.
pub(crate) fn apply(
    lists: &Lists<'_>,
    current: &Value,
    applied: &Applied,
    manager: &str,
    wanted: &Value,
    force: bool,
) -> Result<Merged, Conflict> {
    let mut applied = applied.clone();
    let before = applied.remove(manager).unwrap_or_default();
    let mut path = Vec::new();
    let mut clashes = Vec::new();
    let others: Vec<(&str, &FieldSet)> = applied.iter().map(|(name, set)| (&**name, &**set)).collect();
    lists.clashes(wanted, Some(current), &others, &mut path, &mut clashes);
    if !clashes.is_empty() && !force {
        return Err(conflict(&clashes));
    }
    for clash in &clashes {
        give_up(&mut applied, &clash.manager, &clash.path);
    }
    let gone = lists.left_over(&before, Some(wanted), &mut path);
    let mut document = current.clone();
    let kept: Vec<&FieldSet> = applied.values().map(|set| &**set).collect();
    lists.take(&mut document, &gone, &kept, &mut path);
    lists.put(&mut document, wanted, &mut path);
    if wanted.as_object().is_some_and(|map| !map.is_empty()) {
        applied.insert(manager.into(), lists.fields(wanted, &mut path).shared());
    }
    Ok(Merged { document, applied })
}

/// Whether a manager gave the field at a path, or something below it.
pub(crate) fn gives(applied: &Applied, manager: &str, path: &[&str]) -> bool {
    let start = applied.get(manager).map(|set| &**set);
    path.iter().fold(start, |set, name| child(set?, name)).is_some_and(|set| !set.is_empty())
}

/// The field sets as the rules read them: lists are leaves, conditions are named by their type.
pub(crate) fn as_told(set: &FieldSet) -> FieldSet {
    let FieldSet::Fields(fields) = set else {
        return set.clone();
    };
    let told = fields.iter().map(|(name, below)| {
        let below = match (&**name, below) {
            ("status", FieldSet::Fields(status)) => FieldSet::Fields(
                status
                    .iter()
                    .map(|(name, below)| {
                        let told = if &**name == "conditions" { conditions(below) } else { flat(below) };
                        (name.clone(), told)
                    })
                    .collect(),
            ),
            _ => flat(below),
        };
        (name.clone(), below)
    });
    FieldSet::Fields(told.collect())
}

fn conditions(set: &FieldSet) -> FieldSet {
    let FieldSet::Fields(fields) = set else {
        return set.clone();
    };
    let named = fields.keys().filter_map(|item| {
        let keys: Map<String, Value> = serde_json::from_str(item.strip_prefix('[')?.strip_suffix(']')?).ok()?;
        Some((keys.get("type")?.as_str()?.into(), FieldSet::Leaf(1)))
    });
    FieldSet::Fields(named.collect())
}

fn flat(set: &FieldSet) -> FieldSet {
    match set {
        FieldSet::Leaf(_) => set.clone(),
        FieldSet::Fields(fields) if !fields.is_empty() && fields.keys().all(|name| is_item(name)) => FieldSet::Leaf(1),
        FieldSet::Fields(fields) => {
            FieldSet::Fields(fields.iter().map(|(name, below)| (name.clone(), flat(below))).collect())
        }
    }
}

struct Clash {
    manager: Box<str>,
    path: Vec<String>,
}

fn conflict(clashes: &[Clash]) -> Conflict {
    let managers: BTreeSet<String> = clashes.iter().map(|clash| clash.manager.to_string()).collect();
    let fields: BTreeSet<String> = clashes.iter().map(|clash| shown(&clash.path)).collect();
    Conflict { managers: managers.into_iter().collect(), fields: fields.into_iter().collect() }
}

fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for name in path {
        if !text.is_empty() && !is_item(name) {
            text.push('.');
        }
        text.push_str(name);
    }
    text
}

fn is_item(name: &str) -> bool {
    name.starts_with("[{") && name.ends_with("}]")
}

/// A manager gives a field no more.
fn give_up(applied: &mut Applied, manager: &str, path: &[String]) {
    let Some(set) = applied.remove(manager) else { return };
    let mut set = Arc::unwrap_or_clone(set);
    forget(&mut set, path);
    if !set.is_empty() {
        applied.insert(manager.into(), set.shared());
    }
}

fn forget(set: &mut FieldSet, path: &[String]) {
    // A leaf above the path only says that there is an object; what is below it is not owned.
    let FieldSet::Fields(fields) = set else {
        return;
    };
    match path {
        [] => {}
        [last] => {
            fields.remove(last.as_str());
        }
        [first, rest @ ..] => {
            if let Some(below) = fields.get_mut(first.as_str()) {
                forget(below, rest);
                if below.is_empty() {
                    fields.remove(first.as_str());
                }
            }
        }
    }
}

fn child<'a>(set: &'a FieldSet, name: &str) -> Option<&'a FieldSet> {
    match set {
        FieldSet::Leaf(_) => None,
        FieldSet::Fields(fields) => fields.get(name),
    }
}

fn below<'a>(sets: &[&'a FieldSet], name: &str) -> Vec<&'a FieldSet> {
    sets.iter().filter_map(|set| child(set, name)).collect()
}

impl Lists<'_> {
    /// The names of the items of a list, in order; none if the list is replaced as a whole, or its
    /// items cannot be told apart.
    fn items(&self, list: &[Value], path: &[String]) -> Option<Vec<String>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let keys = (self.0)(&path)?;
        let mut seen = BTreeSet::new();
        list.iter()
            .map(|item| {
                let item = item.as_object()?;
                let named: Map<String, Value> =
                    keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
                if named.is_empty() {
                    return None;
                }
                let name = format!("[{}]", Value::Object(named));
                seen.insert(name.clone()).then_some(name)
            })
            .collect()
    }

    fn fields(&self, value: &Value, path: &mut Vec<String>) -> FieldSet {
        let named: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(name, below)| (name.clone(), below)).collect(),
            Value::Array(list) => {
                self.items(list, path).map_or_else(Vec::new, |names| names.into_iter().zip(list).collect())
            }
            _ => Vec::new(),
        };
        if named.is_empty() {
            return FieldSet::Leaf(1);
        }
        let under = |(name, below): (String, &Value)| {
            path.push(name);
            let set = self.fields(below, path);
            (path.pop().unwrap_or_default().into(), set)
        };
        FieldSet::Fields(named.into_iter().map(under).collect())
    }

    fn clashes(
        &self,
        wanted: &Value,
        current: Option<&Value>,
        others: &[(&str, &FieldSet)],
        path: &mut Vec<String>,
        clashes: &mut Vec<Clash>,
    ) {
        let others: Vec<(&str, &FieldSet)> = others.iter().filter(|(_, set)| !set.is_empty()).copied().collect();
        let Some(current) = current else { return };
        if others.is_empty() {
            return;
        }
        let pairs: Vec<(String, &Value, Option<&Value>)> = match (wanted, current) {
            (Value::Object(wanted), Value::Object(current)) => {
                wanted.iter().map(|(name, wanted)| (name.clone(), wanted, current.get(name))).collect()
            }
            (wanted, current) if same(wanted, current) => return,
            (Value::Array(wanted), Value::Array(current)) => {
                let (Some(new), Some(old)) = (self.items(wanted, path), self.items(current, path)) else {
                    return differ(&others, path, clashes);
                };
                let at = |name: &String| old.iter().position(|there| there == name).and_then(|at| current.get(at));
                new.iter().zip(wanted).map(|(name, wanted)| (name.clone(), wanted, at(name))).collect()
            }
            _ => return differ(&others, path, clashes),
        };
        for (name, wanted, current) in pairs {
            let others: Vec<(&str, &FieldSet)> =
                others.iter().filter_map(|(manager, set)| Some((*manager, child(set, &name)?))).collect();
            path.push(name);
            self.clashes(wanted, current, &others, path, clashes);
            path.pop();
        }
    }

    /// What was owned and is not given any more.
    fn left_over(&self, before: &FieldSet, wanted: Option<&Value>, path: &mut Vec<String>) -> FieldSet {
        let (FieldSet::Fields(fields), Some(wanted)) = (before, wanted) else {
            return if wanted.is_none() { before.clone() } else { FieldSet::default() };
        };
        let given: Vec<(String, &Value)> = match wanted {
            Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(list) => match self.items(list, path) {
                Some(names) => names.into_iter().zip(list).collect(),
                None => return FieldSet::default(),
            },
            _ => return FieldSet::default(),
        };
        let mut left = BTreeMap::new();
        for (name, below) in fields {
            let value = given.iter().find(|(given, _)| given.as_str() == &**name).map(|(_, value)| *value);
            path.push(name.to_string());
            let rest = self.left_over(below, value, path);
            path.pop();
            if !rest.is_empty() {
                left.insert(name.clone(), rest);
            }
        }
        FieldSet::Fields(left)
    }

    /// Takes leaves out of a document unless somebody keeps them. Answers whether nothing is left
    /// here that anybody owns.
    fn take(&self, value: &mut Value, gone: &FieldSet, kept: &[&FieldSet], path: &mut Vec<String>) -> bool {
        let FieldSet::Fields(fields) = gone else {
            return kept.iter().all(|set| set.is_empty());
        };
        let held = kept.iter().any(|set| matches!(set, FieldSet::Leaf(_)));
        match value {
            Value::Object(map) => {
                for (name, gone) in fields {
                    let Some(value) = map.get_mut(&**name) else {
                        continue;
                    };
                    path.push(name.to_string());
                    let empty = self.take(value, gone, &below(kept, name), path);
                    path.pop();
                    if empty {
                        map.remove(&**name);
                    }
                }
                map.is_empty() && !held
            }
            Value::Array(list) => {
                let Some(names) = self.items(list, path) else {
                    return false;
                };
                for (name, mut item) in names.into_iter().zip(std::mem::take(list)) {
                    let empty = fields.get(name.as_str()).is_some_and(|gone| {
                        path.push(name.clone());
                        let empty = self.take(&mut item, gone, &below(kept, &name), path);
                        path.pop();
                        empty
                    });
                    if !empty {
                        list.push(item);
                    }
                }
                list.is_empty() && !held
            }
            _ => false,
        }
    }

    /// Puts the leaves of `wanted` into a document.
    fn put(&self, target: &mut Value, wanted: &Value, path: &mut Vec<String>) {
        match (&mut *target, wanted) {
            (Value::Object(target), Value::Object(wanted)) => {
                for (name, wanted) in wanted {
                    match target.get_mut(name) {
                        Some(there) => {
                            path.push(name.clone());
                            self.put(there, wanted, path);
                            path.pop();
                        }
                        None => {
                            target.insert(name.clone(), wanted.clone());
                        }
                    }
                }
                return;
            }
            (Value::Array(there), Value::Array(list)) => {
                if let (Some(old), Some(new)) = (self.items(there, path), self.items(list, path)) {
                    let items = std::mem::take(there);
                    *there = self.put_items(items, &old, list, &new, path);
                    return;
                }
            }
            _ => {}
        }
        if !same(target, wanted) {
            *target = wanted.clone();
        }
    }

    /// Wanted items keep their places, in the order in which they are wanted; those of others stay
    /// where they are; a new one stands before the item that follows it. Two managers that take
    /// turns therefore do not move each other's items.
    fn put_items(
        &self,
        items: Vec<Value>,
        old: &[String],
        wanted: &[Value],
        new: &[String],
        path: &mut Vec<String>,
    ) -> Vec<Value> {
        let mut there: BTreeMap<&str, Value> = old.iter().map(String::as_str).zip(items).collect();
        let mut incoming = new.iter().zip(wanted);
        let mut merged = Vec::with_capacity(old.len() + new.len());
        let mut next = |there: &mut BTreeMap<&str, Value>, merged: &mut Vec<Value>| -> Option<bool> {
            let (name, wanted) = incoming.next()?;
            match there.remove(name.as_str()) {
                Some(mut item) => {
                    path.push(name.clone());
                    self.put(&mut item, wanted, path);
                    path.pop();
                    merged.push(item);
                    Some(true)
                }
                None => {
                    merged.push(wanted.clone());
                    Some(false)
                }
            }
        };
        let ours: BTreeSet<&str> = new.iter().map(String::as_str).collect();
        for name in old {
            if ours.contains(name.as_str()) {
                while next(&mut there, &mut merged) == Some(false) {}
            } else if let Some(item) = there.remove(name.as_str()) {
                merged.push(item);
            }
        }
        while next(&mut there, &mut merged).is_some() {}
        merged
    }
}

fn differ(others: &[(&str, &FieldSet)], path: &[String], clashes: &mut Vec<Clash>) {
    clashes.extend(others.iter().map(|(manager, _)| Clash { manager: (*manager).into(), path: path.to_vec() }));
}

/// Takes one field out of a document, whoever gave it.
pub(crate) fn erase(lists: &Lists<'_>, current: &Value, applied: &Applied, path: &[&str]) -> Merged {
    let names: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
    let mut applied = applied.clone();
    let managers: Vec<Box<str>> = applied.keys().cloned().collect();
    managers.iter().for_each(|manager| give_up(&mut applied, manager, &names));
    let gone = path
        .iter()
        .rev()
        .fold(FieldSet::Leaf(1), |below, name| FieldSet::Fields(BTreeMap::from([((*name).into(), below)])));
    Merged { document: without(lists, current, &gone, &applied), applied }
}

/// A document without these leaves, but for those that somebody keeps.
pub(crate) fn without(lists: &Lists<'_>, current: &Value, gone: &FieldSet, kept: &Applied) -> Value {
    let mut document = current.clone();
    let kept: Vec<&FieldSet> = kept.values().map(|set| &**set).collect();
    lists.take(&mut document, gone, &kept, &mut Vec::new());
    document
}
