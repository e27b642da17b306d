//! Texts as they really come: what must not be shown of them, and what must stay readable. Every secret here has
//! `hunter` in it, or is listed with what must be gone.

use super::{REDACTED, sanitize};

/// Nothing of `secret` is left, and that something was there is said.
fn hides(text: &str, secret: &str) {
    let clean = sanitize(text);
    assert!(!clean.to_lowercase().contains(&secret.to_lowercase()), "{text}\n  -> {clean}");
    assert!(clean.contains(REDACTED), "{text}\n  -> {clean}");
    assert_eq!(sanitize(&clean), clean, "a second time changes something: {text}");
}

fn all_hide(texts: &[&str]) {
    for text in texts {
        hides(text, "hunter");
    }
}

/// What muster's sanitiser let through or damaged, one by one.
#[test]
fn each_sample_that_another_sanitiser_leaked_is_clean() {
    let github = format!("remote: invalid credentials ghp_{}", "abc123".repeat(6));
    let jwt = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let long = format!("cannot decode {}==", "aB3+dE6/gH9k".repeat(5));
    for (text, secret) in [
        (r#"{"token":"abc123"}"#, "abc123"),
        ("api_key=abc123", "abc123"),
        ("api-key: abc123", "abc123"),
        ("apikey=abc123", "abc123"),
        ("password=abc123", "abc123"),
        ("password=p@ss!word", "ss!word"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpw"),
        (github.as_str(), "abc123"),
        ("access key AKIAIOSFODNN7EXAMPLE is not valid", "AKIAIOSFODNN7"),
        ("postgres://u:pw@h/db", "u:pw"),
        (jwt, "eyJ"),
        (long.as_str(), "aB3+dE6"),
    ] {
        hides(text, secret);
    }
    assert_eq!(sanitize("password=p@ss!word"), "password=[REDACTED]");
    assert_eq!(sanitize("postgres://u:pw@h/db"), "postgres://[REDACTED]@h/db");
    assert_eq!(sanitize(r"open C:\Users\me\server.yaml"), "open [path]/server.yaml");
    assert_eq!(sanitize("open /var/lib/muster/server.yaml"), "open [path]/server.yaml");
    for text in [
        "https://example.com/a/b/c",
        "resource not found: MCPServer prometheus",
        r#"MCPServer.muster.giantswarm.io "prometheus" not found"#,
    ] {
        assert_eq!(sanitize(text), text);
    }
}

#[test]
fn urls_carry_no_credentials() {
    all_hide(&[
        "GET https://hunter2@example.com/mcp: 403",
        "https://me:hunter2@example.com:8443/mcp",
        "redis://:hunter2@cache:6379/0",
        "amqp://me:hunt%40er2hunter@mq/vhost",
        "mongodb+srv://me:hunter2@cluster0.example.net/?retryWrites=true",
        "postgres://me:pa/ss?hunter2@db:5432/prod",
        "postgres://me:p@hunter2@db/prod",
        "https://example.com/x?access_token=hunter2&y=1",
        "https://example.com/x?a=1&api_key=hunter2",
        "https://example.com/x?key=hunter2",
        "https://example.com/x?subscription-key=hunter2",
        "https://example.com/cb?code=hunter2&state=1",
        "https://example.com/cb#access_token=hunter2&expires_in=3600",
        "https://b.s3.amazonaws.com/o?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2",
        "https://acc.blob.core.windows.net/c?sv=2024&sig=hunter2",
        "me:hunter2@tcp(db:3306)/prod: connection refused",
        "dial me:hunter2@db.internal:5432: timeout",
    ]);
    hides("https://hooks.slack.com/services/T01234567/B01234567/abcdefghijklmnopqrstuvwx", "abcdefgh");
    assert_eq!(
        sanitize("https://me:hunter2@example.com:8443/a?token=hunter2&x=1#top answered 500"),
        "https://[REDACTED]@example.com:8443/a?token=[REDACTED]&x=1#top answered 500"
    );
}

#[test]
fn headers_carry_no_credentials() {
    all_hide(&[
        "Authorization: Bearer hunter2",
        "authorization: bearer hunter2.abc-def",
        "Proxy-Authorization: Basic hunter2==",
        r#"{"Authorization": "Bearer hunter2"}"#,
        r#"{\"Authorization\":\"Bearer hunter2\"}"#,
        "curl -H 'Authorization: Bearer hunter2' failed",
        "Authorization: Negotiate YIIhunter2",
        "Authorization: token hunter2",
        r#"Authorization: Digest username="me", response="hunter2", nonce="hunter""#,
        "Authorization: AWS4-HMAC-SHA256 Credential=hunter/eu/s3, Signature=hunter2",
        "X-API-Key: hunter2",
        "x-auth-token: hunter2",
        "Cookie: session=hunter2; remember=hunter3",
        "Set-Cookie: sid=hunter2; HttpOnly",
        "Mcp-Session-Id: hunter2",
        "the server refused bearer hunter2hunter",
        "bad request (Bearer hunter2hunter2)",
    ]);
    hides("401 with Basic dXNlcjpwYXNz", "dXNlcjpwYXNz");
    assert_eq!(sanitize("Authorization: Bearer hunter2 was refused"), "Authorization: [REDACTED] was refused");
}

#[test]
fn documents_and_assignments_carry_no_credentials() {
    all_hide(&[
        r#"{"token": "hunter2", "user": "me"}"#,
        r#"{"password":"a\"hunter2 b"}"#,
        r#"body: {\"client_secret\":\"hunter2 with space\"}"#,
        r#"{"password": "hunter2 that was cut"#,
        r#"{"passphrase":"correct hunter battery staple"}"#,
        "password: hunter2",
        "  clientSecret: \"hunter2 x\"",
        "jwt: hunter2",
        "GITHUB_TOKEN=hunter2 npx server",
        "export AWS_SECRET_ACCESS_KEY=hunter2",
        "DB_PASSWORD='hunter2 with space'",
        "OPENAI_API_KEY=hunter2",
        "SECRET_KEY_BASE=hunter2",
        "PGPASSWORD=hunter2 psql",
        "ENCRYPTION_KEY=hunter2",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2==;EndpointSuffix=x",
        "Server=db;User Id=me;Password=hunter2;",
        "server --password hunter2 --port 80",
        "server --api-key 'hunter2 x'",
        "exec: server -token hunter2: exit 1",
        "spawn [\"--auth-token\", \"x\"] token=hunter2",
    ]);
    assert_eq!(sanitize("GITHUB_TOKEN=hunter2 npx server"), "GITHUB_TOKEN=[REDACTED] npx server");
    assert_eq!(sanitize("server --password hunter2 --port 80"), "server --password [REDACTED] --port 80");
}

#[test]
fn credentials_that_are_known_by_their_form_go() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabcDEF==\n-----END RSA PRIVATE KEY-----";
    for (text, secret) in [
        (pem, "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA", "MIIEow"),
        ("key AKIAIOSFODNN7EXAMPLE", "AKIA"),
        ("key ASIAIOSFODNN7EXAMPLE", "ASIA"),
        ("got eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.", "eyJ"),
        ("github_pat_11ABCDEFG0abcdefghijklmnop", "11ABC"),
        ("glpat-abcdefghij0123456789", "abcdefghij"),
        ("xoxb-0123456789-abcdefghij", "0123456789"),
        ("sk-ant-api03-abcdefghijklmnop", "abcdefghij"),
        ("sk_live_abcdefghij0123456789", "abcdefghij"),
        ("npm_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
        ("pypi-AgEIcHlwaS5vcmcabcdefghij", "AgEIcHl"),
        ("hf_abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
        ("AIzaSyabcdefghijklmnopqrstuvwxyz0123456", "abcdefghij"),
        ("ya29.abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
        ("hvs.abcdefghijklmnopqrstuvwxyz", "abcdefghij"),
        ("key wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYwJalrXUtn", "wJalr"),
        ("key 0123456789abcdef0123456789abcdef0123456789abcdef", "0123456789abcdef"),
    ] {
        hides(text, secret);
    }
}

/// What people need to find a mistake stays as it is.
#[test]
fn what_is_no_secret_stays_readable() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for text in [
        format!("cannot pull ghcr.io/org/server:v1.2@sha256:{digest}"),
        format!("cannot pull registry:5000/org/server:v1@sha256:{digest}"),
        format!("expected sha256:{digest}, got sha256:{digest}"),
        format!("https://ghcr.io/v2/org/server/blobs/sha256:{digest}: 404"),
    ] {
        assert_eq!(sanitize(&text), text);
    }
    for text in [
        "https://example.com:8443/a/b/c?page=2&sort=name#top returned 404",
        "POST http://[::1]:8080/mcp: connection refused",
        "GET http://127.0.0.1:9090/api/v1/query?query=up",
        "https://registry.npmjs.org/@modelcontextprotocol/server-everything answered 404",
        "git@github.com:org/repo.git does not exist",
        "uid 550e8400-e29b-41d4-a716-446655440000 is another",
        "persistentvolumeclaim-pvc-550e8400-e29b-41d4-a716-446655440000 is not bound",
        "integrity sha512-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4 does not match",
        "Deployment/prometheus-kube-prometheus-stack-operator-7d9f8-abcde is not ready",
        "MutatingAdmissionWebhookConfigurationControllerManager is no kind",
        "local/muster.giantswarm.io/MCPServer/default/prometheus-kube-prometheus-stack-operator-2",
        "local/host.setpoint.dev/Process/default/everything is terminating",
        "spec.steps[0].id in body should match '^[a-z0-9]+(-[a-z0-9]+)*$'",
        "the variable TOKEN needs the key t of the Secret token-a, which is not there",
        "the header Authorization needs the key t of the Secret token-a, which is not there",
        "not granted to the plugin mcp-server; grant it with --grant mcp-server=process",
        "secrets \"db-credentials\" is forbidden: User \"me\" cannot get resource",
        "the token expired",
        "the token is of no use. Basic authentication is off; bearer tokens are on",
        "invalid token audience.",
        "max_tokens=4096 tokens: 5",
        "exited with code 1; was ended by SIGKILL",
        "resources/a/b.yaml:12:3: unknown field \"comand\"",
        "2026-11-27T19:10:07Z failed at 10.0.0.1:8474",
        "setpoint:reconciler/guest@0.1.0 is not known",
        "e2e: 3/4 steps: init, list, call; café, 名前",
    ] {
        assert_eq!(sanitize(text), text);
    }
}
