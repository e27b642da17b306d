//! What plugins log: the last lines of each are kept, and told to whoever follows them. A plugin
//! that logs nothing and that nobody follows has nothing here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::stream::{Stream, StreamExt, iter, unfold};
use setpoint_core::key::{Key, Name};
use setpoint_core::sanitize::sanitize;
use setpoint_core::selector::SelectorError;
use setpoint_plugin::{LogLevel, Logs};
use tokio::sync::broadcast;

use crate::clock::rfc3339_millis;
use crate::driver::unix_now;
use crate::filter::Wanted;
use crate::handle::Handle;
use crate::live::{Heard, hear};
use crate::lock::lock;
use crate::views::{Filter, LogRow};

/// Lines of one plugin that are kept …
const LINES: usize = 1_000;
/// … and their bytes.
const BYTES: usize = 1 << 20;
/// A follower that is so many lines behind misses the oldest of them.
const BEHIND: usize = 1_024;
/// What a line takes beside its texts, in bytes.
const OVERHEAD: usize = 128;
/// The level of what a call printed before it was stopped.
const STDERR: &str = "stderr";

/// A line as it came. It is sanitised when it is shown: most are never looked at.
#[derive(Debug)]
pub(crate) struct Line {
    /// Unix milliseconds.
    at: u64,
    level: &'static str,
    key: Arc<Key>,
    message: Box<str>,
    fields: Box<[(String, String)]>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.fields.iter().fold(OVERHEAD + self.message.len(), |sum, (name, value)| sum + name.len() + value.len())
    }

    fn row(&self) -> LogRow {
        LogRow {
            at: rfc3339_millis(self.at),
            level: self.level.to_owned(),
            key: self.key.to_string(),
            message: sanitize(&self.message),
            // A value alone does not show that it is a credential; with its name before it, it does.
            fields: self.fields.iter().map(|(name, value)| clean(name, value)).collect(),
        }
    }
}

fn clean(name: &str, value: &str) -> (String, String) {
    let both = sanitize(&format!("{name}={value}"));
    match both.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
        Some(value) => (name.to_owned(), value.to_owned()),
        None => (sanitize(name), sanitize(value)),
    }
}

/// The lines of one plugin.
#[derive(Default)]
struct Log {
    kept: VecDeque<Arc<Line>>,
    bytes: usize,
    /// While somebody follows.
    live: Option<broadcast::Sender<Arc<Line>>>,
}

impl Log {
    fn push(&mut self, line: Line) {
        let line = Arc::new(line);
        self.bytes += line.bytes();
        self.kept.push_back(line.clone());
        while self.kept.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
        if self.live.as_ref().is_some_and(|live| live.send(line).is_err()) {
            // The last follower has left.
            self.live = None;
        }
    }
}

/// What all plugins have logged.
#[derive(Default)]
pub(crate) struct LogBook {
    plugins: Mutex<HashMap<Name, Arc<Mutex<Log>>>>,
}

impl LogBook {
    /// Where the lines of one call go.
    pub(crate) fn of(self: &Arc<Self>, plugin: &Name, key: &Arc<Key>) -> Arc<CallLogs> {
        Arc::new(CallLogs { book: self.clone(), plugin: plugin.clone(), key: key.clone() })
    }

    /// The log of a plugin, so that a flood of one keeps no other waiting.
    fn log(&self, plugin: &str) -> Arc<Mutex<Log>> {
        let mut plugins = lock(&self.plugins);
        match plugins.get(plugin) {
            Some(log) => log.clone(),
            None => plugins.entry(plugin.into()).or_default().clone(),
        }
    }

    /// The plugins that have logged something since the host started.
    fn names(&self) -> Vec<String> {
        lock(&self.plugins).keys().map(ToString::to_string).collect()
    }

    /// The lines that are kept, oldest first.
    fn kept(&self, plugin: &str) -> Vec<Arc<Line>> {
        let log = lock(&self.plugins).get(plugin).cloned();
        log.map(|log| lock(&log).kept.iter().cloned().collect()).unwrap_or_default()
    }

    /// The same, and each line that comes after them: none is left out between them.
    fn follow(&self, plugin: &str) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let log = self.log(plugin);
        let mut log = lock(&log);
        let receiver = log.live.get_or_insert_with(|| broadcast::channel(BEHIND).0).subscribe();
        (log.kept.iter().cloned().collect(), receiver)
    }
}

/// Takes the lines of one call, within the span of its attempt.
pub(crate) struct CallLogs {
    book: Arc<LogBook>,
    plugin: Name,
    key: Arc<Key>,
}

impl CallLogs {
    fn keep(&self, level: &'static str, message: &str, fields: &[(String, String)]) {
        let key = self.key.clone();
        let line = Line { at: unix_now(), level, key, message: message.into(), fields: fields.into() };
        lock(&self.book.log(&self.plugin)).push(line);
    }
}

impl Logs for CallLogs {
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        self.keep(word(level), message, fields);
        let fields = fields.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        match level {
            LogLevel::Trace => tracing::trace!(target: "plugin", fields, "{message}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", fields, "{message}"),
            LogLevel::Info => tracing::info!(target: "plugin", fields, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", fields, "{message}"),
            LogLevel::Error => tracing::error!(target: "plugin", fields, "{message}"),
        }
    }

    fn printed(&self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.keep(STDERR, line, &[]);
        }
    }
}

/// Log lines of calls without effects are nobody's business: their attempts never happened.
pub(crate) struct Silent;

impl Logs for Silent {
    fn log(&self, _: LogLevel, _: &str, _: &[(String, String)]) {}
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

impl Handle {
    /// Plugins that have a log: those that are there, and those that were since the host started.
    pub fn logging_plugins(&self) -> Vec<String> {
        let mut names = self.inner.driver.logs.names();
        names.extend(self.plugins().into_iter().map(|row| row.name));
        names.sort();
        names.dedup();
        names
    }

    /// The last lines that a plugin logged for the objects of a filter, oldest first: of each plugin
    /// 1 000 lines and 1 MiB are kept, since the host started.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn logs(&self, plugin: &str, filter: &Filter) -> Result<Vec<LogRow>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let lines = self.inner.driver.logs.kept(plugin);
        Ok(lines.iter().filter(|line| wanted.key(&line.key)).map(|line| line.row()).collect())
    }

    /// The same, and then each line as it is logged.
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn follow_logs(
        &self,
        plugin: &str,
        filter: &Filter,
    ) -> Result<impl Stream<Item = Heard<LogRow>> + Send + use<>, SelectorError> {
        let wanted = Wanted::of(filter, &self.inner.kinds)?;
        let (kept, receiver) = self.inner.driver.logs.follow(plugin);
        let live = unfold(receiver, |mut receiver| async move { Some((hear(&mut receiver).await?, receiver)) });
        let row = move |heard: Heard<Arc<Line>>| {
            let row = match heard {
                Heard::Item(line) => wanted.key(&line.key).then(|| Heard::Item(line.row())),
                Heard::Missed(lines) => Some(Heard::Missed(lines)),
            };
            std::future::ready(row)
        };
        Ok(iter(kept.into_iter().map(Heard::Item)).chain(live).filter_map(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<Key> {
        Arc::new(Key::new("local", "g", "K", Some("default"), "a"))
    }

    fn call(book: &Arc<LogBook>) -> Arc<CallLogs> {
        book.of(&"p".into(), &key())
    }

    #[test]
    fn of_a_flood_the_last_lines_are_kept() {
        let book = Arc::new(LogBook::default());
        let call = call(&book);
        for number in 0..LINES + 5 {
            call.log(LogLevel::Info, &number.to_string(), &[]);
        }
        let kept = book.kept("p");
        assert_eq!((kept.len(), &*kept[0].message), (LINES, "5"));
        let long = "x".repeat(100_000);
        for _ in 0..50 {
            call.log(LogLevel::Info, &long, &[]);
        }
        let kept = book.kept("p");
        assert!(kept.len() < LINES && kept.iter().map(|line| line.bytes()).sum::<usize>() <= BYTES);
        assert!(book.kept("nobody").is_empty());
    }

    #[test]
    fn what_is_shown_of_a_line_has_no_credentials() {
        let book = Arc::new(LogBook::default());
        let fields = [("password".to_owned(), "abc123".to_owned()), ("port".to_owned(), "80".to_owned())];
        call(&book).log(LogLevel::Warn, "token=abc123 in /home/me/x.yaml", &fields);
        let row = book.kept("p")[0].row();
        assert_eq!((row.level.as_str(), row.message.as_str()), ("warn", "token=[REDACTED] in [path]/x.yaml"));
        assert_eq!(row.key, "local/g/K/default/a");
        let expected = [("password".to_owned(), "[REDACTED]".to_owned()), ("port".to_owned(), "80".to_owned())];
        assert_eq!(row.fields, expected);
    }

    #[test]
    fn what_a_call_printed_before_it_trapped_is_in_the_log() {
        let book = Arc::new(LogBook::default());
        call(&book).printed("one\n\ntwo\n");
        let rows: Vec<LogRow> = book.kept("p").iter().map(|line| line.row()).collect();
        assert_eq!(
            rows.iter().map(|row| (&*row.level, &*row.message)).collect::<Vec<_>>(),
            [("stderr", "one"), ("stderr", "two")]
        );
    }

    #[tokio::test]
    async fn who_follows_a_log_gets_what_is_kept_and_what_comes_and_is_told_what_it_missed() {
        let book = Arc::new(LogBook::default());
        let call = call(&book);
        call.log(LogLevel::Info, "before", &[]);
        let (kept, mut receiver) = book.follow("p");
        assert_eq!(kept.iter().map(|line| &*line.message).collect::<Vec<_>>(), ["before"]);
        call.log(LogLevel::Info, "after", &[]);
        let heard = hear(&mut receiver).await;
        assert!(matches!(heard, Some(Heard::Item(line)) if &*line.message == "after"));
        for number in 0..BEHIND + 7 {
            call.log(LogLevel::Info, &number.to_string(), &[]);
        }
        assert!(matches!(hear(&mut receiver).await, Some(Heard::Missed(7))));
        drop(receiver);
        call.log(LogLevel::Info, "nobody listens", &[]);
        assert!(lock(&book.log("p")).live.is_none(), "a log that nobody follows has no channel");
    }
}
