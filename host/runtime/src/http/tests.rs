//! The API of a real host, over a real connection.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Host, HostOptions};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";

struct Running {
    host: Host,
    dir: tempfile::TempDir,
}

impl Running {
    /// A host over these files, with plugins from a directory if there is one.
    async fn start(files: &[(&str, &str)], plugins: Option<&Path>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let resources = dir.path().join("resources");
        std::fs::create_dir(&resources)?;
        for (name, text) in files {
            std::fs::write(resources.join(name), text)?;
        }
        let options = HostOptions {
            plugins: Some(plugins.map_or_else(|| dir.path().join("plugins"), Path::to_owned)),
            resources: Some(resources),
            state: Some(dir.path().join("state")),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            ..HostOptions::default()
        };
        Ok(Self { host: Host::start(options).await?, dir })
    }

    /// Sends a request and answers with status, headers and body.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> Result<(u16, String, String)> {
        let mut stream = self.send(method, path, &format!("Connection: close\r\n{headers}")).await?;
        let mut bytes = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await??;
        let text = String::from_utf8(bytes)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the headers")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok((status, head.to_lowercase(), body.to_owned()))
    }

    async fn send(&self, method: &str, path: &str, headers: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.host.address()).await?;
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n").as_bytes()).await?;
        Ok(stream)
    }

    async fn json(&self, method: &str, path: &str) -> Result<(u16, Value)> {
        let (status, _, body) = self.ask(method, path, "").await?;
        Ok((status, serde_json::from_str(&body)?))
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        for _ in 0..200 {
            let (status, value) = self.json("GET", path).await?;
            if wanted(status, &value) {
                return Ok(value);
            }
            last = value;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{path} did not become what was expected; last: {last}").into())
    }
}

fn code(value: &Value) -> &str {
    value.pointer("/error/code").and_then(Value::as_str).unwrap_or("no code")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_is_no_success_is_json_with_a_code_and_a_message() -> Result<()> {
    let running = Running::start(&[("a.yaml", CONFIG_MAP)], None).await?;
    let object = "/v1/objects/local/core/ConfigMap/default/a";
    running.until(object, |status, _| status == 200).await?;
    for (method, path, status, expected) in [
        ("GET", "/v1/nothing", 404, "no_such_path"),
        ("POST", "/v1/overview", 405, "method_not_allowed"),
        ("GET", "/v1/reconciles?kid=a", 400, "bad_request"),
        ("GET", "/v1/objects?state=Synced", 400, "bad_request"),
        ("GET", "/v1/objects/local/core/ConfigMap/default/b", 404, "not_found"),
        ("GET", "/v1/objects/local/core/ConfigMop/default/a", 404, "kind_unknown"),
        ("GET", "/v1/reconciles/local/core/ConfigMap/default/a", 409, "not_reconciled"),
        ("POST", "/v1/reconciles/local/core/ConfigMap/default/a/trigger", 409, "not_reconciled"),
        ("POST", "/v1/reconciles/local/core/ConfigMap/default/b/pause", 404, "not_found"),
        ("DELETE", object, 409, "defined_by_file"),
        ("POST", "/v1/kinds/core/ConfigMop/disable", 404, "kind_unknown"),
        ("POST", "/v1/held/nobody/confirm", 404, "not_found"),
        ("POST", "/v1/confirm-resources", 409, "nothing_to_confirm"),
        ("GET", "/v1/objects/local/core/ConfigMap/default/%ff", 400, "bad_request"),
    ] {
        let (got, value) = running.json(method, path).await?;
        assert_eq!((got, code(&value)), (status, expected), "{method} {path}: {value}");
        assert!(value.pointer("/error/message").is_some_and(Value::is_string), "{method} {path}: {value}");
    }
    let (_, value) = running.json("GET", "/v1/objects/local/core/ConfigMop/default/a").await?;
    assert_eq!(value["error"]["message"], "the kind ConfigMop is not known");
    assert_eq!(value["error"]["hint"], "did you mean ConfigMap?");
    let (_, value) = running.json("DELETE", object).await?;
    assert_eq!(value["error"]["hint"], "delete it from a.yaml");
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_shown_without_the_values_of_secrets() -> Result<()> {
    let running = Running::start(&[("a.yaml", CONFIG_MAP), ("s.yaml", SECRET)], None).await?;
    let found = running.until("/v1/objects/local/core/ConfigMap/default/a", |status, _| status == 200).await?;
    assert_eq!(found["object"]["data"], json!({"x": "1"}));
    assert_eq!((&found["file"], &found["reconcile"]), (&json!("a.yaml"), &Value::Null));
    running.until("/v1/objects/local/core/Secret/default/s", |status, _| status == 200).await?;
    for path in ["/v1/objects/local/core/Secret/default/s", "/v1/objects", "/v1/objects?kind=secret&namespace=default"]
    {
        let (status, _, body) = running.ask("GET", path, "").await?;
        assert_eq!(status, 200);
        assert!(body.contains("[REDACTED]"), "{body}");
        assert!(!body.contains("hunter2") && !body.contains("aHVudGVyMg"), "{body}");
    }
    let (_, maps) = running.json("GET", "/v1/objects?kind=cm&kind=x").await?;
    assert_eq!(code(&maps), "bad_request");
    let (_, maps) = running.json("GET", "/v1/objects?kind=configmaps").await?;
    assert_eq!(maps.as_array().map(Vec::len), Some(1));
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_text() -> Result<()> {
    let running = Running::start(&[], None).await?;
    assert_eq!(running.ask("GET", "/healthz", "").await?.2, "ok");
    let mut ready = running.ask("GET", "/readyz", "").await?;
    for _ in 0..200 {
        if ready.0 == 200 {
            break;
        }
        assert_eq!((ready.0, ready.2.lines().next()), (503, Some("not ready")));
        tokio::time::sleep(Duration::from_millis(50)).await;
        ready = running.ask("GET", "/readyz", "").await?;
    }
    assert_eq!((ready.0, ready.2.as_str()), (200, "ok\n"));
    let (status, head, body) = running.ask("GET", "/metrics", "").await?;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.contains("\nsetpoint_cached_objects ") && body.ends_with("# EOF\n"), "{body}");
    let (_, overview) = running.json("GET", "/v1/overview").await?;
    assert_eq!((&overview["running"], &overview["mode"]), (&json!(true), &json!("files")));
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_foreign_host_header_is_misdirected() -> Result<()> {
    let running = Running::start(&[], None).await?;
    for path in ["/v1/overview", "/healthz", "/v1/nothing"] {
        let (status, _, body) = running.ask("GET", path, "Host: evil.example:8474\r\n").await?;
        let value: Value = serde_json::from_str(&body)?;
        assert_eq!((status, code(&value)), (421, "wrong_host"), "{path}");
    }
    let host = format!("Host: {}\r\n", running.host.address());
    assert_eq!(running.ask("GET", "/v1/overview", &host).await?.0, 200);
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_begins_at_once_and_ends_when_the_host_stops() -> Result<()> {
    let running = Running::start(&[], None).await?;
    let mut stream = running.send("GET", "/v1/events", "").await?;
    let mut head = vec![0; 512];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut head)).await??;
    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("text/event-stream"), "{head}");
    let (status, list) = {
        let (status, _, body) = running.ask("GET", "/v1/events", "Accept: application/json\r\n").await?;
        (status, serde_json::from_str::<Value>(&body)?)
    };
    assert!(status == 200 && list.is_array());
    running.host.shutdown().await;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await??;
    Ok(())
}

/// The directory of compiled guests, if it was given.
fn guests() -> Option<PathBuf> {
    let dir = std::env::var_os("SETPOINT_TEST_GUESTS").map(PathBuf::from);
    if dir.is_none() {
        println!("SKIPPED: SETPOINT_TEST_GUESTS is not set");
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_asks_for_is_done_and_durable() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let plugins = tempfile::tempdir()?;
    std::fs::copy(guests.join("config_bundle.wasm"), plugins.path().join("config-bundle.wasm"))?;
    let bundle = "apiVersion: examples.setpoint.dev/v1alpha1\nkind: ConfigBundle\nmetadata: {name: b}\n\
                  spec: {selector: {matchLabels: {part: b}}}\n";
    let running = Running::start(&[("b.yaml", bundle)], Some(plugins.path())).await?;
    let key = "local/examples.setpoint.dev/ConfigBundle/default/b";
    let row = format!("/v1/reconciles/{key}");
    running.until(&row, |status, row| status == 200 && !row["last_reconcile_time"].is_null()).await?;
    let (status, done) = running.json("POST", &format!("{row}/trigger")).await?;
    assert_eq!((status, done), (202, json!({"done": "triggered", "subject": key})));
    running
        .until(&format!("{row}/runs"), |_, runs| {
            let runs = runs.as_array().into_iter().flatten();
            runs.flat_map(|run| run["causes"].as_array().into_iter().flatten()).any(|cause| cause == "manual")
        })
        .await?;

    assert_eq!(running.json("POST", &format!("{row}/pause")).await?.0, 200);
    running.until(&row, |_, row| row["paused"] == true).await?;
    assert_eq!(running.json("POST", &format!("{row}/resume")).await?.0, 200);
    running.until(&row, |_, row| row["paused"] == false).await?;

    let kind = "/v1/kinds/examples.setpoint.dev/ConfigBundle";
    let (status, done) = running.json("POST", &format!("{kind}/disable")).await?;
    assert_eq!((status, &done["subject"]), (200, &json!("ConfigBundle.examples.setpoint.dev")));
    let (_, overview) = running.json("GET", "/v1/overview").await?;
    assert_eq!(overview["disabled_resource_types"], json!(["ConfigBundle.examples.setpoint.dev"]));
    let Running { host, dir } = running;
    host.shutdown().await;
    let options = HostOptions {
        plugins: Some(plugins.path().to_owned()),
        resources: Some(dir.path().join("resources")),
        state: Some(dir.path().join("state")),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..HostOptions::default()
    };
    let running = Running { host: Host::start(options).await?, dir };
    let (_, overview) = running.json("GET", "/v1/overview").await?;
    assert_eq!(overview["disabled_resource_types"], json!(["ConfigBundle.examples.setpoint.dev"]));
    assert_eq!(running.json("POST", &format!("{kind}/enable")).await?.0, 200);
    let (_, overview) = running.json("GET", "/v1/overview").await?;
    assert_eq!(overview["disabled_resource_types"], json!([]));
    running.host.shutdown().await;
    Ok(())
}
