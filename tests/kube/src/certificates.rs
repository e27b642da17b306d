//! A certificate authority for one test, and what it signs.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::background;
use crate::file::write;

/// Under which names the servers are reached.
const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// The authority. Its certificate is in `ca.pem`.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes one and writes its certificate into the directory.
    pub(crate) fn new(dir: &Path) -> Self {
        let mut params = named("setpoint test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = must(CertifiedIssuer::self_signed(params, key()));
        let authority = Self { issuer, dir: dir.to_owned() };
        write(&authority.certificate(), &authority.issuer.pem());
        authority
    }

    /// The file with the authority's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Signs a new certificate for a server on this machine and writes it into these files, in the place of
    /// what they held.
    pub(crate) fn write_server(&self, certificate: &Path, private_key: &Path) {
        let (signed, key) = self.server();
        // The server reads both when either changes and is content only with two that fit: the order is free.
        write(private_key, &key.serialize_pem());
        write(certificate, &signed.pem());
    }

    /// Signs a certificate for a user: its common name is the user's name, its organisations are the groups.
    pub(crate) fn write_client(&self, user: &str, groups: &[&str], certificate: &Path, private_key: &Path) {
        let mut params = named(user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = key();
        let signed = must(params.signed_by(&key, &self.issuer));
        write(private_key, &key.serialize_pem());
        write(certificate, &signed.pem());
    }

    /// For a server within this process. HTTP/2 and HTTP/1.1 are offered.
    pub(crate) fn serving(&self) -> ServerConfig {
        let (signed, key) = self.server();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = must(
            must(ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions())
                .with_no_client_auth()
                .with_single_cert(vec![signed.der().clone()], key),
        );
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// For a client that trusts this authority and nobody else.
    pub(crate) fn trusting(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        must(roots.add(self.issuer.der().clone()));
        client(roots)
    }

    /// The certificate that is shown at a port of this machine, if this authority has signed it.
    pub(crate) fn shown_at(&self, port: u16) -> io::Result<Vec<u8>> {
        let connector = TlsConnector::from(Arc::new(self.trusting()));
        background::wait(async move {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            let stream = connector.connect(IpAddr::from(Ipv4Addr::LOCALHOST).into(), stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            shown.map(|certificate| certificate.to_vec()).ok_or_else(|| io::Error::other("no certificate is shown"))
        })
    }

    fn server(&self) -> (rcgen::Certificate, KeyPair) {
        let mut params = must(CertificateParams::new(NAMES.map(str::to_owned)));
        params.distinguished_name = named("setpoint test server").distinguished_name;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = key();
        (must(params.signed_by(&key, &self.issuer)), key)
    }
}

/// For a client that is only to speak plainly.
pub(crate) fn trusting_nobody() -> ClientConfig {
    client(RootCertStore::empty())
}

fn client(roots: RootCertStore) -> ClientConfig {
    must(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions())
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A pair of keys as PEM, such as for signing the tokens of service accounts.
pub(crate) fn write_keys(private: &Path, public: &Path) {
    let key = key();
    write(private, &key.serialize_pem());
    write(public, &key.public_key_pem());
}

fn key() -> KeyPair {
    must(KeyPair::generate())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What goes into certificates is written above, so that nothing of it can be refused.
fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("certificates cannot be made: {error}"))
}
