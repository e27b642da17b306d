//! The children: a `Process` for what runs here, a `Probe` for what answers in MCP.
//!
//! A specification is made of nothing but the fields that a running server depends on. So a change
//! of another field changes no child, and restarts nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use setpoint_sdk::prelude::*;
use setpoint_sdk::{Key, Metadata, Object};

use crate::spec::{FromSecret, MCPServerSpec, ServerType};

/// The group of the host's own kinds.
pub const HOST_GROUP: &str = "host.setpoint.dev";
/// Its version.
pub const HOST_VERSION: &str = "v1alpha1";
/// Objects of the host's kinds are here, wherever their owner is.
pub const HOST_CLUSTER: &str = "local";

/// One entry of a Secret, in the namespace of the object.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct SecretKeyRef {
    pub name: String,
    pub key: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom {
    pub secret_key_ref: SecretKeyRef,
}

/// A variable or a header. The host looks up what is in a Secret; the plugin never sees it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct NamedValue {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// A supervised local process: what is asked of it, and what is read of it.
#[derive(Deserialize)]
pub struct Process {
    pub spec: ProcessSpec,
    #[serde(default)]
    pub status: Option<ProcessStatus>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProcessSpec {
    pub command: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<NamedValue>,
    #[serde(default)]
    pub stdin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProcessState {
    #[default]
    Pending,
    Running,
    Stopping,
    Exited,
    Backoff,
    CrashLoop,
    Failed,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessStatus {
    pub state: ProcessState,
    pub reason: String,
    pub message: String,
    pub last_exit: Option<LastExit>,
    pub restarts: u64,
    pub consecutive_failures: u64,
    pub next_restart_at: Option<String>,
    pub observed_generation: Option<i64>,
}

/// How a process ended, as far as it matters here.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct LastExit {
    pub at: Option<String>,
}

/// The health of an endpoint: what is asked of it, and what is read of it.
#[derive(Deserialize)]
pub struct Probe {
    pub spec: ProbeSpec,
    #[serde(default)]
    pub status: Option<ProbeStatus>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProbeSpec {
    pub mcp: Target,
    #[serde(default)]
    pub timeout_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_at: Option<String>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
pub struct Target {
    pub transport: ServerType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedValue>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProbeState {
    Healthy,
    AuthRequired,
    Unhealthy,
    /// Nothing is known yet, or it is a state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeStatus {
    pub state: ProbeState,
    pub reason: String,
    pub message: String,
    pub http_status: Option<u16>,
    pub tools: Vec<String>,
    pub last_connected: Option<String>,
    pub consecutive_failures: u64,
    pub last_attempt: Option<String>,
    pub next_attempt: Option<String>,
    pub observed_generation: Option<i64>,
}

impl Resource for Process {
    const GROUP: &'static str = HOST_GROUP;
    const VERSION: &'static str = HOST_VERSION;
    const KIND: &'static str = "Process";
}

impl Resource for Probe {
    const GROUP: &'static str = HOST_GROUP;
    const VERSION: &'static str = HOST_VERSION;
    const KIND: &'static str = "Probe";
}

/// A child's `spec` with nothing beside it, to be written.
#[derive(Serialize)]
struct Wanted<'a, S> {
    spec: &'a S,
}

impl Resource for Wanted<'_, ProcessSpec> {
    const GROUP: &'static str = Process::GROUP;
    const VERSION: &'static str = Process::VERSION;
    const KIND: &'static str = Process::KIND;
}

impl Resource for Wanted<'_, ProbeSpec> {
    const GROUP: &'static str = Probe::GROUP;
    const VERSION: &'static str = Probe::VERSION;
    const KIND: &'static str = Probe::KIND;
}

/// What shall exist because of a server.
#[derive(PartialEq, Eq, Debug)]
pub struct Wants {
    pub name: String,
    /// Only of a local server.
    pub process: Option<ProcessSpec>,
    pub probe: ProbeSpec,
}

impl Wants {
    /// What a server needs that shall run. `restarted_at`: the last request for a restart.
    pub fn of(key: &Key, spec: &MCPServerSpec, restarted_at: Option<String>) -> Self {
        let name = child_name(key);
        let process = spec.is_stdio().then(|| ProcessSpec {
            command: spec.command.clone(),
            args: spec.args.clone(),
            env: named_values(&spec.env, &spec.env_from, |a, b| a == b),
            stdin: "MCP".into(),
            restarted_at: restarted_at.clone(),
        });
        let probe = ProbeSpec {
            mcp: Target {
                transport: spec.server_type,
                url: (!spec.is_stdio()).then(|| spec.url.clone()),
                process: spec.is_stdio().then(|| name.clone()),
                headers: match spec.is_stdio() {
                    true => Vec::new(),
                    false => named_values(&spec.headers, &spec.headers_from, str::eq_ignore_ascii_case),
                },
            },
            timeout_seconds: spec.timeout,
            // The probe of a process follows the process by itself.
            triggered_at: restarted_at.filter(|_| !spec.is_stdio()),
        };
        Self { name, process, probe }
    }

    /// As children of an outcome.
    pub fn children(&self) -> Vec<Child> {
        let process = self.process.iter().map(|spec| Child::of(&self.name, &Wanted { spec }));
        process.chain([Child::of(&self.name, &Wanted { spec: &self.probe })]).collect()
    }
}

/// The name of a server's children: its own. Children of all clusters are in one, so those of a
/// fleet's clusters are told apart by a hash.
pub fn child_name(key: &Key) -> String {
    match key.cluster.as_str() {
        HOST_CLUSTER | "hub" => key.name.clone(),
        _ => setpoint_sdk::stable_name(key, &key.name, [""; 0]),
    }
}

/// Plain values and those in Secrets, each by name; of one name the one in a Secret counts.
fn named_values(
    plain: &BTreeMap<String, String>,
    secret: &[FromSecret],
    same: impl Fn(&str, &str) -> bool,
) -> Vec<NamedValue> {
    let open = plain.iter().filter(|(name, _)| !secret.iter().any(|entry| same(&entry.name, name)));
    let open =
        open.map(|(name, value)| NamedValue { name: name.clone(), value: Some(value.clone()), value_from: None });
    let hidden = secret.iter().map(|FromSecret { name, secret_key_ref }| NamedValue {
        name: name.clone(),
        value: None,
        value_from: Some(ValueFrom { secret_key_ref: secret_key_ref.clone() }),
    });
    open.chain(hidden).collect()
}

/// What a child's status is worth.
pub enum Seen<S> {
    /// There is no such child, or nothing is known of it yet.
    Absent,
    /// It is about to become another: its status is of the past.
    Outdated(S),
    /// It is about what is wanted.
    Current(S),
}

impl<S> Seen<S> {
    /// The status, if it is about what is wanted.
    pub fn current(&self) -> Option<&S> {
        match self {
            Self::Current(status) => Some(status),
            _ => None,
        }
    }

    /// The status, however old.
    pub fn any(&self) -> Option<&S> {
        match self {
            Self::Absent => None,
            Self::Outdated(status) | Self::Current(status) => Some(status),
        }
    }
}

/// What is known of a process. Every change of what is asked of it restarts it.
///
/// `settled`: before this call the server was not on its way to another state. Then a generation that the
/// host has not looked at says nothing new; else it is that of the change that is being waited for.
pub fn seen_process(found: Option<Object<Process>>, wanted: &ProcessSpec, settled: bool) -> Seen<ProcessStatus> {
    let Some(Object { metadata, body }) = found else { return Seen::Absent };
    let Some(status) = body.status else { return Seen::Absent };
    let current = body.spec == *wanted && (settled || looked_at(&metadata, status.observed_generation));
    worth(status, current, &metadata)
}

/// What is known of an endpoint; `settled` as in [`seen_process`]. Only another target makes it another.
pub fn seen_probe(found: Option<Object<Probe>>, wanted: &ProbeSpec, settled: bool) -> Seen<ProbeStatus> {
    let Some(Object { metadata, body }) = found else { return Seen::Absent };
    let Some(status) = body.status else { return Seen::Absent };
    let same = body.spec.mcp == wanted.mcp && body.spec.triggered_at == wanted.triggered_at;
    let current = same && (settled || looked_at(&metadata, status.observed_generation));
    worth(status, current, &metadata)
}

fn looked_at(metadata: &Metadata, observed: Option<i64>) -> bool {
    observed.is_none_or(|seen| seen >= metadata.generation)
}

fn worth<S>(status: S, current: bool, metadata: &Metadata) -> Seen<S> {
    match current && metadata.deletion_timestamp.is_none() {
        true => Seen::Current(status),
        false => Seen::Outdated(status),
    }
}

/// By reference, as serde calls it.
fn is_false(value: &bool) -> bool {
    !value
}
