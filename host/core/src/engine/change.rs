//! What a change of an object means: for the key itself, for those that read it, and for its owner
//! (rules A1, A2, C1).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::history::{Change, Trace};
use super::schedule::Touch;
use super::state::{Class, KeyState};
use super::{Engine, FanOut};
use crate::Time;
use crate::cache::{self, SourceState};
use crate::contract::Cause;
use crate::coverage::Scope;
use crate::deps::Concerned;
use crate::effects::{CHILD_PLACES, parse_places};
use crate::key::{Key, KeyId, LOCAL, Source};
use crate::object::Object;
use crate::queue::Lane;

pub(super) fn content_of(object: Option<&Object>) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.map(|o| &**o.json()).hash(&mut hasher);
    hasher.finish()
}

/// What others say of an object: without its status and without the host's finalizer and bookkeeping.
fn given(object: &Object) -> Value {
    let mut value = object.value();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut)
    {
        finalizers.retain(|finalizer| finalizer != crate::effects::FINALIZER);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(CHILD_PLACES);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    value
}

impl Engine {
    /// A reflector shows a version of an object; none: it is gone. Ordered per object.
    pub fn observed(&mut self, now: Time, key: &Key, object: Option<Arc<Object>>) {
        self.observed_in(now, &Scope::All, key, object);
    }

    /// A complete list of a source, asked for at `asked`: what is not in it is gone.
    pub fn listed(&mut self, now: Time, source: &Source, asked: Time, objects: Vec<(Key, Arc<Object>)>) {
        let objects = self.set_aside(source, objects);
        for change in self.cache.listed(source, asked, objects) {
            self.apply(now, change, None);
        }
        self.source_synced(now, source);
    }

    /// A bookmark of a source.
    pub fn bookmark(&mut self, now: Time, source: &Source, version: &str) {
        self.bookmark_in(now, source, &Scope::All, version);
    }

    /// A source is complete: what was not shown of it is absent.
    pub fn source_synced(&mut self, now: Time, source: &Source) {
        if self.cache.set_state(source, SourceState::Synced) {
            self.syncs += 1;
            self.source_changed(now, source);
            self.clean_up_orphans(now, source);
        }
    }

    /// A source is being read for the first time.
    pub fn source_syncing(&mut self, source: &Source) {
        if self.cache.set_state(source, SourceState::Syncing) {
            self.registries.source_changed(source);
        }
    }

    /// Nothing is known of a source any more. Nothing is deleted because of it (rules A4, D7).
    pub fn source_unknown(&mut self, now: Time, source: &Source, why: &str) {
        if self.cache.set_state(source, SourceState::Unknown(why.to_owned())) {
            self.source_changed(now, source);
        }
    }

    pub(super) fn source_changed(&mut self, now: Time, source: &Source) {
        self.registries.source_changed(source);
        self.first_list_came(now, source);
        for id in self.deps.waiting_for(source).to_vec() {
            // A read of a running attempt that still waits for the source is answered by what it is now.
            if self.state(id).is_some_and(|state| state.running && state.unavailable.is_none()) {
                continue;
            }
            let because = Cause::Changed.into();
            self.touch(
                now,
                id,
                Touch { class: Class::Foreign, lane: Lane::Dependency, because, debounce: false, read: true },
            );
        }
    }

    /// Owners that have children on record, whose kind is known completely, and that are not there.
    pub(super) fn clean_up_orphans(&mut self, now: Time, source: &Source) {
        let owners: Vec<Key> = self.places.keys().filter(|key| key.source() == *source).cloned().collect();
        for owner in owners {
            let id = self.cache.intern(&owner);
            if self.cache.view(id).is_none() && self.state(id).is_none() {
                let ghost = Object::new(
                    serde_json::json!({"apiVersion": format!("{}/v0", owner.group), "kind": &*owner.kind,
                        "metadata": {"name": &*owner.name, "namespace": owner.namespace.as_deref()}}),
                    None,
                );
                self.vanish(now, id, Arc::new(ghost), None);
            }
        }
    }

    /// A change of a view: `by` is the key whose effects made it, and the number of its run.
    pub(super) fn apply(&mut self, now: Time, change: cache::Change, by: Option<(KeyId, u64)>) {
        let cache::Change { key: id, old, new } = change;
        let origin = by.map(|(author, _)| author);
        self.counts.changes += 1;
        if self.moves.len() <= id.index() {
            self.moves.resize(id.index() + 1, (0, None));
        }
        self.inventory.changed(id, old.as_deref(), new.as_deref());
        let keys = self.cache.keys();
        let change =
            Change { key: keys.key(id).clone(), by: by.map(|(author, number)| (keys.key(author).clone(), number)) };
        self.moves[id.index()] = (self.counts.changes, change.by.clone());
        if !self.registries.is_empty() {
            self.registries.changed(&change.key, new.as_deref());
        }
        let source = change.key.source();
        self.own_key_changed(now, id, &change, old.as_ref(), new.as_ref(), origin);
        let content = content_of(new.as_deref());
        let owner = self.owner_of(id, old.as_deref(), new.as_deref());
        // A write of another owner, whose answer was lost, may have made it that one's own.
        let marked = new.as_deref().and_then(|new| self.marked_for(new));
        let mut owner_told = owner.is_some() && owner == origin;
        for Concerned { readers, masks } in self.deps.concerned(id, &source, old.as_deref(), new.as_deref()) {
            if let Some(owner) = owner {
                owner_told |=
                    readers.iter().any(|(k, m)| *k == owner && masks.as_ref().is_none_or(|masks| masks.contains(m)));
            }
            let (change, number) = (change.clone(), self.counts.changes);
            self.fan_outs.push_back(FanOut {
                readers,
                at: 0,
                masks,
                number,
                origin,
                owner,
                marked,
                target: id,
                content,
                change,
            });
        }
        if !owner_told {
            self.child_changed(now, id, owner, old.as_deref(), new.as_deref(), &change);
        }
        if self.fan_outs.iter().map(|f| f.readers.len() - f.at).sum::<usize>() <= self.options.fan_out_step {
            self.expand_fan_outs(now);
        }
        if new.is_none() {
            self.settled.remove(&id);
            self.forget_if_unused(id);
        }
    }

    /// Whose child an object is: whose document was applied to it, else whose mark it carries.
    pub(super) fn owner_of(&self, id: KeyId, old: Option<&Object>, new: Option<&Object>) -> Option<KeyId> {
        if let Some((owner, _)) = self.documents.get(&id) {
            return Some(*owner);
        }
        self.marked_for(old.or(new)?)
    }

    /// Whose mark an object carries.
    fn marked_for(&self, object: &Object) -> Option<KeyId> {
        let owner = Key::parse(object.mark(crate::effects::OWNER_KEY)?)?;
        let marked = object.label(crate::effects::OWNER_LABEL) == Some(self.identity(&owner).mark());
        self.cache.keys().find(&owner).filter(|_| marked)
    }

    /// A child that its owner did not read counts only when it comes to light, goes, starts terminating, or a
    /// field that was applied differs (rule A1).
    fn child_changed(
        &mut self,
        now: Time,
        id: KeyId,
        owner: Option<KeyId>,
        old: Option<&Object>,
        new: Option<&Object>,
        change: &Change,
    ) {
        let Some(owner) = owner else { return };
        let drifted = match (self.documents.get(&id), old, new) {
            (Some((_, document)), Some(old), Some(new)) => {
                old.uid() != new.uid()
                    || old.terminating() != new.terminating()
                    || !document.is_covered_by(&new.value())
            }
            (Some(_), ..) => true,
            // One that was not known when the last outcome was judged, such as in a source that is complete only
            // now: whether it is to stay is still to be said.
            (None, None, Some(_)) => self.state(owner).is_some_and(|state| state.attempted || state.running),
            // A child that is on its way out: its owner waits until it is gone.
            (None, ..) => {
                new.is_none() && self.state(owner).is_some_and(|s| s.waiting.is_some() || s.vanished.is_some())
            }
        };
        if !drifted {
            return;
        }
        let Some(state) = self.state_mut(owner) else { return };
        let class = Class::Own { fresh: state.is_fresh(content_of(new)) };
        let because = Trace::of(Cause::Dependency(change.key.clone()), change);
        self.touch(now, owner, Touch { class, lane: Lane::Dependency, because, debounce: false, read: true });
    }

    /// The reconciled object itself came, changed or went.
    fn own_key_changed(
        &mut self,
        now: Time,
        id: KeyId,
        change: &Change,
        old: Option<&Arc<Object>>,
        new: Option<&Arc<Object>>,
        origin: Option<KeyId>,
    ) {
        let Some(new) = new else {
            self.doubts.remove(&**self.cache.keys().key(id));
            // Of a cluster that has gone nothing is known: an attempt that still runs there ends by itself.
            let there = self.clusters.contains_key(&change.key.cluster);
            if let (Some(old), true) = (old, there && self.state(id).is_some()) {
                self.vanish(now, id, old.clone(), Some(change));
            }
            return;
        };
        self.marked_places(&change.key, new);
        let source = change.key.source();
        let Some(plugin) = self.plugin_of(&source) else { return };
        if self.state(id).is_none() || self.state(id).is_some_and(|s| s.vanished.is_some()) {
            if let Some(state) = self.state_mut(id) {
                // It is there again, with children of its predecessor to be judged by the next outcome.
                state.vanished = None;
            } else {
                self.new_state(now, id, plugin);
            }
            let first_list = self.cache.state_of(&change.key, false) == SourceState::Syncing;
            let lane = if first_list && !self.is_urgent(new) { Lane::First } else { Lane::User };
            let because = Trace::of(Cause::Created, change);
            self.touch(now, id, Touch { class: Class::Hard, lane, because, debounce: false, read: true });
            return;
        }
        let Some(old) = old else { return };
        if origin == Some(id) {
            return;
        }
        let touch = |class, lane, cause, debounce| Touch {
            class,
            lane,
            because: Trace::of(cause, change),
            debounce,
            read: true,
        };
        if old.uid() != new.uid() {
            self.touch(now, id, touch(Class::Hard, Lane::User, Cause::Created, false));
        } else if new.terminating() && !old.terminating() {
            self.touch(now, id, touch(Class::Hard, Lane::User, Cause::Deleted, false));
        } else if new.generation() != old.generation() {
            self.touch(now, id, touch(Class::Hard, Lane::User, Cause::Changed, true));
        } else if given(old) != given(new) {
            self.touch(now, id, touch(Class::Foreign, Lane::User, Cause::Changed, true));
        } else {
            let content = content_of(Some(new));
            let fresh = self.state_mut(id).is_none_or(|state| state.is_fresh(content));
            self.touch(now, id, touch(Class::Own { fresh }, Lane::Dependency, Cause::Changed, false));
        }
    }

    /// Where an owner in Kubernetes says that its children may be, as this host wrote it before its last stop, or
    /// another one (rule B2). In `local` the store says so.
    fn marked_places(&mut self, owner: &Key, object: &Object) {
        if &*owner.cluster == LOCAL {
            return;
        }
        let Some(text) = object.mark(CHILD_PLACES) else { return };
        let marked = parse_places(owner, text);
        if marked.is_empty() {
            return;
        }
        let known = self.places.entry(owner.clone()).or_default();
        for place in marked {
            if !known.contains(&place) {
                known.push(place);
            }
        }
    }

    /// Deleting already, or reconciled at an older generation: urgent even on the first list (rule C10).
    fn is_urgent(&self, object: &Object) -> bool {
        if object.terminating() {
            return true;
        }
        let value = object.value();
        match value.pointer("/status/observedGeneration").and_then(Value::as_i64) {
            Some(observed) => observed != object.generation(),
            None => false,
        }
    }

    pub(super) fn new_state(&mut self, now: Time, id: KeyId, plugin: crate::queue::PluginId) {
        if self.states.len() <= id.index() {
            self.states.resize_with(id.index() + 1, || None);
        }
        let mut state = KeyState::new(plugin, now);
        state.unsure = self.doubts.remove(&**self.cache.keys().key(id)).unwrap_or_default();
        self.states[id.index()] = Some(Box::new(state));
        self.joins_pass(id, plugin);
    }

    /// An owned object is gone: its children are pruned and its bookkeeping goes (rule B12).
    pub(super) fn vanish(&mut self, now: Time, id: KeyId, last: Arc<Object>, change: Option<&Change>) {
        let key = self.cache.keys().key(id).clone();
        let has_children = self.inventory.has(self.identity(&key).mark());
        if !has_children && !self.places.contains_key(&*key) && !self.state(id).is_some_and(|s| s.running) {
            return self.drop_state(id);
        }
        if self.state(id).is_none() {
            let Some(plugin) = self.plugin_of(&key.source()) else { return };
            self.new_state(now, id, plugin);
        }
        if let Some(state) = self.state_mut(id) {
            state.vanished = Some(last);
        }
        let because = Trace { cause: Cause::Deleted, change: change.cloned() };
        self.touch(now, id, Touch { class: Class::Hard, lane: Lane::User, because, debounce: false, read: true });
    }

    /// Forgets a key: its edges, its timers, its place in the queue.
    pub(super) fn drop_state(&mut self, id: KeyId) {
        let Some(state) = self.states.get_mut(id.index()).and_then(Option::take) else { return };
        self.deps.replace(id, &state.reads, &Default::default());
        if let Some(new_reads) = &state.new_reads {
            self.deps.replace(id, new_reads, &Default::default());
        }
        self.forget_targets(&state.reads);
        if !state.unsure.is_empty() && self.cache.view(id).is_some() {
            self.doubts.insert((**self.cache.keys().key(id)).clone(), state.unsure);
        }
        self.timers.set(id, None);
        self.resyncs.set(id, None);
        self.stuck.set(id, None);
        self.queue.remove(id);
        for child in &state.children {
            self.forget_document(id, *child);
        }
        self.pass_done(id, state.plugin);
        self.forget_if_unused(id);
    }

    /// Gives back the ids of objects that were read and that nothing refers to any more.
    pub(super) fn forget_targets(&mut self, reads: &crate::deps::ReadSet) {
        for (target, _) in &reads.gets {
            self.maybe_not_single(*target);
            if self.cache.view(*target).is_none() {
                self.forget_if_unused(*target);
            }
        }
    }

    /// The owner no longer wants this child.
    pub(super) fn forget_document(&mut self, owner: KeyId, child: KeyId) {
        if self.documents.get(&child).is_some_and(|(known, _)| *known == owner) {
            self.documents.remove(&child);
            self.settled.remove(&child);
            self.forget_if_unused(child);
        }
    }

    pub(super) fn forget_if_unused(&mut self, id: KeyId) {
        let used = self.state(id).is_some()
            || self.deps.is_read(id)
            || self.in_flight.contains_key(&id)
            || self.pins.contains_key(&id)
            || self.documents.contains_key(&id)
            || self.queue.is_running(id)
            || self.fan_outs.iter().any(|f| f.target == id || f.readers.iter().any(|(k, _)| *k == id));
        if !used {
            self.cache.release(id);
        }
    }

    /// Tells dependents of a change, at most so many per step (rule A9).
    pub(super) fn expand_fan_outs(&mut self, now: Time) {
        let mut budget = self.options.fan_out_step;
        while budget > 0 {
            let Some(fan_out) = self.fan_outs.front_mut() else { return };
            let Some((reader, mask)) = fan_out.readers.get(fan_out.at).copied() else {
                self.fan_outs.pop_front();
                continue;
            };
            fan_out.at += 1;
            budget -= 1;
            let (target, content, number) = (fan_out.target, fan_out.content, fan_out.number);
            let written = fan_out.origin == Some(reader);
            // A key's own object is looked at before; a child that it wrote and read is read again (rule A12).
            if written && target == reader || fan_out.masks.as_ref().is_some_and(|m| !m.contains(&mask)) {
                continue;
            }
            let own = written || [fan_out.owner, fan_out.marked].contains(&Some(reader));
            let because = Trace::of(Cause::Dependency(fan_out.change.key.clone()), &fan_out.change);
            let Some(state) = self.state_mut(reader) else { continue };
            let class = if own { Class::Own { fresh: state.is_fresh(content) } } else { Class::Foreign };
            let (debounce, plugin) = (!own, state.plugin);
            if let Some(plugin) = self.plugins.get_mut(plugin.0 as usize) {
                plugin.woken(number);
            }
            self.touch(now, reader, Touch { class, lane: Lane::Dependency, because, debounce, read: true });
        }
    }
}
