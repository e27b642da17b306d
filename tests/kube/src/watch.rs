//! A watch, event by event.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::background;

/// An open watch. Dropped, it is closed.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<Value>,
    task: AbortHandle,
}

impl Watch {
    pub(crate) fn new(mut body: Incoming) -> Self {
        let (found, events) = mpsc::channel();
        let task = background::handle().spawn(async move {
            let mut buffer = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(bytes) = frame.into_data() else { continue };
                buffer.extend_from_slice(&bytes);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let event = serde_json::from_slice(&line).unwrap_or_default();
                    if found.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Self { events, task: task.abort_handle() }
    }

    /// The next event, `{"type": …, "object": …}`; none if there is none within the time, or the watch has ended.
    pub fn next(&self, within: Duration) -> Option<Value> {
        self.events.recv_timeout(within).ok()
    }

    /// The next event for which this holds; others are passed over.
    ///
    /// # Panics
    /// There is none within the time.
    #[track_caller]
    pub fn until(&self, what: &str, within: Duration, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        let mut passed = Vec::new();
        while let Some(event) = self.next(deadline.saturating_duration_since(Instant::now())) {
            if holds(&event) {
                return event;
            }
            passed.push(event);
        }
        panic!("not within {within:?}: {what}; passed over: {}", Value::Array(passed));
    }

    /// Whether the server has closed it, looked for as long as this. What came before is passed over.
    pub fn ends(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
