//! Clusters as objects: for each that is offered a `Cluster` in `local`, which plugins read and people look at. What
//! moves all the time, such as the age of watches, is in the API and the metrics: an idle fleet writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_core::fleet::State;
use setpoint_core::key::{GroupKind, Key, LOCAL, Name};
use setpoint_core::native;
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition};
use setpoint_core::sanitize::sanitize;
use setpoint_fleet::{ClusterRow, Connection};

use super::{Clusters, labels};
use crate::clock::rfc3339;
use crate::driver::unix_now;

/// What changes at once is written together.
const GATHER: Duration = Duration::from_millis(50);
/// Until a write that was not done is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A cluster as it is to be shown.
struct Shown {
    provider: String,
    labels: BTreeMap<String, String>,
    status: Value,
}

impl Clusters {
    /// Keeps the objects as the fleet is, until the task is dropped.
    pub(crate) async fn show(self: Arc<Self>, manager: Box<str>) {
        let Some(fleet) = self.fleet.get() else { return };
        let mut changes = fleet.subscribe();
        loop {
            changes.borrow_and_update();
            if self.show_all(&manager).await {
                if changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
            } else {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Whether all is as it should be.
    async fn show_all(&self, manager: &str) -> bool {
        let Some(fleet) = self.fleet.get() else { return true };
        let rows = fleet.list();
        // Grants may choose clusters by them.
        self.driver.with(|engine, now| {
            for row in rows.iter().filter(|row| row.connection.is_some()) {
                engine.label_cluster(now, &row.name, labels(&row.labels));
            }
        });
        let mut good = true;
        let mut there = Vec::new();
        for row in &rows {
            let key = key_of(&row.name);
            good &= self.show_one(&key, &self.shown(row), manager).await;
            there.push(key);
        }
        let kind = GroupKind::new(native::GROUP, native::CLUSTER);
        for object in self.local().objects(&kind) {
            let key = object.key(&LOCAL.into());
            if there.contains(&key) {
                continue;
            }
            let value = object.value();
            let provider = value.pointer("/spec/provider").and_then(Value::as_str).unwrap_or_default();
            if fleet.is_awaited(provider) {
                // It may be offered again in a moment: only what it was is known.
                let reason = "it has not been offered since the host has started";
                let status = status(&object, "Unknown", Some(reason), None, None, &[]);
                good &= self.write_status(&key, &object, status, manager).await;
            } else if let Answer::Refused(refusal) = self.local().delete(&key).await {
                tracing::warn!(%key, %refusal, "it is not shown any more, and cannot be deleted");
                good = false;
            }
        }
        good
    }

    fn shown(&self, row: &ClusterRow) -> Shown {
        let server = row.connection.as_ref().and_then(Connection::address);
        let nothing = Object::new(json!({"metadata": {"generation": 1}}), None);
        let key = key_of(&row.name);
        let before = self.local().object(&key).unwrap_or_else(|| Arc::new(nothing));
        let (state, identity) = (row.state.word(), row.identity.as_deref());
        let status = status(&before, state, row.reason.as_deref(), server.as_deref(), identity, &row.namespaces);
        Shown { provider: row.provider.to_string(), labels: row.labels.clone(), status }
    }

    async fn show_one(&self, key: &Key, shown: &Shown, manager: &str) -> bool {
        let spec = json!({"provider": shown.provider});
        let object = match self.local().object(key) {
            Some(object) if is_as(&object, &spec, &shown.labels) => object,
            before => {
                let version = format!("{}/v1alpha1", native::GROUP);
                let mut document = json!({"apiVersion": version, "kind": native::CLUSTER,
                    "metadata": {"name": &*key.name}, "spec": spec});
                if !shown.labels.is_empty() {
                    document["metadata"]["labels"] = json!(shown.labels);
                }
                let op = Op::Apply {
                    key: key.clone(),
                    object: Arc::new(document),
                    manager: manager.into(),
                    force: true,
                    precondition: before.as_deref().map(Precondition::version_of),
                };
                match self.driver.perform_alone(op).await {
                    Answer::Applied { object, .. } => object,
                    answer => {
                        tracing::warn!(%key, ?answer, "the cluster cannot be shown");
                        return false;
                    }
                }
            }
        };
        self.write_status(key, &object, shown.status.clone(), manager).await
    }

    async fn write_status(&self, key: &Key, object: &Object, status: Value, manager: &str) -> bool {
        if object.value().get("status") == Some(&status) {
            return true;
        }
        let precondition = Precondition { uid: object.uid().into(), resource_version: None };
        let op = Op::ApplyStatus { key: key.clone(), status: Arc::new(status), manager: manager.into(), precondition };
        match self.driver.perform_alone(op).await {
            Answer::Applied { .. } => true,
            answer => {
                tracing::warn!(%key, ?answer, "the state of the cluster cannot be shown");
                false
            }
        }
    }
}

fn key_of(name: &Name) -> Key {
    Key::new(LOCAL, native::GROUP, native::CLUSTER, None, name)
}

fn is_as(object: &Object, spec: &Value, labels: &BTreeMap<String, String>) -> bool {
    let value = object.value();
    let there = value.pointer("/metadata/labels").and_then(Value::as_object);
    let count = there.map_or(0, serde_json::Map::len);
    value.get("spec") == Some(spec) && count == labels.len() && labels.iter().all(|(k, v)| object.label(k) == Some(v))
}

/// The status of a cluster; the time of its condition moves only with what it says.
fn status(
    before: &Object,
    state: &str,
    reason: Option<&str>,
    server: Option<&str>,
    identity: Option<&str>,
    namespaces: &[Name],
) -> Value {
    let ready = if state == State::Engaged.word() { "True" } else { "False" };
    let reason = reason.map(sanitize);
    let old = before.value();
    let old = old.pointer("/status/conditions/0");
    let since = old.filter(|old| old["status"] == ready).and_then(|old| old["lastTransitionTime"].as_str());
    let since = since.map_or_else(|| rfc3339(unix_now()), str::to_owned);
    let mut status = json!({"state": state, "observedGeneration": before.generation(), "conditions": [{"type": "Ready",
        "status": ready, "reason": state, "message": reason.clone().unwrap_or_default(), "lastTransitionTime": since}]});
    let told = [("message", reason.as_deref()), ("server", server), ("identity", identity)];
    for (name, text) in told {
        if let Some(text) = text {
            status[name] = text.into();
        }
    }
    if !namespaces.is_empty() {
        status["namespaces"] = namespaces.iter().map(|namespace| &**namespace).collect();
    }
    status
}
