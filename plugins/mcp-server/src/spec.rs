//! An MCP server, as far as this plugin acts on it.
//!
//! More lenient than the CRD where that costs nothing: objects may be older than it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::children::SecretKeyRef;

/// How the server is reached.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ServerType {
    /// A local process that speaks on stdin and stdout.
    Stdio,
    /// An endpoint that speaks streamable HTTP.
    StreamableHttp,
    /// An endpoint that speaks the older HTTP with server-sent events.
    Sse,
}

/// What the user asks for. `description` and `toolPrefix` are not here: nothing that runs depends on them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MCPServerSpec {
    #[serde(rename = "type")]
    pub server_type: ServerType,
    #[serde(default)]
    pub family: Option<Family>,
    #[serde(default)]
    pub auto_start: bool,
    #[serde(default)]
    pub suspended: bool,
    #[serde(default)]
    pub restart_requested_at: Option<String>,
    #[serde(default)]
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub env_from: Vec<FromSecret>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub headers_from: Vec<FromSecret>,
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    #[serde(default)]
    pub auth: Option<Auth>,
}

fn default_timeout() -> u32 {
    30
}

impl MCPServerSpec {
    /// Whether it is a local process.
    pub fn is_stdio(&self) -> bool {
        self.server_type == ServerType::Stdio
    }

    /// Whether it shall run. A request for a restart starts a server that does not start by itself.
    pub fn active(&self) -> bool {
        !self.suspended && (self.auto_start || self.restart_requested_at.is_some())
    }
}

/// Servers that do the same for different instances of something.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Family {
    pub name: String,
    pub instance_arg: String,
}

/// An environment variable or header whose value is in a Secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FromSecret {
    pub name: String,
    pub secret_key_ref: SecretKeyRef,
}

/// How clients authenticate. Only what can be wrong with it matters here.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
    #[serde(rename = "type")]
    pub auth_type: String,
    pub forward_token: bool,
    pub token_exchange: Option<TokenExchange>,
}

/// Exchange of a client's token for one of another issuer.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenExchange {
    pub enabled: bool,
    pub dex_token_endpoint: String,
    pub connector_id: String,
}
