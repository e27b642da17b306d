//! What is told as it happens, to whoever keeps up.

use tokio::sync::broadcast::{self, error::RecvError};

/// What a listener hears next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard<T> {
    /// The next item.
    Item(T),
    /// The listener was too slow: so many items are lost to it. The next one follows.
    Missed(u64),
}

/// Waits for the next item; none when nothing will come any more.
pub(crate) async fn hear<T: Clone>(receiver: &mut broadcast::Receiver<T>) -> Option<Heard<T>> {
    match receiver.recv().await {
        Ok(item) => Some(Heard::Item(item)),
        Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
        Err(RecvError::Closed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told_how_much_it_missed() {
        let (sender, mut receiver) = broadcast::channel(2);
        for number in 0..5 {
            assert!(sender.send(number).is_ok());
        }
        drop(sender);
        assert_eq!(hear(&mut receiver).await, Some(Heard::Missed(3)));
        assert_eq!(hear(&mut receiver).await, Some(Heard::Item(3)));
        assert_eq!(hear(&mut receiver).await, Some(Heard::Item(4)));
        assert_eq!(hear(&mut receiver).await, None);
    }
}
