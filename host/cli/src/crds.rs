//! `setpoint crds`: the CustomResourceDefinitions of plugin files, as an API server takes them.

use std::path::{Path, PathBuf};

use setpoint_plugin::{HostOptions, PluginHost};
use setpoint_runtime::views::KindRow;
use setpoint_schema::Crd;

use crate::args::CrdsArgs;
use crate::failure::Failure;
use crate::kind::resolve;
use crate::output::print;
use crate::plugin::load;
use crate::yaml::to_yaml;

/// Prints the definitions, one YAML document each. No host is asked.
pub(crate) fn crds(args: &CrdsArgs) -> Result<(), Failure> {
    let host = PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() })
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut crds = Vec::new();
    for file in files(&args.plugins)? {
        let plugin = load(&host, &file)?;
        crds.extend(definitions(&file, plugin.description())?);
    }
    if crds.is_empty() {
        return Err(missing(&args.plugins));
    }
    let wanted: Vec<&Crd> = match &args.kind {
        None => crds.iter().collect(),
        Some(word) => {
            let rows: Vec<KindRow> = crds.iter().map(|crd| KindRow::of(crd, None, false)).collect();
            let kind = resolve(&rows, word)?;
            crds.iter().filter(|crd| crd.group == kind.group && crd.kind == kind.kind).collect()
        }
    };
    print(&documents(&wanted))
}

/// There is no plugin file in a directory.
pub(crate) fn missing(dir: &Path) -> Failure {
    Failure::new(format!("{}: no plugin is there", dir.display()))
        .hint("name the directory of .wasm files with --plugins DIR")
}

/// The definitions of what a plugin reconciles.
pub(crate) fn definitions(
    file: &Path,
    description: &setpoint_core::contract::Description,
) -> Result<Vec<Crd>, Failure> {
    let wrong = |kind: &str, error: &dyn std::fmt::Display| {
        Failure::new(format!("{}: its CRD of {kind}: {error}", file.display()))
    };
    description
        .kinds
        .iter()
        .map(|owned| {
            let json = serde_json::from_str(&owned.crd).map_err(|error| wrong(&owned.kind.kind, &error))?;
            Crd::parse(&json, &owned.kind.version).map_err(|error| wrong(&owned.kind.kind, &error))
        })
        .collect()
}

fn documents(crds: &[&Crd]) -> String {
    let texts: Vec<String> = crds.iter().map(|crd| to_yaml(&crd.manifest())).collect();
    texts.join("---\n")
}

/// The plugin files of a directory, as the host would load them, in order of names.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::io(dir, &error).hint("name the directory of .wasm files with --plugins DIR");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|extension| extension == "wasm") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(kind: &str, plural: &str) -> Result<Crd, setpoint_schema::CrdError> {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.a.io")},
            "spec": {"group": "a.io", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                     "versions": [{"name": "v1", "served": true, "storage": true,
                                   "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        });
        Crd::parse(&crd, "v1")
    }

    #[test]
    fn each_definition_is_a_document_that_an_api_server_takes() -> Result<(), Box<dyn std::error::Error>> {
        let (a, b) = (crd("Alpha", "alphas")?, crd("Beta", "betas")?);
        let text = documents(&[&a, &b]);
        let documents: Vec<&str> = text.split("---\n").collect();
        assert_eq!(documents.len(), 2);
        for (document, name) in documents.iter().zip(["alphas.a.io", "betas.a.io"]) {
            let value: serde_json::Value = serde_saphyr::from_str(document)?;
            assert_eq!(
                (&value["kind"], &value["metadata"]["name"]),
                (&json!("CustomResourceDefinition"), &json!(name))
            );
        }
        Ok(())
    }

    #[test]
    fn only_plugin_files_are_read() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        for name in ["b.wasm", "a.wasm", ".a.wasm.new", ".hidden.wasm", "readme.md"] {
            std::fs::write(dir.path().join(name), "")?;
        }
        assert_eq!(files(dir.path()), Ok(vec![dir.path().join("a.wasm"), dir.path().join("b.wasm")]));
        let missing = files(&dir.path().join("nothing")).map_err(|failure| failure.to_string());
        assert!(missing.is_err_and(|text| text.contains("nothing: ") && text.contains("--plugins DIR")));
        Ok(())
    }
}
