//! A teaching example: `ConfigBundle` merges the ConfigMaps that a label selector picks into one.
//!
//! It shows the three things that most reconcilers consist of:
//!
//! - *A tracked list.* [`Context::list`] makes the answer part of what this object depends on. When
//!   a ConfigMap enters, leaves or changes in the list, the bundle is reconciled again. Nothing has to be
//!   watched, mapped or remembered.
//! - *A child.* The merged ConfigMap is returned, not written. The host creates it, corrects it
//!   when somebody edits it, and leaves it alone when it is as it should be.
//! - *Garbage collection.* The children that are returned are all there shall be. When `target` is renamed,
//!   the old one is gone after the new one is there; when the bundle is deleted, so is its child.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use setpoint_sdk::content_hash;
use setpoint_sdk::prelude::*;

/// Which ConfigMaps to merge, and into which.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ConfigBundleSpec {
    /// The ConfigMaps of this namespace that have all of these labels.
    selector: Selector,
    /// Name of the merged ConfigMap. By default that of the bundle.
    target: Option<String>,
    /// Names of ConfigMaps that come first, in this order; the others follow by name.
    #[serde(default)]
    order: Vec<String>,
    /// What happens if two of them have a key with different values.
    #[serde(default)]
    on_conflict: OnConflict,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Selector {
    /// At least one label, as none would pick every ConfigMap there is.
    #[schemars(extend("minProperties" = 1))]
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum OnConflict {
    /// The last value wins.
    #[default]
    Last,
    /// The first value wins.
    First,
    /// Nothing is merged until somebody resolves it.
    Error,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct ConfigBundleStatus {
    /// The ConfigMaps that were merged, in their order.
    sources: Vec<String>,
    /// The number of keys.
    keys: usize,
    /// The keys that have different values in several sources.
    conflicts: Vec<String>,
    /// Changes when the merged content does: an annotation with it makes pods follow.
    hash: String,
}

struct ConfigBundle;

impl Reconciler for ConfigBundle {
    type Spec = ConfigBundleSpec;
    type Status = ConfigBundleStatus;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let kind = Kind::namespaced("examples.setpoint.dev", "v1alpha1", "ConfigBundle")
            .short_name("cb")
            .column("Keys", "integer", ".status.keys")
            .column("Sources", "string", ".status.sources");
        Describe::new("config-bundle", env!("CARGO_PKG_VERSION"), kind)
            // `all`, as they are listed. Of each ConfigMap only `data` is seen (and its labels and
            // owners, which always are): a new annotation on one of 5 000 ConfigMaps costs no call.
            .reads(Read::all::<ConfigMap>().fields([".data"]))
            .writes::<ConfigMap>()
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<ConfigBundleStatus>, Error> {
        let spec = cx.spec();
        let target = spec.target.as_deref().unwrap_or(cx.name());
        if spec.selector.match_labels.is_empty() {
            return Ok(Outcome::without_status().stalled("EmptySelector", "spec.selector.matchLabels needs a label"));
        }

        // If the host cannot answer, `?` ends the call and nothing is changed: a list is never empty
        // because it is unknown.
        let mut sources = cx.list::<ConfigMap>(Query::new().labels(&spec.selector.match_labels))?;
        // What bundles make is never a source, or a bundle could feed on itself or on its neighbour.
        sources.retain(|map| {
            let made = map.metadata.owner_references.iter().any(|owner| owner.kind == "ConfigBundle");
            !made && map.metadata.name != target
        });
        // Lists come in order of names, and the sort is stable.
        let first = |name: &String| spec.order.iter().position(|wanted| wanted == name).unwrap_or(usize::MAX);
        sources.sort_by_key(|map| first(&map.metadata.name));

        let mut merged: BTreeMap<String, String> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for (key, value) in sources.iter().flat_map(|map| &map.data) {
            let differs = merged.get(key).map(|there| there != value);
            if differs == Some(true) && !conflicts.contains(key) {
                conflicts.push(key.clone());
            }
            if differs.is_none() || spec.on_conflict == OnConflict::Last {
                merged.insert(key.clone(), value.clone());
            }
        }

        let status = ConfigBundleStatus {
            sources: sources.iter().map(|map| map.metadata.name.clone()).collect(),
            keys: merged.len(),
            hash: content_hash(&merged)?,
            conflicts,
        };
        if spec.on_conflict == OnConflict::Error && !status.conflicts.is_empty() {
            let message = format!("Sources differ in {}", status.conflicts.join(", "));
            // No word about children: the last good one stays.
            return Ok(Outcome::ready(status).stalled("Conflict", message));
        }
        let outcome = Outcome::ready(status);
        let outcome = if sources.is_empty() {
            outcome.progressing("NoSources", "No ConfigMap has the labels of spec.selector")
        } else {
            outcome
        };
        Ok(outcome.child(Child::of(target, &ConfigMap { data: merged, ..ConfigMap::new() })))
    }
}

setpoint_sdk::export!(ConfigBundle);

#[cfg(test)]
mod tests;
