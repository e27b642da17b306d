//! What a hub counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use setpoint_core::sanitize::sanitize;

/// So many characters of the first line that is no message are shown.
const SHOWN: usize = 160;

/// What was seen of a server and its clients since it started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HubCounts {
    /// Lines that are no message.
    pub garbage: u64,
    /// The first of them, so that it can be shown.
    pub first_garbage: Option<String>,
    /// Messages that were too long.
    pub too_long: u64,
    /// Answers to nothing that was asked, and errors that name no request.
    pub strays: u64,
    /// Clients that were let go because they did not read.
    pub slow_clients: u64,
    /// Messages that were not written, because the server did not read.
    pub unwritten: u64,
    /// Clients now.
    pub clients: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) garbage: AtomicU64,
    first_garbage: Mutex<Option<String>>,
    pub(super) too_long: AtomicU64,
    pub(super) strays: AtomicU64,
    pub(super) slow_clients: AtomicU64,
    pub(super) unwritten: AtomicU64,
    pub(super) clients: AtomicU64,
    pub(super) busy: AtomicBool,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    /// A line that is no message.
    pub(super) fn garbage(&self, line: &[u8]) {
        if self.garbage.fetch_add(1, Ordering::Relaxed) == 0 {
            let text: String = String::from_utf8_lossy(line).chars().take(SHOWN).collect();
            *self.first_garbage.lock().unwrap_or_else(PoisonError::into_inner) = Some(sanitize(text.trim()));
        }
    }

    pub(super) fn first_garbage(&self) -> Option<String> {
        self.first_garbage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> HubCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubCounts {
            garbage: read(&self.garbage),
            first_garbage: self.first_garbage(),
            too_long: read(&self.too_long),
            strays: read(&self.strays),
            slow_clients: read(&self.slow_clients),
            unwritten: read(&self.unwritten),
            clients: read(&self.clients),
        }
    }
}
