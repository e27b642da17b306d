//! `setpoint top`: what the plugins are busy with.

use std::fmt::Write;
use std::io::IsTerminal;
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use setpoint_runtime::views::{Overview, PluginRow};

use crate::age;
use crate::args::{Globals, Output, TopArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::get::document;
use crate::output::print;
use crate::table::Table;

/// Between the two looks that rates are made of.
const FIRST: Duration = Duration::from_secs(1);
/// Between screens.
const REFRESH: Duration = Duration::from_secs(2);
/// A plugin whose changes wake up more keys than this in the mean is named (rule A9).
const FAN_OUT: f64 = 1_000.0;
/// Moves to the top left corner and clears what is below.
const HOME: &str = "\u{1b}[H\u{1b}[J";

/// One look at the host.
struct Look {
    at: Instant,
    overview: Overview,
    plugins: Vec<PluginRow>,
}

/// A plugin between two looks.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Load {
    plugin: String,
    state: String,
    objects: usize,
    calls_per_second: f64,
    call_ms: Option<f64>,
    traps_per_second: f64,
    traps: u64,
    fan_out: Option<f64>,
    quarantined_until: Option<String>,
}

/// Shows the plugins by how much they are called.
pub(crate) fn top(args: &TopArgs, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    let mut before = look(&client)?;
    sleep(FIRST);
    loop {
        let now = look(&client)?;
        let loads = loads(&before.plugins, &now.plugins, now.at - before.at);
        let output = args.output.output;
        if matches!(output, Output::Json | Output::Yaml) {
            let separator = if args.watch && output == Output::Yaml { "---\n" } else { "" };
            print(&format!("{separator}{}", document(&loads, output)?))?;
        } else {
            let home = if args.watch && std::io::stdout().is_terminal() { HOME } else { "" };
            print(&format!("{home}{}", text(&now.overview, &loads, Timestamp::now())))?;
        }
        if !args.watch {
            return Ok(());
        }
        before = now;
        sleep(REFRESH);
    }
}

fn look(client: &Client) -> Result<Look, Failure> {
    Ok(Look { at: Instant::now(), overview: client.get("/v1/overview")?, plugins: client.get("/v1/plugins")? })
}

/// The busiest first.
fn loads(before: &[PluginRow], now: &[PluginRow], within: Duration) -> Vec<Load> {
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / within.as_secs_f64().max(0.001);
    let mut loads: Vec<Load> = now
        .iter()
        .map(|row| {
            let earlier = before.iter().find(|earlier| earlier.name == row.name && earlier.file == row.file);
            // What was not there before has done all of its calls since.
            let (calls, traps) = earlier.map_or((0, 0), |earlier| (earlier.calls, earlier.traps));
            Load {
                plugin: row.name.clone(),
                state: row.state.clone(),
                objects: row.objects,
                calls_per_second: rate(calls, row.calls),
                call_ms: row.call_ms,
                traps_per_second: rate(traps, row.traps),
                traps: row.traps,
                fan_out: row.fan_out,
                quarantined_until: row.quarantine.as_ref().map(|quarantine| quarantine.until.clone()),
            }
        })
        .collect();
    loads.sort_by(|a, b| b.calls_per_second.total_cmp(&a.calls_per_second).then_with(|| a.plugin.cmp(&b.plugin)));
    loads
}

fn text(overview: &Overview, loads: &[Load], now: Timestamp) -> String {
    let counts = &overview.status_summary;
    let ready = if overview.ready.ready { "ready" } else { "not ready" };
    let mut text = format!(
        "{ready}; {} in the queue; {} objects: {} pending, {} reconciling, {} synced, {} error, {} failed\n\n",
        overview.queue_length,
        counts.total,
        counts.pending,
        counts.reconciling,
        counts.synced,
        counts.error,
        counts.failed
    );
    let mut table = Table::new(&["PLUGIN", "STATE", "OBJECTS", "CALLS/S", "CALL", "TRAPS/S", "TRAPS", "FAN-OUT"]);
    for load in loads {
        let state = match &load.quarantined_until {
            Some(until) => format!("Quarantined for {}", age::until(Some(until), now)),
            None => load.state.clone(),
        };
        table.row(vec![
            load.plugin.clone(),
            state,
            load.objects.to_string(),
            format!("{:.1}", load.calls_per_second),
            load.call_ms.map(|ms| format!("{ms:.2}ms")).unwrap_or_default(),
            format!("{:.1}", load.traps_per_second),
            load.traps.to_string(),
            load.fan_out.map(|keys| format!("{keys:.1}")).unwrap_or_default(),
        ]);
    }
    text.push_str(&table.render());
    for load in loads {
        if let Some(keys) = load.fan_out.filter(|keys| *keys > FAN_OUT) {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "\n{}: one change wakes up {keys:.0} objects in the mean; reads by name, label or index wake up fewer",
                load.plugin
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::now;
    use setpoint_runtime::views::{QuarantineRow, Readiness, StatusSummary};

    fn row(name: &str, calls: u64, traps: u64) -> PluginRow {
        PluginRow {
            name: name.into(),
            state: "Running".into(),
            objects: 2,
            calls,
            traps,
            call_ms: Some(0.5),
            ..PluginRow::default()
        }
    }

    fn overview() -> Overview {
        Overview {
            running: true,
            mode: "files".into(),
            cluster: "local".into(),
            api_server: None,
            lease: None,
            shards: None,
            version: "0.1.0".into(),
            started: String::new(),
            queue_length: 7,
            enabled_resource_types: Vec::new(),
            disabled_resource_types: Vec::new(),
            status_summary: StatusSummary { total: 4, synced: 3, error: 1, ..StatusSummary::default() },
            ready: Readiness { ready: true, reasons: Vec::new() },
        }
    }

    #[test]
    fn rates_are_made_of_two_looks_and_the_busiest_stands_first() {
        let before = [row("calm", 10, 0), row("busy", 100, 1)];
        let now = [row("calm", 10, 0), row("busy", 150, 3), row("new", 4, 0)];
        let loads = loads(&before, &now, Duration::from_secs(2));
        let rates: Vec<(&str, f64, f64)> =
            loads.iter().map(|load| (load.plugin.as_str(), load.calls_per_second, load.traps_per_second)).collect();
        assert_eq!(rates, [("busy", 25.0, 1.0), ("new", 2.0, 0.0), ("calm", 0.0, 0.0)]);
    }

    #[test]
    fn a_screen_says_how_busy_each_plugin_is_and_names_wide_fan_out() {
        let quarantine = QuarantineRow {
            until: "2026-01-01T00:10:20Z".into(),
            times: 1,
            reason: String::new(),
            advice: String::new(),
        };
        let wide = PluginRow { fan_out: Some(1_500.0), ..row("wide", 20, 0) };
        let bad = PluginRow { quarantine: Some(quarantine), call_ms: None, ..row("bad", 5, 5) };
        let loads = loads(&[row("wide", 0, 0), row("bad", 5, 5)], &[wide, bad], Duration::from_secs(1));
        assert_eq!(
            text(&overview(), &loads, now()),
            "ready; 7 in the queue; 4 objects: 0 pending, 0 reconciling, 3 synced, 1 error, 0 failed\n\
             \n\
             PLUGIN   STATE                 OBJECTS   CALLS/S   CALL     TRAPS/S   TRAPS   FAN-OUT\n\
             wide     Running               2         20.0      0.50ms   0.0       0       1500.0\n\
             bad      Quarantined for 20s   2         0.0                0.0       5\n\
             \n\
             wide: one change wakes up 1500 objects in the mean; reads by name, label or index wake up fewer\n"
        );
    }
}
