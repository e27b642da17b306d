//! A plugin's reads, answered from the engine's cache and tracked there (rules A3, A4).

use std::sync::Arc;
use std::time::Duration;

use setpoint_core::contract::{ListQuery, ReadError};
use setpoint_core::engine::{Answered, Engine};
use setpoint_core::key::{Key, KeyId};
use setpoint_plugin::{BoxFuture, Reads};

use crate::driver::Driver;

/// A first read of a source that is still syncing waits so long for it.
const WAIT: Duration = Duration::from_secs(1);

/// The reads of one attempt.
pub(crate) struct EngineReads {
    pub(crate) driver: Arc<Driver>,
    pub(crate) reader: KeyId,
}

impl EngineReads {
    async fn answer<T>(&self, ask: impl Fn(&mut Engine, bool) -> Answered<T>) -> Result<T, ReadError> {
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let synced = self.driver.synced.notified();
            tokio::pin!(synced);
            // Registered before the question, so that a source that is synced in between is seen.
            synced.as_mut().enable();
            let wait = tokio::time::Instant::now() < deadline;
            match self.driver.with(|engine, _| ask(engine, wait)) {
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
