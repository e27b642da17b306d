//! `setpoint get --watch`: a table that goes on as objects change.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use setpoint_core::Key;
use setpoint_runtime::views::{Filter, KindRow, ObjectView, ReconcileRow, StreamItem};

use crate::args::Output;
use crate::client::{Client, segment, stopped};
use crate::failure::Failure;
use crate::get::{Asked, Style, document, row_table};
use crate::output::print;
use crate::table::Table;

/// Shows the objects of a kind, then each one again that changes. Ends with an error when the host
/// stops.
pub(crate) fn watch(client: &Client, asked: &Asked<'_>, kind: &KindRow) -> Result<(), Failure> {
    let filter = asked.filter(kind);
    // Before the first list, so that no change falls between them.
    let stream = client.stream::<StreamItem>("/v1/events", &Filter::default())?;
    let mut shown = Shown::new(kind, asked);
    shown.all(client, &filter)?;
    for item in stream {
        match item? {
            StreamItem::Row { key: None } => shown.all(client, &filter)?,
            StreamItem::Row { key: Some(text) } => {
                if let Some(key) = Key::parse(&text).filter(|key| selects(&filter, kind, key)) {
                    shown.one(client, &filter, &key)?;
                }
            }
            StreamItem::Event(_) => {}
        }
    }
    Err(stopped())
}

fn selects(filter: &Filter, kind: &KindRow, key: &Key) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    *key.group == *kind.group
        && *key.kind == *kind.kind
        && is(&filter.cluster, &key.cluster)
        && is(&filter.namespace, key.namespace.as_deref().unwrap_or_default())
        && is(&filter.name, &key.name)
}

/// What stands on the screen.
struct Shown<'a> {
    kind: &'a KindRow,
    output: Output,
    style: Style,
    /// The last row or document of each object, by its key: what looks the same is not shown again.
    last: HashMap<String, (String, Option<ReconcileRow>)>,
    header: bool,
    widths: Option<Table>,
}

impl<'a> Shown<'a> {
    fn new(kind: &'a KindRow, asked: &Asked<'_>) -> Self {
        Self { kind, output: asked.args.output.output, style: asked.style(kind), last: HashMap::new(), header: false, widths: None }
    }

    fn documents(&self) -> bool {
        matches!(self.output, Output::Json | Output::Yaml)
    }

    fn all(&mut self, client: &Client, filter: &Filter) -> Result<(), Failure> {
        let rows: Vec<ReconcileRow> = client.get_where("/v1/reconciles", filter)?;
        let keys: Vec<String> = rows.iter().map(key_text).collect();
        let gone: Vec<ReconcileRow> =
            self.last.iter().filter(|(key, _)| !keys.contains(key)).filter_map(|(_, (_, row))| row.clone()).collect();
        for row in gone {
            self.gone(&row)?;
        }
        if self.documents() {
            for row in &rows {
                self.document(client, row)?;
            }
            return Ok(());
        }
        self.rows(&rows)
    }

    fn one(&mut self, client: &Client, filter: &Filter, key: &Key) -> Result<(), Failure> {
        let filter = Filter {
            cluster: Some(key.cluster.to_string()),
            namespace: key.namespace.as_deref().map(str::to_owned),
            name: Some(key.name.to_string()),
            ..filter.clone()
        };
        let rows: Vec<ReconcileRow> = client.get_where("/v1/reconciles", &filter)?;
        match rows.first() {
            Some(row) if self.documents() => self.document(client, row),
            Some(_) => self.rows(&rows),
            None => match self.last.get(&key.to_string()).and_then(|(_, row)| row.clone()) {
                Some(row) => self.gone(&row),
                None => Ok(()),
            },
        }
    }

    fn gone(&mut self, row: &ReconcileRow) -> Result<(), Failure> {
        self.last.remove(&key_text(row));
        if self.documents() {
            return Ok(());
        }
        let last = ReconcileRow { state: "Deleted".into(), paused: false, damped: false, ..row.clone() };
        let text = self.lines(&[last]);
        print(&text)
    }

    fn rows(&mut self, rows: &[ReconcileRow]) -> Result<(), Failure> {
        let changed: Vec<ReconcileRow> = rows.iter().filter(|row| self.note(row)).cloned().collect();
        let text = self.lines(&changed);
        print(&text)
    }

    /// Remembers a row; whether it looks different from before.
    fn note(&mut self, row: &ReconcileRow) -> bool {
        // Times go on by themselves and are no news.
        let timeless = ReconcileRow { created: None, next_reconcile_time: None, ..row.clone() };
        let look = row_table(Some(self.kind), &[timeless], self.style, Timestamp::UNIX_EPOCH).body();
        let before = self.last.insert(key_text(row), (look.clone(), Some(row.clone())));
        before.is_none_or(|(before, _)| before != look)
    }

    /// Lines below those that stand there, the header first.
    fn lines(&mut self, rows: &[ReconcileRow]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let table = row_table(Some(self.kind), rows, self.style, Timestamp::now());
        let table = match self.widths.take() {
            Some(before) => before.widened(table),
            None => table,
        };
        let text = if self.header { table.body() } else { table.render() };
        self.header = true;
        self.widths = Some(table);
        text
    }

    fn document(&mut self, client: &Client, row: &ReconcileRow) -> Result<(), Failure> {
        let key = key_text(row);
        let path = key.split('/').map(segment).collect::<Vec<_>>().join("/");
        let view: ObjectView = match client.get(&format!("/v1/objects/{path}")) {
            Ok(view) => view,
            // It went between the list and this.
            Err(_) if self.last.contains_key(&key) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let text = self.text_of(&view.object)?;
        let before = self.last.insert(key, (text.clone(), Some(row.clone())));
        if before.is_some_and(|(before, _)| before == text) {
            return Ok(());
        }
        print(&text)
    }

    fn text_of(&self, object: &Value) -> Result<String, Failure> {
        let text = document(object, self.output)?;
        Ok(if self.output == Output::Yaml { format!("---\n{text}") } else { text })
    }
}

fn key_text(row: &ReconcileRow) -> String {
    Key::new(&row.cluster, &row.group, &row.kind, row.namespace.as_deref(), &row.name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, GetArgs, Globals};
    use crate::get::tests::{bundle, row};
    use clap::Parser;

    fn args(words: &[&str]) -> Result<(GetArgs, Globals), String> {
        match Cli::try_parse_from(["setpoint", "get"].iter().chain(words)) {
            Ok(Cli { command: Command::Get(args), globals, .. }) => Ok((args, globals)),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn only_what_looks_different_is_shown_again() -> Result<(), String> {
        let (kind, (args, globals)) = (bundle(), args(&["cb", "--watch"])?);
        let mut shown = Shown::new(&kind, &Asked { args: &args, place: &globals.place, name: None });
        assert!(shown.note(&row("a", "Pending")));
        assert!(!shown.note(&row("a", "Pending")));
        assert!(!shown.note(&ReconcileRow { next_reconcile_time: None, ..row("a", "Pending") }));
        assert!(shown.note(&row("a", "Synced")));
        let first = shown.lines(&[row("a-long-name", "Synced")]);
        assert!(first.starts_with("NAME          KEYS"), "{first}");
        let second = shown.lines(&[row("b", "Error")]);
        assert!(second.starts_with("b             2      Error    False   "), "{second}");
        Ok(())
    }

    #[test]
    fn changes_of_other_objects_are_left_out() -> Result<(), String> {
        let (kind, (args, globals)) = (bundle(), args(&["cb", "--watch", "-n", "a", "-l", "x=y"])?);
        let filter = Asked { args: &args, place: &globals.place, name: None }.filter(&kind);
        assert_eq!(filter.labels.as_deref(), Some("x=y"));
        let key = |group: &str, namespace: &str| Key::new("local", group, "ConfigBundle", Some(namespace), "x");
        assert!(selects(&filter, &kind, &key("examples.setpoint.dev", "a")));
        assert!(!selects(&filter, &kind, &key("examples.setpoint.dev", "b")));
        assert!(!selects(&filter, &kind, &key("other.dev", "a")));
        Ok(())
    }
}
