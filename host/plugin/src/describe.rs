//! Whether what a plugin says of itself makes sense (design §4). Whether its CRDs are good ones is
//! the schema's to judge; here it is only read from them which kinds they are.

use std::collections::HashSet;

use serde::Deserialize;
use setpoint_core::contract::{Description, OwnedKind, ReadKind};
use setpoint_core::{GroupVersionKind, Name};

use crate::bindings::types;
use crate::{convert, json};

/// The description, checked.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn convert(description: types::Description) -> Result<Description, String> {
    if !is_dns_label(&description.name) {
        return Err(format!(
            "the name {:?} is not a DNS label: up to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
            description.name
        ));
    }
    if !is_semantic(&description.version) {
        return Err(format!("the version {:?} is not a semantic version such as 1.2.3", description.version));
    }
    if description.kinds.is_empty() {
        return Err("there are no kinds: a plugin reconciles at least one".to_owned());
    }
    let kinds = description
        .kinds
        .into_iter()
        .enumerate()
        .map(|(index, kind)| owned_kind(kind).map_err(|error| format!("kinds[{index}]: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    once("kinds", kinds.iter().map(|owned| &owned.kind))?;
    let reads: Vec<ReadKind> = description.reads.into_iter().map(convert::read_kind).collect();
    once("reads", reads.iter().map(|read| &read.kind))?;
    for read in &reads {
        check_read(read).map_err(|error| format!("reads of {}: {error}", read.kind.group_kind()))?;
    }
    let writes: Vec<GroupVersionKind> = description.writes.iter().map(convert::kind).collect();
    once("writes", writes.iter())?;
    for capability in &description.capabilities {
        if let types::Capability::Http(host) = capability
            && (host.is_empty() || host.contains(['/', ' ']))
        {
            return Err(format!("the capability http({host:?}) does not name a host: NAME[:PORT], *.NAME or *"));
        }
    }
    if let Some(schema) = &description.config_schema {
        json::check_object(schema)
            .map_err(|error| format!("the configuration schema is not a JSON object: {error}"))?;
    }
    check_tuning(&description.tuning)?;
    Ok(Description {
        name: Name::from(description.name),
        version: description.version,
        kinds,
        reads,
        writes,
        capabilities: description.capabilities.into_iter().map(convert::capability).collect(),
        config_schema: description.config_schema,
        tuning: convert::tuning(&description.tuning),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Crd {
    api_version: String,
    kind: String,
    spec: CrdSpec,
}

#[derive(Deserialize)]
struct CrdSpec {
    group: String,
    names: CrdNames,
    versions: Vec<CrdVersion>,
}

#[derive(Deserialize)]
struct CrdNames {
    kind: String,
}

#[derive(Deserialize)]
struct CrdVersion {
    name: String,
    served: bool,
}

fn owned_kind(owned: types::OwnedKind) -> Result<OwnedKind, String> {
    let crd: Crd = serde_json::from_str(&owned.crd)
        .map_err(|error| format!("the CRD is not a CustomResourceDefinition in JSON: {error}"))?;
    if crd.api_version != "apiextensions.k8s.io/v1" || crd.kind != "CustomResourceDefinition" {
        return Err(format!(
            "the CRD is a {} of {}, not a CustomResourceDefinition of apiextensions.k8s.io/v1",
            crd.kind, crd.api_version
        ));
    }
    let kind = GroupVersionKind::new(&crd.spec.group, &owned.version, &crd.spec.names.kind);
    if kind.group.is_empty() || kind.kind.is_empty() {
        return Err("the CRD has no group or no kind".to_owned());
    }
    if !crd.spec.versions.iter().any(|version| version.name == owned.version && version.served) {
        let served: Vec<&str> =
            crd.spec.versions.iter().filter(|version| version.served).map(|version| version.name.as_str()).collect();
        return Err(format!(
            "the version {:?} of {} is not served by its CRD, which serves {}",
            owned.version,
            kind.group_kind(),
            if served.is_empty() { "none".to_owned() } else { served.join(", ") }
        ));
    }
    Ok(OwnedKind { crd: owned.crd, kind, finalizer: owned.finalizer })
}

/// Each kind whole, and at most once whatever its version.
fn once<'a>(list: &str, kinds: impl Iterator<Item = &'a GroupVersionKind>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for kind in kinds {
        if kind.kind.is_empty() || kind.version.is_empty() {
            return Err(format!("{list}: {kind:?} has no kind or no version"));
        }
        if !seen.insert(kind.group_kind()) {
            return Err(format!("{list}: {} is there twice", kind.group_kind()));
        }
    }
    Ok(())
}

fn check_read(read: &ReadKind) -> Result<(), String> {
    let path = |path: &str| path.len() > 1 && path.starts_with('.');
    if let Some(field) = read.fields.iter().find(|field| !path(field)) {
        return Err(format!("the field {field:?} is not a path such as .spec.family"));
    }
    let mut names = HashSet::new();
    for (name, index) in &read.indexes {
        if name.is_empty() || !names.insert(name) {
            return Err(format!("the index {name:?} is there twice or has no name"));
        }
        if !path(index) {
            return Err(format!("the index {name} has {index:?}, which is not a path such as .spec.groupRef.name"));
        }
    }
    Ok(())
}

fn check_tuning(tuning: &types::Tuning) -> Result<(), String> {
    let numbers = [
        ("resync", tuning.resync),
        ("concurrency", tuning.concurrency.map(u64::from)),
        ("timeout", tuning.timeout),
        ("first-backoff", tuning.first_backoff),
        ("longest-backoff", tuning.longest_backoff),
        ("memory-bytes", tuning.memory_bytes),
        ("warm-calls", tuning.warm_calls.map(u64::from)),
    ];
    match numbers.iter().find(|(_, number)| *number == Some(0)) {
        Some((name, _)) => Err(format!("tuning.{name} is 0; leave it out for the host's default")),
        None => Ok(()),
    }
}

fn is_dns_label(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|byte| word(byte) || byte == b'-')
        && name.bytes().next().is_some_and(word)
        && name.bytes().next_back().is_some_and(word)
}

fn is_semantic(version: &str) -> bool {
    let (core, rest) = match version.find(['-', '+']) {
        Some(at) => (&version[..at], Some(&version[at + 1..])),
        None => (version, None),
    };
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let parts: Vec<&str> = core.split('.').collect();
    let tail = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
    };
    parts.len() == 3 && parts.iter().all(|part| number(part)) && rest.is_none_or(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(group: &str, kind: &str, served: bool) -> String {
        serde_json::json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "x"},
            "spec": {"group": group, "names": {"kind": kind}, "versions": [{"name": "v1", "served": served}]},
        })
        .to_string()
    }

    fn owned(crd: String) -> types::OwnedKind {
        types::OwnedKind { crd, version: "v1".into(), finalizer: true }
    }

    fn read(kind: &str) -> types::ReadKind {
        types::ReadKind {
            kind: types::GroupVersionKind { group: String::new(), version: "v1".into(), kind: kind.into() },
            scope: types::ReadScope::All,
            fields: vec![".spec".into()],
            indexes: Vec::new(),
        }
    }

    fn tuning() -> types::Tuning {
        types::Tuning {
            resync: None,
            resync_always: false,
            concurrency: None,
            timeout: None,
            first_backoff: None,
            longest_backoff: None,
            memory_bytes: None,
            warm_calls: None,
        }
    }

    fn right() -> types::Description {
        types::Description {
            name: "redis".into(),
            version: "1.2.3-rc.1+x".into(),
            kinds: vec![owned(crd("g", "Redis", true))],
            reads: vec![read("ConfigMap")],
            writes: Vec::new(),
            capabilities: vec![types::Capability::Process, types::Capability::Http("*.a.org:443".into())],
            config_schema: Some("{}".into()),
            tuning: tuning(),
            extra: vec![("unknown".into(), "1".into())],
        }
    }

    #[test]
    fn the_kind_is_read_from_the_crd() {
        let description = convert(right()).expect("right");
        assert_eq!(description.kinds[0].kind, GroupVersionKind::new("g", "v1", "Redis"));
        assert!(description.kinds[0].finalizer);
        assert_eq!(&*description.name, "redis");
        assert_eq!(description.reads[0].fields, [".spec"]);
    }

    #[test]
    fn each_mistake_is_named() {
        let wrong = |change: &dyn Fn(&mut types::Description), text: &str| {
            let mut description = right();
            change(&mut description);
            let error = convert(description).expect_err(text);
            assert!(error.contains(text), "{error}");
        };
        wrong(&|d| d.name = "Redis".into(), "not a DNS label");
        wrong(&|d| d.name = "-redis".into(), "not a DNS label");
        wrong(&|d| d.name = "a".repeat(64), "not a DNS label");
        wrong(&|d| d.name.clear(), "not a DNS label");
        wrong(&|d| d.version = "1.2".into(), "not a semantic version");
        wrong(&|d| d.version = "1.02.3".into(), "not a semantic version");
        wrong(&|d| d.kinds.clear(), "no kinds");
        wrong(&|d| d.kinds.push(owned(crd("g", "Redis", true))), "Redis.g is there twice");
        wrong(&|d| d.kinds.push(owned("{".into())), "kinds[1]: the CRD is not a CustomResourceDefinition in JSON: EOF");
        wrong(&|d| d.kinds = vec![owned(crd("", "Redis", true))], "no group");
        wrong(&|d| d.kinds = vec![owned(crd("g", "Redis", false))], "is not served by its CRD, which serves none");
        wrong(&|d| d.kinds[0].version = "v2".into(), "which serves v1");
        wrong(&|d| d.reads.push(read("ConfigMap")), "reads: ConfigMap is there twice");
        wrong(&|d| d.reads[0].fields = vec!["spec".into()], "not a path such as .spec.family");
        wrong(
            &|d| d.reads[0].indexes = vec![types::Index { name: "a".into(), path: "b".into() }],
            "not a path such as .spec.groupRef.name",
        );
        wrong(&|d| d.capabilities.push(types::Capability::Http("http://a".into())), "does not name a host");
        wrong(&|d| d.config_schema = Some("[]".into()), "configuration schema is not a JSON object");
        wrong(&|d| d.tuning.concurrency = Some(0), "tuning.concurrency is 0");
    }
}
