//! Locks of what no panic leaves half-way.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a mutex guards, whatever became of others who held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
