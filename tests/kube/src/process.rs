//! A server as a process: started, stopped, killed, started again.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::keeper::Keeper;

/// So much of the log is shown when something goes wrong.
const TAIL: usize = 4_000;

/// A program with its arguments, and the process if it runs. Dropped, the process is killed.
#[derive(Debug)]
pub(crate) struct Process {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    keeper: Arc<Keeper>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Never started, or killed.
    Off,
    Running(Child),
    /// It ended by itself.
    Ended(ExitStatus),
}

impl Process {
    /// Nothing runs yet. What it says goes to the end of `log`.
    pub(crate) fn new(program: &Path, args: Vec<String>, log: PathBuf, keeper: Arc<Keeper>) -> Self {
        Self { program: program.to_owned(), args, log, keeper, state: Mutex::new(State::Off) }
    }

    /// Starts it; if it runs already, nothing happens.
    ///
    /// # Panics
    /// It cannot be started.
    pub(crate) fn start(&self) {
        let mut state = self.state();
        if matches!(*state, State::Running(_)) {
            return;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .and_then(|file| Ok((file.try_clone()?, file)))
            .unwrap_or_else(|error| panic!("{} cannot be opened: {error}", self.log.display()));
        let started = Command::new(&self.program)
            .args(&self.args)
            .current_dir(self.keeper.dir())
            // It asks nobody for what is on this machine, whatever the environment says.
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            // Ctrl-C is for the test, which then stops this in its turn.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.program.display()));
        self.keeper.started(started.id());
        *state = State::Running(started);
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        if let State::Running(child) = &mut *state {
            // Whatever the answer, it is gone or was already.
            let _ = child.kill();
            // Before it is waited for: afterwards its number may be another's.
            self.keeper.ended(child.id());
            let _ = child.wait();
        }
        *state = State::Off;
    }

    /// Stops it without its knowing: it keeps its connections and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let Some(pid) = self.pid() else { panic!("{} does not run", self.program.display()) };
        let status = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", signal, &pid.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{} got no signal {signal}", self.program.display());
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let mut state = self.state();
        if let State::Running(child) = &mut *state
            && let Ok(Some(status)) = child.try_wait()
        {
            self.keeper.ended(child.id());
            *state = State::Ended(status);
        }
        if let State::Ended(status) = *state { Some(status) } else { None }
    }

    /// Its number, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        if let State::Running(child) = &*self.state() { Some(child.id()) } else { None }
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        let from = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
        format!("end of {}:\n{}", self.log.display(), &text[from..])
    }

    /// Looks every 20 ms until something is there.
    ///
    /// # Errors
    /// The process has ended before.
    ///
    /// # Panics
    /// It takes longer than `at_most`; with the end of the log.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        at_most: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.ended() {
                return Err(status);
            }
            assert!(began.elapsed() < at_most, "not within {at_most:?}: {what}\n{}", self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
