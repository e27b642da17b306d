//! A Kubernetes cluster behind the seam `setpoint_cluster::Cluster` (design §3, §5).
//!
//! [`KubernetesCluster::connect`] makes the connection; what the host needs to hear of is said by
//! `Cluster::want`, what it wants done by `Cluster::perform`. Everything that is seen goes to one
//! `setpoint_cluster::Sink`.
//!
//! | question | module |
//! |---|---|
//! | how is a server reached, and with which credentials | [`options`], [`kubeconfig`], `access`, [`connect`] |
//! | how is a request made, and what may it cost | `transport`, `throttle`, [`resource`] |
//! | what does a refusal mean | `failure`, `status`, `refusal`, `rights` |
//! | which kinds are served, and in which shape | `kinds`, `shapes` |
//! | what is there | `reflect`, with objects read in `intake`, `managed`, `lines` |
//! | how is something done | `effects`, `events` |
//! | how does a definition get there | [`install`] |
//! | who acts, of several hosts, and what do they share | [`lease`], `clock`, [`state`] |
//! | how is it doing | [`health`] |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod access;
mod clock;
pub mod connect;
mod effects;
mod events;
mod failure;
pub mod health;
pub mod install;
mod intake;
mod kinds;
pub mod kubeconfig;
pub mod lease;
mod lines;
mod managed;
pub mod options;
mod reflect;
mod refusal;
pub mod resource;
mod rights;
mod shapes;
pub mod state;
mod status;
mod throttle;
mod transport;

pub use clock::boot_time;
pub use connect::{ConnectError, KubernetesCluster};
pub use health::{Check, Health, WatchHealth};
pub use install::{InstallError, Installed};
pub use kubeconfig::{KubeContext, SharedKubeconfig, contexts};
pub use lease::{Leadership, LeaseOptions, Listed};
pub use options::{Access, ConnectOptions, Limits};
pub use resource::Resource;
pub use transport::Fence;
