//! Starting and stopping a host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use setpoint_cluster::local::{Local, LocalOptions, OpenError};
use setpoint_core::effects::status_manager;
use setpoint_core::engine::{ClusterFacts, Engine, Options};
use setpoint_core::grants::Grant;
use setpoint_core::key::{HUB, LOCAL, Name};
use setpoint_core::native;
use setpoint_fleet::providers::Hub;
use setpoint_fleet::{Connection, Directory, DirectoryOptions, Fleet, FleetOptions};
use setpoint_kubernetes::ConnectError;
use setpoint_kubernetes::state::SharedState;
use setpoint_mcp::gateway::{Gateway, GatewayOptions};
use setpoint_plugin::{PluginError, PluginHost};
use tokio::task::JoinHandle;

use crate::board::Board;
use crate::clock::Clock;
use crate::clusters::{self, Clusters, InstallCrds, LeaseConfig, fleet, lease};
use crate::config::{Config, ConfigError};
use crate::driver::{Driver, EngineSink};
use crate::embed::Embedded;
use crate::file_clusters::{FileClusters, end_rebuilt};
use crate::handle::{Handle, Inner};
use crate::http::{HttpOptions, TlsFiles, TlsListener, check_listen};
use crate::installation::Installation;
use crate::kinds::Kinds;
use crate::late::LateSink;
use crate::mode::{Mode, decide};
use crate::native::{KeeperProgram, McpServers, Native};
use crate::passed::Passed;
use crate::plugins::{Parts, Plugins};

/// Where and how a host runs. What is `None` comes from the configuration file, else the default.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// Directory of plugins. Default `./plugins`.
    pub plugins: Option<PathBuf>,
    /// Directory of resources. Default `./resources`.
    pub resources: Option<PathBuf>,
    /// Directory of the state. Default `./.setpoint`.
    pub state: Option<PathBuf>,
    /// Configuration file. Default: none.
    pub config: Option<PathBuf>,
    /// Address of the HTTP API. Default 127.0.0.1:8474; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// File of the bearer token that requests have to carry. Default: none is needed, on loopback only.
    pub token_file: Option<PathBuf>,
    /// Certificate and key of the HTTP API. Default: no TLS, on loopback only.
    pub tls: Option<TlsFiles>,
    /// Address that serves only health and metrics. Default: none.
    pub health_listen: Option<SocketAddr>,
    /// Grants: plugin (or `*`) and grant, beside those of the configuration.
    pub grants: Vec<(String, Grant)>,
    /// Calls at a time over all plugins. Default: cores × 4.
    pub workers: Option<u32>,
    /// Where objects come from. Default: the configuration's, else [`Mode::Auto`].
    pub mode: Option<Mode>,
    /// Kubeconfig of the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    pub context: Option<String>,
    /// Only these namespaces of the cluster are looked at. Default: the configuration's, else all.
    pub watch_namespaces: Vec<String>,
    /// Whether one of several hosts acts at a time. Default: the configuration's, else in a pod.
    pub leader_elect: Option<bool>,
    /// Whether objects are reconciled of which another installation has written the status lately (rule D9).
    pub take_over: bool,
    /// Bring the definitions of the plugins' kinds to the cluster. Default: the configuration's, else not.
    pub install_crds: Option<InstallCrds>,
    /// Kubeconfig files, directories and patterns, whose contexts are clusters that take part, beside those of the
    /// configuration.
    pub clusters: Vec<PathBuf>,
    /// How the keeper of processes is started. Default: none, and no processes can be run.
    pub keeper: Option<KeeperProgram>,
    /// What the program brings that the host is part of; see [`Host::builder`]. Default: nothing.
    pub embedded: Embedded,
}

/// Why a host cannot start. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is said of the mode contradicts itself.
    #[error("{0}")]
    Mode(String),
    /// The Kubernetes cluster cannot be worked with.
    #[error(transparent)]
    Kubernetes(#[from] ConnectError),
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] OpenError),
    /// The host's own reconcilers cannot work.
    #[error("{0}")]
    Native(String),
    /// WebAssembly cannot be run.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// The resources directory cannot be used.
    #[error("the resources directory {}: {source}", path.display())]
    Resources {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: setpoint_cluster::source::StartError,
    },
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {source}; give another one with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The address may not be listened on.
    #[error("{0}")]
    Refused(String),
    /// A file of the state cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8474);
/// Below the state directory: what clusters of directories keep.
const CLUSTERS: &str = "clusters";
/// What runs when the host stops has so long to end.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// Between looks at the configuration file.
const CONFIG_POLL: Duration = Duration::from_secs(2);

/// A running host.
pub struct Host {
    handle: Handle,
    native: Arc<Native>,
    mcp: Option<Gateway>,
    clusters: Arc<Clusters>,
    driver: Arc<Driver>,
    files: Arc<FileClusters>,
    tasks: Vec<JoinHandle<()>>,
    server: Option<String>,
    address: Option<SocketAddr>,
    host_file: PathBuf,
}

/// The API's own way to be reached.
enum Listening {
    Plain(tokio::net::TcpListener),
    Tls(TlsListener),
}

impl Listening {
    /// Answers where it listens as well.
    async fn bind(
        listen: SocketAddr,
        with_token: bool,
        tls: Option<TlsFiles>,
    ) -> Result<(Self, SocketAddr), StartError> {
        check_listen(listen, with_token, tls.is_some()).map_err(StartError::Refused)?;
        let listener = bind(listen, "--listen").await?;
        let address = listener.local_addr().unwrap_or(listen);
        let listening = match tls {
            Some(files) => Self::Tls(TlsListener::new(listener, files).map_err(StartError::Refused)?),
            None => Self::Plain(listener),
        };
        Ok((listening, address))
    }

    fn serve(self, handle: Handle, options: HttpOptions) -> JoinHandle<()> {
        match self {
            Listening::Plain(listener) => tokio::spawn(crate::http::serve(listener, handle, options)),
            Listening::Tls(listener) => tokio::spawn(crate::http::serve(listener, handle, options)),
        }
    }
}

fn read_token(path: &Path) -> Result<String, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError::Refused(format!("{}: the bearer token: {error}", path.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = "the bearer token has to be one line of printable ASCII without blanks";
        return Err(StartError::Refused(format!("{}: {what}", path.display())));
    }
    Ok(token.to_owned())
}

impl Host {
    /// Starts everything: the state, the plugins that are there, the files, the listeners. It
    /// returns when it listens; see [`Handle::readiness`] for whether it has caught up.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub async fn start(options: HostOptions) -> Result<Self, StartError> {
        let config = match &options.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let or = |given: &Option<PathBuf>, said: &Option<PathBuf>, usual: &str| {
            given.clone().or_else(|| said.clone()).unwrap_or_else(|| PathBuf::from(usual))
        };
        let decided = decide(
            options.mode.or(config.mode).unwrap_or_default(),
            options.kubeconfig.clone().or_else(|| config.kubernetes.kubeconfig.clone()),
            options.context.clone().or_else(|| config.kubernetes.context.clone()),
            lease::in_pod(),
        )
        .map_err(StartError::Mode)?;
        let home: Name = decided.home().into();
        tracing::info!("reconciling {}: {}", if decided.hub.is_some() { "a cluster" } else { "files" }, decided.why);
        let plugins_dir = or(&options.plugins, &config.plugins_dir, "plugins");
        let only_named = options.embedded.only_named;
        let plugins_named = options.plugins.is_some() || config.plugins_dir.is_some();
        let plugins_dir = (plugins_named || !only_named).then_some(plugins_dir);
        // Beside a cluster files are read only if that is asked for.
        let asked_for = options.resources.is_some() || config.resources_dir.is_some();
        let with_files = (decided.hub.is_none() && !only_named) || asked_for;
        let resources = or(&options.resources, &config.resources_dir, "resources");
        let state_dir = or(&options.state, &config.state_dir, ".setpoint");
        let listen = options.listen.or(config.listen).or((!only_named).then_some(DEFAULT_LISTEN));
        let token = match options.token_file.as_ref().or(config.token_file.as_ref()) {
            Some(path) => Some(read_token(path)?),
            None => None,
        };
        let tls = options.tls.clone().or_else(|| config.tls.clone());
        let secure = tls.is_some();
        let listening = match listen {
            Some(listen) => Some(Listening::bind(listen, token.is_some(), tls).await?),
            None => None,
        };
        let address = listening.as_ref().map(|(_, address)| *address);
        let loopback_only = address.is_some_and(|address| address.ip().to_canonical().is_loopback());
        let http = HttpOptions { loopback_only, token };
        let health = match options.health_listen.or(config.health_listen) {
            Some(address) => Some(bind(address, "--health-listen").await?),
            None => None,
        };

        let clock = Clock::default();
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u32;
        let kinds = Arc::new(Kinds::default());
        let sink = Arc::new(LateSink::default());
        let local = Local::open(LocalOptions { strict: config.strict, ..LocalOptions::new(&state_dir) }, sink.clone())?;
        let here = Arc::new(Directory::of(local.clone(), with_files.then_some(&resources)));
        let store_id = here.identity().to_owned();
        let only = match options.watch_namespaces.as_slice() {
            [] => config.kubernetes.namespaces.clone(),
            given => Some(given.to_vec()),
        };
        let only: Option<Vec<Name>> = only.map(|names| names.iter().map(|name| name.as_str().into()).collect());
        let namespaces = only.clone().unwrap_or_default();
        let sharding = config.kubernetes.sharding.clone();
        let lease_config = LeaseConfig {
            enabled: options.leader_elect.or(config.kubernetes.lease.enabled).or(sharding.enabled.then_some(true)),
            ..config.kubernetes.lease.clone()
        };
        // Hosts with a lease in common are one installation (rule D9).
        let shared = lease_config.is_enabled() || lease::in_pod();
        let shared = shared.then(|| lease_config.namespace()).filter(|_| decided.hub.is_some());
        let installation_id = config.installation.clone().or(shared).unwrap_or_else(|| format!("local-{store_id}"));
        let manager: Name = (&*status_manager(&installation_id)).into();
        let cluster = match decided.hub.clone() {
            Some(access) => Some(
                clusters::connect(access, namespaces, config.kubernetes.limits(), manager.clone(), sink.clone())
                    .await?,
            ),
            None => None,
        };
        let first_namespace = only.as_ref().and_then(|only| only.first().cloned());
        let usual = Options::default();
        let engine = Engine::new(
            Options {
                installation: installation_id.clone(),
                workers: options.workers.or(config.workers).unwrap_or(cores * 4),
                seed: store_id.bytes().fold(crate::driver::unix_now(), |seed, b| seed.rotate_left(5) ^ u64::from(b)),
                hold_above: config.hold_above.unwrap_or(usual.hold_above),
                hold_percent: config.hold_percent.unwrap_or(usual.hold_percent),
                rebuilt: local.rebuilt(),
                take_over: options.take_over,
                epoch: Some(clock.epoch()),
                shared: sharding.enabled && cluster.is_some(),
                started: clock.now(),
                ..usual
            },
            kinds.clone(),
        );
        let driver = Driver::new(engine, clock);
        sink.set(EngineSink::new(&driver));
        driver.add_cluster(local.clone(), ClusterFacts::of(&store_id), None);
        let mut found_in = config.clusters.clone();
        if !options.clusters.is_empty() {
            found_in.insert("command-line".into(), fleet::named_on_the_command_line(options.clusters.clone()));
        }
        let hub_access = decided.hub.clone().map(|access| Hub { access, limits: config.kubernetes.limits() });
        let mut providers = fleet::providers(&found_in, hub_access.as_ref()).map_err(StartError::Mode)?;
        providers.extend(options.embedded.providers.iter().cloned());
        let install_elsewhere = found_in
            .iter()
            .filter_map(|(name, provider)| Some((name.as_str().into(), provider.install_crds?)))
            .collect();
        let required = found_in.iter().filter(|(_, provider)| provider.required).map(|(name, _)| name.as_str());
        let required = required.chain(options.embedded.required.iter().map(String::as_str)).map(Name::from).collect();
        let seated_hub = cluster.clone().map(Connection::Server);
        let files = FileClusters::new(&driver, &kinds, local.clone(), with_files.then(|| resources.clone()));
        let beside_lease = cluster.as_ref().filter(|_| lease_config.is_enabled());
        let beside_lease = beside_lease.map(|hub| SharedState::of(hub, &lease_config.namespace()));
        let installation = Installation::open(local.clone(), driver.clone(), beside_lease);
        let clusters = Clusters::new(clusters::Parts {
            driver: driver.clone(),
            files: files.clone(),
            kinds: kinds.clone(),
            hub: cluster.map(|cluster| (cluster, only.clone())),
            lease: lease_config,
            installation: installation.clone(),
            sharding,
            limits: config.kubernetes.limits(),
            install: options.install_crds.or(config.kubernetes.install_crds).unwrap_or(InstallCrds::Off),
            install_elsewhere,
            required,
        });
        let clusters = clusters.map_err(StartError::Mode)?;
        let fleet = Fleet::new(
            FleetOptions {
                instance: lease::instance(),
                status_manager: manager.clone(),
                limits: config.kubernetes.limits(),
                directories: Some(DirectoryOptions { state: state_dir.join(CLUSTERS), strict: config.strict }),
                seed: crate::driver::unix_now(),
                ..FleetOptions::default()
            },
            providers,
            sink.clone(),
            clusters.clone(),
        );
        fleet.seat(&LOCAL.into(), "host", Connection::Directory(here), Vec::new());
        if let Some(hub) = seated_hub {
            fleet.seat(&HUB.into(), "mode", hub, only.unwrap_or_default());
        }
        clusters.set_fleet(fleet.clone());
        clusters.restore_forgotten();
        let manager: Box<str> = (*manager).into();
        let native = Native::new(driver.clone(), local.clone(), manager.clone(), options.keeper.clone());
        let native = native.map_err(StartError::Native)?;
        sink.set_native(native.clone());
        let passed = Passed::open(local.clone());
        let note = passed.clone();
        driver.on_passed(Box::new(move |passed| note.note(passed)));
        driver.with(|engine, _| engine.restore_passed(passed.all()));
        files.begin();

        let plugin_host = {
            let options = setpoint_plugin::HostOptions {
                cache_dir: Some(state_dir.join("code-cache")),
                ..setpoint_plugin::HostOptions::default()
            };
            tokio::task::spawn_blocking(move || PluginHost::new(options))
                .await
                .unwrap_or_else(|error| Err(PluginError::Engine(error.to_string())))?
        };
        if let Some(Err((path, source))) =
            plugins_dir.as_ref().map(|dir| std::fs::create_dir_all(dir).map_err(|error| (dir.clone(), error)))
        {
            return Err(StartError::Io { path, source });
        }
        let config_path = options.config.clone();
        let gateway = || Gateway::new(McpServers(native.clone()), GatewayOptions::default());
        let mcp = config.mcp_endpoint.unwrap_or(true).then(gateway);
        let config = Arc::new(RwLock::new(config));
        let plugins = Plugins::new(Parts {
            dir: plugins_dir,
            embedded: options.embedded.clone(),
            state_dir: state_dir.clone(),
            host: plugin_host,
            driver: driver.clone(),
            kinds: kinds.clone(),
            files: files.clone(),
            config: config.clone(),
            beside: options.grants.clone(),
            home: home.clone(),
            namespace: first_namespace,
            clusters: clusters.clone(),
            installation: installation.clone(),
        });
        plugins.scan().await;
        plugins.warn_of_unknown();

        let started = files.local().start(&kinds);
        started.map_err(|source| StartError::Resources { path: resources, source })?;
        let handle = Handle::new(Inner {
            driver: driver.clone(),
            files: files.clone(),
            kinds,
            plugins: plugins.clone(),
            passed,
            native: native.clone(),
            clusters: clusters.clone(),
            installation: installation.clone(),
            home,
            mcp: mcp.clone(),
            started: Instant::now(),
        });
        let board = |kind| Board::new(driver.clone(), local.clone(), kind, manager.clone());
        clusters.drop_what_is_left().await;
        // What they show of a life before is wrong now, and nobody shall act upon it.
        native.catch_up().await;
        let mut tasks = vec![
            tokio::spawn(native.clone().run(driver.plugin_changes())),
            tokio::spawn(driver.clone().tell_wants()),
            tokio::spawn(driver.clone().run()),
            tokio::spawn(plugins.clone().watch(board(native::PLUGIN))),
        ];
        tasks.extend(listening.map(|(listening, _)| listening.serve(handle.clone(), http)));
        tasks.push(tokio::spawn(clusters.clone().run()));
        tasks.push(tokio::spawn(installation.follow()));
        tasks.push(tokio::spawn(clusters.clone().share()));
        tasks.push(tokio::spawn(clusters.clone().show(board(native::CLUSTER))));
        tasks.push(tokio::spawn(fleet.run()));
        if let Some(listener) = health {
            tasks.push(tokio::spawn(crate::http::serve_health(listener, handle.clone())));
        }
        if let Some(path) = config_path {
            tasks.push(tokio::spawn(watch_config(path, config, plugins, files.clone())));
        }
        if local.rebuilt() {
            let known = |engine: &Engine| engine.unsynced().iter().all(|(source, _)| &*source.cluster != LOCAL);
            let over = move |engine: &Engine| known(engine) && engine.held().is_empty() && engine.rebuilt_is_over();
            tasks.push(tokio::spawn(end_rebuilt(driver.clone(), Arc::downgrade(files.local()), over)));
        }
        let host_file = state_dir.join("host.json");
        let server = address.map(|address| reached(address, secure));
        if let Some(server) = &server {
            let text = serde_json::json!({"server": server, "pid": std::process::id()}).to_string();
            write_atomically(&host_file, &text).map_err(|source| StartError::Io { path: host_file.clone(), source })?;
        }
        Ok(Self { handle, native, mcp, clusters, driver, files, tasks, server, address, host_file })
    }

    /// What can be asked of it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How its HTTP API is reached, such as `http://127.0.0.1:8474`; none if it has none.
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// The address of its HTTP API; none if it has none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes nothing in any more, lets running attempts end within 10 s, and writes what is
    /// queued. What was cut off is done anew after the next start.
    pub async fn shutdown(self) {
        self.handle.stopping();
        self.clusters.leave().await;
        if let Some(mcp) = &self.mcp {
            mcp.close();
        }
        let files = self.files.clone();
        let _ = tokio::task::spawn_blocking(move || files.stop()).await;
        let (ended, ()) = tokio::join!(self.driver.stop(SHUTDOWN), self.native.close(SHUTDOWN));
        if !ended {
            tracing::warn!("attempts did not end in time and were cut off; they are made anew after the next start");
        }
        self.clusters.close().await;
        for task in &self.tasks {
            task.abort();
        }
        let (files, plugins) = (self.files.clone(), self.handle.inner.plugins.clone());
        let closing = move || {
            plugins.keep_components();
            files.close();
        };
        let _ = tokio::task::spawn_blocking(closing).await;
        let _ = std::fs::remove_file(&self.host_file);
    }
}

/// How an address is reached by others.
fn reached(address: SocketAddr, secure: bool) -> String {
    // Of all addresses this machine's own name is one, and the one that a certificate may be good for.
    let reached = match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    };
    format!("{}://{reached}", if secure { "https" } else { "http" })
}

async fn bind(address: SocketAddr, flag: &'static str) -> Result<tokio::net::TcpListener, StartError> {
    tokio::net::TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, flag, source })
}

fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

/// Reads the configuration anew when the file changes; a bad version keeps the last good one.
async fn watch_config(path: PathBuf, config: Arc<RwLock<Config>>, plugins: Arc<Plugins>, files: Arc<FileClusters>) {
    let stamp = || std::fs::metadata(&path).ok().map(|m| (m.len(), m.modified().ok()));
    let mut seen = stamp();
    loop {
        tokio::time::sleep(CONFIG_POLL).await;
        let now = stamp();
        if now == seen || now.is_none() {
            continue;
        }
        seen = now;
        match Config::load(&path) {
            Ok(new) => {
                let old = config.read().unwrap_or_else(PoisonError::into_inner).clone();
                if old == new {
                    continue;
                }
                let later = old.at_next_start(&new);
                files.set_strict(new.strict);
                *config.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("the configuration has changed");
                if !later.is_empty() {
                    tracing::warn!("in force after the next start of the host only: {}", later.join(", "));
                }
                plugins.warn_of_unknown();
                plugins.reconfigure();
            }
            Err(error) => tracing::error!("{error}; the last good configuration stays in force"),
        }
    }
}
