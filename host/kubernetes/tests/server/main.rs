//! A connection to a real API server: what it sees, does, and survives.

#![recursion_limit = "512"]

mod alike;
mod connecting;
mod hosts;
mod leases;
mod seeing;
mod support;
mod trouble;
