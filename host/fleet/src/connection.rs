//! What stands for a cluster that takes part: a connection to its API server, or its directory of files, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use setpoint_cluster::local::{Local, LocalOptions, OpenError, STORE_ID};
use setpoint_cluster::{Cluster, Sink};
use setpoint_core::key::Name;
use setpoint_kubernetes::KubernetesCluster;

/// A cluster that can be asked and written to.
#[derive(Clone)]
pub enum Connection {
    /// A Kubernetes cluster.
    Server(Arc<KubernetesCluster>),
    /// Files in a directory.
    Directory(Arc<Directory>),
}

impl Connection {
    /// The cluster behind it.
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        match self {
            Self::Server(cluster) => cluster.clone(),
            Self::Directory(directory) => directory.local.clone(),
        }
    }

    /// What owner marks and field managers are made of.
    pub fn identity(&self) -> &str {
        match self {
            Self::Server(cluster) => cluster.identity(),
            Self::Directory(directory) => &directory.identity,
        }
    }

    /// Address of its API server, or its directory; none where there are no files.
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Server(cluster) => Some(cluster.server()),
            Self::Directory(directory) => directory.root.as_ref().map(|root| root.display().to_string()),
        }
    }

    /// Whether it is the same connection.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Server(one), Self::Server(other)) => Arc::ptr_eq(one, other),
            (Self::Directory(one), Self::Directory(other)) => Arc::ptr_eq(one, other),
            (Self::Server(_), Self::Directory(_)) | (Self::Directory(_), Self::Server(_)) => false,
        }
    }

    /// What tells two names of one cluster apart from two clusters.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Server(cluster) => cluster.identity().to_owned(),
            Self::Directory(directory) => self.address().unwrap_or_else(|| directory.identity.clone()),
        }
    }

    /// Whether files of one directory would be files of the other, too, though it is not the same directory.
    pub(crate) fn is_nested(&self, other: &Self) -> bool {
        let (Self::Directory(one), Self::Directory(other)) = (self, other) else { return false };
        let (Some(one), Some(other)) = (&one.root, &other.root) else { return false };
        one != other && (one.starts_with(other) || other.starts_with(one))
    }

    /// Lets go of it.
    pub(crate) fn shutdown(&self) {
        match self {
            Self::Server(cluster) => cluster.shutdown(),
            Self::Directory(directory) => {
                // It waits for the disk.
                let local = directory.local.clone();
                drop(tokio::task::spawn_blocking(move || local.close()));
            }
        }
    }
}

/// Where clusters of directories keep what is not in their files.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// A directory of which each of them gets one below.
    pub state: PathBuf,
    /// Refuse files with fields that the schema does not know.
    pub strict: bool,
}

/// A directory of files as a cluster, with its store.
pub struct Directory {
    local: Arc<Local>,
    /// Without symlinks; none: there are no files.
    root: Option<PathBuf>,
    identity: String,
}

impl Directory {
    /// An embedded cluster that is open, with the directory of its files.
    pub fn of(local: Arc<Local>, root: Option<&Path>) -> Self {
        let id = local.bookkeeping_get(STORE_ID).map(|id| String::from_utf8_lossy(&id).into_owned());
        let identity = id.unwrap_or_else(|| local.name().to_string());
        let root = root.map(|root| root.canonicalize().unwrap_or_else(|_| root.to_owned()));
        Self { local, root, identity }
    }

    /// Opens one, with a store of its own. Blocks.
    ///
    /// # Errors
    /// There is no such directory, or its store cannot be opened.
    pub(crate) fn open(
        name: &Name,
        root: &Path,
        options: &DirectoryOptions,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, String> {
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(format!("{} is not a directory", root.display())),
            Err(error) => return Err(format!("the directory {}: {error}", root.display())),
        }
        if name.starts_with('.') {
            return Err(format!("{name} begins with a dot: the state of a directory cannot be called that; rename it"));
        }
        let state = options.state.join(&**name);
        let opened = LocalOptions { name: name.clone(), strict: options.strict, ..LocalOptions::new(&state) };
        let local = Local::open(opened, sink).map_err(|error| match error {
            OpenError::Corrupt { .. } | OpenError::SetAside { .. } => {
                format!("{error}, with --state {}", state.display())
            }
            error => error.to_string(),
        })?;
        Ok(Self::of(local, Some(root)))
    }

    /// The cluster.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// The directory of its files; none: there are none.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// What owner marks and field managers are made of: the id of the store.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}
