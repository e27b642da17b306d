//! `setpoint docs`: the reference pages that are made from the code, in Markdown. The book includes
//! them, and a test compares them with what is committed.

use std::fmt::{Display, Write};
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use setpoint_runtime::http::{endpoints, error_codes};
use setpoint_runtime::{config, metrics};

use crate::args::{Cli, DocsArgs};
use crate::failure::Failure;

/// First line of every page.
const MADE: &str = "<!-- Made by `setpoint docs`; changes belong into the code. -->\n\n";

/// Writes all pages into a directory.
pub(crate) fn docs(args: &DocsArgs) -> Result<(), Failure> {
    fs::create_dir_all(&args.dir).map_err(|error| Failure::io(&args.dir, &error))?;
    for (name, page) in pages() {
        write(&args.dir.join(name), &page)?;
    }
    Ok(())
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    fs::write(path, page).map_err(|error| Failure::io(path, &error))
}

fn pages() -> [(&'static str, String); 5] {
    [
        ("cli.md", cli()),
        ("errors.md", errors()),
        ("metrics.md", metrics_page()),
        ("configuration.md", configuration()),
        ("http.md", http()),
    ]
}

// Writing to a String cannot fail, here and below.
fn cli() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = format!("{MADE}# Command line\n\n");
    let about = root.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "{about}\n\nA flag beats its environment variable, which beats the configuration file.\n");
    page.push_str("These options stand before or after every command; `-o` of those that have it may as well:\n\n");
    page.push_str(&options(root.get_arguments().filter(|arg| arg.is_global_set())));
    for command in root.get_subcommands() {
        command_section(&mut page, command, 2);
    }
    page
}

fn command_section(page: &mut String, command: &Command, level: usize) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let _ = writeln!(page, "\n{} {name}\n", "#".repeat(level));
    if let Some(about) = command.get_about() {
        let _ = writeln!(page, "{about}.\n");
    }
    let _ = writeln!(page, "    {usage}\n");
    page.push_str(&options(command.get_arguments().filter(|arg| !arg.is_global_set())));
    for command in command.get_subcommands() {
        command_section(page, command, level + 1);
    }
}

/// A table of arguments; nothing if there are none.
fn options<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let shown = args.filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"));
    let rows: Vec<[String; 2]> = shown.map(|arg| [format!("`{}`", spelled(arg)), meaning(arg)]).collect();
    if rows.is_empty() { String::new() } else { table(["option", "meaning"], rows) }
}

/// As it is typed, such as `-o, --output OUTPUT`.
fn spelled(arg: &Arg) -> String {
    let value = match arg.get_value_names() {
        Some(names) if arg.get_action().takes_values() => {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    if arg.is_positional() {
        return if arg.is_required_set() { value } else { format!("[{value}]") };
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    format!("{} {value}", names.join(", ")).trim_end().to_owned()
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let words = |what: &str, words: Vec<String>| match words.is_empty() {
        true => String::new(),
        false => format!("; {what} `{}`", words.join("`, `")),
    };
    let values = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    // Flags have the default false, which says nothing.
    if arg.get_action().takes_values() {
        text.push_str(&words("one of", values));
        text.push_str(&words("default", defaults));
    }
    let variables = arg.get_env().iter().map(|name| name.to_string_lossy().into_owned()).collect();
    text.push_str(&words("environment", variables));
    text
}

fn errors() -> String {
    let mut page = format!("{MADE}# Error codes\n\nOf the HTTP API. `setpoint explain CODE` shows the same.\n");
    for known in error_codes() {
        let _ = writeln!(page, "\n## {}\n\n{}.\n", known.code, known.title.trim_end_matches('.'));
        let _ = writeln!(page, "{}\n\n**What to do:** {}", known.explanation, known.remedy);
    }
    page
}

fn metrics_page() -> String {
    let rows = metrics::reference()
        .into_iter()
        .map(|metric| [format!("`{}`", metric.name), text(metric.kind), metric.labels.join(", "), text(metric.help)]);
    let table = table(["metric", "type", "labels", "meaning"], rows);
    format!("{MADE}# Metrics\n\n`GET /metrics` answers in OpenMetrics.\n\n{table}")
}

fn http() -> String {
    let rows =
        endpoints().iter().map(|one| [format!("`{} {}`", one.method, one.path), text(one.takes), text(one.answers)]);
    format!(
        "{MADE}# HTTP API\n\nJSON on `--listen`. `{{key}}` is `{{cluster}}/{{group}}/{{kind}}/{{namespace}}/{{name}}`, where the core group \
         is written `core` and no namespace `-`. What is refused is an object with `code`, `message` and `hint`; see \
         [error codes](errors.md). Bodies are JSON of at most 1 MiB.\n\n{}",
        table(["request", "takes", "answers"], rows)
    )
}

fn configuration() -> String {
    let rows = config::reference()
        .into_iter()
        .map(|key| [format!("`{}`", key.path), text(key.kind), text(key.default), text(key.text)]);
    format!(
        "{MADE}# Configuration\n\nThe file that `setpoint run --config FILE` reads; `apiVersion: {}`.\n\n{}",
        config::API_VERSION,
        table(["key", "type", "default", "meaning"], rows)
    )
}

fn text(value: impl Display) -> String {
    value.to_string()
}

fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut table = line(&header.map(str::to_owned)) + &line(&header.map(|_| "---".to_owned()));
    for row in rows {
        table.push_str(&line(&row.map(|cell| cell.replace('|', "\\|").replace('\n', " "))));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_no_secret_is_on_the_page_with_its_options() {
        let page = cli();
        for words in [
            "\n## setpoint get\n",
            "\n### setpoint plugin new\n",
            "| `-n, --namespace NAMESPACE` |",
            "| `-o, --output OUTPUT` | Format of the output; one of `table`, `wide`, `json`, `yaml`; default `table` |",
            "environment `SETPOINT_STATE`",
        ] {
            assert!(page.contains(words), "{words} is missing:\n{page}");
        }
        assert!(!page.contains("setpoint docs "), "it is hidden");
        assert_eq!(page.matches("`--server URL`").count(), 1, "what every command takes is said once");
    }

    #[test]
    fn a_page_is_the_same_each_time() {
        assert_eq!(pages(), pages());
    }

    #[test]
    fn a_cell_cannot_break_its_table() {
        let rows = [["a|b".to_owned(), "two\nlines".to_owned()]];
        assert_eq!(table(["x", "y"], rows), "| x | y |\n| --- | --- |\n| a\\|b | two lines |\n");
    }
}
