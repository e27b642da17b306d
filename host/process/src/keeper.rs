//! The keeper: a small process beside the host that starts what the host supervises, and kills all of
//! it when the host is gone, even if that was killed itself (rule D13).
//!
//! Host and keeper are joined by a socket of which the host alone has the one end. The host asks for
//! starts and ends; when the system closes its end, the keeper knows that there is no host any more.
//! See the decision record 0015 for why it is built like this.

mod serve;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::sync::mpsc;

use crate::survey;
use crate::wire::{self, End, Partial, Report, Request};

/// How long a keeper may take to say that it keeps watch.
const READY: Duration = Duration::from_secs(10);
/// How long a keeper may take to listen. One that takes longer is stopped or broken.
const LISTEN: Duration = Duration::from_secs(5);
/// How long what a killed keeper left behind is killed before a new one is started.
const SWEEP: Duration = Duration::from_secs(5);
/// Between two attempts to start a new keeper: the first pause, and the longest.
const RESTART: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The variable that says what this program is to be, if not itself.
const ROLE: &str = "SETPOINT_ROLE";

/// What this program is to be, as the environment says.
enum Role {
    Keeper { mark: String, open_files: Option<u64> },
    Launcher { keeper: u32 },
}

impl Role {
    fn put(&self, command: &mut Command) {
        command.env(
            ROLE,
            match self {
                Role::Keeper { mark, open_files: None } => format!("keeper {mark}"),
                Role::Keeper { mark, open_files: Some(files) } => format!("keeper {mark} {files}"),
                Role::Launcher { keeper } => format!("launcher {keeper}"),
            },
        );
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (role, first, second) = (words.next()?, words.next()?, words.next());
        match role {
            "keeper" => Some(Role::Keeper { mark: first.to_owned(), open_files: second.and_then(|n| n.parse().ok()) }),
            "launcher" => Some(Role::Launcher { keeper: first.parse().ok()? }),
            _ => None,
        }
    }
}

/// The other lives of the host's program. Has to be called first of all in `main`, before there are
/// threads: if this process was started to be the keeper, or to become a supervised program, it is
/// that until it ends, and `main` returns the answer. None: it is the program itself.
pub fn keeper_main() -> Option<ExitCode> {
    let role = Role::parse(std::env::var(ROLE).ok()?.as_str());
    let result = match role {
        Some(Role::Keeper { mark, open_files }) => {
            restore(open_files);
            #[cfg(target_os = "linux")]
            let _as_it_is = rustix::thread::disable_transparent_huge_pages(false);
            serve::serve(mark)
        }
        Some(Role::Launcher { keeper }) => crate::launcher::main(keeper),
        None => Err(io::Error::other(format!("{ROLE} is set by the host, and means nothing to a person"))),
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("setpoint keeper: {error}");
            ExitCode::FAILURE
        }
    })
}

/// What the host raised for itself is no business of what it starts.
fn restore(open_files: Option<u64>) {
    if let Some(current) = open_files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum });
    }
}

/// How a process that is watched over ended, and what became of the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Spawned {
        pid: u32,
    },
    NotSpawned {
        error: i32,
    },
    Exited(End),
    Gone,
    /// The keeper was killed, and everything with it.
    Lost,
}

/// The keeper of a host. Cheap to clone. When the last clone is dropped everything that was started is
/// killed.
#[derive(Clone, Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    _end: Arc<EndOnDrop>,
}

#[derive(Debug)]
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    args: Vec<OsString>,
    /// What everything of this host has in its environment.
    mark: String,
    /// The soft limit of open files as it was before the host raised it for itself.
    open_files: Option<u64>,
    next: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
    /// Held for one frame. The state is not held meanwhile: the keeper may have to be heard before it listens.
    sending: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// None while there is no keeper.
    socket: Option<Arc<UnixStream>>,
    keeper: u32,
    listeners: HashMap<u64, mpsc::UnboundedSender<News>>,
    ending: bool,
    /// There is no keeper, and there will be none.
    ended: bool,
}

impl Keeper {
    /// Starts a keeper: `program` with `args`, whose `main` has to begin with [`keeper_main`]. Usually
    /// the host's own. Raises this process's limit of open files to what it may be at most, since each
    /// supervised process takes some; what is started has the limit as it was.
    ///
    /// # Errors
    /// If it cannot be started, or does not keep watch within ten seconds.
    pub fn start<A: Into<OsString>>(program: &Path, args: impl IntoIterator<Item = A>) -> io::Result<Keeper> {
        let open_files = getrlimit(Resource::Nofile);
        let shared = Arc::new(Shared {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            mark: uuid::Uuid::new_v4().to_string(),
            open_files: open_files.current,
            next: AtomicU64::new(1),
            state: Mutex::new(State {
                socket: None,
                keeper: 0,
                listeners: HashMap::new(),
                ending: false,
                ended: false,
            }),
            changed: Condvar::new(),
            sending: Mutex::new(()),
        });
        let (child, socket) = shared.start()?;
        let reader = shared.adopt(&child, socket)?;
        let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: open_files.maximum, ..open_files });
        let watched = shared.clone();
        std::thread::Builder::new().name("keeper".into()).spawn(move || watched.watch(child, reader))?;
        Ok(Keeper { _end: Arc::new(EndOnDrop(shared.clone())), shared })
    }

    /// The process id of the keeper; none while there is none.
    pub fn pid(&self) -> Option<u32> {
        let state = self.shared.state();
        state.socket.is_some().then_some(state.keeper)
    }

    /// Kills everything that was started, then the keeper ends. Answers whether it has, within this
    /// time. It goes on if not. Blocks.
    pub fn close(&self, within: Duration) -> bool {
        self.shared.end();
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, within, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// A new start, of which nothing is there yet.
    pub(crate) fn charge(&self) -> Charge {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (listener, news) = mpsc::unbounded_channel();
        self.shared.state().listeners.insert(id, listener);
        Charge { remote: Remote { keeper: self.clone(), id }, news }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // It is right after every step, so one left by a panic is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A keeper that is asked to begin.
    fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        Role::Keeper { mark: self.mark.clone(), open_files: self.open_files }.put(&mut command);
        Ok((command.spawn()?, ours))
    }

    /// Waits until the keeper keeps watch, and makes it the one that is asked. Answers where it is heard.
    fn adopt(&self, child: &Child, socket: UnixStream) -> io::Result<UnixStream> {
        socket.set_read_timeout(Some(READY))?;
        socket.set_write_timeout(Some(LISTEN))?;
        let mut partial = Partial::default();
        let (bytes, _) = loop {
            match partial.read(&socket) {
                Ok(Some(framed)) => break framed,
                Ok(None) => {}
                Err(error) => {
                    let what = "the keeper does not keep watch; is it a program whose main begins with keeper_main?";
                    return Err(io::Error::new(error.kind(), format!("{what} ({error})")));
                }
            }
        };
        if Report::decode(&bytes) != Some(Report::Ready) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the keeper is of another version"));
        }
        socket.set_read_timeout(None)?;
        let reader = socket.try_clone()?;
        let mut state = self.state();
        if state.ending {
            return Err(io::ErrorKind::Interrupted.into());
        }
        state.keeper = child.id();
        state.socket = Some(Arc::new(socket));
        Ok(reader)
    }

    /// Hears what the keeper tells for as long as there is a host, and replaces one that was killed.
    fn watch(&self, mut child: Child, reader: UnixStream) {
        let mut heard = Some(reader);
        let mut pause = RESTART.0;
        loop {
            if let Some(reader) = heard.take() {
                pause = RESTART.0;
                let error = self.hear(&reader);
                let socket = self.state().socket.take();
                drop((reader, socket));
                let ending = self.state().ending;
                if !ending {
                    // Also for one that lives on and does not listen.
                    let _gone = child.kill();
                }
                let how = child.wait();
                if !ending {
                    tracing::error!(?how, %error, "the keeper is gone, and the processes with it; it is started again");
                    self.sweep();
                }
                for listener in self.state().listeners.values() {
                    let _nobody_listens = listener.send(News::Lost);
                }
            }
            let state = self.state();
            let waited = self.changed.wait_timeout_while(state, pause, |state| !state.ending);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ending {
                state.ended = true;
                drop(state);
                self.changed.notify_all();
                return;
            }
            drop(state);
            pause = (pause * 2).min(RESTART.1);
            match self.start().and_then(|(child, socket)| self.adopt(&child, socket).map(|reader| (child, reader))) {
                Ok((new, reader)) => (child, heard) = (new, Some(reader)),
                Err(error) => tracing::warn!(%error, "the keeper cannot be started; it is tried again"),
            }
        }
    }

    /// Passes on what is heard until nothing can be.
    fn hear(&self, reader: &UnixStream) -> io::Error {
        let mut partial = Partial::default();
        loop {
            let bytes = match partial.read(reader) {
                Ok(Some((bytes, _))) => bytes,
                Ok(None) => continue,
                Err(error) => return error,
            };
            let Some(report) = Report::decode(&bytes) else {
                return io::Error::new(io::ErrorKind::InvalidData, "the keeper is of another version");
            };
            let news = match report {
                Report::Ready => continue,
                Report::Spawned { pid, .. } => News::Spawned { pid },
                Report::NotSpawned { error, .. } => News::NotSpawned { error },
                Report::Exited { end, .. } => News::Exited(end),
                Report::Gone { .. } => News::Gone,
            };
            let state = self.state();
            if let Some(listener) = report.id().and_then(|id| state.listeners.get(&id)) {
                let _nobody_listens = listener.send(news);
            }
        }
    }

    /// The direct children of a keeper die with it. Theirs are found by their mark.
    fn sweep(&self) {
        let until = Instant::now() + SWEEP;
        while Instant::now() < until {
            let left = survey::marked(&self.mark);
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(|target| survey::signal(target, Signal::KILL));
            std::thread::sleep(Duration::from_millis(20));
        }
        tracing::error!("something that the keeper had started does not die");
    }

    fn ask(&self, request: Request, file: Option<&OwnedFd>) -> io::Result<()> {
        let socket = self.state().socket.clone().ok_or(io::ErrorKind::NotConnected)?;
        let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        let _whole = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = wire::send(&*socket, &request.encode(), &files);
        if asked.is_err() {
            // Half a frame may be on its way: nothing that follows could be understood.
            let _gone = socket.shutdown(std::net::Shutdown::Both);
        }
        asked
    }

    fn end(&self) {
        let mut state = self.state();
        state.ending = true;
        if let Some(socket) = &state.socket {
            let _gone = socket.shutdown(std::net::Shutdown::Both);
        }
        state.socket = None;
        drop(state);
        self.changed.notify_all();
    }
}

/// One start of one process that the keeper watches over. Dropped before it is gone, everything that
/// belongs to it is killed.
#[derive(Debug)]
pub(crate) struct Charge {
    remote: Remote,
    news: mpsc::UnboundedReceiver<News>,
}

impl Charge {
    /// Asks for the launcher, which gets `socket` as its standard input.
    pub(crate) fn spawn(&self, socket: &OwnedFd) -> io::Result<()> {
        self.remote.keeper.shared.ask(Request::Spawn { id: self.remote.id }, Some(socket))
    }

    /// What is told next. Given up while it waits, nothing is lost.
    pub(crate) async fn news(&mut self) -> News {
        // There is a sender as long as this is not dropped.
        self.news.recv().await.unwrap_or(News::Lost)
    }

    pub(crate) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// The tag that everything that belongs to it has in its environment.
    pub(crate) fn tag(&self) -> (String, String) {
        (survey::TAG.to_owned(), format!("{}.{}", self.remote.keeper.shared.mark, self.remote.id))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // The keeper does not know one that is gone any more.
        self.remote.kill();
        self.remote.keeper.shared.state().listeners.remove(&self.remote.id);
    }
}

/// What a start is ended with.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    keeper: Keeper,
    id: u64,
}

impl Remote {
    /// Sends a signal to everything that belongs to it. If there is no keeper there is nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let _gone = self.keeper.shared.ask(Request::Signal { id: self.id, signal: signal.as_raw() }, None);
    }

    /// Kills everything that belongs to it, until nothing is left.
    pub(crate) fn kill(&self) {
        let _gone = self.keeper.shared.ask(Request::Kill { id: self.id }, None);
    }
}
