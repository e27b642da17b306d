//! Requests with a body that says which objects are meant.

use axum::Json;
use axum::extract::State;

use super::App;
use super::body::JsonBody;
use super::error::ApiError;
use super::params::{known_kind, refuse};
use crate::views::{PlanRequest, PlanRow, ReleaseRequest, Released};

/// Neither is a property of an object.
const ROWS_ONLY: [&str; 2] = ["state", "plugin"];
const HINT: &str = "choose objects by kind, group, namespace, name and labels";

pub(super) async fn plan(
    State(app): State<App>,
    JsonBody(request): JsonBody<PlanRequest>,
) -> Result<Json<Vec<PlanRow>>, ApiError> {
    refuse(&request.filter, &ROWS_ONLY, HINT)?;
    known_kind(&app.handle, &request.filter)?;
    Ok(Json(app.handle.plan(&request).await?))
}

pub(super) async fn release(
    State(app): State<App>,
    JsonBody(request): JsonBody<ReleaseRequest>,
) -> Result<Json<Released>, ApiError> {
    refuse(&request.filter, &ROWS_ONLY, HINT)?;
    known_kind(&app.handle, &request.filter)?;
    Ok(Json(app.handle.release(&request).await?))
}
