//! What a backend's status says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::source::SecretKeyRef;

/// Whether clients may be sent to a backend.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum State {
    /// Not yet: its source has no address, or is not known to be right.
    #[default]
    Pending,
    /// Yes.
    Open,
    /// No, and somebody has to act: it would be reached without its credentials, or not be reached at all.
    Closed,
    /// No new ones: it is about to go. What is under way may end.
    Draining,
}

/// How ToolHive's operator says that a source is. Nobody has looked at its endpoint.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    Healthy,
    Unhealthy,
    #[default]
    Unknown,
}

/// How a backend is spoken to.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    #[serde(rename = "streamable-http")]
    StreamableHttp,
    #[serde(rename = "sse")]
    Sse,
    #[serde(rename = "unknown")]
    Unknown,
}

/// The status of a backend. What a client needs is only there while it may be used.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendStatus {
    pub state: State,
    pub health: Health,
    pub reason: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The credentials of a backend, by reference.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Name of the MCPExternalAuthConfig.
    pub config: String,
    #[serde(rename = "type")]
    pub auth_type: String,
    /// Changes with the configuration. No secret is in it.
    pub config_hash: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretKeyRef>,
}

/// Certificates that a backend's own is checked against.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct CaBundle {
    pub config_map: String,
    pub key: String,
    pub pem: String,
}

/// A header of each request: a value, or where it is.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}
