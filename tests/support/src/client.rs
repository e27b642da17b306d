//! The HTTP API, as a client sees it.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// A request takes no longer than this.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is no longer than this many bytes.
const LONGEST: u64 = 64 << 20;

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// What an MCP endpoint answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct McpAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
    /// The session that it gave.
    pub session: Option<String>,
}

impl McpAnswer {
    /// The messages in it: one as JSON, or those of an event stream.
    pub fn messages(&self) -> Vec<Value> {
        match serde_json::from_str(&self.text) {
            Ok(message) => vec![message],
            Err(_) => {
                let data = self.text.lines().filter_map(|line| line.strip_prefix("data:"));
                data.filter_map(|text| serde_json::from_str(text.trim()).ok()).collect()
            }
        }
    }
}

/// A client of one host.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    server: String,
}

impl Client {
    /// Of the host at `http://ADDRESS`.
    pub fn new(server: impl Into<String>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // The host is on this machine, whatever the environment says of others.
            .proxy(None)
            .build();
        Self { agent: config.new_agent(), server: server.into() }
    }

    /// `http://ADDRESS`
    pub fn server(&self) -> &str {
        &self.server
    }

    /// # Errors
    /// Nobody answered.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        answer(self.agent.get(self.url(path)).call())
    }

    /// # Errors
    /// Nobody answered.
    pub fn post(&self, path: &str) -> Result<Answer, String> {
        answer(self.agent.post(self.url(path)).send_empty())
    }

    /// With a JSON body.
    ///
    /// # Errors
    /// Nobody answered.
    pub fn post_json(&self, path: &str, body: &Value) -> Result<Answer, String> {
        answer(self.agent.post(self.url(path)).content_type("application/json").send(body.to_string()))
    }

    /// A list where others are given a stream.
    ///
    /// # Errors
    /// Nobody answered.
    pub fn get_list(&self, path: &str) -> Result<Answer, String> {
        answer(self.agent.get(self.url(path)).header("accept", "application/json").call())
    }

    /// # Errors
    /// Nobody answered.
    pub fn delete(&self, path: &str) -> Result<Answer, String> {
        answer(self.agent.delete(self.url(path)).call())
    }

    /// One MCP message over streamable HTTP.
    ///
    /// # Errors
    /// Nothing was answered.
    pub fn post_mcp(&self, path: &str, session: Option<&str>, message: &Value) -> Result<McpAnswer, String> {
        let mut request = self
            .agent
            .post(self.url(path))
            .content_type("application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        let response = request.send(message.to_string()).map_err(|error| error.to_string())?;
        let header = response.headers().get("mcp-session-id");
        let session = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
        answer(Ok(response)).map(|Answer { status, text }| McpAnswer { status, text, session })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }
}

fn answer(response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = response.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(LONGEST).read_to_string().map_err(|error| error.to_string())?;
    Ok(Answer { status, text })
}

/// The JSON at a URL such as `http://127.0.0.1:8474/v1/overview`; none if nobody answers, or with
/// anything but success.
pub fn get_json(url: &str) -> Option<Value> {
    thread_local! {
        // Connections are kept: a measured loop of requests is not to measure connecting.
        static CLIENT: Client = Client::new("");
    }
    let answer = CLIENT.with(|client| client.get(url)).ok()?;
    if !(200..300).contains(&answer.status) {
        return None;
    }
    serde_json::from_str(&answer.text).ok()
}
