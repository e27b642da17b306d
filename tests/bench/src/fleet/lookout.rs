//! Looks all the time at who acts on which shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use setpoint_test_support::{Client, Host};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Nothing has changed for so long: work is shared as it stays. Some periods in which leases are looked at.
const SETTLED: Duration = Duration::from_secs(8);
/// It is shared as it stays within this: all leases of one that is gone have ended, and some.
const PATIENCE: Duration = Duration::from_secs(90);

/// One process of a host; started again, it is another one.
pub(crate) type Process = usize;

/// Who acts on each shard.
pub(crate) type Holders = BTreeMap<String, Process>;

/// What came of a change of hosts.
pub(crate) struct Seen {
    pub(crate) before: Holders,
    pub(crate) after: Holders,
    /// For how long nobody has acted on a shard, seconds.
    pub(crate) nobody: BTreeMap<String, f64>,
    /// Until nothing changed any more, seconds.
    pub(crate) took: f64,
}

/// A thread that looks, until this is dropped.
pub(crate) struct Lookout(Arc<Mutex<State>>);

struct State {
    hosts: Vec<(Process, Client)>,
    started: Process,
    holders: Holders,
    before: Holders,
    nobody: BTreeMap<String, Duration>,
    began: Instant,
    looked: Instant,
    changed: Instant,
    /// Each host knows of all, and acts on something.
    agreed: bool,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lookout {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let state = Arc::new(Mutex::new(State {
            hosts: Vec::new(),
            started: 0,
            holders: Holders::new(),
            before: Holders::new(),
            nobody: BTreeMap::new(),
            began: now,
            looked: now,
            changed: now,
            agreed: false,
        }));
        let watched = Arc::downgrade(&state);
        thread::spawn(move || while look(&watched) {});
        Self(state)
    }

    /// Looks at this host too from now on.
    pub(crate) fn add(&self, host: &Host) -> Process {
        let mut state = lock(&self.0);
        state.started += 1;
        let process = state.started;
        state.hosts.push((process, host.client().clone()));
        process
    }

    /// This process is gone.
    pub(crate) fn remove(&self, process: Process) {
        lock(&self.0).hosts.retain(|(other, _)| *other != process);
    }

    /// Something is about to be changed.
    pub(crate) fn begin(&self) {
        let mut state = lock(&self.0);
        let now = Instant::now();
        state.before = state.holders.clone();
        state.nobody.clear();
        (state.began, state.changed) = (now, now);
    }

    /// Waits until so many shards are shared among all hosts, as they stay.
    ///
    /// # Panics
    /// They are not.
    pub(crate) fn settled(&self, what: &str, shards: usize) -> Seen {
        loop {
            let state = lock(&self.0);
            if state.agreed && state.holders.len() == shards && state.changed.elapsed() >= SETTLED {
                let nobody = state.nobody.iter().map(|(shard, time)| (shard.clone(), time.as_secs_f64())).collect();
                let took = (state.changed - state.began).as_secs_f64();
                return Seen { before: state.before.clone(), after: state.holders.clone(), nobody, took };
            }
            assert!(state.began.elapsed() < PATIENCE, "{what}: not settled within {PATIENCE:?}: {:?}", state.holders);
            drop(state);
            thread::sleep(LOOK);
        }
    }
}

/// Looks once. Whether there is anybody who wants to know.
fn look(state: &Weak<Mutex<State>>) -> bool {
    let Some(hosts) = state.upgrade().map(|state| lock(&state).hosts.clone()) else { return false };
    let mut holders = Holders::new();
    let mut agreed = true;
    for (process, client) in &hosts {
        // Who does not answer acts on nothing: it has ended, or is about to.
        let overview = client.get("/v1/overview").map(|answer| answer.json()).unwrap_or_default();
        let shards = &overview["shards"];
        let count = |list: &str| shards[list].as_array().map_or(0, Vec::len);
        agreed &= count("members") == hosts.len() && count("held") > 0;
        let held = shards["held"].as_array().into_iter().flatten().filter_map(Value::as_str);
        holders.extend(held.map(|shard| (shard.to_owned(), *process)));
    }
    let Some(state) = state.upgrade() else { return false };
    let mut state = lock(&state);
    let now = Instant::now();
    let since = now - state.looked.max(state.began);
    let missing: Vec<String> = state.before.keys().filter(|shard| !holders.contains_key(*shard)).cloned().collect();
    for shard in missing {
        *state.nobody.entry(shard).or_default() += since;
    }
    if state.holders != holders {
        state.changed = now;
    }
    (state.looked, state.holders, state.agreed) = (now, holders, agreed);
    drop(state);
    thread::sleep(LOOK);
    true
}
