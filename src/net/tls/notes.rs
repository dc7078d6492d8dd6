//! Notes on certificates that can be used, and will be trouble.

use rustls::crypto::ring;
use rustls::pki_types::UnixTime;

use super::certified::Certified;
use super::client::proxy_kinds;
use super::error::{TlsError, TlsFault};
use super::files::Identity;
use super::server::listeners_config;
use crate::config::Config;

/// A certificate that ends within this time is told of.
const SOON: u64 = 14 * 86_400;

/// Checks the files that the configuration names; the notes are a line each.
///
/// # Errors
///
/// A file cannot be used.
pub fn check(config: &Config) -> Result<Vec<String>, TlsError> {
    listeners_config(config, None)?;
    let notes = notes_of_identities(config).map_err(|error| error.at("tls"))?;
    proxy_kinds(config)?;
    Ok(notes)
}

fn notes_of_identities(config: &Config) -> Result<Vec<String>, TlsError> {
    let identities: Vec<Identity> = config.tls.iter().map(Identity::read).collect::<Result<_, _>>()?;
    let provider = ring::default_provider();
    let now = UnixTime::now();
    let certified: Vec<Certified> =
        identities.iter().map(|it| Certified::of(it.shown(), &provider, now)).collect::<Result<_, _>>()?;
    let soon = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs() + SOON));
    let ends_soon = |identity: &&Identity| {
        Certified::of(identity.shown(), &provider, soon)
            .is_err_and(|error| matches!(error.fault(), TlsFault::Expired(_)))
    };
    let ending = identities.iter().filter(ends_soon).map(|identity| {
        format!("tls: the certificate in {} ends within two weeks; renew it", identity.certificate.path.display())
    });
    let unknown =
        config.contact_name().filter(|name| !certified.is_empty() && !certified.iter().any(|it| it.is_for(name)));
    let unknown = unknown.map(|name| {
        format!("tls: no certificate is made for the contact-name {name}; callers who verify certificates reject it")
    });
    Ok(ending.chain(unknown).collect())
}
