//! The operator's configuration: `setpoint.yaml`, apiVersion `config.setpoint.dev/v1alpha1`.
//! Unknown keys are errors with file:line:column and the nearest valid word.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use setpoint_cluster::ServiceAccount;
use setpoint_cluster::source::yaml::parse_documents;
use setpoint_core::contract::Tuning;
use setpoint_core::grants::{Grant, Grants};
use setpoint_plugin::Limits;

use crate::clusters::{ClustersConfig, InstallCrds, LeaseConfig, ShardingConfig};
use crate::http::TlsFiles;
use crate::mode::Mode;

mod clusters;
mod keys;
mod reader;

pub use keys::{ConfigKey, reference};

use reader::Reader;

/// Version of the configuration that this host reads.
pub const API_VERSION: &str = "config.setpoint.dev/v1alpha1";

/// What the file says. Everything is optional; a flag beats the environment beats the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Directory of plugins.
    pub plugins_dir: Option<PathBuf>,
    /// Directory of resources.
    pub resources_dir: Option<PathBuf>,
    /// Directory of the state.
    pub state_dir: Option<PathBuf>,
    /// Address of the HTTP API.
    pub listen: Option<SocketAddr>,
    /// File of the bearer token that requests have to carry.
    pub token_file: Option<PathBuf>,
    /// Certificate and key of the HTTP API.
    pub tls: Option<TlsFiles>,
    /// Address of the health endpoints.
    pub health_listen: Option<SocketAddr>,
    /// Whether processes that speak MCP answer clients of the host. Default: yes.
    pub mcp_endpoint: Option<bool>,
    /// Where objects come from.
    pub mode: Option<Mode>,
    /// What this installation is called in owner marks and field managers. Default: the namespace of the lease that
    /// several hosts share, else `local-` and the id of the store (rule D9).
    pub installation: Option<String>,
    /// How the Kubernetes cluster is reached.
    pub kubernetes: KubernetesConfig,
    /// Where other clusters are found, by the names of the providers.
    pub clusters: ClustersConfig,
    /// Calls at a time over all plugins.
    pub workers: Option<u32>,
    /// Files with unknown fields are refused instead of pruned.
    pub strict: bool,
    /// Deletions of one plugin after a change of it above which they are held … (rule B3)
    pub hold_above: Option<usize>,
    /// … and above this percentage of its own children; 100: they never are.
    pub hold_percent: Option<usize>,
    /// What is said of plugins, by name; `*` for all.
    pub plugins: BTreeMap<String, PluginConfig>,
}

/// What the file says of the Kubernetes cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KubernetesConfig {
    /// The kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// Its context.
    pub context: Option<String>,
    /// Only these namespaces are looked at; none: all.
    pub namespaces: Option<Vec<String>>,
    /// Definitions of the plugins' kinds are brought to the cluster as plugins come.
    pub install_crds: Option<InstallCrds>,
    /// Requests per second, watches aside.
    pub requests_per_second: Option<u32>,
    /// Requests at once beyond that rate.
    pub burst: Option<u32>,
    /// The lease of the host that acts.
    pub lease: LeaseConfig,
    /// How work is shared among hosts.
    pub sharding: ShardingConfig,
}

impl KubernetesConfig {
    /// What an API server is asked at most.
    pub fn limits(&self) -> setpoint_kubernetes::Limits {
        let usual = setpoint_kubernetes::Limits::default();
        setpoint_kubernetes::Limits {
            requests_per_second: self.requests_per_second.map(f64::from).or(usual.requests_per_second),
            burst: self.burst.unwrap_or(usual.burst),
            ..usual
        }
    }
}

/// What the file says of one plugin. Times in milliseconds, memory in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// Its grants; none: the default, `described@local`.
    pub grants: Option<Vec<Grant>>,
    /// The clusters in which its kinds are reconciled; none: all.
    pub clusters: Option<Vec<String>>,
    /// As whom its children are written on API servers; none: as the host.
    pub acts_as: Option<Arc<ServiceAccount>>,
    /// Its configuration.
    pub config: Option<Value>,
    /// Digest that the component must have, `sha256:…` or hex.
    pub digest: Option<String>,
    /// Resync period.
    pub resync: Option<u64>,
    /// Calls at a time.
    pub concurrency: Option<u32>,
    /// Wall clock of a call.
    pub timeout: Option<u64>,
    /// First backoff.
    pub first_backoff: Option<u64>,
    /// Longest backoff.
    pub longest_backoff: Option<u64>,
    /// Memory of a call.
    pub memory_bytes: Option<u64>,
    /// Calls of one instance (rule A13).
    pub warm_calls: Option<u32>,
    /// Limits of each call.
    pub limits: LimitsConfig,
}

/// What the file says of the limits of each call. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// CPU time.
    pub cpu: Option<u64>,
    /// Elements of all tables.
    pub tables: Option<usize>,
    /// Reads.
    pub host_calls: Option<u32>,
    /// Bytes of objects read.
    pub bytes_read: Option<u64>,
    /// Bytes of the outcome.
    pub outcome_bytes: Option<usize>,
    /// Bytes of one object of the outcome.
    pub object_bytes: Option<usize>,
    /// Children.
    pub children: Option<usize>,
    /// Events.
    pub events: Option<usize>,
    /// Log lines.
    pub log_lines: Option<u32>,
    /// Bytes of log lines.
    pub log_bytes: Option<usize>,
}

impl PluginConfig {
    /// The limits of a call: what is said here, else what the plugin asks for, else the host's.
    pub fn limits(&self, tuning: &Tuning) -> Limits {
        let (said, usual) = (&self.limits, Limits::default());
        let memory = self.memory_bytes.or(tuning.memory_bytes);
        Limits {
            wall: self.timeout.or(tuning.timeout).map_or(usual.wall, Duration::from_millis),
            cpu: said.cpu.map_or(usual.cpu, Duration::from_millis),
            memory: memory.map_or(usual.memory, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            table_elements: said.tables.unwrap_or(usual.table_elements),
            host_calls: said.host_calls.unwrap_or(usual.host_calls),
            bytes_read: said.bytes_read.unwrap_or(usual.bytes_read),
            outcome_bytes: said.outcome_bytes.unwrap_or(usual.outcome_bytes),
            object_bytes: said.object_bytes.unwrap_or(usual.object_bytes),
            children: said.children.unwrap_or(usual.children),
            events: said.events.unwrap_or(usual.events),
            log_lines: said.log_lines.unwrap_or(usual.log_lines),
            log_bytes: said.log_bytes.unwrap_or(usual.log_bytes),
            warm_calls: self.warm_calls.or(tuning.warm_calls),
            ..usual
        }
    }
}

/// What is wrong with the file, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file as it was given.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What is wrong, and what is right.
    pub message: String,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: file.clone(),
            line: 1,
            column: 1,
            message: format!("it cannot be read: {error}"),
        })?;
        Self::parse(&file, &text)
    }

    /// Reads a text; `file` is what errors call it.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let whole =
            |message: &str| ConfigError { file: file.to_owned(), line: 1, column: 1, message: message.to_owned() };
        let mut documents = parse_documents(text);
        if documents.len() > 1 {
            return Err(whole("more than one document; one is expected"));
        }
        let Some(document) = documents.pop() else { return Ok(Self::default()) };
        let document = document.map_err(|error| ConfigError {
            file: file.to_owned(),
            line: error.position.line,
            column: error.position.column,
            message: error.message,
        })?;
        let reader = Reader { file, spans: &document.spans };
        let top = reader.object(&document.value, "", &keys::below(""))?;
        match top.get("apiVersion").and_then(Value::as_str) {
            Some(API_VERSION) => {}
            Some(other) => {
                return Err(reader.error("/apiVersion", format!("{other:?} is not known; write {API_VERSION}")));
            }
            None => return Err(whole(&format!("apiVersion is missing; write `apiVersion: {API_VERSION}`"))),
        }
        let base = Path::new(file).parent().unwrap_or(Path::new(""));
        let path = |name: &str| -> Result<Option<PathBuf>, ConfigError> {
            Ok(reader.text(top, "", name)?.map(|text| base.join(text)))
        };
        let address = |name: &str| -> Result<Option<SocketAddr>, ConfigError> {
            let Some(text) = reader.text(top, "", name)? else { return Ok(None) };
            let parsed = text.parse().map_err(|_| {
                reader.error(&format!("/{name}"), format!("{text:?} is no address; write it as 127.0.0.1:8474"))
            })?;
            Ok(Some(parsed))
        };
        let mut config = Self {
            plugins_dir: path("pluginsDir")?,
            resources_dir: path("resourcesDir")?,
            state_dir: path("stateDir")?,
            listen: address("listen")?,
            token_file: path("tokenFile")?,
            tls: match top.get("tls").filter(|value| !value.is_null()) {
                Some(value) => Some(reader.tls(value, base)?),
                None => None,
            },
            health_listen: address("healthListen")?,
            mcp_endpoint: reader.boolean(top, "", "mcpEndpoint")?,
            mode: reader.word(top, "", "mode", &Mode::WORDS)?,
            installation: reader.text(top, "", "installation")?.map(str::to_owned),
            kubernetes: match top.get("kubernetes").filter(|value| !value.is_null()) {
                Some(value) => reader.kubernetes(value, base)?,
                None => KubernetesConfig::default(),
            },
            clusters: match top.get("clusters").filter(|value| !value.is_null()) {
                Some(value) => reader.clusters(value, base)?,
                None => ClustersConfig::default(),
            },
            workers: reader.number(top, "", "workers")?.map(|n| n.clamp(1, 4_096) as u32),
            strict: reader.boolean(top, "", "strict")?.unwrap_or_default(),
            hold_above: reader.small(top, "", "holdAbove")?,
            hold_percent: reader.percent(top, "", "holdPercent")?,
            plugins: BTreeMap::new(),
        };
        if let Some(plugins) = top.get("plugins").filter(|plugins| !plugins.is_null()) {
            let Some(plugins) = plugins.as_object() else {
                return Err(reader.error("/plugins", "an object of plugin names is expected".into()));
            };
            for (name, value) in plugins {
                let at = format!("/plugins/{}", name.replace('~', "~0").replace('/', "~1"));
                config.plugins.insert(name.clone(), reader.plugin(value, &at)?);
            }
        }
        Ok(config)
    }

    /// What holds for one plugin: what is said of it, else what is said of `*`.
    pub fn plugin(&self, name: &str) -> PluginConfig {
        self.plugins.get(name).or_else(|| self.plugins.get("*")).cloned().unwrap_or_default()
    }

    /// What another configuration says differently that is in force only after the next start.
    pub fn at_next_start(&self, new: &Config) -> Vec<&'static str> {
        [
            ("pluginsDir", self.plugins_dir != new.plugins_dir),
            ("resourcesDir", self.resources_dir != new.resources_dir),
            ("stateDir", self.state_dir != new.state_dir),
            ("listen", self.listen != new.listen),
            ("tokenFile", self.token_file != new.token_file),
            ("tls", self.tls != new.tls),
            ("healthListen", self.health_listen != new.health_listen),
            ("mcpEndpoint", self.mcp_endpoint != new.mcp_endpoint),
            ("mode", self.mode != new.mode),
            ("installation", self.installation != new.installation),
            ("kubernetes", self.kubernetes != new.kubernetes),
            ("clusters", self.clusters != new.clusters),
            ("workers", self.workers != new.workers),
            ("holdAbove", self.hold_above != new.hold_above),
            ("holdPercent", self.hold_percent != new.hold_percent),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// Plugins that it speaks of and that do not exist, each with what to do about it.
    pub fn unknown_plugins(&self, known: &[&str]) -> Vec<String> {
        let unknown = self.plugins.keys().filter(|name| *name != "*" && !known.contains(&name.as_str()));
        unknown
            .map(|name| match nearest(name, known) {
                Some(word) => format!("plugins.{name}: no plugin has this name; did you mean {word:?}?"),
                None if known.is_empty() => format!("plugins.{name}: no plugin has this name; there are none yet"),
                None => format!("plugins.{name}: no plugin has this name; there are {}", known.join(", ")),
            })
            .collect()
    }

    /// The grants of one plugin: the file's, else the default; those of the command line beside.
    pub fn grants(&self, name: &str, beside: &[(String, Grant)]) -> Grants {
        let base = match self.plugin(name).grants {
            Some(grants) => grants,
            None => Grants::described_in_local().iter().cloned().collect(),
        };
        let beside =
            beside.iter().filter(|(plugin, _)| plugin == name || plugin == "*").map(|(_, grant)| grant.clone());
        Grants::new(base.into_iter().chain(beside).collect())
    }
}

/// A span of time in milliseconds: `500ms`, `30s`, `5m`, `1h`. None: it is none.
pub fn parse_duration(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The known word that a mistyped one is nearest to, if one is near.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = if x == *y { diagonal } else { 1 + diagonal.min(row[j]).min(row[j + 1]) };
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "apiVersion: config.setpoint.dev/v1alpha1\nlisten: 127.0.0.1:9000\nplugins:\n  config-bundle:\n    grants: [described@local, 'read:core/Secret@local/team-*']\n    config: {a: 1}\n    tuning: {timeout: 5s, concurrency: 2}\n";

    #[test]
    fn a_file_says_what_it_says() -> Result<(), ConfigError> {
        let config = Config::parse("setpoint.yaml", FILE)?;
        assert_eq!(config.listen.map(|a| a.port()), Some(9000));
        let plugin = config.plugin("config-bundle");
        assert_eq!((plugin.timeout, plugin.concurrency), (Some(5_000), Some(2)));
        assert_eq!(plugin.grants.map(|g| g.len()), Some(2));
        assert_eq!(config.grants("other", &[]), Grants::described_in_local());
        Ok(())
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_the_nearest_word() {
        let error = |text: &str| Config::parse("setpoint.yaml", text).map_err(|e| e.to_string());
        assert_eq!(
            error("apiVersion: config.setpoint.dev/v1alpha1\nplugin: {}\n"),
            Err("setpoint.yaml:2:1: unknown key \"plugin\"; did you mean \"plugins\"?".into())
        );
        assert_eq!(
            error("apiVersion: config.setpoint.dev/v1alpha1\nplugins:\n  a:\n    tuning: {timeout: 5}\n"),
            Err("setpoint.yaml:4:23: timeout: a string is expected".into())
        );
        assert!(error("listen: x\n").is_err_and(|e| e.contains("apiVersion is missing")));
        assert!(
            error("apiVersion: config.setpoint.dev/v1alpha1\nlisten: x\n")
                .is_err_and(|e| e.starts_with("setpoint.yaml:2:9: "))
        );
    }

    /// A file in which one key has a value, with what it cannot be without.
    fn with(path: &str, value: &str) -> String {
        match path {
            "tls" => return with("tls.keyFile", if value == "{}" { "x" } else { value }),
            "tls.certFile" => return format!("{}  keyFile: x\n", only("tls.certFile", value)),
            "tls.keyFile" => return format!("{}  certFile: x\n", only("tls.keyFile", value)),
            _ => {}
        }
        let Some(of_provider) = path.strip_prefix("clusters.<name>.") else { return only(path, value) };
        // A provider finds clusters in one way, and some ways need to know where.
        let beside = match of_provider {
            "prefix" | "installCrds" | "required" | "contexts" => "    kubeconfigs: [x]\n",
            "secrets" => return with("clusters.<name>.secrets.namespace", if value == "{}" { "x" } else { "[1]" }),
            "secrets.label" | "secrets.key" => "      namespace: x\n",
            "inventory" => return with("clusters.<name>.inventory.access", value),
            "inventory.namespace" => "      access: {}\n",
            access if access.starts_with("inventory.access.<provider>.") && !access.ends_with("command") => {
                "          command: x\n"
            }
            _ => "",
        };
        only(path, value) + beside
    }

    fn only(path: &str, value: &str) -> String {
        let mut text = String::from("apiVersion: config.setpoint.dev/v1alpha1\n");
        let steps: Vec<&str> = path.split('.').map(|step| if step.starts_with('<') { "a" } else { step }).collect();
        for (depth, step) in steps.iter().enumerate() {
            let end = if depth + 1 == steps.len() { format!(" {value}\n") } else { "\n".into() };
            text.push_str(&format!("{}{step}:{end}", "  ".repeat(depth)));
        }
        text
    }

    #[test]
    fn every_key_of_the_reference_is_read_and_refused_with_a_value_of_another_kind() {
        for key in reference() {
            let (right, wrong) = match key.kind {
                "string" => ("x", "[1]"),
                "path" => ("dir", "[1]"),
                "address" => ("127.0.0.1:9000", "[1]"),
                "list of names" | "list of paths" | "list of patterns" | "list of strings" => ("[a]", "7"),
                "NAMESPACE/NAME" => ("a/b", "b"),
                "object of strings" => ("{a: b}", "7"),
                "KEY=VALUE" => ("a=b", "ab"),
                "all or current" => ("current", "both"),
                "auto, files or kubernetes" => ("files", "both"),
                "off, safe or force" => ("safe", "both"),
                "number" => ("7", "many"),
                "boolean" => ("true", "7"),
                "duration" if key.path.ends_with("lease.duration") => ("20s", "7"),
                "duration" if key.path.ends_with("retryPeriod") => ("1s", "7"),
                "duration" => ("7s", "7"),
                "object" => ("{}", "7"),
                "list of grants" => ("[described]", "7"),
                other => panic!("{}: no value is known for {other}", key.path),
            };
            if ["apiVersion", "kind"].contains(&key.path) {
                continue;
            }
            match Config::parse("setpoint.yaml", &with(key.path, right)) {
                Ok(config) => assert!(config != Config::default() || right == "{}", "{} has no effect", key.path),
                Err(error) => panic!("{}: {error}", key.path),
            }
            assert!(Config::parse("setpoint.yaml", &with(key.path, wrong)).is_err(), "{}: {wrong}", key.path);
        }
    }

    #[test]
    fn the_defaults_in_the_reference_are_those_that_hold() {
        let limits = PluginConfig::default().limits(&Tuning::default());
        let said = |name: &str| {
            let path = format!("plugins.<name>.limits.{name}");
            reference().into_iter().find(|key| key.path == path).map(|key| key.default)
        };
        for (name, value) in [
            ("cpu", format!("{}s", limits.cpu.as_secs())),
            ("tables", limits.table_elements.to_string()),
            ("hostCalls", limits.host_calls.to_string()),
            ("bytesRead", limits.bytes_read.to_string()),
            ("outcomeBytes", limits.outcome_bytes.to_string()),
            ("objectBytes", limits.object_bytes.to_string()),
            ("children", limits.children.to_string()),
            ("events", limits.events.to_string()),
            ("logLines", limits.log_lines.to_string()),
            ("logBytes", limits.log_bytes.to_string()),
        ] {
            assert_eq!(said(name), Some(value.as_str()), "{name}");
        }
    }

    #[test]
    fn the_operator_is_heard_before_the_plugin_and_the_plugin_before_the_host() -> Result<(), ConfigError> {
        let text = "apiVersion: config.setpoint.dev/v1alpha1\nplugins:\n  a:\n    tuning: {timeout: 5s, warmCalls: 9}\n    limits: {cpu: 2s, children: 3}\n";
        let config = Config::parse("setpoint.yaml", text)?;
        let tuning = Tuning { timeout: Some(1_000), memory_bytes: Some(1 << 20), ..Tuning::default() };
        let limits = config.plugin("a").limits(&tuning);
        assert_eq!((limits.wall, limits.cpu), (Duration::from_secs(5), Duration::from_secs(2)));
        assert_eq!((limits.memory, limits.children, limits.warm_calls), (1 << 20, 3, Some(9)));
        assert_eq!(config.plugin("b").limits(&tuning).wall, Duration::from_secs(1));
        Ok(())
    }

    #[test]
    fn holds_and_strictness_are_read_and_a_percentage_has_bounds() -> Result<(), ConfigError> {
        let head = "apiVersion: config.setpoint.dev/v1alpha1\n";
        let text = format!("{head}strict: true\nholdAbove: 5\nholdPercent: 100\n");
        let config = Config::parse("setpoint.yaml", &text)?;
        assert_eq!((config.strict, config.hold_above, config.hold_percent), (true, Some(5), Some(100)));
        let error = Config::parse("setpoint.yaml", &format!("{head}holdPercent: 101\n")).expect_err("too much");
        assert_eq!(error.to_string(), "setpoint.yaml:2:14: holdPercent: a percentage from 0 to 100 is expected");
        assert_eq!(Config::default().at_next_start(&config), ["holdAbove", "holdPercent"]);
        Ok(())
    }

    #[test]
    fn a_plugin_that_does_not_exist_is_told_with_the_nearest_name() -> Result<(), ConfigError> {
        let text = "apiVersion: config.setpoint.dev/v1alpha1\nplugins:\n  '*': {}\n  workflows: {}\n  workflow: {}\n";
        let config = Config::parse("setpoint.yaml", text)?;
        let told = config.unknown_plugins(&["workflow", "config-bundle"]);
        assert_eq!(told, ["plugins.workflows: no plugin has this name; did you mean \"workflow\"?"]);
        Ok(())
    }
}
