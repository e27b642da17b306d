//! `setpoint plugins`: what runs, what is refused and why, what is asked for and not granted.

use std::fmt::Write;

use setpoint_runtime::views::PluginRow;

use crate::args::{Output, PluginsArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::get::document;
use crate::output::{one_line, print};
use crate::table::Table;

/// Shows the plugins of the running host.
pub(crate) fn plugins(args: &PluginsArgs) -> Result<(), Failure> {
    let rows: Vec<PluginRow> = Client::find(&args.server)?.get("/v1/plugins")?;
    let output = args.output.output;
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&document(&rows, output)?);
    }
    if rows.is_empty() {
        anstream::eprintln!("No plugins found: put .wasm files into the plugins directory of the host.");
        return Ok(());
    }
    print(&text(&rows, output == Output::Wide))
}

fn text(rows: &[PluginRow], wide: bool) -> String {
    let mut header = vec!["NAME", "VERSION", "STATE", "KINDS", "OBJECTS", "CALLS", "TRAPS", "FILE"];
    if wide {
        header.extend(["DIGEST", "GRANTS"]);
    }
    let mut table = Table::new(&header);
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            or_none(row.version.clone().unwrap_or_default()),
            row.state.clone(),
            or_none(row.kinds.join(",")),
            row.objects.to_string(),
            row.calls.to_string(),
            row.traps.to_string(),
            row.file.clone(),
        ];
        if wide {
            let digest = row.digest.as_deref().unwrap_or_default();
            cells.push(or_none(digest.trim_start_matches("sha256:").chars().take(12).collect()));
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

#[cfg(test)]
mod tests {
    use super::*;

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
            text(&[lacking, refused], false),
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
    fn a_wide_table_has_digests_and_grants() {
        assert_eq!(
            text(&[row("a")], true),
            "NAME   VERSION   STATE     KINDS                                         OBJECTS   CALLS   TRAPS   FILE     DIGEST         GRANTS\n\
             a      0.1.0     Running   ConfigBundle.examples.setpoint.dev/v1alpha1   3         12      0       a.wasm   ba7816bf8f01   described@local\n"
        );
    }
}
