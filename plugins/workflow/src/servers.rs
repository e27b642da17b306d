//! Which of a workflow's tools the MCP servers of its namespace offer.
//!
//! A workflow calls a tool by the name that muster gives it, `x_PREFIX_TOOL`. The prefix is that of the
//! server (`spec.toolPrefix`, else its name), or the name of its family if all members agree on the family's
//! argument. A tool whose own name begins with the prefix does not get it twice. Names without `x_`,
//! and the tool's own name alone, mean the same tool.

use std::collections::BTreeMap;

use serde::Deserialize;
use setpoint_sdk::prelude::*;
use setpoint_sdk::{ConditionStatus, Object, ReadError};

/// The condition that says it.
pub const CONDITION: &str = "ToolsAvailable";
/// Tools that a message names.
const NAMED: usize = 5;
/// What muster's own tools begin with, which no server offers.
const MUSTERS_OWN: [&str; 3] = ["core_", "workflow_", "action_"];

/// A server, as far as it matters here.
#[derive(Deserialize)]
pub struct MCPServer {
    #[serde(default)]
    spec: ServerSpec,
    #[serde(default)]
    status: ServerStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ServerSpec {
    tool_prefix: String,
    family: Option<Family>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Family {
    name: String,
    instance_arg: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServerStatus {
    state: String,
    tools: Vec<String>,
}

impl Resource for MCPServer {
    const GROUP: &'static str = "muster.giantswarm.io";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "MCPServer";
}

/// What is read of servers: nothing that changes while they only run.
pub fn reads() -> Read {
    Read::all::<MCPServer>().fields([".spec.toolPrefix", ".spec.family", ".status.state", ".status.tools"])
}

/// What is known about the tools of a workflow.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub status: ConditionStatus,
    pub reason: &'static str,
    pub message: String,
}

impl Verdict {
    fn new(status: impl Into<ConditionStatus>, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: status.into(), reason, message: message.into() }
    }
}

/// Looks the tools up. That servers are unknown is no failure: the workflow is validated all the same, and
/// looked at again once they are known.
pub fn verdict<R: Reconciler>(cx: &Context<R>, tools: &[String]) -> Verdict {
    let wanted: Vec<&str> = tools.iter().map(String::as_str).filter(|tool| of_a_server(tool)).collect();
    if wanted.is_empty() {
        return Verdict::new(true, "NoneNeeded", "The workflow uses no tool of a server");
    }
    match cx.list::<MCPServer>(Query::new()) {
        Ok(servers) => judge(&wanted, &servers),
        Err(ReadError::NotGranted(_)) => {
            let message = "The plugin workflow may not read MCPServer of muster.giantswarm.io";
            Verdict::new(ConditionStatus::Unknown, "NotGranted", message)
        }
        Err(_) => {
            let message = "The host knows no MCPServers at present; is the plugin mcp-server there?";
            Verdict::new(ConditionStatus::Unknown, "ServersUnknown", message)
        }
    }
}

/// Tools of muster itself, and names that are known only when the workflow runs, are nobody's.
fn of_a_server(tool: &str) -> bool {
    !tool.contains("{{") && !MUSTERS_OWN.iter().any(|own| tool.starts_with(own))
}

fn judge(wanted: &[&str], servers: &[Object<MCPServer>]) -> Verdict {
    let servers = Servers::of(servers);
    let (mut missing, mut hidden) = (Vec::new(), Vec::new());
    for tool in wanted {
        match servers.offer(tool) {
            Offer::Yes => {}
            Offer::No => missing.push(*tool),
            Offer::Hidden => hidden.push(*tool),
        }
    }
    if !missing.is_empty() {
        return Verdict::new(false, "ToolsMissing", format!("No running server offers {}", names(&missing)));
    }
    if !hidden.is_empty() {
        let message = format!("Whether there is {} is known to authenticated clients only", names(&hidden));
        return Verdict::new(ConditionStatus::Unknown, "AuthRequired", message);
    }
    Verdict::new(true, "ToolsFound", "Running servers offer all tools")
}

/// At most so many of these names; they are sorted.
fn names(tools: &[&str]) -> String {
    let shown = tools.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match tools.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

enum Offer {
    Yes,
    No,
    /// A server that asks for credentials may have it.
    Hidden,
}

/// The servers that answer, each with its prefix.
struct Servers<'a> {
    running: Vec<(&'a str, &'a [String])>,
    /// Prefixes of those that ask for credentials.
    hidden: Vec<&'a str>,
}

impl<'a> Servers<'a> {
    fn of(servers: &'a [Object<MCPServer>]) -> Self {
        // The argument of each family; none if its members differ.
        let mut families: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for Family { name, instance_arg } in servers.iter().filter_map(|server| server.spec.family.as_ref()) {
            let agreed = families.entry(name).or_insert(Some(instance_arg));
            if *agreed != Some(instance_arg) {
                *agreed = None;
            }
        }
        let prefix = |server: &'a Object<MCPServer>| -> &'a str {
            let agreed = |family: &&Family| families.get(family.name.as_str()).is_some_and(Option::is_some);
            match (server.spec.family.as_ref().filter(agreed), server.spec.tool_prefix.as_str()) {
                (Some(family), _) => &family.name,
                (None, "") => &server.metadata.name,
                (None, own) => own,
            }
        };
        let mut all = Self { running: Vec::new(), hidden: Vec::new() };
        for server in servers {
            match server.status.state.as_str() {
                "Running" | "Connected" => all.running.push((prefix(server), &server.status.tools)),
                "Auth Required" => all.hidden.push(prefix(server)),
                _ => {}
            }
        }
        all
    }

    fn offer(&self, tool: &str) -> Offer {
        let bare = tool.strip_prefix("x_");
        let offers = |(prefix, tools): &(&str, &[String])| {
            let own = |name: &str| tools.iter().any(|tool| tool == name);
            let prefixed = |name: &str| within(name, prefix).is_some_and(|rest| own(rest) || own(name));
            own(tool) || prefixed(tool) || bare.is_some_and(prefixed)
        };
        if self.running.iter().any(offers) {
            return Offer::Yes;
        }
        let may_have =
            |prefix: &&str| [Some(tool), bare].into_iter().flatten().any(|name| within(name, prefix).is_some());
        if self.hidden.iter().any(may_have) { Offer::Hidden } else { Offer::No }
    }
}

/// What follows `PREFIX_`.
fn within<'t>(name: &'t str, prefix: &str) -> Option<&'t str> {
    name.strip_prefix(prefix)?.strip_prefix('_')
}

#[cfg(test)]
mod tests;
