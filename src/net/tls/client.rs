//! The configuration of the side that calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore};

use super::error::{TlsError, TlsFault};
use super::files::{Contents, Identity};
use super::server::roots;
use crate::config::ClientCertificates;

const USUAL: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The files in which systems keep the CAs that they trust.
const OF_SYSTEM: &[&str] = &[USUAL, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// The configuration of connections that we open, to peers that have called us. Their certificates must be of a CA in
/// `client-ca` of the first identity or, where callers without one are let in, of one that the system trusts. The
/// first identity is shown where a certificate is asked for.
///
/// # Errors
///
/// A file cannot be used.
pub fn client_config(identities: &[Identity]) -> Result<Arc<ClientConfig>, TlsError> {
    let first = identities.first();
    let provider = Arc::new(ring::default_provider());
    let (roots, file) = trusted(first)?;
    let other = |error: String| TlsError::new(&file, TlsFault::Other(error));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(DEFAULT_VERSIONS).map_err(|error| other(error.to_string()))?;
    let lists = first.and_then(|first| first.crl.as_ref()).map(Contents::revocations).transpose()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists.unwrap_or_default())
        .only_check_end_entity_revocation()
        // The list is that of one CA.
        .allow_unknown_revocation_status();
    let verifier = verifier.build().map_err(|error| other(error.to_string()))?;
    let builder = builder.with_webpki_verifier(verifier);
    let mut config = match first {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key, .. }) => builder
            .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
            .map_err(|error| certificate.fault(TlsFault::Other(error.to_string())))?,
    };
    // A peer shows each time who it is.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The CAs of the peers that we call, and a file that they come from.
fn trusted(first: Option<&Identity>) -> Result<(RootCertStore, PathBuf), TlsError> {
    let own = first.and_then(|first| Some((first.client_certificates, first.client_ca.as_ref()?)));
    if let Some((ClientCertificates::Required, ca)) = own {
        return Ok((roots(ca)?, ca.path.clone()));
    }
    // Where the system has none, the fault names the usual one.
    let path = OF_SYSTEM.iter().map(Path::new).find(|path| path.exists()).unwrap_or(Path::new(USUAL));
    let of_system = Contents::read(path).and_then(|file| of_system(&file));
    let Some((_, ca)) = own else { return Ok((of_system?, path.to_owned())) };
    let mut all = roots(ca)?;
    // A host without the system's CAs calls those of `client-ca`.
    all.extend(of_system.into_iter().flat_map(|system| system.roots));
    Ok((all, ca.path.clone()))
}

/// The CAs that the system trusts. One that cannot be read does not take the others with it.
fn of_system(file: &Contents) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(file.certificates()?);
    if roots.is_empty() { Err(file.fault(TlsFault::Nothing("certificate of a CA"))) } else { Ok(roots) }
}
