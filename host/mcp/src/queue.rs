//! Queues that are bounded in number and in bytes, and into which nobody waits to push: whoever fills one learns it
//! at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// What counts against a bound in bytes.
pub(crate) trait Weight {
    /// Bytes that it holds.
    fn bytes(&self) -> usize;
}

impl Weight for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// How much fits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// Why something was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// There is no room.
    Full,
    /// Nobody takes out any more.
    Closed,
}

/// The end to push into.
#[derive(Debug)]
pub(crate) struct Push<T> {
    sender: mpsc::Sender<T>,
    bytes: Arc<AtomicUsize>,
    bound: Bound,
}

/// The end to take out of.
#[derive(Debug)]
pub(crate) struct Take<T> {
    receiver: mpsc::Receiver<T>,
    bytes: Arc<AtomicUsize>,
}

/// A queue with these bounds. One item always fits into an empty one.
pub(crate) fn queue<T: Weight>(bound: Bound) -> (Push<T>, Take<T>) {
    let (sender, receiver) = mpsc::channel(bound.items.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    (Push { sender, bytes: bytes.clone(), bound }, Take { receiver, bytes })
}

impl<T: Weight> Push<T> {
    /// Pushes one.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused> {
        let size = item.bytes();
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let full = before > 0 && before.saturating_add(size) > self.bound.bytes;
        let pushed = match full {
            true => Err(Refused::Full),
            false => self.sender.try_send(item).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Closed,
            }),
        };
        if pushed.is_err() {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        pushed
    }

    /// Whether more than half of it is taken, in number or in bytes.
    pub(crate) fn is_crowded(&self) -> bool {
        self.sender.capacity() * 2 < self.sender.max_capacity()
            || self.bytes.load(Ordering::Relaxed) > self.bound.bytes / 2
    }
}

impl<T: Weight> Take<T> {
    /// The next one; none when nobody pushes any more and it is empty.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let item = self.receiver.recv().await?;
        self.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_full_in_number_and_in_bytes_and_empties_again() {
        let (push, mut take) = queue(Bound { items: 3, bytes: 10 });
        assert_eq!(push.push("x".repeat(100)), Ok(()), "one always fits");
        assert_eq!(push.push("y".into()), Err(Refused::Full));
        assert_eq!(take.next().await.map(|item| item.len()), Some(100));
        for _ in 0..3 {
            assert_eq!(push.push("z".into()), Ok(()));
        }
        assert!(push.is_crowded());
        assert_eq!(push.push("z".into()), Err(Refused::Full));
        assert_eq!(take.next().await.as_deref(), Some("z"));
        assert_eq!(push.push("123456789".into()), Err(Refused::Full), "11 bytes are more than 10");
        assert_eq!(push.push("12345678".into()), Ok(()));
        drop(push);
        let mut rest = Vec::new();
        while let Some(item) = take.next().await {
            rest.push(item);
        }
        assert_eq!(rest, ["z", "z", "12345678"]);
        let (push, take) = queue::<String>(Bound { items: 1, bytes: 1 });
        drop(take);
        assert_eq!(push.push("z".into()), Err(Refused::Closed));
    }
}
