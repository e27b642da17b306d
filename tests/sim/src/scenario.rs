//! One seed: a cast, a network, people and mishaps for a few minutes; then calm, the check of what is
//! there, and an hour in which nothing may happen.

use std::collections::BTreeMap;

use setpoint_core::Time;
use setpoint_core::engine::Options;

use crate::faults::Faults;
use crate::kinds::{OWNED, SERVER};
use crate::people::{self, Cast};
use crate::roster;
use crate::settle;
use crate::world::World;

/// Attempts that one key may need to settle once inputs and faults have stopped (design §9.2).
const SETTLING: usize = 60;
/// How long settling may take: a key that failed is tried every 5 min.
const MINUTES: u64 = 25;

/// Nothing may happen for so long, in the end.
const HOUR: u64 = 3_600_000;

/// What a seed came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Played {
    /// Attempts.
    pub attempts: usize,
    /// Operations.
    pub operations: usize,
    /// A number that two runs of one seed have in common.
    pub fingerprint: u64,
}

/// How long settling may take if a plugin is quarantined in the end because its objects make it trap: each
/// of them needs a few probes, 5 min apart, until it is `Failed`.
const QUARANTINED_MINUTES: u64 = 150;

/// Plays a seed. `trace` prints what happens.
///
/// # Errors
/// The first rule that was broken, and how.
pub fn play(seed: u64, trace: bool) -> Result<Played, String> {
    play_with(seed, true, trace)
}

/// Plays a seed with or without what operators do to plugins (broken ones, trials, rollbacks, a lost
/// store). Without, a seed is what it was before there were such events.
///
/// # Errors
/// The first rule that was broken, and how.
pub fn play_with(seed: u64, operators: bool, trace: bool) -> Result<Played, String> {
    play_in(seed, Setting { operators, ..Setting::default() }, trace)
}

/// Plays a seed in a world whose other cluster comes and goes; all that may go wrong otherwise goes wrong as well.
///
/// # Errors
/// The first rule that was broken, and how.
pub fn play_fleet(seed: u64, trace: bool) -> Result<Played, String> {
    play_in(seed, Setting { operators: true, fleet: true, ..Setting::default() }, trace)
}

/// Plays a seed in a world where another host takes a part of the objects over, and gives it back, again and again; all
/// that may go wrong otherwise goes wrong as well.
///
/// # Errors
/// The first rule that was broken, and how.
pub fn play_shards(seed: u64, trace: bool) -> Result<Played, String> {
    play_in(seed, Setting { operators: true, shards: true, ..Setting::default() }, trace)
}

/// What there is beside people and mishaps.
#[derive(Clone, Copy, Default)]
struct Setting {
    /// What operators do to plugins.
    operators: bool,
    /// Processes and endpoints.
    servers: bool,
    /// A cluster that comes and goes.
    fleet: bool,
    /// Another host that takes shards over.
    shards: bool,
}

/// Plays a seed in a world with processes that crash, endpoints that flap, Secrets that are rotated, and objects
/// that have processes and probes as children; all that may go wrong otherwise goes wrong as well.
///
/// # Errors
/// The first rule that was broken, and how.
pub fn play_servers(seed: u64, trace: bool) -> Result<Played, String> {
    play_in(seed, Setting { operators: true, servers: true, ..Setting::default() }, trace)
}

fn play_in(seed: u64, setting: Setting, trace: bool) -> Result<Played, String> {
    let Setting { operators, servers, fleet, shards } = setting;
    let mut dice = setpoint_core::delay::Rng::new(seed ^ 0x5e7_9017);
    let options = Options {
        installation: "sim".into(),
        workers: dice.between(1, 8) as u32,
        effects_at_a_time: if dice.between(0, 3) == 0 { 2 } else { 1_024 },
        fan_out_step: if dice.between(0, 2) == 0 { dice.between(1, 5) as usize } else { 1_000 },
        hold_above: if dice.between(0, 1) == 0 { 2 } else { 10 },
        shared: shards,
        seed,
        ..Options::default()
    };
    let mut kinds: Vec<&'static str> = OWNED.iter().copied().filter(|_| dice.between(0, 9) < 4).collect();
    kinds.retain(|kind| *kind != "Link");
    if kinds.is_empty() {
        kinds.push("Box");
    }
    if servers {
        // A few of the others beside them.
        kinds.truncate(2);
        kinds.extend([SERVER; 3]);
    }
    let cast = Cast { kinds };
    let mut world = match servers {
        true => World::supervising(seed, options, roster::all().into_iter().chain([roster::server()]).collect()),
        false => World::new(seed, options, roster::all()),
    };
    world.trace = trace;
    world.faults = Faults::drawn(&mut dice);
    world.meddler = true;
    for _ in 0..dice.between(0, 8) {
        people::act(&mut world, &cast);
    }
    let span = dice.between(20_000, 240_000);
    let mut plan: Vec<(u64, Who)> = Vec::new();
    for _ in 0..dice.between(5, 40) {
        plan.push((dice.between(0, span), Who::People));
    }
    for _ in 0..dice.between(0, 10) {
        plan.push((dice.between(0, span), Who::Mishap));
    }
    let mut operator = setpoint_core::delay::Rng::new(seed ^ 0x0c8_0d11);
    if operators {
        for _ in 0..operator.between(0, 6) {
            plan.push((operator.between(0, span), Who::Operator));
        }
    }
    let mut outside = setpoint_core::delay::Rng::new(seed ^ 0x0075_1de5);
    if servers {
        for _ in 0..outside.between(5, 40) {
            plan.push((outside.between(0, span), Who::Outside));
        }
    }
    let mut travels = setpoint_core::delay::Rng::new(seed ^ 0x00f1_ee75);
    if fleet {
        for _ in 0..travels.between(1, 12) {
            plan.push((travels.between(0, span), Who::Fleet));
        }
    }
    let mut lots = setpoint_core::delay::Rng::new(seed ^ 0x0054_a2d5);
    if shards {
        for _ in 0..lots.between(1, 12) {
            plan.push((lots.between(0, span), Who::Shards));
        }
    }
    plan.sort_unstable();
    let begin = world.now;
    for (at, who) in plan {
        world.run_until(begin + at);
        if let Some(violation) = world.guard.violation() {
            return Err(violation.to_owned());
        }
        match who {
            Who::People => people::act(&mut world, &cast),
            Who::Mishap => people::mishap(&mut world),
            Who::Operator => people::operate(&mut world, &mut operator),
            Who::Outside => world.happens_outside(&mut outside),
            Who::Fleet => {
                let until = world.now + travels.between(100, 60_000);
                world.far_leaves(until);
            }
            Who::Shards => {
                let until = world.now + lots.between(100, 60_000);
                let (ranges, drains) = (lots.next_u64(), lots.between(0, 1) == 0);
                world.shards_leave(ranges, drains, until);
            }
        }
        if world.rng.between(0, 4) == 0 {
            world.bookmarks();
        }
    }
    world.run_until(begin + span);
    people::calm_down(&mut world);
    let since = world.now;
    settle_for(&mut world, MINUTES);
    if !world.engine.quarantined().is_empty() {
        settle_for(&mut world, QUARANTINED_MINUTES);
    }
    if let Some(violation) = world.guard.violation() {
        return Err(violation.to_owned());
    }
    settle::check(&world)?;
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for ended in world.attempts.iter().filter(|ended| ended.started >= since && &*ended.key.kind != "Clock") {
        *counts.entry(&ended.key).or_default() += 1;
    }
    if let Some((key, count)) = counts.iter().find(|(key, count)| **count > allowed(&world, key, since)) {
        return Err(format!("§9.2: {key} needs {count} attempts to settle"));
    }
    // Endpoints are looked at twice a minute all the while; a whole hour of many has a test of its own.
    settle::stays_quiet(&mut world, if servers { HOUR / 4 } else { HOUR })?;
    Ok(Played {
        attempts: world.attempts.len(),
        operations: world.done.len(),
        fingerprint: world.server.all().iter().fold(world.now, |sum, (key, object)| {
            let text = format!("{key} {} {}", object.resource_version(), object.json());
            text.bytes().fold(sum, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte))
        }),
    })
}

/// Whose turn it is; of several at one moment, the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Mishap,
    People,
    Operator,
    Outside,
    Fleet,
    Shards,
}

/// Lets time pass in which people confirm whatever is held.
fn settle_for(world: &mut World, minutes: u64) {
    for _ in 0..minutes {
        world.run_for(60_000);
        let now = world.now;
        for held in world.engine.held() {
            // Refused while it is not known yet what would go.
            let _ = world.engine.confirm(now, &held.plugin);
        }
    }
}

/// A plugin that wants to be tried again every 20 s is.
fn allowed(world: &World, key: &setpoint_core::Key, since: Time) -> usize {
    let later = world
        .attempts
        .iter()
        .rev()
        .find(|ended| ended.key == *key)
        .is_some_and(|ended| matches!(ended.result, Some(Err(setpoint_core::contract::Failure::RetryAfter(..)))));
    if later { SETTLING + ((world.now - since) / 20_000) as usize } else { SETTLING }
}
