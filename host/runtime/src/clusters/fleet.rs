//! The fleet, as the operator says it: providers, and what stands for them in the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use setpoint_core::key::Name;
use setpoint_fleet::providers::{
    AccessCommand, ClusterApi, Contexts, Directories, Fixed, Hub, Inventory, Kubeconfigs, Namespaces, Secrets,
};
use setpoint_fleet::{Provider, Reach, Way};
use setpoint_kubernetes::Access;

use super::InstallCrds;

/// Providers of clusters by their names.
pub type ClustersConfig = BTreeMap<String, ProviderConfig>;

/// Where clusters are found.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderConfig {
    /// What stands before the names of its clusters, with a dot between.
    pub prefix: Option<String>,
    /// Whether definitions of the plugins' kinds are brought to its clusters. Default: not.
    pub install_crds: Option<InstallCrds>,
    /// The host is ready only while all of its clusters are engaged and known.
    pub required: bool,
    /// Where.
    pub kind: ProviderKind,
}

/// The ways to find clusters.
#[derive(Clone, Debug, PartialEq)]
pub enum ProviderKind {
    /// In kubeconfig files.
    Kubeconfigs {
        /// Files, directories and patterns.
        paths: Vec<PathBuf>,
        /// Which contexts count.
        contexts: Contexts,
    },
    /// Directories of files.
    Directories {
        /// Directories and patterns.
        paths: Vec<PathBuf>,
    },
    /// In Secrets of the hub.
    Secrets {
        /// Their namespace.
        namespace: Name,
        /// Their label.
        label: Option<(String, String)>,
        /// The key of the kubeconfig in them.
        key: Option<String>,
    },
    /// Namespaces of the hub.
    Namespaces {
        /// Their label.
        label: Option<(String, String)>,
    },
    /// Clusters of Cluster API in the hub.
    ClusterApi {
        /// Their namespace; none: all.
        namespace: Option<Name>,
        /// Version of Cluster API.
        version: Option<String>,
    },
    /// ClusterProfiles in the hub.
    Inventory {
        /// Their namespace; none: all.
        namespace: Option<Name>,
        /// How credentials are got.
        access: Vec<AccessCommand>,
    },
    /// A list.
    List(BTreeMap<String, ListedCluster>),
}

/// A cluster of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedCluster {
    /// Its files; none: it has an API server.
    pub directory: Option<PathBuf>,
    /// Its kubeconfig; none: what `kubectl` would take.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; none: the current one.
    pub context: Option<String>,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
    /// What grants and plugins choose it by.
    pub labels: BTreeMap<String, String>,
}

/// What stands for the kubeconfigs that are named on the command line.
pub(crate) fn named_on_the_command_line(paths: Vec<PathBuf>) -> ProviderConfig {
    let kind = ProviderKind::Kubeconfigs { paths, contexts: Contexts::All };
    ProviderConfig { prefix: None, install_crds: None, required: false, kind }
}

/// The providers that a configuration asks for.
///
/// # Errors
/// One looks at objects of the hub, and there is none.
pub(crate) fn providers(config: &ClustersConfig, hub: Option<&Hub>) -> Result<Vec<Arc<dyn Provider>>, String> {
    let made = |(name, config): (&String, &ProviderConfig)| -> Result<Arc<dyn Provider>, String> {
        let hub = || {
            hub.cloned().ok_or_else(|| {
                format!(
                    "clusters.{name} is found in objects of a Kubernetes cluster, and files are reconciled here; name \
                     that cluster with --kubeconfig, --context or --mode kubernetes"
                )
            })
        };
        let (prefix, name) = (config.prefix.clone(), name.clone());
        Ok(match config.kind.clone() {
            ProviderKind::Directories { paths } => Arc::new(Directories { name, prefix, paths }),
            ProviderKind::Kubeconfigs { paths, contexts } => Arc::new(Kubeconfigs { name, prefix, paths, contexts }),
            ProviderKind::Secrets { namespace, label, key } => {
                Arc::new(Secrets { hub: hub()?, name, prefix, namespace, label, key })
            }
            ProviderKind::Namespaces { label } => Arc::new(Namespaces { hub: hub()?, name, prefix, label }),
            ProviderKind::ClusterApi { namespace, version } => {
                Arc::new(ClusterApi { hub: hub()?, name, prefix, namespace, version })
            }
            ProviderKind::Inventory { namespace, access } => {
                Arc::new(Inventory { hub: hub()?, name, prefix, namespace, access })
            }
            ProviderKind::List(clusters) => {
                Arc::new(Fixed { name, prefix, clusters: clusters.into_iter().map(reach_of).collect() })
            }
        })
    };
    config.iter().map(made).collect()
}

fn reach_of((name, listed): (String, ListedCluster)) -> (String, Reach) {
    let ListedCluster { directory, kubeconfig: path, context, namespaces, labels } = listed;
    let way = directory.map_or_else(|| Access::Kubeconfig { path, context }.into(), Way::Directory);
    (name, Reach { namespaces, labels, ..Reach::of(way) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_in_a_cluster_needs_one() {
        let kind = ProviderKind::Namespaces { label: None };
        let teams = ProviderConfig { prefix: None, install_crds: None, required: false, kind };
        let config = BTreeMap::from([("teams".to_owned(), teams)]);
        let error = providers(&config, None).err().unwrap();
        assert!(error.contains("clusters.teams") && error.contains("--kubeconfig"), "{error}");
        let hub = Hub { access: Access::InCluster, limits: setpoint_kubernetes::Limits::default() };
        assert_eq!(providers(&config, Some(&hub)).map(|made| made.len()), Ok(1));
    }
}
