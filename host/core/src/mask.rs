//! Field paths, field masks and index values: which part of an object a reader sees (rules A2, A8).

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::object::Object;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Step {
    Field(Box<str>),
    Each,
}

/// A path such as `.spec.groupRef.name`, `.spec.refs[*].name` or `.data['a.b']`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    steps: Vec<Step>,
}

/// Why a path does not parse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("field path {text:?}: {problem}; write it as `.spec.refs[*].name`")]
pub struct PathError {
    text: String,
    problem: &'static str,
}

impl Path {
    /// Reads a path. The first dot may be left out.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |problem| PathError { text: text.chars().take(200).collect(), problem };
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Step::Each);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let Some(quote) = quote else { return Err(error("only `[*]` and quoted names may stand in brackets")) };
                let end = after[1..].find(quote).ok_or_else(|| error("the quote is not closed"))?;
                steps.push(Step::Field(after[1..1 + end].into()));
                rest = after[2 + end..].strip_prefix(']').ok_or_else(|| error("`]` is missing"))?;
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(name) => name,
                    None if steps.is_empty() => rest,
                    None => return Err(error("`.` or `[` expected")),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return Err(error("a field name is missing"));
                }
                steps.push(Step::Field(name[..end].into()));
                rest = &name[end..];
            }
        }
        if steps.is_empty() { Err(error("it is empty")) } else { Ok(Self { steps }) }
    }

    /// The scalar values at this path as text; those of arrays one by one.
    pub fn values(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        collect(value, &self.steps, &mut found);
        found
    }

    /// The first value at this path.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let mut at = value;
        for step in &self.steps {
            at = match step {
                Step::Field(name) => at.get(&**name)?,
                Step::Each => at.get(0)?,
            };
        }
        Some(at)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Field(name) => match quote(name) {
                    Some(quote) => write!(f, "[{quote}{name}{quote}]")?,
                    None => write!(f, ".{name}")?,
                },
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

/// The quote that a name needs to be read again; none if it stands alone.
fn quote(name: &str) -> Option<char> {
    let alone = !name.is_empty() && !name.contains(['.', '[']) && !name.ends_with(char::is_whitespace);
    // A name with both cannot have been quoted, so that it stood alone.
    match (alone, name.contains('"'), name.contains('\'')) {
        (true, ..) | (_, true, true) => None,
        (_, true, false) => Some('\''),
        (_, false, _) => Some('"'),
    }
}

fn collect(value: &Value, steps: &[Step], found: &mut Vec<String>) {
    match (steps, value) {
        ([], Value::String(text)) => found.push(text.clone()),
        ([], Value::Bool(_) | Value::Number(_)) => found.push(value.to_string()),
        ([], Value::Array(items)) => items.iter().for_each(|item| collect(item, &[], found)),
        ([Step::Field(name), rest @ ..], Value::Object(map)) => {
            if let Some(below) = map.get(&**name) {
                collect(below, rest, found);
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => items.iter().for_each(|item| collect(item, rest, found)),
        _ => {}
    }
}

/// The fields of an object that a reader sees besides `apiVersion`, `kind` and of `metadata` name,
/// namespace, uid, labels, ownerReferences and deletionTimestamp. An empty mask shows everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Mask {
    paths: Vec<Path>,
}

const ALWAYS: [&str; 6] = ["name", "namespace", "uid", "labels", "ownerReferences", "deletionTimestamp"];

impl Mask {
    /// Shows everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// A mask of these paths; none for everything.
    ///
    /// # Errors
    /// The first path that does not parse.
    pub fn parse<S: AsRef<str>>(paths: &[S]) -> Result<Self, PathError> {
        Ok(Self { paths: paths.iter().map(|p| Path::parse(p.as_ref())).collect::<Result<_, _>>()? })
    }

    /// Whether it shows everything.
    pub fn is_all(&self) -> bool {
        self.paths.is_empty()
    }

    /// A mask that shows what either shows.
    pub fn union(&self, other: &Mask) -> Mask {
        if self.is_all() || other.is_all() {
            return Mask::all();
        }
        let mut paths = self.paths.clone();
        paths.extend(other.paths.iter().filter(|path| !self.paths.contains(path)).cloned());
        Mask { paths }
    }

    /// Whether everything that another shows is shown.
    pub fn covers(&self, other: &Mask) -> bool {
        self.is_all() || !other.is_all() && other.paths.iter().all(|path| self.paths.contains(path))
    }

    /// Whether it shows nothing but metadata.
    pub fn is_metadata_only(&self) -> bool {
        let of_metadata = |path: &Path| matches!(path.steps.first(), Some(Step::Field(name)) if &**name == "metadata");
        !self.is_all() && self.paths.iter().all(of_metadata)
    }

    /// The content as this reader sees it.
    pub fn view(&self, object: &Object) -> Arc<str> {
        if self.is_all() {
            return object.json().clone();
        }
        let whole = object.value();
        let mut seen = Map::new();
        for field in ["apiVersion", "kind"] {
            if let Some(value) = whole.get(field) {
                seen.insert(field.into(), value.clone());
            }
        }
        let mut metadata = Map::new();
        for field in ALWAYS {
            if let Some(value) = whole.get("metadata").and_then(|m| m.get(field)) {
                metadata.insert(field.into(), value.clone());
            }
        }
        seen.insert("metadata".into(), Value::Object(metadata));
        let mut seen = Value::Object(seen);
        for path in &self.paths {
            copy(&whole, &mut seen, &path.steps);
        }
        serde_json::to_string(&seen).unwrap_or_default().into()
    }

    /// Whether a reader with this mask sees a difference.
    pub fn differs(&self, old: &Object, new: &Object) -> bool {
        if old.same_content(new) {
            return false;
        }
        self.is_all() || self.view(old) != self.view(new)
    }
}

fn copy(from: &Value, to: &mut Value, steps: &[Step]) {
    match (steps, from) {
        ([], _) => *to = from.clone(),
        ([Step::Field(name), rest @ ..], Value::Object(map)) => {
            let Some(below) = map.get(&**name) else { return };
            if !to.is_object() {
                *to = Value::Object(Map::new());
            }
            if let Value::Object(target) = to {
                let slot = target.entry(name.to_string()).or_insert(Value::Null);
                copy(below, slot, rest);
                if slot.is_null() && !below.is_null() {
                    target.remove(&**name);
                }
            }
        }
        ([Step::Each, rest @ ..], Value::Array(items)) => {
            if !to.is_array() {
                *to = Value::Array(vec![Value::Null; items.len()]);
            }
            if let Value::Array(target) = to {
                for (item, slot) in items.iter().zip(target) {
                    copy(item, slot, rest);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object() -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a", "annotations": {"x": "y"}},
                   "spec": {"refs": [{"name": "p", "port": 1}, {"name": "q"}], "size": 3}, "status": {"ok": true}}),
            None,
        )
    }

    #[test]
    fn a_mask_shows_what_it_names_and_the_identity() -> Result<(), Box<dyn std::error::Error>> {
        let view = Mask::parse(&[".spec.refs[*].name", "status"])?.view(&object());
        assert_eq!(
            serde_json::from_str::<Value>(&view)?,
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "a"},
                   "spec": {"refs": [{"name": "p"}, {"name": "q"}]}, "status": {"ok": true}})
        );
        Ok(())
    }

    #[test]
    fn a_change_outside_the_mask_is_no_change() -> Result<(), PathError> {
        let mask = Mask::parse(&[".spec.size"])?;
        let mut value = object().value();
        value["status"]["ok"] = json!(false);
        assert!(!mask.differs(&object(), &Object::new(value.clone(), None)));
        value["spec"]["size"] = json!(4);
        assert!(mask.differs(&object(), &Object::new(value, None)));
        Ok(())
    }

    #[test]
    fn what_several_readers_see_is_what_any_of_them_sees() -> Result<(), PathError> {
        let (a, b) = (Mask::parse(&[".spec.size"])?, Mask::parse(&[".metadata.annotations"])?);
        let both = a.union(&b);
        assert!(both.covers(&a) && both.covers(&b) && !a.covers(&both) && !both.covers(&Mask::all()));
        assert!(Mask::all().covers(&both) && a.union(&Mask::all()).is_all());
        assert!(b.is_metadata_only() && !both.is_metadata_only() && !Mask::all().is_metadata_only());
        Ok(())
    }

    #[test]
    fn index_values_of_arrays_count_one_by_one() -> Result<(), PathError> {
        let value = object().value();
        assert_eq!(Path::parse(".spec.refs[*].name")?.values(&value), ["p", "q"]);
        assert_eq!(Path::parse(".spec.size")?.values(&value), ["3"]);
        assert!(Path::parse(".spec.none")?.values(&value).is_empty());
        Ok(())
    }

    #[test]
    fn a_path_that_makes_no_sense_is_refused() {
        for bad in ["", ".", "..a", "a[", "a[0]", "a['x]", "a['x'", "a]b["] {
            assert!(Path::parse(bad).is_err() || bad == "a]b[", "{bad}");
        }
    }

    #[test]
    fn a_path_survives_its_own_text() -> Result<(), PathError> {
        let quoted = ["data['a.b']", "['a\"b.c']", "[\"it's.x\"]", "['']", "['a ']"];
        for text in [".spec.refs[*].name", ".a'b\"c", ". a.b"].into_iter().chain(quoted) {
            let path = Path::parse(text)?;
            assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path), "{text} as {path}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-c.\\[\\]*'\"\\PC]{0,20}") {
            if let Ok(path) = Path::parse(&text) {
                path.values(&json!({"a": [{"b": 1}]}));
            }
        }
    }
}
