//! The clock by which running plugins are interrupted: one thread that counts the engine's epoch up
//! every 10 ms, and sleeps for good while no plugin runs (design §9: idle is quiet).

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
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { running: AtomicUsize::new(0), closed: AtomicBool::new(false), ticks: AtomicU64::new(0) });
        let weak = engine.weak();
        let handle = std::thread::Builder::new().name("setpoint-epoch".to_owned()).spawn({
            let shared = shared.clone();
            move || {
                while !shared.closed.load(Ordering::SeqCst) {
                    if shared.running.load(Ordering::SeqCst) == 0 {
                        // A wake-up between the load and this leaves a token, so none is lost.
                        std::thread::park();
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
        let ticker = Ticker::start(&engine).expect("a thread");
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
    fn the_thread_ends_with_its_owner() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).expect("a thread");
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        wait_for(|| shared.strong_count() == 0);
    }
}
