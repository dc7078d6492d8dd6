//! Certificates of the two ends of a link over a network, from files. Both ends show one; TLS 1.3 alone is spoken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use crate::config::Lan;

/// Largest file of certificates or keys.
const FILE_LIMIT: u64 = 1 << 20;

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

/// The reason why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A file has not what it should have.
    #[error("{} holds no {what} (PEM)", .path.display())]
    Nothing {
        /// Its path.
        path: PathBuf,
        /// The missing part.
        what: &'static str,
    },
    /// The files do not fit together.
    #[error("{} and its key cannot be used: {error}", .path.display())]
    Unfit {
        /// Path of the certificate.
        path: PathBuf,
        /// The fault.
        error: String,
    },
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
    pub fn server(&self) -> Result<Arc<ServerConfig>, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| self.unfit(&error))?;
        let (chain, key) = (self.chain()?, self.private_key()?);
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13]);
        let builder = builder.map_err(|error| self.unfit(&error))?.with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(chain, key).map_err(|error| self.unfit(&error))?;
        // A worker keeps its connection, so that tickets for the next one are of no use.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The side that calls the dispatcher.
    ///
    /// # Errors
    ///
    /// As [`Credentials::server`].
    pub fn client(&self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let (chain, key, roots) = (self.chain()?, self.private_key()?, self.roots()?);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(|error| self.unfit(&error))?;
        let builder = builder.with_root_certificates(roots);
        Ok(Arc::new(builder.with_client_auth_cert(chain, key).map_err(|error| self.unfit(&error))?))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
        certificates(&self.certificate)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, CredentialsError> {
        let nothing = |_| CredentialsError::Nothing { path: self.key.clone(), what: "private key" };
        PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(nothing)
    }

    fn roots(&self) -> Result<RootCertStore, CredentialsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(&self.ca)?);
        if added == 0 {
            return Err(CredentialsError::Nothing { path: self.ca.clone(), what: "certificate of a CA" });
        }
        Ok(roots)
    }

    fn unfit(&self, error: &impl ToString) -> CredentialsError {
        CredentialsError::Unfit { path: self.certificate.clone(), error: error.to_string() }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let nothing = || CredentialsError::Nothing { path: path.to_owned(), what: "certificate" };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(nothing)
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let failed = |error| CredentialsError::File { path: path.to_owned(), error };
    if fs::metadata(path).map_err(failed)?.len() > FILE_LIMIT {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "more than a certificate takes")));
    }
    fs::read(path).map_err(failed)
}
