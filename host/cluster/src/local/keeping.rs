//! What is shown, and when: a change is told, and shown to people, once it is on disk. A kill never
//! takes back what somebody has seen (design §9.7).
//!
//! The model runs ahead of the disk, so that commits can be made in groups. What is under way is
//! remembered with what was shown before; if the store fails, all of it is undone, and the model is
//! what the disk has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use setpoint_core::key::{GroupKind, Key, Source};
use setpoint_core::object::Object;

use crate::Sink;

use super::effects::{Effects, Mutation, Undo};
use super::model::Model;

/// Something that a sink is told.
pub(crate) enum Tell {
    Observed(Arc<Key>, Option<Arc<Object>>),
    Known(Source),
    Unknown(Source, String),
}

/// What becomes of a queued change beside its rows: told once they are on disk, undone if they
/// never will be.
#[derive(Default)]
pub(crate) struct Aftermath {
    pub(crate) tell: Vec<Tell>,
    pub(crate) undo: Vec<Undo>,
}

/// Who hears from the writer of a store what became of queued changes, on the writer's thread.
pub(crate) trait Keeper: Send + Sync {
    /// These are on disk; they come in the order in which they were queued.
    fn kept(&self, changes: Vec<Aftermath>);

    /// The store has failed. `take` answers everything queued that is not on disk, in order; it is
    /// called once, when nothing more can be queued.
    fn lost(&self, take: &mut dyn FnMut() -> Vec<Aftermath>);
}

/// An object with changes under way.
struct InFlight {
    /// The newest version that is on disk.
    shown: Option<Arc<Object>>,
    /// Changes that are not.
    changes: usize,
}

/// Everything that changes, behind one lock.
pub(super) struct State {
    pub(super) model: Model,
    /// Kinds whose files have been read: absence is proven only there.
    pub(super) announced: BTreeSet<GroupKind>,
    in_flight: BTreeMap<Arc<Key>, InFlight>,
}

impl State {
    /// Splits what a change has left to do: rows for the queue, and what follows them.
    pub(super) fn begin(&mut self, effects: Effects) -> (Vec<Mutation>, Aftermath) {
        let Effects { mutations, events, undo } = effects;
        let mut before: FxHashMap<&Key, Option<&Arc<Object>>> = FxHashMap::default();
        for undo in &undo {
            if let Undo::Record(key, record) = undo {
                // The first one is what there was before all of it.
                before.entry(&**key).or_insert_with(|| record.as_ref().and_then(|record| record.object.as_ref()));
            }
        }
        let Self { model, in_flight, .. } = self;
        for (key, _) in &events {
            let flight = in_flight.entry(key.clone()).or_insert_with(|| {
                // What is told anew without a change was there before as it is.
                let shown = before.get(&**key).map_or_else(|| model.get(key), |before| before.cloned());
                InFlight { shown, changes: 0 }
            });
            flight.changes += 1;
        }
        drop(before);
        let tell = events.into_iter().map(|(key, object)| Tell::Observed(key, object)).collect();
        (mutations, Aftermath { tell, undo })
    }

    /// A change that has no rows is over at once.
    pub(super) fn end(&mut self, change: &Aftermath) {
        for tell in &change.tell {
            if let Tell::Observed(key, object) = tell {
                self.landed(key, object);
            }
        }
    }

    fn landed(&mut self, key: &Arc<Key>, object: &Option<Arc<Object>>) {
        if let Some(flight) = self.in_flight.get_mut(key) {
            flight.shown.clone_from(object);
            flight.changes -= 1;
            if flight.changes == 0 {
                self.in_flight.remove(key);
            }
        }
    }

    fn undo(&mut self, change: Aftermath) {
        for undo in change.undo.into_iter().rev() {
            self.model.undo(undo);
        }
        for tell in change.tell {
            match tell {
                Tell::Observed(key, _) => {
                    let over = self.in_flight.get_mut(&key).is_some_and(|flight| {
                        flight.changes -= 1;
                        flight.changes == 0
                    });
                    if over {
                        self.in_flight.remove(&key);
                    }
                }
                Tell::Known(source) => {
                    self.announced.remove(&source.kind);
                }
                Tell::Unknown(..) => {}
            }
        }
    }

    /// Whether an object has changes that are not on disk yet.
    pub(super) fn is_in_flight(&self, key: &Key) -> bool {
        self.in_flight.contains_key(key)
    }

    /// An object as it is on disk.
    pub(super) fn shown(&self, key: &Key) -> Option<Arc<Object>> {
        match self.in_flight.get(key) {
            Some(flight) => flight.shown.clone(),
            None => self.model.get(key),
        }
    }

    /// Objects of the model, those of them that `wanted` names as they are on disk.
    pub(super) fn all_shown(
        &self,
        objects: Vec<(Arc<Key>, Arc<Object>)>,
        wanted: impl Fn(&Key) -> bool,
    ) -> Vec<(Arc<Key>, Arc<Object>)> {
        if self.in_flight.is_empty() {
            return objects;
        }
        let mut shown: BTreeMap<Arc<Key>, Arc<Object>> = objects.into_iter().collect();
        for (key, flight) in self.in_flight.iter().filter(|(key, _)| wanted(key)) {
            match &flight.shown {
                Some(object) => drop(shown.insert(key.clone(), object.clone())),
                None => drop(shown.remove(key)),
            }
        }
        shown.into_iter().collect()
    }
}

/// The state and who hears of it: what the cluster and the writer of its store share.
pub(super) struct Board {
    state: Mutex<State>,
    sink: Arc<dyn Sink>,
}

impl Board {
    pub(super) fn new(model: Model, sink: Arc<dyn Sink>) -> Self {
        let state = State { model, announced: BTreeSet::new(), in_flight: BTreeMap::new() };
        Self { state: Mutex::new(state), sink }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A sink that panicked did so after the change was complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Undoes the newest change, which cannot be kept. What is not known any more is told in any
    /// case: it takes nothing back.
    pub(super) fn give_up(&self, state: &mut State, change: Aftermath) {
        let Aftermath { tell, undo } = change;
        let (unknown, tell): (Vec<Tell>, Vec<Tell>) =
            tell.into_iter().partition(|tell| matches!(tell, Tell::Unknown(..)));
        state.undo(Aftermath { tell, undo });
        self.tell(unknown);
    }

    /// Tells the sink. By the writer alone while anything is queued, else with the state locked: so
    /// everything is told in order.
    pub(super) fn tell(&self, tell: Vec<Tell>) {
        for tell in tell {
            match tell {
                Tell::Observed(key, object) => self.sink.observed(&key, object),
                Tell::Known(source) => self.sink.source_known(&source),
                Tell::Unknown(source, reason) => self.sink.source_unknown(&source, &reason),
            }
        }
    }
}

impl Keeper for Board {
    fn kept(&self, changes: Vec<Aftermath>) {
        {
            let mut state = self.lock();
            for change in &changes {
                state.end(change);
            }
        }
        for change in changes {
            self.tell(change.tell);
        }
    }

    fn lost(&self, take: &mut dyn FnMut() -> Vec<Aftermath>) {
        let mut state = self.lock();
        for change in take().into_iter().rev() {
            self.give_up(&mut state, change);
        }
    }
}
