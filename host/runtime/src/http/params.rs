//! What the paths and queries of requests say.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use setpoint_core::key::{GroupKind, Key, group_of_word};

use super::codes::Code;
use super::error::ApiError;
use crate::config::nearest;
use crate::handle::Handle;
use crate::views::Filter;

/// No namespace in paths.
const NO_NAMESPACE: &str = "-";

/// `{cluster}/{group}/{kind}/{namespace}/{name}`
pub(super) struct KeyPath(pub(super) Key);

/// `{group}/{kind}`
pub(super) struct KindPath(pub(super) GroupKind);

/// `{cluster}/{group}/{kind}`
pub(super) struct RegistryPath {
    pub(super) cluster: String,
    pub(super) kind: GroupKind,
}

/// Which part of a registry is wanted, and whether it is followed.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct RegistryQuery {
    pub(super) namespace: Option<String>,
    pub(super) watch: bool,
}

/// `{name}`, of a plugin.
pub(super) struct NamePath(pub(super) String);

/// The query of a list. Unknown parameters are errors: a mistyped filter would select everything.
pub(super) struct FilterQuery(pub(super) Filter);

/// The query of a recording: a filter, and whether values of Secrets are in it.
pub(super) struct RecordQuery {
    pub(super) filter: Filter,
    pub(super) with_secrets: bool,
}

/// The parameters of a filter.
pub(super) const FILTERS: [&str; 8] = ["cluster", "group", "kind", "namespace", "name", "state", "plugin", "labels"];
const WITH_SECRETS: &str = "with_secrets";
const WATCH: &str = "watch";

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((cluster, kind_group, kind, namespace, name)) =
            Path::<(String, String, String, String, String)>::from_request_parts(parts, state)
                .await
                .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let namespace = Some(namespace.as_str()).filter(|namespace| *namespace != NO_NAMESPACE);
        Ok(Self(Key::new(&cluster, group_of_word(&kind_group), &kind, namespace, &name)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KindPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((kind_group, kind)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(GroupKind::new(group_of_word(&kind_group), &kind)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RegistryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((cluster, kind_group, kind)) = Path::<(String, String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self { cluster, kind: GroupKind::new(group_of_word(&kind_group), &kind) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(name))
    }
}

async fn query<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<(String, String)>, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
        .await
        .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(pairs)
}

impl<S: Send + Sync> FromRequestParts<S> for FilterQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        filter(query(parts, state).await?, &[]).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RegistryQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        registry(query(parts, state).await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RecordQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        record(query(parts, state).await?)
    }
}

fn registry(pairs: Vec<(String, String)>) -> Result<RegistryQuery, ApiError> {
    let (watch, rest) = switch(pairs, WATCH)?;
    let mut namespace = None;
    for (name, value) in rest {
        if name != "namespace" {
            return Err(unknown_of(&name, &["namespace", WATCH]));
        }
        if namespace.replace(value).is_some() {
            return Err(twice(&name));
        }
    }
    Ok(RegistryQuery { namespace, watch })
}

fn record(pairs: Vec<(String, String)>) -> Result<RecordQuery, ApiError> {
    let (with_secrets, rest) = switch(pairs, WITH_SECRETS)?;
    Ok(RecordQuery { filter: filter(rest, &[WITH_SECRETS])?, with_secrets })
}

/// Whether a switch is on, and the other parameters.
fn switch(pairs: Vec<(String, String)>, switch: &str) -> Result<(bool, Vec<(String, String)>), ApiError> {
    let (switches, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == switch);
    let on = match switches.as_slice() {
        [] => false,
        [(_, word)] if word == "true" => true,
        [(_, word)] if word == "false" => false,
        [(_, word)] => {
            return Err(ApiError::bad_request(format!("{switch} is {word:?}, and true or false is expected")));
        }
        _ => return Err(twice(switch)),
    };
    Ok((on, rest))
}

/// `beside`: what else the endpoint takes, for the hint.
fn filter(pairs: Vec<(String, String)>, beside: &[&str]) -> Result<Filter, ApiError> {
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
            "labels" => &mut filter.labels,
            _ => return Err(unknown(&name, beside)),
        };
        if field.replace(value).is_some() {
            return Err(twice(&name));
        }
    }
    Ok(filter)
}

fn unknown(name: &str, beside: &[&str]) -> ApiError {
    unknown_of(name, &[&FILTERS[..], beside].concat())
}

fn unknown_of(name: &str, known: &[&str]) -> ApiError {
    let hint = match nearest(name, known) {
        Some(word) => format!("did you mean {word:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    ApiError::bad_request(format!("there is no parameter {name:?}")).hint(hint)
}

fn twice(name: &str) -> ApiError {
    ApiError::bad_request(format!("the parameter {name:?} is given twice"))
}

/// Refuses parameters that mean nothing for what is asked: passed over, they would select too much.
pub(super) fn refuse(filter: &Filter, names: &[&str], why: &str) -> Result<(), ApiError> {
    let Filter { cluster, group, kind, namespace, name, state, plugin, labels } = filter;
    let given = FILTERS.into_iter().zip([cluster, group, kind, namespace, name, state, plugin, labels]);
    match given.filter(|(_, value)| value.is_some()).find(|(name, _)| names.contains(name)) {
        Some((name, _)) => Err(ApiError::bad_request(format!("{name:?} chooses nothing here")).hint(why)),
        None => Ok(()),
    }
}

/// Refuses a kind that nothing could be of.
pub(super) fn known_kind(handle: &Handle, filter: &Filter) -> Result<(), ApiError> {
    match filter.kind.as_deref().filter(|word| !handle.knows_kind(word)) {
        Some(word) => Err(unknown_kind(word, handle)),
        None => Ok(()),
    }
}

/// Names the kind that was meant, or all there are.
pub(super) fn unknown_kind(kind: &str, handle: &Handle) -> ApiError {
    let kinds = handle.kinds();
    let names: Vec<String> = kinds.iter().map(|row| GroupKind::new(&row.group, &row.kind).to_string()).collect();
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match nearest(kind, &words) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("known are {}", words.join(", ")),
    };
    ApiError::new(Code::KindUnknown, format!("the kind {kind} is not known")).hint(hint)
}

/// Refuses a plugin that was never there.
pub(super) fn known_plugin(handle: &Handle, plugin: &str) -> Result<(), ApiError> {
    let names = handle.logging_plugins();
    if names.iter().any(|name| name == plugin) {
        return Ok(());
    }
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match nearest(plugin, &words) {
        Some(word) => format!("did you mean {word}?"),
        None if words.is_empty() => "no plugin is there".to_owned(),
        None => format!("known are {}", words.join(", ")),
    };
    Err(ApiError::new(Code::PluginUnknown, format!("there is no plugin {plugin:?}")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_takes_each_parameter_once() {
        let parsed = filter(pairs(&[("kind", "bundle"), ("namespace", "a"), ("state", "Synced")]), &[]);
        assert!(parsed.is_ok_and(|filter| {
            (filter.kind.as_deref(), filter.namespace.as_deref(), filter.state.as_deref(), filter.name)
                == (Some("bundle"), Some("a"), Some("Synced"), None)
        }));
        assert!(filter(pairs(&[("kind", "a"), ("kind", "b")]), &[]).is_err());
    }

    #[test]
    fn a_mistyped_filter_is_an_error_and_does_not_select_everything() {
        let refused = filter(pairs(&[("namespaces", "a")]), &[]).map(|_| ());
        let meant = ApiError::bad_request("there is no parameter \"namespaces\"").hint("did you mean \"namespace\"?");
        assert_eq!(refused, Err(meant));
    }

    #[test]
    fn a_parameter_that_would_be_passed_over_is_refused() {
        let asked = Filter { state: Some("Synced".into()), kind: Some("cm".into()), ..Filter::default() };
        assert!(refuse(&asked, &["state"], "why").is_err());
        assert!(refuse(&asked, &["plugin", "labels"], "why").is_ok());
    }

    #[test]
    fn secrets_are_recorded_only_if_that_is_said_plainly() {
        let with = |word: &str| {
            let query = record(pairs(&[("kind", "cm"), ("with_secrets", word)]));
            query.map(|query| query.with_secrets)
        };
        assert_eq!((with("true"), with("false")), (Ok(true), Ok(false)));
        assert!(with("yes").is_err() && with("").is_err());
        assert!(record(Vec::new()).is_ok_and(|query| !query.with_secrets));
        assert!(record(pairs(&[("with_secrets", "true"), ("with_secrets", "false")])).is_err());
        assert!(record(pairs(&[("with_secret", "true")])).is_err());
    }

    #[test]
    fn a_registry_is_of_one_namespace_or_of_all_and_is_followed_only_if_that_is_said() {
        let all = registry(pairs(&[("namespace", "a"), ("watch", "true")]));
        assert_eq!(all, Ok(RegistryQuery { namespace: Some("a".into()), watch: true }));
        assert_eq!(registry(Vec::new()), Ok(RegistryQuery::default()));
        for wrong in [&[("watch", "yes")][..], &[("namespaces", "a")], &[("namespace", "a"), ("namespace", "b")]] {
            assert!(registry(pairs(wrong)).is_err(), "{wrong:?}");
        }
    }
}
