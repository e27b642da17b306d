//! What the keeper process does.
//!
//! It starts launchers for the host, tells it how they ended, and ends what belongs to them. When the
//! host is gone, however it went, everything that was ever started is killed. It decides nothing else.
//!
//! It has one thread, on purpose: what it starts dies with the thread that started it. It is a
//! subreaper, so that everything that was started stays below it in the tree of processes, and "there is
//! no child" means "there is nothing".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, wait};
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Role;
use crate::survey::{self, Family, Process, Survey, TAG, Target};
use crate::wire::{End, Framed, Partial, Report, Request};

/// From the end of a process to the look at what it left behind, so that ends at one time share one look.
const GATHER: Duration = Duration::from_millis(2);
/// Rounds of killing without a pause: what starts others all the time has to be caught between two of them.
const QUICK_ROUNDS: u32 = 10;
/// Between two rounds after those: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of everything is waited for when the host is gone. What is still there then has been
/// killed and waits for the system, or may not be killed by this user.
const LAST: Duration = Duration::from_secs(60);

/// Runs until the host is gone and nothing is left.
pub(super) fn serve(mark: String) -> io::Result<()> {
    quiet()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut keeper = Keeper { mark, charges: BTreeMap::new(), signals: Vec::new(), look_at: None, rounds: 0 };
    // The host is gone: that is how it ends.
    let gone = runtime.block_on(keeper.listen(socket));
    drop(runtime);
    keeper.end_all();
    match gone.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(gone),
    }
}

/// Sets this process apart: what is meant for the host, by a terminal or by its name, does not hit it.
fn quiet() -> io::Result<()> {
    rustix::process::setsid()?;
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_child_subreaper(Some(getpid()))?;
        // `killall setpoint` means the host.
        rustix::thread::set_name(c"keeper")?;
    }
    Ok(())
}

/// One start that is watched over.
struct Charge {
    leader: Pid,
    /// The leader has ended, and that was told.
    ended: bool,
    /// It was asked to kill all of it.
    killing: bool,
    /// Members that were seen. They are known even when their parents are gone.
    seen: BTreeSet<Process>,
}

struct Keeper {
    mark: String,
    charges: BTreeMap<u64, Charge>,
    /// Signals to be sent. Those that are asked for at one time share one look at what there is.
    signals: Vec<(u64, Signal)>,
    /// When to look at what there is.
    look_at: Option<Instant>,
    /// Rounds of killing since somebody asked for it.
    rounds: u32,
}

fn pause(rounds: u32) -> Duration {
    match rounds.checked_sub(QUICK_ROUNDS) {
        None => Duration::ZERO,
        Some(later) => (FIRST_PAUSE * 2u32.pow(later.min(10))).min(LONGEST_PAUSE),
    }
}

impl Keeper {
    /// Does what the host asks until it cannot be heard or told any more.
    async fn listen(&mut self, socket: UnixStream) -> io::Error {
        match self.listen_on(socket).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn listen_on(&mut self, socket: UnixStream) -> io::Result<std::convert::Infallible> {
        // Who stops the host by a signal to everything around it means the host: it will tell.
        let ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let _ignored = ignored.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
        let mut ends = signal(SignalKind::child())?;
        let socket = tokio::net::UnixStream::from_std(socket)?;
        tell(&socket, Report::Ready).await?;
        let mut partial = Partial::default();
        loop {
            let due = self.look_at;
            tokio::select! {
                // What is asked for first: a look serves all of it.
                biased;
                framed = next(&socket, &mut partial) => self.perform(&socket, framed?).await?,
                _ = ends.recv() => {
                    self.reap(&socket).await?;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.look(&socket).await?;
                }
            }
        }
    }

    async fn perform(&mut self, socket: &tokio::net::UnixStream, (bytes, files): Framed) -> io::Result<()> {
        match Request::decode(&bytes) {
            Some(Request::Spawn { id }) => {
                let report = match self.spawn(id, files) {
                    Ok(pid) => Report::Spawned { id, pid },
                    Err(error) => Report::NotSpawned { id, error: error.raw_os_error().unwrap_or(0) },
                };
                tell(socket, report).await
            }
            Some(Request::Signal { id, signal }) => {
                if let Some(signal) = Signal::from_named_raw(signal)
                    && self.charges.contains_key(&id)
                {
                    self.signals.push((id, signal));
                    self.look_soon(Duration::ZERO);
                }
                Ok(())
            }
            Some(Request::Kill { id }) => {
                if let Some(charge) = self.charges.get_mut(&id) {
                    charge.killing = true;
                    self.rounds = 0;
                    self.look_soon(Duration::ZERO);
                }
                Ok(())
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "the host is of another version")),
        }
    }

    fn spawn(&mut self, id: u64, files: Vec<OwnedFd>) -> io::Result<u32> {
        let socket = files.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        let mut command = Command::new(program()?);
        command.args(std::env::args_os().skip(1)).process_group(0);
        Role::Launcher { keeper: std::process::id() }.put(&mut command);
        command.env(TAG, format!("{}.{id}", self.mark));
        command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
        let pid = command.spawn()?.id();
        let leader = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        self.charges.insert(id, Charge { leader, ended: false, killing: false, seen: BTreeSet::new() });
        Ok(pid)
    }

    /// Sends signals to groups, and to those that left them. Who is there is found out before anybody ends:
    /// then nobody is without parents that say where it belongs.
    fn send_signals(&mut self) {
        if self.signals.is_empty() {
            return;
        }
        let survey = self.survey();
        for (id, signal) in std::mem::take(&mut self.signals) {
            let Some(charge) = self.charges.get(&id) else {
                continue;
            };
            if !charge.ended {
                // In one step, which nobody who forks meanwhile escapes.
                survey::signal(Target::Group(charge.leader.as_raw_pid()), signal);
            }
            let members = survey.members.get(&id).into_iter().flatten();
            let others = members.filter(|member| member.escaped || charge.ended);
            others.for_each(|member| survey::signal(member.target, signal));
        }
    }

    /// Asks the system how processes ended, and tells the host of those that it knows. Answers whether
    /// there were any.
    async fn reap(&mut self, socket: &tokio::net::UnixStream) -> io::Result<bool> {
        let mut any = false;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            any = true;
            let known = self.charges.iter_mut().find(|(_, charge)| charge.leader == pid && !charge.ended);
            if let Some((id, charge)) = known {
                let end = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, Some(signal)) => End::Signal(signal),
                    // Stopped or continued, which was not asked for.
                    (None, None) => continue,
                };
                charge.ended = true;
                let id = *id;
                tell(socket, Report::Exited { id, end }).await?;
            }
        }
        if any && self.charges.values().any(|charge| charge.ended || charge.killing) {
            self.look_soon(GATHER);
        }
        Ok(any)
    }

    fn look_soon(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Sends the signals that were asked for, kills what is to be killed, and looks whether something is
    /// left of those that have ended.
    async fn look(&mut self, socket: &tokio::net::UnixStream) -> io::Result<()> {
        self.look_at = None;
        self.send_signals();
        if !self.charges.values().any(|charge| charge.ended || charge.killing) {
            return Ok(());
        }
        // Who has been seen to be there no more may have been followed by a child meanwhile; then its own
        // end is there to be asked for, and one looks again.
        let survey = loop {
            let survey = self.survey();
            if !self.reap(socket).await? {
                break survey;
            }
        };
        self.look_at = None;
        let left = |id: &u64| survey.members.get(id).map(Vec::as_slice).unwrap_or_default();
        let gone: Vec<u64> =
            self.charges.iter().filter(|(id, charge)| charge.ended && left(id).is_empty()).map(|(id, _)| *id).collect();
        for id in gone {
            self.charges.remove(&id);
            tell(socket, Report::Gone { id }).await?;
        }
        let mut again = false;
        for (id, charge) in &self.charges {
            if charge.killing {
                again = true;
                if !charge.ended {
                    survey::signal(Target::Group(charge.leader.as_raw_pid()), Signal::KILL);
                }
                left(id).iter().for_each(|member| survey::signal(member.target, Signal::KILL));
            }
            // Without a subreaper nobody says when the last one ends.
            again |= charge.ended && !cfg!(target_os = "linux");
        }
        if self.charges.is_empty() {
            // What nobody can be told to have started: there is nothing any more that it could be of use to.
            survey.strangers.iter().for_each(|stranger| survey::signal(*stranger, Signal::KILL));
        }
        if again {
            self.look_soon(pause(self.rounds));
            self.rounds = self.rounds.saturating_add(1);
        }
        Ok(())
    }

    fn survey(&mut self) -> Survey {
        let families: Vec<Family<'_>> = self
            .charges
            .iter()
            .map(|(id, charge)| Family {
                id: *id,
                leader: charge.leader.as_raw_pid(),
                leader_is_there: !charge.ended,
                seen: &charge.seen,
            })
            .collect();
        let survey = Survey::take(getpid().as_raw_pid(), &self.mark, &families);
        for (id, members) in &survey.members {
            if let Some(charge) = self.charges.get_mut(id) {
                charge.seen = members.iter().filter_map(|member| member.process()).collect();
            }
        }
        survey
    }

    /// Kills everything, until the system says that there is no child.
    fn end_all(&mut self) {
        let until = std::time::Instant::now() + LAST;
        let mut rounds = 0;
        while std::time::Instant::now() < until {
            for charge in self.charges.values().filter(|charge| !charge.ended) {
                survey::signal(Target::Group(charge.leader.as_raw_pid()), Signal::KILL);
            }
            let survey = self.survey();
            let members = survey.members.values().flatten().map(|member| member.target);
            members.chain(survey.strangers).for_each(|target| survey::signal(target, Signal::KILL));
            std::thread::sleep(pause(rounds));
            rounds += 1;
            loop {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some((pid, _))) => {
                        let known = self.charges.values_mut().find(|charge| charge.leader == pid);
                        known.into_iter().for_each(|charge| charge.ended = true);
                    }
                    Ok(None) => break,
                    Err(_) if cfg!(target_os = "linux") => return,
                    // No child, but without a subreaper there may be others of their groups.
                    Err(_) if self.survey().members.is_empty() => return,
                    Err(_) => break,
                }
            }
        }
    }
}

/// This program, even if another file has taken its place.
fn program() -> io::Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// The next frame. What was read of one that is not whole yet stays in `partial`.
async fn next(socket: &tokio::net::UnixStream, partial: &mut Partial) -> io::Result<Framed> {
    loop {
        if let Some(framed) = socket.async_io(Interest::READABLE, || partial.read(socket)).await? {
            return Ok(framed);
        }
    }
}

/// Waits for the host if it does not listen: it is stopped, or gone, and then this is an error.
async fn tell(socket: &tokio::net::UnixStream, report: Report) -> io::Result<()> {
    let bytes = report.encode();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        socket.writable().await?;
        match socket.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
