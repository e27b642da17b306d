//! Leases.

use serde_json::{Value, json};
use setpoint_test_kube::shared;

fn lease(holder: &str, version: Option<&Value>) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "a", "resourceVersion": version},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:04:05.123456Z",
        },
    })
}

#[test]
fn a_lease_is_created_by_one_and_updated_only_from_its_latest_version() {
    let Some(kube) = shared() else { return };
    let list = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", kube.namespace());
    let path = format!("{list}/a");
    let first = kube.api().post(&list, &lease("one", None)).with(201);
    let second = kube.api().post(&list, &lease("two", None)).with(409);
    assert_eq!(second["reason"], "AlreadyExists", "the third sort of 409");
    assert_eq!(first["spec"]["renewTime"], "2026-01-02T03:04:05.123456Z", "microseconds are kept");

    let renewed = kube.api().put(&path, &lease("one", Some(&first["metadata"]["resourceVersion"]))).ok();
    // The same again is no write, so that a renewal has a time of its own.
    assert_eq!(renewed["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let mut later = lease("one", Some(&first["metadata"]["resourceVersion"]));
    later["spec"]["renewTime"] = json!("2026-01-02T03:04:07.000000Z");
    kube.api().put(&path, &later).ok();
    let taken = kube.api().put(&path, &lease("two", Some(&first["metadata"]["resourceVersion"]))).with(409);
    assert_eq!(taken["reason"], "Conflict");
}

#[test]
fn an_update_of_a_lease_names_a_version_or_is_refused() {
    let Some(kube) = shared() else { return };
    let list = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", kube.namespace());
    kube.api().post(&list, &lease("one", None)).with(201);
    let refused = kube.api().put(&format!("{list}/a"), &lease("two", None)).with(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.resourceVersion");
}

#[test]
fn of_many_that_take_one_version_one_succeeds() {
    let Some(kube) = shared() else { return };
    let list = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", kube.namespace());
    let first = kube.api().post(&list, &lease("nobody", None)).with(201);
    let version = &first["metadata"]["resourceVersion"];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let taking: Vec<_> = (0..8)
            .map(|taker| {
                let path = format!("{list}/a");
                scope.spawn(move || kube.api().put(&path, &lease(&taker.to_string(), Some(version))).status)
            })
            .collect();
        taking.into_iter().map(|taker| taker.join().expect("it is answered")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 7, "{statuses:?}");
}
