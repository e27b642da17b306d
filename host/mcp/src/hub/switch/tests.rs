//! What the rules of a hub promise: every client has the server as if it were alone with it.

use proptest::prelude::*;
use serde_json::{Value, json};
use setpoint_core::Time;

use super::*;
use crate::hub::HubState;

/// A switch with what it wrote to the server and to each client.
struct Bench {
    switch: Switch,
    now: Time,
    server: Vec<Value>,
    clients: BTreeMap<ClientId, Vec<(DeliveryKind, Value)>>,
    closed: BTreeSet<ClientId>,
    changes: usize,
    pongs: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let none = RawValue::from_string("{}".into()).expect("JSON");
        let mut bench = Self {
            switch: Switch::new(&none),
            now: 0,
            server: Vec::new(),
            clients: BTreeMap::new(),
            closed: BTreeSet::new(),
            changes: 0,
            pongs: Vec::new(),
        };
        bench.switch.initialize();
        bench.settle();
        bench
    }

    /// A hub of a server that has one tool.
    fn ready() -> Self {
        let mut bench = Self::new();
        bench.server_answers("initialize", initialized());
        bench.server_answers("tools/list", json!({ "tools": [{ "name": "a" }] }));
        bench.server.clear();
        bench
    }

    fn settle(&mut self) {
        for effect in self.switch.effects() {
            match effect {
                Effect::Server(line) => self.server.push(serde_json::from_str(&line).expect("JSON")),
                Effect::Client(client, Delivery { kind, text }) => {
                    assert!(!self.closed.contains(&client), "nothing is delivered to who is gone");
                    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
                    self.clients.entry(client).or_default().push((kind, value));
                }
                Effect::Close(client) => {
                    self.closed.insert(client);
                }
                Effect::Changed => self.changes += 1,
                Effect::Pong(number) => self.pongs.push(number),
            }
        }
    }

    fn server_says(&mut self, message: Value) {
        let text = message.to_string();
        for message in message::parse(text.as_bytes()).expect("a message") {
            self.switch.server_says(self.now, message);
        }
        self.settle();
    }

    /// Answers the last request of this method that the server got.
    fn server_answers(&mut self, method: &str, result: Value) {
        let id = self.last(method)["id"].clone();
        self.server_says(json!({ "jsonrpc": "2.0", "id": id, "result": result }));
    }

    fn last(&self, method: &str) -> Value {
        self.server.iter().rfind(|message| message["method"] == method).cloned().unwrap_or(Value::Null)
    }

    fn count(&self, method: &str) -> usize {
        self.server.iter().filter(|message| message["method"] == method).count()
    }

    fn client_says(&mut self, client: ClientId, message: Value) {
        let text = message.to_string();
        for message in message::parse(text.as_bytes()).expect("a message") {
            self.switch.client_says(client, message, true);
        }
        self.settle();
    }

    fn asks(&mut self, client: ClientId, id: Value, method: &str, params: Value) {
        self.client_says(client, json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// A client that has been welcomed.
    fn client(&mut self, client: ClientId, capabilities: Value) {
        self.switch.connect(client);
        let params = json!({ "protocolVersion": "2025-06-18", "capabilities": capabilities });
        self.asks(client, json!("hello"), "initialize", params);
        self.client_says(client, json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        self.heard(client);
    }

    /// What a client has got since it was asked last.
    fn heard(&mut self, client: ClientId) -> Vec<Value> {
        self.clients.remove(&client).unwrap_or_default().into_iter().map(|(_, value)| value).collect()
    }
}

fn initialized() -> Value {
    json!({
        "protocolVersion": "2025-06-18",
        "capabilities": { "tools": { "listChanged": true }, "x": 1.50 },
        "serverInfo": { "name": "s", "version": "2" },
        "instructions": "be kind",
    })
}

#[test]
fn the_server_is_initialized_once_and_clients_are_answered_with_what_it_said() {
    let mut bench = Bench::new();
    bench.switch.connect(1);
    bench.asks(1, json!(7), "initialize", json!({ "protocolVersion": "2025-03-26", "capabilities": {} }));
    assert_eq!(bench.heard(1), [] as [Value; 0], "it waits for the server");
    bench.server_answers("initialize", initialized());
    let mut expected = initialized();
    expected["protocolVersion"] = json!("2025-03-26");
    assert_eq!(bench.heard(1), [json!({ "jsonrpc": "2.0", "id": 7, "result": expected })]);
    for (asked, agreed) in [
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2024-11-05"),
        ("2025-11-25", "2025-06-18"),
        ("1999", "2025-06-18"),
    ] {
        bench.switch.connect(2);
        bench.asks(2, json!("x"), "initialize", json!({ "protocolVersion": asked, "capabilities": {} }));
        assert_eq!(bench.heard(2)[0]["result"]["protocolVersion"], agreed);
        bench.switch.disconnect(2);
        bench.switch.effects();
    }
    assert_eq!((bench.count("initialize"), bench.count("notifications/initialized")), (1, 1));
    bench.asks(1, json!(8), "initialize", json!({ "protocolVersion": "2025-03-26" }));
    assert_eq!(bench.heard(1)[0]["error"]["code"], message::INVALID_REQUEST);
}

#[test]
fn a_client_that_does_not_begin_with_initialize_is_refused() {
    let mut bench = Bench::ready();
    bench.switch.connect(1);
    bench.asks(1, json!(1), "tools/list", json!({}));
    assert_eq!(bench.heard(1)[0]["error"]["message"], "initialize comes first");
    assert_eq!(bench.server, [] as [Value; 0]);
}

#[test]
fn ids_and_progress_tokens_of_clients_do_not_meet() {
    let mut bench = Bench::ready();
    bench.client(1, json!({}));
    bench.client(2, json!({}));
    for client in [1, 2] {
        let params =
            json!({ "name": "t", "_meta": { "progressToken": "p", "other": 1.0 }, "arguments": { "n": client } });
        bench.asks(client, json!("same"), "tools/call", params);
    }
    let calls = std::mem::take(&mut bench.server);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(calls[0]["params"]["_meta"], json!({ "progressToken": calls[0]["id"], "other": 1.0 }));
    let progress = |token: &Value| {
        let params = json!({ "progressToken": token, "progress": 1 });
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
    };
    bench.server_says(progress(&calls[1]["id"]));
    assert_eq!(bench.heard(1), [] as [Value; 0]);
    assert_eq!(bench.heard(2), [progress(&json!("p"))]);
    for call in [1, 0] {
        let result = json!({ "n": calls[call]["params"]["arguments"]["n"] });
        bench.server_says(json!({ "jsonrpc": "2.0", "id": calls[call]["id"], "result": result }));
    }
    for client in [1, 2] {
        assert_eq!(bench.heard(client), [json!({ "jsonrpc": "2.0", "id": "same", "result": { "n": client } })]);
    }
    bench.server_says(progress(&calls[1]["id"]));
    bench.server_says(json!({ "jsonrpc": "2.0", "id": calls[1]["id"], "result": {} }));
    assert_eq!(bench.clients.len(), 0, "what is over is over");
    assert_eq!(bench.switch.strays(), 1);
}

#[test]
fn a_request_that_is_taken_back_is_taken_back_from_the_server_under_its_name() {
    let mut bench = Bench::ready();
    bench.client(1, json!({}));
    bench.asks(1, json!(5), "tools/call", json!({ "name": "slow" }));
    let number = bench.last("tools/call")["id"].clone();
    let cancel = |id: &Value| {
        let params = json!({ "requestId": id, "reason": "enough" });
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
    };
    bench.client_says(1, cancel(&json!(5)));
    assert_eq!(bench.last("notifications/cancelled"), cancel(&number));
    let got = bench.clients.remove(&1).unwrap_or_default();
    assert_eq!(got, [(DeliveryKind::Abandoned(Id::from(5)), Value::Null)]);
    bench.client_says(1, cancel(&json!(5)));
    bench.client_says(1, cancel(&json!("unknown")));
    assert_eq!(bench.count("notifications/cancelled"), 1);
    assert!(!bench.switch.is_busy());
    bench.server_says(json!({ "jsonrpc": "2.0", "id": number, "result": {} }));
    assert_eq!(bench.heard(1), [] as [Value; 0]);
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let mut bench = Bench::ready();
    bench.client(1, json!({ "sampling": {} }));
    bench.client(2, json!({}));
    bench.asks(1, json!(1), "resources/subscribe", json!({ "uri": "a" }));
    bench.server_answers("resources/subscribe", json!({}));
    bench.asks(1, json!(2), "tools/call", json!({}));
    let call = bench.last("tools/call")["id"].clone();
    bench.server_says(json!({ "jsonrpc": "2.0", "id": "s1", "method": "sampling/createMessage", "params": {} }));
    assert_eq!(bench.heard(1).len(), 2);
    bench.server.clear();
    bench.switch.disconnect(1);
    bench.settle();
    let methods: Vec<&Value> = bench.server.iter().map(|message| &message["method"]).collect();
    assert_eq!(methods, [&json!("notifications/cancelled"), &Value::Null, &json!("resources/unsubscribe")]);
    assert_eq!(bench.server[0]["params"]["requestId"], call);
    assert_eq!(bench.server[1]["id"], "s1");
    assert!(bench.server[1]["error"].is_object());
    assert!(bench.switch.pending.is_empty() && bench.switch.asked.is_empty());
    assert_eq!((bench.switch.clients(), bench.closed.len()), (1, 1));
}

#[test]
fn notifications_go_to_all_and_what_was_chosen_to_who_chose_it() {
    let mut bench = Bench::ready();
    for client in 1..=3 {
        bench.client(client, json!({}));
    }
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/prompts/list_changed" });
    bench.server_says(changed.clone());
    assert!((1..=3).all(|client| bench.heard(client) == [changed.clone()]));

    bench.asks(1, json!(1), "resources/subscribe", json!({ "uri": "a" }));
    bench.server_answers("resources/subscribe", json!({}));
    bench.asks(2, json!(1), "resources/subscribe", json!({ "uri": "a" }));
    let refused = bench.last("resources/subscribe")["id"].clone();
    bench.server_says(json!({ "jsonrpc": "2.0", "id": refused, "error": { "code": 1, "message": "no" } }));
    bench.clients.clear();
    let updated = json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": "a" } });
    bench.server_says(updated.clone());
    assert_eq!(bench.heard(1), [updated]);
    assert_eq!(bench.clients.len(), 0, "who was refused is not subscribed");
    bench.asks(3, json!(1), "resources/subscribe", json!({ "uri": "a" }));
    bench.server_answers("resources/subscribe", json!({}));
    bench.asks(1, json!(2), "resources/unsubscribe", json!({ "uri": "a" }));
    assert_eq!(bench.count("resources/unsubscribe"), 0, "one is left");
    bench.asks(3, json!(2), "resources/unsubscribe", json!({ "uri": "a" }));
    assert_eq!(bench.count("resources/unsubscribe"), 1);
    bench.clients.clear();

    bench.asks(1, json!(3), "logging/setLevel", json!({ "level": "error" }));
    assert_eq!(bench.last("logging/setLevel")["params"]["level"], "error");
    bench.asks(2, json!(3), "logging/setLevel", json!({ "level": "info" }));
    assert_eq!(bench.last("logging/setLevel")["params"]["level"], "info");
    bench.asks(1, json!(4), "logging/setLevel", json!({ "level": "critical" }));
    assert_eq!(bench.count("logging/setLevel"), 2, "the server goes on telling what others want");
    bench.clients.clear();
    let log = |level| json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": level } });
    bench.server_says(log("warning"));
    assert_eq!((bench.heard(1).len(), bench.heard(2).len(), bench.heard(3).len()), (0, 1, 1));
    bench.server_says(log("alert"));
    assert_eq!((bench.heard(1).len(), bench.heard(2).len(), bench.heard(3).len()), (1, 1, 1));
}

#[test]
fn the_server_asks_the_one_client_that_it_works_for_and_nobody_else() {
    let mut bench = Bench::ready();
    bench.client(1, json!({ "elicitation": {} }));
    bench.client(2, json!({}));
    let ask = |id: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": { "q": 1 } });
    bench.server_says(ask("s1"));
    assert_eq!(bench.server.last().map(|said| &said["error"]["code"]), Some(&json!(message::METHOD_NOT_FOUND)));

    bench.asks(1, json!(1), "tools/call", json!({}));
    bench.server_says(ask("s2"));
    assert_eq!(bench.heard(1), [ask("s2")]);
    bench.client_says(2, json!({ "jsonrpc": "2.0", "id": "s2", "result": { "a": "forged" } }));
    assert_eq!(bench.count("s2"), 0);
    let answer = json!({ "jsonrpc": "2.0", "id": "s2", "result": { "a": 1 } });
    bench.client_says(1, answer.clone());
    assert_eq!(bench.server.last(), Some(&answer));
    bench.client_says(1, answer.clone());
    assert_eq!(bench.server.iter().filter(|said| **said == answer).count(), 1);

    bench.asks(2, json!(1), "tools/call", json!({}));
    bench.server_says(ask("s3"));
    assert!(bench.server.last().is_some_and(|said| said["error"].is_object()), "whose is it?");
    bench.server_says(json!({ "jsonrpc": "2.0", "id": "s4", "method": "ping" }));
    assert_eq!(bench.server.last(), Some(&json!({ "jsonrpc": "2.0", "id": "s4", "result": {} })));
}

#[test]
fn the_end_of_the_server_answers_everybody() {
    let mut bench = Bench::ready();
    bench.client(1, json!({}));
    bench.asks(1, json!(1), "tools/call", json!({}));
    bench.asks(1, json!(2), "tools/call", json!({}));
    bench.switch.connect(2);
    bench.switch.end("it is over");
    bench.settle();
    let heard = bench.heard(1);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|answer| answer["error"]["message"] == "it is over"));
    assert_eq!(bench.closed, BTreeSet::from([1, 2]));
    assert!(matches!(bench.switch.state(), HubState::Ended));
}

#[test]
fn tools_are_listed_page_by_page_and_again_when_they_change_but_not_more_often() {
    let mut bench = Bench::new();
    bench.server_answers("initialize", initialized());
    bench.server_answers("tools/list", json!({ "tools": [{ "name": "b" }], "nextCursor": "two" }));
    assert_eq!(bench.last("tools/list")["params"], json!({ "cursor": "two" }));
    bench.server_answers("tools/list", json!({ "tools": [{ "name": "a", "more": {} }] }));
    let tools = |bench: &Bench| match bench.switch.state() {
        HubState::Ready(session) => session.tools.clone().map(|tools| tools.map(|tools| tools.join(","))),
        _ => None,
    };
    assert_eq!(tools(&bench), Some(Ok("a,b".into())));
    assert_eq!(bench.changes, 2);
    bench.now = 10_000;
    for _ in 0..1_000 {
        bench.server_says(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
    }
    assert_eq!(bench.count("tools/list"), 3, "one at a time");
    bench.server_answers("tools/list", json!({ "tools": [{ "name": "c" }] }));
    assert_eq!(bench.count("tools/list"), 3);
    bench.now = bench.switch.wake().expect("once more, as it changed after it was asked");
    assert_eq!(bench.now, 10_250);
    bench.switch.tick(bench.now);
    bench.settle();
    assert_eq!(bench.count("tools/list"), 4);
    bench.server_answers("tools/list", json!({ "tools": [{ "name": "c" }] }));
    assert_eq!((tools(&bench), bench.changes, bench.switch.wake()), (Some(Ok("c".into())), 3, None));
}

#[test]
fn a_list_that_does_not_come_is_given_up_and_one_without_end_is_cut() {
    let mut bench = Bench::new();
    bench.server_answers("initialize", initialized());
    bench.now = bench.switch.wake().expect("a deadline");
    bench.switch.tick(bench.now);
    bench.settle();
    assert!(matches!(bench.switch.state(), HubState::Ready(session) if matches!(session.tools, Some(Err(_)))));
    assert!(bench.switch.pending.is_empty());
    bench.server_says(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
    let mut pages = 0;
    while bench.switch.listing.is_under_way() {
        pages += 1;
        assert!(pages < 1_000, "it ends");
        let tools: Vec<Value> = (0..100).map(|n| json!({ "name": format!("{pages}-{n}") })).collect();
        bench.server_answers("tools/list", json!({ "tools": tools, "nextCursor": "more" }));
    }
    let HubState::Ready(session) = bench.switch.state() else { panic!("ready") };
    assert!(session.tools.as_ref().is_some_and(|tools| tools.as_ref().is_ok_and(|tools| tools.len() == own::TOOLS)));
}

#[test]
fn a_server_that_refuses_is_asked_again_when_somebody_looks() {
    let mut bench = Bench::new();
    bench.switch.connect(1);
    bench.asks(1, json!(1), "initialize", json!({ "protocolVersion": "2025-06-18" }));
    let id = bench.last("initialize")["id"].clone();
    let error = json!({ "code": -1, "message": "no key; token=abc123" });
    bench.server_says(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
    let HubState::Failed(failure) = bench.switch.state() else { panic!("failed") };
    assert_eq!(failure.message(), "the server answered initialize with error -1: no key; token=[REDACTED]");
    assert!(bench.heard(1)[0]["error"].is_object());
    bench.switch.initialize();
    bench.settle();
    bench.switch.initialize();
    bench.settle();
    assert_eq!(bench.count("initialize"), 2);
    for (answer, part) in [
        (json!({ "protocolVersion": "2099-01-01", "serverInfo": { "name": "x" } }), "2099-01-01, which is not known"),
        (json!({ "hello": 1 }), "not as the protocol has it"),
        (Value::Null, "not as the protocol has it"),
    ] {
        let mut bench = Bench::new();
        bench.server_answers("initialize", answer);
        assert!(matches!(bench.switch.state(), HubState::Failed(failure) if failure.message().contains(part)));
    }
}

#[test]
fn what_one_client_may_ask_is_bounded() {
    let mut bench = Bench::ready();
    bench.client(1, json!({}));
    for id in 0..REQUESTS + 10 {
        bench.asks(1, json!(id), "tools/call", json!({}));
    }
    assert_eq!(bench.count("tools/call"), REQUESTS);
    assert_eq!(bench.heard(1).len(), 10);
    bench.asks(1, json!(0), "tools/call", json!({}));
    assert_eq!(bench.heard(1)[0]["error"]["code"], message::INVALID_REQUEST, "an id that is under way");
    let text = json!({ "jsonrpc": "2.0", "id": "late", "method": "tools/call" }).to_string();
    bench.client(2, json!({}));
    for message in message::parse(text.as_bytes()).expect("a message") {
        bench.switch.client_says(2, message, false);
    }
    bench.settle();
    assert_eq!(bench.heard(2)[0]["error"]["message"], "the server does not read its input");
}

#[derive(Clone, Debug)]
enum Step {
    Connect(ClientId),
    Leave(ClientId),
    Ask(ClientId, u8),
    Cancel(ClientId, u8),
    Subscribe(ClientId, bool),
    Answer(prop::sample::Index, bool),
    Again(prop::sample::Index),
    Progress(prop::sample::Index),
    ServerAsks(u8),
    ClientAnswers(ClientId, u8),
    Changed,
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 1..5u64;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => client.clone().prop_map(Step::Connect),
        1 => client.clone().prop_map(Step::Leave),
        8 => (client.clone(), 0..6u8).prop_map(|(client, id)| Step::Ask(client, id)),
        2 => (client.clone(), 0..6u8).prop_map(|(client, id)| Step::Cancel(client, id)),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, on)| Step::Subscribe(client, on)),
        8 => (index(), any::<bool>()).prop_map(|(which, fine)| Step::Answer(which, fine)),
        1 => index().prop_map(Step::Again),
        2 => index().prop_map(Step::Progress),
        2 => (0..4u8).prop_map(Step::ServerAsks),
        2 => (client, 0..4u8).prop_map(|(client, id)| Step::ClientAnswers(client, id)),
        1 => Just(Step::Changed),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Each request carries who asked; whatever happens, an answer comes back to exactly that client, under its id,
    /// once.
    #[test]
    fn answers_find_back(steps in prop::collection::vec(step(), 1..200)) {
        let mut bench = Bench::ready();
        let mut names: BTreeMap<ClientId, ClientId> = BTreeMap::new();
        let mut given = 0;
        // Requests of each client that have to be answered.
        let mut open: BTreeSet<(ClientId, u8)> = BTreeSet::new();
        let mut answered: Vec<Value> = Vec::new();
        for step in steps {
            let who = |names: &BTreeMap<ClientId, ClientId>, client: &ClientId| names.get(client).copied();
            match step {
                Step::Connect(client) => {
                    if let Some(old) = names.remove(&client) {
                        bench.switch.disconnect(old);
                        open.retain(|(at, _)| *at != old);
                    }
                    given += 1;
                    bench.client(given, json!({ "sampling": {} }));
                    names.insert(client, given);
                }
                Step::Leave(client) => if let Some(old) = names.remove(&client) {
                    bench.switch.disconnect(old);
                    open.retain(|(at, _)| *at != old);
                },
                Step::Ask(client, id) => if let Some(client) = who(&names, &client) {
                    let params = json!({ "who": client, "id": id, "_meta": { "progressToken": id } });
                    if open.insert((client, id)) {
                        bench.asks(client, json!(id), "tools/call", params);
                    }
                },
                Step::Cancel(client, id) => if let Some(client) = who(&names, &client) {
                    open.remove(&(client, id));
                    let params = json!({ "requestId": id });
                    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
                    bench.client_says(client, cancel);
                },
                Step::Subscribe(client, on) => if let Some(client) = who(&names, &client) {
                    let method = if on { "resources/subscribe" } else { "resources/unsubscribe" };
                    bench.asks(client, json!("sub"), method, json!({ "uri": "a" }));
                },
                Step::Answer(which, fine) => {
                    let calls: Vec<Value> =
                        bench.server.iter().filter(|said| said.get("method").is_some() && said.get("id").is_some()).cloned().collect();
                    if !calls.is_empty() {
                        let call = which.get(&calls);
                        let answer = if fine { json!({ "result": call["params"] }) } else { json!({ "error": call["params"] }) };
                        let mut answer = answer;
                        answer["jsonrpc"] = json!("2.0");
                        answer["id"] = call["id"].clone();
                        answered.push(answer.clone());
                        bench.server_says(answer);
                    }
                }
                Step::Again(which) => if !answered.is_empty() {
                    let answer = which.get(&answered).clone();
                    bench.server_says(answer);
                },
                Step::Progress(which) => {
                    let calls: Vec<&Value> = bench.server.iter().filter(|said| said["method"] == "tools/call").collect();
                    if !calls.is_empty() {
                        let call = which.get(&calls);
                        let params = json!({ "progressToken": call["id"], "of": call["params"]["who"] });
                        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
                        bench.server_says(progress);
                    }
                }
                Step::ServerAsks(id) => {
                    let ask = json!({ "jsonrpc": "2.0", "id": format!("s{id}"), "method": "sampling/createMessage" });
                    bench.server_says(ask);
                }
                Step::ClientAnswers(client, id) => if let Some(client) = who(&names, &client) {
                    bench.client_says(client, json!({ "jsonrpc": "2.0", "id": format!("s{id}"), "result": {} }));
                },
                Step::Changed => {
                    bench.server_says(json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
                }
                Step::Wait => {
                    bench.now += 40_000;
                    bench.switch.tick(bench.now);
                }
            }
            bench.settle();
            for (client, got) in std::mem::take(&mut bench.clients) {
                for (kind, value) in got {
                    match kind {
                        DeliveryKind::Response(id) => {
                            if id.json() == "\"sub\"" {
                                continue;
                            }
                            let said = value.get("result").or(value.get("error")).cloned().unwrap_or(Value::Null);
                            let number = id.number().unwrap_or(99) as u8;
                            prop_assert_eq!(&said["who"], &json!(client), "an answer of somebody else");
                            prop_assert_eq!(&said["id"], &value["id"]);
                            prop_assert!(open.remove(&(client, number)), "an answer that was not waited for");
                        }
                        DeliveryKind::Progress(id) => {
                            prop_assert_eq!(&value["params"]["of"], &json!(client));
                            prop_assert_eq!(&value["params"]["progressToken"].to_string(), id.json());
                        }
                        _ => {}
                    }
                }
            }
            // Nothing is kept of what is over.
            let clients: usize = bench.switch.clients.values().map(|client| client.requests.len()).sum();
            prop_assert!(bench.switch.pending.len() <= clients + 1);
            prop_assert!(bench.switch.asked.len() <= 4);
            prop_assert!(bench.switch.asked.values().all(|client| bench.switch.clients.contains_key(client)));
        }
        let ids: BTreeSet<String> = bench.server.iter().filter(|said| said.get("method").is_some())
            .filter_map(|said| said.get("id")).map(Value::to_string).collect();
        let requests = bench.server.iter().filter(|said| said.get("method").is_some() && said.get("id").is_some()).count();
        prop_assert_eq!(ids.len(), requests, "no number is used twice");
        bench.switch.end("over");
        bench.settle();
        let left: usize = bench.clients.values().flatten()
            .filter(|(kind, _)| matches!(kind, DeliveryKind::Response(id) if id.json() != "\"sub\"")).count();
        prop_assert_eq!(left, open.len(), "all that waited were answered");
    }
}
