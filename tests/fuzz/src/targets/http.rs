//! Requests to the HTTP API of a real host over a real connection: a line `METHOD PATH`, lines of
//! headers, an empty line, the body.

use std::fmt::{Display, Write as _};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use setpoint_runtime::{Host, HostOptions};

use crate::Target;

/// Every request is answered in time, never by an error of the server's own (500); what is no success says
/// in JSON why (design §8). The host is as well afterwards as it was before.
pub(crate) const TARGET: Target = Target {
    name: "http",
    run,
    end,
    longest: 4 * 1024,
    patience: Duration::from_secs(20),
    words: &[
        "GET ",
        "POST ",
        "DELETE ",
        "HEAD ",
        "OPTIONS ",
        "PUT ",
        "/v1/overview",
        "/v1/reconciles",
        "/v1/objects",
        "/v1/kinds",
        "/v1/plugins",
        "/v1/files",
        "/v1/held",
        "/v1/events",
        "/v1/plan",
        "/v1/release",
        "/v1/record",
        "/metrics",
        "/readyz",
        "/local",
        "/core",
        "/ConfigMap",
        "/default",
        "/a",
        "/-",
        "/runs",
        "/trigger",
        "/pause",
        "/resume",
        "/enable",
        "/disable",
        "/confirm",
        "/logs",
        "/rollback",
        "?kind=cm",
        "&namespace=default",
        "&name=a",
        "%00",
        "%ff",
        "%2f",
        "..",
        "\n",
        "\n\n",
        "Accept: application/json\n",
        "Content-Type: application/json\n",
        "Origin: http://evil.example\n",
        "Authorization: Bearer x\n",
        "{\"kind\":\"ConfigMap\"}",
        "{\"kind\":",
        "null",
        "[]",
    ],
};

/// An answer has begun and ended within this.
const ANSWER: Duration = Duration::from_secs(10);
/// More of an answer is not read.
const LONGEST: usize = 1 << 20;
/// What changes where the body ends, or keeps the connection: it is set here.
const OWN: [&str; 7] = ["host", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te"];

struct Served {
    runtime: tokio::runtime::Runtime,
    host: Host,
    address: SocketAddr,
    /// After the host: removed when nobody works in it any more.
    _dir: tempfile::TempDir,
}

static SERVED: Mutex<Option<Served>> = Mutex::new(None);

fn failed(error: &dyn Display) -> ! {
    panic!("no host: {error}")
}

fn start() -> Served {
    let dir = tempfile::tempdir().unwrap_or_else(|error| failed(&error));
    let resources = dir.path().join("resources");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n";
    std::fs::create_dir(&resources)
        .and_then(|()| std::fs::write(resources.join("a.yaml"), map))
        .unwrap_or_else(|error| failed(&error));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap_or_else(|error| failed(&error));
    let options = HostOptions {
        plugins: Some(dir.path().join("plugins")),
        resources: Some(resources),
        state: Some(dir.path().join("state")),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..HostOptions::default()
    };
    let host = runtime.block_on(Host::start(options)).unwrap_or_else(|error| failed(&error));
    let address = host.address().unwrap_or_else(|| failed(&"it does not listen"));
    Served { runtime, host, address, _dir: dir }
}

fn end() {
    if let Some(Served { runtime, host, _dir, .. }) = SERVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        runtime.block_on(host.shutdown());
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn run(data: &[u8]) {
    // One host for all inputs, asked by one at a time.
    let mut served = SERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let address = served.get_or_insert_with(start).address;
    let request = Request::of(&String::from_utf8_lossy(data));
    if let Some(answer) = ask(address, &request.text) {
        check(&request, &answer);
    }
    let health = ask(address, &Request::of("GET /healthz").text).unwrap_or_else(|| panic!("nobody answers any more"));
    assert_eq!((health.status, health.body.as_str()), (200, "ok"));
}

struct Request {
    method: String,
    path: String,
    text: String,
}

impl Request {
    fn of(input: &str) -> Self {
        let (head, body) = input.split_once("\n\n").unwrap_or((input, ""));
        let mut lines = head.lines().map(|line| line.replace('\r', " "));
        let first = lines.next().unwrap_or_default();
        let (method, path) = first.split_once(' ').unwrap_or(("GET", first.as_str()));
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in lines.filter(|line| {
            let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
            !line.is_empty() && !OWN.contains(&name.as_str())
        }) {
            // Writing to a String cannot fail, here and below.
            let _ = write!(text, "{header}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        Self { method: method.to_owned(), path: path.to_owned(), text }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// None: the connection was closed without an answer, as on what is no HTTP at all.
fn ask(address: SocketAddr, request: &str) -> Option<Answer> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).unwrap_or_else(|error| panic!("connect: {error}"));
    stream
        .set_read_timeout(Some(ANSWER))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER)))
        .unwrap_or_else(|error| panic!("timeouts: {error}"));
    // What is refused early is not read to its end: then writing, and reading after the answer, may fail.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let mut part = [0; 8 * 1024];
    while bytes.len() < LONGEST {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(_) => {
                assert!(began.elapsed() < ANSWER, "no end of the answer after {ANSWER:?} to:\n{request}");
                break;
            }
        }
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)]).to_lowercase();
        if head.contains("text/event-stream") && head.contains("\r\n\r\n") {
            // A stream has no end.
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status: Option<u16> = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let Some(status) = status else { panic!("no status in {head:?}") };
    Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

fn check(request: &Request, answer: &Answer) {
    let Answer { status, head, body } = answer;
    let unready = *status == 503 && request.path.starts_with("/readyz");
    assert!(*status < 500 || unready, "{status} to:\n{}\n{body}", request.text);
    if *status < 400 || unready || body.is_empty() || request.method == "HEAD" {
        return;
    }
    assert!(head.contains("content-type: application/json"), "{status} without JSON to:\n{}\n{head}", request.text);
    let error: Value = serde_json::from_str(body).unwrap_or_default();
    for part in ["/error/code", "/error/message"] {
        let text = error.pointer(part).and_then(Value::as_str).unwrap_or_default();
        assert!(!text.is_empty(), "{status} without {part} to:\n{}\n{body}", request.text);
    }
}
