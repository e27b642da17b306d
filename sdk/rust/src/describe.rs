//! What a plugin is: its kind, what it reads and makes, and what it may need.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::JsonSchema;

use crate::bindings::setpoint::reconciler::types::{self, Capability, Description, GroupVersionKind, ReadScope};
use crate::crd;
use crate::error::millis;
use crate::{NoConfig, Reconciler, Resource};

/// What is wrong with a description. The host refuses the plugin with this text; tests meet it in
/// [`crate::testing::describe`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DescribeError {
    /// The plugin's name is no DNS label.
    #[error("plugin name {0:?} is no DNS label: at most 63 lower-case letters, digits and dashes")]
    Name(String),
    /// A type refers to itself, which the schema of a CustomResourceDefinition cannot express.
    #[error("{0} refers to itself, which no CRD can express: make the inner part a serde_json::Value")]
    Recursive(&'static str),
    /// The hand-written CRD cannot be used.
    #[error("CRD: {0}")]
    Crd(String),
    /// Two reconcilers of one component contradict each other.
    #[error("the reconcilers of one component differ in {0}")]
    Differ(&'static str),
}

/// The kind that a reconciler owns, for a CRD that the SDK makes of the types `Spec` and `Status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) short_names: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

/// A column that `get` shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its title.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub column_type: String,
    /// Where its value is, such as `.status.replicas`.
    pub path: String,
}

impl Kind {
    /// A kind whose objects live in namespaces.
    pub fn namespaced(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        let kind = kind.into();
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural(&kind.to_lowercase()),
            kind,
            namespaced: true,
            short_names: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// A kind whose objects have no namespace.
    pub fn cluster_scoped(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { namespaced: false, ..Self::namespaced(group, version, kind) }
    }

    /// The plural in URLs and on the command line. By default the English one of the kind in lower
    /// case: `policies`, `indexes`, `servers`.
    #[must_use]
    pub fn plural(mut self, plural: impl Into<String>) -> Self {
        self.plural = plural.into();
        self
    }

    /// A short name for the command line, such as `wf`.
    #[must_use]
    pub fn short_name(mut self, name: impl Into<String>) -> Self {
        self.short_names.push(name.into());
        self
    }

    /// A column that `get` shows; types are `string`, `integer`, `number`, `boolean` and `date`. The
    /// age comes last by itself.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, column_type: impl Into<String>, path: impl Into<String>) -> Self {
        self.columns.push(Column { name: name.into(), column_type: column_type.into(), path: path.into() });
        self
    }
}

fn plural(singular: &str) -> String {
    let consonant_before_y =
        singular.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']) && !stem.is_empty());
    match consonant_before_y {
        Some(stem) => format!("{stem}ies"),
        None if ["s", "x", "z", "ch", "sh"].iter().any(|end| singular.ends_with(end)) => {
            format!("{singular}es")
        }
        None => format!("{singular}s"),
    }
}

/// A kind that the plugin reads, and how much of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read(types::ReadKind);

impl Read {
    /// [`crate::Context::get`] only: single objects are watched. For kinds with many objects, such as
    /// Secrets (rule A8).
    pub fn named<T: Resource>() -> Self {
        Self::named_of(T::GROUP, T::VERSION, T::KIND)
    }

    /// `get` and [`crate::Context::list`]: the kind is watched, within the namespaces granted (rule A8).
    pub fn all<T: Resource>() -> Self {
        Self::all_of(T::GROUP, T::VERSION, T::KIND)
    }

    /// Like [`Read::named`] for a kind without a type.
    pub fn named_of(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self::of(gvk(group, version, kind), ReadScope::Named)
    }

    /// Like [`Read::all`] for a kind without a type.
    pub fn all_of(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        Self::of(gvk(group, version, kind), ReadScope::All)
    }

    fn of(kind: GroupVersionKind, scope: ReadScope) -> Self {
        Self(types::ReadKind { kind, scope, fields: Vec::new(), indexes: Vec::new() })
    }

    /// Only these fields are seen, such as `.data` or `.metadata.annotations`, besides apiVersion,
    /// kind and metadata's name, namespace, uid, labels, ownerReferences and deletionTimestamp. A
    /// change elsewhere causes no call (rule A2). Without this the whole object is seen.
    #[must_use]
    pub fn fields<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.0.fields.extend(paths.into_iter().map(Into::into));
        self
    }

    /// A field by which [`crate::Query::index`] looks up, such as `.spec.refs[*].name`. Values of
    /// arrays count one by one.
    #[must_use]
    pub fn index(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.0.indexes.push(types::Index { name: name.into(), path: path.into() });
        self
    }
}

/// Defaults that the operator may override; `None` for the host's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tuning {
    /// Time between periodic passes over all objects.
    pub resync: Option<Duration>,
    /// Call at each resync even if nothing changed.
    pub resync_always: bool,
    /// Calls at a time.
    pub concurrency: Option<u32>,
    /// Wall clock of one call.
    pub timeout: Option<Duration>,
    /// Delay after the first failure.
    pub first_backoff: Option<Duration>,
    /// Longest delay after failures.
    pub longest_backoff: Option<Duration>,
    /// Memory of one call in bytes.
    pub memory_bytes: Option<u64>,
    /// Reuse an instance for at most so many calls; `None`: a fresh one per call (rule A13).
    pub warm_calls: Option<u32>,
}

/// What a reconciler is and needs.
///
/// Several reconcilers in one component each have a description of their own: names, versions, tuning
/// and configuration have to agree (one may have none of the last), all else is joined.
pub struct Describe<R> {
    name: String,
    version: String,
    source: Source,
    finalizer: bool,
    reads: Vec<types::ReadKind>,
    writes: Vec<GroupVersionKind>,
    capabilities: Vec<Capability>,
    tuning: Tuning,
    reconciler: PhantomData<fn() -> R>,
}

/// Where the CRD comes from. It is made only when somebody asks for the description, and the code that
/// makes it is only linked where it is used.
enum Source {
    Derived(Kind, fn(&Kind) -> Result<String, DescribeError>),
    Written { version: String, json: String },
}

impl<R: Reconciler> Describe<R> {
    /// A plugin of this name and semantic version, for a kind whose CRD is made of the types `Spec`
    /// and `Status`.
    ///
    /// The name is a DNS label and the plugin's identity across versions. `env!("CARGO_PKG_VERSION")`
    /// is a good version.
    pub fn new(name: impl Into<String>, version: impl Into<String>, kind: Kind) -> Self
    where
        R::Spec: JsonSchema,
        R::Status: JsonSchema,
    {
        Self::from_source(
            name,
            version,
            Source::Derived(kind, |kind| Ok(crd::derived(kind, crd::schemas::<R::Spec, R::Status>()?))),
        )
    }

    /// A plugin for a kind whose CRD (apiextensions.k8s.io/v1, JSON) is written by hand;
    /// `served` is the version that [`crate::Context`] has.
    ///
    /// It is handed to the host as it is. Its status should have `observedGeneration` and `conditions` (a
    /// list map by `type`), which the host writes: servers drop what the schema does not have.
    pub fn with_crd_json(
        name: impl Into<String>,
        version: impl Into<String>,
        served: impl Into<String>,
        crd: impl Into<String>,
    ) -> Self {
        Self::from_source(name, version, Source::Written { version: served.into(), json: crd.into() })
    }

    fn from_source(name: impl Into<String>, version: impl Into<String>, source: Source) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            source,
            finalizer: false,
            reads: Vec::new(),
            writes: Vec::new(),
            capabilities: Vec::new(),
            tuning: Tuning::default(),
            reconciler: PhantomData,
        }
    }

    /// Call `reconcile` with [`crate::Context::deleting`] before an object goes (rule B12). Children
    /// need no finalizer: the host deletes them.
    #[must_use]
    pub fn finalizer(mut self) -> Self {
        self.finalizer = true;
        self
    }

    /// Reads a kind. A read that is not described fails.
    #[must_use]
    pub fn reads(mut self, read: Read) -> Self {
        self.reads.push(read.0);
        self
    }

    /// Returns children of this kind.
    #[must_use]
    pub fn writes<T: Resource>(self) -> Self {
        self.writes_kind(T::GROUP, T::VERSION, T::KIND)
    }

    /// Like [`Describe::writes`] for a kind without a type.
    #[must_use]
    pub fn writes_kind(
        mut self,
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
    ) -> Self {
        self.writes.push(gvk(group, version, kind));
        self
    }

    /// Returns children of kind `host.setpoint.dev/Process`.
    #[must_use]
    pub fn process(mut self) -> Self {
        self.capabilities.push(Capability::Process);
        self
    }

    /// Speaks HTTP with, or probes, this host: `NAME[:PORT]`; `*.` as first label stands for one
    /// label, `*` alone for every host.
    #[must_use]
    pub fn http(mut self, host: impl Into<String>) -> Self {
        self.capabilities.push(Capability::Http(host.into()));
        self
    }

    /// Other defaults than the host's.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = tuning;
        self
    }

    pub(crate) fn owns(&self, group: &str, kind: &str) -> bool {
        match &self.source {
            Source::Derived(own, _) => own.group == group && own.kind == kind,
            Source::Written { json, .. } => crd::group_kind(json).is_ok_and(|own| own == (group.into(), kind.into())),
        }
    }

    /// The group, the version spoken and the kind.
    ///
    /// # Errors
    /// A hand-written CRD that does not have them.
    pub fn group_version_kind(&self) -> Result<(String, String, String), DescribeError> {
        match &self.source {
            Source::Derived(kind, _) => Ok((kind.group.clone(), kind.version.clone(), kind.kind.clone())),
            Source::Written { version, json } => {
                let (group, kind) = crd::group_kind(json)?;
                Ok((group, version.clone(), kind))
            }
        }
    }

    /// The description as the contract has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn finish(self) -> Result<Description, DescribeError> {
        if !is_dns_label(&self.name) {
            return Err(DescribeError::Name(self.name));
        }
        let (version, crd) = match self.source {
            Source::Derived(kind, crd) => {
                let crd = crd(&kind)?;
                (kind.version, crd)
            }
            Source::Written { version, json } => (version, json),
        };
        Ok(Description {
            name: self.name,
            version: self.version,
            kinds: vec![types::OwnedKind { crd, version, finalizer: self.finalizer }],
            reads: self.reads,
            writes: self.writes,
            capabilities: self.capabilities,
            config_schema: config_schema::<R::Config>()?,
            tuning: self.tuning.into_contract(),
            extra: Vec::new(),
        })
    }
}

impl<R> fmt::Debug for Describe<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Describe").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Tuning {
    fn into_contract(self) -> types::Tuning {
        types::Tuning {
            resync: self.resync.map(millis),
            resync_always: self.resync_always,
            concurrency: self.concurrency,
            timeout: self.timeout.map(millis),
            first_backoff: self.first_backoff.map(millis),
            longest_backoff: self.longest_backoff.map(millis),
            memory_bytes: self.memory_bytes,
            warm_calls: self.warm_calls,
        }
    }
}

fn config_schema<C: JsonSchema + 'static>() -> Result<Option<String>, DescribeError> {
    if std::any::TypeId::of::<C>() == std::any::TypeId::of::<NoConfig>() {
        return Ok(None);
    }
    Ok(Some(crd::read_schema::<C>("Config")?.to_string()))
}

fn gvk(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> GroupVersionKind {
    GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() }
}

fn is_dns_label(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| letter(b) || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_english() {
        for (kind, expected) in [
            ("redis", "redises"),
            ("policy", "policies"),
            ("gateway", "gateways"),
            ("index", "indexes"),
            ("batch", "batches"),
            ("workflow", "workflows"),
            ("y", "ys"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }

    #[test]
    fn a_name_is_a_dns_label() {
        assert!(is_dns_label("mcp-server") && is_dns_label("a1"));
        for bad in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }
}
