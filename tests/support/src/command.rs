//! Commands that must end, and those that run until they are told to.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// With all of its output, if it failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a command that failed with this code.
    ///
    /// # Panics
    /// With all of its output, if it ended otherwise.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stderr
    }

    /// Both of what it wrote.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end, or kills it.
///
/// # Panics
/// It cannot be started, or does not end within the time.
pub fn run(command: &mut Command, at_most: Duration) -> Ran {
    start(command).end(at_most)
}

/// Starts a command.
///
/// # Panics
/// It cannot be started.
pub fn start(command: &mut Command) -> Running {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let stdout = Collected::of(child.stdout.take());
    let stderr = Collected::of(child.stderr.take());
    Running { what: format!("{command:?}"), child, stdout, stderr }
}

/// A command that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// What it has written to standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Tells it to stop as Ctrl-C does.
    ///
    /// # Panics
    /// It runs no more.
    pub fn interrupt(&self) {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -INT \"$0\""]).arg(self.child.id().to_string());
        run(&mut kill, Duration::from_secs(10)).ok();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end within the time.
    pub fn end(mut self, at_most: Duration) -> Ran {
        let deadline = Instant::now() + at_most;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Ok(None) | Err(_) => break None,
            }
        };
        self.kill();
        let (stdout, stderr) = (self.stdout.whole(), self.stderr.whole());
        let Some(status) = status else {
            panic!("{} did not end within {at_most:?}\nstdout:\n{stdout}\nstderr:\n{stderr}", self.what);
        };
        Ran { code: status.code(), stdout, stderr }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A stream that is read while the command runs: a full pipe would stop it.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Collected {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = stream.map(|mut stream| {
            let bytes = bytes.clone();
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut part) {
                    bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..read]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// All of it, once nobody writes any more.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // A reader does not panic; if it did, what it had read is there.
            let _ = reader.join();
        }
        self.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_code_are_what_the_command_gave() {
        let ran = run(&mut sh("echo out; echo err >&2; exit 3"), Duration::from_secs(10));
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(3), "out\n", "err\n"));
    }

    #[test]
    #[should_panic(expected = "did not end within")]
    fn a_command_without_end_is_killed() {
        run(&mut sh("exec sleep 60"), Duration::from_millis(50));
    }

    #[test]
    fn what_a_running_command_writes_is_seen_before_it_ends() {
        let running = start(&mut sh("echo first; exec sleep 60"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while running.stdout() != "first\n" {
            assert!(Instant::now() < deadline, "{running:?}");
            thread::sleep(Duration::from_millis(5));
        }
        running.interrupt();
        assert_eq!(running.end(Duration::from_secs(10)).code, None, "the signal ended it");
    }
}
