//! Faults of files for TLS, each in one line that names the file.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that cannot be used for TLS. Its text is one line.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Place in the configuration, such as `proxy.1`; `None`: the one who tells it knows.
    place: Option<String>,
    path: PathBuf,
    fault: TlsFault,
}

/// The fault of a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is larger than any such file.
    #[error("is larger than a mebibyte: it is no file of certificates or keys")]
    TooLarge,
    /// It is no text, or its text has no such part.
    #[error("has no {0} (PEM)")]
    Nothing(&'static str),
    /// A part of it is damaged.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// A certificate in it cannot be read.
    #[error("has a certificate that cannot be read: {0}")]
    Certificate(String),
    /// The certificate is not valid any more.
    #[error("has a certificate that expired {0} ago; renew it")]
    Expired(String),
    /// The certificate is not valid yet.
    #[error("has a certificate that is valid only in {0}; is the clock right?")]
    NotYetValid(String),
    /// The key is protected by a password.
    #[error("has an encrypted key; decrypt it with `openssl pkey -in FILE -out FILE.plain`")]
    Encrypted,
    /// The key is of a kind that we have not.
    #[error("has a key that is neither RSA (2048 to 8192 bits), ECDSA (P-256, P-384) nor Ed25519")]
    KindOfKey,
    /// The key is that of another certificate.
    #[error("has a key that does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    /// A list of revoked certificates cannot be read.
    #[error("has a list of revoked certificates that cannot be read: {0}")]
    Revocations(String),
    /// Another fault.
    #[error("cannot be used: {0}")]
    Other(String),
}

impl TlsError {
    pub(in crate::net) fn new(path: &Path, fault: TlsFault) -> Self {
        TlsError { place: None, path: path.to_owned(), fault }
    }

    /// The same, with its place in the configuration in front of it.
    pub(super) fn at(self, place: impl Into<String>) -> Self {
        TlsError { place: Some(self.place.unwrap_or_else(|| place.into())), ..self }
    }

    /// Its kind.
    pub const fn fault(&self) -> &TlsFault {
        &self.fault
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} {}", self.path.display(), self.fault)
    }
}

impl std::error::Error for TlsError {}

/// A number of days in words.
pub(super) fn days(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}
