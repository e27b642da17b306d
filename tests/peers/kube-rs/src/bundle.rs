//! The kind `ConfigBundle`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};

static GROUP: OnceLock<String> = OnceLock::new();

/// Said once, before anything else is done.
pub(crate) fn set_group(group: String) {
    let _ = GROUP.set(group);
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ConfigBundle {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: ConfigBundleSpec,
    pub(crate) status: Option<ConfigBundleStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigBundleSpec {
    pub(crate) selector: Selector,
    pub(crate) target: Option<String>,
    #[serde(default)]
    pub(crate) order: Vec<String>,
    #[serde(default)]
    pub(crate) on_conflict: OnConflict,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) match_labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnConflict {
    #[default]
    Last,
    First,
    Error,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConfigBundleStatus {
    pub(crate) sources: Vec<String>,
    pub(crate) keys: usize,
    pub(crate) conflicts: Vec<String>,
    pub(crate) hash: String,
    pub(crate) observed_generation: i64,
    pub(crate) conditions: Vec<Condition>,
}

// By hand, as the group is known only when the program runs.
impl Resource for ConfigBundle {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ConfigBundle".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.get().map_or("examples.setpoint.dev", String::as_str).into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "configbundles".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
