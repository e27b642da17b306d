//! Who is told that a registry has moved. What is told is only that: whoever looks then sees the newest state, so that
//! nobody can be too slow, and nothing is lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use setpoint_core::key::Source;
use tokio::sync::watch;

/// Who waits for which registry.
#[derive(Default)]
pub(crate) struct Waiting {
    senders: Mutex<Senders>,
}

#[derive(Default)]
struct Senders {
    open: HashMap<Source, watch::Sender<()>>,
    /// The host has stopped: nothing will move any more.
    closed: bool,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is told each time a registry has moved, until the host stops.
    pub(crate) fn subscribe(&self, source: &Source) -> watch::Receiver<()> {
        let mut senders = self.lock();
        if senders.closed {
            return watch::channel(()).1;
        }
        senders.open.entry(source.clone()).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// These have moved.
    pub(crate) fn tell(&self, moved: &[Source]) {
        if moved.is_empty() {
            return;
        }
        let senders = self.lock();
        for sender in moved.iter().filter_map(|source| senders.open.get(source)) {
            sender.send_replace(());
        }
    }

    /// Nothing moves any more.
    pub(crate) fn close(&self) {
        let mut senders = self.lock();
        senders.closed = true;
        senders.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_slow_is_told_once_and_the_end_is_told_to_everybody() {
        let (waiting, source) = (Waiting::default(), Source::new("local", "g", "K"));
        let mut receiver = waiting.subscribe(&source);
        waiting.tell(&[source.clone(), Source::new("local", "g", "Other")]);
        waiting.tell(std::slice::from_ref(&source));
        assert!(receiver.changed().await.is_ok());
        assert!(!receiver.has_changed().expect("it goes on"));
        waiting.close();
        assert!(receiver.changed().await.is_err());
        assert!(waiting.subscribe(&source).changed().await.is_err());
    }
}
