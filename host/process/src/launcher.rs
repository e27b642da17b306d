//! What the launcher does: this program, started by the keeper, that becomes the program that was asked for.
//!
//! It has the process id, the process group and the parent that the program will have, and nothing of
//! the host. So whatever can hang or fail (a directory on a file system that does not answer, a program
//! that is not there) happens to it alone, and can be killed.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};
use setpoint_core::contract::Reason;
use setpoint_core::process::Limits;

use crate::wire;

/// What is to be started. It comes from the host, over the launcher's standard input: a length of eight
/// bytes, which the three files of standard input, output and error go with, and this as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    /// The whole environment.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: Option<String>,
    pub(crate) limits: Limits,
}

/// Why there is no program.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// Said when everything is ready and the program begins. If nothing follows it, it has.
pub(crate) const BEGUN: u8 = b'+';
/// The longest description of what is to be started.
const LONGEST: u64 = 64 << 20;

/// What the host was told in the end: whether the program runs.
pub(crate) fn verdict(said: &[u8]) -> Result<(), Reason> {
    match said.strip_prefix(&[BEGUN]).unwrap_or(said) {
        [] if said.is_empty() => Err(Reason::new("Killed", "was killed before it began")),
        [] => Ok(()),
        text => Err(match serde_json::from_slice::<Refusal>(text) {
            Ok(refusal) => Reason::new(refusal.code, refusal.message),
            Err(_) => Reason::new("StartFailed", "could not be started, for a reason that was cut off"),
        }),
    }
}

/// Becomes the program. Comes back only if that is not possible, and the host was told why.
pub(crate) fn main(keeper: u32) -> io::Result<()> {
    die_with(keeper)?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (launch, files) = read(&socket)?;
    let refusal = match attach(files) {
        Ok(()) => begin(&launch, &socket),
        Err(error) => reason("StartFailed", format!("standard input and output could not be set up: {error}")),
    };
    let refusal = Refusal { code: refusal.code, message: refusal.message };
    (&socket).write_all(&serde_json::to_vec(&refusal)?)
}

/// Ends with the keeper, even if that is killed: what the launcher becomes keeps it.
fn die_with(keeper: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before.
    if std::os::unix::process::parent_id() == keeper { Ok(()) } else { Err(io::Error::other("the keeper is gone")) }
}

fn read(mut socket: &UnixStream) -> io::Result<(Launch, Vec<OwnedFd>)> {
    let (mut length, mut filled, mut files) = ([0; 8], 0, Vec::new());
    while filled < length.len() {
        match wire::receive(socket, &mut length[filled..], &mut files)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    Read::by_ref(&mut socket).take(length).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, files))
}

fn attach(files: Vec<OwnedFd>) -> io::Result<()> {
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(files).map_err(|_| io::ErrorKind::InvalidData)?;
    dup2_stdin(stdin)?;
    dup2_stdout(stdout)?;
    dup2_stderr(stderr)?;
    Ok(())
}

/// The reason why it did not become the program.
fn begin(launch: &Launch, mut socket: &UnixStream) -> Reason {
    if let Some(directory) = &launch.directory
        && let Err(error) = std::env::set_current_dir(directory)
    {
        return reason(
            "BadWorkingDirectory",
            format!("the working directory {directory} cannot be used: {}", plain(&error)),
        );
    }
    let path = launch.environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let program = match find(&launch.command, path) {
        Ok(program) => program,
        Err(reason) => return reason,
    };
    let mut command = Command::new(&program);
    command.arg0(&launch.command).args(&launch.args).env_clear();
    command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
    if let Err(error) = limit(&launch.limits) {
        return reason("StartFailed", format!("its limits could not be set: {error}"));
    }
    if socket.write_all(&[BEGUN]).is_err() {
        return reason("Killed", "the host is gone".into());
    }
    not_begun(&launch.command, &command.exec())
}

/// What the system's answer means for a person.
fn not_begun(command: &str, error: &io::Error) -> Reason {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The file is there: what its first line names is not.
        Some(Errno::NOENT) => {
            let text = format!("the program that runs {command} is not there, which its first line names");
            reason("CommandNotFound", text)
        }
        Some(Errno::ACCESS) => reason("NotExecutable", format!("{command} may not be executed")),
        Some(Errno::NOEXEC) => reason("NotExecutable", format!("{command} is no program for this machine")),
        Some(Errno::TOOBIG) => reason("Invalid", "its arguments and its environment are too long".into()),
        _ if error.kind() == io::ErrorKind::InvalidInput => {
            reason("Invalid", "a zero byte is in its command or an argument".into())
        }
        _ => reason("StartFailed", format!("{command} cannot be started: {}", plain(error))),
    }
}

/// The program as a path, as the system would look for it.
fn find(command: &str, path: &str) -> Result<PathBuf, Reason> {
    if command.contains('/') {
        let program = PathBuf::from(command);
        return match usable(&program) {
            Ok(()) => Ok(program),
            Err(Unusable::Missing) => Err(reason("CommandNotFound", format!("the program {command} is not there"))),
            Err(Unusable::Other(why)) => Err(reason("NotExecutable", format!("{command} {why}"))),
        };
    }
    let mut seen = None;
    // An empty part means the working directory.
    for directory in path.split(':') {
        let program = Path::new(if directory.is_empty() { "." } else { directory }).join(command);
        match usable(&program) {
            Ok(()) => return Ok(program),
            Err(Unusable::Other(why)) => seen = seen.or(Some((program, why))),
            Err(Unusable::Missing) => {}
        }
    }
    Err(match seen {
        Some((program, why)) => reason("NotExecutable", format!("{} {why}", program.display())),
        None => reason("CommandNotFound", format!("the command {command} is not found in PATH")),
    })
}

enum Unusable {
    Missing,
    Other(String),
}

fn usable(program: &Path) -> Result<(), Unusable> {
    let metadata = match std::fs::metadata(program) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Unusable::Missing);
        }
        Err(error) => return Err(Unusable::Other(format!("cannot be looked at: {}", plain(&error)))),
    };
    let bad = |what: &str| Err(Unusable::Other(what.to_owned()));
    if metadata.is_dir() {
        bad("is a directory")
    } else if !metadata.is_file() {
        bad("is no program")
    } else if metadata.permissions().mode() & 0o111 == 0 {
        bad("is not executable")
    } else {
        Ok(())
    }
}

/// A limit is the most that there may be: one that is lower already stays.
fn limit(limits: &Limits) -> io::Result<()> {
    let resources = [
        (Resource::Nofile, limits.open_files),
        (Resource::As, limits.address_space_bytes),
        (Resource::Fsize, limits.file_size_bytes),
        (Resource::Nproc, limits.processes),
        (Resource::Cpu, limits.cpu_seconds),
    ];
    for (resource, wanted) in resources {
        let Some(wanted) = wanted else {
            continue;
        };
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let current = wanted.min(most);
        // One second more, so that the process is told by SIGXCPU and not just killed.
        let maximum = if resource == Resource::Cpu { current.saturating_add(1).min(most) } else { current };
        setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })?;
    }
    Ok(())
}

fn reason(code: &str, message: String) -> Reason {
    Reason::new(code, message)
}

/// The words of an error, without the number of the system.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_launcher_said_is_one_verdict() {
        assert_eq!(verdict(b"+"), Ok(()));
        assert_eq!(verdict(b"").map_err(|reason| reason.code), Err("Killed".into()));
        for said in [&br#"{"code":"A","message":"b"}"#[..], br#"+{"code":"A","message":"b"}"#] {
            assert_eq!(verdict(said), Err(Reason::new("A", "b")));
        }
        assert_eq!(verdict(br#"+{"code":"A","#).map_err(|reason| reason.code), Err("StartFailed".into()));
    }

    #[test]
    fn a_program_is_looked_for_as_the_system_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |name: &str, mode: u32| {
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("it is made");
            std::fs::write(&file, "").expect("it is written");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("it is ours");
            file.to_str().expect("it is text").to_owned()
        };
        let (good, plain) = (make("b/tool", 0o755), make("a/tool", 0o644));
        make("a/only", 0o644);
        let root = directory.path().to_str().expect("it is text");
        let path = format!("{root}/none:{root}/a:{root}/b");
        assert_eq!(find("tool", &path), Ok(PathBuf::from(&good)), "one that cannot be executed is passed over");
        assert_eq!(find(&good, ""), Ok(PathBuf::from(&good)));
        let code = |command: &str| find(command, &path).map_err(|reason| reason.code);
        assert_eq!(code("only"), Err("NotExecutable".into()));
        assert_eq!(code("nothing"), Err("CommandNotFound".into()));
        assert_eq!(code(&plain), Err("NotExecutable".into()));
        assert_eq!(code(&format!("{root}/a")), Err("NotExecutable".into()));
        assert_eq!(code(&format!("{good}/below")), Err("CommandNotFound".into()));
    }
}
