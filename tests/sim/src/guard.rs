//! What must hold at every step. The first violation stops the run; each names its rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use setpoint_core::Time;
use setpoint_core::contract::Cause;
use setpoint_core::effects::{OWNER_KEY, OWNER_LABEL, OWNER_UID};
use setpoint_core::engine::{Phase, Row};
use setpoint_core::key::Key;
use setpoint_core::object::Object;

/// What the call of a running attempt came to, as far as deletions depend on it.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// The children of its outcome; none: it has no outcome, or leaves them.
    pub children: Option<Vec<Key>>,
    /// Those of them that are made again where a field cannot be changed (rule B10).
    pub made_again: Vec<Key>,
    /// A read had no answer.
    pub unavailable: bool,
    /// The plugin has cleaned up.
    pub finalized: bool,
}

/// A backoff that is running.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    until: Time,
}

/// The watcher of everything that must hold at every step.
#[derive(Default)]
pub struct Guard {
    truth: BTreeMap<Key, Arc<Object>>,
    running: BTreeSet<Key>,
    backoffs: BTreeMap<Key, Waiting>,
    /// Whose child an object was last.
    owners: BTreeMap<Key, Key>,
    /// Targets of writes without an answer, by owner.
    unsure: BTreeMap<Key, BTreeSet<Key>>,
    /// The newest version of an object that a call of an owner was told, by any host.
    told: BTreeMap<(Key, Key), u64>,
    /// On a rebuilt store: objects of which no attempt has ended yet (rule D10).
    due_first: BTreeSet<Key>,
    violation: Option<String>,
}

impl Guard {
    /// The first violation.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Notes a violation.
    pub fn violated(&mut self, rule: &str, text: impl Into<String>) {
        let text = text.into();
        self.violation.get_or_insert_with(|| format!("{rule}: {text}"));
    }

    /// A host starts. On a rebuilt store nothing is deleted before an attempt of each of these has ended.
    pub fn host_starts(&mut self, due_first: BTreeSet<Key>) {
        self.due_first = due_first;
    }

    /// Objects that are to be looked at before anything is deleted.
    pub fn due_first(&self) -> &BTreeSet<Key> {
        &self.due_first
    }

    /// Of these objects only some are still there, and not held back by a person.
    pub fn only_due(&mut self, due: &BTreeSet<Key>) {
        self.due_first.retain(|key| due.contains(key));
    }

    /// An attempt of an object has ended.
    pub fn looked_at(&mut self, key: &Key) {
        self.due_first.remove(key);
    }

    /// The host has died: no attempt is running any more, and no backoff.
    pub fn host_died(&mut self) {
        self.running.clear();
        self.backoffs.clear();
        self.unsure.clear();
    }

    /// An attempt begins. Checks design §9.1 (one at a time) and rule C1 (an own change never shortens a
    /// backoff).
    pub fn begins(&mut self, now: Time, key: &Key, causes: &[Cause]) {
        if !self.running.insert(key.clone()) {
            self.violated("§9.1", format!("two attempts of {key} at a time"));
        }
        let Some(waiting) = self.backoffs.remove(key) else { return };
        let own = |cause: &Cause| match cause {
            Cause::Retry => true,
            Cause::Dependency(child) => self.owners.get(&**child) == Some(key),
            _ => false,
        };
        if now < waiting.until && causes.iter().all(own) {
            let text = format!("{key} runs {} ms too early because of {causes:?}", waiting.until - now);
            self.violated("C1", text);
        }
    }

    /// An attempt has ended; `row` is what the engine says of the key then.
    pub fn ends(&mut self, key: &Key, row: Option<&Row>) {
        self.running.remove(key);
        if row.is_none() {
            self.unsure.remove(key);
        }
        if let Some(until) = row
            .filter(|row| row.failures > 0 && matches!(row.phase, Phase::Error | Phase::Failed))
            .and_then(|row| row.next_run)
        {
            self.backoffs.insert(key.clone(), Waiting { until });
        }
    }

    /// A failure because of an unknown source was counted or not (rule A4).
    pub fn failed_unavailable(&mut self, key: &Key, before: u32, after: u32) {
        if after > before {
            self.violated("A4", format!("{key}: an attempt without an answer to a read is counted as failed"));
        }
    }

    /// A delete is about to be done: design §9.4, rules A4, B3 and D10. `held`: deletions of the plugin's
    /// present version wait for a person. `due`: an object of the plugin that is to be looked at before
    /// anything is deleted.
    pub fn deletes(&mut self, target: &Key, owner: &Key, decided: &Decided, held: bool, due: Option<Key>) {
        let Some(object) = self.truth.get(target).cloned() else { return };
        if let Some(due) = due.filter(|_| !decided.made_again.contains(target)) {
            self.violated("D10", format!("{target} is deleted for {owner} before {due} was looked at"));
        }
        let Some(marked) = object.mark(OWNER_KEY) else {
            return self.violated("§9.4", format!("{target} is deleted for {owner} and is nobody's child"));
        };
        if marked != owner.to_string() {
            return self.violated("§9.4", format!("{target} is deleted for {owner} and is a child of {marked}"));
        }
        let alive = self.truth.get(owner).filter(|owner| !owner.terminating());
        let orphaned = alive.is_none_or(|owner| object.mark(OWNER_UID) != Some(owner.uid()));
        if orphaned || decided.finalized || decided.made_again.contains(target) {
            return;
        }
        if decided.unavailable {
            return self.violated("A4", format!("{target} is deleted by an outcome with an unknown read"));
        }
        match &decided.children {
            Some(children) if !children.contains(target) => {}
            _ => return self.violated("§9.4", format!("{target} is deleted and the outcome of {owner} has it")),
        }
        if held {
            self.violated("B3", format!("{target} is deleted while deletions are held"));
        }
    }

    /// An object has changed in a cluster: rules B4 (one owner mark per child) and B7 (observedGeneration
    /// never goes back).
    pub fn changed(&mut self, key: &Key, object: Option<&Arc<Object>>) {
        let before = match object {
            Some(object) => self.truth.insert(key.clone(), object.clone()),
            None => self.truth.remove(key),
        };
        // A successor of the same name begins with no doubts.
        if before.as_ref().map(|before| before.uid()) != object.map(|object| object.uid()) {
            self.unsure.remove(key);
        }
        let Some(object) = object else { return };
        match object.mark(OWNER_KEY).and_then(Key::parse) {
            Some(owner) => drop(self.owners.insert(key.clone(), owner)),
            // Somebody else has made it.
            None => drop(self.owners.remove(key)),
        }
        let owned_by: Vec<&str> = object
            .applied()
            .into_iter()
            .flat_map(|applied| applied.keys())
            .filter(|manager| manager.len() == "setpoint/".len() + 32)
            .map(|manager| &**manager)
            .collect();
        if owned_by.len() > 1 {
            self.violated("B4", format!("{key} has more than one owner: {}", owned_by.join(", ")));
        }
        let Some(before) = before.filter(|before| before.uid() == object.uid()) else { return };
        if let (Some(was), Some(is)) = (before.label(OWNER_LABEL), object.label(OWNER_LABEL))
            && was != is
        {
            self.violated("B4", format!("{key} passes from one owner to another"));
        }
        let observed = |object: &Object| object.value().pointer("/status/observedGeneration").and_then(Value::as_i64);
        if let (Some(was), Some(is)) = (observed(&before), observed(object))
            && is < was
        {
            self.violated("B7", format!("{key}: observedGeneration goes from {was} back to {is}"));
        }
    }

    /// Writes of an owner, of this uid, had no answer or had one: before its next call each of their targets is
    /// read live (rule A10).
    pub fn unsure(&mut self, owner: &Key, uid: Option<&str>, target: &Key, unsure: bool) {
        // Of one that has gone meanwhile nobody is called any more, and a successor begins with no doubts.
        let there = self.truth.get(owner).is_some_and(|there| Some(there.uid()) == uid);
        let targets = self.unsure.entry(owner.clone()).or_default();
        if unsure && there {
            targets.insert(target.clone());
        } else {
            targets.remove(target);
        }
    }

    /// A call of an owner is told an object: never an older state than a call before was told, whichever host made it
    /// (rule A11).
    pub fn tells(&mut self, owner: &Key, target: &Key, object: Option<&Object>) {
        let Some(version) = object.and_then(|object| object.resource_version().parse::<u64>().ok()) else { return };
        let before = self.told.insert((owner.clone(), target.clone()), version).unwrap_or(0);
        if version < before {
            self.violated("A11", format!("{owner} was told {target} at {before}, and is told it at {version} now"));
        }
    }

    /// A call begins.
    pub fn calls(&mut self, owner: &Key) {
        if let Some(target) = self.unsure.get(owner).and_then(|targets| targets.first()).cloned() {
            self.violated("A10", format!("{owner} is called before {target} is read again"));
        }
    }
}
