//! The configuration of the side that is called.

use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, Digest, SHA256};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DEFAULT_VERSIONS, Error, RootCertStore, ServerConfig};

use super::certified::Certified;
use super::error::{TlsError, TlsFault};
use super::files::{Contents, Identity};
use super::resolver::Resolver;
use super::tickets::Tickets;
use crate::config::{ClientCertificates, Config};
use crate::ids::TokenKey;

/// The configuration of all listeners, by the files that `[[tls]]` names, whether or not a listener speaks TLS.
///
/// # Errors
///
/// A file cannot be used. The error names the key.
pub fn listeners_config(config: &Config, key: Option<&TokenKey>) -> Result<Arc<ServerConfig>, TlsError> {
    let identities: Result<Vec<_>, _> = config.tls.iter().map(Identity::read).collect();
    identities.and_then(|identities| server_config(&identities, key)).map_err(|error| error.at("tls"))
}

/// The configuration of all listeners: TLS 1.2 and 1.3, the certificates by the host that a caller names. The first
/// says which certificates callers are asked for; all ask for the same. Sessions are resumed by tickets where there is
/// a key for them.
///
/// # Errors
///
/// A file cannot be used: none of them is then.
pub fn server_config(identities: &[Identity], key: Option<&TokenKey>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider::default_provider());
    let now = UnixTime::now();
    let certified = identities.iter().map(|it| Certified::of(it.shown(), &provider, now));
    let certified: Result<Vec<_>, _> = certified.collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(DEFAULT_VERSIONS);
    let path = identities.first().map_or(Path::new("tls"), |first| &first.certificate.path);
    let builder = builder.map_err(|error| TlsError::new(path, TlsFault::Other(error.to_string())))?;
    let verifier = verifier(identities.first(), provider)?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(Resolver(certified?)));
    // Nothing is kept for a client; a ticket has it all.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = usize::from(key.is_some());
    if let Some(key) = key {
        config.ticketer = Arc::new(Tickets::new(key, rules(identities.first())));
    }
    Ok(Arc::new(config))
}

/// The check of callers' certificates.
fn verifier(
    identity: Option<&Identity>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(Identity { client_certificates: ask, client_ca: Some(ca), crl, .. }) = identity else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider);
    let builder = match ask {
        ClientCertificates::None => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    // Lists of intermediate CAs are seldom at hand. A list that is overdue still tells more than none.
    let lists = crl.as_ref().map(Contents::revocations).transpose()?.unwrap_or_default();
    let builder = builder.with_crls(lists).only_check_end_entity_revocation();
    builder.build().map_err(|error| match (error, crl) {
        (VerifierBuilderError::InvalidCrl(error), Some(crl)) => {
            crl.fault(TlsFault::Revocations(Error::from(error).to_string()))
        }
        (error, _) => ca.fault(TlsFault::Other(error.to_string())),
    })
}

/// The CAs in a file.
pub(in crate::net) fn roots(file: &Contents) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        roots.add(certificate).map_err(|error| file.fault(TlsFault::Certificate(error.to_string())))?;
    }
    Ok(roots)
}

/// A hash of what callers are asked for.
pub(super) fn rules(identity: Option<&Identity>) -> Vec<u8> {
    let Some(Identity { client_certificates, client_ca, crl, .. }) = identity else { return Vec::new() };
    if *client_certificates == ClientCertificates::None {
        return Vec::new();
    }
    digest([client_certificates.to_string().as_bytes(), bytes(client_ca), bytes(crl)]).as_ref().to_vec()
}

/// A hash of some parts, one after the other.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish()
}

fn bytes(file: &Option<Contents>) -> &[u8] {
    file.as_ref().map_or(&[], Contents::bytes)
}
