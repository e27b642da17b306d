//! The clusters of the fleet, as the configuration names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use setpoint_core::key::Name;
use setpoint_fleet::providers::{AccessCommand, Contexts};

use super::reader::Reader;
use super::{ConfigError, keys};
use crate::clusters::InstallCrds;
use crate::clusters::fleet::{ListedCluster, ProviderConfig, ProviderKind};

type Object = Map<String, Value>;

impl Reader<'_> {
    /// The providers of clusters, by their names.
    pub(super) fn clusters(&self, value: &Value, base: &Path) -> Result<BTreeMap<String, ProviderConfig>, ConfigError> {
        self.named(value, "/clusters", "provider names", |value, at| self.provider(value, at, base))
    }

    /// What is said of each of some names.
    fn named<T>(
        &self,
        value: &Value,
        at: &str,
        what: &str,
        read: impl Fn(&Value, &str) -> Result<T, ConfigError>,
    ) -> Result<BTreeMap<String, T>, ConfigError> {
        let Some(map) = value.as_object() else {
            return Err(self.error(at, format!("an object of {what} is expected")));
        };
        map.iter()
            .map(|(name, value)| {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                Ok((name.clone(), read(value, &at)?))
            })
            .collect()
    }

    fn provider(&self, value: &Value, at: &str, base: &Path) -> Result<ProviderConfig, ConfigError> {
        let map = self.object(value, at, &keys::below("clusters.<name>"))?;
        let sources = ["kubeconfigs", "directories", "secrets", "namespaces", "clusterApi", "inventory", "list"];
        let given: Vec<&str> = sources.into_iter().filter(|name| map.get(*name).is_some()).collect();
        let [source] = given.as_slice() else {
            let message = format!("a provider finds clusters in one way: write one of {}", sources.join(", "));
            return Err(self.error(at, message));
        };
        let value = &map[*source];
        let contexts = self.word(map, at, "contexts", &Contexts::WORDS)?;
        if contexts.is_some() && *source != "kubeconfigs" {
            return Err(self.error(&format!("{at}/contexts"), "contexts: it belongs to kubeconfigs".into()));
        }
        let at_source = format!("{at}/{source}");
        let below = |name: &str| self.object(value, &at_source, &keys::below(&format!("clusters.<name>.{name}")));
        let paths = || -> Result<Vec<PathBuf>, ConfigError> {
            Ok(self.texts(map, at, source)?.unwrap_or_default().iter().map(|path| base.join(path)).collect())
        };
        let kind = match *source {
            "directories" => ProviderKind::Directories { paths: paths()? },
            "kubeconfigs" => ProviderKind::Kubeconfigs { paths: paths()?, contexts: contexts.unwrap_or_default() },
            "secrets" => {
                let map = below("secrets")?;
                ProviderKind::Secrets {
                    namespace: self.needed(map, &at_source, "namespace")?.into(),
                    label: self.label(map, &at_source)?,
                    key: self.text(map, &at_source, "key")?.map(str::to_owned),
                }
            }
            "namespaces" => ProviderKind::Namespaces { label: self.label(below("namespaces")?, &at_source)? },
            "clusterApi" => {
                let map = below("clusterApi")?;
                ProviderKind::ClusterApi {
                    namespace: self.text(map, &at_source, "namespace")?.map(Name::from),
                    version: self.text(map, &at_source, "version")?.map(str::to_owned),
                }
            }
            "inventory" => {
                let map = below("inventory")?;
                let access = map.get("access").ok_or_else(|| self.error(&at_source, "access is missing".into()))?;
                let read = |value: &Value, at: &str| self.access(value, at);
                let access = self.named(access, &format!("{at_source}/access"), "names of access providers", read)?;
                let named = |(provider, command)| AccessCommand { provider, ..command };
                ProviderKind::Inventory {
                    namespace: self.text(map, &at_source, "namespace")?.map(Name::from),
                    access: access.into_iter().map(named).collect(),
                }
            }
            _ => {
                let read = |value: &Value, at: &str| self.listed(value, at, base);
                ProviderKind::List(self.named(value, &at_source, "names of clusters", read)?)
            }
        };
        Ok(ProviderConfig {
            prefix: self.text(map, at, "prefix")?.map(str::to_owned),
            install_crds: self.word(map, at, "installCrds", &InstallCrds::WORDS)?,
            required: self.boolean(map, at, "required")?.unwrap_or(false),
            kind,
        })
    }

    fn needed<'v>(&self, map: &'v Object, at: &str, name: &str) -> Result<&'v str, ConfigError> {
        self.text(map, at, name)?.ok_or_else(|| self.error(at, format!("{name} is missing")))
    }

    /// A label, as `KEY=VALUE`.
    fn label(&self, map: &Object, at: &str) -> Result<Option<(String, String)>, ConfigError> {
        let Some(text) = self.text(map, at, "label")? else { return Ok(None) };
        match text.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some((key, value)) => Ok(Some((key.to_owned(), value.to_owned()))),
            None => Err(self.error(&format!("{at}/label"), format!("label: {text:?} is no label; write KEY=VALUE"))),
        }
    }

    fn access(&self, value: &Value, at: &str) -> Result<AccessCommand, ConfigError> {
        let map = self.object(value, at, &keys::below("clusters.<name>.inventory.access.<provider>"))?;
        Ok(AccessCommand {
            provider: String::new(),
            command: self.needed(map, at, "command")?.to_owned(),
            args: self.texts(map, at, "args")?.unwrap_or_default(),
            env: self.strings(map, at, "env")?,
            api_version: self.text(map, at, "apiVersion")?.map(str::to_owned),
        })
    }

    fn listed(&self, value: &Value, at: &str, base: &Path) -> Result<ListedCluster, ConfigError> {
        let map = self.object(value, at, &keys::below("clusters.<name>.list.<cluster>"))?;
        if let Some(directory) = self.text(map, at, "directory")? {
            if let Some(other) = ["kubeconfig", "context", "namespaces"].iter().find(|other| map.get(**other).is_some())
            {
                let message = format!("{other}: a directory of files has none; leave it out");
                return Err(self.error(&format!("{at}/{other}"), message));
            }
            return Ok(ListedCluster {
                directory: Some(base.join(directory)),
                labels: self.strings(map, at, "labels")?,
                ..ListedCluster::default()
            });
        }
        Ok(ListedCluster {
            directory: None,
            kubeconfig: self.text(map, at, "kubeconfig")?.map(|path| base.join(path)),
            context: self.text(map, at, "context")?.map(str::to_owned),
            namespaces: self
                .texts(map, at, "namespaces")?
                .unwrap_or_default()
                .iter()
                .map(|n| n.as_str().into())
                .collect(),
            labels: self.strings(map, at, "labels")?,
        })
    }

    /// Strings by their names.
    fn strings(&self, map: &Object, at: &str, name: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = map.get(name).filter(|value| !value.is_null()) else { return Ok(BTreeMap::new()) };
        self.named(value, &format!("{at}/{name}"), "strings", |value, at| match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.error(at, "a string is expected (quote numbers and booleans)".into())),
        })
    }
}
