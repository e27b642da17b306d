//! The spec of a `Process`, as its objects have it.

use serde::{Deserialize, Serialize};

use crate::native::SecretKeyRef;

/// What is wanted of a process. What is left out has the default of the kind's schema.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessSpec {
    /// The program; looked up in `PATH` if there is no `/` in it.
    pub command: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables beyond those that every process gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Where it runs. Default: where the host runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// What it reads from standard input.
    #[serde(default)]
    pub stdin: Stdin,
    /// What is done when it ends by itself.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// How long is waited between an end and the next start.
    #[serde(default)]
    pub backoff: Backoff,
    /// So many ends in a row, none of which ran [`Backoff::reset_after_seconds`], are a crash loop.
    #[serde(default = "five")]
    pub crash_loop_threshold: u32,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// How long it has to run to be ready, in seconds.
    #[serde(default)]
    pub min_ready_seconds: u32,
    /// What it may use at most.
    #[serde(default)]
    pub limits: Limits,
    /// Any change of it restarts the process once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
}

fn five() -> u32 {
    5
}

impl ProcessSpec {
    /// A spec with the defaults of everything but the command.
    pub fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            working_directory: None,
            stdin: Stdin::default(),
            restart_policy: RestartPolicy::default(),
            backoff: Backoff::default(),
            crash_loop_threshold: five(),
            stop: Stop::default(),
            min_ready_seconds: 0,
            limits: Limits::default(),
            restarted_at: None,
        }
    }

    /// Whether a process that was started for `self` is not the one that `other` wants. Names and
    /// places of variables do not count, their values do: they are compared by the digest of the
    /// [`Environment`](super::Environment).
    pub(super) fn starts_otherwise(&self, other: &Self) -> bool {
        (&self.command, &self.args, &self.working_directory, self.stdin, self.limits)
            != (&other.command, &other.args, &other.working_directory, other.stdin, other.limits)
    }
}

/// A variable of the environment, as in a Pod: a value, or where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource {
    /// A key of a Secret in the namespace of the object.
    pub secret_key_ref: SecretKeyRef,
}

/// What a process reads from standard input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Stdin {
    /// The end of the file, at once.
    #[default]
    Null,
    /// Nothing, without an end: a pipe on which nothing is ever written.
    Open,
    /// MCP. Standard output speaks MCP as well, and only standard error is kept as log.
    #[serde(rename = "MCP")]
    Mcp,
}

/// What is done when a process ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It is started again.
    #[default]
    Always,
    /// It is started again unless it ended with code 0.
    OnFailure,
    /// Nothing.
    Never,
}

/// How long is waited between an end and the next start. The step doubles with each end in a row;
/// the wait is drawn from [½, 1] of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backoff {
    /// The first step. Default 1.
    pub initial_seconds: u32,
    /// The longest step. Default 300.
    pub max_seconds: u32,
    /// A process that ran so long begins anew with the first step. Default 60.
    pub reset_after_seconds: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_seconds: 1, max_seconds: 300, reset_after_seconds: 60 }
    }
}

/// How a process is stopped: the signal to its whole group, then, when the grace has passed, SIGKILL
/// to all that is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stop {
    /// The signal. Default SIGTERM.
    pub signal: StopSignal,
    /// How long is waited before SIGKILL. Default 10.
    pub grace_seconds: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: StopSignal::default(), grace_seconds: 10 }
    }
}

/// A signal that asks a process to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum StopSignal {
    /// What `kill` sends.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// What Ctrl-C sends.
    #[serde(rename = "SIGINT")]
    Int,
    /// What Ctrl-\ sends.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// What a closed terminal sends.
    #[serde(rename = "SIGHUP")]
    Hup,
}

/// What a process may use at most, where the system can limit it. Each process of the group has the
/// limits for itself, but for the number of processes, which is of the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Bytes of address space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space_bytes: Option<u64>,
    /// Bytes of the largest file that it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
    /// Processes and threads of the host's user, as the system counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Seconds of processor time, after which the system ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_kind() {
        let spec: ProcessSpec = serde_json::from_value(json!({"command": "server"})).expect("a spec");
        assert_eq!(spec, ProcessSpec::new("server"));
        assert_eq!(spec.crash_loop_threshold, 5);
        assert_eq!((spec.stop.grace_seconds, spec.stop.signal), (10, StopSignal::Term));
        let Backoff { initial_seconds, max_seconds, reset_after_seconds } = spec.backoff;
        assert_eq!((initial_seconds, max_seconds, reset_after_seconds), (1, 300, 60));
    }

    #[test]
    fn a_spec_is_written_and_read_as_objects_have_it() {
        let object = json!({
            "command": "npx",
            "args": ["-y", "server"],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
            ],
            "workingDirectory": "data",
            "stdin": "MCP",
            "restartPolicy": "OnFailure",
            "backoff": {"initialSeconds": 2, "maxSeconds": 20, "resetAfterSeconds": 30},
            "crashLoopThreshold": 3,
            "stop": {"signal": "SIGINT", "graceSeconds": 4},
            "minReadySeconds": 1,
            "limits": {"openFiles": 100, "cpuSeconds": 5},
            "restartedAt": "2026-01-01T00:00:00Z",
        });
        let spec: ProcessSpec = serde_json::from_value(object.clone()).expect("a spec");
        assert_eq!(spec.stdin, Stdin::Mcp);
        assert_eq!(serde_json::to_value(&spec).expect("an object"), object);
    }
}
