//! `setpoint why`: the last runs of an object, and for each the chain of causes that led to it.

use std::fmt::Write;

use jiff::Timestamp;
use setpoint_core::Key;
use setpoint_runtime::views::{CauseRow, RunRow};

use crate::age;
use crate::args::{Globals, Output, WhyArgs};
use crate::client::{Client, key_path};
use crate::failure::Failure;
use crate::get::document;
use crate::kind::{resolve, split_object};
use crate::output::{one_line, print};

/// Shows the last runs of an object, newest first.
pub(crate) fn why(args: &WhyArgs, globals: &Globals) -> Result<(), Failure> {
    let (word, name) = split_object(&args.kind, args.name.as_deref())?;
    let client = Client::find(&globals.server)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, word)?;
    let runs: Vec<RunRow> = client.get(&format!("/v1/reconciles/{}/runs", key_path(kind, &globals.place, name)))?;
    if matches!(args.output.output, Output::Json | Output::Yaml) {
        return print(&document(&runs, args.output.output)?);
    }
    let cluster = globals.place.cluster.as_deref().unwrap_or(&kind.cluster);
    let namespace = globals.place.namespace.as_deref().unwrap_or(crate::client::DEFAULT_NAMESPACE);
    let namespace = kind.namespaced.then_some(namespace);
    let key = Key::new(cluster, &kind.group, &kind.kind, namespace, name);
    if runs.is_empty() {
        anstream::eprintln!("{key} has not run since the host started.");
        return Ok(());
    }
    print(&text(&key, &runs, Timestamp::now()))
}

// Writing to a String cannot fail, here and below.
fn text(of: &Key, runs: &[RunRow], now: Timestamp) -> String {
    let runs: Vec<String> = runs.iter().rev().map(|run| run_text(of, run, now)).collect();
    format!("{of}, newest run first\n\n{}", runs.join("\n"))
}

fn run_text(of: &Key, run: &RunRow, now: Timestamp) -> String {
    let mut text = String::new();
    let ago = age::since(Some(&run.started), now);
    let _ = writeln!(text, "Run {}, {ago} ago: {}", run.number, one_line(&run.result));
    let _ = write!(text, "  waited {}ms in the lane {}, then took {}ms", run.waited_ms, run.lane, run.took_ms);
    let _ = match run.call_ms {
        Some(call) => writeln!(text, ", {call}ms of it in the plugin"),
        None => writeln!(text, "; the plugin was not called"),
    };
    let _ = writeln!(text, "  read {}", counted(run.reads, "object or list", "objects and lists"));
    match run.writes {
        0 => text.push_str("  wrote nothing\n"),
        writes => {
            text.push_str("  wrote\n");
            for write in &run.written {
                let _ = writeln!(text, "    {:<10} {}", write.verb, one_line(&write.key));
            }
            let more = (writes as usize).saturating_sub(run.written.len());
            if more > 0 {
                let _ = writeln!(text, "    and {more} more");
            }
        }
    }
    text.push_str("  because\n");
    if run.because.is_empty() {
        for cause in &run.causes {
            let _ = writeln!(text, "    {}", one_line(cause));
        }
    }
    for cause in &run.because {
        cause_text(&mut text, of, cause, 4);
    }
    text
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => "nothing".to_owned(),
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// A cause and, below it, what led to it.
fn cause_text(text: &mut String, of: &Key, cause: &CauseRow, indent: usize) {
    let _ = writeln!(text, "{:indent$}{}: {}", "", one_line(&cause.cause), sentence(of, cause));
    // What is no change of an object was written by nobody.
    if cause.key.is_none() {
        return;
    }
    let Some(by) = &cause.by else {
        let who = match &cause.file {
            Some(file) => format!("the file {}, or a person", one_line(file)),
            None => "a file, a person or another controller".to_owned(),
        };
        let _ = writeln!(text, "{:indent$}  ← written from outside: {who}", "");
        return;
    };
    let run = cause.run.map_or_else(|| "an earlier run".to_owned(), |run| format!("run {run}"));
    let more = if cause.because.is_empty() { "" } else { ", because" };
    let _ = writeln!(text, "{:indent$}  ← written by {run} of {}{more}", "", short(of, by));
    for cause in &cause.because {
        cause_text(text, of, cause, indent + 4);
    }
}

/// What a cause means, for somebody who has never seen its word.
fn sentence(of: &Key, cause: &CauseRow) -> String {
    let key = cause.key.as_deref().map(|key| short(of, key));
    match (cause.cause.as_str(), key) {
        ("created", _) => "the host had not seen it before".into(),
        ("changed", Some(key)) => format!("the content of {key} changed"),
        ("changed", None) => "its content changed".into(),
        ("deleted", _) => "it is being deleted".into(),
        ("dependency", Some(key)) => format!("{key}, which it reads or owns, changed"),
        ("dependency", None) => "something that it reads or owns changed".into(),
        ("retry", _) => "the run before failed".into(),
        ("requeue", _) => "the plugin had asked to be called again".into(),
        ("resync", _) => "it is looked at from time to time".into(),
        ("manual", _) => "somebody asked for it".into(),
        ("upgraded", _) => "another version of the plugin took over".into(),
        ("configured", _) => "the plugin's configuration or its grants changed".into(),
        (_, Some(key)) => key,
        (_, None) => "no more is known".into(),
    }
}

/// `Kind/name` where the rest is the same as of the object that is explained, else the whole key.
fn short(of: &Key, key: &str) -> String {
    match Key::parse(key) {
        Some(key) if key.cluster == of.cluster && key.namespace == of.namespace => {
            format!("{}/{}", key.kind, key.name)
        }
        _ => one_line(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::get::tests::now;
    use setpoint_runtime::views::WriteRow;

    fn cause(word: &str, key: Option<&str>, by: Option<(&str, u64)>, because: Vec<CauseRow>) -> CauseRow {
        CauseRow {
            cause: word.into(),
            key: key.map(str::to_owned),
            by: by.map(|(by, _)| by.to_owned()),
            run: by.map(|(_, run)| run),
            because,
            file: None,
        }
    }

    #[test]
    fn runs_are_explained_down_to_the_change_that_began_them() {
        let key = Key::new("local", "examples.setpoint.dev", "ConfigBundle", Some("default"), "all");
        let began = cause("changed", Some("local/examples.setpoint.dev/ConfigBundle/default/web"), None, Vec::new());
        let by = Some(("local/examples.setpoint.dev/ConfigBundle/default/web", 17));
        let runs = [
            RunRow {
                number: 12,
                started: "2026-01-01T00:05:00.000Z".into(),
                lane: "new".into(),
                causes: vec!["created".into()],
                result: "failed: no such\nlabel".into(),
                ..RunRow::default()
            },
            RunRow {
                number: 19,
                started: "2026-01-01T00:09:30.000Z".into(),
                waited_ms: 1,
                took_ms: 5,
                call_ms: Some(3),
                lane: "dependency".into(),
                causes: vec!["dependency local/core/ConfigMap/default/web".into()],
                result: "synced".into(),
                reads: 3,
                writes: 3,
                written: vec![
                    WriteRow { verb: "apply".into(), key: "local/core/ConfigMap/default/all".into() },
                    WriteRow { verb: "status".into(), key: key.to_string() },
                ],
                because: vec![
                    cause("dependency", Some("local/core/ConfigMap/default/web"), by, vec![began]),
                    cause("dependency", Some("local/core/ConfigMap/other/a"), None, Vec::new()),
                    cause("manual", None, None, Vec::new()),
                ],
            },
        ];
        assert_eq!(
            text(&key, &runs, now()),
            "local/examples.setpoint.dev/ConfigBundle/default/all, newest run first\n\
             \n\
             Run 19, 30s ago: synced\n\
             \x20 waited 1ms in the lane dependency, then took 5ms, 3ms of it in the plugin\n\
             \x20 read 3 objects and lists\n\
             \x20 wrote\n\
             \x20   apply      local/core/ConfigMap/default/all\n\
             \x20   status     local/examples.setpoint.dev/ConfigBundle/default/all\n\
             \x20   and 1 more\n\
             \x20 because\n\
             \x20   dependency: ConfigMap/web, which it reads or owns, changed\n\
             \x20     ← written by run 17 of ConfigBundle/web, because\n\
             \x20       changed: the content of ConfigBundle/web changed\n\
             \x20         ← written from outside: a file, a person or another controller\n\
             \x20   dependency: local/core/ConfigMap/other/a, which it reads or owns, changed\n\
             \x20     ← written from outside: a file, a person or another controller\n\
             \x20   manual: somebody asked for it\n\
             \n\
             Run 12, 5m ago: failed: no such label\n\
             \x20 waited 0ms in the lane new, then took 0ms; the plugin was not called\n\
             \x20 read nothing\n\
             \x20 wrote nothing\n\
             \x20 because\n\
             \x20   created\n"
        );
    }
}
