//! Which reflectors run: those that somebody needs, and for a while those that somebody has needed (rule A8).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use setpoint_core::coverage::Scope;
use setpoint_core::engine::Want;
use setpoint_core::key::{GroupKind, GroupVersionKind, Name};
use setpoint_core::mask::Mask;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Shared;
use super::definitions::Definitions;
use super::watcher::Watcher;
use crate::health::WatchHealth;

/// A reflector that nobody needs is kept so long.
pub(crate) const KEPT: Duration = Duration::from_secs(300);

struct Slot {
    watcher: Arc<Watcher>,
    task: JoinHandle<()>,
    /// Since when nobody has needed it.
    idle: Option<Instant>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The reflectors of a cluster.
pub(crate) struct Wanted {
    shared: Arc<Shared>,
    slots: Mutex<BTreeMap<(GroupKind, Scope), Slot>>,
    /// Looks at the definitions of custom resources, once there are any to look at.
    definitions: Mutex<Option<Slot>>,
}

impl Wanted {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, slots: Mutex::default(), definitions: Mutex::default() })
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<(GroupKind, Scope), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is needed and does not run, and lets go of what is not needed. To be called on a runtime, and
    /// without what the sink locks: it is told at once what is on its way.
    pub(crate) fn want(self: &Arc<Self>, wants: Vec<Want>) {
        let versions: BTreeMap<GroupKind, Name> =
            wants.iter().map(|want| (want.kind.group_kind(), want.kind.version.clone())).collect();
        let custom = versions.keys().any(|kind| kind.group.contains('.'));
        self.shared.kinds.want(versions);
        if custom {
            self.look_at_definitions();
        }
        let mut slots = self.slots();
        let mut idle: Vec<(GroupKind, Scope)> = slots.keys().cloned().collect();
        for Want { kind, scope, mask } in wants {
            let key = (kind.group_kind(), scope.clone());
            idle.retain(|known| *known != key);
            match slots.get_mut(&key) {
                Some(slot) if slot.watcher.kind.version == kind.version => {
                    slot.idle = None;
                    slot.watcher.widen(&mask);
                }
                _ => {
                    // Another version replaces what ran; what was told stays until its list is complete.
                    slots.insert(key, self.start(kind, scope, mask));
                }
            }
        }
        let mut newly_idle = false;
        for key in idle {
            if let Some(slot) = slots.get_mut(&key)
                && slot.idle.is_none()
            {
                slot.idle = Some(Instant::now());
                newly_idle = true;
            }
        }
        drop(slots);
        if newly_idle {
            let this = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(KEPT).await;
                if let Some(this) = this.upgrade() {
                    this.sweep();
                }
            });
        }
    }

    fn start(&self, kind: GroupVersionKind, scope: Scope, mask: Mask) -> Slot {
        let watcher = Watcher::new(self.shared.clone(), self.shared.sink.clone(), kind, scope, mask);
        watcher.announce();
        Slot { task: tokio::spawn(watcher.clone().run()), watcher, idle: None }
    }

    fn sweep(&self) {
        let mut slots = self.slots();
        let over: Vec<(GroupKind, Scope)> = slots
            .iter()
            .filter(|(_, slot)| slot.idle.is_some_and(|since| since.elapsed() >= KEPT))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if let Some(slot) = slots.remove(&key) {
                slot.task.abort();
                slot.watcher.ended();
            }
        }
    }

    fn look_at_definitions(self: &Arc<Self>) {
        let mut definitions = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        if definitions.is_some() {
            return;
        }
        let sink = Arc::new(Definitions::new(self));
        let watcher =
            Watcher::new(self.shared.clone(), sink, Definitions::kind(), Scope::All, Definitions::mask()).quiet();
        *definitions = Some(Slot { task: tokio::spawn(watcher.clone().run()), watcher, idle: None });
    }

    /// The definition of a kind came, changed or went: what is known of it is looked up anew.
    pub(super) fn definition(&self, group: &str, plural: &str, version: Option<&str>) {
        let known = self.shared.kinds.definition_moved(group, plural, version);
        for ((kind, _), slot) in self.slots().iter() {
            if &*kind.group != group {
                continue;
            }
            // Which kind a plural stands for is known only of kinds that were found.
            if known && self.shared.kinds.known(kind).is_none() {
                slot.watcher.relist();
            } else {
                slot.watcher.hurry();
            }
        }
    }

    /// Lists a part of a kind anew, if it is watched.
    pub(crate) fn list_anew(&self, kind: &GroupKind, scope: &Scope) {
        if let Some(slot) = self.slots().get(&(kind.clone(), scope.clone())) {
            slot.watcher.relist();
        }
    }

    /// What anybody sees of a kind.
    pub(crate) fn mask(&self, kind: &GroupKind) -> Mask {
        let slots = self.slots();
        let masks = slots.iter().filter(|((known, _), _)| known == kind).map(|(_, slot)| slot.watcher.mask());
        masks.reduce(|a, b| a.union(&b)).unwrap_or_default()
    }

    pub(crate) fn health(&self) -> Vec<WatchHealth> {
        self.slots().values().filter(|slot| slot.idle.is_none()).map(|slot| slot.watcher.health()).collect()
    }

    /// All that run.
    pub(crate) fn watchers(&self) -> Vec<Arc<Watcher>> {
        self.slots().values().map(|slot| slot.watcher.clone()).collect()
    }

    /// Stops everything. Nothing is told any more.
    pub(crate) fn stop(&self) {
        self.slots().clear();
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
