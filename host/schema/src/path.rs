//! Where in an object something is.

use std::fmt;

/// One step of a [`FieldPath`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Segment {
    /// The field of an object, or the key of a map.
    Key(String),
    /// The item of a list, counted from 0.
    Index(usize),
}

/// A path of keys and indexes, from the root of an object. The empty path is the object itself.
///
/// It displays in the words of an API server: `spec.steps[2].id`. Keys that could be mistaken for
/// several fields stand in brackets: `metadata.labels[app.kubernetes.io/name]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// A path of object fields: `FieldPath::of(&["metadata", "name"])`.
    pub fn of(keys: &[&str]) -> Self {
        FieldPath(keys.iter().map(|key| Segment::Key((*key).to_owned())).collect())
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this is the path of the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of a field below this one.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Segment::Key(key.to_owned()));
        self
    }

    /// The path of a list item below this one.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    /// The JSON pointer (RFC 6901): `/spec/steps/2/id`, for `serde_json::Value::pointer` and for
    /// looking up a position in a source file. Empty for the object itself.
    pub fn pointer(&self) -> String {
        let mut out = String::new();
        for segment in &self.0 {
            out.push('/');
            match segment {
                Segment::Key(key) => out.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Segment::Index(index) => out.push_str(&index.to_string()),
            }
        }
        out
    }

    pub(crate) fn extend(mut self, below: &[Segment]) -> Self {
        self.0.extend_from_slice(below);
        self
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.is_empty() || key.contains(['.', '[', ']', '/']) => write!(f, "[{key}]")?,
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// A path under construction while a tree is walked: it lives on the stack and costs nothing until
/// there is something to say about it.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl At<'_> {
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At::Key(self, key)
    }

    pub(crate) fn index(&self, index: usize) -> At<'_> {
        At::Index(self, index)
    }

    pub(crate) fn path(&self) -> FieldPath {
        match self {
            At::Root => FieldPath::default(),
            At::Key(above, key) => above.path().key(key),
            At::Index(above, index) => above.path().index(*index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_displays_as_an_api_server_writes_it() {
        let path = FieldPath::of(&["spec", "steps"]).index(2).key("id");
        assert_eq!(path.to_string(), "spec.steps[2].id");
        assert_eq!(FieldPath::of(&["metadata", "labels", "a.b/c"]).to_string(), "metadata.labels[a.b/c]");
        assert_eq!(FieldPath::default().to_string(), "");
    }

    #[test]
    fn a_pointer_finds_the_value_whatever_its_key() {
        let object = serde_json::json!({"m": {"a/b~c": [{"x": 7}]}});
        let path = FieldPath::of(&["m", "a/b~c"]).index(0).key("x");
        assert_eq!(object.pointer(&path.pointer()), Some(&serde_json::json!(7)));
    }

    #[test]
    fn a_path_of_a_walk_is_the_path_of_its_steps() {
        let root = At::Root;
        let spec = root.key("spec");
        let list = spec.key("list");
        assert_eq!(list.index(3).path(), FieldPath::of(&["spec", "list"]).index(3));
    }
}
