//! What the harness promises: servers that start, share, die and come back, and that leave nothing behind.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_test_kube::{ADMIN, Call, Etcd, Kube, available, shared};

const SOON: Duration = Duration::from_secs(20);

fn config_map(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[track_caller]
fn eventually(what: &str, at_most: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < at_most, "not within {at_most:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_is_killed_comes_back_where_it_was_with_what_it_had() {
    if !available() {
        return;
    }
    let began = Instant::now();
    let kube = Kube::setup().start();
    println!("measured: etcd and an API server are ready after {:.1} s", began.elapsed().as_secs_f64());
    let path = format!("/api/v1/namespaces/{}/configmaps", kube.namespace());
    kube.api().post(&path, &config_map("a")).with(201);
    kube.kill();
    assert!(kube.api().send(Call::new("GET".parse().unwrap_or_default(), "/version")).is_err());
    kube.etcd().kill();
    kube.etcd().start_again();
    let began = Instant::now();
    kube.start_again();
    println!("measured: an API server is ready again after {:.1} s", began.elapsed().as_secs_f64());
    kube.api().get(&format!("{path}/a")).ok();
}

#[test]
fn an_etcd_goes_back_in_time() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let path = format!("/api/v1/namespaces/{}/configmaps", kube.namespace());
    kube.api().post(&path, &config_map("before")).with(201);
    let backup = kube.etcd().back_up();
    eventually("it is written again", SOON, || kube.api().post(&path, &config_map("after")).status == 201);
    kube.etcd().restore(&backup);
    kube.start_again();
    kube.api().get(&format!("{path}/before")).ok();
    kube.api().get(&format!("{path}/after")).with(404);
}

#[test]
fn clusters_on_one_etcd_know_nothing_of_each_other() {
    if !available() {
        return;
    }
    let etcd = Etcd::start();
    let clusters = [0, 1].map(|_| Kube::setup().on(&etcd).start());
    let uids = clusters.each_ref().map(|kube| {
        kube.api().get("/api/v1/namespaces/kube-system").ok()["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
    });
    assert_ne!(uids[0], uids[1]);
    let path = format!("/api/v1/namespaces/{}", clusters[0].namespace());
    clusters[0].api().get(&path).with(200);
    clusters[1].api().get(&path).with(404);
    clusters[1].api_with_token(&clusters[0].token(ADMIN)).get(&path).with(401);
}

fn get(path: &str) -> Call {
    Call::new("GET".parse().unwrap_or_default(), path)
}

#[test]
fn kubectl_is_whoever_its_file_says() {
    let Some(kube) = shared() else { return };
    let whoami = |file: &Path| {
        let output = kube
            .kubectl()
            .args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
            .arg("--kubeconfig")
            .arg(file)
            .output()
            .expect("kubectl can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(whoami(&kube.kubeconfig()), "admin");
    assert_eq!(whoami(&kube.kubeconfig_of("alice")), "alice");
    assert_eq!(whoami(&kube.kubeconfig_with_certificate("dora", &["some"])), "dora");
}

#[test]
fn rights_hold_once_they_are_given_and_no_more_once_they_are_taken() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let alice = kube.api_as("alice");
    for _ in 0..3 {
        alice.get(&path).with(403);
        let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]});
        let allowed = kube.allow("alice", Some(&namespace), &rule);
        alice.get(&path).with(200);
        allowed.revoke();
    }
}

#[test]
fn a_service_account_is_a_user_until_it_is_deleted() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let api = kube.api_with_token(&kube.service_account(&namespace, "robot"));
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let refused = api.get(&path).with(403);
    let name = format!("User \"system:serviceaccount:{namespace}:robot\"");
    assert!(refused["message"].as_str().is_some_and(|message| message.contains(&name)), "{refused}");
    kube.api().delete(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/robot")).ok();
    eventually("its token is no good any more", Duration::from_secs(30), || api.get(&path).status == 401);
}

#[test]
fn the_audit_log_has_every_write_with_what_came_of_it() {
    let Some(kube) = shared() else { return };
    let namespace = kube.namespace();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let made = kube.api().post(&path, &config_map("a")).with(201);
    kube.api_as("bob").delete(&format!("{path}/a")).with(403);
    kube.api().get(&format!("{path}/a")).ok();
    let audited: Vec<_> = kube
        .audited()
        .into_iter()
        .filter(|one| one.namespace() == namespace && one.resource() == "configmaps")
        .collect();
    let rows: Vec<_> = audited.iter().map(|one| (one.user(), one.verb(), one.name(), one.code())).collect();
    assert_eq!(rows, [("admin", "create", "a", 201), ("bob", "delete", "a", 403), ("admin", "get", "a", 200)]);
    assert_eq!(
        audited[0].version().map(|version| version.to_string()).as_deref(),
        made["metadata"]["resourceVersion"].as_str()
    );
    assert!(audited[0].received() <= audited[0].answered());
    assert!(audited[0].answered() <= audited[1].answered());
    let of_bob: Vec<_> = kube.audited_of("bob").into_iter().filter(|one| one.namespace() == namespace).collect();
    assert_eq!(of_bob.iter().map(|one| (one.verb(), one.code())).collect::<Vec<_>>(), [("delete", 403)]);
}

#[test]
fn a_server_takes_a_new_certificate_while_it_runs() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    let before = kube.certificate();
    assert_eq!(before, kube.certificate());
    kube.rotate_certificate();
    eventually("it shows the new one", Duration::from_secs(90), || kube.certificate() != before);
    kube.api_as("admin").get("/version").ok();
}

#[test]
fn a_server_that_is_stopped_in_its_tracks_goes_on_where_it_was() {
    if !available() {
        return;
    }
    let kube = Kube::setup().start();
    kube.pause();
    assert!(kube.api().send(get("/version").within(Duration::from_millis(500))).is_err());
    kube.resume();
    eventually("it answers", SOON, || kube.api().send(get("/version")).is_ok());
}

/// A whole harness in a process of its own, killed without a chance to clean up.
#[test]
fn nothing_outlives_a_test_program_that_is_killed() {
    if !available() {
        return;
    }
    let mut program =
        Command::new(env!("CARGO_BIN_EXE_setpoint-kube")).stdout(Stdio::piped()).spawn().expect("it can be started");
    let lines = BufReader::new(program.stdout.take().expect("it is piped")).lines();
    let lines: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.contains("Ctrl-C")).collect();
    let port: u16 = lines
        .iter()
        .find_map(|line| line.strip_prefix("https://127.0.0.1:")?.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("it tells no address: {lines:?}"));
    let kubeconfig = lines.iter().find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
    let dir = Path::new(kubeconfig.expect("it tells the file")).parent().expect("it is in a directory").to_owned();
    assert!(dir.is_dir());
    TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    program.kill().and_then(|()| program.wait()).expect("it can be killed");
    eventually("nobody listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_err());
    eventually("its directory is gone", SOON, || !dir.exists());
}
