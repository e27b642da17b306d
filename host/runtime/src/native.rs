//! The kinds that the host itself reconciles, all in the embedded cluster (design §3): a `Process` is run, a
//! `Probe` is looked at, and what becomes of them is written into their status. For plugins that
//! return them as children that is a change like any other: there is no other way back.
//!
//! | question | module |
//! |---|---|
//! | for whom is it done, and may it be | `permit` |
//! | what becomes of processes | `processes` |
//! | what becomes of probes | `probes` |
//! | what is written | `shown` |
//!
//! It works on states, not on events: an object that was marked is looked at as it is by then, what is to be
//! done is done, and its status is written if it differs. Never two looks at one object at a time; what takes
//! long runs beside, and marks the object when something has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use setpoint_cluster::local::Local;
use setpoint_core::Time;
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::native;
use tokio::sync::{Notify, watch};

use crate::driver::Driver;
use crate::lock::lock;

mod permit;
mod probes;
mod processes;
mod shown;

pub(crate) use processes::McpServers;
pub(crate) use processes::OutputLine;

use probes::Probes;
use processes::Processes;

/// How the program is started that keeps watch over processes, and ends them when the host is gone; see
/// `setpoint_process::Keeper`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeeperProgram {
    /// The program, which calls `setpoint_process::keeper_main` first of all.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Objects that are looked at at a time.
const LOOKS: usize = 32;

/// What is to be looked at, and when.
#[derive(Default)]
struct Marks {
    now: BTreeSet<Key>,
    /// Each key once, at the earliest of the times that were asked for.
    later: BTreeMap<Key, Time>,
    times: BTreeSet<(Time, Key)>,
}

impl Marks {
    fn later(&mut self, key: &Key, at: Time) {
        if let Some(before) = self.later.get(key) {
            if *before <= at {
                return;
            }
            self.times.remove(&(*before, key.clone()));
        }
        self.later.insert(key.clone(), at);
        self.times.insert((at, key.clone()));
    }

    /// Takes one that is due.
    fn due(&mut self, now: Time) -> Option<Key> {
        self.times.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = self.times.pop_first()?;
        self.later.remove(&key);
        Some(key)
    }
}

/// The host's own reconcilers.
pub(crate) struct Native {
    driver: Arc<Driver>,
    local: Arc<Local>,
    /// Field manager of statuses.
    manager: Box<str>,
    marks: Mutex<Marks>,
    wake: Notify,
    /// Who has to be looked at when a Secret or a process is another: the objects that refer to it.
    users: Mutex<BTreeMap<Key, BTreeSet<Key>>>,
    /// Secrets in other clusters that clusters were asked to watch. What is in the embedded one is told anyway.
    watched: Mutex<BTreeSet<Key>>,
    processes: Processes,
    probes: Probes,
}

/// What stands for the host where others have the name of a plugin.
pub(crate) const HOST: &str = "host";

/// Whether objects of a kind are the host's own: it reconciles them, or shows them.
pub(crate) fn owns(group: &str, kind: &str) -> bool {
    reconciles(group, kind) || native::is_shown(group, kind)
}

/// Whether the host reconciles a kind by itself.
pub(crate) fn reconciles(group: &str, kind: &str) -> bool {
    group == native::GROUP && [native::PROCESS, native::PROBE].contains(&kind)
}

impl Native {
    /// Nothing is done yet. `manager`: the field manager of statuses; `keeper`: none if this program can
    /// run no processes.
    ///
    /// # Errors
    /// The certificate authorities of the system cannot be read.
    pub(crate) fn new(
        driver: Arc<Driver>,
        local: Arc<Local>,
        manager: Box<str>,
        keeper: Option<KeeperProgram>,
    ) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            driver,
            local,
            manager,
            marks: Mutex::default(),
            wake: Notify::new(),
            users: Mutex::default(),
            watched: Mutex::default(),
            processes: Processes::new(keeper),
            probes: Probes::new()?,
        }))
    }

    /// An object was made, changed, or is gone. Returns at once.
    pub(crate) fn observed(&self, key: &Key) {
        if &*key.cluster == LOCAL && reconciles(&key.group, &key.kind) {
            self.mark(key);
        } else if key.group.is_empty() && &*key.kind == "Secret" {
            self.mark_users(key);
        }
    }

    fn mark(&self, key: &Key) {
        if lock(&self.marks).now.insert(key.clone()) {
            self.wake.notify_one();
        }
    }

    fn mark_later(&self, key: &Key, after: Duration) {
        let at = self.driver.clock.now() + after.as_millis() as Time;
        lock(&self.marks).later(key, at);
        self.wake.notify_one();
    }

    /// What refers to this one is looked at.
    fn mark_users(&self, of: &Key) {
        let users = lock(&self.users).get(of).cloned().unwrap_or_default();
        users.iter().for_each(|user| self.mark(user));
    }

    /// What an object refers to now.
    fn uses(&self, user: &Key, of: &BTreeSet<Key>) {
        let mut users = lock(&self.users);
        users.retain(|used, by| {
            if !of.contains(used) {
                by.remove(user);
            }
            !by.is_empty()
        });
        for used in of {
            users.entry(used.clone()).or_default().insert(user.clone());
        }
        let elsewhere: BTreeSet<Key> = users.keys().filter(|used| &*used.cluster != LOCAL).cloned().collect();
        drop(users);
        self.watch(elsewhere);
    }

    /// A Secret that is rotated where its owner is has to be noticed there as well (rule A8).
    fn watch(&self, elsewhere: BTreeSet<Key>) {
        let mut watched = lock(&self.watched);
        if *watched != elsewhere {
            watched.clone_from(&elsewhere);
            self.driver.with(|engine, _| engine.watch_secrets(elsewhere));
        }
    }

    fn mark_all(&self) {
        for kind in [native::PROCESS, native::PROBE] {
            let kind = GroupKind::new(native::GROUP, kind);
            for object in self.local.objects(&kind) {
                self.mark(&object.key(&LOCAL.into()));
            }
        }
    }

    /// Looks at all that is marked now. What it writes is marked again.
    pub(crate) async fn catch_up(self: &Arc<Self>) {
        let keys = std::mem::take(&mut lock(&self.marks).now);
        futures_util::stream::iter(keys).for_each_concurrent(LOOKS, |key| async move { self.look(&key).await }).await;
    }

    /// Works until the task is dropped. `plugins` changes with what is loaded and granted.
    pub(crate) async fn run(self: Arc<Self>, mut plugins: watch::Receiver<u64>) {
        loop {
            let woken = self.wake.notified();
            self.catch_up().await;
            let due = self.due();
            tokio::select! {
                () = woken => {}
                changed = plugins.changed() => match changed {
                    Ok(()) => self.mark_all(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(due.map(|due| self.driver.clock.until(due)).unwrap_or_default()), if due.is_some() => {}
            }
        }
    }

    /// Marks what is due, and says when something is due next.
    fn due(&self) -> Option<Time> {
        let now = self.driver.clock.now();
        let mut marks = lock(&self.marks);
        while let Some(key) = marks.due(now) {
            marks.now.insert(key);
        }
        if !marks.now.is_empty() {
            self.wake.notify_one();
        }
        marks.times.first().map(|(at, _)| *at)
    }

    async fn look(self: &Arc<Self>, key: &Key) {
        let object = self.local.object(key);
        match &*key.kind {
            native::PROCESS => self.look_at_process(key, object).await,
            native::PROBE => self.look_at_probe(key, object).await,
            _ => {}
        }
    }

    /// A person asks for it to be done now. False if the host does not reconcile such an object.
    pub(crate) fn trigger(&self, key: &Key) -> bool {
        let known = reconciles(&key.group, &key.kind) && self.local.object(key).is_some();
        if known {
            self.probes.ask_for(key);
            self.mark(key);
        }
        known
    }

    /// Ends all processes within this time, and looks at nothing any more.
    pub(crate) async fn close(&self, within: Duration) {
        self.probes.close();
        self.processes.close(within).await;
    }
}
