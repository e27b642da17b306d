//! What becomes of `Process` objects: each has a supervised process, whose status is written, and a hub if
//! it speaks MCP.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use setpoint_core::contract::Reason;
use setpoint_core::key::{Key, LOCAL};
use setpoint_core::native::{self, SecretKeyRef};
use setpoint_core::object::Object;
use setpoint_core::process::{EnvVar, Environment, ProcessSpec};
use setpoint_core::sanitize::sanitize;
use setpoint_mcp::hub::{Hub, HubOptions, HubState, HubWatch};
use setpoint_process::{Changes, Keeper, McpStarts, OutputChanges, Permission, Stream, Supervised};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use super::permit::{Denied, Permit};
use super::{KeeperProgram, Native};
use crate::lock::lock;

/// What is left of a stop for the keeper to end.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// One line that a process wrote. Values of Secrets are not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OutputLine {
    /// Unix milliseconds.
    pub at: u64,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The text.
    pub text: String,
}

struct Entry {
    uid: Box<str>,
    supervised: Supervised,
    /// Sees its statuses and speaks with it.
    attendant: JoinHandle<()>,
    /// Nothing of it is left.
    ended: bool,
    hub: Option<Served>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.attendant.abort();
    }
}

/// The hub of the process that runs now.
#[derive(Clone)]
pub(super) struct Served {
    /// Another start has another number.
    pub(super) number: u64,
    pub(super) hub: Hub,
}

pub(super) struct Processes {
    program: Option<KeeperProgram>,
    keeper: OnceCell<Keeper>,
    entries: Mutex<BTreeMap<Key, Entry>>,
    starts: std::sync::atomic::AtomicU64,
}

impl Processes {
    pub(super) fn new(program: Option<KeeperProgram>) -> Self {
        Self { program, keeper: OnceCell::new(), entries: Mutex::default(), starts: 0.into() }
    }

    /// The keeper, which is started with the first process.
    async fn keeper(&self) -> Result<Keeper, Reason> {
        let unavailable = |why: &str| Reason::new("KeeperUnavailable", format!("processes cannot be run: {why}"));
        let program = self.program.as_ref().ok_or_else(|| unavailable("this program has no keeper for them"))?;
        let started = self.keeper.get_or_try_init(|| async {
            let KeeperProgram { program, args } = program.clone();
            let started = tokio::task::spawn_blocking(move || Keeper::start(&program, args)).await;
            started.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        });
        started.await.cloned().map_err(|error| unavailable(&error))
    }

    /// The hub of a process; none if it does not run, or does not speak MCP.
    pub(super) fn served(&self, key: &Key) -> Option<Served> {
        lock(&self.entries).get(key)?.hub.clone()
    }

    pub(super) async fn close(&self, within: Duration) {
        let entries = std::mem::take(&mut *lock(&self.entries));
        let closing = entries.into_values().map(|mut entry| {
            // What is written at a stop would be as wrong after it.
            entry.attendant.abort();
            async move {
                entry.supervised.delete();
                tokio::time::timeout(within, entry.supervised.gone()).await.is_ok()
            }
        });
        futures_util::future::join_all(closing).await;
        if let Some(keeper) = self.keeper.get().cloned() {
            let closed = tokio::task::spawn_blocking(move || keeper.close(LEFT_OVER)).await;
            if !closed.unwrap_or(false) {
                tracing::warn!("some processes have not ended in time; they are being killed");
            }
        }
    }
}

/// The processes that answer MCP clients.
pub(crate) struct McpServers(pub(crate) Arc<Native>);

impl setpoint_mcp::gateway::Lookup for McpServers {
    fn find(&self, namespace: &str, name: &str) -> setpoint_mcp::gateway::Found {
        use setpoint_mcp::gateway::Found;
        let key = Key::new(LOCAL, native::GROUP, native::PROCESS, Some(namespace), name);
        match lock(&self.0.processes.entries).get(&key) {
            None => Found::Unknown,
            Some(Entry { hub: Some(served), .. }) => Found::Hub(served.hub.clone()),
            Some(Entry { supervised, .. }) => {
                Found::Down { why: supervised.status().message.clone(), retry_after: None }
            }
        }
    }
}

impl Native {
    pub(super) async fn look_at_process(self: &Arc<Self>, key: &Key, object: Option<Arc<Object>>) {
        let Some(object) = object else {
            // Gone without having been let go: somebody removed the finalizer.
            self.uses(key, &BTreeSet::new());
            lock(&self.processes.entries).remove(key);
            self.mark_users(key);
            return;
        };
        let known = lock(&self.processes.entries).get(key).map(|entry| (entry.uid.clone(), entry.ended));
        if object.terminating() || known.as_ref().is_some_and(|(uid, _)| **uid != *object.uid()) {
            match known {
                Some((_, false)) => {
                    self.delete(key);
                    self.show_process(key).await;
                }
                known => {
                    let its = known.is_none_or(|(uid, _)| *uid == *object.uid());
                    lock(&self.processes.entries).remove(key);
                    self.uses(key, &BTreeSet::new());
                    match its && object.terminating() {
                        true => drop(self.hold(key, &object, false).await),
                        // Another one of the same name.
                        false => self.mark(key),
                    }
                }
            }
            return;
        }
        if !self.hold(key, &object, true).await {
            return;
        }
        let value = object.value();
        let spec = value.get("spec").cloned().unwrap_or_default();
        let spec: ProcessSpec = match serde_json::from_value(spec) {
            Ok(spec) => spec,
            Err(error) => return self.refuse(key, &object, &Reason::new("Invalid", error.to_string())).await,
        };
        let (permission, secrets) = match self.permit(key, &object) {
            Ok(permit) => self.permission(&permit, &spec).await,
            Err(Denied::Never(reason)) => (Permission::Stop(reason), BTreeSet::new()),
            Err(Denied::NotNow(reason)) => (Permission::Wait(reason), BTreeSet::new()),
        };
        self.uses(key, &secrets);
        match self.ensure(key, object.uid()).await {
            Ok(()) => {
                if let Some(entry) = lock(&self.processes.entries).get(key) {
                    entry.supervised.set(Arc::new(spec), object.generation(), permission);
                }
            }
            Err(reason) => return self.refuse(key, &object, &reason).await,
        }
        self.show_process(key).await;
    }

    /// Writes the status of a process as it is now.
    async fn show_process(&self, key: &Key) {
        let seen = lock(&self.processes.entries).get(key).map(|entry| (entry.uid.clone(), entry.supervised.status()));
        if let Some((uid, status)) = seen {
            self.show(key, &uid, serde_json::to_value(&*status).unwrap_or_default()).await;
        }
    }

    async fn permission(&self, permit: &Permit, spec: &ProcessSpec) -> (Permission, BTreeSet<Key>) {
        if let Err(reason) = permit.run(&spec.command) {
            return (Permission::Stop(reason), BTreeSet::new());
        }
        let mut secrets = BTreeSet::new();
        let mut values = BTreeMap::new();
        for reference in spec.env.iter().filter_map(secret_of) {
            secrets.extend(permit.secret(&reference.name).ok());
            let value = self.secret(permit, &reference.name, &reference.key).await;
            values.insert((reference.name.clone(), reference.key.clone()), value);
        }
        let found = Environment::resolve(&spec.env, |reference| {
            values.get(&(reference.name.clone(), reference.key.clone())).cloned().unwrap_or(Ok(None))
        });
        match found {
            Ok(environment) => (Permission::Run(environment), secrets),
            Err(reason) => (Permission::Wait(reason), secrets),
        }
    }

    async fn ensure(self: &Arc<Self>, key: &Key, uid: &str) -> Result<(), Reason> {
        if lock(&self.processes.entries).contains_key(key) {
            return Ok(());
        }
        let keeper = self.processes.keeper().await?;
        let name = format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name);
        let supervised = Supervised::new(&keeper, &name);
        let attended = self.clone().attend(key.clone(), supervised.changes(), supervised.mcp());
        let attendant = tokio::spawn(attended);
        let entry = Entry { uid: uid.into(), supervised, attendant, ended: false, hub: None };
        lock(&self.processes.entries).insert(key.clone(), entry);
        Ok(())
    }

    fn delete(&self, key: &Key) {
        if let Some(entry) = lock(&self.processes.entries).get(key) {
            entry.supervised.delete();
        }
    }

    /// What cannot be run at all says so.
    async fn refuse(&self, key: &Key, object: &Object, reason: &Reason) {
        let before = object.value();
        let before = before.pointer("/status/conditions/0").filter(|before| before["status"] == "False");
        let since =
            before.map_or_else(|| json!(self.driver.clock.wall()), |before| before["lastTransitionTime"].clone());
        let (code, message, generation) = (&reason.code, sanitize(&reason.message), object.generation());
        let status = json!({
            "state": "Failed", "reason": code, "message": message, "ready": false, "restarts": 0,
            "consecutiveFailures": 0, "observedGeneration": generation,
            "conditions": [{
                "type": "Ready", "status": "False", "observedGeneration": generation, "lastTransitionTime": since,
                "reason": code, "message": message,
            }],
        });
        self.show(key, object.uid(), status).await;
    }

    /// Sees the statuses of one process, and speaks with each of its starts.
    async fn attend(self: Arc<Self>, key: Key, mut changes: Changes, mut starts: McpStarts) {
        let mut hub: Option<HubWatch> = None;
        let mut more = true;
        loop {
            tokio::select! {
                status = changes.next() => match status {
                    Some(_) => self.mark(&key),
                    None => break,
                },
                pipes = starts.next(), if more => match pipes {
                    Some(pipes) => {
                        let started = Hub::start(pipes.output, pipes.input, HubOptions::default());
                        hub = Some(started.watch());
                        let number = self.processes.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                        self.serve(&key, Some(Served { number, hub: started }));
                    }
                    None => more = false,
                },
                state = changed(&mut hub) => match state {
                    Some(HubState::Ready(session)) => {
                        if let Some(Ok(tools)) = &session.tools {
                            self.probes.tools_changed(&self.users_of(&key), tools);
                        }
                        self.mark_users(&key);
                    }
                    Some(HubState::Starting | HubState::Failed(_)) => {}
                    Some(HubState::Ended) | None => {
                        hub = None;
                        self.serve(&key, None);
                    }
                },
            }
        }
        if let Some(entry) = lock(&self.processes.entries).get_mut(&key) {
            entry.ended = true;
            entry.hub = None;
        }
        self.mark_users(&key);
        self.mark(&key);
    }

    fn serve(&self, key: &Key, served: Option<Served>) {
        if let Some(entry) = lock(&self.processes.entries).get_mut(key) {
            entry.hub = served;
        }
        self.mark_users(key);
    }

    fn users_of(&self, key: &Key) -> BTreeSet<Key> {
        lock(&self.users).get(key).cloned().unwrap_or_default()
    }

    /// Tells when a process has written something; none if there is no such process.
    pub(crate) fn output_changes(&self, key: &Key) -> Option<OutputChanges> {
        Some(lock(&self.processes.entries).get(key)?.supervised.output_changes())
    }

    /// What a process wrote last, oldest first; none if there is no such process.
    pub(crate) fn output(&self, key: &Key) -> Option<Vec<OutputLine>> {
        let lines = lock(&self.processes.entries).get(key)?.supervised.output();
        let line = |line: setpoint_process::Line| OutputLine {
            at: line.at,
            stream: match line.stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            },
            text: line.text,
        };
        Some(lines.into_iter().map(line).collect())
    }
}

fn secret_of(variable: &EnvVar) -> Option<&SecretKeyRef> {
    variable.value_from.as_ref().map(|source| &source.secret_key_ref)
}

async fn changed(hub: &mut Option<HubWatch>) -> Option<HubState> {
    match hub {
        Some(hub) => hub.changed().await,
        None => pending().await,
    }
}
