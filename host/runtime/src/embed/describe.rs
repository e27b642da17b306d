//! What a reconciler in Rust says of itself.

use serde_json::Value;
use setpoint_core::GroupVersionKind;
use setpoint_core::contract::{Capability, Description, OwnedKind, ReadKind, ReadScope, Tuning};
use setpoint_schema::Crd;

/// What a reconciler is: its name, what it reconciles, what it reads and writes. As a component says it by
/// `describe`. What it does not say it may not do, whatever is granted.
///
/// ```
/// # use setpoint_runtime::embed::Describe;
/// # let crd = serde_json::Value::Null;
/// Describe::new("greeter", "1.0.0")
///     .owns("v1", crd)
///     .reads_all("", "v1", "ConfigMap")
///     .writes("", "v1", "ConfigMap");
/// ```
#[derive(Clone, Debug)]
pub struct Describe {
    pub(super) description: Description,
    pub(super) pure: bool,
    /// The first mistake, told when the host starts.
    problem: Option<String>,
}

impl Describe {
    /// A reconciler of this name, a DNS label, which is its identity over all versions; and its version. Change the
    /// version with the code: what is kept of a version over a restart is kept by it.
    pub fn new(name: &str, version: &str) -> Self {
        let description = Description {
            name: name.into(),
            version: version.to_owned(),
            kinds: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            capabilities: Vec::new(),
            config_schema: None,
            tuning: Tuning::default(),
        };
        Self { description, pure: false, problem: None }
    }

    /// It reconciles the kind of this CustomResourceDefinition, in a version that it serves.
    #[must_use]
    pub fn owns(self, version: &str, crd: Value) -> Self {
        self.owned(version, crd, false)
    }

    /// The same of a kind whose objects it cleans up after: it is called with `deleting` before one goes.
    #[must_use]
    pub fn owns_to_the_end(self, version: &str, crd: Value) -> Self {
        self.owned(version, crd, true)
    }

    fn owned(mut self, version: &str, crd: Value, finalizer: bool) -> Self {
        match Crd::parse(&crd, version) {
            Ok(parsed) => {
                let kind = GroupVersionKind::new(&parsed.group, version, &parsed.kind);
                self.description.kinds.push(OwnedKind { crd: crd.to_string(), kind, finalizer });
            }
            Err(error) => {
                let place = self.description.kinds.len();
                self.problem.get_or_insert_with(|| format!("kinds[{place}]: {error}"));
            }
        }
        self
    }

    /// It reads any object of a kind, and lists them.
    #[must_use]
    pub fn reads_all(self, group: &str, version: &str, kind: &str) -> Self {
        self.reads(group, version, kind, ReadScope::All)
    }

    /// It reads objects of a kind by name: each is watched by itself.
    #[must_use]
    pub fn reads_named(self, group: &str, version: &str, kind: &str) -> Self {
        self.reads(group, version, kind, ReadScope::Named)
    }

    fn reads(mut self, group: &str, version: &str, kind: &str, scope: ReadScope) -> Self {
        let kind = GroupVersionKind::new(group, version, kind);
        self.description.reads.push(ReadKind { kind, scope, fields: Vec::new(), indexes: Vec::new() });
        self
    }

    /// Of the kind that it reads by the call before, only these fields are shown, and only their changes cause calls.
    /// Paths such as `.spec.family`.
    #[must_use]
    pub fn fields<'a>(mut self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        match self.description.reads.last_mut() {
            Some(read) => read.fields.extend(paths.into_iter().map(str::to_owned)),
            None => _ = self.problem.get_or_insert_with(|| "fields are of a kind that is read: none is yet".into()),
        }
        self
    }

    /// Of the kind that it reads by the call before, lists can be asked for by the value of a field.
    #[must_use]
    pub fn index(mut self, name: &str, path: &str) -> Self {
        match self.description.reads.last_mut() {
            Some(read) => read.indexes.push((name.to_owned(), path.to_owned())),
            None => _ = self.problem.get_or_insert_with(|| "an index is of a kind that is read: none is yet".into()),
        }
        self
    }

    /// Its children may be of this kind.
    #[must_use]
    pub fn writes(mut self, group: &str, version: &str, kind: &str) -> Self {
        self.description.writes.push(GroupVersionKind::new(group, version, kind));
        self
    }

    /// It asks for something beyond objects.
    #[must_use]
    pub fn needs(mut self, capability: Capability) -> Self {
        self.description.capabilities.push(capability);
        self
    }

    /// Its defaults for what the operator may tune.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.description.tuning = tuning;
        self
    }

    /// Its outcomes depend on nothing but the request and what it reads through the host: no clock, no network, no
    /// state of its own. Then a periodic pass need not call it if none of that has changed (rule A7). Of a component
    /// the host sees this; of a Rust type it takes its word.
    #[must_use]
    pub fn pure(mut self) -> Self {
        self.pure = true;
        self
    }

    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(self) -> Result<(Description, bool), String> {
        let Self { description, pure, problem } = self;
        let name = &description.name;
        let of = |problem: String| format!("the reconciler {name}: {problem}");
        if !is_dns_label(name) {
            return Err(format!(
                "the reconciler {name:?}: its name is no DNS label: up to 63 of a-z, 0-9 and -, beginning and ending with \
                 a letter or digit"
            ));
        }
        if description.version.is_empty() {
            return Err(of("it has no version".into()));
        }
        if let Some(problem) = problem {
            return Err(of(problem));
        }
        if description.kinds.is_empty() {
            return Err(of("there are no kinds: a reconciler reconciles at least one".into()));
        }
        let kinds: Vec<_> = description.kinds.iter().map(|owned| owned.kind.group_kind()).collect();
        let reads: Vec<_> = description.reads.iter().map(|read| read.kind.group_kind()).collect();
        for (list, kinds) in [("kinds", kinds), ("reads", reads)] {
            let twice = kinds.iter().enumerate().find(|(at, kind)| kinds[..*at].contains(kind));
            if let Some((_, kind)) = twice {
                return Err(of(format!("{list}: {kind} is there twice")));
            }
        }
        Ok((description, pure))
    }
}

fn is_dns_label(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|byte| word(byte) || byte == b'-')
        && name.bytes().next().is_some_and(word)
        && name.bytes().next_back().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn crd(kind: &str) -> Value {
        let plural = format!("{}s", kind.to_lowercase());
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.g.example.com")},
            "spec": {"group": "g.example.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    #[test]
    fn the_kind_is_read_from_the_definition() {
        let (description, pure) = Describe::new("greeter", "1.0.0")
            .owns_to_the_end("v1", crd("Greeting"))
            .reads_all("", "v1", "ConfigMap")
            .fields([".data"])
            .index("by", ".data.by")
            .pure()
            .check()
            .expect("it is right");
        assert_eq!(description.kinds[0].kind, GroupVersionKind::new("g.example.com", "v1", "Greeting"));
        assert!(description.kinds[0].finalizer && pure);
        assert_eq!(description.reads[0].indexes, [("by".to_owned(), ".data.by".to_owned())]);
    }

    #[test]
    fn each_mistake_is_named() {
        let right = || Describe::new("greeter", "1.0.0").owns("v1", crd("Greeting"));
        for (describe, text) in [
            (Describe::new("Greeter", "1"), "no DNS label"),
            (Describe::new("greeter", ""), "no version"),
            (Describe::new("greeter", "1"), "no kinds"),
            (Describe::new("greeter", "1").owns("v1", Value::Null), "kinds[0]"),
            (Describe::new("greeter", "1").owns("v2", crd("Greeting")), "kinds[0]"),
            (right().owns("v1", crd("Greeting")), "Greeting.g.example.com is there twice"),
            (right().reads_all("", "v1", "Secret").reads_named("", "v1", "Secret"), "reads: Secret is there twice"),
            (right().fields([".data"]), "fields are of a kind that is read"),
        ] {
            let problem = describe.check().expect_err(text);
            assert!(problem.contains(text), "{problem}");
        }
    }
}
