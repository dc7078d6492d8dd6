//! The files of a certificate: their contents, and the parts that lie in them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::{TlsError, TlsFault};
use crate::config::{ClientCertificates, TlsIdentity};
use crate::words;

/// Largest file of certificates or keys.
const LARGEST: u64 = 1 << 20;

/// The contents of a file. The path is there for faults.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
}

/// A certificate by the contents of its files, and the certificates that callers are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(super) certificate: Contents,
    pub(super) key: Contents,
    pub(super) client_certificates: ClientCertificates,
    pub(super) client_ca: Option<Contents>,
    pub(super) crl: Option<Contents>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One of them cannot be read.
    pub fn read(config: &TlsIdentity) -> Result<Self, TlsError> {
        let optional = |path: &Option<PathBuf>| path.as_deref().map(Contents::read).transpose();
        Ok(Identity {
            certificate: Contents::read(&config.certificate)?,
            key: Contents::read(&config.key)?,
            client_certificates: config.client_certificates,
            client_ca: optional(&config.client_ca)?,
            crl: optional(&config.crl)?,
        })
    }

    /// The certificate and its key.
    pub(super) const fn shown(&self) -> (&Contents, &Contents) {
        (&self.certificate, &self.key)
    }
}

impl Identity {
    /// The identity as a worker is told it.
    pub fn tell(&self) -> words::Identity {
        let text = |contents: &Contents| String::from_utf8_lossy(&contents.bytes).into_owned();
        words::Identity {
            certificate: text(&self.certificate),
            key: text(&self.key),
            client_certificates: self.client_certificates.to_string(),
            client_ca: self.client_ca.as_ref().map(text),
            crl: self.crl.as_ref().map(text),
        }
    }

    /// The identity that a worker was told.
    pub fn told(told: &words::Identity) -> Self {
        let contents = |name: &str, text: &String| Contents { path: name.into(), bytes: text.as_bytes().to_vec() };
        Identity {
            certificate: contents("certificate", &told.certificate),
            key: contents("key", &told.key),
            // A word of a newer version asks for more than is known here.
            client_certificates: told.client_certificates.parse().unwrap_or(ClientCertificates::Required),
            client_ca: told.client_ca.as_ref().map(|text| contents("client-ca", text)),
            crl: told.crl.as_ref().map(|text| contents("crl", text)),
        }
    }
}

impl Contents {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The system does not give it, or it is too large.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let failed = |error: std::io::Error| TlsError::new(path, TlsFault::Unreadable(error.to_string()));
        let mut bytes = Vec::new();
        // A pipe or a device would have no end.
        File::open(path).map_err(failed)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(TlsError::new(path, TlsFault::TooLarge));
        }
        Ok(Contents { path: path.to_owned(), bytes })
    }

    /// The file as it is.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(in crate::net) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.parts("certificate")
    }

    pub(super) fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.parts("list of revoked certificates")
    }

    pub(in crate::net) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            let is_encrypted = memchr::memmem::find(&self.bytes, b"ENCRYPTED").is_some();
            if is_encrypted { self.fault(TlsFault::Encrypted) } else { self.pem_fault(&error, "private key") }
        })
    }

    pub(in crate::net) fn fault(&self, fault: TlsFault) -> TlsError {
        TlsError::new(&self.path, fault)
    }

    /// All parts of a kind; at least one.
    fn parts<T: PemObject>(&self, name: &'static str) -> Result<Vec<T>, TlsError> {
        let parts: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&self.bytes).collect();
        match parts {
            Ok(parts) if parts.is_empty() => Err(self.fault(TlsFault::Nothing(name))),
            parts => parts.map_err(|error| self.pem_fault(&error, name)),
        }
    }

    fn pem_fault(&self, error: &pem::Error, name: &'static str) -> TlsError {
        self.fault(match error {
            pem::Error::NoItemsFound => TlsFault::Nothing(name),
            error => TlsFault::Damaged(error.to_string()),
        })
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({})", self.path.display())
    }
}
