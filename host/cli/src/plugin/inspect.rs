//! `setpoint plugin inspect`: what a plugin file is and asks for.

use std::fmt::Write;

use setpoint_core::contract::{Capability, Description, ReadScope};
use setpoint_core::grants::Grant;
use setpoint_plugin::{HostOptions, PluginHost};
use setpoint_schema::Crd;

use super::{load, size};
use crate::args::InspectArgs;
use crate::crds::definitions;
use crate::failure::Failure;
use crate::output::{one_line, print};

const NAMES: usize = 16;

/// What of a file is no part of its description.
struct Facts<'a> {
    contract: &'a str,
    digest: &'a str,
    size: usize,
    imports: &'a [String],
}

/// Shows a plugin file. It is loaded as a host would, and asked what it is; it reconciles nothing.
pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let host = PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() })
        .map_err(|error| Failure::new(error.to_string()))?;
    let plugin = load(&host, &args.file)?;
    let crds = definitions(&args.file, plugin.description())?;
    let facts = Facts {
        contract: plugin.contract_version(),
        digest: plugin.digest().as_str(),
        size: plugin.size(),
        imports: plugin.imports(),
    };
    print(&text(&facts, plugin.description(), &crds))
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
    lines("Contract", vec![format!("setpoint:reconciler@{}", facts.contract)]);
    lines("Digest", vec![format!("sha256:{}", facts.digest)]);
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
        format!("{} {}, {scope}{fields}", read.kind.api_version(), read.kind.kind)
    });
    lines("Reads", reads.collect());
    lines("Writes", description.writes.iter().map(|kind| format!("{} {}", kind.api_version(), kind.kind)).collect());
    let capabilities = description.capabilities.iter().map(|capability| {
        match capability {
            Capability::Process => Grant::Process,
            Capability::Http(host) => Grant::Http(host.clone()),
        }
        .to_string()
    });
    lines("Capabilities", capabilities.collect());
    let configured = if description.config_schema.is_some() { "as its schema says" } else { "none" };
    lines("Configuration", vec![configured.to_owned()]);
    lines("Imports", facts.imports.to_vec());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use setpoint_core::contract::{OwnedKind, ReadKind, Tuning};
    use setpoint_core::key::GroupVersionKind;

    #[test]
    fn a_plugin_is_shown_with_what_it_is_and_asks_for() -> Result<(), setpoint_schema::CrdError> {
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
                fields: vec!["metadata.labels".into()],
                indexes: Vec::new(),
            }],
            writes: vec![
                GroupVersionKind::new("", "v1", "ConfigMap"),
                GroupVersionKind::new("apps", "v1", "Deployment"),
            ],
            capabilities: vec![Capability::Http("api.example".into())],
            config_schema: None,
            tuning: Tuning::default(),
        };
        let facts = Facts { contract: "0.1.0", digest: "ba78", size: 108_000, imports: &["wasi:io/poll@0.2.6".into()] };
        assert_eq!(
            text(&facts, &description, &[Crd::parse(&crd, "v1")?]),
            "Name:           alpha\n\
             Version:        0.3.0\n\
             Contract:       setpoint:reconciler@0.1.0\n\
             Digest:         sha256:ba78\n\
             Size:           108.0 KB\n\
             Reconciles:     a.io/v1 Alpha (al), namespaced, cleans up before deletion\n\
             Reads:          v1 Secret, by name and as lists, only metadata.labels\n\
             Writes:         v1 ConfigMap\n\
             \x20               apps/v1 Deployment\n\
             Capabilities:   http:api.example\n\
             Configuration:  none\n\
             Imports:        wasi:io/poll@0.2.6\n"
        );
        Ok(())
    }
}
