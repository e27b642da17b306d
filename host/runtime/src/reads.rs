//! A plugin's reads, answered from the engine's cache: tracked there for attempts (rules A3, A4),
//! untracked for calls without effects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use setpoint_core::contract::{ListQuery, ReadError};
use setpoint_core::engine::{Answered, Engine, PluginInfo};
use setpoint_core::key::{Key, KeyId};
use setpoint_plugin::{BoxFuture, Reads};

use crate::driver::Driver;

/// A first read of a source that is still syncing waits so long for it.
const WAIT: Duration = Duration::from_secs(1);

/// The reads of one attempt. They outlive it in the records of the driver's last calls, so they
/// refer to the driver weakly.
pub(crate) struct EngineReads {
    pub(crate) driver: Weak<Driver>,
    pub(crate) reader: KeyId,
}

impl EngineReads {
    async fn answer<T>(&self, ask: impl Fn(&mut Engine, bool) -> Answered<T>) -> Result<T, ReadError> {
        let Some(driver) = self.driver.upgrade() else {
            return Err(ReadError::Unavailable("the host is stopping".into()));
        };
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let synced = driver.synced.notified();
            tokio::pin!(synced);
            // Registered before the question, so that a source that is synced in between is seen.
            synced.as_mut().enable();
            let wait = tokio::time::Instant::now() < deadline;
            match driver.with(|engine, _| ask(engine, wait)) {
                Answered::Now(answer) => return answer,
                Answered::Syncing(_) => {
                    let _ = tokio::time::timeout_at(deadline, synced).await;
                }
            }
        }
    }
}

impl Reads for EngineReads {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        Box::pin(async move { self.answer(|engine, wait| engine.read_get(self.reader, &key, wait)).await })
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        Box::pin(async move {
            let items = self.answer(|engine, wait| engine.read_list(self.reader, &query, wait)).await?;
            Ok(items.into())
        })
    }
}

/// The reads of a call without effects, as a version of a plugin would be answered that need not be
/// the one that runs. Nothing depends on them, and nothing is waited for.
pub(crate) struct PeekReads {
    driver: Arc<Driver>,
    info: Arc<PluginInfo>,
    unanswered: AtomicBool,
}

impl PeekReads {
    pub(crate) fn new(driver: Arc<Driver>, info: Arc<PluginInfo>) -> Self {
        Self { driver, info, unanswered: AtomicBool::new(false) }
    }

    /// Whether a read had no answer because the host could not know: what the plugin made of that
    /// says little about the plugin.
    pub(crate) fn unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }

    fn note<T>(&self, answer: Result<T, ReadError>) -> Result<T, ReadError> {
        if matches!(answer, Err(ReadError::Unavailable(_))) {
            self.unanswered.store(true, Ordering::Relaxed);
        }
        answer
    }
}

impl Reads for PeekReads {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        let answer = self.driver.look(|engine| engine.peek_get_as(&self.info, &key));
        Box::pin(std::future::ready(self.note(answer)))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        let answer = self.driver.look(|engine| engine.peek_list_as(&self.info, &query));
        Box::pin(std::future::ready(self.note(answer).map(Arc::<[Arc<str>]>::from)))
    }
}
