//! A test double: a reconciler that misbehaves on request, for tests of the host. Never to be shipped.
//!
//! `spec.behaviour` of a `Hostile` says what to do; see [`BEHAVIOURS`] for the list. `HostileFinal`
//! has a finalizer and waits, when it is deleted, for a ConfigMap `NAME-release`.
//!
//! Built with feature `v2` it is the next version of itself: its status says so.

// Natively there is only something to test: what the component exports is built for WebAssembly.
#![cfg_attr(not(any(test, target_family = "wasm")), allow(dead_code))]

mod behaviour;
#[cfg(any(target_family = "wasm", test))]
mod component;
mod variant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use setpoint_sdk::prelude::*;

pub use behaviour::BEHAVIOURS;
pub use variant::VARIANTS;

const GROUP: &str = "examples.setpoint.dev";
const NAME: &str = "hostile";
const VERSION: &str = if cfg!(feature = "v2") { "2.0.0" } else { "1.0.0" };

/// What to do.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct HostileSpec {
    /// What to do.
    behaviour: String,
    /// Echoed in the status, or what the behaviour is about; any JSON.
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    value: Value,
    /// A time in milliseconds.
    millis: Option<u64>,
    /// How often, or how many bytes.
    count: Option<u64>,
    /// ConfigMaps to return as children.
    children: Vec<ChildMap>,
    /// Children to return as they are.
    #[schemars(schema_with = "any_objects")]
    raw_children: Vec<Value>,
}

#[derive(Deserialize, JsonSchema)]
struct ChildMap {
    name: String,
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct HostileStatus {
    /// What came of the behaviour; any JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    value: Value,
    /// Version of the plugin.
    version: String,
}

impl HostileStatus {
    fn of(value: impl Into<Value>) -> Self {
        Self { value: value.into(), version: VERSION.into() }
    }
}

fn any_objects(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}

struct Hostile;

impl Reconciler for Hostile {
    type Spec = HostileSpec;
    type Status = HostileStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let kind = Kind::namespaced(GROUP, "v1alpha1", "Hostile").column("Behaviour", "string", ".spec.behaviour");
        Describe::new(NAME, VERSION, kind)
            .reads(Read::all::<ConfigMap>())
            .reads(Read::named::<Secret>())
            .writes::<ConfigMap>()
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<HostileStatus>, Error> {
        behaviour::perform(cx)
    }
}

/// Waits for a release when it is deleted.
struct HostileFinal;

impl Reconciler for HostileFinal {
    type Spec = HostileSpec;
    type Status = HostileStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        Describe::new(NAME, VERSION, Kind::namespaced(GROUP, "v1alpha1", "HostileFinal"))
            .finalizer()
            .reads(Read::all::<ConfigMap>())
            .writes::<ConfigMap>()
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<HostileStatus>, Error> {
        let outcome =
            Outcome::ready(HostileStatus::of(cx.spec().value.clone())).children(behaviour::children(cx.spec()));
        if !cx.deleting() {
            return Ok(outcome);
        }
        let release = format!("{}-release", cx.name());
        Ok(match cx.get::<ConfigMap>(release.as_str())? {
            Some(_) => outcome.finalized(),
            None => outcome.progressing("WaitingForRelease", format!("ConfigMap {release} is missing")),
        })
    }
}

#[cfg(test)]
mod tests;
