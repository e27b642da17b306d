//! The operator's configuration: `setpoint.yaml`, apiVersion `config.setpoint.dev/v1alpha1`.
//! Unknown keys are errors with file:line:column and the nearest valid word.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use setpoint_cluster::source::Spans;
use setpoint_cluster::source::yaml::parse_documents;
use setpoint_core::grants::{Grant, Grants};

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
    /// Address of the health endpoints.
    pub health_listen: Option<SocketAddr>,
    /// Calls at a time over all plugins.
    pub workers: Option<u32>,
    /// What is said of plugins, by name; `*` for all.
    pub plugins: BTreeMap<String, PluginConfig>,
}

/// What the file says of one plugin. Times in milliseconds, memory in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// Its grants; none: the default, `described@local`.
    pub grants: Option<Vec<Grant>>,
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

struct Reader<'a> {
    file: &'a str,
    spans: &'a Spans,
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
        let top = reader.object(
            &document.value,
            "",
            &[
                "apiVersion",
                "kind",
                "pluginsDir",
                "resourcesDir",
                "stateDir",
                "listen",
                "healthListen",
                "workers",
                "plugins",
            ],
        )?;
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
            health_listen: address("healthListen")?,
            workers: reader.number(top, "", "workers")?.map(|n| n.clamp(1, 4_096) as u32),
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

impl Reader<'_> {
    fn error(&self, pointer: &str, message: String) -> ConfigError {
        let position = self.spans.locate(pointer);
        ConfigError { file: self.file.to_owned(), line: position.line, column: position.column, message }
    }

    fn object<'v>(
        &self,
        value: &'v Value,
        at: &str,
        known: &[&str],
    ) -> Result<&'v serde_json::Map<String, Value>, ConfigError> {
        let Some(map) = value.as_object() else { return Err(self.error(at, "an object is expected".into())) };
        for key in map.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let position = self.spans.locate_key(&format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")));
            let hint = match nearest(key, known) {
                Some(word) => format!("did you mean {word:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            return Err(ConfigError {
                file: self.file.to_owned(),
                line: position.line,
                column: position.column,
                message: format!("unknown key {key:?}; {hint}"),
            });
        }
        Ok(map)
    }

    fn text<'v>(
        &self,
        map: &'v serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<&'v str>, ConfigError> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(&format!("{at}/{name}"), format!("{name}: a string is expected"))),
        }
    }

    fn number(&self, map: &serde_json::Map<String, Value>, at: &str, name: &str) -> Result<Option<u64>, ConfigError> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(&format!("{at}/{name}"), format!("{name}: a whole number is expected"))),
            },
        }
    }

    /// A span of time: `500ms`, `30s`, `5m`, `1h`.
    fn duration(&self, map: &serde_json::Map<String, Value>, at: &str, name: &str) -> Result<Option<u64>, ConfigError> {
        let Some(text) = self.text(map, at, name)? else { return Ok(None) };
        parse_duration(text).map(Some).ok_or_else(|| {
            let message = format!("{name}: {text:?} is no span of time; write it as 500ms, 30s, 5m or 1h");
            self.error(&format!("{at}/{name}"), message)
        })
    }

    fn plugin(&self, value: &Value, at: &str) -> Result<PluginConfig, ConfigError> {
        let map = self.object(value, at, &["grants", "config", "digest", "tuning"])?;
        let mut plugin = PluginConfig {
            config: map.get("config").filter(|config| !config.is_null()).cloned(),
            digest: self.text(map, at, "digest")?.map(str::to_owned),
            ..PluginConfig::default()
        };
        if plugin.config.as_ref().is_some_and(|config| !config.is_object()) {
            return Err(self.error(&format!("{at}/config"), "config: an object is expected".into()));
        }
        if let Some(grants) = map.get("grants").filter(|grants| !grants.is_null()) {
            let Some(grants) = grants.as_array() else {
                return Err(self.error(&format!("{at}/grants"), "grants: a list is expected".into()));
            };
            let mut parsed = Vec::new();
            for (index, grant) in grants.iter().enumerate() {
                let at = format!("{at}/grants/{index}");
                let Some(text) = grant.as_str() else { return Err(self.error(&at, "a grant is a string".into())) };
                parsed.push(Grant::parse(text).map_err(|error| self.error(&at, error.to_string()))?);
            }
            plugin.grants = Some(parsed);
        }
        if let Some(tuning) = map.get("tuning").filter(|tuning| !tuning.is_null()) {
            let at = format!("{at}/tuning");
            let known = ["resync", "concurrency", "timeout", "firstBackoff", "longestBackoff", "memoryBytes"];
            let map = self.object(tuning, &at, &known)?;
            plugin.resync = self.duration(map, &at, "resync")?;
            plugin.concurrency = self.number(map, &at, "concurrency")?.map(|n| n.clamp(1, 4_096) as u32);
            plugin.timeout = self.duration(map, &at, "timeout")?;
            plugin.first_backoff = self.duration(map, &at, "firstBackoff")?;
            plugin.longest_backoff = self.duration(map, &at, "longestBackoff")?;
            plugin.memory_bytes = self.number(map, &at, "memoryBytes")?;
        }
        Ok(plugin)
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
}
