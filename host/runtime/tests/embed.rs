//! A host inside a program: what is given to it runs, and what is not right is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_runtime::embed::{
    Access, BoxFuture, Describe, EmbeddedHost, Failure, Offers, Outcome, Provider, Reach, Reconciler, Request,
    Shutdown, TrackedReads,
};
use setpoint_runtime::views::{Filter, ReconcileRow};
use setpoint_runtime::{Host, StartError};

#[path = "../examples/embed.rs"]
mod example;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_as_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let greetings = tokio::time::timeout(PATIENCE, example::run(dir.path())).await.expect("in time").expect("it runs");
    assert_eq!(greetings, ["Hello, world!", "Good evening, world!"]);
}

/// Does what the spec of its objects says.
struct Puppet {
    name: &'static str,
    calls: Arc<AtomicU32>,
}

impl Puppet {
    fn new(name: &'static str) -> Self {
        Self { name, calls: Arc::default() }
    }
}

impl Reconciler for Puppet {
    fn describe(&self) -> Describe {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "puppets.examples.setpoint.dev"},
            "spec": {"group": "examples.setpoint.dev", "scope": "Namespaced",
                "names": {"kind": "Puppet", "plural": "puppets", "singular": "puppet"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object",
                        "x-kubernetes-preserve-unknown-fields": true}}}]}});
        Describe::new(self.name, "1.0.0").owns("v1", definition)
    }

    async fn reconcile(&self, request: Request, _: TrackedReads) -> Result<Outcome, Failure> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let object: Value = serde_json::from_str(&request.object).map_err(|e| Failure::Permanent(e.to_string()))?;
        match object["spec"]["does"].as_str() {
            Some("panic") => panic!("the string is cut"),
            Some("fail") => Err(Failure::Permanent("the string is too long".into())),
            _ => Ok(Outcome { status: Some(json!({"calls": call}).to_string()), ..Outcome::default() }),
        }
    }
}

fn write(dir: &Path, name: &str, does: &str) {
    let files = dir.join("resources");
    std::fs::create_dir_all(&files).expect("it is made");
    let object = json!({"apiVersion": "examples.setpoint.dev/v1", "kind": "Puppet", "metadata": {"name": name},
        "spec": {"does": does}});
    std::fs::write(files.join(format!("{name}.yaml")), object.to_string()).expect("it is written");
}

async fn start(dir: &Path) -> EmbeddedHost {
    let builder = Host::builder().files(dir.join("resources")).state(dir.join("state"));
    builder.reconciler(Puppet::new("puppet")).start().await.expect("it starts")
}

async fn row(host: &EmbeddedHost, name: &str, wanted: impl Fn(&ReconcileRow) -> bool) -> ReconcileRow {
    let filter = Filter { kind: Some("puppet".into()), name: Some(name.into()), ..Filter::default() };
    let looked = async {
        loop {
            let found = host.handle().reconciles(&filter).expect("no selector").pop();
            match found.filter(|row| wanted(row)) {
                Some(row) => return row,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("in time")
}

async fn refused(builder: setpoint_runtime::embed::HostBuilder) -> String {
    match builder.start().await {
        Err(StartError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciler_of_the_program_is_as_one_of_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, does) in [("good", "answer"), ("bad", "panic"), ("worse", "fail")] {
        write(dir.path(), name, does);
    }
    let host = start(dir.path()).await;
    let good = row(&host, "good", |row| row.state == "Synced").await;
    assert_eq!(good.plugin.as_deref(), Some("puppet"));
    let bad = row(&host, "bad", |row| row.last_error.is_some()).await;
    assert!(bad.last_error.as_deref().is_some_and(|error| error.contains("panic: the string is cut")), "{bad:?}");
    let worse = row(&host, "worse", |row| row.last_error.is_some()).await;
    assert!(worse.last_error.as_deref().is_some_and(|error| error.contains("too long")), "{worse:?}");
    write(dir.path(), "bad", "answer");
    row(&host, "bad", |row| row.state == "Synced").await;

    let plugins = host.handle().plugins();
    let [plugin] = plugins.as_slice() else { panic!("{plugins:?}") };
    assert_eq!((plugin.name.as_str(), plugin.state.as_str(), plugin.objects), ("puppet", "Running", 3));
    assert!(plugin.traps > 0 && plugin.calls >= 4, "{plugin:?}");
    assert!(host.address().is_none() && !dir.path().join("state/host.json").exists(), "nothing is served");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_stops_it_and_so_does_its_token_and_another_can_take_over() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "good", "answer");
    let token = Shutdown::new();
    let builder = Host::builder().files(dir.path().join("resources")).state(dir.path().join("state"));
    let host = builder.reconciler(Puppet::new("puppet")).shutdown(&token).start().await.expect("it starts");
    row(&host, "good", |row| row.state == "Synced").await;
    token.request();
    tokio::time::timeout(PATIENCE, host.stopped()).await.expect("in time");

    let host = start(dir.path()).await;
    row(&host, "good", |row| row.state == "Synced").await;
    let mut changes = host
        .handle()
        .registry::<Value>("local", "examples.setpoint.dev", "Puppet", None)
        .expect("it is there")
        .changes();
    drop(host);
    let ended = async { while changes.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_right_is_told_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let builder = || Host::builder().state(dir.path().join("state"));
    let twice = refused(builder().reconciler(Puppet::new("a")).reconciler(Puppet::new("a"))).await;
    assert!(twice.contains("given twice"), "{twice}");
    let named = refused(builder().reconciler(Puppet::new("No Name"))).await;
    assert!(named.contains("DNS label"), "{named}");
    let grant = refused(builder().grant("a", "everything")).await;
    assert!(grant.contains("everything"), "{grant}");
    let component = refused(builder().plugin("odd", *b"no component")).await;
    assert!(component.contains("component/odd: "), "{component}");
    let kind = refused(builder().reconciler(Puppet::new("a")).reconciler(Puppet::new("b"))).await;
    assert!(kind.contains("Puppet.examples.setpoint.dev is reconciled by the plugin a"), "{kind}");
    let missing = builder().kubeconfig(dir.path().join("none")).start().await;
    assert!(matches!(missing, Err(StartError::Kubernetes(_))), "{missing:?}");
    // Nothing of it is left over.
    let host = builder().start().await.expect("it starts");
    host.stop().await;
}

/// Offers one cluster where nobody listens, and takes it back when it is told to.
struct Nowhere(tokio::sync::watch::Receiver<bool>);

impl Provider for Nowhere {
    fn name(&self) -> &str {
        "nowhere"
    }

    fn prefix(&self) -> Option<&str> {
        Some("test")
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let path = Some("/nowhere/kubeconfig".into());
            let offered = offers.engage("west", Reach::of(Access::Kubeconfig { path, context: None }));
            assert!(offered.is_ok(), "{offered:?}");
            assert!(offers.engage("Not a name", Reach::unusable("it is none")).is_err());
            let _ = self.0.clone().wait_for(|gone| *gone).await;
            offers.all([], "it was taken back");
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_from_providers_of_the_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gone, told) = tokio::sync::watch::channel(false);
    let host = Host::builder().state(dir.path()).provider(Nowhere(told)).start().await.expect("it starts");
    let fleet = host.handle().fleet().expect("there is one").clone();
    let mut changes = fleet.subscribe();
    let shown = async |changes: &mut tokio::sync::watch::Receiver<u64>, wanted: &[&str]| loop {
        let clusters = host.handle().clusters().clusters;
        let names: Vec<String> = clusters.iter().map(|cluster| format!("{} {}", cluster.name, cluster.state)).collect();
        if names == wanted {
            return clusters;
        }
        let _ = tokio::time::timeout(PATIENCE, changes.changed()).await.expect("it is told in time");
    };
    let clusters = shown(&mut changes, &["local Engaged", "test.west Unreachable"]).await;
    assert!(clusters[1].reason.as_ref().is_some_and(|reason| reason.contains("no such file")), "{clusters:?}");
    assert_eq!(
        fleet.get("test.west").err().map(|error| error.to_string()),
        Some("cluster not found: test.west".into())
    );
    gone.send_replace(true);
    shown(&mut changes, &["local Engaged"]).await;
    host.stop().await;
}
