//! What clients say.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    Body, Client, ClientId, DeliveryKind, Effect, Id, Level, Message, Pending, REQUESTS, SUBSCRIPTIONS, Switch,
};
use crate::hub::{HubState, agreed_version};
use crate::message;

impl Switch {
    /// A client sent this. `room`: the server can be written to; without, requests are refused at once, as a server
    /// that does not read must not hold up anybody else.
    pub(crate) fn client_says(&mut self, client: ClientId, message: Message<'_>, room: bool) {
        if !self.clients.contains_key(&client) {
            return;
        }
        match message {
            Message::Request { id, method, params } => self.request(client, id, method, params, room),
            Message::Notification { method, params } => self.notification(client, &method, params, room),
            Message::Response { id, body } => self.client_answers(client, &id, body),
            Message::Complaint => self.strays += 1,
        }
    }

    fn request(&mut self, client: ClientId, id: Id, method: Cow<'_, str>, params: Option<&RawValue>, room: bool) {
        let Some(known) = self.clients.get(&client) else {
            return;
        };
        let again = known.requests.contains_key(&id) || known.waiting.as_ref().is_some_and(|(first, _)| *first == id);
        let problem = if again {
            Some((message::INVALID_REQUEST, "a request with this id is under way"))
        } else if method == "initialize" {
            (known.initialized || known.waiting.is_some()).then_some((message::INVALID_REQUEST, "initialized already"))
        } else if !known.initialized && method != "ping" {
            Some((message::INVALID_REQUEST, "initialize comes first"))
        } else if known.requests.len() >= REQUESTS {
            Some((message::UNAVAILABLE, "too many requests of this client are under way"))
        } else if !room {
            Some((message::UNAVAILABLE, "the server does not read its input"))
        } else {
            None
        };
        if let Some((code, why)) = problem {
            return self.refuse(client, &id, code, why);
        }
        match &*method {
            "initialize" => self.client_initializes(client, id, params),
            // Before the server has answered, the hub is who is there.
            "ping" if !matches!(self.state, HubState::Ready(_)) => {
                let text = message::result(&id, "{}");
                self.respond(client, &id, text);
            }
            "logging/setLevel" => self.set_level(client, id, params),
            "resources/subscribe" => self.subscribe(client, id, params),
            "resources/unsubscribe" => self.unsubscribe(client, id, params),
            _ => self.forward(client, id, &method, params, None),
        }
    }

    /// Passes a request on, with an id and a progress token that no other client has.
    fn forward(
        &mut self,
        client: ClientId,
        id: Id,
        method: &str,
        params: Option<&RawValue>,
        subscribing: Option<String>,
    ) {
        let number = self.number();
        let token = message::id_field(params, &["_meta", "progressToken"]);
        let params = params.map(|params| {
            let own = token
                .as_ref()
                .and_then(|_| message::with_field(params, &["_meta", "progressToken"], &number.to_string()));
            own.map_or(Cow::Borrowed(params.get()), Cow::Owned)
        });
        if let Some(known) = self.clients.get_mut(&client) {
            known.requests.insert(id.clone(), number);
        }
        self.pending.insert(number, Pending::Client { client, id, token, subscribing });
        self.effects.push(Effect::Server(message::request(&number.to_string(), method, params.as_deref())));
    }

    fn client_initializes(&mut self, client: ClientId, id: Id, params: Option<&RawValue>) {
        let version = message::text_field(params, &["protocolVersion"]);
        let declared = params.and_then(|params| message::field(params, &["capabilities"]));
        let names = declared.map(message::names).unwrap_or_default();
        if let Some(known) = self.clients.get_mut(&client) {
            known.capabilities = names;
            known.waiting = Some((id, version));
        }
        self.welcome(client);
    }

    /// Answers the `initialize` of a client, if it waits for that and the server is known.
    pub(super) fn welcome(&mut self, client: ClientId) {
        let Some(known) = self.clients.get_mut(&client) else {
            return;
        };
        let Some((id, version)) = known.waiting.take() else {
            return;
        };
        match &self.state {
            HubState::Ready(session) => {
                known.initialized = true;
                let agreed = agreed_version(version.as_deref(), &session.server.protocol_version);
                let result = message::with_field(&session.initialize, &["protocolVersion"], &message::quote(agreed));
                let result = result.unwrap_or_else(|| session.initialize.get().to_owned());
                self.respond(client, &id, message::result(&id, &result));
            }
            HubState::Failed(failure) => {
                let why = failure.message().to_owned();
                self.refuse(client, &id, message::UNAVAILABLE, &why);
            }
            HubState::Starting => known.waiting = Some((id, version)),
            HubState::Ended => self.refuse(client, &id, message::UNAVAILABLE, "the server has ended"),
        }
    }

    /// Each client has its own level; the server is told the least severe of them.
    fn set_level(&mut self, client: ClientId, id: Id, params: Option<&RawValue>) {
        let level = message::text_field(params, &["level"]).and_then(|word| Level::parse(&word));
        let (Some(level), Some(params)) = (level, params) else {
            // The server says what is wrong with it.
            return self.forward(client, id, "logging/setLevel", params, None);
        };
        if let Some(known) = self.clients.get_mut(&client) {
            known.level = Some(level);
        }
        let least = self.clients.values().filter_map(|client| client.level).min().unwrap_or(level);
        if self.level == Some(least) {
            let text = message::result(&id, "{}");
            return self.respond(client, &id, text);
        }
        self.level = Some(least);
        let params = message::with_field(params, &["level"], &message::quote(least.word()));
        let params = params.and_then(|text| RawValue::from_string(text).ok());
        self.forward(client, id, "logging/setLevel", params.as_deref(), None);
    }

    fn subscribe(&mut self, client: ClientId, id: Id, params: Option<&RawValue>) {
        let uri = message::text_field(params, &["uri"]);
        let many = |known: &Client| known.subscriptions.len() >= SUBSCRIPTIONS;
        if self.clients.get(&client).is_some_and(many) {
            return self.refuse(client, &id, message::UNAVAILABLE, "too many subscriptions of this client");
        }
        if let (Some(known), Some(uri)) = (self.clients.get_mut(&client), &uri) {
            known.subscriptions.insert(uri.clone());
        }
        self.forward(client, id, "resources/subscribe", params, uri);
    }

    /// The server is told when nobody is subscribed any more.
    fn unsubscribe(&mut self, client: ClientId, id: Id, params: Option<&RawValue>) {
        let uri = message::text_field(params, &["uri"]);
        if let (Some(known), Some(uri)) = (self.clients.get_mut(&client), &uri) {
            known.subscriptions.remove(uri);
        }
        if uri.is_some_and(|uri| self.is_subscribed(&uri)) {
            let text = message::result(&id, "{}");
            return self.respond(client, &id, text);
        }
        self.forward(client, id, "resources/unsubscribe", params, None);
    }

    fn notification(&mut self, client: ClientId, method: &str, params: Option<&RawValue>, room: bool) {
        let ready = self.clients.get(&client).is_some_and(|known| known.initialized);
        match method {
            "notifications/cancelled" => self.take_back(client, params),
            // The hub has initialized the server, once and for all clients.
            "notifications/initialized" => {}
            _ if !ready || !room => {}
            // Progress of what the server asked; and changes of what only the hub may have declared.
            "notifications/progress" if !self.asked.values().any(|asked| *asked == client) => {}
            "notifications/roots/list_changed" if !self.declares("roots") => {}
            _ => self.effects.push(Effect::Server(message::notification(method, params.map(RawValue::get)))),
        }
    }

    /// A client does not need an answer any more. None will come.
    fn take_back(&mut self, client: ClientId, params: Option<&RawValue>) {
        let Some(id) = message::id_field(params, &["requestId"]) else {
            return;
        };
        let number = self.clients.get_mut(&client).and_then(|known| known.requests.remove(&id));
        let (Some(number), Some(params)) = (number, params) else {
            return;
        };
        self.pending.remove(&number);
        if let Some(params) = message::with_field(params, &["requestId"], &number.to_string()) {
            self.effects.push(Effect::Server(message::notification("notifications/cancelled", Some(&params))));
        }
        self.deliver(client, DeliveryKind::Abandoned(id), "");
    }

    /// A client answers what the server asked it.
    fn client_answers(&mut self, client: ClientId, id: &Id, body: Body<'_>) {
        if self.asked.get(id) != Some(&client) {
            self.strays += 1;
            return;
        }
        self.asked.remove(id);
        self.effects.push(Effect::Server(message::response(id, body)));
    }

    /// Whether the hub has declared this capability to the server.
    pub(super) fn declares(&self, capability: &str) -> bool {
        RawValue::from_string(self.capabilities.clone()).is_ok_and(|raw| message::field(&raw, &[capability]).is_some())
    }
}
