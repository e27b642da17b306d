//! One object as `local` keeps it: the document as written, who gave which field, and what the
//! server says about it. What is handed out is made from it with the schema of the day (rule D6).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use setpoint_core::fields::FieldSet;
use setpoint_core::key::{Key, Name, split_api_version};
use setpoint_core::object::{Applied, Object};
use setpoint_core::op::Refusal;
use setpoint_schema::{Crd, FieldError};

use super::fieldwise::as_told;
use super::marks::{FILE_MANAGER, rfc3339};

/// Something that is wrong with an object or with its file, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file, if the mistake is in one.
    pub file: Option<Name>,
    /// The field, such as `spec.size`; empty for the object as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    pub(crate) fn of(error: &FieldError, file: Option<&Name>) -> Self {
        Self { file: file.cloned(), field: error.path.to_string(), message: error.message.clone() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Content of a file that waits until a terminating object of the same name is gone (rule D3).
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct Parked {
    pub(crate) file: Name,
    pub(crate) document: Arc<RawValue>,
}

/// What is kept of an object.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    pub(crate) uid: Box<str>,
    /// 0 for kinds that have none.
    pub(crate) generation: i64,
    /// Unix milliseconds.
    pub(crate) created: u64,
    /// Unix milliseconds; set while terminating.
    pub(crate) deleting: Option<u64>,
    pub(crate) finalizers: Vec<Box<str>>,
    /// Everything that managers gave, as they wrote it, without identity and server-set metadata.
    pub(crate) document: Arc<RawValue>,
    /// Who gave which leaf of the document.
    #[serde(deserialize_with = "shared")]
    pub(crate) applied: Arc<Applied>,
    /// The file that defines it.
    pub(crate) file: Option<Name>,
    pub(crate) parked: Option<Parked>,
    /// While the document does not fit the schema: the content as it last did.
    pub(crate) kept: Option<Arc<RawValue>>,
}

fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Applied>, D::Error> {
    let sets = BTreeMap::<Box<str>, FieldSet>::deserialize(deserializer)?;
    Ok(Arc::new(sets.into_iter().map(|(manager, set)| (manager, set.shared())).collect()))
}

/// An object and what is made of it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) stored: Stored,
    /// None while the kind is not served.
    pub(crate) object: Option<Arc<Object>>,
    /// Why the document does not fit the schema of the day.
    pub(crate) misfit: Vec<Problem>,
}

/// JSON text of a tree.
pub(crate) fn raw(value: &Value) -> Arc<RawValue> {
    match serde_json::value::to_raw_value(value) {
        Ok(raw) => raw.into(),
        // A tree of JSON values always has a text.
        Err(_) => RawValue::NULL.to_owned().into(),
    }
}

/// Tree of a JSON text; an object, whatever the text says.
pub(crate) fn tree(raw: &RawValue) -> Value {
    match serde_json::from_str(raw.get()) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => json!({}),
    }
}

/// Takes a field out of an object.
pub(crate) fn detach(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.remove(field)
}

/// Puts a field into an object, if there is something to put.
pub(crate) fn attach(value: &mut Value, field: &str, part: Option<Value>) {
    if let (Some(map), Some(part)) = (value.as_object_mut(), part) {
        map.insert(field.to_owned(), part);
    }
}

/// Makes a whole object of a document: identity is put in.
pub(crate) fn whole(crd: &Crd, key: &Key, mut document: Value) -> Value {
    let mut metadata = match detach(&mut document, "metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    metadata.insert("name".into(), json!(&*key.name));
    if let Some(namespace) = &key.namespace {
        metadata.insert("namespace".into(), json!(&**namespace));
    }
    attach(&mut document, "metadata", Some(Value::Object(metadata)));
    attach(&mut document, "apiVersion", Some(json!(crd.api_version())));
    attach(&mut document, "kind", Some(json!(crd.kind)));
    document
}

/// The other way round: what a manager may give. Identity, server-set metadata and, where the kind
/// has a status subresource, the status are left out.
pub(crate) fn document_of(crd: &Crd, mut whole: Value) -> Value {
    for field in ["apiVersion", "kind"] {
        detach(&mut whole, field);
    }
    if crd.has_status {
        detach(&mut whole, "status");
    }
    if let Some(Value::Object(mut metadata)) = detach(&mut whole, "metadata") {
        metadata.retain(|field, _| matches!(field.as_str(), "labels" | "annotations" | "ownerReferences"));
        if !metadata.is_empty() {
            attach(&mut whole, "metadata", Some(Value::Object(metadata)));
        }
    }
    whole
}

/// Whether an object that is to be written says of itself what its key says.
pub(crate) fn check_identity(crd: &Crd, key: &Key, value: &Value) -> Result<(), Refusal> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let wrong = |message: String| Err(Refusal::Invalid(message));
    let api_version = text(value.get("apiVersion"));
    let (group, version) = split_api_version(&api_version);
    if api_version.is_empty() || value.get("kind").and_then(Value::as_str) != Some(&crd.kind) || group != crd.group {
        return wrong(format!("apiVersion and kind must name {}.{}", crd.kind, crd.group));
    }
    if version != crd.version && !crd.served.iter().any(|served| served == version) {
        return wrong(format!("apiVersion: {} has no version {version}; served: {}", crd.kind, crd.served.join(", ")));
    }
    let metadata = value.get("metadata");
    let name = text(metadata.and_then(|metadata| metadata.get("name")));
    if !name.is_empty() && name != *key.name {
        return wrong(format!("metadata.name: `{name}` is not `{}`", key.name));
    }
    let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
    if !namespace.is_empty() && Some(namespace.as_str()) != key.namespace.as_deref() {
        return wrong(format!("metadata.namespace: `{namespace}` is not that of the object"));
    }
    Ok(())
}

/// What is handed out for a record: defaulted and pruned with the schema of the day, unless the
/// document does not fit it (rule D6). `document` is the record's, as a tree.
pub(crate) fn materialise(crd: &Crd, key: &Key, stored: &Stored, document: Value) -> Object {
    let mut value = match &stored.kept {
        None => {
            let mut value = whole(crd, key, document);
            crd.default_and_prune(&mut value);
            value
        }
        Some(kept) => {
            let (mut document, mut kept) = (document, tree(kept));
            for current in ["metadata", "status"] {
                detach(&mut kept, current);
                attach(&mut kept, current, detach(&mut document, current));
            }
            whole(crd, key, kept)
        }
    };
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.insert("uid".into(), json!(&*stored.uid));
        metadata.insert("resourceVersion".into(), json!(stored.version.to_string()));
        metadata.insert("creationTimestamp".into(), json!(rfc3339(stored.created)));
        if stored.generation > 0 {
            metadata.insert("generation".into(), json!(stored.generation));
        }
        if let Some(deleting) = stored.deleting {
            metadata.insert("deletionTimestamp".into(), json!(rfc3339(deleting)));
        }
        if !stored.finalizers.is_empty() {
            metadata.insert("finalizers".into(), json!(stored.finalizers));
        }
    }
    Object::new(value, told(&stored.applied))
}

/// The field sets that the rules work with. What files gave is no apply of a reconciler's.
fn told(applied: &Arc<Applied>) -> Option<Arc<Applied>> {
    let told: Applied = applied
        .iter()
        .filter(|(manager, _)| &***manager != FILE_MANAGER)
        .map(|(manager, set)| (manager.clone(), as_told(set).shared()))
        .collect();
    if told.is_empty() {
        None
    } else if told == **applied {
        Some(applied.clone())
    } else {
        Some(Arc::new(told))
    }
}

/// The part of field sets that the status subresource is about, or the rest.
pub(crate) fn part(applied: &Applied, crd: &Crd, status: bool) -> Applied {
    if !crd.has_status {
        return if status { Applied::new() } else { applied.clone() };
    }
    let pick = |set: &FieldSet| match set {
        FieldSet::Leaf(_) => FieldSet::default(),
        FieldSet::Fields(fields) => FieldSet::Fields(
            fields
                .iter()
                .filter(|(field, _)| (&***field == "status") == status)
                .map(|(field, set)| (field.clone(), set.clone()))
                .collect(),
        ),
    };
    let picked = applied.iter().map(|(manager, set)| (manager, pick(set)));
    picked.filter(|(_, set)| !set.is_empty()).map(|(manager, set)| (manager.clone(), set.shared())).collect()
}

/// Puts two parts together again.
pub(crate) fn join(mut one: Applied, other: &Applied) -> Applied {
    for (manager, set) in other {
        let joined = match one.get(manager) {
            Some(there) => there.union(set).shared(),
            None => set.clone(),
        };
        one.insert(manager.clone(), joined);
    }
    one
}

/// Whether two documents differ in what moves the generation: everything but metadata and status
/// (rule D6).
pub(crate) fn moves_generation(old: &Value, new: &Value) -> bool {
    fn content(value: &Value) -> BTreeMap<&str, &Value> {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
            .map(|(field, value)| (field.as_str(), value))
            .collect()
    }
    content(old) != content(new)
}
