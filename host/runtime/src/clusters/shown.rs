//! Clusters as objects: for each that is offered a `Cluster` in `local`.

use std::time::Duration;

use serde_json::{Map, Value, json};
use setpoint_core::fleet::State;
use setpoint_core::object::Object;
use setpoint_fleet::{ClusterRow, Connection, Fleet};

use super::{Clusters, labels};
use crate::board::{Board, Shown, ShownStatus};

/// What changes at once is written together.
const GATHER: Duration = Duration::from_millis(50);
/// Until a write that was not done is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Clusters {
    /// Keeps the objects as the fleet is, until the task is dropped.
    pub(crate) async fn show(self: std::sync::Arc<Self>, board: Board) {
        let Some(fleet) = self.fleet.get() else { return };
        let mut changes = fleet.subscribe();
        loop {
            changes.borrow_and_update();
            if self.show_all(fleet, &board).await {
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
    async fn show_all(&self, fleet: &Fleet, board: &Board) -> bool {
        let rows = fleet.list();
        // Grants may choose clusters by them.
        self.driver.with(|engine, now| {
            for row in rows.iter().filter(|row| row.connection.is_some()) {
                engine.label_cluster(now, &row.name, labels(&row.labels));
            }
        });
        // What its provider has not said yet may be offered again in a moment: only what it was is known.
        let awaited = |object: &Object| {
            let value = object.value();
            let provider = value.pointer("/spec/provider").and_then(Value::as_str).unwrap_or_default();
            let message = Some("it has not been offered since the host has started".to_owned());
            let unknown = || ShownStatus { state: "Unknown".into(), ready: false, message, more: Map::new() };
            fleet.is_awaited(provider).then(unknown)
        };
        board.show(rows.iter().map(shown).collect(), awaited).await
    }
}

fn shown(row: &ClusterRow) -> Shown {
    let mut more = Map::new();
    let told = [
        ("server", row.connection.as_ref().and_then(Connection::address)),
        ("identity", row.identity.as_deref().map(str::to_owned)),
    ];
    more.extend(told.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
    if !row.namespaces.is_empty() {
        more.insert("namespaces".into(), row.namespaces.iter().map(|namespace| &**namespace).collect());
    }
    Shown {
        name: row.name.to_string(),
        labels: row.labels.clone(),
        spec: json!({"provider": &*row.provider}),
        status: ShownStatus {
            state: row.state.word().to_owned(),
            ready: row.state == State::Engaged,
            message: row.reason.clone(),
            more,
        },
    }
}
