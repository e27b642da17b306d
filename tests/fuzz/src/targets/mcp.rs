//! What an MCP server writes to its output, as a hub takes it: the text before a line `---` comes before two clients
//! ask, the rest afterwards.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use setpoint_mcp::hub::{Client, DeliveryKind, Hub, HubOptions, HubState};
use tokio::io::AsyncWriteExt;

use crate::{QUICK, Target, nothing};

/// Whatever a server writes, each request of a client is answered once, under its own id, and at the latest when
/// the server ends; all that is delivered is JSON in one line.
pub(crate) const TARGET: Target = Target {
    name: "mcp",
    run,
    end: nothing,
    // So few lines that the hub does not slow down.
    longest: 2 * 1024,
    patience: QUICK,
    words: &[
        "\n",
        "---\n",
        "{\"jsonrpc\":\"2.0\",",
        "\"id\":",
        "1",
        "2",
        "3",
        "4",
        "\"x\"",
        "null",
        ",\"result\":{}}\n",
        ",\"error\":{\"code\":1,\"message\":\"m\"}}\n",
        ",\"method\":\"",
        "ping\"}\n",
        "notifications/progress\",\"params\":{\"progressToken\":3}}\n",
        "notifications/tools/list_changed\"}\n",
        "notifications/message\",\"params\":{\"level\":\"error\"}}\n",
        "notifications/resources/updated\",\"params\":{\"uri\":\"a\"}}\n",
        "notifications/cancelled\",\"params\":{\"requestId\":\"x\"}}\n",
        "sampling/createMessage\",\"params\":{}}\n",
        "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\"}}}\n",
        "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"b\"}}\n",
        "[",
        "]",
        "{",
        "}",
    ],
};

fn run(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(converse(data));
}

async fn converse(data: &[u8]) {
    let marker = b"---\n";
    let split = data.windows(marker.len()).position(|window| window == marker);
    let (before, after) = split.map_or((data, &[] as &[u8]), |at| (&data[..at], &data[at + marker.len()..]));
    let (mut server, output) = tokio::io::duplex(64 * 1024);
    let options = HubOptions { longest_message: 1_024, ..HubOptions::default() };
    let hub = Hub::start(output, tokio::io::sink(), options);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let Ok(client) = hub.connect().await else { panic!("there is room for two") };
        send(
            &client,
            json!("i"),
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": { "sampling": {} } }),
        )
        .await;
        clients.push(client);
    }
    server.write_all(before).await.expect("the hub reads");
    settle().await;
    let mut asked = BTreeSet::from(["\"i\"".to_owned()]);
    for (id, method, params) in [
        (json!(1), "tools/call", json!({ "_meta": { "progressToken": "t" } })),
        (json!("two"), "resources/subscribe", json!({ "uri": "a" })),
        (json!(3), "logging/setLevel", json!({ "level": "error" })),
    ] {
        asked.insert(id.to_string());
        for client in &clients {
            send(client, id.clone(), method, params.clone()).await;
        }
    }
    settle().await;
    server.write_all(after).await.expect("the hub reads");
    drop(server);
    for mut client in clients {
        let mut open = asked.clone();
        while let Some(delivery) = client.next().await {
            assert!(!delivery.text.contains('\n'), "{}", delivery.text);
            let message: Value = serde_json::from_str(&delivery.text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(message["jsonrpc"], "2.0");
            match &delivery.kind {
                DeliveryKind::Response(id) => {
                    assert!(open.remove(id.json()), "an answer that was not asked for: {message}");
                    assert_eq!(message["id"].to_string(), id.json());
                }
                DeliveryKind::Progress(id) => {
                    assert!(open.contains(id.json()), "progress of what is over: {message}");
                    assert_eq!(message["params"]["progressToken"], "t");
                }
                DeliveryKind::Request => assert!(message["method"].is_string() && !message["id"].is_null()),
                DeliveryKind::Notification | DeliveryKind::Passing | DeliveryKind::Changed(_) => {
                    assert!(message["method"].is_string());
                }
                DeliveryKind::Abandoned(_) => panic!("nothing was taken back"),
            }
        }
        assert!(open.is_empty(), "not answered: {open:?}");
    }
    assert!(matches!(hub.state(), HubState::Ended));
    let lines = data.iter().filter(|byte| **byte == b'\n').count() as u64 + 2;
    let counts = hub.counts();
    assert!(counts.garbage + counts.too_long <= lines, "{counts:?}");
}

async fn send(client: &Client, id: Value, method: &str, params: Value) {
    let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    client.sender().send(message.to_string()).await.expect("the hub goes on");
}

/// Lets the hub do what it has to do.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
