//! Tests of reconcilers without a host, natively.
//!
//! ```
//! # use setpoint_sdk::prelude::*;
//! # use serde_json::json;
//! # struct Greeter;
//! # impl Reconciler for Greeter {
//! #     type Spec = serde_json::Value;
//! #     type Status = serde_json::Value;
//! #     type Config = NoConfig;
//! #     fn describe() -> Describe<Self> {
//! #         Describe::new("greeter", "0.1.0", Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Greeter"))
//! #             .reads(Read::named::<ConfigMap>())
//! #     }
//! #     fn reconcile(cx: &Context<Self>) -> Result<Outcome<serde_json::Value>, Error> {
//! #         Ok(match cx.get::<ConfigMap>("words")? {
//! #             Some(words) => Outcome::ready(json!({ "text": words.data["hello"] })),
//! #             None => Outcome::ready(json!({})).stalled("NoWords", "ConfigMap words is missing"),
//! #         })
//! #     }
//! # }
//! use setpoint_sdk::testing::TestKit;
//!
//! let kit = TestKit::<Greeter>::new().object_yaml("metadata: {name: a}");
//! kit.run("a").expect_stalled("NoWords");
//!
//! let kit = kit.with(json!({"kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"hello": "Moin"}}));
//! let run = kit.run("a");
//! assert_eq!(run.expect_ready().status()["text"], "Moin");
//! assert_eq!(run.reads()[0].to_string(), "get ConfigMap default/words");
//!
//! // A read that cannot be answered is a retry, never an empty answer.
//! kit.unavailable("ConfigMap").run("a").expect_retry();
//! ```
//!
//! The kit answers as the host would: reads that are not described fail, field masks hide what they
//! hide, lists are paged, and an outcome that the host would refuse fails the test. It does not
//! validate objects against the CRD's schema, and it makes no effects: to see a second call, give
//! the first one's children with [`TestKit::with`].
//!
//! Two more ways to test are files: [`scenarios`] compares what comes of objects in YAML with what is
//! expected there, as `setpoint plugin test` does on the compiled component; [`replay()`] makes the calls
//! again that `setpoint record` recorded.
//!
//! All functions here panic, with a text that says why, as assertions do.

mod answer;
mod check;
mod differ;
mod kit;
mod replay;
mod run;
mod scenario;
mod select;

pub use kit::TestKit;
pub use replay::replay;
pub use run::{LogLine, ReadMade, Run};
pub use scenario::scenarios;

use crate::{Component, Description};

/// The description of a component, as the host gets it: `describe::<(Redis,)>()`, or of several
/// reconcilers `describe::<(Redis, RedisBackup)>()`.
///
/// # Panics
/// If the host would refuse it.
pub fn describe<C: Component>() -> Description {
    let description = match C::description() {
        Ok(description) => description,
        Err(error) => panic!("{error}"),
    };
    for kind in &description.kinds {
        let crd: serde_json::Value = match kind.crd.parse() {
            Ok(crd) => crd,
            Err(error) => panic!("the CRD is no JSON: {error}"),
        };
        let served = crd["spec"]["versions"].as_array().is_some_and(|versions| {
            versions.iter().any(|version| version["name"] == kind.version && version["served"] == true)
        });
        assert!(served, "the CRD does not serve version {}", kind.version);
    }
    for (at, read) in description.reads.iter().enumerate() {
        let twice = description.reads[..at]
            .iter()
            .any(|other| other.kind.group == read.kind.group && other.kind.kind == read.kind.kind);
        assert!(!twice, "{} is read twice: one Read has room for all of it", read.kind.kind);
        for path in read.fields.iter().chain(read.indexes.iter().map(|index| &index.path)) {
            if let Err(problem) = select::Path::parse(path) {
                panic!("read of {}: path {path:?}: {problem}", read.kind.kind);
            }
        }
    }
    description
}

/// The CRD of the only, or first, kind of a component.
///
/// # Panics
/// If the host would refuse the description.
pub fn crd<C: Component>() -> serde_json::Value {
    let description = describe::<C>();
    let crd = description.kinds.first().map(|kind| kind.crd.parse());
    match crd {
        Some(Ok(crd)) => crd,
        other => panic!("the description has no CRD: {other:?}"),
    }
}
