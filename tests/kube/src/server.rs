//! An API server: started, killed, started again; its addresses and its users.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::api::{Api, Call};
use crate::assets::Assets;
use crate::audit::{self, Audited};
use crate::etcd::Etcd;
use crate::identity::{ADMIN, Credentials, Identity};
use crate::port;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::setup::{Files, Flags, Setup};

/// It is ready within this on a busy machine; alone it takes a few seconds.
const START: Duration = Duration::from_secs(90);
/// So often another port is tried.
const TRIES: usize = 5;
/// Made by the server itself, a moment after it says that it is ready.
const NAMESPACES: [&str; 2] = ["default", "kube-system"];

/// A cluster: an API server and its etcd. The last clone that is dropped kills it.
///
/// There are no controllers: nothing collects the children of an owner that is gone, no namespace ever ends, no
/// service account gets a token by itself.
#[derive(Clone)]
pub struct Kube(Arc<Inner>);

struct Inner {
    // Before etcd and the directory go.
    process: Process,
    files: Files,
    port: u16,
    server: String,
    admin: Api,
    identity: Arc<Identity>,
    etcd: Etcd,
    prefix: String,
    kubectl: PathBuf,
}

impl Kube {
    /// One to be started with choices.
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub(crate) fn start(assets: &Assets, etcd: Etcd, identity: Arc<Identity>, prefix: String, flags: &Flags) -> Self {
        for _ in 0..TRIES {
            let port = port::free();
            let files = Files::of(&identity, port);
            identity.authority.write_server(&files.certificate, &files.key);
            let args = flags.for_port(port, &identity, &files);
            let process = Process::new(&assets.kube_apiserver, args, files.log.clone(), identity.keeper.clone());
            let server = format!("https://127.0.0.1:{port}");
            let admin = identity.api(&server, &identity.token(ADMIN));
            let (identity, etcd, prefix) = (identity.clone(), etcd.clone(), prefix.clone());
            let kubectl = assets.kubectl.clone();
            let kube = Self(Arc::new(Inner { process, files, port, server, admin, identity, etcd, prefix, kubectl }));
            kube.0.process.start();
            match kube.wait_until_ready() {
                Ok(()) => return kube,
                Err(_) if kube.0.process.tail().contains("address already in use") => {}
                Err(status) => panic!("the API server did not start: {status}\n{}", kube.0.process.tail()),
            }
        }
        panic!("the API server found no free port in {TRIES} tries");
    }

    /// `https://127.0.0.1:PORT`
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// The file with the certificate of the authority that signed the server's.
    pub fn ca_file(&self) -> PathBuf {
        self.0.identity.authority.certificate()
    }

    /// A file that makes `kubectl` and clients the [administrator](ADMIN).
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(ADMIN)
    }

    /// A file that makes clients this user: [`ADMIN`] or one of [`USERS`](crate::USERS).
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.0.identity.kubeconfig(&self.0.server, user, &Credentials::Token(self.token(user)))
    }

    /// A file that makes clients the administrator at another address, such as that of a [`Relay`](crate::Relay).
    pub fn kubeconfig_at(&self, server: &str) -> PathBuf {
        self.0.identity.kubeconfig(server, ADMIN, &Credentials::Token(self.token(ADMIN)))
    }

    /// A file with any bearer token in it, whether it is good or not.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> PathBuf {
        self.0.identity.kubeconfig(&self.0.server, name, &Credentials::Token(token.to_owned()))
    }

    /// A file that makes clients any user, by a client certificate of files of its own.
    pub fn kubeconfig_with_certificate(&self, user: &str, groups: &[&str]) -> PathBuf {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let certificate = self.0.identity.file(&format!("client-{made}-cert.pem"));
        let key = self.0.identity.file(&format!("client-{made}-key.pem"));
        self.0.identity.authority.write_client(user, groups, &certificate, &key);
        self.0.identity.kubeconfig(&self.0.server, user, &Credentials::Certificate(certificate, key))
    }

    /// The bearer token of [`ADMIN`] or one of [`USERS`](crate::USERS).
    pub fn token(&self, user: &str) -> String {
        self.0.identity.token(user)
    }

    /// The API as the administrator sees it.
    pub fn api(&self) -> &Api {
        &self.0.admin
    }

    /// The API as this user sees it.
    pub fn api_as(&self, user: &str) -> Api {
        self.api_with_token(&self.token(user))
    }

    /// The API as the holder of this token sees it.
    pub fn api_with_token(&self, token: &str) -> Api {
        self.0.identity.api(&self.0.server, token)
    }

    /// `kubectl` of the same version, as the administrator, with whatever arguments are added.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.0.kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.0.identity.file("kubectl"));
        command.env("HOME", self.0.identity.keeper.dir());
        command
    }

    /// Its etcd.
    pub fn etcd(&self) -> &Etcd {
        &self.0.etcd
    }

    /// A proxy of its own between a client and this server.
    pub fn proxy(&self) -> Proxy {
        Proxy::to(self)
    }

    /// Kills it, as a power cut would.
    pub fn kill(&self) {
        self.0.process.kill();
    }

    /// Starts it again at the same address, on the same objects, and waits until it is ready. One that runs is
    /// killed before.
    ///
    /// # Panics
    /// It does not get ready.
    pub fn start_again(&self) {
        self.0.process.kill();
        self.0.process.start();
        if let Err(status) = self.wait_until_ready() {
            panic!("the API server did not start again: {status}\n{}", self.0.process.tail());
        }
    }

    /// It stops in the middle of what it does: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.0.process.pause();
    }

    /// It goes on after a [pause](Self::pause).
    pub fn resume(&self) {
        self.0.process.resume();
    }

    /// Gives it another certificate of the same authority, with another key. It takes it within a minute, for new
    /// connections.
    pub fn rotate_certificate(&self) {
        self.0.identity.authority.write_server(&self.0.files.certificate, &self.0.files.key);
    }

    /// The certificate that it shows now, as DER.
    ///
    /// # Panics
    /// It shows none.
    pub fn certificate(&self) -> Vec<u8> {
        self.0.identity.authority.shown_at(self.0.port).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// How it ended, if it did so by itself.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.0.process.ended()
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.0.process.pid()
    }

    /// The end of what it logged.
    pub fn log_tail(&self) -> String {
        self.0.process.tail()
    }

    /// What its audit log holds, in the order in which answers were given.
    pub fn audited(&self) -> Vec<Audited> {
        audit::read(&self.0.files.audit)
    }

    /// The same, of one user only.
    pub fn audited_of(&self, user: &str) -> Vec<Audited> {
        audit::read_of(&self.0.files.audit, user)
    }

    /// A new namespace with a name of its own, so that tests on one server do not meet.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn namespace(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.api().post("/api/v1/namespaces", &namespace).ok();
        name
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.0.identity
    }

    fn wait_until_ready(&self) -> Result<(), ExitStatus> {
        let there = |path: &str| {
            let answer = self.api().send(Call::new(Method::GET, path).within(Duration::from_secs(5)));
            answer.is_ok_and(|answer| answer.status == 200)
        };
        let ready = || there("/readyz").then_some(());
        self.0.process.wait_for("the API server is ready", START, ready)?;
        let made = || NAMESPACES.iter().all(|name| there(&format!("/api/v1/namespaces/{name}"))).then_some(());
        self.0.process.wait_for("the API server has made its namespaces", START, made)
    }
}

impl fmt::Debug for Kube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kube({})", self.0.server)
    }
}
