//! Reconciles `BackendRegistry` and `Backend` of `vmcp.setpoint.dev/v1alpha1`: the MCP servers of one ToolHive group,
//! as something that clients can be sent to.
//!
//! A registry looks at which MCPServers, MCPRemoteProxies and MCPServerEntries are in its group, and returns one
//! `Backend` for each. A backend looks at its source and says in its status where it is and how it is spoken to. So a
//! change of one server is a call for one backend, and one that cannot be read leaves the others alone.
//!
//! ToolHive's own operator keeps owning what is read here; nothing of it is written.

mod auth;
mod backend;
mod drain;
mod extras;
mod problem;
mod registry;
mod resolve;
mod source;
mod status;

use backend::Backend;
use registry::BackendRegistry;

/// The group of the plugin's own kinds.
const GROUP: &str = "vmcp.setpoint.dev";
/// Their version.
const VERSION: &str = "v1alpha1";
/// The plugin.
const NAME: &str = "mcp-backend";

setpoint_sdk::export!(BackendRegistry, Backend);

#[cfg(test)]
mod tests;
