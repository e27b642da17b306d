//! Between the generated types of the contract and `setpoint_core::contract`. What has no meaning,
//! such as a key without a name, is refused on the way in.

use setpoint_core::contract::{
    Capability, Cause, Child, Condition, ConditionStatus, Event, EventType, Failure, ListQuery, MAX_CAUSES, Outcome,
    ReadError, ReadKind, ReadScope, Readiness, Reason, Request, Tuning, Update,
};
use setpoint_core::{GroupKind, GroupVersionKind, Key, Name};

use crate::bindings::{objects, types};
use crate::limits::{LONGEST_WAIT, MAX_FAILURE_TEXT, cut};

/// The causes of a request, as the contract writes them.
pub(crate) fn causes(causes: &[Cause]) -> Vec<types::Cause<'_>> {
    causes.iter().take(MAX_CAUSES).map(cause).collect()
}

fn cause(cause: &Cause) -> types::Cause<'_> {
    match cause {
        Cause::Dependency(key) => types::Cause::Dependency(key_param(key)),
        Cause::Created => types::Cause::Created,
        Cause::Changed => types::Cause::Changed,
        Cause::Deleted => types::Cause::Deleted,
        Cause::Retry => types::Cause::Retry,
        Cause::Requeue => types::Cause::Requeue,
        Cause::Resync => types::Cause::Resync,
        Cause::Manual => types::Cause::Manual,
        Cause::Upgraded => types::Cause::Upgraded,
        Cause::Configured => types::Cause::Configured,
    }
}

/// A request, without a copy of its texts.
pub(crate) fn request<'a>(request: &'a Request, causes: &'a [types::Cause<'a>]) -> types::Request<'a> {
    types::Request {
        key: key_param(&request.key),
        object: &request.object,
        deleting: request.deleting,
        attempt: request.attempt,
        last_error: request.last_error.as_deref(),
        causes,
        config: &request.config,
        extra: &[],
    }
}

fn key_param(key: &Key) -> types::KeyParam<'_> {
    types::KeyParam {
        cluster: &key.cluster,
        group: &key.group,
        kind: &key.kind,
        namespace: key.namespace.as_deref(),
        name: &key.name,
    }
}

/// A key that a plugin names.
///
/// # Errors
/// Which part is empty that must not be.
pub(crate) fn key(key: &types::KeyResult) -> Result<Key, String> {
    for (part, text) in [("cluster", &key.cluster), ("kind", &key.kind), ("name", &key.name)] {
        if text.is_empty() {
            return Err(format!("the {part} of the key is empty"));
        }
    }
    if key.namespace.as_deref() == Some("") {
        return Err("the namespace of the key is empty; objects without a namespace have none".to_owned());
    }
    Ok(Key::new(&key.cluster, &key.group, &key.kind, key.namespace.as_deref(), &key.name))
}

/// What a list asks for, paging aside. An empty selector is none, so that one question has one form.
pub(crate) fn list_query(query: &objects::Query, cluster: &Name) -> Result<ListQuery, String> {
    let cluster = match query.cluster.as_deref() {
        None => cluster.clone(),
        Some("") => return Err("the cluster of the query is empty".to_owned()),
        Some(name) => name.into(),
    };
    if query.kind.kind.is_empty() {
        return Err("the kind of the query is empty".to_owned());
    }
    if query.namespace.as_deref() == Some("") {
        return Err("the namespace of the query is empty; none stands for all that were granted".to_owned());
    }
    Ok(ListQuery {
        cluster,
        kind: GroupKind::new(&query.kind.group, &query.kind.kind),
        namespace: query.namespace.as_deref().map(Name::from),
        labels: query.labels.clone().filter(|labels| !labels.trim().is_empty()),
        index: query.index.as_ref().map(|index| (index.index.clone(), index.value.clone())),
    })
}

/// Why a read has no answer.
pub(crate) fn read_error(error: ReadError) -> objects::ReadError {
    match error {
        ReadError::NotDescribed(text) => objects::ReadError::NotDescribed(text),
        ReadError::NotGranted(text) => objects::ReadError::NotGranted(text),
        ReadError::Unavailable(text) => objects::ReadError::Unavailable(text),
        ReadError::Invalid(text) => objects::ReadError::Invalid(text),
        ReadError::LimitExceeded(text) => objects::ReadError::LimitExceeded(text),
    }
}

/// An outcome whose limits were checked.
///
/// # Errors
/// What in it has no meaning.
pub(crate) fn outcome(outcome: types::Outcome) -> Result<Outcome, String> {
    let mut events = Vec::with_capacity(outcome.events.len());
    for event in outcome.events {
        let regarding = match &event.regarding {
            None => None,
            Some(regarding) => Some(key(regarding).map_err(|error| format!("event {}: {error}", event.reason.code))?),
        };
        let kind = match event.type_ {
            types::EventType::Normal => EventType::Normal,
            types::EventType::Warning => EventType::Warning,
        };
        events.push(Event { kind, reason: reason(event.reason), regarding });
    }
    let child = |child: types::Child| Child {
        cluster: child.cluster,
        object: child.object,
        update: match child.update {
            types::Update::InPlace => Update::InPlace,
            types::Update::Recreate => Update::Recreate,
        },
    };
    Ok(Outcome {
        status: outcome.status,
        readiness: match outcome.readiness {
            types::Readiness::Ready => Readiness::Ready,
            types::Readiness::Progressing(why) => Readiness::Progressing(reason(why)),
            types::Readiness::Stalled(why) => Readiness::Stalled(reason(why)),
        },
        conditions: outcome.conditions.into_iter().map(condition).collect(),
        children: outcome.children.map(|children| children.into_iter().map(child).collect()),
        events,
        requeue_after: outcome.requeue_after.map(|wait| wait.min(LONGEST_WAIT)),
        finalized: outcome.finalized,
    })
}

fn reason(reason: types::Reason) -> Reason {
    Reason { code: reason.code, message: reason.message }
}

fn condition(condition: types::Condition) -> Condition {
    Condition {
        kind: condition.type_,
        status: match condition.status {
            types::ConditionStatus::True => ConditionStatus::True,
            types::ConditionStatus::False => ConditionStatus::False,
            types::ConditionStatus::Unknown => ConditionStatus::Unknown,
        },
        reason: reason(condition.reason),
    }
}

/// A failure; its text is cut at 4 KiB.
pub(crate) fn failure(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Retry(text) => Failure::Retry(cut(text, MAX_FAILURE_TEXT)),
        types::Failure::RetryAfter((text, wait)) => {
            Failure::RetryAfter(cut(text, MAX_FAILURE_TEXT), wait.min(LONGEST_WAIT))
        }
        types::Failure::Permanent(text) => Failure::Permanent(cut(text, MAX_FAILURE_TEXT)),
    }
}

/// A kind in a version.
pub(crate) fn kind(kind: &types::GroupVersionKind) -> GroupVersionKind {
    GroupVersionKind::new(&kind.group, &kind.version, &kind.kind)
}

/// A kind that is read.
pub(crate) fn read_kind(read: types::ReadKind) -> ReadKind {
    ReadKind {
        kind: kind(&read.kind),
        scope: match read.scope {
            types::ReadScope::Named => ReadScope::Named,
            types::ReadScope::All => ReadScope::All,
        },
        fields: read.fields,
        indexes: read.indexes.into_iter().map(|index| (index.name, index.path)).collect(),
    }
}

/// A capability that is asked for.
pub(crate) fn capability(capability: types::Capability) -> Capability {
    match capability {
        types::Capability::Process => Capability::Process,
        types::Capability::Http(host) => Capability::Http(host),
    }
}

/// The plugin's defaults.
pub(crate) fn tuning(tuning: &types::Tuning) -> Tuning {
    Tuning {
        resync: tuning.resync,
        resync_always: tuning.resync_always,
        concurrency: tuning.concurrency,
        timeout: tuning.timeout,
        first_backoff: tuning.first_backoff,
        longest_backoff: tuning.longest_backoff,
        memory_bytes: tuning.memory_bytes,
        warm_calls: tuning.warm_calls,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn wire_key(cluster: &str, kind: &str, namespace: Option<&str>, name: &str) -> types::KeyResult {
        types::KeyResult {
            cluster: cluster.into(),
            group: String::new(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    #[test]
    fn a_key_with_an_empty_part_is_refused_by_the_name_of_the_part() {
        let whole = key(&wire_key("local", "ConfigMap", Some("default"), "a"));
        assert_eq!(whole, Ok(Key::new("local", "", "ConfigMap", Some("default"), "a")));
        for (wrong, part) in [
            (wire_key("", "ConfigMap", None, "a"), "cluster"),
            (wire_key("local", "", None, "a"), "kind"),
            (wire_key("local", "ConfigMap", Some(""), "a"), "namespace"),
            (wire_key("local", "ConfigMap", None, ""), "name"),
        ] {
            assert!(key(&wrong).expect_err("refused").contains(part));
        }
    }

    #[test]
    fn at_most_sixteen_causes_go_with_a_request_and_its_texts_are_not_copied() {
        let asked = Request {
            key: Arc::new(Key::new("local", "g", "K", Some("default"), "n")),
            object: "{}".into(),
            deleting: true,
            attempt: 3,
            last_error: Some("no".into()),
            causes: (0..20).map(|_| Cause::Resync).collect(),
            config: "{\"a\":1}".into(),
        };
        let causes = causes(&asked.causes);
        let wire = request(&asked, &causes);
        assert_eq!(wire.causes.len(), MAX_CAUSES);
        assert!(std::ptr::eq(wire.object, &*asked.object));
        assert_eq!((wire.deleting, wire.attempt, wire.last_error, wire.config), (true, 3, Some("no"), "{\"a\":1}"));
        assert_eq!(wire.key.namespace, Some("default"));
    }

    #[test]
    fn a_query_has_one_form_for_one_question() {
        let query = |labels: Option<&str>| objects::Query {
            cluster: None,
            kind: types::GroupKind { group: String::new(), kind: "Pod".into() },
            namespace: None,
            labels: labels.map(Into::into),
            index: None,
            limit: Some(5),
            continue_: None,
        };
        let home = Name::from("hub");
        let plain = list_query(&query(None), &home).expect("right");
        assert_eq!(&*plain.cluster, "hub");
        assert_eq!(list_query(&query(Some(" ")), &home), Ok(plain));
        let mut wrong = query(None);
        wrong.namespace = Some(String::new());
        assert!(list_query(&wrong, &home).is_err());
    }

    #[test]
    fn texts_of_failures_and_waits_have_an_end() {
        let long = "é".repeat(5000);
        let Failure::RetryAfter(text, wait) = failure(types::Failure::RetryAfter((long, u64::MAX))) else {
            panic!("another failure")
        };
        assert_eq!((text.len(), wait), (MAX_FAILURE_TEXT + '…'.len_utf8(), LONGEST_WAIT));
    }
}
