//! Who may talk to the API: on loopback only requests that were meant for it (DNS rebinding, pages
//! of foreign sites), and those with the token where there is one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::codes::Code;
use super::error::ApiError;

/// How the API is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpOptions {
    /// Refuse requests whose `Host` is not a loopback name or address. Default true.
    pub loopback_only: bool,
    /// Bearer token that every request must carry, but `/healthz` and `/readyz`. Default none.
    pub token: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { loopback_only: true, token: None }
    }
}

/// Whether the API may be served at this address. Elsewhere than on loopback it takes a token and TLS.
///
/// # Errors
/// What is missing and what to do.
pub fn check_listen(address: SocketAddr, token: bool, tls: bool) -> Result<(), String> {
    let lacks = match (token, tls) {
        _ if address.ip().to_canonical().is_loopback() => return Ok(()),
        (true, true) => return Ok(()),
        (true, false) => "--tls-cert-file and --tls-key-file are",
        (false, true) => "--token-file is",
        (false, false) => "--token-file, --tls-cert-file and --tls-key-file are",
    };
    Err(format!(
        "{address} is not a loopback address: the API listens elsewhere only with a bearer token and TLS, and {lacks} \
         missing; give them, listen on 127.0.0.1, or use --health-listen for health and metrics alone"
    ))
}

pub(super) async fn guard(State(options): State<Arc<HttpOptions>>, request: Request, next: Next) -> Response {
    match check(&options, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(options: &HttpOptions, request: &Request) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if options.loopback_only {
        let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST));
        if !host.is_some_and(is_loopback) {
            let message = format!("this is a host on loopback, and {:?} is no loopback name", host.unwrap_or_default());
            return Err(
                ApiError::new(Code::WrongHost, message).hint("use localhost, 127.0.0.1 or [::1] in the address")
            );
        }
        // A page of a foreign site may send such a request without seeing the answer.
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if let Some(origin) = text(header::ORIGIN).filter(|_| changes)
            && !origin.split_once("://").is_some_and(|(_, host)| is_loopback(host))
        {
            let message = format!("pages of {origin:?} may not change anything here");
            return Err(ApiError::new(Code::ForeignOrigin, message));
        }
    }
    if let Some(token) = options.token.as_deref().filter(|_| !is_health(request.uri().path())) {
        let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
            return Err(ApiError::new(Code::Unauthorized, "the bearer token is missing or wrong")
                .hint("send the header `Authorization: Bearer TOKEN`; commands take it from --token-file FILE"));
        }
    }
    Ok(())
}

fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether a `Host` header, with or without a port, names this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Takes as long wherever the difference is, so that a token cannot be guessed letter by letter.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Request, axum::http::Error> {
        let start = Request::builder().method(method).uri(path);
        headers.iter().fold(start, |builder, (name, value)| builder.header(*name, *value)).body(Body::empty())
    }

    #[test]
    fn only_loopback_names_are_served_on_loopback() {
        for host in ["localhost", "LocalHost:8474", "127.0.0.1", "127.9.9.9:1", "[::1]:8474", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8474",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "127.0.0.1.evil:80",
            "0.0.0.0",
            "localhost:80@evil",
            "[::1]evil",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_address_elsewhere_is_refused_with_what_to_do() -> Result<(), Box<dyn std::error::Error>> {
        assert_eq!(check_listen("127.0.0.1:8474".parse()?, false, false), Ok(()));
        assert_eq!(check_listen("[::1]:0".parse()?, false, false), Ok(()));
        for address in ["0.0.0.0:8474", "10.1.2.3:80", "[::]:8474"] {
            let of = |token, tls| check_listen(address.parse().expect("an address"), token, tls);
            assert_eq!(of(true, true), Ok(()));
            let lacks = |token, tls, text: &str, not: &str| {
                let refused = of(token, tls).expect_err("refused");
                assert!(refused.starts_with(address) && refused.contains("--health-listen"), "{refused}");
                assert!(refused.contains(text) && (not.is_empty() || !refused.contains(not)), "{refused}");
            };
            lacks(true, false, "--tls-cert-file", "--token-file");
            lacks(false, true, "--token-file", "--tls-cert-file");
            lacks(false, false, "--token-file, --tls-cert-file and --tls-key-file", "");
        }
        Ok(())
    }

    #[test]
    fn a_page_of_a_foreign_site_can_change_nothing() -> Result<(), axum::http::Error> {
        let options = HttpOptions::default();
        let here = ("host", "127.0.0.1:8474");
        let foreign = ("origin", "https://evil.example");
        let refused = |request: Request| check(&options, &request).is_err();
        assert!(refused(request("POST", "/v1/confirm-resources", &[here, foreign])?));
        assert!(refused(request("DELETE", "/v1/objects/a", &[here, ("origin", "null")])?));
        assert!(
            !refused(request("GET", "/v1/overview", &[here, foreign])?),
            "the answer is kept from the page by its browser"
        );
        assert!(!refused(request("POST", "/v1/confirm-resources", &[here, ("origin", "http://localhost:3000")])?));
        assert!(!refused(request("POST", "/v1/confirm-resources", &[here])?));
        assert!(refused(request("GET", "/v1/overview", &[])?), "no host at all");
        Ok(())
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_for_health() -> Result<(), axum::http::Error> {
        let options = HttpOptions { token: Some("right".into()), ..HttpOptions::default() };
        let allowed = |path: &str, authorization: &str| -> Result<bool, axum::http::Error> {
            Ok(check(&options, &request("GET", path, &[("host", "localhost"), ("authorization", authorization)])?)
                .is_ok())
        };
        assert!(allowed("/v1/overview", "Bearer right")?);
        assert!(!allowed("/v1/overview", "Bearer wrong")?);
        assert!(!allowed("/v1/overview", "Bearer rightt")?);
        assert!(!allowed("/metrics", "right")?);
        assert!(allowed("/healthz", "")? && allowed("/readyz", "")?);
        Ok(())
    }
}
