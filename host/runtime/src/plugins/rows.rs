//! The plugins directory as people see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use setpoint_core::engine::Quarantined;
use setpoint_core::key::GroupKind;

use super::{Plugins, Slot};
use crate::metrics::Calls;
use crate::versions::Version;
use crate::views::{PluginRow, QuarantineRow};

/// What the rows are joined of.
#[derive(Default)]
struct Known {
    calls: BTreeMap<String, Calls>,
    quarantined: Vec<Quarantined>,
    /// Changes that woke keys up, and those keys.
    fan_out: BTreeMap<String, (u64, u64)>,
    /// Objects of each kind.
    objects: BTreeMap<GroupKind, usize>,
}

impl Plugins {
    /// What is there, for people.
    pub fn rows(&self) -> Vec<PluginRow> {
        let calls = self.driver.metrics.calls();
        let (quarantined, fan_out, objects) = self.driver.look(|engine| {
            let mut objects: BTreeMap<GroupKind, usize> = BTreeMap::new();
            for (source, _, count) in engine.cache().sources() {
                *objects.entry(source.kind.clone()).or_default() += count;
            }
            (engine.quarantined(), engine.fan_out(), objects)
        });
        let fan_out = fan_out.into_iter().map(|(plugin, events, keys)| (plugin.to_string(), (events, keys))).collect();
        self.rows_by(&Known { calls, quarantined, fan_out, objects })
    }

    /// The same without what moves all the time.
    pub(super) fn quiet_rows(&self) -> Vec<PluginRow> {
        self.rows_by(&Known { quarantined: self.driver.look(|engine| engine.quarantined()), ..Known::default() })
    }

    fn rows_by(&self, known: &Known) -> Vec<PluginRow> {
        self.lock().iter().map(|(file, slot)| self.row(file, slot, known)).collect()
    }

    fn row(&self, file: &str, slot: &Slot, known: &Known) -> PluginRow {
        let description = slot.running.as_ref().map(|running| running.code.description());
        let name = description.map_or_else(|| stem(file), |description| description.name.to_string());
        let digest = slot.running.as_ref().map(|running| running.code.digest().to_string());
        let state = match (&slot.running, &slot.problem) {
            (_, Some(_)) if slot.growing => "Loading",
            (_, Some(_)) => "Refused",
            (Some(_), None) => "Running",
            (None, None) => "Loading",
        };
        let kinds: BTreeSet<GroupKind> =
            description.into_iter().flat_map(|d| &d.kinds).map(|owned| owned.kind.group_kind()).collect();
        let objects = kinds.iter().filter_map(|kind| known.objects.get(kind)).sum();
        let version = self.versions.of(&name).filter(|version| digest.as_ref() == Some(&version.running));
        let rolled_back = version.as_ref().is_some_and(|version| version.avoided.is_some());
        let quarantine = known.quarantined.iter().find(|entry| Some(&*entry.digest) == digest.as_deref());
        let calls = known.calls.get(&name).copied().unwrap_or_default();
        PluginRow {
            version: description.map(|description| description.version.clone()),
            state: state.into(),
            problem: slot
                .problem
                .clone()
                .or_else(|| rolled_back.then(|| format!("rolled back; replace {file} to leave it"))),
            file: file.to_owned(),
            kinds: description
                .map(|d| d.kinds.iter().map(|k| format!("{}.{}", k.kind.kind, k.kind.api_version())).collect())
                .unwrap_or_default(),
            grants: slot.running.as_ref().map(|running| running.grants.clone()).unwrap_or_default(),
            missing_grants: slot.running.as_ref().map(|running| running.missing.clone()).unwrap_or_default(),
            objects,
            calls: calls.calls,
            traps: calls.traps,
            call_ms: calls.mean_ms,
            fan_out: known
                .fan_out
                .get(&name)
                .filter(|(events, _)| *events > 0)
                .map(|(events, keys)| *keys as f64 / *events as f64),
            quarantine: quarantine.map(|entry| QuarantineRow {
                until: self.driver.clock.wall_of(entry.until),
                times: entry.times,
                reason: entry.reason.to_string(),
                advice: advice(&name, file, entry.after_swap, version.as_ref()),
            }),
            previous: version.and_then(|version| version.previous),
            rolled_back,
            shadow: slot.shadow.clone(),
            digest,
            name,
        }
    }
}

/// What a person may do about a plugin that keeps trapping (rule D11).
fn advice(name: &str, file: &str, after_swap: bool, version: Option<&Version>) -> String {
    if after_swap && version.is_some_and(|version| version.previous.is_some()) {
        format!("run `setpoint plugin rollback {name}`")
    } else {
        format!("replace {file} by a mended one")
    }
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_soon_after_a_swap_suggests_to_go_back_where_that_is_possible() {
        let swapped = Version { running: "2".into(), previous: Some("1".into()), avoided: None };
        let rollback = "run `setpoint plugin rollback redis`";
        let replace = "replace redis.wasm by a mended one";
        assert_eq!(advice("redis", "redis.wasm", true, Some(&swapped)), rollback);
        assert_eq!(advice("redis", "redis.wasm", false, Some(&swapped)), replace);
        let first = Version { previous: None, ..swapped };
        assert_eq!(advice("redis", "redis.wasm", true, Some(&first)), replace);
    }
}
