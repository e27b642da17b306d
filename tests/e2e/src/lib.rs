//! Resources that the end-to-end tests and the demonstration use.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod hub;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use setpoint_test_support::{Host, component};

/// `Kind.group` of the test double.
pub const HOSTILE: &str = "Hostile.examples.setpoint.dev";
/// `Kind.group` of the test double with a finalizer.
pub const HOSTILE_FINAL: &str = "HostileFinal.examples.setpoint.dev";
/// `Kind.group` of the teaching example.
pub const CONFIG_BUNDLE: &str = "ConfigBundle.examples.setpoint.dev";
/// `Kind.group` of workflows.
pub const WORKFLOW: &str = "Workflow.muster.giantswarm.io";
/// `Kind.group` of ConfigMaps.
pub const CONFIG_MAP: &str = "ConfigMap";

/// A `Hostile` that echoes a number.
pub fn echo(name: &str, value: u64) -> String {
    hostile("Hostile", name, &format!("behaviour: ok, value: {value}"))
}

/// A `Hostile` or `HostileFinal` with a spec, written as the inside of a flow mapping.
pub fn hostile(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: examples.setpoint.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n")
}

/// A ConfigMap with labels and data.
pub fn config_map(name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels: {{");
    let entries =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| format!("{k}: {v:?}")).collect::<Vec<_>>().join(", ");
    // Writing to a String cannot fail.
    let _ = write!(text, "{}}}\ndata: {{{}}}\n", entries(labels), entries(data));
    text
}

/// A ConfigBundle that merges the ConfigMaps with label `bundle: NAME`.
pub fn config_bundle(name: &str) -> String {
    format!(
        "apiVersion: examples.setpoint.dev/v1alpha1\nkind: ConfigBundle\nmetadata:\n  name: {name}\nspec:\n  selector:\n    matchLabels:\n      bundle: {name}\n"
    )
}

/// The label of what belongs to the ConfigBundle `shop`.
pub const SHOP: (&str, &str) = ("bundle", "shop");

/// Waits until the ConfigMap that the ConfigBundle `shop` makes has this data.
///
/// # Panics
/// It has not, in time.
pub fn merged(host: &Host, data: &Value) {
    host.wait_for(&format!("the merged data is {data}"), |host| {
        (host.object(CONFIG_MAP, "shop")?["data"] == *data).then_some(())
    });
}

/// A Workflow with so many steps.
pub fn workflow(name: &str, steps: usize) -> String {
    let mut text = format!(
        "apiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata:\n  name: {name}\nspec:\n  steps:\n"
    );
    for at in 0..steps {
        let _ = write!(text, "  - id: step-{at}\n    tool: x_tool_{at}\n");
    }
    text
}

/// Makes a directory anew, with nothing in it but these plugins in `plugins`: for commands that need no host.
///
/// # Panics
/// It cannot be written, or a plugin is not built.
pub fn with_plugins(dir: &Path, plugins: &[&str]) {
    let written = || -> std::io::Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir.join("plugins"))?;
        for plugin in plugins {
            fs::write(dir.join(format!("plugins/{plugin}.wasm")), component::bytes(plugin))?;
        }
        Ok(())
    };
    written().unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
}

/// A configuration file that says this.
pub fn configuration(text: &str) -> String {
    format!("apiVersion: config.setpoint.dev/v1alpha1\n{text}")
}

/// The status of a `Hostile` once its value is this.
pub fn shows(host: &Host, name: &str, value: u64) -> Option<Value> {
    let object = host.object(HOSTILE, name)?;
    (object["status"]["value"] == value).then(|| object["status"].clone())
}

/// A condition of a status; null if it is not there.
pub fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == name).unwrap_or(&Value::Null)
}

/// The events of an object of namespace `default`; for the kind see [`Host::path`].
pub fn events(host: &Host, kind: &str, name: &str) -> Vec<Value> {
    let view = host.json(&format!("/v1/objects/{}", Host::path(kind, name)));
    view["events"].as_array().cloned().unwrap_or_default()
}

/// Whether a text of JSON contains another; not if it is none.
pub fn says(value: &Value, text: &str) -> bool {
    value.as_str().is_some_and(|said| said.contains(text))
}

/// `Kind.group` of MCP servers.
pub const MCP_SERVER: &str = "MCPServer.muster.giantswarm.io";
/// `Kind.group` of processes.
pub const PROCESS: &str = "Process.host.setpoint.dev";
/// `Kind.group` of probes.
pub const PROBE: &str = "Probe.host.setpoint.dev";

/// An MCPServer with a spec, written as the inside of a flow mapping.
pub fn mcp_server(name: &str, spec: &str) -> String {
    format!("apiVersion: muster.giantswarm.io/v1alpha1\nkind: MCPServer\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n")
}

/// One of the tests' own server over stdio, with flags.
pub fn test_mcp_server(name: &str, flags: &[&str], more: &str) -> String {
    let flags: Vec<String> = flags.iter().map(|flag| format!(", {flag:?}")).collect();
    let command = setpoint_test_support::mcp::test_server();
    let spec =
        format!("type: stdio, autoStart: true, command: {command:?}, args: [\"--stdio\"{}]{more}", flags.concat());
    mcp_server(name, &spec)
}

/// The status of an MCPServer once it is in this state.
pub fn in_state(host: &Host, name: &str, state: &str) -> Option<Value> {
    let object = host.object(MCP_SERVER, name)?;
    (object["status"]["state"] == state).then(|| object["status"].clone())
}

/// The pid of the process of an MCPServer, while it runs.
pub fn pid_of(host: &Host, name: &str) -> Option<u32> {
    let process = host.object(PROCESS, name)?;
    process["status"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}
