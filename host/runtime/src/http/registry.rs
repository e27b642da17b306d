//! `GET /v1/registry/{cluster}/{group}/{kind}`: what the objects of a kind amount to, once or as it changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use setpoint_core::key::GroupKind;

use super::App;
use super::codes::Code;
use super::error::ApiError;
use super::params::{RegistryPath, RegistryQuery, unknown_kind};
use super::stream::sent;
use crate::registry::{Item, RegistryError, RegistryState, RegistryView, Snapshot};

/// Objects as they are: nobody looks into them here.
type Raw = Box<RawValue>;

/// What is answered, and each event of the stream.
#[derive(Serialize)]
struct RegistryBody<'a> {
    cluster: &'a str,
    group: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    version: u64,
    #[serde(flatten)]
    state: &'a RegistryState,
    count: usize,
    #[serde(serialize_with = "items")]
    items: &'a [Item<Raw>],
}

#[derive(Serialize)]
struct ItemBody<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
    generation: u64,
    object: &'a Raw,
}

fn items<S: Serializer>(items: &&[Item<Raw>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(|item| ItemBody {
        namespace: item.key.namespace.as_deref(),
        name: &item.key.name,
        generation: item.generation,
        object: &item.value,
    }))
}

impl<'a> RegistryBody<'a> {
    fn of(path: &'a RegistryPath, namespace: Option<&'a str>, snapshot: &'a Snapshot<Raw>) -> Self {
        Self {
            cluster: &path.cluster,
            group: &path.kind.group,
            kind: &path.kind.kind,
            namespace,
            version: snapshot.version(),
            state: snapshot.state(),
            count: snapshot.count(),
            items: snapshot.list(),
        }
    }
}

pub(super) async fn registry(
    State(app): State<App>,
    path: RegistryPath,
    headers: HeaderMap,
    RegistryQuery { namespace, watch }: RegistryQuery,
) -> Result<Response, ApiError> {
    let view = open(&app, &path, namespace.as_deref())?;
    if !(watch || wants_stream(&headers)) {
        return Ok(Json(RegistryBody::of(&path, namespace.as_deref(), &view.snapshot())).into_response());
    }
    let event = move |snapshot: Arc<Snapshot<Raw>>| {
        super::stream::event(&RegistryBody::of(&path, namespace.as_deref(), &snapshot))
    };
    let changes = unfold((view.changes(), event), |(mut changes, event)| async move {
        let snapshot = changes.next().await?;
        Some((event(snapshot), (changes, event)))
    });
    Ok(sent(changes, app.stop))
}

fn open(app: &App, path: &RegistryPath, namespace: Option<&str>) -> Result<RegistryView<Raw>, ApiError> {
    let RegistryPath { cluster, kind: GroupKind { group, kind } } = path;
    if !app.handle.knows(&path.kind) {
        return Err(unknown_kind(&path.kind.to_string(), &app.handle));
    }
    app.handle.registry(cluster, group, kind, namespace).map_err(|error| match error {
        RegistryError::ClusterNotFound { .. } => ApiError::new(Code::NotFound, error.to_string()),
        RegistryError::Secret => ApiError::bad_request(error.to_string())
            .hint("`/v1/objects` shows which Secrets there are, and which keys they have"),
    })
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/event-stream")
}

#[cfg(test)]
mod tests {
    use setpoint_core::key::Key;

    use super::*;

    #[test]
    fn a_list_says_its_version_and_that_of_each_item() {
        let path = RegistryPath { cluster: "local".into(), kind: GroupKind::new("g", "K") };
        let object = RawValue::from_string(r#"{"a":1}"#.to_owned()).expect("JSON");
        let item =
            Item { key: Arc::new(Key::new("local", "g", "K", Some("n"), "x")), generation: 3, value: Arc::new(object) };
        let state = RegistryState::Unknown("away".into());
        let items = [item];
        let body = RegistryBody {
            cluster: &path.cluster,
            group: &path.kind.group,
            kind: &path.kind.kind,
            namespace: None,
            version: 4,
            state: &state,
            count: 1,
            items: &items,
        };
        let expected = r#"{"cluster":"local","group":"g","kind":"K","namespace":null,"version":4,"state":"Unknown","reason":"away","count":1,"items":[{"namespace":"n","name":"x","generation":3,"object":{"a":1}}]}"#;
        assert_eq!(serde_json::to_string(&body).expect("it is written"), expected);
    }
}
