//! What processes wrote: one that is named, or those that an object has as children.

use setpoint_core::Key;
use setpoint_core::native;
use setpoint_runtime::views::{Filter, KindRow, LogRow, ReconcileRow};

use super::{line, one};
use crate::args::{Globals, LogsArgs, Output};
use crate::client::{Client, key_path, segment, stopped};
use crate::failure::Failure;
use crate::get::document;
use crate::kind::{resolve, split_object};
use crate::output::print;

/// Shows what the processes of an object wrote, oldest first.
pub(super) fn of(client: &Client, args: &LogsArgs, globals: &Globals) -> Result<(), Failure> {
    if args.kind.is_some() || args.name.is_some() {
        return Err(Failure::usage("--kind and --name choose lines of a plugin's log")
            .hint(format!("leave them out: {} says which object is meant", args.plugin)));
    }
    let (word, name) = split_object(&args.plugin, None)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, word)?;
    let paths = paths(client, kind, globals, name)?;
    let format = args.output.output;
    if args.follow {
        let [path] = paths.as_slice() else {
            let message = format!("{} has {} processes; one can be followed", args.plugin, paths.len());
            return Err(Failure::usage(message).hint("`setpoint describe` shows them; write process/NAME"));
        };
        for row in client.stream::<LogRow>(path, &Filter::default())? {
            print(&one(&row?, format)?)?;
        }
        return Err(stopped());
    }
    let mut rows: Vec<LogRow> = Vec::new();
    for path in &paths {
        rows.extend(client.get::<Vec<LogRow>>(path)?);
    }
    rows.sort_by(|a, b| a.at.cmp(&b.at));
    if matches!(format, Output::Json | Output::Yaml) {
        return print(&document(&rows, format)?);
    }
    if rows.is_empty() {
        anstream::eprintln!("{} has written nothing that is still kept.", args.plugin);
        return Ok(());
    }
    print(&rows.iter().map(line).collect::<String>())
}

/// Where to ask for what they wrote.
fn paths(client: &Client, kind: &KindRow, globals: &Globals, name: &str) -> Result<Vec<String>, Failure> {
    let path = key_path(kind, &globals.place, name);
    if kind.group == native::GROUP && kind.kind == native::PROCESS {
        return Ok(vec![logs(&path)]);
    }
    let row: ReconcileRow = client.get(&format!("/v1/reconciles/{path}"))?;
    let found: Vec<String> = row.children.iter().filter(|child| is_process(child)).map(|child| at(child)).collect();
    match found.is_empty() {
        true => Err(Failure::new(format!("{}/{name} has no process", kind.kind))
            .hint("`setpoint describe` shows the children of an object, and what it waits for")),
        false => Ok(found),
    }
}

/// Where what a process wrote is asked for, by its key.
pub(crate) fn at(key: &str) -> String {
    logs(&key.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

pub(crate) fn is_process(key: &str) -> bool {
    Key::parse(key).is_some_and(|key| key.group_kind().is(native::GROUP, native::PROCESS))
}

fn logs(path: &str) -> String {
    format!("/v1/objects/{path}/logs")
}
