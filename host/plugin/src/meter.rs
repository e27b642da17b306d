//! How long a call keeps a thread busy, waiting not counted.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Measures the time in which one future is polled. Only the thread that polls it writes, so
/// relaxed order is enough.
#[derive(Debug)]
pub(crate) struct Meter {
    origin: Instant,
    /// Nanoseconds of finished polls.
    spent: AtomicU64,
    /// When the running poll began, in nanoseconds after `origin`, plus one; 0 if none is running.
    entered: AtomicU64,
}

impl Meter {
    /// A meter that starts at zero.
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, spent: AtomicU64::new(0), entered: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    /// The time so far, the running poll included.
    pub(crate) fn spent(&self) -> Duration {
        let running = match self.entered.load(Ordering::Relaxed) {
            0 => 0,
            entered => self.now().saturating_sub(entered - 1),
        };
        Duration::from_nanos(self.spent.load(Ordering::Relaxed).saturating_add(running))
    }

    /// Runs a future, measured.
    pub(crate) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let entered = self.now();
            self.entered.store(entered + 1, Ordering::Relaxed);
            let answer = future.as_mut().poll(context);
            self.spent.fetch_add(self.now().saturating_sub(entered), Ordering::Relaxed);
            self.entered.store(0, Ordering::Relaxed);
            answer
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_costs_nothing_and_working_costs_its_time() {
        let meter = Meter::new(Instant::now());
        meter.measure(tokio::time::sleep(Duration::from_millis(300))).await;
        let waited = meter.spent();
        assert!(waited < Duration::from_millis(100), "{waited:?}");
        meter
            .measure(async {
                std::thread::sleep(Duration::from_millis(30));
                assert!(meter.spent() >= Duration::from_millis(30), "the running poll counts");
            })
            .await;
        assert!(meter.spent() >= Duration::from_millis(30));
    }
}
