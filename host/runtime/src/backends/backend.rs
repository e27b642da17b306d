//! What is known of a backend.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether clients may be sent to a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub enum State {
    /// Not yet: there is no address, or it was not validated.
    #[default]
    Pending,
    /// Yes.
    Open,
    /// No, and somebody has to act; the reason says why.
    Closed,
    /// No new ones; what is under way may end.
    Draining,
}

/// How ToolHive's operator says that a backend is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Health {
    Healthy,
    Unhealthy,
    #[default]
    Unknown,
}

/// How a backend is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub enum Transport {
    /// Streamable HTTP.
    #[serde(rename = "streamable-http")]
    StreamableHttp,
    /// HTTP with server-sent events.
    #[serde(rename = "sse")]
    Sse,
    /// One that no client speaks.
    #[serde(rename = "unknown")]
    Unknown,
}

/// What ToolHive calls a backend's source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[allow(missing_docs, reason = "they are ToolHive's kinds")]
pub enum SourceKind {
    MCPServer,
    MCPRemoteProxy,
    MCPServerEntry,
}

/// One value of a Secret in the registry's namespace of the cluster. The value itself is nowhere here.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// The credentials of a backend, by reference.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Name of the MCPExternalAuthConfig.
    pub config: String,
    /// Its type, as ToolHive has it.
    #[serde(rename = "type")]
    pub auth_type: String,
    /// Changes with the configuration; no secret is in it.
    pub config_hash: String,
    /// The Secrets that it refers to.
    #[serde(default)]
    pub secrets: Vec<SecretKeyRef>,
}

/// Certificates that a backend's own is checked against.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Its key.
    pub key: String,
    /// The certificates, in PEM.
    pub pem: String,
}

/// A header of each request: a value, or where it is.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value, if that is no secret.
    #[serde(default)]
    pub value: Option<String>,
    /// Where its value is, if it is one.
    #[serde(default)]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// An MCP server that clients can be sent to while it is [`State::Open`].
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "Object")]
pub struct Backend {
    /// What clients call it: the name of its source.
    pub id: String,
    /// The kind of its source.
    pub kind: SourceKind,
    /// Whether clients may be sent there.
    pub state: State,
    /// How ToolHive's operator says that it is.
    pub health: Health,
    /// Why it is in this state: a word.
    pub reason: String,
    /// The same as a sentence.
    pub message: String,
    /// Its address; none of one that is closed.
    pub url: Option<String>,
    /// How it is spoken to.
    pub transport: Option<Transport>,
    /// Its credentials.
    pub auth: Option<Auth>,
    /// Its certificates.
    pub ca_bundle: Option<CaBundle>,
    /// Headers of each request.
    pub headers: Vec<Header>,
    /// What else its source says.
    pub metadata: BTreeMap<String, String>,
}

/// As it is kept.
#[derive(Deserialize)]
struct Object {
    spec: Spec,
    /// None before it was looked at.
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    id: String,
    source: SourceRef,
}

#[derive(Deserialize)]
struct SourceRef {
    kind: SourceKind,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    state: State,
    health: Health,
    reason: String,
    message: String,
    url: Option<String>,
    transport: Option<Transport>,
    auth: Option<Auth>,
    ca_bundle: Option<CaBundle>,
    headers: Vec<Header>,
    metadata: BTreeMap<String, String>,
}

impl From<Object> for Backend {
    fn from(Object { spec, status }: Object) -> Self {
        let Status { state, health, reason, message, url, transport, auth, ca_bundle, headers, metadata } = status;
        let (id, kind) = (spec.id, spec.source.kind);
        Self { id, kind, state, health, reason, message, url, transport, auth, ca_bundle, headers, metadata }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backend_is_read_from_what_is_kept_of_it() {
        let object = json!({"metadata": {"name": "github-x"},
            "spec": {"id": "github", "source": {"kind": "MCPServer", "name": "github"}},
            "status": {"state": "Open", "health": "Healthy", "url": "http://a/mcp", "transport": "streamable-http",
                "auth": {"config": "c", "type": "headerInjection", "configHash": "h",
                    "secrets": [{"name": "s", "key": "k"}]},
                "headers": [{"name": "x", "secretKeyRef": {"name": "s", "key": "k"}}], "observedGeneration": 1}});
        let backend: Backend = serde_json::from_value(object).expect("it is one");
        assert_eq!(
            (backend.id.as_str(), backend.state, backend.url.as_deref()),
            ("github", State::Open, Some("http://a/mcp"))
        );
        assert_eq!(backend.auth.map(|auth| auth.secrets.len()), Some(1));
        let new = json!({"spec": {"id": "a", "source": {"kind": "MCPServerEntry", "name": "a"}}});
        let backend: Backend = serde_json::from_value(new).expect("it is one");
        assert_eq!((backend.state, backend.url), (State::Pending, None));
    }
}
