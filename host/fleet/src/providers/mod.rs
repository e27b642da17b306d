//! The providers that ship.
//!
//! | where clusters are found | provider |
//! |---|---|
//! | a list | [`Fixed`] |
//! | kubeconfig files: one by one, in directories, by pattern | [`Kubeconfigs`] |
//! | directories of files, each a cluster | [`Directories`] |
//! | Secrets with a label | [`Secrets`] |
//! | namespaces of a cluster, each as a cluster | [`Namespaces`] |
//! | Cluster API | [`ClusterApi`] |
//! | the cluster inventory API | [`Inventory`] |
//!
//! The last four look at objects of one cluster, through reflectors of their own (`watched`): while that one cannot be
//! reached, what they have offered stays.

mod cluster_api;
mod directories;
mod fixed;
mod inventory;
mod kubeconfigs;
mod looks;
mod namespaces;
mod paths;
mod secrets;
mod watched;

pub use cluster_api::ClusterApi;
pub use directories::Directories;
pub use fixed::Fixed;
pub use inventory::{AccessCommand, Inventory};
pub use kubeconfigs::{Contexts, Kubeconfigs};
pub use namespaces::Namespaces;
pub use secrets::Secrets;
pub use watched::Hub;
