//! One supervised process: a task that drives the machine of core with a real process.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use setpoint_core::Time;
use setpoint_core::contract::Reason;
use setpoint_core::process::{
    Action, Environment, Event, Exit, GONE_BOUND, Machine, Permit, ProcessSpec, ProcessStatus, StopSignal, Wanted,
};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::keeper::{Charge, Keeper, News, Remote};
use crate::mcp::{Desk, McpInput, McpOutput, McpPipes, McpStarts};
use crate::output::{self, Line, Output, OutputChanges, Stream};
use crate::signals;
use crate::stamps::Stamps;
use crate::start::{self, Came, Started};
use crate::wire::End;

/// The most streams of earlier starts that are still read.
const MOST_READERS: usize = 4;

/// Whether a process may run, and with what.
#[derive(Clone, Debug)]
pub enum Permission {
    /// Yes, with these variables.
    Run(Environment),
    /// It cannot be started, for example because a Secret is missing. One that runs goes on.
    Wait(Reason),
    /// It must not run. One that runs is stopped.
    Stop(Reason),
}

#[derive(Debug)]
struct Asked {
    spec: Arc<ProcessSpec>,
    generation: i64,
    permission: Permission,
}

/// What was asked for and not looked at yet. Only the last spec counts.
#[derive(Debug, Default)]
struct Inbox {
    asked: Option<Asked>,
    deleted: bool,
    hurry: bool,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Notify,
    output: Output,
    desk: Arc<Desk>,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox());
        self.wake.notify_one();
    }
}

/// A supervised process. Nothing runs until a spec is set. When it is dropped before it was deleted,
/// the process is killed with all that it started, without being asked first.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    status: watch::Receiver<Arc<ProcessStatus>>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// A process that the keeper watches over. `name` is for logs. Has to be called within a runtime.
    pub fn new(keeper: &Keeper, name: &str) -> Self {
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            wake: Notify::new(),
            output: Output::default(),
            desk: Arc::default(),
        });
        // The jitter of two processes that end together is not the same.
        let machine = Machine::new(0, uuid::Uuid::new_v4().as_u64_pair().0);
        let mut stamps = Stamps::default();
        let first = machine.status(|time| stamps.wall(time, 0));
        let (show, status) = watch::channel(Arc::new(first));
        let driver = Driver {
            shared: shared.clone(),
            keeper: keeper.clone(),
            name: name.to_owned(),
            machine,
            origin: Instant::now(),
            wanted: None,
            place: Place::Nowhere,
            readers: Vec::new(),
            stamps,
            show,
        };
        Self { shared, status, task: tokio::spawn(driver.run()) }
    }

    /// This is wanted now; what was asked for before counts no more. A process that runs otherwise is
    /// stopped and started anew.
    pub fn set(&self, spec: Arc<ProcessSpec>, generation: i64, permission: Permission) {
        self.shared.ask(|inbox| inbox.asked = Some(Asked { spec, generation, permission }));
    }

    /// The object is gone: the process is stopped, with its grace, and then it is forgotten. See
    /// [`Supervised::gone`].
    pub fn delete(&self) {
        self.shared.ask(|inbox| inbox.deleted = true);
    }

    /// What is shown now.
    pub fn status(&self) -> Arc<ProcessStatus> {
        self.status.borrow().clone()
    }

    /// What is shown from now on, as it changes.
    pub fn changes(&self) -> Changes {
        let mut status = self.status.clone();
        status.mark_changed();
        Changes(status)
    }

    /// What it wrote last, over all its starts.
    pub fn output(&self) -> Vec<Line> {
        self.shared.output.lines()
    }

    /// Tells when it has written something, over all its starts.
    pub fn output_changes(&self) -> OutputChanges {
        self.shared.output.changes()
    }

    /// The pipes of each start, if it speaks MCP.
    pub fn mcp(&self) -> McpStarts {
        McpStarts(self.shared.desk.clone())
    }

    /// Waits until it is deleted and nothing of it is left.
    pub async fn gone(&mut self) {
        while self.status.changed().await.is_ok() {}
    }

    /// Stops the process: it is deleted, killed if that takes longer than `within`, and waited for. Answers
    /// whether nothing of it is left; if not, the keeper goes on with killing it.
    pub async fn close(mut self, within: Duration) -> bool {
        self.delete();
        if tokio::time::timeout(within, self.gone()).await.is_ok() {
            return true;
        }
        self.shared.ask(|inbox| inbox.hurry = true);
        tokio::time::timeout(Duration::from_millis(GONE_BOUND), self.gone()).await.is_ok()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.desk.end();
        self.shared.output.close();
    }
}

/// The statuses of a process, one after the other. Those that are overtaken by the next are left out.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<Arc<ProcessStatus>>);

impl Changes {
    /// Waits for a status that was not answered before; the first is the present one. None when the
    /// process is forgotten. Given up while it waits, nothing is lost.
    pub async fn next(&mut self) -> Option<Arc<ProcessStatus>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

type Starting = Pin<Box<dyn Future<Output = Came> + Send>>;

/// Where the process is, as far as its driver has to do with it.
enum Place {
    Nowhere,
    Starting(Starting, Remote),
    /// It runs, or something of it is left.
    There {
        charge: Charge,
        /// The end of its input that nothing is written to. As long as it is there, its input has no end.
        _stdin: Option<OwnedFd>,
    },
}

struct Driver {
    shared: Arc<Shared>,
    keeper: Keeper,
    name: String,
    machine: Machine,
    origin: Instant,
    wanted: Option<(Arc<ProcessSpec>, Environment)>,
    place: Place,
    readers: Vec<JoinHandle<()>>,
    stamps: Stamps,
    show: watch::Sender<Arc<ProcessStatus>>,
}

/// What a driver waits for.
enum Happened {
    Asked,
    Came(Came),
    News(News),
    Due,
}

impl Driver {
    async fn run(mut self) {
        while !self.machine.is_forgotten() {
            match self.wait().await {
                Happened::Asked => self.look_into_inbox(),
                Happened::Came(came) => self.came(came),
                Happened::News(news) => self.hear(news),
                Happened::Due => self.tell(Event::Tick),
            }
            self.publish();
        }
    }

    async fn wait(&mut self) -> Happened {
        let due = self.machine.next_wakeup().map(|due| self.origin + Duration::from_millis(due));
        let place = &mut self.place;
        let process = async {
            match place {
                Place::Nowhere => std::future::pending().await,
                Place::Starting(starting, _) => Happened::Came(starting.await),
                Place::There { charge, .. } => Happened::News(charge.news().await),
            }
        };
        tokio::select! {
            () = self.shared.wake.notified() => Happened::Asked,
            happened = process => happened,
            () = tokio::time::sleep_until(due.unwrap_or(self.origin)), if due.is_some() => Happened::Due,
        }
    }

    fn now(&self) -> Time {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(Time::MAX)
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        for action in self.machine.handle(now, event) {
            self.perform(action);
        }
    }

    fn look_into_inbox(&mut self) {
        let Inbox { asked, deleted, hurry } = std::mem::take(&mut *self.shared.inbox());
        if let Some(Asked { spec, generation, permission }) = asked {
            let permit = match permission {
                Permission::Run(environment) => {
                    let digest = environment.digest();
                    let before = self.wanted.as_ref().map(|(_, environment)| environment);
                    // What runs now may still say what was secret before.
                    let secrets = before.into_iter().chain([&environment]).flat_map(Environment::secrets);
                    self.shared.output.hide(secrets);
                    self.wanted = Some((spec.clone(), environment));
                    Permit::Run(digest)
                }
                Permission::Wait(reason) => Permit::Wait(reason),
                Permission::Stop(reason) => Permit::Stop(reason),
            };
            self.tell(Event::Wanted(Wanted { spec, generation, permit }));
        }
        if deleted {
            self.tell(Event::Deleted);
        }
        if hurry {
            self.tell(Event::Hurry);
        }
    }

    fn perform(&mut self, action: Action) {
        tracing::debug!(process = self.name, ?action);
        match action {
            Action::Start => self.start(),
            Action::Signal => {
                let signal = self.wanted.as_ref().map_or(StopSignal::Term, |(spec, _)| spec.stop.signal);
                if let Some(remote) = self.remote() {
                    remote.signal(stop_signal(signal));
                }
            }
            Action::KillGroup => {
                if let Some(remote) = self.remote() {
                    remote.kill();
                }
            }
            Action::Forget => self.shared.desk.end(),
        }
    }

    fn remote(&self) -> Option<Remote> {
        match &self.place {
            Place::Nowhere => None,
            Place::Starting(_, remote) => Some(remote.clone()),
            Place::There { charge, .. } => Some(charge.remote()),
        }
    }

    fn start(&mut self) {
        // Those of earlier starts read to the end, which has come when nothing is left; but a pipe can be given
        // away to somebody else.
        self.readers.retain(|reader| !reader.is_finished());
        let surplus = self.readers.len().saturating_sub(MOST_READERS);
        self.readers.drain(..surplus).for_each(|reader| reader.abort());
        let Some((spec, environment)) = self.wanted.clone() else {
            return;
        };
        self.shared.output.hide(environment.secrets());
        let charge = self.keeper.charge();
        let remote = charge.remote();
        let starting = async move { start::start(charge, &spec, &environment).await };
        self.place = Place::Starting(Box::pin(starting), remote);
    }

    fn came(&mut self, came: Came) {
        self.place = Place::Nowhere;
        match came {
            Came::Running(charge, started) => {
                let pid = started.pid;
                let _stdin = self.attach(started).unwrap_or_else(|error| {
                    // It runs, and nobody could hear it.
                    tracing::warn!(process = self.name, %error, "its output cannot be read, so it is killed");
                    charge.remote().kill();
                    None
                });
                self.place = Place::There { charge, _stdin };
                self.tell(Event::Started { pid });
            }
            Came::Failed(reason) => {
                tracing::debug!(process = self.name, ?reason, "could not be started");
                self.tell(Event::StartFailed(reason));
            }
            Came::Lost => self.tell(Event::StartFailed(lost())),
        }
    }

    /// Reads what it writes. Answers what has to stay open as long as it is there.
    fn attach(&mut self, started: Started) -> std::io::Result<Option<OwnedFd>> {
        self.read(started.stderr, Stream::Stderr)?;
        match started.stdin {
            Some(stdin) if started.mcp => {
                let input = McpInput(pipe::Sender::from_owned_fd(stdin)?);
                let output = McpOutput(pipe::Receiver::from_owned_fd(started.stdout)?);
                self.shared.desk.leave(Some(McpPipes { pid: started.pid, input, output }));
                Ok(None)
            }
            stdin => {
                self.read(started.stdout, Stream::Stdout)?;
                Ok(stdin)
            }
        }
    }

    fn read(&mut self, end: OwnedFd, stream: Stream) -> std::io::Result<()> {
        let pipe = pipe::Receiver::from_owned_fd(end)?;
        let shared = self.shared.clone();
        self.readers.push(tokio::spawn(async move { output::read(pipe, stream, &shared.output).await }));
        Ok(())
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Exited(end) => {
                let exit = match end {
                    End::Code(code) => Exit::Code(code),
                    End::Signal(signal) => Exit::Signal(signals::name(signal)),
                };
                tracing::debug!(process = self.name, ?exit, "has ended");
                self.shared.desk.leave(None);
                self.tell(Event::Exited(exit));
            }
            News::Gone => self.cleared(),
            News::Lost => {
                self.tell(Event::Exited(Exit::Unseen(lost())));
                self.cleared();
            }
            News::Spawned { .. } | News::NotSpawned { .. } => {}
        }
    }

    fn cleared(&mut self) {
        self.place = Place::Nowhere;
        self.shared.desk.leave(None);
        self.tell(Event::Cleared);
    }

    fn publish(&mut self) {
        let now = self.now();
        let stamps = &mut self.stamps;
        let status = self.machine.status(|time| stamps.wall(time, now));
        self.stamps.sweep();
        self.show.send_if_modified(|shown| {
            let changed = **shown != status;
            if changed {
                *shown = Arc::new(status);
            }
            changed
        });
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // What is left is killed when the charge is dropped; the last of its output is read to the end,
        // which comes then.
        self.shared.desk.end();
    }
}

fn lost() -> Reason {
    Reason::new("KeeperLost", "was killed, because the process that keeps watch over it was")
}

fn stop_signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
    }
}
