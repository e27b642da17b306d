//! Which message goes where: the rules of the hub as a state machine. Messages and time in, effects out; no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Delivery, DeliveryKind, HubState};
use crate::message::{self, Body, Id, Message};

mod from_client;
mod from_server;
mod level;
mod own;
#[cfg(test)]
mod tests;

use level::Level;
use own::{Listing, Own};

/// Requests that one client may have under way. More are refused.
pub(crate) const REQUESTS: usize = 256;
/// Resources that one client may be subscribed to.
pub(crate) const SUBSCRIPTIONS: usize = 256;
/// Requests of the server that may be under way. More are refused.
pub(crate) const ASKED: usize = 64;

/// The number of a client within its hub.
pub(crate) type ClientId = u64;

/// What has to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Write this line to the server.
    Server(String),
    /// Take this to a client.
    Client(ClientId, Delivery),
    /// Let a client go.
    Close(ClientId),
    /// [`Switch::state`] is another one.
    Changed,
    /// A ping of this number was answered.
    Pong(u64),
}

#[derive(Debug, Default)]
struct Client {
    /// Its `initialize` was answered.
    initialized: bool,
    /// Its `initialize`, as long as the server's is not answered, with the version that it asked for.
    waiting: Option<(Id, Option<String>)>,
    /// Names of the capabilities that it declared.
    capabilities: BTreeSet<String>,
    /// Its requests under way, and what they are called towards the server.
    requests: HashMap<Id, u64>,
    /// The least severe log messages that it wants; all, unless it said so.
    level: Option<Level>,
    /// Resources that it is subscribed to.
    subscriptions: BTreeSet<String>,
}

#[derive(Debug)]
enum Pending {
    Client {
        client: ClientId,
        id: Id,
        /// Its own progress token.
        token: Option<Id>,
        /// The resource that it becomes subscribed to, unless the server refuses.
        subscribing: Option<String>,
    },
    Own(Own),
}

/// The rules of one hub.
#[derive(Debug)]
pub(crate) struct Switch {
    /// What the hub declares to the server, an object.
    capabilities: String,
    state: HubState,
    clients: BTreeMap<ClientId, Client>,
    pending: HashMap<u64, Pending>,
    /// Requests of the server that a client has to answer.
    asked: HashMap<Id, ClientId>,
    /// The last number that was given to a request.
    last: u64,
    listing: Listing,
    /// What the server was told last.
    level: Option<Level>,
    /// Answers to nothing that was asked, and errors that name no request.
    strays: u64,
    effects: Vec<Effect>,
}

impl Switch {
    /// A hub that has yet to begin ([`Switch::initialize`]).
    pub(crate) fn new(capabilities: &RawValue) -> Self {
        Self {
            capabilities: capabilities.get().to_owned(),
            state: HubState::Starting,
            clients: BTreeMap::new(),
            pending: HashMap::new(),
            asked: HashMap::new(),
            last: 0,
            listing: Listing::default(),
            level: None,
            strays: 0,
            effects: Vec::new(),
        }
    }

    /// What is known of the server.
    pub(crate) fn state(&self) -> &HubState {
        &self.state
    }

    /// How many answers to nothing that was asked came, and errors that name no request.
    pub(crate) fn strays(&self) -> u64 {
        self.strays
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether requests of clients are under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.clients.values().any(|client| !client.requests.is_empty())
    }

    /// What has to be done, in order.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A client came. Its number was not used before.
    pub(crate) fn connect(&mut self, client: ClientId) {
        self.clients.insert(client, Client::default());
    }

    /// A client went, or has to: what it asked for is cancelled, and what it was asked is answered for it.
    pub(crate) fn disconnect(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        let mut requests: Vec<u64> = client.requests.into_values().collect();
        requests.sort_unstable();
        for number in requests {
            self.pending.remove(&number);
            self.cancel(number);
        }
        let mut asked: Vec<Id> = self.asked.iter().filter(|(_, at)| **at == id).map(|(id, _)| id.clone()).collect();
        asked.sort();
        for id in asked {
            self.asked.remove(&id);
            let error = message::error(Some(&id), message::UNAVAILABLE, "the client that was asked has gone");
            self.effects.push(Effect::Server(error));
        }
        for uri in client.subscriptions {
            if !self.is_subscribed(&uri) {
                let params = format!(r#"{{"uri":{}}}"#, message::quote(&uri));
                self.own(None, "resources/unsubscribe", Some(&params));
            }
        }
        self.effects.push(Effect::Close(id));
    }

    /// The server has ended. All requests are answered, and all clients go.
    pub(crate) fn end(&mut self, why: &str) {
        self.state = HubState::Ended;
        self.effects.push(Effect::Changed);
        let mut pending: Vec<(u64, Pending)> = self.pending.drain().collect();
        pending.sort_unstable_by_key(|(number, _)| *number);
        for (_, pending) in pending {
            if let Pending::Client { client, id, .. } = pending {
                self.refuse(client, &id, message::UNAVAILABLE, why);
            }
        }
        self.asked.clear();
        for (id, client) in std::mem::take(&mut self.clients) {
            if let Some((request, _)) = client.waiting {
                self.refuse(id, &request, message::UNAVAILABLE, why);
            }
            self.effects.push(Effect::Close(id));
        }
    }

    /// A number for a request to the server.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Sends a request of the hub's own; none: the answer does not matter.
    fn own(&mut self, own: Option<Own>, method: &str, params: Option<&str>) -> u64 {
        let number = self.number();
        if let Some(own) = own {
            self.pending.insert(number, Pending::Own(own));
        }
        self.effects.push(Effect::Server(message::request(&number.to_string(), method, params)));
        number
    }

    /// Tells the server that an answer is not needed any more.
    fn cancel(&mut self, number: u64) {
        let params = format!(r#"{{"requestId":{number},"reason":"the client does not need it any more"}}"#);
        self.effects.push(Effect::Server(message::notification("notifications/cancelled", Some(&params))));
    }

    fn is_subscribed(&self, uri: &str) -> bool {
        self.clients.values().any(|client| client.subscriptions.contains(uri))
    }

    fn deliver(&mut self, client: ClientId, kind: DeliveryKind, text: impl Into<Arc<str>>) {
        self.effects.push(Effect::Client(client, Delivery { kind, text: text.into() }));
    }

    /// Answers a request of a client.
    fn respond(&mut self, client: ClientId, id: &Id, text: String) {
        self.deliver(client, DeliveryKind::Response(id.clone()), text);
    }

    /// Answers a request of a client with an error.
    fn refuse(&mut self, client: ClientId, id: &Id, code: i64, why: &str) {
        self.respond(client, id, message::error(Some(id), code, why));
    }
}
