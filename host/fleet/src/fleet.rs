//! The fleet: carries out what `setpoint_core::fleet` decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use setpoint_cluster::Sink;
use setpoint_core::Time;
use setpoint_core::fleet::{Fleet as Machine, Offer, OfferError, Step};
use setpoint_core::key::Name;
use setpoint_kubernetes::{ConnectError, ConnectOptions, KubernetesCluster, Limits};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::connection::{Connection, Directory, DirectoryOptions};
use crate::gate::Gate;
use crate::{Aware, ClusterNotFound, ClusterRow, Engaged, Provider, Reach, Way};

/// How a fleet is set up.
#[derive(Clone)]
pub struct FleetOptions {
    /// Who reports events: the pod's name or the machine's.
    pub instance: String,
    /// The field manager of this installation's statuses.
    pub status_manager: Name,
    /// What each API server is asked at most.
    pub limits: Limits,
    /// How long one try to reach a cluster may take. Default: 10 s.
    pub patience: Duration,
    /// Where directories keep their state. Default: none, and there can be none.
    pub directories: Option<DirectoryOptions>,
    /// Seed of jitter.
    pub seed: u64,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            instance: "setpoint".into(),
            status_manager: "".into(),
            limits: Limits::default(),
            patience: Duration::from_secs(10),
            directories: None,
            seed: 0,
        }
    }
}

/// The clusters that providers offer.
pub struct Fleet {
    options: FleetOptions,
    providers: Vec<Arc<dyn Provider>>,
    /// Hears what clusters show.
    sink: Arc<dyn Sink>,
    /// Hears of clusters.
    aware: Arc<dyn Aware>,
    origin: Instant,
    inner: Mutex<Inner>,
    wake: Notify,
    changes: watch::Sender<u64>,
}

struct Inner {
    machine: Machine,
    /// The changes of it that were told.
    told: u64,
    /// What was offered, by provider and name.
    reaches: BTreeMap<(Name, Name), Reach>,
    /// The providers that have said which clusters there are.
    settled: BTreeSet<Name>,
    /// What providers say is in their way, by provider and what it is about.
    troubles: BTreeMap<(Name, String), String>,
    /// Tries under way.
    tries: HashMap<u64, AbortHandle>,
    /// Reached and not engaged yet.
    reached: HashMap<u64, Connected>,
    members: BTreeMap<Name, Connected>,
    /// Those that take part from the beginning to the end.
    seated: BTreeMap<Name, Connection>,
}

impl Inner {
    fn connection(&self, name: &str) -> Option<&Connection> {
        self.seated.get(name).or_else(|| self.members.get(name).map(|member| &member.connection))
    }

    /// Who has files of a directory already that is not the same one.
    fn nested(&self, connection: &Connection) -> Option<Name> {
        let connected = self.members.values().chain(self.reached.values()).map(|connected| &connected.connection);
        let mut all = self.seated.values().chain(connected);
        all.find(|other| other.is_nested(connection)).map(|other| other.cluster().name().clone())
    }
}

#[derive(Clone)]
struct Connected {
    connection: Connection,
    gate: Arc<Gate>,
    reach: Reach,
}

impl Fleet {
    /// A fleet of what these providers offer once it runs. What its members show is told to a sink.
    pub fn new(
        options: FleetOptions,
        providers: Vec<Arc<dyn Provider>>,
        sink: Arc<dyn Sink>,
        aware: Arc<dyn Aware>,
    ) -> Arc<Self> {
        let machine = Machine::new(options.seed);
        let inner = Inner {
            machine,
            told: 0,
            reaches: BTreeMap::new(),
            settled: BTreeSet::new(),
            troubles: BTreeMap::new(),
            tries: HashMap::new(),
            reached: HashMap::new(),
            members: BTreeMap::new(),
            seated: BTreeMap::new(),
        };
        Arc::new(Self {
            options,
            providers,
            sink,
            aware,
            origin: Instant::now(),
            inner: Mutex::new(inner),
            wake: Notify::new(),
            changes: watch::channel(0).0,
        })
    }

    /// A cluster takes part from the beginning to the end, and is not this fleet's to reach: its name and, in its
    /// namespaces, what it is are taken.
    pub fn seat(&self, name: &Name, provider: &str, connection: Connection, namespaces: Vec<Name>) {
        self.work(|inner, now| {
            inner.machine.seat(now, name, &provider.into(), &connection.place(), namespaces);
            inner.seated.insert(name.clone(), connection);
        });
    }

    fn now(&self) -> Time {
        self.origin.elapsed().as_millis() as Time
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T>(&self, work: impl FnOnce(&mut Inner, Time) -> T) -> T {
        let result = work(&mut self.locked(), self.now());
        self.wake.notify_one();
        result
    }

    /// The connection to a cluster that takes part.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, name: &str) -> Result<Connection, ClusterNotFound> {
        let connection = self.locked().connection(name).cloned();
        connection.ok_or_else(|| ClusterNotFound { name: name.to_owned() })
    }

    /// All clusters that are offered, in order of their names.
    pub fn list(&self) -> Vec<ClusterRow> {
        let (inner, now) = (self.locked(), self.now());
        let row = |row: setpoint_core::fleet::Row| {
            let reach = inner.reaches.get(&(row.provider.clone(), row.name.clone()));
            ClusterRow {
                labels: reach.map(|reach| reach.labels.clone()).unwrap_or_default(),
                connection: inner.connection(&row.name).cloned(),
                for_ms: now.saturating_sub(row.since),
                next_ms: row.next.map(|next| next.saturating_sub(now)),
                name: row.name,
                provider: row.provider,
                rivals: row.rivals,
                state: row.state,
                reason: row.reason,
                identity: row.identity,
                namespaces: row.namespaces,
            }
        };
        inner.machine.rows().map(row).collect()
    }

    /// What is in the way of providers: who says it, what it is about, and what it is.
    pub fn troubles(&self) -> Vec<(Name, String, String)> {
        let inner = self.locked();
        inner.troubles.iter().map(|((by, of), what)| (by.clone(), of.clone(), what.clone())).collect()
    }

    /// Changes whenever [`Fleet::list`] or [`Fleet::troubles`] may have.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a provider has not said yet which clusters there are.
    pub fn is_awaited(&self, provider: &str) -> bool {
        self.providers.iter().any(|of| of.name() == provider) && !self.locked().settled.contains(provider)
    }

    /// Reaches, engages and lets go of what the providers offer, until this is dropped.
    pub async fn run(self: Arc<Self>) {
        // Dropped with this future, and the providers with it.
        let mut running = JoinSet::new();
        for provider in self.providers.clone() {
            let offers = Offers {
                fleet: self.clone(),
                provider: provider.name().into(),
                prefix: provider.prefix().map(str::to_owned),
            };
            running.spawn(provider.run(offers));
        }
        loop {
            let woken = self.wake.notified();
            while let Some(step) = self.next() {
                self.carry_out(step);
            }
            self.tell();
            let wakeup = self.locked().machine.next_wakeup();
            let due = wakeup.map(|at| self.origin + Duration::from_millis(at.max(self.now() + 1)));
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(due.unwrap_or(self.origin)), if due.is_some() => {}
                Some(ended) = running.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("a provider of clusters has come to grief; what it offered stays: {error}");
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Step> {
        let now = self.now();
        self.locked().machine.next(now)
    }

    fn tell(&self) {
        let moved = {
            let mut inner = self.locked();
            let changes = inner.machine.changes();
            std::mem::replace(&mut inner.told, changes) != changes
        };
        if moved {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    fn carry_out(self: &Arc<Self>, step: Step) {
        match step {
            Step::Connect { name, provider, ticket } => self.connect(name, provider, ticket),
            Step::Engage { name, ticket } => {
                let Some(connected) = self.locked().reached.remove(&ticket) else { return };
                let (connection, reach) = (connected.connection.clone(), connected.reach.clone());
                self.locked().members.insert(name.clone(), connected);
                let mut identity = connection.identity().to_owned();
                if reach.scoped {
                    let namespaces: Vec<&str> = reach.namespaces.iter().map(|namespace| &**namespace).collect();
                    identity = format!("{identity}/{}", namespaces.join(","));
                }
                tracing::info!(cluster = %name, at = connection.address(), "it takes part");
                let provider = self.locked().machine.row(&name).map(|row| row.provider).unwrap_or_else(|| "".into());
                let (namespaces, labels) = (reach.namespaces, reach.labels);
                self.aware.engage(&Engaged { name, provider, connection, identity, namespaces, labels });
            }
            Step::Disengage { name, reason, .. } => {
                let member = self.locked().members.remove(&name);
                tracing::info!(cluster = %name, "it does not take part any more: {reason}");
                if let Some(member) = member {
                    member.gate.close();
                    self.aware.disengage(&name, &reason);
                    member.connection.shutdown();
                }
            }
            Step::Drop { ticket } => {
                let (run, reached) = {
                    let mut inner = self.locked();
                    (inner.tries.remove(&ticket), inner.reached.remove(&ticket))
                };
                if let Some(run) = run {
                    run.abort();
                }
                if let Some(reached) = reached {
                    reached.connection.shutdown();
                }
            }
        }
    }

    /// Tries to reach a cluster, beside everything else.
    fn connect(self: &Arc<Self>, name: Name, provider: Name, ticket: u64) {
        let mut inner = self.locked();
        let Some(reach) = inner.reaches.get(&(provider, name.clone())).cloned() else { return };
        let this = self.clone();
        let task = tokio::spawn(async move {
            let result = this.reach(&name, reach).await;
            this.work(|inner, now| {
                inner.tries.remove(&ticket);
                let nested = result.as_ref().ok().and_then(|reached| inner.nested(&reached.connection));
                let result = match (result, nested) {
                    (Ok(connected), Some(other)) => {
                        connected.connection.shutdown();
                        Err(format!("its files are those of the cluster {other}, too: one directory is in the other"))
                    }
                    (result, _) => result,
                };
                match result {
                    Ok(connected) => {
                        let place = connected.connection.place();
                        inner.reached.insert(ticket, connected);
                        inner.machine.connected(now, ticket, &place);
                    }
                    Err(reason) => {
                        let before = inner.machine.row(&name).and_then(|row| row.reason);
                        if before.as_deref() != Some(&*reason) {
                            tracing::warn!(cluster = %name, "it does not take part yet: {reason}");
                        }
                        inner.machine.failed(now, ticket, &reason);
                    }
                }
            });
        });
        inner.tries.insert(ticket, task.abort_handle());
    }

    async fn reach(&self, name: &Name, reach: Reach) -> Result<Connected, String> {
        let gate = Gate::new(self.sink.clone());
        let access = match reach.way.clone()? {
            Way::Server(access) => access,
            Way::Directory(root) => {
                let Some(options) = self.options.directories.clone() else {
                    return Err("directories are no clusters here: there is nowhere to keep their state".into());
                };
                let (name, sink) = (name.clone(), gate.clone());
                let opening = tokio::task::spawn_blocking(move || Directory::open(&name, &root, &options, sink)).await;
                let directory = opening.map_err(|error| error.to_string())??;
                let connection = Connection::Directory(Arc::new(directory));
                return Ok(Connected { connection, gate, reach });
            }
        };
        let options = ConnectOptions {
            name: name.clone(),
            access,
            namespaces: reach.namespaces.clone(),
            limits: self.options.limits,
            // It is tried again here, with all others.
            patience: Duration::ZERO,
            instance: self.options.instance.clone(),
            status_manager: self.options.status_manager.clone(),
        };
        let connecting = KubernetesCluster::connect(options, gate.clone());
        match tokio::time::timeout(self.options.patience, connecting).await {
            Ok(Ok(cluster)) => Ok(Connected { connection: Connection::Server(cluster), gate, reach }),
            // How long it took is not told: it differs each time.
            Ok(Err(ConnectError::Unreachable { server, reason, .. })) => {
                Err(format!("the API server {server} cannot be reached: {reason}"))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("there was no answer within {} s", self.options.patience.as_secs())),
        }
    }

    /// Lets go of all clusters: they are not told of any more.
    pub fn close(&self) {
        let (members, tries) = {
            let mut inner = self.locked();
            (std::mem::take(&mut inner.members), std::mem::take(&mut inner.tries))
        };
        tries.into_values().for_each(|run| run.abort());
        for member in members.into_values() {
            member.gate.close();
            member.connection.shutdown();
        }
    }
}

/// What a provider offers clusters with.
#[derive(Clone)]
pub struct Offers {
    fleet: Arc<Fleet>,
    provider: Name,
    prefix: Option<String>,
}

impl Offers {
    /// What a cluster is called in the fleet.
    pub fn full_name(&self, name: &str) -> Name {
        match &self.prefix {
            Some(prefix) => format!("{prefix}.{name}").into(),
            None => name.into(),
        }
    }

    /// A cluster is there, and is reached like this. The same once more changes nothing; what is said of it may
    /// change, and is reached anew only if the instance or the namespaces are others.
    ///
    /// # Errors
    /// The name is none, or is the host's own.
    pub fn engage(&self, name: &str, reach: Reach) -> Result<(), OfferError> {
        let name = self.full_name(name);
        let offer = Offer { instance: reach.instance.as_str().into(), namespaces: reach.namespaces.clone() };
        let news = self.fleet.work(|inner, now| {
            inner.machine.offered(now, &self.provider, &name, offer)?;
            let before = inner.reaches.insert((self.provider.clone(), name), reach.clone());
            Ok(before.is_none_or(|before| before != reach))
        })?;
        if news {
            self.fleet.changed();
        }
        Ok(())
    }

    /// The same for a cluster that may be in trouble: that, or why the offer is not taken, is shown to people.
    pub fn show(&self, name: &str, reach: Reach, trouble: Option<String>) {
        let refused = self.engage(name, reach).err().map(|refused| refused.to_string());
        self.trouble(name, trouble.or(refused).as_deref());
    }

    /// A cluster is not there any more.
    pub fn disengage(&self, name: &str, reason: &str) {
        self.withdraw(&self.full_name(name), reason);
    }

    fn withdraw(&self, name: &Name, reason: &str) {
        self.fleet.work(|inner, now| {
            inner.machine.withdrawn(now, &self.provider, name, reason);
            inner.reaches.remove(&(self.provider.clone(), name.clone()));
        });
    }

    /// These are all the clusters that there are: of those that were offered before and are not among them, each for
    /// a reason, none is any more.
    pub fn all<'a>(&self, names: impl IntoIterator<Item = &'a str>, reason: &str) {
        let names: Vec<Name> = names.into_iter().map(|name| self.full_name(name)).collect();
        let (offered, news) = {
            let mut inner = self.fleet.locked();
            (inner.machine.offered_by(&self.provider), inner.settled.insert(self.provider.clone()))
        };
        if news {
            self.fleet.changed();
        }
        for name in offered.iter().filter(|name| !names.contains(name)) {
            self.withdraw(name, reason);
        }
    }

    /// What is in the way of a file, a source, or whatever this is about; none: nothing is any more. It is shown to
    /// people.
    pub fn trouble(&self, about: &str, what: Option<&str>) {
        let key = (self.provider.clone(), about.to_owned());
        let news = {
            let mut inner = self.fleet.locked();
            let before = match what {
                Some(what) => inner.troubles.insert(key, what.to_owned()),
                None => inner.troubles.remove(&key),
            };
            before.as_deref() != what
        };
        if !news {
            return;
        }
        match what {
            Some(what) => tracing::warn!(provider = %self.provider, "{about}: {what}"),
            None => tracing::info!(provider = %self.provider, "{about}: it is well again"),
        }
        self.fleet.changed();
    }
}
