//! Requests that change something. What they answer with success is durable, or done at once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use setpoint_core::engine::NotHeld;
use setpoint_core::key::{GroupKind, Key, LOCAL};

use super::App;
use super::codes::Code;
use super::error::ApiError;
use super::params::{KeyPath, KindPath, NamePath, known_plugin, unknown_kind};
use super::read::{not_reconciled, object_of};
use crate::clusters::ForgetError;
use crate::handle::ConfirmError;

/// What was done to what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// `triggered`, `paused`, `resumed`, `deleted`, `enabled`, `disabled`, `confirmed`, `forgotten` or `rolled back`.
    pub done: String,
    /// A key as `cluster/group/kind/namespace/name`, a kind as `Kind.group`, or a plugin.
    pub subject: String,
}

fn done(word: &str, subject: impl ToString) -> Json<Done> {
    Json(Done { done: word.to_owned(), subject: subject.to_string() })
}

type Answer = Result<Json<Done>, ApiError>;

pub(super) async fn trigger(
    State(app): State<App>,
    KeyPath(key): KeyPath,
) -> Result<(StatusCode, Json<Done>), ApiError> {
    object_of(&app.handle, &key)?;
    if !app.handle.trigger(&key) {
        return Err(not_reconciled(&key));
    }
    Ok((StatusCode::ACCEPTED, done("triggered", key)))
}

pub(super) async fn pause(State(app): State<App>, KeyPath(key): KeyPath) -> Answer {
    set_paused(&app, &key, true).await
}

pub(super) async fn resume(State(app): State<App>, KeyPath(key): KeyPath) -> Answer {
    set_paused(&app, &key, false).await
}

async fn set_paused(app: &App, key: &Key, paused: bool) -> Answer {
    object_of(&app.handle, key)?;
    app.handle.set_paused(key, paused).await.map_err(|text| ApiError::new(Code::Refused, text))?;
    Ok(done(if paused { "paused" } else { "resumed" }, key))
}

pub(super) async fn delete(State(app): State<App>, KeyPath(key): KeyPath) -> Answer {
    let view = object_of(&app.handle, &key)?;
    if let Some(file) = view.file {
        let message = format!("{key} is defined by the file {file} and would come back");
        return Err(ApiError::new(Code::DefinedByFile, message).hint(format!("delete it from {file}")));
    }
    app.handle.delete(&key).await.map_err(|text| ApiError::new(Code::Refused, text))?;
    Ok(done("deleted", key))
}

/// Gives a cluster up that will never come back (rule B13).
pub(super) async fn forget_cluster(State(app): State<App>, NamePath(name): NamePath) -> Answer {
    match app.handle.forget_cluster(&name).await {
        Ok(_) => Ok(done("forgotten", format!("cluster/{name}"))),
        Err(error @ ForgetError::Unknown(_)) => Err(ApiError::new(Code::NotFound, error.to_string())),
        Err(error @ ForgetError::StillThere(_)) => Err(ApiError::new(Code::Refused, error.to_string())),
        Err(error @ ForgetError::Store(_)) => Err(ApiError::new(Code::Internal, error.to_string())),
    }
}

pub(super) async fn enable(State(app): State<App>, KindPath(kind): KindPath) -> Answer {
    set_enabled(&app, &kind, true).await
}

pub(super) async fn disable(State(app): State<App>, KindPath(kind): KindPath) -> Answer {
    set_enabled(&app, &kind, false).await
}

async fn set_enabled(app: &App, kind: &GroupKind, enabled: bool) -> Answer {
    let kinds = app.handle.kinds();
    if !kinds.iter().any(|row| row.group == *kind.group && row.kind == *kind.kind) {
        return Err(unknown_kind(&kind.to_string(), &app.handle));
    }
    app.handle.set_enabled(kind, enabled).await.map_err(|text| ApiError::new(Code::Internal, text))?;
    Ok(done(if enabled { "enabled" } else { "disabled" }, kind))
}

pub(super) async fn confirm_held(State(app): State<App>, NamePath(plugin): NamePath) -> Answer {
    match app.handle.confirm(&plugin).await {
        Ok(()) => Ok(done("confirmed", plugin)),
        Err(ConfirmError::Store(text)) => Err(ApiError::new(Code::Internal, text)),
        Err(ConfirmError::NotHeld(NotHeld::Nothing)) => {
            Err(ApiError::new(Code::NotFound, format!("no deletions of a plugin {plugin:?} are held"))
                .hint("`setpoint get held` shows what is"))
        }
        Err(ConfirmError::NotHeld(counting @ NotHeld::Counting(_))) => {
            Err(ApiError::new(Code::StillCounting, format!("the plugin {plugin}: {counting}"))
                .hint("`setpoint get held` shows how many are left; confirm when there are none"))
        }
    }
}

pub(super) async fn confirm_resources(State(app): State<App>) -> Answer {
    confirm_files(&app, LOCAL).await
}

/// The same for a directory of the fleet.
pub(super) async fn confirm_resources_of(State(app): State<App>, NamePath(cluster): NamePath) -> Answer {
    confirm_files(&app, &cluster).await
}

async fn confirm_files(app: &App, cluster: &str) -> Answer {
    app.handle.confirm_resources(cluster).await.map_err(|text| ApiError::new(Code::NothingToConfirm, text))?;
    Ok(done("confirmed", "resources"))
}

pub(super) async fn rollback(State(app): State<App>, NamePath(plugin): NamePath) -> Answer {
    known_plugin(&app.handle, &plugin)?;
    app.handle.rollback(&plugin).await.map_err(|text| ApiError::new(Code::RollbackRefused, text))?;
    Ok(done("rolled back", plugin))
}
