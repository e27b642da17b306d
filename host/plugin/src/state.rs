//! What the host knows of one running call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use setpoint_core::{Key, Name};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result, UpdateDeadline, format_err};

use crate::bindings::{log, types};
use crate::digest::Digest;
use crate::limits::{LimitKind, Limits};
use crate::meter::Meter;
use crate::output::Output;
use crate::reads::{Answers, Reads};
use crate::wasi::World;

/// Handles that a call may hold at a time: streams, timers.
const MAX_HANDLES: usize = 1_024;
/// Handles that an instance may keep for its next call: its standard streams, and some to spare. One that
/// keeps more loses them somewhere, and would run out of them.
const KEPT_HANDLES: usize = 16;

/// How important a log line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the operator.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// Where the log lines of a call go. They know the key and the attempt by themselves.
pub trait Logs: Send + Sync {
    /// Takes one line. Lines beyond the limits of a call do not get here. Must not wait.
    fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]);

    /// Takes the end of what a call printed that was then stopped or trapped. Must not wait.
    fn printed(&self, _text: &str) {}
}

/// One running call, or one `describe`.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) digest: Digest,
    /// None while the plugin describes itself.
    pub(crate) key: Option<Arc<Key>>,
    pub(crate) answers: Answers,
    logs: Option<Arc<dyn Logs>>,
    lines: u32,
    line_bytes: usize,
    pub(crate) lines_dropped: u32,
    pub(crate) table: ResourceTable,
    /// None until something is printed.
    pub(crate) output: Option<Output>,
    pub(crate) world: World,
    pub(crate) meter: Arc<Meter>,
    memory: usize,
    table_elements: usize,
    pub(crate) instantiate: Duration,
    /// The limit that the engine was told to stop the call for.
    pub(crate) limit: Option<LimitKind>,
}

impl State {
    /// The state of a call for an object. Without `logs` its log lines go nowhere.
    pub(crate) fn call(
        digest: Digest,
        key: Arc<Key>,
        limits: &Limits,
        reads: Arc<dyn Reads>,
        logs: Option<Arc<dyn Logs>>,
    ) -> Self {
        let answers = Answers::new(Some(reads), key.cluster.clone(), limits);
        Self::new(digest, Some(key), limits, answers, logs)
    }

    /// The state of a `describe`: it may read nothing, and its log lines go nowhere.
    pub(crate) fn describe(digest: Digest, limits: &Limits) -> Self {
        let answers = Answers::new(None, Name::from(""), limits);
        Self::new(digest, None, limits, answers, None)
    }

    fn new(
        digest: Digest,
        key: Option<Arc<Key>>,
        limits: &Limits,
        answers: Answers,
        logs: Option<Arc<dyn Logs>>,
    ) -> Self {
        let started = Instant::now();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            limits: *limits,
            digest,
            key,
            answers,
            logs,
            lines: 0,
            line_bytes: 0,
            lines_dropped: 0,
            table,
            output: None,
            world: World::new(started),
            meter: Arc::new(Meter::new(started)),
            memory: 0,
            table_elements: 0,
            instantiate: Duration::ZERO,
            limit: None,
        }
    }

    /// Makes this the state of the instance's next call. Everything is as new, but what belongs to the
    /// instance and not to a call: the memory and tables that it has, the handles that it still holds, and the
    /// stream that its standard streams write to.
    pub(crate) fn renew(&mut self, next: Self) {
        let last = std::mem::replace(self, next);
        self.table = last.table;
        self.memory = last.memory;
        self.table_elements = last.table_elements;
        self.output = last.output;
        if let Some(output) = &self.output {
            output.restart(self.limits.stderr_tail);
        }
    }

    /// Lets go of what only the call needed, so that an instance that waits for its next call keeps nothing of the
    /// last one alive.
    pub(crate) fn rest(&mut self) {
        self.answers = Answers::new(None, self.answers.cluster().clone(), &self.limits);
        self.logs = None;
        self.key = None;
        if let Some(output) = &self.output {
            output.restart(0);
        }
    }

    /// Whether the instance can be called again. Memory is never given back by an instance: one that took half of
    /// what it may have would end a later call for what earlier ones left behind.
    pub(crate) fn reusable(&mut self) -> bool {
        self.limit.is_none() && self.memory <= self.limits.memory / 2 && self.table.iter_mut().count() <= KEPT_HANDLES
    }

    /// Records why the call is stopped.
    fn stop(&mut self, limit: LimitKind) -> wasmtime::Error {
        self.limit = Some(limit);
        format_err!("{}", limit.sentence(&self.limits))
    }

    /// Each 10 ms of running: give way to others, or stop for good.
    pub(crate) fn tick(&mut self) -> Result<UpdateDeadline> {
        if self.meter.spent() >= self.limits.cpu {
            return Err(self.stop(LimitKind::Cpu));
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }

    /// Hands over what was printed before the call ended without an answer.
    pub(crate) fn tell_printed(&self) {
        if let (Some(logs), Some(output)) = (&self.logs, &self.output) {
            logs.printed(&output.text());
        }
    }

    fn take_line(&mut self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let Some(logs) = &self.logs else { return };
        let bytes = fields.iter().fold(message.len(), |sum, (name, value)| sum + name.len() + value.len());
        if self.lines >= self.limits.log_lines || bytes > self.limits.log_bytes.saturating_sub(self.line_bytes) {
            self.lines_dropped = self.lines_dropped.saturating_add(1);
            return;
        }
        self.lines += 1;
        self.line_bytes += bytes;
        logs.log(level, message, fields);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // A component may have several memories: the limit is for all of them together.
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        if total > self.limits.memory {
            return Err(self.stop(LimitKind::Memory));
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        if total > self.limits.table_elements {
            return Err(self.stop(LimitKind::Table));
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }
}

impl types::Host for State {}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) -> Result<()> {
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.take_line(level, &message, &fields);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use setpoint_core::contract::{ListQuery, ReadError};

    use super::*;
    use crate::reads::BoxFuture;

    struct Nothing;

    impl Reads for Nothing {
        fn get(&self, _: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
            Box::pin(async { Ok(None) })
        }

        fn list(&self, _: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
            Box::pin(async { Ok(Arc::from([])) })
        }
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Logs for Kept {
        fn log(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
            self.0.lock().expect("one thread").push(format!("{level:?} {message} {fields:?}"));
        }
    }

    fn state(limits: &Limits, logs: Arc<Kept>) -> State {
        let key = Arc::new(Key::new("local", "g", "K", Some("default"), "n"));
        State::call(Digest::of(b""), key, limits, Arc::new(Nothing), Some(logs))
    }

    #[test]
    fn lines_beyond_the_limits_are_dropped_and_counted() {
        let logs = Arc::new(Kept::default());
        let limits = Limits { log_lines: 3, log_bytes: 20, ..Limits::default() };
        let mut state = state(&limits, logs.clone());
        state.take_line(LogLevel::Info, "0123456789", &[("a".into(), "b".into())]);
        state.take_line(LogLevel::Warn, "too long now", &[]);
        state.take_line(LogLevel::Warn, "x", &[]);
        state.take_line(LogLevel::Warn, "y", &[]);
        state.take_line(LogLevel::Warn, "z", &[]);
        let expected = ["Info 0123456789 [(\"a\", \"b\")]", "Warn x []", "Warn y []"];
        assert_eq!(*logs.0.lock().expect("one thread"), expected);
        assert_eq!(state.lines_dropped, 2);
    }

    #[test]
    fn memories_share_one_limit_and_a_refusal_says_which() {
        let limits = Limits { memory: 1000, ..Limits::default() };
        let mut state = state(&limits, Arc::default());
        assert!(state.memory_growing(0, 600, None).expect("within"));
        assert!(state.memory_growing(0, 400, None).expect("within"));
        assert!(!state.memory_growing(400, 400, Some(300)).expect("its own maximum"));
        let error = state.memory_growing(600, 601, None).expect_err("beyond");
        assert!(error.to_string().contains("1000 bytes of memory"), "{error}");
        assert_eq!(state.limit, Some(LimitKind::Memory));
        assert!(state.table_growing(0, 6_000, None).expect("within"));
        assert!(state.table_growing(0, 4_001, None).is_err(), "tables share one limit as well");
        assert_eq!(state.limit, Some(LimitKind::Table));
    }

    #[test]
    fn the_next_call_of_an_instance_starts_anew_and_keeps_what_the_instance_has() {
        let logs = Arc::new(Kept::default());
        let limits = Limits { memory: 1000, log_lines: 1, table_elements: 10, ..Limits::default() };
        let mut state = self::state(&limits, logs.clone());
        assert!(state.memory_growing(0, 400, None).expect("within"));
        assert!(state.table_growing(0, 6, None).expect("within"));
        for _ in 0..3 {
            state.take_line(LogLevel::Info, "line", &[]);
        }
        state.table.push(1_u8).expect("a handle");
        state.world.impure = true;
        assert!(state.reusable());
        state.rest();
        assert!(state.key.is_none() && state.logs.is_none());

        state.renew(self::state(&Limits { memory: 900, ..limits }, logs.clone()));
        assert_eq!((state.lines, state.line_bytes, state.lines_dropped), (0, 0, 0));
        assert!(!state.world.impure && state.key.is_some());
        assert_eq!(state.table.iter_mut().count(), 1, "a handle that the guest holds stays valid");
        state.take_line(LogLevel::Info, "again", &[]);
        assert_eq!(*logs.0.lock().expect("one thread"), ["Info line []", "Info again []"]);
        assert!(state.memory_growing(400, 900, None).expect("what it has counts once"));
        assert!(state.memory_growing(0, 1, None).is_err(), "and counts on");
        assert!(state.table_growing(0, 5, None).is_err());
    }

    #[test]
    fn an_instance_that_grew_large_or_loses_handles_is_not_reused() {
        let limits = Limits { memory: 1000, ..Limits::default() };
        let mut large = self::state(&limits, Arc::default());
        assert!(large.memory_growing(0, 500, None).expect("within") && large.reusable());
        assert!(large.memory_growing(500, 501, None).expect("within") && !large.reusable());

        let mut losing = self::state(&limits, Arc::default());
        for number in 0..=KEPT_HANDLES {
            assert!(losing.reusable(), "{number}");
            losing.table.push(number).expect("a handle");
        }
        assert!(!losing.reusable());

        let mut stopped = self::state(&limits, Arc::default());
        assert!(stopped.memory_growing(0, 1001, None).is_err() && !stopped.reusable());
    }
}
