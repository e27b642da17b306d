//! Sets of fields: which leaves a document gives, and what it takes to bring an object there
//! (rule B1). Lists are leaves: they are owned and replaced as a whole.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxBuildHasher, FxHashSet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The leaves of a document, as a tree of field names. Serialised as nested objects with `1` at
/// the leaves.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldSet {
    /// A field that is owned as a whole.
    Leaf(u8),
    /// Fields below.
    Fields(BTreeMap<Box<str>, FieldSet>),
}

impl Default for FieldSet {
    fn default() -> Self {
        FieldSet::Fields(BTreeMap::new())
    }
}

/// Sets that objects hold. There are few shapes and many objects, and a set takes more than the object that it is of.
static SHARED: Mutex<Sets> = Mutex::new(Sets { known: FxHashSet::with_hasher(FxBuildHasher), sweep_at: SWEEP_AT });
/// As many sets are known before it is looked which of them nobody holds any more.
const SWEEP_AT: usize = 1_024;

#[derive(Debug)]
struct Sets {
    known: FxHashSet<Arc<FieldSet>>,
    sweep_at: usize,
}

impl Sets {
    fn share(&mut self, set: FieldSet) -> Arc<FieldSet> {
        if let Some(known) = self.known.get(&set) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|set| Arc::strong_count(set) > 1);
            self.sweep_at = SWEEP_AT.max(2 * self.known.len());
        }
        let set = Arc::new(set);
        self.known.insert(set.clone());
        set
    }
}

impl FieldSet {
    /// The same set, held once for all that hold it (rule B1).
    pub fn shared(self) -> Arc<Self> {
        SHARED.lock().unwrap_or_else(PoisonError::into_inner).share(self)
    }

    /// The leaves of a document. Scalars, lists and empty objects are leaves.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() => {
                FieldSet::Fields(map.iter().map(|(key, value)| (key.as_str().into(), Self::of(value))).collect())
            }
            _ => FieldSet::Leaf(1),
        }
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        match self {
            FieldSet::Leaf(_) => false,
            FieldSet::Fields(fields) => fields.values().all(Self::is_empty),
        }
    }

    /// Whether something at or below this path is in the set.
    pub fn touches(&self, path: &[&str]) -> bool {
        match (self, path) {
            (_, []) => !self.is_empty(),
            (FieldSet::Leaf(_), _) => true,
            (FieldSet::Fields(fields), [first, rest @ ..]) => fields.get(*first).is_some_and(|f| f.touches(rest)),
        }
    }

    /// The leaves that are not in `other`. A leaf that `other` has fields below counts as there; fields where
    /// `other` has a leaf do not, for that may be an object that became empty.
    pub fn minus(&self, other: &FieldSet) -> FieldSet {
        match (self, other) {
            (FieldSet::Fields(_), FieldSet::Leaf(_)) => self.clone(),
            (FieldSet::Fields(mine), FieldSet::Fields(theirs)) => {
                let mut left = BTreeMap::new();
                for (key, below) in mine {
                    let rest = match theirs.get(key) {
                        Some(theirs) => below.minus(theirs),
                        None => below.clone(),
                    };
                    if !rest.is_empty() {
                        left.insert(key.clone(), rest);
                    }
                }
                FieldSet::Fields(left)
            }
            _ => FieldSet::default(),
        }
    }

    /// All leaves of both.
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        match (self, other) {
            (FieldSet::Fields(a), FieldSet::Fields(b)) => {
                let mut all = a.clone();
                for (key, below) in b {
                    let merged = match all.get(key) {
                        Some(mine) => mine.union(below),
                        None => below.clone(),
                    };
                    all.insert(key.clone(), merged);
                }
                FieldSet::Fields(all)
            }
            (FieldSet::Leaf(_), other) if other.is_empty() => self.clone(),
            (mine, FieldSet::Leaf(_)) if mine.is_empty() => other.clone(),
            (FieldSet::Leaf(_), _) | (_, FieldSet::Leaf(_)) => FieldSet::Leaf(1),
        }
    }

    /// The leaves as paths such as `spec.size`, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        match self {
            FieldSet::Leaf(_) => paths.push(prefix.to_owned()),
            FieldSet::Fields(fields) => {
                for (key, below) in fields {
                    let path = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
                    below.collect(&path, paths);
                }
            }
        }
    }

    /// Takes these leaves out of a document; objects that become empty by it go as well.
    pub fn remove_from(&self, value: &mut Value) {
        let (FieldSet::Fields(fields), Value::Object(map)) = (self, value) else { return };
        for (key, below) in fields {
            match below {
                FieldSet::Leaf(_) => {
                    map.remove(&**key);
                }
                FieldSet::Fields(_) => {
                    if let Some(child) = map.get_mut(&**key) {
                        below.remove_from(child);
                        if child.as_object().is_some_and(Map::is_empty) {
                            map.remove(&**key);
                        }
                    }
                }
            }
        }
    }
}

/// The leaves of `desired` whose value in `observed` differs.
pub fn differing(desired: &Value, observed: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(desired, Some(observed), "", &mut paths);
    paths
}

/// Whether each leaf of `desired` has the same value in `observed`.
pub fn covers(observed: &Value, desired: &Value) -> bool {
    match (desired, observed) {
        (Value::Object(desired), Value::Object(observed)) => desired
            .iter()
            .all(|(key, below)| observed.get(key).map_or_else(|| is_nothing(below), |seen| covers(seen, below))),
        (desired, observed) => same(desired, observed),
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null()
}

fn compare(desired: &Value, observed: Option<&Value>, path: &str, paths: &mut Vec<String>) {
    match (desired, observed) {
        (Value::Object(desired), Some(Value::Object(observed))) => {
            for (key, below) in desired {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(below, observed.get(key), &path, paths);
            }
        }
        (desired, None) if is_nothing(desired) => {}
        (desired, Some(observed)) if same(desired, observed) => {}
        _ => paths.push(path.to_owned()),
    }
}

/// Equality of JSON values where `1` and `1.0` are one number.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|x| b.as_f64() == Some(x)),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// What a document gives, in a few bytes: enough to say whether an object still has all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outline {
    /// Hashes of the paths of all values, objects among them, in order.
    paths: Box<[u64]>,
    /// Of the paths with what is there.
    values: u64,
}

impl Outline {
    /// The outline of a document.
    pub fn of(document: &Value) -> Self {
        fn walk(path: u64, value: &Value, paths: &mut Vec<u64>) -> u64 {
            paths.push(path);
            let below = value.as_object().into_iter().flatten();
            below.fold(at(path, value), |sum, (key, value)| sum.wrapping_add(walk(step(path, key), value, paths)))
        }
        let mut paths = Vec::new();
        let values = walk(0, document, &mut paths);
        paths.sort_unstable();
        Self { paths: paths.into(), values }
    }

    /// What [`covers`] says of the document.
    pub fn is_covered_by(&self, observed: &Value) -> bool {
        self.sum(0, observed) == self.values
    }

    fn sum(&self, path: u64, value: &Value) -> u64 {
        if self.paths.binary_search(&path).is_err() {
            return 0;
        }
        let below = value.as_object().into_iter().flatten();
        below.fold(at(path, value), |sum, (key, value)| sum.wrapping_add(self.sum(step(path, key), value)))
    }
}

fn step(path: u64, key: &str) -> u64 {
    hash(|hasher| (path, key).hash(hasher))
}

/// What a value adds to the sum: nothing if it is null, which is as good as absent.
fn at(path: u64, value: &Value) -> u64 {
    /// Equal for what is the [`same`].
    fn whole(value: &Value, hasher: &mut DefaultHasher) {
        match value {
            Value::Null => 0u8.hash(hasher),
            Value::Bool(value) => (1u8, value).hash(hasher),
            // Adding zero makes one zero of both.
            Value::Number(value) => (2u8, value.as_f64().map(|value| (value + 0.0).to_bits())).hash(hasher),
            Value::String(value) => (3u8, value).hash(hasher),
            Value::Array(items) => {
                (4u8, items.len()).hash(hasher);
                items.iter().for_each(|item| whole(item, hasher));
            }
            Value::Object(map) => {
                (5u8, map.len()).hash(hasher);
                let fields: BTreeMap<&String, &Value> = map.iter().collect();
                for (key, value) in fields {
                    key.hash(hasher);
                    whole(value, hasher);
                }
            }
        }
    }
    match value {
        Value::Null => 0,
        // What is in it has paths of its own.
        Value::Object(_) => hash(|hasher| (path, 5u8).hash(hasher)),
        value => hash(|hasher| {
            path.hash(hasher);
            whole(value, hasher);
        }),
    }
}

fn hash(what: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what(&mut hasher);
    hasher.finish()
}

/// Puts each leaf of `patch` into `target`; objects are merged, all else is replaced.
pub fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, below) in patch {
                match target.get_mut(key) {
                    Some(existing) if existing.is_object() && below.is_object() => merge(existing, below),
                    _ => {
                        target.insert(key.clone(), below.clone());
                    }
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_no_longer_given_is_left_over() {
        let before = FieldSet::of(&json!({"spec": {"a": 1, "b": {"c": 2}}, "data": {"x": "1"}}));
        let after = FieldSet::of(&json!({"spec": {"a": 5}}));
        assert_eq!(before.minus(&after).paths(), ["data.x", "spec.b.c"]);
        let mut object = json!({"spec": {"a": 5, "b": {"c": 2}}, "data": {"x": "1"}, "kept": true});
        before.minus(&after).remove_from(&mut object);
        assert_eq!(object, json!({"spec": {"a": 5}, "kept": true}));
    }

    #[test]
    fn a_leaf_that_became_an_object_is_not_left_over() {
        let before = FieldSet::of(&json!({"a": 1}));
        assert!(before.minus(&FieldSet::of(&json!({"a": {"b": 1}}))).is_empty());
    }

    #[test]
    fn the_fields_of_an_object_that_became_empty_are_left_over() {
        let before = FieldSet::of(&json!({"data": {"x": "1"}, "spec": {"a": 1}}));
        assert_eq!(before.minus(&FieldSet::of(&json!({"data": {}, "spec": {"a": 2}}))).paths(), ["data.x"]);
    }

    #[test]
    fn observed_may_have_more_than_desired() {
        assert!(covers(&json!({"a": 1, "b": {"c": 1.0, "d": 2}}), &json!({"b": {"c": 1}})));
        assert!(!covers(&json!({"a": [1, 2]}), &json!({"a": [1]})));
        assert_eq!(differing(&json!({"a": {"b": 1, "c": 2}}), &json!({"a": {"b": 1}})), ["a.c"]);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2i64..3).prop_map(Value::from),
            (-2i64..3).prop_map(|n| Value::from(n as f64)),
            Just(json!(-0.0)),
            Just(json!(u64::MAX)),
            "[ab]?".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                3 => proptest::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_outline_says_what_the_document_itself_would(document in values(), other in values(), third in values()) {
            let outline = Outline::of(&document);
            prop_assert!(outline.is_covered_by(&document) == covers(&document, &document));
            let mut more = other.clone();
            merge(&mut more, &document);
            let mut changed = document.clone();
            merge(&mut changed, &third);
            for observed in [other, more, changed, third] {
                prop_assert_eq!(outline.is_covered_by(&observed), covers(&observed, &document), "{}", observed);
            }
        }
    }

    #[test]
    fn a_set_survives_its_own_text() -> Result<(), serde_json::Error> {
        let set = FieldSet::of(&json!({"a": {"b": [1], "c": {}}, "d": null}));
        assert_eq!(serde_json::from_str::<FieldSet>(&serde_json::to_string(&set)?)?, set);
        Ok(())
    }
}
