//! Write [Setpoint](https://setpoint.dev) reconcilers in Rust.
//!
//! A reconciler looks at one object and says what should be true. It never writes: it returns a
//! status, a readiness and the objects that shall exist (its *children*), and the host makes them
//! so. What it reads is tracked, so that a change of it runs the reconciler again.
//!
//! # A complete plugin
//!
//! ```
//! use setpoint_sdk::prelude::*;
//! use serde::{Deserialize, Serialize};
//! use setpoint_sdk::schemars::JsonSchema;
//!
//! /// What the user asks for.
//! #[derive(Deserialize, JsonSchema)]
//! struct RedisSpec {
//!     #[schemars(range(min = 1, max = 9))]
//!     replicas: u32,
//! }
//!
//! /// What the plugin says about it. `conditions` and `observedGeneration` come from the host.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct RedisStatus {
//!     replicas: u32,
//! }
//!
//! struct Redis;
//!
//! impl Reconciler for Redis {
//!     type Spec = RedisSpec;
//!     type Status = RedisStatus;
//!     type Config = NoConfig;
//!
//!     fn describe() -> Describe<Self> {
//!         Describe::new("redis", "0.1.0", Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Redis"))
//!             .writes::<ConfigMap>()
//!     }
//!
//!     fn reconcile(cx: &Context<Self>) -> Result<Outcome<RedisStatus>, Error> {
//!         let replicas = cx.spec().replicas;
//!         let settings = ConfigMap::new().entry("redis.conf", format!("replicas {replicas}\n"));
//!         Ok(Outcome::ready(RedisStatus { replicas }).child(Child::of(format!("{}-conf", cx.name()), &settings)))
//!     }
//! }
//!
//! setpoint_sdk::export!(Redis);
//!
//! // Tests run natively, without a host:
//! use setpoint_sdk::testing::TestKit;
//! use serde_json::json;
//!
//! let run = TestKit::<Redis>::new().object(json!({"metadata": {"name": "a"}, "spec": {"replicas": 3}})).run("a");
//! run.expect_ready();
//! assert_eq!(run.status().replicas, 3);
//! assert_eq!(run.child("ConfigMap", "a-conf")["data"]["redis.conf"], "replicas 3\n");
//! ```
//!
//! # What an author has to know
//!
//! - *Level-based.* Decide by the object, the configuration and what was read. [`Context::causes`],
//!   [`Context::attempt`] and [`Context::last_error`] are for logs and messages only (rule A6).
//! - *Stateless.* Keep nothing from one call to the next (rule A13).
//! - *Two phases.* The result of a write is seen in the next call: return the child, return
//!   `progressing`, read the child next time (rule A12).
//! - *`None` is proven absence.* A read that the host cannot answer is an error, never an empty
//!   answer; pass it on with `?` and the call is repeated once the answer is known (rule A4).
//! - *Children are the whole set.* Calling [`Outcome::child`] or [`Outcome::children`] says "exactly
//!   these"; calling neither leaves them as they are (rule B10).
//!
//! The plugin's crate needs `serde` (and `schemars` for a derived schema) besides this one, and
//! `crate-type = ["cdylib"]`. It contains no WIT. Build it with
//! `cargo build --release --target wasm32-wasip2`.

mod adapter;
pub mod bindings;
mod context;
mod crd;
mod describe;
mod error;
mod host;
mod merge;
mod name;
mod object;
mod outcome;
mod query;
mod reconciler;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use adapter::{Adapter, Component, Entry};
pub use bindings::setpoint::reconciler::log::Level;
pub use bindings::setpoint::reconciler::types::{Cause, ConditionStatus, Description, EventType, GroupKind, Key};
pub use context::Context;
pub use describe::{Column, Describe, DescribeError, Kind, Read, Tuning};
pub use error::{Error, ResultExt};
pub use host::{Host, IndexMatch, RawPage, RawQuery, ReadError};
pub use name::{content_hash, stable_name};
pub use object::{ConfigMap, Metadata, Object, OwnerReference, Resource, Secret};
pub use outcome::{Child, Condition, Event, Outcome};
pub use query::{ObjectRef, Query};
pub use reconciler::{NoConfig, Reconciler};

pub use {schemars, serde, serde_json};

// What the book shows as complete plugins is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/src/author/recipes.md")]
struct Recipes;

/// What nearly every plugin needs.
pub mod prelude {
    pub use crate::{
        Child, ConfigMap, Context, Describe, Error, Event, Kind, NoConfig, ObjectRef, Outcome, Query, Read, Reconciler,
        Resource, ResultExt, Secret,
    };
}

/// Makes the component of one or several reconcilers: `export!(Redis);` or
/// `export!(Redis, RedisBackup);`. Up to eight kinds; calls are given to the reconciler of the
/// object's group and kind, and their descriptions are merged (see [`Describe`]).
///
/// To be called once in the plugin's crate. On native targets, where tests run, it only checks the types.
#[macro_export]
macro_rules! export {
    ($($reconciler:ty),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code)]
            type SetpointComponent = $crate::Adapter<($($reconciler,)+)>;
            $crate::__export!(SetpointComponent);
        };
    };
}

/// The half of [`export!`] that only exists in guests.
#[doc(hidden)]
#[macro_export]
#[cfg(target_family = "wasm")]
macro_rules! __export {
    ($component:ident) => {
        $crate::bindings::export_component!($component with_types_in $crate::bindings);
    };
}

/// The half of [`export!`] that only exists natively: the imports of a component are not there, so
/// nothing is exported; the types still have to fit.
#[doc(hidden)]
#[macro_export]
#[cfg(not(target_family = "wasm"))]
macro_rules! __export {
    ($component:ident) => {
        const _: fn() -> $crate::Description =
            <$component as $crate::bindings::exports::setpoint::reconciler::guest::Guest>::describe;
    };
}
