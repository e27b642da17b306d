//! What becomes of a supervised local process (kind `Process`, rule D13).
//!
//! | question | where |
//! |---|---|
//! | what is wanted | [`ProcessSpec`], [`Wanted`] |
//! | with which environment | [`Environment`] |
//! | what is done next, and when | [`Machine`] |
//! | what is shown | [`ProcessStatus`] |
//!
//! The [`Machine`] of one process is told what is wanted and what happened, and answers with
//! [`Action`]s. `host/process` performs them on real processes; it decides nothing. What the machine
//! promises, for any order of events:
//!
//! 1. Never two at once: [`Action::Start`] comes only when everything that an earlier start left
//!    behind is proven gone ([`Event::Cleared`], [`Event::StartFailed`]).
//! 2. A stop ends: the stop signal at once, [`Action::KillGroup`] when the grace has passed.
//! 3. It is never given up and never hammered: ends in a row are retried at a backoff that doubles,
//!    starts that changes of the spec cause come out of the hot-loop bucket of rule C4.
//! 4. A process that just runs costs nothing: no wake-up, no change of status.
//! 5. What is shown is true, and depends on events only, so that the same state is never written twice.

mod environment;
mod machine;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod properties;
mod spec;
mod status;

pub use environment::{Digest, Environment};
pub use machine::{Action, Event, Exit, GONE_BOUND, Machine, Permit, START_BOUND, Wanted};
pub use spec::{Backoff, EnvSource, EnvVar, Limits, ProcessSpec, RestartPolicy, Stdin, Stop, StopSignal};
pub use status::{LastExit, ProcessStatus, ReadyCondition, State};
