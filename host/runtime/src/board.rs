//! What the host knows as objects in `local`: of each cluster and each plugin one that plugins read and people look at.
//! Nobody else writes them. What moves all the time, such as counts and ages, is in the API and the metrics: an idle host
//! writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use setpoint_cluster::local::Local;
use setpoint_core::key::{GroupKind, Key, LOCAL};
use setpoint_core::native;
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition};
use setpoint_core::sanitize::sanitize;

use crate::clock::rfc3339;
use crate::driver::{Driver, unix_now};

/// One of them as it is to be.
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec: Value,
    pub(crate) status: ShownStatus,
}

/// What its status says.
pub(crate) struct ShownStatus {
    /// A word for how it is doing: the reason of its condition `Ready`, too.
    pub(crate) state: String,
    pub(crate) ready: bool,
    /// Why it is not as it should be.
    pub(crate) message: Option<String>,
    pub(crate) more: Map<String, Value>,
}

/// The objects of one kind.
pub(crate) struct Board {
    driver: Arc<Driver>,
    local: Arc<Local>,
    kind: &'static str,
    /// Field manager.
    manager: Box<str>,
}

impl Board {
    pub(crate) fn new(driver: Arc<Driver>, local: Arc<Local>, kind: &'static str, manager: Box<str>) -> Self {
        Self { driver, local, kind, manager }
    }

    fn key(&self, name: &str) -> Key {
        Key::new(LOCAL, native::GROUP, self.kind, None, name)
    }

    /// Shows these, and no others but those of which `otherwise` says something. Answers whether all is as it should be;
    /// if not, it is to be said again later.
    pub(crate) async fn show(&self, all: Vec<Shown>, otherwise: impl Fn(&Object) -> Option<ShownStatus>) -> bool {
        let mut good = true;
        let mut there = BTreeSet::new();
        for shown in all {
            let key = self.key(&shown.name);
            good &= self.show_one(&key, shown).await;
            there.insert(key);
        }
        for object in self.local.objects(&GroupKind::new(native::GROUP, self.kind)) {
            let key = object.key(&LOCAL.into());
            if there.contains(&key) {
                continue;
            }
            if let Some(status) = otherwise(&object) {
                good &= self.write_status(&key, &object, status).await;
            } else if let Answer::Refused(refusal) = self.local.delete(&key).await {
                tracing::warn!(%key, %refusal, "it is not shown any more, and cannot be deleted");
                good = false;
            }
        }
        good
    }

    async fn show_one(&self, key: &Key, shown: Shown) -> bool {
        let Shown { labels, spec, status, .. } = shown;
        let object = match self.local.object(key) {
            Some(object) if is_as(&object, &spec, &labels) => object,
            before => {
                let version = format!("{}/v1alpha1", native::GROUP);
                let mut document = json!({"apiVersion": version, "kind": self.kind,
                    "metadata": {"name": &*key.name}, "spec": spec});
                if !labels.is_empty() {
                    document["metadata"]["labels"] = json!(labels);
                }
                let op = Op::Apply {
                    key: key.clone(),
                    object: Arc::new(document),
                    manager: self.manager.clone(),
                    force: true,
                    precondition: before.as_deref().map(Precondition::version_of),
                };
                match self.driver.perform_alone(op).await {
                    Answer::Applied { object, .. } => object,
                    answer => {
                        tracing::warn!(%key, ?answer, "it cannot be shown");
                        return false;
                    }
                }
            }
        };
        self.write_status(key, &object, status).await
    }

    async fn write_status(&self, key: &Key, object: &Object, status: ShownStatus) -> bool {
        let status = status.of(object);
        if object.value().get("status") == Some(&status) {
            return true;
        }
        let precondition = Precondition { uid: object.uid().into(), resource_version: None };
        let manager = self.manager.clone();
        let op = Op::ApplyStatus { key: key.clone(), status: Arc::new(status), manager, precondition };
        match self.driver.perform_alone(op).await {
            Answer::Applied { .. } => true,
            answer => {
                tracing::warn!(%key, ?answer, "its state cannot be shown");
                false
            }
        }
    }
}

impl ShownStatus {
    /// The status of an object; the time of its condition moves only with what it says.
    fn of(self, before: &Object) -> Value {
        let ready = if self.ready { "True" } else { "False" };
        let message = self.message.as_deref().map(sanitize);
        let old = before.value();
        let old = old.pointer("/status/conditions/0");
        let since = old.filter(|old| old["status"] == ready).and_then(|old| old["lastTransitionTime"].as_str());
        let since = since.map_or_else(|| rfc3339(unix_now()), str::to_owned);
        let condition = json!({"type": "Ready", "status": ready, "reason": self.state,
            "message": message.clone().unwrap_or_default(), "lastTransitionTime": since});
        let mut status = self.more;
        status.extend(message.map(|message| ("message".to_owned(), message.into())));
        status.insert("state".into(), self.state.into());
        status.insert("observedGeneration".into(), before.generation().into());
        status.insert("conditions".into(), json!([condition]));
        status.into()
    }
}

fn is_as(object: &Object, spec: &Value, labels: &BTreeMap<String, String>) -> bool {
    let value = object.value();
    let there = value.pointer("/metadata/labels").and_then(Value::as_object);
    let count = there.map_or(0, Map::len);
    value.get("spec") == Some(spec) && count == labels.len() && labels.iter().all(|(k, v)| object.label(k) == Some(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_moves_with_what_it_says() {
        let status = |ready| {
            let more = Map::from_iter([("server".to_owned(), "https://x".into())]);
            ShownStatus { state: "Engaged".into(), ready, message: None, more }
        };
        let long_ago = "2020-01-01T00:00:00Z";
        let before = json!({"metadata": {"generation": 3},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": long_ago}]}});
        let before = Object::new(before, None);
        let same = status(true).of(&before);
        assert_eq!(same["conditions"][0]["lastTransitionTime"], long_ago);
        assert_eq!((&same["observedGeneration"], &same["server"]), (&json!(3), &json!("https://x")));
        assert_ne!(status(false).of(&before)["conditions"][0]["lastTransitionTime"], long_ago);
    }
}
