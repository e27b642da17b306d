//! Which object a document is (rule D4), as far as its kind is known (rule D5).

use serde_json::{Map, Value};
use setpoint_core::Key;
use setpoint_core::key::{DEFAULT_NAMESPACE, Name, split_api_version};

use super::yaml::{Document, Position, SourceError};

/// Metadata that only a server sets; ignored in files.
const SERVER_SET: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "ownerReferences",
    "selfLink",
];

/// What has to be known of a kind to build a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Whether its objects have a namespace.
    pub namespaced: bool,
}

/// Something that the author of a file should know; nothing is wrong for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Where.
    pub position: Position,
    /// What.
    pub message: String,
}

/// A document that is an object.
#[derive(Clone, PartialEq, Debug)]
pub struct Identified {
    /// Its canonical key, the default namespace filled in.
    pub key: Key,
    /// The version that it is written in, such as `v1alpha1`.
    pub version: String,
    /// Its content: name and namespace filled in; status and server-set metadata removed.
    pub value: Value,
    /// What its author should know, without what was ignored.
    pub notices: Vec<Notice>,
    /// What was ignored, as JSON pointers in the order of the document (one notice per file).
    pub ignored: Vec<String>,
}

/// A document whose kind is not known here (yet): no key, no object (rule D5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unclaimed {
    /// The cluster that it is in.
    pub cluster: Name,
    /// API group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace as written.
    pub namespace: Option<String>,
    /// Name as written or taken from the file.
    pub name: String,
}

impl Unclaimed {
    /// The keys that it has when its kind turns out to be namespaced, and when not.
    pub fn possible_keys(&self) -> [Key; 2] {
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        [
            Key::new(&self.cluster, &self.group, &self.kind, Some(namespace), &self.name),
            Key::new(&self.cluster, &self.group, &self.kind, None, &self.name),
        ]
    }
}

/// What a document turned out to be.
#[derive(Clone, PartialEq, Debug)]
pub enum Identity {
    /// An object of a known kind.
    Object(Box<Identified>),
    /// An object of an unknown kind.
    Unclaimed(Unclaimed),
}

/// The file that a document is in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The cluster whose files are read.
    pub cluster: &'a str,
    /// Path relative to the root.
    pub file: &'a str,
    /// Whether the file has no other document.
    pub alone: bool,
}

impl<'a> Place<'a> {
    /// The file's name without directories and extension.
    fn stem(self) -> &'a str {
        let name = self.file.rsplit('/').next().unwrap_or(self.file);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }
}

/// Identifies a document (rule D4). `scope_of` says what is known of (group, kind).
///
/// # Errors
/// What is wrong with its identity, and where.
pub fn identify(
    document: &Document,
    place: Place<'_>,
    scope_of: impl Fn(&str, &str) -> Option<Scope>,
) -> Result<Identity, SourceError> {
    let at = |pointer: &str, message: String| SourceError::new(document.spans.locate(pointer), message);
    let Some(object) = document.value.as_object() else {
        return Err(at("", "an object is expected: a mapping with apiVersion and kind".into()));
    };
    let api_version = required(document, object, "apiVersion")?;
    let kind = required(document, object, "kind")?;
    let (group, version) = split_api_version(api_version);
    if version.is_empty() || version.contains('/') || group.is_empty() == api_version.contains('/') {
        return Err(at("/apiVersion", format!("apiVersion {api_version:?} is not VERSION or GROUP/VERSION")));
    }
    if kind.contains(['/', '%']) || group.contains('%') {
        return Err(at("/kind", format!("{kind:?} of {group:?} is not the name of a kind")));
    }
    let none = Map::new();
    let metadata = match object.get("metadata") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(at("/metadata", "metadata must be a mapping".into())),
    };
    if metadata.get("generateName").is_some_and(|name| !name.is_null()) {
        let message = "generateName makes a new object each time the file is read; give metadata.name instead";
        return Err(SourceError::new(document.spans.locate_key("/metadata/generateName"), message));
    }
    if metadata.get("finalizers").is_some_and(|list| !list.is_null() && list.as_array().is_none_or(|l| !l.is_empty())) {
        let message = "finalizers are set by the host; a file must not have them";
        return Err(SourceError::new(document.spans.locate_key("/metadata/finalizers"), message));
    }

    let mut notices = Vec::new();
    let name = name(document, metadata, place, &mut notices)?;
    let namespace = optional(document, metadata, "namespace")?;
    if let Some(namespace) = namespace
        && !is_label(namespace)
    {
        return Err(at("/metadata/namespace", format!("{namespace:?} is not a namespace name (RFC 1123 label)")));
    }

    let Some(scope) = scope_of(group, kind) else {
        return Ok(Identity::Unclaimed(Unclaimed {
            cluster: place.cluster.into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }));
    };
    let namespace = match (scope.namespaced, namespace) {
        (true, namespace) => Some(namespace.unwrap_or(DEFAULT_NAMESPACE)),
        (false, None) => None,
        (false, Some(_)) => {
            let message = format!("{kind} is cluster-scoped: its objects have no namespace");
            return Err(SourceError::new(document.spans.locate_key("/metadata/namespace"), message));
        }
    };

    let mut content = object.clone();
    let mut ignored = Vec::new();
    if content.remove("status").is_some() {
        ignored.push("/status".into());
    }
    let mut metadata = metadata.clone();
    for field in SERVER_SET {
        if metadata.remove(field).is_some() {
            ignored.push(format!("/metadata/{field}"));
        }
    }
    metadata.remove("finalizers");
    metadata.remove("generateName");
    metadata.insert("name".into(), name.into());
    match namespace {
        Some(namespace) => metadata.insert("namespace".into(), namespace.into()),
        None => metadata.remove("namespace"),
    };
    content.insert("metadata".into(), Value::Object(metadata));
    Ok(Identity::Object(Box::new(Identified {
        key: Key::new(place.cluster, group, kind, namespace, name),
        version: version.into(),
        value: Value::Object(content),
        notices,
        ignored,
    })))
}

fn required<'a>(document: &Document, object: &'a Map<String, Value>, field: &str) -> Result<&'a str, SourceError> {
    let error = |message: String| SourceError::new(document.spans.locate(&format!("/{field}")), message);
    match object.get(field) {
        None | Some(Value::Null) => {
            Err(SourceError::new(Position { line: document.line, column: 1 }, format!("{field} is missing")))
        }
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(error(format!("{field} is empty"))),
        Some(_) => Err(error(format!("{field} must be a string"))),
    }
}

fn optional<'a>(
    document: &Document,
    metadata: &'a Map<String, Value>,
    field: &str,
) -> Result<Option<&'a str>, SourceError> {
    match metadata.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            let message = format!("metadata.{field} must be a string; put it in quotes");
            Err(SourceError::new(document.spans.locate(&format!("/metadata/{field}")), message))
        }
    }
}

fn name<'a>(
    document: &'a Document,
    metadata: &'a Map<String, Value>,
    place: Place<'a>,
    notices: &mut Vec<Notice>,
) -> Result<&'a str, SourceError> {
    let stem = place.stem();
    let start = Position { line: document.line, column: 1 };
    let Some(name) = optional(document, metadata, "name")? else {
        return match (place.alone, is_subdomain(stem)) {
            (true, true) => Ok(stem),
            (true, false) => Err(SourceError::new(
                start,
                format!(
                    "metadata.name is missing, and the file's name {stem:?} is not a name for an object (RFC 1123)"
                ),
            )),
            (false, _) => {
                Err(SourceError::new(start, "metadata.name is missing, and the file has more than one document"))
            }
        };
    };
    if !is_subdomain(name) {
        let message = format!(
            "{name:?} is not a name for an object: lower case letters, digits, '-' and '.', at most 253, beginning and ending \
             with a letter or digit (RFC 1123)"
        );
        return Err(SourceError::new(document.spans.locate("/metadata/name"), message));
    }
    if place.alone && name != stem {
        let message = format!("the object is called {name:?} as metadata.name says, not {stem:?} like its file");
        notices.push(Notice { position: document.spans.locate("/metadata/name"), message });
    }
    Ok(name)
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && bytes.iter().all(|c| alphanumeric(*c) || *c == b'-')
}

/// A DNS-1123 subdomain. Unlike in a label, the length counts as a whole.
fn is_subdomain(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|c| alphanumeric(*c) || *c == b'-')
    };
    text.len() <= 253 && text.split('.').all(part)
}
