//! What the paths and queries of requests say.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use setpoint_core::key::{GroupKind, Key};

use super::error::ApiError;
use crate::views::Filter;

/// The core group in paths.
const CORE: &str = "core";
/// No namespace in paths.
const NO_NAMESPACE: &str = "-";

/// `{cluster}/{group}/{kind}/{namespace}/{name}`
pub(super) struct KeyPath(pub(super) Key);

/// `{group}/{kind}`
pub(super) struct KindPath(pub(super) GroupKind);

/// The query of a list. Unknown parameters are errors: a mistyped filter would select everything.
pub(super) struct FilterQuery(pub(super) Filter);

fn group(text: &str) -> &str {
    if text == CORE { "" } else { text }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((cluster, kind_group, kind, namespace, name)) =
            Path::<(String, String, String, String, String)>::from_request_parts(parts, state)
                .await
                .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let namespace = Some(namespace.as_str()).filter(|namespace| *namespace != NO_NAMESPACE);
        Ok(Self(Key::new(&cluster, group(&kind_group), &kind, namespace, &name)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KindPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((kind_group, kind)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(GroupKind::new(group(&kind_group), &kind)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FilterQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        filter(pairs).map(Self)
    }
}

fn filter(pairs: Vec<(String, String)>) -> Result<Filter, ApiError> {
    let mut filter = Filter::default();
    for (name, value) in pairs {
        let field = match name.as_str() {
            "cluster" => &mut filter.cluster,
            "group" => &mut filter.group,
            "kind" => &mut filter.kind,
            "namespace" => &mut filter.namespace,
            "name" => &mut filter.name,
            "state" => &mut filter.state,
            "plugin" => &mut filter.plugin,
            _ => {
                return Err(ApiError::bad_request(format!("there is no filter {name:?}"))
                    .hint("known are cluster, group, kind, namespace, name, state and plugin"));
            }
        };
        if field.replace(value).is_some() {
            return Err(ApiError::bad_request(format!("the filter {name:?} is given twice")));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_takes_each_parameter_once() {
        let parsed = filter(pairs(&[("kind", "bundle"), ("namespace", "a"), ("state", "Synced")]));
        assert!(parsed.is_ok_and(|filter| {
            (filter.kind.as_deref(), filter.namespace.as_deref(), filter.state.as_deref(), filter.name)
                == (Some("bundle"), Some("a"), Some("Synced"), None)
        }));
        assert!(filter(pairs(&[("kind", "a"), ("kind", "b")])).is_err());
    }

    #[test]
    fn a_mistyped_filter_is_an_error_and_does_not_select_everything() {
        assert!(filter(pairs(&[("namespaces", "a")])).is_err());
    }
}
