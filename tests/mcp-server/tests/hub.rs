//! A hub with real servers on standard input and output: many clients, and servers that misbehave.

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Plain, eventually, ready, soon, stdio, stdio_with};
use serde_json::{Value, json};
use setpoint_core::probe::{ProbeReason, ProbeState};
use setpoint_mcp::hub::{DeliveryKind, HubOptions, HubState, HubTransport, List};

/// A timeout that has to pass.
const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_server_is_checked_once_with_its_tools_and_then_by_ping() {
    let server = stdio(&["--tools", "30", "--page", "7", "--version", "9.9"]);
    let report = server.hub.check(PATIENCE).await;
    assert_eq!((report.state(), report.reason()), (ProbeState::Healthy, ProbeReason::Reachable));
    let said = report.server().expect("an identity");
    assert_eq!((said.name.as_str(), said.version.as_str()), ("setpoint-test", "9.9"));
    assert_eq!(said.protocol_version, "2025-11-25");
    let tools = report.tools().expect("tools");
    assert!(tools.is_sorted() && tools.len() == 44, "{tools:?}");
    let mut client = Plain::new(&server.hub, json!({})).await;
    for _ in 0..3 {
        assert_eq!(server.hub.check(PATIENCE).await, report);
    }
    let counts: Value = serde_json::from_str(&client.call("counts", json!({})).await).expect("JSON");
    assert_eq!((&counts["initialize"], &counts["ping"]), (&json!(1), &json!(3)));
    assert_eq!(counts["tools/list"], 7);
}

#[tokio::test]
async fn tools_that_could_not_be_listed_are_asked_for_again_at_the_next_look() {
    let server = stdio(&["--fail-lists", "2"]);
    for _ in 0..2 {
        let report = server.hub.check(PATIENCE).await;
        assert_eq!((report.state(), report.reason()), (ProbeState::Unhealthy, ProbeReason::ProtocolError));
        assert!(report.message().contains("tools/list") && report.message().contains("not yet"), "{report:?}");
    }
    let report = server.hub.check(PATIENCE).await;
    assert_eq!(report.state(), ProbeState::Healthy, "{report:?}");
    assert!(report.tools().is_some_and(|tools| tools.len() == 14), "{report:?}");
    let mut client = Plain::new(&server.hub, json!({})).await;
    let counts: Value = serde_json::from_str(&client.call("counts", json!({})).await).expect("JSON");
    assert_eq!((&counts["initialize"], &counts["tools/list"]), (&json!(1), &json!(3)), "each look asks once");
}

#[tokio::test]
async fn several_clients_at_once_do_not_wait_for_each_other() {
    let server = stdio(&[]);
    let began = Instant::now();
    let mut clients = Vec::new();
    for client in 0..10_u64 {
        let hub = server.hub.clone();
        clients.push(tokio::spawn(async move {
            let mut plain = Plain::new(&hub, json!({})).await;
            let slow = plain.request("tools/call", json!({ "name": "slow", "arguments": { "ms": 300 } })).await;
            for n in 0..20 {
                let text = format!("{client}-{n}");
                assert_eq!(plain.call("echo", json!({ "text": text })).await, text);
            }
            plain.answer(slow).await
        }));
    }
    for client in clients {
        let answer = soon(client).await.expect("no client fails");
        assert_eq!(answer["result"]["content"][0]["text"], "at last");
    }
    assert!(began.elapsed() < Duration::from_secs(3) * 5, "ten slow calls went side by side");
    eventually("clients that are gone are not counted", || server.hub.counts().clients == 0).await;
}

#[tokio::test]
async fn tools_that_come_are_seen_at_once_by_the_host_and_by_all_clients() {
    let server = stdio(&[]);
    let before = ready(&server.hub).await;
    let (mut one, mut other) = (Plain::new(&server.hub, json!({})).await, Plain::new(&server.hub, json!({})).await);
    let mut watch = server.hub.watch();
    assert_eq!(one.call("grow", json!({ "name": "zz-new" })).await, "grown");
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {} });
    let (kind, message) = other.next().await.expect("it is told");
    assert_eq!((kind, message), (DeliveryKind::Changed(List::Tools), changed.clone()));
    assert!(one.heard.contains(&changed) || one.next().await.is_some_and(|(_, message)| message == changed));
    soon(async {
        loop {
            if let Some(HubState::Ready(session)) = watch.changed().await
                && let Some(Ok(tools)) = &session.tools
                && tools.len() == before.len() + 1
            {
                break;
            }
        }
    })
    .await;
    assert_eq!(server.hub.check(PATIENCE).await.tools().map(|tools| tools.contains(&"zz-new".into())), Some(true));
}

#[tokio::test]
async fn progress_and_cancellation_reach_who_they_are_for() {
    let server = stdio(&[]);
    let (mut one, mut other) = (Plain::new(&server.hub, json!({})).await, Plain::new(&server.hub, json!({})).await);
    for client in [&mut one, &mut other] {
        let call = json!({ "name": "progress", "arguments": { "steps": 3 }, "_meta": { "progressToken": "same" } });
        client.ask("tools/call", call).await;
        let steps: Vec<&Value> = client.heard.iter().map(|message| &message["params"]["progress"]).collect();
        assert_eq!(steps, [&json!(1), &json!(2), &json!(3)]);
        assert!(client.heard.iter().all(|message| message["params"]["progressToken"] == "same"));
    }
    let began = Instant::now();
    let slow = one.request("tools/call", json!({ "name": "slow", "arguments": { "ms": 60_000 } })).await;
    let params = json!({ "requestId": slow });
    one.say(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })).await;
    let (kind, _) = one.next().await.expect("it is said that no answer comes");
    assert!(matches!(kind, DeliveryKind::Abandoned(id) if id.json() == slow.to_string()));
    let left = one.request("tools/call", json!({ "name": "slow", "arguments": { "ms": 60_000 } })).await;
    assert!(left > slow);
    drop(one);
    soon(async {
        loop {
            let counts: Value = serde_json::from_str(&other.call("counts", json!({})).await).expect("JSON");
            if counts["notifications/cancelled"] == 2 {
                break;
            }
        }
    })
    .await;
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_server_may_ask_the_client_that_it_works_for() {
    let server = stdio(&[]);
    let mut able = Plain::new(&server.hub, json!({ "elicitation": {} })).await;
    let mut unable = Plain::new(&server.hub, json!({})).await;
    let ask = json!({ "name": "ask", "arguments": { "method": "elicitation/create", "params": { "message": "?" } } });
    let call = able.request("tools/call", ask.clone()).await;
    let (kind, question) = able.next().await.expect("the question");
    assert_eq!((kind, &question["params"]["message"]), (DeliveryKind::Request, &json!("?")));
    able.say(json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } })).await;
    let text = able.answer(call).await["result"]["content"][0]["text"].as_str().map(str::to_owned);
    assert_eq!(text.as_deref(), Some(r#"{"action":"accept"}"#));
    let answer = unable.ask("tools/call", ask).await;
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("-32601"), "{text}");
}

#[tokio::test]
async fn a_client_of_the_sdk_works_through_a_hub() {
    use rmcp::ServiceExt;
    let server = stdio(&["--tools", "3"]);
    let client = server.hub.connect().await.expect("room");
    let client = soon(().serve(HubTransport::new(client))).await.expect("it is initialized");
    let tools = soon(client.list_all_tools()).await.expect("tools");
    assert_eq!(tools.len(), 17);
    let call = rmcp::model::CallToolRequestParams::new("echo")
        .with_arguments(json!({ "text": "through the hub" }).as_object().cloned().unwrap_or_default());
    let result = soon(client.call_tool(call)).await.expect("a result");
    let text = serde_json::to_value(&result).expect("JSON");
    assert_eq!(text["content"][0]["text"], "through the hub");
    soon(client.cancel()).await.expect("it ends");
    eventually("the client leaves", || server.hub.counts().clients == 0).await;
}

#[tokio::test]
async fn a_server_that_prints_garbage_works_nevertheless() {
    let server = stdio(&["--garbage", "40"]);
    let report = server.hub.check(PATIENCE).await;
    assert_eq!(report.state(), ProbeState::Healthy, "{}", report.message());
    let counts = server.hub.counts();
    assert!(counts.garbage >= 42, "{counts:?}");
    assert_eq!(counts.first_garbage.as_deref(), Some("[0] a line that is no JSON; token=[REDACTED]"));
}

#[tokio::test]
async fn each_way_not_to_answer_has_its_own_reason() {
    for (arguments, reason, part) in [
        (&["--mute"] as &[&str], ProbeReason::Timeout, "did not answer initialize in time"),
        (&["--deaf"], ProbeReason::Timeout, "did not answer initialize in time"),
        (&["--exit", "3"], ProbeReason::ConnectionFailed, "has closed its output"),
        (&["--refuse"], ProbeReason::ProtocolError, "error -32000: not today; password=[REDACTED]"),
        (&["--protocol", "2099-01-01"], ProbeReason::ProtocolError, "2099-01-01, which is not known"),
        (&["--flood-stdout", "--mute"], ProbeReason::NotMCP, "prints what is no MCP: a line on stdout that is no JSON"),
        (&["--garbage", "3", "--mute"], ProbeReason::NotMCP, "[0] a line that is no JSON; token=[REDACTED]"),
    ] {
        let server = stdio(arguments);
        let report = server.hub.check(SHORT).await;
        assert_eq!((report.state(), report.reason()), (ProbeState::Unhealthy, reason), "{arguments:?}");
        assert!(report.message().contains(part), "{arguments:?}: {}", report.message());
    }
}

#[tokio::test]
async fn a_server_that_starts_slowly_is_known_as_soon_as_it_answers() {
    let server = stdio(&["--delay-initialize", "700"]);
    let early = server.hub.check(Duration::from_millis(100)).await;
    assert_eq!(early.reason(), ProbeReason::Timeout);
    let waiting = server.hub.clone();
    let client =
        tokio::spawn(async move { Plain::new(&waiting, json!({})).await.call("echo", json!({ "text": "x" })).await });
    assert_eq!(server.hub.check(PATIENCE).await.state(), ProbeState::Healthy);
    assert_eq!(soon(client).await.expect("a client that came early is welcomed"), "x");
}

#[tokio::test]
async fn a_server_that_refused_is_asked_again_by_the_next_check() {
    let server = stdio(&["--refuse"]);
    for _ in 0..2 {
        assert_eq!(server.hub.check(PATIENCE).await.reason(), ProbeReason::ProtocolError);
        assert!(matches!(server.hub.state(), HubState::Failed(_)));
    }
}

#[tokio::test]
async fn the_end_of_a_server_is_the_end_of_its_clients_and_their_requests_are_answered() {
    let server = stdio(&[]);
    let mut client = Plain::new(&server.hub, json!({})).await;
    let slow = client.request("tools/call", json!({ "name": "slow", "arguments": { "ms": 60_000 } })).await;
    let exit = client.request("tools/call", json!({ "name": "exit", "arguments": {} })).await;
    for id in [slow, exit] {
        let answer = client.answer(id).await;
        assert_eq!(answer["error"]["message"], "the server has closed its output");
    }
    assert!(client.next().await.is_none());
    assert!(matches!(server.hub.state(), HubState::Ended));
    assert!(server.hub.connect().await.is_err());
    assert_eq!(server.hub.check(PATIENCE).await.reason(), ProbeReason::ConnectionFailed);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused_and_nothing_else_is_lost() {
    let options = HubOptions { longest_message: 100_000, ..HubOptions::default() };
    let server = stdio_with(&[], options);
    let mut client = Plain::new(&server.hub, json!({})).await;
    assert_eq!(client.call("huge", json!({ "bytes": 90_000 })).await.len(), 90_000);
    let answer = client.ask("tools/call", json!({ "name": "huge", "arguments": { "bytes": 20_000_000 } })).await;
    assert_eq!(answer["error"]["message"], "the server's answer is longer than the host passes on");
    assert_eq!(client.call("echo", json!({ "text": "still there" })).await, "still there");
    assert_eq!(server.hub.counts().too_long, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_holds_up_nobody() {
    let server = stdio(&[]);
    let mut lazy = Plain::new(&server.hub, json!({})).await;
    let mut diligent = Plain::new(&server.hub, json!({})).await;
    let mut asked = 0;
    eventually_async("the lazy one is let go", async || {
        for _ in 0..200 {
            lazy.request("tools/call", json!({ "name": "huge", "arguments": { "bytes": 200_000 } })).await;
            asked += 1;
        }
        assert_eq!(diligent.call("echo", json!({ "text": "quick" })).await, "quick");
        server.hub.counts().slow_clients == 1
    })
    .await;
    let mut got = 0;
    while lazy.next().await.is_some() {
        got += 1;
    }
    assert!(got < 300 && got < asked, "what waited for it was bounded: {got} of {asked}");
}

async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_told_of_to_who_asks_it() {
    // It is given what makes it known, and nothing is read afterwards.
    let lines = "for n in 1 2 3; do read -r line; printf '%s\\n' \"$line\"; done";
    let script = format!("{lines} | {} --stdio; exec sleep 60", common::program());
    let mut process = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a shell");
    let (output, input) = (process.stdout.take().expect("output"), process.stdin.take().expect("input"));
    let hub = setpoint_mcp::hub::Hub::start(output, input, HubOptions::default());
    ready(&hub).await;
    let mut client = Plain::new(&hub, json!({})).await;
    let text = "x".repeat(1_000_000);
    let mut refused = false;
    for _ in 0..40 {
        client.request("tools/call", json!({ "name": "echo", "arguments": { "text": text } })).await;
    }
    while let Ok(Some((_, message))) = tokio::time::timeout(SHORT, client.next()).await {
        refused |= message["error"]["message"] == "the server does not read its input";
    }
    assert!(refused);
    assert_eq!(hub.check(SHORT).await.reason(), ProbeReason::Timeout);
    hub.close().await;
    eventually("it ends", || matches!(hub.state(), HubState::Ended)).await;
}

#[tokio::test]
async fn clients_are_bounded() {
    let server = stdio_with(&[], HubOptions { clients: 3, ..HubOptions::default() });
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.hub.connect().await.expect("room"));
    }
    let refused = server.hub.connect().await.map(|_| ()).expect_err("no room");
    assert!(refused.message().contains("3 clients already"), "{refused}");
    clients.pop();
    eventually("one has left", || server.hub.counts().clients == 2).await;
    server.hub.connect().await.expect("room again");
}

#[tokio::test]
async fn a_hub_that_nobody_holds_closes_the_input_of_its_server() {
    let mut server = stdio(&[]);
    ready(&server.hub).await;
    drop(server.hub);
    let status = soon(server.process.wait()).await.expect("it ends");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_cost_a_bounded_amount() {
    for arguments in [&["--flood-stdout"] as &[&str], &["--flood-notifications"], &["--flood-stderr"]] {
        let server = stdio(arguments);
        let mut client = Plain::new(&server.hub, json!({})).await;
        for n in 0..5 {
            assert_eq!(client.call("add", json!({ "a": n, "b": 1 })).await, (n + 1).to_string(), "{arguments:?}");
        }
        let before = server.hub.counts();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = server.hub.counts();
        assert_eq!(after.slow_clients, 0, "{arguments:?}: who reads is not let go, however much there is");
        let lines = after.garbage - before.garbage;
        assert!(lines < 3_000, "{arguments:?}: {lines} lines within a second");
        let mut counted = Plain::new(&server.hub, json!({})).await;
        let counts: Value = serde_json::from_str(&counted.call("counts", json!({})).await).expect("JSON");
        assert!(counts["tools/list"].as_u64().is_some_and(|lists| lists < 60), "{counts}");
    }
}
