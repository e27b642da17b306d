//! What a failed request means to the rules: which refusal it is (rules B6 to B8, B10, B15, D7).

use setpoint_core::op::Refusal;

use crate::failure::Failure;
use crate::rights::Asked;
use crate::status::ApiStatus;

/// What the request was for, as far as its refusal is judged by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// To read.
    Read,
    /// To make an object that is not there.
    Create,
    /// To change or delete an object that is there, at a version.
    Change,
}

/// The refusal that a failure is.
pub(crate) fn refusal(failure: &Failure, asked: &Asked<'_>, purpose: Purpose) -> Refusal {
    match failure {
        Failure::Status(status) => refused(status, asked, purpose),
        // Nothing of these was sent.
        Failure::Unreachable(_) | Failure::Certificate(_) | Failure::Credentials(_) => {
            Refusal::Unknown(failure.to_string())
        }
        Failure::NoAnswer(_) | Failure::Garbled(_) | Failure::Throttled(_) | Failure::NotHolder => {
            Refusal::Transient(failure.to_string())
        }
    }
}

fn refused(status: &ApiStatus, asked: &Asked<'_>, purpose: Purpose) -> Refusal {
    let text = status.text();
    match status.code {
        401 => Refusal::Unknown(format!("the API server does not accept the host's credentials: {text}")),
        403 if text.contains(" cannot impersonate ") => {
            Refusal::Forbidden(asked.acts_as.map_or(text, |account| asked.not_as(account)))
        }
        403 if status.is_missing_right() => Refusal::Forbidden(asked.forbidden()),
        // Its definition is being deleted: the kind is as good as gone.
        403 if text.contains("custom resource definition is terminating") => {
            Refusal::UnknownKind(asked.resource.kind.group_kind().to_string())
        }
        403 if status.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating") => {
            Refusal::Transient(text)
        }
        // A quota, a policy.
        403 => Refusal::Forbidden(text),
        404 => not_found(status, asked, purpose, text),
        405 => Refusal::UnknownKind(asked.resource.kind.group_kind().to_string()),
        409 => conflict(status, text),
        410 => Refusal::Transient(text),
        400 | 406 | 413 | 415 | 422 => invalid(status, purpose, text),
        500.. if is_final(&text) => Refusal::Invalid(text),
        _ => Refusal::Transient(text),
    }
}

fn not_found(status: &ApiStatus, asked: &Asked<'_>, purpose: Purpose, text: String) -> Refusal {
    let details = &status.details;
    if details.kind == "namespaces" && asked.resource.plural != "namespaces" {
        // It may come; nobody watches it.
        return Refusal::Transient(text);
    }
    // A server that knows the resource names the object that it has not found.
    if details.name.is_empty() || details.kind != asked.resource.plural {
        return Refusal::UnknownKind(asked.resource.kind.group_kind().to_string());
    }
    match purpose {
        Purpose::Change => Refusal::VersionConflict(format!("{text}: it does not exist any more")),
        Purpose::Read | Purpose::Create => Refusal::Transient(text),
    }
}

fn conflict(status: &ApiStatus, text: String) -> Refusal {
    let causes = &status.details.causes;
    let claimed: Vec<_> = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict").collect();
    if claimed.is_empty() {
        return Refusal::VersionConflict(text);
    }
    let mut managers: Vec<String> = claimed.iter().map(|cause| manager_in(&cause.message)).collect();
    let mut fields: Vec<String> = claimed.iter().map(|cause| cause.field.trim_start_matches('.').to_owned()).collect();
    for list in [&mut managers, &mut fields] {
        list.sort();
        list.dedup();
    }
    Refusal::ManagerConflict { managers, fields }
}

/// The manager that a message such as `conflict with "kubectl-edit" using v1` names.
fn manager_in(message: &str) -> String {
    let named = message.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
    named.map_or_else(|| message.to_owned(), |(manager, _)| manager.to_owned())
}

fn invalid(status: &ApiStatus, purpose: Purpose, text: String) -> Refusal {
    let causes = &status.details.causes;
    // The precondition of an apply: another object has the name by now.
    if causes.iter().any(|cause| cause.field == "metadata.uid") {
        return Refusal::VersionConflict(text);
    }
    let frozen = |message: &str| message.to_lowercase().contains("immutable");
    // Deleting and making it anew helps only if nothing else is wrong (rule B10).
    let all_frozen = if causes.is_empty() { frozen(&text) } else { causes.iter().all(|cause| frozen(&cause.message)) };
    if purpose == Purpose::Change && all_frozen { Refusal::Immutable(text) } else { Refusal::Invalid(text) }
}

/// Whether an internal error of the server is one of the object, which no waiting mends.
fn is_final(text: &str) -> bool {
    let known = [
        "request is too large",
        "ResourceExhausted",
        "failed to create typed patch object",
        "field not declared in schema",
    ];
    known.iter().any(|known| text.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use setpoint_core::key::GroupVersionKind;

    fn judge(code: u16, body: &str, purpose: Purpose) -> Refusal {
        let resource = Resource {
            kind: GroupVersionKind::new("", "v1", "ConfigMap"),
            plural: "configmaps".into(),
            namespaced: true,
            status: false,
        };
        let asked = Asked::within(&resource, (Some("d"), Some("a")), &["patch"]);
        let failure = Failure::Status(Box::new(ApiStatus::read(code, None, body.as_bytes())));
        refusal(&failure, &asked, purpose)
    }

    fn status(code: u16, reason: &str, message: &str, details: &str) -> String {
        format!(r#"{{"kind":"Status","code":{code},"reason":"{reason}","message":"{message}","details":{details}}}"#)
    }

    #[test]
    fn a_conflict_of_managers_is_told_from_one_of_versions() {
        let details = r#"{"causes":[
            {"reason":"FieldManagerConflict","message":"conflict with \"kubectl-edit\" using v1","field":".data.b"},
            {"reason":"FieldManagerConflict","message":"conflict with \"helm\" with subresource \"status\"","field":".data.a"}]}"#;
        assert_eq!(
            judge(409, &status(409, "Conflict", "Apply failed", details), Purpose::Change),
            Refusal::ManagerConflict {
                managers: vec!["helm".into(), "kubectl-edit".into()],
                fields: vec!["data.a".into(), "data.b".into()]
            }
        );
        let moved = judge(409, &status(409, "Conflict", "the object has been modified", "{}"), Purpose::Change);
        assert!(matches!(moved, Refusal::VersionConflict(_)));
    }

    #[test]
    fn what_is_not_found_is_an_object_a_namespace_or_a_kind() {
        let object = status(404, "NotFound", "configmaps a not found", r#"{"name":"a","kind":"configmaps"}"#);
        assert!(matches!(judge(404, &object, Purpose::Change), Refusal::VersionConflict(_)));
        let namespace = status(404, "NotFound", "namespaces d not found", r#"{"name":"d","kind":"namespaces"}"#);
        assert!(matches!(judge(404, &namespace, Purpose::Create), Refusal::Transient(_)));
        let kind = status(404, "NotFound", "the server could not find the requested resource", "{}");
        assert!(matches!(judge(404, &kind, Purpose::Create), Refusal::UnknownKind(_)));
        assert!(matches!(judge(404, "404 page not found", Purpose::Read), Refusal::UnknownKind(_)));
    }

    #[test]
    fn a_missing_right_names_the_rule_and_a_quota_speaks_for_itself() {
        let right =
            status(403, "Forbidden", "configmaps a is forbidden: User u cannot patch resource configmaps", "{}");
        let Refusal::Forbidden(text) = judge(403, &right, Purpose::Change) else { panic!("forbidden") };
        assert!(text.contains(r#""verbs":["patch"]"#), "{text}");
        let quota = status(403, "Forbidden", "configmaps a is forbidden: exceeded quota: objects", "{}");
        assert_eq!(
            judge(403, &quota, Purpose::Create),
            Refusal::Forbidden("configmaps a is forbidden: exceeded quota: objects".into())
        );
        let ends = "create not allowed while custom resource definition is terminating";
        let kind = judge(403, &status(403, "Forbidden", ends, "{}"), Purpose::Create);
        assert!(matches!(kind, Refusal::UnknownKind(_)));
        let details = r#"{"causes":[{"reason":"NamespaceTerminating"}]}"#;
        let namespace = judge(403, &status(403, "Forbidden", "it is being terminated", details), Purpose::Create);
        assert!(matches!(namespace, Refusal::Transient(_)));
    }

    #[test]
    fn an_immutable_field_is_told_only_if_nothing_else_is_wrong() {
        let cause = |field: &str, message: &str| {
            format!(r#"{{"reason":"FieldValueInvalid","field":"{field}","message":"{message}"}}"#)
        };
        let frozen = cause("data", "Invalid value: field is immutable when `immutable` is set");
        let other = cause("spec.size", "Invalid value: must be positive");
        let uid = cause("metadata.uid", "Invalid value: field is immutable");
        let body = |causes: &str| status(422, "Invalid", "it is invalid", &format!(r#"{{"causes":[{causes}]}}"#));
        assert!(matches!(judge(422, &body(&frozen), Purpose::Change), Refusal::Immutable(_)));
        assert!(matches!(judge(422, &body(&format!("{frozen},{other}")), Purpose::Change), Refusal::Invalid(_)));
        assert!(matches!(judge(422, &body(&frozen), Purpose::Create), Refusal::Invalid(_)));
        assert!(matches!(judge(422, &body(&uid), Purpose::Change), Refusal::VersionConflict(_)));
    }

    #[test]
    fn what_no_waiting_mends_is_no_failure_to_be_retried() {
        for text in [
            "etcdserver: request is too large",
            "rpc error: code = ResourceExhausted desc = x",
            "failed to create typed patch object: .x: field not declared in schema",
        ] {
            assert!(matches!(
                judge(500, &status(500, "InternalError", text, "{}"), Purpose::Change),
                Refusal::Invalid(_)
            ));
        }
        let webhook = status(500, "InternalError", "failed calling webhook x", "{}");
        assert!(matches!(judge(500, &webhook, Purpose::Change), Refusal::Transient(_)));
        assert!(matches!(judge(401, "", Purpose::Read), Refusal::Unknown(_)));
        assert!(matches!(judge(503, "", Purpose::Change), Refusal::Transient(_)));
    }
}
