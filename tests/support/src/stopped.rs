//! A host that does not run at present, with everything that it left behind.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::command::{Ran, run};
use crate::host::{COMMAND, Host, POLL, START, command};
use crate::setup::{Setup, put};

/// The directory of a host that ended. Dropped, all is removed.
#[derive(Debug)]
pub struct Stopped {
    setup: Setup,
}

/// What came of a start that may be refused.
#[derive(Debug)]
pub enum Start {
    /// It runs.
    Up(Host),
    /// It ended: what it left, its exit code, and what it said.
    Refused(Stopped, Ran),
}

impl Host {
    /// Stops it as a supervisor does.
    ///
    /// # Panics
    /// It does not stop, or not well.
    #[must_use]
    pub fn stop(self) -> Stopped {
        let (status, _) = self.terminate();
        assert!(status.success(), "{status}\n{}", self.log_tail());
        Stopped { setup: self.into_setup() }
    }

    /// Kills it, as a power cut would.
    #[must_use]
    pub fn cut_off(self) -> Stopped {
        Stopped { setup: self.into_setup() }
    }
}

impl Stopped {
    /// The directory in which it ran.
    pub fn root(&self) -> &Path {
        self.setup.root.path()
    }

    /// Writes a file; the path is relative to the directory in which it ran.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        put(&self.root().join(path), content);
    }

    /// Reads a file; the path is relative to the directory in which it ran.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
    }

    /// From now on writes that would make a file longer than this fail, as on a full disk; none: no
    /// such limit. In steps of 512 bytes.
    #[must_use]
    pub fn with_largest_file(mut self, bytes: Option<u64>) -> Self {
        self.setup.largest_file = bytes;
        self
    }

    /// Runs `setpoint ARGS` in its directory.
    ///
    /// # Panics
    /// It does not end within 30 s.
    pub fn cli(&self, args: &[&str]) -> Ran {
        run(command(self.root()).args(args), COMMAND)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// It does not get ready.
    #[must_use]
    pub fn start(self) -> Host {
        Host::start(Setup { wait_until_ready: true, ..self.setup })
    }

    /// The same, waiting only until it listens: for one that cannot be ready.
    ///
    /// # Panics
    /// It does not listen.
    #[must_use]
    pub fn start_without_waiting(self) -> Host {
        Host::start(Setup { wait_until_ready: false, ..self.setup })
    }

    /// Starts it where it may refuse to.
    ///
    /// # Panics
    /// It neither listens nor ends within 30 s.
    #[must_use]
    pub fn try_start(self) -> Start {
        let log = self.root().join("host.log");
        let said_before = fs::read(&log).unwrap_or_default().len();
        let host = Host::spawn(self.setup);
        let began = Instant::now();
        loop {
            if let Some(server) = host.address() {
                return Start::Up(host.listening(server));
            }
            if let Some(status) = host.ended() {
                let said = fs::read(&log).unwrap_or_default();
                let stderr = String::from_utf8_lossy(said.get(said_before..).unwrap_or_default()).into_owned();
                let ran = Ran { code: status.code(), stdout: String::new(), stderr };
                return Start::Refused(Self { setup: host.into_setup() }, ran);
            }
            assert!(began.elapsed() < START, "it neither listens nor ends\n{}", host.log_tail());
            thread::sleep(POLL);
        }
    }
}
