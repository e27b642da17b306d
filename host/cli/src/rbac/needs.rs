//! Which rights and which grants follow from what plugins describe. No more than the requests that the host makes
//! of a Kubernetes cluster.

use std::collections::{BTreeMap, BTreeSet};

use setpoint_cluster::ServiceAccount;
use setpoint_core::contract::{Description, ReadScope};
use setpoint_core::grants::{Grant, Grants};
use setpoint_core::key::{GroupKind, GroupVersionKind, HUB};
use setpoint_schema::Crd;

use super::kinds::{Kinds, Resource};
use super::rights::{Rules, Verb};

use Verb::{Create, Delete, Get, Impersonate, List, Patch, Update, Watch};

const EVENTS: &str = "events.k8s.io";
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
/// Where the host writes down what is to be the same for all hosts of a cluster.
const STATE: &str = "setpoint-state";

/// A plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plugin<'a> {
    pub(crate) description: &'a Description,
    /// Of the kinds that it reconciles.
    pub(crate) definitions: &'a [Crd],
    /// As whom its children are written; none: as the host.
    pub(crate) acts_as: Option<&'a ServiceAccount>,
}

/// What somebody may do, in all places but the host's own namespace.
#[derive(Default, Debug)]
pub(crate) struct Rights {
    /// In every namespace that the host looks after.
    pub(crate) namespaced: Rules,
    /// Of the cluster itself, and of kinds that are in no namespace.
    pub(crate) cluster: Rules,
}

impl Rights {
    fn of(&mut self, resource: &Resource) -> &mut Rules {
        if resource.namespaced { &mut self.namespaced } else { &mut self.cluster }
    }
}

/// What a set of plugins needs.
#[derive(Default, Debug)]
pub(crate) struct Needs {
    /// Of the host.
    pub(crate) host: Rights,
    /// Of the accounts as which children are written.
    pub(crate) accounts: BTreeMap<ServiceAccount, Rights>,
    /// In the namespace `default`, where events are about objects that are in none.
    pub(crate) default: Rules,
    /// In the namespace of the host.
    pub(crate) own: Rules,
    /// Kinds that nothing here defines, and what is taken for their plural.
    pub(crate) guessed: BTreeMap<String, String>,
    /// Plugin and kind, where it is read by name only.
    pub(crate) by_name: BTreeSet<(String, String)>,
}

impl Needs {
    /// `install`: the host brings the definitions of the kinds as well.
    pub(crate) fn of(plugins: &[Plugin<'_>], install: bool) -> Self {
        let kinds = kinds(plugins);
        let mut needs = Self::default();
        needs.host(plugins, install);
        for plugin in plugins {
            needs.plugin(plugin, &kinds);
        }
        needs
    }

    /// What it takes whatever the plugins are.
    fn host(&mut self, plugins: &[Plugin<'_>], install: bool) {
        // Which cluster it is: the uid of this namespace (rule D9).
        self.host.cluster.allow_of("", "namespaces", ["kube-system"], &[Get]);
        let (group, definitions) = DEFINITIONS;
        self.host.cluster.allow(group, definitions, &[Get, List, Watch]);
        let names: BTreeSet<String> = on_clusters(plugins).map(|crd| format!("{}.{}", crd.plural, crd.group)).collect();
        if install && !names.is_empty() {
            // What is created has no name yet that a rule could tell from others.
            self.host.cluster.allow(group, definitions, &[Create]);
            self.host.cluster.allow_of(group, definitions, names.iter().map(String::as_str), &[Patch]);
        }
        // Which of several hosts acts (rule D8); where work is shared they look who is there, and clean up after who is not.
        self.own.allow("coordination.k8s.io", "leases", &[Get, List, Create, Patch, Delete]);
        self.own.allow("", "configmaps", &[Create]);
        self.own.allow_of("", "configmaps", [STATE], &[Get, Patch]);
        // About objects of all kinds (rule B16).
        self.host.namespaced.allow(EVENTS, "events", &[Create, Patch]);
        if on_clusters(plugins).any(|crd| !crd.namespaced) {
            self.default.allow(EVENTS, "events", &[Create, Patch]);
        }
    }

    fn plugin(&mut self, plugin: &Plugin<'_>, kinds: &Kinds) {
        let Plugin { description, definitions, acts_as } = plugin;
        let writes = || description.writes.iter().filter(|kind| !description.is_local(&kind.group_kind()));
        for owned in
            description.kinds.iter().map(|owned| &owned.kind).filter(|kind| !description.is_local(&kind.group_kind()))
        {
            let resource = self.resource(owned, kinds);
            let rules = self.host.of(&resource);
            // Finalizers and annotations are patched; status is a resource of its own (rules B2, B12, B15).
            rules.allow(&owned.group, &resource.plural, &[Get, List, Watch, Patch]);
            let same = |crd: &&Crd| crd.group == *owned.group && crd.kind == *owned.kind;
            if definitions.iter().find(same).is_some_and(|crd| crd.has_status) {
                rules.allow(&owned.group, &format!("{}/status", resource.plural), &[Patch]);
            }
            if writes().next().is_some() {
                // Children name their owner with blockOwnerDeletion: some clusters ask for this right then.
                let rules = self.writer(*acts_as).of(&resource);
                rules.allow(&owned.group, &format!("{}/finalizers", resource.plural), &[Update]);
            }
        }
        for child in writes() {
            let resource = self.resource(child, kinds);
            self.host.of(&resource).allow(&child.group, &resource.plural, &[Get, List, Watch]);
            // An apply that creates takes both `create` and `patch` (decision 0012).
            self.writer(*acts_as).of(&resource).allow(&child.group, &resource.plural, &[Create, Patch, Delete]);
        }
        for read in description.reads.iter().filter(|read| !description.is_local(&read.kind.group_kind())) {
            let resource = self.resource(&read.kind, kinds);
            // A single object is listed and watched by its name.
            self.host.of(&resource).allow(&read.kind.group, &resource.plural, &[Get, List, Watch]);
            if read.scope == ReadScope::Named {
                self.by_name.insert((description.name.to_string(), read.kind.group_kind().to_string()));
            }
        }
    }

    /// The rights of who writes children.
    fn writer(&mut self, acts_as: Option<&ServiceAccount>) -> &mut Rights {
        match acts_as {
            Some(account) => self.accounts.entry(account.clone()).or_default(),
            None => &mut self.host,
        }
    }

    /// What the host needs to act as an account, in that one's namespace.
    pub(crate) fn to_act_as(account: &ServiceAccount) -> Rules {
        let mut rules = Rules::default();
        rules.allow_of("", "serviceaccounts", [&*account.name], &[Impersonate]);
        rules
    }

    fn resource(&mut self, kind: &GroupVersionKind, kinds: &Kinds) -> Resource {
        let resource = kinds.resource(kind);
        if resource.guessed {
            self.guessed.insert(kind.group_kind().to_string(), resource.plural.clone());
        }
        resource
    }
}

/// The capabilities that these plugins ask for on the cluster, as `--grant` takes them: in these namespaces, or in all
/// if there are none.
pub(crate) fn grants(plugins: &[Plugin<'_>], namespaces: &[String]) -> Vec<String> {
    let kinds = kinds(plugins);
    let mut lines = Vec::new();
    for plugin in plugins {
        let name = &plugin.description.name;
        for grant in Grants::default().missing(plugin.description, HUB, None) {
            let kind = match &grant {
                Grant::Read(kind, _) | Grant::Write(kind, _) => {
                    Some(GroupVersionKind::new(&kind.group, "", &kind.kind))
                }
                Grant::Described(_) | Grant::Process(_) | Grant::Http(_) => None,
            };
            match kind {
                Some(kind) if plugin.description.is_local(&kind.group_kind()) => {}
                Some(kind) if !namespaces.is_empty() && kinds.resource(&kind).namespaced => {
                    lines.extend(namespaces.iter().map(|namespace| format!("{name}={grant}/{namespace}")));
                }
                _ => lines.push(format!("{name}={grant}")),
            }
        }
    }
    lines
}

fn kinds(plugins: &[Plugin<'_>]) -> Kinds {
    Kinds::of(plugins.iter().flat_map(|plugin| plugin.definitions))
}

/// The definitions of kinds that may be on a cluster.
fn on_clusters<'a>(plugins: &'a [Plugin<'_>]) -> impl Iterator<Item = &'a Crd> {
    plugins.iter().flat_map(|plugin| {
        let local = |crd: &Crd| plugin.description.is_local(&GroupKind::new(&crd.group, &crd.kind));
        plugin.definitions.iter().filter(move |crd| !local(crd))
    })
}
