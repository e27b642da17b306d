//! Runs reconciler plugins: WebAssembly components that answer one question, `reconcile`.
//!
//! A plugin is data in, data out. It gets a [`Request`](setpoint_core::contract::Request), may read
//! through [`Reads`], and returns an [`Outcome`](setpoint_core::contract::Outcome). It has no file,
//! no socket, no environment, and every call has [`Limits`]; whatever it does, a call ends with a
//! [`Call`] and never takes the host down (rules C7, C8, design §6).
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use setpoint_core::contract::Request;
//! # use setpoint_plugin::{HostOptions, Limits, Logs, PluginHost, Reads};
//! # async fn example(request: Request, reads: Arc<dyn Reads>, logs: Arc<dyn Logs>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let host = PluginHost::new(HostOptions::default())?;
//! let bytes = std::fs::read("plugins/workflow.wasm")?;
//! let plugin = tokio::task::spawn_blocking({
//!     let host = host.clone();
//!     move || host.load(&bytes)
//! })
//! .await??;
//! let call = plugin.reconcile(&request, reads, &Limits::default(), logs).await;
//! println!("{:?}, impure: {}", call.result, call.impure);
//! # Ok(()) }
//! ```
//!
//! | question | module |
//! |---|---|
//! | which plugins are loaded, and what is shared between them | `host` |
//! | is this file a plugin that we can run | `gate`, `imports`, `describe` |
//! | where is compiled code kept | `cache` |
//! | what happens in a call | `call`, `state`, `reads`, `wasi` |
//! | who has an instance, and for how long | `pool`, `warm` |
//! | how long may it run | `meter`, `ticker`, `limits` |
//! | what did it say | `convert`, `outcome`, `failure` |
//! | how is a call made again | `replay` |
//!
//! Every call runs in a fresh instance out of a pool, unless the plugin asks to reuse them (rule A13).
//! Nothing of the engine underneath is part of the public API.

#![deny(unsafe_code)]
#![deny(missing_docs)]

mod bindings;
mod cache;
mod call;
mod convert;
mod describe;
mod digest;
mod engine;
mod error;
mod failure;
mod gate;
mod host;
mod imports;
mod json;
mod limits;
mod meter;
mod outcome;
mod output;
mod pool;
mod reads;
mod replay;
mod state;
mod ticker;
mod warm;
mod wasi;

pub use call::{Call, CallFailure, CallStats};
pub use digest::Digest;
pub use error::PluginError;
pub use host::{HostOptions, Plugin, PluginHost};
pub use imports::KNOWN_VERSIONS;
pub use limits::{LimitKind, Limits};
pub use reads::{BoxFuture, Reads};
pub use replay::{Recorder, Replayed, recorded_result};
pub use state::{LogLevel, Logs};
pub use warm::Warm;
