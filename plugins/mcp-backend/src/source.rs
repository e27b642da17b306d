//! What backends are made of: three kinds of ToolHive, read and never written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use setpoint_sdk::prelude::*;
use setpoint_sdk::{GroupKind, IndexMatch, Key, Metadata, RawQuery, ReadError};

/// The group of ToolHive's kinds.
pub const TOOLHIVE: &str = "toolhive.stacklok.dev";
/// The version that ToolHive stores. Its API server converts what was written in another.
pub const TOOLHIVE_VERSION: &str = "v1beta1";
/// Index over the groups that sources are in.
const INDEX: &str = "group";

/// A kind of source, in the order in which ToolHive looks for a name (§2.3, resolve order).
#[expect(clippy::enum_variant_names, reason = "the kinds are called so")]
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SourceKind {
    /// A server that ToolHive's operator runs behind a proxy.
    MCPServer,
    /// A proxy of ToolHive's operator in front of a server elsewhere.
    MCPRemoteProxy,
    /// A server elsewhere, as an entry of a catalogue: nothing runs for it.
    MCPServerEntry,
}

impl SourceKind {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::MCPServer, Self::MCPRemoteProxy, Self::MCPServerEntry];

    /// As in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MCPServer => "MCPServer",
            Self::MCPRemoteProxy => "MCPRemoteProxy",
            Self::MCPServerEntry => "MCPServerEntry",
        }
    }

    /// The fields that a backend depends on. A change elsewhere, as of replicas or hashes, causes no call.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::MCPServer => &[
                ".metadata.annotations",
                ".spec.groupRef",
                ".spec.transport",
                ".spec.proxyMode",
                ".spec.externalAuthConfigRef",
                ".status.phase",
                ".status.url",
            ],
            Self::MCPRemoteProxy => &[
                ".metadata.annotations",
                ".spec.groupRef",
                ".spec.transport",
                ".spec.remoteUrl",
                ".spec.externalAuthConfigRef",
                ".status.phase",
                ".status.url",
            ],
            Self::MCPServerEntry => &[
                ".metadata.annotations",
                ".spec.groupRef",
                ".spec.transport",
                ".spec.remoteUrl",
                ".spec.externalAuthConfigRef",
                ".spec.headerForward",
                ".spec.caBundleRef",
                ".status.phase",
                ".status.conditions[*].status",
                ".status.conditions[*].reason",
            ],
        }
    }

    /// How it is read.
    pub fn read(self) -> Read {
        let read = Read::all_of(TOOLHIVE, TOOLHIVE_VERSION, self.name()).fields(self.fields().iter().copied());
        read.index(INDEX, ".spec.groupRef.name")
    }
}

/// Which source a backend has. It is in the backend's namespace.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct SourceRef {
    /// None: the backend's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub kind: SourceKind,
    pub name: String,
}

impl SourceRef {
    /// An object beside the source, or the source itself.
    pub fn beside(&self, name: &str) -> ObjectRef {
        let object = ObjectRef::new(name);
        match &self.cluster {
            Some(cluster) => object.in_cluster(cluster),
            None => object,
        }
    }
}

/// A source of any kind; what a kind does not have is empty.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub struct Source {
    pub metadata: Metadata,
    pub spec: SourceSpec,
    pub status: SourceStatus,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceSpec {
    pub group_ref: Option<NameRef>,
    pub transport: Option<String>,
    pub proxy_mode: String,
    pub remote_url: String,
    pub external_auth_config_ref: Option<NameRef>,
    pub header_forward: Option<HeaderForward>,
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// A name of something in the same namespace.
#[derive(Deserialize, Debug)]
pub struct NameRef {
    pub name: String,
}

/// Headers that clients of an entry have to send.
#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderForward {
    pub add_plaintext_headers: BTreeMap<String, String>,
    pub add_headers_from_secret: Vec<HeaderFromSecret>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFromSecret {
    pub header_name: String,
    pub value_secret_ref: SecretKeyRef,
}

/// One value of a Secret in the namespace of the source.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SecretKeyRef {
    pub name: String,
    pub key: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct CaBundleRef {
    pub config_map_ref: Option<ConfigMapRef>,
}

#[derive(Deserialize, Debug)]
pub struct ConfigMapRef {
    pub name: String,
    #[serde(default)]
    pub key: String,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub struct SourceStatus {
    pub phase: String,
    pub url: String,
    pub conditions: Vec<SourceCondition>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub struct SourceCondition {
    pub status: String,
    pub reason: String,
}

impl Source {
    /// The group that it is in; empty for none.
    pub fn group(&self) -> &str {
        self.spec.group_ref.as_ref().map_or("", |group| &group.name)
    }
}

/// Reads the source of a backend. None: it is proven that there is none.
///
/// # Errors
/// As of any read; an object that does not fit is `Malformed`.
pub fn get<R: Reconciler>(cx: &Context<R>, source: &SourceRef) -> Result<Option<Source>, ReadError> {
    let key = Key {
        cluster: source.cluster.clone().unwrap_or_else(|| cx.key().cluster.clone()),
        group: TOOLHIVE.into(),
        kind: source.kind.name().into(),
        namespace: cx.key().namespace.clone(),
        name: source.name.clone(),
    };
    let Some(found) = cx.get_json(&key)? else { return Ok(None) };
    let malformed = |error| ReadError::Malformed(format!("{} {}: {error}", source.kind.name(), source.name));
    serde_json::from_value(found).map(Some).map_err(malformed)
}

/// The names of all sources of a kind that are in a group. Nothing else is looked at, so that one that does not fit is
/// the problem of its backend only.
///
/// # Errors
/// As of any read: there is no partial answer.
pub fn members<R: Reconciler>(
    cx: &Context<R>,
    cluster: &str,
    group: &str,
    kind: SourceKind,
) -> Result<Vec<String>, ReadError> {
    let found = cx.list_json(RawQuery {
        cluster: Some(cluster.to_owned()),
        kind: GroupKind { group: TOOLHIVE.into(), kind: kind.name().into() },
        namespace: cx.key().namespace.clone(),
        labels: None,
        index: Some(IndexMatch { index: INDEX.into(), value: group.to_owned() }),
        limit: Some(500),
        continue_: None,
    })?;
    let name = |object: &Value| object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    Ok(found.iter().filter_map(name).collect())
}

/// A group, as far as it matters: that it is there.
#[derive(Deserialize)]
pub struct MCPGroup {}

impl Resource for MCPGroup {
    const GROUP: &'static str = TOOLHIVE;
    const VERSION: &'static str = TOOLHIVE_VERSION;
    const KIND: &'static str = "MCPGroup";
}
