//! A host as a process: started, stopped, killed, started again.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::built;
use crate::client::Client;
use crate::command::{Ran, Running, run};
use crate::place::Place;
use crate::setup::Setup;

/// It listens within this, and is ready within as much again.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Told to stop, it has 10 s; these are a few more.
const STOP: Duration = Duration::from_secs(20);
/// A command of the command line takes no longer.
pub(crate) const COMMAND: Duration = Duration::from_secs(30);
/// How often is looked.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// A host that runs in a temporary directory of its own. Dropped, it is killed and all is removed.
#[derive(Debug)]
pub struct Host {
    // Before the directory, which is removed only when nobody works in it any more.
    process: Process,
    setup: Setup,
    client: Client,
}

#[derive(Debug)]
struct Process(Mutex<Child>);

impl Process {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        let mut child = self.child();
        // Whatever the answer, it is gone or was already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host {
    /// What is there before it starts.
    pub fn setup() -> Setup {
        Setup::new()
    }

    pub(crate) fn start(setup: Setup) -> Self {
        let host = Self::spawn(setup);
        let server = host.wait_within("it listens", START, Self::address);
        host.listening(server)
    }

    /// The process is there; whether it will listen is not known yet.
    pub(crate) fn spawn(setup: Setup) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(setup.root.path().join("host.log"))
            .and_then(|file| Ok((file.try_clone()?, file)))
            .unwrap_or_else(|error| panic!("the log cannot be opened: {error}"));
        // Port 0: the system picks a free one, and the host says which in `host.json`.
        let child = host_command(&setup)
            .args(["run", "--listen", "127.0.0.1:0"])
            .args(&setup.args)
            .stdin(std::process::Stdio::null())
            .stdout(log.0)
            .stderr(log.1)
            .spawn()
            .unwrap_or_else(|error| panic!("the host cannot be started: {error}"));
        Self { process: Process(Mutex::new(child)), setup, client: Client::new("") }
    }

    pub(crate) fn listening(mut self, server: String) -> Self {
        self.client = Client::new(server);
        if self.setup.wait_until_ready {
            self.wait_within("it is ready", START, |host| host.ready().then_some(()));
        }
        self
    }

    /// What this very process says in `host.json`; one that was killed leaves its own behind.
    pub(crate) fn address(&self) -> Option<String> {
        let text = fs::read_to_string(self.root().join(".setpoint/host.json")).ok()?;
        let said: Value = serde_json::from_str(&text).ok()?;
        (said["pid"] == self.pid()).then(|| said["server"].as_str().map(str::to_owned))?
    }

    /// The directory in which it runs.
    pub fn root(&self) -> &Path {
        self.setup.root.path()
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.setup.place.as_deref()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.child().id()
    }

    /// Its HTTP API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process.child().try_wait().ok().flatten()
    }

    /// Everything that it logged, and those before it in this directory.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.root().join("host.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks it to stop as a supervisor does, and waits for it: how it ended and how long that took.
    ///
    /// # Panics
    /// It does not stop within 20 s.
    pub fn terminate(&self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$0\""]).arg(self.pid().to_string());
        run(&mut kill, COMMAND).ok();
        let Some(status) = self.wait_for_its_end(STOP) else {
            panic!("it did not stop within {STOP:?}\n{}", self.log_tail());
        };
        (status, began.elapsed())
    }

    /// Waits for one that was told to stop: how it ended; none if it did not within the time.
    pub fn wait_for_its_end(&self, at_most: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while self.ended().is_none() && began.elapsed() < at_most {
            thread::sleep(POLL);
        }
        self.ended()
    }

    /// Kills it, as a power cut would.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts another one in its place, on the same files and the same state, and waits until it is
    /// ready. One that still runs is killed before.
    ///
    /// # Panics
    /// It does not get ready.
    #[must_use]
    pub fn start_again(self) -> Self {
        self.again(true)
    }

    /// The same, waiting only until it listens: for one that cannot be ready.
    ///
    /// # Panics
    /// It does not listen.
    #[must_use]
    pub fn start_again_without_waiting(self) -> Self {
        self.again(false)
    }

    fn again(self, wait_until_ready: bool) -> Self {
        let setup = self.into_setup();
        Self::start(Setup { wait_until_ready, ..setup })
    }

    /// What it leaves; if it still runs, it is killed.
    pub(crate) fn into_setup(self) -> Setup {
        let Self { process, setup, .. } = self;
        drop(process);
        setup
    }

    /// Runs `setpoint ARGS` in its directory, where the command finds the host by itself.
    ///
    /// # Panics
    /// It does not end within 30 s.
    pub fn cli(&self, args: &[&str]) -> Ran {
        run(command(self.root()).args(args), COMMAND)
    }

    /// Starts `setpoint ARGS` in its directory, for a command that does not end by itself.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn cli_running(&self, args: &[&str]) -> Running {
        crate::command::start(command(self.root()).args(args))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!("the end of its log:\n{}", tail.join("\n"))
    }
}

/// The binary, in a directory, with nothing of this process' environment that it would listen to.
pub fn command(dir: &Path) -> Command {
    within(dir, Command::new(built::binary()))
}

fn host_command(setup: &Setup) -> Command {
    let dir = setup.root.path();
    let Some(bytes) = setup.largest_file else { return command(dir) };
    let mut shell = within(dir, Command::new("sh"));
    // Without the signal a write beyond the limit fails, as it does on a full disk.
    shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""]).arg((bytes / 512).to_string());
    shell.arg(built::binary());
    shell
}

fn within(dir: &Path, mut command: Command) -> Command {
    command.current_dir(dir).env("HOME", dir.join("home")).env_remove("XDG_CACHE_HOME");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SETPOINT_") {
            command.env_remove(name);
        }
    }
    command
}
