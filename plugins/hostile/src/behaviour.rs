//! The behaviours.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use setpoint_sdk::prelude::*;

use crate::{Hostile, HostileSpec, HostileStatus};

/// Calls of this instance with a behaviour that counts them.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// What an earlier call of this instance read.
static REMEMBERED: Mutex<Option<Value>> = Mutex::new(None);

/// All of them, each with what it does.
pub const BEHAVIOURS: [(&str, &str); 32] = [
    ("ok", "echoes spec.value; the children stay as they are"),
    ("progressing", "the same, waiting for something outside"),
    ("stalled", "the same, waiting for a person"),
    ("panic", "panics with a message"),
    ("abort", "prints spec.value on standard error, and aborts"),
    ("panic-without", "panics unless the ConfigMap named by spec.value is there"),
    ("spin", "computes without end"),
    ("recurse", "calls itself without end"),
    ("allocate", "takes memory without end"),
    ("retry", "fails, to be tried again"),
    ("permanent", "fails for good"),
    ("retry-after", "fails, to be tried again after spec.millis (1 000)"),
    ("sleep", "sleeps for spec.millis (1 000), then ok"),
    ("wall-clock", "status.value is the wall clock in milliseconds since 1970: an impure call"),
    ("children", "returns spec.children and spec.rawChildren, which may be none"),
    ("no-children", "wants its children gone"),
    ("events", "spec.count events (51)"),
    ("get", "status.value is the data of the ConfigMap named by spec.value; null if there is none"),
    ("list", "status.value is the names of the ConfigMaps that the label selector spec.value picks"),
    ("secret", "status.value is the keys of the Secret named by spec.value; null if there is none"),
    ("huge-outcome", "a status of spec.count bytes (9 MiB)"),
    ("invalid-json-status", "a status that is no JSON"),
    ("many-host-calls", "spec.count reads (10 001)"),
    ("log-flood", "spec.count log lines (2 000)"),
    ("stderr-flood", "spec.count lines of 100 bytes on standard error (10 000)"),
    ("requeue", "ok, and again after spec.millis (1 000)"),
    ("hashmap", "status.value is the order in which a std HashMap gives its keys"),
    ("count-calls", "ok, and logs how many calls this instance has had: it keeps something, but says nothing of it"),
    ("leak-count", "status.value is how many calls this instance has had"),
    ("leak-read", "get, but once per instance: later calls remember the answer"),
    ("leak-failure", "ok in the first call of an instance, and a failure to be tried again in later ones"),
    ("finalizer-wait", "waits for a ConfigMap NAME-release, as a HostileFinal that is deleted"),
];

/// Whether the outcome for this object is to be made invalid afterwards.
pub(crate) fn breaks_the_contract(object: &str) -> bool {
    serde_json::from_str::<Value>(object).is_ok_and(|object| object["spec"]["behaviour"] == "invalid-json-status")
}

pub(crate) fn children(spec: &HostileSpec) -> Vec<Child> {
    let maps = spec
        .children
        .iter()
        .map(|child| Child::of(child.name.as_str(), &ConfigMap { data: child.data.clone(), ..ConfigMap::new() }));
    maps.chain(spec.raw_children.iter().cloned().map(Child::json)).collect()
}

pub(crate) fn perform(cx: &Context<Hostile>) -> Result<Outcome<HostileStatus>, Error> {
    let spec = cx.spec();
    let time = Duration::from_millis(spec.millis.unwrap_or(1_000));
    let count = |default: u64| spec.count.unwrap_or(default);
    let text = spec.value.as_str().unwrap_or_default();
    let ok = || Outcome::ready(HostileStatus::of(spec.value.clone()));
    Ok(match spec.behaviour.as_str() {
        "" | "ok" | "invalid-json-status" => ok(),
        "progressing" => ok().progressing("AsAsked", "Waits for something outside, as asked"),
        "stalled" => ok().stalled("AsAsked", "Waits for a person, as asked"),
        "panic" => panic!("hostile panics as asked"),
        "abort" => {
            eprintln!("{text}");
            std::process::abort()
        }
        "panic-without" => match cx.get::<ConfigMap>(text)? {
            Some(_) => ok(),
            None => panic!("hostile panics without the ConfigMap {text}"),
        },
        "spin" => spin(),
        "recurse" => Outcome::ready(HostileStatus::of(recurse(0))),
        "allocate" => allocate(),
        "retry" => return Err(Error::retry("hostile fails as asked")),
        "permanent" => return Err(Error::permanent("hostile fails for good as asked")),
        "retry-after" => {
            return Err(Error::retry_after("hostile fails for a while as asked", time));
        }
        "sleep" => {
            std::thread::sleep(time);
            ok()
        }
        "wall-clock" => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            Outcome::ready(HostileStatus::of(u64::try_from(now.as_millis())?))
        }
        "children" => ok().children(children(spec)),
        "no-children" => ok().no_children(),
        "events" => {
            let mut outcome = ok();
            for number in 0..count(51) {
                outcome = outcome.event(Event::normal("AsAsked", format!("Event {number}, as asked")));
            }
            outcome
        }
        "get" => Outcome::ready(HostileStatus::of(data(cx, text)?)),
        "list" => {
            let maps = cx.list::<ConfigMap>(Query::new().selector(text))?;
            Outcome::ready(HostileStatus::of(maps.into_iter().map(|map| map.metadata.name).collect::<Vec<_>>()))
        }
        "secret" => match cx.get::<Secret>(text)? {
            Some(secret) => Outcome::ready(HostileStatus::of(secret.data.keys().cloned().collect::<Vec<_>>())),
            None => Outcome::ready(HostileStatus::of(Value::Null)),
        },
        "huge-outcome" => Outcome::ready(HostileStatus::of("x".repeat(usize::try_from(count(9 << 20))?))),
        "many-host-calls" => {
            for number in 0..count(10_001) {
                cx.get::<ConfigMap>(format!("missing-{number}"))?;
            }
            ok()
        }
        "log-flood" => {
            for number in 0..count(2_000) {
                cx.info(format!("line {number}"));
            }
            ok()
        }
        "stderr-flood" => {
            for number in 0..count(10_000) {
                eprintln!("{number:099}");
            }
            ok()
        }
        "requeue" => ok().requeue_after(time),
        "hashmap" => {
            let keys: HashMap<u32, ()> = (0..20).map(|key| (key, ())).collect();
            Outcome::ready(HostileStatus::of(keys.into_keys().collect::<Vec<_>>()))
        }
        "count-calls" => {
            cx.info(format!("call {} of this instance", calls()));
            ok()
        }
        "leak-count" => Outcome::ready(HostileStatus::of(calls())),
        "leak-read" => {
            let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
            let value = match remembered.take() {
                Some(value) => value,
                None => data(cx, text)?,
            };
            Outcome::ready(HostileStatus::of(remembered.insert(value).clone()))
        }
        "leak-failure" => match calls() {
            1 => ok(),
            call => return Err(Error::retry(format_args!("hostile fails in call {call} of an instance"))),
        },
        "finalizer-wait" => match cx.get::<ConfigMap>(format!("{}-release", cx.name()))? {
            Some(_) => ok(),
            None => ok().progressing("WaitingForRelease", "The ConfigMap that releases is missing"),
        },
        other => {
            return Err(Error::permanent(format_args!("unknown behaviour {other:?}")));
        }
    })
}

/// The data of a ConfigMap; null if there is none.
fn data(cx: &Context<Hostile>, name: &str) -> Result<Value, Error> {
    Ok(match cx.get::<ConfigMap>(name)? {
        Some(map) => serde_json::to_value(&map.data)?,
        None => Value::Null,
    })
}

/// How many calls this instance has had, this one included.
fn calls() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

fn spin() -> ! {
    let mut number = 0u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    // Work after the call, so that it cannot become a loop.
    black_box(recurse(black_box(depth + 1))).wrapping_add(depth)
}

fn allocate() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1u8; 1 << 20]));
    }
}
