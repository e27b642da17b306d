//! What is wanted of a cluster, for which plugins and grants.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::contract::{Description, OwnedKind, ReadKind, Tuning};
use crate::effects::Shapes;
use crate::engine::{Options, PluginInfo};
use crate::grants::{Grant, Grants};

struct NoShapes;

impl Shapes for NoShapes {
    fn namespaced(&self, _: &str, _: &GroupKind) -> Option<bool> {
        None
    }

    fn prune(&self, _: &str, _: &GroupKind, _: &mut Value) {}
}

fn kind(group: &str, version: &str, name: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, version, name)
}

fn reads(name: &str, scope: ReadScope, fields: &[&str]) -> ReadKind {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    ReadKind { kind: kind("", "v1", name), scope, fields, indexes: Vec::new() }
}

fn plugin(name: &str, owned: &str, reads: Vec<ReadKind>, writes: &[&str], grants: &[&str]) -> PluginInfo {
    let description = Description {
        name: name.into(),
        version: "1.0.0".into(),
        kinds: vec![OwnedKind { crd: String::new(), kind: kind("g.io", "v1", owned), finalizer: false }],
        reads,
        writes: writes.iter().map(|name| kind("", "v1", name)).collect(),
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    };
    let grants = grants.iter().map(|text| Grant::parse(text).expect("a grant")).collect();
    PluginInfo::new(name, Arc::new(description), "{}".into(), Grants::new(grants)).expect("a plugin")
}

fn wants(plugins: Vec<PluginInfo>) -> Vec<String> {
    let mut engine = Engine::new(Options::default(), Arc::new(NoShapes));
    engine.add_cluster(&"hub".into());
    for plugin in plugins {
        engine.plugin_started(0, plugin);
    }
    let text =
        |want: Want| format!("{} {} {}", want.kind.kind, want.scope, if want.mask.is_all() { "whole" } else { "part" });
    engine.wants(&"hub".into()).into_iter().map(text).collect()
}

#[test]
fn what_was_not_granted_is_not_watched() {
    let all = vec![reads("Secret", ReadScope::All, &[]), reads("Node", ReadScope::Named, &[])];
    assert_eq!(wants(vec![plugin("p", "K", all.clone(), &["ConfigMap"], &[])]), ["K all whole"]);
    let some = ["read:core/Secret@hub/b", "read:core/Secret@hub/a", "write:core/ConfigMap@hub/a"];
    assert_eq!(
        wants(vec![plugin("p", "K", all.clone(), &["ConfigMap"], &some)]),
        ["ConfigMap owned whole", "Secret namespace a whole", "Secret namespace b whole", "K all whole"]
    );
    assert_eq!(
        wants(vec![plugin("p", "K", all, &["ConfigMap"], &["described@hub"])]),
        ["ConfigMap owned whole", "Secret all whole", "K all whole"]
    );
}

#[test]
fn one_reflector_shows_what_several_want_and_each_object_alike() {
    let part = vec![reads("Secret", ReadScope::All, &[".metadata.annotations"])];
    let a = plugin("a", "K", part.clone(), &[], &["described"]);
    assert_eq!(wants(vec![a]), ["Secret all part", "K all whole"]);
    let a = plugin("a", "K", part.clone(), &[], &["described"]);
    let b = plugin("b", "L", vec![reads("Secret", ReadScope::All, &[".data"])], &[], &["read:core/Secret@hub/x"]);
    assert_eq!(wants(vec![a, b]), ["Secret all part", "K all whole", "L all whole"]);
    let a = plugin("a", "K", part, &[], &["read:core/Secret@hub/x"]);
    let b = plugin("b", "L", Vec::new(), &["Secret"], &["described"]);
    assert_eq!(
        wants(vec![a, b]),
        ["Secret namespace x whole", "Secret owned whole", "K all whole", "L all whole"],
        "a child that is read in part is seen whole by both"
    );
}

#[test]
fn what_may_have_changed_is_counted() {
    let mut engine = Engine::new(Options::default(), Arc::new(NoShapes));
    let mut before = engine.wanted();
    let mut moved = |engine: &Engine| std::mem::replace(&mut before, engine.wanted()) != engine.wanted();
    engine.add_cluster(&"hub".into());
    assert!(moved(&engine));
    engine.plugin_started(0, plugin("p", "K", Vec::new(), &[], &[]));
    assert!(moved(&engine));
    engine.plugin_started(0, plugin("p", "K", Vec::new(), &[], &[]));
    assert!(!moved(&engine), "the same again");
    engine.plugin_stopped("p");
    assert!(moved(&engine));
    assert!(engine.wants(&"hub".into()).is_empty());
}
