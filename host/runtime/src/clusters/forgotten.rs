//! Clusters that a person has given up (rule B13).

use std::collections::BTreeSet;

use setpoint_core::contract::{Event, EventType, Reason};
use setpoint_core::engine::StillThere;
use setpoint_core::key::Name;
use setpoint_core::op::Op;

use super::Clusters;

/// Bookkeeping: the names of these clusters.
const FORGOTTEN: &str = "forgotten-clusters";

/// Why a cluster is not forgotten.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForgetError {
    /// It takes part.
    #[error(transparent)]
    StillThere(#[from] StillThere),
    /// Nobody has ever heard of it.
    #[error("there is no cluster {0}, and no object has children there")]
    Unknown(String),
    /// The store cannot keep it: nothing was forgotten.
    #[error("{0}")]
    Store(String),
}

impl Clusters {
    fn forgotten(&self) -> BTreeSet<String> {
        let kept = self.local().bookkeeping_get(FORGOTTEN);
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// What was forgotten before the last stop stays so.
    pub(crate) fn restore_forgotten(&self) {
        let forgotten = self.forgotten();
        self.driver.with(|engine, _| engine.restore_forgotten(forgotten.iter().map(|name| Name::from(name.as_str()))));
    }

    /// One that takes part is not forgotten any more.
    pub(super) fn remember(&self, name: &str) {
        let mut forgotten = self.forgotten();
        if forgotten.remove(name) {
            tracing::info!(cluster = name, "it was forgotten, and takes part again: what is there is looked at anew");
            // If this is lost it is found out again at the next start.
            let text = serde_json::to_vec(&forgotten).unwrap_or_default();
            drop(self.local().bookkeeping_put(FORGOTTEN, Some(&text)));
        }
    }

    /// Gives a cluster up: durable when it returns. Answers how many objects may have had children there.
    ///
    /// # Errors
    /// It takes part, nobody has heard of it, or the store cannot keep it.
    pub(crate) async fn forget(&self, name: &str) -> Result<usize, ForgetError> {
        let cluster = Name::from(name);
        let known = self.fleet.get().is_some_and(|fleet| fleet.list().iter().any(|row| row.name == cluster));
        let (there, owners) = self.driver.look(|engine| {
            (engine.clusters().any(|other| *other == cluster), engine.owners_with_children_in(&cluster).len())
        });
        let mut forgotten = self.forgotten();
        if !known && owners == 0 && !there && !forgotten.contains(name) {
            return Err(ForgetError::Unknown(name.to_owned()));
        }
        if !there && forgotten.insert(name.to_owned()) {
            let text = serde_json::to_vec(&forgotten).map_err(|error| ForgetError::Store(error.to_string()))?;
            let kept = self.local().bookkeeping_put(FORGOTTEN, Some(&text)).await;
            kept.map_err(|error| ForgetError::Store(error.to_string()))?;
        }
        let owners = self.driver.with(|engine, now| engine.forget_cluster(now, &cluster))?;
        let message = format!("the cluster {name} was forgotten: children that are left there are nobody's any more");
        for owner in &owners {
            let reason = Reason { code: "ClusterForgotten".into(), message: message.clone() };
            let events = vec![Event { kind: EventType::Warning, reason, regarding: None }];
            let op = Op::RecordEvents { about: owner.clone(), events };
            // Best effort, as all events are (rule B16).
            self.driver.perform_alone(op).await;
        }
        Ok(owners.len())
    }
}
