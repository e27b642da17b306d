//! The clock by which running plugins are interrupted: one thread that counts the engine's epoch up
//! every 10 ms. While no plugin runs it wakes up only for what is still to be swept away, and when there
//! is nothing it sleeps for good (design §9: idle is quiet).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::Engine;

/// How often a running plugin gives way to others.
pub(crate) const TICK: Duration = Duration::from_millis(10);

struct Shared {
    running: AtomicUsize,
    closed: AtomicBool,
    ticks: AtomicU64,
}

/// The thread. It ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Keeps the clock ticking while it lives.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    /// Starts the thread. It holds the engine only while it ticks, so it never keeps it alive.
    ///
    /// `sweep` tidies up and answers when it has to be called again, none if there is nothing left. What
    /// it is to see must be there before the [`Running`] of its call is dropped.
    pub(crate) fn start(
        engine: &Engine,
        sweep: impl Fn() -> Option<Duration> + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { running: AtomicUsize::new(0), closed: AtomicBool::new(false), ticks: AtomicU64::new(0) });
        let weak = engine.weak();
        let handle = std::thread::Builder::new().name("setpoint-epoch".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                while !shared.closed.load(Ordering::SeqCst) {
                    // Looked at before sweeping: what a call leaves behind after this, wakes this thread up.
                    let idle = shared.running.load(Ordering::SeqCst) == 0;
                    let next = sweep();
                    if idle {
                        // A wake-up between the load and this leaves a token, so none is lost.
                        match next {
                            Some(wait) => std::thread::park_timeout(wait),
                            None => std::thread::park(),
                        }
                        continue;
                    }
                    // Not `park_timeout`: a call that begins meanwhile then costs no system call.
                    std::thread::sleep(TICK);
                    let Some(engine) = weak.upgrade() else { return };
                    engine.increment_epoch();
                    shared.ticks.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Says that a plugin runs until the answer is dropped.
    pub(crate) fn enter(&self) -> Running {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Running(self.shared.clone())
    }

    /// How often it ticked.
    #[cfg(test)]
    fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(what: impl Fn() -> bool) {
        let start = std::time::Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10), "it never happened");
            std::thread::sleep(TICK / 2);
        }
    }

    #[test]
    fn it_ticks_while_something_runs_and_only_then() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, || None).expect("a thread");
        std::thread::sleep(TICK * 5);
        assert_eq!(ticker.ticks(), 0);
        let (a, b) = (ticker.enter(), ticker.enter());
        wait_for(|| ticker.ticks() > 2);
        drop(a);
        let seen = ticker.ticks();
        wait_for(|| ticker.ticks() > seen);
        drop(b);
        // One tick may be under way.
        std::thread::sleep(TICK * 3);
        let seen = ticker.ticks();
        std::thread::sleep(TICK * 5);
        assert_eq!(ticker.ticks(), seen);
        let _c = ticker.enter();
        wait_for(|| ticker.ticks() > seen);
    }

    #[test]
    fn what_is_left_behind_is_swept_and_then_the_thread_sleeps_for_good() {
        let engine = Engine::default();
        let left = Arc::new(AtomicUsize::new(0));
        let sweeps = Arc::new(AtomicUsize::new(0));
        let ticker = Ticker::start(&engine, {
            let (left, sweeps) = (left.clone(), sweeps.clone());
            move || {
                sweeps.fetch_add(1, Ordering::SeqCst);
                let before = left.load(Ordering::SeqCst);
                left.store(before.saturating_sub(1), Ordering::SeqCst);
                (before > 1).then_some(TICK)
            }
        })
        .expect("a thread");
        let running = ticker.enter();
        wait_for(|| ticker.ticks() > 0);
        left.store(5, Ordering::SeqCst);
        drop(running);
        wait_for(|| left.load(Ordering::SeqCst) == 0);
        // One may be under way.
        std::thread::sleep(TICK * 3);
        let (seen, ticks) = (sweeps.load(Ordering::SeqCst), ticker.ticks());
        std::thread::sleep(TICK * 10);
        assert_eq!((sweeps.load(Ordering::SeqCst), ticker.ticks()), (seen, ticks));
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, || None).expect("a thread");
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        wait_for(|| shared.strong_count() == 0);
    }
}
