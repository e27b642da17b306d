//! How a connection is doing, for readiness, metrics and people (rule C6).

use setpoint_core::coverage::Scope;
use setpoint_core::engine::Checked;
use setpoint_core::key::{GroupVersionKind, Source};

/// One reflector.
#[derive(Clone, Debug)]
pub struct WatchHealth {
    /// The kind.
    pub kind: GroupVersionKind,
    /// What it shows of it.
    pub scope: Scope,
    /// Whether what was told is as good as complete.
    pub known: bool,
    /// The server does not serve the kind at present: it is waited for.
    pub missing: bool,
    /// Why not, or what is in the way at present.
    pub trouble: Option<String>,
    /// Milliseconds since the last event, bookmark or complete list.
    pub silent_for: u64,
    /// Whether that is too long for a host that is ready.
    pub stalled: bool,
    /// Complete lists after the first one.
    pub relists: u64,
}

/// What one reflector shows as the server has it now (rule A11).
#[derive(Clone, Debug)]
pub struct Check {
    /// The kind.
    pub source: Source,
    /// What the reflector shows of it.
    pub scope: Scope,
    /// The version of a complete list, and the objects in it; or why there is none: then what is known of the
    /// scope is not certain.
    pub result: Result<(String, Vec<Checked>), String>,
}

/// A connection to a cluster.
#[derive(Clone, Debug)]
pub struct Health {
    /// The address of the API server.
    pub server: String,
    /// The reflectors that are needed, by kind.
    pub watches: Vec<WatchHealth>,
    /// Requests made so far, watches included.
    pub requests: u64,
    /// Those that had no success.
    pub failures: u64,
    /// How often credentials were read anew.
    pub renewals: u64,
    /// Requests by method and status; status 0: there was no answer.
    pub answers: Vec<(String, u16, u64)>,
}

impl Health {
    /// Why the cluster is not ready, line by line; nothing if it is (rule C6).
    pub fn reasons(&self) -> Vec<String> {
        let reason = |watch: &WatchHealth| {
            let what = format!("{} ({})", watch.kind.group_kind(), watch.scope);
            match (&watch.trouble, watch.known, watch.stalled) {
                (Some(why), false, _) => Some(format!("{what}: {why}")),
                (None, false, _) => Some(format!("{what} is not synced yet")),
                (_, true, true) => {
                    Some(format!("{what}: the watch has made no progress for {} s", watch.silent_for / 1_000))
                }
                (_, true, false) => None,
            }
        };
        self.watches.iter().filter_map(reason).collect()
    }
}
