//! A teaching example: `Fanout` puts one payload into every cluster that a selector picks, hub and spoke.
//!
//! It shows what a fleet is to a plugin:
//!
//! - *Clusters are objects.* [`Cluster`] is read like any other kind: a cluster that joins, leaves or changes its labels
//!   runs the object again.
//! - *Every key has a cluster.* A read and a child each name theirs, and the operator grants which.
//! - *Unknown is not absent.* A cluster that is away keeps its payload and is shown as unknown. The host deletes nothing
//!   because of a call that could not know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use setpoint_sdk::ReadError;
use setpoint_sdk::prelude::*;

/// What to put where.
#[derive(Deserialize, JsonSchema)]
struct FanoutSpec {
    /// The clusters whose labels match, as kubectl writes it: `env=prod,region in (eu,us)`.
    #[schemars(length(min = 1))]
    selector: String,
    /// The data of the ConfigMap that is there, under the name of the object.
    data: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct FanoutStatus {
    /// How many clusters the selector picks.
    total: usize,
    /// How many of them have the payload.
    synced: usize,
    /// Each of them.
    clusters: BTreeMap<String, State>,
}

#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, PartialEq)]
enum State {
    /// The payload is there.
    Synced,
    /// It is being written.
    Pending,
    /// The cluster is away.
    Unknown,
}

/// A cluster of the fleet; its labels are what the selector looks at.
#[derive(Deserialize)]
struct Cluster {}

impl Resource for Cluster {
    const GROUP: &'static str = "host.setpoint.dev";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "Cluster";
    const NAMESPACED: bool = false;
}

struct Fanout;

impl Reconciler for Fanout {
    type Spec = FanoutSpec;
    type Status = FanoutStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let kind = Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Fanout")
            .column("Clusters", "integer", ".status.total")
            .column("Synced", "integer", ".status.synced");
        Describe::new("fanout", env!("CARGO_PKG_VERSION"), kind)
            .reads(Read::all::<Cluster>().fields([".metadata.labels"]))
            .reads(Read::named::<ConfigMap>().fields([".data"]))
            .writes::<ConfigMap>()
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<FanoutStatus>, Error> {
        let payload = ConfigMap { data: cx.spec().data.clone(), ..ConfigMap::new() };
        let picked = cx.list::<Cluster>(Query::new().in_cluster("local").selector(&cx.spec().selector))?;
        let (mut clusters, mut children) = (BTreeMap::new(), Vec::new());
        for name in picked.into_iter().map(|cluster| cluster.metadata.name) {
            let state = match cx.get::<ConfigMap>(ObjectRef::new(cx.name()).in_cluster(&name)) {
                Ok(Some(there)) if there.data == payload.data => State::Synced,
                Ok(_) => State::Pending,
                Err(ReadError::Unavailable(_)) => State::Unknown,
                Err(error) => return Err(error.into()),
            };
            children.push(Child::of(cx.name(), &payload).in_cluster(&name));
            clusters.insert(name, state);
        }
        let total = clusters.len();
        let synced = clusters.values().filter(|state| **state == State::Synced).count();
        let outcome = Outcome::ready(FanoutStatus { total, synced, clusters }).children(children);
        Ok(if synced == total {
            outcome
        } else {
            outcome.progressing("Spreading", "Not every cluster has the payload")
        })
    }
}

setpoint_sdk::export!(Fanout);

#[cfg(test)]
mod tests;
