//! `setpoint events`: what happened, and with `--follow` what happens.

use jiff::Timestamp;
use setpoint_core::Key;
use setpoint_runtime::views::{EventRow, Filter, StreamItem};

use crate::age;
use crate::args::{EventsArgs, Globals, Output};
use crate::client::{Client, stopped};
use crate::failure::Failure;
use crate::get::document;
use crate::output::print;
use crate::table::Table;

/// Shows events, oldest first.
pub(crate) fn events(args: &EventsArgs, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    // Before the list, so that no event falls between them.
    let stream = if args.follow { Some(client.stream::<StreamItem>("/v1/events", &Filter::default())?) } else { None };
    let mut screen = Screen { output: args.output.output, widths: None };
    let place = globals.place.clone();
    let filter = Filter { cluster: place.cluster, namespace: place.namespace, ..Filter::default() };
    let mut rows: Vec<EventRow> = client.get_where("/v1/events", &filter)?;
    rows.sort_by(|a, b| a.last.cmp(&b.last));
    let Some(stream) = stream else {
        return match screen.output {
            Output::Json | Output::Yaml => print(&document(&rows, screen.output)?),
            Output::Table | Output::Wide if rows.is_empty() => {
                anstream::eprintln!("No events found");
                Ok(())
            }
            Output::Table | Output::Wide => screen.show(&rows),
        };
    };
    screen.show(&rows)?;
    for item in stream {
        match item? {
            StreamItem::Event(row) if selects(&filter, &row) => screen.show(&[row])?,
            StreamItem::Event(_) | StreamItem::Row { key: Some(_) } => {}
            StreamItem::Row { key: None } => anstream::eprintln!("some events were missed: too many at a time"),
        }
    }
    Err(stopped())
}

fn selects(filter: &Filter, row: &EventRow) -> bool {
    let key = Key::parse(&row.regarding);
    let (cluster, namespace) = match &key {
        Some(key) => (Some(&*key.cluster), key.namespace.as_deref()),
        None => (None, None),
    };
    (filter.cluster.is_none() || cluster == filter.cluster.as_deref())
        && (filter.namespace.is_none() || namespace == filter.namespace.as_deref())
}

/// What is shown piece by piece.
struct Screen {
    output: Output,
    widths: Option<Table>,
}

impl Screen {
    fn show(&mut self, rows: &[EventRow]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        if matches!(self.output, Output::Json | Output::Yaml) {
            let separator = if self.output == Output::Yaml { "---\n" } else { "" };
            for row in rows {
                print(&format!("{separator}{}", document(row, self.output)?))?;
            }
            return Ok(());
        }
        let text = self.lines(rows, Timestamp::now());
        print(&text)
    }

    fn lines(&mut self, rows: &[EventRow], now: Timestamp) -> String {
        let table = event_table(rows, self.output == Output::Wide, now);
        let (table, text) = match self.widths.take() {
            Some(before) => {
                let table = before.widened(table);
                let text = table.body();
                (table, text)
            }
            None => {
                let text = table.render();
                (table, text)
            }
        };
        self.widths = Some(table);
        text
    }
}

fn event_table(rows: &[EventRow], wide: bool, now: Timestamp) -> Table {
    let mut header = vec!["LAST SEEN", "NAMESPACE", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    if wide {
        header.extend(["FIRST SEEN", "COUNT"]);
    }
    let mut table = Table::new(&header);
    for row in rows {
        let key = Key::parse(&row.regarding);
        let object = key.as_ref().map(|key| format!("{}/{}", key.kind.to_lowercase(), key.name));
        let namespace = key.as_ref().and_then(|key| key.namespace.as_deref()).unwrap_or_default().to_owned();
        let mut cells = vec![
            age::since(Some(&row.last), now),
            namespace,
            row.kind.clone(),
            row.reason.clone(),
            object.unwrap_or_else(|| row.regarding.clone()),
            row.message.clone(),
        ];
        if wide {
            cells.extend([age::since(Some(&row.first), now), row.count.to_string()]);
        }
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::now;

    fn event(regarding: &str) -> EventRow {
        EventRow {
            kind: "Warning".into(),
            reason: "SourceInvalid".into(),
            message: "a.yaml:1:2: wrong".into(),
            regarding: regarding.into(),
            first: "2026-01-01T00:00:00.000Z".into(),
            last: "2026-01-01T00:09:30.000Z".into(),
            count: 4,
        }
    }

    #[test]
    fn events_are_shown_as_kubectl_shows_them() {
        let rows = [event("local/examples.setpoint.dev/ConfigBundle/default/web"), event("local/a.io/Zone/-/z")];
        assert_eq!(
            event_table(&rows, false, now()).render(),
            "LAST SEEN   NAMESPACE   TYPE      REASON          OBJECT             MESSAGE\n\
             30s         default     Warning   SourceInvalid   configbundle/web   a.yaml:1:2: wrong\n\
             30s                     Warning   SourceInvalid   zone/z             a.yaml:1:2: wrong\n"
        );
        assert_eq!(
            event_table(&rows[1..], true, now()).render(),
            "LAST SEEN   NAMESPACE   TYPE      REASON          OBJECT   MESSAGE             FIRST SEEN   COUNT\n\
             30s                     Warning   SourceInvalid   zone/z   a.yaml:1:2: wrong   10m          4\n"
        );
    }

    #[test]
    fn the_header_is_shown_once() {
        let mut screen = Screen { output: Output::Table, widths: None };
        assert!(screen.lines(&[event("local/a.io/Zone/-/long-name")], now()).starts_with("LAST SEEN   NAMESPACE   "));
        let later = screen.lines(&[event("local/a.io/Zone/-/z")], now());
        assert_eq!(later, "30s                     Warning   SourceInvalid   zone/z           a.yaml:1:2: wrong\n");
    }

    #[test]
    fn only_events_of_the_namespace_are_followed() {
        let filter = Filter { namespace: Some("a".into()), ..Filter::default() };
        assert!(selects(&filter, &event("local/a.io/K/a/x")));
        assert!(!selects(&filter, &event("local/a.io/K/b/x")));
        assert!(!selects(&filter, &event("local/a.io/K/-/x")));
        assert!(selects(&Filter::default(), &event("local/a.io/K/-/x")));
        let filter = Filter { cluster: Some("hub".into()), ..Filter::default() };
        assert!(selects(&filter, &event("hub/a.io/K/a/x")));
        assert!(!selects(&filter, &event("local/a.io/K/a/x")));
    }
}
