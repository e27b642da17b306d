//! MCP servers: the tests' own, those of npm and PyPI, and a client of the host's MCP endpoint.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::built;
use crate::client::{Client, McpAnswer};
use crate::host::Host;

/// The tests' own server; see `setpoint-test-mcp-server` for its flags.
///
/// # Panics
/// With the command that builds it, if it is not there.
pub fn test_server() -> PathBuf {
    let path = built::binary().with_file_name("setpoint-test-mcp-server");
    assert!(path.is_file(), "{} is not there; build it: cargo xtask build", path.display());
    path
}

/// Where the servers of npm and PyPI are: `SETPOINT_TEST_MCP_SERVERS`, set by `cargo xtask test`. None where
/// they could not be installed; then it says that the test is skipped.
pub fn packaged() -> Option<PathBuf> {
    let dir = std::env::var_os("SETPOINT_TEST_MCP_SERVERS").map(PathBuf::from).filter(|dir| dir.is_dir());
    if dir.is_none() {
        println!("SKIPPED: the MCP servers of npm and PyPI are not installed: cargo xtask setup says what is missing");
    }
    dir
}

/// A client of `/v1/mcp/{namespace}/{name}` that has said hello.
#[derive(Debug)]
pub struct McpClient {
    client: Client,
    path: String,
    session: Option<String>,
    requests: u64,
    /// What the server said of itself.
    pub server: Value,
}

impl McpClient {
    /// Initializes a session.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn connect(host: &Host, name: &str) -> Result<Self, String> {
        let path = format!("/v1/mcp/default/{name}");
        let mut client = Self { client: host.client().clone(), path, session: None, requests: 0, server: Value::Null };
        let hello = json!({
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "setpoint-test", "version": "1"},
        });
        client.server = client.request("initialize", &hello)?;
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(client)
    }

    /// One request and its result.
    ///
    /// # Errors
    /// The error that was answered, or what went wrong.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.requests += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.requests, "method": method, "params": params});
        let answer = self.send(&request)?;
        let messages = answer.messages();
        let ours = messages.iter().find(|message| message["id"] == self.requests);
        let ours = ours.ok_or_else(|| format!("{} without an answer: {}", answer.status, answer.text))?;
        match ours.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(ours["error"].to_string()),
        }
    }

    /// Calls a tool: the text that it answers.
    ///
    /// # Errors
    /// As [`McpClient::request`], and what the tool calls an error.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> Result<String, String> {
        let result = self.request("tools/call", &json!({"name": tool, "arguments": arguments}))?;
        let text = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        if result["isError"] == true { Err(text) } else { Ok(text) }
    }

    /// The names of all tools.
    ///
    /// # Errors
    /// As [`McpClient::request`].
    pub fn tools(&mut self) -> Result<Vec<String>, String> {
        let result = self.request("tools/list", &json!({}))?;
        let tools = result["tools"].as_array().cloned().unwrap_or_default();
        Ok(tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect())
    }

    fn send(&mut self, message: &Value) -> Result<McpAnswer, String> {
        let answer = self.client.post_mcp(&self.path, self.session.as_deref(), message)?;
        if answer.status >= 400 {
            return Err(format!("{}: {}", answer.status, answer.text));
        }
        if answer.session.is_some() {
            self.session.clone_from(&answer.session);
        }
        Ok(answer)
    }
}
