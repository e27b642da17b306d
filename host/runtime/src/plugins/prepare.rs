//! What has to be right of a component before it may start: its digest, its CRDs, its configuration.

use std::sync::Arc;

use setpoint_cluster::ServiceAccount;
use setpoint_core::contract::Description;
use setpoint_core::engine::PluginInfo;
use setpoint_core::grants::{Grant, Grants, glob};
use setpoint_core::sanitize::sanitize;
use setpoint_plugin::Limits;
use setpoint_schema::{Crd, Part};

use crate::code::Code;
use crate::config::{Config, PluginConfig};
use crate::driver::Driver;
use crate::shadow::Candidate;

/// A component that was read and compiled, or a reconciler of the program.
pub(super) struct Loaded {
    pub(super) code: Code,
    /// The bytes of a component; none of a reconciler of the program.
    pub(super) bytes: Vec<u8>,
    /// Digest of what the file has: another one while it is rolled back.
    pub(super) in_file: String,
}

impl Loaded {
    /// It is a component, and what the file has.
    pub(super) fn is_from_file(&self) -> bool {
        self.code.is_component() && self.code.digest().as_str() == self.in_file
    }
}

/// A component that may start as far as it is itself concerned.
pub(super) struct Prepared {
    pub(super) loaded: Loaded,
    pub(super) crds: Vec<Arc<Crd>>,
    pub(super) grants: Grants,
    /// Grants that it asks for and lacks.
    pub(super) missing: Vec<String>,
    pub(super) limits: Limits,
    config: Arc<str>,
    said: PluginConfig,
}

impl Prepared {
    /// Checks a component against itself and the configuration; `beside`: grants of the command line; `home`: the
    /// cluster that it is there for, and its namespace if it is not all of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(
        loaded: Loaded,
        config: &Config,
        beside: &[(String, Grant)],
        home: (&str, Option<&str>),
    ) -> Result<Self, String> {
        let description = loaded.code.description().clone();
        let said = config.plugin(&description.name);
        if let Some(wanted) = &said.digest {
            let digest = loaded.code.digest();
            if wanted.trim_start_matches("sha256:") != digest.as_str() {
                return Err(format!("its digest is {digest}, the configuration pins {wanted}"));
            }
        }
        let mut crds = Vec::new();
        for owned in &description.kinds {
            let json = serde_json::from_str(&owned.crd)
                .map_err(|error| format!("its CRD of {} is not JSON: {error}", owned.kind.kind))?;
            let crd = Crd::parse(&json, &owned.kind.version)
                .map_err(|error| format!("its CRD of {}: {error}", owned.kind.kind))?;
            crds.push(Arc::new(crd));
        }
        let given = check_config(&description, said.config.as_ref())?;
        let grants = config.grants(&description.name, beside);
        let at_home = said.clusters.as_ref().is_none_or(|clusters| clusters.iter().any(|of| glob(of, home.0)));
        let missing = if at_home { grants.missing(&description, home.0, home.1) } else { Vec::new() };
        let prepared = Self {
            missing: missing.iter().map(ToString::to_string).collect(),
            limits: said.limits(&description.tuning),
            config: given.to_string().into(),
            loaded,
            crds,
            grants,
            said,
        };
        prepared.info()?;
        Ok(prepared)
    }

    /// As whom its children are written.
    pub(super) fn acts_as(&self) -> Option<Arc<ServiceAccount>> {
        self.said.acts_as.clone()
    }

    pub(super) fn name(&self) -> &str {
        &self.description().name
    }

    pub(super) fn digest(&self) -> &str {
        self.loaded.code.digest().as_str()
    }

    pub(super) fn description(&self) -> &Arc<Description> {
        self.loaded.code.description()
    }

    /// As the engine knows it.
    ///
    /// # Errors
    /// A field mask or an index of it does not parse.
    pub(super) fn info(&self) -> Result<PluginInfo, String> {
        let (description, said) = (self.description().clone(), &self.said);
        let mut info = PluginInfo::new(self.digest(), description, self.config.clone(), self.grants.clone())
            .map_err(|error| error.to_string())?;
        info.resync = said.resync.unwrap_or(info.resync);
        info.concurrency = said.concurrency.unwrap_or(info.concurrency).max(1);
        info.clusters.clone_from(&said.clusters);
        info.backoff.first = said.first_backoff.unwrap_or(info.backoff.first).max(1);
        info.backoff.longest = said.longest_backoff.unwrap_or(info.backoff.longest).max(info.backoff.first);
        Ok(info)
    }

    /// As the shadow tries it, in the clusters that take part.
    ///
    /// # Errors
    /// As [`Prepared::info`].
    pub(super) fn candidate(&self, driver: &Driver) -> Result<Candidate, String> {
        let mut info = self.info()?;
        driver.look(|engine| engine.resolve(&mut info));
        Ok(Candidate { code: self.loaded.code.clone(), limits: self.limits, info: Arc::new(info) })
    }
}

/// The configuration as the plugin is given it: defaulted and valid against the schema it describes.
///
/// # Errors
/// What is wrong with it or with the schema, in one sentence.
pub fn check_config(description: &Description, given: Option<&serde_json::Value>) -> Result<serde_json::Value, String> {
    let given = given.cloned().unwrap_or_else(|| serde_json::json!({}));
    let Some(schema) = &description.config_schema else {
        let empty = given.as_object().is_none_or(serde_json::Map::is_empty);
        return if empty {
            Ok(given)
        } else {
            Err("it takes no configuration, and the configuration has one for it".into())
        };
    };
    let schema: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| format!("its config-schema is not JSON: {error}"))?;
    // A configuration is checked as the spec of a kind would be: one way to read a schema.
    let crd = serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "configs.config.setpoint.dev"},
        "spec": {"group": "config.setpoint.dev", "scope": "Cluster",
                 "names": {"kind": "Config", "plural": "configs", "singular": "config"},
                 "versions": [{"name": "v1", "served": true, "storage": true,
                               "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}]},
    });
    let crd = Crd::parse(&crd, "v1").map_err(|error| format!("its config-schema: {error}"))?;
    let object = serde_json::json!({"apiVersion": "config.setpoint.dev/v1", "kind": "Config",
                                    "metadata": {"name": "config"}, "spec": given});
    let mut admission = crd.admit(object, None, Part::Spec);
    let mistakes: Vec<String> = admission
        .errors
        .iter()
        .map(ToString::to_string)
        .chain(admission.unknown.iter().map(|path| format!("{path}: unknown field")))
        .collect();
    if mistakes.is_empty() {
        Ok(admission.object["spec"].take())
    } else {
        Err(sanitize(&format!("its configuration: {}", mistakes.join("; "))))
    }
}
