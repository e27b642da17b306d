//! Supervised local processes (kind `Process`, rule D13): real processes under the machine of
//! [`setpoint_core::process`], which decides everything. This crate knows no objects.
//!
//! ```no_run
//! # use std::{path::Path, sync::Arc, time::Duration};
//! # use setpoint_core::process::{Environment, ProcessSpec};
//! # use setpoint_process::{Keeper, Permission, Supervised, keeper_main};
//! fn main() -> std::process::ExitCode {
//!     // This program is also the keeper of the processes, and what they are before they are themselves.
//!     if let Some(ended) = keeper_main() {
//!         return ended;
//!     }
//!     # let host = async || -> std::io::Result<()> {
//!     let keeper = Keeper::start(&std::env::current_exe()?, ["__keeper"])?;
//!     let process = Supervised::new(&keeper, "default/server");
//!     process.set(Arc::new(ProcessSpec::new("server")), 1, Permission::Run(Environment::default()));
//!     let mut changes = process.changes();
//!     while let Some(status) = changes.next().await {
//!         println!("{:?}: {}", status.state, status.message);
//!     }
//!     process.close(Duration::from_secs(10)).await;
//!     # Ok(()) };
//!     # std::process::ExitCode::SUCCESS
//! }
//! ```
//!
//! | question | module |
//! |---|---|
//! | how is one process looked after | `supervised`, `start` |
//! | who starts it, and ends it when the host is gone | `keeper` |
//! | how does it become the program that was asked for | `launcher` |
//! | which processes belong to it | `survey` |
//! | what does it get of the host's environment | `inherit` |
//! | what did it write | `output` |
//! | how does one speak with it | `mcp` |
//!
//! # What holds
//!
//! - Nothing that was started outlives the host, whatever the host dies of. If it is the keeper that is
//!   killed, what it started is killed as well, but for processes in a group of their own that scrubbed
//!   their environment. If both are killed at once, the processes themselves die, and what they started
//!   does as far as it looks after its parent.
//! - Nothing is started while something of the start before is there: not the process, not its group, not
//!   what it put into a session of its own.
//! - What it writes costs a bounded amount of memory, and is read at a bounded rate.
//! - A process that just runs wakes nobody.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod inherit;
mod keeper;
mod launcher;
mod mcp;
mod output;
mod signals;
mod stamps;
mod start;
mod supervised;
mod survey;
mod wire;

pub use inherit::INHERITED;
pub use keeper::{Keeper, keeper_main};
pub use mcp::{McpInput, McpOutput, McpPipes, McpStarts};
pub use output::{KEPT, LINE_COST, LONGEST_LINE, Line, OutputChanges, Stream};
pub use supervised::{Changes, Permission, Supervised};
