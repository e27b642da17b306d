//! Clusters that come and go, against real API servers.

use std::net::TcpListener;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_e2e::hub::{BUNDLES, Hub, MAPS, bundle, condition, part};
use setpoint_test_kube::{Kube, shared};
use setpoint_test_support::{Host, Setup};

/// One provider that looks at a directory, whose files are a cluster each.
const DIRECTORY: &str = "\
apiVersion: config.setpoint.dev/v1alpha1
clusters:
  fleet:
    kubeconfigs: [clusters]
    contexts: current
    installCrds: safe
";

fn setup() -> Setup {
    let setup = Host::setup().args(["--grant".into(), "*=described".into()]);
    std::fs::create_dir_all(setup.directory().join("clusters")).expect("a directory");
    setup
}

/// Puts a kubeconfig where the host looks for them.
fn join(host: &Host, name: &str, kubeconfig: &Path) {
    let to = host.root().join("clusters").join(format!("{name}.kubeconfig"));
    std::fs::copy(kubeconfig, to).expect("a copy");
}

fn leave(host: &Host, name: &str) {
    std::fs::remove_file(host.root().join("clusters").join(format!("{name}.kubeconfig"))).expect("it is there");
}

fn cluster(host: &Host, name: &str) -> Option<Value> {
    let fleet = host.json("/v1/clusters");
    fleet["clusters"].as_array()?.iter().find(|cluster| cluster["name"] == name).cloned()
}

/// Where the API has a cluster as an object.
fn object_of(name: &str) -> String {
    format!("/v1/objects/local/host.setpoint.dev/Cluster/-/{name}")
}

fn in_state(host: &Host, name: &str, state: &str) -> Value {
    host.wait_for(&format!("{name} is {state}"), |host| cluster(host, name).filter(|found| found["state"] == state))
}

/// Two servers of their own: a host that looks at all of one meets no other's objects. None where no server can run;
/// that is said.
fn pair() -> Option<(Hub, Hub)> {
    static PAIR: OnceLock<(Kube, Kube)> = OnceLock::new();
    shared()?;
    let (west, east) = PAIR.get_or_init(|| (Kube::setup().start(), Kube::setup().start()));
    Some((Hub::on(west), Hub::on(east)))
}

fn ready(place: &Hub, name: &str) {
    place.wait_for(&format!("the bundle {name} is ready"), || {
        let bundle = place.get(BUNDLES, name)?;
        (condition(&bundle, "Ready") == "True").then_some(())
    });
}

fn make_bundle(place: &Hub, name: &str, value: &str) {
    place.make(MAPS, &part(&format!("{name}-part"), name, &json!({"x": value})));
    place.make(BUNDLES, &bundle(name));
}

fn value_in(place: &Hub, name: &str) -> Value {
    place.get(MAPS, name).map(|map| map["data"]["x"].clone()).unwrap_or_default()
}

#[test]
fn clusters_come_go_and_come_back_while_objects_change() {
    let Some((west, east)) = pair() else { return };
    let host = setup().config(DIRECTORY).plugin("config-bundle").start();
    assert_eq!(cluster(&host, "local").map(|local| local["state"].clone()), Some("Engaged".into()));

    // They come: definitions are brought, objects are reconciled, each in its own cluster.
    join(&host, "west", &west.kube.kubeconfig());
    in_state(&host, "west", "Engaged");
    west.serves(BUNDLES);
    make_bundle(&west, "shop", "1");
    ready(&west, "shop");
    join(&host, "east", &east.kube.kubeconfig());
    in_state(&host, "east", "Engaged");
    east.serves(BUNDLES);
    make_bundle(&east, "shop", "2");
    ready(&east, "shop");
    assert_eq!((value_in(&west, "shop"), value_in(&east, "shop")), (json!("1"), json!("2")));
    let table = host.cli(&["get", "clusters"]).ok();
    assert!(table.contains("west") && table.contains("east") && table.contains("Engaged"), "{table}");
    let objects = host.cli(&["get", "configbundles", "-A"]).ok();
    assert!(objects.contains("west") && objects.contains("east"), "{objects}");
    assert_eq!(host.json(&object_of("west"))["object"]["status"]["state"], "Engaged", "the cluster is an object");

    // One goes: what is in it stays as it is, and nobody acts on it.
    let before = west.get(MAPS, "shop").expect("it is there");
    leave(&host, "west");
    host.wait_for("west is gone", |host| cluster(host, "west").is_none().then_some(()));
    west.change(MAPS, "shop-part", &json!({"data": {"x": "3"}}));
    east.change(MAPS, "shop-part", &json!({"data": {"x": "4"}}));
    east.wait_for("the other one goes on", || (value_in(&east, "shop") == "4").then_some(()));
    assert_eq!(west.get(MAPS, "shop"), Some(before), "nothing was written, and nothing deleted");
    assert!(host.rows("ConfigBundle").iter().all(|row| row["cluster"] != "west"));
    host.wait_for("its object is gone", |host| (host.get(&object_of("west")).status == 404).then_some(()));

    // It comes back: what has changed meanwhile is acted upon.
    join(&host, "west", &west.kube.kubeconfig());
    west.wait_for("it is taken up again", || (value_in(&west, "shop") == "3").then_some(()));
}

#[test]
fn a_cluster_that_cannot_be_had_says_why_and_touches_no_other() {
    let Some(first) = shared() else { return };
    let west = Hub::on(first);
    let host = setup().config(DIRECTORY).plugin("config-bundle").start();
    join(&host, "west", &west.kube.kubeconfig());
    in_state(&host, "west", "Engaged");
    west.serves(BUNDLES);

    let write = |name: &str, text: &str| {
        let path = host.root().join("clusters").join(format!("{name}.kubeconfig"));
        std::fs::write(path, text).expect("it is written");
    };
    let good = std::fs::read_to_string(west.kube.kubeconfig()).expect("a kubeconfig");
    write("broken", "clusters: [");
    write("empty", "");
    write("nowhere", &good.replace(west.kube.server(), "https://127.0.0.1:9"));
    write("twin", &good);
    for (name, state, why) in [
        ("broken", "Unreachable", "no kubeconfig"),
        ("empty", "Unreachable", "it is empty"),
        ("nowhere", "Unreachable", "cannot be reached"),
        ("twin", "Refused", "the cluster west once more"),
    ] {
        let found = in_state(&host, name, state);
        assert!(found["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{name}: {found}");
        assert!(!found.to_string().contains(&*host.root().to_string_lossy()), "no path of the machine is shown");
    }
    let table = host.cli(&["get", "clusters"]).ok();
    assert!(table.contains("REMARKS") && table.contains("next try in"), "{table}");
    make_bundle(&west, "shop", "1");
    ready(&west, "shop");

    // What is half written keeps what was there, and what is mended is taken up.
    write("west", &good[..good.len() / 2]);
    host.wait_for("the file is found to be half written", |host| {
        let troubles = host.json("/v1/clusters")["troubles"].clone();
        troubles.as_array()?.iter().any(|trouble| trouble["about"].to_string().contains("west")).then_some(())
    });
    assert_eq!(cluster(&host, "west").map(|west| west["state"].clone()), Some("Engaged".into()));
    write("west", &good);
    leave(&host, "west");
    let found = in_state(&host, "twin", "Engaged");
    assert!(found["reason"].is_null(), "{found}");
}

/// Rule C6.
#[test]
fn a_host_is_ready_only_while_required_clusters_are_there() {
    let Some(first) = shared() else { return };
    let west = Hub::on(first);
    // Hosts of other tests look at all of this server: what two reconcile belongs to one of them.
    let setup = setup().config(&format!(
        "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  fleet:\n    required: true\n    installCrds: safe\n    \
         list:\n      west: {{kubeconfig: clusters/west.kubeconfig, namespaces: [{}]}}\n",
        west.namespace
    ));
    let clusters = setup.directory().join("clusters");
    let dead = west.kube.kubeconfig_at("https://127.0.0.1:9");
    std::fs::copy(dead, clusters.join("west.kubeconfig")).expect("a copy");
    let host = setup.plugin("config-bundle").without_waiting().start();
    let said = |host: &Host| host.client().get("/readyz").ok().map(|answer| answer.text);
    in_state(&host, "west", "Unreachable");
    let text = said(&host).unwrap_or_default();
    assert!(text.contains("the cluster west is required and not engaged: "), "{text}");
    assert!(!host.ready());
    let table = host.cli(&["get", "clusters"]).ok();
    assert!(table.contains("; the host is not ready without it"), "{table}");

    join(&host, "west", &west.kube.kubeconfig());
    host.wait_for("it is ready with it", |host| host.ready().then_some(()));
    west.serves(BUNDLES);
    let view = cluster(&host, "west").unwrap_or_default();
    assert_eq!((&view["state"], &view["required"]), (&json!("Engaged"), &json!(true)));
}

#[test]
fn the_dead_do_not_hold_up_the_living() {
    const EACH: usize = 50;
    let Some(first) = shared() else { return };
    // Namespaces of one server are clusters of their own; the others take connections and never answer.
    let namespaces: Vec<String> = (0..EACH).map(|_| first.namespace()).collect();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let setup = setup();
    let live = first.kubeconfig().display().to_string();
    let dead = first.kubeconfig_at(&format!("https://127.0.0.1:{port}")).display().to_string();
    let mut config = "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  many:\n    list:\n".to_owned();
    for (number, namespace) in namespaces.iter().enumerate() {
        config += &format!("      live-{number}: {{kubeconfig: {live}, namespaces: [{namespace}]}}\n");
        config += &format!("      dead-{number}: {{kubeconfig: {dead}}}\n");
    }
    let host = setup.config(&config).plugin("config-bundle").without_waiting().start();
    let began = Instant::now();
    let count = |host: &Host, state: &str| {
        let fleet = host.json("/v1/clusters");
        let clusters = fleet["clusters"].as_array().cloned().unwrap_or_default();
        clusters.iter().filter(|cluster| cluster["state"] == state).count()
    };
    host.wait_within("all that live take part", Duration::from_secs(60), |host| {
        (count(host, "Engaged") == EACH + 1).then_some(())
    });
    println!(
        "measured: {EACH} clusters engaged beside {EACH} that never answer: {:.1} s",
        began.elapsed().as_secs_f64()
    );
    host.wait_within("the dead show why", Duration::from_secs(60), |host| {
        (count(host, "Unreachable") == EACH).then_some(())
    });
    assert!(host.ready(), "the host is ready all the same");
}

#[test]
fn one_object_in_the_hub_is_in_every_cluster_that_a_selector_picks() {
    let Some((west, east)) = pair() else { return };
    let setup = setup();
    let (a, b) = (west.kube.kubeconfig(), east.kube.kubeconfig());
    let config = format!(
        "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  spokes:\n    prefix: spoke\n    list:\n      \
         west: {{kubeconfig: {}, labels: {{env: prod}}}}\n      east: {{kubeconfig: {}, labels: {{env: test}}}}\n",
        a.display(),
        b.display()
    );
    let namespace = west.namespace.clone();
    east.kube.api().post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).with(201);
    let there = |place: &Hub| {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/banner");
        let answer = place.kube.api().get(&path);
        (answer.status == 200).then(|| answer.body["data"].clone())
    };
    let fanout = |selector: &str| {
        format!(
            "apiVersion: examples.setpoint.dev/v1alpha1\nkind: Fanout\nmetadata: {{name: banner, namespace: {namespace}}}\n\
             spec: {{selector: \"{selector}\", data: {{text: hello}}}}\n"
        )
    };
    let host = setup.config(&config).plugin("fanout").file("banner.yaml", &fanout("env=prod")).start();
    in_state(&host, "spoke.west", "Engaged");
    in_state(&host, "spoke.east", "Engaged");
    west.wait_for("it is in the one that is picked", || there(&west).filter(|data| data["text"] == "hello"));
    assert_eq!(there(&east), None);
    let status = |host: &Host| {
        let path = format!("/v1/objects/local/examples.setpoint.dev/Fanout/{namespace}/banner");
        host.json(&path)["object"]["status"].clone()
    };
    host.wait_for("its status says so", |host| {
        (status(host)["clusters"] == json!({"spoke.west": "Synced"})).then_some(())
    });
    host.write("banner.yaml", &fanout("env in (prod,test)"));
    east.wait_for("it is in both", || there(&east));
    host.write("banner.yaml", &fanout("env=test"));
    west.wait_for("it is taken away where it is not picked any more", || there(&west).is_none().then_some(()));
    assert!(there(&east).is_some());
}

/// A kubeconfig that carries everything itself.
fn kubeconfig_with(kube: &Kube, token: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": kube.server(), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"})
    .to_string()
}

#[test]
fn credentials_in_a_secret_are_renewed_without_the_cluster_being_left() {
    let Some(hub) = Hub::new() else { return };
    // Of its own: this host looks at all of it.
    static SPOKE: OnceLock<Kube> = OnceLock::new();
    let east = Hub::on(SPOKE.get_or_init(|| Kube::setup().start()));
    let secret = |token: &str| {
        let text = kubeconfig_with(&east.kube, token);
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "east",
            "labels": {"sigs.k8s.io/multicluster-runtime-kubeconfig": "true"}}, "stringData": {"kubeconfig": text}})
    };
    let account = |name: &str| {
        let token = east.kube.service_account(&east.namespace, name);
        let user = format!("system:serviceaccount:{}:{name}", east.namespace);
        let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
        (token, east.kube.allow(&user, None, &all))
    };
    let (old, _old) = account("old");
    let config = format!(
        "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  spokes:\n    installCrds: safe\n    \
         secrets: {{namespace: {}}}\n",
        hub.namespace
    );
    let host = hub.host().config(&config).arg("--grant").arg("*=described@east").plugin("config-bundle").start();
    hub.make("v1/secrets", &secret(&old));
    let engaged = in_state(&host, "east", "Engaged");
    east.serves(BUNDLES);
    make_bundle(&east, "shop", "1");
    ready(&east, "shop");

    let (new, _new) = account("new");
    hub.change("v1/secrets", "east", &secret(&new));
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/old", east.namespace);
    assert_eq!(east.kube.api().delete(&path).status, 200);
    east.change(MAPS, "shop-part", &json!({"data": {"x": "2"}}));
    east.wait_for("it goes on with the new ones", || (value_in(&east, "shop") == "2").then_some(()));
    let now = cluster(&host, "east").expect("it is there");
    assert_eq!((&now["state"], &now["since"]), (&json!("Engaged"), &engaged["since"]), "it was never left");

    // A Secret that would have a command run is refused, and what is there goes on.
    let evil = kubeconfig_with(&east.kube, &new).replace(r#""token":"#, r#""exec":{"command":"sh"},"token":"#);
    hub.change("v1/secrets", "east", &json!({"stringData": {"kubeconfig": evil}}));
    host.wait_for("it is said why", |host| {
        host.json("/v1/clusters")["troubles"].to_string().contains("exec, a command").then_some(())
    });
    assert_eq!(cluster(&host, "east").map(|east| east["state"].clone()), Some(json!("Engaged")));
    hub.delete("v1/secrets", "east");
    host.wait_for("it goes with its Secret", |host| cluster(host, "east").is_none().then_some(()));
    assert!(east.get(MAPS, "shop").is_some(), "and nothing else does");
}

#[test]
fn only_a_person_ends_the_wait_for_a_cluster_that_never_comes_back() {
    let Some((west, _)) = pair() else { return };
    let namespace = west.namespace.clone();
    let fanout = format!(
        "apiVersion: examples.setpoint.dev/v1alpha1\nkind: Fanout\nmetadata: {{name: banner, namespace: {namespace}}}\n\
         spec: {{selector: '!anything', data: {{text: hello}}}}\n"
    );
    let host = setup().config(DIRECTORY).plugin("fanout").file("banner.yaml", &fanout).start();
    join(&host, "west", &west.kube.kubeconfig());
    west.wait_for("it is there", || west.get(MAPS, "banner"));
    let row = |host: &Host| {
        let rows = host.json(&format!("/v1/reconciles?kind=Fanout&namespace={namespace}"));
        rows.as_array().and_then(|rows| rows.first().cloned())
    };
    let refused = host.cli(&["cluster", "forget", "west"]).failed(1);
    assert!(refused.contains("takes part"), "{refused}");
    leave(&host, "west");
    host.wait_for("west is gone", |host| cluster(host, "west").is_none().then_some(()));
    host.remove("banner.yaml");
    host.wait_for("it waits for its child there", |host| {
        row(host)?["reason"].as_str().filter(|reason| reason.contains("west")).map(str::to_owned)
    });
    host.never("it goes by itself", Duration::from_secs(3), |host| row(host).is_none());
    let unknown = host.cli(&["cluster", "forget", "wset"]).failed(1);
    assert!(unknown.contains("there is no cluster wset"), "{unknown}");
    assert_eq!(host.cli(&["cluster", "forget", "west"]).ok(), "cluster/west forgotten\n");
    host.wait_for("it goes", |host| row(host).is_none().then_some(()));
    assert!(west.get(MAPS, "banner").is_some(), "what is there stays there");
}

#[test]
fn namespaces_of_the_hub_are_clusters_of_their_own() {
    let Some(hub) = Hub::new() else { return };
    let team = Hub::on(&hub.kube);
    let label = format!("fleet-{}", hub.namespace);
    let config = format!(
        "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  teams:\n    prefix: team\n    namespaces: {{label: {label}=yes}}\n"
    );
    let host = hub.host().config(&config).arg("--grant").arg("*=described@team.*").plugin("config-bundle").start();
    let name = format!("team.{}", team.namespace);
    let path = format!("/api/v1/namespaces/{}", team.namespace);
    assert!(cluster(&host, &name).is_none());
    team.kube.api().merge(&path, &json!({"metadata": {"labels": {&label: "yes"}}})).ok();
    let engaged = in_state(&host, &name, "Engaged");
    assert_eq!(engaged["namespaces"], json!([team.namespace]));
    team.serves(BUNDLES);
    make_bundle(&team, "shop", "1");
    ready(&team, "shop");
    assert!(host.rows("ConfigBundle").iter().any(|row| row["cluster"] == *name), "in its cluster, not in the hub");
    // The hub itself, looked at as a namespace of its own, is there already.
    let own = format!("/api/v1/namespaces/{}", hub.namespace);
    hub.kube.api().merge(&own, &json!({"metadata": {"labels": {&label: "yes"}}})).ok();
    in_state(&host, &format!("team.{}", hub.namespace), "Refused");
    team.kube.api().merge(&path, &json!({"metadata": {"labels": {&label: null}}})).ok();
    host.wait_for("it goes with its label", |host| cluster(host, &name).is_none().then_some(()));
    assert!(team.get(MAPS, "shop").is_some(), "and nothing in it does");
}

/// A definition that takes everything.
fn anything(group: &str, version: &str, kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": open}}]}})
}

#[test]
fn clusters_of_cluster_api_and_of_the_inventory_are_found() {
    let (Some(hub), Some((_, east))) = (Hub::new(), pair()) else { return };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (group, version, kind) in
        [("cluster.x-k8s.io", "v1beta2", "Cluster"), ("multicluster.x-k8s.io", "v1alpha1", "ClusterProfile")]
    {
        hub.kube.api().post(definitions, &anything(group, version, kind)).with(201);
        hub.serves(&format!("{group}/{version}/{}s", kind.to_lowercase()));
    }
    let token = east.kube.service_account(&east.namespace, "fleet");
    let user = format!("system:serviceaccount:{}:fleet", east.namespace);
    let _allowed = east.kube.allow(&user, None, &json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
    let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": token}});
    let setup = hub.host();
    std::fs::write(setup.directory().join("credential.json"), credential.to_string()).expect("it is written");
    let config = format!(
        "apiVersion: config.setpoint.dev/v1alpha1\nclusters:\n  capi:\n    clusterApi: {{namespace: {ns}}}\n  inventory:\n    \
         inventory: {{namespace: {ns}, access: {{ours: {{command: cat, args: [{file}]}}}}}}\n",
        ns = hub.namespace,
        file = setup.directory().join("credential.json").display(),
    );
    let host = setup.config(&config).start();

    // One that is there before its Secret, and before it is initialized.
    let capi = format!("{}.west", hub.namespace);
    let clusters = "cluster.x-k8s.io/v1beta2/clusters";
    hub.make(
        clusters,
        &json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "west"}}),
    );
    host.never("it is no cluster yet", Duration::from_secs(1), |host| cluster(host, &capi).is_some());
    hub.change(clusters, "west", &json!({"status": {"initialization": {"controlPlaneInitialized": true}}}));
    let found = in_state(&host, &capi, "Unreachable");
    assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("not there yet")), "{found}");
    let text = kubeconfig_with(&east.kube, &token);
    hub.make(
        "v1/secrets",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "west-kubeconfig"},
        "stringData": {"value": text}}),
    );
    in_state(&host, &capi, "Engaged");
    hub.delete(clusters, "west");
    host.wait_for("it goes with its object", |host| cluster(host, &capi).is_none().then_some(()));

    let profile = format!("{}.east", hub.namespace);
    let healthy = json!([{"type": "ControlPlaneHealthy", "status": "True"}]);
    let access = json!([{"name": "ours", "cluster": {"server": east.kube.server(), "insecure-skip-tls-verify": true}}]);
    hub.make(
        "multicluster.x-k8s.io/v1alpha1/clusterprofiles",
        &json!({
        "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ClusterProfile", "metadata": {"name": "east"},
        "status": {"conditions": healthy, "accessProviders": access}}),
    );
    in_state(&host, &profile, "Engaged");
}
