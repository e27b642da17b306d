//! Everything of Setpoint that speaks to endpoints, the Model Context Protocol first.
//!
//! | question | module |
//! |---|---|
//! | how is an endpoint | [`check`] |
//! | how do many clients share one server on standard input and output | [`hub`] |
//! | how are those servers reached over HTTP | [`gateway`] |
//! | what goes over the wire to a remote server | [`http`], [`remote`] |
//!
//! Objects are not known here: the host says what to speak to, and performs what follows.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod check;
mod failure;
pub mod gateway;
mod http;
pub mod hub;
mod line;
mod message;
mod queue;
pub mod remote;

pub use failure::Failure;
pub use http::{Access, SecretHeaders};
pub use message::{Id, LONGEST_MESSAGE};
