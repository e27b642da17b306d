//! The lease on a server: the rules are in `setpoint_core::lease`, here it is read, written, and asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use setpoint_core::key::{GroupVersionKind, Key};
use setpoint_core::lease::{Lease, Record, Step, Terms, Wrote};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::KubernetesCluster;
use crate::clock::boot_time;
use crate::events::now as wall;
use crate::failure::Failure;
use crate::reflect::random;
use crate::resource::{Resource, segment};
use crate::rights::Asked;
use crate::transport::{Call, Fence, JSON, MERGE_PATCH, Transport};

/// Which lease, for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseOptions {
    /// Its namespace: the pod's, else `setpoint-system`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is: no other process may ever have the same.
    pub identity: String,
    /// How it is held.
    pub terms: Terms,
}

/// Whether this host acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseChange {
    /// It has got the lease: what it knows is to be checked against the server, then it acts (rule A11).
    Acquired,
    /// It does not hold it, or not any more: nothing is written, and outcomes of calls that run are dropped.
    Lost,
}

struct Inner {
    transport: Arc<Transport>,
    options: LeaseOptions,
    lease: Mutex<Lease>,
    changes: watch::Sender<LeaseChange>,
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
    /// Waits for a lease of a cluster, and holds it from then on.
    pub fn start(cluster: &KubernetesCluster, options: LeaseOptions) -> Arc<Self> {
        let lease = Lease::new(options.identity.clone(), options.terms, random());
        let inner = Arc::new(Inner {
            transport: cluster.shared.transport.clone(),
            lease: Mutex::new(lease),
            options,
            changes: watch::Sender::new(LeaseChange::Lost),
            hurry: Notify::new(),
        });
        Arc::new(Self { task: tokio::spawn(inner.clone().run()), inner })
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

    /// Hears of each change; the present state at once.
    pub fn changes(&self) -> watch::Receiver<LeaseChange> {
        self.inner.changes.subscribe()
    }

    /// Gives the lease back, so that another host need not wait for its end. Nothing may be under way any more.
    /// Answers whether it could be given back within the time.
    pub async fn release(&self, within: Duration) -> bool {
        self.inner.lease().release(boot_time());
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
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
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
        let holds = self.lease().holds(boot_time());
        let change = if holds { LeaseChange::Acquired } else { LeaseChange::Lost };
        self.changes.send_if_modified(|known| {
            let differs = *known != change;
            if differs {
                let (namespace, name) = (&self.options.namespace, &self.options.name);
                match change {
                    LeaseChange::Acquired => tracing::info!("this host holds the lease {namespace}/{name} now"),
                    LeaseChange::Lost => {
                        tracing::warn!("this host does not hold the lease {namespace}/{name} any more")
                    }
                }
            }
            *known = change;
            differs
        });
    }

    /// Two tries fit between the last renewal and its deadline.
    fn within(&self) -> Duration {
        Duration::from_millis((self.options.terms.renew_deadline() / 3).max(100))
    }

    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", segment(&self.options.namespace))
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
        let call = if create {
            let body = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"namespace": self.options.namespace, "name": self.options.name}, "spec": spec,
            });
            Call::write(Method::POST, self.collection(), JSON, body.to_string().into_bytes())
        } else {
            let patch = json!({"metadata": {"resourceVersion": record.version}, "spec": spec});
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
        let missing_right = failure.status().is_some_and(|status| status.is_missing_right());
        let text = if missing_right {
            let leases = Resource {
                kind: GroupVersionKind::new("coordination.k8s.io", "v1", "Lease"),
                plural: "leases".into(),
                namespaced: true,
                status: false,
            };
            let key = Key::new("", "coordination.k8s.io", "Lease", Some(&self.options.namespace), &self.options.name);
            Asked::of(&leases, &key, verbs).forbidden()
        } else {
            failure.to_string()
        };
        tracing::warn!("could not {what} the lease {}/{}: {text}", self.options.namespace, self.options.name);
    }
}

#[derive(Deserialize)]
struct LeaseObject {
    metadata: LeaseMeta,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseMeta {
    resource_version: String,
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

fn record(body: &[u8]) -> Option<Record> {
    let LeaseObject { metadata, spec } = serde_json::from_slice(body).ok()?;
    Some(Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: spec.lease_duration_seconds.unwrap_or_default() * 1_000,
        acquired: spec.acquire_time.unwrap_or_default(),
        renewed: spec.renew_time.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: metadata.resource_version,
    })
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
