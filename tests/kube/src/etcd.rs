//! etcd: where API servers keep everything.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, Call};
use crate::assets::{self, Assets};
use crate::certificates;
use crate::keeper::Keeper;
use crate::port;
use crate::process::Process;

/// It answers within this on a busy machine.
const START: Duration = Duration::from_secs(30);
/// So often another port is tried.
const TRIES: usize = 5;

/// An etcd of its own, with its data in a temporary directory. The last clone that is dropped kills it.
#[derive(Clone)]
pub struct Etcd(Arc<Inner>);

struct Inner {
    // Before its directory goes.
    process: Process,
    data: PathBuf,
    port: u16,
    api: Api,
}

/// What an etcd held at one moment.
#[derive(Debug)]
pub struct Backup(TempDir);

impl Etcd {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// The program is not there (see [`available`](crate::available)), or it does not get there.
    pub fn start() -> Self {
        Self::start_with(&assets::find().unwrap_or_else(|why| panic!("{why}")))
    }

    pub(crate) fn start_with(assets: &Assets) -> Self {
        let keeper = Arc::new(Keeper::new());
        for _ in 0..TRIES {
            let (port, peers) = (port::free(), port::free());
            let api = Api::new(format!("http://127.0.0.1:{port}"), certificates::trusting_nobody(), None);
            let data = keeper.dir().join(format!("data-{port}"));
            let process = process(assets, &keeper, &data, port, peers);
            let etcd = Self(Arc::new(Inner { process, data, port, api }));
            etcd.0.process.start();
            match etcd.wait_until_it_answers() {
                Ok(()) => return etcd,
                Err(_) if etcd.0.process.tail().contains("address already in use") => {}
                Err(status) => panic!("etcd did not start: {status}\n{}", etcd.0.process.tail()),
            }
        }
        panic!("etcd found no free port in {TRIES} tries");
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        self.0.api.server()
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Kills it, as a power cut would. API servers on it stay up and fail.
    pub fn kill(&self) {
        self.0.process.kill();
    }

    /// Starts it again on its data and its port, and waits until it answers.
    ///
    /// # Panics
    /// It does not get there within half a minute.
    pub fn start_again(&self) {
        self.0.process.kill();
        self.0.process.start();
        if let Err(status) = self.wait_until_it_answers() {
            panic!("etcd did not start again: {status}\n{}", self.0.process.tail());
        }
    }

    /// It stops in the middle of what it does, and answers nothing.
    pub fn pause(&self) {
        self.0.process.pause();
    }

    /// It goes on after a [pause](Self::pause).
    pub fn resume(&self) {
        self.0.process.resume();
    }

    /// The end of what it logged.
    pub fn log_tail(&self) -> String {
        self.0.process.tail()
    }

    /// Forgets all versions but the present ones, so that nobody can continue a list or a watch that began
    /// before: what API servers do every five minutes.
    ///
    /// # Panics
    /// It does not answer.
    pub fn compact(&self) {
        let now = self.ask("/v3/kv/range", &json!({"key": "AA==", "keys_only": true}));
        let revision = now["header"]["revision"].as_str().map(str::to_owned);
        let revision = revision.unwrap_or_else(|| panic!("etcd tells no revision: {now}"));
        self.ask("/v3/kv/compaction", &json!({"revision": revision, "physical": true}));
    }

    /// Copies what it holds. It is killed for that, and started again.
    ///
    /// # Panics
    /// It cannot be copied, or does not start again.
    pub fn back_up(&self) -> Backup {
        self.kill();
        let backup = tempfile::tempdir().unwrap_or_else(|error| panic!("no directory for a backup: {error}"));
        copy(&self.0.data, &backup.path().join("data"));
        self.start_again();
        Backup(backup)
    }

    /// Goes back to a backup: time travel for all who have seen what came after it. It is killed for that, and
    /// started again; API servers on it want to be started again, too.
    ///
    /// # Panics
    /// It cannot be restored, or does not start again.
    pub fn restore(&self, backup: &Backup) {
        self.kill();
        fs::remove_dir_all(&self.0.data)
            .unwrap_or_else(|error| panic!("{} cannot be removed: {error}", self.0.data.display()));
        copy(&backup.0.path().join("data"), &self.0.data);
        self.start_again();
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        self.0.api.post(path, body).ok()
    }

    fn wait_until_it_answers(&self) -> Result<(), ExitStatus> {
        let healthy = || {
            let health = self.0.api.send(Call::new(Method::GET, "/health").within(Duration::from_secs(2))).ok()?;
            (health.body["health"] == "true").then_some(())
        };
        self.0.process.wait_for("etcd answers", START, healthy)
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Etcd({})", self.url())
    }
}

fn process(assets: &Assets, keeper: &Arc<Keeper>, data: &Path, port: u16, peers: u16) -> Process {
    let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let args = vec![
        "--name=test".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=test={peers}"),
        // What a killed process has written is there all the same; only a machine that dies loses it.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Process::new(&assets.etcd, args, keeper.dir().join(format!("etcd-{port}.log")), keeper.clone())
}

fn copy(from: &Path, to: &Path) {
    let copied = fs::create_dir_all(to).and_then(|()| {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    });
    copied.unwrap_or_else(|error: io::Error| panic!("{} cannot be copied: {error}", from.display()));
}
