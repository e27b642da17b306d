//! Reads values of the configuration, each with its place for those who got it wrong.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use setpoint_cluster::source::Spans;
use setpoint_cluster::{NoServiceAccount, ServiceAccount};
use setpoint_core::grants::Grant;
use setpoint_core::shards::HEAVIEST;

use super::{ConfigError, KubernetesConfig, LimitsConfig, PluginConfig, keys, nearest, parse_duration};
use crate::clusters::{InstallCrds, LeaseConfig, ShardingConfig};
use crate::http::TlsFiles;

/// A file that was parsed, and where its values are.
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) spans: &'a Spans,
}

impl Reader<'_> {
    pub(super) fn error(&self, pointer: &str, message: String) -> ConfigError {
        let position = self.spans.locate(pointer);
        ConfigError { file: self.file.to_owned(), line: position.line, column: position.column, message }
    }

    pub(super) fn object<'v>(
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

    pub(super) fn texts(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = map.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned)).collect()
        });
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.error(&format!("{at}/{name}"), format!("{name}: a list of names is expected"))),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(map, at, name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                let message = format!("{name}: {text:?} is none of {}", known.join(", "));
                Err(self.error(&format!("{at}/{name}"), message))
            }
        }
    }

    pub(super) fn kubernetes(&self, value: &Value, base: &Path) -> Result<KubernetesConfig, ConfigError> {
        let at = "/kubernetes";
        let map = self.object(value, at, &keys::below("kubernetes"))?;
        let lease = match map.get("lease").filter(|lease| !lease.is_null()) {
            Some(lease) => self.lease(lease)?,
            None => LeaseConfig::default(),
        };
        let sharding = match map.get("sharding").filter(|sharding| !sharding.is_null()) {
            Some(sharding) => self.sharding(sharding, &lease)?,
            None => ShardingConfig::default(),
        };
        Ok(KubernetesConfig {
            kubeconfig: self.text(map, at, "kubeconfig")?.map(|text| base.join(text)),
            context: self.text(map, at, "context")?.map(str::to_owned),
            namespaces: self.texts(map, at, "namespaces")?,
            install_crds: self.word(map, at, "installCrds", &InstallCrds::WORDS)?,
            requests_per_second: self.count(map, at, "requestsPerSecond")?,
            burst: self.count(map, at, "burst")?,
            lease,
            sharding,
        })
    }

    pub(super) fn tls(&self, value: &Value, base: &Path) -> Result<TlsFiles, ConfigError> {
        let at = "/tls";
        let map = self.object(value, at, &keys::below("tls"))?;
        let file = |name: &str| match self.text(map, at, name)? {
            Some(text) => Ok(base.join(text)),
            None => Err(self.error(at, format!("{name} is missing"))),
        };
        Ok(TlsFiles { certificate: file("certFile")?, key: file("keyFile")? })
    }

    fn lease(&self, value: &Value) -> Result<LeaseConfig, ConfigError> {
        let at = "/kubernetes/lease";
        let map = self.object(value, at, &keys::below("kubernetes.lease"))?;
        let lease = LeaseConfig {
            enabled: self.boolean(map, at, "enabled")?,
            namespace: self.text(map, at, "namespace")?.map(str::to_owned),
            name: self.text(map, at, "name")?.map(str::to_owned),
            duration: self.duration(map, at, "duration")?,
            renew_deadline: self.duration(map, at, "renewDeadline")?,
            retry: self.duration(map, at, "retryPeriod")?,
        };
        lease.terms().map_err(|error| self.error(at, error))?;
        Ok(lease)
    }

    fn sharding(&self, value: &Value, lease: &LeaseConfig) -> Result<ShardingConfig, ConfigError> {
        let at = "/kubernetes/sharding";
        let map = self.object(value, at, &keys::below("kubernetes.sharding"))?;
        let weight = self.count(map, at, "weight")?;
        if weight.is_some_and(|weight| !(1..=HEAVIEST).contains(&weight)) {
            return Err(
                self.error(&format!("{at}/weight"), format!("weight: a number from 1 to {HEAVIEST} is expected"))
            );
        }
        let sharding = ShardingConfig {
            enabled: self.boolean(map, at, "enabled")?.unwrap_or_default(),
            weight,
            large: self.texts(map, at, "large")?.unwrap_or_default(),
        };
        sharding.fits(lease).map_err(|error| self.error(&format!("{at}/enabled"), error))?;
        Ok(sharding)
    }

    pub(super) fn text<'v>(
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

    pub(super) fn number(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<u64>, ConfigError> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(&format!("{at}/{name}"), format!("{name}: a whole number is expected"))),
            },
        }
    }

    /// A number that counts things in memory.
    pub(super) fn small(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<usize>, ConfigError> {
        let number = self.number(map, at, name)?;
        Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    }

    /// A number that is at most 4 294 967 295.
    fn count(&self, map: &serde_json::Map<String, Value>, at: &str, name: &str) -> Result<Option<u32>, ConfigError> {
        let number = self.number(map, at, name)?;
        Ok(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    }

    pub(super) fn percent(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<usize>, ConfigError> {
        match self.small(map, at, name)? {
            Some(101..) => {
                Err(self.error(&format!("{at}/{name}"), format!("{name}: a percentage from 0 to 100 is expected")))
            }
            number => Ok(number),
        }
    }

    pub(super) fn boolean(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
        name: &str,
    ) -> Result<Option<bool>, ConfigError> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.error(&format!("{at}/{name}"), format!("{name}: true or false is expected"))),
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

    fn service_account(
        &self,
        map: &serde_json::Map<String, Value>,
        at: &str,
    ) -> Result<Option<Arc<ServiceAccount>>, ConfigError> {
        let Some(text) = self.text(map, at, "impersonate")? else { return Ok(None) };
        text.parse().map(|account| Some(Arc::new(account))).map_err(|error: NoServiceAccount| {
            self.error(&format!("{at}/impersonate"), format!("impersonate: {error}"))
        })
    }

    pub(super) fn plugin(&self, value: &Value, at: &str) -> Result<PluginConfig, ConfigError> {
        let map = self.object(value, at, &keys::below("plugins.<name>"))?;
        let mut plugin = PluginConfig {
            config: map.get("config").filter(|config| !config.is_null()).cloned(),
            digest: self.text(map, at, "digest")?.map(str::to_owned),
            clusters: self.texts(map, at, "clusters")?,
            acts_as: self.service_account(map, at)?,
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
            let map = self.object(tuning, &at, &keys::below("plugins.<name>.tuning"))?;
            plugin.resync = self.duration(map, &at, "resync")?;
            plugin.concurrency = self.number(map, &at, "concurrency")?.map(|n| n.clamp(1, 4_096) as u32);
            plugin.timeout = self.duration(map, &at, "timeout")?;
            plugin.first_backoff = self.duration(map, &at, "firstBackoff")?;
            plugin.longest_backoff = self.duration(map, &at, "longestBackoff")?;
            plugin.memory_bytes = self.number(map, &at, "memoryBytes")?;
            plugin.warm_calls = self.count(map, &at, "warmCalls")?;
        }
        if let Some(limits) = map.get("limits").filter(|limits| !limits.is_null()) {
            plugin.limits = self.limits(limits, &format!("{at}/limits"))?;
        }
        Ok(plugin)
    }

    fn limits(&self, value: &Value, at: &str) -> Result<LimitsConfig, ConfigError> {
        let map = self.object(value, at, &keys::below("plugins.<name>.limits"))?;
        Ok(LimitsConfig {
            cpu: self.duration(map, at, "cpu")?,
            tables: self.small(map, at, "tables")?,
            host_calls: self.count(map, at, "hostCalls")?,
            bytes_read: self.number(map, at, "bytesRead")?,
            outcome_bytes: self.small(map, at, "outcomeBytes")?,
            object_bytes: self.small(map, at, "objectBytes")?,
            children: self.small(map, at, "children")?,
            events: self.small(map, at, "events")?,
            log_lines: self.count(map, at, "logLines")?,
            log_bytes: self.small(map, at, "logBytes")?,
        })
    }
}
