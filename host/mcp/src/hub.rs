//! One MCP server on standard input and output, for many clients.
//!
//! A server of this kind knows one client. The hub is that client, and whoever connects to the hub has the server as if
//! it were alone with it:
//!
//! - The hub sends the one `initialize`. Clients' are answered from what the server said to it.
//! - Requests get ids and progress tokens that are unique towards the server; answers and progress find back.
//! - Notifications of the server go to all clients; log messages by the level that each has set, resource updates to
//!   those that are subscribed.
//! - A request *of* the server goes to the client that it works for, if that is certain: requests of exactly one client are
//!   under way, and it has declared the capability. Otherwise the hub answers that nobody can. The hub itself declares
//!   only what [`HubOptions::capabilities`] says, by default nothing, so that a server does not ask at all.
//! - Everything is bounded: lines, queues, requests and subscriptions of a client, clients. Who does not read is let
//!   go and holds up nobody; a server that does not read is told of to whoever asks it.
//! - What the server prints and is no message is counted and shown, and is fatal to nothing.
//!
//! The rules are in [`switch`], which does no I/O; this module reads, writes and waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use setpoint_core::probe::{ProbeReason, Report, Server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::message::{Id, LONGEST_MESSAGE};
use crate::queue::{Bound, Push, Take, Weight, queue};

mod counts;
mod run;
mod switch;
mod throttle;
mod transport;

pub use counts::HubCounts;
pub use transport::{HubTransport, HubTransportError};

use counts::Counts;
use switch::ClientId;

/// Protocol versions that the hub knows, the oldest first.
pub const PROTOCOL_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Commands that wait for the hub.
const COMMANDS: usize = 64;
/// Messages that wait for one client.
const INBOX: Bound = Bound { items: 256, bytes: 2 * LONGEST_MESSAGE };

/// How a hub works.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Client capabilities that the hub declares to the server, an object. Default: none, so that the server asks
    /// nothing of its clients.
    pub capabilities: Box<RawValue>,
    /// Clients at once. Default 64.
    pub clients: usize,
    /// Longer messages of the server are passed over, in bytes. Default 4 MiB.
    pub longest_message: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            capabilities: RawValue::from_string("{}".into()).unwrap_or_default(),
            clients: 64,
            longest_message: LONGEST_MESSAGE,
        }
    }
}

/// What is known of the server.
#[derive(Clone, Debug)]
pub enum HubState {
    /// It has not answered `initialize` yet.
    Starting,
    /// It answered.
    Ready(Arc<Session>),
    /// It answered `initialize` in a way that cannot be gone on with. [`Hub::check`] asks it again.
    Failed(Arc<Failure>),
    /// It has closed its output, or the hub was closed.
    Ended,
}

/// What a server said of itself.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who it is.
    pub server: Server,
    /// Its whole answer to `initialize`.
    pub(crate) initialize: Box<RawValue>,
    /// Names of its tools, sorted, or why they could not be listed; none until they are listed for the first time, and
    /// while [`Hub::check`] asks again for those that could not be.
    pub tools: Option<Result<Arc<[String]>, Arc<Failure>>>,
}

/// The version for a client that asked for one: its own, if it is known and no newer than the server's.
fn agreed_version<'a>(asked: Option<&'a str>, server: &'a str) -> &'a str {
    asked.filter(|asked| PROTOCOL_VERSIONS.contains(asked) && *asked <= server).unwrap_or(server)
}

/// One message for a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// What it is, and to what it belongs.
    pub kind: DeliveryKind,
    /// The message, in one line. Empty for [`DeliveryKind::Abandoned`].
    pub text: Arc<str>,
}

/// What a message for a client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryKind {
    /// The answer to the client's request of this id.
    Response(Id),
    /// Progress of the client's request of this id. Left out when the client's queue is crowded.
    Progress(Id),
    /// No answer will come to the client's request of this id, as the client took it back.
    Abandoned(Id),
    /// A request of the server, which the client has to answer.
    Request,
    /// A notification.
    Notification,
    /// A notification that is left out when the client's queue is crowded: a log message.
    Passing,
    /// A list has changed. Left out when the client has one of the same kind before it that it has not read yet.
    Changed(List),
}

/// The lists that a server says have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum List {
    /// `notifications/tools/list_changed`
    Tools = 1,
    /// `notifications/prompts/list_changed`
    Prompts = 2,
    /// `notifications/resources/list_changed`
    Resources = 4,
}

/// Where a hub puts what is for a client.
#[derive(Debug)]
struct Inbox {
    push: Push<Delivery>,
    /// Bits of the lists of which a change was put in and not taken out.
    unread: Arc<AtomicU8>,
}

impl Weight for Delivery {
    fn bytes(&self) -> usize {
        self.text.len() + 64
    }
}

enum Command {
    Connect {
        client: ClientId,
        inbox: Inbox,
        done: oneshot::Sender<Result<(), Failure>>,
    },
    FromClient {
        client: ClientId,
        text: String,
    },
    Ping {
        pong: oneshot::Sender<()>,
    },
    /// What has failed is asked for once more.
    AskAgain {
        asked: oneshot::Sender<()>,
    },
    Close,
}

/// A handle to a hub. The hub ends when all handles and clients are gone, with the server's output, or by
/// [`Hub::close`].
#[derive(Clone, Debug)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
    /// Clients that are gone; each says so once.
    leaving: mpsc::UnboundedSender<ClientId>,
    state: watch::Receiver<HubState>,
    counts: Arc<Counts>,
    numbers: Arc<AtomicU64>,
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    number: ClientId,
    hub: Hub,
    inbox: Take<Delivery>,
    unread: Arc<AtomicU8>,
}

/// Sends the messages of a [`Client`].
#[derive(Clone, Debug)]
pub struct Sender {
    number: ClientId,
    commands: mpsc::Sender<Command>,
}

/// A hub that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the connection to the server has ended")]
pub struct Ended;

impl Hub {
    /// Begins to speak with a server: `output` is what it writes, `input` what it reads. To be called within a tokio
    /// runtime.
    pub fn start<R, W>(output: R, input: W, options: HubOptions) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (leaving, left) = mpsc::unbounded_channel();
        let (publish, state) = watch::channel(HubState::Starting);
        let counts = Arc::new(Counts::default());
        tokio::spawn(run::run(output, input, options, commanded, left, publish, counts.clone()));
        Self { commands, leaving, state, counts, numbers: Arc::new(AtomicU64::new(1)) }
    }

    /// What is known of the server.
    pub fn state(&self) -> HubState {
        self.state.borrow().clone()
    }

    /// Waits for another state: other tools, an answer to `initialize`, the end. Each [`HubWatch`] sees the newest
    /// state, not each one. None after the end.
    pub fn watch(&self) -> HubWatch {
        HubWatch(self.state.clone())
    }

    /// What was counted until now.
    pub fn counts(&self) -> HubCounts {
        self.counts.now()
    }

    /// A new client. It has to begin with `initialize`, as towards any server.
    ///
    /// # Errors
    /// The server has ended, or there are too many clients.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (push, take) = queue(INBOX);
        let unread = Arc::new(AtomicU8::new(0));
        let inbox = Inbox { push, unread: unread.clone() };
        let (done, answer) = oneshot::channel();
        let gone = || Failure::new(ProbeReason::ConnectionFailed, Ended.to_string());
        self.commands.send(Command::Connect { client: number, inbox, done }).await.map_err(|_| gone())?;
        // From here on it says so when it goes, also when nobody waits for the answer any more.
        let client = Client { number, hub: self.clone(), inbox: take, unread };
        answer.await.map_err(|_| gone())??;
        Ok(client)
    }

    /// Looks at the server: its answer to `initialize` and its tools when it is new, or when they could not be had the
    /// last time, and a ping when it is known.
    pub async fn check(&self, timeout: Duration) -> Report {
        let deadline = Instant::now() + timeout;
        let (known, failed) = match self.state() {
            HubState::Ready(session) => match &session.tools {
                Some(tools) => (tools.is_ok(), tools.is_err()),
                None => (false, false),
            },
            HubState::Failed(_) => (false, true),
            HubState::Starting | HubState::Ended => (false, false),
        };
        let looked = async {
            if failed {
                let (asked, done) = oneshot::channel();
                // When the hub has ended, the state says so. Until it has asked, the state is that of the last time.
                let _ = self.commands.send(Command::AskAgain { asked }).await;
                let _ = done.await;
            }
            if known {
                let (pong, answer) = oneshot::channel();
                // When the hub has ended, the state says so.
                let _ = self.commands.send(Command::Ping { pong }).await;
                let _ = answer.await;
            }
            self.known().await
        };
        match tokio::time::timeout_at(deadline, looked).await {
            Ok(Ok(report)) => report,
            Ok(Err(failure)) => failure.report(),
            Err(_) => self.silence(known).report(),
        }
    }

    /// Waits until the server is known, or is known not to be one.
    async fn known(&self) -> Result<Report, Failure> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                HubState::Ready(session) => match &session.tools {
                    Some(Ok(tools)) => {
                        return Ok(
                            Report::healthy("the server answers").with_server(session.server.clone(), tools.to_vec())
                        );
                    }
                    Some(Err(failure)) => return Err(Failure::clone(failure)),
                    None => {}
                },
                HubState::Failed(failure) => return Err(Failure::clone(failure)),
                HubState::Ended => {
                    return Err(Failure::new(ProbeReason::ConnectionFailed, "the server has closed its output"));
                }
                HubState::Starting => {}
            }
            if state.changed().await.is_err() {
                return Err(Failure::new(ProbeReason::ConnectionFailed, Ended.to_string()));
            }
        }
    }

    /// Why a server that did not answer in time did not.
    fn silence(&self, known: bool) -> Failure {
        let method = match self.state() {
            _ if known => "ping",
            HubState::Ready(_) => "tools/list",
            _ => "initialize",
        };
        match self.counts.first_garbage() {
            Some(garbage) if !known => Failure::new(
                ProbeReason::NotMCP,
                format!("the server did not answer {method}, and prints what is no MCP: {garbage}"),
            ),
            _ => {
                let busy = if self.counts.is_busy() { ", while requests of clients are under way" } else { "" };
                Failure::new(ProbeReason::Timeout, format!("the server did not answer {method} in time{busy}"))
            }
        }
    }

    /// Ends the hub: clients are let go, and the server's input is closed.
    pub async fn close(&self) {
        let _ = self.commands.send(Command::Close).await;
    }
}

impl Sender {
    /// Sends one message, or a batch of them, to the server. What is no message is passed over.
    ///
    /// # Errors
    /// The server has ended.
    pub async fn send(&self, text: String) -> Result<(), Ended> {
        let command = Command::FromClient { client: self.number, text };
        self.commands.send(command).await.map_err(|_| Ended)
    }
}

impl Client {
    /// Sends for this client, also while it waits for a message.
    pub fn sender(&self) -> Sender {
        Sender { number: self.number, commands: self.hub.commands.clone() }
    }

    /// The next message for this client. None: the server has ended, or this client did not read for too long.
    pub async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.inbox.next().await?;
        if let DeliveryKind::Changed(list) = delivery.kind {
            // What changes from now on is told again.
            self.unread.fetch_and(!(list as u8), Ordering::AcqRel);
        }
        Some(delivery)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.hub.leaving.send(self.number);
    }
}

/// Sees the states of a hub.
#[derive(Debug)]
pub struct HubWatch(watch::Receiver<HubState>);

impl HubWatch {
    /// Waits for a state that was not seen yet. None when there will be none any more.
    pub async fn changed(&mut self) -> Option<HubState> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}
