//! `setpoint rbac`: what it prints of real plugins, and that a real API server takes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use setpoint_e2e::with_plugins;
use setpoint_test_kube::{Call, shared};
use setpoint_test_support::host::command;
use setpoint_test_support::{Ran, run};

const COMMAND: Duration = Duration::from_secs(60);

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn rbac(dir: &Path, args: &[&str]) -> Ran {
    run(command(dir).arg("rbac").args(args), COMMAND)
}

/// What is printed, as values.
fn documents(text: &str) -> Vec<Value> {
    let parsed = text.split("---\n").map(serde_saphyr::from_str);
    parsed.map(|document| document.unwrap_or_else(|error| panic!("{error}\n{text}"))).collect()
}

/// The verbs that roles of this kind allow of a resource.
fn verbs(documents: &[Value], kind: &str, group: &str, resource: &str) -> Vec<String> {
    let has = |list: &Value, word: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one == word));
    let rules = documents.iter().filter(|document| document["kind"] == kind).flat_map(|role| role["rules"].as_array());
    let rules = rules.flatten().filter(|rule| has(&rule["apiGroups"], group) && has(&rule["resources"], resource));
    let mut verbs: Vec<String> = rules
        .flat_map(|rule| rule["verbs"].as_array().into_iter().flatten())
        .filter_map(|verb| verb.as_str().map(str::to_owned))
        .collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

#[test]
fn plugins_get_the_rights_for_what_they_describe_and_nothing_else() {
    let dir = dir("rbac-of-plugins");
    with_plugins(&dir, &["config-bundle", "mcp-server", "workflow"]);
    let text = rbac(&dir, &[]).ok();
    let documents = documents(&text);
    let verbs = |group: &str, resource: &str| verbs(&documents, "ClusterRole", group, resource).join(" ");
    assert_eq!(verbs("", "configmaps"), "create delete get list patch watch");
    assert_eq!(verbs("", "secrets"), "get list watch", "read only, as mcp-server describes it");
    for (group, resource) in [
        ("examples.setpoint.dev", "configbundles"),
        ("muster.giantswarm.io", "mcpservers"),
        ("muster.giantswarm.io", "workflows"),
    ] {
        assert_eq!(verbs(group, resource), "get list patch watch");
        assert_eq!(verbs(group, &format!("{resource}/status")), "patch");
    }
    assert_eq!(verbs("examples.setpoint.dev", "configbundles/finalizers"), "update");
    assert_eq!(verbs("muster.giantswarm.io", "mcpservers/finalizers"), "", "its children are in no cluster");
    assert!(!text.contains("host.setpoint.dev"), "{text}");
    assert!(!text.contains('*') || text.matches('*').count() == text.matches("http:*").count(), "{text}");
    for grant in [
        "#   --grant config-bundle=read:core/ConfigMap@hub\n",
        "#   --grant config-bundle=write:core/ConfigMap@hub\n",
        "#   --grant mcp-server=read:core/Secret@hub\n",
        "#   --grant mcp-server=process\n",
    ] {
        assert!(text.contains(grant), "{grant}:\n{text}");
    }
    assert_eq!(rbac(&dir, &[]).ok(), text, "the same each time");
}

#[test]
fn kinds_that_are_in_local_alone_need_no_rights() {
    let dir = dir("rbac-of-mcp-backend");
    with_plugins(&dir, &["mcp-backend"]);
    let text = rbac(&dir, &[]).ok();
    assert!(!text.contains("vmcp.setpoint.dev"), "{text}");
}

#[test]
fn a_plugin_without_children_and_secrets_gets_neither() {
    let dir = dir("rbac-of-workflow");
    with_plugins(&dir, &["workflow"]);
    let text = rbac(&dir, &["-n", "team", "-n", "web"]).ok();
    let documents = documents(&text);
    // What hosts that share work delete is the leases of those that are gone.
    let deletes = text.matches("- delete").count();
    assert!(!text.contains("secrets") && deletes == 1, "{text}");
    let roles = documents.iter().filter(|document| document["kind"] == "Role");
    let places: Vec<&str> = roles.filter_map(|role| role["metadata"]["namespace"].as_str()).collect();
    assert_eq!(places, ["team", "web", "setpoint-system"]);
    assert_eq!(verbs(&documents, "ClusterRole", "muster.giantswarm.io", "workflows"), [""; 0]);
    // Another plugin's kind, which is not here.
    let guess = "# No definition of MCPServer.muster.giantswarm.io is here: that its plural is mcpservers";
    assert!(text.contains(guess), "{text}");
}

#[test]
fn without_plugins_it_says_where_they_were_looked_for() {
    let dir = dir("rbac-of-nothing");
    with_plugins(&dir, &[]);
    let error = rbac(&dir, &[]).failed(1);
    assert!(error.contains("plugins: no plugin is there") && error.contains("--plugins DIR"), "{error}");
    rbac(&dir, &["-n", "Team"]).failed(2);
}

/// Where a document is applied.
fn path(document: &Value) -> String {
    let metadata = &document["metadata"];
    let kind = document["kind"].as_str().unwrap_or_default();
    let root = if kind == "ServiceAccount" { "/api/v1" } else { "/apis/rbac.authorization.k8s.io/v1" };
    let namespace = metadata["namespace"].as_str().map(|namespace| format!("/namespaces/{namespace}"));
    let name = metadata["name"].as_str().unwrap_or_default().replace(':', "%3A");
    format!("{root}{}/{}s/{name}", namespace.unwrap_or_default(), kind.to_lowercase())
}

#[test]
fn an_api_server_takes_what_is_printed_and_the_account_may_that_and_no_more() {
    let Some(kube) = shared() else { return };
    let dir = dir("rbac-on-a-server");
    with_plugins(&dir, &["config-bundle", "workflow"]);
    let (own, team) = (kube.namespace(), kube.namespace());
    let user = format!("system:serviceaccount:{own}:setpoint");
    let apply = |args: &[&str]| {
        let text = rbac(&dir, &[&["--service-account-namespace", own.as_str()][..], args].concat()).ok();
        for document in documents(&text) {
            kube.api().force(&path(&document), "test", &document).ok();
        }
    };
    let bundles = "examples.setpoint.dev";
    apply(&["-n", &team]);
    eventually(|| kube.may(&user, "patch", bundles, "configbundles", Some(&team)));
    assert!(!kube.may(&user, "patch", bundles, "configbundles", Some(&own)), "in that namespace only");
    assert!(!kube.may(&user, "list", bundles, "configbundles", None));
    assert!(kube.may(&user, "create", "coordination.k8s.io", "leases", Some(&own)));
    apply(&[]);
    eventually(|| kube.may(&user, "list", bundles, "configbundles", None));
    for (verb, group, resource) in [
        ("create", "", "configmaps"),
        ("delete", "", "configmaps"),
        ("watch", "muster.giantswarm.io", "workflows"),
        ("patch", "events.k8s.io", "events"),
        ("watch", "apiextensions.k8s.io", "customresourcedefinitions"),
    ] {
        assert!(kube.may(&user, verb, group, resource, None), "{verb} {resource}");
    }
    for (verb, group, resource) in [
        ("delete", bundles, "configbundles"),
        ("create", bundles, "configbundles"),
        ("get", "", "secrets"),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
        ("create", "coordination.k8s.io", "leases"),
    ] {
        assert!(!kube.may(&user, verb, group, resource, None), "{verb} {resource}");
    }
}

#[test]
fn children_are_the_accounts_to_write_as_which_the_host_may_act() {
    let Some(kube) = shared() else { return };
    let dir = dir("rbac-of-an-account");
    with_plugins(&dir, &["config-bundle", "workflow"]);
    let (own, team, tools) = (kube.namespace(), kube.namespace(), kube.namespace());
    let bundler = format!("config-bundle={tools}/bundler");
    let text = rbac(&dir, &["--service-account-namespace", &own, "-n", &team, "--impersonate", &bundler]).ok();
    for document in documents(&text) {
        kube.api().force(&path(&document), "test", &document).ok();
    }
    let user = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let (host, bundler) = (user(&own, "setpoint"), user(&tools, "bundler"));
    for verb in ["create", "patch", "delete"] {
        eventually(|| kube.may(&bundler, verb, "", "configmaps", Some(&team)));
        assert!(!kube.may(&host, verb, "", "configmaps", Some(&team)), "{verb}");
    }
    assert!(
        kube.may(&host, "watch", "", "configmaps", Some(&team))
            && !kube.may(&bundler, "get", "", "configmaps", Some(&team))
    );
    let api = kube.api_with_token(&kube.service_account(&own, "setpoint"));
    let review = serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let acting_as = |user: &str| {
        let call = Call::new("POST".parse().unwrap_or_default(), "/apis/authentication.k8s.io/v1/selfsubjectreviews");
        api.call(call.body("application/json", &review).header("impersonate-user", user))
    };
    eventually(|| acting_as(&bundler).status == 201);
    assert_eq!(acting_as(&bundler).with(201)["status"]["userInfo"]["username"], bundler.as_str());
    acting_as(&user(&tools, "default")).with(403);

    let error = rbac(&dir, &["--impersonate", "bundles=tools/bundler"]).failed(2);
    assert!(error.contains("no plugin bundles") && error.contains("config-bundle"), "{error}");
    let error =
        rbac(&dir, &["--impersonate", "config-bundle=tools/bundler", "--impersonate", "config-bundle=tools/other"])
            .failed(2);
    assert!(error.contains("config-bundle is given twice"), "{error}");
    let error = rbac(&dir, &["--impersonate", "config-bundle=bundler"]).failed(2);
    assert!(error.contains("NAMESPACE/NAME"), "{error}");
}

/// The server takes a change of rights from its own watch.
fn eventually(mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "not within 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
