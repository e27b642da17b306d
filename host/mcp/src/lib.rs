//! Everything of Setpoint that speaks to endpoints, the Model Context Protocol first.
//!
//! | question | module |
//! |---|---|
//! | how do many clients share one server on standard input and output | [`hub`] |
//!
//! Objects are not known here: the host says what to speak to, and performs what follows.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod failure;
pub mod hub;
mod line;
mod message;
mod queue;

pub use failure::Failure;
pub use message::{Id, LONGEST_MESSAGE};
