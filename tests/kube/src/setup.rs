//! What is chosen before an API server starts, and the flags that come of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::assets;
use crate::audit;
use crate::etcd::Etcd;
use crate::file::write;
use crate::identity::Identity;
use crate::server::Kube;

/// Admission that a controller of custom resources meets is left on: namespaces that end, webhooks, policies,
/// quotas. The rest is about pods and volumes, of which there are none, and some of it wants controllers.
const NO_ADMISSION: &str = "CertificateApproval,CertificateSigning,CertificateSubjectRestriction,DefaultIngressClass,\
    DefaultStorageClass,DefaultTolerationSeconds,PersistentVolumeClaimResize,PodSecurity,Priority,RuntimeClass,\
    ServiceAccount,StorageObjectInUseProtection,TaintNodesByCondition";

/// An API server before it starts: with an etcd of its own, unless it is told of another.
#[derive(Default)]
pub struct Setup {
    etcd: Option<Etcd>,
    etcd_url: Option<String>,
    prefix: Option<String>,
    identity: Option<Arc<Identity>>,
    args: Vec<String>,
    audit: audit::Level,
}

impl Setup {
    /// On an etcd that others use too, as another cluster: with users, keys and objects of its own.
    #[must_use]
    pub fn on(mut self, etcd: &Etcd) -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        self.etcd = Some(etcd.clone());
        self.prefix = Some(format!("/cluster-{}", CLUSTERS.fetch_add(1, Ordering::Relaxed)));
        self
    }

    /// As one more API server of the same cluster: same users, same keys, same objects, but a view of its own.
    #[must_use]
    pub fn beside(mut self, other: &Kube) -> Self {
        self.etcd = Some(other.etcd().clone());
        self.prefix = Some(other.prefix().to_owned());
        self.identity = Some(other.identity().clone());
        self
    }

    /// It reaches its etcd through this port of 127.0.0.1, such as that of a [`Relay`](crate::proxy::Relay).
    #[must_use]
    pub fn etcd_at(mut self, port: u16) -> Self {
        self.etcd_url = Some(format!("http://127.0.0.1:{port}"));
        self
    }

    /// What the audit log holds; unless told, writes with the objects that came of them.
    #[must_use]
    pub fn audit(mut self, level: audit::Level) -> Self {
        self.audit = level;
        self
    }

    /// With another flag. It stands last, so that it beats those of the harness.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// The programs are not there (see [`available`](crate::available)), or it does not get ready.
    pub fn start(self) -> Kube {
        let assets = assets::find().unwrap_or_else(|why| panic!("{why}"));
        let etcd = self.etcd.unwrap_or_else(|| Etcd::start_with(&assets));
        let identity = self.identity.unwrap_or_else(|| Arc::new(Identity::new()));
        let prefix = self.prefix.unwrap_or_else(|| "/registry".to_owned());
        let etcd_url = self.etcd_url.unwrap_or_else(|| etcd.url().to_owned());
        let flags = Flags { etcd_url, prefix: prefix.clone(), audit: self.audit, more: self.args };
        Kube::start(&assets, etcd, identity, prefix, &flags)
    }
}

pub(crate) struct Flags {
    etcd_url: String,
    prefix: String,
    audit: audit::Level,
    more: Vec<String>,
}

/// The files of one API server, named by its port.
pub(crate) struct Files {
    pub(crate) certificate: std::path::PathBuf,
    pub(crate) key: std::path::PathBuf,
    pub(crate) audit: std::path::PathBuf,
    pub(crate) log: std::path::PathBuf,
}

impl Files {
    pub(crate) fn of(identity: &Identity, port: u16) -> Self {
        let file = |name: &str| identity.file(&format!("{port}-{name}"));
        Self { certificate: file("cert.pem"), key: file("key.pem"), audit: file("audit.log"), log: file("server.log") }
    }
}

impl Flags {
    /// All of them, for a server on this port.
    pub(crate) fn for_port(&self, port: u16, identity: &Identity, files: &Files) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd_url),
            format!("--etcd-prefix={}", self.prefix),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", path(&files.certificate)),
            format!("--tls-private-key-file={}", path(&files.key)),
            format!("--client-ca-file={}", path(&identity.authority.certificate())),
            format!("--cert-dir={}", path(identity.keeper.dir())),
            format!("--token-auth-file={}", path(&identity.users())),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path(&identity.checking_key())),
            format!("--service-account-signing-key-file={}", path(&identity.signing_key())),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // Nobody connects to the Service `kubernetes`, and its endpoints may not be on loopback.
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--disable-admission-plugins={NO_ADMISSION}"),
            "--profiling=false".to_owned(),
        ];
        if let Some(policy) = self.audit.policy() {
            let file = identity.file(&format!("{port}-audit-policy.yaml"));
            write(&file, policy);
            flags.push(format!("--audit-policy-file={}", path(&file)));
            flags.push(format!("--audit-log-path={}", path(&files.audit)));
            // Written before the answer is, and never thrown away.
            flags.push("--audit-log-mode=blocking".to_owned());
            flags.push("--audit-log-maxsize=0".to_owned());
        }
        flags.extend(self.more.iter().cloned());
        flags
    }
}
