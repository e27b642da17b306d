//! A CustomResourceDefinition, compiled.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::definition::{Source, Version, manifest};
use crate::error::{CrdError, FieldError};
use crate::metadata::{self, validate_metadata};
use crate::path::{At, FieldPath};
use crate::schema::{ListType, Rules, Schema};
use crate::{evaluate, list, shape, validate};

/// A CustomResourceDefinition with the schema of one version compiled, or a built-in kind that has
/// none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Crd {
    /// The group; empty for the core group.
    pub group: String,
    /// The kind, as objects name it.
    pub kind: String,
    /// The plural, as URLs and commands name it.
    pub plural: String,
    /// The singular. The kind in lower case unless the definition says otherwise.
    pub singular: String,
    /// Short names for commands.
    pub short_names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The one version that the plugin speaks (rule D6).
    pub version: String,
    /// All versions that are served, the one above among them.
    pub served: Vec<String>,
    /// What a table of objects shows (`additionalPrinterColumns`).
    pub columns: Vec<Column>,
    /// Whether the status is a subresource, written apart from the rest.
    pub has_status: bool,
    schema: Arc<Schema>,
    manifest: Arc<Value>,
}

/// A column of a table of objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// Where the cell comes from, such as `.status.state`.
    pub json_path: String,
    /// The type: `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// 0 is shown always, more in wide tables only. Default 0.
    pub priority: i64,
    /// The format of the value, if any.
    pub format: Option<String>,
}

/// Which part of an object is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// The whole object.
    Whole,
    /// `.status` only, as a write to the subresource: nothing else is defaulted, pruned or checked.
    /// Of the rules on the whole object those are checked that read the status.
    Status,
    /// All but `.status`, which is left alone.
    Spec,
}

impl Part {
    pub(crate) fn wants(self, field: &str) -> bool {
        match self {
            Part::Whole => true,
            Part::Status => field == "status",
            Part::Spec => field != "status",
        }
    }
}

/// What became of an object that asked to be let in.
#[derive(Clone, PartialEq, Debug)]
pub struct Admission {
    /// The object with defaults, without unknown fields.
    pub object: Value,
    /// All that is wrong with it. It is let in if there is nothing.
    pub errors: Vec<FieldError>,
    /// The unknown fields that were taken out, for warnings.
    pub unknown: Vec<FieldPath>,
}

impl Crd {
    /// Compiles the JSON of an `apiextensions.k8s.io/v1` CustomResourceDefinition for `version`.
    /// Schemas as generators write them are made structural first.
    ///
    /// # Errors
    /// If the definition is malformed, does not serve the version, has a schema without a
    /// structural form, a default that does not fit or a rule that does not compile; also if it has
    /// several versions with a conversion other than `None` (rule D6). All errors name the path.
    pub fn parse(crd: &Value, version: &str) -> Result<Crd, CrdError> {
        Self::compile(crd, version, Rules::Compiled)
    }

    /// Compiles a definition that an API server serves and enforces: rules, conversions and patterns
    /// that only the server understands are left to it. For defaulting and pruning as it does, to know whether a write is needed
    /// (rule B1). The definition itself is not kept.
    ///
    /// # Errors
    /// As [`Crd::parse`], but for what is left to the server.
    pub fn parse_served(crd: &Value, version: &str) -> Result<Crd, CrdError> {
        Self::compile(crd, version, Rules::LeftToServer)
    }

    /// A built-in kind, such as ConfigMap or Secret: everything is kept, and nothing is checked but
    /// `apiVersion`, `kind` and `metadata`.
    pub fn builtin(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> Crd {
        Crd {
            group: group.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            namespaced,
            version: version.to_owned(),
            served: vec![version.to_owned()],
            columns: Vec::new(),
            has_status: false,
            schema: Arc::new(Schema::anything()),
            manifest: Arc::new(Value::Null),
        }
    }

    fn compile(crd: &Value, version: &str, rules: Rules) -> Result<Crd, CrdError> {
        let source = Source { json: crd, path: FieldPath::default() };
        if source.text("kind")? != "CustomResourceDefinition" || source.text("apiVersion")? != "apiextensions.k8s.io/v1"
        {
            let message = "must be a CustomResourceDefinition of apiextensions.k8s.io/v1";
            return Err(CrdError::definition(FieldPath::of(&["kind"]), message));
        }
        let spec = source.field("spec")?;
        let names = spec.field("names")?;
        let (group, kind, plural) = (spec.text("group")?, names.text("kind")?, names.text("plural")?);
        if !group.split('.').all(metadata::is_dns_label) {
            return Err(spec.wrong("group", "must be a DNS name in lower case"));
        }
        if !metadata::is_dns_label(plural) {
            return Err(names.wrong("plural", "must be a DNS label in lower case"));
        }
        let namespaced = match spec.text("scope")? {
            "Namespaced" => true,
            "Cluster" => false,
            _ => return Err(spec.wrong("scope", "must be Namespaced or Cluster")),
        };
        let versions = Version::all(&spec)?;
        let served: Vec<String> = versions.iter().filter(|v| v.served).map(|v| v.name.to_owned()).collect();
        let Some(chosen) = versions.iter().find(|v| v.served && v.name == version) else {
            return Err(CrdError::Version { kind: kind.to_owned(), version: version.to_owned(), served });
        };
        let strategy = crd.pointer("/spec/conversion/strategy").and_then(Value::as_str).unwrap_or("None");
        if rules == Rules::Compiled && versions.len() > 1 && strategy != "None" {
            return Err(CrdError::Conversion {
                kind: kind.to_owned(),
                strategy: strategy.to_owned(),
                versions: versions.iter().map(|v| v.name.to_owned()).collect(),
            });
        }
        let singular = names.optional("singular").map_or_else(|| kind.to_lowercase(), str::to_owned);
        let schema = chosen.compile(rules)?;
        Ok(Crd {
            group: group.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            short_names: names.strings("shortNames"),
            namespaced,
            version: version.to_owned(),
            columns: chosen.columns()?,
            has_status: chosen.source.json.pointer("/subresources/status").is_some(),
            schema: Arc::new(schema),
            manifest: Arc::new(match rules {
                Rules::Compiled => manifest(crd, &versions, &singular, &format!("{plural}.{group}")),
                Rules::LeftToServer => Value::Null,
            }),
            singular,
            served,
        })
    }

    /// The definition as an API server would accept it, with structural schemas put in. Null for
    /// built-in kinds, which no definition makes, and for what [`Crd::parse_served`] has read.
    pub fn manifest(&self) -> Value {
        Value::clone(&self.manifest)
    }

    /// The `apiVersion` of objects in the version that the plugin speaks.
    pub fn api_version(&self) -> String {
        self.api_version_of(&self.version)
    }

    fn api_version_of(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// Does to an object what an API server does when it is written: nulls that are not allowed are
    /// taken out, defaults put in, unknown fields taken out; then everything is checked (types and
    /// limits, items that are there twice, rules).
    ///
    /// `old` is the object before, if there was one: transition rules see it as `oldSelf`, and what
    /// is wrong but unchanged is tolerated (rule D6). As on a server, rules are not run on an object
    /// whose types are wrong; an error says so.
    pub fn admit(&self, mut object: Value, old: Option<&Value>, part: Part) -> Admission {
        let mut errors = Vec::new();
        let mut unknown = Vec::new();
        if let Value::Object(fields) = &mut object {
            let wanted = |field: &str| part.wants(field);
            shape::default_fields(&self.schema, fields, &wanted);
            shape::prune_fields(&self.schema, fields, &wanted, &At::Root, &mut unknown);
        }
        let old = old.map(|old| {
            let mut old = old.clone();
            self.default_and_prune(&mut old);
            old
        });
        match &object {
            Value::Object(fields) => self.check(&object, fields, old.as_ref(), part, &mut errors),
            other => errors.push(FieldError::type_invalid(FieldPath::default(), other, "of type object")),
        }
        let mut all: Vec<FieldError> = Vec::with_capacity(errors.len());
        for error in errors {
            // The schema and the checks of metadata can find the same mistake.
            if !all.contains(&error) {
                all.push(error);
            }
        }
        Admission { object, errors: all, unknown }
    }

    fn check(
        &self,
        object: &Value,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        part: Part,
        errors: &mut Vec<FieldError>,
    ) {
        let schema = &*self.schema;
        let old_fields = old.and_then(Value::as_object);
        let wanted = |field: &str| part.wants(field);
        if part != Part::Status {
            self.check_type(fields, errors);
            errors.extend(validate_metadata(object, self.namespaced));
            if old != Some(object) {
                validate::check_bounds(schema, fields, &At::Root, errors);
                validate::check_alternatives(schema, object, &At::Root, errors);
            }
        }
        validate::check_fields(schema, fields, old_fields, &wanted, &At::Root, errors);
        let mut twice_before = Vec::new();
        if let Some(old) = old_fields {
            list::check_fields(schema, old, &wanted, &At::Root, &mut twice_before);
        }
        if twice_before.is_empty() {
            list::check_fields(schema, fields, &wanted, &At::Root, errors);
        }
        if !schema.rules_below {
            return;
        }
        if errors.iter().any(FieldError::blocks_rules) {
            let message = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid(FieldPath::default(), &Value::Null, message));
            return;
        }
        errors.extend(evaluate::Run::over(schema, object, old, part).errors);
    }

    fn check_type(&self, fields: &Map<String, Value>, errors: &mut Vec<FieldError>) {
        let versions = self.served.iter().map(|version| Value::from(self.api_version_of(version))).collect();
        for (key, allowed) in [("apiVersion", versions), ("kind", vec![Value::from(self.kind.as_str())])] {
            let path = FieldPath::of(&[key]);
            match fields.get(key) {
                None => errors.push(FieldError::required(path, "")),
                Some(value) if value.is_string() && !allowed.contains(value) => {
                    errors.push(FieldError::not_supported(path, value, &allowed));
                }
                // What is no string is an error of the schema.
                Some(_) => {}
            }
        }
    }

    /// Only puts defaults in and takes unknown fields out: for objects that are read from a store
    /// that keeps them as written (rule D6).
    pub fn default_and_prune(&self, object: &mut Value) {
        shape::default_value(&self.schema, object);
        shape::prune_value(&self.schema, object, &At::Root, &mut Vec::new());
    }

    /// Takes unknown fields out, and nulls that a server would not keep, and puts nothing in: for
    /// documents that give an object in part, before they are compared with a whole one (rule B1).
    pub fn prune_partial(&self, object: &mut Value) {
        shape::drop_nulls(&self.schema, object);
        shape::prune_value(&self.schema, object, &At::Root, &mut Vec::new());
    }

    /// How the list at this path is merged. A path goes through a list by any one segment:
    /// `["spec", "steps", "*", "args"]`. What is no list is [`ListType::Atomic`].
    pub fn list_type(&self, path: &[&str]) -> ListType {
        match path {
            ["metadata", "finalizers"] => return ListType::Set,
            ["metadata", "ownerReferences"] => return ListType::Map(vec!["uid".to_owned()]),
            _ => {}
        }
        let found = path.iter().try_fold(&*self.schema, |schema, segment| match &schema.items {
            Some(items) => Some(&**items),
            None => schema.child(segment),
        });
        found.map(|schema| schema.list_type.clone()).unwrap_or_default()
    }
}
