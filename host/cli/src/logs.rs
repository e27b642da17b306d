//! `setpoint logs`: what a plugin logged, or a process wrote, and with `--follow` what comes.

mod output;

pub(crate) use output::{at, is_process};

use std::fmt::Write;

use setpoint_core::Key;
use setpoint_runtime::views::{Filter, KindRow, LogRow};

use crate::args::{Globals, LogsArgs, Output};
use crate::client::{Client, segment, stopped};
use crate::failure::Failure;
use crate::get::document;
use crate::kind::resolve;
use crate::output::{one_line, print};

/// Shows lines, oldest first.
pub(crate) fn logs(args: &LogsArgs, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    if args.plugin.contains('/') {
        return output::of(&client, args, globals);
    }
    let kinds = match &args.kind {
        Some(_) => client.kinds()?,
        None => Vec::new(),
    };
    let kind = args.kind.as_deref().map(|word| resolve(&kinds, word)).transpose()?;
    let wanted = |row: &LogRow| selects(row, kind, args, globals);
    let path = format!("/v1/plugins/{}/logs", segment(&args.plugin));
    let output = args.output.output;
    if args.follow {
        // It begins with what is kept.
        for row in client.stream::<LogRow>(&path, &Filter::default())? {
            let row = row?;
            if wanted(&row) {
                print(&one(&row, output)?)?;
            }
        }
        return Err(stopped());
    }
    let mut rows: Vec<LogRow> = client.get(&path)?;
    rows.retain(wanted);
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&document(&rows, output)?);
    }
    if rows.is_empty() {
        anstream::eprintln!("The plugin {} has logged nothing that is still kept.", args.plugin);
        return Ok(());
    }
    print(&rows.iter().map(line).collect::<String>())
}

fn selects(row: &LogRow, kind: Option<&KindRow>, args: &LogsArgs, globals: &Globals) -> bool {
    let place = &globals.place;
    let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
    if kind.is_none() && args.name.is_none() && place.namespace.is_none() && place.cluster.is_none() {
        return true;
    }
    Key::parse(&row.key).is_some_and(|key| {
        kind.is_none_or(|kind| *kind.group == *key.group && *kind.kind == *key.kind)
            && is(args.name.as_deref(), &key.name)
            && is(place.namespace.as_deref(), key.namespace.as_deref().unwrap_or_default())
            && is(place.cluster.as_deref(), &key.cluster)
    })
}

fn one(row: &LogRow, output: Output) -> Result<String, Failure> {
    match output {
        Output::Table | Output::Wide => Ok(line(row)),
        Output::Json => document(row, output),
        Output::Yaml => Ok(format!("---\n{}", document(row, output)?)),
    }
}

fn line(row: &LogRow) -> String {
    let mut text = format!("{} {:<6} {}: {}", row.at, row.level.to_uppercase(), row.key, row.message);
    for (name, value) in &row.fields {
        // Writing to a String cannot fail.
        let _ = write!(text, " {name}={value}");
    }
    one_line(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use crate::get::tests::bundle;
    use clap::Parser;

    fn row(key: &str) -> LogRow {
        LogRow {
            at: "2026-01-01T00:00:00.000Z".into(),
            level: "warn".into(),
            key: key.into(),
            message: "two\nlines".into(),
            fields: vec![("keys".into(), "3".into())],
        }
    }

    fn parsed(words: &[&str]) -> Result<(LogsArgs, Globals), String> {
        match Cli::try_parse_from(["setpoint", "logs", "p"].iter().chain(words)) {
            Ok(Cli { command: Command::Logs(args), globals, .. }) => Ok((args, globals)),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_line_says_when_how_bad_for_what_and_what() {
        assert_eq!(
            line(&row("local/a.io/K/default/x")),
            "2026-01-01T00:00:00.000Z WARN   local/a.io/K/default/x: two lines keys=3\n"
        );
    }

    #[test]
    fn lines_are_chosen_by_kind_name_and_namespace() -> Result<(), String> {
        let (web, zone) = (row("local/examples.setpoint.dev/ConfigBundle/default/web"), row("local/a.io/Zone/-/z"));
        let chosen = |words: &[&str], kind: Option<&KindRow>| {
            let (args, globals) = parsed(words)?;
            Ok::<_, String>([&web, &zone].map(|row| selects(row, kind, &args, &globals)))
        };
        assert_eq!(chosen(&[], None)?, [true, true]);
        assert_eq!(chosen(&[], Some(&bundle()))?, [true, false]);
        assert_eq!(chosen(&["--name", "z"], None)?, [false, true]);
        assert_eq!(chosen(&["-n", "default"], None)?, [true, false]);
        assert_eq!(chosen(&["--name", "web", "-n", "other"], None)?, [false, false]);
        Ok(())
    }
}
