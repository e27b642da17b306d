//! `setpoint rbac`: the rights that the host needs on a Kubernetes cluster for the plugins of a directory, and the
//! grants that these ask for.
//!
//! | question | module |
//! |---|---|
//! | what follows from what plugins describe | [`needs`] |
//! | how are kinds called in rules | [`kinds`] |
//! | what is allowed, said once and in order | [`rights`] |
//! | how is it written down | [`manifest`] |

mod kinds;
mod manifest;
mod needs;
#[cfg(test)]
mod needs_tests;
mod rights;

use std::sync::Arc;

use setpoint_plugin::{HostOptions, PluginHost};
use setpoint_schema::Crd;

use crate::args::RbacArgs;
use crate::crds::{definitions, files, missing};
use crate::failure::Failure;
use crate::output::print;
use crate::plugin::load;
use crate::yaml::to_yaml;
use manifest::{Place, comments};
use needs::{Needs, Plugin, grants};

/// Prints the documents. No host and no cluster is asked.
pub(crate) fn rbac(args: &RbacArgs) -> Result<(), Failure> {
    let host = PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() })
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut loaded: Vec<(Arc<setpoint_plugin::Plugin>, Vec<Crd>)> = Vec::new();
    for file in files(&args.plugins)? {
        let plugin = load(&host, &file)?;
        let definitions = definitions(&file, plugin.description())?;
        loaded.push((plugin, definitions));
    }
    if loaded.is_empty() {
        return Err(missing(&args.plugins));
    }
    let mut plugins = Vec::new();
    for (plugin, definitions) in &loaded {
        let description = plugin.description();
        let acts_as = args.impersonate.iter().find(|(name, _)| **name == *description.name).map(|(_, account)| account);
        plugins.push(Plugin { description, definitions, acts_as });
    }
    let is_here = |name: &str| plugins.iter().any(|plugin| *plugin.description.name == *name);
    if let Some((name, _)) = args.impersonate.iter().find(|(name, _)| !is_here(name)) {
        let names: Vec<&str> = plugins.iter().map(|plugin| &*plugin.description.name).collect();
        let message = format!("--impersonate: no plugin {name} is in {}", args.plugins.display());
        return Err(Failure::usage(message).hint(format!("there are {}", names.join(", "))));
    }
    let again = |at: &usize| args.impersonate[..*at].iter().any(|(name, _)| *name == args.impersonate[*at].0);
    if let Some(at) = (0..args.impersonate.len()).find(again) {
        let message = format!("--impersonate: {} is given twice", args.impersonate[at].0);
        return Err(Failure::usage(message).hint("the children of a plugin are written as one ServiceAccount"));
    }
    print(&text(plugins, args))
}

fn text(mut plugins: Vec<Plugin<'_>>, args: &RbacArgs) -> String {
    // Whatever the files are called.
    plugins.sort_by(|a, b| a.description.name.cmp(&b.description.name));
    let mut namespaces = args.namespaces.clone();
    namespaces.sort();
    namespaces.dedup();
    let names: Vec<&str> = plugins.iter().map(|plugin| &*plugin.description.name).collect();
    let needs = Needs::of(&plugins, args.install_crds);
    let place = Place { account: (&args.service_account, &args.service_account_namespace), namespaces: &namespaces };
    let documents: Vec<String> = place.documents(&needs).iter().map(to_yaml).collect();
    comments(&names, &needs, &grants(&plugins, &namespaces), !namespaces.is_empty()) + &documents.join("---\n")
}
