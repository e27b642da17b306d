//! `setpoint plan`: what reconciling would change, as differences of YAML. Nothing is written.
//!
//! | question | module |
//! |---|---|
//! | what would the running host change | here |
//! | what would a plugin file change that is not installed | [`file`] |
//! | which differences are between two states of the host | [`compare`] |

mod compare;
mod file;

use std::fmt::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use setpoint_runtime::views::{PlanChange, PlanRequest, PlanRow};

use crate::args::{Globals, Output, PlanArgs};
use crate::client::Client;
use crate::diff::{coloured, unified};
use crate::failure::Failure;
use crate::get::{document, of_kind_in};
use crate::kind::{resolve, split};
use crate::output::{one_line, print, print_coloured};
use crate::yaml::to_yaml;

/// Shows a plan. It ends with 0 whether or not something would change, with 1 if an object could not
/// be planned, and with 1 for `--exit-code` if something would change.
pub(crate) fn plan(args: &PlanArgs, globals: &Globals) -> Result<(), Failure> {
    let rows = if Path::new(&args.what).extension().is_some_and(|extension| extension == "wasm") {
        if let Some(name) = &args.name {
            return Err(Failure::usage(format!("a plan of a file is one of all objects, not of {name:?}"))
                .hint("leave the name out"));
        }
        file::rows(Path::new(&args.what), &args.file, &globals.server)?
    } else {
        let (word, name) = split(&args.what, args.name.as_deref())?;
        let client = Client::find(&globals.server)?;
        let kinds = client.kinds()?;
        let filter = of_kind_in(resolve(&kinds, word)?, name, &globals.place, args.all_namespaces);
        client.ask("/v1/plan", &PlanRequest { filter })?
    };
    match args.output.output {
        Output::Json | Output::Yaml => print(&document(&rows, args.output.output)?)?,
        Output::Table | Output::Wide => print_coloured(&text(&rows))?,
    }
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    match failed {
        0 if args.exit_code && rows.iter().flat_map(|row| &row.changes).any(writes) => Err(Failure::silent()),
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} of {} objects could not be planned", rows.len()))
            .hint("the reasons are above; `setpoint logs PLUGIN` may say more")),
    }
}

/// Whether it would write something.
fn writes(change: &PlanChange) -> bool {
    change.verb != "refused"
}

// Writing to a String cannot fail, here and below.
fn text(rows: &[PlanRow]) -> String {
    let bold = Style::new().bold();
    let mut text = String::new();
    for row in rows.iter().filter(|row| !row.changes.is_empty() || row.failure.is_some() || !row.notes.is_empty()) {
        let _ = writeln!(text, "{bold}{}{bold:#} (plugin {})", one_line(&row.key), one_line(&row.plugin));
        for change in &row.changes {
            change_text(&mut text, change);
        }
        if let Some(failure) = &row.failure {
            let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
            let _ = writeln!(text, "{red}failed:{red:#} {}", one_line(failure));
        }
        for note in &row.notes {
            let _ = writeln!(text, "note: {}", one_line(note));
        }
        text.push('\n');
    }
    text.push_str(&summary(rows));
    text
}

fn change_text(text: &mut String, change: &PlanChange) {
    let bold = Style::new().bold();
    let reason = change.reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
    let _ = writeln!(text, "{bold}{} {}{bold:#}{reason}", one_line(&change.verb), one_line(&change.key));
    text.push_str(&coloured(&unified(&yaml(&change.before), &yaml(&change.after))));
}

/// What is not there has no lines.
fn yaml(value: &Value) -> String {
    if value.is_null() { String::new() } else { to_yaml(value) }
}

fn summary(rows: &[PlanRow]) -> String {
    let count = |verb: &str| rows.iter().flat_map(|row| &row.changes).filter(|change| change.verb == verb).count();
    let mut text =
        format!("{} to create, {} to update, {} to delete", count("create"), count("update"), count("delete"));
    for (count, what) in [(count("status"), "of status"), (count("refused"), "refused")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text.push_str("; nothing was written\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(verb: &str, key: &str, before: Value, after: Value) -> PlanChange {
        PlanChange { verb: verb.into(), key: key.into(), before, after, reason: None }
    }

    fn row(changes: Vec<PlanChange>) -> PlanRow {
        PlanRow {
            key: "local/a.io/K/default/x".into(),
            plugin: "k".into(),
            failure: None,
            changes,
            notes: Vec::new(),
        }
    }

    fn plain(rows: &[PlanRow]) -> String {
        anstream::adapter::strip_str(&text(rows)).to_string()
    }

    #[test]
    fn a_plan_shows_each_change_as_a_difference_and_ends_with_their_number() {
        let map = |value: &str| json!({"kind": "ConfigMap", "data": {"a": "b", "k": value}});
        let refused = PlanChange {
            reason: Some("it belongs to somebody else".into()),
            ..change("refused", "local/core/ConfigMap/default/other", Value::Null, Value::Null)
        };
        let rows = [
            row(vec![
                change("create", "local/core/ConfigMap/default/new", Value::Null, map("1")),
                change("update", "local/core/ConfigMap/default/x", map("1"), map("2")),
                refused,
                change("status", "local/a.io/K/default/x", json!({"keys": 1}), json!({"keys": 2})),
            ]),
            row(Vec::new()),
        ];
        assert_eq!(
            plain(&rows),
            "local/a.io/K/default/x (plugin k)\n\
             create local/core/ConfigMap/default/new\n\
             @@ -0,0 +1,4 @@\n\
             + data:\n\
             +   a: b\n\
             +   k: \"1\"\n\
             + kind: ConfigMap\n\
             update local/core/ConfigMap/default/x\n\
             @@ -1,4 +1,4 @@\n\
             \x20 data:\n\
             \x20   a: b\n\
             -   k: \"1\"\n\
             +   k: \"2\"\n\
             \x20 kind: ConfigMap\n\
             refused local/core/ConfigMap/default/other: it belongs to somebody else\n\
             status local/a.io/K/default/x\n\
             @@ -1,1 +1,1 @@\n\
             - keys: 1\n\
             + keys: 2\n\
             \n\
             1 to create, 1 to update, 0 to delete, 1 of status, 1 refused; nothing was written\n"
        );
    }

    #[test]
    fn an_object_without_an_outcome_and_what_a_plan_cannot_show_are_said() {
        let failed = PlanRow { failure: Some("no such\nlabel".into()), ..row(Vec::new()) };
        let noted = PlanRow { notes: vec!["one step only".into()], ..row(Vec::new()) };
        assert_eq!(
            plain(&[failed, noted]),
            "local/a.io/K/default/x (plugin k)\nfailed: no such label\n\n\
             local/a.io/K/default/x (plugin k)\nnote: one step only\n\n\
             0 to create, 0 to update, 0 to delete; nothing was written\n"
        );
    }
}
