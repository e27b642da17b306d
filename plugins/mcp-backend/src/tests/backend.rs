//! Credentials, certificates, headers, and what becomes of a backend over time.

use super::*;

fn auth_config(auth: Value) -> Value {
    json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPExternalAuthConfig",
           "metadata": {"name": "login"}, "spec": auth})
}

fn secret(data: Value) -> Value {
    json!({"kind": "Secret", "metadata": {"name": "s"}, "data": data})
}

fn exchange() -> Value {
    auth_config(json!({"type": "tokenExchange", "tokenExchange": {
        "tokenUrl": "https://idp.example/token", "audience": "a", "clientId": "c",
        "clientSecretRef": {"name": "s", "key": "k"}}}))
}

fn with_auth(source: Value) -> Value {
    with(source, "spec.externalAuthConfigRef", json!({"name": "login"}))
}

#[test]
fn credentials_are_a_reference_and_their_value_is_nowhere() {
    for source in [server("a"), proxy("a"), entry("a")] {
        let kind = source["kind"].as_str().unwrap().to_owned();
        let run = backend_among(&kind, "a", &[with_auth(source), exchange(), secret(json!({"k": "aHVudGVyMg=="}))]);
        let status = run.expect_ready().status_json();
        let auth = &status["auth"];
        assert_eq!((&auth["config"], &auth["type"]), (&json!("login"), &json!("tokenExchange")));
        assert_eq!(auth["secrets"], json!([{"name": "s", "key": "k"}]));
        let all = format!("{:?}", run.outcome());
        assert!(!all.contains("aHVudGVyMg") && !all.contains("hunter2"), "{all}");
    }
}

#[test]
fn credentials_that_are_not_there_close_the_backend() {
    let header = |reference: Value| auth_config(json!({"type": "headerInjection", "headerInjection": reference}));
    let good = secret(json!({"k": "eA=="}));
    for (objects, expected) in [
        (vec![], "AuthConfigNotFound"),
        (vec![exchange()], "SecretNotFound"),
        (vec![exchange(), secret(json!({"other": "eA=="}))], "SecretKeyNotFound"),
        (vec![auth_config(json!({"type": "bearerToken", "bearerToken": {}})), good.clone()], "AuthUnsupported"),
        (vec![auth_config(json!({"type": "embeddedAuthServer", "embeddedAuthServer": {}}))], "AuthUnsupported"),
        (vec![auth_config(json!({"type": "obo", "obo": {}}))], "AuthUnsupported"),
        (vec![auth_config(json!({}))], "AuthUnsupported"),
        (vec![auth_config(json!({"type": "tokenExchange"}))], "AuthInvalid"),
        (vec![header(json!({"headerName": "X"}))], "AuthInvalid"),
        (vec![header(json!({"headerName": "X", "valueSecretRef": {"name": "s"}}))], "AuthInvalid"),
        (
            vec![json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPExternalAuthConfig",
                     "metadata": {"name": "login"}})],
            "Malformed",
        ),
    ] {
        let mut all = vec![with_auth(server("a"))];
        all.extend(objects);
        let run = backend_among("MCPServer", "a", &all);
        assert_eq!(state(run.expect_stalled(expected)), format!("Closed {expected}"));
        let status = run.status_json();
        assert!(status["url"].is_null() && status["auth"].is_null(), "nobody shall go there: {status}");
        assert_eq!(status["health"], "Healthy", "it is closed, and not ill");
    }
}

#[test]
fn each_type_of_credentials_that_the_gateway_knows_is_resolved() {
    let good = secret(json!({"k": "eA==", "t": "eA=="}));
    let reference = |key: &str| json!({"name": "s", "key": key});
    for (auth, secrets) in [
        (json!({"type": "unauthenticated"}), json!(null)),
        (json!({"type": "tokenExchange", "tokenExchange": {"tokenUrl": "u", "audience": "a"}}), json!(null)),
        (
            json!({"type": "headerInjection", "headerInjection": {"headerName": "X", "valueSecretRef": reference("k")}}),
            json!([reference("k")]),
        ),
        (json!({"type": "upstreamInject", "upstreamInject": {"providerName": "p"}}), json!(null)),
        (json!({"type": "awsSts", "awsSts": {"region": "r"}}), json!(null)),
        (
            json!({"type": "xaa", "xaa": {"idpClientSecretRef": reference("t"), "targetClientSecretRef": reference("k")}}),
            json!([reference("k"), reference("t")]),
        ),
    ] {
        let run = backend_among("MCPServer", "a", &[with_auth(server("a")), auth_config(auth.clone()), good.clone()]);
        assert_eq!(run.expect_ready().status_json()["auth"]["secrets"], secrets, "{auth}");
    }
}

/// #6509: a monitor that ignores changes of credentials.
#[test]
fn a_change_of_the_credentials_shows() {
    let hash = |audience: &str| {
        let config = auth_config(
            json!({"type": "tokenExchange", "tokenExchange": {"tokenUrl": "https://i", "audience": audience}}),
        );
        backend_among("MCPServer", "a", &[with_auth(server("a")), config]).status_json()["auth"]["configHash"].clone()
    };
    assert_eq!(hash("a"), hash("a"));
    assert_ne!(hash("a"), hash("b"));
}

#[test]
fn what_cannot_be_known_at_present_leaves_the_backend_as_it_was() {
    let sources = [with_auth(server("a")), exchange(), secret(json!({"k": "eA=="}))];
    let kit = TestKit::<Backend>::new().object(backend_of("MCPServer", "a")).with(sources.to_vec().into());
    for kind in ["MCPServer", "MCPExternalAuthConfig", "Secret"] {
        kit.clone().unavailable(kind).run("b").expect_retry();
    }
    let kit = TestKit::<Backend>::new().object(backend_of("MCPServerEntry", "e")).with(with_bundle(entry("e")));
    kit.unavailable("ConfigMap").run("b").expect_retry();
}

#[test]
fn credentials_that_may_not_be_read_close_it_and_a_source_that_may_not_be_read_says_nothing() {
    let sources = [with_auth(server("a")), exchange(), secret(json!({"k": "eA=="}))];
    let kit = TestKit::<Backend>::new().object(backend_of("MCPServer", "a")).with(sources.to_vec().into());
    for kind in ["MCPExternalAuthConfig", "Secret"] {
        let run = kit.clone().not_granted(kind).run("b");
        assert_eq!(state(run.expect_stalled("NotGranted")), "Closed NotGranted");
        assert!(run.status_json()["message"].as_str().unwrap().contains("grant it with read:"));
    }
    assert!(kit.not_granted("MCPServer").run("b").expect_permanent().contains("grant it with"));
}

fn with_bundle(source: Value) -> Value {
    with(source, "spec.caBundleRef", json!({"configMapRef": {"name": "ca"}}))
}

#[test]
fn an_entry_brings_its_certificates_or_is_closed() {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let map = |data: Value| json!({"kind": "ConfigMap", "metadata": {"name": "ca"}, "data": data});
    let run = backend_among("MCPServerEntry", "a", &[with_bundle(entry("a")), map(json!({"ca.crt": pem}))]);
    let expected = json!({"configMap": "ca", "key": "ca.crt", "pem": pem});
    assert_eq!(run.expect_ready().status_json()["caBundle"], expected);

    let named = with(with_bundle(entry("a")), "spec.caBundleRef.configMapRef.key", "root.pem".into());
    let run = backend_among("MCPServerEntry", "a", &[named, map(json!({"root.pem": pem}))]);
    assert_eq!(run.expect_ready().status_json()["caBundle"]["key"], "root.pem");

    for (objects, expected) in [
        (vec![], "CABundleNotFound"),
        (vec![map(json!({"other": pem}))], "CABundleNotFound"),
        (vec![map(json!({"ca.crt": "nothing of the kind"}))], "CABundleInvalid"),
    ] {
        let mut all = vec![with_bundle(entry("a"))];
        all.extend(objects);
        let run = backend_among("MCPServerEntry", "a", &all);
        assert_eq!(state(run.expect_stalled(expected)), format!("Closed {expected}"));
        assert_eq!(run.status_json()["url"], Value::Null);
    }
    // A reference to nothing is none.
    let empty = with(entry("a"), "spec.caBundleRef", json!({}));
    backend_for(&empty).expect_ready();
}

#[test]
fn an_entry_brings_its_headers_and_those_in_secrets_stay_there() {
    let forward = json!({
        "addPlaintextHeaders": {"X-Tenant": "t", "authorization": "plain"},
        "addHeadersFromSecret": [{"headerName": "Authorization", "valueSecretRef": {"name": "s", "key": "k"}}],
    });
    let source = with(entry("a"), "spec.headerForward", forward);
    let run = backend_among("MCPServerEntry", "a", &[source.clone(), secret(json!({"k": "aHVudGVyMg=="}))]);
    assert_eq!(
        run.expect_ready().status_json()["headers"],
        json!([{"name": "Authorization", "secretKeyRef": {"name": "s", "key": "k"}}, {"name": "X-Tenant", "value": "t"}])
    );
    assert_eq!(state(&backend_for(&source)), "Closed SecretNotFound");
}

#[test]
fn a_server_and_a_proxy_have_neither() {
    let forward = json!({"addPlaintextHeaders": {"X-Tenant": "t"}});
    let run = backend_for(&with_bundle(with(proxy("a"), "spec.headerForward", forward)));
    let status = run.expect_ready().status_json();
    assert!(status["headers"].is_null() && status["caBundle"].is_null(), "the proxy itself does it: {status}");
}

/// An open backend that is called again, as what it was is part of it.
fn again(old: &Run<Backend>, kind: &str, objects: &[Value]) -> Run<Backend> {
    let mut backend = backend_of(kind, "a");
    backend["status"] = old.status_json();
    TestKit::new().object(backend).with(objects.into()).run("b")
}

#[test]
fn a_backend_that_was_open_is_drained_when_its_source_has_left() {
    let open = backend_for(&server("a"));
    let elsewhere = with(server("a"), "spec.groupRef.name", "other".into());
    for (objects, expected) in [(vec![], "Draining SourceNotFound"), (vec![elsewhere.clone()], "Draining GroupChanged")]
    {
        let run = again(&open, "MCPServer", &objects);
        assert_eq!(state(&run), expected);
        assert_eq!(run.status_json()["url"], open.status_json()["url"], "what is under way may end");
        // And it stays so.
        assert_eq!(again(&run, "MCPServer", &objects).status_json(), run.status_json());
        // Back again.
        let back = again(&run, "MCPServer", &[server("a")]);
        assert_eq!(back.status_json(), open.status_json());
    }
    for (objects, expected) in [(vec![], "Pending SourceNotFound"), (vec![elsewhere], "Pending GroupChanged")] {
        let run = backend_among("MCPServer", "a", &objects);
        assert_eq!(state(&run), expected, "nobody could use it");
    }
}

#[test]
fn a_source_that_is_being_deleted_takes_no_new_clients() {
    let run = backend_for(&with(server("a"), "metadata.deletionTimestamp", "2026-01-01T00:00:00Z".into()));
    assert_eq!(state(&run), "Draining SourceTerminating");
    assert!(run.status_json()["url"].is_string());
}

#[test]
fn failed_credentials_close_what_was_open_at_once() {
    let open = backend_among("MCPServer", "a", &[with_auth(server("a")), exchange(), secret(json!({"k": "eA=="}))]);
    let run = again(&open, "MCPServer", &[with_auth(server("a")), exchange()]);
    assert_eq!(state(&run), "Closed SecretNotFound");
    assert_eq!(run.status_json()["url"], Value::Null);
    // What is closed has nothing to drain.
    assert_eq!(state(&again(&run, "MCPServer", &[])), "Pending SourceNotFound");
}

#[test]
fn a_source_that_cannot_be_read_is_the_problem_of_its_backend_only() {
    let broken = with(server("a"), "status.url", json!({"not": "a text"}));
    assert_eq!(state(&backend_for(&broken)), "Closed Malformed");
    let mut world = World::new(&[broken, server("b")]);
    world.settle().expect_ready();
    assert_eq!(world.shown(), ["a MCPServer Closed Malformed", "b MCPServer Open Resolved"]);
}

#[test]
fn a_change_is_told_once() {
    let open = backend_for(&server("a"));
    let told = |run: &Run<Backend>| run.events().iter().map(|e| e.reason.code.clone()).collect::<Vec<_>>();
    assert_eq!(told(&open), ["BackendOpened"]);
    assert!(told(&again(&open, "MCPServer", &[server("a")])).is_empty());
    let ill = with(server("a"), "status.phase", "Failed".into());
    assert!(told(&again(&open, "MCPServer", &[ill])).is_empty(), "it is as open as before");
    assert_eq!(told(&again(&open, "MCPServer", &[])), ["BackendDraining"]);
    assert_eq!(told(&again(&open, "MCPServer", &[with_auth(server("a"))])), ["BackendClosed"]);
    assert_eq!(told(&again(&open, "MCPServer", &[with(server("a"), "status.url", Value::Null)])), ["BackendPending"]);
}

#[test]
fn a_status_of_another_version_is_no_obstacle() {
    let mut backend = backend_of("MCPServer", "a");
    backend["status"] = json!({"state": "Ajar", "headers": "many"});
    let run: Run<Backend> = TestKit::new().object(backend).with(server("a")).run("b");
    run.expect_ready();
}

#[test]
fn a_backend_that_a_person_made_is_resolved_as_well() {
    let own = json!({"metadata": {"name": "b"}, "spec": {"id": "x", "source": {"kind": "MCPServer", "name": "a"}}});
    let elsewhere = with(server("a"), "spec.groupRef", Value::Null);
    let run: Run<Backend> = TestKit::new().object(own).with(elsewhere).run("b");
    run.expect_ready();
    assert_eq!(run.reads()[0].to_string(), "get MCPServer.toolhive.stacklok.dev default/a");
}

#[test]
fn all_of_it_is_read_in_the_cluster_of_the_source() {
    let mut backend = backend_of("MCPServer", "a");
    backend["spec"]["source"]["cluster"] = "hub".into();
    let hub = json!([with_auth(server("a")), exchange(), secret(json!({"k": "eA=="}))]);
    let run: Run<Backend> = TestKit::new().object(backend).with_in("hub", hub).run("b");
    run.expect_ready();
    assert_eq!(run.reads().len(), 3);
}
