//! Starts the real binary on real files and real components, and looks at it from outside.
//!
//! ```no_run
//! use setpoint_test_support::Host;
//!
//! let host = Host::setup().plugin("hostile").file("a.yaml", "…").start();
//! host.wait_for("a is synced", |host| (host.row("Hostile", "a")?["state"] == "Synced").then_some(()));
//! ```
//!
//! | question | module |
//! |---|---|
//! | what is there before it starts | [`setup`] |
//! | how is it started, stopped, killed, started again | [`host`] |
//! | how are its files and plugins changed | [`files`] |
//! | where are its objects | [`place`] |
//! | what does it say | [`look`], [`client`] |
//! | where are the binary and the components | [`built`] |
//! | what other components can be made of them | [`component`] |
//! | how are commands run | [`command`] |
//! | which MCP servers are there, and what do they answer | [`mcp`] |
//! | what if it does not run | [`stopped`] |
//!
//! Everything is bounded: a wait that does not come true panics with what was waited for, the state
//! of the host and the end of its log. A host that is dropped is killed.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod built;
pub mod client;
pub mod command;
pub mod component;
pub mod files;
pub mod host;
pub mod look;
pub mod mcp;
pub mod place;
pub mod setup;
pub mod stopped;

pub use client::{Answer, Client, get_json};
pub use command::{Ran, Running, run};
pub use host::Host;
pub use setup::Setup;
pub use stopped::{Start, Stopped};
