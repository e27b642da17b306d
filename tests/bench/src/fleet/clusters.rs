//! Namespaces of one server as clusters: each has connections, watches and objects of its own.

use std::fmt::Write as _;
use std::path::Path;

use setpoint_test_kube::Kube;
use setpoint_test_support::Host;

use super::EACH;
use crate::kube::groups;
use crate::kube::objects::{Converging, Place};

/// The header of each configuration file.
const HEADER: &str = "apiVersion: config.setpoint.dev/v1alpha1\n";

/// A new cluster. Nothing is in it yet.
pub(crate) fn cluster(kube: &Kube) -> Place<'_> {
    Place { api: kube.api(), namespace: kube.namespace(), groups: groups(1), each: EACH }
}

/// Clusters that one host has.
pub(crate) struct Fleet<'k> {
    kube: &'k Kube,
    clusters: Vec<Place<'k>>,
}

impl<'k> Fleet<'k> {
    /// So many clusters. Nothing is in them yet.
    pub(crate) fn new(kube: &'k Kube, count: usize) -> Self {
        Self { kube, clusters: (0..count).map(|_| cluster(kube)).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.clusters.len()
    }

    pub(crate) fn fill(&self) {
        self.clusters.iter().for_each(Place::fill);
    }

    /// Deletes what is in them. Whoever would make it again does not run any more.
    pub(crate) fn clear(&self) {
        self.clusters.iter().for_each(Place::clear);
    }

    /// Looks at the bundles of all of them from now on. Nobody else has bundles that are ready.
    pub(crate) fn converging(&self) -> Converging {
        Converging::everywhere(self.kube.api(), &groups(1)[0], self.len() * EACH)
    }

    /// A provider that has all of them, each reached by this kubeconfig.
    pub(crate) fn listed(&self, kubeconfig: &Path) -> String {
        let mut text = "  live:\n    list:\n".to_owned();
        for (number, cluster) in self.clusters.iter().enumerate() {
            let (kubeconfig, namespace) = (kubeconfig.display(), &cluster.namespace);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "      live-{number}: {{kubeconfig: {kubeconfig}, namespaces: [{namespace}]}}");
        }
        text
    }
}

/// A host that was stopped: its plugin is compiled, and it knows of no cluster but those of its arguments.
pub(crate) fn prepared(args: impl IntoIterator<Item = String>) -> Host {
    let setup = Host::setup().config(HEADER).plugin("config-bundle").args(args);
    let host = setup.args(["--grant", "*=described", "--log-level", "error"].map(str::to_owned)).start();
    host.kill();
    host
}

/// What it reads when it is started again.
pub(crate) fn configure(host: &Host, text: &str) {
    let file = host.root().join("setpoint.yaml");
    std::fs::write(&file, format!("{HEADER}{text}")).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
