//! Outcomes of plugins, as the host judges them before it does anything of them: a recorded outcome as
//! JSON; other texts are taken as a status, and line by line as children.

use std::collections::BTreeSet;

use serde_json::Value;
use setpoint_core::contract::{Child, Description, Outcome, Tuning, Update};
use setpoint_core::effects::{DesiredChild, Shapes, validate};
use setpoint_core::grants::{Grant, Grants, Scope};
use setpoint_core::key::{GroupKind, GroupVersionKind, Key};
use setpoint_core::recording::RecordedOutcome;

use crate::{QUICK, Target, nothing};

/// Of an outcome that is taken, each child is refused with a reason or is granted, described, named by
/// its key, alone with it, and without what only the host writes (rules B10, B12, D15).
pub(crate) const TARGET: Target = Target {
    name: "outcome",
    run,
    end: nothing,
    longest: 16 * 1024,
    patience: QUICK,
    words: &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\n",
        "null",
        "\"status\":",
        "\"readiness\":\"ready\"",
        "\"children\":",
        "\"object\":",
        "\"apiVersion\":\"v1\"",
        "\"apiVersion\":\"v2\"",
        "\"apiVersion\":\"host.setpoint.dev/v1alpha1\"",
        "\"kind\":\"ConfigMap\"",
        "\"kind\":\"Process\"",
        "\"kind\":\"Namespace\"",
        "\"metadata\":",
        "\"name\":\"a\"",
        "\"namespace\":\"other\"",
        "\"uid\":\"u\"",
        "\"ownerReferences\":[]",
        "\"generateName\":\"a-\"",
        "\"conditions\":",
        "\"type\":\"Ready\"",
        "\"finalized\":true",
        "\"cluster\":\"hub\"",
        "\"recreate\":true",
    ],
};

struct Known;

impl Shapes for Known {
    fn namespaced(&self, _: &str, kind: &GroupKind) -> Option<bool> {
        match &*kind.kind {
            "ConfigMap" => Some(true),
            "Namespace" => Some(false),
            _ => None,
        }
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

fn description() -> Description {
    let writes = [("", "v1", "ConfigMap"), ("", "v1", "Namespace"), ("host.setpoint.dev", "v1alpha1", "Process")];
    Description {
        name: "fuzzed".into(),
        version: "1.0.0".into(),
        kinds: Vec::new(),
        reads: Vec::new(),
        writes: writes.map(|(group, version, kind)| GroupVersionKind::new(group, version, kind)).to_vec(),
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    }
}

fn outcome(text: &str) -> Outcome {
    match serde_json::from_str::<RecordedOutcome>(text) {
        Ok(recorded) => recorded.outcome(),
        Err(_) => {
            let child = |line: &str| Child { cluster: None, object: line.to_owned(), update: Update::InPlace };
            let status = text.lines().next().map(str::to_owned);
            Outcome { status, children: Some(text.lines().map(child).collect()), ..Outcome::default() }
        }
    }
}

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let outcome = outcome(&text);
    let owner = Key::new("local", "examples.setpoint.dev", "Owner", Some("default"), "o");
    let (description, grants) = (description(), Grants::new(vec![Grant::Described(Scope::cluster("local"))]));
    for deleting in [false, true] {
        let judged = validate(&owner, deleting, &outcome, &description, &grants, &Known);
        assert_eq!(judged, validate(&owner, deleting, &outcome, &description, &grants, &Known));
        let (status, children) = match judged {
            Ok(judged) => judged,
            Err(error) => {
                assert!(!error.0.is_empty());
                continue;
            }
        };
        assert!(deleting || !outcome.finalized, "finalized without being deleted");
        assert_eq!(status.is_some(), outcome.status.is_some());
        if let Some(status) = status {
            let hosts = ["conditions", "observedGeneration"].iter().any(|field| status.get(*field).is_some());
            assert!(status.is_object() && !hosts, "{status}");
        }
        let children = children.unwrap_or_default();
        assert_eq!(children.len(), outcome.children.as_ref().map_or(0, Vec::len));
        let keys: Vec<&Key> = children.iter().filter_map(|child| child.key.as_ref()).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "two children with one key");
        children.iter().for_each(|child| check(child, &description, &grants));
    }
}

fn check(child: &DesiredChild, description: &Description, grants: &Grants) {
    let object = match &child.object {
        Ok(object) => object,
        Err(reason) => {
            assert!(reason.code.starts_with("Child") && !reason.message.is_empty(), "{reason:?}");
            return;
        }
    };
    let Some(key) = &child.key else { panic!("a child without a key is taken: {object}") };
    assert!(grants.may_write(key, object).is_ok(), "{key} is not granted");
    let kind = description.writes.iter().find(|kind| kind.group_kind() == key.group_kind());
    assert_eq!(kind.map(|kind| kind.api_version()).as_deref(), object["apiVersion"].as_str(), "{key}");
    let metadata = &object["metadata"];
    assert_eq!((object["kind"].as_str(), metadata["name"].as_str()), (Some(&*key.kind), Some(&*key.name)));
    assert_eq!(metadata["namespace"].as_str(), key.namespace.as_deref(), "{key}");
    assert!(object.get("status").is_none(), "{key} carries a status");
    for field in ["ownerReferences", "finalizers", "uid", "resourceVersion", "generateName", "managedFields"] {
        assert!(metadata.get(field).is_none(), "{key} carries metadata.{field}");
    }
}
