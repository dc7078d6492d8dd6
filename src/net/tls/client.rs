//! The configuration of the side that calls.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore};

use super::error::{TlsError, TlsFault};
use super::files::{Contents, Identity};
use super::server::roots;

const USUAL: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The files in which systems keep the CAs that they trust.
const OF_SYSTEM: &[&str] = &[USUAL, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// The configuration of connections that we open: the called side's certificate must be of a CA in `ca`, or of one that
/// the system trusts; ours is shown where it is asked for.
///
/// # Errors
///
/// A file cannot be used.
pub fn client_config(ca: Option<&Path>, own: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let found = || OF_SYSTEM.iter().map(Path::new).find(|path| path.exists());
    // Where the system has none, the fault names the usual one.
    let file = Contents::read(ca.or_else(found).unwrap_or(Path::new(USUAL)))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(DEFAULT_VERSIONS);
    let builder = builder.map_err(|error| file.fault(TlsFault::Other(error.to_string())))?;
    let roots = if ca.is_some() { roots(&file)? } else { of_system(&file)? };
    let builder = builder.with_root_certificates(roots);
    let Some(Identity { certificate, key, .. }) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let config = builder.with_client_auth_cert(certificate.certificates()?, key.private_key()?);
    config.map(Arc::new).map_err(|error| certificate.fault(TlsFault::Other(error.to_string())))
}

/// The CAs that the system trusts. One that cannot be read does not take the others with it.
fn of_system(file: &Contents) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(file.certificates()?);
    if roots.is_empty() { Err(file.fault(TlsFault::Nothing("certificate of a CA"))) } else { Ok(roots) }
}
