//! What the server says.

use std::sync::Arc;

use serde_json::value::RawValue;
use setpoint_core::Time;

use super::{ASKED, Body, Client, ClientId, Delivery, DeliveryKind, Effect, Id, Level, Message, Pending, Switch};
use crate::hub::List;
use crate::message;

impl Switch {
    /// The server sent this.
    pub(crate) fn server_says(&mut self, now: Time, message: Message<'_>) {
        match message {
            Message::Response { id, body } => self.answered(now, &id, body),
            Message::Request { id, method, params } => self.asks(&id, &method, params),
            Message::Notification { method, params } => self.notifies(now, &method, params),
            Message::Complaint => self.strays += 1,
        }
    }

    /// The answer to this request was too long to be passed on.
    pub(crate) fn too_long(&mut self, number: u64) -> bool {
        let Some(Pending::Client { client, id, .. }) = self.pending.get(&number) else {
            return false;
        };
        let (client, id) = (*client, id.clone());
        self.pending.remove(&number);
        if let Some(known) = self.clients.get_mut(&client) {
            known.requests.remove(&id);
        }
        self.refuse(client, &id, message::UNAVAILABLE, "the server's answer is longer than the host passes on");
        true
    }

    fn answered(&mut self, now: Time, id: &Id, body: Body<'_>) {
        let number = id.number().unwrap_or_default();
        let Some(pending) = self.pending.remove(&number) else {
            self.strays += 1;
            return;
        };
        match pending {
            Pending::Own(own) => self.own_answered(now, number, own, body),
            Pending::Client { client, id, subscribing, .. } => {
                if let Some(known) = self.clients.get_mut(&client) {
                    known.requests.remove(&id);
                    if let (Some(uri), Body::Error(_)) = (&subscribing, body) {
                        known.subscriptions.remove(uri);
                    }
                }
                self.respond(client, &id, message::response(&id, body));
            }
        }
    }

    /// A request of the server goes to the one client that it works for: there are requests of exactly one client
    /// under way, and that client has declared that it answers such. Nobody else could know what it is about.
    fn asks(&mut self, id: &Id, method: &str, params: Option<&RawValue>) {
        if method == "ping" {
            self.effects.push(Effect::Server(message::result(id, "{}")));
            return;
        }
        let busy: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| !client.requests.is_empty()).map(|(id, _)| *id).collect();
        let capability = method.split_once('/').map(|(capability, _)| capability).unwrap_or_default();
        let asked = match busy.as_slice() {
            [one] => self.clients.get(one).filter(|client| client.capabilities.contains(capability)).map(|_| *one),
            _ => None,
        };
        let refusal = match asked {
            _ if self.asked.contains_key(id) => Err((message::INVALID_REQUEST, "a request with this id is under way")),
            Some(_) if self.asked.len() >= ASKED => Err((message::UNAVAILABLE, "too many requests are under way")),
            Some(client) => Ok(client),
            None => Err((message::METHOD_NOT_FOUND, "there is no one client that could answer this")),
        };
        match refusal {
            Ok(client) => {
                self.asked.insert(id.clone(), client);
                let text = message::request(id.json(), method, params.map(RawValue::get));
                self.deliver(client, DeliveryKind::Request, text);
            }
            Err((code, why)) => self.effects.push(Effect::Server(message::error(Some(id), code, why))),
        }
    }

    fn notifies(&mut self, now: Time, method: &str, params: Option<&RawValue>) {
        match method {
            "notifications/progress" => self.progress(params),
            "notifications/cancelled" => self.server_takes_back(params),
            "notifications/message" => {
                let level = message::text_field(params, &["level"]).and_then(|word| Level::parse(&word));
                let wants = |client: &Client| client.level.is_none_or(|least| level.is_none_or(|it| it >= least));
                self.tell(method, params, DeliveryKind::Passing, wants);
            }
            "notifications/resources/updated" => {
                let uri = message::text_field(params, &["uri"]).unwrap_or_default();
                self.tell(method, params, DeliveryKind::Notification, |client| client.subscriptions.contains(&uri));
            }
            "notifications/tools/list_changed" => {
                self.tools_changed(now);
                self.tell(method, params, DeliveryKind::Changed(List::Tools), |_| true);
            }
            "notifications/prompts/list_changed" => {
                self.tell(method, params, DeliveryKind::Changed(List::Prompts), |_| true);
            }
            "notifications/resources/list_changed" => {
                self.tell(method, params, DeliveryKind::Changed(List::Resources), |_| true);
            }
            _ => self.tell(method, params, DeliveryKind::Notification, |_| true),
        }
    }

    /// Tells all clients that want it. They share the text.
    fn tell(&mut self, method: &str, params: Option<&RawValue>, kind: DeliveryKind, wants: impl Fn(&Client) -> bool) {
        let listeners = self.clients.iter().filter(|(_, client)| client.initialized && wants(client));
        let listeners: Vec<ClientId> = listeners.map(|(id, _)| *id).collect();
        if listeners.is_empty() {
            return;
        }
        let text: Arc<str> = message::notification(method, params.map(RawValue::get)).into();
        for client in listeners {
            self.effects.push(Effect::Client(client, Delivery { kind: kind.clone(), text: text.clone() }));
        }
    }

    /// Progress goes to who asked, under its own token.
    fn progress(&mut self, params: Option<&RawValue>) {
        let number = message::id_field(params, &["progressToken"]).and_then(|token| token.number());
        let pending = number.and_then(|number| self.pending.get(&number));
        let (Some(Pending::Client { client, id, token: Some(token), .. }), Some(params)) = (pending, params) else {
            return;
        };
        let (client, id) = (*client, id.clone());
        if let Some(params) = message::with_field(params, &["progressToken"], token.json()) {
            let text = message::notification("notifications/progress", Some(&params));
            self.deliver(client, DeliveryKind::Progress(id), text);
        }
    }

    /// The server does not need an answer of a client any more.
    fn server_takes_back(&mut self, params: Option<&RawValue>) {
        let id = message::id_field(params, &["requestId"]);
        if let Some(client) = id.and_then(|id| self.asked.remove(&id)) {
            let text = message::notification("notifications/cancelled", params.map(RawValue::get));
            self.deliver(client, DeliveryKind::Notification, text);
        }
    }
}
