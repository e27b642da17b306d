//! What must hold in the end: design §9.2 (the outcome is what is there, and then it is quiet), §9.3
//! (the last state of everything was seen), and rules A4, B2, B4, B12.

use std::collections::BTreeSet;

use serde_json::Value;
use setpoint_core::Time;
use setpoint_core::contract::{ListQuery, Outcome, Readiness};
use setpoint_core::effects::{OWNER_KEY, PAUSED};
use setpoint_core::engine::Trial;
use setpoint_core::fields::{covers, same};
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::mask::Mask;
use setpoint_core::object::Object;
use setpoint_core::selector::Selector;

use crate::kinds::GROUP;
use crate::plugin::{Ask, Plugin, Question, Reads, Stop, Told, child_key};
use crate::server::Server;
use crate::world::World;

/// Reads of the truth, as a plugin would see it.
struct Truth<'a> {
    server: &'a Server,
    plugin: &'a Plugin,
}

impl Truth<'_> {
    fn view(&self, kind: &GroupKind, object: &Object) -> String {
        Mask::parse(&self.plugin.mask_of(kind)).unwrap_or_default().view(object).to_string()
    }

    fn object(&self, key: &Key) -> Option<String> {
        Some(self.view(&key.group_kind(), &*self.server.get(key)?))
    }

    fn objects(&self, query: &ListQuery) -> Vec<String> {
        let selector = query.labels.as_deref().map_or_else(|| Ok(Selector::default()), Selector::parse);
        let selector = selector.unwrap_or_default();
        let Some(model) = self.server.models.get(&query.cluster) else { return Vec::new() };
        let objects = model.objects(&query.kind).into_iter();
        objects
            .filter(|object| query.namespace.as_deref().is_none_or(|namespace| object.namespace() == Some(namespace)))
            .filter(|object| selector.matches(object.labels()))
            .map(|object| self.view(&query.kind, &object))
            .collect()
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

impl Reads for Truth<'_> {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Stop> {
        Ok(self.object(key).map(|text| parse(&text)))
    }

    fn list(&mut self, query: &ListQuery) -> Result<Vec<Value>, Stop> {
        Ok(self.objects(query).iter().map(|text| parse(text)).collect())
    }
}

/// The plugin that owns a kind, if it is installed.
fn plugin_of<'a>(world: &'a World, key: &Key) -> Option<&'a Plugin> {
    world
        .plugins
        .values()
        .find(|plugin| plugin.description.kinds.iter().any(|owned| owned.kind.group_kind() == key.group_kind()))
}

fn outcome_of(world: &World, key: &Key, object: &Object, plugin: &Plugin) -> Result<Outcome, Stop> {
    let ask =
        Ask { key: key.clone(), object: object.value(), deleting: object.terminating(), config: parse(&plugin.config) };
    (plugin.function)(&ask, &mut Truth { server: &world.server, plugin })
}

/// Whether everything is as the plugins, given the inputs as they are, want it.
///
/// # Errors
/// The first thing that is not, with the rule that it breaks.
pub fn check(world: &World) -> Result<(), String> {
    world.check_natives()?;
    for (key, object) in world.server.all() {
        if let Some(owner) = object.mark(OWNER_KEY).and_then(Key::parse)
            && world.server.get(&owner).is_none()
        {
            return Err(format!("B12: {key} is an orphan of {owner}"));
        }
        if let Some(plugin) = plugin_of(world, &key).filter(|_| &*key.group == GROUP)
            && object.mark(PAUSED) != Some("true")
        {
            owner_is_right(world, &key, &object, plugin)?;
            last_state_was_seen(world, &key, &object, plugin)?;
        }
    }
    // Where hosts share work the places of an owner stand at the owner itself, and go with it.
    for model in world.server.models.values().filter(|_| !world.shares()) {
        for (owner, places) in model.places() {
            if world.server.get(&owner).is_none() {
                return Err(format!("B12: {owner} is gone and its places {places:?} are not"));
            }
        }
    }
    Ok(())
}

/// What a trial of a version would show now: children that it no longer returns (rule D11).
pub fn foreseen(world: &World, plugin: &Plugin) -> Trial {
    let mut trial = Trial::default();
    let all = world.server.all();
    for (owner, object) in all.iter().filter(|(key, object)| plugin.owns(&key.group_kind()) && !object.terminating()) {
        let Ok(Outcome { children: Some(children), .. }) = outcome_of(world, owner, object, plugin) else { continue };
        let wanted: BTreeSet<Key> = children.iter().filter_map(|child| child_key(owner, child)).collect();
        let name = owner.to_string();
        for (child, _) in all.iter().filter(|(_, there)| there.mark(OWNER_KEY) == Some(name.as_str())) {
            if !wanted.contains(&**child) {
                trial.deletions.push(((**owner).clone(), (**child).clone()));
            }
        }
    }
    trial
}

fn owner_is_right(world: &World, key: &Key, object: &Object, plugin: &Plugin) -> Result<(), String> {
    if object.terminating() {
        return Err(format!("B12: {key} is still terminating: {}", object.json()));
    }
    let value = object.value();
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").map(|ready| ready["status"].clone());
    let outcome = match outcome_of(world, key, object, plugin) {
        Ok(outcome) => outcome,
        Err(Stop::Fail(_) | Stop::Trap(_)) if ready == Some("False".into()) => return Ok(()),
        Err(stop) => return Err(format!("§9.2: {key} fails with {stop:?} and shows {}", object.json())),
    };
    let mut wanted = BTreeSet::new();
    let mut refused = false;
    for child in outcome.children.iter().flatten() {
        let Some(child_key) = child_key(key, child) else { return Err(format!("{key}: a child has no key")) };
        let Some(there) = world.server.get(&child_key) else {
            return Err(format!("§9.2: {key} wants {child_key} and it is not there"));
        };
        if there.mark(OWNER_KEY) != Some(&key.to_string()) {
            refused = true;
        } else if !covers(&there.value(), &parse(&child.object)) {
            return Err(format!("§9.2: {key} wants {} and there is {}", child.object, there.json()));
        }
        wanted.insert(child_key);
    }
    if outcome.children.is_some() && !refused {
        for (child, there) in world.server.all() {
            if there.mark(OWNER_KEY) == Some(&key.to_string()) && !wanted.contains(&*child) {
                return Err(format!("§9.2: {key} does not want {child} and it is there"));
            }
        }
    }
    let mut status = value["status"].clone();
    if let Some(map) = status.as_object_mut() {
        map.remove("conditions");
        let observed = map.remove("observedGeneration");
        if &*key.kind != "Note" && observed.as_ref() != Some(&value["metadata"]["generation"]) {
            return Err(format!(
                "B7: {key} shows generation {observed:?} and is at {}",
                value["metadata"]["generation"]
            ));
        }
    }
    if let Some(wanted) = &outcome.status
        && !same(&status, &parse(wanted))
    {
        return Err(format!("§9.2: {key} wants the status {wanted} and shows {status}"));
    }
    let is_ready = outcome.readiness == Readiness::Ready && !refused;
    let shown = if is_ready { "True" } else { "False" };
    if ready != Some(shown.into()) {
        return Err(format!("§9.2: {key} has to show Ready={shown} and shows {conditions:?}"));
    }
    Ok(())
}

fn last_state_was_seen(world: &World, key: &Key, object: &Object, plugin: &Plugin) -> Result<(), String> {
    let Some(last) = world.told.get(key) else { return Err(format!("§9.3: {key} was never called")) };
    if *last.digest != plugin.digest {
        return Err(format!("A6: {key} was last called in version {}", last.digest));
    }
    let without_status = |mut value: Value| {
        if let Some(map) = value.as_object_mut() {
            map.remove("status");
        }
        value
    };
    let (seen, is) = (without_status(last.object.clone()), without_status(object.value()));
    if seen != is {
        return Err(format!("§9.3: {key} is {is} and its last call saw {seen}"));
    }
    let truth = Truth { server: &world.server, plugin };
    for (question, answer) in &last.answers.told {
        let (seen, is) = match (question, answer) {
            (Question::Get(key), Ok(Told::Object(seen))) => {
                (seen.iter().map(ToString::to_string).collect(), Vec::from_iter(truth.object(key)))
            }
            (Question::List(query), Ok(Told::Objects(seen))) => {
                (seen.iter().map(ToString::to_string).collect::<Vec<_>>(), truth.objects(query))
            }
            (question, answer) => return Err(format!("A4: {key} asked {question:?} and was last told {answer:?}")),
        };
        if seen != is {
            return Err(format!("§9.3: {key} read {question:?}: it is {is:?} and its last call saw {seen:?}"));
        }
    }
    Ok(())
}

/// Lets time pass and checks that it is quiet: no write at all, no operation and no call but those of
/// keys that asked for one or whose last answer is a failure (rule C8, design §9.2, §9.6).
///
/// # Errors
/// The first thing that happened.
pub fn stays_quiet(world: &mut World, span: u64) -> Result<(), String> {
    let since: Time = world.now + 1;
    let before: Vec<(Key, String)> = versions(world);
    world.run_for(span);
    if let Some(violation) = world.guard.violation() {
        return Err(violation.to_owned());
    }
    if before != versions(world) {
        return Err("§9.2: something is written though nothing changes".to_owned());
    }
    if let Some(done) = world.done.iter().find(|done| done.at >= since) {
        return Err(format!("§9.6: {} for {} though nothing changes", done.op.verb(), done.owner));
    }
    for (key, object) in world.server.all() {
        let Some(plugin) = plugin_of(world, &key).filter(|_| &*key.group == GROUP) else { continue };
        let calls = world.attempts_since(&key, since).iter().filter(|ended| ended.result.is_some()).count() as u64;
        let allowed = match outcome_of(world, &key, &object, plugin) {
            Ok(outcome) => outcome.requeue_after.map_or(0, |after| span / after + 12),
            Err(Stop::Fail(setpoint_core::contract::Failure::RetryAfter(_, after))) => span / after + 1,
            Err(Stop::Fail(setpoint_core::contract::Failure::Permanent(_))) => 0,
            Err(_) => span / 300_000 + 1,
        };
        if calls > allowed {
            return Err(format!("§9.2: {key} is called {calls} times though nothing changes; {allowed} are allowed"));
        }
    }
    Ok(())
}

fn versions(world: &World) -> Vec<(Key, String)> {
    world.server.all().iter().map(|(key, object)| ((**key).clone(), object.resource_version().to_owned())).collect()
}
