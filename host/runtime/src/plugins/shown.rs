//! Plugins as objects: for each a `Plugin` in `local`. Calls and counts are in the API and the metrics.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Plugins;
use crate::board::{Board, Shown, ShownStatus};
use crate::views::PluginRow;

impl Plugins {
    /// Brings the objects up to what there is. What cannot be written is tried again with the next look.
    pub(crate) async fn show(&self, board: &Board) {
        // Of two files with one name the one that runs is meant; the other is refused because of it.
        let mut rows = self.quiet_rows();
        rows.sort_by_key(|row| row.digest.is_none());
        let mut all: BTreeMap<String, Shown> = BTreeMap::new();
        for row in rows {
            let name = name_of(&row.name);
            all.entry(name.clone()).or_insert_with(|| shown(name, &row));
        }
        board.show(all.into_values().collect(), |_| None).await;
    }
}

/// A name for an object: that of a plugin is one, that of a file need not be.
fn name_of(plugin: &str) -> String {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let lower = plugin.to_lowercase();
    let name: String = lower.chars().map(|c| if good(c) { c } else { '-' }).take(253).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "plugin" } else { name }.to_owned()
}

fn shown(name: String, row: &PluginRow) -> Shown {
    let mut more = Map::new();
    let mut tell = |name: &str, value: Value| {
        if !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty()) {
            more.insert(name.to_owned(), value);
        }
    };
    tell("version", json!(row.version));
    tell("digest", json!(row.digest));
    tell("previousDigest", json!(row.previous));
    tell("kinds", json!(row.kinds));
    tell("grants", json!(row.grants));
    tell("missingGrants", json!(row.missing_grants));
    let quarantine = row.quarantine.as_ref().map(|quarantine| format!("{}; {}", quarantine.reason, quarantine.advice));
    Shown {
        name,
        labels: BTreeMap::new(),
        spec: json!({"file": row.file}),
        status: ShownStatus {
            state: if quarantine.is_some() { "Quarantined" } else { &row.state }.to_owned(),
            ready: row.digest.is_some() && quarantine.is_none() && (row.problem.is_none() || row.rolled_back),
            message: quarantine.or_else(|| row.problem.clone()),
            more,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_name_that_an_object_may_have() {
        let names = ["config-bundle", "My_Plugin (2)", "...", "Ünï"].map(name_of);
        assert_eq!(names, ["config-bundle", "my-plugin--2", "plugin", "n"]);
    }

    #[test]
    fn a_plugin_that_is_not_called_is_not_ready_and_says_why() {
        let running = PluginRow {
            name: "a".into(),
            state: "Running".into(),
            file: "a.wasm".into(),
            digest: Some("sha256:1".into()),
            ..PluginRow::default()
        };
        let refused = PluginRow { state: "Refused".into(), problem: Some("no component".into()), ..running.clone() };
        let quarantine = crate::views::QuarantineRow {
            until: "2026-01-01T00:00:00Z".into(),
            times: 1,
            reason: "it traps".into(),
            advice: "replace it".into(),
        };
        let quarantined = PluginRow { quarantine: Some(quarantine), ..running.clone() };
        let said = [&running, &refused, &quarantined].map(|row| {
            let status = shown("a".into(), row).status;
            (status.ready, status.state, status.message.unwrap_or_default())
        });
        assert_eq!(said[0], (true, "Running".into(), String::new()));
        assert_eq!(said[1], (false, "Refused".into(), "no component".into()));
        assert_eq!(said[2], (false, "Quarantined".into(), "it traps; replace it".into()));
    }
}
