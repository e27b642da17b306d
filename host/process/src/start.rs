//! One start of a process: pipes, launcher, and what came of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use setpoint_core::contract::Reason;
use setpoint_core::process::{Environment, ProcessSpec, Stdin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::inherit::inherited;
use crate::keeper::{Charge, News};
use crate::launcher::{Launch, verdict};
use crate::wire;

/// A program that runs, and our ends of its pipes.
pub(crate) struct Started {
    pub(crate) pid: u32,
    /// Whether standard input and output speak MCP.
    pub(crate) mcp: bool,
    /// Kept open as long as it runs; none if it reads nothing.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// What came of a start, with who watches over it.
pub(crate) enum Came {
    Running(Charge, Started),
    /// Nothing of it is left.
    Failed(Reason),
    /// It was killed with the keeper.
    Lost,
}

/// Starts a process. Takes as long as it takes, but ends when it is killed.
pub(crate) async fn start(mut charge: Charge, spec: &ProcessSpec, environment: &Environment) -> Came {
    match run(&mut charge, spec, environment).await {
        Ok(started) => Came::Running(charge, started),
        Err(NotStarted::Nothing(reason)) => Came::Failed(reason),
        Err(NotStarted::Lost) => Came::Lost,
        Err(NotStarted::Left(reason)) => {
            // The launcher ends by itself; nobody can know what it left on the way.
            charge.remote().kill();
            loop {
                match charge.news().await {
                    News::Gone => return Came::Failed(reason),
                    News::Lost => return Came::Lost,
                    News::Spawned { .. } | News::NotSpawned { .. } | News::Exited(_) => {}
                }
            }
        }
    }
}

enum NotStarted {
    /// There never was anything.
    Nothing(Reason),
    /// A launcher was there, and may still be.
    Left(Reason),
    Lost,
}

async fn run(charge: &mut Charge, spec: &ProcessSpec, environment: &Environment) -> Result<Started, NotStarted> {
    let failed = |what: &str, error: io::Error| Reason::new("StartFailed", format!("{what}: {error}"));
    let nothing = |what: &str| {
        let what = what.to_owned();
        move |error| NotStarted::Nothing(failed(&what, error))
    };
    let (theirs, ours) = pipes(spec.stdin).map_err(nothing("its pipes cannot be made"))?;
    let (socket, launchers) = UnixStream::pair().map_err(nothing("its pipes cannot be made"))?;
    let text = serde_json::to_vec(&launch(charge, spec, environment)).map_err(|error| {
        NotStarted::Nothing(Reason::new("Invalid", format!("its spec cannot be written down: {error}")))
    })?;
    let files: [_; 3] = std::array::from_fn(|at| theirs[at].as_fd());
    wire::send(&socket, &(text.len() as u64).to_le_bytes(), &files).map_err(nothing("its files cannot be sent"))?;
    drop(theirs);
    let launchers = OwnedFd::from(launchers);
    charge.spawn(&launchers).map_err(|error| {
        NotStarted::Nothing(Reason::new("KeeperLost", format!("what starts processes is being replaced ({error})")))
    })?;
    drop(launchers);
    let pid = match charge.news().await {
        News::Spawned { pid } => pid,
        News::NotSpawned { error } => {
            let error = io::Error::from_raw_os_error(error);
            return Err(NotStarted::Nothing(failed("no process can be made", error)));
        }
        News::Lost => return Err(NotStarted::Lost),
        other @ (News::Exited(_) | News::Gone) => {
            let reason = Reason::new("StartFailed", format!("could not be started: {other:?} came first"));
            return Err(NotStarted::Nothing(reason));
        }
    };
    let said = converse(socket, &text).await.unwrap_or_default();
    verdict(&said).map_err(NotStarted::Left)?;
    let [stdin, stdout, stderr] = ours;
    match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Ok(Started { pid, mcp: spec.stdin == Stdin::Mcp, stdin, stdout, stderr }),
        _ => Err(NotStarted::Left(Reason::new("StartFailed", "has no output"))),
    }
}

/// Tells the launcher what to start and hears what comes of it. The end of what it says is that the
/// program took its place, or that it has ended.
async fn converse(socket: UnixStream, text: &[u8]) -> io::Result<Vec<u8>> {
    socket.set_nonblocking(true)?;
    let mut socket = tokio::net::UnixStream::from_std(socket)?;
    let mut said = Vec::new();
    // One that ended in the middle has nothing to say, or has said why.
    let _gone = socket.write_all(text).await;
    (&mut socket).take(64 * 1024).read_to_end(&mut said).await?;
    Ok(said)
}

fn launch(charge: &Charge, spec: &ProcessSpec, environment: &Environment) -> Launch {
    let mut variables: Vec<(String, String)> =
        inherited().filter(|(name, _)| environment.iter().all(|(own, _)| own != name)).collect();
    variables.extend(environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (tag, value) = charge.tag();
    variables.retain(|(name, _)| *name != tag);
    variables.push((tag, value));
    Launch {
        command: spec.command.clone(),
        args: spec.args.clone(),
        environment: variables,
        directory: spec.working_directory.clone(),
        limits: spec.limits,
    }
}

/// Standard input, output and error: the process's ends, and ours.
type Ends = ([OwnedFd; 3], [Option<OwnedFd>; 3]);

fn pipes(stdin: Stdin) -> io::Result<Ends> {
    let (stdin, write) = match stdin {
        Stdin::Null => (OwnedFd::from(std::fs::File::open("/dev/null")?), None),
        Stdin::Open | Stdin::Mcp => {
            let (read, write) = io::pipe()?;
            (read.into(), Some(write.into()))
        }
    };
    let (stdout_read, stdout) = io::pipe()?;
    let (stderr_read, stderr) = io::pipe()?;
    Ok(([stdin, stdout.into(), stderr.into()], [write, Some(stdout_read.into()), Some(stderr_read.into())]))
}
