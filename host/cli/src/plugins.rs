//! `setpoint plugins`: what runs, what is refused and why, what is asked for and not granted.

use std::fmt::Write;

use jiff::Timestamp;
use setpoint_runtime::views::{PluginRow, ShadowRow};

use crate::age;
use crate::args::{Globals, Output, PluginsArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::get::document;
use crate::output::{one_line, print};
use crate::table::Table;

/// Shows the plugins of the running host.
pub(crate) fn plugins(args: &PluginsArgs, globals: &Globals) -> Result<(), Failure> {
    show(&Client::find(&globals.server)?, args.output.output)
}

/// Shows the plugins of a host.
pub(crate) fn show(client: &Client, output: Output) -> Result<(), Failure> {
    let rows: Vec<PluginRow> = client.get("/v1/plugins")?;
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&document(&rows, output)?);
    }
    if rows.is_empty() {
        anstream::eprintln!("No plugins found: put .wasm files into the plugins directory of the host.");
        return Ok(());
    }
    print(&text(&rows, output == Output::Wide, Timestamp::now()))
}

/// The state, with what holds it back.
fn state(row: &PluginRow) -> String {
    let mut state = row.state.clone();
    for (holds, word) in [(row.quarantine.is_some(), ",Quarantined"), (row.rolled_back, ",RolledBack")] {
        if holds {
            state.push_str(word);
        }
    }
    state
}

fn digest(digest: Option<&str>) -> String {
    digest.unwrap_or_default().trim_start_matches("sha256:").chars().take(12).collect()
}

fn text(rows: &[PluginRow], wide: bool, now: Timestamp) -> String {
    let mut header = vec!["NAME", "VERSION", "STATE", "KINDS", "OBJECTS", "CALLS", "TRAPS", "FILE"];
    if wide {
        header.extend(["DIGEST", "PREVIOUS", "CALL", "FAN-OUT", "GRANTS"]);
    }
    let mut table = Table::new(&header);
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            or_none(row.version.clone().unwrap_or_default()),
            state(row),
            or_none(row.kinds.join(",")),
            row.objects.to_string(),
            row.calls.to_string(),
            row.traps.to_string(),
            row.file.clone(),
        ];
        if wide {
            cells.push(or_none(digest(row.digest.as_deref())));
            cells.push(or_none(digest(row.previous.as_deref())));
            cells.push(or_none(row.call_ms.map(|ms| format!("{ms:.2}ms")).unwrap_or_default()));
            cells.push(or_none(row.fan_out.map(|keys| format!("{keys:.1}")).unwrap_or_default()));
            cells.push(or_none(row.grants.join(",")));
        }
        table.row(cells);
    }
    let mut text = table.render();
    let problems: Vec<&PluginRow> = rows.iter().filter(|row| row.problem.is_some()).collect();
    if !problems.is_empty() {
        text.push_str("\nPROBLEMS\n");
        for row in problems {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}: {}", row.file, one_line(row.problem.as_deref().unwrap_or_default()));
        }
    }
    remarks(&mut text, rows, now);
    let missing: Vec<String> = rows
        .iter()
        .flat_map(|row| row.missing_grants.iter().map(|grant| format!("--grant {}={grant}\n", row.name)))
        .collect();
    if !missing.is_empty() {
        text.push_str("\nASKED FOR AND NOT GRANTED; to grant it, start the host with\n");
        text.push_str(&missing.concat());
    }
    text
}

/// What is unusual about plugins that run: quarantine (rule C8), rollback, and what the trial in the
/// shadow showed (rule D11).
fn remarks(text: &mut String, rows: &[PluginRow], now: Timestamp) {
    let mut lines = Vec::new();
    for row in rows {
        if let Some(quarantine) = &row.quarantine {
            lines.push(format!(
                "{}: not called for {} (quarantine {} in a row): {}; {}",
                row.name,
                age::until(Some(&quarantine.until), now),
                quarantine.times,
                quarantine.reason,
                quarantine.advice
            ));
        }
        if row.rolled_back {
            lines.push(format!(
                "{}: rolled back; {} is not used until it changes, or `setpoint plugin rollback {}` goes forward again",
                row.name, row.file, row.name
            ));
        }
        if let Some(shadow) = row.shadow.as_ref().filter(|shadow| differs(shadow)) {
            lines.push(format!("{}: {}", row.name, trial(shadow)));
        }
    }
    if !lines.is_empty() {
        text.push_str("\nREMARKS\n");
        for line in lines {
            let _ = writeln!(text, "{}", one_line(&line));
        }
    }
}

fn differs(shadow: &ShadowRow) -> bool {
    shadow.traps > 0 || shadow.deletions > 0 || !shadow.differences.is_empty()
}

/// What the trial of a component before it took over showed.
fn trial(shadow: &ShadowRow) -> String {
    let mut line = format!("before it took over it answered {} recent requests", shadow.calls);
    if shadow.traps > 0 {
        let _ = write!(line, "; trapped in {}", shadow.traps);
    }
    if !shadow.differences.is_empty() {
        let _ = write!(line, "; answered differently for {}", shadow.differences.join(", "));
    }
    if shadow.deletions > 0 {
        let _ = write!(line, "; no longer returned {} children", shadow.deletions);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::now;
    use setpoint_runtime::views::QuarantineRow;

    fn row(name: &str) -> PluginRow {
        PluginRow {
            name: name.into(),
            version: Some("0.1.0".into()),
            state: "Running".into(),
            problem: None,
            file: format!("{name}.wasm"),
            digest: Some("ba7816bf8f01cfea414140de".into()),
            kinds: vec!["ConfigBundle.examples.setpoint.dev/v1alpha1".into()],
            grants: vec!["described@local".into()],
            missing_grants: Vec::new(),
            objects: 3,
            calls: 12,
            traps: 0,
            ..PluginRow::default()
        }
    }

    #[test]
    fn plugins_are_shown_with_what_they_lack_and_why_they_are_refused() {
        let lacking =
            PluginRow { missing_grants: vec!["process".into(), "http:api.example".into()], ..row("mcp-server") };
        let refused = PluginRow {
            version: None,
            state: "Refused".into(),
            problem: Some("this is a core WebAssembly module".into()),
            digest: None,
            kinds: Vec::new(),
            grants: Vec::new(),
            objects: 0,
            calls: 0,
            ..row("old")
        };
        assert_eq!(
            text(&[lacking, refused], false, now()),
            "NAME         VERSION   STATE     KINDS                                         OBJECTS   CALLS   TRAPS   FILE\n\
             mcp-server   0.1.0     Running   ConfigBundle.examples.setpoint.dev/v1alpha1   3         12      0       mcp-server.wasm\n\
             old          <none>    Refused   <none>                                        0         0       0       old.wasm\n\
             \n\
             PROBLEMS\n\
             old.wasm: this is a core WebAssembly module\n\
             \n\
             ASKED FOR AND NOT GRANTED; to grant it, start the host with\n\
             --grant mcp-server=process\n\
             --grant mcp-server=http:api.example\n"
        );
    }

    #[test]
    fn a_wide_table_has_digests_times_and_grants() {
        let row = PluginRow { call_ms: Some(0.1234), previous: Some("sha256:0123456789abcdef".into()), ..row("a") };
        assert_eq!(
            text(&[row], true, now()),
            "NAME   VERSION   STATE     KINDS                                         OBJECTS   CALLS   TRAPS   FILE     DIGEST         PREVIOUS       CALL     FAN-OUT   GRANTS\n\
             a      0.1.0     Running   ConfigBundle.examples.setpoint.dev/v1alpha1   3         12      0       a.wasm   ba7816bf8f01   0123456789ab   0.12ms   <none>    described@local\n"
        );
    }

    #[test]
    fn quarantine_rollback_and_the_trial_before_a_swap_are_remarked() {
        let quarantine = QuarantineRow {
            until: "2026-01-01T00:10:20Z".into(),
            times: 2,
            reason: "it trapped: unreachable".into(),
            advice: "run `setpoint plugin rollback a`".into(),
        };
        let quarantined = PluginRow { quarantine: Some(quarantine), ..row("a") };
        let shadow =
            ShadowRow { calls: 32, traps: 1, differences: vec!["local/a.io/K/default/x".into()], deletions: 3 };
        let back = PluginRow { rolled_back: true, shadow: Some(shadow), ..row("b") };
        let same = PluginRow { shadow: Some(ShadowRow { calls: 32, ..ShadowRow::default() }), ..row("c") };
        let text = text(&[quarantined, back, same], false, now());
        assert!(text.contains(" Running,Quarantined ") && text.contains(" Running,RolledBack "), "{text}");
        let remarks = text.split_once("\nREMARKS\n").map(|(_, remarks)| remarks);
        assert_eq!(
            remarks,
            Some(
                "a: not called for 20s (quarantine 2 in a row): it trapped: unreachable; run `setpoint plugin rollback a`\n\
                 b: rolled back; b.wasm is not used until it changes, or `setpoint plugin rollback b` goes forward again\n\
                 b: before it took over it answered 32 recent requests; trapped in 1; answered differently for local/a.io/K/default/x; no longer returned 3 children\n"
            )
        );
    }
}
