//! Processes that crash and endpoints that flap, one at a time, and many that just run (rules C1, C4, D13, design §9.6).

use serde_json::json;
use setpoint_core::engine::Options;
use setpoint_core::key::Key;
use setpoint_core::native::{PROBE, PROCESS};
use setpoint_core::process::Exit;
use setpoint_sim::faults::Faults;
use setpoint_sim::kinds::{SERVER, native_key, owned};
use setpoint_sim::outside::{Endpoint, Program};
use setpoint_sim::roster;
use setpoint_sim::settle::stays_quiet;
use setpoint_sim::world::{World, url_of};

const HOUR: u64 = 3_600_000;

fn world() -> World {
    let options = Options { installation: "sim".into(), ..Options::default() };
    let mut world = World::supervising(1, options, vec![roster::server()]);
    world.strict = true;
    world.faults = Faults::calm();
    world.run_for(1_000);
    world
}

/// A server; a local one runs the program `value`, a remote one is at the URL of both.
fn server(world: &mut World, name: &str, local: bool, value: &str) -> Key {
    let key = owned(SERVER, name);
    world.apply(&key, "person", json!({"spec": {"v": value, "count": if local { 1 } else { 2 }}}));
    key
}

/// Two hundred servers that run cost nothing: in an hour nobody is called and nothing is written, although each
/// endpoint is looked at twice a minute.
#[test]
fn two_hundred_servers_that_run_are_reconciled_never_and_written_never_in_an_hour() {
    let mut world = world();
    let keys: Vec<Key> = (0..200).map(|at| server(&mut world, &format!("s{at}"), at % 2 == 0, "v")).collect();
    world.run_for(5 * 60_000);
    assert!(keys.iter().all(|key| world.value(key)["status"]["state"] == "Healthy"), "all of them run");
    world.check_natives().expect("what is shown is so");
    let (attempts, operations, looks) = (world.attempts.len(), world.done.len(), world.outside.looks);
    stays_quiet(&mut world, HOUR).expect("nothing happens");
    assert_eq!((world.attempts.len(), world.done.len()), (attempts, operations), "no attempt and no operation");
    assert!(world.outside.looks - looks >= 200 * 115, "endpoints were looked at {} times", world.outside.looks - looks);
}

/// A program that crashes for ever is started at its own backoff, whatever its owner is called for meanwhile: what
/// becomes of a child never shortens it (muster's #1166).
#[test]
fn a_process_that_crashes_for_ever_is_started_at_its_backoff_and_its_owner_is_not_driven() {
    let mut world = world();
    world.outside.programs.insert("v".into(), Program::Crashes(Exit::Code(1)));
    let key = server(&mut world, "a", true, "v");
    world.run_for(30 * 60_000);
    let (starts, since) = (world.outside.starts, world.now);
    world.run_for(HOUR);
    let starts = world.outside.starts - starts;
    assert!((12..=26).contains(&starts), "{starts} starts in an hour; the step is 5 min, drawn from its half on");
    let attempts = world.attempts_since(&key, since).len() as u64;
    assert!(attempts <= 6 * starts, "{attempts} attempts for {starts} starts");
    let status = world.value(&native_key(PROCESS, "a"))["status"].clone();
    assert_eq!((&status["state"], status["nextRestartAt"].is_string()), (&json!("CrashLoop"), true), "{status}");
    world.outside.programs.clear();
    world.run_for(10 * 60_000);
    assert_eq!(world.value(&key)["status"]["state"], "Healthy");
    stays_quiet(&mut world, HOUR).expect("it runs, and that is all");
}

/// An endpoint that is away costs one write per attempt, at the probe's backoff, and one call each.
#[test]
fn an_endpoint_that_is_away_costs_a_write_and_a_call_per_look() {
    let mut world = world();
    world.outside.endpoints.insert(url_of("a", "v"), Endpoint::Refuses);
    let key = server(&mut world, "a", false, "v");
    world.run_for(10 * 60_000);
    let (looks, since) = (world.outside.looks, world.now + 1);
    world.run_for(HOUR);
    let looks = world.outside.looks - looks;
    assert!((29..=31).contains(&looks), "{looks} looks in an hour, two minutes apart");
    let writes = world.writes_since(since);
    let of = |owner: &Key| writes.iter().filter(|done| done.owner == *owner).count() as u64;
    assert_eq!(of(&native_key(PROBE, "a")), looks);
    assert!(of(&key) <= looks && world.attempts_since(&key, since).len() as u64 <= looks);
    world.outside.endpoints.clear();
    world.run_for(3 * 60_000);
    assert_eq!(world.value(&key)["status"]["state"], "Healthy");
}

/// An endpoint that flaps is shown as it is in the end, and the calls for it are bounded by the looks at it.
#[test]
fn an_endpoint_that_flaps_is_shown_as_it_is_when_it_stops() {
    let mut world = world();
    let key = server(&mut world, "a", false, "v");
    world.run_for(60_000);
    let (looks, since) = (world.outside.looks, world.now + 1);
    for state in [Endpoint::Hangs, Endpoint::AsksWho, Endpoint::Refuses, Endpoint::Answers].repeat(10) {
        world.outside.endpoints.insert(url_of("a", "v"), state);
        world.run_for(35_000);
    }
    let (looks, attempts) = (world.outside.looks - looks, world.attempts_since(&key, since).len() as u64);
    assert!(attempts <= looks + 1, "{attempts} attempts for {looks} looks");
    world.run_for(3 * 60_000);
    assert_eq!(world.value(&key)["status"]["state"], "Healthy");
    stays_quiet(&mut world, HOUR).expect("it answers, and that is all");
}

/// Rule D13: processes end with the host, and what their statuses say of a life before is put right before anybody
/// acts upon it.
#[test]
fn after_a_start_nobody_is_called_with_the_status_of_a_life_before() {
    let mut world = world();
    let key = server(&mut world, "a", true, "v");
    world.run_for(60_000);
    let process = native_key(PROCESS, "a");
    let pid = world.value(&process)["status"]["pid"].clone();
    assert!(pid.is_u64());
    world.crash();
    assert!(world.outside.living.is_empty());
    while !world.is_up() {
        world.run_for(10);
    }
    assert!(world.value(&process)["status"]["pid"].is_null(), "it is corrected at once");
    while world.told.is_empty() {
        world.run_for(1);
    }
    let told = format!("{:?}", world.told[&key].answers.told);
    assert!(told.contains("Process") && !told.contains(&format!("\\\"pid\\\":{pid}")), "{told}");
    world.run_for(60_000);
    assert_eq!(world.value(&key)["status"]["state"], "Healthy");
}

/// A Secret that is rotated restarts the process that has a value of it, once.
#[test]
fn a_rotated_secret_restarts_its_process_once() {
    let mut world = world();
    let key = server(&mut world, "a", true, "v");
    world.run_for(60_000);
    let starts = world.outside.starts;
    let secret = Key::new("local", "", "Secret", Some("default"), "token-a");
    world.apply(&secret, "person", json!({"data": {"t": "YQ=="}}));
    world.run_for(60_000);
    assert_eq!(world.outside.starts, starts + 1);
    assert_eq!(world.value(&key)["status"]["state"], "Healthy");
    world.apply(&secret, "person", json!({"metadata": {"labels": {"more": "labels"}}, "data": {"t": "YQ=="}}));
    world.run_for(60_000);
    assert_eq!(world.outside.starts, starts + 1, "the value is the same");
}
