//! Certificates of the two ends of a link over a network, from files. Both ends show one; TLS 1.3 alone is spoken.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, Error, InconsistentKeys, ServerConfig, version};

use crate::config::Lan;
use crate::net::tls::{Contents, TlsError, TlsFault, roots};

/// The files by which an end shows who it is, and knows the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its certificate (PEM).
    pub certificate: PathBuf,
    /// The private key of that (PEM).
    pub key: PathBuf,
    /// The CA of the other end's certificate (PEM).
    pub ca: PathBuf,
}

impl Credentials {
    /// Those of a dispatcher.
    pub fn of(lan: &Lan) -> Self {
        Credentials { certificate: lan.certificate.clone(), key: lan.key.clone(), ca: lan.client_ca.clone() }
    }

    /// The side that workers call: it lets in those whose certificate the CA has made.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or they do not fit together.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let [certificate, key, ca] = self.read()?;
        let unfit = |error: String| certificate.fault(TlsFault::Other(error));
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&ca)?), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| unfit(error.to_string()))?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
        let builder = builder.map_err(|error| unfit(error.to_string()))?.with_client_cert_verifier(verifier);
        let config = builder.with_single_cert(certificate.certificates()?, key.private_key()?);
        let mut config = config.map_err(|error| self.unfit(&certificate, &error))?;
        // A worker keeps its connection, so that tickets for the next one are of no use.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The side that calls the dispatcher.
    ///
    /// # Errors
    ///
    /// As [`Credentials::server`].
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let [certificate, key, ca] = self.read()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&version::TLS13]);
        let builder = builder.map_err(|error| certificate.fault(TlsFault::Other(error.to_string())))?;
        let builder = builder.with_root_certificates(roots(&ca)?);
        let config = builder.with_client_auth_cert(certificate.certificates()?, key.private_key()?);
        Ok(Arc::new(config.map_err(|error| self.unfit(&certificate, &error))?))
    }

    /// Certificate, key and CA.
    fn read(&self) -> Result<[Contents; 3], TlsError> {
        Ok([Contents::read(&self.certificate)?, Contents::read(&self.key)?, Contents::read(&self.ca)?])
    }

    fn unfit(&self, certificate: &Contents, error: &Error) -> TlsError {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::new(&self.key, TlsFault::OtherKey(self.certificate.clone()))
            }
            error => certificate.fault(TlsFault::Other(error.to_string())),
        }
    }
}
