//! Every key of the configuration: the one table that the parser and the reference are made of.

/// One key: what the reference shows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigKey {
    /// Where it is, such as `plugins.<name>.tuning.timeout`.
    pub path: &'static str,
    /// What its value is.
    pub kind: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub text: &'static str,
}

const fn key(path: &'static str, kind: &'static str, default: &'static str, text: &'static str) -> ConfigKey {
    ConfigKey { path, kind, default, text }
}

const KEYS: &[ConfigKey] = &[
    key("apiVersion", "string", "required", "Version of the configuration: config.setpoint.dev/v1alpha1"),
    key("kind", "string", "none", "For editors that know files by it; not looked at"),
    key("pluginsDir", "path", "./plugins", "Directory of plugins; a path relative to this file"),
    key("resourcesDir", "path", "./resources", "Directory of resources; a path relative to this file"),
    key("stateDir", "path", "./.setpoint", "Directory of the state; a path relative to this file"),
    key("listen", "address", "127.0.0.1:8474", "Address of the HTTP API"),
    key(
        "tokenFile",
        "path",
        "none",
        "File of the bearer token that requests carry; needed where listen is not loopback",
    ),
    key("tls", "object", "none", "Certificate of the HTTP API; needed where listen is not loopback"),
    key(
        "tls.certFile",
        "path",
        "required",
        "The certificate and those between it and its authority, as PEM; read again when it changes",
    ),
    key("tls.keyFile", "path", "required", "Its key, as PEM"),
    key("healthListen", "address", "none", "Address that serves only /healthz, /readyz and /metrics"),
    key("mcpEndpoint", "boolean", "true", "Processes that speak MCP answer clients at /v1/mcp/{namespace}/{name}"),
    key(
        "mode",
        "auto, files or kubernetes",
        "auto",
        "Where objects come from; auto is kubernetes in a pod, or where a kubeconfig or a context is named, else files",
    ),
    key(
        "installation",
        "string",
        "the namespace of the lease, else local-ID",
        "What this installation is called in owner marks and field managers; two that share a cluster need two",
    ),
    key("kubernetes", "object", "{}", "How the Kubernetes cluster is reached and worked on"),
    key("kubernetes.kubeconfig", "path", "none", "The kubeconfig; a path relative to this file"),
    key("kubernetes.context", "string", "the current one", "Its context"),
    key("kubernetes.namespaces", "list of names", "all", "Only what is in these namespaces is looked at"),
    key(
        "kubernetes.installCrds",
        "off, safe or force",
        "off",
        "Bring the definitions of the plugins' kinds to the cluster; safe keeps one that lets in more",
    ),
    key("kubernetes.requestsPerSecond", "number", "no limit", "Requests per second at most, watches aside"),
    key("kubernetes.burst", "number", "100", "Requests at once beyond that rate"),
    key("kubernetes.lease", "object", "{}", "The lease of the one host that acts, of several"),
    key("kubernetes.lease.enabled", "boolean", "in a pod", "Whether one of several hosts acts at a time"),
    key("kubernetes.lease.namespace", "string", "the pod's, else setpoint-system", "Namespace of the Lease"),
    key("kubernetes.lease.name", "string", "setpoint", "Name of the Lease"),
    key("kubernetes.lease.duration", "duration", "15s", "Nobody else takes the lease for so long after a renewal"),
    key("kubernetes.lease.renewDeadline", "duration", "10s", "Its holder stops acting so long after its last renewal"),
    key("kubernetes.lease.retryPeriod", "duration", "2s", "How often it is renewed or looked at"),
    key("kubernetes.sharding", "object", "{}", "How work is shared among hosts, in place of one that does all of it"),
    key("kubernetes.sharding.enabled", "boolean", "false", "Whether it is shared: by clusters, and by ranges of keys"),
    key("kubernetes.sharding.weight", "number", "1", "This host's share in proportion to those of others, 1 to 100"),
    key(
        "kubernetes.sharding.large",
        "list of names",
        "none",
        "Clusters of which each is shared by 64 ranges of keys, by name or pattern, such as hub or edge.*",
    ),
    key("clusters", "object", "{}", "Where other clusters are found, by the names of the providers"),
    key("clusters.<name>.prefix", "string", "none", "Stands before the names of its clusters, with a dot between"),
    key(
        "clusters.<name>.installCrds",
        "off, safe or force",
        "off",
        "Bring the definitions of the plugins' kinds to its clusters",
    ),
    key(
        "clusters.<name>.required",
        "boolean",
        "false",
        "The host is ready only while all of its clusters are engaged and known, as it is with the hub",
    ),
    key(
        "clusters.<name>.kubeconfigs",
        "list of paths",
        "none",
        "Kubeconfig files, directories of them (*.kubeconfig, *.kubeconfig.yaml), and patterns with * in the last part",
    ),
    key(
        "clusters.<name>.contexts",
        "all or current",
        "all",
        "Of kubeconfigs: each context is a cluster, called FILE.CONTEXT, or only the current one, called FILE",
    ),
    key(
        "clusters.<name>.directories",
        "list of paths",
        "none",
        "Directories of files, each a cluster that is called as it is, and patterns with * in the last part",
    ),
    key("clusters.<name>.list", "object", "none", "Clusters by their names"),
    key("clusters.<name>.list.<cluster>.directory", "path", "none", "Its files; it has no API server then"),
    key("clusters.<name>.list.<cluster>.kubeconfig", "path", "what kubectl would take", "Its kubeconfig"),
    key("clusters.<name>.list.<cluster>.context", "string", "the current one", "Its context"),
    key("clusters.<name>.list.<cluster>.namespaces", "list of names", "all", "Only these are looked at"),
    key("clusters.<name>.list.<cluster>.labels", "object of strings", "{}", "What plugins choose it by"),
    key("clusters.<name>.secrets", "object", "none", "Secrets of the hub, each with a kubeconfig"),
    key("clusters.<name>.secrets.namespace", "string", "required", "Their namespace"),
    key(
        "clusters.<name>.secrets.label",
        "KEY=VALUE",
        "sigs.k8s.io/multicluster-runtime-kubeconfig=true",
        "The label that they carry",
    ),
    key("clusters.<name>.secrets.key", "string", "kubeconfig", "The key of the kubeconfig in them"),
    key("clusters.<name>.namespaces", "object", "none", "Namespaces of the hub, each as a cluster"),
    key("clusters.<name>.namespaces.label", "KEY=VALUE", "none: all but kube-*", "The label that they carry"),
    key("clusters.<name>.clusterApi", "object", "none", "Clusters that Cluster API has made, in the hub"),
    key("clusters.<name>.clusterApi.namespace", "string", "all", "Their namespace"),
    key("clusters.<name>.clusterApi.version", "string", "v1beta2", "Version of Cluster API"),
    key("clusters.<name>.inventory", "object", "none", "ClusterProfiles of the cluster inventory API, in the hub"),
    key("clusters.<name>.inventory.namespace", "string", "all", "Their namespace"),
    key(
        "clusters.<name>.inventory.access",
        "object",
        "required",
        "Commands that get credentials, by the access providers that profiles name",
    ),
    key("clusters.<name>.inventory.access.<provider>.command", "string", "required", "The command"),
    key("clusters.<name>.inventory.access.<provider>.args", "list of strings", "[]", "Its arguments"),
    key("clusters.<name>.inventory.access.<provider>.env", "object of strings", "{}", "Added to its environment"),
    key(
        "clusters.<name>.inventory.access.<provider>.apiVersion",
        "string",
        "client.authentication.k8s.io/v1",
        "Version of the protocol that it speaks",
    ),
    key("workers", "number", "cores × 4", "Calls at a time over all plugins, 1 to 4096"),
    key("strict", "boolean", "false", "Files with unknown fields are refused, instead of warned of and pruned"),
    key(
        "holdAbove",
        "number",
        "10",
        "After an upgrade, or a change of configuration or grants, more deletions than this by one plugin wait for \
         setpoint confirm, if they are also more than holdPercent",
    ),
    key("holdPercent", "number", "20", "Of the plugin's own children, 0 to 100; 100 lets all deletions happen"),
    key("plugins", "object", "{}", "What is said of plugins, by their names; * for those without a name here"),
    key(
        "plugins.<name>.grants",
        "list of grants",
        "[described@local]",
        "What it may read, write and use, such as read:core/Secret@local/team-*",
    ),
    key(
        "plugins.<name>.clusters",
        "list of patterns",
        "all",
        "The clusters in which its kinds are reconciled, such as hub or edge.*; elsewhere they are left alone",
    ),
    key(
        "plugins.<name>.impersonate",
        "NAMESPACE/NAME",
        "none",
        "The ServiceAccount as which its children are written and deleted in Kubernetes clusters",
    ),
    key("plugins.<name>.config", "object", "{}", "Its configuration, checked against the schema that it brings"),
    key("plugins.<name>.digest", "string", "none", "SHA-256 that the component must have"),
    key("plugins.<name>.tuning", "object", "{}", "Overrides of its own defaults"),
    key("plugins.<name>.tuning.resync", "duration", "the plugin's, else 10m", "Period of calls that nothing caused"),
    key("plugins.<name>.tuning.concurrency", "number", "the plugin's, else 4", "Calls at a time, 1 to 4096"),
    key("plugins.<name>.tuning.timeout", "duration", "the plugin's, else 30s", "Wall clock of a call"),
    key("plugins.<name>.tuning.firstBackoff", "duration", "the plugin's, else 1s", "Delay after the first failure"),
    key("plugins.<name>.tuning.longestBackoff", "duration", "the plugin's, else 5m", "Delay that doubling ends at"),
    key("plugins.<name>.tuning.memoryBytes", "number", "the plugin's, else 67108864", "Memory of a call"),
    key(
        "plugins.<name>.tuning.warmCalls",
        "number",
        "the plugin's, else 0",
        "An instance is reused for at most so many calls; 0 or 1: each call has a fresh one",
    ),
    key("plugins.<name>.limits", "object", "{}", "Limits of each call"),
    key("plugins.<name>.limits.cpu", "duration", "5s", "CPU time"),
    key("plugins.<name>.limits.tables", "number", "10000", "Elements of all tables together"),
    key("plugins.<name>.limits.hostCalls", "number", "10000", "Reads"),
    key("plugins.<name>.limits.bytesRead", "number", "67108864", "Bytes of objects read"),
    key("plugins.<name>.limits.outcomeBytes", "number", "8388608", "Bytes of the outcome"),
    key("plugins.<name>.limits.objectBytes", "number", "1572864", "Bytes of one object of the outcome"),
    key("plugins.<name>.limits.children", "number", "2000", "Children"),
    key("plugins.<name>.limits.events", "number", "50", "Events"),
    key("plugins.<name>.limits.logLines", "number", "1000", "Log lines; more are dropped and counted"),
    key("plugins.<name>.limits.logBytes", "number", "262144", "Bytes of log lines; more are dropped and counted"),
];

/// All keys, for the reference.
pub fn reference() -> Vec<ConfigKey> {
    KEYS.to_vec()
}

/// The names of the keys directly below a path; the empty path is the top.
pub(super) fn below(path: &str) -> Vec<&'static str> {
    let name = |key: &ConfigKey| {
        let rest = if path.is_empty() { key.path } else { key.path.strip_prefix(path)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some(rest)
    };
    KEYS.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_below_a_path_are_those_one_step_down() {
        assert_eq!(
            below("plugins.<name>"),
            ["grants", "clusters", "impersonate", "config", "digest", "tuning", "limits"]
        );
        assert!(below("").contains(&"plugins") && !below("").contains(&"plugins.<name>.grants"));
        assert!(below("plugins.<name>.tuning").contains(&"warmCalls"));
    }
}
