//! The configuration of the side that calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::ring::digest::Digest;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore};

use super::certified::Certified;
use super::error::{TlsError, TlsFault};
use super::files::{Contents, Identity};
use super::server::{digest, roots, rules};
use crate::config::{ClientCertificates, Config, Proxy, Service};
use crate::dispatch::targets::proxies::Security;
use crate::stream::Kind;
use crate::words::Transport;

/// The protocols of connections that lanes open.
#[derive(Clone, Debug, Default)]
pub struct ProxyKinds {
    /// Those to each downstream proxy over TCP or TLS, by the proxy's name.
    pub proxies: BTreeMap<String, ProxyKind>,
    /// Those that are opened over TLS for requests of such proxies; `None`: nobody is trusted to be called.
    pub callees: Option<(Arc<ClientConfig>, Security)>,
}

/// The protocol of the connections to a downstream proxy.
#[derive(Clone, Debug)]
pub struct ProxyKind {
    /// The protocol.
    pub kind: Kind,
    /// A hash of all files and names that it comes from, but not of the CAs that the system trusts.
    pub security: Security,
}

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
    Caller::new(first)?.config(first.map(Identity::shown))
}

/// The protocol of the connections to each downstream proxy over TCP or TLS. A proxy over TLS has to show a certificate
/// for its `tls-name` or the host of its URI, of a CA that [`client_config`] takes; it is shown `tls-certificate`, or
/// the first identity. So it is with other places over TLS that requests of proxies go to, where a listener speaks TLS:
/// each has to show a certificate for the host that the request names.
///
/// # Errors
///
/// A file cannot be used. The error names the proxy.
pub fn proxy_kinds(config: &Config) -> Result<ProxyKinds, TlsError> {
    let mut kinds = ProxyKinds::default();
    let mut shared = None;
    for (proxy, number) in config.proxies.iter().zip(1..).filter(|(proxy, _)| proxy.is_stream()) {
        let kind = match proxy.transport {
            Transport::Tls => {
                tls_kind(proxy, config, &mut shared).map_err(|error| error.at(format!("proxy.{number}")))?
            }
            _ => ProxyKind { kind: Kind::Plain, security: Security::default() },
        };
        kinds.proxies.insert(proxy.name.clone(), kind);
    }
    if config.serves(Service::Tls) && !kinds.proxies.is_empty() {
        // Without CAs no such place is called, and all else works.
        let made = made(None, config, &mut shared).ok();
        kinds.callees = made.map(|(config, hash)| (config, security(&hash)));
    }
    Ok(kinds)
}

/// Everything that proxies over TLS have in common.
struct Shared {
    first: Option<Identity>,
    caller: Caller,
    /// The configurations that have been made, by the files of the certificate that is shown.
    made: BTreeMap<Option<(PathBuf, PathBuf)>, Made>,
}

/// A configuration, and the hash of all files that it comes from.
type Made = (Arc<ClientConfig>, Digest);

fn tls_kind(proxy: &Proxy, config: &Config, shared: &mut Option<Shared>) -> Result<ProxyKind, TlsError> {
    let name = server_name(proxy)?;
    let (config, hash) = made(proxy.tls_files.as_ref(), config, shared)?;
    let security = security(&digest([proxy.certified_name().as_bytes(), hash.as_ref()]));
    Ok(ProxyKind { kind: Kind::TlsClient(config, name), security })
}

/// The configuration of connections on which the certificate in these files is shown, or else the first identity.
fn made(files: Option<&(PathBuf, PathBuf)>, config: &Config, shared: &mut Option<Shared>) -> Result<Made, TlsError> {
    let Shared { first, caller, made } = match shared {
        Some(shared) => shared,
        None => {
            let first = config.tls.first().map(Identity::read).transpose()?;
            let caller = Caller::new(first.as_ref())?;
            shared.insert(Shared { first, caller, made: BTreeMap::new() })
        }
    };
    if let Some(made) = made.get(&files.cloned()) {
        return Ok(made.clone());
    }
    let own = match files {
        Some((certificate, key)) => Some((Contents::read(certificate)?, Contents::read(key)?)),
        None => None,
    };
    let shown = own.as_ref().map(|(certificate, key)| (certificate, key));
    let shown = shown.or_else(|| first.as_ref().map(Identity::shown));
    let (certificate, key) = shown.map(|(certificate, key)| (certificate.bytes(), key.bytes())).unwrap_or_default();
    let hash = digest([certificate, key, &rules(first.as_ref())]);
    let new = (caller.config(shown)?, hash);
    Ok(made.entry(files.cloned()).or_insert(new).clone())
}

fn security(hash: &Digest) -> Security {
    Security(hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first)))
}

/// The name that the certificate of a proxy has to be for.
fn server_name(proxy: &Proxy) -> Result<ServerName<'static>, TlsError> {
    let name = proxy.certified_name();
    let unfit = || TlsError::new(Path::new(name), TlsFault::Other("no certificate is made for such a name".into()));
    ServerName::try_from(name.to_owned()).map_err(|_| unfit())
}

/// The check of certificates that called peers show.
struct Caller {
    verifier: Arc<WebPkiServerVerifier>,
    /// A file that it comes from.
    file: PathBuf,
}

impl Caller {
    fn new(first: Option<&Identity>) -> Result<Self, TlsError> {
        let (roots, file) = trusted(first)?;
        let lists = first.and_then(|first| first.crl.as_ref()).map(Contents::revocations).transpose()?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists.unwrap_or_default())
            .only_check_end_entity_revocation()
            // The list is that of one CA.
            .allow_unknown_revocation_status();
        let verifier = verifier.build().map_err(|error| TlsError::new(&file, TlsFault::Other(error.to_string())))?;
        Ok(Caller { verifier, file })
    }

    /// The configuration of a caller with this check, that shows this certificate where it is asked for one.
    fn config(&self, shown: Option<(&Contents, &Contents)>) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(DEFAULT_VERSIONS);
        let builder = builder.map_err(|error| TlsError::new(&self.file, TlsFault::Other(error.to_string())))?;
        let builder = builder.with_webpki_verifier(Arc::clone(&self.verifier));
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let certified = Certified::of(files, &provider, UnixTime::now())?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified.key)))
            }
        };
        // A peer shows each time who it is.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
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
