//! Registries over HTTP, against a real host.

use super::*;

const PATH: &str = "/v1/registry/local/core/ConfigMap";

fn config_map(name: &str, x: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: '{x}'}}\n")
}

/// The next event of a stream, and what came behind it.
async fn event(stream: &mut TcpStream, buffer: &mut String) -> Result<Value> {
    loop {
        if let Some(at) = buffer.find("data: ")
            && let Some(end) = buffer[at..].find("\n\n")
        {
            let event = serde_json::from_str(&buffer[at + 6..at + end])?;
            buffer.drain(..at + end + 2);
            return Ok(event);
        }
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await??;
        if read == 0 {
            return Err("the stream has ended".into());
        }
        // Chunks have their sizes between them, on lines of their own.
        buffer.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_listed_in_order_and_its_version_moves_with_content_only() -> Result<()> {
    let running = Running::start(&[("b.yaml", &config_map("b", "1")), ("a.yaml", &config_map("a", "1"))], None).await?;
    let whole = running.until(PATH, |_, list| list["count"] == 2 && list["state"] == "Live").await?;
    let names: Vec<_> = whole["items"].as_array().into_iter().flatten().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(whole["items"][0]["object"]["data"], json!({"x": "1"}));
    // Written anew, with nothing in it that differs; a label that is the host's own; another object.
    std::fs::write(running.dir.path().join("resources/a.yaml"), format!("# a\n{}", config_map("a", "1")))?;
    let pause = "/v1/reconciles/local/core/ConfigMap/default/a/pause";
    assert_eq!(running.json("POST", pause).await?.0, 200);
    assert_eq!(running.json("GET", PATH).await?.1["version"], whole["version"]);
    std::fs::write(running.dir.path().join("resources/b.yaml"), config_map("b", "2"))?;
    let changed = running.until(PATH, |_, list| list["version"] != whole["version"]).await?;
    assert_eq!(changed["version"].as_u64(), whole["version"].as_u64().map(|version| version + 1));
    assert_eq!(changed["items"][0]["generation"], whole["items"][0]["generation"]);
    assert_eq!(changed["items"][1]["generation"], changed["version"]);

    let here = running.json("GET", &format!("{PATH}?namespace=default")).await?.1;
    assert_eq!((&here["count"], &here["namespace"]), (&json!(2), &json!("default")));
    let elsewhere = running.json("GET", &format!("{PATH}?namespace=other")).await?.1;
    assert_eq!((&elsewhere["count"], &elsewhere["version"]), (&json!(0), &json!(0)));
    running.host.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_registry_is_sent_what_there_is_and_then_what_becomes_of_it() -> Result<()> {
    let running = Running::start(&[("a.yaml", &config_map("a", "1"))], None).await?;
    running.until(PATH, |_, list| list["count"] == 1 && list["state"] == "Live").await?;
    for (path, headers) in [(format!("{PATH}?watch=true"), ""), (PATH.to_owned(), "Accept: text/event-stream\r\n")] {
        let mut stream = running.send("GET", &path, headers).await?;
        let mut buffer = String::new();
        let first = event(&mut stream, &mut buffer).await?;
        assert_eq!(first["count"], 1);
        std::fs::write(running.dir.path().join("resources/b.yaml"), config_map("b", &path))?;
        let mut next = event(&mut stream, &mut buffer).await?;
        while next["items"][1]["object"]["data"]["x"] != path {
            next = event(&mut stream, &mut buffer).await?;
        }
        assert!(next["version"].as_u64() > first["version"].as_u64());
        std::fs::remove_file(running.dir.path().join("resources/b.yaml"))?;
        while next["count"] != 1 {
            next = event(&mut stream, &mut buffer).await?;
        }
    }
    let mut stream = running.send("GET", &format!("{PATH}?watch=true"), "").await?;
    event(&mut stream, &mut String::new()).await?;
    running.host.shutdown().await;
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await??;
    Ok(())
}
