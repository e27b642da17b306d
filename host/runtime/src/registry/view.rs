//! What a reader of a registry holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::de::DeserializeOwned;
use setpoint_core::key::{Key, Name, Source};
use setpoint_core::registry::{Item as Raw, Standing};
use tokio::sync::watch;

use super::snapshot::{Item, RegistryState, Snapshot, Unreadable};
use crate::driver::Driver;

/// What is said of an object that does not parse, in characters.
const LONGEST_ERROR: usize = 300;

/// What the objects of a kind amount to, live. Cheap to clone; clones share what they have parsed.
///
/// It holds on to nothing of the host: when that has stopped, the view shows what was known last.
pub struct RegistryView<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for RegistryView<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for RegistryView<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { source, namespace, .. } = &*self.shared;
        write!(
            f,
            "RegistryView({source}{})",
            namespace.as_deref().map(|name| format!(" in {name}")).unwrap_or_default()
        )
    }
}

struct Shared<T> {
    /// Weak: a view must not keep the host's caches alive.
    driver: Weak<Driver>,
    source: Source,
    namespace: Option<Name>,
    /// The newest that was made: what has not changed since is taken from it.
    newest: Mutex<Arc<Snapshot<T>>>,
}

impl<T: DeserializeOwned> RegistryView<T> {
    pub(super) fn open(driver: &Arc<Driver>, source: Source, namespace: Option<Name>) -> Self {
        driver.with(|engine, _| engine.open_registry(&source));
        let newest = Mutex::new(Arc::new(Snapshot::empty(RegistryState::Filling)));
        let view = Self { shared: Arc::new(Shared { driver: Arc::downgrade(driver), source, namespace, newest }) };
        view.snapshot();
        view
    }

    /// What there is now. Two calls between which nothing moved answer the same.
    pub fn snapshot(&self) -> Arc<Snapshot<T>> {
        let Shared { driver, source, namespace, newest } = &*self.shared;
        // Held while it is looked at, so that nobody gets an older one after a newer.
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(driver) = driver.upgrade() else { return newest.clone() };
        let looked = driver.look(|engine| {
            let standing = engine.registry_standing(source, namespace.as_ref())?;
            let same = standing.version == newest.version;
            Some((standing, (!same).then(|| engine.registry_items(source, namespace.as_ref()))))
        });
        let Some((Standing { version, state }, items)) = looked else { return newest.clone() };
        let state = RegistryState::from(state);
        let made = match items {
            None if newest.state == state => return newest.clone(),
            None => {
                let Snapshot { items, unreadable, .. } = &**newest;
                Snapshot { version, state, items: items.clone(), unreadable: unreadable.clone() }
            }
            Some(items) => read(version, state, items, &newest),
        };
        *newest = Arc::new(made);
        newest.clone()
    }

    /// See [`Snapshot::version`].
    pub fn version(&self) -> u64 {
        self.snapshot().version
    }

    /// See [`Snapshot::state`].
    pub fn state(&self) -> RegistryState {
        self.snapshot().state.clone()
    }

    /// See [`Snapshot::get`].
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Item<T>> {
        self.snapshot().get(namespace, name).cloned()
    }

    /// See [`Snapshot::list`].
    pub fn list(&self) -> Vec<Item<T>> {
        self.snapshot().items.clone()
    }

    /// See [`Snapshot::count`].
    pub fn count(&self) -> usize {
        self.snapshot().count()
    }

    /// What there is, now and whenever it changes. Who is slow misses moments between, never the newest.
    pub fn changes(&self) -> Changes<T> {
        let moved = match self.shared.driver.upgrade() {
            Some(driver) => driver.registries.subscribe(&self.shared.source),
            None => watch::channel(()).1,
        };
        Changes { view: self.clone(), moved, last: None }
    }
}

/// Makes a snapshot of what is there; what has the generation that it had is not parsed again.
fn read<T: DeserializeOwned>(version: u64, state: RegistryState, raw: Vec<Raw>, before: &Snapshot<T>) -> Snapshot<T> {
    let known: HashMap<&Arc<Key>, &Item<T>> = before.items.iter().map(|item| (&item.key, item)).collect();
    let mut snapshot = Snapshot { version, state, items: Vec::with_capacity(raw.len()), unreadable: Vec::new() };
    for Raw { key, content, generation } in raw {
        if let Some(known) = known.get(&key).filter(|known| known.generation == generation) {
            snapshot.items.push((*known).clone());
            continue;
        }
        match serde_json::from_str(&content) {
            Ok(value) => snapshot.items.push(Item { key, generation, value: Arc::new(value) }),
            Err(error) => {
                let error = error.to_string().chars().take(LONGEST_ERROR).collect();
                snapshot.unreadable.push(Unreadable { key, generation, error });
            }
        }
    }
    snapshot
}

/// A registry as it changes, without polling.
pub struct Changes<T> {
    view: RegistryView<T>,
    moved: watch::Receiver<()>,
    last: Option<Arc<Snapshot<T>>>,
}

impl<T: DeserializeOwned> Changes<T> {
    /// The first time what there is, at once; then the newest, as soon as it differs from what was answered last: in
    /// content, or in what is known of it. None when the host has stopped. It may be given up and asked again.
    pub async fn next(&mut self) -> Option<Arc<Snapshot<T>>> {
        loop {
            // Marked before it is looked at, so that what moves in between is looked at again.
            self.moved.borrow_and_update();
            let now = self.view.snapshot();
            // What is the same is the same snapshot.
            if self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &now)) {
                self.last = Some(now.clone());
                return Some(now);
            }
            self.moved.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
