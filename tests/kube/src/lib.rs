//! A real API server for tests: kube-apiserver and etcd, no stand-in.
//!
//! ```no_run
//! # use serde_json::json;
//! let Some(kube) = setpoint_test_kube::shared() else { return };
//! let namespace = kube.namespace();
//! let path = format!("/api/v1/namespaces/{namespace}/configmaps");
//! kube.api().post(&path, &json!({"metadata": {"name": "a"}})).with(201);
//! let kubeconfig = kube.kubeconfig_of("alice");
//! ```
//!
//! | question | module |
//! |---|---|
//! | what is chosen before a server starts | [`setup`] |
//! | how is it started, killed, started again; where is it | [`server`], [`etcd`] |
//! | what does it answer | [`api`], [`watch`] |
//! | what was it asked | [`audit`] |
//! | who may what | [`access`] |
//! | what if the network, or an answer, fails | [`proxy`] |
//! | where the programs are not there | [`available`] |
//!
//! Everything is bounded: a wait that does not come true panics with what was waited for and the end of the
//! server's log. Servers and their directories do not outlive the test program, however it ends. Calls block, on
//! any thread, with a runtime or without; a test that has its client on the same runtime wants one of several threads.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod assets;
mod background;
mod certificates;
mod file;
mod identity;
mod keeper;
mod port;
mod process;

pub mod access;
pub mod api;
pub mod audit;
pub mod etcd;
pub mod proxy;
pub mod server;
pub mod setup;
pub mod watch;

use std::sync::OnceLock;

pub use api::{Answer, Api, Call};
pub use assets::available;
pub use etcd::{Backup, Etcd};
pub use identity::{ADMIN, USERS};
pub use proxy::{Proxy, Relay};
pub use server::Kube;
pub use setup::Setup;
pub use watch::Watch;

/// One server for all tests of a test program that do it no harm. None where it cannot run; that is said
/// (see [`available`]).
///
/// # Panics
/// It does not get ready.
pub fn shared() -> Option<&'static Kube> {
    static SHARED: OnceLock<Kube> = OnceLock::new();
    available().then(|| SHARED.get_or_init(|| Kube::setup().start()))
}
