//! `setpoint get`: objects as tables, or as they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use setpoint_core::key::{LOCAL, split_api_version};
use setpoint_core::native;
use setpoint_runtime::views::{FileRow, Filter, KindRow, ObjectView, ReconcileRow};

use crate::age;
use crate::args::{GetArgs, Globals, Output, PlaceArgs};
use crate::client::{Client, DEFAULT_NAMESPACE, group, key_path};
use crate::clusters;
use crate::failure::Failure;
use crate::held;
use crate::kind::{resolve, split};
use crate::output::{json_text, list, print, yaml_text};
use crate::plugins;
use crate::table::Table;
use crate::watch;

/// Columns that every table of reconciled objects has; a kind's own of these names are left out.
const OURS: [&str; 4] = ["NAME", "STATE", "READY", "AGE"];

/// What was asked for, beside the kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) args: &'a GetArgs,
    pub(crate) place: &'a PlaceArgs,
    /// One object.
    pub(crate) name: Option<&'a str>,
}

impl Asked<'_> {
    /// Which objects of a kind are asked for.
    pub(crate) fn filter(&self, kind: &KindRow) -> Filter {
        let filter = of_kind_in(kind, self.name, self.place, self.args.all_namespaces);
        Filter { labels: self.args.selector.clone(), ..filter }
    }

    /// How a table of a kind is drawn that stands alone.
    pub(crate) fn style(&self, kind: &KindRow) -> Style {
        Style {
            wide: self.args.output.output == Output::Wide,
            namespace: self.args.all_namespaces && kind.namespaced,
            full_name: false,
        }
    }

    fn documents(&self) -> bool {
        matches!(self.args.output.output, Output::Json | Output::Yaml)
    }
}

/// Objects of a kind, as kubectl chooses them: of the default namespace unless told otherwise.
pub(crate) fn of_kind_in(kind: &KindRow, name: Option<&str>, place: &PlaceArgs, all_namespaces: bool) -> Filter {
    let namespace = match (all_namespaces, kind.namespaced) {
        (false, true) => Some(place.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())),
        _ => None,
    };
    Filter {
        cluster: place.cluster.clone(),
        group: Some(group(kind).to_owned()),
        kind: Some(kind.kind.clone()),
        namespace,
        name: name.map(str::to_owned),
        ..Filter::default()
    }
}

/// Shows objects.
pub(crate) fn get(args: &GetArgs, globals: &Globals) -> Result<(), Failure> {
    let words = args.kind.iter().flat_map(|words| words.split(','));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut asked = Asked { args, place: &globals.place, name: args.name.as_deref() };
    let client = Client::find(&globals.server)?;
    match words.as_slice() {
        [] if args.watch => Err(Failure::usage("--watch needs a KIND").hint("such as `setpoint get KIND --watch`")),
        [] => everything(&client, &asked),
        ["held"] => held::held(&client, args.output.output),
        [word] => {
            let (word, name) = split(word, asked.name)?;
            if name.is_some() && args.all_namespaces {
                return Err(Failure::usage("one object is not looked for in all namespaces").hint("write -n NAMESPACE"));
            }
            asked.name = name;
            let kinds = client.kinds()?;
            let kind = resolve(&kinds, word)?;
            match args.watch {
                true => watch::watch(&client, &asked, kind),
                false => of_kind(&client, &asked, kind),
            }
        }
        _ if args.watch => Err(Failure::usage("--watch takes one KIND")),
        several => {
            let kinds = client.kinds()?;
            let wanted = several.iter().map(|word| resolve(&kinds, word)).collect::<Result<Vec<_>, _>>()?;
            of_kinds(&client, &asked, &wanted)
        }
    }
}

fn of_kind(client: &Client, asked: &Asked<'_>, kind: &KindRow) -> Result<(), Failure> {
    // More is to be said of these than their objects say.
    match kind.kind.as_str() {
        _ if kind.group != native::GROUP || asked.documents() => {}
        native::CLUSTER => return clusters::clusters(client, asked.name, asked.args.output.output),
        native::PLUGIN if asked.name.is_none() => return plugins::show(client, asked.args.output.output),
        _ => {}
    }
    let filter = asked.filter(kind);
    if asked.documents() {
        let value = match asked.name {
            Some(name) => client.get::<ObjectView>(&object_path(asked, kind, name))?.object,
            None => list(client.get_where("/v1/objects", &filter)?),
        };
        return print(&document(&value, asked.args.output.output)?);
    }
    let text = table_of(client, kind, &filter, asked.style(kind))?;
    if !text.is_empty() {
        return print(&text);
    }
    match (asked.name, &filter.namespace) {
        // The host says whether it is the object that is missing.
        (Some(name), _) => client.get::<ObjectView>(&object_path(asked, kind, name)).map(|_| ()),
        (None, Some(namespace)) => {
            anstream::eprintln!("No resources found in {namespace} namespace.");
            Ok(())
        }
        (None, None) => {
            anstream::eprintln!("No resources found");
            Ok(())
        }
    }
}

/// Several kinds below each other, as kubectl shows them.
fn of_kinds(client: &Client, asked: &Asked<'_>, kinds: &[&KindRow]) -> Result<(), Failure> {
    if asked.documents() {
        let mut objects: Vec<Value> = Vec::new();
        for kind in kinds {
            objects.extend(client.get_where::<Vec<Value>>("/v1/objects", &asked.filter(kind))?);
        }
        return print(&document(&list(objects), asked.args.output.output)?);
    }
    let mut tables = Vec::new();
    for kind in kinds {
        let style = Style { full_name: true, ..asked.style(kind) };
        tables.push(table_of(client, kind, &asked.filter(kind), style)?);
    }
    tables.retain(|table| !table.is_empty());
    if tables.is_empty() {
        anstream::eprintln!("No resources found");
        return Ok(());
    }
    print(&tables.join("\n"))
}

/// The table of a kind; nothing if there are no objects.
fn table_of(client: &Client, kind: &KindRow, filter: &Filter, style: Style) -> Result<String, Failure> {
    let rows: Vec<ReconcileRow> = client.get_where("/v1/reconciles", filter)?;
    if !rows.is_empty() {
        return Ok(row_table(Some(kind), &rows, style, Timestamp::now()).render());
    }
    let objects: Vec<Value> = client.get_where("/v1/objects", filter)?;
    Ok(object_table(&objects, style, Timestamp::now()).render())
}

fn object_path(asked: &Asked<'_>, kind: &KindRow, name: &str) -> String {
    format!("/v1/objects/{}", key_path(kind, asked.place, name))
}

/// A value in one of the formats for programs.
pub(crate) fn document(value: &impl serde::Serialize, output: Output) -> Result<String, Failure> {
    if output == Output::Json { json_text(value) } else { yaml_text(value) }
}

/// All reconciled objects by kind, then what is wrong with files.
fn everything(client: &Client, asked: &Asked<'_>) -> Result<(), Failure> {
    let Asked { args, place, .. } = asked;
    let filter = Filter {
        cluster: place.cluster.clone(),
        namespace: place.namespace.clone().filter(|_| !args.all_namespaces),
        labels: args.selector.clone(),
        ..Filter::default()
    };
    let kinds = client.kinds()?;
    let rows: Vec<ReconcileRow> = client.get_where("/v1/reconciles", &filter)?;
    if asked.documents() {
        let objects: Vec<Value> = client.get_where("/v1/objects", &filter)?;
        let reconciled = |object: &Value| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let group = text("/apiVersion").and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
            rows.iter().any(|row| row.group == group && Some(row.kind.as_str()) == text("/kind"))
        };
        let objects = objects.into_iter().filter(reconciled).collect();
        return print(&document(&list(objects), args.output.output)?);
    }
    let files: Vec<FileRow> = client.get("/v1/files")?;
    let wide = args.output.output == Output::Wide;
    let text = grouped(&kinds, &rows, &files, wide, Timestamp::now());
    if text.is_empty() {
        anstream::eprintln!("No resources found");
        return Ok(());
    }
    print(&text)
}

fn grouped(kinds: &[KindRow], rows: &[ReconcileRow], files: &[FileRow], wide: bool, now: Timestamp) -> String {
    let mut groups: BTreeMap<(&str, &str), Vec<ReconcileRow>> = BTreeMap::new();
    for row in rows {
        groups.entry((&row.group, &row.kind)).or_default().push(row.clone());
    }
    let mut tables: Vec<String> = groups
        .into_iter()
        .map(|((group, name), rows)| {
            let kind = kinds.iter().find(|kind| kind.group == group && kind.kind == name);
            let namespace = rows.iter().any(|row| row.namespace.is_some());
            row_table(kind, &rows, Style { wide, namespace, full_name: true }, now).render()
        })
        .collect();
    if !files.is_empty() {
        let clusters = files.iter().any(|row| row.cluster != LOCAL);
        let header = ["CLUSTER", "PLACE", "STATE", "MESSAGE"];
        let mut table = Table::new(if clusters { &header } else { &header[1..] });
        for row in files {
            let place = format!("{}:{}:{}", row.file, row.line, row.column);
            let cells = clusters.then(|| row.cluster.clone()).into_iter();
            table.row(cells.chain([place, row.state.clone(), row.message.clone()]).collect());
        }
        tables.push(format!("FILES WITH PROBLEMS\n{}", table.render()));
    }
    tables.join("\n")
}

/// How a table of objects is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    /// More columns.
    pub(crate) wide: bool,
    /// With a column of namespaces.
    pub(crate) namespace: bool,
    /// Names as `singular.group/name`.
    pub(crate) full_name: bool,
}

/// A table of reconciled objects of one kind.
pub(crate) fn row_table(kind: Option<&KindRow>, rows: &[ReconcileRow], style: Style, now: Timestamp) -> Table {
    let clusters = rows.iter().any(|row| row.cluster != LOCAL);
    let columns: Vec<&(String, String, String, i64)> = kind
        .iter()
        .flat_map(|kind| &kind.columns)
        .filter(|(name, path, _, priority)| {
            let ours = OURS.contains(&name.to_uppercase().as_str()) || path == ".metadata.creationTimestamp";
            !ours && (style.wide || *priority == 0)
        })
        .collect();
    let mut header: Vec<&str> = Vec::new();
    header.extend(clusters.then_some("CLUSTER"));
    header.extend(style.namespace.then_some("NAMESPACE"));
    header.push("NAME");
    header.extend(columns.iter().map(|(name, ..)| name.as_str()));
    header.extend(["STATE", "READY", "AGE"]);
    if style.wide {
        header.extend(["PLUGIN", "ATTEMPT", "NEXT", "REASON"]);
    }
    let mut table = Table::new(&header);
    for row in rows {
        let mut cells = Vec::new();
        cells.extend(clusters.then(|| row.cluster.clone()));
        cells.extend(style.namespace.then(|| row.namespace.clone().unwrap_or_default()));
        cells.push(match style.full_name {
            true => format!("{}/{}", singular(kind, row), row.name),
            false => row.name.clone(),
        });
        for (name, _, format, _) in &columns {
            let value = row.columns.iter().find(|(column, _)| column == name).map(|(_, value)| value);
            cells.push(cell(value.unwrap_or(&Value::Null), format, now));
        }
        cells.push(state(row));
        cells.push(ready(row).to_owned());
        cells.push(age::since(row.created.as_deref(), now));
        if style.wide {
            cells.push(row.plugin.clone().unwrap_or_else(|| "<none>".into()));
            cells.push(row.attempt.to_string());
            cells.push(age::until(row.next_reconcile_time.as_deref(), now));
            cells.push(row.last_error.clone().or_else(|| row.reason.clone()).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

fn singular(kind: Option<&KindRow>, row: &ReconcileRow) -> String {
    let name = kind.map_or_else(|| row.kind.to_lowercase(), |kind| kind.singular.clone());
    if row.group.is_empty() { name } else { format!("{name}.{}", row.group) }
}

/// The state, with what holds it back.
pub(crate) fn state(row: &ReconcileRow) -> String {
    let mut state = row.state.clone();
    for (holds, word) in [(row.paused, ",Paused"), (row.damped, ",Damped")] {
        if holds {
            state.push_str(word);
        }
    }
    state
}

/// As the condition `Ready` says it.
pub(crate) fn ready(row: &ReconcileRow) -> &'static str {
    match row.readiness.as_deref() {
        Some("ready") => "True",
        Some(_) => "False",
        None => "Unknown",
    }
}

/// A cell of a printer column.
fn cell(value: &Value, format: &str, now: Timestamp) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(time) if format == "date" => age::since(Some(time), now),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A table of objects that no plugin reconciles.
pub(crate) fn object_table(objects: &[Value], style: Style, now: Timestamp) -> Table {
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().map(str::to_owned);
    let size = |object: &Value, field: &str| object[field].as_object().map(serde_json::Map::len);
    let name = |object: &Value| {
        let name = text(object, "name").unwrap_or_default();
        if !style.full_name {
            return name;
        }
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        match object["apiVersion"].as_str().map(split_api_version) {
            Some((group, _)) if !group.is_empty() => format!("{kind}.{group}/{name}"),
            _ => format!("{kind}/{name}"),
        }
    };
    // ConfigMaps and Secrets say how much is in them.
    let data = objects.iter().any(|object| matches!(object["kind"].as_str(), Some("ConfigMap" | "Secret")));
    let mut header = Vec::new();
    header.extend(style.namespace.then_some("NAMESPACE"));
    header.push("NAME");
    header.extend(data.then_some("DATA"));
    header.push("AGE");
    let mut table = Table::new(&header);
    for object in objects {
        let mut cells = Vec::new();
        cells.extend(style.namespace.then(|| text(object, "namespace").unwrap_or_default()));
        cells.push(name(object));
        let entries = ["data", "binaryData"].iter().filter_map(|field| size(object, field)).sum::<usize>();
        cells.extend(data.then(|| entries.to_string()));
        cells.push(age::since(text(object, "creationTimestamp").as_deref(), now));
        table.row(cells);
    }
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kind::tests::kind;
    use serde_json::json;

    pub(crate) fn now() -> Timestamp {
        // 2026-01-01T00:10:00Z
        Timestamp::from_second(1_767_226_200).unwrap_or_default()
    }

    pub(crate) fn bundle() -> KindRow {
        let column = |name: &str, path: &str, kind: &str, priority| {
            (name.to_owned(), path.to_owned(), kind.to_owned(), priority)
        };
        KindRow {
            columns: vec![
                column("Keys", ".status.keys", "integer", 0),
                column("Sources", ".status.sources", "string", 1),
                column("Age", ".metadata.creationTimestamp", "date", 0),
            ],
            ..kind("examples.setpoint.dev", "ConfigBundle", "configbundles", &["cb"])
        }
    }

    pub(crate) fn row(name: &str, state: &str) -> ReconcileRow {
        ReconcileRow {
            cluster: "local".into(),
            group: "examples.setpoint.dev".into(),
            kind: "ConfigBundle".into(),
            namespace: Some("default".into()),
            name: name.into(),
            state: state.into(),
            readiness: Some(if state == "Synced" { "ready" } else { "stalled" }.into()),
            reason: None,
            attempt: 0,
            last_error: None,
            last_reconcile_time: Some("2026-01-01T00:09:00.000Z".into()),
            next_reconcile_time: Some("2026-01-01T00:19:00.000Z".into()),
            causes: vec!["created".into()],
            plugin: Some("config-bundle".into()),
            damped: false,
            paused: false,
            problems: Vec::new(),
            columns: vec![("Keys".into(), json!(2)), ("Sources".into(), json!(["a", "b"]))],
            created: Some("2026-01-01T00:00:00Z".into()),
            children: vec![format!("local/core/ConfigMap/default/{name}")],
            reads: 3,
            runs: Vec::new(),
        }
    }

    const NARROW: Style = Style { wide: false, namespace: false, full_name: false };

    #[test]
    fn a_table_has_the_kinds_columns_then_state_ready_and_age() {
        let failed = ReconcileRow {
            readiness: None,
            damped: true,
            columns: Vec::new(),
            created: None,
            ..row("broken", "Error")
        };
        let paused = ReconcileRow { paused: true, ..row("web", "Synced") };
        assert_eq!(
            row_table(Some(&bundle()), &[failed, paused], NARROW, now()).render(),
            "NAME     KEYS   STATE           READY     AGE\n\
             broken          Error,Damped    Unknown   <unknown>\n\
             web      2      Synced,Paused   True      10m\n"
        );
    }

    #[test]
    fn a_wide_table_says_which_plugin_when_and_why() {
        let failed = ReconcileRow { attempt: 3, last_error: Some("no such\nlabel".into()), ..row("broken", "Error") };
        let waits = ReconcileRow {
            plugin: None,
            next_reconcile_time: None,
            reason: Some("waits for a plugin".into()),
            ..row("b", "Pending")
        };
        assert_eq!(
            row_table(
                Some(&bundle()),
                &[failed, waits],
                Style { wide: true, namespace: true, full_name: false },
                now()
            )
            .render(),
            "NAMESPACE   NAME     KEYS   SOURCES     STATE     READY   AGE   PLUGIN          ATTEMPT   NEXT   REASON\n\
             default     broken   2      [\"a\",\"b\"]   Error     False   10m   config-bundle   3         9m     no such label\n\
             default     b        2      [\"a\",\"b\"]   Pending   False   10m   <none>          0                waits for a plugin\n"
        );
    }

    #[test]
    fn without_a_kind_objects_are_grouped_and_files_with_problems_come_last() {
        let other = ReconcileRow { group: "a.io".into(), kind: "Zone".into(), namespace: None, ..row("z", "Synced") };
        let file = FileRow {
            cluster: LOCAL.into(),
            file: "b.yaml".into(),
            line: 3,
            column: 5,
            state: "Invalid".into(),
            message: "spec.x: required".into(),
        };
        assert_eq!(
            grouped(&[bundle()], &[row("web", "Synced"), other], &[file], false, now()),
            "NAME          STATE    READY   AGE\n\
             zone.a.io/z   Synced   True    10m\n\
             \n\
             NAMESPACE   NAME                                     KEYS   STATE    READY   AGE\n\
             default     configbundle.examples.setpoint.dev/web   2      Synced   True    10m\n\
             \n\
             FILES WITH PROBLEMS\n\
             PLACE        STATE     MESSAGE\n\
             b.yaml:3:5   Invalid   spec.x: required\n"
        );
        assert_eq!(grouped(&[bundle()], &[], &[], false, now()), "");
    }

    #[test]
    fn rows_of_other_clusters_say_so() {
        let hub = ReconcileRow { cluster: "hub".into(), ..row("web", "Synced") };
        assert_eq!(
            row_table(None, &[hub], NARROW, now()).render(),
            "CLUSTER   NAME   STATE    READY   AGE\nhub       web    Synced   True    10m\n"
        );
    }

    #[test]
    fn objects_without_a_plugin_have_a_name_and_an_age() {
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"x": "1", "y": "2"}});
        assert_eq!(
            object_table(std::slice::from_ref(&map), NARROW, now()).render(),
            "NAME   DATA   AGE\na      2      10m\n"
        );
        let style = Style { namespace: true, ..NARROW };
        assert_eq!(
            object_table(std::slice::from_ref(&map), style, now()).render(),
            "NAMESPACE   NAME   DATA   AGE\nn           a      2      10m\n"
        );
        let zone = json!({"apiVersion": "a.io/v1", "kind": "Zone", "metadata": {"name": "z"}});
        let style = Style { full_name: true, ..NARROW };
        assert_eq!(
            object_table(&[map, zone], style, now()).render(),
            "NAME          DATA   AGE\nconfigmap/a   2      10m\nzone.a.io/z   0      <unknown>\n"
        );
    }
}
