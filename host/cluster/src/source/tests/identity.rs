use serde_json::{Value, json};

use crate::source::identity::{Identified, Identity, Place, Scope, identify};
use crate::source::yaml::{Position, SourceError, parse_documents};

fn scope(group: &str, kind: &str) -> Option<Scope> {
    match (group, kind) {
        ("", "ConfigMap") | ("examples.setpoint.dev", "Redis") => Some(Scope { namespaced: true }),
        ("examples.setpoint.dev", "Zone") => Some(Scope { namespaced: false }),
        _ => None,
    }
}

fn identify_in(file: &str, text: &str) -> Result<Identity, SourceError> {
    let mut documents = parse_documents(text);
    let alone = documents.len() == 1;
    let document = documents.remove(0).expect("valid YAML");
    identify(&document, Place { cluster: "local", file, alone }, scope)
}

fn object(file: &str, text: &str) -> Identified {
    match identify_in(file, text) {
        Ok(Identity::Object(object)) => *object,
        other => panic!("no object: {other:?}"),
    }
}

fn refused(text: &str) -> (Position, String) {
    match identify_in("a.yaml", text) {
        Err(error) => (error.position, error.message),
        Ok(identity) => panic!("was taken: {identity:?}"),
    }
}

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

#[test]
fn a_missing_name_is_the_file_s_stem_and_a_missing_namespace_is_default() {
    let object = object("team/cache.eu.yaml", "apiVersion: examples.setpoint.dev/v1\nkind: Redis\nspec: {a: 1}\n");
    assert_eq!(object.key.to_string(), "local/examples.setpoint.dev/Redis/default/cache.eu");
    assert_eq!(object.version, "v1");
    let wanted = json!({"apiVersion": "examples.setpoint.dev/v1", "kind": "Redis",
        "metadata": {"name": "cache.eu", "namespace": "default"}, "spec": {"a": 1}});
    assert_eq!(object.value, wanted);
    assert!(object.notices.is_empty() && object.ignored.is_empty());
}

#[test]
fn a_stem_that_is_no_object_name_cannot_stand_for_a_missing_one() {
    let error = identify_in("My File.yaml", "\n\napiVersion: v1\nkind: ConfigMap\n").expect_err("no name");
    assert_eq!(error.position, at(3, 1));
    assert!(error.message.contains("metadata.name") && error.message.contains("My File"), "{error}");
}

#[test]
fn in_a_file_of_several_documents_each_needs_a_name() {
    let error = identify_in("a.yaml", "apiVersion: v1\nkind: ConfigMap\n---\nx: 1\n").expect_err("no name");
    assert!(error.message.contains("more than one document"), "{error}");
}

#[test]
fn a_name_other_than_the_stem_wins_and_is_noticed() {
    let object = object("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  namespace: team\n");
    assert_eq!(object.key.to_string(), "local/core/ConfigMap/team/b");
    assert_eq!(object.notices.len(), 1);
    assert_eq!(object.notices[0].position, at(4, 9));
}

#[test]
fn api_version_and_kind_are_required() {
    assert_eq!(refused("kind: ConfigMap\n"), (at(1, 1), "apiVersion is missing".into()));
    assert_eq!(refused("# x\napiVersion: v1\n"), (at(2, 1), "kind is missing".into()));
    assert_eq!(refused("apiVersion: 1\nkind: x\n"), (at(1, 13), "apiVersion must be a string".into()));
    assert_eq!(refused("apiVersion: a/b/c\nkind: ConfigMap\n").0, at(1, 13));
    assert_eq!(refused("- a\n").0, at(1, 1));
    assert_eq!(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: x\n").0, at(3, 11));
}

#[test]
fn a_namespace_of_a_cluster_scoped_object_is_an_error() {
    let text = "apiVersion: examples.setpoint.dev/v1\nkind: Zone\nmetadata:\n  name: a\n";
    assert_eq!(object("a.yaml", text).key.to_string(), "local/examples.setpoint.dev/Zone/-/a");
    let (position, message) = refused(&format!("{text}  namespace: default\n"));
    assert_eq!(position, at(5, 3));
    assert!(message.contains("cluster-scoped"), "{message}");
}

#[test]
fn generate_name_and_finalizers_are_errors() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  ";
    assert_eq!(refused(&format!("{text}generateName: a-\n")).0, at(4, 3));
    assert_eq!(refused(&format!("{text}finalizers: [x]\n")).0, at(4, 3));
}

#[test]
fn names_that_no_server_would_take_are_errors() {
    for name in ["A", "a/b", "..", "a_b", "-a", "a.", "é", "a%2f"] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name:?}\n");
        assert_eq!(refused(&text).0, at(4, 9), "{name}");
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  namespace: {name:?}\n");
        assert_eq!(refused(&text).0, at(4, 14), "{name}");
    }
    assert!(refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 1}\n").1.contains("quotes"));
}

#[test]
fn status_and_what_a_server_sets_is_ignored_and_said() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  uid: x\n  resourceVersion: '1'\n  generation: 1\n  \
                creationTimestamp: null\n  deletionTimestamp: x\n  managedFields: []\n  ownerReferences: []\n  selfLink: x\n  \
                labels: {a: b}\nstatus: {a: 1}\ndata: {k: v}\n";
    let object = object("a.yaml", text);
    let wanted = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default", "labels": {"a": "b"}}, "data": {"k": "v"}});
    assert_eq!(object.value, wanted);
    assert_eq!(object.ignored.len(), 9);
    assert!(object.notices.is_empty());
}

#[test]
fn a_document_of_an_unknown_kind_is_unclaimed() {
    let text = "apiVersion: other.dev/v2\nkind: Thing\nmetadata: {namespace: team}\nstatus: {}\n";
    let Ok(Identity::Unclaimed(unclaimed)) = identify_in("a.yaml", text) else { panic!("unclaimed") };
    assert_eq!(
        (unclaimed.group.as_str(), unclaimed.version.as_str(), unclaimed.kind.as_str()),
        ("other.dev", "v2", "Thing")
    );
    let keys = unclaimed.possible_keys().map(|key| key.to_string());
    assert_eq!(keys, ["local/other.dev/Thing/team/a", "local/other.dev/Thing/-/a"]);
}

#[test]
fn empty_metadata_is_as_good_as_none() {
    for metadata in ["null", "{}", "{name: null, namespace: \"\", finalizers: []}"] {
        let object = object("a.yaml", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n"));
        assert_eq!(object.value["metadata"], json!({"name": "a", "namespace": "default"}));
        assert_ne!(object.value, Value::Null);
    }
}
