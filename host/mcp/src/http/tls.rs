//! Whom to trust: the system's certificate authorities, and those of one more file.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS for all clients. The system's authorities are read when the first connection needs them.
pub(crate) struct Tls {
    more: Vec<CertificateDer<'static>>,
    connector: OnceCell<Result<TlsConnector, String>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("more", &self.more.len()).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the authorities of a PEM bundle as well.
    ///
    /// # Errors
    /// The text has no certificate, or one that cannot be read.
    pub(crate) fn new(bundle: Option<&[u8]>) -> Result<Self, String> {
        let mut more = Vec::new();
        if let Some(pem) = bundle {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                more.push(certificate.map_err(|error| format!("the CA bundle cannot be read: {error}"))?);
            }
            if more.is_empty() {
                return Err("the CA bundle has no certificate in PEM form".into());
            }
            let mut roots = RootCertStore::empty();
            for certificate in &more {
                roots
                    .add(certificate.clone())
                    .map_err(|error| format!("the CA bundle has a certificate that cannot be used: {error}"))?;
            }
        }
        Ok(Self { more, connector: OnceCell::new() })
    }

    /// Makes TLS of a connection.
    pub(crate) async fn connector(&self) -> Result<TlsConnector, String> {
        let made = self.connector.get_or_init(|| async {
            let more = self.more.clone();
            match tokio::task::spawn_blocking(move || connector(&more)).await {
                Ok(made) => made,
                Err(error) => Err(error.to_string()),
            }
        });
        made.await.clone()
    }
}

fn connector(more: &[CertificateDer<'static>]) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "certificate authorities of the system cannot be read");
    }
    // Systems have certificates that cannot be used, and that nobody misses.
    roots.add_parsable_certificates(system.certs);
    roots.add_parsable_certificates(more.iter().cloned());
    if roots.is_empty() {
        return Err("there is no certificate authority that could be trusted".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
