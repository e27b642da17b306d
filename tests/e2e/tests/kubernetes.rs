//! The same plugins on custom resources, against a real API server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_e2e::hub::{BUNDLES, Hub, LEASES, MAPS, SERVERS, WORKFLOWS, bundle, condition, part};
use setpoint_test_kube::Kube;
use setpoint_test_support::place::kubectl;
use setpoint_test_support::{Host, Setup, run};

/// What a command that fails at once is given.
const COMMAND: Duration = Duration::from_secs(60);

fn ready_bundle(hub: &Hub, name: &str) {
    hub.wait_for(&format!("the bundle {name} is ready"), || {
        let bundle = hub.get(BUNDLES, name)?;
        (condition(&bundle, "Ready") == "True").then_some(())
    });
}

fn data(hub: &Hub, name: &str) -> Value {
    hub.get(MAPS, name).map(|map| map["data"].clone()).unwrap_or_default()
}

#[test]
fn a_bundle_lives_in_a_cluster_as_kubectl_and_setpoint_show_it() {
    let Some(hub) = Hub::new() else { return };
    let host = hub.host().plugin("config-bundle").start();
    hub.serves(BUNDLES);
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    ready_bundle(&hub, "shop");
    assert_eq!(data(&hub, "shop"), json!({"x": "1"}));

    // As kubectl shows it.
    let table = hub.kubectl(&["get", "configbundles"]);
    assert!(table.lines().next().is_some_and(|line| line.contains("KEYS")) && table.contains("shop"), "{table}");
    hub.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", "configbundle/shop"]);
    let shop = hub.get(BUNDLES, "shop").unwrap_or_default();
    assert_eq!(shop["status"]["observedGeneration"], shop["metadata"]["generation"]);

    // As the host shows it, without naming the cluster.
    let listed = host.cli(&["get", "configbundles", "-n", &hub.namespace]).ok();
    assert!(listed.contains("shop") && listed.contains("Synced") && listed.contains("hub"), "{listed}");
    let described = host.cli(&["describe", "configbundle", "shop", "-n", &hub.namespace]).ok();
    let shows = |text: &str| assert!(described.contains(text), "{text} in {described}");
    ["Cluster:", "hub", "Children:", "ConfigMap", "Conditions:"].into_iter().for_each(shows);
    assert_eq!(host.json("/v1/overview")["mode"], "kubernetes");

    // A dependency, an edit, drift, and the end.
    hub.make(MAPS, &part("b", "shop", &json!({"y": "2"})));
    hub.wait_for("the second part is merged", || (data(&hub, "shop") == json!({"x": "1", "y": "2"})).then_some(()));
    hub.change(MAPS, "shop", &json!({"data": {"x": "drift"}}));
    hub.wait_for("drift is undone", || (data(&hub, "shop")["x"] == "1").then_some(()));
    assert_eq!(hub.delete(MAPS, "a").status, 200);
    hub.wait_for("the first part goes", || (data(&hub, "shop") == json!({"y": "2"})).then_some(()));
    hub.delete(BUNDLES, "shop");
    hub.wait_for("the bundle is gone", || hub.get(BUNDLES, "shop").is_none().then_some(()));
}

#[test]
fn a_restart_writes_nothing_and_knows_everything() {
    let Some(hub) = Hub::new() else { return };
    let host = hub.host().plugin("config-bundle").start();
    hub.serves(BUNDLES);
    for number in 0..20 {
        let name = format!("b{number}");
        hub.make(MAPS, &part(&format!("{name}-part"), &name, &json!({"n": name})));
        hub.make(BUNDLES, &bundle(&name));
    }
    (0..20).for_each(|number| ready_bundle(&hub, &format!("b{number}")));
    host.at_rest();
    let versions =
        || hub.kubectl(&["get", "configbundles,configmaps", "-o", "jsonpath={.items[*].metadata.resourceVersion}"]);
    let before = versions();
    let (status, _) = host.terminate();
    assert!(status.success());
    let host = host.start_again();
    host.all_synced(20, Duration::from_secs(30));
    host.at_rest();
    assert_eq!(host.writes(), 0);
    assert_eq!(versions(), before);
    assert!(host.metric("setpoint_calls_total", &[]) >= 20.0, "each was called once, and nothing came of it");
}

#[test]
fn without_grants_nothing_is_written_and_the_lines_that_are_missing_are_told() {
    let Some(hub) = Hub::new() else { return };
    let host = hub.host_by(&hub.kube.kubeconfig()).arg("--install-crds").plugin("config-bundle").start();
    hub.serves(BUNDLES);
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    host.wait_for("the log tells what is missing", |host| {
        let log = host.log();
        (log.contains("--grant config-bundle=read:core/ConfigMap@hub")
            && log.contains("--grant config-bundle=write:core/ConfigMap@hub"))
        .then_some(())
    });
    let told = host.wait_for("the bundle tells it as well", |_| {
        let bundle = hub.get(BUNDLES, "shop")?;
        let ready = setpoint_e2e::condition(&bundle["status"], "Ready").clone();
        ready["message"].as_str().filter(|_| ready["status"] == "False").map(str::to_owned)
    });
    assert!(told.contains("ConfigMap"), "{told}");
    assert!(hub.get(MAPS, "shop").is_none());
}

#[test]
fn a_plugin_that_impersonates_a_service_account_writes_children_by_its_rights_alone() {
    let Some(hub) = Hub::new() else { return };
    let namespace = &hub.namespace;
    hub.kube.service_account(namespace, "bundler");
    let config = setpoint_e2e::configuration(&format!(
        "plugins:\n  config-bundle: {{impersonate: {namespace}/bundler, grants: [described@hub/{namespace}]}}\n"
    ));
    let setup = hub.host_by(&hub.kube.kubeconfig()).arg("--install-crds").plugin("config-bundle").config(&config);
    let host = setup.start();
    hub.serves(BUNDLES);
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    // The status is the host's word: it needs no right of the account.
    let told = host.wait_for("the bundle tells what the account lacks", |_| {
        let bundle = hub.get(BUNDLES, "shop")?;
        let ready = setpoint_e2e::condition(&bundle["status"], "Ready").clone();
        ready["message"].as_str().filter(|message| message.contains("may not")).map(str::to_owned)
    });
    let lacks = format!("the ServiceAccount {namespace}/bundler may not create and patch configmaps");
    assert!(told.contains(&lacks), "{told}");
    assert!(hub.get(MAPS, "shop").is_none());

    let user = format!("system:serviceaccount:{namespace}:bundler");
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch", "delete"]});
    let _allowed = hub.kube.allow(&user, Some(namespace), &rule);
    host.cli(&["trigger", "configbundle", "shop", "-n", namespace]).ok();
    ready_bundle(&hub, "shop");
    assert_eq!(data(&hub, "shop"), json!({"x": "1"}));
    hub.delete(BUNDLES, "shop");
    hub.wait_for("its child goes with it", || hub.get(MAPS, "shop").is_none().then_some(()));
}

#[test]
fn a_kind_that_is_not_served_is_waited_for_and_holds_up_nobody() {
    let Some(hub) = Hub::new() else { return };
    let kube = Kube::setup().start();
    let kubeconfig = kube.kubeconfig().display().to_string();
    let host = Host::setup()
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--grant")
        .arg("*=described")
        .plugin("config-bundle")
        .plugin("workflow")
        .start();
    let ready = readiness(&host);
    assert!(ready.contains("does not serve ConfigBundle"), "{ready}");
    let crd = host.cli(&["crds", "configbundle"]).ok();
    kubectl(&kube, &["apply", "-f", "-"], &crd);
    let namespace = kube.namespace();
    let bundles = format!("/apis/examples.setpoint.dev/v1alpha1/namespaces/{namespace}/configbundles");
    hub.wait_for("bundles are served", || (kube.api().get(&bundles).status == 200).then_some(()));
    kube.api()
        .post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &part("a", "shop", &json!({"x": "1"})))
        .with(201);
    kube.api().post(&bundles, &bundle("shop")).with(201);
    host.wait_within("the bundle is ready", Duration::from_secs(60), |_| {
        let bundle = kube.api().get(&format!("{bundles}/shop")).ok();
        (condition(&bundle, "Ready") == "True").then_some(())
    });
    let ready = readiness(&host);
    assert!(!ready.contains("ConfigBundle") && ready.contains("does not serve Workflow"), "{ready}");
}

/// What a host says of its readiness.
fn readiness(host: &Host) -> String {
    host.json("/v1/overview")["ready"].to_string()
}

/// One of several hosts, with a lease that is short.
fn electing(hub: &Hub) -> Setup {
    with_lease(hub, hub.host())
}

fn with_lease(hub: &Hub, setup: Setup) -> Setup {
    let namespace = &hub.namespace;
    setup.arg("--leader-elect").config(&setpoint_e2e::configuration(&format!(
        "kubernetes: {{lease: {{namespace: {namespace}, duration: 4s, renewDeadline: 2s, retryPeriod: 500ms}}}}\n"
    )))
}

fn holds(host: &Host) -> bool {
    host.json("/v1/overview")["lease"]["holds"] == true
}

#[test]
fn of_two_hosts_one_acts_and_the_other_takes_over() {
    let Some(hub) = Hub::new() else { return };
    let first = electing(&hub).plugin("config-bundle").start();
    hub.serves(BUNDLES);
    first.wait_for("the first one holds the lease", |host| holds(host).then_some(()));
    let second = electing(&hub).plugin("config-bundle").start();
    assert!(!holds(&second));
    let ready = readiness(&second);
    assert!(second.ready() && ready.contains("Standby"), "it is ready, and says that it stands by: {ready}");
    assert_eq!(second.metric("leader_election_master_status", &[]), 0.0);
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    ready_bundle(&hub, "shop");
    assert_eq!(second.writes(), 0);
    assert_eq!(second.metric("setpoint_calls_total", &[]), 0.0);

    // Killed, it cannot give the lease back.
    first.kill();
    let killed = Instant::now();
    hub.change(MAPS, "a", &json!({"data": {"x": "2"}}));
    second.wait_within("the second one acts", Duration::from_secs(60), |_| {
        (data(&hub, "shop") == json!({"x": "2"})).then_some(())
    });
    let gap = killed.elapsed();
    println!("failover after a kill, with a lease of 4 s: {gap:?}");
    assert!(gap > Duration::from_secs(2), "not before the lease of the other one has ended: {gap:?}");
    assert!(holds(&second));
    assert_eq!(second.metric("leader_election_master_status", &[]), 1.0);

    // Told to stop, it does.
    let first = first.start_again();
    let (status, _) = second.terminate();
    assert!(status.success());
    let stopped = Instant::now();
    hub.change(MAPS, "a", &json!({"data": {"x": "3"}}));
    hub.wait_for("the first one acts again", || (data(&hub, "shop") == json!({"x": "3"})).then_some(()));
    let gap = stopped.elapsed();
    println!("hand-over by a host that stops: {gap:?}");
    assert!(gap < Duration::from_secs(4), "the lease was given back: {gap:?}");
    assert!(holds(&first));
    let lease = hub.get(LEASES, "setpoint").unwrap_or_default();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 4);
}

#[test]
fn what_a_person_disables_stays_disabled_whoever_acts() {
    let Some(hub) = Hub::new() else { return };
    let first = electing(&hub).plugin("config-bundle").start();
    hub.serves(BUNDLES);
    first.wait_for("the first one holds the lease", |host| holds(host).then_some(()));
    first.cli(&["disable", "configbundles"]).ok();
    let state = hub.get(MAPS, "setpoint-state").unwrap_or_default();
    assert_eq!(state["data"]["disabled-kinds"], r#"["examples.setpoint.dev/ConfigBundle"]"#, "{state}");
    // Its store knows nothing of it.
    let second = electing(&hub).plugin("config-bundle").start();
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    first.kill();
    second.wait_within("the second one acts", Duration::from_secs(60), |host| holds(host).then_some(()));
    let disabled = |host: &Host| host.json("/v1/overview")["disabled_resource_types"].to_string();
    second.wait_for("it has heard of it", |host| disabled(host).contains("ConfigBundle").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(second.metric("setpoint_calls_total", &[]), 0.0);
    assert!(hub.get(MAPS, "shop").is_none());

    // Whoever is told, all hear of it.
    let first = first.start_again();
    assert!(disabled(&first).contains("ConfigBundle"));
    first.cli(&["enable", "configbundles"]).ok();
    ready_bundle(&hub, "shop");
    assert!(holds(&second) && !disabled(&second).contains("ConfigBundle"));

    // Which children bundles may have is recorded once, and not at each of them.
    let state = hub.get(MAPS, "setpoint-state").unwrap_or_default();
    assert_eq!(state["data"]["child-places"], r#"{"examples.setpoint.dev/ConfigBundle":["core/ConfigMap"]}"#);
    let shop = hub.get(BUNDLES, "shop").unwrap_or_default();
    assert!(shop["metadata"]["annotations"]["setpoint.dev/child-places"].is_null(), "{shop}");
}

#[test]
fn what_another_installation_reconciles_is_left_alone_unless_a_person_says_otherwise() {
    let Some(hub) = Hub::new() else { return };
    // No lease in common, and each with a state of its own.
    let first = hub.host().plugin("config-bundle").start();
    hub.serves(BUNDLES);
    hub.make(MAPS, &part("a", "shop", &json!({"x": "1"})));
    hub.make(BUNDLES, &bundle("shop"));
    ready_bundle(&hub, "shop");
    let second = hub.host().plugin("config-bundle").start();
    let waits = |host: &Host| host.rows("ConfigBundle").first().map(|row| row["reason"].to_string());
    second.wait_for("it says who reconciles the bundle", |host| {
        waits(host).filter(|why| why.contains("OwnedElsewhere")).map(drop)
    });
    hub.change(MAPS, "a", &json!({"data": {"x": "2"}}));
    hub.wait_for("the first one goes on", || (data(&hub, "shop") == json!({"x": "2"})).then_some(()));
    assert_eq!((second.writes(), second.metric("setpoint_calls_total", &[])), (0, 0.0));
    drop(first);
    let third = hub.host().arg("--take-over").plugin("config-bundle").start();
    third.wait_for("it calls its plugin", |host| (host.metric("setpoint_calls_total", &[]) > 0.0).then_some(()));
}

fn signal(host: &Host, name: &str) {
    let mut kill = std::process::Command::new("sh");
    run(kill.args(["-c", "kill -$0 $1", name]).arg(host.pid().to_string()), COMMAND).ok();
}

#[test]
fn a_host_that_was_frozen_beyond_its_lease_writes_nothing_more() {
    let Some(hub) = Hub::new() else { return };
    let host = |user: &str| {
        let kubeconfig = hub.kube.kubeconfig_with_certificate(user, &["system:masters"]);
        with_lease(&hub, hub.host_of(&kubeconfig)).plugin("config-bundle").start()
    };
    let first = host("first-host");
    hub.serves(BUNDLES);
    first.wait_for("the first one holds the lease", |host| holds(host).then_some(()));
    let second = host("second-host");
    for number in 0..10 {
        let name = format!("b{number}");
        hub.make(MAPS, &part(&format!("{name}-part"), &name, &json!({"n": "0"})));
        hub.make(BUNDLES, &bundle(&name));
    }
    (0..10).for_each(|number| ready_bundle(&hub, &format!("b{number}")));
    let parts = |value: &str| {
        (0..10).for_each(|number| drop(hub.change(MAPS, &format!("b{number}-part"), &json!({"data": {"n": value}}))));
    };
    let are = |host: &Host, value: &str| {
        host.wait_within("all parts are merged", Duration::from_secs(60), |_| {
            (0..10).all(|number| data(&hub, &format!("b{number}"))["n"] == value).then_some(())
        });
    };
    // In the midst of its work.
    parts("1");
    signal(&first, "STOP");
    parts("2");
    are(&second, "2");
    assert!(holds(&second));
    signal(&first, "CONT");
    parts("3");
    are(&second, "3");
    first.wait_for("it says that it stands by", |host| readiness(host).contains("Standby").then_some(()));

    // As the server has written it down.
    let writes: Vec<_> = hub
        .kube
        .audited()
        .into_iter()
        .filter(|asked| asked.is_write() && asked.namespace() == hub.namespace && asked.resource() != "leases")
        .filter(|asked| asked.resource() != "events")
        .collect();
    let mut taken = std::collections::BTreeSet::new();
    let mut by_second = 0;
    for asked in &writes {
        let object = (asked.resource().to_owned(), asked.name().to_owned());
        match asked.user() {
            "second-host" if asked.code() < 300 => {
                taken.insert(object);
                by_second += 1;
            }
            "first-host" if asked.code() < 300 => {
                let what = format!("{} {} {}", asked.verb(), asked.uri(), asked.answered());
                assert!(!taken.contains(&object), "the old holder has written what the new one had written: {what}");
            }
            _ => {}
        }
    }
    assert!(by_second >= 20, "the new one has written: {by_second}");
}

#[test]
fn processes_for_servers_in_a_cluster_run_where_the_lease_is() {
    let Some(hub) = Hub::new() else { return };
    let server = setpoint_test_support::mcp::test_server();
    let setup = || electing(&hub).arg("--grant").arg("mcp-server=process").plugin("mcp-server");
    let first = setup().start();
    hub.serves(SERVERS);
    first.wait_for("the first one holds the lease", |host| holds(host).then_some(()));
    hub.make(
        SERVERS,
        &json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": "tools"},
            "spec": {"type": "stdio", "autoStart": true, "command": server, "args": ["--stdio"]}}),
    );
    let running = |what: &str| {
        hub.wait_for(what, || {
            let server = hub.get(SERVERS, "tools")?;
            (server["status"]["state"] == "Running").then_some(())
        });
    };
    running("the server runs");
    let processes = |host: &Host| host.list("/v1/objects?kind=Process").len();
    assert_eq!(processes(&first), 1);
    let second = setup().start();
    assert_eq!(processes(&second), 0);
    let (status, _) = first.terminate();
    assert!(status.success());
    second.wait_for("the process runs beside the other host", |host| (processes(host) == 1).then_some(()));
    running("the server runs again");
    // What was left of it in the state of the first one is not started again while the other one acts.
    let first = first.start_again();
    first.never("it runs twice", Duration::from_secs(1), |host| processes(host) > 0);
}

#[test]
fn a_secret_that_is_rotated_in_a_cluster_restarts_the_process_that_has_it() {
    let Some(hub) = Hub::new() else { return };
    let host = hub.host().arg("--grant").arg("mcp-server=process").plugin("mcp-server").start();
    hub.serves(SERVERS);
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"token": value}});
    hub.make("v1/secrets", &secret("first-value"));
    let from = json!([{"name": "TOKEN", "secretKeyRef": {"name": "keys", "key": "token"}}]);
    hub.make(
        SERVERS,
        &json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": "tools"},
            "spec": {"type": "stdio", "autoStart": true, "command": setpoint_test_support::mcp::test_server(),
                "args": ["--stdio"], "envFrom": from}}),
    );
    let pid = |what: &str, before: Option<&Value>| {
        hub.wait_for(what, || {
            let server = hub.get(SERVERS, "tools")?;
            let process = host.list("/v1/objects?kind=Process").into_iter().next()?;
            let pid = process["status"]["pid"].clone();
            (server["status"]["state"] == "Running" && pid.is_u64() && before != Some(&pid)).then_some(pid)
        })
    };
    let first = pid("the server runs", None);
    hub.change("v1/secrets", "keys", &json!({"metadata": {"labels": {"more": "labels"}}}));
    host.never("it is restarted though the value is the same", Duration::from_secs(1), |host| {
        host.list("/v1/objects?kind=Process").first().is_none_or(|process| process["status"]["pid"] != first)
    });
    hub.change("v1/secrets", "keys", &json!({"stringData": {"token": "another-value"}}));
    pid("it runs with the new value", Some(&first));
}

#[test]
fn what_cannot_be_reached_is_told_with_what_was_tried() {
    let Some(hub) = Hub::new() else { return };
    let setup = Host::setup();
    let command = |args: &[&str]| {
        let mut command = setpoint_test_support::host::command(setup.directory());
        command.args(["run", "--listen", "127.0.0.1:0"]).args(args).env_remove("KUBECONFIG");
        run(&mut command, COMMAND)
    };
    let text = command(&["--mode", "kubernetes"]).failed(1);
    assert!(text.contains("kubeconfig"), "{text}");
    let text = command(&["--kubeconfig", "nowhere.yaml"]).failed(1);
    assert!(text.contains("nowhere.yaml"), "{text}");
    let other = Kube::setup().start();
    let untrusted = setup.directory().join("untrusted.yaml");
    let kubeconfig = std::fs::read_to_string(hub.kube.kubeconfig()).expect("a kubeconfig");
    std::fs::write(&untrusted, kubeconfig.replace(hub.kube.server(), other.server())).expect("written");
    let text = command(&["--kubeconfig", "untrusted.yaml"]).failed(1);
    assert!(text.contains("is not trusted") && text.contains(other.server()), "{text}");
    let refused = hub.kube.kubeconfig_with_token("expired", "no-such-token").display().to_string();
    let text = command(&["--kubeconfig", &refused]).failed(1);
    assert!(text.contains("does not accept the credentials"), "{text}");
    let text = command(&["--mode", "files", "--kubeconfig", "x"]).failed(2);
    assert!(text.contains("the mode files has no use for a kubeconfig"), "{text}");
}

#[test]
fn a_server_that_goes_away_makes_nothing_absent() {
    let Some(hub) = Hub::new() else { return };
    let kube = Kube::setup().start();
    let namespace = kube.namespace();
    let host = Host::setup()
        .arg("--kubeconfig")
        .arg(kube.kubeconfig().display().to_string())
        .arg("--install-crds")
        .arg("--grant")
        .arg("*=described")
        .plugin("config-bundle")
        .start();
    let bundles = format!("/apis/examples.setpoint.dev/v1alpha1/namespaces/{namespace}/configbundles");
    let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
    hub.wait_for("bundles are served", || (kube.api().get(&bundles).status == 200).then_some(()));
    kube.api().post(&maps, &part("a", "shop", &json!({"x": "1"}))).with(201);
    kube.api().post(&bundles, &bundle("shop")).with(201);
    let is = |value: &str| {
        let answer = kube.api().get(&format!("{maps}/shop"));
        (answer.status == 200 && answer.body["data"]["x"] == value).then_some(())
    };
    hub.wait_for("it is made", || is("1"));
    host.at_rest();
    kube.kill();
    host.wait_within("it is not ready any more", Duration::from_secs(90), |host| (!host.ready()).then_some(()));
    let rows = host.rows("ConfigBundle");
    assert_eq!(rows.len(), 1, "unknown is not absent: {rows:?}");
    kube.start_again();
    host.wait_within("it is ready again", Duration::from_secs(90), |host| host.ready().then_some(()));
    kube.api().merge(&format!("{maps}/a"), &json!({"data": {"x": "2"}})).ok();
    hub.wait_for("it goes on", || is("2"));
}

#[test]
fn a_workflow_is_the_same_in_a_cluster_as_in_a_file() {
    let Some(hub) = Hub::new() else { return };
    // The kind that it asks for is served in both, whatever other tests have brought to the server.
    let host = hub.host().plugin("workflow").plugin("mcp-server").start();
    hub.serves(WORKFLOWS);
    let spec = json!({"steps": [{"id": "one", "tool": "x_tool"}, {"id": "two", "tool": "x_tool"}]});
    hub.make(WORKFLOWS, &json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": spec}));
    let file = "apiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  steps:\n  - {id: one, tool: x_tool}\n  - {id: two, tool: x_tool}\n";
    let files = Host::setup().plugin("workflow").plugin("mcp-server").file("w.yaml", file).start();
    files.all_synced(1, Duration::from_secs(20));
    let told = |object: &Value| {
        let mut status = object["status"].clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        status
    };
    let there = || hub.get(WORKFLOWS, "w").map(|object| told(&object));
    let here = || files.object(setpoint_e2e::WORKFLOW, "w").map(|object| told(&object));
    hub.wait_for("both say of its tools that none is there", || {
        let said = |status: Option<Value>| status.is_some_and(|status| status.to_string().contains("ToolsMissing"));
        (said(there()) && said(here())).then_some(())
    });
    host.at_rest();
    assert_eq!(there(), here());
}
