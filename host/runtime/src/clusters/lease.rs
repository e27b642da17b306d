//! What the operator says of the lease, and who this host is among others.

use std::path::Path;

use setpoint_core::lease::Terms;

/// Where a pod finds its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace of what this host keeps in a cluster, unless it runs in a pod.
const NAMESPACE: &str = "setpoint-system";

/// How the lease of the hub is held, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Whether one of several hosts acts at a time. Default: in a pod.
    pub enabled: Option<bool>,
    /// Namespace of the Lease. Default: the pod's, else `setpoint-system`.
    pub namespace: Option<String>,
    /// Its name. Default: `setpoint`.
    pub name: Option<String>,
    /// How long it lasts, in milliseconds. Default: 15 s.
    pub duration: Option<u64>,
    /// How long its holder acts after its last renewal. Default: 10 s.
    pub renew_deadline: Option<u64>,
    /// How often it is renewed or looked at. Default: 2 s.
    pub retry: Option<u64>,
}

impl LeaseConfig {
    /// Whether one of several hosts acts at a time.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or_else(in_pod)
    }

    /// The namespace of the Lease, and of all else that this host keeps in a cluster.
    pub fn namespace(&self) -> String {
        self.namespace.clone().or_else(pod_namespace).unwrap_or_else(|| NAMESPACE.to_owned())
    }

    /// The terms that it says.
    ///
    /// # Errors
    /// They make no sense together.
    pub fn terms(&self) -> Result<Terms, String> {
        let usual = Terms::default();
        Terms::new(
            self.duration.unwrap_or(usual.duration()),
            self.renew_deadline.unwrap_or(usual.renew_deadline()),
            self.retry.unwrap_or(usual.retry()),
        )
        .map_err(|error| error.to_string())
    }
}

/// How work is shared among hosts, as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardingConfig {
    /// Whether it is shared. Default: one host does all of it.
    pub enabled: bool,
    /// This host's share, in proportion to those of the others. Default: 1.
    pub weight: Option<u32>,
    /// Patterns of the names of clusters of which each is shared by ranges of keys.
    pub large: Vec<String>,
}

impl ShardingConfig {
    /// Whether it can be so with a lease like this.
    ///
    /// # Errors
    /// There is none.
    pub fn fits(&self, lease: &LeaseConfig) -> Result<(), String> {
        match lease.enabled {
            Some(false) if self.enabled => {
                Err("work is shared by leases, and kubernetes.lease.enabled is false; leave one of the two out".into())
            }
            _ => Ok(()),
        }
    }
}

/// The namespace of the pod that this host runs in.
pub(crate) fn pod_namespace() -> Option<String> {
    let given = std::env::var("POD_NAMESPACE").ok();
    let text = given.or_else(|| std::fs::read_to_string(POD_NAMESPACE).ok())?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether this is a pod.
pub(crate) fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
}

/// What this host is called among others: the pod's name, or the machine's.
pub(crate) fn instance() -> String {
    let said = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).ok();
    let name = said.or_else(|| std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok());
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    name.unwrap_or("setpoint").to_owned()
}
