//! `setpoint plugin inspect`: what a plugin file is and asks for.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;
use setpoint_core::contract::{Description, ReadScope, Tuning};
use setpoint_core::grants::Grant;
use setpoint_core::key::GroupVersionKind;
use setpoint_schema::Crd;

use super::load;
use super::rerun::plugin_host;
use super::size;
use crate::args::{InspectArgs, Output};
use crate::crds::definitions;
use crate::failure::Failure;
use crate::output::{json_text, one_line, print, yaml_text};

const NAMES: usize = 16;

/// What of a file is no part of its description.
struct Facts<'a> {
    contract: &'a str,
    digest: &'a str,
    size: usize,
    imports: &'a [String],
}

/// All of it, as programs read it.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    version: String,
    /// `setpoint:reconciler@VERSION`
    contract: String,
    /// `sha256:` and 64 digits
    digest: String,
    /// In bytes.
    size: usize,
    kinds: Vec<ShownKind>,
    reads: Vec<ShownRead>,
    writes: Vec<Named>,
    /// As grants are written.
    capabilities: Vec<String>,
    /// JSON schema of the configuration; null if it takes none.
    config_schema: Value,
    /// What the plugin asks for instead of the host's defaults. Times in milliseconds.
    tuning: Tuning,
    imports: Vec<String>,
}

#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Named {
    api_version: String,
    kind: String,
}

#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct ShownKind {
    #[serde(flatten)]
    named: Named,
    plural: String,
    short_names: Vec<String>,
    namespaced: bool,
    /// It is called before an object goes.
    finalizer: bool,
}

#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct ShownRead {
    #[serde(flatten)]
    named: Named,
    /// `named` or `all`
    scope: &'static str,
    /// The fields that it sees; empty for all.
    fields: Vec<String>,
    /// Name and path.
    indexes: Vec<(String, String)>,
}

/// Shows a plugin file. It is loaded as a host would, and asked what it is; it reconciles nothing.
pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let plugin = load(&plugin_host()?, &args.file)?;
    let crds = definitions(&args.file, plugin.description())?;
    let facts = Facts {
        contract: plugin.contract_version(),
        digest: plugin.digest().as_str(),
        size: plugin.size(),
        imports: plugin.imports(),
    };
    let description = plugin.description();
    print(&match args.output.output {
        Output::Table | Output::Wide => text(&facts, description, &crds),
        Output::Json => json_text(&shown(&facts, description, &crds)?)?,
        Output::Yaml => yaml_text(&shown(&facts, description, &crds)?)?,
    })
}

fn named(kind: &GroupVersionKind) -> Named {
    Named { api_version: kind.api_version(), kind: kind.kind.to_string() }
}

fn capabilities(description: &Description) -> impl Iterator<Item = String> {
    description.capabilities.iter().map(|capability| Grant::from(capability).to_string())
}

fn shown(facts: &Facts<'_>, description: &Description, crds: &[Crd]) -> Result<Shown, Failure> {
    let config_schema = match &description.config_schema {
        None => Value::Null,
        Some(schema) => serde_json::from_str(schema)
            .map_err(|error| Failure::new(format!("the schema of its configuration is no JSON: {error}")))?,
    };
    let kinds = crds.iter().zip(&description.kinds).map(|(crd, owned)| ShownKind {
        named: named(&owned.kind),
        plural: crd.plural.clone(),
        short_names: crd.short_names.clone(),
        namespaced: crd.namespaced,
        finalizer: owned.finalizer,
    });
    let reads = description.reads.iter().map(|read| ShownRead {
        named: named(&read.kind),
        scope: match read.scope {
            ReadScope::Named => "named",
            ReadScope::All => "all",
        },
        fields: read.fields.clone(),
        indexes: read.indexes.clone(),
    });
    Ok(Shown {
        name: description.name.to_string(),
        version: description.version.clone(),
        contract: contract(facts),
        digest: digest(facts),
        size: facts.size,
        kinds: kinds.collect(),
        reads: reads.collect(),
        writes: description.writes.iter().map(named).collect(),
        capabilities: capabilities(description).collect(),
        config_schema,
        tuning: description.tuning.clone(),
        imports: facts.imports.to_vec(),
    })
}

fn contract(facts: &Facts<'_>) -> String {
    format!("setpoint:reconciler@{}", facts.contract)
}

fn digest(facts: &Facts<'_>) -> String {
    format!("sha256:{}", facts.digest)
}

fn text(facts: &Facts<'_>, description: &Description, crds: &[Crd]) -> String {
    let mut text = String::new();
    let mut lines = |name: &str, values: Vec<String>| {
        let none = vec!["<none>".to_owned()];
        for (index, value) in if values.is_empty() { none } else { values }.iter().enumerate() {
            let name = if index == 0 { format!("{name}:") } else { String::new() };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<NAMES$}{}", one_line(value));
        }
    };
    lines("Name", vec![description.name.to_string()]);
    lines("Version", vec![description.version.clone()]);
    lines("Contract", vec![contract(facts)]);
    lines("Digest", vec![digest(facts)]);
    lines("Size", vec![size(facts.size)]);
    let kinds = crds.iter().zip(&description.kinds).map(|(crd, owned)| {
        let scope = if crd.namespaced { "namespaced" } else { "cluster-scoped" };
        let finalizer = if owned.finalizer { ", cleans up before deletion" } else { "" };
        let short =
            if crd.short_names.is_empty() { String::new() } else { format!(" ({})", crd.short_names.join(",")) };
        format!("{} {}{short}, {scope}{finalizer}", owned.kind.api_version(), owned.kind.kind)
    });
    lines("Reconciles", kinds.collect());
    let reads = description.reads.iter().map(|read| {
        let scope = match read.scope {
            ReadScope::Named => "by name",
            ReadScope::All => "by name and as lists",
        };
        let fields = if read.fields.is_empty() { String::new() } else { format!(", only {}", read.fields.join(" ")) };
        let indexes: String = read.indexes.iter().map(|(name, path)| format!(", index {name} of {path}")).collect();
        format!("{} {}, {scope}{fields}{indexes}", read.kind.api_version(), read.kind.kind)
    });
    lines("Reads", reads.collect());
    lines("Writes", description.writes.iter().map(|kind| format!("{} {}", kind.api_version(), kind.kind)).collect());
    lines("Capabilities", capabilities(description).collect());
    let configured = if description.config_schema.is_some() { "as its schema says" } else { "none" };
    lines("Configuration", vec![configured.to_owned()]);
    lines("Imports", facts.imports.to_vec());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use setpoint_core::contract::{Capability, OwnedKind, ReadKind};

    fn example() -> (Value, Description) {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "alphas.a.io"},
            "spec": {"group": "a.io", "scope": "Namespaced", "names": {"kind": "Alpha", "plural": "alphas", "shortNames": ["al"]},
                     "versions": [{"name": "v1", "served": true, "storage": true,
                                   "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        });
        let description = Description {
            name: "alpha".into(),
            version: "0.3.0".into(),
            kinds: vec![OwnedKind {
                crd: crd.to_string(),
                kind: GroupVersionKind::new("a.io", "v1", "Alpha"),
                finalizer: true,
            }],
            reads: vec![ReadKind {
                kind: GroupVersionKind::new("", "v1", "Secret"),
                scope: ReadScope::All,
                fields: vec![".metadata.labels".into()],
                indexes: vec![("app".into(), ".data.app".into())],
            }],
            writes: vec![
                GroupVersionKind::new("", "v1", "ConfigMap"),
                GroupVersionKind::new("apps", "v1", "Deployment"),
            ],
            capabilities: vec![Capability::Http("api.example".into())],
            config_schema: None,
            tuning: Tuning::default(),
        };
        (crd, description)
    }

    #[test]
    fn a_plugin_is_shown_with_what_it_is_and_asks_for() -> Result<(), setpoint_schema::CrdError> {
        let (crd, description) = example();
        let facts = Facts { contract: "0.1.0", digest: "ba78", size: 108_000, imports: &["wasi:io/poll@0.2.6".into()] };
        assert_eq!(
            text(&facts, &description, &[Crd::parse(&crd, "v1")?]),
            "Name:           alpha\n\
             Version:        0.3.0\n\
             Contract:       setpoint:reconciler@0.1.0\n\
             Digest:         sha256:ba78\n\
             Size:           108.0 KB\n\
             Reconciles:     a.io/v1 Alpha (al), namespaced, cleans up before deletion\n\
             Reads:          v1 Secret, by name and as lists, only .metadata.labels, index app of .data.app\n\
             Writes:         v1 ConfigMap\n\
             \x20               apps/v1 Deployment\n\
             Capabilities:   http:api.example\n\
             Configuration:  none\n\
             Imports:        wasi:io/poll@0.2.6\n"
        );
        Ok(())
    }

    #[test]
    fn programs_read_all_of_it() -> Result<(), Box<dyn std::error::Error>> {
        let (crd, description) = example();
        let facts = Facts { contract: "0.1.0", digest: "ba78", size: 108_000, imports: &["wasi:io/poll@0.2.6".into()] };
        assert_eq!(
            serde_json::to_value(shown(&facts, &description, &[Crd::parse(&crd, "v1")?])?)?,
            json!({
                "name": "alpha", "version": "0.3.0", "contract": "setpoint:reconciler@0.1.0", "digest": "sha256:ba78",
                "size": 108_000, "configSchema": null, "imports": ["wasi:io/poll@0.2.6"],
                "kinds": [{"apiVersion": "a.io/v1", "kind": "Alpha", "plural": "alphas", "shortNames": ["al"],
                           "namespaced": true, "finalizer": true}],
                "reads": [{"apiVersion": "v1", "kind": "Secret", "scope": "all", "fields": [".metadata.labels"],
                           "indexes": [["app", ".data.app"]]}],
                "writes": [{"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "apps/v1", "kind": "Deployment"}],
                "capabilities": ["http:api.example"],
                "tuning": {"resync": null, "resyncAlways": false, "concurrency": null, "timeout": null,
                           "firstBackoff": null, "longestBackoff": null, "memoryBytes": null, "warmCalls": null},
            })
        );
        Ok(())
    }
}
