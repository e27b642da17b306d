//! The API of a real host, over a real connection.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Host, HostOptions};

mod registry;

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
        let mut stream = TcpStream::connect(self.host.address().ok_or("no address")?).await?;
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n").as_bytes()).await?;
        Ok(stream)
    }

    /// Sends a body of a type.
    async fn post(&self, path: &str, kind: &str, body: &str) -> Result<(u16, Value)> {
        let headers = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        let mut stream = self.send("POST", path, &format!("Connection: close\r\n{headers}")).await?;
        // The host may answer and close before it has read all of it.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut bytes = Vec::new();
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await??;
        let text = String::from_utf8(bytes)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the headers")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok((status, serde_json::from_str(body)?))
    }

    async fn post_json(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.post(path, "application/json", &body.to_string()).await
    }

    /// The list that a stream keeps.
    async fn list(&self, path: &str) -> Result<(u16, Value)> {
        let (status, _, body) = self.ask("GET", path, "Accept: application/json\r\n").await?;
        Ok((status, serde_json::from_str(&body)?))
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
async fn every_endpoint_that_is_explained_is_there() -> Result<()> {
    let running = Running::start(&[("a.yaml", CONFIG_MAP)], None).await?;
    for endpoint in super::endpoints() {
        let path = endpoint
            .path
            .replace("{key}", "local/core/ConfigMap/default/nobody")
            .replace("{cluster}", "local")
            .replace("{group}", "core")
            .replace("{kind}", "Nothing")
            .replace("{name}", "nobody")
            .replace("{id}", "nobody");
        // A stream would not end: it is asked for what it refuses.
        let path = if endpoint.path == "/v1/record" { format!("{path}?nonsense=1") } else { path };
        let (status, _, body) = running.ask(endpoint.method, &path, "Accept: application/json\r\n").await?;
        for missing in ["no_such_path", "method_not_allowed"] {
            assert!(!body.contains(missing), "{} {path}: {status} {body}", endpoint.method);
        }
    }
    running.host.shutdown().await;
    Ok(())
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
        ("GET", "/v1/registry/local/core/ConfigMop", 404, "kind_unknown"),
        ("GET", "/v1/registry/nowhere/core/ConfigMap", 404, "not_found"),
        ("GET", "/v1/registry/local/core/Secret", 400, "bad_request"),
        ("GET", "/v1/registry/local/core/ConfigMap?name=a", 400, "bad_request"),
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
        ("GET", "/v1/plugins/%ff/logs", 400, "bad_request"),
        ("GET", "/v1/plugins/nobody/logs", 404, "plugin_unknown"),
        ("POST", "/v1/plugins/nobody/rollback", 404, "plugin_unknown"),
        ("GET", "/v1/record?with_secrets=maybe", 400, "bad_request"),
        ("GET", "/v1/record?kind=nothing", 404, "kind_unknown"),
        ("GET", "/v1/record?labels=a", 400, "bad_request"),
        ("GET", "/v1/events?labels=a", 400, "bad_request"),
        ("GET", "/v1/objects?labels=app=a,tier%20on%20(b)", 400, "bad_selector"),
        ("GET", "/v1/reconciles?labels=,", 400, "bad_selector"),
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
    let host = format!("Host: {}\r\n", running.host.address().ok_or("no address")?);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_expected_is_refused_with_the_place() -> Result<()> {
    let running = Running::start(&[("a.yaml", CONFIG_MAP)], None).await?;
    running.until("/v1/objects/local/core/ConfigMap/default/a", |status, _| status == 200).await?;
    let json = "application/json";
    let large = format!("{{\"kind\": \"{}\"}}", "x".repeat(1 << 20));
    for (path, kind, body, status, expected) in [
        ("/v1/plan", "text/plain", "{}", 415, "not_json"),
        ("/v1/plan", json, "{\"kind\":", 400, "bad_json"),
        ("/v1/plan", json, "[]", 400, "bad_json"),
        ("/v1/plan", json, "{\"kind\": 7}", 400, "bad_json"),
        ("/v1/plan", json, large.as_str(), 413, "body_too_large"),
        ("/v1/plan", json, "{}", 400, "bad_request"),
        ("/v1/plan", json, "{\"kind\": \"nothing\"}", 404, "kind_unknown"),
        ("/v1/plan", json, "{\"kind\": \"cm\"}", 409, "not_reconciled"),
        ("/v1/plan", json, "{\"kind\": \"cm\", \"state\": \"Synced\"}", 400, "bad_request"),
        ("/v1/release", json, "{}", 400, "bad_request"),
        ("/v1/release", json, "{\"kind\": \"cm\", \"delete-children\": true}", 400, "bad_json"),
        ("/v1/release", json, "{\"kind\": \"cm\", \"labels\": \"a on b\"}", 400, "bad_selector"),
        ("/v1/release", json, "{\"kind\": \"cm\", \"name\": \"nothing\"}", 404, "not_found"),
    ] {
        let (got, value) = running.post(path, kind, body).await?;
        let start: String = body.chars().take(60).collect();
        assert_eq!((got, code(&value)), (status, expected), "{path} {start}: {value}");
    }
    let (_, value) = running.post("/v1/plan", json, "{\"kind\":\n  \"cm\",\n  nothing}").await?;
    assert!(value["error"]["message"].as_str().is_some_and(|text| text.starts_with("the body, 3:")), "{value}");
    let (_, value) = running.post("/v1/plan", json, "{\"knid\": \"cm\"}").await?;
    assert_eq!(value["error"]["hint"], "did you mean \"kind\"?");
    let (status, value) = running.post_json("/v1/release", &json!({"kind": "cm", "name": "a"})).await?;
    assert_eq!((status, value), (200, json!({"released": [], "deleted": [], "orphaned": []})));
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_choose_objects_as_kubectl_does() -> Result<()> {
    let labelled = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, labels: {app: web}}\n";
    let running = Running::start(&[("a.yaml", CONFIG_MAP), ("b.yaml", labelled)], None).await?;
    running.until("/v1/objects?kind=cm", |_, all| all.as_array().is_some_and(|all| all.len() == 2)).await?;
    let asked = [("app=web", vec!["b"]), ("app!=web", vec!["a"]), ("!app", vec!["a"]), ("", vec!["a", "b"])];
    for (labels, expected) in asked {
        let (_, found) = running.json("GET", &format!("/v1/objects?kind=cm&labels={labels}")).await?;
        let names: Vec<&str> =
            found.as_array().into_iter().flatten().filter_map(|object| object["metadata"]["name"].as_str()).collect();
        assert_eq!(names, expected, "{labels}");
    }
    let (_, value) = running.json("GET", "/v1/objects?labels=app=a,tier%20on%20(b)").await?;
    assert!(value["error"]["message"].as_str().is_some_and(|text| text.contains("at character 12")), "{value}");
    running.host.shutdown().await;
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

const HOSTILE: &str = "apiVersion: GROUP/v1alpha1\nkind: KIND\nmetadata: {name: NAME}\nspec: SPEC\n";

fn hostile(kind: &str, name: &str, spec: &Value) -> String {
    let text = HOSTILE.replace("GROUP", "examples.setpoint.dev").replace("KIND", kind).replace("NAME", name);
    text.replace("SPEC", &spec.to_string())
}

/// A host with the test double, and a file beside those given so that the directory is never empty.
async fn with_hostile(guests: &Path, files: &[(&str, &str)]) -> Result<(Running, tempfile::TempDir)> {
    let plugins = tempfile::tempdir()?;
    std::fs::copy(guests.join("hostile.wasm"), plugins.path().join("hostile.wasm"))?;
    let files: Vec<(&str, &str)> = files.iter().copied().chain([("a.yaml", CONFIG_MAP)]).collect();
    Ok((Running::start(&files, Some(plugins.path())).await?, plugins))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_logs_and_prints_before_it_traps_is_shown() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let flood = hostile("Hostile", "flood", &json!({"behaviour": "log-flood", "count": 3}));
    let panic = hostile("Hostile", "panic", &json!({"behaviour": "panic"}));
    let (running, _plugins) = with_hostile(&guests, &[("flood.yaml", &flood), ("panic.yaml", &panic)]).await?;
    let mut lines = Value::Null;
    let of = |lines: &Value, level: &str| -> Vec<(String, String)> {
        let lines = lines.as_array().into_iter().flatten().filter(|line| line["level"] == level);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines.map(|line| (text(&line["key"]), text(&line["message"]))).collect()
    };
    for _ in 0..200 {
        lines = running.list("/v1/plugins/hostile/logs").await.map_or(Value::Null, |(_, lines)| lines);
        if of(&lines, "info").len() >= 3 && !of(&lines, "stderr").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key = |name: &str| format!("local/examples.setpoint.dev/Hostile/default/{name}");
    let flooded: Vec<(String, String)> = (0..3).map(|number| (key("flood"), format!("line {number}"))).collect();
    assert_eq!(of(&lines, "info")[..3], flooded);
    let printed = of(&lines, "stderr");
    assert!(printed.iter().all(|(of, _)| *of == key("panic")), "{printed:?}");
    assert!(printed.iter().any(|(_, text)| text.contains("hostile panics as asked")), "{printed:?}");
    let (_, only) = running.list("/v1/plugins/hostile/logs?name=flood").await?;
    assert!(of(&only, "stderr").is_empty() && of(&only, "info").len() >= 3, "{only}");

    let mut stream = running.send("GET", "/v1/plugins/hostile/logs?name=flood", "").await?;
    let mut text = String::new();
    while !text.contains("line 2") {
        let mut bytes = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await??;
        assert!(read > 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(text.contains("text/event-stream") && text.contains("data: {"), "{text}");
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_would_change_and_writes_nothing() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let spec = |x: &str| json!({"behaviour": "children", "children": [{"name": "c", "data": {"x": x}}]});
    let one = hostile("Hostile", "o", &spec("1"));
    let (running, _plugins) = with_hostile(&guests, &[("o.yaml", &one)]).await?;
    let child = "/v1/objects/local/core/ConfigMap/default/c";
    let object = "/v1/reconciles/local/examples.setpoint.dev/Hostile/default/o";
    running.until(child, |status, _| status == 200).await?;
    let plan = json!({"kind": "hostile", "name": "o"});
    running.until(object, |_, row| row["state"] == "Synced").await?;
    let (status, rows) = running.post_json("/v1/plan", &plan).await?;
    assert_eq!((status, rows.as_array().map(Vec::len)), (200, Some(1)), "{rows}");
    assert_eq!((&rows[0]["plugin"], &rows[0]["failure"]), (&json!("hostile"), &Value::Null), "{rows}");
    assert_eq!(rows[0]["changes"], json!([]), "what is as it shall be needs no change");

    assert_eq!(running.json("POST", &format!("{object}/pause")).await?.0, 200);
    std::fs::write(running.dir.path().join("resources/o.yaml"), hostile("Hostile", "o", &spec("2")))?;
    let shown = "/v1/objects/local/examples.setpoint.dev/Hostile/default/o";
    running.until(shown, |_, view| view["object"]["spec"]["children"][0]["data"]["x"] == "2").await?;
    let (_, before) = running.json("GET", child).await?;
    let (_, rows) = running.post_json("/v1/plan", &plan).await?;
    let changes = rows[0]["changes"].as_array().cloned().unwrap_or_default();
    let update = changes.iter().find(|change| change["key"] == "local/core/ConfigMap/default/c").ok_or("no change")?;
    assert_eq!(
        (&update["verb"], &update["before"]["data"], &update["after"]["data"]),
        (&json!("update"), &json!({"x": "1"}), &json!({"x": "2"}))
    );
    let (_, after) = running.json("GET", child).await?;
    assert_eq!(before["object"], after["object"]);
    let (_, _, metrics) = running.ask("GET", "/metrics", "").await?;
    assert!(metrics.contains("setpoint_plan_calls_total{plugin=\"hostile\"} 2"), "{metrics}");
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_names_the_change_that_began_it() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let reader = hostile("Hostile", "r", &json!({"behaviour": "get", "value": "a"}));
    let (running, _plugins) = with_hostile(&guests, &[("r.yaml", &reader)]).await?;
    let row = "/v1/reconciles/local/examples.setpoint.dev/Hostile/default/r";
    running.until(row, |status, row| status == 200 && row["state"] == "Synced").await?;
    std::fs::write(running.dir.path().join("resources/a.yaml"), CONFIG_MAP.replace("'1'", "'2'"))?;
    let changed = |runs: &Value| -> Option<Value> {
        let runs = runs.as_array().into_iter().flatten();
        let mut causes = runs.flat_map(|run| run["because"].as_array().cloned().unwrap_or_default());
        causes.find(|cause| cause["cause"] == "dependency")
    };
    let runs = running.until(&format!("{row}/runs"), |_, runs| changed(runs).is_some()).await?;
    let cause = changed(&runs).ok_or("no cause")?;
    assert_eq!(cause["key"], "local/core/ConfigMap/default/a");
    assert_eq!(cause["by"], Value::Null, "a file, and no run");
    let (_, shown) = running.json("GET", row).await?;
    assert!(shown["runs"].as_array().is_some_and(|runs| !runs.is_empty()), "{shown}");
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_recorded_as_they_are_made() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let object = hostile("Hostile", "o", &json!({"behaviour": "ok", "value": 7}));
    let (running, _plugins) = with_hostile(&guests, &[("o.yaml", &object)]).await?;
    let row = "/v1/reconciles/local/examples.setpoint.dev/Hostile/default/o";
    running.until(row, |status, row| status == 200 && row["state"] == "Synced").await?;
    let mut stream = running.send("GET", "/v1/record?plugin=hostile&name=o", "").await?;
    let mut text = String::new();
    while !text.contains("data: ") {
        // The first one may be made before the stream is there.
        assert_eq!(running.json("POST", &format!("{row}/trigger")).await?.0, 202);
        let mut bytes = vec![0; 16 * 1024];
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut bytes)).await {
            let read = read?;
            assert!(read > 0, "the stream has ended: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
    while !text.rsplit_once("data: ").is_some_and(|(_, call)| call.contains('\n')) {
        let mut bytes = vec![0; 16 * 1024];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await??;
        assert!(read > 0, "the stream has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let line = text.lines().find_map(|line| line.strip_prefix("data: ")).ok_or("no call")?;
    let call: setpoint_core::recording::RecordedCall = serde_json::from_str(line)?;
    assert_eq!((call.plugin.as_str(), &call.request.object["spec"]["value"]), ("hostile", &json!(7)));
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_plugin_reconciles_is_released_and_its_children_are_nobodys() -> Result<()> {
    let Some(guests) = guests() else { return Ok(()) };
    let spec = json!({"behaviour": "ok", "children": [{"name": "c", "data": {"x": "1"}}]});
    let file = hostile("HostileFinal", "f", &spec);
    let (running, _plugins) = with_hostile(&guests, &[("f.yaml", &file)]).await?;
    let (key, child) = ("local/examples.setpoint.dev/HostileFinal/default/f", "local/core/ConfigMap/default/c");
    let owner = &format!("/v1/objects/{key}");
    let child_path = format!("/v1/objects/{child}");
    running.until(&child_path, |status, _| status == 200).await?;
    std::fs::remove_file(running.dir.path().join("resources/f.yaml"))?;
    running.until(owner, |_, view| view["object"]["metadata"]["deletionTimestamp"].is_string()).await?;
    let release = json!({"kind": "HostileFinal"});
    let (status, refused) = running.post_json("/v1/release", &release).await?;
    assert_eq!((status, code(&refused)), (409, "still_reconciled"), "{refused}");
    assert_eq!(running.json("POST", "/v1/kinds/examples.setpoint.dev/HostileFinal/disable").await?.0, 200);

    let mut released = Value::Null;
    for _ in 0..200 {
        let (status, value) = running.post_json("/v1/release", &release).await?;
        released = value;
        if status == 200 {
            break;
        }
        assert_eq!(code(&released), "still_running", "{released}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(released, json!({"released": [key], "deleted": [], "orphaned": [child]}));
    assert_eq!(running.json("GET", owner).await?.0, 404);
    let (_, overview) = running.json("GET", "/v1/overview").await?;
    assert_eq!(overview["disabled_resource_types"], json!(["HostileFinal.examples.setpoint.dev"]), "as it was before");
    // Nothing takes it up again when the kind is reconciled once more.
    assert_eq!(running.json("POST", "/v1/kinds/examples.setpoint.dev/HostileFinal/enable").await?.0, 200);
    let (status, orphan) = running.json("GET", &child_path).await?;
    assert_eq!((status, &orphan["object"]["data"]), (200, &json!({"x": "1"})));
    let metadata = &orphan["object"]["metadata"];
    assert!(metadata["ownerReferences"].is_null() && metadata["labels"].is_null(), "{metadata}");
    running.host.shutdown().await;
    Ok(())
}
