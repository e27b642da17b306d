//! MCP servers that misbehave, and endpoints that do: each says what is wrong, and when it is tried again.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use setpoint_e2e::{MCP_SERVER, PROBE, PROCESS, in_state, mcp_server, pid_of, test_mcp_server};
use setpoint_test_support::mcp::test_server;
use setpoint_test_support::{Host, Setup};

fn setup() -> Setup {
    Host::setup().plugin("mcp-server").arg("--grant").arg("mcp-server=process").arg("--grant").arg("mcp-server=http:*")
}

fn status(host: &Host, kind: &str, name: &str) -> Option<Value> {
    host.object(kind, name).map(|object| object["status"].clone())
}

/// It has failed, and says why and when it is tried again.
fn fails(host: &Host, name: &str, words: &[&str]) -> Value {
    host.wait_for(&format!("{name} has failed and says why"), |host| {
        let status = in_state(host, name, "Failed")?;
        let error = status["lastError"].as_str()?.to_lowercase();
        (words.iter().all(|word| error.contains(word)) && status["nextRetryAfter"].is_string()).then_some(status)
    })
}

#[test]
fn a_process_that_cannot_be_started_or_ends_at_once_says_why() {
    let stdio =
        |name: &str, command: &str| mcp_server(name, &format!("type: stdio, autoStart: true, command: {command:?}"));
    let host = setup()
        .file("a.yaml", &stdio("missing", "no-such-program-anywhere"))
        .file("b.yaml", &stdio("denied", "/etc/hostname"))
        .file("c.yaml", &stdio("directory", "/tmp"))
        .file("d.yaml", &test_mcp_server("ends", &["--exit", "3"], ""))
        .file("z.yaml", &test_mcp_server("good", &[], ""))
        .start();
    fails(&host, "missing", &["no-such-program-anywhere"]);
    fails(&host, "denied", &[]);
    fails(&host, "directory", &[]);
    host.wait_for("what ends at once is tried again", |host| {
        let status = in_state(host, "ends", "Failed")?;
        let process = host.object(PROCESS, "ends")?;
        (process["status"]["lastExit"]["code"] == 3 && status["consecutiveFailures"].as_u64() > Some(1)).then_some(())
    });
    host.wait_for("the others run", |host| in_state(host, "good", "Running"));
}

#[test]
fn a_process_that_speaks_no_mcp_is_named_within_its_timeout() {
    let host = setup()
        .file("a.yaml", &test_mcp_server("mute", &["--mute"], ", timeout: 1"))
        .file("b.yaml", &test_mcp_server("garbage", &["--garbage", "20"], ""))
        .file("c.yaml", &test_mcp_server("refuses", &["--refuse"], ""))
        .file("d.yaml", &test_mcp_server("babbles", &["--flood-stdout", "--mute"], ", timeout: 1"))
        .start();
    fails(&host, "mute", &[]);
    fails(&host, "refuses", &[]);
    fails(&host, "babbles", &[]);
    host.wait_for("lines that are no JSON are passed over", |host| in_state(host, "garbage", "Running"));
    let reasons =
        ["mute", "refuses", "babbles"].map(|name| status(&host, PROBE, name).unwrap_or_default()["reason"].clone());
    assert_eq!(reasons[0], "Timeout", "{reasons:?}");
    assert_eq!(reasons[1], "ProtocolError", "{reasons:?}");
}

#[test]
fn a_flood_of_output_leaves_the_host_its_memory() {
    let host = setup().file("a.yaml", &test_mcp_server("loud", &["--flood-stderr"], "")).start();
    host.wait_for("it runs all the same", |host| in_state(host, "loud", "Running"));
    let resident = |host: &Host| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    };
    let before = resident(&host);
    std::thread::sleep(Duration::from_secs(2));
    let after = resident(&host);
    assert!(before > 0 && after < before + 16 * 1024, "{before} KiB before, {after} KiB after");
}

#[test]
fn a_process_that_does_not_listen_is_killed_with_all_its_group() {
    let script = "trap '' TERM; sleep 300 & while :; do sleep 1; done";
    let spec = format!("type: stdio, autoStart: true, command: sh, args: [\"-c\", {script:?}]");
    let host = setup().file("a.yaml", &mcp_server("deaf", &spec)).start();
    let pid = host.wait_for("it runs", |host| pid_of(host, "deaf"));
    host.remove("a.yaml");
    let began = Instant::now();
    host.wait_within("it is gone, group and all", Duration::from_secs(20), |host| {
        let group = std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields.get(2) == Some(&pid.to_string().as_str()) && fields.first() != Some(&"Z")
        });
        (host.object(MCP_SERVER, "deaf").is_none() && !group).then_some(())
    });
    assert!(began.elapsed() > Duration::from_secs(8), "it was given its grace");
}

/// A server over HTTP of the tests' own.
struct Remote {
    child: Child,
    url: String,
}

impl Remote {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(test_server())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("the server cannot be started: {error}"));
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line);
            assert!(read.is_ok_and(|bytes| bytes > 0), "it does not say where it listens");
        }
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Self { child, url }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn remote(name: &str, kind: &str, url: &str, more: &str) -> String {
    mcp_server(name, &format!("type: {kind}, autoStart: true, url: {url:?}, timeout: 2{more}"))
}

#[test]
fn remote_servers_are_connected_over_both_transports() {
    let http = Remote::start(&["--http", "0", "--name", "streamable"]);
    let events = Remote::start(&["--http", "0", "--answer", "sse"]);
    let legacy = Remote::start(&["--sse", "0", "--name", "legacy"]);
    let host = setup()
        .file("a.yaml", &remote("http", "streamable-http", &http.url, ""))
        .file("b.yaml", &remote("events", "streamable-http", &events.url, ""))
        .file("c.yaml", &remote("legacy", "sse", &legacy.url, ""))
        .start();
    for name in ["http", "events", "legacy"] {
        let status = host.wait_for(&format!("{name} is connected"), |host| in_state(host, name, "Connected"));
        assert!(status["toolCount"].as_u64() > Some(5), "{status}");
    }
    assert_eq!(status(&host, PROBE, "legacy").unwrap_or_default()["server"]["name"], "legacy");
}

#[test]
fn each_way_in_which_an_endpoint_fails_has_its_own_reason() {
    let servers = [
        ("not-found", vec!["--http", "0", "--status", "404"]),
        ("broken", vec!["--http", "0", "--status", "500"]),
        ("page", vec!["--http", "0", "--html"]),
        ("hangs", vec!["--http", "0", "--hang"]),
        ("locked", vec!["--http", "0", "--token", "t"]),
        ("locked-told", vec!["--http", "0", "--token", "t", "--www-authenticate"]),
    ]
    .map(|(name, flags)| (name, Remote::start(&flags)));
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let refused = free.map(|address| format!("http://{address}/mcp")).unwrap_or_default();
    let mut setup = setup()
        .file("refused.yaml", &remote("refused", "streamable-http", &refused, ""))
        .file("nowhere.yaml", &remote("nowhere", "streamable-http", "http://no-such-host.invalid/mcp", ""))
        .file("tls.yaml", &remote("tls", "streamable-http", &servers[0].1.url.replace("http://", "https://"), ""));
    for (name, server) in &servers {
        setup = setup.file(&format!("{name}.yaml"), &remote(name, "streamable-http", &server.url, ""));
    }
    let host = setup.start();
    for (name, state, reason) in [
        ("not-found", "Failed", "HTTPStatus"),
        ("broken", "Failed", "HTTPStatus"),
        ("page", "Failed", "NotMCP"),
        ("hangs", "Failed", "Timeout"),
        ("refused", "Failed", "ConnectionRefused"),
        ("nowhere", "Failed", "NameNotResolved"),
        ("tls", "Failed", "TLSError"),
        ("locked", "Auth Required", "AuthRequired"),
        ("locked-told", "Auth Required", "AuthRequired"),
    ] {
        host.wait_for(&format!("{name}: {state}, {reason}"), |host| {
            let seen = in_state(host, name, state)?;
            let probe = status(host, PROBE, name)?;
            let said = state != "Failed" || (seen["lastError"].is_string() && seen["nextRetryAfter"].is_string());
            (probe["reason"] == reason && said).then_some(())
        });
    }
    assert_eq!(status(&host, PROBE, "broken").unwrap_or_default()["httpStatus"], 500);
}

#[test]
fn an_endpoint_is_spoken_to_only_if_its_host_was_granted() {
    let server = Remote::start(&["--http", "0"]);
    let host =
        Host::setup().plugin("mcp-server").file("a.yaml", &remote("one", "streamable-http", &server.url, "")).start();
    host.wait_for("it is refused with the grant to give", |host| {
        let object = host.object(MCP_SERVER, "one")?;
        let conditions = object["status"]["conditions"].to_string();
        (conditions.contains("ChildNotGranted") && conditions.contains("http:127.0.0.1:")).then_some(())
    });
    assert!(host.object(PROBE, "one").is_none());
}

#[test]
fn a_header_from_a_secret_opens_the_door_and_shows_nowhere() {
    let server = Remote::start(&["--http", "0", "--token", "open-sesame-7"]);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {auth: \"Bearer open-sesame-7\"}\n";
    let from = ", headersFrom: [{name: Authorization, secretKeyRef: {name: keys, key: auth}}]";
    let host =
        setup().file("keys.yaml", secret).file("a.yaml", &remote("one", "streamable-http", &server.url, from)).start();
    host.wait_for("it is connected", |host| in_state(host, "one", "Connected"));
    let paths = [MCP_SERVER, PROBE].map(|kind| format!("/v1/objects/{}", Host::path(kind, "one")));
    for text in paths.iter().map(|path| host.get(path).text).chain([host.log(), host.get("/v1/reconciles").text]) {
        assert!(!text.contains("open-sesame"), "{text}");
    }
}

#[test]
fn a_hundred_servers_at_a_start_are_all_seen() {
    let mut setup = setup();
    for at in 0..120 {
        setup = setup.file(&format!("{at}.yaml"), &mcp_server(&format!("s{at}"), "type: stdio, command: \"true\""));
    }
    let host = setup.start();
    host.all_synced(120, Duration::from_secs(20));
    assert!(host.rows("MCPServer").iter().all(|row| row["state"] == "Synced"));
}
