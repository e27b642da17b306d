//! What people, and bad luck, do while the host works.

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::delay::Rng;
use setpoint_core::effects::{OWNER_LABEL, PAUSED};
use setpoint_core::key::{GroupKind, Key, LOCAL, Source};
use setpoint_core::op::{Op, Precondition};

use crate::kinds::{FAR, GROUP, OWNED, config_map, owned};
use crate::roster;
use crate::settle;
use crate::world::World;

/// Names of owned objects; those after `b` are defined by files.
const NAMES: [&str; 4] = ["a", "b", "f", "g"];
const VALUES: [&str; 3] = ["p", "q", "r"];

/// What a seed plays with.
#[derive(Clone, Debug)]
pub struct Cast {
    /// The kinds of objects that people make.
    pub kinds: Vec<&'static str>,
}

fn pick<'a, T>(world: &mut World, from: &'a [T]) -> &'a T {
    &from[world.rng.between(0, from.len() as u64 - 1) as usize]
}

fn any_owned(world: &mut World, cast: &Cast) -> Key {
    let kind = *pick(world, &cast.kinds);
    let name = *pick(world, &NAMES);
    owned(kind, name)
}

fn spec(world: &mut World) -> Value {
    let value = *pick(world, &VALUES);
    json!({"spec": {"v": value, "count": world.rng.between(0, 5), "stubborn": world.rng.between(0, 1) == 0}})
}

/// Makes or edits an object, by a file or by the API.
pub fn write(world: &mut World, key: &Key) {
    let given = spec(world);
    world.say(|| format!("people write {key}: {given}"));
    if is_file(key) {
        world.write_file(key, given);
    } else {
        world.apply(key, "person", given);
    }
}

fn is_file(key: &Key) -> bool {
    matches!(&*key.name, "f" | "g")
}

fn remove(world: &mut World, key: &Key) {
    world.say(|| format!("people delete {key}"));
    if is_file(key) {
        world.remove_file(key);
    } else {
        world.delete(key);
    }
}

fn any_child(world: &mut World) -> Option<Key> {
    let children: Vec<Key> = world
        .server
        .all()
        .iter()
        .filter(|(_, object)| object.label(OWNER_LABEL).is_some())
        .map(|(key, _)| (**key).clone())
        .collect();
    if children.is_empty() { None } else { Some(pick(world, &children).clone()) }
}

/// One thing that people do.
pub fn act(world: &mut World, cast: &Cast) {
    let key = any_owned(world, cast);
    match world.rng.between(0, 19) {
        0..=6 => write(world, &key),
        7 | 8 => remove(world, &key),
        9 => {
            remove(world, &key);
            let pause = world.rng.between(0, 1_500);
            world.run_for(pause);
            write(world, &key);
        }
        10 => {
            let part = config_map(&format!("part-{}", world.rng.between(0, 3)));
            let (of, value) = (*pick(world, &NAMES), *pick(world, &VALUES));
            let field = part.name.to_string();
            world.say(|| format!("people write {part} for {of}"));
            world.apply(&part, "person", json!({"metadata": {"labels": {"bundle": of}}, "data": {field: value}}));
        }
        11 => {
            let part = config_map(&format!("part-{}", world.rng.between(0, 3)));
            world.delete(&part);
        }
        12 => {
            let map = config_map(&format!("weather-{}", pick(world, &NAMES)));
            let mode = *pick(world, &["fine", "retry", "later", "permanent", "trap"]);
            world.say(|| format!("the weather of {map} is {mode}"));
            world.apply(&map, "person", json!({"data": {"v": mode}}));
        }
        13 => {
            if let Some(child) = any_child(world).filter(|child| child.group.is_empty()) {
                world.say(|| format!("people edit {child}"));
                let field = *pick(world, &["v", "at", "by", "extra"]);
                world.apply(&child, "kubectl", json!({"data": {field: "edited"}}));
            }
        }
        14 => {
            if let Some(child) = any_child(world) {
                world.say(|| format!("people delete {child}"));
                world.delete(&child);
            }
        }
        15 => {
            let paused = world.rng.between(0, 1) == 0;
            world.say(|| format!("people pause {key}: {paused}"));
            world.annotate(&key, PAUSED, paused.then_some("true"));
        }
        16 => {
            if world.is_up() {
                let now = world.now;
                world.engine.trigger(now, &key);
            }
        }
        17 => {
            let name = format!(
                "{}-{}",
                pick(world, &["box", "vault", "shaky", "claim", "bundle"]),
                pick(world, &["a", "p", "q"])
            );
            let squatter = config_map(&name);
            if world.server.get(&squatter).is_none() {
                world.say(|| format!("people make {squatter}"));
                world.apply(&squatter, "person", json!({"data": {"mine": "yes"}}));
            } else {
                world.delete(&squatter);
            }
        }
        18 => world.bump(&key),
        _ => foreign_condition(world, &key),
    }
}

/// Somebody else's condition: it stays (rule B15).
fn foreign_condition(world: &mut World, key: &Key) {
    let Some(object) = world.server.get(key) else { return };
    let status = if world.rng.between(0, 1) == 0 { "True" } else { "False" };
    let op = Op::ApplyStatus {
        key: key.clone(),
        status: Arc::new(json!({"conditions": [{"type": "Foreign", "status": status}]})),
        manager: "other".into(),
        precondition: Precondition::version_of(&object),
    };
    let now = world.now;
    if let Some(model) = world.server.models.get_mut(&key.cluster) {
        let (_, effects) = model.perform(now, &op);
        world.publish(&effects);
    }
}

/// One thing that goes wrong, or that an operator does.
pub fn mishap(world: &mut World) {
    let until = world.now + world.rng.between(100, 40_000);
    match world.rng.between(0, 13) {
        0..=2 => {
            let sources = world.server.sources();
            let source = pick(world, &sources).clone();
            world.cut(&source, until);
        }
        3 => {
            let maps = Source::new(LOCAL, "", "ConfigMap");
            world.cut(&maps, until);
        }
        4 => {
            world.server.cut.insert(FAR.into());
            world.cut(&Source::new(FAR, "", "ConfigMap"), until);
            world.say(|| "the other cluster is cut off".into());
        }
        5 => {
            world.server.cut.clear();
        }
        6 => world.crash_after = Some(world.rng.between(0, 6) as usize),
        7 if world.is_up() => world.crash(),
        7..=9 => {
            let names: Vec<String> = world.plugins.keys().cloned().collect();
            let name = pick(world, &names).clone();
            let number = world.rng.between(1, 6) as u32;
            if let Some(next) = world.plugins.get(&name).map(|plugin| roster::version(plugin, number)) {
                world.load(next);
            }
        }
        10 => {
            let names: Vec<String> = world.plugins.keys().cloned().collect();
            let name = pick(world, &names).clone();
            let suffix = *pick(world, &["", "-s"]);
            if let Some(mut next) = world.plugins.get(&name).cloned() {
                next.config = json!({"suffix": suffix}).to_string();
                world.load(next);
            }
        }
        11 => {
            let names: Vec<String> = world.plugins.keys().cloned().collect();
            let name = pick(world, &names).clone();
            if world.is_loaded(&name) {
                world.unload(&name);
            } else if let Some(plugin) = world.plugins.get(&name).cloned() {
                world.load(plugin);
            }
        }
        12 => {
            let kind = GroupKind::new(GROUP, pick::<&str>(world, &OWNED));
            let disabled = !world.disabled.contains(&kind);
            world.say(|| format!("{kind} is disabled: {disabled}"));
            world.set_disabled(&kind, disabled);
        }
        _ => {
            let jump = world.rng.between(1_000, 400_000);
            world.say(|| format!("the clock jumps by {jump} ms"));
            world.now += jump;
        }
    }
}

/// One thing that operators do to plugins, or that plugins do to them: rules C8, D10, D11. Its choices come
/// from `dice`, so that seeds from before it was there play as they did without it.
pub fn operate(world: &mut World, dice: &mut Rng) {
    let names: Vec<String> = world.plugins.keys().cloned().collect();
    let name = &names[dice.between(0, names.len() as u64 - 1) as usize];
    let Some(plugin) = world.plugins.get(name).cloned() else { return };
    match dice.between(0, 9) {
        0..=3 => {
            let until = world.now + dice.between(1_000, 120_000);
            world.break_until(&plugin.digest, until);
            // Reason enough to call it for several objects.
            for (key, _) in world.server.all().into_iter().filter(|(key, _)| plugin.owns(&key.group_kind())) {
                world.bump(&key);
            }
        }
        4 => world.broken.clear(),
        5..=7 => {
            let next = roster::version(&plugin, dice.between(1, 6) as u32);
            let trial = settle::foreseen(world, &next);
            world.say(|| format!("{} was tried and would delete {:?}", next.digest, trial.deletions));
            world.load_after(next, trial);
        }
        8 => {
            let now = world.now;
            for held in world.engine.held() {
                // Refused while it is not known yet what would go.
                let _ = world.engine.confirm(now, &held.plugin);
            }
        }
        // Where hosts share work each has a store of its own, and the objects are elsewhere.
        _ if world.is_up() && !world.shares() => world.lose_store(),
        _ => {}
    }
}

/// Everything that people and operators hold back is let go, and nothing goes wrong any more.
pub fn calm_down(world: &mut World) {
    world.say(|| "calm".into());
    world.faults = crate::faults::Faults::calm();
    world.meddler = false;
    world.crash_after = None;
    world.broken.clear();
    world.server.cut.clear();
    world.calm_outside();
    if !world.is_up() {
        world.boot();
    }
    world.far_returns();
    for source in world.server.sources() {
        world.heal(&source);
    }
    for plugin in world.plugins.values().cloned().collect::<Vec<_>>() {
        if !world.is_loaded(&plugin.description.name) {
            world.load(plugin);
        }
    }
    for kind in world.disabled.clone() {
        world.set_disabled(&kind, false);
    }
    world.shards_return();
    for (key, object) in world.server.all() {
        if object.mark(PAUSED).is_some() {
            world.annotate(&key, PAUSED, None);
        }
    }
}
