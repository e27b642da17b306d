//! The runs of an object, and why they were (design §8).

use setpoint_core::contract::Cause;
use setpoint_core::engine::{Because, RunRecord};
use setpoint_core::key::Key;

use crate::clock::Clock;
use crate::handle::Handle;
use crate::views::{CauseRow, RunRow, WriteRow};

impl Handle {
    /// The last runs of an object, oldest first, each cause with the chain behind it. Empty if nothing
    /// reconciles it.
    pub fn runs(&self, key: &Key) -> Vec<RunRow> {
        let clock = &self.inner.driver.clock;
        let runs = self.inner.driver.look(|engine| engine.why(key));
        let file = |key: &Key| self.inner.files.file_of(key);
        let because = |run: &RunRecord| run.because.iter().map(|because| cause(because, &file)).collect();
        runs.iter().map(|run| RunRow { because: because(run), ..row(clock, run) }).collect()
    }
}

/// A run with its causes, and not what is behind them.
pub(crate) fn row(clock: &Clock, run: &RunRecord) -> RunRow {
    RunRow {
        number: run.number,
        started: clock.wall_of(run.started),
        waited_ms: run.waited,
        took_ms: run.ended.saturating_sub(run.started),
        lane: run.lane.word().into(),
        causes: run.causes.iter().map(ToString::to_string).collect(),
        result: run.result.to_string(),
        writes: run.writes,
        call_ms: run.call,
        reads: run.reads,
        written: run
            .written
            .iter()
            .map(|(verb, key)| WriteRow { verb: (*verb).to_owned(), key: key.to_string() })
            .collect(),
        because: Vec::new(),
    }
}

fn cause(because: &Because, file: &dyn Fn(&Key) -> Option<String>) -> CauseRow {
    let change = because.change.as_ref();
    let by = change.and_then(|change| change.by.as_ref());
    let named = match &because.cause {
        Cause::Dependency(key) => Some(key),
        _ => None,
    };
    let changed = change.map(|change| &change.key).or(named);
    CauseRow {
        cause: because.cause.word().to_owned(),
        key: changed.map(ToString::to_string),
        by: by.map(|(key, _)| key.to_string()),
        file: changed.filter(|_| by.is_none()).and_then(|key| file(key)),
        run: by.map(|(_, number)| *number),
        because: because.because.iter().map(|because| cause(because, file)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use setpoint_core::engine::Change;

    use super::*;

    #[test]
    fn a_chain_of_causes_ends_at_the_change_that_began_it() {
        let key = |name: &str| Arc::new(Key::new("local", "", "ConfigMap", Some("default"), name));
        let began =
            Because { cause: Cause::Changed, change: Some(Change { key: key("a"), by: None }), because: Vec::new() };
        let row = cause(
            &Because {
                cause: Cause::Dependency(key("b")),
                change: Some(Change { key: key("b"), by: Some((key("a"), 7)) }),
                because: vec![began],
            },
            &|key: &Key| Some(format!("{}.yaml", key.name)),
        );
        assert_eq!((row.cause.as_str(), row.key.as_deref()), ("dependency", Some("local/core/ConfigMap/default/b")));
        assert_eq!((row.by.as_deref(), row.run), (Some("local/core/ConfigMap/default/a"), Some(7)));
        let first = &row.because[0];
        assert_eq!((row.file.as_deref(), first.file.as_deref()), (None, Some("a.yaml")));
        assert_eq!((first.cause.as_str(), first.by.as_deref(), first.because.len()), ("changed", None, 0));
        let manual = cause(&Because { cause: Cause::Manual, change: None, because: Vec::new() }, &|_: &Key| None);
        assert_eq!((manual.cause.as_str(), manual.key), ("manual", None));
    }
}
