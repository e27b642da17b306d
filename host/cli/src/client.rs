//! Finding the running host and talking to it.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use setpoint_core::key::group_word;
use setpoint_runtime::http::Done;
use setpoint_runtime::views::{Filter, KindRow};
use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderValue, Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::args::{PlaceArgs, ServerArgs};
use crate::failure::Failure;
use crate::output::one_line;

/// Where a host listens unless it is told otherwise.
const DEFAULT: &str = "http://127.0.0.1:8474";
/// The namespace of objects that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// The host calls plugins before it answers a plan, for this long at most.
const LONG_ANSWER: Duration = Duration::from_secs(180);
/// All objects of a large host in one answer.
const MAX_BODY: u64 = 1 << 30;

/// A running host.
pub(crate) struct Client {
    agent: Agent,
    server: String,
}

/// An error as the API writes it.
#[derive(Deserialize)]
struct Refused {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Client {
    /// The host that `--server`, `SETPOINT_SERVER`, `host.json` in the state directory or the default
    /// address name, in this order. Nothing is asked of it yet.
    pub(crate) fn find(args: &ServerArgs) -> Result<Self, Failure> {
        let server = match &args.server {
            Some(server) => server.clone(),
            None => recorded(args.state_dir())?.unwrap_or_else(|| DEFAULT.to_owned()),
        };
        let secure = server.starts_with("https://");
        if !secure && !server.starts_with("http://") {
            let failure = Failure::usage(format!("{server:?} is not the address of a host"));
            return Err(failure.hint(format!("write it as {DEFAULT}, or as https://NAME:PORT")));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // A host listens on loopback, where no proxy can reach it.
            .proxy(None)
            .timeout_connect(Some(CONNECT));
        if secure {
            config = config.tls_config(tls(args)?);
        }
        if let Some(path) = &args.token_file {
            config = config.middleware(Bearer(token(path)?));
        }
        Ok(Self { agent: config.build().new_agent(), server: server.trim_end_matches('/').to_owned() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    /// Asks for something below the API's root, such as `/v1/kinds`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.get_where(path, &Filter::default())
    }

    /// The same with a filter as query.
    pub(crate) fn get_where<T: DeserializeOwned>(&self, path: &str, filter: &Filter) -> Result<T, Failure> {
        let mut request = self.agent.get(self.url(path)).config().timeout_global(Some(ANSWER)).build();
        for (name, value) in query(filter) {
            request = request.query(name, value);
        }
        self.answer(request.header("Accept", "application/json").call())
    }

    /// Asks for a change.
    pub(crate) fn post(&self, path: &str) -> Result<Done, Failure> {
        self.answer(self.agent.post(self.url(path)).config().timeout_global(Some(ANSWER)).build().send_empty())
    }

    /// Asks for something that is said in a body.
    pub(crate) fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.answer(self.agent.post(self.url(path)).config().timeout_global(Some(LONG_ANSWER)).build().send_json(body))
    }

    /// Asks for a deletion.
    pub(crate) fn delete(&self, path: &str) -> Result<Done, Failure> {
        self.answer(self.agent.delete(self.url(path)).config().timeout_global(Some(ANSWER)).build().call())
    }

    /// All kinds that the host knows.
    pub(crate) fn kinds(&self) -> Result<Vec<KindRow>, Failure> {
        self.get("/v1/kinds")
    }

    /// What happens from now on, such as `/v1/events`, until the host stops.
    pub(crate) fn stream<T: DeserializeOwned>(&self, path: &str, filter: &Filter) -> Result<Stream<T>, Failure> {
        self.stream_where(path, query(filter))
    }

    /// The same with other parameters.
    pub(crate) fn stream_where<'q, T: DeserializeOwned>(
        &self,
        path: &str,
        query: impl IntoIterator<Item = (&'static str, &'q str)>,
    ) -> Result<Stream<T>, Failure> {
        // A stream may be silent for ever, its beginning may not.
        let request = self.agent.get(self.url(path)).config().timeout_recv_response(Some(ANSWER)).build();
        let mut request = request.header("Accept", "text/event-stream");
        for (name, value) in query {
            request = request.query(name, value);
        }
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(refused(response));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Stream { lines: BufReader::new(Box::new(body)), item: PhantomData })
    }

    fn answer<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<T, Failure> {
        let mut response = answer.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(refused(response));
        }
        response.body_mut().with_config().limit(MAX_BODY).read_json().map_err(|error| {
            Failure::new(format!("the answer of {} is not understood: {error}", self.server))
                .hint("is it a Setpoint host, and of this version?")
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        unreachable(&self.server, error)
    }
}

/// Puts the token on every request.
struct Bearer(HeaderValue);

impl Middleware for Bearer {
    fn handle(
        &self,
        mut request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        request.headers_mut().insert(AUTHORIZATION, self.0.clone());
        next.handle(request)
    }
}

fn token(path: &Path) -> Result<HeaderValue, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path, &error))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|_| Failure::new(format!("{}: no bearer token is in it", path.display())))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whom to trust: the certificates of the file that was named, else those of the system.
fn tls(args: &ServerArgs) -> Result<TlsConfig, Failure> {
    let certificates: Vec<Certificate<'static>> = match &args.ca_file {
        Some(path) => {
            let text = std::fs::read(path).map_err(|error| Failure::io(path, &error))?;
            let found: Result<Vec<_>, _> = parse_pem(&text)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
                .collect();
            let found = found.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            if found.is_empty() {
                return Err(Failure::new(format!("{}: there is no certificate in it", path.display())));
            }
            found
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build())
}

/// What is wrong with the certificate, if that is what is wrong.
fn of_tls(io: &std::io::Error) -> Option<&rustls::Error> {
    io.get_ref()?.downcast_ref::<rustls::Error>()
}

fn untrusted(server: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{server} is not trusted: {why}"))
        .hint("name the certificate that its own comes from with --ca-file FILE; it has to be good for this name")
}

fn unreachable(server: &str, error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Rustls(why) => untrusted(server, why),
        ureq::Error::Io(io) if of_tls(io).is_some() => {
            untrusted(server, &of_tls(io).map(ToString::to_string).unwrap_or_default())
        }
        ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
            Failure::new(format!("no host runs at {server}"))
                .hint("start one with `setpoint run`, or name another with --server URL or --state DIR")
        }
        ureq::Error::Timeout(_) => Failure::new(format!("{server} did not answer in time: {error}"))
            .hint("is it a Setpoint host? `setpoint run` prints its address"),
        _ => Failure::new(format!("{server} cannot be reached: {error}")).hint("is the address right?"),
    }
}

/// What `host.json` in the state directory says, if a host has written it.
pub(crate) fn recorded(state: &Path) -> Result<Option<String>, Failure> {
    let path = state.join("host.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Failure::io(&path, &error)),
    };
    let server =
        serde_json::from_str::<Value>(&text).ok().and_then(|value| value["server"].as_str().map(str::to_owned));
    match server {
        Some(server) => Ok(Some(server)),
        None => Err(Failure::new(format!("{}: no address of a host is in it", path.display()))
            .hint("delete it, or name the host with --server URL")),
    }
}

fn refused(mut response: Response<Body>) -> Failure {
    let status = response.status();
    let text = response.body_mut().read_to_string().unwrap_or_default();
    match serde_json::from_str::<Refused>(&text) {
        Ok(Refused { error }) => Failure { hint: error.hint, code: error.code, ..Failure::new(error.message) },
        Err(_) => Failure::new(format!("the answer was {status}")).hint("is it a Setpoint host, and of this version?"),
    }
}

/// A filter as the parameters of a query.
pub(crate) fn query(filter: &Filter) -> impl Iterator<Item = (&'static str, &str)> {
    let Filter { cluster, group, kind, namespace, name, state, plugin, labels } = filter;
    [
        ("cluster", cluster),
        ("group", group),
        ("kind", kind),
        ("namespace", namespace),
        ("name", name),
        ("state", state),
        ("plugin", plugin),
        ("labels", labels),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
}

/// The group as paths and filters write it.
pub(crate) fn group(kind: &KindRow) -> &str {
    group_word(&kind.group)
}

/// `cluster/group/kind/namespace/name` of an object, safe as part of a path.
pub(crate) fn key_path(kind: &KindRow, place: &PlaceArgs, name: &str) -> String {
    let namespace = match kind.namespaced {
        true => place.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE),
        false => "-",
    };
    let cluster = place.cluster.as_deref().unwrap_or(&kind.cluster);
    [cluster, group(kind), &kind.kind, namespace, name].map(segment).join("/")
}

/// One segment of a path, whatever is in it.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A segment of dots alone would mean another path.
            b'.' if text.bytes().any(|b| b != b'.') => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What is said when a stream ends that only the end of the host ends.
pub(crate) fn stopped() -> Failure {
    Failure::new("the host has stopped").hint("start it again with `setpoint run`")
}

/// Server-sent events, one item after the other.
pub(crate) struct Stream<T> {
    lines: BufReader<Box<dyn Read + Send>>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Stream<T> {
    type Item = Result<T, Failure>;

    /// None when the host has stopped, or the connection is lost.
    fn next(&mut self) -> Option<Result<T, Failure>> {
        next_item(&mut self.lines)
    }
}

fn next_item<T: DeserializeOwned>(lines: &mut impl BufRead) -> Option<Result<T, Failure>> {
    let mut named: Option<String> = None;
    loop {
        let mut line = String::new();
        if !matches!(lines.read_line(&mut line), Ok(read) if read > 0) {
            return None;
        }
        if let Some(name) = line.strip_prefix("event:") {
            named = Some(name.trim().to_owned());
        }
        // Comments keep the connection alive; items are one line each.
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        match named.take() {
            // A word of the host beside its items, such as that some were missed.
            Some(name) if name != "message" => anstream::eprintln!("{}: {}", one_line(&name), one_line(data)),
            _ => {
                return Some(serde_json::from_str(data).map_err(|error| {
                    Failure::new(format!("what the host sends is not understood: {error}"))
                        .hint("is it of this version?")
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::tests::kind;
    use setpoint_runtime::views::StreamItem;

    fn server(server: Option<&str>, state: &Path) -> Result<String, String> {
        let args =
            ServerArgs { server: server.map(str::to_owned), state: Some(state.to_owned()), ..ServerArgs::default() };
        Client::find(&args).map(|client| client.server).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_host_is_found_by_flag_then_by_its_state_then_at_the_default_address() -> std::io::Result<()> {
        let state = tempfile::tempdir()?;
        assert_eq!(server(None, state.path()).as_deref(), Ok(DEFAULT));
        assert_eq!(server(None, &state.path().join("nothing")).as_deref(), Ok(DEFAULT));
        std::fs::write(state.path().join("host.json"), r#"{"server":"http://127.0.0.1:4711","pid":1}"#)?;
        assert_eq!(server(None, state.path()).as_deref(), Ok("http://127.0.0.1:4711"));
        assert_eq!(server(Some("http://localhost:1/"), state.path()).as_deref(), Ok("http://localhost:1"));
        std::fs::write(state.path().join("host.json"), "{}")?;
        let text = server(None, state.path());
        assert!(text.is_err_and(|text| text.contains("host.json: no address") && text.contains("--server URL")));
        assert!(
            server(Some("localhost:8474"), state.path())
                .is_err_and(|text| text.contains("write it as http://127.0.0.1:8474"))
        );
        Ok(())
    }

    #[test]
    fn a_refused_connection_says_that_no_host_runs_and_how_to_start_one() -> std::io::Result<()> {
        // A port that nobody listens on any more.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let args = ServerArgs { server: Some(url.clone()), ..ServerArgs::default() };
        let failed = Client::find(&args).and_then(|client| client.kinds()).map(|_| ());
        assert_eq!(
            failed.map_err(|failure| (failure.to_string(), failure.exit)),
            Err((
                format!(
                    "error: no host runs at {url}\nhint: start one with `setpoint run`, or name another with --server URL or --state DIR"
                ),
                1
            ))
        );
        Ok(())
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_the_path() {
        let (kind, place) = (kind("", "ConfigMap", "configmaps", &[]), PlaceArgs { namespace: None, cluster: None });
        assert_eq!(key_path(&kind, &place, "a.b"), "local/core/ConfigMap/default/a.b");
        assert_eq!(key_path(&kind, &place, "../x?y#ü"), "local/core/ConfigMap/default/..%2Fx%3Fy%23%C3%BC");
        assert_eq!(key_path(&kind, &place, ".."), "local/core/ConfigMap/default/%2E%2E");
        let place = PlaceArgs { namespace: Some("n".into()), cluster: Some("hub".into()) };
        let cluster_scoped = KindRow { namespaced: false, ..kind };
        assert_eq!(key_path(&cluster_scoped, &place, "a"), "hub/core/ConfigMap/-/a");
    }

    #[test]
    fn a_stream_is_read_item_by_item_past_comments() {
        let text = ":\n\ndata: {\"what\":\"row\",\"key\":\"local/core/A/-/a\"}\n\n: x\ndata: {\"what\":\"row\",\"key\":null}\n\n\
                    event: missed\ndata: 3\n\nevent: message\ndata: {\"what\":\"row\",\"key\":\"b\"}\n\n";
        let mut lines = BufReader::new(text.as_bytes());
        let mut keys = Vec::new();
        while let Some(Ok(StreamItem::Row { key })) = next_item(&mut lines) {
            keys.push(key);
        }
        assert_eq!(keys, [Some("local/core/A/-/a".to_owned()), None, Some("b".to_owned())]);
    }

    #[test]
    fn what_is_streamed_and_not_understood_is_an_error_and_not_left_out() {
        let mut lines = BufReader::new("data: {\"what\":\"news\"}\n\n".as_bytes());
        let item = next_item::<StreamItem>(&mut lines);
        assert!(item.is_some_and(|item| item.is_err_and(|failure| failure.message.contains("not understood"))));
    }
}
