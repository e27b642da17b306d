//! The places of the engine's pool: who may have an instance, and the instances that wait for their next call.
//!
//! The engine answers a request for one instance more than it has places with an error. So that a call waits
//! instead, it enters first, and before it makes an instance it makes room. What must hold: instances of running
//! calls and instances that are kept are together never more than there are places. A kept instance therefore
//! costs others nothing: when its place is needed, it goes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The places, and what is kept in them between calls.
pub(crate) struct Pool<T> {
    /// As many permits as places. Held while a call runs, not while an instance is kept.
    permits: Semaphore,
    places: usize,
    /// What is kept and not used for so long goes.
    idle: Duration,
    shelf: Mutex<Shelf<T>>,
}

struct Shelf<T> {
    /// Calls that have a place, whether their instance is made yet or not.
    running: usize,
    /// In the order in which they were put there.
    kept: Vec<Kept<T>>,
}

struct Kept<T> {
    owner: u64,
    since: Instant,
    instance: T,
}

/// A place of the pool. For one instance at a time.
pub(crate) struct Place<'a, T> {
    pool: &'a Pool<T>,
    // Given back after the place is counted as free.
    _permit: SemaphorePermit<'a>,
}

impl<T> Pool<T> {
    pub(crate) fn new(places: usize, idle: Duration) -> Self {
        let shelf = Mutex::new(Shelf { running: 0, kept: Vec::new() });
        Self { permits: Semaphore::new(places), places, idle, shelf }
    }

    /// Waits for a place, in the order in which calls come. None if the pool is closed, which nobody does.
    pub(crate) async fn enter(&self) -> Option<Place<'_, T>> {
        let permit = self.permits.acquire().await.ok()?;
        self.lock().running += 1;
        Some(Place { pool: self, _permit: permit })
    }

    /// Places without a running call.
    pub(crate) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// How many instances of an owner are kept.
    pub(crate) fn kept(&self, owner: u64) -> usize {
        self.lock().kept.iter().filter(|kept| kept.owner == owner).count()
    }

    /// Drops what is kept for an owner.
    pub(crate) fn forget(&self, owner: u64) {
        while self.drop_first(|kept| kept.owner == owner) {}
    }

    /// Drops what was not used for too long. Answers how long it takes until something else is; none if nothing is
    /// kept.
    pub(crate) fn sweep(&self, now: Instant) -> Option<Duration> {
        let age = |kept: &Kept<T>| now.saturating_duration_since(kept.since);
        while self.drop_first(|kept| age(kept) >= self.idle) {}
        // The first is the one that waits for longest.
        self.lock().kept.first().map(|kept| self.idle.saturating_sub(age(kept)))
    }

    /// Drops one, if there is one. With the lock held: as soon as it is off the shelf its place counts as free,
    /// and must be. One at a time, so that the lock is not held for long.
    fn drop_first(&self, unwanted: impl Fn(&Kept<T>) -> bool) -> bool {
        let mut shelf = self.lock();
        let Some(at) = shelf.kept.iter().position(unwanted) else { return false };
        drop(shelf.kept.remove(at));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<T>> {
        // Counts and list are right after every step, so what a panic left is as good.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Place<'_, T> {
    /// The instance of this owner that was used last, if one is kept: its memory is the warmest.
    pub(crate) fn take(&self, owner: u64) -> Option<T> {
        let mut shelf = self.pool.lock();
        let at = shelf.kept.iter().rposition(|kept| kept.owner == owner)?;
        Some(shelf.kept.remove(at).instance)
    }

    /// Makes sure that an instance can be made in this place, which has none: drops what waits for longest if
    /// every other place is taken.
    pub(crate) fn make_room(&self) {
        // One is enough: this place then stands for one instance, and before, all were within bounds.
        let surplus = {
            let mut shelf = self.pool.lock();
            let full = shelf.running + shelf.kept.len() > self.pool.places;
            (full && !shelf.kept.is_empty()).then(|| shelf.kept.remove(0))
        };
        // Without the lock: until it is gone, this place stands for it.
        drop(surplus);
    }

    /// Keeps the instance of this place for the owner's next call.
    pub(crate) fn keep(&self, owner: u64, instance: T) {
        self.pool.lock().kept.push(Kept { owner, since: Instant::now(), instance });
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.pool.lock().running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    /// Counts as the engine does, and knows no mercy.
    #[derive(Clone, Default)]
    struct Engine(Arc<AtomicUsize>);

    struct Instance(Engine);

    impl Engine {
        fn live(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }

        fn make(&self, places: usize) -> Instance {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) < places, "more instances than places");
            Instance(self.clone())
        }
    }

    impl Drop for Instance {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A call that keeps its instance.
    async fn call(pool: &Pool<Instance>, engine: &Engine, owner: u64) {
        let place = pool.enter().await.expect("a place");
        let instance = place.take(owner).unwrap_or_else(|| {
            place.make_room();
            engine.make(pool.places)
        });
        tokio::task::yield_now().await;
        place.keep(owner, instance);
    }

    #[tokio::test]
    async fn what_was_kept_last_is_taken_first_and_only_by_its_owner() {
        let pool = Pool::new(10, IDLE);
        let place = pool.enter().await.expect("a place");
        for number in 1..=3 {
            place.keep(7, number);
        }
        assert_eq!((place.take(8), place.take(7), place.take(7)), (None, Some(3), Some(2)));
        assert_eq!((pool.kept(7), pool.kept(8)), (1, 0));
    }

    #[tokio::test]
    async fn a_kept_instance_goes_when_its_place_is_needed() {
        let (pool, engine) = (Pool::new(2, IDLE), Engine::default());
        call(&pool, &engine, 1).await;
        call(&pool, &engine, 2).await;
        assert_eq!((engine.live(), pool.free()), (2, 2), "what is kept holds nobody up");
        call(&pool, &engine, 3).await;
        assert_eq!((pool.kept(1), pool.kept(2), pool.kept(3)), (0, 1, 1), "the one that waited for longest went");
        let _place = pool.enter().await.expect("a place");
        call(&pool, &engine, 2).await;
        assert_eq!(pool.kept(2), 1, "to use what is kept takes no other place");
    }

    #[tokio::test]
    async fn a_call_waits_while_every_place_has_a_running_call() {
        let pool: Pool<Instance> = Pool::new(1, IDLE);
        let place = pool.enter().await.expect("a place");
        assert!(tokio::time::timeout(Duration::from_millis(20), pool.enter()).await.is_err());
        drop(place);
        assert!(pool.enter().await.is_some());
    }

    #[tokio::test]
    async fn what_is_not_used_goes_in_time_and_then_nothing_is_due() {
        let (pool, engine) = (Pool::new(4, IDLE), Engine::default());
        assert_eq!(pool.sweep(Instant::now()), None);
        call(&pool, &engine, 1).await;
        let first = Instant::now();
        let due = pool.sweep(first).expect("something is kept");
        assert!(due <= IDLE && due > IDLE / 2, "{due:?}");
        assert_eq!(engine.live(), 1);
        assert_eq!(pool.sweep(first + IDLE), None);
        assert_eq!(engine.live(), 0);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_gone() {
        let (pool, engine) = (Pool::new(4, IDLE), Engine::default());
        call(&pool, &engine, 1).await;
        call(&pool, &engine, 2).await;
        pool.forget(1);
        assert_eq!((pool.kept(1), pool.kept(2), engine.live()), (0, 1, 1));
    }

    #[test]
    fn there_are_never_more_instances_than_places() {
        const PLACES: usize = 3;
        let pool = Arc::new(Pool::new(PLACES, Duration::from_micros(50)));
        let engine = Engine::default();
        let threads: Vec<_> = (0..4)
            .map(|thread: u64| {
                let (pool, engine) = (pool.clone(), engine.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    runtime.block_on(async {
                        for round in 0..2_000 {
                            let (one, two) = ((thread + round) % 5, round % 3);
                            tokio::join!(call(&pool, &engine, one), call(&pool, &engine, two));
                            match round % 50 {
                                0 => pool.forget(one),
                                25 => {
                                    pool.sweep(Instant::now());
                                }
                                _ => {}
                            }
                        }
                    });
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().is_ok(), "more instances than places");
        }
        assert!(engine.live() <= PLACES);
        assert_eq!(pool.free(), PLACES);
    }
}
