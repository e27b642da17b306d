//! One call of a plugin without a host, and recorded calls made again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use setpoint_core::contract::{Outcome, Request};
use setpoint_core::recording::{Question, RecordedCall, RecordedResult};
use setpoint_plugin::{HostOptions, Limits, LogLevel, Logs, Plugin, PluginHost, Reads, Replayed, recorded_result};

use crate::diff;
use crate::failure::Failure;
use crate::output::yaml_text;

/// A host of plugins that makes one call at a time.
pub(crate) fn plugin_host() -> Result<PluginHost, Failure> {
    PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() })
        .map_err(|error| Failure::new(error.to_string()))
}

/// What came of a call.
pub(crate) struct Called {
    pub(crate) result: RecordedResult,
    /// The outcome as the rules take it, if there is one.
    pub(crate) outcome: Option<Outcome>,
    /// It may answer differently next time (rule A7).
    pub(crate) impure: bool,
    /// What it logged, a line each.
    pub(crate) logs: Vec<String>,
}

/// Calls a plugin within the limits that it has in a host that configures nothing.
pub(crate) fn call(plugin: &Plugin, request: &Request, reads: Arc<dyn Reads>) -> Result<Called, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Failure::new(format!("the call cannot be made: {error}")))?;
    let usual = Limits::default();
    let tuning = &plugin.description().tuning;
    let limits = Limits {
        wall: tuning.timeout.map_or(usual.wall, Duration::from_millis),
        memory: tuning.memory_bytes.map_or(usual.memory, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        ..usual
    };
    let logs = Arc::new(Lines::default());
    let call = runtime.block_on(plugin.reconcile(request, reads, &limits, logs.clone()));
    Ok(Called { result: recorded_result(&call), outcome: call.result.ok(), impure: call.impure, logs: logs.take() })
}

/// A recorded call, made again.
pub(crate) struct Rerun {
    pub(crate) called: Called,
    /// What it asked and the recorded call did not: there is no answer to it.
    pub(crate) unrecorded: Vec<Question>,
}

impl Rerun {
    /// How the result differs from the recorded one, as a diff of YAML; none if it does not.
    pub(crate) fn difference(&self, recorded: &RecordedCall) -> Result<Option<String>, Failure> {
        if self.called.result == recorded.result {
            return Ok(None);
        }
        Ok(Some(diff::unified(&yaml_text(&recorded.result)?, &yaml_text(&self.called.result)?)))
    }
}

/// Makes a recorded call again, its reads answered as they were.
pub(crate) fn rerun(plugin: &Plugin, recorded: &RecordedCall) -> Result<Rerun, Failure> {
    let request = recorded
        .request
        .request()
        .ok_or_else(|| Failure::new(format!("{:?} is not the key of an object", recorded.request.key)))?;
    let reads = Arc::new(Replayed::new(&recorded.reads, None));
    let called = call(plugin, &request, reads.clone())?;
    Ok(Rerun { called, unrecorded: reads.unrecorded() })
}

/// Keeps what a plugin logs.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Logs for Lines {
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let level = match level {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{level} {message}{fields}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recorded(result: serde_json::Value) -> Result<RecordedCall, serde_json::Error> {
        serde_json::from_value(json!({
            "plugin": "pool", "digest": "d", "at": "2026-01-01T00:00:00Z",
            "request": {"key": "local/a.io/Pool/default/p", "object": {}, "attempt": 1},
            "reads": [], "result": result,
        }))
    }

    #[test]
    fn the_same_result_is_no_difference_and_another_is_shown() -> Result<(), Box<dyn std::error::Error>> {
        let was = recorded(json!({"failure": {"retry": "a"}}))?;
        let rerun = |call: &RecordedCall| Rerun {
            called: Called { result: call.result.clone(), outcome: None, impure: false, logs: Vec::new() },
            unrecorded: Vec::new(),
        };
        assert_eq!(rerun(&was).difference(&was)?, None);
        let now = recorded(json!({"failure": {"permanent": "a"}}))?;
        let difference = rerun(&now).difference(&was)?.unwrap_or_default();
        let has = |sign: char, text: &str| difference.lines().any(|l| l.starts_with(sign) && l.ends_with(text));
        assert!(has('-', "  retry: a") && has('+', "  permanent: a"), "{difference}");
        Ok(())
    }

    #[test]
    fn log_lines_are_kept_in_order_with_their_fields() {
        let lines = Lines::default();
        lines.log(LogLevel::Info, "sized", &[("size".into(), "3".into())]);
        lines.log(LogLevel::Warn, "late", &[]);
        assert_eq!(lines.take(), ["info sized size=3", "warn late"]);
        assert!(lines.take().is_empty());
    }
}
