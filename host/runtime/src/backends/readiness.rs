//! Whether a registry can be relied upon: it is filled, and what it was filled from is watched.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use setpoint_core::key::LOCAL;

use super::{Backend, GROUP};
use crate::handle::Handle;
use crate::registry::{RegistryError, RegistryState, RegistryView};
use crate::views::Readiness;

/// Between looks at watches, which tell nobody when they stall.
const LOOK: Duration = Duration::from_millis(250);

/// Says whether the registry is filled and the watches live. Cheap to clone; it keeps nothing running.
#[derive(Clone)]
pub struct ReadinessHandle {
    handle: Handle,
    backends: RegistryView<Backend>,
    registries: RegistryView<Registry>,
    namespace: String,
    name: String,
}

impl fmt::Debug for ReadinessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadinessHandle({}/{})", self.namespace, self.name)
    }
}

/// The object that stands for the registry, as far as it matters.
#[derive(Deserialize)]
struct Registry {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
    #[serde(default)]
    message: String,
}

/// It was not ready in time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the registry is not ready: {}", reasons.join("; "))]
pub struct NotReady {
    /// Why not, line by line.
    pub reasons: Vec<String>,
}

impl ReadinessHandle {
    pub(super) fn new(
        handle: Handle,
        backends: RegistryView<Backend>,
        namespace: &str,
        name: &str,
    ) -> Result<Self, RegistryError> {
        let registries = handle.registry(LOCAL, GROUP, "BackendRegistry", Some(namespace))?;
        Ok(Self { handle, backends, registries, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Whether it is ready now, and why not. It may stop being so: when a watch is lost, or a source cannot be read.
    /// What is known stays in the registry meanwhile.
    pub fn now(&self) -> Readiness {
        let Readiness { mut ready, mut reasons } = self.handle.readiness();
        let mut not = |reason: String| {
            ready = false;
            reasons.push(reason);
        };
        match self.registries.get(Some(&self.namespace), &self.name) {
            None => not("the registry is not looked at yet".to_owned()),
            Some(registry) => {
                if let Some(reason) = unfilled(&registry.value) {
                    not(reason);
                }
            }
        }
        match self.backends.state() {
            RegistryState::Live => {}
            RegistryState::Filling => not("the backends are not known yet".to_owned()),
            RegistryState::Unknown(reason) => not(reason),
        }
        Readiness { ready, reasons }
    }

    /// Whether it is ready now.
    pub fn is_ready(&self) -> bool {
        self.now().ready
    }

    /// Returns as soon as it is ready.
    ///
    /// # Errors
    /// It was not within so long, and why.
    pub async fn ready_within(&self, patience: Duration) -> Result<(), NotReady> {
        let until = tokio::time::Instant::now() + patience;
        let mut changes = self.registries.changes();
        loop {
            let Readiness { ready, reasons } = self.now();
            if ready {
                return Ok(());
            }
            let now = tokio::time::Instant::now();
            if now >= until {
                return Err(NotReady { reasons });
            }
            // What the registry says is heard of; watches have to be looked at.
            let pause = tokio::time::timeout_at(until.min(now + LOOK), changes.next());
            if let Ok(None) = pause.await {
                return Err(NotReady { reasons: vec!["it has stopped".to_owned()] });
            }
        }
    }
}

/// Why the registry is not filled, if it is not.
fn unfilled(registry: &Registry) -> Option<String> {
    let Registry { metadata, status } = registry;
    if status.observed_generation.is_none_or(|seen| seen < metadata.generation) {
        return Some("the registry was not looked at as it is".to_owned());
    }
    match status.conditions.iter().find(|condition| condition.name == "Ready") {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(condition.message.clone()),
        None => Some("the registry was not looked at yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_registry_is_filled_when_it_says_so_of_what_it_is_now() {
        let of = |seen: i64, ready: &str| {
            let object = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": seen,
                "conditions": [{"type": "Ready", "status": ready, "message": "Not every backend"}]}});
            unfilled(&serde_json::from_value(object).expect("it is one"))
        };
        assert_eq!(of(2, "True"), None);
        assert_eq!(of(2, "False").as_deref(), Some("Not every backend"));
        assert!(of(1, "True").is_some());
        let new = serde_json::from_value(json!({"metadata": {}})).expect("it is one");
        assert!(unfilled(&new).is_some());
    }
}
