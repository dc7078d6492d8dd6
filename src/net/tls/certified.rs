//! A certificate with its key, checked against each other and against the clock.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::{EndEntityCert, KeyUsage};

use super::error::TlsFault;
use super::files::Contents;
use super::{TlsError, error};

const DAY: u64 = 86_400;

/// A certificate that can be shown.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts that it is made for, in lower case. One may begin with `*.`.
    pub(super) names: Vec<String>,
}

impl Certified {
    /// The certificate of these files, that of the certificate and that of its key, if it is valid at this time.
    pub(super) fn of(
        (file, key): (&Contents, &Contents),
        provider: &CryptoProvider,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let chain = file.certificates()?;
        let Some(first) = chain.first() else { return Err(file.fault(TlsFault::Nothing("certificate"))) };
        let names = names(first, now).map_err(|fault| file.fault(fault))?;
        let key_fault = |error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsFault::OtherKey(file.path.clone()),
            Error::General(_) => TlsFault::KindOfKey,
            error => TlsFault::Other(error.to_string()),
        };
        let certified = CertifiedKey::from_der(chain, key.private_key()?, provider);
        let key = certified.map_err(|error| key.fault(key_fault(error)))?;
        Ok(Certified { key: Arc::new(key), names })
    }
}

/// The names of a certificate that is valid at this time.
fn names(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<Vec<String>, TlsFault> {
    let unreadable = |error: webpki::Error| TlsFault::Certificate(error.to_string());
    let read = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    // Without any CA it fails in each case, but first for its time.
    match read.verify_for_usage(&[], &[], &[], now, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            return Err(TlsFault::Expired(error::days(now.as_secs().saturating_sub(not_after.as_secs()) / DAY)));
        }
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            return Err(TlsFault::NotYetValid(error::days(not_before.as_secs().saturating_sub(now.as_secs()) / DAY)));
        }
        _ => {}
    }
    Ok(read.valid_dns_names().map(str::to_ascii_lowercase).collect())
}
