//! One client of the gateway: what the hub delivers to it, brought to the connections that it has.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Gateway;
use crate::hub::{Client, Delivery, DeliveryKind, Sender};
use crate::message::{self, Id, LONGEST_MESSAGE, METHOD_NOT_FOUND, Message};
use crate::queue::{Bound, Push, Take, Weight, queue};

/// What waits for one connection.
const WAITING: Bound = Bound { items: 128, bytes: 2 * LONGEST_MESSAGE };
/// Notifications that are kept while there is no stream for them.
const KEPT: usize = 32;
/// Bytes of them.
const KEPT_BYTES: usize = 256 << 10;

/// A message for one connection.
#[derive(Clone, Debug)]
pub(super) struct Out {
    /// The request that this ends.
    pub(super) ends: Option<Id>,
    /// The message; none: the request was taken back.
    pub(super) text: Option<Arc<str>>,
}

impl Weight for Out {
    fn bytes(&self) -> usize {
        64 + self.text.as_ref().map_or(0, |text| text.len())
    }
}

/// A request that waits for its answer on a connection.
struct Waiting {
    /// The number of the `POST`.
    post: u64,
    out: Arc<Push<Out>>,
    /// Other messages than the answer can be sent as well.
    events: bool,
}

#[derive(Default)]
struct Routes {
    requests: HashMap<Id, Waiting>,
    /// The stream of `GET`, and its number.
    stream: Option<(u64, Push<Out>)>,
    kept: VecDeque<Arc<str>>,
    kept_bytes: usize,
    numbers: u64,
    /// Nothing will come any more.
    over: bool,
}

/// Why requests are not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotExpected {
    /// One of the ids is under way already, or stands there twice.
    Again,
    /// The session has ended.
    Over,
}

/// One session.
pub(super) struct Session {
    id: String,
    namespace: String,
    name: String,
    sender: Sender,
    routes: Mutex<Routes>,
    used: Mutex<Instant>,
    ended: Notify,
}

/// Requests of one `POST`. When it is dropped nobody waits for them any more.
pub(super) struct Requests {
    session: Arc<Session>,
    number: u64,
    /// What is still to be answered.
    pub(super) open: Vec<Id>,
    pub(super) take: Take<Out>,
}

/// The stream of a `GET`.
pub(super) struct Notifications {
    session: Arc<Session>,
    number: u64,
    pub(super) take: Take<Out>,
}

impl Session {
    /// A session over a client of a hub, which ends with it, or when it is idle for too long.
    pub(super) fn begin(gateway: &Gateway, namespace: &str, name: &str, client: Client) -> Arc<Self> {
        let session = Arc::new(Self {
            id: uuid::Uuid::new_v4().to_string(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            sender: client.sender(),
            routes: Mutex::default(),
            used: Mutex::new(Instant::now()),
            ended: Notify::new(),
        });
        tokio::spawn(run(session.clone(), client, gateway.clone()));
        session
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_of(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// Since when it is idle; none while it has a stream or a request under way.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let routes = self.lock();
        let idle = routes.requests.is_empty() && routes.stream.is_none();
        idle.then(|| *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Somebody uses it.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends it and its streams.
    pub(super) fn end(&self) {
        self.ended.notify_one();
    }

    /// What is said to the server.
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    fn lock(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests of a `POST`, of which the answers go there from now on. `events`: other messages can go there as
    /// well.
    pub(super) fn expect(self: &Arc<Self>, ids: Vec<Id>, events: bool) -> Result<Requests, NotExpected> {
        let (push, take) = queue(WAITING);
        let push = Arc::new(push);
        let mut routes = self.lock();
        if routes.over {
            return Err(NotExpected::Over);
        }
        routes.numbers += 1;
        let number = routes.numbers;
        let mut fresh = true;
        for id in &ids {
            let waiting = Waiting { post: number, out: push.clone(), events };
            // What was there first is kept.
            fresh &= !routes.requests.contains_key(id);
            routes.requests.entry(id.clone()).or_insert(waiting);
        }
        drop(routes);
        let requests = Requests { session: self.clone(), number, open: ids, take };
        if fresh { Ok(requests) } else { Err(NotExpected::Again) }
    }

    /// The stream of notifications, in place of an older one.
    pub(super) fn listen(self: &Arc<Self>) -> Notifications {
        let (push, take) = queue(WAITING);
        let mut routes = self.lock();
        if routes.over {
            // The stream ends at once.
            drop(routes);
            return Notifications { session: self.clone(), number: 0, take };
        }
        routes.kept_bytes = 0;
        for text in std::mem::take(&mut routes.kept) {
            let _ = push.push(Out { ends: None, text: Some(text) });
        }
        routes.numbers += 1;
        let number = routes.numbers;
        routes.stream = Some((number, push));
        drop(routes);
        Notifications { session: self.clone(), number, take }
    }

    /// Takes what the hub delivers to where it belongs. Answers what has to be said to the server, if anything.
    fn route(&self, delivery: Delivery) -> Option<String> {
        let mut routes = self.lock();
        let text = delivery.text;
        match delivery.kind {
            DeliveryKind::Response(id) => routes.answer(id, Some(text)),
            DeliveryKind::Abandoned(id) => routes.answer(id, None),
            DeliveryKind::Progress(id) => {
                if let Some(waiting) = routes.requests.get(&id).filter(|waiting| waiting.events) {
                    // Progress is passing: a connection that is slow does without.
                    if !waiting.out.is_crowded() {
                        let _ = waiting.out.push(Out { ends: None, text: Some(text) });
                    }
                }
            }
            DeliveryKind::Request => return routes.asks(text),
            DeliveryKind::Notification | DeliveryKind::Passing => routes.tell(text, false),
            DeliveryKind::Changed(_) => routes.tell(text, true),
        }
        None
    }
}

impl Routes {
    fn answer(&mut self, id: Id, text: Option<Arc<str>>) {
        // Nobody waits, if its connection is gone.
        if let Some(waiting) = self.requests.remove(&id) {
            let _ = waiting.out.push(Out { ends: Some(id), text });
        }
    }

    /// A request of the server: beside the newest request that it may belong to, else on the stream.
    fn asks(&mut self, text: Arc<str>) -> Option<String> {
        let out = Out { ends: None, text: Some(text.clone()) };
        let beside = self.requests.values().filter(|waiting| waiting.events).max_by_key(|waiting| waiting.post);
        let sent = match (beside, &self.stream) {
            (Some(waiting), _) => waiting.out.push(out).is_ok(),
            (None, Some((_, stream))) => stream.push(out).is_ok(),
            (None, None) => false,
        };
        if sent {
            return None;
        }
        let messages = message::parse(text.as_bytes()).unwrap_or_default();
        messages.iter().find_map(|message| match message {
            Message::Request { id, .. } => {
                Some(message::error(Some(id), METHOD_NOT_FOUND, "the client has no stream on which it could be asked"))
            }
            _ => None,
        })
    }

    /// A notification. `once`: one that is kept already says all.
    fn tell(&mut self, text: Arc<str>, once: bool) {
        if let Some((_, stream)) = &self.stream {
            let out = Out { ends: None, text: Some(text) };
            if stream.push(out).is_err() {
                // It is slow, or gone: its client opens another one.
                self.stream = None;
            }
            return;
        }
        if once && self.kept.contains(&text) {
            return;
        }
        self.kept_bytes += text.len();
        self.kept.push_back(text);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.len();
        }
    }
}

/// Brings deliveries to connections until the session ends.
async fn run(session: Arc<Session>, mut client: Client, gateway: Gateway) {
    let idle = gateway.inner.options.idle;
    let mut look = Instant::now() + idle;
    loop {
        tokio::select! {
            delivery = client.next() => match delivery {
                Some(delivery) => {
                    if let Some(answer) = session.route(delivery)
                        && session.sender.send(answer).await.is_err()
                    {
                        break;
                    }
                }
                None => break,
            },
            () = session.ended.notified() => break,
            () = tokio::time::sleep_until(look) => match session.idle_since() {
                Some(since) if since.elapsed() >= idle => break,
                Some(since) => look = since + idle,
                None => look = Instant::now() + idle.max(Duration::from_secs(1)),
            },
        }
    }
    // Streams end, and so do requests that are not answered.
    {
        let mut routes = session.lock();
        routes.over = true;
        routes.requests.clear();
        routes.stream = None;
    }
    gateway.remove(&session.id);
}

impl Drop for Requests {
    fn drop(&mut self) {
        let number = self.number;
        self.session.lock().requests.retain(|_, waiting| waiting.post != number);
        self.session.touch();
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        let mut routes = self.session.lock();
        if routes.stream.as_ref().is_some_and(|(number, _)| *number == self.number) {
            routes.stream = None;
        }
        drop(routes);
        self.session.touch();
    }
}
