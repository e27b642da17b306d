//! Objects as a reconciler sees them, and the two core kinds that nearly everybody reads or makes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ReadError;
use crate::host::{GroupKindText, place_text};

/// A kind that can be read or made: what its objects hold besides apiVersion, kind and metadata.
///
/// ```
/// use setpoint_sdk::Resource;
///
/// #[derive(serde::Deserialize)]
/// struct Service {
///     spec: ServiceSpec,
/// }
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "camelCase")]
/// struct ServiceSpec {
///     cluster_ip: Option<String>,
/// }
/// impl Resource for Service {
///     const GROUP: &'static str = "";
///     const VERSION: &'static str = "v1";
///     const KIND: &'static str = "Service";
/// }
/// ```
pub trait Resource {
    /// API group; empty for the core group.
    const GROUP: &'static str;
    /// The version that the plugin speaks.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Whether objects of this kind live in namespaces.
    const NAMESPACED: bool = true;
}

/// An object that was read. Dereferences to its body.
#[derive(Clone, PartialEq, Debug)]
pub struct Object<T> {
    /// Its metadata, as far as the declared field mask shows it.
    pub metadata: Metadata,
    /// All else.
    pub body: T,
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.body
    }
}

#[derive(Deserialize)]
pub(crate) struct WithMetadata {
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

impl<T: Resource + DeserializeOwned> Object<T> {
    /// Reads an object from its JSON text.
    ///
    /// # Errors
    /// [`ReadError::Malformed`], naming the object, if it does not fit.
    pub fn parse(json: &str) -> Result<Self, ReadError> {
        let kind = GroupKindText(T::GROUP, T::KIND);
        let WithMetadata { metadata } = serde_json::from_str(json)
            .map_err(|error| ReadError::Malformed(format!("metadata of a {kind}: {error}")))?;
        match serde_json::from_str(json) {
            Ok(body) => Ok(Self { metadata, body }),
            Err(error) => {
                let place = place_text(metadata.namespace.as_deref(), &metadata.name);
                Err(ReadError::Malformed(format!("{kind} {place}: {error}")))
            }
        }
    }
}

/// Metadata of an object. There is no `resourceVersion`: objects are content only (rule A2).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Identity across deletion and creation under one name.
    pub uid: String,
    /// Counts changes of the content outside metadata and status.
    pub generation: i64,
    /// Labels.
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was created, in RFC 3339.
    pub creation_timestamp: Option<String>,
    /// Since when it is being deleted, in RFC 3339.
    pub deletion_timestamp: Option<String>,
    /// Its owners.
    #[serde(deserialize_with = "null_is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// What keeps it from going once it is deleted.
    #[serde(deserialize_with = "null_is_empty")]
    pub finalizers: Vec<String>,
}

/// An owner of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// Uid of the owner.
    pub uid: String,
    /// Whether it is the owner that controls the object.
    pub controller: bool,
}

/// Files may say `labels:` and nothing more, which is null.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// A ConfigMap's content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Text by key.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Bytes in base64 by key.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub binary_data: BTreeMap<String, String>,
    /// Whether the content can no longer be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}

impl ConfigMap {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this entry in `data`.
    #[must_use]
    pub fn entry(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.data.insert(key.into(), value.into());
        self
    }
}

impl Resource for ConfigMap {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ConfigMap";
}

/// A Secret's content. `Debug` shows keys only, so that a value does not get into a log by accident.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Type such as `Opaque` or `kubernetes.io/tls`; empty for the server's default.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Values in base64 by key. For the bytes see [`Secret::value`].
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Plain values by key, for writing only: servers turn them into `data`.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, String>,
}

impl Secret {
    /// The bytes of an entry of `data`; none if it is not there or no base64.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        base64(self.data.get(key)?)
    }

    /// An entry of `data` as text; none if it is not there or not UTF-8.
    pub fn text(&self, key: &str) -> Option<String> {
        String::from_utf8(self.value(key)?).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.data.keys().chain(self.string_data.keys()).collect();
        f.debug_struct("Secret").field("kind", &self.kind).field("keys", &keys).finish_non_exhaustive()
    }
}

impl Resource for Secret {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Secret";
}

/// Standard base64 with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    // A single letter left over carries fewer bits than a byte.
    if count >= 6 { None } else { Some(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_its_metadata_and_its_body() -> Result<(), ReadError> {
        let map: Object<ConfigMap> = Object::parse(
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n","labels":null},"data":{"k":"v"}}"#,
        )?;
        assert_eq!((map.metadata.name.as_str(), map.data["k"].as_str()), ("a", "v"));
        assert!(map.metadata.labels.is_empty());
        Ok(())
    }

    #[test]
    fn an_object_that_does_not_fit_is_named() {
        let error = Object::<ConfigMap>::parse(r#"{"metadata":{"name":"a","namespace":"n"},"data":{"k":1}}"#);
        let text = error.map_err(|e| e.to_string()).map(|_| ());
        assert!(text.as_ref().is_err_and(|e| e.starts_with("cannot be read: ConfigMap n/a: invalid type")), "{text:?}");
    }

    #[test]
    fn the_debug_text_of_a_secret_shows_no_value() {
        let secret = Secret { data: [("password".into(), "aHVudGVyMg==".into())].into(), ..Secret::default() };
        let text = format!("{secret:?}");
        assert!(text.contains("password") && !text.contains("aHVudGVy"), "{text}");
        assert_eq!(secret.text("password").as_deref(), Some("hunter2"));
    }

    #[test]
    fn base64_means_what_rfc_4648_says() {
        for (text, plain) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).as_deref(), Some(plain.as_bytes()), "{text}");
        }
        assert_eq!(base64("/+8="), Some(vec![0xff, 0xef]));
        assert_eq!((base64("Z"), base64("Zm9v*")), (None, None));
    }
}
