//! What this plugin says about a server.

use serde::{Deserialize, Serialize};

/// The states that muster has: those of a process, and those of an endpoint.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Running,
    Starting,
    Stopped,
    Connected,
    #[serde(rename = "Auth Required")]
    AuthRequired,
    Connecting,
    Disconnected,
    Failed,
}

impl State {
    /// Whether the server does what it is for.
    pub fn serves(self) -> bool {
        matches!(self, Self::Running | Self::Connected)
    }

    /// Whether the server answers, be it that it asks for credentials.
    pub fn answers(self) -> bool {
        self.serves() || self == Self::AuthRequired
    }

    /// Whether it is on its way.
    pub fn starts(self) -> bool {
        matches!(self, Self::Starting | Self::Connecting)
    }
}

/// The status. Every time in it is copied from a child, so that a call without news has the same
/// outcome at any time.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct MCPServerStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the server was last found well after it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connected: Option<String>,
    /// Only of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_count: Option<u64>,
    pub consecutive_failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_after: Option<String>,
    /// The `spec.restartRequestedAt` that was last complied with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_restarted_at: Option<String>,
    /// What the server offers; none while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_count: Option<usize>,
    /// Read only: the host writes it.
    #[serde(skip_serializing)]
    pub observed_generation: Option<i64>,
}
