//! Connections: names to addresses, sockets, TLS; each step with its own failure.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use setpoint_core::probe::ProbeReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;

use super::tls::Tls;
use crate::failure::{Failure, causes};

/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// How long one address is waited for until the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Says which hosts and ports may be connected to.
#[derive(Clone)]
pub struct Access(Arc<Allowed>);

type Allowed = dyn Fn(&str, u16) -> bool + Send + Sync;

impl Access {
    /// Asks this for each connection: host, as the URL has it, without brackets, and port.
    pub fn new(allowed: impl Fn(&str, u16) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allowed))
    }

    /// All hosts and ports.
    pub fn all() -> Self {
        Self::new(|_, _| true)
    }

    fn check(&self, host: &str, port: u16) -> Result<(), Failure> {
        if (self.0)(host, port) {
            return Ok(());
        }
        let why = format!("{} is not among the hosts that the plugin may reach", place(host, port));
        Err(Failure::new(ProbeReason::NotGranted, why))
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// What an attempt is doing, so that a timeout can say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail(Arc<AtomicU8>);

/// The steps of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Step {
    Resolving,
    Connecting,
    Securing,
    Waiting,
}

impl Trail {
    pub(crate) fn is_at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    /// What did not come in time.
    pub(crate) fn missing(&self) -> &'static str {
        const RESOLVING: u8 = Step::Resolving as u8;
        const CONNECTING: u8 = Step::Connecting as u8;
        const SECURING: u8 = Step::Securing as u8;
        match self.0.load(Ordering::Relaxed) {
            RESOLVING => "its name was not resolved in time",
            CONNECTING => "no connection came about in time",
            SECURING => "no agreement on TLS came about in time",
            _ => "no answer came in time",
        }
    }
}

/// Host and port as people write them.
fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects to a host, by any of its addresses.
pub(crate) async fn dial(host: &str, port: u16, access: &Access, trail: &Trail) -> Result<TcpStream, Failure> {
    access.check(host, port)?;
    let place = place(host, port);
    trail.is_at(Step::Resolving);
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => addresses.take(ADDRESSES).collect(),
        Err(error) => {
            let why = format!("the name {host:?} does not resolve: {error}");
            return Err(Failure::new(ProbeReason::NameNotResolved, why));
        }
    };
    trail.is_at(Step::Connecting);
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0..)
        .map(|(address, turn)| async move {
            tokio::time::sleep(STAGGER * turn).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut failed: Option<io::Error> = None;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(stream) => {
                // Small requests are not to wait for each other.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // What is not a refusal says more.
            Err(error) if failed.as_ref().is_none_or(|first| first.kind() == io::ErrorKind::ConnectionRefused) => {
                failed = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(match failed {
        None => Failure::new(ProbeReason::NameNotResolved, format!("the name {host:?} has no address")),
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Failure::new(ProbeReason::ConnectionRefused, format!("nobody listens at {place}"))
        }
        Some(error) => Failure::new(ProbeReason::ConnectionFailed, format!("cannot connect to {place}: {error}")),
    })
}

/// Makes the connections of one HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) tls: Arc<Tls>,
    pub(crate) access: Access,
    pub(crate) trail: Trail,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, Failure> {
        let invalid = || Failure::new(ProbeReason::Invalid, format!("{uri} has no host"));
        let host = uri.host().ok_or_else(invalid)?;
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = dial(host, port, &self.access, &self.trail).await?;
        if !secure {
            self.trail.is_at(Step::Waiting);
            return Ok(TokioIo::new(Stream::Plain(stream)));
        }
        self.trail.is_at(Step::Securing);
        let place = place(host, port);
        let broken = |why: String| Failure::new(ProbeReason::TLSError, format!("no TLS with {place}: {why}"));
        let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(error.to_string()))?;
        let connector = self.tls.connector().await.map_err(broken)?;
        let stream = connector.connect(name, stream).await.map_err(|error| broken(tls_words(&error)))?;
        self.trail.is_at(Step::Waiting);
        Ok(TokioIo::new(Stream::Secure(Box::new(stream))))
    }
}

/// What is wrong with a TLS handshake, in words for who has to mend it.
fn tls_words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => format!("the server's certificate is not trusted: {why:?}"),
        Some(rustls::Error::InvalidMessage(_)) => "the server does not speak TLS".into(),
        Some(other) => other.to_string(),
        None => causes(error),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, with or without TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
