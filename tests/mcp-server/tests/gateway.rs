//! Servers behind the gateway: clients of the SDK and of plain HTTP, several at once, and the bounds.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{OnPipes, PATIENCE, checker, eventually, ready, soon, stdio, stdio_with};
use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use setpoint_core::probe::{ProbeSpec, ProbeState};
use setpoint_mcp::gateway::{Found, Gateway, GatewayOptions, Lookup};
use setpoint_mcp::hub::{Hub, HubOptions};
use setpoint_mcp::{Access, SecretHeaders};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Default)]
struct Servers(Arc<Mutex<HashMap<(String, String), Found>>>);

impl Servers {
    fn set(&self, name: &str, found: Found) {
        self.0.lock().expect("unpoisoned").insert(("ns".into(), name.into()), found);
    }
}

impl Lookup for Servers {
    fn find(&self, namespace: &str, name: &str) -> Found {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().expect("unpoisoned").get(&key).cloned().unwrap_or(Found::Unknown)
    }
}

/// A gateway at a port, with one server `ns/one`.
struct Bench {
    servers: Servers,
    gateway: Gateway,
    address: SocketAddr,
    server: OnPipes,
}

impl Bench {
    async fn new(options: GatewayOptions) -> Self {
        Self::of(stdio(&[]), options).await
    }

    async fn of(server: OnPipes, options: GatewayOptions) -> Self {
        let servers = Servers::default();
        servers.set("one", Found::Hub(server.hub.clone()));
        let gateway = Gateway::new(servers.clone(), options);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().nest("/v1/mcp", gateway.router());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { servers, gateway, address, server }
    }

    fn url(&self) -> String {
        format!("http://{}/v1/mcp/ns/one", self.address)
    }

    async fn sdk(&self) -> rmcp::service::RunningService<rmcp::RoleClient, ()> {
        let transport = checker().streamable_transport(&self.url(), SecretHeaders::default(), Access::all());
        soon(().serve(transport)).await.expect("it is initialized")
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let stream = self.open(method, path, headers, body).await;
        soon(Answer::read(stream)).await
    }

    async fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let mut head = format!("{method} /v1/mcp/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        head.push_str(&format!("content-length: {}\r\n", body.len()));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // A server that refuses may close before all is written.
        let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
        stream
    }

    async fn post(&self, session: Option<&str>, message: Value) -> Answer {
        let mut headers = vec![JSON, ("accept", "application/json, text/event-stream")];
        headers.extend(session.map(|id| ("mcp-session-id", id)));
        self.raw("POST", "ns/one", &headers, &message.to_string()).await
    }

    /// A session of plain HTTP.
    async fn session(&self) -> String {
        let answer = self.post(None, initialize()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer.header("mcp-session-id").expect("a session").to_owned();
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.post(Some(&session), initialized).await.status, 202);
        session
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": "i", "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "raw", "version": "1" },
    } })
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let mut body = body.to_owned();
        if head.contains("chunked") {
            let mut whole = String::new();
            let mut rest = body.as_str();
            while let Some((size, after)) = rest.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).unwrap_or_default();
                whole.push_str(after.get(..size).unwrap_or_default());
                rest = after.get(size + 2..).unwrap_or_default();
            }
            body = whole;
        }
        Self { status, head: head.to_owned(), body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    fn events(&self) -> Vec<Value> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }
}

fn text(result: &rmcp::model::CallToolResult) -> String {
    let value = serde_json::to_value(result).expect("JSON");
    value["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

fn tool(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap_or_default())
}

#[tokio::test]
async fn clients_of_the_sdk_have_the_server_as_if_each_were_alone_with_it() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let clients = futures_util::future::join_all((0..8).map(|_| bench.sdk())).await;
    assert_eq!(bench.gateway.sessions(), 8);
    let calls = clients.iter().enumerate().map(|(client, sdk)| async move {
        let tools = sdk.list_all_tools().await.expect("tools");
        assert!(tools.iter().any(|tool| tool.name == "echo"));
        for n in 0..10 {
            let said = format!("{client}-{n}");
            let result = sdk.call_tool(tool("echo", json!({ "text": said }))).await.expect("a result");
            assert_eq!(text(&result), said);
        }
        let slow = sdk.call_tool(tool("slow", json!({ "ms": 700 }))).await.expect("a result");
        assert_eq!(text(&slow), "at last");
    });
    soon(futures_util::future::join_all(calls)).await;
    for client in clients {
        soon(client.cancel()).await.expect("it ends");
    }
    eventually("sessions end with their clients", || bench.gateway.sessions() == 0).await;
    eventually("and so do clients of the hub", || bench.server.hub.counts().clients == 0).await;
}

/// A client that notes that tools have changed.
#[derive(Clone, Default)]
struct Listener(Arc<tokio::sync::Notify>);

impl rmcp::ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _: rmcp::service::NotificationContext<rmcp::RoleClient>) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn clients_may_tell_the_transport_by_the_end_of_the_path() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let headers = [JSON, ("accept", "application/json, text/event-stream")];
    let answer = bench.raw("POST", "ns/one/mcp", &headers, &initialize().to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // It is the same server and the same session.
    let session = answer.header("mcp-session-id").expect("a session").to_owned();
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(bench.post(Some(&session), initialized).await.status, 202);
}

#[tokio::test]
async fn a_change_of_the_tools_reaches_clients_that_listen() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let listener = Listener::default();
    let transport = checker().streamable_transport(&bench.url(), SecretHeaders::default(), Access::all());
    let listening = soon(listener.clone().serve(transport)).await.expect("it is initialized");
    let other = bench.sdk().await;
    soon(other.call_tool(tool("grow", json!({ "name": "grown" })))).await.expect("a result");
    soon(listener.0.notified()).await;
    let tools = soon(listening.list_all_tools()).await.expect("tools");
    assert!(tools.iter().any(|tool| tool.name == "grown"));
}

#[tokio::test]
async fn the_host_can_look_at_a_server_through_its_own_gateway() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let spec = json!({ "mcp": { "transport": "streamable-http", "url": bench.url() } });
    let spec: ProbeSpec = serde_json::from_value(spec).expect("a spec");
    let report = checker().check(&spec.target, &common::attempt()).await.report;
    assert_eq!(report.state(), ProbeState::Healthy, "{}", report.message());
    eventually("it leaves", || bench.gateway.sessions() == 0).await;
}

#[tokio::test]
async fn quick_answers_are_json_and_others_are_streams_that_end_with_the_answer() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    let quick = bench.post(Some(&session), call(1, "add", json!({ "a": 1, "b": 2 }))).await;
    assert_eq!((quick.status, quick.header("content-type")), (200, Some("application/json")));
    assert_eq!((&quick.json()["id"], &quick.json()["result"]["content"][0]["text"]), (&json!(1), &json!("3")));
    let slow = bench.post(Some(&session), call(2, "slow", json!({ "ms": 800 }))).await;
    assert_eq!((slow.status, slow.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(slow.events().len(), 1);
    let steps = bench.post(Some(&session), call(3, "progress", json!({ "steps": 3, "ms": 5 }))).await;
    let events = steps.events();
    assert_eq!(events.len(), 4, "{steps:?}");
    assert!(events[..3].iter().all(|event| event["params"]["progressToken"] == 3));
    assert_eq!(events[3]["id"], 3);
    // Who takes no events gets the answer alone.
    let headers = [JSON, ("accept", "application/json"), ("mcp-session-id", session.as_str())];
    let body = call(4, "progress", json!({ "steps": 2, "ms": 300 })).to_string();
    let plain = bench.raw("POST", "ns/one", &headers, &body).await;
    assert_eq!((plain.status, plain.json()["id"].clone()), (200, json!(4)));
    // A batch, as an older version has it.
    let batch = json!([call(5, "add", json!({})), call(6, "add", json!({})), { "jsonrpc": "2.0", "method": "notifications/x" }]);
    let both = bench.post(Some(&session), batch.clone()).await.events();
    assert_eq!(both.len(), 2);
    let plain = bench.raw("POST", "ns/one", &headers, &batch.to_string()).await.json();
    assert_eq!(plain.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_request_that_is_taken_back_ends_its_stream() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    let began = Instant::now();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let params = json!({ "requestId": 1 });
        let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        bench.post(Some(&session), cancel).await.status
    };
    let (slow, cancelled) = tokio::join!(bench.post(Some(&session), call(1, "slow", json!({ "ms": 60_000 }))), cancel);
    assert_eq!((slow.events().len(), cancelled), (0, 202));
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(bench.post(Some(&session), call(1, "add", json!({}))).await.status, 200, "its id is free again");
}

#[tokio::test]
async fn a_connection_that_breaks_cancels_nothing_and_leaves_nothing() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    let headers = [JSON, ("accept", "application/json, text/event-stream"), ("mcp-session-id", session.as_str())];
    let stream = bench.open("POST", "ns/one", &headers, &call(1, "slow", json!({ "ms": 300 })).to_string()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counts = bench.post(Some(&session), call(1, "counts", json!({}))).await.json();
    let counts: Value =
        serde_json::from_str(counts["result"]["content"][0]["text"].as_str().unwrap_or_default()).expect("JSON");
    assert_eq!(counts["notifications/cancelled"], Value::Null);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let bench = Bench::new(GatewayOptions { body: 10_000, ..GatewayOptions::default() }).await;
    let session = bench.session().await;
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![JSON, ("accept", "application/json, text/event-stream")];
        headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        headers.extend(more);
        headers
    };
    let named: &'static str = Box::leak(session.clone().into_boxed_str());
    let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    let long = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(20_000));
    let id = ("mcp-session-id", named);
    for (method, path, headers, body, status, part) in [
        ("POST", "ns/one", with(&[]), ping, 400, "Mcp-Session-Id is missing"),
        ("POST", "ns/one", with(&[("mcp-session-id", "other")]), ping, 404, "initialize a new one"),
        ("POST", "ns/two", with(&[id]), ping, 404, "there is no MCP server ns/two"),
        ("POST", "ns/two", with(&[]), &initialize().to_string(), 404, "there is no MCP server ns/two"),
        ("POST", "ns/one", with(&[id, ("content-type", "text/plain")]), ping, 415, "application/json"),
        ("POST", "ns/one", with(&[id, ("accept", "text/html")]), ping, 406, "text/event-stream"),
        ("POST", "ns/one", with(&[id, ("mcp-protocol-version", "1999-01-01")]), ping, 400, "must be one of 2024-11-05"),
        ("POST", "ns/one", with(&[id]), &long, 413, "at most 10000 bytes"),
        ("POST", "ns/one", with(&[id]), "{", 400, "no JSON-RPC message"),
        ("POST", "ns/one", with(&[id]), "[]", 400, "no JSON-RPC message"),
        ("POST", "ns/one", with(&[id]), "\"x\"", 400, "no JSON-RPC message"),
        ("GET", "ns/one", with(&[id, ("accept", "application/json")]), "", 406, "text/event-stream"),
        ("GET", "ns/one", with(&[]), "", 400, "Mcp-Session-Id is missing"),
        ("DELETE", "ns/one", with(&[("mcp-session-id", "other")]), "", 404, "has ended"),
    ] {
        let answer = bench.raw(method, path, &headers, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(part), "{part}: {answer:?}");
    }
    assert_eq!(bench.raw("PUT", "ns/one", &with(&[id]), "").await.status, 405);
    let (slow, again) = tokio::join!(bench.post(Some(&session), call(7, "slow", json!({ "ms": 300 }))), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.post(Some(&session), call(7, "add", json!({}))).await
    });
    assert_eq!((slow.status, again.status), (200, 400));
    assert!(again.body.contains("under way"), "{again:?}");
    assert_eq!(bench.raw("DELETE", "ns/one", &with(&[id]), "").await.status, 204);
    assert_eq!(bench.post(Some(&session), serde_json::from_str(ping).expect("JSON")).await.status, 404);
}

#[tokio::test]
async fn a_server_that_is_away_says_when_to_come_back_and_sessions_end_with_it() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    let waiting = bench.post(Some(&session), call(1, "slow", json!({ "ms": 60_000 })));
    let end = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.server.hub.close().await;
    };
    let (waiting, ()) = tokio::join!(waiting, end);
    let error = waiting.json();
    assert!(error["error"]["message"].as_str().is_some_and(|why| why.contains("closed")), "{waiting:?}");
    eventually("the session is gone", || bench.gateway.sessions() == 0).await;
    let why = "exited with code 1".to_owned();
    bench.servers.set("one", Found::Down { why, retry_after: Some(Duration::from_millis(6_500)) });
    assert_eq!(bench.post(Some(&session), call(2, "add", json!({}))).await.status, 404);
    let down = bench.post(None, initialize()).await;
    assert_eq!((down.status, down.header("retry-after")), (503, Some("7")));
    assert_eq!(down.json()["id"], "i");
    assert!(down.body.contains("ns/one does not run: exited with code 1"));
    let next = stdio(&[]);
    bench.servers.set("one", Found::Hub(next.hub.clone()));
    bench.session().await;
}

#[tokio::test]
async fn a_client_of_the_sdk_finds_back_after_a_restart_of_the_server() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let client = bench.sdk().await;
    let first = text(&soon(client.call_tool(tool("pid", json!({})))).await.expect("a result"));
    bench.server.hub.close().await;
    eventually("the session is gone", || bench.gateway.sessions() == 0).await;
    let next = stdio(&[]);
    bench.servers.set("one", Found::Hub(next.hub.clone()));
    let second = text(&soon(client.call_tool(tool("pid", json!({})))).await.expect("a result"));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_server_that_starts_is_waited_for_within_bounds() {
    let options = GatewayOptions { patience: Duration::from_millis(200), ..GatewayOptions::default() };
    let bench = Bench::of(stdio(&["--delay-initialize", "900"]), options).await;
    let early = bench.post(None, initialize()).await;
    assert_eq!((early.status, early.header("retry-after")), (503, Some("1")), "{early:?}");
    ready(&bench.server.hub).await;
    bench.session().await;
    let refusing = stdio(&["--refuse"]);
    bench.servers.set("one", Found::Hub(refusing.hub.clone()));
    let refused = bench.post(None, initialize()).await;
    assert_eq!((refused.status, refused.header("mcp-session-id")), (200, None));
    assert!(refused.body.contains("not today; password=[REDACTED]"), "{refused:?}");
    eventually("no session is left of it", || refusing.hub.counts().clients == 0).await;
}

#[tokio::test]
async fn sessions_are_bounded_and_idle_ones_end() {
    let options = GatewayOptions { sessions_per_server: 3, ..GatewayOptions::default() };
    let bench = Bench::new(options).await;
    for _ in 0..3 {
        bench.session().await;
    }
    let full = bench.post(None, initialize()).await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("30")));
    assert!(full.body.contains("as many sessions as there may be"), "{full:?}");
    let other = stdio(&[]);
    bench.servers.set("two", Found::Hub(other.hub.clone()));
    let headers = [JSON, ("accept", "application/json, text/event-stream")];
    let answer = bench.raw("POST", "ns/two", &headers, &initialize().to_string()).await;
    assert_eq!(answer.status, 200, "another server has room of its own");

    let options = GatewayOptions { idle: Duration::from_millis(300), ..GatewayOptions::default() };
    let bench = Bench::new(options).await;
    let idle = bench.session().await;
    let used = bench.session().await;
    let listening = bench.session().await;
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", listening.as_str())];
    let _stream = bench.open("GET", "ns/one", &headers, "").await;
    let end = Instant::now() + Duration::from_millis(1_200);
    while Instant::now() < end {
        assert_eq!(bench.post(Some(&used), call(1, "add", json!({}))).await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.post(Some(&idle), call(1, "add", json!({}))).await.status, 404);
    assert_eq!(bench.post(Some(&listening), call(1, "add", json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_listener_that_does_not_read_loses_its_stream_and_not_its_session() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", session.as_str())];
    let stream = bench.open("GET", "ns/one", &headers, "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for id in 0..6 {
        let storm = call(id, "storm", json!({ "count": 100, "bytes": 100_000 }));
        assert_eq!(bench.post(Some(&session), storm).await.status, 200);
    }
    let mut read = 0;
    let mut stream = stream;
    let mut buffer = vec![0; 1 << 20];
    soon(async {
        while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
            read += bytes;
        }
    })
    .await;
    assert!(read < 50 << 20, "{read}");
    assert_eq!(bench.post(Some(&session), call(9, "add", json!({}))).await.status, 200);
}

#[tokio::test]
async fn notifications_wait_for_a_listener_and_a_newer_one_takes_over() {
    let bench = Bench::new(GatewayOptions::default()).await;
    let session = bench.session().await;
    for id in 0..100 {
        bench.post(Some(&session), call(id, "log", json!({ "level": "info", "data": id }))).await;
    }
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", session.as_str())];
    let first = bench.open("GET", "ns/one", &headers, "").await;
    let first = tokio::spawn(Answer::read(first));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = bench.open("GET", "ns/one", &headers, "").await;
    let events = soon(first).await.expect("it ends when the newer comes").events();
    assert_eq!(events.len(), 32, "the last ones were kept");
    assert_eq!(events.last().map(|event| event["params"]["data"].clone()), Some(json!(99)));
    bench.post(Some(&session), call(200, "log", json!({ "level": "info", "data": "last" }))).await;
    bench.gateway.close();
    let events = soon(Answer::read(second)).await.events();
    assert_eq!(events.len(), 1);
    assert_eq!(bench.gateway.sessions(), 0);
}

#[tokio::test]
async fn a_client_can_be_asked_beside_its_request() {
    let capabilities = serde_json::value::RawValue::from_string(r#"{"elicitation":{}}"#.into()).expect("JSON");
    let options = HubOptions { capabilities, ..HubOptions::default() };
    let bench = Bench::of(stdio_with(&[], options), GatewayOptions::default()).await;
    let mut begin = initialize();
    begin["params"]["capabilities"] = json!({ "elicitation": {} });
    let session = bench.post(None, begin).await.header("mcp-session-id").expect("a session").to_owned();
    let ask = call(1, "ask", json!({ "method": "elicitation/create", "params": { "message": "?" } }));
    let headers = [JSON, ("accept", "application/json, text/event-stream"), ("mcp-session-id", session.as_str())];
    let mut stream = bench.open("POST", "ns/one", &headers, &ask.to_string()).await;
    let mut bytes = Vec::new();
    let question = soon(async {
        loop {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.expect("the stream goes on");
            bytes.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&bytes);
            let data = text.lines().find_map(|line| line.strip_prefix("data: "));
            if let Some(question) = data.and_then(|data| serde_json::from_str::<Value>(data).ok()) {
                break question;
            }
            assert!(read > 0, "{text}");
        }
    })
    .await;
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    assert_eq!(bench.post(Some(&session), answer).await.status, 202);
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    let events = Answer::of(&bytes).events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["result"]["content"][0]["text"], r#"{"action":"decline"}"#);
}

#[test]
fn a_hub_is_a_handle_that_can_be_sent() {
    fn is_handle<T: Clone + Send + Sync + 'static>() {}
    is_handle::<Hub>();
    is_handle::<Gateway>();
}
