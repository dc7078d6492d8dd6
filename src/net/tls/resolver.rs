//! The certificate that a caller is shown, by the host that it names (RFC 6066 §3).

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certified::Certified;

/// All certificates, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Vec<Certified>);

impl Resolver {
    /// The certificate for a host, or the first one. Of several, one whose kind of key the caller knows.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let fits = |it: &&Certified| it.key.key.choose_scheme(schemes).is_some();
        let named = || self.0.iter().filter(|it| host.is_some_and(|host| it.is_for(host)));
        let found = named().find(fits).or_else(|| named().next());
        found.or_else(|| self.0.iter().find(fits)).or_else(|| self.0.first()).map(|it| &it.key)
    }
}

impl Certified {
    /// Whether it is made for this host.
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix('*') {
            // RFC 6125 §6.4.3: the star stands for one label.
            Some(domain) => {
                host.find('.').is_some_and(|dot| dot > 0 && host.split_at(dot).1.eq_ignore_ascii_case(domain))
            }
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}
