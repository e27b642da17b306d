//! What the harness promises: servers that start, share, die and come back, and that leave nothing behind.

use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_test_kube::{Kube, available, shared};

#[test]
fn a_server_is_ready_when_it_has_started() {
    if !available() {
        return;
    }
    let began = Instant::now();
    let kube = Kube::setup().start();
    println!("measured: etcd and an API server are ready after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(kube.api().get("/version").ok()["gitVersion"].as_str().map(|v| v.starts_with("v1.")), Some(true));
    let namespace = kube.namespace();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    kube.api().post(&path, &json!({"metadata": {"name": "a"}})).with(201);
    let began = Instant::now();
    kube.kill();
    assert!(kube.api().send(setpoint_test_kube::Call::new("GET".parse().unwrap(), "/version")).is_err());
    kube.start_again();
    println!("measured: the API server is ready again {:.1} s after a kill", began.elapsed().as_secs_f64());
    kube.api().get(&format!("{path}/a")).ok();
    println!("{}", kube.audited().len());
    let began = Instant::now();
    let other = Kube::setup().on(kube.etcd()).start();
    println!("measured: another ready {:.1} s", began.elapsed().as_secs_f64());
    println!("{}", std::fs::read_to_string(format!("/proc/{}/status", other.pid().unwrap())).unwrap());
}
