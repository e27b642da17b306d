//! The hub at work: reads, writes and waits, and does what the rules say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use setpoint_core::Time;
use setpoint_core::probe::ProbeReason;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::counts::{Counts, count};
use super::switch::{ClientId, Effect, Switch};
use super::throttle::Throttle;
use super::{Command, Delivery, DeliveryKind, HubOptions, HubState, Inbox};
use crate::failure::Failure;
use crate::line::{Line, Lines};
use crate::message::{self, LONGEST_MESSAGE, Message};
use crate::queue::{Bound, Push, Refused, Take, queue};

/// Messages that wait for the server to read.
const OUTBOX: Bound = Bound { items: 1_024, bytes: 4 * LONGEST_MESSAGE };

const CLOSED: &str = "the host has closed the connection to the server";

struct Running {
    switch: Switch,
    began: Instant,
    limit: usize,
    outbox: Push<String>,
    clients: HashMap<ClientId, Inbox>,
    pings: HashMap<u64, oneshot::Sender<()>>,
    publish: watch::Sender<HubState>,
    counts: Arc<Counts>,
    throttle: Throttle,
    /// Until then nothing is read.
    paused: Option<Instant>,
}

/// Runs a hub to its end.
pub(super) async fn run<R, W>(
    output: R,
    input: W,
    options: HubOptions,
    mut commands: mpsc::Receiver<Command>,
    mut left: mpsc::UnboundedReceiver<ClientId>,
    publish: watch::Sender<HubState>,
    counts: Arc<Counts>,
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (outbox, lines) = queue(OUTBOX);
    let writer = tokio::spawn(write(input, lines));
    let mut running = Running {
        switch: Switch::new(&options.capabilities),
        began: Instant::now(),
        limit: options.clients,
        outbox,
        clients: HashMap::new(),
        pings: HashMap::new(),
        publish,
        counts,
        throttle: Throttle::new(),
        paused: None,
    };
    let mut output = Lines::new(output, options.longest_message);
    running.switch.initialize();
    running.perform();
    let why = loop {
        let wake = running.switch.wake().map(|at| running.began + Duration::from_millis(at));
        tokio::select! {
            line = output.next(), if running.paused.is_none() => match line {
                Ok(Some(line)) => running.line(line),
                Ok(None) => break "the server has closed its output",
                Err(_) => break "the server's output cannot be read",
            },
            command = commands.recv() => match command {
                None | Some(Command::Close) => break CLOSED,
                Some(command) => running.command(command),
            },
            Some(client) = left.recv() => {
                // What it said before it left comes first.
                let mut closed = false;
                while let Ok(command) = commands.try_recv() {
                    closed |= matches!(command, Command::Close);
                    running.command(command);
                }
                running.switch.disconnect(client);
                if closed {
                    break CLOSED;
                }
            }
            () = until(running.paused), if running.paused.is_some() => running.paused = None,
            () = until(wake), if wake.is_some() => running.switch.tick(running.now()),
        }
        running.perform();
    };
    running.switch.end(why);
    running.perform();
    // The server sees the end of its input at once, whatever still waits to be written.
    writer.abort();
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Writes lines as the server reads them.
async fn write<W: AsyncWrite + Unpin>(mut input: W, mut lines: Take<String>) {
    while let Some(line) = lines.next().await {
        // Line ends within JSON are space between its parts.
        let mut line = line.replace(['\n', '\r'], " ");
        line.push('\n');
        if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
}

impl Running {
    fn now(&self) -> Time {
        self.began.elapsed().as_millis() as Time
    }

    /// The server wrote a line.
    fn line(&mut self, line: Line) {
        let now = self.now();
        match line {
            Line::Whole(line) => match message::parse(&line) {
                Ok(messages) => {
                    let answers = messages.iter().all(|message| matches!(message, Message::Response { .. }));
                    for message in messages {
                        self.switch.server_says(now, message);
                    }
                    if !answers {
                        self.paused = self.throttle.unasked();
                    }
                }
                Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Err(_) => {
                    self.counts.garbage(&line);
                    self.paused = self.throttle.unasked();
                }
            },
            Line::TooLong { head, tail } => {
                count(&self.counts.too_long);
                // Which request it answers stands at one of its ends, with all that write ids there.
                let number = answered_number(&head).or_else(|| answered_number(&tail));
                if !number.is_some_and(|number| self.switch.too_long(number)) {
                    self.paused = self.throttle.unasked();
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { client, inbox, done } => {
                let full = self.clients.len() >= self.limit;
                let answer = if full {
                    let why = format!("the server has {} clients already, which are all that it may have", self.limit);
                    Err(Failure::new(ProbeReason::ConnectionRefused, why))
                } else {
                    self.clients.insert(client, inbox);
                    self.switch.connect(client);
                    Ok(())
                };
                // Who does not wait any more has left, and says so.
                let _ = done.send(answer);
            }
            Command::FromClient { client, text } => {
                let room = !self.outbox.is_crowded();
                for message in message::parse(text.as_bytes()).unwrap_or_default() {
                    self.switch.client_says(client, message, room);
                }
            }
            Command::Ping { pong } => {
                let given_up: Vec<u64> =
                    self.pings.iter().filter(|(_, pong)| pong.is_closed()).map(|(number, _)| *number).collect();
                for number in given_up {
                    self.pings.remove(&number);
                    self.switch.forget_ping(number);
                }
                let number = self.switch.ping();
                self.pings.insert(number, pong);
            }
            Command::AskAgain { asked } => {
                self.switch.ask_again(self.now());
                // Who waits for it sees the new state.
                self.perform();
                let _ = asked.send(());
            }
            Command::Close => {}
        }
    }

    /// Does what the rules ask for.
    fn perform(&mut self) {
        loop {
            let effects = self.switch.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.effect(effect);
            }
        }
        self.counts.strays.store(self.switch.strays(), Ordering::Relaxed);
        self.counts.clients.store(self.switch.clients() as u64, Ordering::Relaxed);
        self.counts.busy.store(self.switch.is_busy(), Ordering::Relaxed);
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Server(line) => {
                if self.outbox.push(line).is_err() {
                    count(&self.counts.unwritten);
                }
            }
            Effect::Client(client, delivery) => self.deliver(client, delivery),
            Effect::Close(client) => {
                self.clients.remove(&client);
            }
            Effect::Changed => {
                self.publish.send_replace(self.switch.state().clone());
            }
            Effect::Pong(number) => {
                if let Some(pong) = self.pings.remove(&number) {
                    let _ = pong.send(());
                }
            }
        }
    }

    fn deliver(&mut self, client: ClientId, delivery: Delivery) {
        let Some(inbox) = self.clients.get(&client) else {
            return;
        };
        let left_out = match delivery.kind {
            DeliveryKind::Passing | DeliveryKind::Progress(_) => inbox.push.is_crowded(),
            DeliveryKind::Changed(list) => inbox.unread.fetch_or(list as u8, Ordering::AcqRel) & list as u8 != 0,
            _ => false,
        };
        if left_out {
            return;
        }
        if let Err(refused) = inbox.push.push(delivery) {
            if refused == Refused::Full {
                count(&self.counts.slow_clients);
            }
            self.clients.remove(&client);
            self.switch.disconnect(client);
        }
    }
}

/// The number in `"id":NUMBER` of a piece of a message.
fn answered_number(piece: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(piece);
    let mut numbers = text.match_indices("\"id\":").filter_map(|(at, found)| {
        let rest = text[at + found.len()..].trim_start();
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        rest[..digits].parse().ok()
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_at_either_end_of_a_message() {
        assert_eq!(answered_number(br#"{"jsonrpc":"2.0","id": 17,"result":{"content":[{"#), Some(17));
        assert_eq!(answered_number(br#"xxx"}]},"jsonrpc":"2.0","id":18}"#), Some(18));
        assert_eq!(answered_number(br#"xxx"}]},"jsonrpc":"2.0","id":"18"}"#), None);
        assert_eq!(answered_number(br#"{"jsonrpc":"2.0","id":1"#), None, "it may go on");
    }
}
