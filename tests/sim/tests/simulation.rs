//! Random worlds. `SETPOINT_SEEDS=n` plays so many, from `SETPOINT_FIRST_SEED` (0) on; `SETPOINT_SEED=n` plays one and
//! prints its trace, `SETPOINT_SERVERS_SEED=n` one with processes and endpoints, `SETPOINT_FLEET_SEED=n` one with a cluster that
//! comes and goes, `SETPOINT_SHARDS_SEED=n` one with another host.
//! Seeds that once failed stand in `seeds.txt` and are always played first, also without what operators do to
//! plugins, as they were when they failed; `SETPOINT_OPERATORS=0` replays one so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use setpoint_sim::scenario::{Played, play, play_fleet, play_servers, play_shards, play_with};

const SEEDS: u64 = 2_000;
/// Worlds with processes and endpoints that once failed, beyond those that are always played.
const KNOWN_SERVERS: [u64; 3] = [2_709, 4_761, 12_908];
/// Worlds with a cluster that comes and goes that once failed, beyond those that are always played.
const KNOWN_FLEETS: [u64; 6] = [2_574, 4_659, 11_279, 28_014, 55_738, 59_103];
/// Worlds with another host that once failed, beyond those that are always played.
const KNOWN_SHARDS: [u64; 7] = [1_190, 1_514, 17_800, 40_743, 56_165, 60_369, 74_803];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn known() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines();
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// What is played: a seed, and in which kind of world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum World {
    /// With what operators do to plugins.
    Usual(u64),
    /// Without.
    NoOperators(u64),
    /// With processes and endpoints.
    Servers(u64),
    /// With a cluster that comes and goes.
    Fleet(u64),
    /// With another host that takes shards over.
    Shards(u64),
}

impl World {
    fn play(self, trace: bool) -> Result<Played, String> {
        match self {
            Self::Usual(seed) => play_with(seed, true, trace),
            Self::NoOperators(seed) => play_with(seed, false, trace),
            Self::Servers(seed) => play_servers(seed, trace),
            Self::Fleet(seed) => play_fleet(seed, trace),
            Self::Shards(seed) => play_shards(seed, trace),
        }
    }

    /// How many attempts it took.
    fn attempts(self) -> Result<usize, String> {
        match catch_unwind(AssertUnwindSafe(|| self.play(false))) {
            Ok(played) => played.map(|played| played.attempts),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(format!("panic: {}", text.unwrap_or_default()))
            }
        }
    }

    fn line(self, text: &str) -> String {
        match self {
            Self::Usual(seed) => format!("  SETPOINT_SEED={seed}: {text}"),
            Self::NoOperators(seed) => format!("  SETPOINT_SEED={seed} SETPOINT_OPERATORS=0: {text}"),
            Self::Servers(seed) => format!("  SETPOINT_SERVERS_SEED={seed}: {text}"),
            Self::Fleet(seed) => format!("  SETPOINT_FLEET_SEED={seed}: {text}"),
            Self::Shards(seed) => format!("  SETPOINT_SHARDS_SEED={seed}: {text}"),
        }
    }

    /// Plays one alone, and prints its trace.
    fn show(self) {
        let played = self.play(true);
        println!("{self:?}: {played:?}");
        assert!(played.is_ok(), "{self:?} fails");
    }
}

/// Plays all of them on all processors.
fn play_all(worlds: &[World]) {
    let (next, attempts) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failed: Mutex<Vec<(World, String)>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(world) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match world.attempts() {
                        Ok(count) => drop(attempts.fetch_add(count as u64, Ordering::Relaxed)),
                        Err(text) => {
                            if let Ok(mut failed) = failed.lock() {
                                failed.push((*world, text));
                            }
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.sort();
    let shown: Vec<String> = failed.iter().take(30).map(|(world, text)| world.line(text)).collect();
    assert!(
        failed.is_empty(),
        "{} of {} seeds fail; replay one with the seed in front:\n{}",
        failed.len(),
        worlds.len(),
        shown.join("\n")
    );
    assert!(attempts.into_inner() > 10 * worlds.len() as u64, "worlds in which nothing happens prove nothing");
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("SETPOINT_FIRST_SEED").unwrap_or(0);
    first..first + number("SETPOINT_SEEDS").unwrap_or(SEEDS)
}

/// Whether only one world is asked for.
fn only_one() -> bool {
    let names = ["SETPOINT_SEED", "SETPOINT_SERVERS_SEED", "SETPOINT_FLEET_SEED", "SETPOINT_SHARDS_SEED"];
    names.iter().any(|name| number(name).is_some())
}

/// Design §9.1 to §9.4, §9.6, §9.7, and the rules that `guard` and `settle` name, over random worlds.
#[test]
fn random_worlds_keep_every_promise() {
    match number("SETPOINT_SEED") {
        Some(seed) if number("SETPOINT_OPERATORS") == Some(0) => return World::NoOperators(seed).show(),
        Some(seed) => return World::Usual(seed).show(),
        None if only_one() => return,
        None => {}
    }
    let plain = known().into_iter().map(World::NoOperators);
    play_all(&plain.chain(known().into_iter().chain(seeds()).map(World::Usual)).collect::<Vec<_>>());
}

/// The same with processes that crash and endpoints that flap: each has its status in the end, no process is started
/// beside another of its object, and none is left without one.
#[test]
fn worlds_of_processes_and_endpoints_keep_every_promise() {
    match number("SETPOINT_SERVERS_SEED") {
        Some(seed) => return World::Servers(seed).show(),
        None if only_one() => return,
        None => {}
    }
    play_all(&KNOWN_SERVERS.into_iter().chain(seeds()).map(World::Servers).collect::<Vec<_>>());
}

/// The same with a cluster that comes and goes: nothing is deleted because it is away, and all is as it should be when
/// it is back.
#[test]
fn worlds_of_clusters_that_come_and_go_keep_every_promise() {
    match number("SETPOINT_FLEET_SEED") {
        Some(seed) => return World::Fleet(seed).show(),
        None if only_one() => return,
        None => {}
    }
    play_all(&KNOWN_FLEETS.into_iter().chain(seeds()).map(World::Fleet).collect::<Vec<_>>());
}

/// The same with another host that takes a part of the objects over and gives it back: no two act on one object, and what
/// each has done is known to the other before it acts.
#[test]
fn worlds_of_hosts_that_share_work_keep_every_promise() {
    match number("SETPOINT_SHARDS_SEED") {
        Some(seed) => return World::Shards(seed).show(),
        None if only_one() => return,
        None => {}
    }
    play_all(&KNOWN_SHARDS.into_iter().chain(seeds()).map(World::Shards).collect::<Vec<_>>());
}

/// The same seed gives the same world, so that a failure can be replayed.
#[test]
fn a_seed_plays_the_same_twice() {
    for seed in [3, 1_234, 77_777] {
        assert_eq!(play(seed, false), play(seed, false), "seed {seed}");
        assert_eq!(play_servers(seed, false), play_servers(seed, false), "seed {seed} with processes");
        assert_eq!(play_fleet(seed, false), play_fleet(seed, false), "seed {seed} with travels");
        assert_eq!(play_shards(seed, false), play_shards(seed, false), "seed {seed} with another host");
    }
}
