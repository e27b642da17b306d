//! Looking at endpoints: each way to fail has its own reason, and nothing secret is said.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{at_port, attempt, checker, eventually, stdio};
use serde_json::{Value, json};
use setpoint_core::probe::{ProbeReason, ProbeSpec, ProbeState, Report, Target};
use setpoint_mcp::check::Attempt;
use setpoint_mcp::{Access, SecretHeaders};

fn target(spec: Value) -> Target {
    let spec: ProbeSpec = serde_json::from_value(spec).expect("a spec");
    spec.target
}

fn http(url: &str) -> Target {
    target(json!({ "http": { "url": url } }))
}

fn mcp(url: &str) -> Target {
    target(json!({ "mcp": { "transport": "streamable-http", "url": url } }))
}

fn sse(url: &str) -> Target {
    target(json!({ "mcp": { "transport": "sse", "url": url } }))
}

async fn look(target: &Target, attempt: &Attempt) -> Report {
    checker().check(target, attempt).await.report
}

#[track_caller]
fn fails(report: &Report, reason: ProbeReason, part: &str) {
    assert_eq!((report.state(), report.reason()), (ProbeState::Unhealthy, reason), "{}", report.message());
    assert!(report.message().contains(part), "{part}: {}", report.message());
}

/// A port at which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// A port that answers each connection with these bytes once it has read something.
fn answering(bytes: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(bytes);
            });
        }
    });
    (port, count)
}

#[tokio::test]
async fn a_port_is_open_closed_or_nowhere() {
    let server = at_port("--http", &[]);
    let tcp = |host: &str, port: u16| target(json!({ "tcp": { "host": host, "port": port } }));
    let report = look(&tcp("127.0.0.1", server.port()), &attempt()).await;
    assert_eq!(report.state(), ProbeState::Healthy);
    let report = look(&tcp("localhost", server.port()), &attempt()).await;
    assert_eq!(report.state(), ProbeState::Healthy, "by name, whatever else the name means");
    let port = free_port();
    fails(
        &look(&tcp("127.0.0.1", port), &attempt()).await,
        ProbeReason::ConnectionRefused,
        &format!("127.0.0.1:{port}"),
    );
    let nowhere = look(&tcp("no-such-host.invalid", 1), &attempt()).await;
    fails(&nowhere, ProbeReason::NameNotResolved, "\"no-such-host.invalid\"");
    let refused = Attempt { access: Access::new(|host, _| host != "127.0.0.1"), ..attempt() };
    fails(&look(&tcp("127.0.0.1", server.port()), &refused).await, ProbeReason::NotGranted, "127.0.0.1:");
}

#[tokio::test]
async fn an_http_endpoint_is_healthy_by_its_status() {
    for (arguments, state, reason, status) in [
        (&["--html"] as &[&str], ProbeState::Healthy, ProbeReason::Reachable, 200),
        (&["--status", "404"], ProbeState::Unhealthy, ProbeReason::HTTPStatus, 404),
        (&["--status", "500"], ProbeState::Unhealthy, ProbeReason::HTTPStatus, 500),
        (&["--status", "401"], ProbeState::AuthRequired, ProbeReason::AuthRequired, 401),
        (&["--status", "401", "--www-authenticate"], ProbeState::AuthRequired, ProbeReason::AuthRequired, 401),
    ] {
        let server = at_port("--http", arguments);
        let report = look(&http(&server.url), &attempt()).await;
        assert_eq!((report.state(), report.reason()), (state, reason), "{arguments:?}");
        assert_eq!(report.http_status(), Some(status));
        let head = target(json!({ "http": { "url": server.url, "method": "HEAD", "expectedStatus": [status] } }));
        let report = look(&head, &attempt()).await;
        assert_eq!(report.state(), ProbeState::Healthy, "{arguments:?}, as it was expected: {}", report.message());
    }
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_they_may() {
    let goal = at_port("--http", &["--html"]);
    let way = at_port("--http", &["--redirect", &goal.url]);
    assert_eq!(look(&http(&way.url), &attempt()).await.http_status(), Some(200));
    let expected = target(json!({ "http": { "url": way.url, "expectedStatus": [307] } }));
    assert_eq!(look(&expected, &attempt()).await.http_status(), Some(307), "who wants the redirect gets it");
    let (port, own) = (goal.port(), way.port());
    let only = Attempt { access: Access::new(move |_, to| to == own), ..attempt() };
    fails(&look(&http(&way.url), &only).await, ProbeReason::NotGranted, &port.to_string());
    let circle = at_port("--http", &["--redirect", "/mcp"]);
    fails(&look(&http(&circle.url), &attempt()).await, ProbeReason::HTTPStatus, "redirects more than 5 times");
    let elsewhere = at_port("--http", &["--redirect", "ftp://a/"]);
    fails(&look(&http(&elsewhere.url), &attempt()).await, ProbeReason::HTTPStatus, "no URL to ask for");
}

#[tokio::test]
async fn secret_headers_stay_with_their_origin() {
    let secret = SecretHeaders::new([("Authorization", "Bearer hunter2hunter2")]).expect("a header");
    let locked = at_port("--http", &["--token", "hunter2hunter2", "--html"]);
    let with = Attempt { headers: secret, ..attempt() };
    assert_eq!(look(&http(&locked.url), &with).await.state(), ProbeState::Healthy);
    let way = at_port("--http", &["--redirect", &locked.url]);
    let report = look(&http(&way.url), &with).await;
    assert_eq!(report.state(), ProbeState::AuthRequired, "another port is another origin");
    assert!(!format!("{with:?} {report:?}").contains("hunter2"));
}

#[tokio::test]
async fn remote_servers_of_both_kinds_are_known_with_their_tools() {
    let arguments = ["--tools", "20", "--page", "9", "--name", "far", "--version", "3"];
    let plain = at_port("--http", &arguments);
    let stream = at_port("--http", &[&arguments as &[&str], &["--answer", "sse"]].concat());
    let stateless = at_port("--http", &[&arguments as &[&str], &["--stateless"]].concat());
    let legacy = at_port("--sse", &arguments);
    for target in [mcp(&plain.url), mcp(&stream.url), mcp(&stateless.url), sse(&legacy.url)] {
        let checked = checker().check(&target, &attempt()).await;
        let report = checked.report;
        assert_eq!(report.state(), ProbeState::Healthy, "{target:?}: {}", report.message());
        let server = report.server().expect("an identity");
        assert_eq!((server.name.as_str(), server.version.as_str()), ("far", "3"));
        assert_eq!(report.tools().map(<[String]>::len), Some(34));
        assert!(report.tools().is_some_and(<[String]>::is_sorted));
        assert!(checked.latency > Duration::ZERO && checked.latency < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_remote_server_that_wants_to_know_who_asks_is_no_failure() {
    for kind in ["--http", "--sse"] {
        for arguments in [&["--token", "opensesame"] as &[&str], &["--token", "opensesame", "--www-authenticate"]] {
            let server = at_port(kind, arguments);
            let target = if kind == "--http" { mcp(&server.url) } else { sse(&server.url) };
            let report = look(&target, &attempt()).await;
            let found = (report.state(), report.reason(), report.http_status());
            assert_eq!(found, (ProbeState::AuthRequired, ProbeReason::AuthRequired, Some(401)), "{kind} {arguments:?}");
            let headers = SecretHeaders::new([("authorization", "Bearer opensesame")]).expect("a header");
            let report = look(&target, &Attempt { headers, ..attempt() }).await;
            assert_eq!(report.state(), ProbeState::Healthy, "{kind} {arguments:?}: {}", report.message());
        }
    }
}

#[tokio::test]
async fn each_way_of_a_remote_server_to_fail_has_its_own_reason() {
    let short = Attempt { timeout: Duration::from_millis(300), ..attempt() };
    for kind in ["--http", "--sse"] {
        let look_at = async |arguments: &[&str]| {
            let server = at_port(kind, arguments);
            let target = if kind == "--http" { mcp(&server.url) } else { sse(&server.url) };
            look(&target, &short).await
        };
        let report = look_at(&["--status", "404"]).await;
        fails(&report, ProbeReason::HTTPStatus, "answered 404 Not Found");
        assert_eq!(report.http_status(), Some(404));
        fails(&look_at(&["--status", "500"]).await, ProbeReason::HTTPStatus, "answered 500 Internal Server Error");
        let page = look_at(&["--html"]).await;
        fails(&page, ProbeReason::NotMCP, "answered text/html");
        assert_eq!(page.http_status(), Some(200));
        let began = Instant::now();
        fails(&look_at(&["--hang"]).await, ProbeReason::Timeout, "no answer came in time");
        assert!(began.elapsed() < Duration::from_secs(10));
        fails(&look_at(&["--mute"]).await, ProbeReason::Timeout, "no answer came in time");
        fails(
            &look_at(&["--refuse"]).await,
            ProbeReason::ProtocolError,
            "error -32000: not today; password=[REDACTED]",
        );
        let make = if kind == "--http" { mcp } else { sse };
        let nobody = format!("http://127.0.0.1:{}/x", free_port());
        fails(&look(&make(&nobody), &short).await, ProbeReason::ConnectionRefused, "nobody listens at 127.0.0.1:");
        let nowhere = "http://no-such-host.invalid/x";
        fails(&look(&make(nowhere), &attempt()).await, ProbeReason::NameNotResolved, "does not resolve");
        let own = at_port(kind, &[]);
        let none = Attempt { access: Access::new(|_, _| false), ..attempt() };
        fails(&look(&make(&own.url), &none).await, ProbeReason::NotGranted, "not among the hosts");
        for (bytes, reason, part) in [
            (b"SSH-2.0-OpenSSH_9\r\n" as &[u8], ProbeReason::NotMCP, "no HTTP"),
            (b"", ProbeReason::ConnectionFailed, "the connection broke"),
            (
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi",
                ProbeReason::NotMCP,
                "text/plain",
            ),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ProbeReason::NotMCP, "without a type"),
        ] {
            let (port, _) = answering(bytes);
            let report = look(&make(&format!("http://127.0.0.1:{port}/x")), &short).await;
            fails(&report, reason, part);
        }
        for text in ["ftp://a/", "http://"] {
            fails(&look(&make(text), &attempt()).await, ProbeReason::Invalid, "no URL");
        }
    }
}

#[tokio::test]
async fn answers_that_are_no_messages_are_told_apart_from_wrong_ones() {
    for (bytes, reason, part) in [
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"hello\":123}" as &[u8],
            ProbeReason::NotMCP,
            "no message of MCP",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<html/>xx",
            ProbeReason::NotMCP,
            "no message of MCP",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}",
            ProbeReason::ProtocolError,
            "",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10\r\n\r\ndata: x\n\n\n",
            ProbeReason::ProtocolError,
            "",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n",
            ProbeReason::ProtocolError,
            "without an answer to initialize",
        ),
    ] {
        let (port, _) = answering(bytes);
        let short = Attempt { timeout: Duration::from_secs(5), ..attempt() };
        let report = look(&mcp(&format!("http://127.0.0.1:{port}/mcp")), &short).await;
        fails(&report, reason, part);
    }
}

#[tokio::test]
async fn a_legacy_server_cannot_lead_our_headers_to_another_host() {
    let (port, _) = answering(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: endpoint\ndata: http://127.0.0.2:1/steal\n\n",
    );
    let report = look(&sse(&format!("http://127.0.0.1:{port}/sse")), &attempt()).await;
    fails(&report, ProbeReason::ProtocolError, "not at the same host and port");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        while stream.write_all(&[b' '; 65_536]).is_ok() {
            counted.fetch_add(65_536, Ordering::SeqCst);
        }
    });
    let report = look(&mcp(&format!("http://127.0.0.1:{port}/mcp")), &attempt()).await;
    fails(&report, ProbeReason::ProtocolError, "longer than");
    assert!(sent.load(Ordering::SeqCst) < 64 << 20);
}

#[tokio::test]
async fn nothing_stays_open_after_a_check() {
    let server = at_port("--http", &[]);
    let open = || {
        let text = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let port = format!(":{:04X}", server.port());
        // State 01 is established; the column after the local address is the remote one.
        text.lines()
            .filter(|line| {
                line.split_whitespace().nth(2).is_some_and(|to| to.ends_with(&port)) && line.contains(" 01 ")
            })
            .count()
    };
    let checker = checker();
    for _ in 0..3 {
        assert_eq!(checker.check(&mcp(&server.url), &attempt()).await.report.state(), ProbeState::Healthy);
    }
    eventually("connections are closed", || open() == 0).await;
}

#[tokio::test]
async fn a_process_is_looked_at_through_its_hub() {
    let stdio_target = target(json!({ "mcp": { "transport": "stdio", "process": "p" } }));
    let report = look(&stdio_target, &attempt()).await;
    fails(&report, ProbeReason::ProcessNotReady, "process p does not run");
    let server = stdio(&[]);
    let with = Attempt { hub: Some(server.hub.clone()), ..attempt() };
    assert_eq!(look(&stdio_target, &with).await.state(), ProbeState::Healthy);
}
