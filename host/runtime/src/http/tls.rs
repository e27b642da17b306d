//! TLS of the API, with certificates that may be replaced while the host runs.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Between looks at the files.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(5) };
/// Who connects has so long to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are greeted at a time; the others wait in the system's queue.
const AT_A_TIME: usize = 256;

/// Where the certificate and its key are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// The key, as PEM.
    pub key: PathBuf,
}

impl TlsFiles {
    fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| named(&self.certificate, &error))?;
        if certificates.is_empty() {
            return Err(named(&self.certificate, &"there is no certificate in it; write it as PEM"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| named(&self.key, &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .map_err(|error| format!("{} and {}: {error}", self.certificate.display(), self.key.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What tells whether they are others by now.
    fn stamp(&self) -> [Option<(u64, Option<SystemTime>)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            // Through links, as mounted Secrets are.
            std::fs::metadata(path).ok().map(|metadata| (metadata.len(), metadata.modified().ok()))
        })
    }
}

/// Accepts connections over TLS.
pub(crate) struct TlsListener {
    address: SocketAddr,
    greeted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl TlsListener {
    /// Accepts connections with what the files hold, now and when they are replaced.
    ///
    /// # Errors
    /// They cannot be used; the file is named.
    pub(crate) fn new(listener: TcpListener, files: TlsFiles) -> Result<Self, String> {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let config = Arc::new(RwLock::new(files.load()?));
        let (sender, greeted) = mpsc::channel(AT_A_TIME);
        let tasks = [tokio::spawn(renew(files, config.clone())), tokio::spawn(accept(listener, config, sender))];
        Ok(Self { address, greeted, tasks })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.greeted.recv().await {
            Some(connection) => connection,
            // It ends with this listener only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: TcpListener,
    config: Arc<RwLock<Arc<ServerConfig>>>,
    greeted: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let turns = Arc::new(tokio::sync::Semaphore::new(AT_A_TIME));
    loop {
        // One that says nothing holds up nobody.
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        // The listener's own way to accept: it waits where the system is short of files.
        let (stream, address) = Listener::accept(&mut listener).await;
        let acceptor = TlsAcceptor::from(config.read().unwrap_or_else(PoisonError::into_inner).clone());
        let greeted = greeted.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Nobody takes it while the host stops.
                Ok(Ok(stream)) => drop(greeted.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS"),
                Err(_) => tracing::debug!(%address, "no TLS in time"),
            }
            drop(turn);
        });
    }
}

async fn renew(files: TlsFiles, config: Arc<RwLock<Arc<ServerConfig>>>) {
    let mut seen = files.stamp();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = files.stamp();
        if now == seen {
            continue;
        }
        seen = now;
        match files.load() {
            Ok(new) => {
                *config.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("the certificate of the API was replaced");
            }
            Err(error) => tracing::error!("{error}; the certificate that was read last stays in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    fn write_certificate(files: &TlsFiles) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        std::fs::write(&files.certificate, made.cert.pem()).expect("written");
        made.cert.der().clone()
    }

    /// What is answered over TLS to somebody who trusts this certificate alone.
    async fn ask(address: SocketAddr, trusted: CertificateDer<'static>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_certificate_is_replaced_under_those_who_are_connected_and_a_bad_one_is_not_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = TlsFiles { certificate: dir.path().join("tls.crt"), key: dir.path().join("tls.key") };
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a port") };
        let missing = TlsListener::new(bind().await, files.clone()).map(|_| ());
        assert!(missing.is_err_and(|error| error.contains("tls.crt")));
        let first = write_certificate(&files);
        let listener = TlsListener::new(bind().await, files.clone()).expect("it listens");
        let address = listener.address;
        let router = Router::new().route("/", get(|| async { "hello" }));
        let served = tokio::spawn(async move { axum::serve(listener, router).await });
        // Somebody who says nothing holds up nobody.
        let _silent = TcpStream::connect(address).await.expect("connected");
        assert!(ask(address, first.clone()).await.is_ok_and(|text| text.ends_with("hello")));

        std::fs::write(&files.certificate, "no certificate").expect("written");
        tokio::time::sleep(LOOK * 5).await;
        assert!(ask(address, first.clone()).await.is_ok(), "the last good one stays");

        let second = write_certificate(&files);
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while ask(address, second.clone()).await.is_err() {
            assert!(tokio::time::Instant::now() < until, "the second one is never taken");
            tokio::time::sleep(LOOK).await;
        }
        assert!(ask(address, first).await.is_err());
        served.abort();
    }
}
