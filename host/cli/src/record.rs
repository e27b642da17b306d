//! `setpoint record`: keeps calls of plugins as they happen, to be replayed or tested with (rule B17).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use setpoint_core::recording::{Header, RecordedCall, line};
use setpoint_runtime::views::{Filter, Overview};
use tokio::sync::mpsc::{Receiver, channel};

use crate::args::{Globals, RecordArgs};
use crate::client::{Client, Stream, query, stopped};
use crate::failure::Failure;
use crate::get::of_kind_in;
use crate::kind::{resolve, split};
use crate::output::print;
use crate::signals::Signals;

/// Calls that were received and are not written yet.
const WAITING: usize = 256;

/// Records until it is interrupted, or as many calls or as long as was said.
pub(crate) fn record(args: &RecordArgs, globals: &Globals) -> Result<(), Failure> {
    if let Some(path) = args.file.as_deref().filter(|path| path.exists() && !args.force) {
        return Err(exists(path));
    }
    let client = Client::find(&globals.server)?;
    let filter = Filter { plugin: args.plugin.clone(), ..filter(args, globals, &client)? };
    let overview: Overview = client.get("/v1/overview")?;
    let secrets = [("with_secrets", if args.with_secrets { "true" } else { "false" })];
    let stream: Stream<RecordedCall> = client.stream_where("/v1/record", query(&filter).chain(secrets))?;
    // Only now: who cannot record leaves no file.
    let mut sink = Sink::open(args.file.as_deref(), args.force)?;
    sink.write(&line(&Header::new(&overview.version, args.with_secrets)))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("a timer cannot be started: {error}")))?;
    let mut written = 0;
    let end = runtime.block_on(keep(received(stream), &mut sink, &mut written, args));
    anstream::eprintln!("{}", summary(written, args));
    end
}

fn filter(args: &RecordArgs, globals: &Globals, client: &Client) -> Result<Filter, Failure> {
    let Some(word) = &args.kind else {
        let place = globals.place.clone();
        return Ok(Filter { cluster: place.cluster, namespace: place.namespace, ..Filter::default() });
    };
    let (word, name) = split(word, args.name.as_deref())?;
    let kinds = client.kinds()?;
    // A name is looked for in one namespace, a kind in all of them unless one is named.
    let everywhere = name.is_none() && globals.place.namespace.is_none();
    Ok(of_kind_in(resolve(&kinds, word)?, name, &globals.place, everywhere))
}

/// Reads on a thread of its own: it cannot be told to stop while nothing comes.
fn received(stream: Stream<RecordedCall>) -> Receiver<Result<RecordedCall, Failure>> {
    let (sender, receiver) = channel(WAITING);
    thread::spawn(move || {
        for call in stream {
            if sender.blocking_send(call).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn keep(
    mut calls: Receiver<Result<RecordedCall, Failure>>,
    sink: &mut Sink,
    written: &mut u64,
    args: &RecordArgs,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let time = async {
        match args.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time);
    while args.calls.is_none_or(|most| *written < most) {
        tokio::select! {
            call = calls.recv() => {
                sink.write(&line(&call.ok_or_else(stopped)??))?;
                *written += 1;
            }
            () = signals.next() => return Ok(()),
            () = &mut time => return Ok(()),
        }
    }
    Ok(())
}

fn summary(written: u64, args: &RecordArgs) -> String {
    let calls = if written == 1 { "1 call".to_owned() } else { format!("{written} calls") };
    let place = match &args.file {
        Some(path) => format!("; `setpoint replay {}` answers them anew", path.display()),
        None => String::new(),
    };
    let secrets = if args.with_secrets { "; the values of Secrets are in it" } else { "" };
    format!("recorded {calls}{place}{secrets}")
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("{}: the file is there already", path.display()))
        .hint("name another with -o FILE, or replace it with --force")
}

/// Where lines go. Each is written at once: a recording that is cut off is good up to there.
enum Sink {
    Stdout,
    File(PathBuf, File),
}

impl Sink {
    fn open(path: Option<&Path>, force: bool) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Sink::Stdout) };
        if force {
            // A new file has our mode, whatever the old one had.
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Failure::io(path, &error)),
                Ok(()) | Err(_) => {}
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // What is recorded is nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(file) => Ok(Sink::File(path.to_owned(), file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
            Err(error) => Err(Failure::io(path, &error)),
        }
    }

    fn write(&mut self, line: &str) -> Result<(), Failure> {
        let line = format!("{line}\n");
        match self {
            Sink::Stdout => print(&line),
            Sink::File(path, file) => file.write_all(line.as_bytes()).map_err(|error| Failure::io(path, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;
    use setpoint_core::recording::{RecordedFailure, RecordedRequest, RecordedResult, parse};

    fn args(words: &[&str]) -> Result<RecordArgs, String> {
        match Cli::try_parse_from(["setpoint", "record"].iter().chain(words)) {
            Ok(Cli { command: Command::Record(args), .. }) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    fn call(name: &str) -> RecordedCall {
        RecordedCall {
            plugin: "p".into(),
            digest: "d".into(),
            at: "2026-01-01T00:00:00Z".into(),
            request: RecordedRequest {
                key: format!("local/a.io/K/default/{name}"),
                object: serde_json::json!({}),
                deleting: false,
                attempt: 1,
                last_error: None,
                causes: Vec::new(),
                config: serde_json::Value::Null,
            },
            reads: Vec::new(),
            impure: false,
            result: RecordedResult::Failure(RecordedFailure::Retry("no".into())),
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_recording_is_private_and_never_replaces_a_file_unasked() -> Result<(), Box<dyn std::error::Error>> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("calls.jsonl");
        fs::write(&path, "mine")?;
        assert!(Sink::open(Some(&path), false).is_err_and(|failure| failure.message.contains("there already")));
        assert_eq!(fs::read_to_string(&path)?, "mine");
        Sink::open(Some(&path), true)?.write("{}")?;
        assert_eq!(fs::read_to_string(&path)?, "{}\n");
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }

    #[tokio::test]
    async fn it_ends_after_as_many_calls_as_were_asked_for() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("calls.jsonl");
        let (sender, receiver) = channel(8);
        for name in ["a", "b", "c"] {
            sender.send(Ok(call(name))).await?;
        }
        let (mut sink, mut written) = (Sink::open(Some(&path), false)?, 0);
        sink.write(&line(&Header::new("0.1.0", false)))?;
        keep(receiver, &mut sink, &mut written, &args(&["--calls", "2"])?).await?;
        assert_eq!(written, 2);
        let (_, calls) = parse(&fs::read_to_string(&path)?)?;
        assert_eq!(calls, [call("a"), call("b")]);
        Ok(())
    }

    #[tokio::test]
    async fn what_came_before_the_host_stopped_is_kept() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("calls.jsonl");
        let (sender, receiver) = channel(8);
        sender.send(Ok(call("a"))).await?;
        drop(sender);
        let (mut sink, mut written) = (Sink::open(Some(&path), false)?, 0);
        let end = keep(receiver, &mut sink, &mut written, &args(&[])?).await;
        assert!(end.is_err_and(|failure| failure.message.contains("the host has stopped")));
        assert_eq!((written, fs::read_to_string(&path)?.lines().count()), (1, 1));
        Ok(())
    }

    #[test]
    fn the_end_says_how_many_calls_were_recorded_and_what_to_do_with_them() -> Result<(), String> {
        assert_eq!(
            summary(2, &args(&["-o", "calls.jsonl", "--with-secrets"])?),
            "recorded 2 calls; `setpoint replay calls.jsonl` answers them anew; the values of Secrets are in it"
        );
        assert_eq!(summary(1, &args(&[])?), "recorded 1 call");
        Ok(())
    }
}
