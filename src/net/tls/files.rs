//! The files of a certificate: their contents, and the parts that lie in them.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::error::{TlsError, TlsFault};
use crate::config::{ClientCertificates, TlsIdentity};

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

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.parts("certificate")
    }

    pub(super) fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.parts("list of revoked certificates")
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            let is_encrypted = memchr::memmem::find(&self.bytes, b"ENCRYPTED").is_some();
            if is_encrypted { self.fault(TlsFault::Encrypted) } else { self.pem_fault(&error, "private key") }
        })
    }

    pub(super) fn fault(&self, fault: TlsFault) -> TlsError {
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
