//! Leases on a server: the rules are in `setpoint_core::lease`, here they are read, written, listed, and asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use setpoint_core::Time;
use setpoint_core::key::GroupVersionKind;
use setpoint_core::lease::{Lease, Record, Step, Terms, Wrote};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::KubernetesCluster;
use crate::clock::boot_time;
use crate::events::now as wall;
use crate::failure::Failure;
use crate::reflect::random;
use crate::reflect::watcher::locked;
use crate::resource::{Query, Resource, segment};
use crate::rights::Asked;
use crate::transport::{Call, Fence, JSON, MERGE_PATCH, Transport};

/// Which lease, for whom.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LeaseOptions {
    /// Its namespace: the pod's, else `setpoint-system`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is: no other process may ever have the same.
    pub identity: String,
    /// How it is held.
    pub terms: Terms,
    /// What it is found by.
    pub labels: BTreeMap<String, String>,
    /// What is written beside it.
    pub annotations: BTreeMap<String, String>,
}

/// Whether this host holds a lease, as it was told last, and how often it has got it.
#[derive(Default)]
struct Told {
    held: bool,
    term: u64,
}

struct Inner {
    transport: Arc<Transport>,
    options: LeaseOptions,
    annotations: Mutex<BTreeMap<String, String>>,
    lease: Mutex<Lease>,
    told: Mutex<Told>,
    /// Told of each change.
    hear: Arc<Notify>,
    hurry: Notify,
}

/// A lease that this host holds or waits for, until it is dropped.
pub struct Leadership {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leadership {
    /// Waits for a lease of a cluster, and holds it from then on. `seen`: what was seen of it before, since when it is
    /// like that; `hear`: told whenever it is got or lost.
    pub fn start(
        cluster: &KubernetesCluster,
        options: LeaseOptions,
        seen: Option<(Record, Time)>,
        hear: Arc<Notify>,
    ) -> Arc<Self> {
        let lease = Lease::new(options.identity.clone(), options.terms, random());
        let lease = match seen {
            Some((record, since)) => lease.seen_since(record, since),
            None => lease,
        };
        let inner = Arc::new(Inner {
            transport: cluster.shared.transport.clone(),
            lease: Mutex::new(lease),
            annotations: Mutex::new(options.annotations.clone()),
            options,
            told: Mutex::default(),
            hear,
            hurry: Notify::new(),
        });
        Arc::new(Self { task: tokio::spawn(inner.clone().run()), inner })
    }

    /// What it is called, and who this is in it.
    pub fn options(&self) -> &LeaseOptions {
        &self.inner.options
    }

    /// What is written beside it from its next renewal on.
    pub fn annotate(&self, annotations: BTreeMap<String, String>) {
        *locked(&self.inner.annotations) = annotations;
    }

    /// Whether this host may act now.
    pub fn holds(&self) -> bool {
        self.inner.lease().holds(boot_time())
    }

    /// Who has the lease, as far as is known.
    pub fn holder(&self) -> Option<String> {
        self.inner.lease().holder().map(str::to_owned)
    }

    /// How often it has changed hands, as far as is known.
    pub fn transitions(&self) -> u64 {
        self.inner.lease().transitions()
    }

    /// The term in which this host holds it, none if it does not. When it has got it, what it knows is to be checked
    /// against the server before it acts (rule A11); another term is a time in between in which another host may have.
    pub fn term(&self) -> Option<u64> {
        let told = locked(&self.inner.told);
        (told.held && self.holds()).then_some(told.term)
    }

    /// Gives the lease back, so that another host need not wait for its end. Nothing may be under way any more.
    /// Answers whether it could be given back within the time.
    pub async fn release(&self, within: Duration) -> bool {
        self.inner.lease().release(boot_time());
        let held = std::mem::take(&mut locked(&self.inner.told).held);
        if held {
            let LeaseOptions { namespace, name, .. } = &self.inner.options;
            tracing::info!("this host gives the lease {namespace}/{name} back");
        }
        self.inner.hurry.notify_one();
        let released = async {
            while !self.inner.lease().is_released() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(within, released).await.is_ok()
    }
}

impl Fence for Leadership {
    fn may_write(&self) -> bool {
        self.holds()
    }

    fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.options.terms.write_timeout())
    }
}

impl Inner {
    fn lease(&self) -> MutexGuard<'_, Lease> {
        locked(&self.lease)
    }

    async fn run(self: Arc<Self>) {
        loop {
            let (step, until) = {
                let mut lease = self.lease();
                (lease.step(boot_time(), &wall()), lease.until())
            };
            self.publish();
            match step {
                Step::Wait(next) => {
                    // A lease that is lost is told in time, whatever is done next.
                    let now = boot_time();
                    let at = until.filter(|until| *until > now).map_or(next, |until| next.min(until));
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(at.saturating_sub(now).max(1))) => {}
                        () = self.hurry.notified() => {}
                    }
                }
                Step::Read => self.read().await,
                Step::Create(record) => self.write(&record, true).await,
                Step::Update(record) => self.write(&record, false).await,
            }
            self.publish();
        }
    }

    fn publish(&self) {
        let (held, term) = {
            let mut told = locked(&self.told);
            let held = self.lease().holds(boot_time());
            if told.held == held {
                return;
            }
            told.held = held;
            told.term += u64::from(held);
            (held, told.term)
        };
        let LeaseOptions { namespace, name, .. } = &self.options;
        match held {
            true => tracing::info!(term, "this host holds the lease {namespace}/{name} now"),
            false => tracing::warn!(term, "this host does not hold the lease {namespace}/{name} any more"),
        }
        self.hear.notify_one();
    }

    /// Two tries fit between the last renewal and its deadline.
    fn within(&self) -> Duration {
        Duration::from_millis((self.options.terms.renew_deadline() / 3).max(100))
    }

    fn collection(&self) -> String {
        collection(&self.options.namespace)
    }

    fn object(&self) -> String {
        format!("{}/{}", self.collection(), segment(&self.options.name))
    }

    async fn send(&self, call: Call) -> Result<Option<Record>, Failure> {
        // It is not held back by what others ask of the server, and it is what the others are fenced by.
        let call = Call { within: Some(self.within()), fenced: false, urgent: true, ..call };
        let reply = self.transport.send(call).await?;
        Ok(record(&reply.body))
    }

    async fn read(&self) {
        let answer = self.send(Call::get(self.object())).await;
        let mut lease = self.lease();
        match answer {
            Ok(record) => lease.read(boot_time(), record),
            Err(failure) if failure.is_code(404) => lease.read(boot_time(), None),
            Err(failure) => {
                lease.unread(boot_time());
                drop(lease);
                self.complain(&failure, "read", &["get"]);
            }
        }
    }

    async fn write(&self, record: &Record, create: bool) {
        let spec = json!({
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.duration / 1_000,
            "acquireTime": record.acquired,
            "renewTime": record.renewed,
            "leaseTransitions": record.transitions,
        });
        let mut metadata = json!({});
        let beside = locked(&self.annotations).clone();
        for (name, texts) in [("labels", &self.options.labels), ("annotations", &beside)] {
            if !texts.is_empty() {
                metadata[name] = json!(texts);
            }
        }
        let call = if create {
            metadata["namespace"] = json!(self.options.namespace);
            metadata["name"] = json!(self.options.name);
            let body = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
            });
            Call::write(Method::POST, self.collection(), JSON, body.to_string().into_bytes())
        } else {
            metadata["resourceVersion"] = json!(record.version);
            let patch = json!({"metadata": metadata, "spec": spec});
            Call::write(Method::PATCH, self.object(), MERGE_PATCH, patch.to_string().into_bytes())
        };
        let answer = self.send(call).await;
        let now = boot_time();
        let mut lease = self.lease();
        match answer {
            Ok(Some(written)) => lease.wrote(now, Wrote::Done(written.version)),
            Ok(None) => lease.wrote(now, Wrote::Failed),
            Err(failure) if failure.is_code(409) || !create && failure.is_code(404) => {
                lease.wrote(now, Wrote::Conflict)
            }
            Err(failure) => {
                lease.wrote(now, Wrote::Failed);
                drop(lease);
                self.complain(&failure, "write", if create { &["create"] } else { &["patch"] });
            }
        }
    }

    fn complain(&self, failure: &Failure, what: &str, verbs: &'static [&'static str]) {
        let LeaseOptions { namespace, name, .. } = &self.options;
        tracing::warn!(
            "could not {what} the lease {namespace}/{name}: {}",
            refused(failure, namespace, Some(name), verbs)
        );
    }
}

fn collection(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", segment(namespace))
}

/// Why something could not be done with a lease, or with those of a namespace.
fn refused(failure: &Failure, namespace: &str, name: Option<&str>, verbs: &'static [&'static str]) -> String {
    let leases = Resource {
        kind: GroupVersionKind::new("coordination.k8s.io", "v1", "Lease"),
        plural: "leases".into(),
        namespaced: true,
        status: false,
    };
    Asked::within(&leases, (Some(namespace), name), verbs).refused(failure)
}

/// A lease of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Who holds it.
    pub record: Record,
    /// What is written beside it.
    pub annotations: BTreeMap<String, String>,
}

impl KubernetesCluster {
    /// The leases of a namespace that carry a label, and when they were seen.
    ///
    /// # Errors
    /// They cannot be listed, and why.
    pub async fn leases(&self, namespace: &str, label: (&str, &str)) -> Result<(Time, Vec<Listed>), String> {
        let selector = format!("{}={}", label.0, label.1);
        let path = Query::new(collection(namespace)).with("labelSelector", &selector).done();
        let call = Call { urgent: true, ..Call::get(path) };
        let reply = self.shared.transport.send(call).await;
        let reply = reply.map_err(|failure| refused(&failure, namespace, None, &["list"]))?;
        let list: LeaseList = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        Ok((boot_time(), list.items.into_iter().map(LeaseObject::listed).collect()))
    }

    /// Deletes a lease that nobody holds any more, if it is still at that version.
    ///
    /// # Errors
    /// It was not deleted, and why.
    pub async fn delete_lease(&self, namespace: &str, name: &str, version: &str) -> Result<(), String> {
        let options: Value = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": version},
        });
        let path = format!("{}/{}", collection(namespace), segment(name));
        let call = Call::write(Method::DELETE, path, JSON, options.to_string().into_bytes());
        match self.shared.transport.send(Call { fenced: false, ..call }).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_code(404) => Ok(()),
            Err(failure) => Err(refused(&failure, namespace, Some(name), &["delete"])),
        }
    }
}

#[derive(Deserialize)]
struct LeaseList {
    items: Vec<LeaseObject>,
}

#[derive(Deserialize)]
struct LeaseObject {
    #[serde(default)]
    metadata: LeaseMeta,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LeaseMeta {
    name: String,
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<u64>,
    acquire_time: Option<String>,
    renew_time: Option<String>,
    lease_transitions: Option<u64>,
}

impl LeaseObject {
    fn record(self) -> Record {
        self.listed().record
    }

    fn listed(self) -> Listed {
        let Self { metadata, spec } = self;
        Listed {
            name: metadata.name,
            annotations: metadata.annotations,
            record: Record {
                holder: spec.holder_identity.unwrap_or_default(),
                duration: spec.lease_duration_seconds.unwrap_or_default() * 1_000,
                acquired: spec.acquire_time.unwrap_or_default(),
                renewed: spec.renew_time.unwrap_or_default(),
                transitions: spec.lease_transitions.unwrap_or_default(),
                version: metadata.resource_version,
            },
        }
    }
}

fn record(body: &[u8]) -> Option<Record> {
    let object: LeaseObject = serde_json::from_slice(body).ok()?;
    // Without a version it is none.
    Some(object.record()).filter(|record| !record.version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_whoever_made_it() {
        let body = br#"{"metadata":{"resourceVersion":"9"},"spec":{"holderIdentity":"a","leaseDurationSeconds":15,
            "renewTime":"2026-01-01T00:00:00.000000Z","leaseTransitions":2}}"#;
        let expected = Record {
            holder: "a".into(),
            duration: 15_000,
            renewed: "2026-01-01T00:00:00.000000Z".into(),
            transitions: 2,
            version: "9".into(),
            ..Record::default()
        };
        assert_eq!(record(body), Some(expected));
        let empty = record(br#"{"metadata":{"resourceVersion":"1"},"spec":{}}"#);
        assert_eq!(empty.map(|record| (record.holder, record.duration)), Some((String::new(), 0)));
        assert_eq!(record(b"{}"), None);
    }
}
