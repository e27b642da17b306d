//! How a host is told to stop.

use tokio::sync::watch;

/// Asks everything that was given it to stop, once and for all. Clones are the same token.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that nobody has asked yet.
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// Asks. It returns at once; what stops takes its time.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is asked; at once if it was.
    pub async fn requested(&self) {
        let mut receiver = self.0.subscribe();
        // An error would say that there is no sender; this is one.
        let _ = receiver.wait_for(|requested| *requested).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_those_who_come_late_as_well() {
        let token = Shutdown::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.requested().await }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_requested());
        token.request();
        assert!(waiting.await.is_ok() && token.is_requested());
        token.clone().requested().await;
    }
}
