//! What is said when there is no connection to be had.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use setpoint_kubernetes::{Access, ConnectError, ConnectOptions, KubernetesCluster};
use setpoint_test_kube::shared;

use crate::support::options;

/// A certificate authority that has signed nothing.
const STRANGER: &str = "-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUE5i5BwYNeEm3of2OjLI/U/4Gh4wwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc3RyYW5nZXIwIBcNMjYxMTI3MDY1NjQ4WhgPMjEyNjExMDMw
NjU2NDhaMBMxETAPBgNVBAMMCHN0cmFuZ2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAETS5iattds1E1gjHxXBzOQnwB+S5Zn9EqePkUU8GCfhQ/nnvrR26S5pYN
PbYvA8/XlNABTSf4dtIo8vrC+W1LJ6NTMFEwHQYDVR0OBBYEFF2gboA9mLcAU1wT
CNwK66Z9d7JHMB8GA1UdIwQYMBaAFF2gboA9mLcAU1wTCNwK66Z9d7JHMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgSpBTUhxfSznr88vRtKF80QNc
yEmG7wOP4z5XytPZ/C8CIQCRT8d7Hch2l8DRd1CzSlI+jccrKF5cb4arQ2D19qIW
2g==
-----END CERTIFICATE-----
";

async fn refused(options: ConnectOptions) -> ConnectError {
    let options = ConnectOptions { patience: Duration::from_millis(300), ..options };
    match KubernetesCluster::connect(options, Arc::new(())).await {
        Ok(_) => panic!("a connection"),
        Err(error) => error,
    }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config");
    std::fs::write(&path, text).expect("a file");
    (dir, path)
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_or_makes_no_sense_is_named() {
    let missing = refused(options("/nowhere/config".into())).await.to_string();
    assert_eq!(missing, "/nowhere/config: there is no such file");
    let (_dir, path) = file("clusters: 5");
    let garbled = refused(options(path.clone())).await.to_string();
    assert!(garbled.starts_with(&format!("{}: ", path.display())), "{garbled}");
    let (_dir, path) = file("apiVersion: v1\nkind: Config\ncontexts: []\nclusters: []\nusers: []\n");
    let access = Access::Kubeconfig { path: Some(path.clone()), context: Some("prod".into()) };
    let context = refused(ConnectOptions { access, ..ConnectOptions::default() }).await.to_string();
    assert!(context.starts_with(&format!("the context prod of {}: ", path.display())), "{context}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_was_tried() {
    // The port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {}}],
    });
    let (_dir, path) = file(&config.to_string());
    let error = refused(options(path)).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}/ (the current context of ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_trusted_is_told_from_one_that_does_not_trust_us() {
    let Some(kube) = shared() else { return };
    let text = std::fs::read_to_string(kube.kubeconfig()).expect("a kubeconfig");
    let dir = tempfile::tempdir().expect("a directory");
    let authority = dir.path().join("ca.crt");
    std::fs::write(&authority, STRANGER).expect("a file");
    let known = text.lines().find(|line| line.contains("certificate-authority:")).expect("an authority");
    let config = text.replace(known, &format!("    certificate-authority: {}", authority.display()));
    let (_dir, path) = file(&config);
    let error = refused(options(path)).await;
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("has not signed it"), "{error}");

    let error = refused(options(kube.kubeconfig_with_token("expired", "nonsense"))).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error}");
    assert!(!error.to_string().contains("nonsense"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_ask_who_the_cluster_is_is_named_when_it_is_missing() {
    let Some(kube) = shared() else { return };
    let error = refused(options(kube.kubeconfig_of("bob"))).await;
    assert!(
        error.to_string().ends_with(
            "the host may not get namespaces \"kube-system\"; grant it with a ClusterRole that has the rule \
             {\"apiGroups\":[\"\"],\"resources\":[\"namespaces\"],\"verbs\":[\"get\"]}"
        ),
        "{error}"
    );
    let rule = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]});
    let allowed = kube.allow("bob", None, &rule);
    let cluster = KubernetesCluster::connect(options(kube.kubeconfig_of("bob")), Arc::new(())).await;
    assert_eq!(cluster.map(|cluster| cluster.identity().len()).unwrap_or_default(), 36, "a uid");
    allowed.revoke();
}
