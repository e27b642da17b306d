//! How much is asked of an API server: a rate, a number of requests at a time, and the pauses that it asks for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::options::Limits;

#[derive(Debug)]
struct State {
    tokens: f64,
    counted: Instant,
    /// The server wants to be left alone until then.
    not_before: Option<Instant>,
}

/// Lets requests through one by one.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: Option<f64>,
    burst: f64,
    slots: Semaphore,
    state: Mutex<State>,
}

impl Throttle {
    pub(crate) fn new(limits: &Limits) -> Self {
        let burst = f64::from(limits.burst.max(1));
        Self {
            rate: limits.requests_per_second.filter(|rate| *rate > 0.0),
            burst,
            slots: Semaphore::new(limits.in_flight.max(1)),
            state: Mutex::new(State { tokens: burst, counted: Instant::now(), not_before: None }),
        }
    }

    /// Waits until a request may be made.
    ///
    /// # Errors
    /// The time there is would pass before that; the server's pause is not over.
    pub(crate) async fn admit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Failure> {
        loop {
            let until = self.next();
            let now = Instant::now();
            if until > deadline {
                return Err(Failure::Throttled(until - now));
            }
            if until <= now {
                break;
            }
            tokio::time::sleep_until(until).await;
        }
        let slot = tokio::time::timeout_at(deadline, self.slots.acquire()).await;
        match slot {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::Throttled(Duration::ZERO)),
        }
    }

    /// When the next request may be made; if that is now, it is counted.
    fn next(&self) -> Instant {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(until) = state.not_before.filter(|until| *until > now) {
            return until;
        }
        let Some(rate) = self.rate else { return now };
        state.tokens = (state.tokens + (now - state.counted).as_secs_f64() * rate).min(self.burst);
        state.counted = now;
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            return now;
        }
        now + Duration::from_secs_f64((1.0 - state.tokens) / rate)
    }

    /// The server asks to be left alone for a while.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.not_before = Some(state.not_before.map_or(until, |before| before.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_beyond_the_burst_come_at_the_rate() {
        let throttle = Throttle::new(&Limits { requests_per_second: Some(100.0), burst: 5, ..Limits::default() });
        let began = Instant::now();
        for _ in 0..15 {
            assert!(throttle.admit(began + Duration::from_secs(60)).await.is_ok());
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(95)..Duration::from_secs(5)).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn a_pause_that_the_server_asks_for_holds_for_everybody() {
        let throttle = Throttle::new(&Limits::default());
        throttle.pause(Duration::from_millis(200));
        throttle.pause(Duration::from_millis(1));
        let now = Instant::now();
        let refused = throttle.admit(now + Duration::from_millis(50)).await;
        assert!(matches!(refused, Err(Failure::Throttled(wait)) if wait > Duration::from_millis(100)));
        assert!(throttle.admit(now + Duration::from_secs(9)).await.is_ok());
        assert!(now.elapsed() >= Duration::from_millis(199));
    }

    #[tokio::test]
    async fn only_so_many_requests_are_under_way() {
        let throttle = Throttle::new(&Limits { in_flight: 1, ..Limits::default() });
        let soon = Instant::now() + Duration::from_millis(30);
        let first = throttle.admit(soon).await;
        assert!(first.is_ok() && throttle.admit(soon).await.is_err());
        drop(first);
        assert!(throttle.admit(Instant::now() + Duration::from_secs(1)).await.is_ok());
    }
}
