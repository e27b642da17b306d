//! A deterministic simulation of the whole of what decides: the engine of `setpoint-core` over the
//! embedded cluster's model as the server, plugins as pure functions, one thread, virtual time, and
//! faults drawn from a seed. It drives the code that ships; there is no second model of any rule.
//!
//! | question | module |
//! |---|---|
//! | which kinds and clusters are there | [`kinds`] |
//! | what is a plugin here, and which ones are played | [`plugin`], [`roster`] |
//! | which programs and endpoints are there, for processes and probes | [`outside`] |
//! | what do the clusters do, and who is told when | [`server`] |
//! | what may go wrong | [`faults`] |
//! | who runs attempts, calls and operations | [`world`] |
//! | what must hold at every step | [`guard`] |
//! | what people do meanwhile | [`people`] |
//! | what must hold in the end | [`settle`] |
//! | how one seed is played | [`scenario`] |
//!
//! Processes and probes are driven by the machines of the core in worlds of their own ([`scenario::play_servers`]), so
//! that seeds of the others play as they always did.
//!
//! `SETPOINT_SEEDS=n` plays so many seeds, `SETPOINT_SEED=n` plays one and prints its trace, with
//! `SETPOINT_OPERATORS=0` without what operators do to plugins, and `SETPOINT_SERVERS_SEED=n` one with processes,
//! `SETPOINT_FLEET_SEED=n` one whose other cluster comes and goes.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod faults;
pub mod guard;
pub mod kinds;
pub mod outside;
pub mod people;
pub mod plugin;
pub mod roster;
pub mod scenario;
pub mod server;
pub mod settle;
pub mod world;
