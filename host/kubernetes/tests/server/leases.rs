//! Two hosts, one lease, on a real server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_cluster::Cluster;
use setpoint_core::key::Key;
use setpoint_core::lease::Terms;
use setpoint_core::op::{Answer, Op, Refusal};
use setpoint_kubernetes::{KubernetesCluster, Leadership, LeaseOptions};
use setpoint_test_kube::shared;

use crate::support::{Host, eventually, options};

fn terms() -> Terms {
    Terms::new(3_000, 1_500, 300).expect("terms")
}

fn wanted(namespace: &str, identity: &str) -> LeaseOptions {
    LeaseOptions {
        namespace: namespace.into(),
        name: "setpoint".into(),
        identity: identity.into(),
        terms: terms(),
        labels: [("of".to_owned(), "test".to_owned())].into(),
        ..LeaseOptions::default()
    }
}

fn start(cluster: &KubernetesCluster, options: LeaseOptions) -> Arc<Leadership> {
    Leadership::start(cluster, options, None, Arc::default())
}

fn apply(namespace: &str, value: &str) -> Op {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}, "data": {"x": value}});
    Op::Apply {
        key: Key::new("hub", "", "ConfigMap", Some(namespace), "a"),
        object: Arc::new(object),
        manager: "setpoint/a".into(),
        force: false,
        precondition: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_acts_and_the_other_follows_when_it_goes() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let (a, b) = (Host::connect(options(kube.kubeconfig())).await, Host::connect(options(kube.kubeconfig())).await);
    let first = start(&a.cluster, wanted(&namespace, "a"));
    a.cluster.set_fence(Some(first.clone()));
    eventually("the first one holds it", || first.holds());
    let second = start(&b.cluster, wanted(&namespace, "b"));
    b.cluster.set_fence(Some(second.clone()));
    eventually("the second one sees who does", || second.holder().as_deref() == Some("a"));
    assert!(!second.holds());
    let answer = b.cluster.perform(apply(&namespace, "b")).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    assert!(matches!(a.cluster.perform(apply(&namespace, "a")).await, Answer::Applied { created: true, .. }));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(first.holds() && !second.holds(), "it is renewed");

    // Given back, it is free at once.
    let began = Instant::now();
    assert!(first.release(Duration::from_secs(5)).await);
    assert!(!first.holds());
    eventually("the second one has it", || second.holds());
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    eventually("it is told", || second.term() == Some(1));
    assert_eq!(first.term(), None);
    assert!(second.transitions() >= 1);
    assert!(matches!(b.cluster.perform(apply(&namespace, "b")).await, Answer::Applied { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_cannot_reach_the_server_stops_before_another_one_begins() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let proxy = kube.proxy();
    let (a, b) = (Host::connect(options(proxy.kubeconfig())).await, Host::connect(options(kube.kubeconfig())).await);
    let first = start(&a.cluster, wanted(&namespace, "a"));
    a.cluster.set_fence(Some(first.clone()));
    eventually("the first one holds it", || first.holds());
    let second = start(&b.cluster, wanted(&namespace, "b"));
    proxy.relay().silence();
    let began = Instant::now();
    let mut stopped = None;
    while !second.holds() {
        assert!(began.elapsed() < Duration::from_secs(30));
        if !first.holds() && stopped.is_none() {
            stopped = Some(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (stopped, taken) = (stopped.expect("it has stopped before"), began.elapsed());
    assert!(stopped <= Duration::from_millis(1_600), "{stopped:?}");
    assert!(taken >= Duration::from_millis(2_000), "{taken:?}");
    let answer = a.cluster.perform(apply(&namespace, "late")).await;
    assert!(matches!(answer, Answer::Refused(Refusal::Transient(_))), "{answer:?}");
    proxy.relay().speak();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!first.holds() && second.holds(), "what was stuck comes too late");
    let map = kube.api().get(&format!("/api/v1/namespaces/{namespace}/configmaps/a"));
    assert_eq!(map.status, 404, "nothing of the old one was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_listed_with_what_is_written_beside_them_and_those_that_are_left_are_deleted() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let a = Host::connect(options(kube.kubeconfig())).await;
    let first = start(&a.cluster, wanted(&namespace, "a"));
    eventually("it is held", || first.holds());
    first.annotate([("weight".to_owned(), "2".to_owned())].into());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, listed) = a.cluster.leases(&namespace, ("of", "test")).await.expect("a list");
    let [lease] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((lease.name.as_str(), lease.record.holder.as_str()), ("setpoint", "a"));
    assert_eq!(lease.annotations.get("weight").map(String::as_str), Some("2"));
    let (_, others) = a.cluster.leases(&namespace, ("of", "others")).await.expect("a list");
    assert_eq!(others, []);
    drop(first);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(a.cluster.delete_lease(&namespace, "setpoint", "1").await.is_err(), "it is not what it was");
    let (_, listed) = a.cluster.leases(&namespace, ("of", "test")).await.expect("a list");
    a.cluster.delete_lease(&namespace, "setpoint", &listed[0].record.version).await.expect("it is deleted");
    a.cluster.delete_lease(&namespace, "setpoint", "1").await.expect("it is gone already");
}
