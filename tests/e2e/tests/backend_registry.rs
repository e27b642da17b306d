//! The MCP servers of a ToolHive group in one call, inside a program, against a real API server.

use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::hub::Hub;
use setpoint_runtime::backends::{
    Backend, BackendOptions, BackendRegistry, BackendRegistryError, State, Transport, backend_registry,
};
use setpoint_runtime::embed::Shutdown;
use setpoint_runtime::registry::Snapshot;
use setpoint_test_support::component;

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "engineering";
const SERVERS: &str = "toolhive.stacklok.dev/v1beta1/mcpservers";
const PROXIES: &str = "toolhive.stacklok.dev/v1beta1/mcpremoteproxies";
const ENTRIES: &str = "toolhive.stacklok.dev/v1beta1/mcpserverentries";
const GROUPS: &str = "toolhive.stacklok.dev/v1beta1/mcpgroups";
const AUTHS: &str = "toolhive.stacklok.dev/v1beta1/mcpexternalauthconfigs";
const SECRETS: &str = "v1/secrets";

/// Brings ToolHive's kinds to the shared server, once: their shape, without the rules of their fields.
fn definitions(hub: &Hub) {
    static ONCE: Once = Once::new();
    let kinds = [
        ("MCPServer", "mcpservers"),
        ("MCPRemoteProxy", "mcpremoteproxies"),
        ("MCPServerEntry", "mcpserverentries"),
        ("MCPGroup", "mcpgroups"),
        ("MCPExternalAuthConfig", "mcpexternalauthconfigs"),
    ];
    ONCE.call_once(|| {
        for (kind, plural) in kinds {
            let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.toolhive.stacklok.dev")},
                "spec": {"group": "toolhive.stacklok.dev", "scope": "Namespaced",
                    "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(),
                        "listKind": format!("{kind}List")},
                    "versions": [{"name": "v1beta1", "served": true, "storage": true, "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}}}]}});
            // Another process of the tests may have been here before.
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            let answer = hub.kube.api().post(path, &definition);
            assert!(matches!(answer.status, 201 | 409), "{answer:?}");
        }
    });
    for (_, plural) in kinds {
        hub.serves(&format!("toolhive.stacklok.dev/v1beta1/{plural}"));
    }
}

/// Makes an object of ToolHive as its operator leaves it.
fn make(hub: &Hub, (kind, plural): (&str, &str), name: &str, spec: Value, status: Value) {
    let object = json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": kind, "metadata": {"name": name},
        "spec": spec});
    hub.make(plural, &object);
    if !status.is_null() {
        says(hub, plural, name, status);
    }
}

/// ToolHive's operator says something of an object.
fn says(hub: &Hub, plural: &str, name: &str, status: Value) {
    hub.kube.api().merge(&format!("{}/status", hub.at(plural, name)), &json!({"status": status})).ok();
}

fn url(name: &str) -> String {
    format!("http://mcp-{name}-proxy.toolhive.svc.cluster.local:8080/mcp")
}

fn server(hub: &Hub, name: &str, more: &Value) {
    let mut spec = json!({"image": "example.com/server", "transport": "streamable-http", "groupRef": {"name": GROUP}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    make(hub, ("MCPServer", SERVERS), name, spec, json!({"phase": "Ready", "url": url(name)}));
}

/// A namespace with a group in it.
fn toolhive() -> Option<Hub> {
    let hub = Hub::new()?;
    definitions(&hub);
    make(&hub, ("MCPGroup", GROUPS), GROUP, json!({"description": "Tools"}), Value::Null);
    Some(hub)
}

fn options() -> BackendOptions {
    BackendOptions::from_bytes(component::bytes("mcp-backend")).drain(Duration::from_secs(3))
}

async fn start(hub: &Hub, options: BackendOptions) -> BackendRegistry {
    backend_registry(&hub.namespace, GROUP, options).await.expect("it starts")
}

async fn ready(hub: &Hub) -> BackendRegistry {
    let registry = start(hub, options().kubeconfig(hub.kube.kubeconfig())).await;
    registry.readiness().ready_within(PATIENCE).await.expect("it is ready");
    registry
}

fn find<'a>(snapshot: &'a Snapshot<Backend>, id: &str) -> Option<&'a Backend> {
    snapshot.list().iter().map(|item| &*item.value).find(|backend| backend.id == id)
}

/// The first of the moments from now on for which this holds.
async fn until<T>(registry: &BackendRegistry, what: &str, look: impl Fn(&Snapshot<Backend>) -> Option<T>) -> T {
    let mut changes = registry.backends().changes();
    let looked = async {
        loop {
            let snapshot = changes.next().await.expect("it runs");
            if let Some(found) = look(&snapshot) {
                return found;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(found) => found,
        Err(_) => panic!("not in time: {what}; there is {:?}", registry.backends().snapshot()),
    }
}

async fn in_state(registry: &BackendRegistry, id: &str, state: State) -> Backend {
    let look = |snapshot: &Snapshot<Backend>| find(snapshot, id).filter(|backend| backend.state == state).cloned();
    until(registry, &format!("{id} is {state:?}"), look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_toolhive_is_a_registry_in_one_call() {
    let Some(hub) = toolhive() else { return };
    server(&hub, "github", &json!({"transport": "stdio", "proxyMode": "sse"}));
    let proxy = json!({"remoteUrl": "https://mcp.analytics.example.com", "groupRef": {"name": GROUP}});
    let proxied = json!({"phase": "Ready", "url": url("analytics")});
    make(&hub, ("MCPRemoteProxy", PROXIES), "analytics", proxy, proxied);
    let entry = json!({"remoteUrl": "https://tickets.example.com/mcp", "transport": "streamable-http",
        "groupRef": {"name": GROUP}});
    make(&hub, ("MCPServerEntry", ENTRIES), "tickets", entry, json!({"phase": "Valid"}));
    server(&hub, "payroll", &json!({"groupRef": {"name": "finance"}}));

    let registry = ready(&hub).await;
    let snapshot = registry.backends().snapshot();
    let ids: Vec<&str> = snapshot.list().iter().map(|item| item.value.id.as_str()).collect();
    assert_eq!(ids, ["analytics", "github", "tickets"], "ready is filled");
    assert!(snapshot.list().iter().all(|item| item.value.state == State::Open) && snapshot.is_live());
    let github = find(&snapshot, "github").expect("it is there");
    assert_eq!((github.url.clone(), github.transport), (Some(url("github")), Some(Transport::Sse)));
    assert_eq!(
        find(&snapshot, "tickets").and_then(|b| b.url.clone()).as_deref(),
        Some("https://tickets.example.com/mcp")
    );

    // What clients need not know moves nothing; what they need is there at once, and only that is new.
    hub.change(SERVERS, "github", &json!({"spec": {"image": "example.com/server:2"}}));
    says(&hub, SERVERS, "github", json!({"readyReplicas": 2}));
    says(&hub, PROXIES, "analytics", json!({"url": "http://elsewhere:8080"}));
    let moved = until(&registry, "the address has changed", |now| {
        (find(now, "analytics")?.url.as_deref() == Some("http://elsewhere:8080")).then(|| now.version())
    });
    let moved = moved.await;
    let now = registry.backends().snapshot();
    let newer: Vec<&str> = now
        .list()
        .iter()
        .filter(|item| item.generation > snapshot.version())
        .map(|item| item.value.id.as_str())
        .collect();
    assert_eq!((newer, moved), (vec!["analytics"], snapshot.version() + 1));

    server(&hub, "search", &json!({}));
    in_state(&registry, "search", State::Open).await;
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credentials_a_backend_is_closed_and_with_them_open_again() {
    let Some(hub) = toolhive() else { return };
    let secret = || {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"},
        "stringData": {"value": "hunter2"}})
    };
    hub.make(SECRETS, &secret());
    let auth = json!({"type": "headerInjection", "headerInjection": {"headerName": "X-Token",
        "valueSecretRef": {"name": "token", "key": "value"}}});
    make(&hub, ("MCPExternalAuthConfig", AUTHS), "auth", auth, Value::Null);
    server(&hub, "github", &json!({"externalAuthConfigRef": {"name": "auth"}}));
    let registry = ready(&hub).await;
    let open = in_state(&registry, "github", State::Open).await;
    assert_eq!(open.auth.as_ref().map(|auth| auth.secrets.len()), Some(1));
    assert!(!format!("{open:?}").contains("hunter2"));

    hub.delete(SECRETS, "token");
    let closed = in_state(&registry, "github", State::Closed).await;
    assert_eq!((closed.reason.as_str(), closed.url, closed.auth), ("SecretNotFound", None, None));
    assert!(registry.readiness().is_ready(), "one backend that cannot be used makes the others no worse");
    hub.make(SECRETS, &secret());
    in_state(&registry, "github", State::Open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_drained_and_then_gone() {
    let Some(hub) = toolhive() else { return };
    for name in ["github", "search"] {
        server(&hub, name, &json!({}));
    }
    let registry = ready(&hub).await;
    hub.delete(SERVERS, "github");
    let draining = in_state(&registry, "github", State::Draining).await;
    assert_eq!(draining.url, Some(url("github")), "what is under way may end");
    until(&registry, "it is gone", |snapshot| find(snapshot, "github").is_none().then_some(())).await;
    // Another group has it as if it were gone.
    hub.change(SERVERS, "search", &json!({"spec": {"groupRef": {"name": "finance"}}}));
    in_state(&registry, "search", State::Draining).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_known_for_a_while_stays_as_it_was() {
    let Some(hub) = toolhive() else { return };
    for name in ["github", "search"] {
        server(&hub, name, &json!({}));
    }
    let proxy = hub.kube.proxy();
    let registry = start(&hub, options().kubeconfig(proxy.kubeconfig())).await;
    registry.readiness().ready_within(PATIENCE).await.expect("it is ready");
    let before = registry.backends().snapshot();

    // Its watches end, and nothing is answered any more.
    let refused = proxy.when(|_| true).refused(500, "InternalError", "the storage is away");
    proxy.relay().cut();
    hub.delete(SERVERS, "github");
    until_ready_is(&registry, false).await;
    let meanwhile = registry.backends().snapshot();
    assert_eq!((meanwhile.version(), meanwhile.count()), (before.version(), 2));
    assert!(meanwhile.list().iter().all(|item| item.value.state == State::Open));

    refused.lift();
    registry.readiness().ready_within(PATIENCE).await.expect("it is ready again");
    in_state(&registry, "github", State::Draining).await;
}

async fn until_ready_is(registry: &BackendRegistry, ready: bool) {
    let looked = async {
        while registry.readiness().is_ready() != ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reasons = || registry.readiness().now().reasons;
    assert!(tokio::time::timeout(PATIENCE, looked).await.is_ok(), "not in time: ready is {ready}; {:?}", reasons());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_not_there_is_named_and_waited_for() {
    let Some(hub) = toolhive() else { return };
    // Nobody is in this group, and there is none of the name.
    let registry = backend_registry(&hub.namespace, "nobody", options().kubeconfig(hub.kube.kubeconfig()))
        .await
        .expect("it starts");
    let not_ready =
        registry.readiness().ready_within(Duration::from_secs(5)).await.expect_err("there is no such group");
    assert!(not_ready.to_string().contains("There is no MCPGroup nobody"), "{not_ready}");
    make(&hub, ("MCPGroup", GROUPS), "nobody", json!({}), Value::Null);
    registry.readiness().ready_within(PATIENCE).await.expect("it is ready");
    assert_eq!(registry.backends().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_an_error_of_the_call() {
    let Some(hub) = Hub::new() else { return };
    let kubeconfig = hub.kube.kubeconfig();
    let nowhere = kubeconfig.with_file_name("none");
    let namespace = &hub.namespace;
    let start = |options: BackendOptions| backend_registry(namespace, GROUP, options);
    let error = start(options().kubeconfig(&nowhere)).await.expect_err("there is no such file");
    assert!(matches!(error, BackendRegistryError::Start(_)) && error.to_string().contains("none"), "{error}");
    let error = start(options().kubeconfig(&kubeconfig).context("nobody")).await.expect_err("there is no such context");
    assert!(error.to_string().contains("nobody"), "{error}");
    let odd = BackendOptions::from_bytes(*b"no component").kubeconfig(&kubeconfig);
    let error = start(odd).await.expect_err("it is no component");
    assert!(error.to_string().contains("mcp-backend: "), "{error}");
    let other = BackendOptions::from_bytes(component::bytes("config-bundle")).kubeconfig(&kubeconfig);
    let error = start(other).await.expect_err("it is another plugin");
    assert!(error.to_string().contains("config-bundle"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_stops_everything_and_what_was_known_is_there_again() {
    let Some(hub) = toolhive() else { return };
    server(&hub, "github", &json!({}));
    let dir = tempfile::tempdir().expect("a directory");
    let options = || options().kubeconfig(hub.kube.kubeconfig()).state(dir.path());
    let registry = start(&hub, options()).await;
    registry.readiness().ready_within(PATIENCE).await.expect("it is ready");
    let (view, readiness, mut changes) =
        (registry.backends().clone(), registry.readiness().clone(), registry.backends().changes());
    drop(registry);
    let ended = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert!(!readiness.is_ready() && view.count() == 1, "who still looks sees what was known last");

    // The store is free again as soon as all has stopped; what was known is there before the cluster has answered.
    let shutdown = Shutdown::new();
    let again = async {
        loop {
            match backend_registry(&hub.namespace, GROUP, options().shutdown(&shutdown)).await {
                Ok(registry) => return registry,
                Err(BackendRegistryError::Start(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let registry = tokio::time::timeout(PATIENCE, again).await.expect("it starts again");
    assert_eq!(registry.backends().count(), 1);
    let mut changes = registry.backends().changes();
    shutdown.request();
    let ended = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
}
