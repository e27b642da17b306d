//! Endpoints behind TLS: whom the host trusts, and what it says when it does not.

mod common;

use std::sync::Arc;

use common::{at_port, attempt};
use serde_json::json;
use setpoint_core::probe::{ProbeReason, ProbeSpec, ProbeState, Report};
use setpoint_mcp::check::Checker;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

/// Ends TLS before a server that has none. Answers the port.
async fn in_front_of(port: u16) -> u16 {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let own = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(("127.0.0.1", port)).await?;
                let mut outer = acceptor.accept(stream).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    own
}

async fn look(checker: &Checker, url: String) -> Report {
    let spec = json!({ "mcp": { "transport": "streamable-http", "url": url } });
    let spec: ProbeSpec = serde_json::from_value(spec).expect("a spec");
    checker.check(&spec.target, &attempt()).await.report
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_bundle_and_only_for_its_name() {
    let server = at_port("--http", &[]);
    let port = in_front_of(server.port()).await;
    let trusting = Checker::new(Some(AUTHORITY)).expect("a bundle");
    let report = look(&trusting, format!("https://localhost:{port}/mcp")).await;
    assert_eq!(report.state(), ProbeState::Healthy, "{}", report.message());
    let report = look(&trusting, format!("https://127.0.0.1:{port}/mcp")).await;
    assert_eq!(report.reason(), ProbeReason::TLSError);
    assert!(report.message().contains("not trusted"), "{}", report.message());
    let report = look(&Checker::new(None).expect("a checker"), format!("https://localhost:{port}/mcp")).await;
    assert_eq!(report.reason(), ProbeReason::TLSError);
    assert!(report.message().contains("UnknownIssuer"), "{}", report.message());
}

#[tokio::test]
async fn a_port_without_tls_says_so() {
    let server = at_port("--http", &[]);
    let checker = Checker::new(Some(AUTHORITY)).expect("a bundle");
    let report = look(&checker, format!("https://localhost:{}/mcp", server.port())).await;
    assert_eq!((report.state(), report.reason()), (ProbeState::Unhealthy, ProbeReason::TLSError));
    assert!(report.message().contains("no TLS with localhost:"), "{}", report.message());
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_not_followed() {
    let server = at_port("--http", &["--redirect", "http://localhost:1/mcp"]);
    let port = in_front_of(server.port()).await;
    let checker = Checker::new(Some(AUTHORITY)).expect("a bundle");
    let report = look(&checker, format!("https://localhost:{port}/mcp")).await;
    assert_eq!(report.reason(), ProbeReason::HTTPStatus);
    assert!(report.message().contains("from HTTPS to HTTP, which is not followed"), "{}", report.message());
}

#[test]
fn a_bundle_that_cannot_be_read_says_so() {
    for (bundle, part) in [
        (b"" as &[u8], "no certificate in PEM form"),
        (b"hello", "no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "cannot be used"),
    ] {
        let refused = Checker::new(Some(bundle)).map(|_| ());
        assert!(refused.as_ref().is_err_and(|why| why.contains(part)), "{refused:?}");
    }
}
