//! What `local` answers to an operation is what the rules are made for: a Kubernetes cluster answers the same.

use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_cluster::Cluster;
use setpoint_cluster::local::Local;
use setpoint_core::effects::{FINALIZER, OWNER_LABEL};
use setpoint_core::key::{GroupKind, Key};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Precondition, Refusal};
use setpoint_kubernetes::KubernetesCluster;
use setpoint_schema::Crd;
use setpoint_test_kube::shared;

use crate::support::{bundles, definition, group, make_bundle, options, serve, serve_as};

/// A cluster that bundles of a group are served in.
struct Subject {
    cluster: Arc<dyn Cluster>,
    group: String,
    namespace: String,
}

impl Subject {
    fn local(group: &str) -> Self {
        let local = Local::in_memory(Arc::new(()));
        let crd = Crd::parse(&definition(group), "v1").expect("a definition");
        drop(local.install_kind(crd));
        local.announce(&[GroupKind::new(group, "Bundle"), GroupKind::new("", "ConfigMap")]);
        Self { cluster: local, group: group.into(), namespace: "default".into() }
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.cluster.name(), &self.group, "Bundle", Some(&self.namespace), name)
    }

    fn map(&self, name: &str) -> Key {
        Key::new(self.cluster.name(), "", "ConfigMap", Some(&self.namespace), name)
    }

    fn document(&self, key: &Key, rest: Value) -> Arc<Value> {
        let version = if key.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", key.group) };
        let mut document = json!({"apiVersion": version, "kind": &*key.kind,
            "metadata": {"name": &*key.name, "namespace": key.namespace.as_deref()}});
        for (field, value) in rest.as_object().into_iter().flatten() {
            setpoint_core::fields::merge(&mut document, &json!({ field: value }));
        }
        Arc::new(document)
    }

    async fn perform(&self, op: Op) -> Answer {
        self.cluster.perform(op).await
    }

    async fn get(&self, key: &Key) -> Answer {
        self.perform(Op::Get(key.clone())).await
    }

    async fn found(&self, key: &Key) -> Arc<Object> {
        match self.get(key).await {
            Answer::Found(object) => object,
            answer => panic!("{key}: {answer:?}"),
        }
    }

    async fn apply(&self, key: &Key, rest: Value, manager: &str, on: Option<Precondition>) -> Answer {
        self.applied(key, rest, manager, false, on).await
    }

    async fn applied(&self, key: &Key, rest: Value, manager: &str, force: bool, on: Option<Precondition>) -> Answer {
        let object = self.document(key, rest);
        self.perform(Op::Apply { key: key.clone(), object, manager: manager.into(), force, precondition: on }).await
    }

    async fn made(&self, key: &Key, rest: Value, manager: &str) -> Arc<Object> {
        match self.apply(key, rest, manager, None).await {
            Answer::Applied { object, created: true } => object,
            answer => panic!("{key}: {answer:?}"),
        }
    }
}

const OURS: &str = "setpoint/aaaa";
const OTHERS: &str = "kubectl-edit";

fn at(object: &Object) -> Precondition {
    Precondition::version_of(object)
}

fn other(uid: &str) -> Precondition {
    Precondition { uid: uid.into(), resource_version: None }
}

/// An answer without what differs between any two clusters.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Found(object) => format!("found {}", content(object)),
        Answer::Absent => "absent".into(),
        Answer::Listed(found) => {
            let mut names: Vec<&str> = found.iter().map(|(key, _)| &*key.name).collect();
            names.sort_unstable();
            format!("listed {names:?}")
        }
        Answer::Applied { object, created } => format!("applied, created {created}: {}", content(object)),
        Answer::Done => "done".into(),
        Answer::Refused(refusal) => match refusal {
            Refusal::VersionConflict(_) => "version conflict".into(),
            Refusal::ManagerConflict { managers, fields } => format!("fields {fields:?} are owned by {managers:?}"),
            Refusal::Invalid(_) => "invalid".into(),
            Refusal::Immutable(_) => "immutable".into(),
            Refusal::Forbidden(_) => "forbidden".into(),
            Refusal::NoStatus => "no status".into(),
            Refusal::UnknownKind(kind) => format!("unknown kind {}", kind.split('.').next().unwrap_or_default()),
            Refusal::Unknown(text) => format!("unknown: {text}"),
            Refusal::Transient(text) => format!("transient: {text}"),
        },
    }
}

fn content(object: &Object) -> String {
    let mut value = object.value();
    let metadata = value["metadata"].as_object_mut().expect("metadata");
    for field in ["uid", "creationTimestamp", "namespace", "deletionGracePeriodSeconds"] {
        metadata.remove(field);
    }
    if metadata.contains_key("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), json!("then"));
        // A server counts a deletion that waits for finalizers as a generation.
        metadata.remove("generation");
    }
    value.as_object_mut().expect("an object").remove("apiVersion");
    value.to_string()
}

/// What a manager owns, as the rules see it.
fn owned(object: &Object, manager: &str) -> String {
    format!("{manager} owns {:?}", object.applied_by(manager).map(|set| set.paths()))
}

/// Everything that the rules ask of a cluster, in one order; what was answered.
async fn play(subject: &Subject) -> Vec<String> {
    let mut log = Vec::new();
    let a = subject.key("a");

    log.push(told(&subject.get(&a).await));
    let nobody = Key::new(subject.cluster.name(), "nowhere.setpoint.dev", "Nothing", Some(&subject.namespace), "a");
    log.push(told(&subject.get(&nobody).await));
    let list = Op::ListOwned { cluster: subject.cluster.name().clone(), kind: nobody.group_kind(), owner: "m".into() };
    log.push(told(&subject.perform(list).await));

    // Made, and made again without a change.
    let marked = |data: Value| json!({"metadata": {"labels": {OWNER_LABEL: "mark-a"}}, "spec": {"data": data}});
    let first = subject.made(&a, marked(json!({"x": "1", "y": "2"})), OURS).await;
    log.push(content(&first));
    log.push(owned(&first, OURS));
    let again = subject.apply(&a, marked(json!({"x": "1", "y": "2"})), OURS, Some(at(&first))).await;
    log.push(told(&again));
    let found = subject.found(&a).await;
    assert_eq!(found.resource_version(), first.resource_version(), "a write that changes nothing moves nothing");
    assert!(found.same_content(&first));

    // A field that is not given any more goes; generation follows the spec.
    let less = subject.apply(&a, marked(json!({"x": "1"})), OURS, Some(at(&first))).await;
    log.push(told(&less));
    log.push(owned(&*subject.found(&a).await, OURS));

    // Preconditions.
    for on in [at(&first), other("another")] {
        log.push(told(&subject.apply(&a, marked(json!({"x": "9"})), OURS, Some(on)).await));
    }
    let gone = subject.key("gone");
    log.push(told(&subject.apply(&gone, marked(json!({})), OURS, Some(at(&first))).await));
    log.push(told(&subject.get(&gone).await));

    // Another manager takes a field, is in the way, and is overruled.
    log.push(told(&subject.applied(&a, json!({"spec": {"data": {"x": "theirs"}}}), OTHERS, true, None).await));
    let now = subject.found(&a).await;
    log.push(owned(&now, OURS));
    log.push(told(&subject.apply(&a, marked(json!({"x": "1"})), OURS, Some(at(&now))).await));
    log.push(told(&subject.applied(&a, marked(json!({"x": "1"})), OURS, true, Some(at(&now))).await));

    // Another owner's mark.
    let claim = json!({"metadata": {"labels": {OWNER_LABEL: "mark-b"}}});
    log.push(told(&subject.apply(&a, claim, "setpoint/bbbb", None).await));

    // What the schema refuses, and what cannot be changed.
    let now = subject.found(&a).await;
    log.push(told(&subject.apply(&a, json!({"spec": {"size": -1}}), OURS, Some(at(&now))).await));
    log.push(told(&subject.apply(&subject.key("bad"), json!({"spec": {"size": "many"}}), OURS, None).await));
    let fixed = subject.key("fixed");
    let made = subject.made(&fixed, json!({"spec": {"fixed": "a"}}), OURS).await;
    log.push(told(&subject.apply(&fixed, json!({"spec": {"fixed": "b"}}), OURS, Some(at(&made))).await));
    let map = subject.map("frozen");
    let made = subject.made(&map, json!({"data": {"a": "1"}, "immutable": true}), OURS).await;
    log.push(told(&subject.apply(&map, json!({"data": {"a": "2"}, "immutable": true}), OURS, Some(at(&made))).await));

    // Status: conditions by type, the generation stays, others' conditions stay.
    let status = |status: Value, manager: &str, on: &Object| Op::ApplyStatus {
        key: a.clone(),
        status: Arc::new(status),
        manager: manager.into(),
        precondition: at(on),
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": ""});
    let now = subject.found(&a).await;
    let foreign = json!({"conditions": [condition("Foreign")]});
    log.push(told(&subject.perform(status(foreign, "other/status", &now)).await));
    log.push(told(&subject.perform(status(json!({"seen": "x"}), "setpoint/s/status", &now)).await));
    let now = subject.found(&a).await;
    let mine = json!({"seen": "x", "observedGeneration": 2, "conditions": [condition("Ready"), condition("Own")]});
    log.push(told(&subject.perform(status(mine, "setpoint/s/status", &now)).await));
    let now = subject.found(&a).await;
    log.push(owned(&now, "setpoint/s/status"));
    let less = json!({"observedGeneration": 2, "conditions": [condition("Ready")]});
    log.push(told(&subject.perform(status(less, "setpoint/s/status", &now)).await));
    let on_map = Op::ApplyStatus {
        key: map.clone(),
        status: Arc::new(json!({"x": 1})),
        manager: "setpoint/s/status".into(),
        precondition: at(&made),
    };
    log.push(told(&subject.perform(on_map).await));
    let of_gone = Op::ApplyStatus {
        key: gone.clone(),
        status: Arc::new(json!({"seen": "x"})),
        manager: "setpoint/s/status".into(),
        precondition: at(&made),
    };
    log.push(told(&subject.perform(of_gone).await));

    // The owned ones.
    subject.made(&subject.key("b"), marked(json!({})), OURS).await;
    subject.made(&subject.key("c"), json!({"metadata": {"labels": {OWNER_LABEL: "mark-c"}}}), OURS).await;
    for owner in ["mark-a", "mark-c", "mark-d"] {
        let kind = a.group_kind();
        let list = Op::ListOwned { cluster: subject.cluster.name().clone(), kind, owner: owner.into() };
        log.push(told(&subject.perform(list).await));
    }

    // Finalizer and deletion.
    let finalizer = |present: bool, on: &Object| Op::SetFinalizer {
        key: a.clone(),
        present,
        finalizers: if present { vec![FINALIZER.into()] } else { Vec::new() },
        precondition: at(on),
    };
    let delete = |key: &Key, precondition: Precondition| Op::Delete { key: key.clone(), precondition };
    let before = subject.found(&a).await;
    log.push(told(&subject.perform(finalizer(true, &before)).await));
    log.push(told(&subject.perform(finalizer(true, &before)).await));
    log.push(told(&subject.perform(delete(&a, at(&before))).await));
    let now = subject.found(&a).await;
    log.push(told(&subject.perform(delete(&a, other("another"))).await));
    log.push(told(&subject.perform(delete(&a, at(&now))).await));
    let terminating = subject.found(&a).await;
    assert!(terminating.terminating());
    log.push(told(&subject.perform(finalizer(false, &terminating)).await));
    log.push(told(&subject.get(&a).await));
    log.push(told(&subject.perform(finalizer(false, &terminating)).await));
    log.push(told(&subject.perform(finalizer(true, &terminating)).await));
    log.push(told(&subject.perform(delete(&a, at(&terminating))).await));
    let b = subject.found(&subject.key("b")).await;
    log.push(told(&subject.perform(delete(&subject.key("b"), at(&b))).await));
    log.push(told(&subject.get(&subject.key("b")).await));

    // Another cluster's operation.
    let elsewhere = Key { cluster: "elsewhere".into(), ..a.clone() };
    let answer = subject.get(&elsewhere).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Unknown(_))), "{answer:?}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn where_conditions_are_one_list_those_of_others_are_sent_along() {
    let Some(kube) = shared() else { return };
    let (group, namespace) = (group(), kube.namespace());
    let mut crd = definition(&group);
    let conditions = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/conditions";
    let list = crd.pointer_mut(conditions).and_then(Value::as_object_mut).expect("the list");
    list.remove("x-kubernetes-list-type");
    list.remove("x-kubernetes-list-map-keys");
    serve_as(kube, &group, &crd);
    make_bundle(kube, &group, &namespace, "a", &json!({}));
    let path = format!("{}/a/status", bundles(&group, &namespace));
    let foreign = json!({"status": {"conditions": [{"type": "Foreign", "status": "True"}, {"type": "Ready", "status": "False"}]}});
    kube.api().merge(&path, &foreign).ok();
    let cluster = KubernetesCluster::connect(options(kube.kubeconfig()), Arc::new(())).await.expect("a connection");
    let subject = Subject { cluster, group, namespace };
    let key = subject.key("a");
    let now = subject.found(&key).await;
    let write = |on: &Object| Op::ApplyStatus {
        key: key.clone(),
        status: Arc::new(json!({"conditions": [{"type": "Ready", "status": "True"}]})),
        manager: "setpoint/s/status".into(),
        precondition: at(on),
    };
    let Answer::Applied { object, .. } = subject.perform(write(&now)).await else { panic!("a write") };
    assert_eq!(
        object.value()["status"]["conditions"],
        json!([{"type": "Ready", "status": "True"}, {"type": "Foreign", "status": "True"}])
    );
    assert_eq!(told(&subject.perform(write(&now)).await), "version conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_answered_as_the_embedded_cluster_answers_it() {
    let Some(kube) = shared() else { return };
    let group = group();
    serve(kube, &group);
    let cluster = KubernetesCluster::connect(options(kube.kubeconfig()), Arc::new(())).await.expect("a connection");
    let subject = Subject { cluster, group: group.clone(), namespace: kube.namespace() };
    let expected = play(&Subject::local(&group)).await;
    let answered = play(&subject).await;
    for (at, (expected, answered)) in expected.iter().zip(&answered).enumerate() {
        assert_eq!(answered, expected, "answer {at}");
    }
    assert_eq!(expected.len(), answered.len());
}
