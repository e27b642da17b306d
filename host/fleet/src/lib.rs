//! Which clusters there are, coming and going (design §3).
//!
//! A [`Provider`] finds clusters and offers them; the [`Fleet`] reaches them, all at once and each for itself, and
//! tells an [`Aware`] of those that take part. What decides is in `setpoint_core::fleet`: to whom a name belongs,
//! which cluster is refused, and when one is tried again.
//!
//! | question | module |
//! |---|---|
//! | what do providers and those who listen have to do | here |
//! | how is a cluster reached, engaged and let go | [`fleet`] |
//! | which providers are there | [`providers`] |
//! | what stands for a cluster that takes part | [`Connection`] |
//!
//! A provider of one's own:
//!
//! ```
//! use std::sync::Arc;
//!
//! use setpoint_fleet::{BoxFuture, Offers, Provider, Reach};
//! use setpoint_kubernetes::Access;
//!
//! /// Clusters whose kubeconfigs are where everybody knows.
//! struct Known(Vec<&'static str>);
//!
//! impl Provider for Known {
//!     fn name(&self) -> &str {
//!         "known"
//!     }
//!
//!     fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
//!         Box::pin(async move {
//!             for name in &self.0 {
//!                 let path = Some(format!("/etc/clusters/{name}.kubeconfig").into());
//!                 let reach = Reach::of(Access::Kubeconfig { path, context: None });
//!                 if let Err(error) = offers.engage(name, reach) {
//!                     offers.trouble(name, Some(&error.to_string()));
//!                 }
//!             }
//!             // These are all there are. What is offered stays offered until the fleet stops.
//!             offers.all(self.0.iter().copied(), "it is not known any more");
//!         })
//!     }
//! }
//! ```

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use setpoint_cluster::BoxFuture;
use setpoint_core::fleet::{OfferError, State};
use setpoint_core::key::Name;
use setpoint_kubernetes::Access;

mod connection;
pub mod fleet;
mod gate;
pub mod providers;

pub use connection::{Connection, Directory, DirectoryOptions};
pub use fleet::{Fleet, FleetOptions, Offers};

/// Finds clusters, and offers them until it is told to stop: by its future being dropped.
///
/// A source that is away says nothing of clusters: a provider withdraws a cluster only if it knows that it is gone.
pub trait Provider: Send + Sync {
    /// What it is called, among all providers of a fleet; the clusters that it offers are known by it.
    fn name(&self) -> &str;

    /// What stands before the names of its clusters, with a dot between; none: nothing does.
    fn prefix(&self) -> Option<&str> {
        None
    }

    /// Finds clusters and offers them. What was offered stays offered when this returns.
    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()>;
}

/// Hears of clusters that take part. Called in order for each name, with nothing locked; it returns at once, and may
/// be called again before what it began is over.
pub trait Aware: Send + Sync {
    /// A cluster takes part from now on. The same instance once more changes nothing.
    fn engage(&self, engaged: &Engaged);

    /// A cluster does not take part any more. Nothing is said of what is in it: its objects are unknown, not gone.
    fn disengage(&self, name: &Name, reason: &str);
}

/// A cluster that takes part.
#[derive(Clone)]
pub struct Engaged {
    /// Its name, as it stands in keys.
    pub name: Name,
    /// Who offers it.
    pub provider: Name,
    /// The connection.
    pub connection: Connection,
    /// What owner marks and field managers are made of.
    pub identity: String,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
    /// What its provider says of it.
    pub labels: BTreeMap<String, String>,
}

/// How a cluster is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    /// Over its API server.
    Server(Access),
    /// It is a directory of files.
    Directory(PathBuf),
}

impl From<Access> for Way {
    fn from(access: Access) -> Self {
        Self::Server(access)
    }
}

/// How a cluster is reached, and what is said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Where address and credentials come from, or its directory; or why that is not known, for a cluster that is known
    /// to be there.
    pub way: Result<Way, String>,
    /// Differs when it is reached in another way, such as at another address. Credentials that are renewed are no
    /// other way. Default: what [`Reach::way`] shows of itself.
    pub instance: String,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
    /// Whether the namespaces are a cluster of their own, beside others of the same server.
    pub scoped: bool,
    /// What grants and plugins choose clusters by.
    pub labels: BTreeMap<String, String>,
}

impl Reach {
    /// A cluster that is looked at as a whole.
    pub fn of(way: impl Into<Way>) -> Self {
        let way = way.into();
        let instance = format!("{way:?}");
        Self { way: Ok(way), instance, namespaces: Vec::new(), scoped: false, labels: BTreeMap::new() }
    }

    /// A cluster that is known to be there and cannot be reached, for this reason.
    pub fn unusable(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let instance = reason.clone();
        Self { way: Err(reason), instance, namespaces: Vec::new(), scoped: false, labels: BTreeMap::new() }
    }
}

/// No cluster of this name takes part.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cluster not found: {name}")]
pub struct ClusterNotFound {
    /// The name.
    pub name: String,
}

/// What there is to say of a cluster, whether it takes part or not.
#[derive(Clone)]
pub struct ClusterRow {
    /// Its name.
    pub name: Name,
    /// Who offers it.
    pub provider: Name,
    /// Who offers it as well, and does not count.
    pub rivals: Vec<Name>,
    /// How it is doing.
    pub state: State,
    /// Why it is not engaged.
    pub reason: Option<String>,
    /// Milliseconds since it is in this state.
    pub for_ms: u64,
    /// Milliseconds until it is tried again, if it waits for that.
    pub next_ms: Option<u64>,
    /// What it is, once that is known: the uid of its namespace `kube-system`, or its directory.
    pub identity: Option<String>,
    /// Only these namespaces are looked at; empty: all.
    pub namespaces: Vec<Name>,
    /// What its provider says of it.
    pub labels: BTreeMap<String, String>,
    /// The connection, if it takes part.
    pub connection: Option<Connection>,
}

/// A name for a cluster made of one that may have other characters: they become `-`.
pub fn cluster_name(text: &str) -> String {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    let plain: String = text.to_lowercase().chars().map(|c| if good(c) { c } else { '-' }).collect();
    plain.trim_matches(['-', '.']).to_owned()
}

/// Why an offer is not taken.
pub type OfferRefused = OfferError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_gave_become_names_of_clusters() {
        for (text, name) in [
            ("kind-west", "kind-west"),
            ("kubernetes-admin@prod/EU", "kubernetes-admin-prod-eu"),
            ("arn:aws:eks:eu-west-1:1:cluster/Main", "arn-aws-eks-eu-west-1-1-cluster-main"),
            ("_x_", "x"),
            ("@", ""),
        ] {
            assert_eq!(cluster_name(text), name);
        }
    }
}
