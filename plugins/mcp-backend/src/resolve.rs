//! What a source says by itself: transport, health, address and metadata (§2.3).

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::source::{Source, SourceKind};
use crate::status::{Health, Transport};

/// Annotations that begin so say nothing about a server.
const NOT_OF_USERS: [&str; 5] =
    ["kubectl.kubernetes.io/", "kubernetes.io/", "deployment.kubernetes.io/", "k8s.io/", "setpoint.dev/"];

/// How it is spoken to: for a server on standard input and output it is the mode of the proxy before it, else its own
/// transport. One that ToolHive cannot read counts as streamable HTTP; one that no client speaks is unknown.
pub fn transport(kind: SourceKind, source: &Source) -> Transport {
    // What the definitions of the kinds say for one that is not given.
    let default = if kind == SourceKind::MCPServer { "stdio" } else { "streamable-http" };
    match source.spec.transport.as_deref().unwrap_or(default) {
        "stdio" | "STDIO" if kind == SourceKind::MCPServer => match source.spec.proxy_mode.as_str() {
            "" | "streamable-http" => Transport::StreamableHttp,
            "sse" => Transport::Sse,
            _ => Transport::Unknown,
        },
        "stdio" | "STDIO" | "inspector" | "INSPECTOR" => Transport::Unknown,
        "sse" | "SSE" => Transport::Sse,
        _ => Transport::StreamableHttp,
    }
}

/// How the phase of a source counts.
pub fn health(kind: SourceKind, phase: &str) -> Health {
    match (kind, phase) {
        (SourceKind::MCPServerEntry, "Valid") => Health::Healthy,
        (SourceKind::MCPServerEntry, "Failed") => Health::Unhealthy,
        (SourceKind::MCPServerEntry, _) => Health::Unknown,
        (_, "Ready") => Health::Healthy,
        (_, "Failed" | "Terminating" | "Stopped") => Health::Unhealthy,
        _ => Health::Unknown,
    }
}

/// Where it is. A server or proxy is where its operator says, and nowhere before: never at a guess. An entry is
/// where its spec says, once it was found valid.
pub fn url(kind: SourceKind, source: &Source) -> Result<String, Unresolved> {
    let name = format!("{} {}", kind.name(), source.metadata.name);
    let url = match kind {
        SourceKind::MCPServer | SourceKind::MCPRemoteProxy => &source.status.url,
        SourceKind::MCPServerEntry => match source.status.phase.as_str() {
            "Valid" => &source.spec.remote_url,
            "Failed" => {
                let reasons = source.status.conditions.iter().filter(|condition| condition.status == "False");
                let mut reasons: Vec<&str> = reasons.map(|condition| condition.reason.as_str()).collect();
                // The sum of the others.
                reasons.retain(|reason| *reason != "ConfigInvalid");
                reasons.sort_unstable();
                let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
                let message = format!("ToolHive found {name} invalid{why}");
                return Err(Unresolved::Closed(Problem::new("EntryFailed", message)));
            }
            _ => {
                let message = format!("ToolHive has not validated {name} yet");
                return Err(Unresolved::Pending(Problem::new("EntryPending", message)));
            }
        },
    };
    if url.is_empty() && kind != SourceKind::MCPServerEntry {
        return Err(Unresolved::Pending(Problem::new("NoUrl", format!("{name} has no status.url yet"))));
    }
    if !is_http(url) {
        return Err(Unresolved::Closed(Problem::new(
            "UrlInvalid",
            format!("The URL of {name} is no http or https URL"),
        )));
    }
    Ok(url.clone())
}

/// Why there is no address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unresolved {
    /// There will be one.
    Pending(Problem),
    /// Somebody has to act.
    Closed(Problem),
}

/// Whether a text is the URL of something that speaks HTTP.
pub fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    !host.is_empty() && !host.starts_with(':') && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// What there is to tell about it: the annotations of its users, and what the system knows, which goes before them.
pub fn metadata(kind: SourceKind, source: &Source) -> BTreeMap<String, String> {
    let users = source.metadata.annotations.iter();
    let users = users.filter(|(key, _)| !NOT_OF_USERS.iter().any(|prefix| key.starts_with(prefix)));
    let mut all: BTreeMap<String, String> = users.map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut set = |key: &str, value: &str| all.insert(key.to_owned(), value.to_owned());
    set("tool_type", "mcp");
    set(
        "workload_type",
        match kind {
            SourceKind::MCPServer => "mcp_server",
            SourceKind::MCPRemoteProxy => "remote_proxy",
            SourceKind::MCPServerEntry => "server_entry",
        },
    );
    set("workload_status", &source.status.phase);
    if let Some(namespace) = &source.metadata.namespace {
        set("namespace", namespace);
    }
    if kind != SourceKind::MCPServer {
        set("remote_url", &source.spec.remote_url);
    }
    all
}
