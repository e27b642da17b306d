//! Requests that only look.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use setpoint_core::engine::Held;
use setpoint_core::key::{Key, group_word};

use super::App;
use super::codes::Code;
use super::error::{ApiError, PLUGINS};
use super::params::{FilterQuery, KeyPath, refuse, unknown_kind};
use crate::clusters::rows::FleetView;
use crate::handle::Handle;
use crate::metrics;
use crate::views::{FileRow, Filter, KindRow, ObjectView, Overview, PluginRow, Readiness, ReconcileRow, RunRow};

/// Deletions of one plugin that wait for a person (rule B3): one row of `GET /v1/held`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldRow {
    /// What `POST /v1/held/{id}/confirm` takes.
    pub id: String,
    /// The plugin.
    pub plugin: String,
    /// What would be deleted.
    pub deletions: Vec<HeldDeletion>,
    /// Objects that are to be looked at before it is known what would be deleted. Until there are none, nothing
    /// can be confirmed.
    #[serde(default)]
    pub left: usize,
}

/// A deletion that waits, both keys as `cluster/group/kind/namespace/name`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldDeletion {
    /// Whose child it is.
    pub owner: String,
    /// What would be deleted.
    pub child: String,
}

pub(super) async fn healthz() -> &'static str {
    "ok"
}

pub(super) async fn readyz(State(app): State<App>) -> Response {
    readiness_text(&app.handle.readiness()).into_response()
}

/// `ok` or `not ready`, then one line per reason.
fn readiness_text(readiness: &Readiness) -> (StatusCode, String) {
    let (status, word) = match readiness.ready {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let mut text = format!("{word}\n");
    for reason in &readiness.reasons {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{reason}");
    }
    (status, text)
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let text = app.handle.counters().render(&app.handle.metrics());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

pub(super) async fn overview(State(app): State<App>) -> Json<Overview> {
    Json(app.handle.overview())
}

pub(super) async fn reconciles(
    State(app): State<App>,
    FilterQuery(filter): FilterQuery,
) -> Result<Json<Vec<ReconcileRow>>, ApiError> {
    Ok(Json(app.handle.reconciles(&filter)?))
}

pub(super) async fn reconcile(State(app): State<App>, KeyPath(key): KeyPath) -> Result<Json<ReconcileRow>, ApiError> {
    row(&app.handle, &key).map(Json)
}

pub(super) async fn runs(State(app): State<App>, KeyPath(key): KeyPath) -> Result<Json<Vec<RunRow>>, ApiError> {
    row(&app.handle, &key)?;
    Ok(Json(app.handle.runs(&key)))
}

fn row(handle: &Handle, key: &Key) -> Result<ReconcileRow, ApiError> {
    let view = object_of(handle, key)?;
    if let Some(row) = view.reconcile {
        return Ok(row);
    }
    // It may still be listed as waiting for a plugin.
    let filter = Filter {
        cluster: Some(key.cluster.to_string()),
        group: Some(group_word(&key.group).to_owned()),
        kind: Some(key.kind.to_string()),
        namespace: key.namespace.as_deref().map(str::to_owned),
        name: Some(key.name.to_string()),
        ..Filter::default()
    };
    handle.reconciles(&filter)?.pop().ok_or_else(|| not_reconciled(key))
}

pub(super) fn not_reconciled(key: &Key) -> ApiError {
    ApiError::new(Code::NotReconciled, format!("no plugin reconciles {}", key.group_kind())).hint(PLUGINS)
}

/// One object, or an error that says whether the kind or the object is missing.
pub(super) fn object_of(handle: &Handle, key: &Key) -> Result<ObjectView, ApiError> {
    if let Some(view) = handle.object(key) {
        return Ok(view);
    }
    let kinds = handle.kinds();
    let kind = key.group_kind();
    if !kinds.iter().any(|row| row.group == *key.group && row.kind == *key.kind) {
        return Err(unknown_kind(&kind.to_string(), handle));
    }
    Err(ApiError::new(Code::NotFound, format!("there is no {kind} {}", place(key))))
}

fn place(key: &Key) -> String {
    match &key.namespace {
        Some(namespace) => format!("{:?} in namespace {namespace:?} of cluster {:?}", &*key.name, &*key.cluster),
        None => format!("{:?} in cluster {:?}", &*key.name, &*key.cluster),
    }
}

pub(super) async fn objects(
    State(app): State<App>,
    FilterQuery(filter): FilterQuery,
) -> Result<Json<Vec<serde_json::Value>>, ApiError> {
    refuse(&filter, &["state", "plugin"], "ask /v1/reconciles for the state of objects")?;
    Ok(Json(app.handle.objects(&filter)?))
}

pub(super) async fn object(State(app): State<App>, KeyPath(key): KeyPath) -> Result<Json<ObjectView>, ApiError> {
    object_of(&app.handle, &key).map(Json)
}

pub(super) async fn kinds(State(app): State<App>) -> Json<Vec<KindRow>> {
    Json(app.handle.kinds())
}

pub(super) async fn plugins(State(app): State<App>) -> Json<Vec<PluginRow>> {
    Json(app.handle.plugins())
}

pub(super) async fn clusters(State(app): State<App>) -> Json<FleetView> {
    Json(app.handle.clusters())
}

pub(super) async fn files(State(app): State<App>) -> Json<Vec<FileRow>> {
    Json(app.handle.files())
}

pub(super) async fn held(State(app): State<App>) -> Json<Vec<HeldRow>> {
    let deletion =
        |(owner, child): (Arc<Key>, Key)| HeldDeletion { owner: owner.to_string(), child: child.to_string() };
    let row = |held: Held| HeldRow {
        id: held.plugin.to_string(),
        plugin: held.plugin.to_string(),
        deletions: held.children.into_iter().map(deletion).collect(),
        left: held.left,
    };
    Json(app.handle.held().into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_why_not_line_by_line() {
        let readiness = Readiness { ready: false, reasons: vec!["a is not synced yet".into(), "b".into()] };
        let expected = "not ready\na is not synced yet\nb\n".to_owned();
        assert_eq!(readiness_text(&readiness), (StatusCode::SERVICE_UNAVAILABLE, expected));
        let readiness = Readiness { ready: true, reasons: Vec::new() };
        assert_eq!(readiness_text(&readiness), (StatusCode::OK, "ok\n".to_owned()));
    }
}
