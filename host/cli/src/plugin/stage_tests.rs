use serde_json::json;
use setpoint_core::contract::{Child, OwnedKind, ReadKind, ReadScope, Readiness, Tuning, Update};

use super::*;

type Tested = Result<(), Box<dyn std::error::Error>>;

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "pools.a.io"},
        "spec": {"group": "a.io", "scope": "Namespaced", "names": {"kind": "Pool", "plural": "pools"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "default": 3}}},
                    "status": {"type": "object", "properties": {"seen": {"type": "integer"}}}}}}}]},
    })
}

fn description(finalizer: bool) -> Arc<Description> {
    let read = |kind: &str, scope: ReadScope, fields: &[&str]| ReadKind {
        kind: GroupVersionKind::new("", "v1", kind),
        scope,
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        indexes: vec![("shown".to_owned(), ".data.shown".to_owned())],
    };
    Arc::new(Description {
        name: "pool".into(),
        version: "0.1.0".into(),
        kinds: vec![OwnedKind { crd: crd().to_string(), kind: GroupVersionKind::new("a.io", "v1", "Pool"), finalizer }],
        reads: vec![read("ConfigMap", ReadScope::All, &[".data.shown"]), read("Secret", ReadScope::Named, &[])],
        writes: vec![GroupVersionKind::new("", "v1", "ConfigMap")],
        capabilities: Vec::new(),
        config_schema: None,
        tuning: Tuning::default(),
    })
}

fn pool(spec: Value) -> (Key, Value) {
    let object = json!({"apiVersion": "a.io/v1", "kind": "Pool", "metadata": {"name": "p", "namespace": "default"},
                        "spec": spec});
    (pool_key(), object)
}

fn pool_key() -> Key {
    Key::new("local", "a.io", "Pool", Some("default"), "p")
}

fn core(kind: &str, name: &str) -> Key {
    Key::new("local", "", kind, Some("default"), name)
}

fn map(name: &str, tier: &str) -> (Key, Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": name, "namespace": "default", "labels": {"tier": tier}},
                        "data": {"shown": tier, "hidden": "1"}});
    (core("ConfigMap", name), object)
}

struct Given {
    objects: Vec<(Key, Value)>,
    deleting: bool,
    finalizer: bool,
    unavailable: Vec<String>,
    not_granted: Vec<String>,
    config: Option<Value>,
}

fn given(objects: Vec<(Key, Value)>) -> Given {
    Given { objects, deleting: false, finalizer: false, unavailable: Vec::new(), not_granted: Vec::new(), config: None }
}

fn set(given: Given) -> Result<Stage, NoCall> {
    let crds = [Crd::parse(&crd(), "v1").map_err(|error| NoCall::Wrong(error.to_string()))?];
    let description = description(given.finalizer);
    let setting = Setting {
        given: given.objects,
        reconcile: &pool_key(),
        deleting: given.deleting,
        config: given.config.as_ref(),
        unavailable: &given.unavailable,
        not_granted: &given.not_granted,
    };
    Stage::set(&Subject { digest: "d", description: &description, crds: &crds }, &setting)
}

fn stage(given: Given) -> Result<Stage, String> {
    set(given).map_err(|no_call| format!("{no_call:?}"))
}

/// The answer to a read; nothing waits here.
fn ask<T>(answer: BoxFuture<'_, Result<T, ReadError>>) -> Result<Result<T, ReadError>, std::io::Error> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(answer))
}

fn list(labels: Option<&str>, index: Option<(&str, &str)>) -> ListQuery {
    ListQuery {
        cluster: LOCAL.into(),
        kind: GroupKind::new("", "ConfigMap"),
        namespace: Some("default".into()),
        labels: labels.map(Into::into),
        index: index.map(|(name, value)| (name.to_owned(), value.to_owned())),
    }
}

#[test]
fn the_object_is_handed_over_as_the_host_does_it() -> Tested {
    let mut object = pool(json!({"unknown": true}));
    object.1["status"] = json!({"seen": 7});
    let stage = stage(given(vec![object]))?;
    let handed: Value = serde_json::from_str(&stage.request.object)?;
    assert_eq!(handed["spec"], json!({"size": 3}), "defaulted and pruned");
    assert_eq!(handed["status"], json!({"seen": 7}));
    assert!(handed["metadata"]["uid"].is_string() && handed["metadata"].get("resourceVersion").is_none());
    assert_eq!((&*stage.request.config, stage.request.attempt, stage.request.deleting), ("{}", 1, false));
    Ok(())
}

#[test]
fn an_object_that_the_host_would_not_take_is_told_with_its_mistakes() {
    let refused = set(given(vec![pool(json!({"size": 0}))])).map(|_| ());
    let Err(NoCall::Refused { key, errors }) = refused else { panic!("{refused:?}") };
    assert_eq!((key, errors.len(), errors[0].path.to_string()), (pool_key(), 1, "spec.size".to_owned()));
}

#[test]
fn reads_are_masked_selected_and_recorded_as_the_host_does_it() -> Tested {
    let stage = stage(given(vec![pool(json!({})), map("b", "x"), map("a", "x"), map("c", "y")]))?;
    let reads = stage.reads();
    let names = |items: Arc<[Arc<str>]>| -> Result<Vec<String>, serde_json::Error> {
        let name = |item: &Arc<str>| {
            let object: Value = serde_json::from_str(item)?;
            assert_eq!(object["data"].as_object().map(|data| data.len()), Some(1), "the mask hides the rest");
            Ok(object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        };
        items.iter().map(name).collect()
    };
    assert_eq!(names(ask(reads.list(list(Some("tier=x"), None)))??)?, ["a", "b"]);
    assert_eq!(names(ask(reads.list(list(None, Some(("shown", "y")))))??)?, ["c"]);
    assert_eq!(ask(reads.get(core("ConfigMap", "none")))?, Ok(None), "what is not given is known to be absent");
    assert_eq!(ask(reads.get(core("Secret", "s")))?, Ok(None));
    let not_described = ask(reads.get(core("Event", "e")))?;
    assert!(matches!(not_described, Err(ReadError::NotDescribed(_))), "{not_described:?}");
    assert_eq!(stage.asked().len(), 5);
    assert_eq!(stage.asked()[2], Question::Get("local/core/ConfigMap/default/none".into()));
    Ok(())
}

#[test]
fn what_a_scenario_takes_away_is_not_answered() -> Tested {
    let mut away = given(vec![pool(json!({})), map("a", "x")]);
    away.unavailable = vec!["ConfigMap".into()];
    away.not_granted = vec!["Secret".into()];
    let stage = stage(away)?;
    let map = ask(stage.reads().get(core("ConfigMap", "a")))?;
    assert!(matches!(map, Err(ReadError::Unavailable(_))), "{map:?}");
    let secret = ask(stage.reads().get(core("Secret", "s")))?;
    assert!(matches!(secret, Err(ReadError::NotGranted(_))), "{secret:?}");
    Ok(())
}

#[test]
fn a_deletion_is_a_call_only_if_the_plugin_asks_for_it() -> Tested {
    let deleting = |finalizer| Given { deleting: true, finalizer, ..given(vec![pool(json!({}))]) };
    let stage = stage(deleting(true))?;
    let handed: Value = serde_json::from_str(&stage.request.object)?;
    assert!(stage.request.deleting && handed["metadata"]["deletionTimestamp"].is_string());
    assert!(matches!(set(deleting(false)).map(|_| ()), Err(NoCall::Wrong(text)) if text.contains("no clean-up")));
    Ok(())
}

#[test]
fn a_setting_that_makes_no_sense_says_why() {
    let wrong = |given: Given| match set(given).map(|_| ()) {
        Err(NoCall::Wrong(text)) => text,
        other => format!("{other:?}"),
    };
    let config = Given { config: Some(json!({"a": 1})), ..given(vec![pool(json!({}))]) };
    assert!(wrong(config).contains("takes no configuration"));
    let word = Given { unavailable: vec!["Config".into()], ..given(vec![pool(json!({}))]) };
    assert_eq!(wrong(word), "`unavailable`: the plugin reads no kind Config");
    let mut paused = pool(json!({}));
    paused.1["metadata"]["annotations"] = json!({"setpoint.dev/paused": "true"});
    assert!(wrong(given(vec![paused])).contains("makes no call"));
}

#[test]
fn what_the_host_would_refuse_of_an_outcome_is_told() -> Tested {
    let stage = stage(given(vec![pool(json!({}))]))?;
    let child = |object: Value| Child { cluster: None, object: object.to_string(), update: Update::InPlace };
    let outcome = Outcome {
        status: Some(json!({"seen": "many"}).to_string()),
        readiness: Readiness::Ready,
        children: Some(vec![
            child(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})),
            child(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})),
        ]),
        ..Outcome::default()
    };
    let refusals = stage.refusals(&outcome);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].starts_with("the status: ") && refusals[0].contains("status.seen"), "{refusals:?}");
    assert!(refusals[1].starts_with("ChildNotDescribed: "), "{refusals:?}");
    let invalid = stage.refusals(&Outcome { finalized: true, ..Outcome::default() });
    assert!(invalid[0].contains("`finalized`"), "{invalid:?}");
    Ok(())
}
