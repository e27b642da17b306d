//! A host that is made of what a program gives it.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use setpoint_core::grants::Grant;
use setpoint_fleet::Provider;
use tokio::sync::watch;

use super::{Given, Native, Reconciler, Shutdown};
use crate::clusters::InstallCrds;
use crate::handle::Handle;
use crate::host::{Host, HostOptions, StartError};
use crate::mode::Mode;

/// What goes when the host has stopped.
type Kept = Option<Box<dyn Any + Send>>;

/// Collects what a host is made of. Nothing is looked at before [`HostBuilder::start`], which tells all mistakes.
#[must_use]
#[derive(Debug, Default)]
pub struct HostBuilder {
    options: HostOptions,
    cluster: bool,
    shutdown: Option<Shutdown>,
    /// The first of them is told.
    problems: Vec<String>,
    kept: Kept,
}

impl Host {
    /// A host that looks at nothing but what it is given here.
    pub fn builder() -> HostBuilder {
        let mut builder = HostBuilder::default();
        builder.options.embedded.only_named = true;
        builder
    }
}

impl HostBuilder {
    /// The directory of YAML and JSON that is the desired state of the cluster `local`. Without it `local` is there, with
    /// what plugins make in it.
    pub fn files(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.resources = Some(dir.into());
        self
    }

    /// The directory of the state: statuses, children, identities. Two hosts never share one. Default: `.setpoint`.
    pub fn state(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.state = Some(dir.into());
        self
    }

    /// The Kubernetes cluster that a kubeconfig names, as the cluster `hub`.
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>) -> Self {
        self.options.kubeconfig = Some(file.into());
        self.cluster = true;
        self
    }

    /// Of the kubeconfig not the current context but this one.
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.options.context = Some(context.into());
        self.cluster = true;
        self
    }

    /// The Kubernetes cluster that this program runs in, as the cluster `hub`.
    pub fn in_cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// Of the Kubernetes cluster, only this namespace is looked at; said again, this one as well.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.options.watch_namespaces.push(namespace.into());
        self
    }

    /// Kubeconfig files, directories of them or patterns, whose contexts are clusters of the fleet, as
    /// `setpoint run --clusters` takes them.
    pub fn clusters(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.clusters.push(path.into());
        self
    }

    /// A provider of clusters, of the program or of `setpoint_fleet::providers`: what it offers takes part, and comes and
    /// goes as it says.
    pub fn provider(mut self, provider: impl Provider + 'static) -> Self {
        if self.options.embedded.providers.iter().any(|known| known.name() == provider.name()) {
            self.problems.push(format!("the provider {} is given twice", provider.name()));
        }
        self.options.embedded.providers.push(Arc::new(provider));
        self
    }

    /// A provider as [`HostBuilder::provider`] takes it, and the host is ready only while all of its clusters are engaged
    /// and known.
    pub fn required_provider(mut self, provider: impl Provider + 'static) -> Self {
        self.options.embedded.required.insert(provider.name().to_owned());
        self.provider(provider)
    }

    /// Objects are reconciled of which another installation has written the status in the last 10 min. Default: they are
    /// left alone.
    pub fn take_over(mut self, take: bool) -> Self {
        self.options.take_over = take;
        self
    }

    /// Of several hosts of the Kubernetes cluster one acts at a time, by a Lease. Default: not.
    pub fn leader_elect(mut self, elect: bool) -> Self {
        self.options.leader_elect = Some(elect);
        self
    }

    /// The definitions of the plugins' kinds are brought to the Kubernetes cluster where that makes nothing invalid.
    /// Default: not.
    pub fn install_definitions(mut self) -> Self {
        self.options.install_crds = Some(InstallCrds::Safe);
        self
    }

    /// A directory of components: what is dropped in runs, what is replaced is swapped, what is removed stops.
    pub fn plugins(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.plugins = Some(dir.into());
        self
    }

    /// A component from memory. `name` is shown in the place of its file.
    pub fn plugin(mut self, name: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.give(format!("component/{name}"), Given::Component(bytes.into()));
        self
    }

    /// A reconciler of the program.
    pub fn reconciler(mut self, reconciler: impl Reconciler) -> Self {
        match Native::new(reconciler) {
            Ok(native) => {
                let name = format!("program/{}", native.description().name);
                self.give(name, Given::Native(Arc::new(native)));
            }
            Err(problem) => self.problems.push(problem),
        }
        self
    }

    fn give(&mut self, name: String, given: Given) {
        if self.options.embedded.given.insert(name.clone(), given).is_some() {
            self.problems.push(format!("{name} is given twice"));
        }
    }

    /// A plugin or reconciler, or all of them (`*`), may do this, such as `read:core/ConfigMap@hub/tools`. Without it
    /// each may do in `local` what it describes, and nothing elsewhere.
    pub fn grant(mut self, plugin: &str, grant: &str) -> Self {
        match Grant::parse(grant) {
            Ok(grant) => self.options.grants.push((plugin.to_owned(), grant)),
            Err(error) => self.problems.push(format!("the grant of {plugin}: {error}")),
        }
        self
    }

    /// A configuration file. What is said here goes before it.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.options.config = Some(file.into());
        self
    }

    /// Calls at a time over all plugins. Default: cores × 4.
    pub fn workers(mut self, workers: u32) -> Self {
        self.options.workers = Some(workers);
        self
    }

    /// Serves the HTTP API on this address of the loopback; port 0 takes a free one. Default: it is not served.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen = Some(address);
        self
    }

    /// Drops something when the host has stopped, or was not started.
    pub(crate) fn keeping(mut self, kept: impl Any + Send) -> Self {
        self.kept = Some(Box::new(kept));
        self
    }

    /// The host stops when this is asked to. Without it the host stops by itself only when its [`EmbeddedHost`] is
    /// dropped.
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.shutdown = Some(shutdown.clone());
        self
    }

    /// Starts it. It returns when plugins are loaded and clusters are connected; see [`Handle::readiness`] for whether
    /// it has caught up.
    ///
    /// # Errors
    /// What is wrong and what to do: the first mistake of what was given, a plugin given by its bytes or its type that
    /// is refused, or what cannot be opened or reached.
    pub async fn start(self) -> Result<EmbeddedHost, StartError> {
        let Self { mut options, cluster, shutdown, problems, kept } = self;
        if let Some(problem) = problems.into_iter().next() {
            return Err(StartError::Refused(problem));
        }
        // The word of the program, not what is around it.
        options.mode.get_or_insert(if cluster { Mode::Kubernetes } else { Mode::Files });
        options.leader_elect.get_or_insert(false);
        let given: Vec<String> = options.embedded.given.keys().cloned().collect();
        let host = Host::start(options).await?;
        let (handle, address) = (host.handle(), host.address());
        let (ended, stopped) = watch::channel(false);
        // One of its own, so that dropping one host stops no other that has the same token.
        let own = Shutdown::new();
        let (dropped, given_token) = (own.clone(), shutdown.unwrap_or_default());
        tokio::spawn(async move {
            tokio::select! {
                () = dropped.requested() => {}
                () = given_token.requested() => {}
            }
            host.shutdown().await;
            drop(kept);
            ended.send_replace(true);
        });
        let host = EmbeddedHost { handle, address, shutdown: own, stopped };
        let refused = host.handle.plugins().into_iter().find(|row| given.contains(&row.file) && row.problem.is_some());
        if let Some(row) = refused {
            host.stop().await;
            let problem = row.problem.unwrap_or_default();
            return Err(StartError::Refused(format!("{}: {problem}", row.file)));
        }
        Ok(host)
    }
}

/// A running host that is part of this program. Dropping it asks it to stop, in the background.
pub struct EmbeddedHost {
    handle: Handle,
    address: Option<SocketAddr>,
    /// Its own.
    shutdown: Shutdown,
    stopped: watch::Receiver<bool>,
}

impl EmbeddedHost {
    /// What can be asked of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The address of its HTTP API, if it serves one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns when it has stopped: nothing runs any more, and all is written.
    pub async fn stopped(&self) {
        // An error says that what would stop it is gone, with the runtime that it was on.
        let _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    /// Asks it to stop, and returns when it has: attempts that run have 10 s to end.
    pub async fn stop(self) {
        self.shutdown.request();
        self.stopped().await;
    }
}

impl fmt::Debug for EmbeddedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedHost").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for EmbeddedHost {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}
