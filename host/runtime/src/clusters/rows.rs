//! Clusters as people see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use setpoint_core::key::Name;
use setpoint_core::sanitize::sanitize;
use setpoint_fleet::{ClusterRow, Connection};

use super::Clusters;
use crate::clock::rfc3339;
use crate::driver::unix_now;

/// A cluster, whether it takes part or not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its name, as it stands in keys.
    pub name: String,
    /// Who offers it: a provider of the configuration, `mode` for the hub, `host` for `local`.
    pub provider: String,
    /// `Connecting`, `Engaged`, `Unreachable` or `Refused`.
    pub state: String,
    /// Why it is not engaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub since: String,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
    /// Address of its server, or its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The uid of its namespace `kube-system`, or its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Only these namespaces are looked at; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// What its provider says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether the host is ready only while it is engaged and known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Who offers it as well, and does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_offered_by: Vec<String>,
    /// Whether this host acts on its objects.
    pub acting: bool,
    /// Where work is shared: the shards of it that this host acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards_held: Option<usize>,
    /// Where work is shared: its shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// Its objects that are known.
    pub objects: usize,
    /// What is watched of it.
    pub watches: usize,
    /// Of these, what has not been told completely, or not for too long.
    pub watches_behind: usize,
    /// Milliseconds since the watch that is silent the longest has told something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_age_ms: Option<u64>,
    /// What is in the way of its watches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What is in the way of a provider.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProviderTrouble {
    /// The provider.
    pub provider: String,
    /// The file, the source or the cluster that it is about.
    pub about: String,
    /// What it is.
    pub message: String,
}

/// The fleet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FleetView {
    /// All clusters in order of their names.
    pub clusters: Vec<ClusterView>,
    /// What is in the way of providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<ProviderTrouble>,
}

impl Clusters {
    /// All clusters.
    pub(crate) fn view(&self) -> FleetView {
        let Some(fleet) = self.fleet.get() else { return FleetView::default() };
        let objects = self.driver.look(|engine| {
            let mut objects: BTreeMap<Name, usize> = BTreeMap::new();
            for (source, _, count) in engine.cache().sources() {
                *objects.entry(source.cluster.clone()).or_default() += count;
            }
            objects
        });
        let trouble = |(provider, about, message): (Name, String, String)| ProviderTrouble {
            provider: provider.to_string(),
            about: sanitize(&about),
            message: sanitize(&message),
        };
        FleetView {
            clusters: fleet.list().into_iter().map(|row| self.row(row, &objects)).collect(),
            troubles: fleet.troubles().into_iter().map(trouble).collect(),
        }
    }

    fn row(&self, row: ClusterRow, objects: &BTreeMap<Name, usize>) -> ClusterView {
        let now = unix_now();
        let health = match &row.connection {
            Some(Connection::Server(cluster)) => Some(cluster.health()),
            Some(Connection::Directory(_)) | None => None,
        };
        let of_files = self.files.of(&row.name).map(|cluster| cluster.problems());
        let watches = health.as_ref().map(|health| health.watches.as_slice()).unwrap_or_default();
        let share = self.share_of(&row.name);
        ClusterView {
            shards_held: share.map(|(held, _)| held),
            shards: share.map(|(_, all)| all),
            provider: row.provider.to_string(),
            state: row.state.word().to_owned(),
            reason: row.reason.as_deref().map(sanitize),
            since: rfc3339(now.saturating_sub(row.for_ms)),
            next_try: row.next_ms.map(|next| rfc3339(now + next)),
            server: row.connection.as_ref().and_then(Connection::address),
            identity: row.identity,
            namespaces: row.namespaces.iter().map(ToString::to_string).collect(),
            labels: row.labels,
            required: self.required.contains(&row.provider),
            also_offered_by: row.rivals.iter().map(ToString::to_string).collect(),
            acting: row.connection.is_some() && self.driver.look(|engine| engine.is_acting(&row.name)),
            objects: objects.get(&row.name).copied().unwrap_or_default(),
            watches: watches.len(),
            watches_behind: watches.iter().filter(|watch| !watch.known || watch.stalled).count(),
            watch_age_ms: watches.iter().filter(|watch| !watch.missing).map(|watch| watch.silent_for).max(),
            problems: health
                .map(|health| health.reasons())
                .or(of_files)
                .unwrap_or_default()
                .iter()
                .map(|why| sanitize(why))
                .collect(),
            name: row.name.to_string(),
        }
    }
}
