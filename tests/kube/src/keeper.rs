//! A directory and processes that do not outlive the test, however it ends.
//!
//! Dropping is not enough: a test program that is killed, or that ends while a server is in a static, drops
//! nothing. So a shell waits for the end of a pipe whose only writer is this process, then kills what it was told
//! of and removes the directory.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads `started PID` and `ended PID` until the pipe ends.
const SCRIPT: &str = r#"
alive=
while read -r word pid; do
    case $word in
    started) alive="$alive $pid" ;;
    ended)
        rest=
        for one in $alive; do [ "$one" = "$pid" ] || rest="$rest $one"; done
        alive=$rest
        ;;
    esac
done
[ -z "$alive" ] || kill -9 $alive 2>/dev/null
# Who is killed may have been writing.
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
"#;

/// A temporary directory, and who cleans up.
#[derive(Debug)]
pub(crate) struct Keeper {
    dir: PathBuf,
    pipe: Mutex<Option<ChildStdin>>,
    shell: Child,
}

impl Keeper {
    /// # Panics
    /// The directory cannot be made, or no shell be started.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("setpoint-kube-")
            .tempdir()
            .unwrap_or_else(|error| panic!("a temporary directory cannot be made: {error}"))
            .keep();
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(&dir)
            .current_dir("/")
            // Ctrl-C is for the test, not for who cleans up after it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("sh cannot be started: {error}"));
        Self { dir, pipe: Mutex::new(shell.stdin.take()), shell }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A process that must not outlive this one.
    pub(crate) fn started(&self, pid: u32) {
        self.tell("started", pid);
    }

    /// That process is no business of the keeper any more.
    pub(crate) fn ended(&self, pid: u32) {
        self.tell("ended", pid);
    }

    fn tell(&self, word: &str, pid: u32) {
        if let Some(pipe) = self.pipe.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            writeln!(pipe, "{word} {pid}").unwrap_or_else(|error| panic!("the keeper does not listen: {error}"));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // It ends by itself now; there is nothing to do about it if it does not.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_ends_with_the_keeper_and_the_directory_is_gone() {
        let keeper = Keeper::new();
        let dir = keeper.dir().to_owned();
        let sleep = || Command::new("sleep").arg("60").spawn().expect("sleep can be started");
        let (mut kept, mut released) = (sleep(), sleep());
        keeper.started(kept.id());
        keeper.started(released.id());
        keeper.ended(released.id());
        drop(keeper);
        assert!(!dir.exists());
        assert_eq!(kept.wait().expect("it has ended").code(), None, "a signal ended it");
        assert!(released.try_wait().expect("it can be asked").is_none(), "it is no business of the keeper any more");
        released.kill().and_then(|()| released.wait()).expect("it can be killed");
    }
}
