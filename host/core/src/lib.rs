//! The rules of Setpoint, and nothing else.
//!
//! This crate has no I/O, no async, no clock and no randomness of its own: times come in as
//! [`Time`], objects as [`Object`]s, and what has to be done goes out as [`op::Op`]s. The host
//! performs them; the simulation in `tests/sim` performs them over a fake cluster. There is no
//! second model of any rule.
//!
//! | question | module |
//! |---|---|
//! | what is an object called | [`key`] |
//! | what is an object | [`object`], [`mask`], [`selector`], [`fields`] |
//! | what do plugins and the host say to each other | [`contract`] |
//! | what does a cluster do for the host | [`op`] |
//! | which key is next | [`queue`], [`delay`] |
//! | what is known, and what is watched of it | [`cache`], [`coverage`] |
//! | what depends on what | [`deps`] |
//! | when is a key called, and what became of it | [`engine`] |
//! | what is written, deleted, left alone | [`effects`], [`status`] |
//! | is a file really gone | [`file_proof`] |
//! | when is an endpoint looked at, and how is it | [`probe`] |
//! | when is a kind of a cluster listed and watched | [`reflector`] |
//! | what do the objects of a kind amount to, for who only looks | [`registry`] |
//! | who acts, of several hosts, and on what | [`lease`], [`shards`] |
//! | which clusters take part | [`fleet`] |
//! | what may a plugin do | [`grants`] |
//! | which kinds does the host itself reconcile | [`native`] |
//! | what may be shown | [`sanitize`] |
//! | what becomes of a supervised process | [`process`] |
//! | what was asked and answered, to be asked again | [`recording`] |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod cache;
pub mod contract;
pub mod coverage;
pub mod delay;
pub mod deps;
pub mod effects;
pub mod engine;
pub mod fields;
pub mod file_proof;
pub mod fleet;
pub mod grants;
pub mod key;
pub mod lease;
pub mod mask;
pub mod native;
pub mod object;
pub mod op;
pub mod probe;
pub mod process;
pub mod queue;
pub mod recording;
pub mod reflector;
pub mod registry;
pub mod sanitize;
pub mod selector;
pub mod shards;
pub mod status;

pub use key::{GroupKind, GroupVersionKind, Key, Name};
pub use object::Object;

/// A moment, in milliseconds since an origin that the caller chooses. Only differences count.
pub type Time = u64;
